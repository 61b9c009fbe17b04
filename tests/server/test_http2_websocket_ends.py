"""WebSockets over HTTP/2: their ends and their deadlines."""

from __future__ import annotations

from django.test import tag

from django_daphne.server import ClientDisconnected
from django_daphne.server.protocols.deadlines import RESOLUTION
from tests.support.http2_conversation import Answer
from tests.support.http2_frames import Code, request_fields
from tests.support.memory import Call
from tests.support.websocket import (
    LOGGER,
    close,
    disconnect,
    event,
    pong,
    received,
    take_all,
    text,
)

from .http2_support import JUST_BEFORE, KIB, HTTP2Client, TunnelTestCase

GOING_AWAY = (0x88, b"\x03\xf4")  # 1012: the server restarts


@tag("loop")
class ClosingTests(TunnelTestCase):
    """How a WebSocket ends, and its stream with it."""

    def assert_ended(self, client: HTTP2Client, answer: Answer) -> None:
        """The stream has ended in good order, and the connection goes on."""
        client.hear()
        self.assertTrue(answer.ended, "the stream has no end")
        self.assertIn(answer.reset, (None, Code.NO_ERROR))
        self.assertEqual(sum(each.event == "disconnected" for each in client.server.access), 1)
        self.assert_going_on(client)

    def test_by_the_client(self):
        """The client closes, with its stream or ahead of it: it is answered, then all ends."""
        for end in (False, True):
            with self.subTest(end=end):
                client, answer, call = self.open()
                client.give(answer, text("x") + close(4000, b"why"), end=end)
                self.assertEqual(take_all(call), [received("x"), disconnect(4000, "why")])
                call.finish()
                self.assertEqual(client.told(answer), [(0x88, b"\x0f\xa0")])
                self.assertIsNone(answer.reset)
                self.assert_ended(client, answer)

    def test_end_behind_the_close(self):
        """The client ends its stream when the server's end has come: it is not reset."""
        client, answer, call = self.open()
        client.give(answer, close(1000))
        call.finish()
        client.give(answer, b"", end=True)
        client.wait(6)
        self.assertIsNone(answer.reset)
        self.assert_ended(client, answer)

    def test_no_end_behind_the_close(self):
        """The client never ends its stream: it is reset after linger_timeout."""
        client, answer, call = self.open(linger_timeout=5)
        client.give(answer, close(1000))
        call.finish()
        client.give(answer, text("late"))
        client.wait(5 - JUST_BEFORE)
        self.assertEqual((answer.ended, answer.reset), (True, None))
        client.wait(RESOLUTION + JUST_BEFORE)
        self.assertEqual(answer.reset, Code.NO_ERROR)
        self.assert_ended(client, answer)

    def test_by_the_application(self):
        """The application closes; the client answers, and the stream ends."""
        client, answer, call = self.open()
        self.say(call, "close", code=4001, reason="because")
        self.assertEqual(client.told(answer), [(0x88, b"\x0f\xa1because")])
        self.assertFalse(answer.ended)
        client.give(answer, close(4001), end=True)
        self.assertEqual(call.receive_now(), disconnect(4001, "because"))
        call.finish()
        self.assertIsNone(answer.reset)
        self.assert_ended(client, answer)

    def test_without_an_answer(self):
        """The application closes, and the client goes on sending: waited for linger_timeout."""
        client, answer, call = self.open(linger_timeout=5)
        self.say(call, "close")
        call.finish()
        client.give(answer, text("late"))
        client.wait(5 - JUST_BEFORE)
        self.assertFalse(answer.ended)
        client.wait(RESOLUTION + JUST_BEFORE)
        self.assert_ended(client, answer)

    def test_by_returning(self):
        """The application returns, or fails."""
        client, answer, call = self.open()
        call.finish()
        self.assertEqual(client.told(answer), [(0x88, b"\x03\xe8")])
        client, answer, call = self.open()
        with self.assertLogs(LOGGER, "ERROR"):
            call.fail(ValueError())
        self.assertEqual(client.told(answer), [(0x88, b"\x03\xf3")])
        client.give(answer, close(1011), end=True)
        self.assert_ended(client, answer)

    def test_reset(self):
        """The client resets the stream: 1006, and send() raises."""
        client, answer, call = self.open()
        waiting = call.receive()
        client.give_up(answer)
        self.assertEqual(waiting.result(), disconnect(1006))
        with self.assertRaises(ClientDisconnected):
            call.send(event("send", text="x")).result()
        call.finish()
        record = client.server.access[-1]
        self.assertEqual((record.event, record.code), ("disconnected", 1006))
        self.assert_going_on(client)

    def test_end_without_a_close(self):
        """The client ends its stream without a close frame: 1006, and the stream ends."""
        client, answer, call = self.open()
        client.give(answer, text("x"), end=True)
        self.assertEqual(take_all(call), [received("x"), disconnect(1006)])
        call.finish()
        self.assertIsNone(answer.reset)
        self.assert_ended(client, answer)

    def test_lost(self):
        """The client vanishes: every WebSocket is told, once."""
        client, calls = self.speak(application_close_timeout=5)
        waiting = [self.open_on(client, calls)[1].receive() for _ in range(3)]
        client.memory.reset()
        self.assertEqual([each.result() for each in waiting], [disconnect(1006)] * 3)
        events = [record.event for record in client.server.access]
        self.assertEqual(events, ["connecting", "connected"] * 3 + ["disconnected"] * 3)
        calls[0].finish()
        client.server.wait(6)
        self.assertEqual([call.cancelled for call in calls], [False, True, True])
        self.assert_nothing_left(client)

    def test_violation(self):
        """The client sends a frame without a mask: 1002, and the other streams go on."""
        client, answer, call = self.open()
        client.give(answer, b"\x81\x01x")
        self.assertEqual(client.told(answer), [(0x88, b"\x03\xea")])
        self.assertEqual(call.receive_now(), disconnect(1002))
        call.finish()
        self.assert_ended(client, answer)

    def test_fault_of_the_connection(self):
        """The client breaks a rule of HTTP/2: 1006."""
        client, _, call = self.open()
        waiting = call.receive()
        client.send(b"\0\0\x08\x06\0\0\0\0\1" + bytes(8))
        self.assertEqual(waiting.result(), disconnect(1006))

    def test_counts(self):
        """The client's WebSockets count as streams, and so do applications behind their ends."""
        client, calls = self.speak(http2_max_concurrent_streams=2)
        first, call = self.open_on(client, calls)
        self.open_on(client, calls)
        self.assertEqual(client.ask(request_fields()).reset, Code.REFUSED_STREAM)
        client.give_up(first)
        self.assertEqual(client.ask(request_fields()).reset, Code.REFUSED_STREAM)
        call.finish()
        self.assert_going_on(client)


