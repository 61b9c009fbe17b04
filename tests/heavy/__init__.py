"""What the memory tests need: a server's process seen from outside, and clients by the hundred.

What a process holds is read from /proc: its memory, descriptors and threads. Clients are plain
blocking sockets in the test's own thread. Nothing waits by the clock, except for /proc, which tells
nobody when it changes: it is looked at again and again, up to a deadline.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import struct
import sys
import threading
import time
import unittest
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.processes import PATIENCE, Process, ProcessTestCase, get
from tests.support.reports import ReportingTestCase

from . import apps

with suppress(ImportError):  # Windows, where there is no /proc either
    import resource

KIB = 1024
MIB = 1024 * KIB

CHUNK = bytes(256 * KIB)
GET = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"

# On, for zero seconds: close() then sends a reset.
_RESET = struct.pack("ii", 1, 0)
_TROUBLE = re.compile(r" (WARNING|ERROR|CRITICAL) |Traceback|Task was destroyed")
# Seconds between two looks at /proc.
_GLANCE = 0.02


class ServerProcess:
    """A server's process; `pid` leads to all that it holds, in bytes and in numbers."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.port = process.wait_for_port()
        self._folder = Path("/proc", str(process.pid))
        # Nobody has connected yet.
        self.idle = (self.descriptors, self.threads)

    def _size(self, name: str) -> int:
        status = (self._folder / "status").read_text()
        match = re.search(rf"^{name}:\s*(\d+) kB$", status, re.MULTILINE)
        assert match is not None, status
        return int(match[1]) * KIB

    @property
    def memory(self) -> int:
        """Return the bytes of memory in use."""
        return self._size("VmRSS")

    @property
    def peak(self) -> int:
        """Return the most bytes of memory that were in use at any time."""
        return self._size("VmHWM")

    @property
    def descriptors(self) -> int:
        """Return how many descriptors are open."""
        return sum(1 for _ in (self._folder / "fd").iterdir())

    @property
    def threads(self) -> int:
        """Return how many threads there are."""
        return sum(1 for _ in (self._folder / "task").iterdir())

    @property
    def seconds(self) -> float:
        """Return the seconds of processor time used."""
        fields = (self._folder / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def ask(self, path: str = "/") -> str:
        """Return the answer to a request on a connection of its own."""
        return get(self.port, path).text

    def connect(self) -> socket.socket:
        """Return a new connection whose client has small buffers."""
        sock = socket.socket()
        sock.settimeout(PATIENCE)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * KIB)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * KIB)
        sock.connect(("127.0.0.1", self.port))
        return sock

    @contextmanager
    def clients(self, count: int) -> Iterator[list[socket.socket]]:
        """Return so many connections that are open at the same time, while the block runs.

        Some may have been reset already.
        """
        sockets: list[socket.socket] = []
        try:
            for _ in range(count):
                sockets.append(socket.socket())
                sockets[-1].settimeout(PATIENCE)
                # A server that refuses at once may be faster than connect() itself.
                with suppress(ConnectionResetError):
                    sockets[-1].connect(("127.0.0.1", self.port))
            yield sockets
        finally:
            for sock in sockets:
                sock.close()


def eventually(condition: Callable[[], object]) -> bool:
    """Return True as soon as the condition holds, or False when it does not come to hold."""
    deadline = time.monotonic() + PATIENCE
    never = threading.Event()
    while not condition():
        if time.monotonic() > deadline:
            return False
        never.wait(_GLANCE)
    return True


def reset(sock: socket.socket) -> None:
    """Close with a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    sock.close()


def read_to_end(sock: socket.socket) -> None:
    """Read until the server has closed, however it does that."""
    with suppress(ConnectionError):
        while sock.recv(64 * KIB):
            pass


def read_head(sock: socket.socket) -> tuple[int, bytes]:
    """Read the head of a response; return its Content-Length, and what came of the body with it.

    Raises EOFError when the connection ends, ConnectionError when it is reset.
    """
    data = b""
    while b"\r\n\r\n" not in data:
        piece = sock.recv(4 * KIB)
        if not piece:
            raise EOFError(f"the connection ended after {data!r}")
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    match = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
    assert match is not None, head
    return int(match[1]), body


def read_answer(sock: socket.socket) -> str:
    """Read a short response; return its body. Raises as `read_head`."""
    length, body = read_head(sock)
    rest = bytearray(length - len(body))
    if read_body(sock, rest, len(rest)) < len(rest):
        raise EOFError("the connection ended in the body")
    return (body + rest).decode()


def outcome(sock: socket.socket) -> str:
    """Send a request; return the answer, or "closed" or "reset" when the connection ended."""
    try:
        sock.sendall(GET)
        return read_answer(sock)
    except EOFError:
        return "closed"
    except ConnectionError:
        return "reset"


def is_served(sock: socket.socket) -> bool:
    """Send a request; return whether it was answered."""
    return outcome(sock) == "served"


def read_body(sock: socket.socket, buffer: bytearray, count: int) -> int:
    """Read up to `count` bytes and forget them; return how many came."""
    view, taken = memoryview(buffer), 0
    while taken < count and (size := sock.recv_into(view, min(len(buffer), count - taken))):
        taken += size
    return taken


@unittest.skipUnless(sys.platform == "linux", "What a process holds is read from Linux's /proc.")
class MemoryTestCase(ReportingTestCase, ProcessTestCase):
    """Tests of what a server holds."""

    def serve(self, *options: str, limit: int | None = None, **variables: str) -> ServerProcess:
        """Start a server with the application; at most `limit` descriptors are open in it.

        `variables` go to its environment.
        """
        shutil.copy(apps.__file__, self.folder / "apps.py")
        loop = os.environ.get("DAPHNE_TEST_LOOP", "auto")
        command = [sys.executable, "-m", "django_daphne", "-p", "0", "--loop", loop]
        command += ["--access-log", "access.log", *options, "apps:application"]
        if limit is not None:
            command = ["sh", "-c", f'ulimit -n {limit} && exec "$0" "$@"', *command]
        server = ServerProcess(self.start_command(command, variables))
        self.assertEqual(server.ask(), "served")
        return server

    def assert_idle(self, server: ServerProcess, threads: int = 0) -> None:
        """Assert that no request runs, and that nothing is open that was not before the first.

        `threads` is how many were started since, to stay.
        """
        descriptors, before = server.idle
        expected = (descriptors, before + threads)
        # At its limits a server answers nobody before the others have left.
        eventually(lambda: server.descriptors == descriptors)
        self.assertTrue(eventually(lambda: server.ask("/running") == "1"), server.process)
        eventually(lambda: (server.descriptors, server.threads) == expected)
        self.assertEqual((server.descriptors, server.threads), expected, server.process)

    def assert_quiet(self, server: ServerProcess) -> None:
        """Stop the server; assert that it said nothing above INFO in all its life."""
        errors = self.finish(server.process).errors
        self.assertIsNone(_TROUBLE.search(errors), errors[-4000:])

    def allow_descriptors(self, count: int) -> None:
        """Let this process, and the servers it starts, open so many; skip where it must not."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard != resource.RLIM_INFINITY and hard < count:
            self.skipTest(f"missing: descriptors; {count} are needed and the hard limit is {hard}")
        if soft != resource.RLIM_INFINITY and soft < count:
            resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
            self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
