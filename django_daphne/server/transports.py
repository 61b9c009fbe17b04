"""The two carriers of a connection: the loop's own transports, and Twisted's.

Each adapter stands between a carrier and a ``Connection``, which sees the one ``Transport``
interface. They hide what differs: uvloop raises when a closed transport is written to and asyncio
is silent; neither resets a connection on ``abort``; over TLS there is no half-close; Twisted calls
"producer" what the loop calls "writing".
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, Protocol, cast

from twisted.internet import error, interfaces
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from . import files
from .exceptions import ClientDisconnected
from .interfaces import Transport
from .protocols.flow_control import FlowControl
from .types import Address

logger = logging.getLogger("django_daphne.server")

# On, for zero seconds: close() then sends a reset and drops what is unsent.
_LINGER_RESET: Final = struct.pack("ii", 1, 0)

# Made once: they hold no traceback, and every connection ends with one of them.
_DONE: Final = Failure(error.ConnectionDone())  # type: ignore[no-untyped-call]
_LOST: Final = Failure(error.ConnectionLost())  # type: ignore[no-untyped-call]
_ABORTED: Final = Failure(error.ConnectionAborted())  # type: ignore[no-untyped-call]


class ConnectionProtocol(Protocol):
    """What an adapter calls: a Twisted protocol that also wants to know of backpressure."""

    def makeConnection(self, transport: Transport) -> None: ...
    def dataReceived(self, data: bytes) -> None: ...
    def readConnectionLost(self) -> None: ...
    def connectionLost(self, reason: Failure) -> None: ...
    def pause_sending(self) -> None: ...
    def resume_sending(self) -> None: ...


# Called when a connection is made, and not before: the loops accept several at a time first, and
# whether there is room for one is known when the others are counted.
ConnectionFactory = Callable[[], ConnectionProtocol]


class NativeTransport(asyncio.Protocol):
    """A connection over a transport of asyncio or uvloop."""

    peer: Address
    host: Address
    is_tls: bool
    alpn: str | None
    # The hot path: bytes go to the loop without a stop here, and after the end nowhere.
    write: Callable[[bytes], None]

    def __init__(self, connect: ConnectionFactory) -> None:
        self._connect = connect
        self._connection: ConnectionProtocol
        self._disconnected = False
        self._aborted = False
        self._flow = FlowControl()
        self._high = 0
        self._file_ended: asyncio.Future[None] | None = None
        self._transport: asyncio.Transport

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the connection."""
        self._connection = self._connect()
        self._transport = cast(asyncio.Transport, transport)
        self.write = self._transport.write
        if not type(transport).__module__.startswith("uvloop"):
            self.write = self._write_if_open
        self.peer = _address(transport.get_extra_info("peername"))
        self.host = _address(transport.get_extra_info("sockname"))
        tls = transport.get_extra_info("ssl_object")
        self.is_tls = tls is not None
        self.alpn = None if tls is None else tls.selected_alpn_protocol()
        self._connection.makeConnection(self)

    def data_received(self, data: bytes) -> None:
        """Hand bytes on. A fault of ours costs this connection and is logged, whatever it is."""
        try:
            self._connection.dataReceived(data)
        except Exception:
            # The loops would close the connection too, but drop an OSError without a word.
            logger.exception("Internal error while reading from %s", self.peer)
            self.abort()

    def eof_received(self) -> bool | None:
        """Say that the client sends no more; keep the write side open, which TLS cannot."""
        self._connection.readConnectionLost()
        return None if self.is_tls else True

    def connection_lost(self, exc: Exception | None) -> None:
        """End the connection."""
        self._disconnected = True
        self.write = _nowhere
        self._flow.resume()
        if self._file_ended is not None and not self._file_ended.done():
            self._file_ended.set_result(None)
        reason = _ABORTED if self._aborted else _DONE if exc is None else _LOST
        self._connection.connectionLost(reason)

    def pause_writing(self) -> None:
        """Pass the loop's backpressure on."""
        self._flow.pause()
        self._connection.pause_sending()

    def resume_writing(self) -> None:
        """Pass its end on."""
        self._flow.resume()
        if not self._disconnected:
            self._connection.resume_sending()

    # Transport

    @property
    def write_buffer_size(self) -> int:
        """Return the loop's buffer."""
        return 0 if self._disconnected else self._transport.get_write_buffer_size()

    def _write_if_open(self, data: bytes) -> None:
        # asyncio drops what follows a write that failed, with a warning for each; uvloop is silent.
        if not self._transport.is_closing():
            self._transport.write(data)

    def set_write_buffer_limit(self, high: int) -> None:
        """Set both marks; uvloop's own low mark of 16 bytes would starve the client."""
        self._high = high
        if not self._disconnected:
            self._transport.set_write_buffer_limits(high=high, low=high // 4)

    def pause_reading(self) -> None:
        """Stop reading; nothing is delivered after it."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        self._transport.resume_reading()

    def write_eof(self) -> None:
        """Close the write side."""
        if not self._disconnected and not self.is_tls:
            self._transport.write_eof()

    def close(self) -> None:
        """Flush and close."""
        self._transport.close()

    def abort(self) -> None:
        """Reset the connection."""
        if self._disconnected or self._aborted:
            return
        self._aborted = True
        self.write = _nowhere
        sock = self._transport.get_extra_info("socket")
        if sock is not None and sock.family != getattr(socket, "AF_UNIX", None):
            with suppress(OSError):  # it may be gone already
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
        self._transport.abort()

    def send_file(
        self, descriptor: int, offset: int, count: int, progress: Callable[[], object]
    ) -> Awaitable[None]:
        """Send a part of a file, by the kernel where there is no TLS."""
        if self.is_tls or not hasattr(os, "sendfile"):
            return files.copy(self, descriptor, offset, count, progress)
        return self._send_file(descriptor, offset, count, progress)

    async def _send_file(
        self, descriptor: int, offset: int, count: int, progress: Callable[[], object]
    ) -> None:
        # The kernel writes behind the loop's back: nothing may be left in the loop's buffer.
        await self.drained()
        self._transport.set_write_buffer_limits(high=0)
        await self.drained()
        self._file_ended = asyncio.get_running_loop().create_future()
        sock = os.dup(self._transport.get_extra_info("socket").fileno())
        try:
            await files.send(sock, self._file_ended, descriptor, offset, count, progress)
        finally:
            os.close(sock)
            self._file_ended = None
            self.set_write_buffer_limit(self._high)

    async def drained(self) -> None:
        """Return when more may be written; raise ClientDisconnected when nothing may be."""
        await self._flow.wait()
        if self._disconnected or self._aborted:
            raise ClientDisconnected("the connection ended")


@implementer(interfaces.IHalfCloseableProtocol, interfaces.IPushProducer)
class TwistedTransport(TwistedProtocol):
    """A connection over a transport of Twisted, as its endpoints make them.

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
        try:
            self._connection.dataReceived(data)
        except Exception:
            logger.exception("Internal error while reading from %s", self.peer)
            self.abort()

    def readConnectionLost(self) -> None:
        self._connection.readConnectionLost()

    def writeConnectionLost(self) -> None:
        pass  # after our own write_eof

    def connectionLost(self, reason: Failure = _DONE) -> None:
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
    def alpn(self) -> str | None:
        """Return what TLS has negotiated; None before the handshake is done."""
        negotiated = getattr(self._transport, "negotiatedProtocol", None)
        return negotiated.decode("ascii") if negotiated else None

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


def _nowhere(data: bytes) -> None:
    """Take what is written to a connection that has ended."""


def _address(name: Any) -> Address:
    """Return host and port of a socket's name; None for a unix socket."""
    return (name[0], name[1]) if isinstance(name, tuple) else None


def _twisted_address(address: Any) -> Address:
    """Return host and port of a Twisted address; None where it has none."""
    host, port = getattr(address, "host", None), getattr(address, "port", None)
    return (host, port) if isinstance(host, str) and isinstance(port, int) else None
