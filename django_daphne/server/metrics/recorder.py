"""Counting, in the process that serves.

Everything here is called on the loop's thread, and so often that it does little: it adds to items
of a page, in places that are known from the beginning. What threads have to say is the exception,
and has a lock.
"""

from __future__ import annotations

import threading
import time
from asyncio import AbstractEventLoop, TimerHandle
from bisect import bisect_left
from typing import Final

from ..recording import TakeBytes
from ..resources import find_rss
from . import families, threads
from .families import FIRST_STATUS, LAYOUT, STATUSES, VERSIONS, Family
from .page import Page

# Seconds between two looks at what is not counted but measured.
INTERVAL: Final = 0.5


def _slot(family: Family) -> int:
    return LAYOUT.place(family).count


def _slots(family: Family) -> dict[str, int]:
    """Return the places of a family with one label."""
    return {values[0]: index for values, index in LAYOUT.slots(family)}


_REQUESTS: Final = {
    version: _slot(families.REQUESTS) + index * len(STATUSES)
    for index, version in enumerate(VERSIONS)
}
_OTHER_STATUS: Final = len(STATUSES) - 1
_FIRST_APPLICATION: Final = _slot(families.APPLICATION)
_APPLICATION_SUM: Final = LAYOUT.place(families.APPLICATION).second
_FIRST_SENDING: Final = _slot(families.SENDING)
_SENDING_SUM: Final = LAYOUT.place(families.SENDING).second
_SLOW: Final = families.SLOW
_FASTEST: Final = _SLOW[0]
_QUEUE: Final = LAYOUT.place(families.QUEUE)
_LAG: Final = LAYOUT.place(families.LAG)
_SPOKEN: Final = _slots(families.CONNECTIONS)
_ACCEPTED: Final = _slot(families.ACCEPTED)
_STREAMS: Final = _slot(families.STREAMS)
_WEBSOCKETS: Final = _slot(families.WEBSOCKETS)
_MESSAGES: Final = _slots(families.MESSAGES)
_MESSAGES_RECEIVED: Final = _MESSAGES["received"]
_MESSAGES_SENT: Final = _MESSAGES["sent"]
_RECEIVED: Final = _slot(families.RECEIVED)
_SENT: Final = _slot(families.SENT)
_RESETS: Final = _slots(families.RESETS)
_LIMITS: Final = _slots(families.LIMITS_HIT)
_THREADS: Final = _slot(families.THREADS)
_THREADS_BUSY: Final = _slot(families.THREADS_BUSY)
_MEMORY: Final = _slot(families.MEMORY)
_SILENCE: Final = LAYOUT.place(families.SILENCE).second
_CPU: Final = LAYOUT.place(families.CPU).second


class PageRecorder:
    """Writes the page of this process (``Recorder``)."""

    def __init__(self, page: Page) -> None:
        """Take a page that nobody else writes; it stays open."""
        self._counts = page.counts
        self._seconds = page.seconds
        self._lock = threading.Lock()
        self._timer: TimerHandle | None = None

    # Requests.

    def request(self, version: str, status: int, application: float, sending: float | None) -> None:
        """Count a request that has ended."""
        counts, seconds = self._counts, self._seconds
        index = status - FIRST_STATUS
        counts[_REQUESTS[version] + (index if 0 <= index < _OTHER_STATUS else _OTHER_STATUS)] += 1
        counts[_FIRST_APPLICATION + bisect_left(_SLOW, application)] += 1
        seconds[_APPLICATION_SUM] += application
        if sending is not None:
            # Most are in the first bucket.
            bucket = 0 if sending <= _FASTEST else bisect_left(_SLOW, sending)
            counts[_FIRST_SENDING + bucket] += 1
            seconds[_SENDING_SUM] += sending

    def thread_waited_for(self, wait: float) -> None:
        """Count a request that has a thread now; from any thread."""
        with self._lock:
            self._counts[_QUEUE.count + bisect_left(families.FAST, wait)] += 1
            self._seconds[_QUEUE.second] += wait

    # Connections.

    def connection_accepted(self) -> None:
        """Count a connection, whatever becomes of it."""
        self._counts[_ACCEPTED] += 1

    def connection_refused(self) -> None:
        """Count a connection that was reset, because there are as many as there may be."""
        self.connection_accepted()
        self.limit_hit("max_connections")
        self.reset("connection")

    def connection_spoken(self, before: str | None, after: str | None) -> None:
        """Take note of what is spoken, from the first to the last."""
        if before is not None:
            self._counts[_SPOKEN[before]] -= 1
        if after is not None:
            self._counts[_SPOKEN[after]] += 1

    def count_received(self, receive: TakeBytes) -> TakeBytes:
        """Return what counts bytes and hands them on."""
        counts = self._counts

        def count_and_receive(data: bytes) -> None:
            counts[_RECEIVED] += len(data)
            receive(data)

        return count_and_receive

    def count_sent(self, write: TakeBytes) -> TakeBytes:
        """Return what counts bytes and hands them on."""
        counts = self._counts

        def count_and_write(data: bytes) -> None:
            counts[_SENT] += len(data)
            write(data)

        return count_and_write

    def bytes_sent(self, count: int) -> None:
        """Count what nobody hands on, because the kernel sends it."""
        self._counts[_SENT] += count

    def streams_changed(self, change: int) -> None:
        """Take note of streams of HTTP/2 that begin or end."""
        self._counts[_STREAMS] += change

    def websockets_changed(self, change: int) -> None:
        """Take note of WebSockets that begin or end."""
        self._counts[_WEBSOCKETS] += change

    def message_received(self) -> None:
        """Count a message of a WebSocket's client."""
        self._counts[_MESSAGES_RECEIVED] += 1

    def message_sent(self) -> None:
        """Count a message to a WebSocket's client."""
        self._counts[_MESSAGES_SENT] += 1

    def reset(self, kind: str) -> None:
        """Count a reset, of one of the kinds of ``families.RESETS``."""
        self._counts[_RESETS[kind]] += 1

    def limit_hit(self, limit: str) -> None:
        """Count a limit, one of ``families.LIMITS``."""
        self._counts[_LIMITS[limit]] += 1

    # The process.

    def start(self, loop: AbstractEventLoop) -> None:
        """Measure twice a second from now on, on a loop."""
        threads.use(self.thread_waited_for)
        self._measure(loop, time.monotonic())

    def stop(self) -> None:
        """Measure no more: the loop is about to end."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._seconds[_SILENCE] = 0.0
            threads.use(None)

    def _measure(self, loop: AbstractEventLoop, due: float) -> None:
        now = time.monotonic()
        counts, seconds = self._counts, self._seconds
        if self._timer is not None:
            lag = max(now - due, 0.0)
            counts[_LAG.count + bisect_left(families.LAG.buckets, lag)] += 1
            seconds[_LAG.second] += lag
        seconds[_SILENCE] = now
        seconds[_CPU] = time.process_time()
        counts[_MEMORY] = find_rss() or 0
        counts[_THREADS], counts[_THREADS_BUSY] = threads.sample()
        self._timer = loop.call_later(INTERVAL, self._measure, loop, now + INTERVAL)
