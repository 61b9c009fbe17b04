"""Which way requests take: what decides it, what the log says of it, and what tools see of it."""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings as present
from django.core.exceptions import MiddlewareNotUsed
from django.core.handlers import base
from django.test import override_settings
from django.urls import path
from django.utils.deprecation import MiddlewareMixin
from django.utils.module_loading import import_string

from django_daphne.handlers import strategies
from django_daphne.handlers.middleware import flatten
from django_daphne.handlers.static_files import ThreadedStaticFilesHandler
from django_daphne.handlers.threaded import ThreadedASGIHandler

from .stacks import STACKS
from .support import ask
from .ways import (
    INWARDS,
    OUTWARDS,
    SENTRY,
    TOOLS,
    Passing,
    WayTestCase,
    hello,
    hello_at_once,
    hops_counted,
    make_stack,
    watched,
)

SENTRY_MIDDLEWARE = "sentry_sdk.integrations.django.middleware"


class StrategyTestCase(WayTestCase):
    """Tests of the choice that a handler makes for both kinds of views."""

    def make(self, middleware: list[Any]) -> ThreadedASGIHandler:
        """Return the handler of an async view and a sync one."""
        return self.handler(hello, path("sync", hello_at_once), middleware=middleware)

    async def hops(self, handler: Any, name: str = "/") -> int:
        """Return how often a request goes to its lane after its beginning."""
        with hops_counted() as calls:
            self.assertEqual((await ask(handler, name)).text, "hello")
        await self.assert_idle()
        return len(calls)


class LogTests(StrategyTestCase):
    """The line in the log that says which way requests take, and why."""

    async def lines(self, handler: Any) -> list[str]:
        """Return what the log says at some requests."""
        with (
            mock.patch.object(strategies.logger, "disabled", False),
            self.assertLogs(strategies.logger, "INFO") as logs,
        ):
            strategies.logger.info("beginning")
            for name in ("/", "/sync", "/", "/sync"):
                await ask(handler, name)
        return [record.getMessage() for record in logs.records[1:]]

    async def test_kinds(self):
        """The first request comes: one line says it for the handler, with names in the way."""
        for kind, text in (
            ("hooks", "sync views take one hop to a thread, of async views two."),
            ("dual", "of async views one before and one after each run of hooks"),
            ("sync", "async views are called from that thread"),
            ("async", "Django's asynchronous chain"),
        ):
            with self.subTest(kind):
                handler = self.make(make_stack(kind, self.note))
                outer, middle, inner = present.MIDDLEWARE
                (line,) = await self.lines(handler)
                self.assertIn(text, line)
                self.assertEqual(middle in line, kind != "hooks")
                self.assertNotIn(outer, line)
                self.assertNotIn(inner, line)
                self.assertEqual(await self.lines(handler), [])

    async def test_one_look(self):
        """The first requests come: the chain is looked at once, for the choice and for the line."""
        with mock.patch.object(strategies, "flatten", wraps=flatten) as look:
            self.assertEqual(len(await self.lines(self.make([Passing, Passing]))), 1)
        self.assertEqual(look.call_count, 1)

    async def test_several_names(self):
        """Two middleware are in the way: both are named, once, and those that matter less not."""
        stack = [make_stack(kind, self.note)[1] for kind in ("sync", "dual", "sync")]
        handler = self.make(stack)
        first, dual, second = present.MIDDLEWARE
        (line,) = await self.lines(handler)
        self.assertIn(f"{first}, {second} can only be synchronous.", line)
        self.assertNotIn(dual, line)

    async def test_tools(self):
        """A tool watches requests: the line names its package, and comes again when it goes."""
        handler = self.make([Passing])
        with watched():
            (line,) = await self.lines(handler)
            self.assertIn("of async views two. The event loop asks", line)
            self.assertIn("because tests watches", line)
        (line,) = await self.lines(handler)
        self.assertNotIn("because", line)

    async def test_tool_in_lane(self):
        """A tool watches requests from their lanes: it is in nobody's way."""
        with watched(SENTRY):
            (line,) = await self.lines(self.make([Passing]))
        self.assertTrue(line.endswith("of async views two."), line)

    async def test_nameless_tool(self):
        """What stands in Django's place does not say whose it is."""

        class Call:
            def __get__(self, handler: Any, kind: type) -> Any:
                return original.__get__(handler, kind)

        Call.__module__ = "builtins"
        original = vars(base.BaseHandler)["get_response_async"]
        with mock.patch.object(base.BaseHandler, "get_response_async", Call()):
            (line,) = await self.lines(self.make([Passing]))
        self.assertIn("because a tool watches", line)

    async def test_wrapping_tool(self):
        """A tool wraps all middleware, which is hooks otherwise: the line says so."""
        with proxies():
            (line,) = await self.lines(self.make([Passing]))
        self.assertIn("because a tool wraps these", line)

    async def test_unused(self):
        """A middleware that would be in the way is not used: the line does not speak of it."""

        class Absent:
            sync_capable = async_capable = True

            def __init__(self, get_response: Any) -> None:
                raise MiddlewareNotUsed

        (line,) = await self.lines(self.make([Passing, Absent]))
        self.assertTrue(line.endswith("of async views two."), line)

    async def test_static_files(self):
        """What serves static files before the project says nothing: it has no middleware."""
        settings = {"STATIC_URL": "/static/", "STATICFILES_DIRS": []}
        with override_settings(**settings):
            handler = ThreadedStaticFilesHandler(self.make([Passing]), self.pool)
            with (
                mock.patch.object(strategies.logger, "disabled", False),
                self.assertNoLogs(strategies.logger, "INFO"),
            ):
                self.assertEqual((await ask(handler, "/static/nothing")).status, 404)


