"""Responses of any size from Django's views: what the server holds of them, and who waits for whom.

The checks have their sizes as parameters: 2 GiB by the tag "heavy", 64 MiB in every run. The bounds
are the same.
"""

from __future__ import annotations

import os
import socket
import time
from contextlib import closing

from django.test import tag

from tests.integration.projects import SmallProjectTestCase

from . import MIB, MemoryTestCase, ServerProcess, eventually, read_body, read_head

# Bytes that one response may take at any time; much less than the smallest one has.
MAX_FOR_ONE = 24 * MIB
# Pieces that may be on their way: in the lane's window, in the server and in the system's buffers.
MAX_AHEAD = 16

PIECE = MIB
"""Bytes in each piece that a generator yields."""

# Pieces that nobody waits for.
NEAR_ENDLESS = 50_000

AT_A_TIME = 50

SETTINGS = """
    DAPHNE = {"DJANGO_HANDLER": "threaded", "THREADS": 4, "THREAD_IDLE_TIMEOUT": 0.5}
    MIDDLEWARE = [
        "django.middleware.security.SecurityMiddleware",
        "django.middleware.common.CommonMiddleware",
    ]
"""

URLS = """
    import io
    from pathlib import Path
    from django.http import FileResponse, HttpResponse, StreamingHttpResponse
    from django.urls import path

    PIECE = 1024 * 1024
    pieces_taken = streams_closed = 0

    def hello(request):
        return HttpResponse("served")

    def progress(request):
        return HttpResponse(f"{pieces_taken} {streams_closed}")

    def sized(response, count):
        response["Content-Length"] = count * PIECE
        return response

    def pieces(request, count):
        def generate():
            global pieces_taken, streams_closed
            pieces_taken = 0
            try:
                for _ in range(count):
                    yield bytes(PIECE)
                    pieces_taken += 1
            finally:
                streams_closed += 1

        return sized(StreamingHttpResponse(generate()), count)

    async def async_pieces(request, count):
        async def generate():
            global pieces_taken, streams_closed
            pieces_taken = 0
            try:
                for _ in range(count):
                    yield bytes(PIECE)
                    pieces_taken += 1
            finally:
                streams_closed += 1

        return sized(StreamingHttpResponse(generate()), count)

    class CountedFile(io.BufferedReader):
        "A file of the system, whose end is counted."

        def close(self):
            global streams_closed
            streams_closed += not self.closed
            super().close()

    def file(request):
        return FileResponse(CountedFile(io.FileIO(str(Path("file").absolute()))))

    class Zeros:
        "A file that is none: it has so many zeros and no descriptor."

        def __init__(self, count):
            self.left = count * PIECE

        def read(self, size=-1):
            global pieces_taken
            taken = min(size, self.left)
            self.left -= taken
            pieces_taken += taken / PIECE
            return bytes(taken)

        def close(self):
            global streams_closed
            streams_closed += 1

    def zeros(request, count):
        global pieces_taken
        pieces_taken = 0
        return sized(FileResponse(Zeros(count)), count)

    urlpatterns = [
        path("", hello),
        path("progress", progress),
        path("pieces/<int:count>", pieces),
        path("async-pieces/<int:count>", async_pieces),
        path("file", file),
        path("zeros/<int:count>", zeros),
    ]
"""


