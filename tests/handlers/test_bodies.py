"""Bodies of requests: where they are kept, and what becomes of those that cannot be used."""

from __future__ import annotations

import io
import tempfile
from typing import Any

from django.core.handlers.asgi import ASGIHandler
from django.http import HttpRequest, HttpResponse
from django.test import override_settings

from django_daphne.handlers.threaded import ThreadedASGIHandler

from .support import Ear, Exchange, HandlerTestCase, Response, ask

LIMIT = 1000  # bytes that are kept in memory

FORM = (
    b'--x\r\nContent-Disposition: form-data; name="title"\r\n\r\nreport\r\n'
    b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n'
    b"Content-Type: text/plain\r\n\r\n%s\r\n--x--\r\n"
)
MULTIPART = b"multipart/form-data; boundary=x"


def echo(request: HttpRequest) -> HttpResponse:
    """Answer with the body."""
    return HttpResponse(request.body)


def form(request: HttpRequest) -> HttpResponse:
    """Answer with what a form has in it."""
    uploads: Any = request.FILES
    files = {name: file.read() for name, file in uploads.items()}
    return HttpResponse(f"{request.POST.dict()} {files}")


class BodyTestCase(HandlerTestCase):
    """A handler that shows the file of each request's body."""

    def setUp(self) -> None:
        super().setUp()
        self.files: list[Any] = []

    def watching(self, view: Any, **settings: Any) -> ThreadedASGIHandler:
        """Return a handler for a view; ``files`` are the bodies that it makes requests of."""
        files = self.files

        class Handler(ThreadedASGIHandler):
            def create_request(self, scope: Any, body_file: Any) -> Any:
                files.append(body_file)
                return super().create_request(scope, body_file)

        self.site(view, FILE_UPLOAD_MAX_MEMORY_SIZE=LIMIT, **settings)
        return Handler(self.pool)

    async def send(self, handler: Any, *parts: bytes, **more: Any) -> Response:
        """Return the response to a body in parts."""
        exchange = Exchange(handler, method="POST", **more)
        for number, part in enumerate(parts, 1):
            await exchange.begin(part, more_body=number < len(parts))
        await exchange.end()
        return exchange.response

    def headers(self, body: bytes, kind: bytes = b"text/plain") -> list[tuple[bytes, bytes]]:
        """Return the headers of a request with a body."""
        return [
            (b"host", b"testserver"),
            (b"content-type", kind),
            (b"content-length", b"%d" % len(body)),
        ]


