"""Calls from threads into an event loop, many of them in one wake-up."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary, ref


class Outbox:
    """Where the threads of a process leave what a loop is to do."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = ref(loop)  # which is the key that this object is found by
        self._calls: deque[Callable[[], object]] = deque()
        self._is_due = False

    @property
    def is_closed(self) -> bool:
        """Tell whether the loop has ended; from any thread."""
        loop = self._loop()
        return loop is None or loop.is_closed()

    def belongs_to(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Tell whether this is the outbox of a loop."""
        return self._loop() is loop

    def post(self, call: Callable[[], object]) -> None:
        """Have the loop make a call soon; from any thread. After the loop's end nothing happens."""
        self._calls.append(call)
        if not self._is_due:
            self._is_due = True
            loop = self._loop()
            try:
                if loop is not None:
                    loop.call_soon_threadsafe(self._empty)
                    return
            except RuntimeError:
                pass
            self._is_due = False  # the loop is closed: nobody is there for whom it matters
            self._calls.clear()

    def _empty(self) -> None:
        # In this order: what is left behind the last look finds the flag down, and wakes the loop.
        self._is_due = False
        calls = self._calls
        while calls:
            calls.popleft()()


class Mailbox:
    """What one coroutine gets, in the order in which it was put there; all on the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._items: deque[Any] = deque()
        self._waiter: asyncio.Future[None] | None = None

    def put(self, item: Any) -> None:
        """Leave something for the coroutine."""
        self._items.append(item)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def get(self) -> Any:
        """Return the oldest, once there is any."""
        while not self._items:
            self._waiter = self._loop.create_future()
            await self._waiter
        return self._items.popleft()


_outboxes: WeakKeyDictionary[asyncio.AbstractEventLoop, Outbox] = WeakKeyDictionary()
_latest: list[Outbox] = []


def outbox(loop: asyncio.AbstractEventLoop) -> Outbox:
    """Return the outbox of a loop; on its thread."""
    if _latest and _latest[0].belongs_to(loop):  # as always in a server
        return _latest[0]
    found = _outboxes.get(loop)
    if found is None:
        found = _outboxes[loop] = Outbox(loop)
    _latest[:] = [found]
    return found