class StreamTests(SmallProjectTestCase, MemoryTestCase):
    """A view sends 64 MiB to a client that reads, pauses, and reads on."""

    size = 64 * MIB

    def setUp(self):
        """Prepare the project, with a file that takes no room."""
        super().setUp()
        self.settings_are(SETTINGS)
        self.write("site_urls.py", URLS)
        with (self.folder / "file").open("wb") as file:
            file.truncate(self.size)

    @property
    def pieces(self) -> int:
        """Return how many pieces make the size."""
        return self.size // PIECE

    def serve_project(self) -> ServerProcess:
        """Start the server; all that is loaded with the first request is loaded."""
        loop = os.environ.get("DAPHNE_TEST_LOOP", "auto")
        options = ("-p", "0", "--loop", loop, "--access-log", "access.log")
        server = ServerProcess(self.manage("rundaphne", *options))
        self.assertEqual(server.ask(), "served")
        for path in ("/pieces/1", "/async-pieces/1", "/zeros/1"):
            self.assertEqual(len(server.ask(path)), PIECE)
        return server

    def progress(self, server: ServerProcess) -> tuple[float, int]:
        """Return the pieces taken from the last stream, and how many streams were closed."""
        pieces, closed = server.ask("/progress").split()
        return float(pieces), int(closed)

    def request(self, server: ServerProcess, path: str) -> socket.socket:
        """Return a connection on which the path was asked for."""
        sock = server.connect()
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        return sock

    def check(self, path: str, *, is_counted: bool = True) -> None:
        """Stop reading after a quarter, see that all stands still, and read all of it.

        `is_counted` says whether the project can tell how much was taken.
        """
        server = self.serve_project()
        before, (_, ends) = server.memory, self.progress(server)
        with closing(self.request(server, path)) as sock:
            began = time.monotonic()
            size, body = read_head(sock)
            self.assertEqual(size, self.size)
            buffer = bytearray(MIB)
            quarter = size // 4 - len(body)
            self.assertEqual(read_body(sock, buffer, quarter), quarter)
            took = time.monotonic() - began
            for _ in range(AT_A_TIME):
                self.assertEqual(server.ask(), "served")
            if is_counted:
                taken = self.progress(server)[0]
                self.assertGreaterEqual(taken, size // 4 // PIECE)
                self.assertLessEqual(taken, size // 4 // PIECE + MAX_AHEAD)
                self.assertEqual(self.progress(server)[0], taken)
            self.assertEqual(self.progress(server)[1], ends)
            self.assertLess(server.peak - before, MAX_FOR_ONE)
            resumed = time.monotonic()
            rest = size - size // 4
            self.assertEqual(read_body(sock, buffer, rest), rest)
            took += time.monotonic() - resumed
            # On the same connection: the response ended where it said that it would.
            sock.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            length, body = read_head(sock)
            self.assertEqual((length, body[:length]), (6, b"served"))
        self.report(
            f"{before / MIB:.1f} MiB before, {server.peak / MIB:.1f} MiB at most,"
            f" {size / took / MIB:.0f} MiB/s"
        )
        self.assertLess(server.peak - before, MAX_FOR_ONE)
        self.assertEqual(self.progress(server)[1], ends + 1)
        self.assert_settled(server)

    def assert_settled(self, server: ServerProcess) -> None:
        """Assert that nothing stays open, that idle threads end, and that all was well."""
        descriptors, threads = server.idle
        # The loop keeps the thread of its executor, if a file was opened there.
        self.assertTrue(
            eventually(lambda: server.descriptors == descriptors and server.threads <= threads + 1),
            (server.idle, server.descriptors, server.threads, server.process),
        )
        self.assert_quiet(server)

    def test_generator(self):
        """The client pauses in the middle of what a sync generator yields."""
        self.check(f"/pieces/{self.pieces}")

    def test_async_generator(self):
        """The client pauses in the middle of what an async generator yields."""
        self.check(f"/async-pieces/{self.pieces}")

    def test_file(self):
        """The client pauses in the middle of a file."""
        self.check("/file", is_counted=False)

    def test_no_file(self):
        """The client pauses in the middle of a file that is one only by its methods."""
        self.check(f"/zeros/{self.pieces}")

    def test_leaving(self):
        """The client leaves after the first bytes: generator or file is closed, and not read."""
        server = self.serve_project()
        for name in ("pieces", "async-pieces", "zeros", "file"):
            path = "/file" if name == "file" else f"/{name}/{NEAR_ENDLESS}"
            _, ends = self.progress(server)
            with closing(self.request(server, path)) as sock:
                read_head(sock)

            def is_closed(expected: int = ends + 1) -> bool:
                return self.progress(server)[1] == expected

            self.assertTrue(eventually(is_closed), f"{path} is not closed: {server.process}")
            if name != "file":
                self.assertLess(self.progress(server)[0], NEAR_ENDLESS)
        self.assert_settled(server)


@tag("heavy")
class LongStreamTests(StreamTests):
    """A view sends 2 GiB to a client that reads, pauses, and reads on."""

    size = 2048 * MIB
