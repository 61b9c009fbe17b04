"""Requests that are over: freed at once, unless anybody else has them."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable
from functools import partial
from types import CellType, FunctionType
from typing import Any

from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages import INFO, add_message, get_messages
from django.contrib.messages.storage import default_storage
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory, SimpleTestCase, override_settings
from django.urls import path
from django.utils.functional import SimpleLazyObject

from django_daphne.handlers.circles import cut_circles
from tests import settings
from tests.support.server import PATIENCE

from .support import Gate, HandlerTestCase, ask, turns, until


class Canary:
    """Something of a request that shows whether the request is alive, without referring to it."""


class Details:
    """What django-htmx puts on a request to tell more of it."""

    __module__ = "django_htmx.middleware"

    def __init__(self, request: Any) -> None:
        self.request = request


def ignore(*_values: Any) -> Any:
    """Do what is inside of a middleware here: nothing."""


class WithoutCollectorTestCase(SimpleTestCase):
    """Nothing here is freed by the garbage collector."""

    def setUp(self) -> None:
        super().setUp()
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)


class CutTests(WithoutCollectorTestCase):
    """One request, as a lane has it at its end."""

    def end(self, *preparations: Callable[[Any], object]) -> weakref.ref[Canary]:
        """Let a request end that was prepared; return what shows whether it is alive.

        ``lost`` are the names of the attributes that it had before.
        """
        request: Any = RequestFactory().get("/")
        request.canary = Canary()
        reference = weakref.ref(request.canary)
        for prepare in preparations:
            prepare(request)
        names = set(vars(request))
        cut_circles(request)
        self.lost = names - set(vars(request))
        return reference

    def assert_freed(self, *preparations: Callable[[Any], object]) -> None:
        """Assert that a request is freed."""
        self.assertIsNone(self.end(*preparations)())

    def assert_kept(self, *preparations: Callable[[Any], object]) -> None:
        """Assert that a request is alive, and as it was."""
        self.assertIsNotNone(self.end(*preparations)())
        self.assertEqual(self.lost, set())

    @staticmethod
    def authenticate(request: Any) -> None:
        """Do what Django's middleware does for sessions, users and messages."""
        SessionMiddleware(ignore).process_request(request)
        AuthenticationMiddleware(ignore).process_request(request)
        request._messages = default_storage(request)

    def test_middleware_of_django(self):
        """What Django puts on a request keeps it alive, and does so no more."""

        def use(request: Any) -> None:
            self.assertTrue(request.user.is_anonymous)
            add_message(request, INFO, "hello")

        self.assert_freed()
        self.assert_freed(self.authenticate)
        self.assert_freed(self.authenticate, use)

    def test_middleware_of_others(self):
        """A user behind a second factor, the details of a request of htmx."""

        def verify(request: Any) -> None:
            request.user = SimpleLazyObject(partial(ignore, request, request.user))
            request.auser = partial(ignore, request, request.auser)

        def describe(request: Any) -> None:
            request.htmx = Details(request)

        self.assert_freed(self.authenticate, verify, describe)

    def test_twice(self):
        """Something refers to a request twice."""

        def prepare(request: Any) -> None:
            request.auser = partial(ignore, request, request)

        self.assert_freed(prepare)

    def test_other_things(self):
        """What else is there is not asked for anything, and does no harm."""

        class Stranger:
            __slots__ = ()

            def __getattr__(self, name: str) -> Any:
                raise ValueError(name)

        class Account(Stranger):
            def __init__(self) -> None:
                self.name = "somebody"

            @property
            def request(self) -> Any:
                raise ValueError("a query of the database")

        def prepare(request: Any) -> None:
            request.user = Account()
            request.htmx = Stranger()

        self.assert_freed(self.authenticate, prepare)

    def test_empty_cell(self):
        """A function refers to what has no value yet."""

        def prepare(request: Any) -> None:
            def find() -> Any:
                return request

            request.user = FunctionType(find.__code__, {}, closure=(CellType(),))

        self.assert_freed(prepare)

    def test_kept(self):
        """Anybody has the request: it stays as it is."""
        kept: list[Any] = []
        holders: list[Callable[[Any], object]] = [
            kept.append,
            lambda request: kept.append({"request": request}),
            lambda request: kept.append(partial(ignore, request)),
            lambda request: kept.append(request.build_absolute_uri),
            lambda request: kept.append(lambda: request),
            lambda request: kept.append(weakref.ref(request)),
        ]
        for number, hold in enumerate(holders):
            with self.subTest(hold=number):
                self.assert_kept(self.authenticate, hold)

    def test_led_to(self):
        """Anybody has what leads to the request: a function, or what one has of its maker's."""
        kept: list[Any] = []

        def share(request: Any) -> None:
            request.user = partial(ignore, request)
            kept.append(request.user)

        def share_lazy(request: Any) -> None:
            request.user = SimpleLazyObject(lambda: request)
            kept.append(request.user)

        def share_function(request: Any) -> None:
            def find() -> Any:
                return request

            request.user = SimpleLazyObject(find)
            kept.append(find)

        def share_variable(request: Any) -> None:
            request.user = SimpleLazyObject(lambda: request)
            kept.append(lambda: request.user)

        def share_details(request: Any) -> None:
            request.htmx = Details(request)
            kept.append(request.htmx)

        def share_within(request: Any) -> None:
            request.auser = partial(ignore, partial(ignore, request))
            kept.append(request.auser.args[0])

        shares = [share, share_lazy, share_function, share_variable, share_details, share_within]
        for prepare in shares:
            with self.subTest(prepare.__name__):
                self.assert_kept(prepare)

    def test_kept_as_it_is(self):
        """Who has the request still has its user and its messages."""
        kept: list[Any] = []
        self.end(self.authenticate, kept.append)
        request = kept[0]
        self.assertTrue(request.user.is_anonymous)
        self.assertTrue(asyncio.run(request.auser()).is_anonymous)
        self.assertEqual(list(get_messages(request)), [])

    def test_parts_are_kept(self):
        """Who has the user, or the messages, can find out later what they are."""
        kept: list[Any] = []
        self.end(self.authenticate, lambda request: kept.extend([request.user, request._messages]))
        user, messages = kept
        self.assertTrue(user.is_anonymous)
        self.assertEqual(list(messages), [])

    def test_unknown_circle(self):
        """Something that nobody knows refers to the request: that is left to the collector."""

        def prepare(request: Any) -> None:
            request.own = request

        self.assert_kept(self.authenticate, prepare)


