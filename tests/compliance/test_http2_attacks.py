"""Attacks on HTTP/2, each at a small scale: what the server does of its own will is little.

tests.heavy.test_http2 has the same with large numbers, and looks at memory. After every attack the
server serves others, and no call of the application is left.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from django.test import tag

from tests.support.http2 import SocketClient
from tests.support.http2_conversation import GoAway
from tests.support.http2_frames import (
    MAX_WINDOW,
    Code,
    Setting,
    continuation_frame,
    data_frame,
    frame,
    header_frames,
    headers_frame,
    literal,
    ping_frame,
    priority_frame,
    priority_update_frame,
    request_fields,
    settings_frame,
    window_frame,
)

from . import TIMEOUT
from .http2 import Gate, HTTP2TestCase, Receive, Send, answer, body, start, until_disconnect

GET = literal(request_fields())
POST = literal(request_fields(b"POST"))
BAD = literal(request_fields(b"GET", b"zebra"))

# What a bucket lets through at once, and then in each second.
RESETS, SETTINGS, PINGS, EMPTY, PRIORITIES, WINDOWS, UNKNOWN = 200, 100, 500, 100, 1000, 2000, 100
# How many times as much a client may send before it has to be stopped, however slow this machine.
FAR = 20


class AttackTestCase(HTTP2TestCase):
    """Tests with a server whose application can ignore that its client has left."""

    def setUp(self) -> None:
        super().setUp()
        self.gate = Gate()
        self.addCleanup(self.gate.open)

    async def _stay(self, scope: Any, receive: Receive, send: Send) -> None:
        """Do nothing until the test lets go, whatever becomes of the client."""
        self.application.note("called")
        await self.gate.wait()

    def attacker(self, **values: Any) -> SocketClient:
        """Return a client that has the server's settings."""
        if not hasattr(self, "server"):
            self.serve(**values)
        client = self.connect()
        client.settle()
        return client

    def assert_calm(self, client: SocketClient) -> None:
        """The client is told to calm down; others are served, and nothing is left behind."""
        self.assert_goaway(client, Code.ENHANCE_YOUR_CALM)
        self.assert_others_served()
        self.gate.open()
        self.application.wait_until_idle()

    def assert_stopped(self, pieces: Iterator[bytes], at_least: int, *, per_piece: int = 1) -> None:
        """A flood is stopped, and not before so much of it has gone through."""
        client = self.attacker()
        allowed = itertools.islice(pieces, at_least // per_piece)
        client.flood(allowed)
        client.settle()
        self.assert_served(client)
        rest = FAR * max(at_least, 100) // per_piece
        client.flood(itertools.islice(pieces, rest))
        self.assert_calm(client)


@tag("loop")
class FloodTests(AttackTestCase):
    """Frames that cost the client nothing, without end."""

    def test_pings(self) -> None:
        """The client sends PING without end (CVE-2019-9512)."""
        self.assert_stopped(itertools.repeat(ping_frame() * 10), PINGS - 50, per_piece=10)

    def test_pings_unread(self) -> None:
        """The client sends PING without end, and reads no answer (CVE-2019-9512)."""
        client = self.attacker(linger_timeout=0.1)
        client.push(itertools.repeat(ping_frame() * 1000, 10_000))
        self.assert_others_served()

    def test_ping_answers(self) -> None:
        """The client acknowledges pings that it was never sent."""
        pieces = itertools.repeat(ping_frame(b"12345678", 1) * 10)
        self.assert_stopped(pieces, 10, per_piece=10)

    def test_settings(self) -> None:
        """The client sends empty SETTINGS without end (CVE-2019-9515)."""
        client = self.attacker()
        for _ in range(SETTINGS // 2):
            client.change({})
        self.assert_served(client)
        client.conversation.proposals.extend([{}] * FAR * SETTINGS)
        client.flood(itertools.repeat(settings_frame(), FAR * SETTINGS))
        self.assert_calm(client)

    def test_settings_unread(self) -> None:
        """The client sends SETTINGS of many values, and reads no acknowledgement."""
        client = self.attacker(linger_timeout=0.1)
        many = settings_frame(dict.fromkeys(range(256, 2304), 1))
        client.push(itertools.repeat(many * 10, 1000))
        self.assert_others_served()

    def test_empty_data(self) -> None:
        """The client sends empty DATA without end (CVE-2019-9518, GHSA-q83h-524g-xf6h)."""
        client = self.attacker()
        found = client.start_with(POST, end=False)
        client.flood([data_frame(found.number) * (EMPTY // 2)])
        self.assert_served(client)
        client.flood(itertools.repeat(data_frame(found.number) * 10, FAR * EMPTY))
        self.assert_calm(client)

    def test_padded_empty_data(self) -> None:
        """The client sends DATA of nothing but padding without end."""
        client = self.attacker()
        found = client.start_with(POST, end=False)
        piece = data_frame(found.number, padding=0) * 10
        client.flood(itertools.repeat(piece, FAR * EMPTY))
        self.assert_calm(client)

    def test_empty_continuation(self) -> None:
        """The client sends empty CONTINUATION without end (CVE-2019-9518)."""
        client = self.attacker()
        client.send(headers_frame(1, GET, end_headers=False))
        pieces = itertools.repeat(continuation_frame(1, b"", end_headers=False) * 10, FAR * EMPTY)
        client.flood(pieces)
        self.assert_calm(client)
        self.assertEqual(self.application.calls, 0)

    def test_empty_headers(self) -> None:
        """The client opens streams with empty HEADERS without end (CVE-2019-9518)."""
        client = self.attacker()
        pieces = (self.opening(client, b"") for _ in range(FAR * RESETS))
        client.flood(pieces)
        self.assert_calm(client)
        self.assertEqual(self.application.calls, 0)

    def opening(self, client: SocketClient, block: bytes, *, end: bool = True) -> bytes:
        """Return what opens the next stream."""
        found = client.conversation.begin(client.take_number(), b"GET")
        return headers_frame(found.number, block, end=end)

    def test_priorities(self) -> None:
        """The client moves streams in a tree that nobody keeps (CVE-2019-9513, CVE-2016-6580)."""
        pieces = (
            b"".join(priority_frame(number, number + 2) for number in range(first, first + 100, 2))
            for first in itertools.count(1, 100)
        )
        self.assert_stopped(pieces, PRIORITIES - 100, per_piece=50)

    def test_priority_updates(self) -> None:
        """The client changes the urgency of streams that there are not, without end."""
        pieces = (
            b"".join(
                priority_update_frame(number, b"u=%d" % (number % 8))
                for number in range(first, first + 100, 2)
            )
            for first in itertools.count(1, 100)
        )
        self.assert_stopped(pieces, PRIORITIES - 100, per_piece=50)

    def test_window_updates(self) -> None:
        """The client gives single bytes to the connection's window without end."""
        pieces = itertools.repeat(window_frame(0, 1) * 50)
        self.assert_stopped(pieces, WINDOWS - 100, per_piece=50)

    def test_unknown_frames(self) -> None:
        """The client sends frames that nobody knows, without end."""
        pieces = itertools.repeat(frame(0x20, 0, 0, b"zebra"))
        self.assert_stopped(pieces, UNKNOWN // 2)


@tag("loop")
class ContinuationTests(AttackTestCase):
    """Header blocks without end (VU#421644), and small ones that grow (CVE-2016-6581)."""

    def test_many_frames(self) -> None:
        """The client sends CONTINUATION of one byte without end."""
        client = self.attacker()
        client.send(headers_frame(1, b"", end_headers=False))
        field = literal(((b"a", b"b" * 100),))
        pieces = (
            continuation_frame(1, bytes((byte,)), end_headers=False)
            for byte in itertools.islice(itertools.cycle(field), 10_000)
        )
        client.flood(pieces)
        self.assert_calm(client)

    def test_many_bytes(self) -> None:
        """The client sends more bytes of a block than a request may have, in a few frames."""
        client = self.attacker()
        client.send(headers_frame(1, GET, end_headers=False))
        piece = continuation_frame(1, literal(((b"a", b"b" * 16_000),)), end_headers=False)
        client.send(piece * 5)
        self.assert_calm(client)
        self.assertEqual(self.application.calls, 0)

    def test_bomb(self) -> None:
        """The client puts 4 KB into the compressor's table, and names it 5000 times."""
        client = self.attacker()
        entry = b"\x40\x01a" + b"\x7f" + _varint(4000 - 127) + b"b" * 4000
        client.start_with(GET + entry)
        bomb = client.conversation.begin(client.take_number(), b"GET")
        client.send(header_frames(bomb.number, GET + b"\xbe" * 5000))
        self.assert_calm(client)
        self.assertLessEqual(self.application.calls, 1)

    def test_endless_integer(self) -> None:
        """The client sends a length that never ends (GHSA-8v8h-hg4w-mvq2)."""
        client = self.attacker()
        bomb = client.conversation.begin(client.take_number(), b"GET")
        client.send(header_frames(bomb.number, b"\x00\x7f" + b"\xff" * 60_000))
        self.assert_goaway(client, Code.COMPRESSION_ERROR)
        self.assert_others_served()


def _varint(value: int) -> bytes:
    octets = []
    while value >= 128:
        octets.append(value & 127 | 128)
        value >>= 7
    return bytes((*octets, value))


@tag("loop")
class UnreadTests(AttackTestCase):
    """The client asks for much, and takes nothing or next to nothing."""

    limit = 65536

    async def _pour(self, scope: Any, receive: Receive, send: Send) -> None:
        """Send without end, and count what is taken."""
        taken = 0
        try:
            await start(send)
            while taken < 256 * self.limit:
                await body(send, bytes(4096), more=True)
                taken += 4096
        finally:
            self.application.note(taken)

    def test_socket(self) -> None:
        """The client opens all windows and reads no socket (CVE-2019-9517)."""
        self.serve(self._pour, write_timeout=0.5, write_buffer_size=self.limit)
        settings: Mapping[int, int] = {Setting.INITIAL_WINDOW_SIZE: MAX_WINDOW}
        client = self.connect(settings, buffer=4096)
        client.send(window_frame(0, MAX_WINDOW - 65535) + headers_frame(1, GET))
        taken = self.application.next_note()
        assert isinstance(taken, int)
        self.assertLess(taken, 128 * self.limit, "more than a system's buffers may hold")
        self.application.wait_until_idle()
        self.assert_others_served()

    def check_windows(self, count: int, dribble: int) -> None:
        """Open so many streams without a window, and give each so many times one byte."""
        settings: Mapping[int, int] = {Setting.INITIAL_WINDOW_SIZE: 0}
        self.serve(self._pour, write_timeout=0.5, write_buffer_size=self.limit)
        client = self.connect(settings, credit=False)
        client.settle()
        found = [client.start_with(GET) for _ in range(count)]
        for _ in range(dribble):
            for each in found:
                client.grant(each.number, 1)
        client.settle()
        try:
            for each in found:
                client.finish(each)
        except EOFError:
            pass
        for each in found:
            self.assertLessEqual(len(each.body), dribble)
            self.assertFalse(each.ended)
            taken = self.application.next_note()
            assert isinstance(taken, int)
            self.assertLessEqual(taken, 4 * self.limit)
        self.application.wait_until_idle()
        self.assert_others_served()

    def test_no_windows(self) -> None:
        """The client opens 100 streams, and no window ever (slow read)."""
        self.check_windows(100, 0)

    def test_dribble(self) -> None:
        """The client grants single bytes to many streams (CVE-2019-9511)."""
        self.check_windows(20, 10)

    def test_stalled_upload(self) -> None:
        """The client begins uploads that it never ends."""
        self.serve(body_timeout=0.3)
        client = self.connect()
        found = [client.start_with(POST, end=False) for _ in range(20)]
        for each in found:
            client.finish(each)
            self.assertTrue(each.status == 408 or each.reset is not None, each)
        self.application.wait_until_idle()
        self.assert_served(client)

    def test_idle_streams_leave(self) -> None:
        """The client leaves with a reset of the connection, and its calls end."""

        async def wait(scope: Any, receive: Receive, send: Send) -> None:
            await until_disconnect(receive)
            self.application.note("told")

        self.serve(wait)
        client = self.attacker()
        for _ in range(20):
            client.start_with(GET)
        client.settle()
        client.reset()
        self.assertEqual([self.application.next_note() for _ in range(20)], ["told"] * 20)
        self.application.wait_until_idle()

    def test_short_requests(self) -> None:
        """The client sends a thousand requests on one connection, which are all served."""
        self.serve(answer)
        client = self.attacker()
        for _ in range(50):
            found = [client.start_with(GET) for _ in range(20)]
            for each in found:
                self.assert_answer(client.finish(each), b"GET /zebra 0")
        self.assertEqual(self.application.calls, 1000)
        self.assertEqual(len({*client.conversation.answers}), 1000)


@tag("loop")
class SlowTests(AttackTestCase):
    """The client goes on saying something, and never comes to the point."""

    def test_pings_without_requests(self) -> None:
        """The client asks for nothing, and pings so that it is not taken for idle."""
        client = self.attacker(keep_alive_timeout=0.1, header_timeout=0.3)
        with self.assertRaises(EOFError):
            for _ in range(1_000_000):
                client.settle()
                client.sock.settimeout(0.02)
                with contextlib.suppress(AssertionError):  # nothing was said, for as long as that
                    client.receive()
                client.sock.settimeout(TIMEOUT)
        self.assertEqual(client.goaway, GoAway(0, Code.NO_ERROR))

    def test_block_in_bytes(self) -> None:
        """The client sends a header block so slowly that no frame of it is late."""
        client = self.attacker(header_timeout=0.3)
        client.send(headers_frame(1, b"", end_headers=False))
        client.sock.settimeout(0.05)
        with self.assertRaises(EOFError):
            for byte in GET[:60]:
                client.send(continuation_frame(1, bytes((byte,)), end_headers=False))
                with contextlib.suppress(AssertionError):  # nothing was said, for as long as that
                    client.receive()
        self.assertNotEqual(client.goaway and client.goaway.code, Code.ENHANCE_YOUR_CALM)
        self.assertEqual(self.application.calls, 0)
        self.assert_others_served()
