"""Binding a unix socket so that its path is never without a listener."""

from __future__ import annotations

import errno
import os
import secrets
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from .bound_socket import BoundSocket, listen_error
from .config import ListenConfig
from .exceptions import ListenError

# The largest number of a user or a group; the one above it means "unchanged".
_MAX_ID: Final = 2**32 - 2
# Seconds.
_PROBE_TIMEOUT: Final = 1.0
_LOCK_TIMEOUT: Final = 3.0
_LOCK_INTERVAL: Final = 0.01


def bind_unix(name: str, listen: ListenConfig) -> BoundSocket:
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
        raise listen_error(where, error) from None


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
        raise listen_error(where, error) from None
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
