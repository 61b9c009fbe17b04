"""Listening sockets, bound by us or inherited, before anything accepts on them.

They are bound here and not by the loop, so that a busy port is one clear line before anything has
started, and so that the port of ``--port 0`` is known.
"""

from __future__ import annotations

import errno
import os
import secrets
import socket
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from .addresses import (
    DEFAULT_HOST,
    DEFAULT_PORT,
    EVERY_HOST,
    BindAddress,
    ProxyProtocol,
    parse_bind,
)
from .config import ListenConfig
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

# A free port of the first family may be taken in the second: so often another one is tried.
_FREE_PORT_ATTEMPTS: Final = 16
# The largest number of a user or a group; the one above it means "unchanged".
_MAX_ID: Final = 2**32 - 2
# Seconds.
_PROBE_TIMEOUT: Final = 1.0
_LOCK_TIMEOUT: Final = 3.0
_LOCK_INTERVAL: Final = 0.01


class BoundSocket:
    """A listening socket, where it listens, and what its connections begin with.

    ``is_plain`` says that it is without TLS whatever certificates the server has, ``is_insecure``
    that the operator wanted this address so.
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
    ) -> None:
        """Take a socket that listens; ``path`` is a unix socket's of ours, with its inode."""
        sock.setblocking(False)
        self.socket = sock
        self.description = description
        self.proxy_protocol = proxy_protocol
        self.is_insecure = is_insecure
        self.is_plain = is_plain or is_insecure or path is not None
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

    def hand_down(self) -> dict[str, Any]:
        """Let child processes inherit it; return what makes it again there, for ``take_over``."""
        self.socket.set_inheritable(True)
        return {
            "descriptor": self.socket.fileno(),
            "description": self.description,
            "proxy_protocol": self.proxy_protocol,
            "is_insecure": self.is_insecure,
            "is_plain": self.is_plain,
        }

    @classmethod
    def take_over(cls, descriptor: int, **parts: Any) -> BoundSocket:
        """Return a socket that the parent process has handed down.

        It is a duplicate: what was inherited stays open for the next that takes over, and ends with
        the process.
        """
        inherited = socket.socket(fileno=descriptor)
        try:
            inherited.set_inheritable(False)
            return cls(inherited.dup(), **parts)
        finally:
            inherited.detach()


def bind(listen: ListenConfig, activated: Sequence[tuple[int, str]] = ()) -> list[BoundSocket]:
    """Bind every socket that the configuration names; endpoint strings are ``endpoints``'.

    ``activated`` are descriptors with names, from a service manager; they take the place of the
    default address. Raise ListenError for the first that cannot be had, and then none stays bound.
    """
    bound: list[BoundSocket] = []
    try:
        for descriptor, name in activated:
            bound.append(_inherit(descriptor, f"activated socket {name}", listen.proxy_protocol))
            os.close(descriptor)
        for address in tcp_addresses(listen, is_activated=bool(activated)):
            bound.extend(_bind_tcp(address, listen))
        for value in listen.insecure_bind:
            address = _complete(parse_bind(value), listen)
            bound.extend(_bind_tcp(address, listen, is_insecure=True))
        if listen.unix_socket is not None:
            bound.append(_bind_unix(listen.unix_socket, listen))
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


def _listen_error(where: str, error: OSError) -> ListenError:
    reason = _REASONS.get(error.errno or 0) or error.strerror or str(error)
    return ListenError(f"Couldn't listen on {where}: {reason}.", error.errno)


