"""The carriers of a connection: the loop's own transports here, Twisted's in `twisted_transport`.

Each adapter stands between a carrier and a ``Connection``, which sees the one ``Transport``
interface. They hide what differs: uvloop raises when a closed transport is written to and asyncio
is silent; neither resets a connection on ``abort``; over TLS there is no half-close; Twisted calls
"producer" what the loop calls "writing".
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from . import files, tls_extension
from .exceptions import ClientDisconnected
from .interfaces import Transport
from .protocols.flow_control import FlowControl
from .types import Address

if TYPE_CHECKING:
    from .proxy_protocol import ProxyHeader

logger = logging.getLogger("django_daphne.server")

# On, for zero seconds: close() then sends a reset and drops what is unsent.
_LINGER_RESET: Final = struct.pack("ii", 1, 0)

# An IPv4 address of a socket of both families, in IPv6's clothes (RFC 4291, section 2.5.5.2).
_is_mapped: Final = re.compile(r"::ffff:[0-9.]+").fullmatch


class ConnectionProtocol(Protocol):
    """What an adapter calls: a Twisted protocol that also wants to know of backpressure.

    It has the methods of Twisted's protocols (IProtocol) and none of their base classes, which take
    as long to import as all of this server.
    """

    def makeConnection(self, transport: Transport) -> None: ...
    def dataReceived(self, data: bytes) -> None: ...
    def readConnectionLost(self) -> None: ...
    def connectionLost(self, reason: object = None) -> None: ...
    def pause_sending(self) -> None: ...
    def resume_sending(self) -> None: ...
    def introduced(self) -> None: ...


# Called when a connection is made, and not before: the loops accept several at a time first, and
# whether there is room for one is known when the others are counted.
ConnectionFactory = Callable[[], ConnectionProtocol]


class NativeTransport(asyncio.Protocol):
    """A connection over a transport of asyncio or uvloop."""

    peer: Address
    host: Address
    is_tls: bool
    is_secure: bool
    alpn: str | None
    # The hot path: bytes go to the loop without a stop here, and after the end nowhere.
    write: Callable[[bytes], None]
    # Called with the size of what the kernel sends of a file, which nobody writes.
    note_sent: Callable[[int], object] | None = None

    def __init__(self, connect: ConnectionFactory, introduction: ProxyHeader | None = None) -> None:
        """Make a transport; an ``introduction`` is what a proxy has said of the connection."""
        self._connect = connect
        self._introduction = introduction
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
        if type(transport).__module__.startswith("asyncio"):
            self.write = self._write_if_open
        self.peer = _address(transport.get_extra_info("peername"))
        self.host = _address(transport.get_extra_info("sockname"))
        tls = transport.get_extra_info("ssl_object")
        self.is_tls = self.is_secure = tls is not None
        self.alpn = None if tls is None else tls.selected_alpn_protocol()
        # Now, for OpenSSL has forgotten it when a connection is reset, also behind a request.
        self._tls_extension = None if tls is None else tls_extension.of_native(tls)
        introduction = self._introduction
        if introduction is not None:
            self.is_secure |= introduction.is_tls
            if not introduction.is_local:
                self.peer, self.host = introduction.client, introduction.server
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
        self._connection.connectionLost()

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

    def tls_extension(self) -> dict[str, object]:
        """Return what the handshake has agreed on."""
        assert self._tls_extension is not None
        return self._tls_extension

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
            # asyncio raises where the peer has reset the connection, before it says so itself.
            with suppress(OSError):
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
            await files.send(
                *(sock, self._file_ended, descriptor, offset, count, progress), self.note_sent
            )
        finally:
            os.close(sock)
            self._file_ended = None
            self.set_write_buffer_limit(self._high)

    async def drained(self) -> None:
        """Return when more may be written; raise ClientDisconnected when nothing may be."""
        await self._flow.wait()
        if self._disconnected or self._aborted:
            raise ClientDisconnected("the connection ended")


def _nowhere(data: bytes) -> None:
    """Take what is written to a connection that has ended."""


def _address(name: Any) -> Address:
    """Return host and port of a socket's name; None for a unix socket."""
    if not isinstance(name, tuple):
        return None
    host, port = name[:2]
    return (host.rpartition(":")[2] if _is_mapped(host) else host), port
