"""Files as responses: by their descriptor or their path where that is the whole answer."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, cast

from django.core.files.base import File
from django.core.files.storage import FileSystemStorage
from django.db import models
from django.db.models.fields.files import FieldFile
from django.http import FileResponse, HttpRequest, HttpResponse, StreamingHttpResponse
from django.utils.deprecation import MiddlewareMixin

from .support import Exchange, HandlerTestCase

CONTENT = bytes(range(256)) * 1200
GZIP = "django.middleware.gzip.GZipMiddleware"

PATHSEND, ZEROCOPYSEND = "http.response.pathsend", "http.response.zerocopysend"
SERVERS = {
    "no": (),
    "pathsend": (PATHSEND,),
    "zerocopysend": (ZEROCOPYSEND,),
    "both": (PATHSEND, ZEROCOPYSEND),
}


class Recorder:
    """A file of ours that is written down when it is closed."""

    def __init__(self) -> None:
        self.files: list[Any] = []

    def __call__(self, file: Any) -> Any:
        self.files.append(file)
        return file

    @property
    def closed(self) -> list[bool]:
        """Tell of each file whether it is closed."""
        return [file.closed for file in self.files]


def promise(response: FileResponse, length: object) -> FileResponse:
    """Return a response with another Content-Length, which Django works out at first."""
    response["Content-Length"] = str(length)
    return response


class FileTestCase(HandlerTestCase):
    """A folder with a file, and a client that gets what a server would make of the messages."""

    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.path = self.folder / "report.bin"
        self.path.write_bytes(CONTENT)
        self.opened = Recorder()

    def open(self) -> BinaryIO:
        """Return the file, open."""
        return cast(BinaryIO, self.opened(self.path.open("rb")))

    async def messages(
        self, handler: Any, *extensions: str, **more: Any
    ) -> tuple[list[dict[str, Any]], bytes]:
        """Return what the application sends to a server with extensions, and the body of that.

        A file is read when its message is sent: later it may be closed.
        """
        read: list[bytes] = []

        async def send(message: dict[str, Any]) -> None:
            if message["type"] in (PATHSEND, ZEROCOPYSEND):
                self.assertIs(self.opened.files[-1].closed, False)
            if message["type"] == ZEROCOPYSEND:
                descriptor = message["file"]
                read.append(os.pread(descriptor, message["count"], message["offset"]))
                self.assertEqual(len(read[-1]), message["count"])
            elif message["type"] == PATHSEND:
                read.append(Path(message["path"]).read_bytes())
            else:
                read.append(message.get("body", b""))

        more["extensions"] = {name: {} for name in extensions}
        exchange = Exchange(handler, on_send=send, **more)
        with warnings.catch_warnings(record=True, action="always") as caught:
            await exchange.begin()
            await exchange.end()
        self.assertEqual([str(each.message) for each in caught], [])
        await self.assert_idle()
        return exchange.sent, b"".join(read)

    async def assert_sent(
        self,
        make: Callable[[], Any],
        expected: dict[str, str | None],
        content: bytes = CONTENT,
        **options: Any,
    ) -> None:
        """Assert how a view's response comes to each kind of server, None being piece by piece.

        ``make`` makes the response, or the file for one.
        """

        def view(request: HttpRequest) -> Any:
            made = make()
            return made if isinstance(made, HttpResponse | StreamingHttpResponse) else answer(made)

        def answer(file: Any) -> FileResponse:
            return FileResponse(file)

        handler = self.handler(view, **options)
        for server, extensions in SERVERS.items():
            with self.subTest(server):
                sent, body = await self.messages(handler, *extensions)
                self.assertEqual(body == content, True, (len(body), len(content)))
                kinds = {message["type"] for message in sent[1:]} - {"http.response.body"}
                wanted = expected[server]
                self.assertEqual(kinds, {wanted} if wanted else set())
                if wanted:
                    self.assertEqual(len(sent), 2, "one message is the whole body")
                self.assertNotIn(False, self.opened.closed)


NEVER: dict[str, str | None] = dict.fromkeys(SERVERS)
BY_DESCRIPTOR = {**NEVER, "zerocopysend": ZEROCOPYSEND, "both": ZEROCOPYSEND}
ALWAYS = {**BY_DESCRIPTOR, "pathsend": PATHSEND}


class WholeFileTests(FileTestCase):
    """The server sends the file itself, where it can and the file is all there is to send."""

    async def test_plain(self):
        """The view opens a file."""
        await self.assert_sent(self.open, ALWAYS)

    async def test_unbuffered(self):
        """The view opens a file without a buffer."""
        await self.assert_sent(lambda: self.opened(self.path.open("rb", buffering=0)), ALWAYS)

    async def test_read_and_write(self):
        """The view opens a file for reading and writing."""
        await self.assert_sent(lambda: self.opened(self.path.open("r+b")), ALWAYS)

    async def test_empty(self):
        """The file is empty."""
        self.path.write_bytes(b"")
        await self.assert_sent(self.open, ALWAYS, b"")

    async def test_django_file(self):
        """The view gives Django's own kind of file."""
        await self.assert_sent(lambda: File(self.open()), ALWAYS)

    async def test_storage(self):
        """The view gives a file of a storage."""
        storage = FileSystemStorage(self.folder)
        await self.assert_sent(lambda: self.opened(storage.open(self.path.name)), ALWAYS)

    async def test_named_temporary_file(self):
        """The view makes a file and gives it away: that is gone with the answer."""

        def make() -> Any:
            file = tempfile.NamedTemporaryFile(dir=self.folder)  # noqa: SIM115 - Django closes it
            file.write(CONTENT)
            file.flush()
            file.seek(0)
            return self.opened(file)

        await self.assert_sent(make, ALWAYS)
        self.assertEqual(list(self.folder.iterdir()), [self.path])

    async def test_field_file(self):
        """The view gives the file of a model's field, whose name is that in its storage."""
        field = models.FileField(storage=FileSystemStorage(self.folder))
        instance: Any = models.Model

        def make() -> Any:
            return self.opened(FieldFile(instance, field, self.path.name)).open()

        await self.assert_sent(make, ALWAYS)

    async def test_attachment(self):
        """The view names the file for the client: head and body are as without a server's help."""

        def make() -> FileResponse:
            return FileResponse(self.open(), as_attachment=True, filename="übersicht.pdf")

        await self.assert_sent(make, ALWAYS)
        handler = self.handler(lambda request: make())
        heads = [(await self.messages(handler, *names))[0][0] for names in SERVERS.values()]
        for head in heads:
            self.assertEqual(head, heads[0])
        self.assertIn((b"Content-Length", b"%d" % len(CONTENT)), heads[0]["headers"])

    async def test_middleware(self):
        """Middleware looks at the response and leaves its body alone."""

        class Stamp(MiddlewareMixin):
            def process_response(self, request: HttpRequest, response: Any) -> Any:
                response["Stamp"] = str(response.streaming)
                return response

        await self.assert_sent(self.open, ALWAYS, middleware=[Stamp])

    async def test_async_view(self):
        """An async view gives the file."""

        async def view(request: HttpRequest) -> FileResponse:
            return FileResponse(self.open())

        handler = self.handler(view)
        for server, extensions in SERVERS.items():
            with self.subTest(server):
                sent, body = await self.messages(handler, *extensions)
                self.assertEqual(body == CONTENT, True, len(body))
                self.assertEqual(sent[1]["type"], ALWAYS[server] or "http.response.body")
        self.assertNotIn(False, self.opened.closed)


