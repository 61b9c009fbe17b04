"""Every limit and every deadline of an open WebSocket, and backpressure both ways."""

from __future__ import annotations

import asyncio
from typing import Any

from django.test import tag

from django_daphne.server import ClientDisconnected, ConfigurationError, ServerConfig
from django_daphne.server.protocols.deadlines import RESOLUTION
from tests.compliance import request
from tests.support.memory import Call, MemoryClient
from tests.support.websocket import (
    ACCEPTED,
    JUST_BEFORE,
    LOGGER,
    DeadlineTestCase,
    WebSocketTestCase,
    binary,
    channels,
    close,
    disconnect,
    echo,
    event,
    fill,
    frame,
    handshake,
    ping,
    pong,
    read_frames,
    received,
    take_all,
    text,
)

ACCEPT = event("accept")
PING = b"\x89\x00"
TIMED_OUT = b"\x88\x0e\x03\xf3ping timeout"


@tag("loop")
class KeepAliveTests(DeadlineTestCase):
    """ping_interval and ping_timeout."""

    def test_silence(self):
        """The client says nothing: pinged each ping_interval, and closed after ping_timeout."""
        client, call = self.open()
        self.assert_nothing_until(client, 20)
        self.assertEqual(client.read(), PING)
        client.server.wait(20 + RESOLUTION)
        self.assertEqual(client.read(), PING)
        client.server.wait(10 - 2 * RESOLUTION)
        self.assert_open(client)
        client.server.wait(2 * RESOLUTION)
        self.assertEqual(client.read(), TIMED_OUT)
        self.assert_told(call, disconnect(1006))

    def test_any_traffic_counts(self):
        """The client sends something now and then, even half a frame: no ping, no end."""
        client, _ = self.open(ping_interval=20, ping_timeout=5)
        for data in (pong(), text("x"), ping(), frame(0x01), b"\x80", b"\x81", bytes(3)):
            client.server.wait(19)
            self.assertEqual(client.read().removeprefix(b"\x8a\x00"), b"")
            client.send(data)
        self.assertEqual(client.read(), b"")
        self.assert_nothing_until(client, 20)
        self.assertEqual(client.read(), PING)

    def test_own_messages_do_not_count(self):
        """The application sends all the time, the client nothing: it is pinged all the same."""
        client, call = self.open()
        for _ in range(3):
            client.server.wait(7)
            self.say(call, "send", text="")
        self.assertEqual(read_frames(client.read()), [(0x81, b"")] * 2 + [(0x89, b""), (0x81, b"")])

    def test_answer_in_time(self):
        """The client shows a sign of life at once, or in the last moment: it has its time again."""
        for answer, delay in ((pong(), 0), (b"\x82", 10 - 2 * JUST_BEFORE)):
            client, _ = self.open(ping_interval=20, ping_timeout=10)
            client.server.wait(20 + RESOLUTION)
            client.server.wait(delay)
            self.assertEqual(client.read(), PING)
            client.send(answer)
            self.assert_nothing_until(client, 20)
            self.assertEqual(client.read(), PING)
            self.assert_nothing_until(client, 10)
            self.assertEqual(client.read(), TIMED_OUT)
            self.assertFalse(client.transport.closing, "nobody could read why")

    def test_second_ping_is_missed(self):
        """The client answers a ping and dies: its time counts from the next one."""
        client, _ = self.open(ping_interval=20, ping_timeout=30)
        client.server.wait(21)
        client.send(pong())
        client.server.wait(20 + RESOLUTION)
        self.assertEqual(client.read(), PING * 2)
        client.server.wait(20 + RESOLUTION)
        self.assertEqual(client.read(), PING)
        client.server.wait(10 - 2 * RESOLUTION)
        self.assert_open(client)
        client.server.wait(2 * RESOLUTION)
        self.assertEqual(client.read(), TIMED_OUT)

    def test_never(self):
        """The operator wants no pings, or no answers to them."""
        for never in (None, -1):
            client, _ = self.open(ping_interval=never, ping_timeout=1)
            client.server.wait(1000)
            self.assertEqual(client.read(), b"")
            client, _ = self.open(ping_interval=20, ping_timeout=never)
            for _ in range(5):
                client.server.wait(20 + RESOLUTION)
            self.assertEqual(client.read(), PING * 5)
            self.assert_open(client)

    def test_reading_is_paused(self):
        """The application takes nothing, so that no pong can be seen: the client is not blamed."""
        client, call = self.open(websocket_max_queue=1)
        client.send(text("one"))
        client.server.wait(1000)
        self.assert_open(client)
        client.read()
        self.assertEqual(take_all(call), [received("one")])
        client.server.wait(20 - JUST_BEFORE)
        self.assertEqual(client.read(), b"")
        client.server.wait(2 * RESOLUTION)
        self.assertEqual(client.read(), PING)
        client.server.wait(30 + RESOLUTION)
        self.assertEqual(client.read(), PING + TIMED_OUT)


