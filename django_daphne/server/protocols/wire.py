"""What every protocol needs of a transport: joined writes, watched progress, ways to end.

A connection ends in one of three ways. ``close`` sends what is left, however slowly the client
reads, as long as it reads. ``linger`` is for an answer to a request that was not read to its end:
closing with unread input would send a reset, and the client might lose what it was told (RFC 9112,
section 9.6); so the write side is closed first and input is thrown away, up to a limit and for a
time. ``abort`` is a reset: what was cut never looks whole.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable
from typing import Final

from ..config import ServerConfig
from ..interfaces import ByteStream
from .deadlines import Deadlines

# Bytes. What is as large is written by itself, for joining it to anything would copy it. No more
# is kept.
LARGE: Final = 65536
# Seconds.
_LONGEST_HOLD: Final = 0.0005


class WireState(enum.Enum):
    """What becomes of the bytes of a connection."""

    OPEN = enum.auto()
    LINGERING = enum.auto()
    CLOSED = enum.auto()


OPEN: Final = WireState.OPEN
LINGERING: Final = WireState.LINGERING
CLOSED: Final = WireState.CLOSED


class TurnEnd:
    """Writes what the connections of one server have kept, one after another.

    That is at the end of a turn of the loop, by one callback for all; or at the end of a batch,
    which are the applications that start in the same turn. A whole answer that is ready within a
    batch is kept, too: the kernel's part of many answers goes faster in one go, and their clients
    wake up once. The first of them waits for ``_LONGEST_HOLD``, and for the application that runs
    just then, but for no more.
    """

    def __init__(self, call_soon: Callable[..., object], now: Callable[[], float]) -> None:
        self._is_batch = False
        self._call_soon = call_soon
        self._now = now
        self._flushes: deque[Callable[[], object]] = deque()
        self._began = 0.0

    def call(self, flush: Callable[[], object]) -> None:
        """Call this at the end."""
        if not (self._flushes or self._is_batch):
            self._call_soon(self._flush)
        self._flushes.append(flush)

    def may_hold(self) -> bool:
        """Tell whether a whole answer is to be kept; in a batch that takes too long write first."""
        if not self._is_batch:
            return False
        now = self._now()
        if now - self._began <= _LONGEST_HOLD:
            return True
        self._began = now
        self._flush()
        return False

    def begin(self) -> None:
        """Begin a batch; its end has to follow."""
        self._began = self._now()
        self._is_batch = True

    def end(self) -> None:
        """End a batch."""
        self._is_batch = False
        self._flush()

    def _flush(self) -> None:
        flushes = self._flushes
        try:
            for _ in range(len(flushes)):
                flushes.popleft()()
        finally:
            if flushes:  # behind one that failed, or made by one
                self._call_soon(self._flush)


class Wire:
    """One transport, with its deadlines for a client that does not read or does not leave."""

    def __init__(
        self,
        transport: ByteStream,
        deadlines: Deadlines,
        config: ServerConfig,
        give_up: Callable[[], object],
    ) -> None:
        """Call ``give_up`` when the client takes nothing for write_timeout."""
        self.state = OPEN
        self.is_paused = False  # the client does not read as fast as is written
        self._transport = transport
        self._deadlines = deadlines
        self._write_timeout = config.timeouts.write_timeout
        self._linger_timeout = config.timeouts.linger_timeout
        self._max_discard = config.limits.max_discard_size
        self._give_up = give_up
        self.is_corked = False  # what is written is kept, so that it leaves in one write
        self._kept: list[bytes] = []
        self.kept_size = 0  # bytes
        self._discarded = 0
        self._backlog = 0

    def hand_over(self, give_up: Callable[[], object]) -> None:
        """Belong to another protocol from now on."""
        self._give_up = give_up

    # Writing.

    def write(self, data: bytes) -> None:
        """Send, or keep until ``uncork``."""
        if not self.is_corked:
            self._transport.write(data)
            return
        if len(data) >= LARGE:
            self.flush()
            self._transport.write(data)
            return
        self._kept.append(data)
        self.kept_size += len(data)
        if self.kept_size > LARGE:
            self.flush()

    def uncork(self) -> None:
        """Send what was kept."""
        self.is_corked = False
        kept = self._kept
        if not kept:
            return
        if len(kept) == 1:
            self.kept_size = 0
            self._transport.write(kept.pop())
        else:
            self.flush()

    def flush(self) -> None:
        """Send what was kept, and go on keeping."""
        data = b"".join(self._kept)
        self._kept.clear()
        self.kept_size = 0
        if data:
            self._transport.write(data)

    async def send_file(self, descriptor: int, offset: int, count: int) -> None:
        """Send a part of a file behind what was written; see ``ByteStream.send_file``."""
        self.flush()
        self.watch_progress()
        try:
            await self._transport.send_file(descriptor, offset, count, self.watch_progress)
        finally:
            if self.state is not CLOSED:
                self._deadlines.cancel("write")

    # A client that does not read.

    def pause(self) -> None:
        """Take note that the transport has enough."""
        self.is_paused = True
        self.watch_progress()

    def resume(self) -> None:
        """Take note that the transport takes more."""
        self.is_paused = False
        if self.state is not CLOSED:  # closing needs its deadline until the end
            self._deadlines.cancel("write")

    def watch_progress(self) -> None:
        """Give up when nothing is taken from now on, for write_timeout."""
        self._backlog = self._transport.write_buffer_size
        self._deadlines.start("write", self._write_timeout, self._check_progress)

    def _check_progress(self) -> None:
        if self._transport.write_buffer_size < self._backlog:
            self.watch_progress()
        else:
            self._give_up()

    # The end.

    def close(self) -> None:
        """Send what is left and close."""
        if self.state is CLOSED:
            return
        self.flush()
        self.state = CLOSED
        self._deadlines.cancel_all()
        self._transport.close()
        self.watch_progress()

    def linger(self) -> None:
        """Say that nothing more is sent, then throw away what the client sends until it leaves."""
        if self.state is not OPEN:
            return
        self.flush()
        self._deadlines.cancel_all()
        if self._transport.is_tls:
            self.close()  # there is no half-close
            return
        self.state = LINGERING
        self._transport.resume_reading()
        self._transport.write_eof()
        self._deadlines.start("linger", self._linger_timeout, self.close)

    def discard(self, size: int) -> None:
        """Take note of input that is thrown away while lingering."""
        self._discarded += size
        if self._discarded > self._max_discard:
            self.close()

    def abort(self) -> None:
        """Reset the connection."""
        self.state = CLOSED
        self._kept.clear()
        self._deadlines.cancel_all()
        self._transport.abort()

    def lost(self) -> None:
        """Take note that the connection has ended."""
        self.state = CLOSED
        self._kept.clear()
