"""Files that are more, or less, than what is on the disk: they go piece by piece."""

from __future__ import annotations

import gzip
import io
import tempfile
import threading
from typing import Any

from django.core.files.base import ContentFile, File
from django.http import FileResponse, HttpRequest
from django.utils.deprecation import MiddlewareMixin

from .support import Exchange, make_response
from .test_files import CONTENT, GZIP, NEVER, SERVERS, FileTestCase, Recorder, promise


class PieceTests(FileTestCase):
    """What is not simply in a file goes piece by piece, to every server."""

    async def test_gzip(self):
        """A middleware compresses the response."""
        headers = [(b"host", b"testserver"), (b"accept-encoding", b"gzip")]
        handler = self.handler(lambda request: FileResponse(self.open()), middleware=[GZIP])
        for server, extensions in SERVERS.items():
            with self.subTest(server):
                sent, body = await self.messages(handler, *extensions, headers=headers)
                self.assertIn((b"Content-Encoding", b"gzip"), sent[0]["headers"])
                self.assertEqual(gzip.decompress(body) == CONTENT, True)
        self.assertNotIn(False, self.opened.closed)

    async def test_compressed_file(self):
        """The view opens a compressed file: the client gets what was compressed."""
        packed = self.folder / "report.gz"
        packed.write_bytes(gzip.compress(CONTENT))

        def response(file: Any) -> FileResponse:
            made = FileResponse(file)
            del made["Content-Length"]  # it is that of the packed file, with Django's own handler
            return made

        await self.assert_sent(lambda: response(self.opened(gzip.GzipFile(packed))), NEVER)
        await self.assert_sent(lambda: response(File(self.opened(gzip.GzipFile(packed)))), NEVER)

    async def test_memory(self):
        """The view gives a file that is in memory, of Python's or of Django's kind."""
        await self.assert_sent(lambda: self.opened(io.BytesIO(CONTENT)), NEVER)
        await self.assert_sent(lambda: ContentFile(CONTENT, name=str(self.path)), NEVER)

    async def test_spooled_file(self):
        """The view gives a file that is still in memory: nobody has it written to a disk."""

        def make() -> Any:
            size = 2 * len(CONTENT)
            file = tempfile.SpooledTemporaryFile(size)  # noqa: SIM115 - Django closes it
            file.write(CONTENT)
            file.seek(0)
            return self.opened(file)

        await self.assert_sent(make, NEVER)
        self.assertEqual([file._rolled for file in self.opened.files], len(SERVERS) * [False])

    async def test_content_length(self):
        """The view promises more or less than there is: the server gets to see that."""
        for length in (len(CONTENT) + 1, len(CONTENT) - 1, "many"):

            def make(length: object = length) -> FileResponse:
                return promise(FileResponse(self.open()), length)

            with self.subTest(length):
                await self.assert_sent(make, NEVER)

    async def test_no_content_length(self):
        """A middleware takes the length away."""

        class Forget(MiddlewareMixin):
            def process_response(self, request: HttpRequest, response: Any) -> Any:
                del response["Content-Length"]
                return response

        await self.assert_sent(self.open, NEVER, middleware=[Forget])

    async def test_content_put_around(self):
        """Something puts an iterator around the file, of whatever kind, or another file."""

        def doubled(response: FileResponse) -> FileResponse:
            parts: Any = response.streaming_content
            response.streaming_content = (2 * part for part in parts)
            del response["Content-Length"]
            return response

        def replaced(response: FileResponse) -> FileResponse:
            response.streaming_content = iter([b"something ", b"else"])
            del response["Content-Length"]
            return response

        size = FileResponse.block_size  # Django's own handler has another in vain, for this one
        pieces = [CONTENT[start : start + size] for start in range(0, len(CONTENT), size)]
        twice = b"".join(2 * piece for piece in pieces)
        await self.assert_sent(lambda: doubled(FileResponse(self.open())), NEVER, twice)
        await self.assert_sent(
            lambda: replaced(FileResponse(self.open())), NEVER, b"something else"
        )

    async def test_subclass(self):
        """A project's own response puts something around the file, as it is made."""

        class Upper(FileResponse):
            def __init__(self, file: Any) -> None:
                super().__init__(file)
                parts: Any = self.streaming_content
                self.streaming_content = map(bytes.upper, parts)

        self.path.write_bytes(b"a small text")
        await self.assert_sent(lambda: Upper(self.open()), NEVER, b"A SMALL TEXT")

    async def test_own_files(self):
        """A project's own kinds of files make something else of what is on the disk."""

        class Swap(File):  # type: ignore[type-arg]  # it takes none when the program runs
            file: Any

            def read(self, size: int = -1) -> bytes:
                data: bytes = self.file.read(size)
                return data.swapcase()

        class Upper(io.BufferedReader):
            def read(self, size: int | None = -1, /) -> bytes:
                return super().read(size).upper()

        class Lower(io.FileIO):
            def read(self, size: int | None = -1, /) -> bytes:
                return (super().read(size) or b"").lower()

        class Raw(io.FileIO):
            def readinto(self, buffer: Any, /) -> int:
                count = super().readinto(buffer)
                buffer[:count] = bytes(buffer[:count]).replace(b"l", b"L")
                return count

        class Wrapper:
            """It has all that a file has, from another one."""

            def __init__(self, file: Any) -> None:
                self._file = file

            def read(self, size: int = -1) -> bytes:
                return bytes(reversed(self._file.read(size)))

            def __getattr__(self, name: str) -> Any:
                return getattr(self._file, name)

        self.path.write_bytes(b"Hello")
        name = str(self.path)
        for make, expected in (
            (lambda: Swap(self.open()), b"hELLO"),
            (lambda: self.opened(Upper(io.FileIO(name))), b"HELLO"),
            (lambda: self.opened(Lower(name)), b"hello"),
            (lambda: self.opened(io.BufferedReader(Raw(name))), b"HeLLo"),
            (lambda: Wrapper(self.open()), b"olleH"),
        ):
            with self.subTest(expected):
                await self.assert_sent(make, NEVER, expected)

    async def test_only_read(self):
        """The view gives something that can be read, and nothing else, or has a name as well."""

        class Reader:
            name: object = None
            closed = False

            def __init__(self) -> None:
                self._file = io.BytesIO(CONTENT)
                self.reading: list[int] = []

            def read(self, size: int = -1) -> bytes:
                self.reading.append(threading.get_ident())
                return self._file.read(size)

            def close(self) -> None:
                self.closed = True

        for name in (None, 7, "report.bin", "/nowhere/report.bin", str(self.path)):
            readers = Recorder()

            def make(name: object = name, readers: Recorder = readers) -> Any:
                readers(Reader()).name = name
                return readers.files[-1]

            with self.subTest(name):
                await self.assert_sent(make, NEVER)
                self.assertEqual(readers.closed, len(SERVERS) * [True])
                # In the lane, and in pieces.
                (threads,) = {len(set(each.reading)) for each in readers.files}
                self.assertEqual(threads, 1)
                self.assertGreater(len(readers.files[0].reading), 2)


class ForeignServerTests(FileTestCase):
    """A server that offers nothing gets Django's own messages."""

    async def test_pieces(self):
        """The pieces are as large as Django makes them, and the last message is empty."""
        handler = self.handler(lambda request: FileResponse(self.open()))
        scopes: list[dict[str, Any]] = [{}, {"extensions": None}, {"extensions": {"other": {}}}]
        for scope in scopes:
            with self.subTest(scope):
                exchange = await Exchange(handler, **scope).begin()
                await exchange.end()
                self.assertEqual(make_response(exchange.sent).body == CONTENT, True)
                sizes = [len(message.get("body", b"")) for message in exchange.sent[1:]]
                self.assertEqual(max(sizes), handler.chunk_size)
                self.assertEqual(self.opened.closed[-1], True)
