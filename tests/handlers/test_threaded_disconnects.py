"""Clients that leave: what they have begun goes on to its end, quietly."""

from __future__ import annotations

import asyncio
import logging
import random
import threading
from contextvars import ContextVar
from typing import Any

from asgiref.sync import async_to_sync
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.utils import translation
from django.utils.deprecation import MiddlewareMixin

from .support import Exchange, Gate, HandlerTestCase, ask, happens, turns, visit

number: ContextVar[int] = ContextVar("number")
per_thread = threading.local()
LANGUAGES = ("de", "fr", "it")


class Notes(MiddlewareMixin):
    """Writes down which responses pass."""

    notes: list[str]

    def process_response(self, request: HttpRequest, response: Any) -> Any:
        self.notes.append("process_response")
        response._resource_closers.append(lambda: self.notes.append("closed"))
        return response


class Identity(MiddlewareMixin):
    """Gives a request what only that one may see, and takes note of any other's."""

    mixed: list[str]

    def process_request(self, request: HttpRequest) -> None:
        mine = int(request.GET["number"])
        number.set(mine)
        per_thread.number = mine
        translation.activate(LANGUAGES[mine % 3])

    def process_response(self, request: HttpRequest, response: Any) -> Any:
        check(request, self.mixed)
        return response


def check(request: HttpRequest, mixed: list[str]) -> None:
    """Take note of what belongs to another request."""
    mine = int(request.GET["number"])
    found = (number.get(), per_thread.number, translation.get_language())
    if found != (mine, mine, LANGUAGES[mine % 3]):
        mixed.append(f"{mine}: {found}")


class DisconnectTests(HandlerTestCase):
    """A client leaves while its request is under way."""

    def setUp(self) -> None:
        super().setUp()
        self.notes: list[str] = []
        self.middleware = type("Notes", (Notes,), {"notes": self.notes})

    def gated_handler(self, gate: Gate) -> Any:
        """Return the handler of a view that waits at a gate."""

        def view(request: HttpRequest) -> HttpResponse:
            gate.wait()
            return HttpResponse("hello")

        return self.handler(view, middleware=[self.middleware])

    async def test_view(self):
        """The view runs: it goes on, and so does all that comes after it; nothing is sent."""
        gate, ear = self.make_gate(), self.listen()
        with self.assertLogs("django_daphne", "INFO") as logs:
            exchange = await Exchange(self.gated_handler(gate), "/").begin()
            await gate.reached()
            await exchange.leave()
            await exchange.end()
            self.assertEqual((exchange.sent, self.notes, self.pool.busy), ([], [], 1))
            gate.open()
            await ear.finished()
            await self.assert_idle()
        self.assert_once(ear)
        self.assertEqual(self.notes, ["process_response", "closed"])
        self.assertEqual(exchange.sent, [])
        (record,) = logs.records
        self.assertEqual(record.levelno, logging.INFO)
        self.assertIn("'/'", record.getMessage())

    async def test_awaiting_view(self):
        """The view awaits something below it: that is cancelled at once, and so is the view."""
        waiting = threading.Event()
        ear = self.listen()

        async def for_ever() -> None:
            waiting.set()
            await asyncio.Event().wait()

        def view(request: HttpRequest) -> HttpResponse:
            try:
                async_to_sync(for_ever)()
            except asyncio.CancelledError:
                self.notes.append("cancelled")
                raise
            return HttpResponse("never")

        handler = self.handler(view, middleware=[self.middleware])
        with self.assertLogs("django_daphne", "INFO") as logs, self.assertNoLogs("django"):
            exchange = await Exchange(handler).begin()
            await happens(waiting)
            await exchange.leave()
            await exchange.end()
            await ear.finished()
            await self.assert_idle()
        self.assert_once(ear)
        self.assertEqual((self.notes, exchange.sent), (["cancelled"], []))
        self.assertEqual([record.levelname for record in logs.records], ["INFO"])

    async def test_before_the_view(self):
        """The client has left when its request is complete: no response is sent."""
        ear = self.listen()
        handler = self.handler(lambda request: HttpResponse("hello"))
        exchange = await Exchange(handler).begin()
        await exchange.leave()
        await exchange.end()
        await ear.finished()
        self.assertEqual(exchange.sent, [])
        self.assert_once(ear)

    async def test_at_the_last_moment(self):
        """The client leaves while the end of its answer is sent: that is no news."""
        ear = self.listen()

        async def leave(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.body":
                await exchange.leave()
                await turns()

        handler = self.handler(lambda request: HttpResponse("hello"))
        exchange = Exchange(handler, on_send=leave)
        self.assertEqual((await exchange.answer()).text, "hello")
        await ear.finished()
        self.assert_once(ear)
        await self.assert_idle()

    async def test_after_the_answer(self):
        """The client has its answer and leaves while the response is being closed."""
        gate = self.make_gate()

        def view(request: HttpRequest) -> HttpResponse:
            response = HttpResponse("hello")
            response._resource_closers.append(gate.wait)  # type: ignore[attr-defined]
            return response

        with self.assertNoLogs("django_daphne", "INFO"):
            exchange = await Exchange(self.handler(view)).begin()
            self.assertEqual(await exchange.part(), b"hello")
            await gate.reached()
            await exchange.leave()
            await turns()
            gate.open()
            await exchange.end()
        await self.assert_idle()

    async def test_work_after_the_answer(self):
        """A response does its work in close(): the client does not wait for it, the lane does."""
        gate, ear = self.make_gate(), self.listen()

        class Worker(HttpResponse):
            def close(self) -> None:
                gate.wait()
                super().close()

        handler = self.handler(
            lambda request: Worker("hello"), path("other", lambda request: HttpResponse("other"))
        )
        exchange = await Exchange(handler).begin()
        self.assertEqual(await exchange.part(), b"hello")
        await gate.reached()
        self.assertEqual((self.pool.busy, ear.names), (1, ["started"]))
        self.assertEqual((await ask(handler, "/other")).text, "other")
        gate.open()
        await exchange.end()
        self.assertEqual(ear.names.count("finished"), 2)

    async def test_crowd(self):
        """Many clients come at once and some leave: nobody sees what belongs to another."""
        mixed: list[str] = []
        ear = self.listen()
        chance = random.Random(5)

        async def nothing() -> None:
            await asyncio.sleep(0)

        def view(request: HttpRequest) -> HttpResponse:
            check(request, mixed)
            if number.get() % 4 == 0:
                async_to_sync(nothing)()
                check(request, mixed)
            return HttpResponse(f"{number.get()} {request.body.decode()}")

        identity = type("Identity", (Identity,), {"mixed": mixed})
        handler = self.handler(view, middleware=[identity])
        entry = asyncio.Semaphore(40)

        async def come(mine: int, patience: int) -> None:
            async with entry:
                exchange = await visit(handler, "/", mine, patience if patience < 20 else None)
                if exchange.sent:
                    self.assertEqual(exchange.response.text, f"{mine} x")
                else:
                    self.assertLess(patience, 20)

        patiences = [chance.randrange(60) for _ in range(400)]
        await asyncio.gather(*map(come, range(400), patiences))
        await ear.finished(400)
        await self.assert_idle()
        self.assertEqual(mixed, [])
        self.assertEqual(ear.names.count("started"), 400)
        self.assertLessEqual(len(self.pool), 4)
