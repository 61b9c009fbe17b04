"""How requests of async views end: once, in the lane that they began in, on each way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

from django.core.signals import request_finished
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.template.response import ContentNotRenderedError, TemplateResponse
from django.urls import path
from django.utils.decorators import sync_and_async_middleware
from django.utils.deprecation import MiddlewareMixin

from .stacks import STACKS
from .support import Ear, Exchange, ask, until
from .ways import INWARDS, TOOLS, WayTestCase, hello, received

# What a view may raise that would end the process, or a task that is not its own.
FATAL = (SystemExit, KeyboardInterrupt, asyncio.CancelledError)


async def fail(request: HttpRequest) -> HttpResponse:
    """Fail, with something in a variable."""
    shelf = "third from the left"
    raise LookupError(f"nothing in the {shelf}")


class OnceTests(WayTestCase):
    """The signal request_finished comes once, whatever happens to the response."""

    async def assert_ends(
        self, view: Any, error: type[BaseException] | None, *between: str, **more: Any
    ) -> None:
        """Assert that on each way the application raises this, and the request is finished."""
        first = more.pop("first", ())

        async def check(middleware: list[Any]) -> None:
            handler = self.handler(view, middleware=[*first, *middleware])
            with Ear() as ear:
                exchange = await Exchange(handler, **more).begin()
                if error is None:
                    await exchange.end()
                else:
                    with self.assertRaises(error):
                        await exchange.end()
                await ear.finished()
                await self.assert_idle()
            self.assertEqual(ear.names, ["started", *between, "finished"])
            self.assertEqual(ear.threads[0], ear.threads[-1])

        await self.on_each_way(check)

    async def test_answers(self):
        """The client gets a page, an error page, and one that cannot be rendered."""

        async def render(request: HttpRequest) -> TemplateResponse:
            return TemplateResponse(request, "there is no such template")

        await self.assert_ends(hello, None)
        with self.assertLogs("django.request", "ERROR"):
            await self.assert_ends(fail, None, "exception")
            await self.assert_ends(render, None, "exception")

    async def test_failing_send(self):
        """The connection breaks while the head of the answer is sent, or its body."""
        for kind in ("http.response.start", "http.response.body"):

            async def broken(message: Any, kind: str = kind) -> None:
                if message["type"] == kind:
                    raise ConnectionResetError

            await self.assert_ends(hello, ConnectionResetError, on_send=broken)

    async def test_cancelled(self):
        """The server stops and cancels the request while the view waits: that is cancelled."""

        async def view(request: HttpRequest) -> HttpResponse:
            self.note("waiting")
            try:
                await asyncio.Event().wait()
            finally:
                self.note("cancelled")
            return HttpResponse("never")

        async def check(middleware: list[Any]) -> None:
            handler = self.handler(view, middleware=middleware)
            with Ear() as ear:
                exchange = await Exchange(handler).begin()
                await until(lambda: "waiting" in self.notes)
                exchange.cancel()
                await exchange.end()
                await ear.finished()
                await self.assert_idle()
            self.assert_once(ear)
            self.assertEqual(self.notes, [*INWARDS, "waiting", "cancelled"])
            self.assertEqual(exchange.sent, [])

        await self.on_each_way(check)

    async def test_no_response(self):
        """The outermost middleware forgets to return the response."""

        class Forgetful(MiddlewareMixin):
            def process_response(self, request: HttpRequest, response: Any) -> None:
                return None

        await self.assert_ends(hello, AttributeError, first=[Forgetful])

    async def test_unrendered_response(self):
        """A middleware answers with a template that nobody renders."""

        class Hasty(MiddlewareMixin):
            def process_request(self, request: HttpRequest) -> TemplateResponse:
                return TemplateResponse(request, "never rendered")

        await self.assert_ends(hello, ContentNotRenderedError, first=[Hasty])

    async def test_failing_close(self):
        """A closer of the response fails, which is nobody's business; its close() fails."""
        closed: list[str] = []

        def closer() -> None:
            closed.append("closer")
            raise OSError

        class Unclosable(HttpResponse):
            def close(self) -> None:
                super().close()
                raise OSError

        async def view(request: HttpRequest) -> Any:
            response: Any = HttpResponse("hello")
            response._resource_closers.append(closer)
            return response

        async def unclosable(request: HttpRequest) -> HttpResponse:
            return Unclosable("hello")

        await self.assert_ends(view, None)
        self.assertEqual(closed, ["closer"] * len(TOOLS) * len(STACKS))
        await self.assert_ends(unclosable, OSError)

    async def test_failing_receiver(self):
        """A receiver of request_finished fails: the server is told."""

        def receiver(**values: object) -> None:
            raise LookupError

        async def check(middleware: list[Any]) -> None:
            with Ear() as ear, received(request_finished, receiver):
                with self.assertRaises(LookupError):
                    await ask(self.handler(hello, middleware=middleware))
                self.assert_once(ear)

        await self.on_each_way(check)

    async def test_failing_streams(self):
        """The view streams, and what makes the pieces fails."""

        def parts() -> Iterator[str]:
            yield "one"
            raise LookupError

        async def async_parts() -> AsyncIterator[str]:
            yield "one"
            raise LookupError

        async def view(request: HttpRequest) -> StreamingHttpResponse:
            return StreamingHttpResponse(async_parts() if request.GET else parts())

        async def check(middleware: list[Any]) -> None:
            handler = self.handler(view, middleware=middleware)
            for query in (b"", b"async=1"):
                with Ear() as ear:
                    exchange = await Exchange(handler, query_string=query).begin()
                    with self.assertRaises(LookupError):
                        await exchange.end()
                    await ear.finished()
                self.assertEqual(ear.names, ["started", "finished"])
                self.assertEqual([each.get("body") for each in exchange.sent], [None, b"one"])

        await self.on_each_way(check)


