"""Noticing that the client of a request has left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

# Seconds until the client of a view is watched: most answers are there before.
_PATIENCE: Final = 0.05
# There a client that left is noticed without being asked for.
_OUR_SERVER: Final = "django_daphne.server."


class ClientWatch:
    """Calls ``on_leave`` when the client leaves, until it is told to stop."""

    def __init__(self, receive: Any, on_leave: Callable[[], None]) -> None:
        """Watch a client whose request is complete."""
        self._loop = asyncio.get_running_loop()
        self._on_leave = on_leave
        self._timer: asyncio.TimerHandle | None = None
        self._listener: asyncio.Task[None] | None = None
        if type(getattr(receive, "__self__", None)).__module__.startswith(_OUR_SERVER):
            self._timer = self._loop.call_later(_PATIENCE, self._begin, receive)
        else:
            self._begin(receive)  # what it has to say may wait there already

    def _begin(self, receive: Any) -> None:
        self._listener = self._loop.create_task(self._listen(receive))

    async def _listen(self, receive: Any) -> None:
        message = await receive()
        if message["type"] != "http.disconnect":
            raise AssertionError(f"Invalid ASGI message after request body: {message['type']}")
        self._on_leave()

    @property
    def is_watching(self) -> bool:
        """Tell whether it has begun, as it does at once under servers that have to be asked."""
        return self._listener is not None

    async def look(self) -> None:
        """Notice a client that had left before the view was called; raise what else it says."""
        await asyncio.sleep(0)
        if self._listener is not None and self._listener.done():
            self._listener.result()

    def stop(self) -> None:
        """Let the client go: it has its answer."""
        if self._timer is not None:
            self._timer.cancel()
        if self._listener is not None:
            self._listener.cancel()
