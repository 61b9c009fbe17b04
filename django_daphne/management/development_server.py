"""The server behind runserver, in the shape that Django's own command expects of one."""

from __future__ import annotations

import os
import signal
import socket
import threading
from typing import Any, ClassVar, Final

from ..server import (
    ConfigurationError,
    LifespanFailure,
    ListenError,
    ServerConfig,
    ServerProcess,
    TLSConfig,
    bind,
)
from ..signals import send_started, send_stopping
from .blocked_loop import LoopWatch

# Seconds. Ctrl-C means now, and so does a file that was saved. Beneath the autoreloader the process
# is killed a quarter of a second after Ctrl-C, and the application's shutdown has to fit in.
GRACEFUL_TIMEOUT: Final = 0.1
# Seconds after the graceful time. A view may keep its thread for ever, and the interpreter would
# wait for it as long.
_EXIT_TIMEOUT: Final = 1.0


class DevelopmentServer:
    """An ASGI server with the interface of wsgiref's: bound when made, then given its application.

    Django makes it, calls ``set_app`` and ``serve_forever``, and asks ``server_port``. Each command
    makes a subclass of its own: ``options`` are what ``ServerProcess`` takes besides ``config``,
    and ``blocked_loop_time``, the limit of `LoopWatch`.
    """

    config: ClassVar[ServerConfig]
    options: ClassVar[dict[str, Any]]
    _serving: ClassVar[_Process | None] = None

    def __init__(self, address: tuple[str, int], handler_class: object, ipv6: bool = False) -> None:
        """Bind to this address and no other; raises OSError, whose number Django has a text for."""
        host, port = address
        self._config = self.config.replace(
            bind=(_bind_value(host, port, ipv6),),
            unix_socket=None,
            fd=None,
            endpoint=(),
            proxy_protocol="off",
            # What the settings say of TLS is meant for production.
            insecure_bind=(),
            **{item.name: item.default for item in TLSConfig.options},
        )
        try:
            self._sockets = bind(self._config.listen)
        except ListenError as error:
            if error.errno is None:
                raise OSError(str(error)) from None
            raise OSError(error.errno, str(error)) from None
        bound = self._sockets[0].address
        self.server_port = bound[1] if bound is not None else port
        self._application: Any = None

    def set_app(self, application: Any) -> None:
        """Take the ASGI application to serve."""
        self._application = application

    def serve_forever(self) -> None:
        """Serve until Ctrl-C, which raises KeyboardInterrupt as it does for Django's own server.

        Beneath the autoreloader this is not the main thread, and ``end`` is what ends it.
        """
        process = _Process(
            self._application,
            self._config,
            handle_signals=threading.current_thread() is threading.main_thread(),
            sockets=self._sockets,
            on_started=send_started,
            on_stopping=send_stopping,
            **self.options,
        )
        # Not on the subclass: Django makes one more of it, which nobody else gets to see.
        DevelopmentServer._serving = process
        try:
            process.run()
        except (ConfigurationError, LifespanFailure) as failure:
            raise OSError(str(failure)) from failure
        finally:
            process.ended.set()
        if process.received_signal is signal.SIGINT:
            raise KeyboardInterrupt

    @staticmethod
    def end(status: int) -> None:
        """Stop what still serves in another thread, because the process will end with this status.

        To be called from the main thread while the interpreter is whole: later it would wait for
        the threads of all views first.
        """
        process = DevelopmentServer._serving
        if process is not None:
            process.exit_soon(status)
            process.stop()
            process.ended.wait()


class _Process(ServerProcess):
    """Ends the process, too, when the first request to stop is not enough."""

    renews_on_hangup = False

    def __init__(
        self,
        application: Any,
        config: ServerConfig,
        *,
        blocked_loop_time: float | None = None,
        **options: Any,
    ) -> None:
        self._watch = LoopWatch(blocked_loop_time)
        announce = lambda server: self._watch.start()  # noqa: E731
        super().__init__(application, config, announce=announce, **options)
        self.ended = threading.Event()
        self._graceful_timeout = config.timeouts.graceful_timeout
        self._leaving = False

    def exit_soon(self, status: int) -> None:
        """End the process with this status in a while, whatever keeps it."""
        if self._leaving or self._graceful_timeout is None:
            return
        self._leaving = True
        watchdog = threading.Timer(self._graceful_timeout + _EXIT_TIMEOUT, os._exit, (status,))
        watchdog.daemon = True
        watchdog.start()

    def _stop(self) -> None:
        self._watch.stop()
        self.exit_soon(0)
        super()._stop()


def _bind_value(host: str, port: int, ipv6: bool) -> str:
    """Return an address as --bind has it; a name is looked up when only IPv6 will do."""
    if ipv6 and ":" not in host:
        found = socket.getaddrinfo(host, port, socket.AF_INET6, socket.SOCK_STREAM)
        host = str(found[0][4][0])
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
