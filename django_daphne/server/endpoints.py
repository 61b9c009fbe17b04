"""Listening: our own sockets on the loop's native servers, and Twisted's endpoint strings.

Sockets are bound here and not by the loop, so that a busy port is one clear line before anything
has started, and so that the port of ``--port 0`` is known.
"""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import socket
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from zope.interface import implementer

from .config import ListenConfig, tcp_addresses
from .exceptions import ListenError
from .transports import ConnectionFactory, NativeTransport, TwistedTransport

# Connections accepted in one go, so that the limit on them is met before that on descriptors.
_MAX_ACCEPTS = 16

_REASONS = {
    errno.EADDRINUSE: "that address is already in use",
    errno.EACCES: "permission denied",
    errno.EADDRNOTAVAIL: "that address is not one of this machine's",
    errno.EAFNOSUPPORT: "that kind of address is not supported here",
    errno.ENAMETOOLONG: "the path is too long",
    errno.ENOENT: "there is no such directory",
}


class Listener(Protocol):
    """Something that accepts connections until it is closed."""

    @property
    def description(self) -> str:
        """Say where, for people: ``TCP address 127.0.0.1:8000``."""

    @property
    def address(self) -> tuple[str, int] | None:
        """Return host and port, or None where there is none."""

    async def close(self) -> None:
        """Accept no more."""


class SocketListener:
    """Accepts on a listening socket of ours with a native server of the loop."""

    def __init__(self, sock: socket.socket, description: str, unlink: Path | None = None) -> None:
        self._socket = sock
        self._unlink = None if unlink is None else (unlink, unlink.stat().st_ino)
        self._server: asyncio.Server | None = None
        self.description = description
        name = sock.getsockname()
        self.address: tuple[str, int] | None = name[:2] if isinstance(name, tuple) else None

    async def start(self, factory: ConnectionFactory, backlog: int) -> None:
        """Begin to accept."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: NativeTransport(factory), sock=self._socket, backlog=_MAX_ACCEPTS
        )
        # asyncio takes the backlog for the number of connections to accept in one go, too.
        self._socket.listen(backlog)

    async def close(self) -> None:
        """Accept no more; remove a unix socket's path if it is still ours."""
        if self._server is not None:
            self._server.close()
        self._socket.close()
        if self._unlink is not None:
            path, inode = self._unlink
            with suppress(OSError):  # somebody was faster
                if path.stat().st_ino == inode:
                    path.unlink()


class TwistedListener:
    """Accepts on a port that a Twisted endpoint has opened."""

    def __init__(self, port: Any, endpoint: str) -> None:
        self._port = port
        host = port.getHost()
        name, number = getattr(host, "host", None), getattr(host, "port", None)
        self.address = (name, number) if name is not None and number is not None else None
        self.description = f"endpoint {endpoint}"

    async def close(self) -> None:
        """Accept no more."""
        from twisted.internet.defer import maybeDeferred

        await maybeDeferred(self._port.stopListening).asFuture(asyncio.get_running_loop())


def bind(listen: ListenConfig) -> list[SocketListener]:
    """Bind every socket that the configuration names; endpoint strings are ``listen_endpoint``'s.

    Raises ListenError for the first that cannot be, and then none stays bound.
    """
    listeners: list[SocketListener] = []
    try:
        for host, port in tcp_addresses(listen):
            listeners.extend(_bind_tcp(host, port, listen.backlog))
        if listen.unix_socket is not None:
            listeners.append(_bind_unix(listen.unix_socket, listen.backlog))
        if listen.fd is not None:
            listeners.append(_inherit(listen.fd))
    except BaseException:
        for listener in listeners:
            listener._socket.close()
        raise
    return listeners


def _listen_error(where: str, error: OSError) -> ListenError:
    reason = _REASONS.get(error.errno or 0) or error.strerror or str(error)
    return ListenError(f"Couldn't listen on {where}: {reason}.", error.errno)


