"""A place for a worker, and who stands in for it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from ..bound_socket import BoundSocket
from .child import Child

# Seconds before a worker is started again that could not start: doubled each time.
_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 30.0


@dataclass
class Slot:
    """The worker that serves, the one that is to take its place, and those that finish."""

    number: int
    serving: Child | None = None
    starting: Child | None = None
    leaving: list[Child] = field(default_factory=list)
    failures: int = 0
    retry_at: float = 0.0
    vacancy: str | None = None  # why the last worker is gone
    lent_to: set[Child] = field(default_factory=set)

    def children(self) -> list[Child]:
        """Return all that live, or have not been seen to end."""
        return [each for each in (self.serving, self.starting, *self.leaving) if each is not None]

    def current(self) -> list[Child]:
        """Return those that serve, or will."""
        return [each for each in (self.serving, self.starting) if each is not None]

    def pause(self) -> float:
        """Start none for a while, of which the seconds are returned: the last could not start."""
        # Their doubling ends long before the numbers do.
        factor: int = 2 ** min(self.failures, 16)
        seconds = min(_FIRST_PAUSE * factor, _LONGEST_PAUSE)
        self.failures += 1
        self.retry_at = monotonic() + seconds
        return seconds

    def lend(self, sockets: Sequence[BoundSocket], others: Iterable[Child | None]) -> None:
        """Let these accept on the slot's sockets, too, as long as it has no worker that does."""
        if self.serving is not None and not self.serving.is_silent:
            for child in self.lent_to:
                child.leave(self.number)
            self.lent_to.clear()
            return
        for other in others if sockets else ():
            is_able = other is not None and not other.is_silent and other not in self.lent_to
            if other is not None and is_able and other.take(self.number, sockets):
                self.lent_to.add(other)
