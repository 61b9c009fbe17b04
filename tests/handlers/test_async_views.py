"""Async views: what is around them, and what they leave behind."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextvars import ContextVar, Token
from typing import Any
from unittest import mock

from asgiref.sync import sync_to_async
from django.core.signals import request_finished, request_started
from django.db import connections
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import tag
from django.urls import path
from django.utils import translation
from django.utils.deprecation import MiddlewareMixin

from .support import LANE, Ear, ask
from .ways import INWARDS, OUTWARDS, WayTestCase, hello, received

word: ContextVar[str] = ContextVar("word", default="none")


class AroundTests(WayTestCase):
    """What is around an async view: middleware, signals, threads, and the context of all."""

    async def test_threads(self):
        """The view calls sync code: it is in the thread of hooks and signals."""
        loop = threading.current_thread()

        async def view(request: HttpRequest) -> HttpResponse:
            self.assertIs(threading.current_thread(), loop)
            await sync_to_async(self.note)("below")
            await sync_to_async(self.note, thread_sensitive=False)("elsewhere")
            return HttpResponse("hello")

        async def check(middleware: list[Any]) -> None:
            with Ear() as ear:
                self.assertEqual((await ask(self.handler(view, middleware=middleware))).status, 200)
            self.assertEqual(self.notes, [*INWARDS, "below", "elsewhere", *OUTWARDS])
            found = dict(zip(self.notes, self.threads, strict=True))
            for who in ("outer in", "inner in", "below", "inner out", "outer out"):
                self.assertEqual((found[who].name, found[who].ident), (LANE, ear.threads[0]), who)
            self.assertNotEqual(found["elsewhere"].name, LANE)
            self.assert_once(ear)

        await self.on_each_way(check)

    async def test_context(self):
        """What a middleware sets for a request is seen below it, and what the view sets above."""
        seen: dict[str, Any] = {}

        def saw(where: str) -> None:
            seen[where] = (word.get(), translation.get_language())

        class Setter(MiddlewareMixin):
            def process_request(self, request: HttpRequest) -> None:
                word.set("middleware's")
                translation.activate("de")

            def process_response(self, request: HttpRequest, response: Any) -> Any:
                saw("process_response")
                return response

        async def view(request: HttpRequest) -> HttpResponse:
            saw("view")
            await sync_to_async(saw)("below")
            word.set("view's")
            translation.activate("fr")
            return HttpResponse("hello")

        def finished(**values: object) -> None:
            saw("finished")

        def started(**values: object) -> None:
            saw("started")

        async def check(middleware: list[Any]) -> None:
            handler = self.handler(view, middleware=[Setter, *middleware])

            async def outside(scope: Any, receive: Any, send: Any) -> None:
                await handler(scope, receive, send)
                saw("outside")

            with received(request_started, started), received(request_finished, finished):
                for _ in range(2):  # the second one begins without what the first one has left
                    seen.clear()
                    await ask(outside)
                    self.assertEqual(seen["started"], ("none", "en-us"))
                    self.assertEqual(seen["view"], ("middleware's", "de"))
                    self.assertEqual(seen["below"], ("middleware's", "de"))
                    for where in ("process_response", "finished", "outside"):
                        self.assertEqual(seen[where], ("view's", "fr"), where)

        await self.on_each_way(check)

    async def test_spans(self):
        """A tool begins a span with request_started: all of the request and its end are in it."""
        spans: list[str] = []

        def started(**values: object) -> None:
            word.set("span")

        def note_span(**values: object) -> None:
            spans.append(word.get())

        async def view(request: HttpRequest) -> HttpResponse:
            note_span()
            await sync_to_async(note_span)()
            return HttpResponse("hello")

        async def check(middleware: list[Any]) -> None:
            spans.clear()
            handler = self.handler(view, middleware=middleware)
            with received(request_started, started), received(request_finished, note_span):
                await ask(handler)
            self.assertEqual(spans, ["span"] * 3)

        await self.on_each_way(check)

    async def test_token(self):
        """A hook puts back with a token what another hook has set: both are in one context."""
        tokens: list[Token[str]] = []

        class Span(MiddlewareMixin):
            def process_request(self, request: HttpRequest) -> None:
                tokens.append(word.set("span"))

            def process_response(self, request: HttpRequest, response: Any) -> Any:
                word.reset(tokens.pop())
                return response

        self.assertEqual((await ask(self.handler(hello, middleware=[Span]))).text, "hello")
        self.assertEqual(tokens, [])

    async def test_streams(self):
        """The view streams: what makes the pieces sees language and variables of the request."""

        class Setter(MiddlewareMixin):
            def process_request(self, request: HttpRequest) -> None:
                word.set("middleware's")
                translation.activate("de")

        def saw() -> str:
            return f"{word.get()} {translation.get_language()};"

        def parts() -> Iterator[str]:
            yield saw()

        async def async_parts() -> Any:
            yield saw()
            yield await sync_to_async(saw)()

        async def view(request: HttpRequest) -> StreamingHttpResponse:
            return StreamingHttpResponse(async_parts() if request.GET else parts())

        async def check(middleware: list[Any]) -> None:
            handler = self.handler(view, middleware=[Setter, *middleware])
            self.assertEqual((await ask(handler)).text, "middleware's de;")
            asynchronous = await ask(handler, query_string=b"async=1")
            self.assertEqual(asynchronous.text, "middleware's de;" * 2)

        await self.on_each_way(check)

    async def test_awaited_render(self):
        """A view answers with something that is rendered by a coroutine function."""

        class Page(HttpResponse):
            async def render(self) -> Page:
                self.content = f"rendered, {self.headers['Name']}".encode()
                return self

        class Namer(MiddlewareMixin):
            def process_template_response(self, request: HttpRequest, response: Any) -> Any:
                response["Name"] = word.get()
                return response

        def sync_view(request: HttpRequest) -> Page:
            word.set("view's")
            return Page()

        async def view(request: HttpRequest) -> Page:
            return sync_view(request)

        async def check(middleware: list[Any]) -> None:
            handler = self.handler(view, path("sync", sync_view), middleware=[*middleware, Namer])
            for name in ("/", "/sync"):
                with self.subTest(name):
                    self.assertEqual((await ask(handler, name)).text, "rendered, view's")

        await self.on_each_way(check)

    @tag("loop")
    async def test_receivers(self):
        """Receivers of signals are coroutine functions: they run on the server's loop."""
        loops: list[Any] = []

        async def receiver(**values: object) -> None:
            loops.append(asyncio.get_running_loop())

        async def check(middleware: list[Any]) -> None:
            loops.clear()
            with received(request_started, receiver), received(request_finished, receiver):
                await ask(self.handler(hello, middleware=middleware))
            self.assertEqual(loops, [asyncio.get_running_loop()] * 2)

        await self.on_each_way(check)

    async def test_transactions(self):
        """The project wants every view in a transaction: an async one cannot be, an error."""
        caught: list[Exception] = []

        class Catcher(MiddlewareMixin):
            def process_exception(self, request: HttpRequest, exception: Exception) -> None:
                caught.append(exception)

        settings = {**connections.settings["default"], "ATOMIC_REQUESTS": True}
        self.enterContext(mock.patch.dict(connections.settings, {"default": settings}))

        async def check(middleware: list[Any]) -> None:
            handler = self.handler(hello, middleware=[*middleware, Catcher])
            with self.assertLogs("django.request", "ERROR") as logs:
                self.assertEqual((await ask(handler)).status, 500)
            self.assertIn("ATOMIC_REQUESTS with async views", logs.output[0])
            self.assertEqual(self.notes, [*INWARDS, *OUTWARDS])

        await self.on_each_way(check)
        self.assertEqual(caught, [])


