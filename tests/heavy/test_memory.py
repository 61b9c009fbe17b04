"""What a server holds, under many clients, with long bodies and at its limits.

Each class has its checks with their sizes as parameters: here with the sizes that it is about, in
tests.integration.test_memory with small ones. The bounds are the same.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing

from django.test import tag

from . import (
    CHUNK,
    GET,
    KIB,
    MIB,
    MemoryTestCase,
    ServerProcess,
    apps,
    eventually,
    is_served,
    outcome,
    read_answer,
    read_body,
    read_head,
    read_to_end,
    reset,
)

# Bytes that may stay after many clients have come and gone: what the allocator has in reserve.
MAX_GROWTH = 8 * MIB
# Bytes that one long body may take at any time.
MAX_FOR_ONE = 64 * MIB
MAX_FOR_IDLE = 16 * KIB

AT_A_TIME = 50
UPLOAD = b"POST /upload HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n"
LARGE_GET = b"GET /pieces/8 HTTP/1.1\r\nHost: test\r\n\r\n"


class DroppedClients(MemoryTestCase):
    """Clients leave in the middle, and leave nothing behind."""

    def check_uploads(self, warm_up: int, count: int) -> None:
        """Cut uploads of 100,000 bytes off at their half."""
        request = UPLOAD % 100_000 + bytes(50_000)

        def cut_off(sockets: list[socket.socket]) -> None:
            for sock in sockets:
                sock.sendall(request)
            for sock in sockets[::2]:
                sock.shutdown(socket.SHUT_WR)
            for sock in sockets[1::2]:
                reset(sock)
            for sock in sockets[::2]:
                read_to_end(sock)

        self.check_waves(cut_off, warm_up, count)

    def check_connections(self, warm_up: int, count: int) -> None:
        """Drop connections: silent, in the head of a request, and without reading the answer."""
        beginnings = (b"", GET[:20], GET, b"", GET[:-1], LARGE_GET)

        def drop(sockets: list[socket.socket]) -> None:
            for number, sock in enumerate(sockets):
                sock.sendall(beginnings[number % len(beginnings)])
            for number, sock in enumerate(sockets):
                if number % 4 < 2:
                    sock.close()
                else:
                    reset(sock)

        self.check_waves(drop, warm_up, count)

    def check_endless(self, count: int) -> None:
        """Leave responses that never end, in pieces of several sizes, after reading a little."""
        server = self.serve("--application-close-timeout", "0")
        for size in (100, 64 * KIB, MIB):
            with server.clients(count) as sockets:
                for sock in sockets:
                    sock.sendall(b"GET /endless/%d HTTP/1.1\r\nHost: test\r\n\r\n" % size)
                for sock in sockets:
                    self.assertTrue(sock.recv(KIB))
                    reset(sock)
            self.assert_idle(server)
        self.assert_quiet(server)

    def check_waves(
        self, drop: Callable[[list[socket.socket]], None], warm_up: int, count: int
    ) -> None:
        """Let clients come and go, a few at a time, and compare what the server holds."""
        # What is freed of large blocks goes back to the system, and does not look like held.
        server = self.serve(MALLOC_MMAP_THRESHOLD_="65536")

        def repeat(count: int) -> int:
            for _ in range(count // AT_A_TIME):
                with server.clients(AT_A_TIME) as sockets:
                    drop(sockets)
                # Connections are accepted in order: with this answer the wave has been, too.
                self.assertEqual(server.ask(), "served")
            self.assert_idle(server)
            return server.memory

        before = repeat(warm_up)
        after = repeat(count)
        self.report(f"{before / MIB:.1f} MiB before, {after / MIB:.1f} MiB after {count}")
        self.assertLess(after - before, MAX_GROWTH)
        self.assert_quiet(server)


class LongBodies(MemoryTestCase):
    """A body is as long as it likes, and the server holds a little of it."""

    def check_upload(self, size: int, steps: int) -> None:
        """Send a body to an application that takes a message, and more only when it is let."""
        server = self.serve()
        before = server.memory
        with closing(server.connect()) as sock:
            head = b"POST /upload/%d HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n"
            sock.sendall(head % (steps, size))
            # Taking a moment's silence for the end only makes the test easier to pass.
            sent = self.send_until_stuck(sock, size, 0.2)
            self.assertLess(sent, size, "The server takes what its application does not.")
            for _ in range(steps):
                self.assertLess(server.memory - before, MAX_FOR_ONE)
                self.assertEqual(server.ask("/step"), "")
                sent += self.send_until_stuck(sock, size - sent, 0)
            began = time.monotonic()
            left = size - sent
            while sent < size:
                sent += sock.send(memoryview(CHUNK)[: size - sent])
            self.assertEqual(read_answer(sock), str(size))
            took = time.monotonic() - began
            self.assertTrue(is_served(sock))
        self.finish_body(server, before, left, took)

    def send_until_stuck(self, sock: socket.socket, size: int, patience: float) -> int:
        """Send up to `size` zeros until no more are taken; return how many were."""
        sent = 0
        while sent < size and select.select([], [sock], [], patience)[1]:
            sent += sock.send(memoryview(CHUNK)[: size - sent], socket.MSG_DONTWAIT)
        return sent

    def check_download(self, count: int) -> None:
        """Stop reading after a quarter of a generated body, then read all of it."""
        server = self.serve()
        before = server.memory
        with closing(server.connect()) as sock:
            sock.sendall(b"GET /pieces/%d HTTP/1.1\r\nHost: test\r\n\r\n" % count)
            size, took = self.read_with_pause(server, sock)
            self.assertEqual(size, count * apps.PIECE)
        self.finish_body(server, before, size, took)

    def check_file(self, size: int) -> None:
        """Stop reading after a quarter of a file, then read all of it."""
        server = self.serve()
        with (self.folder / apps.FILE).open("wb") as file:
            file.truncate(size)
        before = server.memory
        with closing(server.connect()) as sock:
            sock.sendall(b"GET /file HTTP/1.1\r\nHost: test\r\n\r\n")
            length, took = self.read_with_pause(server, sock)
            self.assertEqual(length, size)
        # The thread that opened the file is the executor's, which keeps it.
        self.finish_body(server, before, size, took, threads=1)

    def read_with_pause(self, server: ServerProcess, sock: socket.socket) -> tuple[int, float]:
        """Read a body, and an answer behind it; return its size and the seconds it was read in."""
        began = time.monotonic()
        size, body = read_head(sock)
        buffer = bytearray(MIB)
        quarter = size // 4 - len(body)
        self.assertEqual(read_body(sock, buffer, quarter), quarter)
        paused = time.monotonic()
        for _ in range(AT_A_TIME):
            self.assertEqual(server.ask(), "served")
        self.assertLess(int(server.ask("/pieces_sent")), size // 4 // apps.PIECE + 16)
        resumed = time.monotonic()
        rest = size - size // 4
        self.assertEqual(read_body(sock, buffer, rest), rest)
        took = time.monotonic() - resumed + paused - began
        self.assertTrue(is_served(sock))
        return size, took

    def finish_body(
        self, server: ServerProcess, before: int, size: int, took: float, threads: int = 0
    ) -> None:
        """Assert that there never was much in memory, and that nothing is left."""
        self.assert_idle(server, threads)
        self.report(
            f"{before / MIB:.1f} MiB before, {server.peak / MIB:.1f} MiB at most,"
            f" {size / took / MIB:.0f} MiB/s"
        )
        self.assertLess(server.peak - before, MAX_FOR_ONE)
        self.assert_quiet(server)


class IdleConnections(MemoryTestCase):
    """Clients keep their connections and say nothing."""

    def check_idle(self, count: int) -> None:
        """Open connections, use each once, and close them all."""
        self.allow_descriptors(count + 256)
        server = self.serve("--keep-alive-timeout", "3600")
        before = server.memory
        with server.clients(count) as sockets:
            self.assertTrue(all(map(is_served, sockets)))
            self.assertGreaterEqual(server.descriptors - server.idle[0], count)
            each = (server.memory - before) / count
            self.assertTrue(is_served(sockets[0]))
        self.report(f"{each:.0f} bytes for each of {count} connections")
        self.assertLess(each, MAX_FOR_IDLE)
        self.assert_idle(server)
        self.assert_quiet(server)


class Overload(MemoryTestCase):
    """More clients come than there is room for."""

    watched = 1.0  # seconds

    def check_limit(self, maximum: int, clients: int, *options: str, limit: int | None) -> None:
        """Serve those there is room for, reset the others, and say so once."""
        server = self.serve(*options, limit=limit)
        began = time.monotonic()
        with server.clients(clients) as sockets:
            outcomes = list(map(outcome, sockets))
            expected = {"served": maximum, "reset": clients - maximum}
            self.assertEqual(Counter(outcomes), expected, server.process)
            self.assert_calm(server)
            pairs = zip(sockets, outcomes, strict=True)
            self.assertTrue(all(is_served(sock) for sock, word in pairs if word == "served"))
        self.assert_recovered(server, maximum)
        errors = self.finish(server.process).errors
        lines = errors.count("Refusing connections")
        self.assertLessEqual(1, lines)
        self.assertLessEqual(lines, 1 + (time.monotonic() - began) // 10)
        self.assertNotIn("Traceback", errors)

    def check_descriptors(self, limit: int, clients: int) -> None:
        """Let more clients in than there are descriptors for."""
        server = self.serve("--max-connections", str(clients), limit=limit)
        with server.clients(clients) as sockets:
            self.assertTrue(is_served(sockets[0]))
            self.assertTrue(eventually(lambda: server.descriptors >= limit - 8), server.process)
            self.assert_calm(server)
            self.assertTrue(is_served(sockets[0]))
        self.assert_recovered(server, limit // 2)
        self.finish(server.process)

    def assert_calm(self, server: ServerProcess) -> None:
        """Assert that the server waits, and does not try again and again; only time can show it."""
        before = server.seconds
        threading.Event().wait(self.watched)
        self.assertLess(server.seconds - before, self.watched / 2, server.process)

    def assert_recovered(self, server: ServerProcess, count: int) -> None:
        """Assert that so many clients are served at the same time, now that the others left."""
        eventually(lambda: server.descriptors == server.idle[0])
        with server.clients(count) as sockets:
            self.assertTrue(all(map(is_served, sockets)), server.process)
        self.assert_idle(server)


@tag("heavy")
class DroppedClientsTests(DroppedClients):
    """Thousands of clients leave in the middle."""

    def test_uploads(self):
        """Clients cut 10,000 uploads off, half of them with a reset."""
        self.check_uploads(500, 10_000)

    def test_connections(self):
        """Clients drop 10,000 connections before they have read an answer."""
        self.check_connections(500, 10_000)

    def test_endless(self):
        """Fifty clients leave responses that would never end."""
        self.check_endless(50)


@tag("heavy")
class LongBodiesTests(LongBodies):
    """Bodies are larger than any buffer."""

    size = 2048 * MIB

    def test_upload(self):
        """The client sends 2 GiB to an application that is in no hurry."""
        self.check_upload(self.size, 50)

    def test_download(self):
        """The client pauses in the middle of 2 GiB that are generated for it."""
        self.check_download(self.size // apps.PIECE)

    def test_file(self):
        """The client pauses in the middle of a file of 2 GiB."""
        self.check_file(self.size)


@tag("heavy")
class IdleConnectionsTests(IdleConnections):
    """Thousands of clients wait."""

    def test_idle(self):
        """Five thousand clients keep their connections open."""
        self.check_idle(5_000)


@tag("heavy")
class OverloadTests(Overload):
    """Three clients come for each place."""

    def test_max_connections(self):
        """Three hundred clients come where a hundred may."""
        self.check_limit(100, 300, "--max-connections", "100", limit=None)

    def test_descriptor_limit(self):
        """Three hundred clients come where the limit on open files leaves room for 64."""
        self.check_limit(64, 300, limit=128)

    def test_no_descriptors(self):
        """The configuration lets in more clients than there are descriptors for."""
        self.check_descriptors(128, 300)