class ToolTests(StrategyTestCase):
    """Tools replace what Django calls: they see each request once, and the answer is the same."""

    async def test_watching(self):
        """A tool comes and goes while the server runs: meanwhile it sees every request."""
        for kind, tool in itertools.product(STACKS, filter(None, TOOLS)):
            with self.subTest(kind, tool=tool):
                handler = self.make(make_stack(kind, self.note))
                before = [await self.hops(handler, name) for name in ("/", "/sync")]
                paths: list[str] = []
                with watched(tool, paths.append):
                    meanwhile = [await self.hops(handler, name) for name in ("/", "/sync")]
                    self.assertEqual(paths, ["/", "/sync"])
                if tool == SENTRY and kind != "async":
                    self.assertEqual(meanwhile, before)
                after = [await self.hops(handler, name) for name in ("/", "/sync")]
                self.assertEqual((paths, after), (["/", "/sync"], before))

    async def test_exchanged_code(self):
        """A tool exchanges the code of Django's method, and leaves the method where it is."""
        function = vars(base.BaseHandler)["get_response_async"]
        handler = self.make([Passing])
        self.assertEqual(await self.hops(handler), 0)
        code = function.__code__
        self.addCleanup(setattr, function, "__code__", code)
        function.__code__ = code.replace(co_name="another")
        self.assertEqual(await self.hops(handler), 2)
        function.__code__ = code
        self.assertEqual(await self.hops(handler), 0)

    async def test_innermost(self):
        """A tool replaces Django's innermost functions, at the start: they are called."""
        for kind in STACKS:
            with self.subTest(kind), seen("_get_response_async") as awaited:
                with seen("_get_response") as called:
                    handler = self.make(make_stack(kind, self.note))
                    for name in ("/", "/sync"):
                        await self.hops(handler, name)
                self.assertEqual(sorted(awaited + called), ["/", "/sync"])
                self.assertEqual(called, {"sync": ["/", "/sync"]}.get(kind, called))

    async def test_proxies(self):
        """A tool wraps each link of the chain: all of them are called, in their order."""
        for kind in STACKS:
            for tool in TOOLS:
                with self.subTest(kind, tool=tool), proxies() as calls:
                    handler = self.make(make_stack(kind, self.note))
                    for name in ("/", "/sync"):
                        self.notes.clear()
                        calls.clear()
                        if tool:
                            with watched(tool):
                                await self.hops(handler, name)
                        else:
                            await self.hops(handler, name)
                        self.assertEqual(self.notes, [*INWARDS, *OUTWARDS])
                        self.assertEqual(len(calls), 4)

    async def test_sentry(self):
        """Sentry's wrapper is around each class: its hooks are called, unless it wants calls."""
        for spans, hops in ((False, 0), (True, 7)):
            with self.subTest(spans=spans), sentry(spans) as calls:
                handler = self.make(make_stack("hooks", self.note))
                for name, expected in (("/", hops), ("/sync", 0)):
                    self.notes.clear()
                    calls.clear()
                    self.assertEqual(await self.hops(handler, name), expected)
                    self.assertEqual(self.notes, [*INWARDS, *OUTWARDS])
                    hooks = ["process_request"] * 3 + ["process_response"] * 3
                    self.assertEqual(calls, ["call"] * 3 if spans else hooks)


