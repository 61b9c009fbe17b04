"""The place that the threaded handler takes, and those who have been there before it."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any
from unittest import mock

from channels.routing import ProtocolTypeRouter
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core import asgi
from django.core.asgi import get_asgi_application
from django.core.handlers import asgi as asgi_handlers
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.base import BaseHandler
from django.http import HttpRequest, HttpResponse
from django.test import override_settings

import django_daphne.asgi
from django_daphne import conf
from django_daphne.handlers import _pool
from django_daphne.handlers.threaded import ThreadedASGIHandler
from tests.support.server import PATIENCE

from .support import LANE, Exchange, HandlerTestCase, ask, turns

THREADED = {"DJANGO_HANDLER": "threaded"}

# What instrumentation puts its own functions in the place of.
PATCHED: tuple[tuple[type[Any], str], ...] = (
    (ASGIHandler, "__call__"),
    (ASGIHandler, "create_request"),
    (BaseHandler, "get_response_async"),
    (BaseHandler, "get_response"),
    (BaseHandler, "make_view_atomic"),
)
# Of these, what a request of Django's own handler passes.
PASSED = {"__call__", "create_request", "get_response_async", "make_view_atomic"}


def thread_view(request: HttpRequest) -> HttpResponse:
    """Answer with the name of the thread."""
    return HttpResponse(threading.current_thread().name)


def wrapper(function: Callable[..., Any], seen: list[Any]) -> Callable[..., Any]:
    """Return a function that takes note of its calls and makes those of another."""

    @functools.wraps(function)
    def patch(*arguments: Any, **values: Any) -> Any:
        seen.append(arguments)
        return function(*arguments, **values)

    return patch


class Descriptor:
    """An object in the place of a method, as some tools make them; it has no code."""

    def __init__(self, function: Callable[..., Any], seen: list[Any]) -> None:
        self._function = function
        self._seen = seen

    def __get__(self, instance: object, owner: type[Any]) -> Any:
        if instance is None:
            return self
        return functools.partial(self, instance)

    def __call__(self, *arguments: Any, **values: Any) -> Any:
        self._seen.append(arguments)
        return self._function(*arguments, **values)


class SubstitutionTests(HandlerTestCase):
    """Who gets which handler."""

    def setUp(self) -> None:
        super().setUp()
        # Another test may have run a command in this process.
        self.enterContext(mock.patch.object(conf, "_in_use", []))
        self.site(thread_view)

    def ask_for(self, **settings: Any) -> Any:
        """Return the application that a project with these values of DAPHNE gets."""
        with override_settings(DAPHNE=settings):
            return get_asgi_application()

    def test_stock(self):
        """The project wants Django's own handler: it gets that, and no other."""
        self.assertIs(type(self.ask_for(DJANGO_HANDLER="stock")), ASGIHandler)

    async def test_default(self):
        """The project asks for nothing: Django's own function returns our handler, and so ours."""
        with override_settings(DAPHNE={}):
            found = [get_asgi_application(), django_daphne.asgi.get_asgi_application()]
            found.append(django_daphne.asgi.load_application())
        for application in found:
            self.assertIs(type(application), ThreadedASGIHandler)
            self.assertEqual((await ask(application)).text, LANE)

    def test_parent(self):
        """A tool looks for the class to patch: it finds Django's, and ours below it."""
        self.assertIs(asgi_handlers.ASGIHandler, ASGIHandler)
        self.assertIs(ThreadedASGIHandler.__mro__[1], ASGIHandler)
        self.assertIsNot(vars(asgi)["ASGIHandler"], ASGIHandler)

    async def test_below_others(self):
        """The project has its application below static files and Channels' router."""
        application = self.ask_for(**THREADED)
        router = ProtocolTypeRouter({"http": application})
        for outer in (router, ASGIStaticFilesHandler(application), ASGIStaticFilesHandler(router)):
            self.assertEqual((await ask(outer)).text, LANE)

    async def test_threads(self):
        """The project wants a single thread: two requests at a time share it."""
        gate = self.make_gate()
        threads: list[int] = []

        def view(request: HttpRequest) -> HttpResponse:
            threads.append(threading.get_ident())
            gate.wait()
            return HttpResponse()

        self.site(view)
        application = self.ask_for(**THREADED, THREADS=1)
        self.addCleanup(_pool(1, None, 60.0).close, PATIENCE)
        first, second = [await Exchange(application).begin() for _ in range(2)]
        await gate.reached()
        await turns()
        gate.open()
        await first.end()
        await second.end()
        self.assertEqual(threads, threads[:1] * 2)


