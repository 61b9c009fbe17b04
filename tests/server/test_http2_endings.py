"""How requests of HTTP/2 end: early, by faults, by resets, by the size of their bodies."""

from __future__ import annotations

from typing import Any

from django.test import tag

from django_daphne.server import ClientDisconnected
from django_daphne.server.protocols.deadlines import RESOLUTION
from tests.support.http2_conversation import Answer
from tests.support.http2_frames import (
    Code,
    Field,
    headers_frame,
    literal,
    request_fields,
)

from .http2_support import JUST_BEFORE, HTTP2Client, HTTP2TestCase

LOGGER = "django_daphne.server"
DISCONNECT = {"type": "http.disconnect"}
GET = request_fields()
POST = request_fields(b"POST")


@tag("loop")
class EarlyTests(HTTP2TestCase):
    """The application answers before it has the whole body."""

    def answered(
        self, *headers: Field, status: int = 200, **values: Any
    ) -> tuple[HTTP2Client, Answer]:
        """Return a client that was answered within its body."""
        client, answer, call = self.ask(b"POST", b"/", *headers, end=False, **values)
        client.give(answer, b"part")
        call.answer(status=status)
        self.assert_answered(client.finish(answer), status)
        return client, answer

    def test_rest(self):
        """The client sends the rest: it is thrown away, and nothing more is said."""
        client, answer = self.answered()
        client.give(answer, b"rest", end=True)
        client.wait(20)
        self.assertIsNone(answer.reset)
        self.assertEqual(client.deadlines, {"ping", "keep-alive"})
        self.assert_going_on(client)

    def test_trailers(self):
        """The client ends the rest with trailers."""
        client, answer = self.answered()
        client.send(headers_frame(answer.number, literal([(b"x-a", b"1")])))
        client.wait(20)
        self.assertIsNone(answer.reset)
        self.assert_going_on(client)

    def test_never_ends(self):
        """The client sends a little of the rest now and then: reset after linger_timeout."""
        client, answer = self.answered(linger_timeout=5)
        for _ in range(4):
            client.wait(1)
            client.give(answer, b"x")
        self.assertIsNone(answer.reset)
        client.wait(1 + RESOLUTION)
        self.assertEqual(answer.reset, Code.NO_ERROR)
        client.give(answer, b"x", end=True)
        self.assert_going_on(client)

    def test_too_much(self):
        """The client sends more of the rest than max_discard_size: reset; all is given back."""
        for status in (200, 403):
            with self.subTest(status=status):
                client, answer = self.answered(status=status, max_discard_size=100_000)
                for _ in range(6):
                    client.give(answer, bytes(16384))
                self.assertIsNone(answer.reset)
                client.give(answer, bytes(16384))
                self.assertEqual(answer.reset, Code.NO_ERROR)
                for _ in range(1000):
                    client.give(answer, bytes(16384))
                client.give(answer, b"", end=True)
                self.assertGreater(client.conversation.window, 4 * 2**20)
                self.assert_going_on(client)

    def test_exactly_so_much(self):
        """The client sends just as much of the rest as is thrown away, and is credited for it."""
        client, answer = self.answered(max_discard_size=2**20, http2_stream_window=65535)
        sent = 0
        while sent < 2**20:
            size = min(answer.window, 16384, 2**20 - sent)
            self.assertGreater(size, 0, "the rest is wanted, and there is no room for it")
            client.give(answer, bytes(size))
            sent += size
        client.give(answer, b"", end=True)
        self.assertIsNone(answer.reset)
        self.assert_going_on(client)

    def test_announced_too_much(self):
        """The client has announced more than is thrown away: it is reset at once."""
        for announced, reset in ((4 + 1000, None), (4 + 1001, Code.NO_ERROR)):
            with self.subTest(announced=announced):
                length = (b"content-length", b"%d" % announced)
                client, answer = self.answered(length, max_discard_size=1000)
                self.assertEqual(answer.reset, reset)
                self.assert_going_on(client)

    def test_announced_too_much_for_nothing(self):
        """The client has announced too much, and its answer says that it is for nothing.

        Such an answer stops it; some clients would take a reset for a fault, and never look at it.
        """
        length = (b"content-length", b"100000")
        client, answer = self.answered(length, status=403, max_discard_size=1000, linger_timeout=5)
        client.wait(5 - JUST_BEFORE)
        self.assertIsNone(answer.reset)
        client.wait(RESOLUTION + JUST_BEFORE)
        self.assertEqual(answer.reset, Code.NO_ERROR)
        self.assert_going_on(client)

    def test_given_up(self):
        """The client resets in place of the rest: nothing is awaited any more."""
        client, answer = self.answered()
        client.give_up(answer)
        self.assertEqual(client.deadlines, {"ping", "keep-alive"})
        self.assert_going_on(client)

    def test_counts(self):
        """The client's unfinished streams count until they end, or were reset."""
        client, calls = self.speak(http2_max_concurrent_streams=2, linger_timeout=5)
        answers = [client.ask(POST, end=False) for _ in range(2)]
        for call in calls:
            call.answer()
        self.assertEqual(client.ask(GET).reset, Code.REFUSED_STREAM)
        client.give(answers[0], b"", end=True)
        self.assert_going_on(client)
        self.assertEqual(client.ask(GET, end=False).reset, None)
        calls[-1].answer()
        client.wait(5 + RESOLUTION)
        self.assert_going_on(client)

    def test_drain(self):
        """The server stops while a rest is awaited: the connection ends behind it."""
        client, answer = self.answered()
        client.server.drain()
        client.hear()
        self.assertTrue(client.is_open)
        client.give(answer, b"rest", end=True)
        self.assert_ends(client.memory)
        self.assert_nothing_left(client)

    def test_whole_body_unread(self):
        """The client has sent all, and the application has read nothing of it: no reset."""
        client, answer, call = self.ask(b"POST", end=False)
        client.give(answer, b"whole", end=True)
        call.answer()
        self.assert_answered(client.finish(answer))
        self.assertIsNone(answer.reset)

    def test_told(self):
        """The application that has answered is told of no more body."""
        client, answer, call = self.ask(b"POST", end=False)
        call.start()
        call.body(b"hello")
        client.finish(answer)
        client.give(answer, b"late", end=True)
        self.assertEqual(call.receive_now(), DISCONNECT)


