"""Whether something can be served as an ASGI application, as far as that shows before it is called.

Single callables take ``(scope, receive, send)``. Double callables, those of ASGI 2, take the scope
and return what takes the rest. All that is often served by mistake takes something else.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Final

_EXPECTED: Final = "expected a callable of (scope, receive, send)"


def find_misfit(application: Any) -> str | None:
    """Return what is wrong with an object, as words to follow its name; None if it may be served.

    Nothing is called, and what cannot be known counts as right.
    """
    if inspect.ismodule(application):
        return "is a module; expected the application in it."
    if inspect.iscoroutine(application):
        application.close()  # nobody will await it now
        return "is a coroutine that nobody has awaited; expected what it returns."
    if not callable(application):
        return f"is no callable, but {_with_article(type(application).__name__)}; {_EXPECTED}."
    if inspect.isclass(application):
        calls = [vars(each)["__call__"] for each in application.__mro__ if "__call__" in vars(each)]
        if calls and _takes(application, 1) and _takes(calls[0], 3):
            return None
        return "is a class; expected an instance of it."
    if _takes(application, 3) or (_takes(application, 1) and not _is_async(application)):
        return None
    if _takes(application, 0):
        return "is a function without arguments; expected what it returns."
    if _takes(application, 2):
        return f"looks like a WSGI application: it takes two arguments; {_EXPECTED}."
    return f"cannot be called as an ASGI application; {_EXPECTED}."


def _takes(function: Callable[..., Any], count: int) -> bool:
    """Tell whether something can be called with so many arguments; true where it hides that."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return True
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True


def _is_async(application: Any) -> bool:
    call = getattr(application, "__call__", None)  # noqa: B004 - the method is looked at
    return inspect.iscoroutinefunction(application) or inspect.iscoroutinefunction(call)


def _with_article(noun: str) -> str:
    return f"an {noun}" if noun[:1].lower() in "aeiou" else f"a {noun}"
