"""What leaves an HTTP/2 connection: in one write where it can be, and each stream in its turn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ..interfaces import ByteStream
from ..services import TurnEnd
from .http2_priority import Sender, SendQueue
from .wire import OPEN, Wire

# Bytes of answers to frames that wait for a client that does not read, before we do not either.
_MAX_ANSWERS: Final = 16384


class Output:
    """Keeps what is written until the end of a read, or of this turn of the loop (``TurnEnd``)."""

    def __init__(
        self,
        wire: Wire,
        transport: ByteStream,
        turn_end: TurnEnd,
        flushed: Callable[[], object],
    ) -> None:
        """Call ``flushed`` when all was sent that could be."""
        self.senders = SendQueue()
        self._wire = wire
        self._transport = transport
        self._turn_end = turn_end
        self._flushed = flushed
        self._flush_is_due = False
        self._answers = 0  # bytes written while the client does not read
        self.has_paused_reading = False

    def write(self, data: bytes) -> None:
        """Write a frame."""
        wire = self._wire
        if not wire.is_corked:
            self.flush_soon()
        wire.write(data)
        if wire.is_paused:
            self._answers += len(data)
            if self._answers > _MAX_ANSWERS and not self.has_paused_reading:
                self.has_paused_reading = True
                self._transport.pause_reading()

    def flush_soon(self) -> None:
        """Flush at the end of this turn."""
        self._wire.is_corked = True
        if not self._flush_is_due:
            self._flush_is_due = True
            self._turn_end.call(self.flush)

    def flush(self) -> None:
        """Send what may be sent now, in one write."""
        wire, senders = self._wire, self.senders
        self._flush_is_due = False
        if wire.state is OPEN:
            wire.is_corked = True
            while senders and not wire.is_paused:
                sender = senders.take()
                if sender.send_frame():
                    senders.add(sender)
            self._flushed()
        wire.uncork()

    @property
    def is_free(self) -> bool:
        """Return whether nobody waits to send, and the client reads."""
        return not (self.senders or self._wire.is_paused)

    def queue(self, sender: Sender) -> None:
        """Let a stream send when it is its turn."""
        self.senders.add(sender)
        if not (self._wire.is_corked or self._wire.is_paused):
            self.flush_soon()

    def pause(self) -> None:
        """Take note that the client does not read as fast as is written."""
        self._answers = 0
        self._wire.pause()

    def resume(self) -> None:
        """Take note that the client has read on."""
        if self.has_paused_reading:
            self.has_paused_reading = False
            self._transport.resume_reading()
