"""A real server for tests, in a thread of the test process.

One loop with its reactor runs in one daemon thread for the life of the process; each server is a
set of listeners opened and closed on it. DAPHNE_TEST_LOOP and DAPHNE_TEST_START choose the loop and
how tasks start.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from django_daphne.server import AccessRecord, Server, ServerConfig
from django_daphne.server import reactor as reactors

T = TypeVar("T")

# Seconds; only ever an upper bound for what takes milliseconds.
PATIENCE = 20

_lock = threading.Lock()
_running: tuple[Any, asyncio.AbstractEventLoop] | None = None


def running_loop() -> tuple[Any, asyncio.AbstractEventLoop]:
    """Return the process's reactor and loop, started at first use."""
    global _running
    with _lock:
        if _running is None:
            ready = threading.Event()
            made: list[tuple[Any, asyncio.AbstractEventLoop]] = []

            def serve_for_ever() -> None:
                reactor, loop = reactors.install(os.environ.get("DAPHNE_TEST_LOOP", "auto"))
                reactor.startRunning(installSignalHandlers=False)
                made.append((reactor, loop))
                loop.call_soon(ready.set)
                loop.run_forever()

            threading.Thread(target=serve_for_ever, name="test server loop", daemon=True).start()
            if not ready.wait(PATIENCE):
                raise RuntimeError("the loop of the tests does not start")
            (_running,) = made
        return _running


def call(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the server's loop and return what it returns."""
    _, loop = running_loop()
    return asyncio.run_coroutine_threadsafe(coroutine, loop).result(PATIENCE)


def eager() -> bool:
    """Say whether this pass of the tests starts tasks eagerly."""
    return os.environ.get("DAPHNE_TEST_START") == "eager"


class RunningServer:
    """A server that accepts connections; ``access`` has a record for each finished request."""

    def __init__(self, application: Any, config: ServerConfig, **options: Any) -> None:
        self.access: list[AccessRecord] = []
        self.reactor, _ = running_loop()
        self.config = config
        self._application = application
        self._options = options

    async def start(self) -> None:
        """Start the server; on the loop."""
        self.server = Server(
            self._application,
            self.config,
            log_access=self.access.append,
            reactor=self.reactor,
            eager=eager(),
            **self._options,
        )
        await self.server.start()

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

    def stop(self, graceful_timeout: float | None = 0.0) -> None:
        """Stop the server."""
        call(self.server.stop(graceful_timeout))


@contextmanager
def serve(application: Any, **values: Any) -> Iterator[RunningServer]:
    """Serve an application on a free port of 127.0.0.1 while the block runs.

    ``values`` are configuration values by field name; ``on_started`` and ``on_stopping`` go to the
    server.
    """
    options = {name: values.pop(name) for name in ("on_started", "on_stopping") if name in values}
    elsewhere = values.keys() & {"bind", "port", "unix_socket", "fd", "endpoint"}
    config = ServerConfig().replace(**({} if elsewhere else {"port": 0}) | values)
    running = RunningServer(application, config, **options)
    call(running.start())
    try:
        yield running
    finally:
        running.stop()
