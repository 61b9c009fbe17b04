"""What a request's lane waits for: an async view, or all that the event loop is asked for."""

from __future__ import annotations

import asyncio
import sys
from contextvars import Context
from typing import Any, Final

from asgiref.sync import _restore_context

from .lease import Lease, current_lease, sensitive
from .outbox import Outbox
from .views import Pending

# A view that does not wait for anything has its outcome at once.
_AT_ONCE: Final[dict[str, Any]] = {"eager_start": True} if sys.version_info >= (3, 12) else {}


class Awaited:
    """Something pending, from the moment that a lane hands it over until it has an outcome.

    It runs in a task of its own, in the request's context, which the lane has left for as long.
    """

    def __init__(
        self, pending: Pending, context: Context, outbox: Outbox, nested: list[asyncio.Task[Any]]
    ) -> None:
        """Prepare the request's context; in it, in the lane."""
        self._pending: Pending | None = pending
        self._context = context
        self._lease = Lease(outbox, nested)
        self._is_wanted = True
        self._task: asyncio.Task[None] | None = None
        # Without an outcome: the client left before it had begun, or the loop has ended.
        self._outcome: tuple[Any, BaseException | None] = (None, asyncio.CancelledError())
        current_lease.set(self._lease)
        sensitive.set(self._lease.context)

    # In the lane.

    def wait(self) -> bool:
        """Serve the loop until there is an outcome; false when the loop has ended before."""
        return self._lease.serve()

    @property
    def error(self) -> BaseException | None:
        """Return the error that was the outcome."""
        return self._outcome[1]

    def complete(self) -> Any:
        """Return the response that the outcome leads to; nothing of the request is kept."""
        pending, self._pending = self._pending, None
        assert pending is not None
        return pending.complete(*self._outcome)

    # On the loop.

    def begin(self, loop: asyncio.AbstractEventLoop, is_watched: bool) -> None:
        """Start the task; as the loop does, if somebody watches for new tasks."""
        if not self._is_wanted:
            return
        self._is_wanted = False
        self._lease.open()
        if is_watched:
            task = loop.create_task(self._call(), context=self._context)
        else:
            task = asyncio.Task(self._call(), loop=loop, context=self._context, **_AT_ONCE)
        self._task = task
        if task.done():
            self._end()
        else:  # later: until then the context is the task's
            task.add_done_callback(self._end)

    async def _call(self) -> None:
        _restore_context(self._context)  # asgiref's own values belong to this thread now
        pending = self._pending
        assert pending is not None
        try:
            self._outcome = (await pending.call(), None)
        except BaseException as error:  # noqa: BLE001 - handed on
            self._outcome = (None, error)

    def _end(self, _task: object = None) -> None:
        self._task = None
        self._lease.close()
        self._lease.end()

    def cancel(self) -> None:
        """Cancel the task, whose view may have something to put in order, or never begin it."""
        if self._task is not None:
            self._task.cancel()
        elif self._is_wanted:
            self._is_wanted = False
            self._end()

    async def ended(self) -> None:
        """Wait for the end of the task."""
        if self._task is not None:
            await asyncio.wait([self._task])
