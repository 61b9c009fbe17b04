"""Deadlines: named, cancellable, on an injected clock.

Theory of operation. Every connection has a few deadlines, set and cancelled on every request, and
nearly none of them ever comes. A timer for each would be the dearest part of a small request, so
there is one timer for all connections. ``DeadlineWheel`` keeps one bucket per tick; a connection
stands in at most one bucket, that of its earliest deadline at the time it was put there. Setting a
later deadline or cancelling one changes a dictionary and no bucket: when the bucket comes round the
connection looks at what it has, calls what is due and stands in line again for the rest.

A deadline is met at the first tick after its time, so up to ``RESOLUTION`` late and never early.
With nothing to wait for there is no timer and the process sleeps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from ..interfaces import Clock, TimerHandle

# Seconds. The shortest default of any timeout is 3 s; a quarter second is far below what matters.
RESOLUTION: Final = 0.25
# Stands for the bucket of an object that is being served and chooses its next one afterwards.
_EXPIRING: Final = -1

# A word, and where a connection has several of a kind, a number.
Name: TypeAlias = str | tuple[str, int]


class Deadlines:
    """The deadlines of one connection, by name."""

    __slots__ = ("_clock", "_due", "_tick", "_wheel")

    def __init__(self, wheel: DeadlineWheel) -> None:
        self._wheel = wheel
        self._clock = wheel.clock
        self._due: dict[Name, tuple[float, Callable[[], object]]] = {}
        self._tick: int | None = None  # the bucket it stands in

    def sibling(self) -> Deadlines:
        """Return the deadlines of something else on the same clock."""
        return Deadlines(self._wheel)

    def start(self, name: Name, seconds: float | None, callback: Callable[[], object]) -> None:
        """Call ``callback`` in ``seconds`` unless cancelled; None or below zero means never.

        A deadline of the same name is replaced.
        """
        if seconds is None or seconds < 0:
            self._due.pop(name, None)
            return
        when = self._clock.now() + seconds
        self._due[name] = (when, callback)
        self._stand_in_line(when)

    def cancel(self, name: Name) -> None:
        """Forget the deadline of this name, if there is one."""
        self._due.pop(name, None)

    def cancel_all(self) -> None:
        """Forget every deadline and leave the wheel: the connection has ended."""
        self._due.clear()
        if self._tick is not None:
            self._wheel.remove(self, self._tick)
            self._tick = None

    def names(self) -> set[Name]:
        """Return the names of the deadlines that are running."""
        return set(self._due)

    def expire(self, now: float) -> None:
        """Call what is due; for the wheel, which has taken this object out of its bucket."""
        self._tick = _EXPIRING
        for name, (when, callback) in list(self._due.items()):
            # An earlier callback may have cancelled or moved this one.
            if when <= now and self._due.get(name) == (when, callback):
                del self._due[name]
                callback()
        if self._tick == _EXPIRING:
            self._tick = None
        if self._due:
            self._stand_in_line(min(when for when, _ in self._due.values()))

    def _stand_in_line(self, when: float) -> None:
        """See that the wheel comes round in time."""
        tick = int(when / RESOLUTION) + 1
        if self._tick is None or tick < self._tick:
            self._tick = self._wheel.move(self, self._tick, tick)


class DeadlineWheel:
    """The one timer behind the deadlines of all connections of a server."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._buckets: dict[int, set[Deadlines]] = {}
        self._timer: TimerHandle | None = None
        self._timer_tick = 0

    def move(self, deadlines: Deadlines, old: int | None, new: int) -> int:
        """Put ``deadlines`` into the bucket ``new``, out of ``old``; return ``new``."""
        if old is not None:
            self.remove(deadlines, old)
        bucket = self._buckets.get(new)
        if bucket is None:
            bucket = self._buckets[new] = set()
            self._arm(new)
        bucket.add(deadlines)
        return new

    def remove(self, deadlines: Deadlines, tick: int) -> None:
        """Take ``deadlines`` out of its bucket."""
        bucket = self._buckets.get(tick)
        if bucket is not None:
            bucket.discard(deadlines)
            if not bucket:
                del self._buckets[tick]

    def close(self) -> None:
        """Drop every deadline and the timer."""
        self._buckets.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, tick: int) -> None:
        """See that the timer comes no later than ``tick``."""
        if self._timer is not None:
            if self._timer_tick <= tick:
                return
            self._timer.cancel()
        self._timer_tick = tick
        delay = max(tick * RESOLUTION - self.clock.now(), 0.0)
        self._timer = self.clock.call_later(delay, self._turn)

    def _turn(self) -> None:
        """Serve every bucket whose time has come, then wait for the next one."""
        self._timer = None
        now = self.clock.now()
        for tick in sorted(tick for tick in self._buckets if tick * RESOLUTION <= now):
            for deadlines in self._buckets.pop(tick, ()):
                deadlines.expire(now)
        if self._buckets:
            self._arm(min(self._buckets))
