"""Threads for Channels' synchronous consumers.

Without anything around them all synchronous consumers of a process share one thread, and one that
waits stops the others. Here each connection has a lane for its whole life: its messages stay in
order and in one thread, and other lanes go on meanwhile. Connections outnumber lanes, so several
share one.
"""

from __future__ import annotations

import atexit
from typing import Any

from . import make_pool
from .lease import BorrowingExecutor, sensitive_to


class ConsumerLanes:
    """An ASGI application around another, with a lane for each of its WebSockets."""

    def __init__(self, application: Any, threads: int, idle_timeout: float | None) -> None:
        """Wrap an application; threads are started when they are needed."""
        self._application = application
        pool = make_pool(0, threads, idle_timeout)  # all of them leased
        patience = 60.0 if idle_timeout is None else idle_timeout
        self._lanes = [BorrowingExecutor(pool, patience, yields=False) for _ in range(threads)]
        self._connections = dict.fromkeys(self._lanes, 0)
        # Before the pool, which was made earlier, waits for its threads.
        atexit.register(self.close)

    def close(self) -> None:
        """Give the lanes back when their work is done, and keep none from now on."""
        atexit.unregister(self.close)
        for lane in self._lanes:
            lane.close()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Call the application."""
        if scope["type"] == "websocket":
            await self._call(scope, receive, send)
        else:
            await self._application(scope, receive, send)

    async def _call(self, scope: Any, receive: Any, send: Any) -> None:
        lane = min(self._lanes, key=self._connections.__getitem__)
        self._connections[lane] += 1
        try:
            with sensitive_to(lane):
                await self._application(scope, receive, send)
        finally:
            self._connections[lane] -= 1