@tag("loop")
class LeftBehindTests(WayTestCase):
    """Work that a view starts beside itself."""

    async def test_task(self):
        """The view leaves a task behind, which calls sync code after the answer."""
        tasks: list[asyncio.Task[str]] = []
        answered: list[asyncio.Event] = []

        async def work() -> str:
            await answered[-1].wait()
            await sync_to_async(self.note)("work")
            return word.get()

        async def view(request: HttpRequest) -> HttpResponse:
            word.set("view's")
            tasks.append(asyncio.create_task(work()))
            return HttpResponse("hello")

        async def check(middleware: list[Any]) -> None:
            answered.append(asyncio.Event())
            with Ear() as ear:
                await ask(self.handler(view, middleware=middleware))
                self.assert_once(ear)
                self.assertEqual(self.pool.busy, 0)
            answered[-1].set()
            self.assertEqual(await tasks[-1], "view's")
            self.assertEqual(self.notes[-1], "work")

        # Below what can only be synchronous no task outlives the view, with any handler.
        await self.on_each_way(check, ("hooks", "dual", "async"))

    async def test_own_loop(self):
        """Sync code around the view starts a loop of its own, which calls sync code again."""

        async def work() -> str:
            return await sync_to_async(word.get)()

        class Starter(MiddlewareMixin):
            def process_request(self, request: Any) -> None:
                word.set("request's")
                request.before = asyncio.run(work())

            def process_response(self, request: Any, response: Any) -> Any:
                response["After"] = asyncio.run(work())
                return response

        async def view(request: Any) -> HttpResponse:
            return HttpResponse(f"{request.before} from a loop")

        def sync_view(request: Any) -> HttpResponse:
            return HttpResponse(f"{request.before} {asyncio.run(work())}")

        async def check(middleware: list[Any]) -> None:
            patterns = [path("sync", sync_view)]
            handler = self.handler(view, *patterns, middleware=[*middleware, Starter])
            for name in ("/", "/sync"):
                response = await ask(handler, name)
                self.assertIn(response.text, ("request's request's", "request's from a loop"))
                self.assertIn((b"After", b"request's"), response.headers)

        # Django's own chain, the fourth, waits here for ever.
        await self.on_each_way(check, ("hooks", "dual", "sync"))
