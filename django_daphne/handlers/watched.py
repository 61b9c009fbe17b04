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
from types import FunctionType
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


class _Rest:
    """What a coroutine still has to do, for somebody else to await."""

    def __init__(self, coroutine: Any) -> None:
        self._coroutine = coroutine

    def __await__(self) -> Generator[Any, None, Any]:
        return self._coroutine.__await__()  # type: ignore[no-any-return]


def carried(handler: Any, respond: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return what answers a request in the lane by a handler's ``get_response_async``.

    ``respond`` is the chain: it returns a response, or what is Pending.
    """
    handler = handler.companion()
    handler._middleware_chain = lambda request: _Chain()

    def get_response(request: Any) -> Any:
        coroutine = handler.get_response_async(request)
        chain = coroutine.send(None)
        try:
            response = respond(request)
        except BaseException as error:  # noqa: BLE001 - it comes out again
            return coroutine.throw(error)
        if type(response) is Pending:
            return Pending(response.call, partial(_carry_on, coroutine, chain, response.complete))
        return _finish(coroutine, chain, response)

    return get_response


def _carry_on(
    coroutine: Any,
    chain: _Chain,
    complete: Callable[[Any, BaseException | None], Any],
    response: Any,
    error: BaseException | None,
) -> Any:
    __traceback_hide__ = True
    try:
        response = complete(response, error)
    except BaseException as raised:  # noqa: BLE001 - it comes out again
        return coroutine.throw(raised)
    return _finish(coroutine, chain, response)


def _finish(coroutine: Any, chain: _Chain, response: Any) -> Any:
    chain.response = response
    if response.status_code >= 400:  # Django awaits its log, for which it needs the loop
        return Pending(partial(_Rest, coroutine), pass_on)
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise RuntimeError("get_response_async awaits something behind a response")
