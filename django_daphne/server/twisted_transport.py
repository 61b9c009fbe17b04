"""A connection on a transport of Twisted, as its endpoints make them."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final

from twisted.internet import interfaces
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from . import files, tls_extension
from .exceptions import ClientDisconnected
from .protocols.flow_control import FlowControl
from .transports import ConnectionFactory, ConnectionProtocol
from .types import Address

logger = logging.getLogger("django_daphne.server")


@implementer(interfaces.IHalfCloseableProtocol, interfaces.IPushProducer)
class TwistedTransport(Protocol):
    """A connection over a transport of Twisted.

    Twisted says when its buffer is full and when it is empty, but not how full it is. What is
    written while it is full is kept here and handed over a piece at a time, so that a client that
    reads slowly is told from one that does not read.
    """

    _PIECE: Final = 65536

    peer: Address
    host: Address
    is_tls: bool

    def __init__(self, connect: ConnectionFactory) -> None:
        self._connect = connect
        self._connection: ConnectionProtocol
        self._pending: deque[bytes] = deque()
        self._pending_size = 0
        self._full = False  # Twisted's buffer
        self._flow = FlowControl()
        self._high = self._PIECE
        self._closing = False
        self._ending = False  # nothing more is written, but reading goes on
        self._disconnected = False
        self._has_data = False
        self._transport: Any

    # Twisted's names: Protocol, IHalfCloseableProtocol, IPushProducer.

    def connectionMade(self) -> None:
        self._connection = self._connect()
        self._transport = self.transport
        self.peer = _twisted_address(self._transport.getPeer())
        self.host = _twisted_address(self._transport.getHost())
        self.is_tls = interfaces.ISSLTransport.providedBy(self._transport)
        self._transport.registerProducer(self, True)
        self._connection.makeConnection(self)

    def dataReceived(self, data: bytes) -> None:
        if not self._has_data:
            # Behind Twisted's PROXY protocol wrapper only now it is known whose connection it is.
            self._has_data = True
            peer = _twisted_address(self._transport.getPeer())
            if peer != self.peer:
                self.peer, self.host = peer, _twisted_address(self._transport.getHost())
                self._connection.introduced()
        try:
            self._connection.dataReceived(data)
        except Exception:
            logger.exception("Internal error while reading from %s", self.peer)
            self.abort()

    def readConnectionLost(self) -> None:
        self._connection.readConnectionLost()

    def writeConnectionLost(self) -> None:
        pass  # after our own write_eof

    def connectionLost(self, reason: Failure | None = None) -> None:
        self._disconnected = True
        self._pending.clear()
        self._pending_size = 0
        self._flow.resume()
        self._connection.connectionLost(reason)

    def pauseProducing(self) -> None:
        self._full = True
        self._update_pause()

    def resumeProducing(self) -> None:
        self._full = False
        while self._pending and not self._full:
            data = self._pending.popleft()
            self._pending_size -= len(data)
            self._transport.write(data)
        self._update_pause()
        if self._closing and not self._pending:
            self._lose()
        elif self._ending and not self._pending:
            self._transport.loseWriteConnection()

    def stopProducing(self) -> None:
        pass  # connectionLost follows

    # Transport

    @property
    def is_secure(self) -> bool:
        """Return what ``is_tls`` says; no endpoint knows more."""
        return self.is_tls

    @property
    def alpn(self) -> str | None:
        """Return what TLS has negotiated; None before the handshake is done."""
        negotiated = getattr(self._transport, "negotiatedProtocol", None)
        return negotiated.decode("ascii") if negotiated else None

    def tls_extension(self) -> dict[str, object]:
        """Return what the handshake has agreed on."""
        return tls_extension.of_twisted(self._transport.getHandle())

    @property
    def write_buffer_size(self) -> int:
        """Return what is kept here, and one piece for a buffer below that is full."""
        return self._pending_size + (self._PIECE if self._full else 0)

    def write(self, data: bytes) -> None:
        """Write, or keep what is written for later."""
        if not data or self._disconnected or self._closing:
            return
        if not self._full:
            self._transport.write(data[: self._PIECE])
            data = data[self._PIECE :]
        for start in range(0, len(data), self._PIECE):
            self._pending.append(data[start : start + self._PIECE])
        self._pending_size += len(data)
        if not self._full:
            self.resumeProducing()
        self._update_pause()

    def set_write_buffer_limit(self, high: int) -> None:
        """Set the mark above which the connection is told to wait."""
        self._high = high

    def pause_reading(self) -> None:
        """Stop reading."""
        if not self._disconnected:
            self._transport.pauseProducing()

    def resume_reading(self) -> None:
        """Read on."""
        if not self._disconnected:
            self._transport.resumeProducing()

    def write_eof(self) -> None:
        """Close the write side."""
        if not self._disconnected and not self.is_tls:
            self._ending = True
            if not self._pending:
                self._transport.loseWriteConnection()

    def close(self) -> None:
        """Flush and close."""
        self._closing = True
        if not self._pending and not self._disconnected:
            self._lose()

    def abort(self) -> None:
        """Reset the connection."""
        if not self._disconnected:
            self._transport.abortConnection()

    def send_file(
        self, descriptor: int, offset: int, count: int, progress: Callable[[], object]
    ) -> Awaitable[None]:
        """Send a part of a file."""
        return files.copy(self, descriptor, offset, count, progress)

    async def drained(self) -> None:
        """Return when more may be written; raise ClientDisconnected when nothing may be."""
        await self._flow.wait()
        if self._disconnected:
            raise ClientDisconnected("the connection ended")

    def _lose(self) -> None:
        self._transport.unregisterProducer()
        self._transport.loseConnection()

    def _update_pause(self) -> None:
        if self._disconnected:
            return
        if not self._flow.is_paused and self._pending_size > self._high:
            self._flow.pause()
            self._connection.pause_sending()
        elif self._flow.is_paused and not self._full and not self._pending:
            self._flow.resume()
            self._connection.resume_sending()


def _twisted_address(address: Any) -> Address:
    """Return host and port of a Twisted address; None where it has none."""
    host, port = getattr(address, "host", None), getattr(address, "port", None)
    return (host, port) if isinstance(host, str) and isinstance(port, int) else None
