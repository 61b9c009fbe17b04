"""A worker: a process that serves, told what to do by the supervisor above it."""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import random
import signal
import socket
import sys
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Any

from ..bound_socket import BoundSocket
from ..config import ServerConfig
from ..metrics.page import Page, PageError
from ..metrics.recorder import PageRecorder
from ..process import ServerProcess
from ..resources import find_peak_rss, find_rss
from ..server import Server
from ..worker_config import WorkerConfig
from .channel import Channel, Message, close_all
from .child import BEAT
from .inheritance import WorkerInheritance

logger = logging.getLogger("django_daphne.server")


class WorkerProcess(ServerProcess):
    """Serves on the supervisor's sockets, and says each second that it does."""

    is_outermost = False

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
        if inheritance.page is not None:
            try:
                options["recorder"] = PageRecorder(Page.attach(inheritance.page))
            except PageError as error:  # the supervisor is of another version
                logger.warning("This worker has no metrics until SIGUSR2: %s", error)
        super().__init__(
            application,
            config,
            announce=self._begin,
            sockets=inheritance.take_over(),
            **options,
        )
        self._inheritance = inheritance
        self._channel: Channel | None = None
        self._state = "starting"
        self._wear = Wear(config.workers)
        self._is_debugged = self._is_told = False
        self._borrowed: dict[int, list[BoundSocket]] = {}
        self._orders: asyncio.Queue[tuple[int, list[BoundSocket]]] = asyncio.Queue()

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
            self._channel = None

    def _begin(self, server: Server) -> None:
        """Say that it is ready, and each second that it still turns."""
        self._state = "ready"
        self._beat()

    def _beat(self) -> None:
        self._say(self._wear.find_reason(self._server.requests))
        asyncio.get_running_loop().call_later(BEAT, self._beat)

    def _say(self, wish: str | None = None) -> None:
        """Say how it is."""
        is_debugged = self._is_debugged or sys.gettrace() is not None
        if self._channel is not None:
            self._channel.send({"state": self._state, "wish": wish, "is_debugged": is_debugged})

    def _stop(self) -> None:
        super()._stop()
        self._state = "leaving"  # maybe by a signal, of which the supervisor does not know
        self._say()

    def _break(self, hook: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Let the supervisor know that somebody thinks about a breakpoint."""
        self._is_debugged = True
        self._say()
        return hook(*args, **options)

    def _note(self, message: Message, descriptors: list[int]) -> None:
        order, parts = message["order"], message.get("sockets", ())
        if order in ("take", "leave"):
            if len(descriptors) == len(parts):
                pairs = zip(descriptors, parts, strict=True)
                sockets = [BoundSocket.adopt(descriptor, **each) for descriptor, each in pairs]
                self._orders.put_nowait((message["slot"], sockets))
                return
            logger.error("Another worker cannot be helped: there are no descriptors left")
        close_all(descriptors)
        if order in ("stop", "hurry"):
            # A service manager may have sent a signal to every process, which was the same order.
            if not self._stopping.is_set():
                self._is_replaced = bool(message.get("is_replaced"))
                self._is_told = True
                self._stop()
            if order == "hurry":
                self._server.hurry()

    def _on_signal(self, number: signal.Signals) -> None:
        # The first one behind the order may be the same order, too; the next one is impatience.
        is_told, self._is_told = self._is_told, False
        if not is_told:
            super()._on_signal(number)

    def _abandoned(self) -> None:
        if not self._stopping.is_set():
            logger.error("The supervisor has ended; so does this worker")
            self._stop()

    async def _obey(self) -> None:
        """Accept for neighbours as long as they are not there, order by order."""
        while True:
            slot, sockets = await self._orders.get()
            try:
                await self._server.leave(self._borrowed.pop(slot, []))
                if sockets:
                    self._borrowed[slot] = sockets
                    await self._server.accept_on(sockets)
            except OSError as error:
                logger.error("Worker %d cannot be helped: %s", slot + 1, error)


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
        if rss is not None and find_memory() > rss:
            return "max_rss"
        return None


def find_memory() -> int:
    """Return the memory that this process has in use, in bytes; elsewhere than on Linux, had."""
    used = find_rss()
    return find_peak_rss() if used is None else used