def describe_address(host: str, port: int) -> str:
    """Return host and port as people write them."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _bind_tcp(
    address: BindAddress, listen: ListenConfig, *, is_insecure: bool = False
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
            break
        except OSError as error:
            if port or error.errno != errno.EADDRINUSE or not attempts_left:
                raise _listen_error(where, error) from None
    mode = address.proxy_protocol or "off"
    return [
        BoundSocket(
            sock,
            f"TCP address {describe_address(*sock.getsockname()[:2])}",
            mode,
            is_insecure=is_insecure,
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
            sockets.append(_bind_name(family, (host, free, *rest), backlog))
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


def _bind_name(family: socket.AddressFamily, name: tuple[Any, ...], backlog: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(name)
        # Two sockets may be bound to a port; listening on it is what fails for the second.
        sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return sock


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
        raise _listen_error(where, error) from None
    return BoundSocket(sock, where, proxy_protocol)


def _bind_unix(name: str, listen: ListenConfig) -> BoundSocket:
    """Bind under a temporary name and rename, so that the path is never without a listener.

    A socket that nobody answers on was left by a server that died, and is replaced.
    """
    where = f"unix socket {name}"
    path = Path(name)
    if not hasattr(socket, "AF_UNIX"):
        raise ListenError(f"Couldn't listen on {where}: there are no unix sockets here.")
    owner = _find_id("user", listen.unix_socket_owner)
    group = _find_id("group", listen.unix_socket_group)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _locked(path.parent):
            _check_unix_path(path, where)
            # Not longer than the path, whose length is limited.
            temporary = path.with_name("." + secrets.token_hex(8)[: max(len(path.name) - 1, 3)])
            sock.bind(str(temporary))
            try:
                temporary.chmod(listen.unix_socket_mode)
                if (owner, group) != (-1, -1):
                    os.chown(temporary, owner, group)
                sock.listen(listen.backlog)
                inode = temporary.stat().st_ino
                temporary.replace(path)
            except BaseException:
                temporary.unlink()
                raise
        return BoundSocket(sock, where, listen.proxy_protocol, (path, inode))
    except ListenError:
        sock.close()
        raise
    except OSError as error:
        sock.close()
        raise _listen_error(where, error) from None


def _find_id(kind: str, name: str | None) -> int:
    """Return the number of a user or a group, -1 where none is named."""
    if name is None:
        return -1
    try:
        if name.isdecimal():
            if int(name) > _MAX_ID:
                raise KeyError(name)
            return int(name)
        if kind == "user":
            import pwd

            return pwd.getpwnam(name).pw_uid
        import grp

        return grp.getgrnam(name).gr_gid
    except (ImportError, KeyError):
        flag = "--unix-socket-owner" if kind == "user" else "--unix-socket-group"
        raise ListenError(f"{flag} {name}: there is no such {kind}.") from None


def _check_unix_path(path: Path, where: str) -> None:
    """Raise ListenError unless the path is free, or a socket that nobody answers on."""
    try:
        with suppress(FileNotFoundError):
            if not stat.S_ISSOCK(path.lstat().st_mode):
                raise ListenError(f"Couldn't listen on {where}: there is a file that is no socket.")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(_PROBE_TIMEOUT)
            probe.connect(str(path))
    except (FileNotFoundError, ConnectionRefusedError):
        return
    except (BlockingIOError, TimeoutError):
        pass  # its queue is full: somebody has it, and is busy
    except OSError as error:
        raise _listen_error(where, error) from None
    raise ListenError(f"Couldn't listen on {where}: a server answers on it.", errno.EADDRINUSE)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Let one process at a time look at a directory's sockets and replace one of them.

    Two that start together would both find a dead socket, and the second would take the path from
    the first, which would serve nobody. The lock is the directory's own, so that no file is left.
    It is not waited for without end: whoever can read the directory can hold it.
    """
    try:
        import fcntl

        descriptor = os.open(directory, os.O_RDONLY)
    except (ImportError, OSError):  # it cannot be read, or it is not there, as binding will find
        yield
        return
    try:
        deadline = time.monotonic() + _LOCK_TIMEOUT
        while time.monotonic() < deadline:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(_LOCK_INTERVAL)
            except OSError:  # not on this file system
                break
            else:
                break
        yield
    finally:
        os.close(descriptor)
