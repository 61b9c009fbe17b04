"""Accepting on Twisted's endpoint strings. Imported where there is one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort, IProtocolNegotiationFactory
from twisted.internet.protocol import Factory
from zope.interface import implementer

from .bound_socket import describe_address
from .exceptions import ListenError
from .transports import ConnectionFactory
from .twisted_transport import TwistedTransport


class TwistedListener:
    """Accepts on a port that a Twisted endpoint has opened."""

    def __init__(self, port: Any, endpoint: str) -> None:
        self._port = port
        host = port.getHost()
        name, number = getattr(host, "host", None), getattr(host, "port", None)
        self.address = (name, number) if name is not None and number is not None else None
        at = "" if self.address is None else f" at {describe_address(*self.address)}"
        self.description = f"endpoint {endpoint}{at}"

    async def close(self) -> None:
        """Accept no more."""
        await maybeDeferred(self._port.stopListening).asFuture(asyncio.get_running_loop())


@implementer(IProtocolNegotiationFactory)
class ConnectionsFactory(Factory):
    """Makes the transports of an endpoint, which agrees on a version of HTTP where it has ALPN."""

    noisy = False

    def __init__(self, connect: ConnectionFactory, versions: Sequence[str]) -> None:
        self._connect = connect
        self._versions = [version.encode("ascii") for version in versions]

    # Twisted's names (IProtocolNegotiationFactory, IProtocolFactory).

    def acceptableProtocols(self) -> list[bytes]:
        return self._versions

    def buildProtocol(self, addr: object) -> TwistedTransport:
        return TwistedTransport(self._connect)


async def listen_endpoint(
    reactor: Any, endpoint: str, connect: ConnectionFactory, versions: Sequence[str]
) -> TwistedListener:
    """Listen on a Twisted endpoint string. Raises ListenError naming it.

    ``versions`` are those of HTTP to agree on by ALPN, where the endpoint is one of TLS.
    """
    try:
        server = serverFromString(reactor, endpoint)  # type: ignore[no-untyped-call]
        listening = server.listen(ConnectionsFactory(connect, versions))
        port = await listening.asFuture(asyncio.get_running_loop())
    except Exception as error:
        # Plug-ins raise what they like; whatever it is, this endpoint cannot be listened on.
        raise ListenError(f"Couldn't listen on endpoint {endpoint}: {error}") from error
    if not IListeningPort.providedBy(port):
        raise ListenError(f"Couldn't listen on endpoint {endpoint}: it opens no port.")
    return TwistedListener(port, endpoint)