class PlaceTests(BodyTestCase):
    """A body is in memory when it is all there at once or small, and else on the disk."""

    async def test_one_piece(self):
        """The body comes in one piece, be it large or none at all: it is one object in memory."""
        handler = self.watching(echo)
        for body in (b"", b"small", bytes(2 * LIMIT)):
            with self.subTest(len(body)):
                self.assertEqual((await self.send(handler, body)).body, body)
                self.assertIs(type(self.files[-1]), io.BytesIO)
                self.assertTrue(self.files[-1].closed)

    async def test_no_fields(self):
        """The server says nothing but that there is a request: it has no body."""
        handler = self.watching(echo)
        exchange = Exchange(handler)
        await exchange.input({"type": "http.request"})
        await exchange.end()
        self.assertEqual(exchange.response.body, b"")

    async def test_many_pieces(self):
        """The body comes in pieces: it is on the disk as soon as it is too large for memory."""
        rolled: list[Any] = []

        def view(request: HttpRequest) -> HttpResponse:
            rolled.append(self.files[-1]._rolled)
            return echo(request)

        handler = self.watching(view)
        for size, is_rolled in ((LIMIT // 4, False), (LIMIT, True)):
            parts = [bytes([number]) * size for number in range(3)]
            with self.subTest(size):
                self.assertEqual((await self.send(handler, *parts, b"")).body, b"".join(parts))
                self.assertIsInstance(self.files[-1], tempfile.SpooledTemporaryFile)
                self.assertTrue(self.files[-1].closed)
                self.assertEqual(rolled[-1], is_rolled)

    async def test_read_twice(self):
        """The view reads a part of the body itself, and another view all of it by lines."""

        def part(request: HttpRequest) -> HttpResponse:
            return HttpResponse(request.read(3) + b"|" + request.read())

        def lines(request: HttpRequest) -> HttpResponse:
            return HttpResponse(b"|".join(request))

        for view, expected in ((part, b"one|\ntwo"), (lines, b"one\n|two")):
            handler = self.watching(view)
            for parts in ([b"one\ntwo"], [b"on", b"e\nt", b"wo"]):
                self.assertEqual((await self.send(handler, *parts)).body, expected)

    async def test_async_view(self):
        """An async view reads the body, in one piece or in many."""

        async def view(request: HttpRequest) -> HttpResponse:
            return echo(request)

        handler = self.watching(view)
        for parts in ([b"abc"], [b"a", b"b", b"c"]):
            self.assertEqual((await self.send(handler, *parts)).body, b"abc")
            self.assertTrue(self.files[-1].closed)


class HalfTests(BodyTestCase):
    """The client leaves before its body is complete."""

    async def test_no_request(self):
        """The client leaves at once, or after some pieces: no view, no signals, no lane."""
        ear = self.listen()
        asked: list[object] = []
        handler = self.watching(asked.append)
        for parts in ([], [b"half"], [b"a" * LIMIT, b"b" * LIMIT]):
            with self.subTest(len(parts)), self.assertNoLogs("django", "WARNING"):
                exchange = Exchange(handler, method="POST")
                for part in parts:
                    await exchange.begin(part, more_body=True)
                await exchange.leave()
                await exchange.end()
                self.assertEqual(exchange.sent, [])
        self.assertEqual((asked, ear.names, self.files, len(self.pool)), ([], [], [], 0))

    async def test_file(self):
        """What has come of the body is thrown away."""
        made: list[Any] = []

        class Handler(ThreadedASGIHandler):
            async def read_body(self, receive: Any) -> Any:
                made.append(await super().read_body(receive))
                return made[-1]

        self.site(echo)
        exchange = await Exchange(Handler(self.pool)).begin(b"half", more_body=True)
        await exchange.leave()
        await exchange.end()
        self.assertEqual((made, len(self.pool)), ([], 0))


class ReadBodyTests(BodyTestCase):
    """read_body is Django's, and a project's to call and to replace."""

    async def test_called(self):
        """A tool calls it: it gets a file, with all that comes."""
        handler = self.handler(echo)
        for parts in ([b"whole"], [b"wh", b"o", b"le"]):
            messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
            messages[-1]["more_body"] = False

            async def receive(messages: list[Any] = messages) -> Any:
                return messages.pop(0)

            with await handler.read_body(receive) as file:
                self.assertEqual(file.read(), b"whole")

    async def test_replaced(self):
        """A subclass has its own: every body comes by there, once."""
        calls: list[bytes] = []

        class Handler(ThreadedASGIHandler):
            async def read_body(self, receive: Any) -> Any:
                with await super().read_body(receive) as file:
                    calls.append(file.read())
                return io.BytesIO(calls[-1].upper())

        self.site(echo)
        handler = Handler(self.pool)
        for parts in ([b"small"], [b"in ", b"pieces"], [b""]):
            with self.subTest(parts):
                self.assertEqual((await self.send(handler, *parts)).body, b"".join(parts).upper())
                self.assertEqual(calls.pop(), b"".join(parts))
                self.assertEqual(calls, [])


class UselessTests(BodyTestCase):
    """Bodies that a project cannot use are answered as Django answers them."""

    async def assert_as_django(
        self, status: int, view: Any, body: bytes, kind: bytes, **more: Any
    ) -> None:
        """Assert that both handlers answer a body alike, in one piece and in many."""
        self.site(view)
        headers = more.pop("headers", None) or self.headers(body, kind)
        middle = len(body) // 2
        for parts in ([body], [body[:middle], body[middle:]]):
            answers = []
            for handler in (ThreadedASGIHandler(self.pool), ASGIHandler()):
                with Ear() as ear:
                    response = await self.send(handler, *parts, headers=headers, **more)
                answers.append((response.status, sorted(response.headers), response.body))
                self.assertEqual(
                    [name for name in ear.names if name != "exception"], ["started", "finished"]
                )
            self.assertEqual(answers[0], answers[1])
            self.assertEqual(answers[0][0], status)

    async def test_form(self):
        """The client sends a good form."""
        await self.assert_as_django(200, form, FORM % b"text", MULTIPART)
        await self.assert_as_django(200, form, FORM % (b"long " * 100_000), MULTIPART)

    async def test_too_large(self):
        """The client sends more than the project takes, as a form and as anything."""
        self.enterContext(override_settings(DATA_UPLOAD_MAX_MEMORY_SIZE=3))
        await self.assert_as_django(400, echo, b"1234", b"text/plain")
        urlencoded = b"application/x-www-form-urlencoded"
        await self.assert_as_django(400, form, b"a=1234", urlencoded)
        await self.assert_as_django(400, form, FORM % b"", MULTIPART)

    async def test_too_many(self):
        """The client sends more fields or files than the project takes."""
        urlencoded = b"application/x-www-form-urlencoded"
        # Entered before the project that the assertion makes, and so left after it.
        self.enterContext(override_settings(DATA_UPLOAD_MAX_NUMBER_FIELDS=2))
        await self.assert_as_django(400, form, b"a=1&b=2&c=3", urlencoded)
        two = FORM[: -len(b"--x--\r\n")] % b"1" + (FORM % b"2")
        self.enterContext(override_settings(DATA_UPLOAD_MAX_NUMBER_FILES=1))
        await self.assert_as_django(400, form, two, MULTIPART)

    async def test_malformed(self):
        """The client sends a form that is none."""
        await self.assert_as_django(400, form, FORM % b"text", b"multipart/form-data")
        await self.assert_as_django(
            400, form, FORM % b"text", b"multipart/form-data; boundary=\xff"
        )
        await self.assert_as_django(200, form, b"no form at all", MULTIPART)
        await self.assert_as_django(200, form, (FORM % b"text")[:-20], MULTIPART)

    async def test_undecodable(self):
        """The client sends text in another encoding than it says, and a query that is no text."""
        urlencoded = b"application/x-www-form-urlencoded"
        await self.assert_as_django(200, form, b"a=%ff", urlencoded)
        charset = urlencoded + b"; charset=utf-16"
        await self.assert_as_django(400, form, b"a=1", charset)
        await self.assert_as_django(400, form, b"", b"text/plain", query_string=b"\xff")

    async def test_read_and_then_used(self):
        """The view reads the body, and then wants a form out of it."""

        def view(request: HttpRequest) -> HttpResponse:
            request.read(1)
            return form(request)

        await self.assert_as_django(200, view, b"", b"text/plain")
        await self.assert_as_django(200, view, b"ab", b"application/x-www-form-urlencoded")

    async def test_length_that_lies(self):
        """The server lets a Content-Length pass that is not that of the body."""
        for length in (b"0", b"2", b"99", b"many", b"-1"):
            with self.subTest(length):
                headers = [(b"content-type", MULTIPART), (b"content-length", length)]
                body = FORM % b"text"
                self.site(form)
                answers = [
                    await ask(handler, "/", body, method="POST", headers=headers)
                    for handler in (ThreadedASGIHandler(self.pool), ASGIHandler())
                ]
                self.assertEqual(answers[0].status, answers[1].status)
                self.assertEqual(answers[0].body, answers[1].body)
