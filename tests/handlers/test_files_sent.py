"""When files of responses are closed, and what clients of our own server get of them."""

from __future__ import annotations

import asyncio
import gzip
import io
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import HTTPConnection, HTTPResponse
from typing import Any, BinaryIO, cast

from django.http import FileResponse, HttpRequest, HttpResponse
from django.test import tag
from django.urls import path

from tests.support.server import PATIENCE, RunningServer, serve

from .support import Exchange, turns
from .test_files import CONTENT, GZIP, PATHSEND, ZEROCOPYSEND, FileTestCase, Recorder, promise


class EndTests(FileTestCase):
    """A file is open until its last byte has left, and closed then, once, in a lane."""

    def setUp(self) -> None:
        super().setUp()
        self.closing: list[str] = []

    def view(self, request: HttpRequest) -> FileResponse:
        """Answer with a file, and take note of where it is closed."""
        response: Any = FileResponse(self.open())

        def note() -> None:
            self.closing.append(threading.current_thread().name)

        response._resource_closers.append(note)
        return cast(FileResponse, response)

    async def begin(self, kind: str, **options: Any) -> tuple[Exchange, asyncio.Event]:
        """Return a request whose server takes the file's message and sends it for long."""
        handler, go_on = self.handler(self.view), asyncio.Event()
        self.arrived = asyncio.Event()

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == kind:
                self.arrived.set()
                await go_on.wait()
                os.fstat(self.opened.files[0].fileno())
                if options.get("error"):
                    raise options["error"]

        exchange = await Exchange(handler, on_send=send, extensions={kind: {}}).begin()
        async with asyncio.timeout(PATIENCE):
            await self.arrived.wait()
        return exchange, go_on

    async def test_open_until_sent(self):
        """The server takes its time: no lane waits for it, and the file is closed afterwards."""
        for kind in (PATHSEND, ZEROCOPYSEND):
            with self.subTest(kind):
                self.opened, self.closing = Recorder(), []
                ear = self.listen()
                exchange, go_on = await self.begin(kind)
                await self.assert_idle()
                self.assertEqual((self.opened.closed, ear.names), ([False], ["started"]))
                go_on.set()
                await exchange.end()
                await ear.finished()
                self.assertEqual(self.opened.closed, [True])
                self.assertEqual((ear.names, len(self.closing)), (["started", "finished"], 1))
                self.assertIn("lane", self.closing[0])

    async def test_client_leaves(self):
        """The client leaves while its file is sent: it is closed when the server has done."""
        for error in (None, ConnectionResetError()):
            with self.subTest(error):
                self.opened, self.closing = Recorder(), []
                ear = self.listen()
                exchange, go_on = await self.begin(ZEROCOPYSEND, error=error)
                with self.assertLogs("django_daphne", "INFO"):
                    await exchange.leave()
                    await turns()
                    self.assertEqual(self.opened.closed, [False])
                    go_on.set()
                    try:
                        await exchange.end()
                    except ConnectionResetError:
                        self.assertIsNotNone(error)
                    await ear.finished()
                self.assertEqual((self.opened.closed, len(self.closing)), ([True], 1))
                await self.assert_idle()

    async def test_failing_server(self):
        """The server cannot send the file: the application ends with that, and closes it."""
        exchange, go_on = await self.begin(ZEROCOPYSEND, error=OSError("disk"))
        ear = self.listen()
        go_on.set()
        with self.assertRaisesRegex(OSError, "disk"):
            await exchange.end()
        await ear.finished()
        self.assertEqual((self.opened.closed, len(self.closing)), ([True], 1))
        await self.assert_idle()

    async def test_cancelled(self):
        """The server stops while it sends: the file is closed."""
        exchange, _ = await self.begin(ZEROCOPYSEND)
        ear = self.listen()
        exchange.cancel()
        await exchange.end()
        await ear.finished()
        self.assertEqual((self.opened.closed, len(self.closing)), ([True], 1))
        await self.assert_idle()

    async def test_left_before(self):
        """The client leaves while the view opens its file: nothing is sent, the file is closed."""
        for number, extension in enumerate((PATHSEND, ZEROCOPYSEND, "none"), 1):
            with self.subTest(extension):
                await self.leave_before(extension)
                self.assertEqual(self.opened.closed, number * [True])

    async def leave_before(self, extension: str) -> None:
        """Leave while the view is at work."""
        gate = self.make_gate()

        def view(request: HttpRequest) -> FileResponse:
            gate.wait()
            return self.view(request)

        exchange = await Exchange(self.handler(view), extensions={extension: {}}).begin()
        await gate.reached()
        with self.assertLogs("django_daphne", "INFO"):
            await exchange.leave()
            await exchange.end()
        self.assertEqual(exchange.sent, [])
        gate.open()
        await self.assert_idle()


