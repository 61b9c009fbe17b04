"""A tool's coroutine around a chain, carried on in the lane where it needs no event loop.

A tool that watches requests puts a coroutine function of its own in the place of Django's
``get_response_async``. The event loop may call that for each request, at the price of two hops
more. One that awaits nothing but Django's own is carried on by the lane instead: up to the chain,
which the lane then calls itself, and behind it to its end.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator
from functools import partial
from types import FunctionType, coroutine
from typing import Any, Final

from .views import Pending, pass_on

# Whose function tells another of a request, one that the threads of a WSGI server call as well,
# and then awaits what was there before. That it still does no more is seen in its code.
_SENTRY: Final = "sentry_sdk.integrations.django.asgi"


def needs_no_loop(function: Any, is_own: Callable[[Any], bool]) -> bool:
    """Tell whether what is in the place of Django's coroutine function awaits only that one.

    ``is_own`` tells whether a function is Django's own.
    """
    while type(function) is FunctionType and function.__module__ == _SENTRY:
        held = inspect.getclosurevars(function).nonlocals.values()
        awaited = [each for each in held if inspect.iscoroutinefunction(each)]
        if function.__code__.co_names or len(awaited) != 1:
            return False
        (function,) = awaited
    return is_own(function)


class _Chain:
    """In the place of the chain: lets go of the coroutine, and later gives it the response."""

    response: Any

    def __await__(self) -> Generator[_Chain, None, Any]:
        yield self
        return self.response


@coroutine
def _rest(started: Any) -> Generator[Any, Any, Any]:
    """Do what a coroutine still has to do, for whoever awaits this."""
    return (yield from started)


def carried(handler: Any, respond: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return what answers a request in the lane by a handler's ``get_response_async``.

    ``respond`` is the chain: it returns a response, or what is Pending.
    """
    handler = handler.companion()
    handler._middleware_chain = lambda request: _Chain()

    def get_response(request: Any) -> Any:
        started = handler.get_response_async(request)
        return _carry_on(started, started.send(None), respond, request)

    return get_response


def _carry_on(started: Any, chain: _Chain, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in the place of the chain, and carry the coroutine on with the outcome."""
    __traceback_hide__ = True
    try:
        response = function(*arguments)
    except BaseException as error:  # noqa: BLE001 - the coroutine is told, and lets it out again
        return started.throw(error)
    if type(response) is Pending:
        return Pending(response.call, partial(_carry_on, started, chain, response.complete))
    chain.response = response
    if response.status_code >= 400:  # Django awaits its log, for which it needs the loop
        return Pending(partial(_rest, started), pass_on)
    try:
        started.send(None)
    except StopIteration as end:
        return end.value
    raise RuntimeError("get_response_async awaits something behind a response")
