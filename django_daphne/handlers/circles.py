"""What a request leaves behind, freed at once and not when the garbage collector comes round.

Django's request and what its middleware puts there refer to each other: the user that is to be
found out, the messages. So nothing of a request that is over would be freed before the collector
has found it, and until then the next ones would get memory that is in no cache of the processor:
a tenth of the time of a small request (docs/topics/performance.md).

A circle is cut only where nobody else has anything of it. All references are counted, and if there
is one more than those that are found here, of a thread, a task, a list or a traceback, or a weak
one, as tools have them, nothing is touched: then it is the collector's, as ever.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from types import FunctionType
from typing import Any, Final
from weakref import getweakrefcount

from django.utils.functional import SimpleLazyObject

# What refers back, of Django's own middleware and of what many have beside it.
_NAMES: Final = ("user", "auser", "_messages", "htmx")

# Whose objects among these have an attribute ``request``, and no more behind it.
_PACKAGES: Final = ("django.contrib.messages.", "django_htmx.")

_CALLED_LATER: Final = frozenset((SimpleLazyObject, FunctionType, partial))

# Past the methods of lazy objects, which would find out what they stand for.
_get_attribute: Final = object.__getattribute__

# Not every Python counts; and without the one lock a count may be old.
_CAN_COUNT: Final = hasattr(sys, "getrefcount") and getattr(sys, "_is_gil_enabled", lambda: True)()
_count: Final[Callable[[object], int]] = getattr(sys, "getrefcount", lambda thing: 0)


def cut_circles(request: Any) -> None:
    """Free a request that is over, and what refers back to it, unless anybody else has any of it.

    The caller has it in one local variable, and wants nothing of it any more.
    """
    if not _CAN_COUNT or getweakrefcount(request):
        return
    attributes = vars(request)
    things: list[Any] = [request]
    names: list[str] = []
    references = 0
    for name in _NAMES:
        if name in attributes:
            before = len(things)
            count = _find(attributes[name], request, things)
            if count:
                names.append(name)
                references += count
            else:
                del things[before:]
    if names and _count_all(things) == [_OURS + references] + [_OWNED_ONCE] * (len(things) - 1):
        for name in names:
            del attributes[name]


def _find(value: Any, request: Any, things: list[Any]) -> int:
    """Return how many references to a request something has, and note what leads to them.

    What is looked into are functions, partial ones too, by themselves or in a lazy object, and what
    is known to have a request: Django's messages, which several storages have, and htmx's details.
    Nothing else is asked for anything: it might ask a database.
    """
    things.append(value)
    if type(value) is SimpleLazyObject:
        value = _get_attribute(value, "__dict__").get("_setupfunc")
        things.append(value)
    kind, count = type(value), 0
    if kind is FunctionType:
        for cell in value.__closure__ or ():
            if _is_in(cell, request):
                things.append(cell)
                count += 1
    elif kind is partial:
        for argument in value.args:
            if argument is request:
                count += 1
            elif type(argument) in _CALLED_LATER:
                count += _find(argument, request, things)
    elif kind.__module__.startswith(_PACKAGES):
        count = value.request is request
        for storage in getattr(value, "storages", ()):
            count += storage.request is request
    return count


def _is_in(cell: Any, request: Any) -> bool:
    try:
        return cell.cell_contents is request
    except ValueError:  # it is empty
        return False


def _count_all(things: list[Any]) -> list[int]:
    """Return how many references there are to each of some things, this call's among them."""
    return [_count(thing) for thing in things]


def _count_ours() -> int:
    """Return the count for a request that nobody has but the caller of ``cut_circles``."""

    def called(request: Any) -> int:
        return _count_all([request])[0]

    request = object()
    return called(request)


def _count_owned_once() -> int:
    """Return the count for what only one other thing has."""
    owner = {"its": object()}
    return _count_all([owner["its"]])[0]


# These are other numbers in other versions of Python.
_OURS: Final = _count_ours()
_OWNED_ONCE: Final = _count_owned_once()
