"""Middleware that is nothing but hooks, and what follows when all of a stack's is.

``MiddlewareMixin`` lets a class do its work in ``process_request`` and ``process_response`` and
calls them around what is inside. Where a class adds nothing to that, the hooks of many can be
called one after the other, in one thread: each in its own layer of error handling, as in the chain
that Django builds (``BaseHandler.load_middleware``).
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable
from types import FunctionType, MethodType
from typing import Any, Final, NamedTuple

from django.conf import settings
from django.core.handlers import base, exception
from django.utils.deprecation import MiddlewareMixin
from django.utils.module_loading import import_string

_NAMES: Final = ("process_request", "process_response")
_OWN: Final = tuple(vars(MiddlewareMixin)[name] for name in ("__call__", "__acall__"))
_SENTRY: Final = "sentry_sdk.integrations.django.middleware"

Hook = Callable[..., Any]


class Hooks(NamedTuple):
    """The two hooks around what is inside of one middleware; None where it has not got one."""

    process_request: Hook | None
    process_response: Hook | None


def is_hooks_only(cls: Any) -> bool:
    """Tell whether a middleware class is nothing but hooks."""
    return (
        isinstance(cls, type)
        and issubclass(cls, MiddlewareMixin)
        and (cls.__call__, cls.__acall__) == _OWN
        and not hasattr(cls, "__getattr__")
        and not any(inspect.iscoroutinefunction(getattr(cls, name, None)) for name in _NAMES)
    )


def hooks_of(middleware: Any) -> Hooks | None:
    """Return the hooks of a middleware that is nothing else."""
    inner = middleware
    if _is_wrapped_by_sentry(middleware):
        # Its wrapper has the hooks as well, and sees to it that errors in them are reported.
        inner = vars(middleware).get("_inner")
    if not is_hooks_only(type(inner)) or not vars(inner).keys().isdisjoint(_NAMES):
        return None
    return Hooks(*(getattr(middleware, name, None) for name in _NAMES))


def _is_wrapped_by_sentry(middleware: Any) -> bool:
    """Tell whether Sentry's wrapper is around a middleware, and wants to see no more than hooks."""
    lookup = vars(type(middleware)).get("__getattr__")
    if getattr(lookup, "__module__", None) != _SENTRY:
        return False
    client: Any = sys.modules["sentry_sdk"].get_client()
    integration = client.get_integration("django")
    return integration is None or not integration.middleware_spans


class Obstacles(NamedTuple):
    """Middleware of the project, by dotted name, that is more than hooks."""

    sync_only: list[str]
    async_only: list[str]
    dual: list[str]


def find_obstacles() -> Obstacles:
    """Return those of settings.MIDDLEWARE that stand in the way of a faster strategy."""
    found = Obstacles([], [], [])
    for path in settings.MIDDLEWARE:
        factory = import_string(path)
        if not getattr(factory, "sync_capable", True):
            found.async_only.append(path)
        elif not getattr(factory, "async_capable", False):
            found.sync_only.append(path)
        elif not is_hooks_only(factory):
            found.dual.append(path)
    return found


class Run:
    """Hooks of middleware that stand next to each other, the outermost first."""

    def __init__(self, members: Iterable[Hooks]) -> None:
        self.members = tuple(members)
        self._requests = [
            (depth, each.process_request)
            for depth, each in enumerate(self.members)
            if each.process_request is not None
        ]
        self._responses = [each.process_response for each in self.members]
        self.is_entered = bool(self._requests)
        self.is_left = any(self._responses)

    def enter(self, request: Any) -> tuple[Any, int, Exception | None]:
        """Let the hooks see a request; return a response of theirs and how many get to see that.

        Without a response the view is to be called, and all of them see its response. The third is
        an error in making the response for an error, which is the next layer's.
        """
        for depth, process_request in self._requests:
            try:
                response = process_request(request)
            except Exception as raised:  # noqa: BLE001 - Django answers it
                return _convert(request, raised, depth)
            if response:
                return response, depth + 1, None
        return None, len(self.members), None

    def leave(
        self, request: Any, response: Any, depth: int, error: BaseException | None = None
    ) -> Any:
        """Let the hooks see a response, the innermost of ``depth`` first; return the last one's.

        An error in the place of the response is answered by the innermost layer.
        """
        __traceback_hide__ = True
        for process_response in reversed(self._responses[:depth]):
            try:
                if error is not None:
                    raise error
                if process_response is not None:
                    response = process_response(request, response)
            except Exception as raised:  # noqa: BLE001 - Django answers it
                response, _, error = _convert(request, raised)
        if error is not None:
            raise error
        return response


def _convert(request: Any, error: Exception, depth: int = 0) -> tuple[Any, int, Exception | None]:
    """Return Django's response for an error; it is being handled."""
    try:
        return exception.response_for_exception(request, error), depth, None
    except Exception as another:  # noqa: BLE001 - of the next layer
        return None, depth, another


def inside(link: Any) -> Any:
    """Return what a link of Django's chain has in it, or None when the link is not Django's."""
    if type(link) is not FunctionType:  # a tool's proxy: it wants to be called
        return None
    return vars(link).get("__wrapped__")


def is_view_caller(found: Any, name: str) -> bool:
    """Tell whether something is the innermost of the chain, and Django's own."""
    return type(found) is MethodType and found.__func__ is vars(base.BaseHandler)[name]


def flatten(chain: Any) -> Run | None:
    """Return all hooks of a chain for synchronous use; None if it has anything else."""
    members = []
    while not is_view_caller(found := inside(chain), "_get_response"):
        hooks = hooks_of(found)
        if hooks is None:
            return None
        members.append(hooks)
        chain = found.get_response
    return Run(members)
