"""How requests end: once, in the lane that they began in, whatever happens to them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.asgi import ASGIHandler
from django.core.signals import request_finished, request_started
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.template.response import ContentNotRenderedError, SimpleTemplateResponse
from django.test import override_settings
from django.urls import path
from django.utils.deprecation import MiddlewareMixin

from .support import Ear, Exchange, HandlerTestCase, ask


def hello(request: HttpRequest) -> HttpResponse:
    """Answer at once."""
    return HttpResponse("hello")


def stream(request: HttpRequest) -> StreamingHttpResponse:
    """Answer with a stream of three parts."""
    return StreamingHttpResponse(iter(["one", "two", "three"]))


def failing_parts() -> Iterator[str]:
    """Yield one part and fail."""
    yield "one"
    raise ValueError("no second part")


class StrangeError(BaseException):
    """What a tool uses to pass through everything that catches exceptions."""


class OnceTests(HandlerTestCase):
    """The signal request_finished comes once, in the thread of request_started."""

    async def assert_raises_and_finishes(
        self, error: type[BaseException], exchange: Exchange, *between: str
    ) -> None:
        """Assert that the application raises and that the request is finished all the same."""
        ear = self.listen()
        await exchange.begin()
        with self.assertRaises(error):
            await exchange.end()
        await ear.finished()
        await self.assert_idle()
        self.assert_once(ear, *between)

    async def test_answer(self):
        """The client gets a page, an error page and a stream."""
        handler = self.handler(hello, path("stream", stream))
        for name in ("/", "/nowhere", "/stream"):
            with self.subTest(name), Ear() as ear:
                await ask(handler, name)
                self.assert_once(ear)

    async def test_sender(self):
        """A receiver that listens to the handler's class alone hears both signals, with scope."""
        heard: list[Any] = []

        def receiver(**values: Any) -> None:
            heard.append(values)

        handler = self.handler(hello)
        for signal in (request_started, request_finished):
            signal.connect(receiver, sender=type(handler))
            self.addCleanup(signal.disconnect, receiver, sender=type(handler))
        await ask(handler, method="POST")
        self.assertEqual([values["sender"] for values in heard], [type(handler)] * 2)
        self.assertEqual(heard[0]["scope"]["method"], "POST")

    async def test_failing_send(self):
        """The connection breaks while the head of the answer is sent, or its body."""
        handler = self.handler(hello, path("stream", stream))
        for name in ("/", "/stream"):
            for kind in ("http.response.start", "http.response.body"):

                async def fail(message: Any, kind: str = kind) -> None:
                    if message["type"] == kind:
                        raise ConnectionResetError

                with self.subTest(name, kind=kind):
                    exchange = Exchange(handler, name, on_send=fail)
                    await self.assert_raises_and_finishes(ConnectionResetError, exchange)

    async def test_cancelled_view(self):
        """The server stops and cancels the request while the view runs: that goes on to its end."""
        gate, ear = self.make_gate(), self.listen()
        done: list[str] = []

        def view(request: HttpRequest) -> HttpResponse:
            gate.wait()
            done.append("view")
            return HttpResponse()

        exchange = await Exchange(self.handler(view)).begin()
        await gate.reached()
        exchange.cancel()
        await exchange.end()
        self.assertEqual((done, ear.names, exchange.sent), ([], ["started"], []))
        gate.open()
        await ear.finished()
        self.assert_once(ear)
        self.assertEqual(done, ["view"])

    async def test_cancelled_stream(self):
        """The server stops and cancels the request in the middle of a stream."""
        gate, ear = self.make_gate(), self.listen()

        def parts() -> Iterator[str]:
            yield "one"
            gate.wait()
            yield "two"

        exchange = await Exchange(self.handler(lambda _: StreamingHttpResponse(parts()))).begin()
        self.assertEqual(await exchange.part(), b"one")
        await gate.reached()
        exchange.cancel()
        await exchange.end()
        gate.open()
        await ear.finished()
        await self.assert_idle()
        self.assert_once(ear)

    async def test_no_response(self):
        """The outermost middleware forgets to return the response."""

        def forgetful(get_response: Any) -> Any:
            return lambda request: get_response(request) and None

        exchange = Exchange(self.handler(hello, middleware=[forgetful]))
        await self.assert_raises_and_finishes(AttributeError, exchange)
        self.assertEqual(exchange.sent, [])

    async def test_unrendered_response(self):
        """A middleware answers with a template that nobody renders: the server has sent nothing."""

        class Hasty(MiddlewareMixin):
            def process_request(self, request: HttpRequest) -> Any:
                return SimpleTemplateResponse("nowhere.html")

        exchange = Exchange(self.handler(hello, middleware=[Hasty]))
        await self.assert_raises_and_finishes(ContentNotRenderedError, exchange)
        self.assertEqual(exchange.sent, [])

    async def test_failing_stream(self):
        """The generator of a stream fails: the client has what came before, and no end."""
        exchange = Exchange(self.handler(lambda _: StreamingHttpResponse(failing_parts())))
        await self.assert_raises_and_finishes(ValueError, exchange)
        parts = [message.get("body") for message in exchange.sent]
        self.assertEqual(parts, [None, b"one"])

    async def test_failing_closer(self):
        """Something that the response has to close cannot be closed."""
        ear = self.listen()

        class Stubborn:
            def __iter__(self) -> Iterator[bytes]:
                return iter([b"hello"])

            def close(self) -> None:
                raise OSError

        def view(request: HttpRequest) -> Any:
            return StreamingHttpResponse(Stubborn())

        self.assertEqual((await ask(self.handler(view))).text, "hello")
        self.assert_once(ear)

    async def test_failing_close(self):
        """A response has a close() that fails after all was sent: the server is told."""

        class Response(HttpResponse):
            def close(self) -> None:
                super().close()
                raise ValueError

        exchange = Exchange(self.handler(lambda _: Response("hello")))
        await self.assert_raises_and_finishes(ValueError, exchange)
        self.assertEqual(exchange.response.text, "hello")

    async def test_failing_receiver(self):
        """A receiver of request_finished fails: the server is told."""

        def receiver(**values: object) -> None:
            raise ValueError

        handler = self.handler(hello)
        exchange = Exchange(handler)
        with Ear() as ear:
            request_finished.connect(receiver)
            self.addCleanup(request_finished.disconnect, receiver)
            await exchange.begin()
            with self.assertRaises(ValueError):
                await exchange.end()
            self.assert_once(ear)
        self.assertEqual(exchange.response.text, "hello")
        await self.assert_idle()

    async def test_failing_start(self):
        """A receiver of request_started fails: the server is told, and the view never asked."""
        asked: list[object] = []

        def receiver(**values: object) -> None:
            raise ValueError

        handler = self.handler(asked.append)
        with Ear() as ear:
            request_started.connect(receiver)
            self.addCleanup(request_started.disconnect, receiver)
            exchange = await Exchange(handler).begin()
            with self.assertRaises(ValueError):
                await exchange.end()
            await self.assert_idle()
            self.assertEqual(ear.names, ["started"])
        self.assertEqual((asked, exchange.sent), ([], []))

    async def test_no_request(self):
        """The client sends a query that is not UTF-8, and a body that is too large."""
        handler = self.handler(lambda request: HttpResponse(request.body))
        ear = self.enterContext(Ear())
        self.assertEqual((await ask(handler, query_string=b"\xff")).status, 400)
        self.assert_once(ear)
        with override_settings(DATA_UPLOAD_MAX_MEMORY_SIZE=3):
            length = [(b"content-length", b"4")]
            self.assertEqual((await ask(handler, body=b"1234", headers=length)).status, 400)
        self.assertEqual(ear.names, 2 * ["started", "finished"])

    async def test_half_a_body(self):
        """The client leaves before its body is complete: the request has never begun."""
        ear = self.listen()
        exchange = await Exchange(self.handler(hello)).begin(b"half", more_body=True)
        await exchange.leave()
        await exchange.end()
        self.assertEqual((ear.names, exchange.sent, len(self.pool)), ([], [], 0))

    async def test_propagated_exception(self):
        """The project asks Django to let exceptions out."""
        handler = self.handler(lambda request: 1 / 0, DEBUG_PROPAGATE_EXCEPTIONS=True)
        await self.assert_raises_and_finishes(ZeroDivisionError, Exchange(handler), "exception")

    async def test_broken_urls(self):
        """The project has no URLs at all: what Django's own handler raises is raised."""
        handler = self.handler(hello)
        with override_settings(ROOT_URLCONF="tests.handlers.nowhere"):
            stock = await Exchange(ASGIHandler()).begin()
            with self.assertRaises(ModuleNotFoundError):
                await stock.end()
            await self.assert_raises_and_finishes(
                ModuleNotFoundError, Exchange(handler), "exception"
            )


