"""Django's ASGI handler with the whole of a sync view's request in one hop to a thread.

Theory of operation. Django's own handler awaits every middleware, signal and view that is not
asynchronous in a thread of its own: some ten hand-overs for a request. Here one job runs all of it
in a lane: request_started, the middleware, the view, the template, and behind the answer
request_finished. The event loop reads the body before and sends the answer afterwards.

That is right for every sync view, whatever the middleware, because it is what happens under WSGI.
All else goes Django's own way, on a second, asynchronous chain that is built when it is first
needed: async views, async-only middleware, and handlers that somebody has patched in a way that
would not see the request here. The choice is a hint for speed: the answer is the same.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from contextvars import copy_context
from types import FunctionType
from typing import Any, Final

from asgiref.sync import AsyncToSync
from django.conf import settings
from django.core.exceptions import RequestAborted
from django.core.handlers import base
from django.core.handlers.asgi import ASGIHandler, get_script_prefix
from django.urls import URLPattern, URLResolver, get_resolver, get_urlconf
from django.utils.module_loading import import_string

from .hop import GONE, Answer, Hop
from .lanes import LanePool

# What Django itself asks of a view; it is not the same function in every version.
_is_async: Any = vars(base)["iscoroutinefunction"]

logger = logging.getLogger("django_daphne.server")

# What instrumentation replaces to see every request, with names that its own code must have.
_WATCHED: Final = (
    (ASGIHandler, "__call__", {"handle", "ThreadSensitiveContext"}),
    (ASGIHandler, "create_request", {"request_class"}),
    (base.BaseHandler, "get_response", {"_middleware_chain", "set_urlconf"}),
    (base.BaseHandler, "get_response_async", {"_middleware_chain", "set_urlconf"}),
    (base.BaseHandler, "make_view_atomic", {"iscoroutinefunction"}),
)


# Methods of Django's handler that a request in a lane does not come by.
_OVERRIDABLE: Final = (
    *("get_response_async", "run_get_response", "send_response", "listen_for_disconnect"),
)


def _is_plain(function: Any, names: set[str]) -> bool:
    """Tell whether a function is Django's own: not wrapped, and its code not exchanged."""
    return (
        type(function) is FunctionType
        and not hasattr(function, "__wrapped__")
        and not function.__closure__
        and names <= set(function.__code__.co_names)
    )


class ThreadedASGIHandler(ASGIHandler):
    """Answers requests of sync views in one hop to a lane, and all others as Django does."""

    # Of a subclass that loads its own middleware, or none: it is left to Django.
    _is_stock = True
    _is_plain = False

    def __init__(self, pool: LanePool) -> None:
        """Load the middleware, once, for synchronous use."""
        super(ASGIHandler, self).__init__()
        self._pool = pool
        self._stock: ThreadedASGIHandler | None = None
        self._is_stock = False
        watched = [(owner, name, vars(owner)[name], names) for owner, name, names in _WATCHED]
        self._is_plain = all(_is_plain(function, names) for _, _, function, names in watched)
        for name in _OVERRIDABLE:  # where a subclass has its own, requests have to come by
            if getattr(type(self), name) is not getattr(ThreadedASGIHandler, name):
                self._is_plain = False
        self._found = [(*each[:3], getattr(each[2], "__code__", None)) for each in watched]
        self._serves: Callable[[Any], bool] | None = None  # once the project is loaded
        self.load_middleware(is_async=False)

    async def handle(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request; called by ``__call__``, which is left to whoever patches it."""
        if not self._takes(scope):
            await super(ThreadedASGIHandler, self.stock).handle(scope, receive, send)
            return
        try:
            body_file = await self.read_body(receive)
        except RequestAborted:
            return
        hop = Hop(self, scope, body_file)
        try:
            answer = await hop.begin(self._pool, receive)
            if answer is not GONE:
                sending = self._send(answer, hop, send)
                await (sending if answer.stream is None else hop.while_wanted(sending))
                hop.let_client_go()
                await hop.closed()
        finally:
            hop.leave()

    async def _send(self, answer: Answer, hop: Hop, send: Any) -> None:
        """Send an answer, piece by piece where it is a stream."""
        head = {"type": "http.response.start", "status": answer.status, "headers": answer.headers}
        await send(head)
        if answer.content is not None:
            for chunk, last in self.chunk_bytes(answer.content):
                await send({"type": "http.response.body", "body": chunk, "more_body": not last})
            return
        async for part in hop.parts(answer):
            for chunk, _ in self.chunk_bytes(part):
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        if not hop.is_over:
            await send({"type": "http.response.body"})

    # Django's own way.

    @property
    def stock(self) -> ThreadedASGIHandler:
        """Return the same handler with an asynchronous chain, made when it is first needed."""
        if self._is_stock:
            return self
        if self._stock is None:
            stock = copy.copy(self)
            stock._is_stock = True
            stock.load_middleware(is_async=True)
            self._stock = stock
        return self._stock

    async def get_response_async(self, request: Any) -> Any:
        """Answer a request on the asynchronous chain."""
        return await super(ThreadedASGIHandler, self.stock).get_response_async(request)

    def _takes(self, scope: Any) -> bool:
        """Tell whether a request goes into a lane."""
        if getattr(AsyncToSync.executors, "current", None) is not None:
            return False  # somebody's thread waits for us, with what is open in it
        if not self._is_plain:
            return False
        for owner, name, function, code in self._found:  # patched since then?
            if getattr(owner, name) is not function or function.__code__ is not code:
                return False
        if self._serves is None:
            try:
                self._serves = self._choose()
            except Exception:  # noqa: BLE001 - of the project's URLs: a lane tells its developer
                return True
        return self._serves(scope)

    def _choose(self) -> Callable[[Any], bool]:
        """Return what tells for a scope whether its view is one for a lane."""
        for path in settings.MIDDLEWARE:
            if not getattr(import_string(path), "sync_capable", True):
                return lambda scope: False
        if not _has_async_views(get_resolver(get_urlconf())):
            return lambda scope: True
        return lambda scope: copy_context().run(_is_sync, scope)


def _has_async_views(resolver: URLResolver) -> bool:
    return any(
        _is_async(pattern.callback)
        if isinstance(pattern, URLPattern)
        else _has_async_views(pattern)
        for pattern in resolver.url_patterns
    )


def _is_sync(scope: Any) -> bool:
    """Tell what kind of view a path leads to; where none is found, a lane finds out why."""
    prefix, path = get_script_prefix(scope).rstrip("/"), scope["path"]
    if prefix and (path == prefix or path.startswith(f"{prefix}/")):
        path = path[len(prefix) :]
    try:
        return not _is_async(get_resolver().resolve(path or "/").func)
    except Exception:  # noqa: BLE001 - of the project's own code
        return True