class Views:
    """Views that show whether their requests are alive."""

    def __init__(self, gate: Gate) -> None:
        self.canaries: list[weakref.ref[Canary]] = []
        self.kept: list[Any] = []
        self._gate = gate

    def note(self, request: Any) -> HttpResponse:
        """Take note of a request."""
        request.canary = Canary()
        self.canaries.append(weakref.ref(request.canary))
        return HttpResponse("hello")

    def sync(self, request: HttpRequest) -> HttpResponse:
        """Answer in a lane."""
        return self.note(request)

    async def asynchronous(self, request: HttpRequest) -> HttpResponse:
        """Answer on the loop, in more than one turn."""
        await turns(1)
        return self.note(request)

    def keep(self, request: HttpRequest) -> HttpResponse:
        """Keep a request."""
        self.kept.append(request)
        return self.note(request)

    def use_later(self, request: Any) -> HttpResponse:
        """Let a thread have a request, which has it for longer than the lane."""

        def use() -> None:
            self._gate.wait()
            self.kept.append(request.user.is_anonymous)

        threading.Thread(target=use).start()
        return self.note(request)

    def fail(self, request: HttpRequest) -> HttpResponse:
        """Fail."""
        self.note(request)
        raise ValueError("a view that fails")


@override_settings(MIDDLEWARE=settings.MIDDLEWARE)
class RequestTests(WithoutCollectorTestCase, HandlerTestCase):
    """Requests that go through Django's usual middleware."""

    def setUp(self) -> None:
        super().setUp()
        self.gate = self.make_gate()
        self.views = Views(self.gate)
        self.application = self.handler(
            self.views.sync,
            path("async", self.views.asynchronous),
            path("keep", self.views.keep),
            path("later", self.views.use_later),
            path("fail", self.views.fail),
            middleware=settings.MIDDLEWARE,
        )

    async def ask(self, name: str) -> Callable[[], Canary | None]:
        """Ask for a view; return what shows whether the request is alive."""
        await ask(self.application, name)
        return self.views.canaries[-1]

    async def end_lanes(self) -> None:
        """Let the lanes do all that they do behind a request."""
        self.assertTrue(await asyncio.to_thread(self.pool.close, PATIENCE))

    async def assert_freed(self, canary: Callable[[], Canary | None]) -> None:
        """Assert that a request is freed, by the lane that is done with it."""
        await until(lambda: canary() is None)

    async def test_freed(self):
        """A request is freed by its lane, that of an async view, too."""
        for name in ("/", "/async"):
            with self.subTest(name):
                await self.assert_freed(await self.ask(name))

    async def test_kept(self):
        """A view has kept its request, which is whole."""
        await self.ask("/keep")
        await self.end_lanes()
        request = self.views.kept[0]
        self.assertIsNotNone(request.canary)
        self.assertTrue(request.user.is_anonymous)
        self.assertEqual(list(get_messages(request)), [])

    async def test_thread(self):
        """A thread of the view's goes on with its request."""
        await self.ask("/later")
        await self.end_lanes()
        self.gate.open()
        await until(lambda: self.views.kept)
        self.assertEqual(self.views.kept, [True])

    async def test_failing(self):
        """The view fails: Django answers, and the server goes on."""
        with self.assertLogs("django.request", "ERROR"):
            await self.ask("/fail")
        await self.assert_freed(await self.ask("/"))