class ErrorTests(WayTestCase):
    """Views and middleware that fail, or want to end more than they may."""

    async def test_technical_page(self):
        """The developer sees where the view has failed, with the local variables."""

        async def check(middleware: list[Any]) -> None:
            handler = self.handler(fail, middleware=middleware, DEBUG=True)
            with self.assertLogs("django.request", "ERROR"):
                response = await ask(handler)
            self.assertEqual(response.status, 500)
            for text in ("LookupError", "nothing in the third", "shelf", "test_async_ends"):
                self.assertIn(text, response.text)

        await self.on_each_way(check)

    async def test_propagated(self):
        """The project asks Django to let exceptions out: they come out, and hooks are left out."""

        async def check(middleware: list[Any]) -> None:
            values = {"DEBUG_PROPAGATE_EXCEPTIONS": True}
            handler = self.handler(fail, middleware=middleware, **values)
            with Ear() as ear:
                with self.assertRaises(LookupError):
                    await ask(handler)
                await ear.finished()
            self.assertEqual(self.notes, INWARDS)
            # Each middleware has tried, and the view.
            self.assertEqual(ear.names, ["started", *["exception"] * 4, "finished"])

        await self.on_each_way(check)

    async def test_fatal_views(self):
        """A view raises what would end the process: the client gets an error page."""

        async def check(middleware: list[Any]) -> None:
            for error in FATAL:

                async def view(request: HttpRequest, error: Any = error) -> HttpResponse:
                    if request.GET:
                        await asyncio.sleep(0)
                    raise error

                handler = self.handler(view, path("hello", hello), middleware=middleware)
                for query in (b"", b"later=1"):
                    with self.subTest(error.__name__, query=query):
                        await self.assert_survived(handler, error, query)

        await self.on_each_way(check)

    async def assert_survived(self, handler: Any, error: type[BaseException], query: bytes) -> None:
        """Assert that / is an error, told in the log, and that /hello is served after it."""
        with Ear() as ear, self.assertLogs("django_daphne", "ERROR") as logs:
            with self.assertLogs("django.request", "ERROR"):
                self.assertEqual((await ask(handler, query_string=query)).status, 500)
            self.assert_once(ear, "exception")
        self.assertIn(error.__name__, logs.output[0])
        self.assertEqual((await ask(handler, "/hello")).text, "hello")

    async def test_fatal_middleware(self):
        """A middleware on the loop raises what would end the process, before the view or after."""

        def make_factory(error: type[BaseException], place: str) -> Any:
            @sync_and_async_middleware
            def factory(get_response: Any) -> Any:
                async def middleware(request: Any) -> Any:
                    if request.GET and place == "before":
                        raise error
                    response = await get_response(request)
                    if request.GET:
                        raise error
                    return response

                return middleware

            return factory

        async def check(middleware: list[Any]) -> None:
            for error in FATAL:
                for place in ("before", "after"):
                    stack = [*middleware, make_factory(error, place), *middleware]
                    handler = self.handler(hello, path("hello", hello), middleware=stack)
                    with self.subTest(error.__name__, place=place):
                        await self.assert_survived(handler, error, b"fail=1")

        await self.on_each_way(check, ("hooks", "dual", "async"))

    async def test_other_base_exceptions(self):
        """A tool in the view raises an exception of its own kind: that leaves as it is."""

        class Blocked(BaseException):
            pass

        async def view(request: HttpRequest) -> HttpResponse:
            raise Blocked

        async def check(middleware: list[Any]) -> None:
            with Ear() as ear:
                with self.assertRaises(Blocked):
                    await ask(self.handler(view, middleware=middleware))
                await ear.finished()
            self.assert_once(ear)

        await self.on_each_way(check)
