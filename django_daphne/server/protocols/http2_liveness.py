"""The deadlines of an HTTP/2 connection that concern none of its streams.

While there are streams a client that is silent is asked by PING; without them the connection ends
after keep_alive_timeout, but its first request has header_timeout in any case.
"""

from __future__ import annotations

from typing import Final, Protocol

from ..config import ServerConfig
from ..interfaces import Clock
from .deadlines import Deadlines
from .http2_interfaces import Engine
from .http2_output import Output
from .liveness import Heartbeat, Idleness

_PING: Final = b"liveness"


class LivenessOwner(Protocol):
    """The connection."""

    engine: Engine
    output: Output

    @property
    def is_idle(self) -> bool:
        """Return whether nothing is being served."""

    def refuse_streams(self) -> None:
        """Close behind the last stream."""

    def ping_timed_out(self) -> None:
        """Reset the connection."""

    def head_timed_out(self) -> None:
        """Give up waiting for the preface, or for the rest of a block of fields."""


class Liveness:
    """What is known of the client as a whole (``PingOwner``, ``IdleOwner``)."""

    def __init__(
        self, owner: LivenessOwner, clock: Clock, deadlines: Deadlines, config: ServerConfig
    ) -> None:
        self._owner = owner
        self._now = clock.now
        self._deadlines = deadlines
        self._header_timeout = config.timeouts.header_timeout
        limits = config.http2
        self._heartbeat = Heartbeat(
            *(self, clock.now, deadlines),
            *(limits.http2_ping_interval, limits.http2_ping_timeout),
        )
        self._idleness = Idleness(
            *(self, clock.now, deadlines, config.timeouts.keep_alive_timeout),
            least=self._header_timeout or 0.0,
        )
        self._idle_is_noted = False
        self._head_is_expected = False
        self._heads = 0
        self.expect_head(True, 0)

    def heard(self) -> None:
        """Take note that the client said something."""
        self._heartbeat.heard = self._now()

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
        self._idle_is_noted = False
        self._idleness.least = 0.0

    def idle(self) -> None:
        """Take note that there are no streams; whatever else a client says is no use of it."""
        if not self._idle_is_noted:
            self._idle_is_noted = True
            self._idleness.begin()

    @property
    def is_idle(self) -> bool:
        """Return whether nothing is being served."""
        return self._owner.is_idle

    def idle_timed_out(self) -> None:
        """Close behind a stream that may be on its way."""
        self._owner.refuse_streams()

    @property
    def wants_pings(self) -> bool:
        """Return whether anything is being served."""
        return not self._owner.is_idle

    @property
    def is_deaf(self) -> bool:
        """Return whether reading is paused."""
        return self._owner.output.has_paused_reading

    def ping(self) -> None:
        """Send a PING."""
        self._owner.engine.ping(_PING)

    def ping_timed_out(self) -> None:
        """Reset the connection."""
        self._owner.ping_timed_out()
