"""Accepting: on bound sockets, behind a PROXY protocol header, on Twisted's endpoint strings."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final, Protocol

from zope.interface import implementer

from .addresses import TrustedPeers
from .bound_socket import BoundSocket, describe_address
from .exceptions import ListenError
from .proxy_protocol import HeaderReader, ProxyProtocolError, Versions
from .reactor import loop_name
from .tls import Encryption
from .transports import ConnectionFactory, NativeTransport
from .twisted_transport import TwistedTransport
from .types import Address

logger = logging.getLogger("django_daphne.server")

# Connections accepted in one go, so that the limit on them is met before that on descriptors.
_MAX_ACCEPTS: Final = 16
# Connections that may be between accept and the end of their PROXY protocol header.
_MAX_INTRODUCTIONS: Final = 256
# Bytes looked at in one go for a PROXY protocol header.
_PEEK: Final = 4096
# Turns of asyncio's loop from an accepted connection to one that its server knows.
_TURNS_TO_CONNECT: Final = 2
# Seconds without accepting, when there are no descriptors left.
_ACCEPT_PAUSE: Final = 1.0


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


class ProxyListener:
    """Accepts on a bound socket connections that begin with a PROXY protocol header.

    The header comes before everything else, TLS included, and often in one packet with what
    follows. So it is taken from the socket, to the byte, before the loop has a transport for it.
    """

    def __init__(
        self,
        bound: BoundSocket,
        versions: Versions,
        trusted: TrustedPeers,
        timeout: float | None,
        encryption: Encryption | None = None,
    ) -> None:
        """Take connections of trusted peers only; ``timeout`` is for their whole header.

        With ``encryption`` TLS comes behind the header.
        """
        self._bound = bound
        self._versions = versions
        self._connect: ConnectionFactory
        self._trusted = trusted
        self._timeout = timeout
        self._encryption = encryption
        self._loop = asyncio.get_running_loop()
        # Tasks that wait for a header, and those that have it and may wait for TLS; their sockets.
        self._introductions: dict[asyncio.Task[None], socket.socket] = {}
        self._handovers: dict[asyncio.Task[None], socket.socket] = {}
        self._paused: asyncio.TimerHandle | None = None
        self._is_closed = False
        self._has_warned = False
        more = ", TLS" if encryption else ""
        self.description = f"{bound.description} (PROXY protocol{more})"
        self.address = bound.address

    async def start(self, connect: ConnectionFactory, backlog: int) -> None:
        """Begin to accept."""
        self._connect = connect
        self._bound.socket.listen(backlog)
        self._resume()

    async def renew(self, encryption: Encryption) -> None:
        """Speak TLS by other certificates with whoever is introduced from now on."""
        self._encryption = encryption

    async def close(self) -> None:
        """Accept no more, and drop whoever was not introduced yet, or is in the TLS handshake."""
        if self._is_closed:
            return
        self._is_closed = True
        self._bound.remove_path()
        self._pause(None)
        for task in self._introductions:
            task.cancel()
        # A hand-over is waited for: cancelled, uvloop would make a connection that never ends.
        if self._encryption is not None:
            for sock in self._handovers.values():
                with suppress(OSError):  # it has ended already
                    sock.shutdown(socket.SHUT_RDWR)
        if waiting := [*self._introductions, *self._handovers]:
            await asyncio.wait(waiting)
        self._bound.close()

    def _accept(self) -> None:
        for _ in range(_MAX_ACCEPTS):
            if len(self._introductions) >= _MAX_INTRODUCTIONS:
                self._pause(None)  # until one of them has ended
                return
            try:
                sock, name = self._bound.socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionError):
                return
            except OSError as error:
                logger.error("No connection can be accepted on %s: %s", self.description, error)
                self._pause(_ACCEPT_PAUSE)
                return
            sock.setblocking(False)
            host = name[0] if isinstance(name, tuple) else None
            if not self._trusted.trust(host):
                self._refuse(sock, f"{host or 'a unix socket'} is none of the trusted proxies")
                continue
            task = self._loop.create_task(self._introduce(sock))
            self._introductions[task] = sock
            task.add_done_callback(self._introduced)

    async def _introduce(self, sock: socket.socket) -> None:
        """Read the header, then hand the connection to the loop."""
        reader = HeaderReader(self._versions)
        try:
            async with asyncio.timeout(self._timeout):
                while reader.header is None:
                    await self._readable(sock)
                    ahead = sock.recv(_PEEK, socket.MSG_PEEK)
                    if not ahead:
                        raise ProxyProtocolError("the connection ended before its header did")
                    sock.recv(reader.feed(ahead))
            introduction = reader.header
            self._hand_over(sock)
            options = {} if self._encryption is None else self._encryption.options()
            await self._loop.connect_accepted_socket(
                lambda: NativeTransport(self._connect, introduction), sock, **options
            )
        except ProxyProtocolError as error:
            self._refuse(sock, str(error))
        except TimeoutError:
            self._refuse(sock, "no PROXY protocol header came in time")
        except OSError:
            sock.close()  # whoever it was has gone

    async def _readable(self, sock: socket.socket) -> None:
        """Return when there is something to read."""
        readable = self._loop.create_future()
        self._loop.add_reader(sock, _set, readable)
        try:
            await readable
        finally:
            self._loop.remove_reader(sock)

    def _hand_over(self, sock: socket.socket) -> None:
        """Take note that the running task has its header."""
        if (task := asyncio.current_task()) is not None:
            self._introductions.pop(task, None)
            self._handovers[task] = sock

    def _introduced(self, task: asyncio.Task[None]) -> None:
        self._handovers.pop(task, None)
        sock = self._introductions.pop(task, None)
        if sock is not None:
            sock.close()  # it was not handed over
        if not task.cancelled() and task.exception() is not None:
            logger.error("Internal error on %s", self.description, exc_info=task.exception())
        if self._paused is None and not self._is_closed:
            self._resume()

    def _pause(self, seconds: float | None) -> None:
        """Stop accepting, for so long or until one of the introductions has ended."""
        self._loop.remove_reader(self._bound.socket.fileno())
        if self._paused is not None:
            self._paused.cancel()
            self._paused = None
        if seconds is not None:
            self._paused = self._loop.call_later(seconds, self._resume)

    def _resume(self) -> None:
        self._paused = None
        self._loop.add_reader(self._bound.socket.fileno(), self._accept)

    def _refuse(self, sock: socket.socket, reason: str) -> None:
        """Close a connection; say so loudly the first time, for it is often a mistake of ours."""
        sock.close()
        level = logging.DEBUG if self._has_warned else logging.WARNING
        logger.log(level, "A connection to %s is closed: %s", self.description, reason)
        self._has_warned = True


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
        from twisted.internet.defer import maybeDeferred

        await maybeDeferred(self._port.stopListening).asFuture(asyncio.get_running_loop())


async def listen_endpoint(
    reactor: Any, endpoint: str, factory: ConnectionFactory, versions: Sequence[str]
) -> TwistedListener:
    """Listen on a Twisted endpoint string. Raises ListenError naming it.

    ``versions`` are those of HTTP to agree on by ALPN, where the endpoint is one of TLS.
    """
    from twisted.internet.endpoints import serverFromString
    from twisted.internet.interfaces import IListeningPort, IProtocolNegotiationFactory
    from twisted.internet.protocol import Factory

    @implementer(IProtocolNegotiationFactory)
    class ConnectionsFactory(Factory):
        noisy = False

        def acceptableProtocols(self) -> list[bytes]:
            return [version.encode("ascii") for version in versions]

        def buildProtocol(self, addr: object) -> TwistedTransport:
            return TwistedTransport(factory)

    try:
        server = serverFromString(reactor, endpoint)  # type: ignore[no-untyped-call]
        port = await server.listen(ConnectionsFactory()).asFuture(asyncio.get_running_loop())
    except Exception as error:
        # Plug-ins raise what they like; whatever it is, this endpoint cannot be listened on.
        raise ListenError(f"Couldn't listen on endpoint {endpoint}: {error}") from error
    if not IListeningPort.providedBy(port):
        raise ListenError(f"Couldn't listen on endpoint {endpoint}: it opens no port.")
    return TwistedListener(port, endpoint)


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def addresses(listeners: Sequence[Listener | BoundSocket]) -> list[tuple[str, int]]:
    """Return host and port of the listeners that have them."""
    return [listener.address for listener in listeners if listener.address is not None]