@tag("loop")
class FaultTests(HTTP2TestCase):
    """The application fails."""

    def test_before_the_response(self):
        """The application raises at once: 500, and the others go on."""
        client, answer, call = self.ask()
        with self.assertLogs(LOGGER, "ERROR"):
            call.fail(ValueError("zebra"))
        client.finish(answer)
        self.assertEqual((answer.status, answer.ended), (500, True))
        self.assertNotIn(b"zebra", answer.body)
        self.assert_going_on(client)

    def test_behind_the_start(self):
        """The application raises when it has said its status alone, which has left or not."""
        client, answer, call = self.ask()
        call.start(201)
        with self.assertLogs(LOGGER, "ERROR"):
            call.fail(ValueError())
        client.hear()
        self.assertFalse(answer.ended)
        self.assertEqual(answer.reset, Code.INTERNAL_ERROR)
        self.assert_going_on(client)

    def test_within_the_body(self):
        """The application raises within its body: the client sees that it is not whole."""
        client, answer, call = self.ask()
        call.start()
        call.body(b"part", more=True)
        with self.assertLogs(LOGGER, "ERROR"):
            call.fail(ValueError())
        client.hear()
        self.assertEqual((answer.ended, answer.reset), (False, Code.INTERNAL_ERROR))
        self.assert_going_on(client)

    def test_return(self):
        """The application returns without an answer, or in the middle of it."""
        for more in (False, True):
            with self.subTest(more=more):
                client, answer, call = self.ask()
                if more:
                    call.start()
                    call.body(b"part", more=True)
                with self.assertLogs(LOGGER, "ERROR"):
                    call.finish()
                client.hear()
                end = (200, Code.INTERNAL_ERROR) if more else (500, None)
                self.assertEqual((answer.status, answer.reset), end)
                self.assert_going_on(client)

    def test_behind_the_response(self):
        """The application raises when it has answered: the client does not see it."""
        client, answer, call = self.ask()
        call.start()
        call.body(b"hello")
        with self.assertLogs(LOGGER, "ERROR"):
            call.fail(ValueError())
        self.assert_answered(client.finish(answer))
        self.assertIsNone(answer.reset)

    def test_early_fault(self):
        """The application raises before it has the body: 500."""
        client, answer, call = self.ask(b"POST", end=False)
        with self.assertLogs(LOGGER, "ERROR"):
            call.fail(ValueError())
        self.assertEqual((client.finish(answer).status, answer.reset), (500, None))


