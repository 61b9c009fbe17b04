"""Noticing that somebody has put a function of theirs in the place of another, as tools do."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from types import FunctionType
from typing import Any


class Methods:
    """Methods of a class as they were found; later they may be others, or have other code."""

    def __init__(self, cls: type, names: Mapping[str, Collection[str]]) -> None:
        """Look at methods, each by its name and with names that the class's own code must have."""
        self._now = vars(cls)
        self._found = [
            (name, self._now[name], getattr(self._now[name], "__code__", None)) for name in names
        ]
        self._names = names
        self._were_own = all(self.is_own(name, self._now[name]) for name in names)

    def __iter__(self) -> Iterator[Any]:
        """Yield what was found."""
        return (function for _, function, _ in self._found)

    def are_unchanged(self) -> bool:
        """Tell whether they are what was found."""
        for name, function, code in self._found:
            if self._now[name] is not function or getattr(function, "__code__", None) is not code:
                return False
        return True

    def are_own(self) -> bool:
        """Tell whether they are the class's own: they were when they were found, and still are."""
        return self._were_own and self.are_unchanged()

    def is_own(self, name: str, function: Any) -> bool:
        """Tell whether a function is what the class has under a name, wherever it is kept now."""
        changed = any(
            each is function and getattr(each, "__code__", None) is not code
            for _, each, code in self._found
        )
        return not changed and _is_plain(function, self._names[name])


def _is_plain(function: Any, names: Collection[str]) -> bool:
    """Tell whether a function is no wrapper, and its code what it was written as."""
    return (
        type(function) is FunctionType
        and not hasattr(function, "__wrapped__")
        and not function.__closure__
        and set(names) <= set(function.__code__.co_names)
    )
