"""Which way a request takes: a hint for speed, for the answer is the same on each.

In the order of their cost:

* one hop: the whole synchronous chain in a lane, as under WSGI, right for every sync view;
* two hops: one before an async view and one after it, where all middleware is hooks;
* fused: Django's asynchronous chain, each run of hooks in one hop before and one after;
* Django's own asynchronous chain, where some middleware can do nothing else.

Tools that watch requests replace methods of Django's handler. A request in a lane does not come by
``get_response_async``, so where that is not Django's own, it is called for each request, and the
chain of the request's way is what it calls in turn: by the lane, where it needs no event loop, or
by the loop, with the hop to the lane inside.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from contextvars import copy_context
from functools import cache, lru_cache, partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.core.handlers import base
from django.core.handlers.asgi import ASGIHandler, get_script_prefix
from django.urls import URLPattern, URLResolver, get_resolver, get_urlconf

from .fused import Chain, in_one_hop, load_fused, split, whole
from .lease import has_caller
from .middleware import Obstacles, Run, find_obstacles, flatten
from .originals import Methods
from .views import Pipeline, call_view, is_async, on_loop
from .watched import carried, needs_no_loop

if TYPE_CHECKING:
    from .threaded import ThreadedASGIHandler

logger = logging.getLogger("django_daphne.server.strategies")

# Paths whose kind of view is remembered, and the characters that one may have for that.
_REMEMBERED: Final = 1024
_WORTH_REMEMBERING: Final = 256


class Plan(NamedTuple):
    """What to do in a lane: ``respond`` returns a response, or what is Pending.

    A plan that ``waits`` does not count for the limit of sync views, and one that ``steps_aside``
    counts no more once something is pending. One that ``is_watched`` is made for tools.
    """

    respond: Callable[[Any], Any]
    waits: bool = False
    steps_aside: bool = True
    is_watched: bool = False


# What instrumentation replaces to see every request, with names that Django's own code must have.
_WATCHED: Final = {
    "get_response": ("_middleware_chain", "set_urlconf"),
    "get_response_async": ("_middleware_chain", "set_urlconf"),
}
_WATCHED_METHODS: Final = Methods(base.BaseHandler, _WATCHED)
# What the steps of a request are cut out of.
_CUT: Final = {
    "_get_response": ("resolve_request", "make_view_atomic", "process_exception_by_middleware"),
    "_get_response_async": ("resolve_request", "make_view_atomic"),
}
# Of how a request comes in, whether that is Django's own at the moment.
is_original_call: Final = Methods(
    ASGIHandler, {"__call__": ("handle", "ThreadSensitiveContext")}
).are_own


def _tool(function: Any) -> str:
    """Return the package whose function is in Django's place, or an empty string."""
    for maker in (function, getattr(function, "_self_wrapper", None), type(function)):
        package: str = (getattr(maker, "__module__", None) or "").partition(".")[0]
        if package not in ("", "builtins", "django", "wrapt"):
            return package
    return ""