class StoppingTests(HandlerTestCase):
    """Views that raise what would end a process, or a task."""

    async def test_view(self):
        """A view raises it: the client gets an error page, and the next one what it asks for."""
        for error in (SystemExit, KeyboardInterrupt, asyncio.CancelledError):

            def view(request: HttpRequest, error: type[BaseException] = error) -> HttpResponse:
                raise error

            def page(request: HttpRequest) -> HttpResponse:
                return HttpResponse("our fault", status=500)

            with self.subTest(error), Ear() as ear:
                handler = self.handler(view, path("hello", hello), pages={"handler500": page})
                with self.assertLogs("django_daphne", "ERROR") as logs:
                    response = await ask(handler)
                self.assertEqual((response.status, response.text), (500, "our fault"))
                self.assert_once(ear, "exception")
                self.assertIn(error.__name__, logs.output[0])
                self.assertEqual((await ask(handler, "/hello")).text, "hello")
                self.assertLessEqual(len(self.pool), 2)

    async def test_upload(self):
        """A view raises it with a file of the client in its hands: that is closed."""
        files: list[Any] = []

        def view(request: HttpRequest) -> HttpResponse:
            files.append(request.FILES["report"])
            raise SystemExit

        body = (
            b'--x\r\nContent-Disposition: form-data; name="report"; filename="a.txt"\r\n'
            b"Content-Type: text/plain\r\n\r\nhello\r\n--x--\r\n"
        )
        headers = [
            (b"content-type", b"multipart/form-data; boundary=x"),
            (b"content-length", str(len(body)).encode()),
        ]
        with self.assertLogs("django_daphne", "ERROR"):
            response = await ask(self.handler(view), body=body, method="POST", headers=headers)
        self.assertEqual(response.status, 500)
        self.assertEqual([file.closed for file in files], [True])

    async def test_middleware(self):
        """A middleware raises it, before the view and after it."""

        class Before(MiddlewareMixin):
            def process_request(self, request: HttpRequest) -> None:
                raise SystemExit

        class After(MiddlewareMixin):
            def process_response(self, request: HttpRequest, response: Any) -> Any:
                raise KeyboardInterrupt

        for middleware in (Before, After):
            with self.subTest(middleware), self.assertLogs("django_daphne", "ERROR"):
                handler = self.handler(hello, middleware=[middleware])
                self.assertEqual((await ask(handler)).status, 500)

    async def test_debug_page(self):
        """The developer sees what it was."""
        handler = self.handler(lambda request: exit(3), DEBUG=True)
        with self.assertLogs("django_daphne", "ERROR"), self.assertLogs("django.request"):
            response = await ask(handler)
        self.assertEqual(response.status, 500)
        self.assertIn("SystemExit", response.text)

    async def assert_contained(self, handler: Any) -> None:
        """Assert that nothing leaves the application at / that would end the server."""
        ear = self.listen()
        exchange = await Exchange(handler).begin()
        with suppress(Exception):
            await exchange.end()
        await ear.finished()
        self.assert_once(ear)
        self.assertEqual((await ask(handler, "/hello")).text, "hello")

    async def test_stream(self):
        """The generator of a stream raises it: the server goes on."""

        def parts() -> Iterator[str]:
            yield "one"
            raise SystemExit

        await self.assert_contained(
            self.handler(lambda _: StreamingHttpResponse(parts()), path("hello", hello))
        )

    async def test_close(self):
        """The close() of a response raises it: the server goes on."""

        class Response(HttpResponse):
            def close(self) -> None:
                super().close()
                raise SystemExit

        await self.assert_contained(self.handler(lambda _: Response(), path("hello", hello)))

    async def test_other_base_exceptions(self):
        """A tool in the view raises an exception of its own kind: that leaves as it is."""

        def view(request: HttpRequest) -> HttpResponse:
            raise StrangeError

        ear = self.listen()
        exchange = await Exchange(self.handler(view)).begin()
        with self.assertRaises(StrangeError):
            await exchange.end()
        await ear.finished()
        self.assert_once(ear)
        self.assertEqual(exchange.sent, [])
        await self.assert_idle()

    async def test_ordinary_exceptions(self):
        """A view raises what Django knows: the answers are those of Django."""
        for error, status in ((Http404, 404), (ImproperlyConfigured, 500)):

            def view(request: HttpRequest, error: type[Exception] = error) -> HttpResponse:
                raise error

            with self.subTest(error), self.assertNoLogs("django_daphne"):
                self.assertEqual((await ask(self.handler(view))).status, status)