@tag("loop")
class DrainTests(TunnelTestCase):
    """The server stops."""

    def test_open(self):
        """The client is told 1012 in the end, and the connection ends behind its answer."""
        client, answer, call = self.open()
        client.server.drain()
        self.assertEqual(client.told(answer), [])
        client.server.end_streams()
        self.assertEqual(client.told(answer), [GOING_AWAY])
        self.assertEqual(call.receive_now(), disconnect(1012))
        call.finish()
        client.give(answer, close(1012), end=True)
        self.assertTrue(client.finish(answer).ended)
        self.assert_ends(client.memory)
        self.assert_nothing_left(client)

    def test_connecting(self):
        """The application accepts only when the server stops already."""
        client, answer, call = self.connecting()
        client.server.drain()
        call.receive_now()
        self.say(call, "accept")
        self.assertEqual(client.told(answer), [GOING_AWAY])
        self.assertEqual(call.receive_now(), disconnect(1012))

    def test_asked_between(self):
        """The client asks for a WebSocket between the two steps: accepted, and closed."""
        client, calls = self.speak()
        client.ask(request_fields())
        client.conversation.answers_pings = False
        client.server.drain()
        client.hear()
        answer, call = self.shake(client, calls)
        call.receive_now()
        self.say(call, "accept")
        self.assertEqual(client.told(answer), [GOING_AWAY])

    def test_no_answer(self):
        """The client does not answer the close frame: it is waited for linger_timeout."""
        client, answer, call = self.open(linger_timeout=5)
        client.server.drain()
        client.server.end_streams()
        call.finish()
        client.wait(4)
        self.assertTrue(client.is_open)
        client.wait(1 + RESOLUTION)
        self.assertTrue(answer.ended)
        client.wait(5 + RESOLUTION)
        self.assertEqual(answer.reset, Code.NO_ERROR)
        self.assert_ends(client.memory)


