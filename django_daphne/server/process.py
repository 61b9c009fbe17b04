"""A process around a server: event loop, reactor, signals."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from .config import ServerConfig
from .pid_file import PidFile
from .reactor import LoopReactor
from .server import Server
from .systemd import Notifier, take_sockets

logger = logging.getLogger("django_daphne.server")

# Seconds that leftover tasks and threads are given when everything else has ended.
_LAST_RESPITE: Final = 3.0


class ServerProcess:
    """Serves one application until it is told to stop.

    ``run`` blocks; ``stop`` may be called from any thread.
    """

    # For a process that has no terminal whose end is meant to be its own, too.
    renews_on_hangup = True
    # Whose number and metrics others ask for. A process below another has neither of its own, nor
    # has one that a developer watches.
    is_outermost = True

    def __init__(
        self,
        application: Any,
        config: ServerConfig,
        *,
        announce: Callable[[Server], None] | None = None,
        handle_signals: bool = True,
        **options: Any,
    ) -> None:
        """Take what ``Server`` takes; ``announce`` is called when connections are accepted.

        With ``handle_signals`` the first SIGINT or SIGTERM stops gracefully and the second at
        once, SIGHUP reads the certificates again and SIGUSR1 opens log files again; ``run`` must
        then be called in the main thread.
        """
        self._application = application
        self._config = config
        self._announce = announce
        self._with_signals = handle_signals
        self._options = options
        self.graceful_timeout = config.timeouts.graceful_timeout  # looked at when it stops
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()
        self._is_replaced = False  # by another process on the same addresses
        self._manager = Notifier(os.environ)
        self._is_ready = False
        self._server: Server
        self._renewals: set[asyncio.Task[None]] = set()  # held, or they might vanish
        self.received_signal: signal.Signals | None = None

    def run(self) -> None:
        """Serve until stopped.

        Raises ConfigurationError or ListenError before anything has started, LifespanFailure when
        the application does not start.
        """
        address = self._config.metrics.metrics_bind if self.is_outermost else None
        if address is None:
            self._run()
            return
        from .metrics.exposition import exposed_alone  # nobody else counts

        with exposed_alone(address) as self._options["recorder"]:
            self._run()

    def _run(self) -> None:
        twisted = LoopReactor(self._config.process.loop)
        loop = twisted.loop
        threads = self._config.process.executor_threads
        if threads is not None:
            loop.set_default_executor(ThreadPoolExecutor(threads))
        try:
            reactor = twisted.get() if self._config.listen.endpoint else None
            self._server = Server(self._application, self._config, reactor=reactor, **self._options)
            is_bound = self._options.get("sockets") is not None
            self._server.bind(() if is_bound else activated(self._config))
            self._loop = loop
            loop.run_until_complete(self._serve())
        finally:
            self._loop = None
            _close(loop, twisted)

    def stop(self) -> None:
        """Stop gracefully; called again, at once."""
        loop = self._loop
        if loop is not None:
            loop.call_soon_threadsafe(self._stop)

    def _stop(self) -> None:
        if self._stopping.is_set():
            self._server.hurry()
        self._stopping.set()

    async def _serve(self) -> None:
        restore = self._handle_signals() if self._with_signals else None
        try:
            # Who reads the file may send signals.
            with PidFile(self._config.process.pid_file if self.is_outermost else None):
                await self._serve_until_stopped()
        finally:
            if restore is not None:
                restore()

    async def _serve_until_stopped(self) -> None:
        starting = asyncio.ensure_future(self._server.start())
        stopping = asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            await asyncio.wait((starting,))
            return
        starting.result()
        if self._announce is not None:
            self._announce(self._server)
        self._is_ready = True
        self._tell_ready()
        self._feed_watchdog(self._manager)
        await stopping
        self._manager.stopping()
        logger.info("Stopping: waiting for running requests")
        await self._server.stop(self.graceful_timeout, is_replaced=self._is_replaced)

    def _tell_ready(self) -> None:
        self._manager.ready(f"Listening on {', '.join(self._server.descriptions)}")

    def _feed_watchdog(self, manager: Notifier) -> None:
        """Tell the service manager, as often as it wants to know, that the loop turns."""
        if manager.watchdog_interval is not None:
            manager.watchdog()
            loop = asyncio.get_running_loop()
            loop.call_later(manager.watchdog_interval, self._feed_watchdog, manager)

    def _handle_signals(self) -> Callable[[], None]:
        """Stop for SIGINT and SIGTERM, renew for SIGHUP; return what undoes it."""
        loop = asyncio.get_running_loop()
        signals = [signal.SIGINT, signal.SIGTERM]
        try:
            for number in signals:
                loop.add_signal_handler(number, self._on_signal, number)
            if self.renews_on_hangup:
                loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
                loop.add_signal_handler(signal.SIGUSR1, self._on_log_rotation)
                signals += [signal.SIGHUP, signal.SIGUSR1]
        except NotImplementedError:  # Windows
            previous = {number: signal.signal(number, self._on_raw_signal) for number in signals}

            def restore() -> None:
                for number, handler in previous.items():
                    signal.signal(number, handler)

            return restore

        def remove() -> None:
            for number in signals:
                loop.remove_signal_handler(number)

        return remove

    def _on_signal(self, number: signal.Signals) -> None:
        self.received_signal = number
        self._stop()

    def _on_hangup(self) -> None:
        if self._server.has_certificates:
            renewal = asyncio.ensure_future(self._renew())
            self._renewals.add(renewal)
            renewal.add_done_callback(self._renewals.discard)
        else:
            logger.info("SIGHUP: there are no certificates to read again; nothing else is done")

    async def _renew(self) -> None:
        if not self._is_ready:
            await self._server.renew_certificates()
            return
        self._manager.reloading()
        try:
            await self._server.renew_certificates()
        finally:
            self._tell_ready()

    @staticmethod
    def _on_log_rotation() -> None:
        from .log_files import reopen_log_files

        if names := reopen_log_files():
            logger.info("SIGUSR1: log files opened again: %s", ", ".join(names))
        else:
            logger.info("SIGUSR1: there are no log files to open again; nothing else is done")

    def _on_raw_signal(self, number: int, frame: object) -> None:
        self.received_signal = signal.Signals(number)
        self.stop()


def activated(config: ServerConfig) -> list[tuple[int, str]]:
    """Return descriptors and names of what systemd has opened for this process, as ``bind`` asks.

    They are given once: the environment does not name them afterwards.
    """
    # Twisted has an endpoint of its own for them.
    is_named = any("systemd:" in endpoint for endpoint in config.listen.endpoint)
    return [] if is_named else take_sockets(os.environ)


def _close(loop: asyncio.AbstractEventLoop, twisted: LoopReactor) -> None:
    """Leave nothing behind: tasks, generators, threads, the reactor, the loop."""
    try:
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        if tasks:
            loop.run_until_complete(asyncio.wait(tasks, timeout=_LAST_RESPITE))
        loop.run_until_complete(loop.shutdown_asyncgens())
        threads = loop.create_task(loop.shutdown_default_executor())
        loop.run_until_complete(asyncio.wait((threads,), timeout=_LAST_RESPITE))
        twisted.stop()
    finally:
        asyncio.set_event_loop(None)
        loop.close()
