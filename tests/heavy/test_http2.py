"""Attacks on HTTP/2 with large numbers: what a server holds, and how much of its own it does.

A client that is cut off comes back until it has sent as much as its test says. The small scale, and
what each attack is answered with, is in tests.compliance.test_http2_attacks and test_http2_resets.
"""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress

from django.test import tag

from tests.support.http2 import SocketClient
from tests.support.http2_frames import (
    MAX_WINDOW,
    Code,
    Kind,
    Setting,
    continuation_frame,
    cut,
    data_frame,
    frame,
    header_frames,
    headers_frame,
    hpack_integer,
    literal,
    ping_frame,
    priority_frame,
    priority_update_frame,
    request_fields,
    reset_frame,
    settings_frame,
    window_frame,
)
from tests.support.processes import PATIENCE

from . import KIB, MIB, MemoryTestCase, ServerProcess, apps, eventually

# Bytes that an attack may take: what a connection may hold, a few times over.
MAX_GROWTH = 8 * MIB
# Streams of a connection, of which none is to have more than one running call.
STREAMS = 128
# Connections before a server's memory is looked at for the first time.
WARM_UP = 10

APPLICATION = """
    import apps

    progress = apps.progress
    progress.calls = progress.peak = 0


    async def application(scope, receive, send):
        if scope["type"] == "lifespan" or not scope["path"].startswith("/attacked"):
            return await apps.application(scope, receive, send)
        progress.calls += 1
        progress.running += 1
        progress.peak = max(progress.peak, progress.running)
        try:
            await attacked(scope["path"].rpartition("/")[2], receive, send)
        except OSError:
            pass
        finally:
            progress.running -= 1


    async def attacked(name, receive, send):
        if name == "pour":
            await apps.begin(send, 1 << 40)
            while True:
                piece = {"type": "http.response.body", "body": bytes(4096), "more_body": True}
                await send(piece)
        if name == "accept":
            await send({"type": "websocket.accept"})
        if name in ("accept", "wait"):
            await progress.steps.acquire()
        while not (await receive())["type"].endswith(".disconnect"):
            pass
"""


def head(path: bytes = b"/attacked", method: bytes = b"GET") -> bytes:
    """Return the block of a request."""
    return literal(request_fields(method, path))


GET, POST, POUR = head(), head(method=b"POST"), head(b"/attacked/pour")
SERVED, BAD = head(b"/"), head(b"attacked")

Attack = Callable[[SocketClient], None]


class HTTP2AttackTestCase(MemoryTestCase):
    """Tests with a server in a process of its own, and what it holds before and after."""

    def serve(self, *options: str, limit: int | None = None, **variables: str) -> ServerProcess:
        """Start a server with the application above."""
        shutil.copy(apps.__file__, self.folder / "apps.py")
        self.write("attacked.py", APPLICATION)
        loop = os.environ.get("DAPHNE_TEST_LOOP", "auto")
        options = ("-p", "0", "--loop", loop, *options)
        return ServerProcess(self.start_cli(*options, "attacked:application", **variables))

    @contextmanager
    def watch(self, growth: int = MAX_GROWTH) -> Iterator[None]:
        """Assert that the block leaves nothing running, and never costs more than ``growth``."""
        before = self.server.peak
        yield
        self.assertEqual(self.server.ask("/"), "served")
        peak = self.server.peak
        running = self.server.ask("/peak")
        self.report(f"{before / MIB:.1f} MiB before, {peak / MIB:.1f} MiB at most, {running} calls")
        self.assertLess(peak - before, growth)
        self.assertTrue(eventually(lambda: self.server.ask("/running") == "1"))
        self.assert_idle(self.server)
        self.assert_quiet(self.server)

    @contextmanager
    def connected(
        self, *, credit: bool = True, buffer: int | None = None
    ) -> Iterator[SocketClient]:
        """Yield a new client, which has the server's settings."""
        address = ("127.0.0.1", self.server.port)
        settings: Mapping[int, int] = {Setting.INITIAL_WINDOW_SIZE: MAX_WINDOW if buffer else 0}
        with SocketClient.connect(
            address, settings=settings, credit=credit, buffer=buffer
        ) as client:
            client.sock.settimeout(PATIENCE)
            client.settle()
            yield client

    def repeat(self, attack: Attack, times: int, code: Code = Code.ENHANCE_YOUR_CALM) -> None:
        """Attack on so many connections, each of which has to end with this code."""
        self.server = self.serve()
        self.assertEqual(self.server.ask("/"), "served")

        def once() -> None:
            with self.connected() as client:
                attack(client)
                goaway = client.read_to_end()
                # A client that does not stop may lose the server's last word to a reset.
                if goaway is not None:
                    self.assertEqual(goaway.code, code)

        for _ in range(WARM_UP):
            once()
        with self.watch():
            for _ in range(times):
                once()
            self.assertLessEqual(int(self.server.ask("/peak")), STREAMS)


