"""Async views in numbers: how many may wait, and what they may wait for."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from asgiref.sync import async_to_sync, sync_to_async
from django.http import HttpRequest, HttpResponse
from django.urls import path

from django_daphne.handlers.connections import close_all
from django_daphne.handlers.lanes import LanePool
from tests.support.server import PATIENCE

from .support import Ear, Exchange, ask, ask_in_this_task, turns, until
from .ways import WayTestCase, hello


class CapacityTests(WayTestCase):
    """Async views wait in lanes of their own, and those are not without end."""

    def setUp(self) -> None:
        super().setUp()
        self.start_again()

    def start_again(self) -> None:
        """Let the next ones wait."""
        self.waiting = 0
        self.event = asyncio.Event()

    async def wait(self, request: HttpRequest) -> HttpResponse:
        """Wait as long as the test wants; an async view."""
        self.waiting += 1
        await self.event.wait()
        return HttpResponse("waited")

    async def test_beside_sync_views(self):
        """Twice as many views wait as there are threads for sync ones: those are not delayed."""

        async def check(middleware: list[Any]) -> None:
            self.start_again()
            self.pool = self.make_pool(2)
            patterns = [path("sync", lambda request: HttpResponse("sync"))]
            handler = self.handler(self.wait, *patterns, middleware=middleware)
            exchanges = [await Exchange(handler).begin() for _ in range(4)]
            await until(lambda: self.waiting == 4)
            self.assertEqual((await ask(handler, "/sync")).text, "sync")
            self.assertEqual(self.pool.busy, 4)
            self.event.set()
            for exchange in exchanges:
                await exchange.end()
                self.assertEqual(exchange.response.text, "waited")

        await self.on_each_way(check)

    async def test_total(self):
        """More views come than there are threads for them: one waits until another has ended."""

        async def check(middleware: list[Any]) -> None:
            self.start_again()
            self.pool = LanePool(1, PATIENCE, close_all, total=3)
            self.addCleanup(self.pool.close, PATIENCE)
            handler = self.handler(self.wait, middleware=middleware)
            exchanges = [await Exchange(handler).begin() for _ in range(5)]
            await until(lambda: self.waiting == 2)
            await turns()
            self.assertEqual((self.waiting, len(self.pool)), (2, 2))
            self.event.set()
            for exchange in exchanges:
                await exchange.end()
                self.assertEqual(exchange.response.text, "waited")
            self.assertEqual((self.waiting, len(self.pool)), (5, 2))

        await self.on_each_way(check)

    async def test_recursion(self):
        """Views ask the application itself, from sync code and from async: lanes are enough."""
        handlers: list[Any] = []

        def sync_view(request: HttpRequest) -> HttpResponse:
            inner = async_to_sync(ask)(handlers[-1], request.GET["inner"])
            return HttpResponse(f"sync {inner.text}")

        async def view(request: HttpRequest) -> HttpResponse:
            inner = await ask(handlers[-1], request.GET["inner"])
            return HttpResponse(f"async {inner.text}")

        async def check(middleware: list[Any]) -> None:
            patterns = [
                path("async", view),
                path("sync", sync_view),
                path("plain", lambda request: HttpResponse("plain")),
            ]
            handlers.append(self.handler(hello, *patterns, middleware=middleware))
            cases = [
                (name, inner, text)
                for name in ("async", "sync")
                for inner, text in (("/", "hello"), ("/plain", "plain"))
            ]
            # Four at once could take all the lanes for sync views, which are four.
            for several in (cases[:3], cases[1:]):
                found = await asyncio.gather(
                    *(
                        ask(handlers[-1], f"/{name}", query_string=f"inner={inner}".encode())
                        for name, inner, _ in several
                    )
                )
                for (name, _, text), response in zip(several, found, strict=True):
                    self.assertEqual(response.text, f"{name} {text}")

        await self.on_each_way(check)

    async def test_in_the_thread_of_the_caller(self):
        """Sync code waits for the application: all sync code of that runs where it waits."""
        threads: list[int] = []

        def note() -> None:
            threads.append(threading.get_ident())

        async def view(request: HttpRequest) -> HttpResponse:
            await sync_to_async(note)()
            return HttpResponse("hello")

        def ask_in_thread(handler: Any) -> int:
            async_to_sync(ask_in_this_task)(handler)
            return threading.get_ident()

        async def check(middleware: list[Any]) -> None:
            threads.clear()
            with Ear() as ear:
                handler = self.handler(view, middleware=middleware)
                mine = await asyncio.to_thread(ask_in_thread, handler)
                self.assertEqual((threads, ear.threads), ([mine], [mine, mine]))
            self.assertEqual(len(self.pool), 0)

        await self.on_each_way(check)
