"""Cache backends: made once for a lane, and never in two hands at a time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from asgiref.sync import sync_to_async
from django.core.cache import cache, caches
from django.core.cache.backends.locmem import LocMemCache
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import override_settings
from django.urls import path
from django.utils.deprecation import MiddlewareMixin

from django_daphne.handlers.connections import close_all
from django_daphne.handlers.lanes import LanePool
from tests.support.server import PATIENCE

from .support import LANE, Exchange, HandlerTestCase, Response, ask, until

# Each backend that was made: the object, and the name of the thread.
made: list[tuple[Any, str]] = []
closed: list[Any] = []


class Backend(LocMemCache):
    """A cache in memory that is written down when it is made, and for good when it is closed."""

    def __init__(self, name: str, params: Any) -> None:
        super().__init__(name, params)
        made.append((self, threading.current_thread().name))

    def close(self, **kwargs: Any) -> None:
        """Take note."""
        super().close(**kwargs)
        closed.append(self)


class OtherBackend(Backend):
    """The backend of other settings."""


def backends(backend: type[Backend], *aliases: str) -> dict[str, dict[str, str]]:
    """Return a value for settings.CACHES."""
    name = f"{__name__}.{backend.__name__}"
    return {alias: {"BACKEND": name, "LOCATION": alias} for alias in ("default", *aliases)}


def own(alias: str = "default") -> str:
    """Return the number of the backend that code here uses."""
    return str(id(caches[alias]))


def number_view(request: HttpRequest) -> HttpResponse:
    """Answer with the number of the backend."""
    return HttpResponse(own())


class Hooks(MiddlewareMixin):
    """Uses the cache before the view and after it, and tells which."""

    def process_request(self, request: Any) -> None:
        request.seen = [own()]

    def process_response(self, request: Any, response: Any) -> Any:
        response["Seen"] = " ".join([*request.seen, own()])
        return response


class CacheTestCase(HandlerTestCase):
    """A project with a cache."""

    def setUp(self) -> None:
        super().setUp()
        made.clear()
        closed.clear()
        self.enterContext(override_settings(CACHES=backends(Backend, "sessions")))

    def make_few(self, count: int) -> None:
        """Use no more than so many lanes for what waits, and one for sync views."""
        self.pool = LanePool(1, PATIENCE, close_all, total=count + 1)
        self.addCleanup(lambda: self.assertTrue(self.pool.close(PATIENCE), "a lane does not end"))

    @property
    def in_lanes(self) -> int:
        """Return how many backends lanes have made."""
        return sum(name == LANE for _, name in made)

    def seen(self, response: Response) -> list[str]:
        """Return which backends the hooks around a view have used."""
        numbers: str = dict(response.headers)[b"Seen"].decode()
        return numbers.split()


class OnceTests(CacheTestCase):
    """One request after the other finds the backends of its lane."""

    async def test_sync_view(self):
        """The view of each request uses two caches: they are made for the first one."""

        def view(request: HttpRequest) -> HttpResponse:
            return HttpResponse(f"{own()} {own('sessions')}")

        handler = self.handler(view)
        answers = {(await ask(handler)).text for _ in range(5)}
        self.assertEqual((len(answers), len(made)), (1, 2))

    async def test_each_when_used(self):
        """A request uses one cache, and a later one another: each is made when it is used."""
        handler = self.handler(
            number_view, path("sessions", lambda request: HttpResponse(own("sessions")))
        )
        await ask(handler)
        self.assertEqual(len(made), 1)
        await ask(handler, "/sessions")
        await ask(handler, "/sessions")
        await ask(handler)
        self.assertEqual(len(made), 2)

    async def test_values(self):
        """What a request has stored, the next one finds."""

        def view(request: HttpRequest) -> HttpResponse:
            cache.add("visits", 0)
            return HttpResponse(str(cache.incr("visits")))

        handler = self.handler(view)
        self.addCleanup(cache.clear)
        self.assertEqual([(await ask(handler)).text for _ in range(3)], ["1", "2", "3"])

    async def test_hooks(self):
        """Hooks around an async view use the cache in their lane: it is made once for all."""

        async def view(request: HttpRequest) -> HttpResponse:
            return HttpResponse()

        self.make_few(1)
        handler = self.handler(view, middleware=[Hooks])
        seen: set[str] = set()
        for _ in range(4):
            seen.update(self.seen(await ask(handler)))
        self.assertEqual((len(seen), len(made)), (1, 1))

    async def test_lane_ends(self):
        """A lane ends: its backends are closed in it, and the next lane makes its own."""
        handler = self.handler(number_view)
        await ask(handler)
        self.assertTrue(await asyncio.to_thread(self.pool.close, PATIENCE))
        self.assertIs(closed[-1], made[0][0])
        await ask(handler)
        self.assertEqual(len(made), 2)


class ShareTests(CacheTestCase):
    """Two threads, or two requests that run, never have the same backend."""

    async def test_two_lanes(self):
        """Two requests run at once: each has a backend of its own, and later ones have these."""
        gates = [self.make_gate() for _ in range(2)]

        def view(request: HttpRequest, number: int) -> HttpResponse:
            before = own()
            gates[number].wait()
            return HttpResponse(f"{before} {own()}")

        handler = self.handler(number_view, path("<int:number>", view))
        exchanges = []
        for number, gate in enumerate(gates):
            exchanges.append(await Exchange(handler, f"/{number}").begin())
            await gate.reached()
        for gate in gates:
            gate.open()
        found = []
        for exchange in exchanges:
            await exchange.end()
            before, after = exchange.response.text.split()
            self.assertEqual(before, after)
            found.append(before)
        self.assertEqual((len(set(found)), len(made)), (2, 2))
        self.assertIn((await ask(handler)).text, found)
        self.assertEqual(len(made), 2)

    async def test_async_view(self):
        """The view uses the cache on the loop, and hooks around it in a lane."""
        views: list[Any] = []

        async def view(request: HttpRequest) -> HttpResponse:
            views.append(caches["default"])
            await cache.aget("x")
            views.append(caches["default"])
            return HttpResponse()

        self.make_few(1)
        handler = self.handler(view, middleware=[Hooks])
        lanes = {self.seen(await ask(handler))[0] for _ in range(3)}
        self.assertEqual(len(lanes), 1)
        self.assertNotIn(lanes.pop(), {str(id(each)) for each in views})

    async def test_after_the_lane(self):
        """An async iterator, and what is around the application, use the cache on the loop."""
        seen: list[str] = []

        async def parts() -> AsyncIterator[str]:
            seen.append(own())
            yield "part"

        def view(request: HttpRequest) -> StreamingHttpResponse | HttpResponse:
            seen.append(own())
            return StreamingHttpResponse(parts()) if request.path == "/" else HttpResponse()

        self.make_few(1)
        handler = self.handler(view, path("plain", view))

        async def outer(scope: Any, receive: Any, send: Any) -> None:
            await handler(scope, receive, send)
            seen.append(own())

        for name, count in (("/", 3), ("/plain", 2)):
            with self.subTest(name):
                seen.clear()
                await ask(outer, name)
                lane, *others = seen
                self.assertEqual(len(seen), count)
                self.assertNotIn(lane, others)

    async def test_left_behind(self):
        """A view leaves a task behind that goes on with the cache: no request has that backend."""
        go_on = asyncio.Event()
        tasks: list[asyncio.Task[Any]] = []

        async def later() -> Any:
            before = caches["default"]
            await go_on.wait()
            return before, caches["default"]

        async def view(request: HttpRequest) -> HttpResponse:
            tasks.append(asyncio.create_task(later()))
            await asyncio.sleep(0)
            return HttpResponse()

        async def using_view(request: HttpRequest) -> HttpResponse:
            await cache.aget("x")
            return await view(request)

        async def other(request: HttpRequest) -> HttpResponse:
            return HttpResponse(await sync_to_async(own)())

        class OtherHooks(Hooks):
            """They leave the first request alone."""

            def process_request(self, request: Any) -> None:
                if request.path != "/":
                    super().process_request(request)

            def process_response(self, request: Any, response: Any) -> Any:
                return (
                    super().process_response(request, response) if request.path != "/" else response
                )

        for first in (view, using_view):
            for middleware in (Hooks, OtherHooks):
                with self.subTest(first=first.__name__, middleware=middleware.__name__):
                    go_on.clear()
                    self.make_few(1)
                    handler = self.handler(first, path("other", other), middleware=[middleware])
                    await ask(handler)
                    others: set[str] = set()
                    for _ in range(2):
                        response = await ask(handler, "/other")
                        others |= {response.text, *self.seen(response)}
                    go_on.set()
                    for backend in await tasks.pop():
                        self.assertNotIn(str(id(backend)), others)

    async def test_task_of_a_sync_view(self):
        """A sync view starts a thread with its context: what that uses is its own from then on."""
        gate = self.make_gate()
        found: list[str] = []
        threads: list[threading.Thread] = []

        def view(request: HttpRequest) -> HttpResponse:
            def work() -> None:
                gate.wait()
                found.append(own())

            threads.append(threading.Thread(target=work))
            threads[0].start()
            return HttpResponse(own())

        handler = self.handler(view, path("again", number_view))
        first = (await ask(handler)).text
        self.assertEqual((await ask(handler, "/again")).text, first)
        gate.open()
        await asyncio.to_thread(threads[0].join, PATIENCE)
        self.assertNotEqual(found, [first])

    async def test_stream(self):
        """A stream of one request waits with its cache: the next one does not have it."""
        go_on = asyncio.Event()
        used: list[Any] = []

        async def parts() -> Any:
            used.append(caches["default"])
            yield "one"
            await go_on.wait()
            used.append(caches["default"])
            yield "two"

        self.make_few(1)
        handler = self.handler(
            lambda request: StreamingHttpResponse(parts()), path("sync", number_view)
        )
        exchange = await Exchange(handler).begin()
        self.assertEqual(await exchange.part(), b"one")
        other = (await ask(handler, "/sync")).text
        go_on.set()
        await exchange.end()
        self.assertEqual({str(id(each)) for each in used} & {other}, set())
        self.assertEqual((await ask(handler, "/sync")).text, other)


class SettingsTests(CacheTestCase):
    """A test changes settings.CACHES."""

    async def test_changed(self):
        """The setting is another for a while: requests have its backend, and then a new one."""

        def view(request: HttpRequest) -> HttpResponse:
            return HttpResponse(type(caches["default"]).__name__)

        handler = self.handler(view)
        self.assertEqual((await ask(handler)).text, "Backend")
        with override_settings(CACHES=backends(OtherBackend)):
            for _ in range(2):
                self.assertEqual((await ask(handler)).text, "OtherBackend")
        self.assertEqual((await ask(handler)).text, "Backend")
        self.assertEqual(len(made), 3)

    async def test_alias_that_has_gone(self):
        """The setting loses an alias that a lane has a backend for."""

        def view(request: HttpRequest) -> HttpResponse:
            return HttpResponse(own("sessions"))

        handler = self.handler(number_view, path("sessions", view))
        await ask(handler, "/sessions")
        with override_settings(CACHES=backends(Backend)):
            self.assertEqual((await ask(handler)).status, 200)
            with self.assertLogs("django.request", "ERROR"):
                self.assertEqual((await ask(handler, "/sessions")).status, 500)

    async def test_put_there(self):
        """The project's code puts a backend of its own there: for that request alone."""
        mine: list[Any] = []

        def view(request: HttpRequest) -> HttpResponse:
            mine.append(Backend("mine", {}))
            caches["default"] = mine[-1]
            return HttpResponse(own())

        handler = self.handler(number_view, path("mine", view))
        first = (await ask(handler)).text
        self.assertEqual((await ask(handler, "/mine")).text, str(id(mine[0])))
        self.assertEqual((await ask(handler)).text, first)

    def are_closed(self, count: int) -> bool:
        """Tell whether caches were closed so often."""
        return len(closed) == count

    async def test_closed_with_the_request(self):
        """A request ends: its caches hear of it, as they always do."""
        handler = self.handler(number_view)
        for number in range(1, 4):
            await ask(handler)
            await until(partial(self.are_closed, number))
        self.assertEqual({id(each) for each in closed}, {id(made[0][0])})
