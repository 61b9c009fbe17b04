"""The server behind runserver, in the shape that Django's own command expects of one."""

from __future__ import annotations

import atexit
import os
import signal
import socket
import threading
from typing import Any, Final

from ..server import LifespanFailure, ListenError, ServerConfig, ServerProcess, bind
from ..signals import send_started, send_stopping

# Seconds. Ctrl-C means now; what is still running then is cut off.
_GRACEFUL_TIMEOUT: Final = 1.0
_EXIT_TIMEOUT: Final = 1.5


class DevelopmentServer:
    """An ASGI server with the interface of wsgiref's: bound when made, then given its application.

    Django makes it, calls ``set_app`` and ``serve_forever``, and asks ``server_port``. ``options``
    of a subclass made for one command are the configuration and what ``ServerProcess`` takes.
    """

    config: ServerConfig
    options: dict[str, Any]

    def __init__(self, address: tuple[str, int], handler_class: object, ipv6: bool = False) -> None:
        """Bind; raises OSError, whose number Django has a text for."""
        host, port = address
        self.config = self.config.replace(
            bind=(_bind_value(host, port, ipv6),),
            graceful_timeout=_GRACEFUL_TIMEOUT,
        )
        try:
            self._sockets = bind(self.config.listen)
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

        Below the autoreloader this is not the main thread, and the process ends from there.
        """
        in_main_thread = threading.current_thread() is threading.main_thread()
        process = ServerProcess(
            self._application,
            self.config,
            handle_signals=in_main_thread,
            sockets=self._sockets,
            on_started=send_started,
            on_stopping=send_stopping,
            **self.options,
        )
        ended = threading.Event()
        if not in_main_thread:
            atexit.register(_stop, process, ended)
        try:
            process.run()
        except LifespanFailure as failure:
            raise OSError(str(failure)) from failure
        finally:
            ended.set()
        # A view that does not end keeps a thread, and the interpreter would wait for it.
        watchdog = threading.Timer(_EXIT_TIMEOUT / 2, os._exit, (0,))
        watchdog.daemon = True
        watchdog.start()
        if process.received_signal is signal.SIGINT:
            raise KeyboardInterrupt


def _stop(process: ServerProcess, ended: threading.Event) -> None:
    """Let a server in another thread stop, while the process is ending."""
    process.stop()
    ended.wait(_EXIT_TIMEOUT)


def _bind_value(host: str, port: int, ipv6: bool) -> str:
    """Return an address as --bind has it; a name is looked up when only IPv6 will do."""
    if ipv6 and ":" not in host:
        found = socket.getaddrinfo(host, port, socket.AF_INET6, socket.SOCK_STREAM)
        host = str(found[0][4][0])
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
