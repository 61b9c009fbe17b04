"""Numbered events to all who listen, the next one when each of them has been sent this one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator

# Fixed sizes: "id: 00000017\ndata: 00000123456789012345 xxx\n\n" has EVENT_SIZE bytes.
EVENT_SIZE = 100
# What a stream begins with, so that its client knows that it is open: a comment.
GREETING = b": open\n\n"


def make_event(number: int, nanoseconds: int) -> bytes:
    """Return the event of this number, published at this time of the monotonic clock."""
    head = b"id: %08d\ndata: %020d " % (number, nanoseconds)
    return head.ljust(EVENT_SIZE - 2, b"x") + b"\n\n"


class _Tick:
    """An event that is to come, and the tick after it; the event of the last one is empty."""

    def __init__(self) -> None:
        self.event = b""
        self.following: _Tick | None = None
        self.published = asyncio.Event()


class Broadcast:
    """A publisher, and the streams of those who listen."""

    def __init__(self) -> None:
        """Have no streams yet, and publish nothing before `begin`."""
        self._tick = _Tick()
        self._open = self._unsent = 0
        self._sent = asyncio.Event()
        self._is_over = False
        self._task: asyncio.Task[int] | None = None

    async def stream(self) -> AsyncGenerator[bytes]:
        """Yield a greeting, then every event until the end.

        Who asks for the next piece says that the one before has been sent.
        """
        tick = self._tick
        self._open += 1
        owes = False
        try:
            yield GREETING
            while True:
                await tick.published.wait()
                owes = True
                if not tick.event or tick.following is None:
                    return
                yield tick.event
                tick, owes = tick.following, False
                self._count_sent()
        finally:
            self._open -= 1
            if owes:
                self._count_sent()

    def begin(self) -> int:
        """Start to publish, and return how many streams are open."""
        self._is_over = False
        self._task = asyncio.create_task(self._publish())
        return self._open

    async def end(self) -> int:
        """End all streams, and return how many events each of them was sent."""
        self._is_over = True
        task, self._task = self._task, None
        return await task if task else 0

    async def _publish(self) -> int:
        """Publish until the end; return how many events were."""
        number = 0
        while not self._is_over and self._open:
            await self._tell(make_event(number, time.monotonic_ns()))
            number += 1
        await self._tell(b"")
        return number

    async def _tell(self, event: bytes) -> None:
        """Publish one event, and return when all streams have sent it."""
        tick, self._tick = self._tick, _Tick()
        tick.event, tick.following = event, self._tick
        self._unsent = self._open
        self._sent.clear()
        tick.published.set()
        if self._unsent:
            await self._sent.wait()

    def _count_sent(self) -> None:
        self._unsent -= 1
        if not self._unsent:
            self._sent.set()