class PartTests(FileTestCase):
    """The path does not lead to what is to be sent, and the descriptor does."""

    async def test_offset(self):
        """The view has read some of the file already: the client gets the rest."""

        def make() -> BinaryIO:
            file = self.open()
            file.seek(1000)
            return file

        await self.assert_sent(make, BY_DESCRIPTOR, CONTENT[1000:])

    async def test_read(self):
        """The view has read a line: what Python has read ahead is not lost."""

        def make() -> BinaryIO:
            file = self.open()
            self.assertEqual(file.readline(), CONTENT[:11])
            return file

        await self.assert_sent(make, BY_DESCRIPTOR, CONTENT[11:])

    async def test_temporary_file(self):
        """The view gives a file without a name."""

        def make() -> Any:
            file = tempfile.TemporaryFile(dir=self.folder)  # noqa: SIM115 - Django closes it
            file.write(CONTENT)
            file.seek(0)
            return self.opened(file)

        await self.assert_sent(make, BY_DESCRIPTOR)

    async def test_unlinked(self):
        """The file is deleted before it is sent."""

        def make() -> BinaryIO:
            self.path.write_bytes(CONTENT)
            file = self.open()
            self.path.unlink()
            return file

        await self.assert_sent(make, BY_DESCRIPTOR)

    async def test_replaced(self):
        """Another file takes the place of the one that the view has opened."""

        def make() -> BinaryIO:
            self.path.write_bytes(CONTENT)
            file = self.open()
            other = self.folder / "other"
            other.write_bytes(b"x" * len(CONTENT))
            other.replace(self.path)
            return file

        await self.assert_sent(make, BY_DESCRIPTOR)
