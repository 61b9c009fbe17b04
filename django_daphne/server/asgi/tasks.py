"""The one owner of application tasks.

Theory of operation. Tasks start together in the next turn of the loop, so that what was read of
many connections is read first and then answered: each of the two goes faster when it is done many
times in a row (docs/topics/performance.md). In that turn each starts eagerly where the interpreter
can (Python 3.12): an application that never waits is done before its task is known to the loop,
which spares the loop a callback and asyncio an entry in its list of all tasks. What starts together
is a batch, and what it has answered is written when all of it has started.

With ``eager`` they start within the read itself. Nothing may depend on which: a task is started
only after the parser has returned, and its end is seen by ``Work.run`` from the inside, not by a
callback a turn later. Each task runs in a copy of the context in which the server was started, so
no variable leaks from one request to another.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import Context, copy_context
from copy import copy
from functools import partial
from typing import Any, Protocol

from ..services import TurnEnd
from ..types import ASGIApplication

logger = logging.getLogger("django_daphne.server")

CAN_START_EAGERLY = sys.version_info >= (3, 12)


class Work(Protocol):
    """What runs as a task of its own."""

    def run(self) -> Coroutine[Any, Any, None]:
        """Return the coroutine, which lets no exception out."""

    def begun(self, task: asyncio.Task[None]) -> None:
        """Take note of the task, when the coroutine waits for something."""


class Afterwork:
    """What goes on in threads when its application has returned; a server that stops waits for it.

    Each piece is anything hashable, begun on the loop's thread and ended from any.
    """

    def __init__(self) -> None:
        self._pieces: set[object] = set()
        self.on_end: Callable[[], object] | None = None  # called when a piece has ended, there

    def __len__(self) -> int:
        return len(self._pieces)

    def begin(self, piece: object) -> None:
        """Take note of a piece."""
        self._pieces.add(piece)

    def end(self, piece: object) -> None:
        """Forget a piece."""
        self._pieces.discard(piece)
        # In this order: who has asked to be told of it, and then looked, has seen it or is told.
        if self.on_end is not None:
            with suppress(RuntimeError):  # the loop has ended
                self.on_end()


class ApplicationTasks:
    """Starts, counts and ends the tasks of one server's application.

    Made on the loop's thread. ``eager`` starts them at once, where that is possible.
    """

    def __init__(self, application: ASGIApplication, *, eager: bool = False) -> None:
        self.application = application
        self._context = copy_context()
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: list[Work] = []  # for the next turn of the loop
        self.afterwork = Afterwork()
        self.started = 0  # so many, ever
        self.on_done: Callable[[], object] | None = None  # called when a task has ended
        self.turn_end: TurnEnd | None = None  # told of what starts together
        loop = asyncio.get_running_loop()
        self._loop = loop
        self._call_soon = loop.call_soon
        self._at_once = eager and CAN_START_EAGERLY

    def __len__(self) -> int:
        return len(self._tasks) + len(self._waiting) + len(self.afterwork)

    def serving(self, application: ASGIApplication) -> ApplicationTasks:
        """Return the same for the requests that another application answers."""
        others = copy(self)
        others.application = application
        return others

    def start(self, work: Work) -> None:
        """Run this as a task."""
        self.started += 1
        if self._at_once:
            self._begin(work)
            return
        if not self._waiting:
            self._call_soon(self._begin_all)
        self._waiting.append(work)

    def _begin_all(self) -> None:
        waiting = self._waiting.copy()
        self._waiting.clear()
        batch = self.turn_end if len(waiting) > 1 else None
        if batch is not None:
            batch.begin()
        try:
            for work in waiting:
                self._begin(work)
        finally:
            if batch is not None and CAN_START_EAGERLY:
                batch.end()
            elif batch is not None:
                self._call_soon(batch.end)  # behind the first steps of all of them

    def _begin(self, work: Work) -> None:
        task = _start(work.run(), self._loop, self._context.copy())
        if not task.done():
            # Held here, or a task that waits for nothing else would be collected.
            self._tasks.add(task)
            task.add_done_callback(self._done)
            work.begun(task)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self.on_done is not None:
            self.on_done()

    def tell_of_afterwork(self) -> None:
        """Call ``on_done`` at the end of afterwork, too, from now on."""
        if self.on_done is not None:
            self.afterwork.on_end = partial(self._loop.call_soon_threadsafe, self.on_done)

    async def cancel_all(self) -> None:
        """Cancel every task and give each the chance to clean up."""
        self._begin_all()
        remaining = set(self._tasks)
        if not remaining:
            return
        logger.info("Cancelling %d application tasks that are still running", len(remaining))
        for task in remaining:
            task.cancel()
        _, stuck = await asyncio.wait(remaining, timeout=5.0)
        if stuck:
            logger.warning("%d application tasks ignore their cancellation", len(stuck))


# The constructor and not loop.create_task, which takes no eager_start before Python 3.14.
if sys.version_info >= (3, 12):

    def _start(
        coroutine: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop, context: Context
    ) -> asyncio.Task[None]:
        return asyncio.Task(coroutine, loop=loop, context=context, eager_start=True)

else:

    def _start(
        coroutine: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop, context: Context
    ) -> asyncio.Task[None]:
        return asyncio.Task(coroutine, loop=loop, context=context)
