"""The deadlines of HTTP/2: whom they are for, when they come, and what the client is told."""

from __future__ import annotations

from typing import Any

from django.test import tag

from django_daphne.server import ClientDisconnected
from django_daphne.server.protocols.deadlines import RESOLUTION
from tests.support.http2_conversation import Answer, GoAway
from tests.support.http2_frames import (
    PREFACE,
    Code,
    Setting,
    continuation_frame,
    headers_frame,
    literal,
    request_fields,
)
from tests.support.memory import Call

from .http2_support import JUST_BEFORE, KIB, DeadlineTestCase, HTTP2Client

DISCONNECT = {"type": "http.disconnect"}
POST = request_fields(b"POST")
BLOCK = literal(request_fields())


@tag("loop")
class HeaderTimeoutTests(DeadlineTestCase):
    """header_timeout: the client does not say what it wants."""

    def assert_given_up(self, client: HTTP2Client) -> None:
        """The client was told so, and the connection is closed, though not at once."""
        self.assertEqual(client.goaways, [GoAway(0, Code.NO_ERROR)])
        self.assertFalse(client.is_open)
        client.wait(5 + RESOLUTION)
        self.assert_ends(client.memory)
        self.assert_nothing_left(client)

    def test_silent_from_the_beginning(self):
        """The client says nothing at all behind its TLS handshake."""
        client = self.serve(None, header_timeout=7).speak(greet=False, alpn="h2")
        self.assert_nothing_until(client, 7)
        self.assertEqual(client.goaways, [GoAway(0, Code.NO_ERROR)])
        self.assert_ends(client.memory)

    def test_preface(self):
        """The client says a part of its preface, and nothing more."""
        client = self.serve(None, header_timeout=7).speak(greet=False, alpn="h2")
        client.send(PREFACE[:20])
        self.assert_nothing_until(client, 7)
        self.assertEqual(client.goaways, [GoAway(0, Code.NO_ERROR)])

    def test_settings(self):
        """The client says its preface without SETTINGS behind it."""
        client = self.serve(None, header_timeout=7).speak(greet=False)
        client.send(PREFACE)
        self.assert_nothing_until(client, 7)
        self.assert_given_up(client)

    def test_beginning_of_a_preface(self):
        """The client says what may become a preface or a request, and nothing more."""
        memory = self.serve(None, header_timeout=7).connect()
        memory.send(PREFACE[:10])
        memory.server.wait(7 - JUST_BEFORE)
        self.assert_open(memory)
        memory.server.wait(RESOLUTION + JUST_BEFORE)
        self.assertTrue(memory.ended, "the connection is still open")

    def test_block(self):
        """The client begins a request, and does not send the rest of its fields."""
        client, calls = self.speak(header_timeout=7)
        client.start_with(b"")
        client.wait(100)  # it was whole; an empty block is a malformed request
        client, calls = self.speak(header_timeout=7)
        client.send(headers_frame(1, BLOCK[:5], end_headers=False))
        self.assert_nothing_until(client, 7)
        self.assertEqual(calls, [])
        self.assert_given_up(client)

    def test_slow_block(self):
        """The client sends its fields by and by: the time is that of the whole of them."""
        client, _ = self.speak(header_timeout=7)
        client.send(headers_frame(1, BLOCK[:5], end_headers=False))
        for offset in range(5, 11):
            client.wait(1)
            client.send(continuation_frame(1, BLOCK[offset : offset + 1], end_headers=False))
        self.assertTrue(client.is_open)
        client.wait(1 + RESOLUTION)
        self.assert_given_up(client)

    def test_slow_frame(self):
        """The client sends its one frame of fields a byte at a time, and so for ever."""
        client, calls = self.speak(header_timeout=7)
        for byte in headers_frame(1, BLOCK):
            client.wait(1)
            client.send(bytes((byte,)))
        self.assertEqual(calls, [])
        self.assertFalse(client.is_open, "a slow request is being waited for, for ever")

    def test_block_in_time(self):
        """The client sends the rest in time, and its next request may take as long again."""
        client, calls = self.speak(header_timeout=7)
        for number in (1, 3):
            client.conversation.begin(number, b"GET")
            client.send(headers_frame(number, BLOCK[:5], end_headers=False))
            client.wait(6)
            client.send(continuation_frame(number, BLOCK[5:]))
        client.wait(100)
        self.assertEqual(len(calls), 2)
        self.assertTrue(client.is_open)

    def test_beside_another(self):
        """The client leaves a request unfinished beside one that is running: both end."""
        client, _, call = self.ask(header_timeout=7)
        call.receive_now()
        waiting = call.receive()
        client.send(headers_frame(3, BLOCK[:5], end_headers=False))
        client.wait(7 + RESOLUTION)
        self.assertEqual(client.goaways, [GoAway(1, Code.NO_ERROR)])
        self.assertEqual(waiting.result(), DISCONNECT)


