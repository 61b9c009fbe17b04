"""http.response.pathsend and zerocopysend: files as bodies, and parts of them."""

from __future__ import annotations

import io
import os
import socket
import tempfile
from pathlib import Path
from typing import Any, BinaryIO

from django.test import tag

from django_daphne.server import ApplicationError
from tests.compliance import GET_10, request
from tests.support.server import serve

from .test_http_cycle import GET, LOGGER, CycleTestCase

CONTENT = bytes(range(256)) * 16


class FileTestCase(CycleTestCase):
    """Tests with a file of 4096 bytes."""

    def setUp(self):
        self.path = Path(self.enterContext(tempfile.TemporaryDirectory()), "file")
        self.path.write_bytes(CONTENT)

    def open(self) -> BinaryIO:
        """Return the open file."""
        return self.enterContext(self.path.open("rb"))


@tag("loop")
class PathsendTests(FileTestCase):
    """A whole file by its path."""

    def test_length(self):
        """The application sends a path; the server tells the length and sends the file."""
        client, call = self.wire()
        call.start()
        call.send("pathsend", path=str(self.path)).result()
        (response,) = client.responses()
        self.assertEqual(response.headers[b"content-length"], b"4096")
        self.assertEqual(response.body, CONTENT)
        self.assert_open(client)

    def test_path_object(self):
        """The application sends a path object."""
        client, call = self.wire()
        call.start()
        call.send("pathsend", path=self.path).result()
        self.assertEqual(client.responses()[0].body, CONTENT)

    def test_empty_file(self):
        """The file is empty, and so is the body."""
        self.path.write_bytes(b"")
        client, call = self.wire()
        call.start()
        call.send("pathsend", path=str(self.path)).result()
        (response,) = client.responses()
        self.assertEqual((response.headers[b"content-length"], response.body), (b"0", b""))
        self.assert_open(client)

    def test_head(self):
        """The client asks for the head alone."""
        client, call = self.wire(request(line=b"HEAD / HTTP/1.1"))
        call.start(200, [(b"content-length", b"4096")])
        call.send("pathsend", path=str(self.path)).result()
        (response,) = client.responses("HEAD")
        self.assertEqual(response.headers[b"content-length"], b"4096")
        self.assert_open(client)

    def test_http10(self):
        """The client of HTTP/1.0 gets the file, too, and can keep its connection."""
        client, call = self.wire(request(b"Connection: keep-alive", line=GET_10))
        call.start()
        call.send("pathsend", path=str(self.path)).result()
        self.assertEqual(client.responses()[0].body, CONTENT)
        self.assert_open(client)

    def test_missing(self):
        """The file is missing: the application learns it and can still answer."""
        client, call = self.wire()
        call.start()
        error = call.send("pathsend", path=str(self.path) + "x").exception()
        self.assertIsInstance(error, FileNotFoundError)
        call.body(b"sorry")
        self.assertEqual(client.responses()[0].body, b"sorry")

    def test_shorter_than_promised(self):
        """The file is shorter than the Content-Length: the client is cut."""
        client, call = self.wire()
        call.start(200, [(b"content-length", b"5000")])
        error = call.send("pathsend", path=str(self.path)).exception()
        self.assertIsInstance(error, ApplicationError)
        self.assert_reset(client)

    def test_longer_than_promised(self):
        """The file is longer than the Content-Length: it is cut off where it was promised to be."""
        client, call = self.wire()
        call.start(200, [(b"content-length", b"10")])
        error = call.send("pathsend", path=str(self.path)).exception()
        self.assertIsInstance(error, ApplicationError)
        self.assertEqual(client.responses()[0].body, CONTENT[:10])
        self.assert_open(client)