@tag("loop")
class DeadlineTests(TunnelTestCase):
    """Deadlines of each WebSocket, and of its handshake."""

    def test_connect(self):
        """The application does not answer within websocket_connect_timeout: 403."""
        client, answer, call = self.connecting(websocket_connect_timeout=7)
        call.receive_now()
        waiting = call.receive()
        client.wait(7 - JUST_BEFORE)
        self.assertFalse(answer.done)
        client.wait(RESOLUTION + JUST_BEFORE)
        self.assertEqual((answer.status, answer.ended, answer.reset), (403, True, None))
        self.assertEqual(waiting.result(), disconnect(1006))
        call.finish()
        self.assert_going_on(client)

    def test_slow_denial(self):
        """The application denies in time, and takes longer for the rest of its response."""
        client, answer, call = self.connecting(websocket_connect_timeout=7)
        self.say(call, "http.response.start", status=402)
        self.say(call, "http.response.body", body=b"pay ", more_body=True)
        client.wait(20)
        self.say(call, "http.response.body", body=b"first")
        self.assert_answered(client.finish(answer), 402, b"pay first")

    def test_connected(self):
        """The application answers in time: nothing of a request's deadlines is left."""
        client, answer, call = self.open(
            websocket_connect_timeout=7, body_timeout=7, http_timeout=7, ping_interval=-1
        )
        client.wait(100)
        self.assertFalse(answer.done, "an open WebSocket was ended by a deadline of requests")
        self.say(call, "send", text="x")
        self.assertEqual(client.told(answer), [(0x81, b"x")])

    def test_lifetime(self):
        """The client's WebSocket has lived for websocket_timeout: 1000."""
        client, answer, call = self.open(websocket_timeout=100, ping_interval=-1)
        client.wait(100 + RESOLUTION)
        self.assertEqual(client.told(answer), [(0x88, b"\x03\xe8")])
        self.assertEqual(call.receive_now(), disconnect(1000))

    def test_ping(self):
        """The client is silent on one of its WebSockets: that one ends, for the other talks."""
        client, calls = self.speak(ping_interval=10, ping_timeout=7, http2_ping_interval=-1)
        silent, first = self.open_on(client, calls)
        talking, second = self.open_on(client, calls)
        waiting = first.receive()
        for _ in range(6):
            client.wait(4)
            client.give(talking, pong())
        self.assertEqual(waiting.result(), disconnect(1006))
        told = client.told(silent)
        self.assertEqual((told[0], told[-1]), ((0x89, b""), (0x88, b"\x03\xf3ping timeout")))
        self.assertTrue(silent.ended)
        self.assertEqual(take_all(second), [])
        self.assertFalse(talking.done)

    def test_nothing_left(self):
        """The client's WebSockets end in many ways: no deadline is left of any."""

        def close_it(client: HTTP2Client, answer: Answer, call: Call) -> None:
            client.give(answer, close(1000))

        def reset(client: HTTP2Client, answer: Answer, call: Call) -> None:
            client.give_up(answer)

        def end(client: HTTP2Client, answer: Answer, call: Call) -> None:
            client.give(answer, b"", end=True)

        def finish(client: HTTP2Client, answer: Answer, call: Call) -> None:
            self.say(call, "close")
            client.give(answer, close(1000), end=True)

        def be_wrong(client: HTTP2Client, answer: Answer, call: Call) -> None:
            client.give(answer, b"\x81\x01x")

        for number, how in enumerate((close_it, reset, end, finish, be_wrong)):
            with self.subTest(how.__name__):
                client, calls = self.speak(
                    keep_alive_timeout=-1, http2_ping_interval=-1, write_timeout=10**5
                )
                answer, call = self.open_on(client, calls)
                how(client, answer, call)
                call.finish()
                client.wait(6)  # of a stream that the client has not ended the rest is awaited
                self.assertEqual(client.deadlines, set(), number)
                client.server.wait(100)  # the wheel takes its time to stand still
                self.assertEqual(client.server.clock.pending, 0)

    def test_slow_client(self):
        """The client makes a little room now and then: it is waited for."""
        client, answer, call = self.open(credit=False, write_timeout=7, ping_interval=-1)
        call.send(event("send", bytes=bytes(200 * KIB)))
        for _ in range(5):
            client.wait(6)
            client.grant(0, 1)
            client.grant(answer.number, 1)
        self.assertFalse(answer.done)

    def test_write_timeout(self):
        """The client makes no room for messages: its stream is reset, and the others go on."""
        client, answer, call = self.open(credit=False, write_timeout=7, ping_interval=-1)
        sending = call.send(event("send", bytes=bytes(200 * KIB)))
        self.assertFalse(sending.done())
        client.wait(7 + 2 * RESOLUTION)
        self.assertIsNotNone(answer.reset)
        self.assertTrue(sending.done())
        self.assertEqual(call.receive_now(), disconnect(1006))
        call.finish()
        client.grant(0, 10**6)
        self.assert_going_on(client)