@tag("loop")
class SizeTests(WebSocketTestCase):
    """The limits of messages and frames."""

    def test_reach_the_reader(self):
        """The client sends as much as it may, and one more: each limit is its own."""
        for name, value, good, bad in (
            ("websocket_max_message_size", 4, binary(b"1234"), binary(b"12345")),
            ("websocket_max_frame_size", 4, frame(1, b"1234") + frame(0x80, b"5"), text("12345")),
            ("websocket_max_fragments", 2, frame(1) + frame(0x80), frame(1) + frame(0) * 2),
        ):
            with self.subTest(name):
                client, call = self.open(**{name: value})
                client.send(good)
                self.assertEqual(len(take_all(call)), 1)
                client.send(bad)
                self.assertEqual(client.read(), b"\x88\x02\x03\xf1")
                self.assert_told(call, disconnect(1009))

    def test_none(self):
        """The operator lifts a limit, by each value that means it."""
        large = binary(bytes(2**20 + 1))
        many = frame(1) * 1 + frame(0) * 1100 + frame(0x80)
        for none in (None, -1, 0):
            sizes = {"websocket_max_message_size": none, "websocket_max_frame_size": none}
            client, call = self.open(**sizes)
            client.send(large)
            self.assertEqual(len(call.receive_now()["bytes"]), 2**20 + 1)
        for none in (None, -1):
            client, call = self.open(websocket_max_fragments=none)
            client.send(many)
            self.assertEqual(take_all(call), [received("")])
        client, _ = self.open()
        client.send(many)
        self.assertEqual(client.read(), b"\x88\x02\x03\xf1")

    def test_zero(self):
        """The operator writes 0 where it would mean that nothing works: refused at the start."""
        names = ("websocket_max_fragments", "websocket_max_queue", "ping_interval", "ping_timeout")
        for name in (*names, "websocket_timeout", "websocket_connect_timeout"):
            with self.assertRaisesRegex(ConfigurationError, name):
                ServerConfig().replace(**{name: 0})


