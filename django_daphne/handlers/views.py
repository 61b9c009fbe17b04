"""A request inside of all middleware: its view, found and called in one thread, or awaited between.

These are the steps of Django's ``BaseHandler._get_response``, cut where an async view belongs to
the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, NamedTuple

from django.conf import settings
from django.core.handlers import base, exception
from django.urls import set_urlconf
from django.utils.log import log_response

from .middleware import Run

# What Django itself asks of a view; it is not the same function in every version.
is_async: Final[Any] = vars(base)["iscoroutinefunction"]


class Pending(NamedTuple):
    """What is to be awaited on the loop, and what takes its outcome in the lane.

    ``complete(response, error)`` gets one of the two.
    """

    call: Callable[[], Awaitable[Any]]
    complete: Callable[[Any, BaseException | None], Any]


def call_view(handler: Any, request: Any) -> Any:
    """Return the response of a request's view, or for an async one what is Pending."""
    try:
        return _call_view(handler, request)
    except Exception as error:  # noqa: BLE001 - Django answers it
        return exception.response_for_exception(request, error)


def _call_view(handler: Any, request: Any) -> Any:
    callback, args, kwargs = handler.resolve_request(request)
    response = None
    for process_view in handler._view_middleware:
        response = process_view(request, callback, args, kwargs)
        if response:
            break
    if response is None:
        view = handler.make_view_atomic(callback)
        if is_async(view):
            return Pending(
                partial(view, request, *args, **kwargs),
                partial(_complete, handler, request, callback),
            )
        try:
            response = view(request, *args, **kwargs)
        except Exception as error:
            response = handler.process_exception_by_middleware(error, request)
            if response is None:
                raise
    return _render(handler, request, callback, response)


def _complete(
    handler: Any, request: Any, callback: Any, response: Any, error: BaseException | None
) -> Any:
    __traceback_hide__ = True
    try:
        try:
            if error is not None:
                raise error
        except Exception as raised:
            response = handler.process_exception_by_middleware(raised, request)
            if response is None:
                raise
        return _render(handler, request, callback, response)
    except Exception as raised:  # noqa: BLE001 - Django answers it
        return exception.response_for_exception(request, raised)


def _render(handler: Any, request: Any, callback: Any, response: Any) -> Any:
    handler.check_response(response, callback)
    if callable(getattr(response, "render", None)):
        for process in handler._template_response_middleware:
            response = process(request, response)
            name = f"{type(process.__self__).__name__}.process_template_response"
            handler.check_response(response, process, name=name)
        try:
            response = response.render()
        except Exception as error:
            response = handler.process_exception_by_middleware(error, request)
            if response is None:
                raise
    return response


def on_loop(function: Callable[[Any], Awaitable[Any]], request: Any) -> Pending:
    """Return what makes the loop call a coroutine function with a request."""
    return Pending(partial(function, request), pass_on)


def pass_on(response: Any, error: BaseException | None) -> Any:
    """Return the response, or raise the error."""
    if error is not None:
        raise error
    return response


def is_unfinished(response: Any) -> bool:
    """Tell whether there is anything to be done with what a view has returned."""
    return (
        response is None
        or asyncio.iscoroutine(response)
        or callable(getattr(response, "render", None))
    )


class Pipeline:
    """Hooks around a view, or around a chain that is called on the loop."""

    def __init__(self, run: Run, inner: Callable[[Any], Any]) -> None:
        """``inner`` is called in the lane: it returns a response, or what is Pending."""
        self.run = run
        self._inner = inner

    def respond(self, request: Any) -> Any:
        """Return the response of Django's chain, or what is Pending; in a lane."""
        response, depth, error = self.run.enter(request)
        if response is None and error is None:
            try:
                response = self._inner(request)
            except Exception as raised:  # noqa: BLE001 - in making the response for an error
                error = raised
            if type(response) is Pending:
                return Pending(response.call, partial(self._complete, request, response))
        return self.run.leave(request, response, depth, error)

    def _complete(
        self, request: Any, pending: Pending, response: Any, error: BaseException | None
    ) -> Any:
        __traceback_hide__ = True
        failure = None
        try:
            response = pending.complete(response, error)
        except Exception as raised:  # noqa: BLE001 - in making the response for an error
            failure = raised
        return self.run.leave(request, response, len(self.run.members), failure)

    def get_response(self, request: Any) -> Any:
        """Do as ``BaseHandler.get_response``, or return what is Pending; in a lane."""
        set_urlconf(settings.ROOT_URLCONF)
        response = self.respond(request)
        if type(response) is Pending:
            return Pending(response.call, partial(self._settle_later, request, response))
        return _settle(request, response)

    def _settle_later(
        self, request: Any, pending: Pending, response: Any, error: BaseException | None
    ) -> Any:
        __traceback_hide__ = True
        return _settle(request, pending.complete(response, error))


def _settle(request: Any, response: Any) -> Any:
    response._resource_closers.append(request.close)
    if response.status_code >= 400:
        log_response(
            "%s: %s", response.reason_phrase, request.path, response=response, request=request
        )
    return response


def internal_error(request: Any, error: BaseException) -> Any:
    """Return the answer for what would have ended the process, or a task that is not its own."""
    try:
        raise RuntimeError(f"The view raised {type(error).__name__}") from error
    except RuntimeError as replacement:
        response: Any = exception.response_for_exception(request, replacement)
    response._resource_closers.append(request.close)
    return response