@contextmanager
def seen(name: str) -> Iterator[list[str]]:
    """Give a list of the paths of requests that come by a method of Django's handler."""
    found: list[str] = []
    original = vars(base.BaseHandler)[name]

    def method(self: Any, request: Any) -> Any:
        found.append(request.path)
        return original(self, request)

    async def async_method(self: Any, request: Any) -> Any:
        found.append(request.path)
        return await original(self, request)

    replacement = async_method if name.endswith("async") else method
    with mock.patch.object(base.BaseHandler, name, replacement):
        yield found


def look_of(proxy: Any) -> type:
    """Return what isinstance() looks at."""
    return type(proxy.__wrapped__)


class Proxy:
    """An object around a function that looks like it, as tools make them."""

    locals()["__class__"] = property(look_of)

    def __init__(self, wrapped: Any, calls: list[object]) -> None:
        self.__wrapped__ = wrapped
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__wrapped__, name)

    def __call__(self, request: Any) -> Any:
        """Take note of the call."""
        self._calls.append(self)
        return self.__wrapped__(request)


@contextmanager
def proxies() -> Iterator[list[object]]:
    """Put a proxy around each link of the chains that are made; give a list of their calls."""
    calls: list[object] = []
    convert = vars(base)["convert_exception_to_response"]

    def convert_and_wrap(get_response: Any) -> Any:
        return Proxy(convert(get_response), calls)

    with mock.patch.object(base, "convert_exception_to_response", convert_and_wrap):
        yield calls


@contextmanager
def sentry(spans: bool) -> Iterator[list[str]]:
    """Wrap classes of middleware as Sentry does; give a list of calls through the wrappers."""
    calls: list[str] = []

    def __getattr__(self: Any, name: str) -> Any:  # noqa: N807
        if not name.startswith("process_"):
            raise AttributeError(name)
        hook = getattr(self._inner, name)

        def wrapped(*arguments: Any) -> Any:
            calls.append(name)
            return hook(*arguments)

        return wrapped

    __getattr__.__module__ = SENTRY_MIDDLEWARE

    def wrap(dotted_path: str) -> Any:
        cls: Any = import_string(dotted_path)

        def __init__(self: Any, get_response: Any) -> None:  # noqa: N807
            self.get_response, self._inner = get_response, cls(get_response)
            if iscoroutinefunction(get_response):
                markcoroutinefunction(self)

        def __call__(self: Any, request: Any) -> Any:  # noqa: N807
            calls.append("call")
            return self._inner(request)

        body = {
            "sync_capable": cls.sync_capable,
            "async_capable": cls.async_capable,
            **{each.__name__: each for each in (__init__, __call__, __getattr__)},
        }
        return type("Wrapper", (), body)

    module: Any = ModuleType("sentry_sdk")
    integration = SimpleNamespace(middleware_spans=spans)
    client = SimpleNamespace(get_integration=lambda name: integration)
    module.get_client = lambda: client
    with (
        mock.patch.dict(sys.modules, {"sentry_sdk": module}),
        mock.patch.object(base, "import_string", wrap),
    ):
        yield calls


class ConstructionTests(StrategyTestCase):
    """Middleware is made once where one chain is enough."""

    def counted(self, kind: str) -> tuple[list[Any], list[str]]:
        """Return a stack of a kind, and a list that each construction in it is noted in."""
        made: list[str] = []

        class Counted(MiddlewareMixin):
            def __init__(self, get_response: Any) -> None:
                made.append("made")
                super().__init__(get_response)

        return [Counted, *make_stack(kind, self.note)], made

    async def test_once(self):
        """Requests come for views of both kinds, and a tool comes: one chain serves them all."""
        for kind in ("hooks", "sync"):
            with self.subTest(kind):
                stack, made = self.counted(kind)
                handler = self.make(stack)
                for name in ("/", "/sync"):
                    await ask(handler, name)
                with watched():
                    for name in ("/", "/sync"):
                        await ask(handler, name)
                self.assertEqual(made, ["made"])

    async def test_when_needed(self):
        """Middleware does both: a second chain is made at the first request of an async view."""
        stack, made = self.counted("dual")
        handler = self.make(stack)
        await ask(handler, "/sync")
        with watched():
            await ask(handler, "/sync")
        self.assertEqual(len(made), 1)
        await asyncio.gather(*(ask(handler) for _ in range(4)))
        self.assertEqual(len(made), 2)
        await ask(handler, "/sync")
        self.assertEqual(len(made), 2)

    async def test_not_used(self):
        """A middleware says at the start that it is not used: it is in nobody's way."""

        class Absent:
            sync_capable = async_capable = True

            def __init__(self, get_response: Any) -> None:
                raise MiddlewareNotUsed

        handler = self.make([Passing, Absent, Passing])
        self.assertEqual([await self.hops(handler), await self.hops(handler, "/sync")], [0, 0])
