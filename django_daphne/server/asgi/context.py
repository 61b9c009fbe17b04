"""What the cycles of a server have in common."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from ..interfaces import Clock
from .tasks import ApplicationTasks

logger = logging.getLogger("django_daphne.server")


@dataclass(slots=True, eq=False)
class CycleContext:
    """What all cycles of a server share.

    Reading pauses above ``body_limit`` bytes of body, or of messages, that wait for the
    application, and at ``max_queue`` messages; None is no limit. The application is cancelled when
    it has not returned ``close_timeout`` seconds after its client left; None is never.
    """

    tasks: ApplicationTasks
    clock: Clock
    body_limit: int
    close_timeout: float | None
    max_queue: int | None = None

    def cancel_later(self, task: asyncio.Task[None], name: Callable[[], str]) -> None:
        """Cancel the task of an application whose client has left, when it does not end itself."""
        if self.close_timeout is not None:
            timer = self.clock.call_later(self.close_timeout, self._cancel, task, name)
            task.add_done_callback(lambda _: timer.cancel())

    def _cancel(self, task: asyncio.Task[None], name: Callable[[], str]) -> None:
        if not task.done():
            logger.info(
                "Cancelling %s: it is still running %g s after its connection ended",
                name(),
                self.close_timeout,
            )
            task.cancel()
