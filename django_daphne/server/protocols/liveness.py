"""Whether a client is still there, and whether it still wants something.

One deadline of each kind runs on, whatever comes in between; it looks at the clock when it comes.
So what happens often, a read or the end of a response, costs a note of the time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from .deadlines import Deadlines

# Seconds that a client has for one more request when the server stops; and since its last one was
# answered, within which another may be on its way.
_LAST_REQUEST_TIMEOUT: Final = 0.5
_RECENT: Final = 1.0


class PingOwner(Protocol):
    """Who speaks with the client."""

    @property
    def wants_pings(self) -> bool:
        """Return whether it matters at the moment that the client is there."""

    @property
    def is_deaf(self) -> bool:
        """Return whether nothing can be heard of the client, because nothing is read."""

    def ping(self) -> None:
        """Ask the client for a sign of life."""

    def ping_timed_out(self) -> None:
        """Give up a client that gave none."""


class Heartbeat:
    """Asks a client that has been silent, and gives up one that stays so.

    ``heard`` is when it said something: its owner takes note. Times are in seconds.
    """

    __slots__ = ("_deadlines", "_interval", "_now", "_owner", "_pinged", "_timeout", "heard")

    def __init__(
        self,
        owner: PingOwner,
        now: Callable[[], float],
        deadlines: Deadlines,
        interval: float | None,
        timeout: float | None,
    ) -> None:
        """Ask after ``interval`` of silence and wait for ``timeout``; None is never."""
        self._owner = owner
        self._now = now
        self._deadlines = deadlines
        self._interval = interval
        self._timeout = timeout
        self.heard = self._pinged = now()
        deadlines.start("ping", interval, self._is_due)

    def _is_due(self) -> None:
        """Ask a client that has been silent for so long; look again later at another."""
        interval = self._interval
        if interval is None:
            return
        now = self._now()
        silence = now - self.heard
        if silence < interval:
            self._deadlines.start("ping", interval - silence, self._is_due)
            return
        self._deadlines.start("ping", interval, self._is_due)
        if self._owner.wants_pings:
            self._owner.ping()
            if self.heard >= self._pinged:  # it is the first one without an answer
                self._pinged = now
                self._deadlines.start("pong", self._timeout, self._timed_out)

    def _timed_out(self) -> None:
        """Give up a client that said nothing since it was asked, unless nobody listened."""
        if self.heard < self._pinged and not self._owner.is_deaf:
            self._owner.ping_timed_out()


class IdleOwner(Protocol):
    """Who serves the client."""

    @property
    def is_idle(self) -> bool:
        """Return whether nothing is asked for at the moment."""

    def idle_timed_out(self) -> None:
        """End a connection that nothing was asked for on for so long."""


class Idleness:
    """Ends a connection on which nothing is asked for any more. Times are in seconds."""

    __slots__ = ("_deadlines", "_is_timed", "_now", "_owner", "_since", "_timeout", "least")

    def __init__(
        self,
        owner: IdleOwner,
        now: Callable[[], float],
        deadlines: Deadlines,
        timeout: float | None,
        least: float = 0.0,
    ) -> None:
        """End it after ``timeout``, None is never; ``least`` is how long it has in any case."""
        self._owner = owner
        self._now = now
        self._deadlines = deadlines
        self._timeout = timeout
        self.least = least
        self._since = 0.0
        self._is_timed = False

    def begin(self) -> None:
        """Take note that nothing is asked for from now on."""
        self._since = self._now()
        if not self._is_timed:
            self._is_timed = True
            self._deadlines.start("keep-alive", self._timeout, self._timed_out)

    def end(self, is_new: bool) -> bool:
        """End the connection in a moment, if a request may be on its way; tell whether.

        One is, where ``is_new`` says that there was none yet, or the last one was answered just
        now. The answer to it can say that the connection ends.
        """
        if not is_new and self._now() - self._since >= _RECENT:
            return False
        self._deadlines.start("last", _LAST_REQUEST_TIMEOUT, self._owner.idle_timed_out)
        return True

    def _timed_out(self) -> None:
        """End a connection that has been idle for so long; look again later at another."""
        if self._timeout is None:
            return
        left = max(self._timeout, self.least)
        if self._owner.is_idle:
            left -= self._now() - self._since
        if left > 0:
            self._deadlines.start("keep-alive", left, self._timed_out)
        else:
            self._owner.idle_timed_out()
