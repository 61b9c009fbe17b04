"""The server behind runserver, in the shape that Django's own command expects of one."""

from __future__ import annotations

import signal
import socket
from typing import Any, ClassVar

from django.core.management.base import CommandError

from ..server import (
    BoundSocket,
    ConfigurationError,
    LifespanFailure,
    ListenConfig,
    ListenError,
    ServerConfig,
    TLSConfig,
    bind,
)
from ..signals import send_started, send_stopping
from .serving import DevelopmentProcess


class DevelopmentServer:
    """An ASGI server with the interface of wsgiref's: bound when made, then given its application.

    Django makes it, calls ``set_app`` and ``serve_forever``, and asks ``server_port``. Each command
    makes a subclass of its own: ``options`` are what ``ServerProcess`` takes besides ``config``,
    ``inherited`` the sockets of a keeper, and ``on_loaded`` is called before it serves.
    """

    config: ClassVar[ServerConfig]
    options: ClassVar[dict[str, Any]]
    inherited: ClassVar[list[BoundSocket] | None] = None
    on_loaded: ClassVar[Any] = staticmethod(lambda: None)

    def __init__(self, address: tuple[str, int], handler_class: object, ipv6: bool = False) -> None:
        """Bind to this address and no other, as ``bind_address`` does."""
        host, port = address
        if self.inherited is None:
            self._sockets = bind_address(self.config, host, port, ipv6)
        else:
            self._sockets = self.inherited
        bound = self._sockets[0].address
        self.server_port = bound[1] if bound is not None else port
        self._application: Any = None

    def set_app(self, application: Any) -> None:
        """Take the ASGI application to serve."""
        self._application = application

    def serve_forever(self) -> None:
        """Serve until Ctrl-C, which raises KeyboardInterrupt as it does for Django's own server.

        Below a keeper this is not the main thread, and ``DevelopmentProcess.leave`` ends it.
        """
        process = DevelopmentProcess(
            self._application,
            self.config,
            sockets=self._sockets,
            on_started=send_started,
            on_stopping=send_stopping,
            **self.options,
        )
        self.on_loaded()
        try:
            process.run()
        except (ConfigurationError, LifespanFailure) as failure:
            if self.inherited is None:
                raise OSError(str(failure)) from failure  # which Django says in one line
            raise CommandError(str(failure)) from failure
        if process.received_signal is signal.SIGINT:
            raise KeyboardInterrupt


def development_config(config: ServerConfig, **values: Any) -> ServerConfig:
    """Return a configuration without what it says of addresses and TLS: that is for production.

    ``values`` are what there is instead, by field name.
    """
    return config.replace(
        **{item.name: item.default for item in (*ListenConfig.options, *TLSConfig.options)} | values
    )


def bind_address(config: ServerConfig, host: str, port: int, ipv6: bool) -> list[BoundSocket]:
    """Bind to an address and no other; raise OSError, whose number Django has a text for."""
    try:
        return bind(config.replace(bind=(_bind_value(host, port, ipv6),)).listen)
    except ListenError as error:
        if error.errno is None:
            raise OSError(str(error)) from None
        raise OSError(error.errno, str(error)) from None


def _bind_value(host: str, port: int, ipv6: bool) -> str:
    """Return an address as --bind has it; a name is looked up when only IPv6 will do."""
    if ipv6 and ":" not in host:
        found = socket.getaddrinfo(host, port, socket.AF_INET6, socket.SOCK_STREAM)
        host = str(found[0][4][0])
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
