"""What the connections of a server share, as their protocols see it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from .types import Header


class Admission(Protocol):
    """The number of requests that may run at the same time."""

    def enter(self) -> bool:
        """Count a request that begins; false when there is no room for it."""

    def leave(self) -> None:
        """Count one that has ended, after an ``enter`` that was true."""


class DefaultHeaders(Protocol):
    """The fields that every response has; lines are bytes with their CRLF."""

    @property
    def server(self) -> bytes: ...

    def date(self) -> bytes: ...

    def block(self) -> bytes:
        """Return Date and Server, made once a second."""

    def fields(self) -> Sequence[Header]:
        """Return the same with names in lower case, for HTTP/2."""


class TurnEnd(Protocol):
    """The end of a turn of the loop, or of the batch of applications that start in it."""

    def call(self, flush: Callable[[], object]) -> None:
        """Call this at the end: it writes what was kept until then."""

    def may_hold(self) -> bool:
        """Tell whether a whole answer is to be kept; in a batch that takes too long write first."""

    def begin(self) -> None:
        """Begin a batch; its end has to follow."""

    def end(self) -> None:
        """End a batch."""