@tag("loop")
class ServerTests(FileTestCase):
    """Files through our own server, to real clients."""

    def start(self, view: Any, *patterns: Any, **options: Any) -> RunningServer:
        """Serve a project."""
        return self.enterContext(serve(self.handler(view, *patterns, **options)))

    def ask(
        self, server: RunningServer, path: str = "/", method: str = "GET", **headers: str
    ) -> tuple[HTTPResponse, bytes]:
        """Return the head and the body of an answer."""
        with closing(HTTPConnection(server.host, server.port, timeout=PATIENCE)) as client:
            for _ in range(2):  # the second one: the connection can be used on
                client.request(method, path, headers=headers)
                response = client.getresponse()
                body = response.read()
        return response, body

    def test_kinds(self):
        """Clients ask for all kinds of files: they get the right bytes, and can go on asking."""
        packed = self.folder / "report.gz"
        packed.write_bytes(gzip.compress(CONTENT))
        (self.folder / "empty").write_bytes(b"")

        def offset() -> BinaryIO:
            file = self.open()
            file.seek(1000)
            return file

        def unpacked() -> FileResponse:
            response = FileResponse(self.opened(gzip.GzipFile(packed)))
            del response["Content-Length"]
            return response

        kinds: dict[str, tuple[Callable[[], Any], bytes]] = {
            "plain": (self.open, CONTENT),
            "offset": (offset, CONTENT[1000:]),
            "memory": (lambda: io.BytesIO(CONTENT), CONTENT),
            "gzip": (unpacked, CONTENT),
            "empty": (lambda: self.opened((self.folder / "empty").open("rb")), b""),
        }

        def view(request: HttpRequest, kind: str) -> Any:
            made = kinds[kind][0]()
            return made if isinstance(made, FileResponse) else FileResponse(made)

        ear = self.listen()
        server = self.start(view, path("<slug:kind>", view))
        for kind, (_, expected) in kinds.items():
            with self.subTest(kind):
                response, body = self.ask(server, f"/{kind}")
                self.assertEqual((response.status, body == expected), (200, True))
                length = None if kind == "gzip" else str(len(expected))
                self.assertEqual(response.headers["Content-Length"], length)
        ear.wait(2 * len(kinds))
        self.assertNotIn(False, self.opened.closed)

    def test_head(self):
        """The client asks for the head alone."""
        ear = self.listen()
        server = self.start(lambda request: FileResponse(self.open()))
        response, body = self.ask(server, method="HEAD")
        self.assertEqual((response.status, body), (200, b""))
        self.assertEqual(response.headers["Content-Length"], str(len(CONTENT)))
        ear.wait(2)
        self.assertEqual(self.opened.closed, [True, True])

    def test_compressed_answer(self):
        """The client can unpack what a middleware compresses."""
        server = self.start(lambda request: FileResponse(self.open()), middleware=[GZIP])
        response, body = self.ask(server, **{"Accept-Encoding": "gzip"})
        self.assertEqual(response.headers["Content-Encoding"], "gzip")
        self.assertEqual(gzip.decompress(body) == CONTENT, True)

    def test_promised_too_much(self):
        """The view promises more than the file has: the client notices, the next is served."""
        server = self.start(
            lambda request: promise(FileResponse(self.open()), len(CONTENT) + 1),
            path("plain", lambda request: FileResponse(self.open())),
        )
        ear = self.listen()
        with (
            self.assertLogs("django_daphne"),
            self.assertRaises(Exception) as caught,
        ):
            self.ask(server)
        self.assertNotIsInstance(caught.exception, AssertionError)
        self.assertEqual(self.ask(server, "/plain")[1] == CONTENT, True)
        ear.wait(3)
        self.assertNotIn(False, self.opened.closed)

    def test_client_leaves(self):
        """The client reads a part of a great file and leaves: it is closed, with nothing left."""
        with self.path.open("r+b") as file:
            file.truncate(64 * 1024 * 1024)
        ear = self.listen()
        server = self.start(
            lambda request: FileResponse(self.open()),
            path("hello", lambda request: HttpResponse("hello")),
        )
        for _ in range(3):
            client = HTTPConnection(server.host, server.port, timeout=PATIENCE)
            client.request("GET", "/")
            response = client.getresponse()
            self.assertEqual(response.read(1000), CONTENT[:1000])
            response.close()
            client.close()
        ear.wait(3)
        self.assertEqual(self.opened.closed, 3 * [True])
        self.assertEqual(self.ask(server, "/hello")[1], b"hello")
        asyncio.run(self.assert_idle())

    def test_many(self):
        """Many clients ask for the same file at once."""

        def clients() -> Iterator[threading.Thread]:
            for _ in range(20):
                yield threading.Thread(target=lambda: bodies.append(self.ask(server)[1]))

        bodies: list[bytes] = []
        ear = self.listen()
        server = self.start(lambda request: FileResponse(self.open()))
        threads = list(clients())
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        self.assertEqual([body == CONTENT for body in bodies], 20 * [True])
        ear.wait(40)
        self.assertEqual(self.opened.closed, 40 * [True])
