"""Servers in a thread of this process.

One loop runs in one daemon thread for the life of the process, for Twisted's reactor over it could
be neither stopped for good nor made a second time. A server is a set of listeners opened and closed
on that loop, so one more costs next to nothing.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from contextvars import Context
from functools import partial
from typing import Any, Final, Self, TypeVar

from ..server import LoopReactor, Server, ServerConfig

T = TypeVar("T")

# Seconds; only ever an upper bound for what takes milliseconds.
PATIENCE: Final = 20.0

_lock = threading.Lock()
# By process: a fork inherits the memory, and not the thread.
_running: dict[int, LoopReactor] = {}


def running_loop(name: str = "auto") -> LoopReactor:
    """Return the loop of the servers in this process with its reactor, started at first use.

    ``name`` is a value of --loop, and has a say the first time only.
    """
    pid = os.getpid()
    with _lock:
        if pid not in _running:
            ready: Future[LoopReactor] = Future()
            target = partial(_serve_for_ever, name, ready)
            threading.Thread(target=target, name="django-daphne-testing", daemon=True).start()
            _running[pid] = ready.result(PATIENCE)
        return _running[pid]


def _serve_for_ever(name: str, ready: Future[LoopReactor]) -> None:
    try:
        running = LoopReactor(name)
    except Exception as error:  # noqa: BLE001 - handed on, to whoever waits
        ready.set_exception(error)
    else:
        running.loop.call_soon(ready.set_result, running)
        running.loop.run_forever()


def call(coroutine: Coroutine[Any, Any, T], timeout: float | None = PATIENCE) -> T:
    """Run a coroutine on the loop of the servers and return what it returns.

    After so many seconds it is cancelled, and TimeoutError is raised. It runs in an empty context:
    what a test has activated in its own thread is not the server's.
    """
    future = Context().run(asyncio.run_coroutine_threadsafe, coroutine, running_loop().loop)
    try:
        return future.result(timeout)
    finally:
        future.cancel()  # if it still runs


class ThreadServer:
    """A server in the thread of all servers of this process, as a context manager or by calls.

    It knows nothing of Django. ``server`` is what serves, once it has started.
    """

    server: Server

    def __init__(self, application: Any, config: ServerConfig, **options: Any) -> None:
        """Take an ASGI application and what ``Server`` takes besides."""
        self._application = application
        self._config = config
        self._options = options

    def start(self) -> None:
        """Start the application and accept connections.

        Raises what ``Server.start`` raises, or TimeoutError for an application that never starts;
        then nothing is left open.
        """
        call(self._start(running_loop(self._config.process.loop)), self._patience)

    async def _start(self, running: LoopReactor) -> None:
        reactor = running.get() if self._config.listen.endpoint else None
        self.server = Server(self._application, self._config, reactor=reactor, **self._options)
        await self.server.start()

    def stop(self, graceful_timeout: float | None = 0.0) -> None:
        """Stop accepting; what still runs after so many seconds is cancelled."""
        patience = self._patience
        if patience is not None:
            patience = None if graceful_timeout is None else patience + graceful_timeout
        call(self.server.stop(graceful_timeout), patience)

    @property
    def _patience(self) -> float | None:
        lifespan = self._config.timeouts.lifespan_timeout
        return None if lifespan is None else lifespan + PATIENCE

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    @property
    def address(self) -> tuple[str, int]:
        """Return host and port of the first TCP listener."""
        return self.server.addresses[0]

    @property
    def host(self) -> str:
        """Return the address's host."""
        return self.address[0]

    @property
    def port(self) -> int:
        """Return the address's port."""
        return self.address[1]

    @property
    def url(self) -> str:
        """Return the address as a URL without a path."""
        return f"http://{self.host}:{self.port}"
