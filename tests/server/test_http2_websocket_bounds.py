"""WebSockets over HTTP/2: what is held of messages, both ways, and their limits."""

from __future__ import annotations

from django.test import tag

from tests.support.http2_frames import Code, websocket_fields
from tests.support.websocket import (
    CONNECT,
    disconnect,
    event,
    frame,
    ping,
    received,
    take_all,
    text,
)

from .http2_support import KIB, TunnelTestCase


@tag("loop")
class BoundTests(TunnelTestCase):
    """Nothing is held without a bound."""

    def test_slow_client(self):
        """The client makes no room: send() waits above the limit, and goes on well below it."""
        client, answer, call = self.open(credit=False, write_buffer_size=8 * KIB)
        sent = 0
        while call.send(event("send", bytes=bytes(KIB))).done():
            sent += 1
            self.assertLess(sent, 80)
        self.assertGreaterEqual(sent, 64)
        before = len(answer.body)
        client.grant(0, 10**6)
        client.grant(answer.number, 10**6)
        self.assertGreater(len(answer.body), before)
        self.assertEqual(len(client.told(answer)), sent + 1)
        self.say(call, "send", text="x")

    def test_slow_application(self):
        """The application takes nothing: the client may send no more than its window."""
        client, answer, call = self.open(body_buffer_size=8 * KIB, http2_stream_window=100_000)
        count = 0
        while answer.window >= 1032:
            client.give(answer, text("x" * KIB))
            count += 1
            self.assertLess(count, 200)
        client.wait(1)
        self.assertLess(answer.window, 1032)
        client.give(answer, b"\x81"[: answer.window])
        self.assertEqual(len([call.receive_now() for _ in range(count)]), count)
        client.hear()
        self.assertGreaterEqual(answer.window, 50_000)
        self.assertFalse(answer.done)

    def test_queue(self):
        """The client sends small messages faster than they are taken: held to the limit."""
        client, answer, call = self.open(websocket_max_queue=4, ping_interval=-1)
        client.give(answer, text("x") * 100)
        self.assertEqual(take_all(call), [received("x")] * 100)
        client.give(answer, ping(b"?"))
        self.assertEqual(client.told(answer), [(0x8A, b"?")])

    def test_sums(self):
        """The client sends more than max_body_size in its messages: they are no request's body."""
        client, answer, call = self.open(max_body_size=1000)
        for _ in range(10):
            client.give(answer, text("x" * 500))
        self.assertIsNone(answer.reset, "messages were counted as a body")
        self.assertEqual(len(take_all(call)), 10)

    def test_message(self):
        """The client sends a message that is too large: 1009."""
        client, answer, call = self.open(websocket_max_message_size=1000)
        client.give(answer, frame(0x01, bytes(900)) + frame(0x80, bytes(101)))
        self.assertEqual(client.told(answer), [(0x88, b"\x03\xf1")])
        self.assertEqual(call.receive_now(), disconnect(1009))
        call.finish()
        self.assert_going_on(client)

    def test_early(self):
        """The client sends more before the answer than its window takes: its stream is reset."""
        client, answer, call = self.connecting(http2_stream_window=100_000)
        while answer.window:
            client.give(answer, bytes(min(16384, answer.window)))
        client.wait(1)
        self.assertEqual((answer.window, answer.reset), (0, None))
        client.give(answer, b"x")
        self.assertEqual(answer.reset, Code.FLOW_CONTROL_ERROR)
        self.assertEqual(take_all(call), [CONNECT, disconnect(1006)])

    def test_concurrency(self):
        """The client's handshake is one too many for the server: 503; open ones do not count."""
        client, calls = self.speak(limit_concurrency=1)
        _, call = self.shake(client, calls)
        second = client.ask(websocket_fields(), end=False)
        self.assertEqual((second.status, second.ended), (503, True))
        self.say(call, "accept")
        self.assert_going_on(client)

    def test_pings_unread(self):
        """The client sends pings of WebSockets and makes no room: the answers have a bound."""
        client, answer, _ = self.open(
            credit=False, write_buffer_size=8 * KIB, http2_stream_window=100_000
        )
        rounds = 0
        while answer.window >= 200 * 131:
            client.give(answer, ping(bytes(125)) * 100)
            rounds += 1
            self.assertLess(rounds, 100)
        client.wait(1)
        self.assertLess(answer.window, 200 * 131)
