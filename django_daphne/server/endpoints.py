"""Accepting on bound sockets, by the loop; see `accepting` and `twisted_endpoints`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

from .bound_socket import BoundSocket
from .reactor import loop_name
from .transports import ConnectionFactory, NativeTransport
from .types import Address

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


class SocketListener:
    """Accepts on a bound socket with a native server of the loop."""

    def __init__(self, bound: BoundSocket) -> None:
        self._bound = bound
        self._server: asyncio.Server | None = None
        self.description = bound.description
        self.address = bound.address

    async def start(self, connect: ConnectionFactory, backlog: int) -> None:
        """Begin to accept."""
        # The server closes what it was given.
        sock = self._bound.socket.dup()
        try:
            self._server = await asyncio.get_running_loop().create_server(
                lambda: NativeTransport(connect), sock=sock, backlog=_MAX_ACCEPTS
            )
        except BaseException:
            sock.close()
            raise
        # asyncio takes the backlog for the number of connections to accept in one go, too.
        self._bound.socket.listen(backlog)

    async def close(self) -> None:
        """Accept no more."""
        self._bound.remove_path()
        if self._server is not None:
            await _retire(self._server)
        self._bound.close()


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
