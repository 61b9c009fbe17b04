"""A worker: a process that serves, told what to do by the supervisor above it."""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import random
import socket
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any, Final

from ..bound_socket import BoundSocket
from ..config import ServerConfig
from ..process import ServerProcess
from ..server import Server
from ..worker_config import WorkerConfig
from .channel import Channel, Message, close_all
from .child import BEAT
from .inheritance import WorkerInheritance

logger = logging.getLogger("django_daphne.server")

_STATM: Final = Path("/proc/self/statm")


class WorkerProcess(ServerProcess):
    """Serves on the supervisor's sockets, and says each second that it does."""

    has_pid_file = False

    def __init__(
        self,
        application: Any,
        config: ServerConfig,
        inheritance: WorkerInheritance,
        *,
        announce: Callable[[Server], None] | None = None,
        **options: Any,
    ) -> None:
        """Take what ``ServerProcess`` takes; the supervisor announces where it listens."""
        super().__init__(
            application,
            config,
            announce=self._begin,
            sockets=inheritance.take_over(),
            **options,
        )
        self._inheritance = inheritance
        self._channel: Channel
        self._wear = Wear(config.workers)
        self._is_debugged = False
        self._borrowed: dict[int, list[BoundSocket]] = {}
        self._orders: asyncio.Queue[tuple[Message, list[BoundSocket]]] = asyncio.Queue()

    def run(self) -> None:
        """Serve until told to stop; see ``ServerProcess.run`` for the errors."""
        faulthandler.enable()  # where it hangs, when the supervisor has to end it
        hook = sys.breakpointhook
        sys.breakpointhook = partial(self._break, hook)
        try:
            super().run()
        finally:
            sys.breakpointhook = hook

    async def _serve(self) -> None:
        os.set_inheritable(self._inheritance.channel, False)
        ours = socket.socket(fileno=self._inheritance.channel)
        self._channel = Channel(ours, self._note, self._abandoned)
        obeying = asyncio.create_task(self._obey())
        try:
            await super()._serve()
        finally:
            obeying.cancel()
            self._channel.close()

    def _begin(self, server: Server) -> None:
        """Say that it is ready, and each second that it still turns."""
        self._beat()

    def _beat(self) -> None:
        wish = self._wear.find_reason(self._server.requests)
        is_debugged = self._is_debugged or sys.gettrace() is not None
        self._channel.send({"state": "ready", "wish": wish, "is_debugged": is_debugged})
        asyncio.get_running_loop().call_later(BEAT, self._beat)

    def _break(self, hook: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Let the supervisor know that somebody thinks about a breakpoint."""
        self._is_debugged = True
        self._channel.send({"state": "ready", "wish": None, "is_debugged": True})
        return hook(*args, **options)

    def _note(self, message: Message, descriptors: list[int]) -> None:
        if message["order"] == "stop":
            close_all(descriptors)
            self._is_replaced = bool(message["is_replaced"])
            self._stop()
            return
        parts = message.get("sockets", ())
        sockets = [
            BoundSocket.adopt(descriptor, **each)
            for descriptor, each in zip(descriptors, parts, strict=True)
        ]
        self._orders.put_nowait((message, sockets))

    def _abandoned(self) -> None:
        if not self._stopping.is_set():
            logger.error("The supervisor has ended; so does this worker")
            self._stop()

    async def _obey(self) -> None:
        """Accept for neighbours as long as they are not there, order by order."""
        while True:
            message, sockets = await self._orders.get()
            slot = message["slot"]
            if message["order"] == "take" and slot not in self._borrowed:
                self._borrowed[slot] = sockets
                await self._server.accept_on(sockets)
            else:
                await self._server.leave(self._borrowed.pop(slot, []) + sockets)


class Wear:
    """Tells when a worker has served for long enough. Made when it begins."""

    def __init__(self, config: WorkerConfig) -> None:
        self._config = config
        self._began = monotonic()
        jitter = random.randint(0, config.max_requests_jitter)  # noqa: S311 - no secret
        self._max_requests = None if config.max_requests is None else config.max_requests + jitter

    def find_reason(self, requests: int) -> str | None:
        """Return the option which says that it is enough, after so many requests, or None."""
        if self._max_requests is not None and requests >= self._max_requests:
            return "max_requests"
        lifetime, rss = self._config.max_lifetime, self._config.max_rss
        if lifetime is not None and monotonic() - self._began >= lifetime:
            return "max_lifetime"
        if rss is not None and find_rss() > rss:
            return "max_rss"
        return None


def find_rss() -> int:
    """Return the memory that this process has in use, in bytes; elsewhere than on Linux, had."""
    try:
        return int(_STATM.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