class Strategies:
    """The ways of one handler, and the choice between them."""

    def __init__(self, handler: ThreadedASGIHandler) -> None:
        """Look at a handler that has loaded its middleware for synchronous use."""
        self._handler = handler
        self._is_cut = Methods(base.BaseHandler, _CUT).are_own()
        self._found = Methods(base.BaseHandler, _WATCHED)
        self.obstacles = find_obstacles()
        self._choose: Callable[[Any], Plan] | None = None  # once the project is loaded
        self._in_one_hop = Plan(handler.get_response)
        self._run: Run | None = None  # of all middleware, if it is nothing but hooks

    def plan(self, scope: Any) -> Plan | None:
        """Return what to do with a request; None is to leave it to Django."""
        if has_caller():
            return None  # somebody's thread waits for us, with what is open in it
        if not self._found.are_unchanged():  # somebody has patched Django, or gone again
            self._found, self._choose = Methods(base.BaseHandler, _WATCHED), None
        if self._choose is None:
            try:
                self._choose = self._make_choice()
            except Exception:  # noqa: BLE001 - of the project's URLs: a lane tells its developer
                return self._in_one_hop
            if self._handler._middleware_chain is not None:  # as of what serves static files
                logger.info("%s", self._describe())
        return self._choose(scope)

    @property
    def _is_watched(self) -> bool:
        return not _WATCHED_METHODS.are_own()

    @property
    def _asks_loop(self) -> bool:
        name = "get_response_async"
        function = inspect.getattr_static(ASGIHandler, name)
        is_own = partial(_WATCHED_METHODS.is_own, name)
        return self._is_watched and not needs_no_loop(function, is_own)

    def _describe(self) -> str:
        obstacles = self.obstacles
        if not obstacles.async_only and self._run is not None:
            text = describe(Obstacles([], [], []))  # what was listed is not used
        elif any((obstacles.async_only, obstacles.sync_only, obstacles.dual)):
            text = describe(obstacles)
        else:
            text = (
                "Requests of sync views take one hop to a thread, of async views one around each"
                " middleware, because a tool wraps these."
            )
        if self._asks_loop:
            tools = {_tool(function) for function in self._found} - {""}
            names = " and ".join(sorted(tools)) or "a tool"
            text += f" The event loop asks for each response, because {names} watches Django."
        return text

    def _make_choice(self) -> Callable[[Any], Plan]:
        """Return what tells the plan for a scope."""
        self._run = flatten(self._handler._middleware_chain)
        if self._handler._middleware_chain is None:  # static files
            return lambda scope: self._in_one_hop
        if self.obstacles.async_only:
            always = _on_loop(self._handler.stock)
            return lambda scope: always
        sync = self._in_one_hop
        if self._is_watched:
            sync = self._watched_in_one_hop(waits=False)
        if not has_async_views():
            return lambda scope: sync
        asynchronous = cache(self._asynchronous)
        hint = Hint()
        if self._run is not None and self._is_cut:
            pipeline = Pipeline(self._run, partial(call_view, self._handler))
            if self._is_watched:
                flat = self._watched(pipeline.respond, whole(pipeline))
            else:
                flat = Plan(pipeline.get_response, waits=True)
            if not self._asks_loop:  # so a wrong hint costs nothing
                sync = flat._replace(waits=False)
            return lambda scope: sync if hint.is_sync(scope) else flat
        return lambda scope: sync if hint.is_sync(scope) else asynchronous()

    def _asynchronous(self) -> Plan:
        """Return the plan for async views below middleware that is more than hooks."""
        handler = self._handler
        if self.obstacles.sync_only:
            # It calls the view from its thread in any case, so all that is around it may run there.
            if self._is_watched:
                return self._watched_in_one_hop(waits=True)
            return Plan(handler.get_response, waits=True)
        if not self._is_cut:
            return _on_loop(handler.stock)
        fused = handler.companion()
        load_fused(fused)
        pipeline = split(fused._middleware_chain)
        if self._is_watched:
            return self._watched(pipeline.respond, fused._middleware_chain)
        return Plan(pipeline.get_response, waits=True)

    def _watched_in_one_hop(self, waits: bool) -> Plan:
        chain = self._handler._middleware_chain
        return self._watched(chain, in_one_hop(chain), waits)

    def _watched(self, respond: Callable[[Any], Any], chain: Chain, waits: bool = True) -> Plan:
        """Return the plan by a tool's ``get_response_async``.

        What that calls in turn is there for the lane and for the loop.
        """
        if not self._asks_loop:
            return Plan(carried(self._handler, respond), waits, is_watched=True)
        companion = self._handler.companion()
        companion._middleware_chain = chain
        return _on_loop(companion, waits)


def _on_loop(handler: ThreadedASGIHandler, waits: bool = True) -> Plan:
    """Return the plan that lets the loop call a handler's ``get_response_async``."""

    respond = partial(on_loop, handler.get_response_async)
    return Plan(respond, waits, steps_aside=waits, is_watched=not _WATCHED_METHODS.are_own())


def has_async_views() -> bool:
    """Tell whether the project's URLs lead to any async view."""
    return _has_async_views(get_resolver(get_urlconf()))


def _has_async_views(resolver: URLResolver) -> bool:
    return any(
        is_async(pattern.callback) if isinstance(pattern, URLPattern) else _has_async_views(pattern)
        for pattern in resolver.url_patterns
    )


class Hint:
    """Tells from the path alone what kind of view a request will come to.

    It is wrong where middleware chooses the URLs or the path. Paths that are asked for often are
    remembered.
    """

    def __init__(self) -> None:
        self._is_sync = lru_cache(maxsize=_REMEMBERED)(self._resolve)

    def is_sync(self, scope: Any) -> bool:
        """Tell whether a request's view seems to be synchronous."""
        path = scope["path"]
        ask = self._is_sync if len(path) <= _WORTH_REMEMBERING else self._resolve
        return ask(get_resolver(), get_script_prefix(scope), path)

    def _resolve(self, resolver: URLResolver, prefix: str, path: str) -> bool:
        return copy_context().run(_is_sync, resolver, prefix.rstrip("/"), path)


def _is_sync(resolver: URLResolver, prefix: str, path: str) -> bool:
    if prefix and (path == prefix or path.startswith(f"{prefix}/")):
        path = path[len(prefix) :]
    try:
        return not is_async(resolver.resolve(path or "/").func)
    except Exception:  # noqa: BLE001 - of the project's own code: a lane finds out why
        return True


def describe(obstacles: Obstacles) -> str:
    """Return a sentence that says what the project's middleware allows, and what is in the way."""
    if obstacles.async_only:
        names = ", ".join(obstacles.async_only)
        return f"Requests go by Django's asynchronous chain: {names} can only be asynchronous."
    if obstacles.sync_only:
        names = ", ".join(obstacles.sync_only)
        return (
            "Requests take one hop to a thread, and async views are called from that thread:"
            f" {names} can only be synchronous."
        )
    if obstacles.dual:
        names = ", ".join(obstacles.dual)
        return (
            "Requests of sync views take one hop to a thread, of async views one before and one"
            f" after each run of hooks, which end at {names}."
        )
    return "Requests of sync views take one hop to a thread, of async views two."