@tag("loop")
class ResetTests(HTTP2TestCase):
    """The client gives a request up."""

    def test_told(self):
        """The application is told at once, always again, and its words have no effect."""
        client, answer, call = self.ask()
        call.receive_now()
        waiting = call.receive()
        client.give_up(answer)
        self.assertEqual([waiting.result(), call.receive_now()], [DISCONNECT, DISCONNECT])
        with self.assertRaises(ClientDisconnected):
            call.send("start", status=200).result()
        self.assert_going_on(client)

    def test_what_came_before(self):
        """The client resets within its body: what has come is delivered before the news."""
        client, answer, call = self.ask(b"POST", end=False)
        client.give(answer, b"part")
        client.give_up(answer)
        self.assertEqual(call.receive_now()["body"], b"part")
        self.assertEqual(call.receive_now(), DISCONNECT)

    def test_cancelled(self):
        """The application does not care: it is cancelled after application_close_timeout."""
        client, answer, call = self.ask(application_close_timeout=5)
        client.give_up(answer)
        client.wait(4.9)
        self.assertFalse(call.cancelled)
        client.wait(0.2)
        self.assertTrue(call.cancelled)

    def test_wrong_length(self):
        """The client sends more or less body than it announced: its stream is reset."""
        for body in (b"1234", b"123456"):
            with self.subTest(body=body):
                client, answer, call = self.ask(b"POST", b"/", (b"content-length", b"5"), end=False)
                call.start()
                call.body(b"part", more=True)
                client.give(answer, body, end=True)
                self.assertEqual(answer.reset, Code.PROTOCOL_ERROR)
                messages = [call.receive_now() for _ in range(2)]
                self.assertEqual(messages[-1], DISCONNECT)
                self.assertTrue(all(message.get("more_body", True) for message in messages))
                self.assert_going_on(client)


@tag("loop")
class BodyLimitTests(HTTP2TestCase):
    """max_body_size."""

    def test_announced(self):
        """The client announces too much: 413 at once, and nobody is called."""
        client, calls = self.speak(max_body_size=100)
        answer = client.ask(request_fields(b"POST", b"/", (b"content-length", b"101")), end=False)
        self.assertEqual((answer.status, answer.ended, answer.reset), (413, True, None))
        self.assertEqual(calls, [])
        self.assert_going_on(client)

    def test_growing(self):
        """The client sends too much without a word: 413 when it is."""
        client, answer, call = self.ask(b"POST", end=False, max_body_size=100)
        client.give(answer, bytes(100))
        self.assertFalse(answer.done)
        client.give(answer, b"x")
        self.assertEqual((answer.status, answer.ended, answer.reset), (413, True, None))
        self.assertEqual(len(call.receive_now()["body"]), 101)
        self.assertEqual(call.receive_now(), DISCONNECT)
        self.assert_going_on(client)

    def test_growing_within_the_response(self):
        """The client sends too much while it is answered: reset."""
        client, answer, call = self.ask(b"POST", end=False, max_body_size=100)
        call.start()
        call.body(b"part", more=True)
        client.give(answer, bytes(101))
        self.assertEqual((answer.status, answer.ended), (200, False))
        self.assertIsNotNone(answer.reset)
        self.assert_going_on(client)