@tag("loop")
class ZerocopysendTests(FileTestCase):
    """Parts of an open file."""

    def body(self, *parts: dict[str, Any], wire: bytes = GET) -> bytes:
        """Return the body that parts of files make."""
        client, call = self.wire(wire)
        call.start()
        for number, part in enumerate(parts, 1):
            call.send("zerocopysend", more_body=number < len(parts), **part).result()
        (response,) = client.responses()
        self.assertTrue(response.complete)
        return response.body

    def test_whole(self):
        """The application sends an open file, or its descriptor."""
        file = self.open()
        self.assertEqual(self.body({"file": file}), CONTENT)
        self.assertEqual(self.body({"file": file.fileno()}), CONTENT)

    def test_parts(self):
        """The application names offset and count, one of them, or both."""
        file = self.open()
        for offset, count in ((0, 10), (100, 200), (4000, 96)):
            part = {"file": file, "offset": offset, "count": count}
            self.assertEqual(self.body(part), CONTENT[offset : offset + count])
        self.assertEqual(self.body({"file": file, "offset": 4000}), CONTENT[4000:])
        self.assertEqual(self.body({"file": file, "count": 5}), CONTENT[:5])

    def test_position(self):
        """The application has read a part itself; without an offset the rest is sent."""
        file = self.open()
        os.lseek(file.fileno(), 4000, os.SEEK_SET)
        self.assertEqual(self.body({"file": file}), CONTENT[4000:])

    def test_behind_the_end(self):
        """The application's offset lies behind the end of the file: nothing is sent."""
        self.assertEqual(self.body({"file": self.open(), "offset": 9999}), b"")

    def test_more_body(self):
        """The application sends two parts and bytes between them, in chunks."""
        file = self.open()
        client, call = self.wire()
        call.start()
        call.send("zerocopysend", file=file, offset=0, count=3, more_body=True).result()
        call.body(b"-middle-", more=True)
        call.send("zerocopysend", file=file, offset=65, count=3).result()
        (response,) = client.responses()
        self.assertEqual(response.body, CONTENT[:3] + b"-middle-ABC")
        self.assertEqual(response.headers[b"transfer-encoding"], b"chunked")

    def test_empty_part(self):
        """The application sends no bytes of a file, which must not end the chunks."""
        file = self.open()
        parts = ({"file": file, "count": 0}, {"file": file, "offset": 65, "count": 1})
        self.assertEqual(self.body(*parts), b"A")

    def test_until_close(self):
        """The client of HTTP/1.0 gets parts without chunks, and the end as the end."""
        file = self.open()
        part = {"file": file, "offset": 65, "count": 2}
        self.assertEqual(self.body(part, part, wire=b"GET / HTTP/1.0\r\n\r\n"), b"ABAB")

    def test_range(self):
        """The application answers a range request (RFC 9110, 15.3.7)."""
        client, call = self.wire(request(b"Range: bytes=65-67"))
        headers = [(b"content-length", b"3"), (b"content-range", b"bytes 65-67/4096")]
        call.start(206, headers)
        call.send("zerocopysend", file=self.open(), offset=65, count=3).result()
        (response,) = client.responses()
        self.assertEqual((response.status, response.body), (206, b"ABC"))

    def test_head(self):
        """The client asks for the head alone and gets no byte of the file."""
        client, call = self.wire(request(line=b"HEAD / HTTP/1.1") + GET)
        call.start(200, [(b"content-length", b"4096")])
        call.send("zerocopysend", file=self.open()).result()
        self.assertTrue(client.read().endswith(b"\r\n\r\n"))

    def test_shorter_than_promised(self):
        """The application promises more than the file has: the client is cut."""
        for headers in ([], [(b"content-length", b"5000")]):
            client, call = self.wire()
            call.start(200, headers)
            error = call.send("zerocopysend", file=self.open(), count=5000).exception()
            self.assertIsInstance(error, ApplicationError)
            self.assert_reset(client)
            self.assertEqual([record.status for record in client.server.access], [200])

    def test_closed_meanwhile(self):
        """The application closes its file before the last byte has left."""
        client, call = self.wire(write_buffer_size=1024)
        client.stop_reading()
        call.start()
        file = self.open()
        sending = call.send("zerocopysend", file=file)
        self.assertFalse(sending.done())
        file.close()
        while not sending.done():
            client.take()
        sending.result()
        client.read_on()
        self.assertEqual(client.responses()[0].body, CONTENT)

    def test_no_real_file(self):
        """The application sends a file that only exists in memory, or one that is closed."""
        closed = self.open()
        closed.close()
        for file in (io.BytesIO(CONTENT), closed):
            client, call = self.wire()
            call.start()
            error = call.send("zerocopysend", file=file).exception()
            self.assertIsInstance(error, ApplicationError)
            call.body(CONTENT)
            self.assertEqual(client.responses()[0].body, CONTENT)


@tag("loop")
class SocketFileTests(FileTestCase):
    """The same over real sockets, where the kernel does the work."""

    async def application(self, scope: Any, receive: Any, send: Any) -> None:
        """Send the whole file, or the part of it that the query names."""
        await send({"type": "http.response.start", "status": 200})
        if not scope["query_string"]:
            await send({"type": "http.response.pathsend", "path": str(self.path)})
            return
        offset, count = map(int, scope["query_string"].split(b"-"))
        part = {"type": "http.response.zerocopysend", "offset": offset, "count": count}
        with self.path.open("rb") as file:
            await send({**part, "file": file})

    def fetch(self, *targets: str) -> bytes:
        """Return all that comes for pipelined requests."""
        lines = [f"GET {target} HTTP/1.1".encode() for target in targets]
        *first, last = lines
        wire = b"".join(request(line=line) for line in first)
        with serve(self.application) as server, socket.create_connection(server.address) as sock:
            sock.sendall(wire + request(b"Connection: close", line=last))
            return b"".join(iter(lambda: sock.recv(65536), b""))

    def test_pipelined(self):
        """The client asks for the whole file and then for a part."""
        received = self.fetch("/", "/?65-3", "/")
        head, _, rest = received.partition(b"\r\n\r\n")
        self.assertIn(b"Content-Length: 4096", head)
        self.assertTrue(rest.startswith(CONTENT + b"HTTP/1.1 200 OK\r\n"))
        self.assertIn(b"\r\n\r\nABCHTTP/1.1 200 OK\r\n", rest)
        self.assertTrue(rest.endswith(b"\r\n\r\n" + CONTENT))

    def test_too_short(self):
        """The file is shorter than what is promised of it, and the client is cut."""
        with self.assertLogs(LOGGER, "ERROR"), self.assertRaises(ConnectionResetError):
            self.fetch("/?4000-200")
