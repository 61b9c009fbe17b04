"""A listening socket before anything accepts on it, in the process that bound it or another."""

from __future__ import annotations

import errno
import os
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from .addresses import ProxyProtocol
from .exceptions import ListenError
from .types import Address

_REASONS: Final = {
    errno.EADDRINUSE: "that address is already in use",
    errno.EACCES: "permission denied",
    errno.EPERM: "only root may give it to another user, or to a group that is not yours",
    errno.EADDRNOTAVAIL: "that address is not one of this machine's",
    errno.EAFNOSUPPORT: "that kind of address is not supported here",
    errno.ENAMETOOLONG: "the path is too long",
    errno.ENOENT: "there is no such directory",
    errno.EBADF: "there is no such descriptor",
    errno.ENOTSOCK: "it is no listening socket",
}

# Elsewhere one of several sockets on a port gets every connection.
CAN_SHARE_PORTS: Final = sys.platform == "linux"


class BoundSocket:
    """A listening socket, where it listens, and what its connections begin with.

    ``is_plain`` says that it is without TLS whatever certificates the server has, ``is_insecure``
    that the operator wanted this address so. With ``shares_port`` there can be `another` on its
    port, and the kernel gives each its part of the connections. ``is_contended`` says that other
    processes accept on this very one, too.
    """

    def __init__(
        self,
        sock: socket.socket,
        description: str,
        proxy_protocol: ProxyProtocol,
        path: tuple[Path, int] | None = None,
        *,
        is_insecure: bool = False,
        is_plain: bool = False,
        shares_port: bool = False,
        is_contended: bool = False,
    ) -> None:
        """Take a socket that listens; ``path`` is a unix socket's of ours, with its inode."""
        sock.setblocking(False)
        self.socket = sock
        self.description = description
        self.proxy_protocol = proxy_protocol
        self.is_insecure = is_insecure
        self.is_plain = is_plain or is_insecure or path is not None
        self.shares_port = shares_port
        self.is_contended = is_contended
        self._path = path
        name = sock.getsockname()
        # Host and port, None for a unix socket.
        self.address: Address = (name[0], name[1]) if isinstance(name, tuple) else None

    def remove_path(self) -> None:
        """Remove a unix socket's path if it is still ours.

        While it still listens: from a socket that nobody answers on, a successor might take the
        path over between our look and the removal.
        """
        if self._path is not None:
            (path, inode), self._path = self._path, None
            with suppress(OSError):  # somebody was faster
                if path.stat().st_ino == inode:
                    path.unlink()

    def close(self) -> None:
        """Remove what is left of it."""
        self.remove_path()
        self.socket.close()

    def another(self, backlog: int) -> BoundSocket:
        """Return one more socket on the same port. Raises OSError."""
        sock = bind_name(self.socket.family, self.socket.getsockname(), backlog, shares_port=True)
        return BoundSocket.adopt(sock.detach(), **self.parts())

    def duplicate(self) -> BoundSocket:
        """Return another descriptor of the same socket."""
        return BoundSocket.adopt(self.socket.dup().detach(), **self.parts())

    def describe(self) -> dict[str, Any]:
        """Return what makes it again in a process that has its descriptor, for `adopt`."""
        return {"descriptor": self.socket.fileno(), **self.parts()}

    def parts(self) -> dict[str, Any]:
        """Return what a socket has besides its descriptor; its path stays here."""
        return {
            "description": self.description,
            "proxy_protocol": self.proxy_protocol,
            "is_insecure": self.is_insecure,
            "is_plain": self.is_plain,
            "shares_port": self.shares_port,
            "is_contended": self.is_contended,
        }

    def release_path(self) -> list[Any] | None:
        """Leave a unix socket's path to another process, whose `own_path` gets what is returned."""
        taken, self._path = self._path, None
        return None if taken is None else [str(taken[0]), taken[1]]

    def own_path(self, path: list[Any] | None) -> None:
        """Remove a unix socket's path at the end, instead of the process that has bound it."""
        self._path = None if path is None else (Path(path[0]), int(path[1]))

    def hand_down(self) -> dict[str, Any]:
        """Let child processes inherit it; return what makes it again there, for ``take_over``."""
        self.socket.set_inheritable(True)
        return self.describe()

    @classmethod
    def take_over(cls, descriptor: int, **parts: Any) -> BoundSocket:
        """Return a socket that the parent process has handed down.

        It is a duplicate: what was inherited stays open for the next that takes over, and ends with
        the process.
        """
        os.set_inheritable(descriptor, False)
        return cls.adopt(os.dup(descriptor), **parts)

    @classmethod
    def adopt(cls, descriptor: int, **parts: Any) -> BoundSocket:
        """Return a socket around a descriptor, which is its own from then on."""
        os.set_inheritable(descriptor, False)
        return cls(socket.socket(fileno=descriptor), **parts)


def listen_error(where: str, error: OSError) -> ListenError:
    """Return what says why this cannot be listened on."""
    reason = _REASONS.get(error.errno or 0) or error.strerror or str(error)
    return ListenError(f"Couldn't listen on {where}: {reason}.", error.errno)


def describe_address(host: str, port: int) -> str:
    """Return host and port as people write them."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def bind_name(
    family: socket.AddressFamily | int,
    name: tuple[Any, ...],
    backlog: int,
    *,
    shares_port: bool = False,
) -> socket.socket:
    """Return a socket that listens on an address; with others of this user, if it is to."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shares_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(name)
        # Two sockets may be bound to a port; listening on it is what fails for the second.
        sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return sock
