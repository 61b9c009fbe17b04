"""Backpressure of HTTP/2, both ways: nothing is held without a bound, and nobody waits for ever."""

from __future__ import annotations

from typing import Any

from django.test import tag

from django_daphne.server import ClientDisconnected
from tests.support.http2_conversation import Answer
from tests.support.http2_frames import (
    ACK,
    Code,
    Kind,
    Setting,
    data_frame,
    ping_frame,
    request_fields,
)
from tests.support.memory import Call

from .http2_support import KIB, HTTP2Client, HTTP2TestCase

GET = request_fields()
POST = request_fields(b"POST")
BUFFER = 8 * KIB
WINDOW = 65535


@tag("loop")
class SendingTests(HTTP2TestCase):
    """The client leaves no room in its windows."""

    def stalled(self, **options: Any) -> tuple[HTTP2Client, Answer, Call]:
        """Return a client whose windows are used up, and a call whose send() does not wait yet."""
        client, answer, call = self.ask(credit=False, write_buffer_size=BUFFER, **options)
        call.receive_now()
        call.start()
        call.send("body", body=bytes(WINDOW), more_body=True).result()
        client.hear()
        self.assertEqual(len(answer.body), WINDOW)
        return client, answer, call

    def grant(self, client: HTTP2Client, answer: Answer, size: int) -> None:
        """Make room on the stream and the connection."""
        client.grant(0, size)
        client.grant(answer.number, size)

    def test_send_waits(self):
        """The application's send() waits above the limit and goes on well below it."""
        client, answer, call = self.stalled()
        call.body(bytes(BUFFER), more=True)
        sending = call.send("body", body=b"x", more_body=True)
        self.assertFalse(sending.done())
        self.grant(client, answer, BUFFER // 2)
        self.assertFalse(sending.done())
        self.grant(client, answer, BUFFER // 2)
        self.assertTrue(sending.done())
        self.assertEqual(len(answer.body), WINDOW + BUFFER)

    def test_bound(self):
        """The application streams; what is held is the limit and one part."""
        client, answer, call = self.stalled()
        parts = 0
        while call.send("body", body=bytes(KIB), more_body=True).done():
            parts += 1
            self.assertLessEqual(parts, BUFFER // KIB)
        self.grant(client, answer, 10**6)
        self.assertEqual(len(answer.body), WINDOW + (parts + 1) * KIB)

    def test_again_and_again(self):
        """The application waits, goes on, and waits again, until all has arrived."""
        client, answer, call = self.stalled()
        for number in range(20):
            sending = call.send("body", body=bytes((number,)) * 2 * BUFFER, more_body=True)
            self.assertFalse(sending.done())
            self.grant(client, answer, 2 * BUFFER)
            self.assertTrue(sending.done())
        call.body()
        self.assertEqual(len(client.finish(answer).body), WINDOW + 40 * BUFFER)

    def test_other_stream(self):
        """The client leaves no room on one stream: another goes on beside it."""
        client, first, call = self.stalled()
        sending = call.send("body", body=bytes(2 * BUFFER), more_body=True)
        client.grant(0, 10**6)
        self.assert_going_on(client)
        self.assertFalse(sending.done())
        client.grant(first.number, 10**6)
        self.assertTrue(sending.done())

    def test_connection_window(self):
        """The client leaves no room on the connection: nobody's body goes, and then everybody's."""
        client, first, call = self.stalled()
        client.grant(first.number, 10**6)
        second = client.ask(GET)
        client.calls[1].answer()
        call.body(b"end")
        client.hear()
        self.assertEqual((second.status, bytes(second.body), first.ended), (200, b"", False))
        client.grant(0, 4)
        self.assertEqual(len(second.body) + len(first.body) - WINDOW, 4)
        client.grant(0, 4)
        self.assert_answered(second)
        self.assertTrue(first.ended)

    def test_settings(self):
        """The client makes room, and takes it back, by changing what holds for all streams."""
        client, answer, call = self.stalled()
        client.grant(0, 10**6)
        call.body(bytes(3000), more=True)
        client.change({Setting.INITIAL_WINDOW_SIZE: WINDOW + 1000})
        self.assertEqual(len(answer.body), WINDOW + 1000)
        client.change({Setting.INITIAL_WINDOW_SIZE: 0})
        client.grant(answer.number, WINDOW + 1000)
        self.assertEqual(len(answer.body), WINDOW + 1000)
        client.grant(answer.number, 1)
        self.assertEqual(len(answer.body), WINDOW + 1001)
        client.change({Setting.INITIAL_WINDOW_SIZE: 10**6})
        self.assertEqual(len(answer.body), WINDOW + 3000)

    def test_reset(self):
        """The client gives up while send() waits, which returns; the next one raises."""
        client, answer, call = self.stalled()
        sending = call.send("body", body=bytes(10**5), more_body=True)
        client.give_up(answer)
        self.assertTrue(sending.done())
        with self.assertRaises(ClientDisconnected):
            call.send("body", body=b"x").result()

    def test_last_part(self):
        """The application returns behind its last part: all of it arrives all the same."""
        client, answer, call = self.stalled()
        call.send("body", body=bytes(10**5))
        call.finish()
        self.grant(client, answer, 10**6)
        self.assertEqual((len(answer.body), answer.ended), (WINDOW + 10**5, True))

    def test_empty_end(self):
        """The client has no room, and needs none for an end without content."""
        client, answer, call = self.stalled()
        call.body()
        self.assertTrue(client.finish(answer).ended)

    def test_frame_size(self):
        """The client takes larger frames, or only the usual ones: none is larger than it takes."""
        for size in (16384, 50_000):
            with self.subTest(size=size):
                settings = {Setting.MAX_FRAME_SIZE: size, Setting.INITIAL_WINDOW_SIZE: 10**6}
                client, answer, call = self.ask(settings=settings)
                call.start()
                call.send("body", body=bytes(10**5))
                self.assertEqual(max(client.finish(answer).pieces), size)

    def test_socket(self):
        """The client does not read: what is held of all streams has a bound, and all arrives."""
        client, calls = self.speak(write_buffer_size=BUFFER)
        answers = client.in_one_read(*[GET] * 4)
        client.stall()
        sendings = []
        for call in calls:
            call.start()
            sendings.append(call.send("body", body=bytes(3 * BUFFER), more_body=True))
        self.assertFalse(all(sending.done() for sending in sendings[1:]))
        self.assertLess(len(client.wire.unsent), 80 * KIB)
        client.read_on()
        self.assertTrue(all(sending.done() for sending in sendings))
        for call in calls:
            call.body()
        client.hear()
        self.assertEqual([len(answer.body) for answer in answers], [3 * BUFFER] * 4)

    def test_turns(self):
        """The client asks for two large things: their frames alternate."""
        client, calls = self.speak(
            settings={Setting.INITIAL_WINDOW_SIZE: 0}, write_buffer_size=BUFFER
        )
        answers = client.in_one_read(GET, GET)
        for call in calls:
            call.start()
            call.send("body", body=bytes(60_000))
        client.change({Setting.INITIAL_WINDOW_SIZE: 10**6})
        client.grant(0, 10**6)
        order = [each.stream for each in client.conversation.log if each.kind == Kind.DATA]
        self.assertEqual(order, [1, 3] * 4)
        self.assertTrue(all(answer.ended for answer in answers))


@tag("loop")
class ReadingTests(HTTP2TestCase):
    """The application does not take the body."""

    def test_no_credit(self):
        """The client sends as much as it may: the application's pace is its own."""
        client, answer, call = self.ask(
            b"POST", end=False, body_buffer_size=BUFFER, http2_stream_window=100_000
        )
        client.give(answer, bytes(BUFFER + 1))
        while answer.window:
            client.give(answer, bytes(min(10_000, answer.window)))
        client.wait(1)
        self.assertEqual((answer.window, answer.reset), (0, None))
        client.give(answer, b"x")
        self.assertEqual(answer.reset, Code.FLOW_CONTROL_ERROR)
        self.assertLessEqual(len(call.receive_now()["body"]), BUFFER + 100_001)
        self.assert_going_on(client)

    def test_credit_when_taken(self):
        """The application takes what there is, and the client may send as much again."""
        client, answer, call = self.ask(
            b"POST", end=False, body_buffer_size=BUFFER, http2_stream_window=100_000
        )
        for _ in range(10):
            sent = 0
            while answer.window:
                size = min(10_000, answer.window)
                client.give(answer, bytes(size))
                sent += size
            while sent:
                sent -= len(call.receive_now()["body"])
                client.hear()
            self.assertGreaterEqual(answer.window, 50_000)
        self.assertIsNone(answer.reset)

    def test_large_body(self):
        """The client sends a body much larger than the windows, and all of it arrives."""
        client, answer, call = self.ask(
            b"POST",
            end=False,
            body_buffer_size=BUFFER,
            http2_stream_window=WINDOW,
            http2_connection_window=WINDOW,
        )
        received = 0
        while received < 10**6:
            room = min(answer.window, client.conversation.window, 16384)
            if room:
                client.give(answer, bytes(room))
            else:
                received += len(call.receive_now()["body"])
                client.hear()
        self.assertIsNone(answer.reset)

    def test_unread_is_given_back(self):
        """The streams end with bodies that nobody took: the connection's window has it again."""

        def early(client: HTTP2Client, answer: Answer, call: Call) -> None:
            call.answer()

        def reset(client: HTTP2Client, answer: Answer, call: Call) -> None:
            client.give_up(answer)
            call.finish()

        def fail(client: HTTP2Client, answer: Answer, call: Call) -> None:
            with self.assertLogs("django_daphne.server"):
                call.fail(ValueError())

        def be_late(client: HTTP2Client, answer: Answer, call: Call) -> None:
            client.wait(6)
            call.finish()

        def be_wrong(client: HTTP2Client, answer: Answer, call: Call) -> None:
            client.give(answer, b"too much")
            call.finish()

        def take_late(client: HTTP2Client, answer: Answer, call: Call) -> None:
            client.give(answer, b"", end=True)
            call.receive_now()
            call.answer()

        for end in (early, reset, fail, be_late, be_wrong, take_late):
            with self.subTest(end.__name__):
                client, calls = self.speak(
                    body_buffer_size=KIB,
                    http_timeout=5,
                    http2_stream_window=WINDOW,
                    http2_connection_window=2 * WINDOW,
                )
                length = (b"content-length", b"%d" % WINDOW) if end is not fail else (b"x", b"y")
                for _ in range(10):
                    answer = client.ask(request_fields(b"POST", b"/", length), end=False)
                    for size in (16384, 16384, 16384, 16383):
                        self.assertGreaterEqual(client.conversation.window, size)
                        client.give(answer, bytes(size))
                    end(client, answer, calls[-1])
                    client.hear()
                self.assertEqual(client.goaways, [])
                self.assert_going_on(client)

    def test_too_much_is_given_back(self):
        """The client sends more than it announced, again and again: the connection has it again."""
        client, _ = self.speak(http2_stream_window=WINDOW, http2_connection_window=WINDOW)
        fields = request_fields(b"POST", b"/", (b"content-length", b"10"))
        for _ in range(10):
            answer = client.ask(fields, end=False)
            client.give(answer, bytes(16384))
            self.assertEqual(answer.reset, Code.PROTOCOL_ERROR)
        self.assertGreaterEqual(client.conversation.window, WINDOW // 2)
        self.assertEqual(client.goaways, [])

    def test_padding(self):
        """The client pads its body: what is given back is what it took of the windows."""

        client, answer, call = self.ask(b"POST", end=False, http2_stream_window=WINDOW)
        for _ in range(1000):
            client.send(data_frame(answer.number, b"x", padding=255))
            call.receive_now()
        self.assertGreater(answer.window - WINDOW, 1000 * 257 - WINDOW)
        self.assertIsNone(answer.reset)


@tag("loop")
class AnswerTests(HTTP2TestCase):
    """The client sends what is to be answered, and reads no answers."""

    def stalled(self, **values: Any) -> tuple[HTTP2Client, Answer, Call]:
        """Return a client that does not read its answer."""
        client, answer, call = self.ask(write_buffer_size=BUFFER, **values)
        client.conversation.answers_pings = False
        client.stall()
        call.start()
        call.send("body", body=bytes(40 * KIB), more_body=True)
        return client, answer, call

    def flood(self, client: HTTP2Client) -> None:
        """Send more PINGs than are answered unread, in 16 seconds, as they are allowed."""
        for number in range(3):
            if number:
                client.server.wait(8)
            client.memory.send(ping_frame() * 400)

    def test_pings(self):
        """The client sends PINGs: after some, reading stops until it reads on."""
        client, _, _ = self.stalled()
        self.flood(client)
        for _ in range(100):
            client.memory.send(ping_frame() * 4)
        self.assertGreater(client.wire.unread, 0)
        self.assertLess(len(client.wire.unsent), (40 + 16 + 8) * KIB)
        client.server.wait(8)
        client.read_on()
        self.assertEqual((client.wire.unread, len(client.conversation.pongs)), (0, 1600))

    def test_unread_floods(self):
        """The client sends fewer PINGs than are forbidden, and stops reading: all are answered."""
        client, answer, _ = self.stalled()
        for number in range(490):
            client.memory.send(ping_frame(number.to_bytes(8)))
        client.read_on()
        self.assertEqual([*map(int.from_bytes, client.conversation.pongs)], [*range(490)])
        self.assertEqual(len(answer.body), 40 * KIB)
        self.assertTrue(client.is_open)

    def test_write_timeout(self):
        """The client never reads on: the connection is reset."""
        client, _, _ = self.stalled(write_timeout=20)
        self.flood(client)
        self.assertFalse(client.memory.was_reset)
        client.server.wait(5)
        self.assert_reset(client.memory)
        self.assert_nothing_left(client)

    def test_read_on(self):
        """The client reads on after a while, and is served as before."""
        client, answer, call = self.stalled()
        self.flood(client)
        client.read_on()
        call.body()
        client.finish(answer)
        self.assert_going_on(client)

    def test_silence(self):
        """The client reads all at last, and says nothing any more: it is given up like others."""
        client, _, _ = self.stalled(
            credit=False, write_timeout=-1, http2_ping_interval=10, http2_ping_timeout=7
        )
        self.flood(client)
        self.assertFalse(client.wire.reading)
        client.server.wait(30)
        self.assertFalse(client.memory.was_reset)
        client.read_on()
        self.assertTrue(client.wire.reading)
        client.server.wait(60)
        self.assert_reset(client.memory)

    def test_answers_that_are_none(self):
        """The client sends answers to PINGs that nobody sent: they need none."""
        client, _, _ = self.stalled()
        before = len(client.wire.unsent)
        client.memory.send(ping_frame(flags=ACK) * 400)
        self.assertEqual((len(client.wire.unsent), client.wire.unread), (before, 0))