class PatchTests(HandlerTestCase):
    """Tools that patch Django's handler see every request: it comes by them."""

    def setUp(self) -> None:
        super().setUp()
        self.seen: list[Any] = []
        self.site(thread_view)

    def wrap(self, owner: type[Any], name: str) -> Any:
        """Return a patch that is in place for a block."""
        return mock.patch.object(owner, name, wrapper(vars(owner)[name], self.seen))

    async def assert_passed(self, handler: ThreadedASGIHandler, name: str) -> None:
        """Assert that a request in a lane passes a patched function as one of Django's does."""
        self.seen.clear()
        await self.assert_lane(handler)
        self.assertEqual(len(self.seen), name in PASSED)

    async def assert_lane(self, handler: ThreadedASGIHandler) -> None:
        """Assert that a request takes a lane."""
        self.assertEqual((await ask(handler)).text, LANE)

    async def test_later(self):
        """A tool patches Django when the handler has served already, and goes again."""
        handler = self.new_handler()
        for owner, name in PATCHED:
            with self.subTest(name):
                await self.assert_lane(handler)
                with self.wrap(owner, name):
                    await self.assert_passed(handler, name)
                await self.assert_lane(handler)

    async def test_earlier(self):
        """A tool has patched Django before the handler is made."""
        for owner, name in PATCHED:
            with self.subTest(name), self.wrap(owner, name):
                await self.assert_passed(self.new_handler(), name)

    async def test_objects(self):
        """A tool puts an object that has no code in the place of a function, early or late."""
        for owner, name in PATCHED:
            descriptor = Descriptor(vars(owner)[name], self.seen)
            early = None
            handler = self.new_handler()
            await self.assert_lane(handler)
            with self.subTest(name), mock.patch.object(owner, name, descriptor):
                early = self.new_handler()
                await self.assert_passed(handler, name)
                await self.assert_passed(early, name)

    async def test_exchanged_code(self):
        """A tool exchanges the code of a function, which stays the same object."""
        handler = self.new_handler()
        function: Any = BaseHandler.get_response_async
        original = function.__code__
        # What it does is the same, as far as a request can tell.
        exchanged = original.replace(co_name="exchanged")
        self.addCleanup(setattr, function, "__code__", original)
        await self.assert_lane(handler)
        for code in (exchanged, original):
            function.__code__ = code
            with mock.patch.object(
                ThreadedASGIHandler,
                "get_response_async",
                autospec=True,
                side_effect=ThreadedASGIHandler.get_response_async,
            ) as asked:
                await self.assert_lane(handler)
            self.assertEqual(asked.call_count, code is exchanged)

    async def test_many_tools(self):
        """A tool patches everything at once: each request passes each of it once."""
        handler = self.new_handler()
        for owner, name in PATCHED:
            self.enterContext(self.wrap(owner, name))
        self.seen.clear()
        await ask(handler)
        self.assertEqual(len(self.seen), len(PASSED))

    async def test_subclass(self):
        """A subclass has methods of its own that a lane knows nothing of: they are called."""
        for name in ("get_response_async", "run_get_response", "send_response"):
            method = wrapper(getattr(ThreadedASGIHandler, name), self.seen)
            with self.subTest(name):
                handler = type("Handler", (ThreadedASGIHandler,), {name: method})(self.pool)
                self.seen.clear()
                self.assertNotEqual((await ask(handler)).text, LANE)
                self.assertEqual(len(self.seen), 1)

    async def test_plain_subclass(self):
        """A subclass has its own create_request: it is called, for a lane."""
        method = wrapper(ThreadedASGIHandler.create_request, self.seen)
        handler = type("Handler", (ThreadedASGIHandler,), {"create_request": method})(self.pool)
        await self.assert_lane(handler)
        self.assertEqual(len(self.seen), 1)

    async def test_middleware(self):
        """A tool wraps the classes of the middleware: sync views take their lanes all the same."""

        class Inner:
            def __init__(self, get_response: Any) -> None:
                self.get_response = get_response

            def __call__(self, request: HttpRequest) -> Any:
                response = self.get_response(request)
                response["Inner"] = "yes"
                return response

        class Wrapper:
            def __init__(self, get_response: Any) -> None:
                self._inner = Inner(get_response)

            def __getattr__(self, name: str) -> Any:
                return getattr(self._inner, name)

            def __call__(self, request: HttpRequest) -> Any:
                return self._inner(request)

        response = await ask(self.handler(thread_view, middleware=[Wrapper]))
        self.assertEqual(response.text, LANE)
        self.assertIn((b"Inner", b"yes"), response.headers)
