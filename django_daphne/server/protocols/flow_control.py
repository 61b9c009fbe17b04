"""Waiting for a transport that has taken enough."""

from __future__ import annotations

import asyncio


class FlowControl:
    """Says whether more may be written, and waits until it may. Costs nothing until one waits."""

    __slots__ = ("_changed", "is_paused")

    def __init__(self) -> None:
        self.is_paused = False
        self._changed: asyncio.Event | None = None

    def pause(self) -> None:
        """Make ``wait`` wait."""
        self.is_paused = True

    def resume(self) -> None:
        """Let everybody who waits go on; also when the connection has ended."""
        self.is_paused = False
        if self._changed is not None:
            self._changed.set()

    async def wait(self) -> None:
        """Return when more may be written."""
        while self.is_paused:
            if self._changed is None:
                self._changed = asyncio.Event()
            self._changed.clear()
            await self._changed.wait()
