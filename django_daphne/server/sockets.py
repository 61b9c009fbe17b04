"""Listening sockets, bound by us or inherited, before anything accepts on them.

They are bound here and not by the loop, so that a busy port is one clear line before anything has
started, and so that the port of ``--port 0`` is known.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence
from typing import Any, Final

from .addresses import (
    DEFAULT_HOST,
    DEFAULT_PORT,
    EVERY_HOST,
    BindAddress,
    ProxyProtocol,
    parse_bind,
)
from .bound_socket import BoundSocket, bind_name, describe_address, listen_error
from .config import ListenConfig
from .exceptions import ListenError
from .unix_sockets import bind_unix

# A free port of the first family may be taken in the second: so often another one is tried.
_FREE_PORT_ATTEMPTS: Final = 16


def bind(
    listen: ListenConfig,
    activated: Sequence[tuple[int, str]] = (),
    *,
    shares_ports: bool = False,
) -> list[BoundSocket]:
    """Bind every socket that the configuration names; endpoint strings are ``endpoints``'.

    ``activated`` are descriptors with names, from a service manager; they take the place of the
    default address. With ``shares_ports`` there can be more sockets on the ports of TCP addresses.
    Raise ListenError for the first that cannot be had, and then none stays bound.
    """
    bound: list[BoundSocket] = []
    try:
        for descriptor, name in activated:
            bound.append(_inherit(descriptor, f"activated socket {name}", listen.proxy_protocol))
            os.close(descriptor)
        for address in tcp_addresses(listen, is_activated=bool(activated)):
            bound.extend(_bind_tcp(address, listen, shares_ports))
        for value in listen.insecure_bind:
            address = _complete(parse_bind(value), listen)
            bound.extend(_bind_tcp(address, listen, shares_ports, is_insecure=True))
        if listen.unix_socket is not None:
            bound.append(bind_unix(listen.unix_socket, listen))
        if listen.fd is not None:
            where = f"descriptor {listen.fd}"
            bound.append(_inherit(listen.fd, where, listen.proxy_protocol))
    except BaseException:
        for each in bound:
            each.close()
        raise
    return bound


def tcp_addresses(listen: ListenConfig, *, is_activated: bool = False) -> list[BindAddress]:
    """Return the addresses of --bind and --port with everything filled in; may be none."""
    wanted = [parse_bind(value) for value in listen.bind]
    elsewhere = listen.unix_socket is not None or listen.fd is not None or listen.endpoint
    if not (wanted or (listen.port is None and (elsewhere or is_activated))):
        wanted = [BindAddress(DEFAULT_HOST)]
    return [_complete(address, listen) for address in wanted]


def _complete(address: BindAddress, listen: ListenConfig) -> BindAddress:
    """Fill in what an address leaves to the options for all of them."""
    port = DEFAULT_PORT if listen.port is None else listen.port
    return BindAddress(
        address.host,
        port if address.port is None else address.port,
        address.proxy_protocol or listen.proxy_protocol,
    )


def _bind_tcp(
    address: BindAddress, listen: ListenConfig, shares_port: bool, *, is_insecure: bool = False
) -> list[BoundSocket]:
    """Bind every address that a host stands for, all on the same port."""
    host, port = address.host, address.port or 0
    where = describe_address(host, port)
    try:
        found = socket.getaddrinfo(
            None if host == EVERY_HOST else host,
            port,
            type=socket.SOCK_STREAM,
            flags=socket.AI_PASSIVE,
        )
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no name of a host"
        raise ListenError(f"Couldn't listen on {where}: {reason}.") from None
    names = list(dict.fromkeys((family, name) for family, _, _, _, name in found))
    for attempts_left in reversed(range(_FREE_PORT_ATTEMPTS)):
        try:
            sockets = _bind_names(names, listen.backlog)
            if shares_port:
                # The first try has found out whether somebody else is there, which this cannot.
                sockets = [_rebind(sock, listen.backlog) for sock in sockets]
            break
        except OSError as error:
            if port or error.errno != errno.EADDRINUSE or not attempts_left:
                raise listen_error(where, error) from None
    mode = address.proxy_protocol or "off"
    return [
        BoundSocket(
            sock,
            f"TCP address {describe_address(*sock.getsockname()[:2])}",
            mode,
            is_insecure=is_insecure,
            shares_port=shares_port,
        )
        for sock in sockets
    ]


def _bind_names(
    names: Sequence[tuple[socket.AddressFamily, tuple[Any, ...]]], backlog: int
) -> list[socket.socket]:
    """Return listening sockets, the later ones on the port of the first; raise OSError."""
    sockets: list[socket.socket] = []
    skipped: OSError | None = None
    for family, (host, port, *rest) in names:
        try:
            free = sockets[0].getsockname()[1] if sockets else port
            sockets.append(bind_name(family, (host, free, *rest), backlog))
        except OSError as error:
            skipped = error
            # A host may stand for an address of a family that is switched off.
            if len(names) > 1 and error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                continue
            for each in sockets:
                each.close()
            raise
    if not sockets and skipped is not None:
        raise skipped
    return sockets


def _rebind(sock: socket.socket, backlog: int) -> socket.socket:
    """Return a socket that shares its port, in the place of one that does not."""
    name = sock.getsockname()
    sock.close()
    return bind_name(sock.family, name, backlog, shares_port=True)


def _inherit(descriptor: int, where: str, proxy_protocol: ProxyProtocol) -> BoundSocket:
    """Take a listening socket over from the process that started this one."""
    duplicate = sock = None
    try:
        duplicate = os.dup(descriptor)
        sock = socket.socket(fileno=duplicate)
        is_stream = sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_STREAM
        if not (is_stream and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)):
            raise OSError(errno.ENOTSOCK, "")
    except OSError as error:
        if sock is not None:
            sock.close()
        elif duplicate is not None:
            os.close(duplicate)
        raise listen_error(where, error) from None
    return BoundSocket(sock, where, proxy_protocol)
