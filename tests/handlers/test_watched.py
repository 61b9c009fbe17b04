"""A tool's coroutine that the lane carries on: what it may be, and all that comes out of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from asgiref.sync import sync_to_async
from django.core.handlers.base import BaseHandler
from django.http import HttpRequest, HttpResponse
from django.test import SimpleTestCase
from django.urls import path

from django_daphne.handlers import strategies
from django_daphne.handlers.threaded import ThreadedASGIHandler
from django_daphne.handlers.watched import needs_no_loop

from .support import LANE, Ear, ask
from .ways import SENTRY, Passing, WayTestCase, hello, hello_at_once, make_stack, watched

old: Any = vars(BaseHandler)["get_response_async"]


def of_sentry(function: Any) -> Any:
    """Return a function as one of Sentry's."""
    function.__module__ = SENTRY
    return function


def is_own(function: Any) -> bool:
    """Tell whether a function is Django's."""
    return function is old


class ShapeTests(SimpleTestCase):
    """What is seen in the code of a function that stands in the place of Django's."""

    def wrap(self, inner: Any, module: str = SENTRY) -> Any:
        """Return a function that awaits another, as the lane can carry it on."""

        async def get_response_async(handler: Any, request: Any) -> Any:
            return await inner(handler, request)

        get_response_async.__module__ = module
        return get_response_async

    def test_usual(self):
        """It is Sentry's around Django's, or twice; or Django's own is in its place again."""
        for function in (old, self.wrap(old), self.wrap(self.wrap(old))):
            self.assertTrue(needs_no_loop(function, is_own))

    def test_of_others(self):
        """It is another tool's, or has another tool's inside, which may need the loop."""
        other = self.wrap(old, "tool.django")
        for function in (other, self.wrap(other), mock.AsyncMock(), None, self):
            self.assertFalse(needs_no_loop(function, is_own))

    def test_more(self):
        """It does more than to call what it holds: a name is used, or two things are awaited."""
        held = self.wrap(old)

        @of_sentry
        async def with_name(handler: Any, request: Any) -> Any:
            asyncio.current_task()
            return await held(handler, request)

        @of_sentry
        async def with_two(handler: Any, request: Any) -> Any:
            await held(handler, request)
            return await other(handler, request)

        @of_sentry
        async def with_none(handler: Any, request: Any) -> None:
            pass

        async def other(handler: Any, request: Any) -> Any:
            pass

        for function in (with_name, with_two, with_none):
            self.assertFalse(needs_no_loop(function, is_own))


class CarriedTests(WayTestCase):
    """Requests whose tool is asked by their lanes."""

    def make(self, view: Any) -> ThreadedASGIHandler:
        """Return the handler of a view, and of an async one."""
        return self.handler(view, path("other", hello), middleware=[Passing])

    @contextmanager
    def logged(self, count: int) -> Iterator[None]:
        """Have the lanes tell a tool, and expect so many lines of Django on its answers."""
        with watched(SENTRY), self.assertLogs("django.request", "WARNING") as logs:
            yield
        self.assertEqual(len(logs.records), count)

    async def test_place(self):
        """The tool is told in the request's lane, whichever kind the view is."""
        names: list[str] = []

        def notice(path: str) -> None:
            names.append(threading.current_thread().name)

        for kind in ("hooks", "dual", "sync"):
            handler = self.handler(
                hello, path("sync", hello_at_once), middleware=make_stack(kind, self.note)
            )
            with self.subTest(kind), watched(SENTRY, notice):
                for name in ("/", "/sync"):
                    self.assertEqual((await ask(handler, name)).text, "hello")
        await self.assert_idle()
        self.assertEqual(len(names), 6)
        self.assertTrue(all(name.startswith(LANE) for name in names), names)

    async def test_refusals(self):
        """A view answers with an error's status: Django logs it, once, and awaits that."""

        def refuse(request: HttpRequest) -> HttpResponse:
            return HttpResponse("no", status=403)

        async def refuse_later(request: HttpRequest) -> HttpResponse:
            return HttpResponse("no", status=403)

        for view in (refuse, refuse_later):
            handler = self.make(view)
            with self.subTest(view.__name__), self.logged(1):
                self.assertEqual((await ask(handler)).status, 403)
                await self.assert_idle()

    async def test_errors(self):
        """A view raises, or the resolver does not know it: the answer is Django's."""

        async def fail_later(request: HttpRequest) -> HttpResponse:
            raise ValueError("of the view")

        def fail(request: HttpRequest) -> HttpResponse:
            raise ValueError("of the view")

        for view in (fail, fail_later):
            handler = self.make(view)
            with self.subTest(view.__name__), self.logged(2):
                self.assertEqual((await ask(handler)).status, 500)
                self.assertEqual((await ask(handler, "/nowhere")).status, 404)
                await self.assert_idle()

    async def test_ends(self):
        """A view would end the process, or its task: a 500, and the tool's coroutine is over."""
        for error in (SystemExit, KeyboardInterrupt, asyncio.CancelledError):

            async def leave_later(request: HttpRequest, error: Any = error) -> HttpResponse:
                raise error

            def leave(request: HttpRequest, error: Any = error) -> HttpResponse:
                raise error

            for view in (leave, leave_later):
                handler = self.make(view)
                with (
                    self.subTest(view.__name__, error=error),
                    watched(SENTRY),
                    self.assertLogs("django_daphne.server", "ERROR"),
                    self.assertLogs("django.request", "ERROR"),
                ):
                    self.assertEqual((await ask(handler)).status, 500)
                    self.assertEqual((await ask(handler, "/other")).status, 200)
                    await self.assert_idle()

    async def test_failing_tool(self):
        """The tool itself fails: so does the request, as with Django's own handler; no other."""

        def fail(path: str) -> None:
            raise LookupError("of the tool")

        handler = self.make(hello_at_once)
        with Ear(type(handler)) as ear:
            with watched(SENTRY, fail), self.assertRaisesRegex(LookupError, "of the tool"):
                await ask(handler)
            await ear.finished()
        self.assertEqual((await ask(handler)).status, 200)

    async def test_database_thread(self):
        """What an async view asks of threads is done in the lane that has told the tool."""
        threads: list[threading.Thread] = []

        async def view(request: HttpRequest) -> HttpResponse:
            await sync_to_async(note)(request.path)
            return HttpResponse("done", status=202)

        def note(path: str) -> None:
            threads.append(threading.current_thread())

        with watched(SENTRY, note):
            self.assertEqual((await ask(self.make(view))).status, 202)
        self.assertEqual(len(threads), 2)
        self.assertEqual(len(set(threads)), 1)

    async def test_exchanged_code(self):
        """Below Sentry's, somebody has exchanged the code of Django's own: the loop asks."""
        with watched(SENTRY):
            handler = self.make(hello_at_once)
            self.addCleanup(setattr, old, "__code__", old.__code__)
            old.__code__ = old.__code__.replace(co_name="another")
            with (
                mock.patch.object(strategies.logger, "disabled", False),
                self.assertLogs(strategies.logger, "INFO") as logs,
            ):
                await ask(handler)
            self.assertIn("The event loop asks", logs.records[0].getMessage())