@tag("loop")
class BodyTimeoutTests(DeadlineTestCase):
    """body_timeout: the client does not send the rest of its request."""

    def test_before_the_response(self):
        """The client sends no body: 408, and the application is told."""
        client, answer, call = self.ask(b"POST", end=False, body_timeout=7)
        waiting = call.receive()
        self.assert_nothing_until(client, 7)
        self.assertEqual((answer.status, answer.ended), (408, True))
        self.assertEqual(waiting.result(), DISCONNECT)
        self.assertEqual([record.status for record in client.server.access], [408])
        self.assert_going_on(client)

    def test_between_pieces(self):
        """The client sends its body in pieces: each has the whole time."""
        client, answer, call = self.ask(b"POST", end=False, body_timeout=7)
        for _ in range(5):
            client.wait(6)
            client.give(answer, b"x")
            self.assertEqual(call.receive_now()["body"], b"x")
        self.assert_nothing_until(client, 7)
        self.assertEqual(answer.status, 408)

    def test_after_the_head(self):
        """The application has said its status, which has not left: 408 takes its place."""
        client, answer, call = self.ask(b"POST", end=False, body_timeout=7)
        call.start(201)
        client.wait(7 + RESOLUTION)
        self.assertEqual((answer.status, answer.ended), (408, True))

    def test_within_the_response(self):
        """The application answers while it reads: its answer is cut."""
        client, answer, call = self.ask(b"POST", end=False, body_timeout=7)
        call.start()
        call.body(b"part", more=True)
        self.assert_nothing_until(client, 7)
        self.assertEqual((answer.status, answer.ended), (200, False))
        self.assertIsNotNone(answer.reset)
        self.assert_going_on(client)

    def test_application_is_full(self):
        """The application takes nothing, so the client may not send: that is not its fault."""
        client, answer, call = self.ask(
            b"POST", end=False, body_timeout=7, body_buffer_size=KIB, http2_ping_interval=-1
        )
        client.give(answer, bytes(2 * KIB))
        client.wait(100)
        self.assertFalse(answer.done)
        self.assertEqual(len(call.receive_now()["body"]), 2 * KIB)
        self.assert_nothing_until(client, 7)
        self.assertEqual(answer.status, 408)

    def test_whole_body(self):
        """The client has sent everything, and the application takes its time."""
        client, answer, call = self.ask(b"POST", end=False, body_timeout=7)
        client.give(answer, b"x", end=True)
        client.wait(25)
        call.answer()
        self.assert_answered(client.finish(answer))

    def test_waiting_for_its_start(self):
        """The client's request is one of many, and its body does not come: each has its time."""
        client, _calls = self.speak(body_timeout=7)
        answers = [client.ask(POST, end=False) for _ in range(3)]
        client.wait(5)
        client.give(answers[1], b"x")
        client.wait(2 + RESOLUTION)
        self.assertEqual([answer.status for answer in answers], [408, None, 408])
        client.wait(5 + RESOLUTION)
        self.assertEqual([answer.status for answer in answers], [408, 408, 408])


@tag("loop")
class HTTPTimeoutTests(DeadlineTestCase):
    """http_timeout: the application takes too long."""

    def test_before_the_response(self):
        """The application says nothing: 503, and it is told."""
        client, answer, call = self.ask(http_timeout=7)
        call.receive_now()
        waiting = call.receive()
        self.assert_nothing_until(client, 7)
        self.assertEqual((answer.status, answer.ended, answer.reset), (503, True, None))
        self.assertIn(b"Application failed to respond within time limit.", answer.body)
        self.assertEqual(waiting.result(), DISCONNECT)
        with self.assertRaises(ClientDisconnected):
            call.send("start", status=200).result()
        self.assert_going_on(client)

    def test_within_the_response(self):
        """The application has begun: its answer is cut, and the other stream goes on."""
        client, calls = self.speak(http_timeout=7)
        first = client.ask(request_fields())
        calls[0].start()
        calls[0].body(b"part", more=True)
        client.wait(3)
        second = client.ask(request_fields())
        client.wait(4 + RESOLUTION)
        self.assertEqual((first.status, first.ended), (200, False))
        self.assertIsNotNone(first.reset)
        self.assertFalse(second.done)
        calls[1].answer()
        self.assert_answered(client.finish(second))
        self.assertEqual([record.status for record in client.server.access], [200, 200])

    def test_in_time(self):
        """The application answers in time, and nothing is waited for any more."""
        client, answer, call = self.ask(http_timeout=7, keep_alive_timeout=-1)
        call.answer()
        client.finish(answer)
        self.assertEqual(client.deadlines, {"ping"})


