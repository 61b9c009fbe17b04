"""The serving process of a developer: it ends soon whatever it is doing, and can be replaced."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any, ClassVar, Final, NoReturn

from django.utils import autoreload

from ..autoreload import (
    RESTART,
    RESTART_EARLY,
    make_reloader,
    watch_included,
)
from ..conf import get_development_config
from ..server import Server, ServerConfig, ServerProcess
from . import inheritance
from .blocked_loop import LoopWatch

# Seconds. Ctrl-C means now.
INTERRUPT_TIMEOUT: Final = 0.1
# Seconds. What is under way when a file is saved can be finished, unless it takes long.
RESTART_TIMEOUT: Final = 0.5
# Seconds after the graceful time. A view may keep its thread for ever, and the interpreter would
# wait for it as long.
_EXIT_TIMEOUT: Final = 1.0


class DevelopmentProcess(ServerProcess):
    """Ends the process, too, when the first request to stop is not enough."""

    renews_on_hangup = False
    is_outermost = False
    _current: ClassVar[DevelopmentProcess | None] = None

    def __init__(
        self,
        application: Any,
        config: ServerConfig,
        *,
        announce: Callable[[Server], None] | None = None,
        **options: Any,
    ) -> None:
        """Take what ``ServerProcess`` takes; signals are heard where it runs in the main thread."""
        in_main_thread = threading.current_thread() is threading.main_thread()
        super().__init__(
            application,
            # Nobody balances the load of a developer, or wants to wait for it.
            config.replace(shutdown_delay=0, graceful_share=0),
            announce=self._begin,
            handle_signals=in_main_thread,
            **options,
        )
        self._say_begun = announce
        self._watch = LoopWatch(get_development_config().blocked_loop_time)
        self._ended = threading.Event()
        self._leaving = False

    def run(self) -> None:
        """Serve until stopped; see ``ServerProcess.run`` for the errors."""
        DevelopmentProcess._current = self
        try:
            super().run()
        finally:
            self._ended.set()

    def _begin(self, server: Server) -> None:
        if self._say_begun is not None:
            self._say_begun(server)
        self._watch.start()

    @classmethod
    def leave(cls, status: int) -> None:
        """Stop what still serves in another thread, because the process will end with this status.

        To be called from the main thread while the interpreter is whole: later it would wait for
        the threads of all views first.
        """
        process = cls._current
        if process is not None:
            if status in (RESTART, RESTART_EARLY):
                process.graceful_timeout = RESTART_TIMEOUT
            process._exit_soon(status)
            process.stop()
            process._ended.wait()

    def _exit_soon(self, status: int) -> None:
        """End the process with this status in a while, whatever keeps it."""
        if self._leaving or self.graceful_timeout is None:
            return
        self._leaving = True
        watchdog = threading.Timer(self.graceful_timeout + _EXIT_TIMEOUT, os._exit, (status,))
        watchdog.daemon = True
        watchdog.start()

    def _stop(self) -> None:
        self._watch.stop()
        self._exit_soon(0)
        super()._stop()


def serve_and_watch(serve: Callable[..., None], **options: Any) -> NoReturn:
    """Serve in another thread, and leave when a file has changed: what a child of the keeper does.

    ``serve`` gets the options and ``on_loaded``, to be called when it is about to accept.
    """
    heritage = inheritance.get()
    assert heritage is not None
    reloader = make_reloader(inheritance.began(), heritage.early_restarts)
    # Another package's reloader has no use for it.
    on_loaded = getattr(reloader, "started", _do_nothing)
    autoreload.autoreload_started.connect(watch_included)
    signal.signal(signal.SIGTERM, lambda *args: sys.exit(0))
    autoreload.logger.info("Watching for file changes with %s", type(reloader).__name__)
    status = 0
    try:
        autoreload.start_django(reloader, serve, on_loaded=on_loaded, **options)
    except KeyboardInterrupt:
        pass
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else 0
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it is leaving already
    DevelopmentProcess.leave(status)
    sys.exit(status)


def _do_nothing() -> None:
    pass
