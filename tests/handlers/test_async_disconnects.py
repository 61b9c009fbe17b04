"""Clients that leave while an async view is under way, on each way that requests take."""

from __future__ import annotations

import asyncio
import os
import random
import threading
from contextvars import ContextVar
from typing import Any

from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.utils import translation
from django.utils.deprecation import MiddlewareMixin

from .stacks import LANGUAGES, STACKS
from .support import Ear, Exchange, HandlerTestCase, turns, until, visit
from .ways import INWARDS, OUTWARDS, WayTestCase, hello, make_stack

CASES = int(os.environ.get("DAPHNE_TEST_CASES", "300"))

word: ContextVar[str] = ContextVar("word", default="none")
per_thread = threading.local()


class DisconnectTests(WayTestCase):
    """The client leaves while its async view is under way."""

    async def assert_left(self, view: Any, middleware: list[Any], meanwhile: Any = None) -> None:
        """Leave when the view has noted "waiting"; nothing is sent, and all is finished once."""
        handler = self.handler(view, middleware=middleware)
        with Ear() as ear, self.assertLogs("django_daphne", "INFO") as logs:
            exchange = await Exchange(handler).begin()
            while "waiting" not in self.notes:
                await asyncio.sleep(0)
            await exchange.leave()
            if meanwhile is not None:
                await turns()
                meanwhile()
            await exchange.end()
            await ear.finished()
            await self.assert_idle()
        self.assertEqual(exchange.sent, [])
        self.assert_once(ear)
        self.assertEqual([record.levelname for record in logs.records], ["INFO"])

    async def test_waiting(self):
        """The view waits: it is cancelled, and no response passes the middleware."""

        async def view(request: HttpRequest) -> HttpResponse:
            self.note("waiting")
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.note("cancelled")
                raise
            return HttpResponse("never")

        async def check(middleware: list[Any]) -> None:
            await self.assert_left(view, middleware)
            self.assertEqual(self.notes, [*INWARDS, "waiting", "cancelled"])

        await self.on_each_way(check)

    async def test_in_sync_code(self):
        """The view waits for sync code: that goes on to its end, and then the request ends."""

        async def check(middleware: list[Any]) -> None:
            gate = self.make_gate()

            def work() -> None:
                self.note("waiting")
                gate.wait()
                self.note("worked")

            async def view(request: HttpRequest) -> HttpResponse:
                try:
                    await sync_to_async(work)()
                except asyncio.CancelledError:
                    self.note("cancelled")
                    raise
                return HttpResponse("never")

            await self.assert_left(view, middleware, gate.open)
            self.assertEqual(self.notes[:-2], [*INWARDS, "waiting"])
            self.assertCountEqual(self.notes[-2:], ["cancelled", "worked"])

        await self.on_each_way(check)

    async def test_swallowing(self):
        """The view will not be cancelled: its response passes the middleware and is closed."""

        async def view(request: HttpRequest) -> Any:
            self.note("waiting")
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.note("cancelled")
            response: Any = HttpResponse("nobody reads that")
            response._resource_closers.append(lambda: self.note("closed"))
            return response

        async def check(middleware: list[Any]) -> None:
            await self.assert_left(view, middleware)
            expected = [*INWARDS, "waiting", "cancelled", *OUTWARDS, "closed"]
            self.assertEqual(self.notes, expected)

        await self.on_each_way(check)

    async def test_before_the_view(self):
        """The client has left when its request is complete: nothing is sent."""

        async def check(middleware: list[Any]) -> None:
            handler = self.handler(hello, middleware=middleware)
            with Ear() as ear:
                exchange = await Exchange(handler).begin()
                await exchange.leave()
                await exchange.end()
                await ear.finished()
                await self.assert_idle()
            self.assertEqual(exchange.sent, [])
            self.assert_once(ear)

        await self.on_each_way(check)

    async def test_at_the_end(self):
        """The client leaves while its answer is sent, or while it is closed: all is done once."""

        async def check(middleware: list[Any]) -> None:
            for where in ("http.response.start", "http.response.body", "close"):
                with self.subTest(where):
                    await self.assert_whole(where, middleware)

        await self.on_each_way(check)

    async def assert_whole(self, where: str, middleware: list[Any]) -> None:
        """Leave at one of the last moments; the answer is whole, and all is finished once."""
        gate = self.make_gate()

        async def view(request: HttpRequest) -> Any:
            response: Any = HttpResponse("hello")
            if where == "close":
                response._resource_closers.append(gate.wait)
            return response

        async def leave(message: dict[str, Any]) -> None:
            if message["type"] == where:
                await exchange.leave()
                await turns()

        handler = self.handler(view, middleware=middleware)
        exchange = Exchange(handler, on_send=leave)
        level = "INFO" if where == "close" else "WARNING"  # then it is no news any more
        with Ear() as ear, self.assertNoLogs("django_daphne", level):
            await exchange.begin()
            if where == "close":
                await gate.reached()
                await until(lambda: len(exchange.sent) == 2)
                await exchange.leave()
                await turns()
                gate.open()
            await exchange.end()
            await ear.finished()
        self.assertEqual(exchange.response.text, "hello")
        self.assert_once(ear)


class CrowdTests(HandlerTestCase):
    """Many clients, who come at once and leave at any time."""

    async def test_crowd(self):
        """Many clients come at once and some leave: nobody sees what belongs to another."""
        for kind in STACKS:
            with self.subTest(kind), Ear() as ear:
                await self.assert_not_mixed(kind, ear)

    async def assert_not_mixed(self, kind: str, ear: Ear) -> None:
        """Send a crowd through a stack."""
        mixed: list[str] = []
        chance = random.Random(kind)
        count = CASES // 2

        def check(request: HttpRequest) -> None:
            mine = request.GET["number"]
            found = (word.get(), per_thread.user, translation.get_language())
            if found != (mine, mine, LANGUAGES[int(mine) % 3]):
                mixed.append(f"{mine}: {found}")

        class Identity(MiddlewareMixin):
            def process_request(self, request: HttpRequest) -> None:
                per_thread.user = request.GET["number"]
                word.set(request.GET["number"])
                translation.activate(LANGUAGES[int(request.GET["number"]) % 3])

            def process_response(self, request: HttpRequest, response: Any) -> Any:
                check(request)
                return response

        def sync_view(request: HttpRequest) -> HttpResponse:
            check(request)
            return HttpResponse(f"{word.get()} {request.body.decode()}")

        async def view(request: HttpRequest) -> HttpResponse:
            for _ in range(int(request.GET["number"]) % 4):
                await sync_to_async(check)(request)
                await asyncio.sleep(0)
            return await sync_to_async(sync_view)(request)

        stack = make_stack(kind, lambda what: None)
        handler = self.handler(view, path("sync", sync_view), middleware=[Identity, *stack])
        entry = asyncio.Semaphore(100)

        async def come(mine: int, name: str, patience: int) -> None:
            async with entry:
                exchange = await visit(handler, name, mine, patience if patience < 30 else None)
                if exchange.sent:
                    self.assertEqual(exchange.response.text, f"{mine} x")
                else:
                    self.assertLess(patience, 30)

        visits = [
            (each, chance.choice(("/", "/sync")), chance.randrange(90)) for each in range(count)
        ]
        await asyncio.gather(*(come(*values) for values in visits))
        await ear.finished(count)
        await self.assert_idle()
        self.assertEqual(mixed, [])
        self.assertEqual(ear.names.count("started"), count)
        self.assertEqual(ear.names.count("finished"), count)