@tag("loop")
class WriteTimeoutTests(DeadlineTestCase):
    """write_timeout: the client takes nothing."""

    def stalled(self, **options: Any) -> tuple[HTTP2Client, Answer, Call]:
        """Return a client that leaves no room for an answer of 100 KiB."""
        options = {"credit": False, "write_timeout": 7, **options}
        client, answer, call = self.ask(**options)
        call.start()
        call.send("body", body=bytes(100 * KIB), more_body=True)
        client.hear()
        return client, answer, call

    def test_windows(self):
        """The client credits nothing: its stream is reset, and the connection goes on."""
        client, answer, call = self.stalled(write_buffer_size=KIB)
        sending = call.send("body", body=b"x", more_body=True)
        self.assertFalse(sending.done())
        self.assertEqual(len(answer.body), 65535)
        self.assert_nothing_until(client, 7)
        self.assertEqual(answer.reset, Code.CANCEL)
        self.assertTrue(sending.done())
        with self.assertRaises(ClientDisconnected):
            call.send("body", body=b"x").result()
        client.grant(0, 65535)
        self.assert_going_on(client)

    def test_room_in_time(self):
        """The client credits a byte now and then, and has the whole time for the next."""
        client, answer, _ = self.stalled()
        for _ in range(5):
            client.wait(6)
            client.grant(0, 1)
            client.grant(answer.number, 1)
        self.assertEqual((len(answer.body), answer.reset), (65535 + 5, None))
        client.wait(7 + RESOLUTION)
        self.assertEqual(answer.reset, Code.CANCEL)

    def test_credit_without_room(self):
        """The client credits the stream again and again, but never the connection."""
        client, answer, _ = self.stalled()
        for _ in range(6):
            client.wait(1)
            client.grant(answer.number, 100)
        client.wait(1 + RESOLUTION)
        self.assertEqual(answer.reset, Code.CANCEL)

    def test_no_room_at_all(self):
        """The client has no window from the beginning, which is no fault before there is a body."""
        client, answer, call = self.ask(
            settings={Setting.INITIAL_WINDOW_SIZE: 0}, credit=False, write_timeout=7
        )
        client.wait(20)
        call.start()
        call.send("body", body=b"hello")
        client.hear()
        self.assertEqual((answer.status, answer.done), (200, False))
        self.assert_nothing_until(client, 7)
        self.assertEqual(answer.reset, Code.CANCEL)

    def test_room_at_last(self):
        """The client makes room at the last moment: all comes, and nothing is waited for."""
        client, answer, call = self.stalled(keep_alive_timeout=-1)
        call.send("body", body=b"")
        client.wait(7 - JUST_BEFORE)
        client.grant(0, 10**6)
        client.grant(answer.number, 10**6)
        self.assertEqual((len(answer.body), answer.ended), (100 * KIB, True))
        self.assertEqual(client.deadlines, {"ping"})

    def test_given_up(self):
        """The client gives up the stream that it left no room for: nothing is waited for."""
        client, answer, _ = self.stalled(keep_alive_timeout=-1)
        client.give_up(answer)
        self.assertEqual(client.deadlines, {"ping"})

    def test_socket(self):
        """The client does not read from its socket: the connection is reset."""
        client, _, call = self.ask(write_timeout=7, write_buffer_size=KIB)
        waiting = [call.receive(), call.receive()]
        client.stall()
        call.start()
        sending = call.send("body", body=bytes(10 * KIB), more_body=True)
        client.server.wait(7 - JUST_BEFORE)
        self.assertFalse(client.memory.was_reset)
        client.server.wait(RESOLUTION + JUST_BEFORE)
        self.assert_reset(client.memory)
        self.assertEqual(waiting[1].result(), DISCONNECT)
        self.assertTrue(sending.done())

    def test_slow_socket(self):
        """The client reads a little now and then: it is waited for."""
        client, answer, call = self.ask(
            write_timeout=7, write_buffer_size=KIB, http2_ping_interval=-1
        )
        client.stall()
        call.start()
        call.send("body", body=bytes(10 * KIB))
        for _ in range(5):
            client.server.wait(6)
            client.memory.take(100)
        self.assertFalse(client.memory.was_reset)
        client.read_on()
        self.assertEqual((len(answer.body), answer.ended), (10 * KIB, True))
