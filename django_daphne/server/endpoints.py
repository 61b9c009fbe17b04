"""Accepting on bound sockets, by the loop; see `accepting` and `twisted_endpoints`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Protocol

from .bound_socket import BoundSocket
from .reactor import loop_name
from .transports import ConnectionFactory, NativeTransport
from .types import Address

if TYPE_CHECKING:
    from .tls import Encryption

logger = logging.getLogger("django_daphne.server")

# Connections accepted in one go, so that the limit on them is met before that on descriptors.
_MAX_ACCEPTS: Final = 16
# Turns of asyncio's loop from an accepted connection to one that its server knows.
_TURNS_TO_CONNECT: Final = 2


class Listener(Protocol):
    """Something that accepts connections until it is closed."""

    @property
    def description(self) -> str:
        """Say where, for people: ``TCP address 127.0.0.1:8000``."""

    @property
    def address(self) -> Address:
        """Return host and port, or None where there is none."""

    async def close(self) -> None:
        """Accept no more."""


class NativeListener(Listener, Protocol):
    """A listener of ours, on a socket of ours."""

    async def start(self, connect: ConnectionFactory, backlog: int) -> None:
        """Begin to accept."""

    async def renew(self, encryption: Encryption) -> None:
        """Speak TLS by other certificates with whoever connects from now on."""


class SocketListener:
    """Accepts on a bound socket with a native server of the loop, with TLS or without."""

    def __init__(self, bound: BoundSocket, encryption: Encryption | None = None) -> None:
        self._bound = bound
        self._encryption = encryption
        self._server: asyncio.Server | None = None
        self._connect: ConnectionFactory
        self._backlog: int
        self.description = bound.description + (" (TLS)" if encryption else "")
        self.address = bound.address

    async def start(self, connect: ConnectionFactory, backlog: int) -> None:
        """Begin to accept."""
        self._connect, self._backlog = connect, backlog
        self._server = await self._serve()

    async def renew(self, encryption: Encryption) -> None:
        """Speak TLS by other certificates with whoever connects from now on.

        Nobody is disconnected or refused: another server takes over on the same socket.
        """
        self._encryption = encryption
        server, self._server = self._server, await self._serve()
        if server is not None:
            await _retire(server)

    async def close(self) -> None:
        """Accept no more."""
        self._bound.remove_path()
        if self._server is not None:
            await _retire(self._server)
        self._bound.close()

    async def _serve(self) -> asyncio.Server:
        # The server closes what it was given, and the next one needs it.
        sock = self._bound.socket.dup()
        connect = self._connect
        options = {} if self._encryption is None else self._encryption.options()
        try:
            server = await asyncio.get_running_loop().create_server(
                lambda: NativeTransport(connect), sock=sock, backlog=_MAX_ACCEPTS, **options
            )
        except BaseException:
            sock.close()
            raise
        # asyncio takes the backlog for the number of connections to accept in one go, too.
        self._bound.socket.listen(self._backlog)
        return server


async def _retire(server: asyncio.Server) -> None:
    """Close a server without losing a connection that it has accepted.

    asyncio makes a connection a turn after it was accepted, and drops it without a word, and
    without closing it, when its server is closed by then.
    """
    loop = asyncio.get_running_loop()
    if loop_name(loop) == "asyncio":
        for sock in server.sockets:
            loop.remove_reader(sock.fileno())
        for _ in range(_TURNS_TO_CONNECT):
            await asyncio.sleep(0)
    server.close()


def addresses(listeners: Sequence[Listener | BoundSocket]) -> list[tuple[str, int]]:
    """Return host and port of the listeners that have them."""
    return [listener.address for listener in listeners if listener.address is not None]