@tag("heavy")
class FloodTests(HTTP2AttackTestCase):
    """A million frames that cost the client nothing, ten thousand on each connection."""

    each, times = 10_000, 100

    def check(self, *pieces: bytes) -> None:
        """Send these, again and again."""
        wire = b"".join(pieces) * (self.each // len(pieces))
        self.repeat(lambda client: client.flood([wire]), self.times)

    def test_pings(self) -> None:
        """The client sends a million PING (CVE-2019-9512)."""
        self.check(ping_frame())

    def test_settings(self) -> None:
        """The client sends a million SETTINGS (CVE-2019-9515)."""

        def attack(client: SocketClient) -> None:
            client.conversation.proposals.extend([{}] * self.each)
            client.flood([settings_frame() * self.each])

        self.repeat(attack, self.times)

    def test_priorities(self) -> None:
        """The client sends a million PRIORITY for streams that there are not (CVE-2019-9513)."""
        self.check(*(priority_frame(number, number + 2) for number in range(1, 2001, 2)))

    def test_priority_updates(self) -> None:
        """The client sends a million PRIORITY_UPDATE for streams that there are not."""
        self.check(*(priority_update_frame(number, b"u=1, i") for number in range(1, 2001, 2)))

    def test_window_updates(self) -> None:
        """The client sends a million WINDOW_UPDATE of one byte."""
        self.check(window_frame(0, 1))

    def test_unknown(self) -> None:
        """The client sends a million frames that nobody knows."""
        self.check(frame(0x20, 0, 0, b"zebra"))

    def test_empty_data(self) -> None:
        """The client sends a million DATA without content (GHSA-q83h-524g-xf6h)."""

        def attack(client: SocketClient) -> None:
            found = client.start_with(POST, end=False)
            client.flood([data_frame(found.number) * self.each])

        self.repeat(attack, self.times)

    def test_continuation(self) -> None:
        """The client sends a million CONTINUATION that never end (VU#421644)."""

        def attack(client: SocketClient) -> None:
            begun = headers_frame(1, GET, end_headers=False)
            client.flood([begun + continuation_frame(1, b"\x00", end_headers=False) * self.each])

        self.repeat(attack, self.times)


@tag("heavy")
class BlockTests(HTTP2AttackTestCase):
    """Header blocks that are large, or become it."""

    times = 200

    def test_continuation(self) -> None:
        """The client sends 16 MiB of header block on each connection."""
        piece = continuation_frame(1, bytes(16_000), end_headers=False)

        def attack(client: SocketClient) -> None:
            client.flood([headers_frame(1, GET, end_headers=False), *[piece] * 1000])

        self.repeat(attack, self.times)

    def test_bomb(self) -> None:
        """The client names an entry of 4 KB five thousand times (CVE-2016-6581)."""
        entry = b"\x40\x01a" + hpack_integer(4000, 7) + b"b" * 4000

        def attack(client: SocketClient) -> None:
            client.start_with(GET + entry)
            bomb = client.conversation.begin(client.take_number(), b"GET")
            client.send(header_frames(bomb.number, GET + b"\xbe" * 5000))

        self.repeat(attack, self.times)


@tag("heavy")
class ResetTests(HTTP2AttackTestCase):
    """A hundred thousand requests that are reset, a thousand on each connection at most."""

    each, times, batch = 1000, 100, 100

    def check(self, spoil: Callable[[int], bytes], block: bytes = GET, *, end: bool = True) -> None:
        """Let requests begin, and spoil them."""

        def attack(client: SocketClient) -> None:
            with suppress(EOFError):
                for _ in range(self.each // self.batch):
                    answers = [client.start_with(block, end=end) for _ in range(self.batch)]
                    client.settle()
                    client.send(b"".join(spoil(each.number) for each in answers))

        self.repeat(attack, self.times)

    def test_running(self) -> None:
        """The client resets requests that are running (CVE-2023-44487)."""
        self.check(reset_frame)

    def test_uploads(self) -> None:
        """The client resets uploads that have begun (CVE-2023-44487)."""
        self.check(reset_frame, POST, end=False)

    def test_at_once(self) -> None:
        """The client sends its requests in one piece with their resets (CVE-2023-44487)."""

        def attack(client: SocketClient) -> None:
            numbers = [client.take_number() for _ in range(self.each)]
            for number in numbers:
                client.conversation.begin(number, b"GET")
            client.flood(
                [b"".join(headers_frame(number, GET) + reset_frame(number) for number in numbers)]
            )

        self.repeat(attack, self.times)

    def test_made_to_reset(self) -> None:
        """The client makes the server reset what is running (CVE-2025-8671)."""
        self.check(lambda number: window_frame(number, 0))

    def test_data_after_end(self) -> None:
        """The client sends DATA after the end of its requests (CVE-2025-8671)."""
        self.check(lambda number: data_frame(number, b"a"))

    def test_bad_requests(self) -> None:
        """The client sends requests that cannot be served (CVE-2019-9514)."""

        def attack(client: SocketClient) -> None:
            numbers = [client.take_number() for _ in range(self.each)]
            for number in numbers:
                client.conversation.begin(number, b"GET")
            client.flood([b"".join(headers_frame(number, BAD) for number in numbers)])

        self.repeat(attack, self.times)


@tag("heavy")
class UnreadTests(HTTP2AttackTestCase):
    """The client asks for what never ends, and takes next to nothing."""

    # What each stream may hold, and what it weighs itself.
    limit = 64 * KIB
    overhead = 32 * KIB

    def test_streams(self) -> None:
        """The client opens 500 streams on five connections, and no window of any."""
        connections, streams = 5, 100
        self.server = self.serve("--write-timeout", "1", "--write-buffer-size", str(self.limit))
        self.assertEqual(self.server.ask("/"), "served")
        growth = connections * streams * (self.limit + self.overhead)
        with self.watch(growth), ExitStack() as stack:
            clients = [
                stack.enter_context(self.connected(credit=False)) for _ in range(connections)
            ]
            for client in clients:
                for _ in range(streams):
                    client.start_with(POUR)
            self.assertTrue(eventually(lambda: self.server.ask("/calls") == "500"))
            for client in clients:
                with suppress(EOFError):
                    for each in client.conversation.answers.values():
                        client.finish(each)
                        self.assertIsNotNone(each.reset)

    def test_sockets(self) -> None:
        """The client opens all windows of 50 connections, and reads no socket (CVE-2019-9517)."""
        self.server = self.serve("--write-timeout", "1")
        self.assertEqual(self.server.ask("/"), "served")
        sockets: list[socket.socket] = []
        with self.watch(2 * MAX_GROWTH):
            for _ in range(50):
                with self.connected(credit=False, buffer=4 * KIB) as client:
                    sockets.append(client.sock.dup())
                    client.send(window_frame(0, MAX_WINDOW - 65535) + headers_frame(1, POUR))
            # These are still open, and the server is who ends it.
            self.assertTrue(eventually(lambda: int(self.server.ask("/calls")) == 50))
            self.assertTrue(eventually(lambda: self.server.ask("/running") == "1"))
            for sock in sockets:
                sock.close()


@tag("heavy")
class LongTests(HTTP2AttackTestCase):
    """One connection for long."""

    count, batch = 100_000, 50

    def test_requests(self) -> None:
        """The client sends a hundred thousand requests, whose streams are all forgotten."""
        self.server = self.serve("--http2-max-concurrent-streams", str(self.batch))
        with self.connected() as client:
            client.change({Setting.INITIAL_WINDOW_SIZE: 65535})
            self.exchange(client, 1, self.count // 10)
            with self.watch(MAX_GROWTH // 4):
                self.exchange(client, 1 + 2 * (self.count // 10), self.count)
                client.sock.close()

    def exchange(self, client: SocketClient, first: int, count: int) -> None:
        """Send requests in batches, and read their answers without keeping them."""
        rest = b""
        for start in range(first, first + 2 * count, 2 * self.batch):
            numbers = range(start, start + 2 * self.batch, 2)
            wire = b"".join(headers_frame(number, SERVED) for number in numbers)
            client.sock.sendall(wire)
            ended = taken = 0
            while ended < self.batch:
                data = client.sock.recv(64 * KIB)
                self.assertTrue(data, "closed")
                frames, rest = cut(rest + data)
                for each in frames:
                    self.assertIn(each.kind, (Kind.HEADERS, Kind.DATA, Kind.WINDOW_UPDATE))
                    if each.kind == Kind.DATA:
                        taken += len(each.payload)
                        ended += each.flags & 1
            self.assertEqual(taken, self.batch * len("served"))
            client.sock.sendall(window_frame(0, taken))
