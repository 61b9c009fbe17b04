"""A process around a server: event loop, reactor, signals."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from . import reactor
from .config import ServerConfig
from .interfaces import AccessRecord
from .server import Hook, Server

logger = logging.getLogger("django_daphne.server")

# Seconds that leftover tasks and threads are given when everything else has ended.
_LAST_RESPITE: Final = 3.0


def run(
    application: Any,
    config: ServerConfig,
    *,
    log_access: Callable[[AccessRecord], None] | None = None,
    announce: Callable[[Server], None] | None = None,
    on_started: Hook | None = None,
    on_stopping: Hook | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM, then stop gracefully; a second signal stops at once.

    Call it in the main thread. ``announce`` is called when connections are accepted. Raises
    ListenError before anything has started, LifespanFailure when the application does not start.
    """
    twisted_reactor, loop = reactor.install(config.process.loop)
    if config.process.executor_threads is not None:
        loop.set_default_executor(ThreadPoolExecutor(config.process.executor_threads))
    server = Server(
        application,
        config,
        log_access=log_access,
        reactor=twisted_reactor,
        on_started=on_started,
        on_stopping=on_stopping,
    )
    try:
        server.bind()
        # Without a run of its own the reactor counts as running and its thread pool works, while
        # the loop stays ours.
        twisted_reactor.startRunning(installSignalHandlers=False)
        loop.run_until_complete(_serve(server, config, announce))
    finally:
        _close(loop, twisted_reactor)


async def _serve(
    server: Server, config: ServerConfig, announce: Callable[[Server], None] | None
) -> None:
    stopping = asyncio.Event()

    def on_signal() -> None:
        if stopping.is_set():
            server.hurry()
        stopping.set()

    restore = _handle_signals(on_signal)
    try:
        starting = asyncio.ensure_future(server.start())
        interrupted = asyncio.ensure_future(stopping.wait())
        await asyncio.wait((starting, interrupted), return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            await asyncio.wait((starting,))
            interrupted.cancel()
            return
        starting.result()
        if announce is not None:
            announce(server)
        await interrupted
        logger.info("Stopping: waiting for running requests")
        await server.stop(config.timeouts.graceful_timeout)
    finally:
        restore()


def _handle_signals(callback: Callable[[], None]) -> Callable[[], None]:
    """Call ``callback`` on the loop for SIGINT and SIGTERM; return what undoes it."""
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM)
    try:
        for number in signals:
            loop.add_signal_handler(number, callback)
    except NotImplementedError:  # Windows
        old = {
            number: signal.signal(number, lambda *_: loop.call_soon_threadsafe(callback))
            for number in signals
        }

        def restore() -> None:
            for number, handler in old.items():
                signal.signal(number, handler)

        return restore

    def remove() -> None:
        for number in signals:
            loop.remove_signal_handler(number)

    return remove


def _close(loop: asyncio.AbstractEventLoop, twisted_reactor: Any) -> None:
    """Leave nothing behind: tasks, generators, threads, the reactor, the loop."""
    try:
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        if tasks:
            loop.run_until_complete(asyncio.wait(tasks, timeout=_LAST_RESPITE))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(
            asyncio.wait(
                (loop.create_task(loop.shutdown_default_executor()),), timeout=_LAST_RESPITE
            )
        )
        if twisted_reactor.running:
            loop.call_soon(twisted_reactor.stop)
            loop.run_forever()
    finally:
        asyncio.set_event_loop(None)
        loop.close()