def _bind_tcp(host: str, port: int, backlog: int) -> list[SocketListener]:
    """Bind every address that a host name stands for, all on the same port."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ListenError(
            f"Couldn't listen on {_where(host, port)}: {error.strerror or error}."
        ) from None
    listeners: list[SocketListener] = []
    skipped: OSError | None = None
    for family, kind, protocol, _, address in dict.fromkeys(found):
        bound_port = listeners[0].address[1] if listeners and listeners[0].address else port
        sock = None
        try:
            sock = socket.socket(family, kind, protocol)
            if os.name == "posix":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((address[0], bound_port, *address[2:]))
            # Two sockets may be bound to a port; listening on it is what fails for the second.
            sock.listen(backlog)
            sock.setblocking(False)
        except OSError as error:
            if sock is not None:
                sock.close()
            skipped = error
            # A name may stand for an address of a family that is switched off.
            if len(found) > 1 and error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                continue
            for listener in listeners:
                listener._socket.close()
            raise _listen_error(_where(host, port), error) from None
        name = sock.getsockname()
        listeners.append(SocketListener(sock, f"TCP address {_where(name[0], name[1])}"))
    if not listeners and skipped is not None:
        raise _listen_error(_where(host, port), skipped)
    return listeners


def _where(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _bind_unix(name: str, backlog: int) -> SocketListener:
    """Bind under a temporary name and rename, so that the path is never without a listener.

    A socket that nobody answers on was left by a server that died, and is replaced.
    """
    where = f"unix socket {name}"
    path = Path(name)
    if not hasattr(socket, "AF_UNIX"):
        raise ListenError(f"Couldn't listen on {where}: there are no unix sockets here.")
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise ListenError(f"Couldn't listen on {where}: there is a file that is no socket.")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1.0)
            with suppress(ConnectionRefusedError):
                probe.connect(name)
                raise ListenError(f"Couldn't listen on {where}: a server answers on it.")
    except FileNotFoundError:
        pass
    except OSError as error:
        raise _listen_error(where, error) from None
    temporary = Path(f"{name}.{secrets.token_hex(4)}")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(str(temporary))
        try:
            sock.listen(backlog)
            sock.setblocking(False)
            temporary.replace(path)
        except BaseException:
            temporary.unlink()
            raise
    except OSError as error:
        sock.close()
        raise _listen_error(where, error) from None
    return SocketListener(sock, where, unlink=path)


def _inherit(descriptor: int) -> SocketListener:
    """Take a listening socket over from the process that started this one."""
    where = f"descriptor {descriptor}"
    try:
        sock = socket.socket(fileno=os.dup(descriptor))
        if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            sock.close()
            raise ListenError(f"Couldn't listen on {where}: it is no listening socket.")
    except OSError as error:
        raise _listen_error(where, error) from None
    sock.setblocking(False)
    return SocketListener(sock, where)


async def listen_endpoint(
    reactor: Any, endpoint: str, factory: ConnectionFactory
) -> TwistedListener:
    """Listen on a Twisted endpoint string. Raises ListenError naming it."""
    from twisted.internet.endpoints import serverFromString
    from twisted.internet.interfaces import IProtocolNegotiationFactory
    from twisted.internet.protocol import Factory

    @implementer(IProtocolNegotiationFactory)
    class ConnectionsFactory(Factory):
        noisy = False

        def acceptableProtocols(self) -> list[bytes]:
            return [b"http/1.1"]

        def buildProtocol(self, addr: object) -> TwistedTransport:
            return TwistedTransport(factory)

    try:
        server = serverFromString(reactor, endpoint)  # type: ignore[no-untyped-call]
        port = await server.listen(ConnectionsFactory()).asFuture(asyncio.get_running_loop())
    except Exception as error:
        # Plug-ins raise what they like; whatever it is, this endpoint cannot be listened on.
        raise ListenError(f"Couldn't listen on endpoint {endpoint}: {error}") from error
    return TwistedListener(port, endpoint)


def addresses(listeners: Sequence[Listener]) -> list[tuple[str, int]]:
    """Return host and port of the listeners that have them."""
    return [listener.address for listener in listeners if listener.address is not None]
