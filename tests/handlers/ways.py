"""The ways that requests take: stacks of each kind, and what tests of all of them share."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

from asgiref.sync import iscoroutinefunction
from django.core.handlers.base import BaseHandler
from django.dispatch import Signal
from django.http import HttpRequest, HttpResponse
from django.utils.decorators import (
    async_only_middleware,
    sync_and_async_middleware,
    sync_only_middleware,
)
from django.utils.deprecation import MiddlewareMixin

from django_daphne.handlers.lease import Lease

from .stacks import STACKS
from .support import HandlerTestCase

# What the middleware of make_stack says.
INWARDS = ["outer in", "middle in", "inner in"]
OUTWARDS = ["inner out", "middle out", "outer out"]
Check = Callable[[list[Any]], Awaitable[None]]
# The module of a tool's function that needs no loop, as the lane can tell.
SENTRY = "sentry_sdk.integrations.django.asgi"
# No tool, one that the loop asks, and one that the lane asks.
TOOLS = (None, __name__, SENTRY)


async def hello(request: HttpRequest) -> HttpResponse:
    """Answer at once."""
    return HttpResponse("hello")


def hello_at_once(request: HttpRequest) -> HttpResponse:
    """Answer at once; a sync view."""
    return HttpResponse("hello")


class Passing(MiddlewareMixin):
    """Hooks that do nothing."""

    def process_request(self, request: HttpRequest) -> None:
        """Let a request pass."""

    def process_response(self, request: HttpRequest, response: Any) -> Any:
        """Let a response pass."""
        return response


@contextmanager
def watched(
    module: str = __name__, notice: Callable[[str], object] = lambda path: None
) -> Iterator[None]:
    """Have every request pass a tool on its way into Django's chains, as some make it.

    The functions of the tool are those of this module; it takes notice of each path.
    """

    def tell(request: Any) -> None:
        notice(request.path)

    old_get_response = vars(BaseHandler)["get_response"]
    old_get_response_async = vars(BaseHandler)["get_response_async"]

    def get_response(self: Any, request: Any) -> Any:
        tell(request)
        return old_get_response(self, request)

    async def get_response_async(self: Any, request: Any) -> Any:
        tell(request)
        return await old_get_response_async(self, request)

    with ExitStack() as stack:
        for function in (get_response, get_response_async):
            function.__module__ = module
            patch = mock.patch.object(BaseHandler, function.__name__, function)
            stack.enter_context(patch)
        yield


@contextmanager
def received(signal: Signal, receiver: Callable[..., Any]) -> Iterator[None]:
    """Have a signal received for as long as the block runs."""
    signal.connect(receiver)
    try:
        yield
    finally:
        signal.disconnect(receiver)


@contextmanager
def hops_counted() -> Iterator[list[object]]:
    """Give a list that is as long as lanes were asked for more, beyond what begins a request."""
    calls: list[object] = []
    post = Lease.post

    def count(lease: Lease, call: Any) -> None:
        calls.append(call)
        post(lease, call)

    with mock.patch.object(Lease, "post", count):
        yield calls


def make_stack(kind: str, note: Callable[[str], object]) -> list[Any]:
    """Return a stack of a kind that STACKS knows, which says of each call where it is.

    Hooks stand around and below the one that is not: "outer in", "middle in", "inner in" and back.
    """

    def make_sync(get_response: Any) -> Any:
        def middleware(request: Any) -> Any:
            note("middle in")
            response = get_response(request)
            note("middle out")
            return response

        return middleware

    def make_async(get_response: Any) -> Any:
        async def middleware(request: Any) -> Any:
            note("middle in")
            response = await get_response(request)
            note("middle out")
            return response

        return middleware

    def make_either(get_response: Any) -> Any:
        return (make_async if iscoroutinefunction(get_response) else make_sync)(get_response)

    def make_class(name: str) -> Any:
        class Hooks(MiddlewareMixin):
            def process_request(self, request: Any) -> None:
                note(f"{name} in")

            def process_response(self, request: Any, response: Any) -> Any:
                note(f"{name} out")
                return response

        return Hooks

    middle = {
        "hooks": make_class("middle"),
        "dual": sync_and_async_middleware(make_either),
        "sync": sync_only_middleware(make_sync),
        "async": async_only_middleware(make_async),
    }
    return [make_class("outer"), middle[kind], make_class("inner")]


class WayTestCase(HandlerTestCase):
    """Tests that hold whichever way a request takes.

    ``notes`` are the calls in the middleware, and the view's; ``threads`` where those were.
    """

    def setUp(self) -> None:
        super().setUp()
        self.notes: list[str] = []
        self.threads: list[threading.Thread] = []

    def note(self, what: str) -> None:
        """Take note of a call."""
        self.notes.append(what)
        self.threads.append(threading.current_thread())

    async def on_each_way(self, check: Check, kinds: Collection[str] = tuple(STACKS)) -> None:
        """Check with stacks of each kind, without and with tools that watch requests."""
        for kind in kinds:
            for tool in TOOLS:
                with self.subTest(kind, tool=tool), ExitStack() as stack:
                    if tool:
                        stack.enter_context(watched(tool))
                    self.notes.clear()
                    self.threads.clear()
                    await check(make_stack(kind, self.note))
                    await self.assert_idle()