@tag("loop")
class QueueTests(WebSocketTestCase):
    """The application does not take its messages."""

    SIZE = len(text("00"))

    def queued(self, count: int, **values: Any) -> tuple[MemoryClient, Call]:
        """Return a client that has sent numbers, each in a read of its own, and the call."""
        client, call = self.open(**values)
        for number in range(count):
            client.send(text(f"{number:02}"))
        return client, call

    def test_count(self):
        """The client sends on: 32 are read; reading goes on when half of them were taken."""
        client, call = self.queued(40)
        self.assertEqual(client.transport.unread, 8 * self.SIZE)
        for number in range(15):
            self.assertEqual(call.receive_now(), received(f"{number:02}"))
        self.assertEqual(client.transport.unread, 8 * self.SIZE)
        call.receive_now()
        self.assertEqual(client.transport.unread, 0)
        self.assertEqual(take_all(call), [received(f"{number:02}") for number in range(16, 40)])

    def test_one_read(self):
        """The client sends more than the queue holds in one read, the close frame in the end."""
        client, call = self.open()
        client.send(b"".join(text(f"{number:02}") for number in range(80)) + ping() + close(4000))
        self.assertFalse(client.transport.reading)
        self.assertEqual(client.read(), b"")
        expected = [*(received(f"{number:02}") for number in range(80)), disconnect(4000)]
        self.assertEqual(take_all(call), expected)
        self.assertEqual(client.read(), b"\x8a\x00\x88\x02\x0f\xa0")

    def test_bytes(self):
        """The client sends large messages: reading pauses at body_buffer_size, of either kind."""
        for data in (b"x" * 600, "x" * 600, "é" * 300):
            client, call = self.open(body_buffer_size=1000)
            message = binary(data) if isinstance(data, bytes) else text(data)
            for _ in range(5):
                client.send(message)
            self.assertIn(client.transport.unread, (3 * len(message), 4 * len(message)))
            self.assertEqual(take_all(call), [received(data)] * 5)

    def test_bytes_stay_bounded(self):
        """The application takes small messages one by one; the large ones behind them wait."""
        client, call = self.open(body_buffer_size=1000)
        client.send(b"".join(binary(b"s" * 10) for _ in range(15)))
        for _ in range(20):
            client.send(binary(b"x" * 1000))
        for _ in range(15):
            self.assertEqual(len(call.receive_now()["bytes"]), 10)
            self.assertGreaterEqual(client.transport.unread, 18 * 1008)
        self.assertEqual(len(take_all(call)), 20)

    def test_none(self):
        """The operator bounds the bytes only."""
        for none in (None, -1):
            client, call = self.queued(1000, websocket_max_queue=none)
            self.assertEqual(client.transport.unread, 0)
            self.assertEqual(len(take_all(call)), 1000)

    def test_pings_wait(self):
        """The client pings behind a full queue and is answered when there is room again."""
        client, call = self.queued(2, websocket_max_queue=2)
        client.send(ping(b"?"))
        self.assertEqual(client.read(), b"")
        call.receive_now()
        self.assertEqual(client.read(), b"\x8a\x01?")

    def test_client_leaves(self):
        """The client leaves while reading is paused: what was read is delivered, then its end."""
        client, call = self.queued(3, websocket_max_queue=2)
        client.reset()
        self.assert_told(call, received("00"), received("01"), disconnect(1006))
        client, call = self.queued(3, websocket_max_queue=2)
        client.half_close()
        last = (received("02"), disconnect(1006))
        self.assert_told(call, received("00"), received("01"), *last)

    def test_violation_behind(self):
        """The client breaks a rule behind a full queue; the application reads on to it."""
        client, call = self.open(websocket_max_queue=2)
        client.send(text("00") + text("01") + b"\x81\x01a")
        self.assertEqual(client.read(), b"")
        self.assert_told(call, received("00"), received("01"), disconnect(1002))
        self.assertEqual(client.read(), b"\x88\x02\x03\xea")


