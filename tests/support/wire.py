"""The two seams of a server in the hands of a test: a transport, and a clock."""

from __future__ import annotations

import heapq
import itertools
import os
from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from django_daphne.server.exceptions import ClientDisconnected
from django_daphne.server.protocols.flow_control import FlowControl
from django_daphne.server.transports import ConnectionProtocol
from django_daphne.server.types import Address

CLIENT = ("192.0.2.1", 40000)
HOST = ("192.0.2.9", 8000)


class ManualTimer:
    """A call at a later time of a `ManualClock`."""

    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        """Do not call."""
        self.cancelled = True


class ManualClock:
    """Time that passes only when it is told to."""

    def __init__(self, now: float = 1000.0) -> None:
        self._now = now
        self._count = itertools.count()
        self._timers: list[tuple[float, int, ManualTimer]] = []

    def now(self) -> float:
        """Return the time in seconds."""
        return self._now

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> ManualTimer:
        """Call at a later time, unless the timer is cancelled."""
        timer = ManualTimer(lambda: callback(*args))
        heapq.heappush(self._timers, (self._now + delay, next(self._count), timer))
        return timer

    @property
    def pending(self) -> int:
        """The number of calls still to come."""
        return sum(not timer.cancelled for _, _, timer in self._timers)

    def run_next(self, end: float) -> bool:
        """Go on to the next call, at most to the time ``end``; false when none is left till then.

        The call is made at its time.
        """
        while self._timers and self._timers[0][0] <= end:
            when, _, timer = heapq.heappop(self._timers)
            if not timer.cancelled:
                self._now = max(self._now, when)
                timer.callback()
                return True
        self._now = max(self._now, end)
        return False

    def jump(self, seconds: float) -> None:
        """Let time pass with nobody looking: what is due is late, and called by ``advance``."""
        self._now += seconds

    def advance(self, seconds: float) -> None:
        """Let time pass and make the calls that are due, in order."""
        end = self._now + seconds
        while self.run_next(end):
            pass


class MemoryTransport:
    """A transport whose other end is in the hands of a test.

    ``output`` is what the client has, ``unsent`` what waits while ``client_reads`` is false.
    """

    def __init__(
        self,
        call_soon: Callable[..., object],
        *,
        peer: Address = CLIENT,
        host: Address = HOST,
        is_tls: bool = False,
    ) -> None:
        self.peer = peer
        self.host = host
        self.is_tls = self.is_secure = is_tls
        self.alpn = None
        self.output = bytearray()
        self.unsent = bytearray()
        self.writes = 0
        self.client_reads = True
        self.reading = True
        self.write_closed = False
        self.closing = False
        self.aborted = False
        self.lost = False
        self._call_soon = call_soon
        self._arriving: deque[bytes | None] = deque()  # None is the end
        self._flow = FlowControl()
        self._high = 65536
        self._connection: ConnectionProtocol

    def connect(self, connection: ConnectionProtocol) -> None:
        """Begin."""
        self._connection = connection
        connection.makeConnection(self)

    # What the server says (Transport).

    @property
    def write_buffer_size(self) -> int:
        """Return what the client has not taken."""
        return len(self.unsent)

    def write(self, data: bytes) -> None:
        """Send, as far as the client reads. After write_eof it is an error, as on real ones."""
        assert not self.write_closed or self.lost, f"written after write_eof: {data[:80]!r}"
        if self.lost or self.closing or self.aborted:
            return
        assert isinstance(data, bytes)
        self.writes += 1
        (self.output if self.client_reads else self.unsent).extend(data)
        if len(self.unsent) > self._high and not self._flow.is_paused:
            self._flow.pause()
            self._connection.pause_sending()

    def tls_extension(self) -> dict[str, object]:
        """Return little; what there is to say are the real transports' affairs."""
        return {"tls_version": 0x0304}

    def set_write_buffer_limit(self, high: int) -> None:
        """Set the mark above which sending is paused."""
        self._high = high

    def pause_reading(self) -> None:
        """Leave what arrives where it is."""
        self.reading = False

    def resume_reading(self) -> None:
        """Take what has arrived, a turn later."""
        self.reading = True
        self._call_soon(self._deliver)

    def write_eof(self) -> None:
        """Close the write side."""
        if not self.is_tls:
            self.write_closed = True

    def close(self) -> None:
        """End when the client has taken everything."""
        self.closing = True
        if not self.unsent:
            self._call_soon(self.lose)

    def abort(self) -> None:
        """End at once."""
        if not self.lost:
            self.aborted = True
            self.unsent.clear()
            self._call_soon(self.lose)

    async def send_file(
        self, descriptor: int, offset: int, count: int, progress: Callable[[], object]
    ) -> None:
        """Send a part of a file, a small piece at a time."""
        end = offset + count
        while offset < end:
            await self._drained()
            data = os.pread(descriptor, min(1024, end - offset), offset)
            if not data:
                raise EOFError
            self.write(data)
            progress()
            offset += len(data)
        await self._drained()

    async def _drained(self) -> None:
        await self._flow.wait()
        if self.lost or self.aborted:
            raise ClientDisconnected("the connection ended")

    # What the client does.

    @property
    def unread(self) -> int:
        """The bytes that the server has not read."""
        return sum(len(data) for data in self._arriving if data is not None)

    def arrive(self, data: bytes | None) -> None:
        """Deliver data, or the end of it when it is None, as soon as the server reads."""
        self._arriving.append(data)
        self._deliver()

    def take(self, count: int | None = None) -> None:
        """Let the client read ``count`` bytes of what waits, or all."""
        count = len(self.unsent) if count is None else count
        self.output.extend(self.unsent[:count])
        del self.unsent[:count]
        if self._flow.is_paused and len(self.unsent) <= self._high // 4:
            self._flow.resume()
            self._connection.resume_sending()
        if self.closing and not self.unsent:
            self._call_soon(self.lose)

    def lose(self) -> None:
        """End the connection; also what a reset by the client does."""
        if not self.lost:
            self.lost = True
            self._flow.resume()
            self._connection.connectionLost(Failure(ConnectionDone()))

    def _deliver(self) -> None:
        while self._arriving and self.reading and not (self.lost or self.closing or self.aborted):
            data = self._arriving.popleft()
            if data is None:
                self._connection.readConnectionLost()
            else:
                self._connection.dataReceived(data)
