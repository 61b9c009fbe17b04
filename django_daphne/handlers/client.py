"""Noticing that the client of a request has left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any


class ClientWatch:
    """Calls ``on_leave`` when the client leaves, until it is told to stop."""

    def __init__(self, receive: Any, on_leave: Callable[[], None]) -> None:
        """Watch a client whose request is complete.

        The server of this package tells of it (``ApplicationCycle.call_on_disconnect``). Any other
        has to be asked, by a task that waits in ``receive()``.
        """
        self._on_leave: Callable[[], None] | None = on_leave
        self._listener: asyncio.Task[None] | None = None
        self._server = server = getattr(receive, "__self__", None)
        self._tell: Callable[..., None] | None = getattr(server, "call_on_disconnect", None)
        if self._tell is not None:
            self._tell(self._left)
        else:
            self._listener = asyncio.get_running_loop().create_task(self._listen(receive))

    async def _listen(self, receive: Any) -> None:
        message = await receive()
        if message["type"] != "http.disconnect":
            raise AssertionError(f"Invalid ASGI message after request body: {message['type']}")
        self._left()

    def afterwork(self, send: Any) -> Any:
        """Return what a lane may go on with behind its answer; None where the task is to wait.

        Only the server of this package has it. Where ``send`` is not the server's own, somebody
        looks at the request as a whole, as tools do, and would miss its end.
        """
        is_own = getattr(send, "__self__", None) is self._server
        return getattr(self._server, "afterwork", None) if is_own else None

    def _left(self) -> None:
        if self._on_leave is not None:
            self._on_leave()

    @property
    def is_asking(self) -> bool:
        """Tell whether this is a server that has to be asked."""
        return self._listener is not None

    async def look(self) -> None:
        """Notice a client that had left before the view was called; raise what else it says."""
        await asyncio.sleep(0)
        if self._listener is not None and self._listener.done():
            self._listener.result()

    def stop(self) -> None:
        """Let the client go: it has its answer."""
        self._on_leave = None  # which leads back to us
        if self._listener is not None:
            self._listener.cancel()
        if self._tell is not None:
            self._tell(None)