@tag("loop")
class SendingTests(WebSocketTestCase):
    """The client does not read."""

    def stalled(self, **values: Any) -> tuple[MemoryClient, Call]:
        """Return a client that does not read, and the call."""
        client, call = self.open(**{"write_buffer_size": 8192, "ping_interval": None} | values)
        client.stop_reading()
        return client, call

    def test_send_waits(self):
        """The application's send() waits above the limit and goes on well below it."""
        client, call = self.stalled()
        self.say(call, "send", bytes=b"x" * 4096)
        first, second = (call.send(event("send", bytes=b"x" * 8192)) for _ in range(2))
        self.assertFalse(first.done() or second.done())
        client.take(14_000)
        self.assertFalse(first.done() or second.done())
        client.take(5_000)
        self.assertTrue(first.done() and second.done())

    def test_denial_waits(self):
        """The application streams a denial to a client that does not read."""
        client, call = self.connecting(write_buffer_size=8192)
        client.stop_reading()
        self.say(call, "http.response.start", status=401)
        body = event("http.response.body", body=b"x" * 10_000, more_body=True)
        sending = call.send(body)
        self.assertFalse(sending.done())
        client.read_on()
        self.assertTrue(sending.done())

    def test_client_leaves(self):
        """The client leaves while send() waits, which returns; the next one raises."""
        client, call = self.stalled()
        sending = call.send(event("send", bytes=b"x" * 10_000))
        self.assertFalse(sending.done())
        client.reset()
        self.assertIsNone(sending.exception())
        with channels(loaded=False):
            error = call.send(event("send", text="x")).exception()
        self.assertIsInstance(error, ClientDisconnected)

    def test_reading_pauses(self):
        """The client sends and pings but does not read: answers do not pile up."""
        client, call = self.stalled()
        sending = call.send(event("send", bytes=b"x" * 10_000))
        for _ in range(100):
            client.send(ping(b"x" * 100))
        client.send(text("behind"))
        self.assertEqual(len(client.transport.unsent), 10_004)
        client.read_on()
        self.assertTrue(sending.done())
        self.assertEqual(len(read_frames(client.read())), 101)
        self.assertEqual(take_all(call), [received("behind")])

    def test_flood_of_pings(self):
        """The client pings without reading, in one read: held to the limit, and answered later."""
        client, _ = self.stalled()
        client.send(b"".join(ping(b"%04d" % number) for number in range(20_000)))
        self.assertLess(len(client.transport.unsent), 65536 + 8192)
        client.read_on()
        answers = [(0x8A, b"%04d" % number) for number in range(20_000)]
        while len(client.transport.unsent):
            client.take()
        self.assertEqual(read_frames(client.read()), answers)

    def test_write_timeout(self):
        """The client reads a little now and then, which is enough; then no more, and is reset."""
        client, call = self.stalled(write_timeout=30, application_close_timeout=None)
        fill(client, call)
        for _ in range(3):
            client.server.wait(29)
            client.take(100)
        client.server.wait(30 - JUST_BEFORE)
        self.assertFalse(client.was_reset)
        with self.assertNoLogs(LOGGER, "INFO"):
            client.server.wait(30 + 3 * RESOLUTION)
        self.assert_reset(client)
        self.assert_told(call, disconnect(1006))

    def test_slow_from_before(self):
        """The client did not read the answer before its handshake, and does not read on."""
        go_on = asyncio.Event()

        async def application(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                await send({"type": "http.response.start", "status": 200})
                await send({"type": "http.response.body", "body": bytes(20_000)})
            else:
                await go_on.wait()
                await send(ACCEPT)
                await receive()

        values: dict[str, Any] = {"ping_interval": None, "write_buffer_size": 8192}
        client = self.connect(application, write_timeout=30, **values)
        client.stop_reading()
        client.send(request() + handshake())
        client.server.call(go_on.set)
        before = len(client.transport.unsent)
        client.send(ping() * 100)
        self.assertEqual(len(client.transport.unsent), before)
        client.server.wait(31)
        self.assert_reset(client)


@tag("loop")
class FairnessTests(WebSocketTestCase):
    """Everybody gets a turn."""

    def test_endless_sender(self):
        """The application sends to one client without end; another one is served meanwhile."""
        count = 20_000
        sent: list[int] = []  # to the greedy one, whenever the other had a turn

        async def application(scope: Any, receive: Any, send: Any) -> None:
            async def note(message: Any) -> None:
                await send(message)
                sent.append(len(greedy.transport.output))

            if scope["path"] != "/endless":
                await echo(scope, receive, note)
                return
            await receive()
            await send(ACCEPT)
            for _ in range(count):
                await send(event("send", text="x"))

        server = self.serve(application)
        greedy, other = server.connect(), server.connect()

        def both() -> None:
            greedy.transport.arrive(handshake(target=b"/endless"))
            other.transport.arrive(handshake())
            other.transport.arrive(text("hello"))

        server.call(both)
        self.assertEqual(other.read(), ACCEPTED + b"\x81\x05hello")
        self.assertLess(sent[-1], 3 * count)
        self.assertEqual(greedy.read(), ACCEPTED + b"\x81\x01x" * count + b"\x88\x02\x03\xe8")
