"""Whether the client of an HTTP/2 connection is still there, and still wants something.

While there are streams a client that is silent is asked by PING; without them the connection ends
after keep_alive_timeout. One deadline of each kind runs on, whatever comes in between; it looks at
the clock when it comes.
"""

from __future__ import annotations

from typing import Final, Protocol

from ..config import ServerConfig
from ..interfaces import Clock
from .deadlines import Deadlines
from .http2_interfaces import Engine
from .http2_output import Output

_PING: Final = b"liveness"


class LivenessOwner(Protocol):
    """The connection."""

    engine: Engine
    output: Output

    @property
    def has_streams(self) -> bool:
        """Return whether anything is being served."""

    def head_timed_out(self) -> None:
        """Give up waiting for the preface, or for the rest of a block of fields."""

    def refuse_streams(self) -> None:
        """Close behind the last stream."""

    def give_up(self) -> None:
        """Reset the connection."""


class Liveness:
    """The deadlines of a connection that concern none of its streams."""

    def __init__(
        self, owner: LivenessOwner, clock: Clock, deadlines: Deadlines, config: ServerConfig
    ) -> None:
        self._owner = owner
        self._now = clock.now
        self._deadlines = deadlines
        self._header_timeout = config.timeouts.header_timeout
        self._keep_alive = config.timeouts.keep_alive_timeout
        self._interval = config.http2.http2_ping_interval
        self._timeout = config.http2.http2_ping_timeout
        self._idle_since = self._heard = self._pinged = self._now()
        self._is_idle = self._had_streams = False
        self._idleness_is_timed = False
        self._head_is_expected = False
        self._heads = 0
        self.expect_head(True, 0)
        deadlines.start("ping", self._interval, self._ping_is_due)

    def heard(self) -> None:
        """Take note that the client said something."""
        self._heard = self._now()

    def expect_head(self, expected: bool, heads: int) -> None:
        """Wait for what the client began to say of itself or of a request, or no longer.

        ``heads`` is another number when it has come to the end of one and began another.
        """
        if expected is not self._head_is_expected or (expected and heads != self._heads):
            self._head_is_expected, self._heads = expected, heads
            timeout = self._header_timeout if expected else None
            self._deadlines.start("head", timeout, self._owner.head_timed_out)

    def busy(self) -> None:
        """Take note that a stream began."""
        self._is_idle = False
        self._had_streams = True

    def idle(self) -> None:
        """Take note that there are no streams; whatever else a client says is no use of it."""
        if self._is_idle:
            return
        self._is_idle = True
        self._idle_since = self._now()
        if not self._idleness_is_timed:
            self._idleness_is_timed = True
            self._deadlines.start("keep-alive", self._keep_alive, self._keep_alive_timed_out)

    def _keep_alive_timed_out(self) -> None:
        """Close a connection that has been idle for so long; look again later at another."""
        if self._keep_alive is None:
            return
        left = self._keep_alive
        if not self._had_streams and self._header_timeout is not None:
            left = max(left, self._header_timeout)  # it has still to ask for something
        if not self._owner.has_streams:
            left -= self._now() - self._idle_since
        if left > 0:
            self._deadlines.start("keep-alive", left, self._keep_alive_timed_out)
        else:
            self._owner.refuse_streams()

    def _ping_is_due(self) -> None:
        """Send a PING to a client that has been silent for so long while it is being served."""
        if self._interval is None:
            return
        now = self._now()
        silence = now - self._heard
        if silence < self._interval or not self._owner.has_streams:
            left = self._interval - silence if silence < self._interval else self._interval
            self._deadlines.start("ping", left, self._ping_is_due)
            return
        self._owner.engine.ping(_PING)
        self._deadlines.start("ping", self._interval, self._ping_is_due)
        if self._heard >= self._pinged:  # it is the first one without an answer
            self._pinged = now
            self._deadlines.start("pong", self._timeout, self._pong_timed_out)

    def _pong_timed_out(self) -> None:
        """Give up a client that said nothing since it was asked, unless nobody listened."""
        if self._heard < self._pinged and not self._owner.output.has_paused_reading:
            self._owner.give_up()
