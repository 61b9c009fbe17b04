"""The application's startup and shutdown (ASGI lifespan specification, version 2.0)."""

from __future__ import annotations

import asyncio
import enum
import logging
from typing import Any, Final

from ..exceptions import ApplicationError, LifespanFailure
from ..types import ASGIApplication, Message

logger = logging.getLogger("django_daphne.server")

LIFESPAN_SPEC_VERSION: Final = "2.0"


class LifespanState(enum.Enum):
    """Where the conversation with the application stands."""

    STARTING = enum.auto()
    RUNNING = enum.auto()
    STOPPING = enum.auto()
    ENDED = enum.auto()


# state -> the messages the application may send in it
_LEGAL: Final[dict[LifespanState, frozenset[str]]] = {
    LifespanState.STARTING: frozenset(("lifespan.startup.complete", "lifespan.startup.failed")),
    LifespanState.RUNNING: frozenset(),
    LifespanState.STOPPING: frozenset(("lifespan.shutdown.complete", "lifespan.shutdown.failed")),
    LifespanState.ENDED: frozenset(),
}


class Lifespan:
    """One application's lifespan: ``startup`` once, then ``shutdown`` once.

    ``mode`` is "auto" (an application that does not know lifespan is served without it), "on" (it
    must know it) or "off". ``state`` is None while the application has not shown that it knows
    lifespan; otherwise each scope gets a copy of it.
    """

    def __init__(self, application: ASGIApplication, mode: str, timeout: float | None) -> None:
        self._application = application
        self._mode = mode
        self._timeout = timeout
        self._state_dict: dict[str, Any] = {}
        self._state = LifespanState.STARTING
        self._asked = False  # receive() was called: the application knows lifespan
        self._task: asyncio.Task[None] | None = None
        self._progress = asyncio.Event()
        self._stop = asyncio.Event()
        self._failure: str | None = None
        self._error: BaseException | None = None

    @property
    def state(self) -> dict[str, Any] | None:
        """Return what the application keeps for its requests, or None without lifespan."""
        return self._state_dict if self._state is LifespanState.RUNNING else None

    async def startup(self) -> None:
        """Tell the application to start and wait until it has.

        Raises LifespanFailure with the reason when it cannot, or does not in time.
        """
        if self._mode == "off":
            self._state = LifespanState.ENDED
            return
        self._task = asyncio.create_task(self._run(), name="lifespan")
        await self._wait("start")
        if self._failure is not None:
            raise LifespanFailure(f"Application startup failed: {self._failure}")
        if self._error is not None:
            self._judge(self._error)

    def _judge(self, error: BaseException) -> None:
        """Serve an application that does not know lifespan, as the specification asks."""
        if self._mode == "on" or not isinstance(error, Exception):
            raise LifespanFailure(
                f"Application startup failed: {type(error).__name__}: {error}"
            ) from error
        if self._asked and not isinstance(error, ApplicationError):
            logger.warning(
                "The application failed in its lifespan and is served without: %r", error
            )
        else:
            logger.debug("The application does not support lifespan: %r", error)

    async def shutdown(self) -> None:
        """Tell the application to stop and wait until it has; a failure is logged."""
        if self._state is not LifespanState.RUNNING:
            return
        self._state = LifespanState.STOPPING
        self._progress.clear()
        self._stop.set()
        try:
            await self._wait("stop")
        except LifespanFailure as failure:
            logger.error("%s", failure)
        if self._failure is not None:
            logger.error("Application shutdown failed: %s", self._failure)
        elif self._error is not None:
            logger.error("Exception during application shutdown", exc_info=self._error)

    async def _wait(self, verb: str) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                await self._progress.wait()
        except TimeoutError:
            if self._task is not None:
                self._task.cancel()
            raise LifespanFailure(
                f"Application did not {verb} within {self._timeout:g} s (lifespan_timeout)"
            ) from None

    async def _run(self) -> None:
        scope: dict[str, Any] = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": LIFESPAN_SPEC_VERSION},
            "state": self._state_dict,
        }
        try:
            await self._application(scope, self._receive, self._send)
        except BaseException as error:  # noqa: BLE001 - startup() or shutdown() tells of it
            self._error = error
        else:
            if self._state is LifespanState.STARTING:
                self._error = ApplicationError("it returned without completing its startup")
        if self._state is LifespanState.RUNNING and self._error is not None:
            logger.error("The application's lifespan has failed", exc_info=self._error)
        self._state = LifespanState.ENDED
        self._progress.set()

    async def _receive(self) -> Message:
        if not self._asked:
            self._asked = True
            return {"type": "lifespan.startup"}
        await self._stop.wait()
        return {"type": "lifespan.shutdown"}

    async def _send(self, message: Message) -> None:
        kind = message.get("type")
        if kind not in _LEGAL[self._state]:
            expected = " or ".join(sorted(_LEGAL[self._state])) or "no message"
            raise ApplicationError(
                f"{kind} is not allowed in state {self._state.name}; expected {expected}"
            )
        if str(kind).endswith(".failed"):
            self._failure = str(message.get("message") or "no reason given")
        self._state = (
            LifespanState.RUNNING if kind == "lifespan.startup.complete" else LifespanState.ENDED
        )
        self._progress.set()
