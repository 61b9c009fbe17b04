"""Accepting connection by connection, where the loop cannot do it for us.

The loop's own servers take as many connections as there are, and make a transport of each. Both is
in the way at times: a PROXY protocol header has to be taken off first, TLS has a transport of its
own, and processes that accept on one socket each take a few, or the first to wake up would get them
all.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import suppress
from functools import partial
from typing import Any, Final

from .addresses import TrustedPeers
from .bound_socket import BoundSocket
from .proxy_protocol import HeaderReader, ProxyProtocolError, Versions
from .readiness import readable
from .tls import Encryption
from .tls_transport import connect_accepted
from .transports import ConnectionFactory, NativeTransport

logger = logging.getLogger("django_daphne.server")

# Connections accepted in one turn of the loop; where others accept, too.
_MAX_ACCEPTS: Final = 16
_MAX_CONTENDED_ACCEPTS: Final = 1
# Connections that may be between accept and the end of their PROXY protocol header, or of TLS's.
_MAX_INTRODUCTIONS: Final = 256
# Bytes looked at in one go for a PROXY protocol header.
_PEEK: Final = 4096
# Seconds that those have who were accepted before the end, for their header and TLS's handshake.
_LAST_INTRODUCTIONS: Final = 0.5
# Seconds without accepting, when there are no descriptors left.
_ACCEPT_PAUSE: Final = 1.0


class AcceptingListener:
    """Accepts on a bound socket and introduces each connection to the loop, in a task of its own.

    To be made on the loop.
    """

    def __init__(self, bound: BoundSocket, encryption: Encryption | None = None) -> None:
        """Take a socket; with ``encryption`` TLS is spoken on it."""
        self._bound = bound
        self._connect: ConnectionFactory
        self._encryption = encryption
        self._loop = asyncio.get_running_loop()
        self._max_accepts = _MAX_CONTENDED_ACCEPTS if bound.is_contended else _MAX_ACCEPTS
        # Tasks that wait for a header, with their sockets, and those that may wait for TLS.
        self._introductions: dict[asyncio.Task[None], socket.socket] = {}
        self._handovers: set[asyncio.Task[None]] = set()
        self._paused: asyncio.TimerHandle | None = None
        self._is_closed = False
        self.description = bound.description + (" (TLS)" if encryption else "")
        self.address = bound.address

    async def start(self, connect: ConnectionFactory, backlog: int) -> None:
        """Begin to accept."""
        self._connect = connect
        self._bound.socket.listen(backlog)
        self._resume()

    def renew(self, encryption: Encryption) -> None:
        """Speak TLS by other certificates with whoever is introduced from now on."""
        self._encryption = encryption

    async def close(self) -> None:
        """Accept no more; a handshake of TLS goes on."""
        self._stop()
        self._bound.close()

    def _stop(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._bound.remove_path()
            self._pause(None)

    def _accept(self) -> None:
        for _ in range(self._max_accepts):
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
            self._accepted(sock, name)

    def _accepted(self, sock: socket.socket, name: Any) -> None:
        """Begin with a connection, which comes from this address."""
        task = self._loop.create_task(self._introduce(sock))
        self._introductions[task] = sock
        task.add_done_callback(self._introduced)

    async def _introduce(self, sock: socket.socket) -> None:
        """Hand a connection to the loop."""
        with suppress(OSError):  # whoever it was has gone
            await self._hand_over(sock, None)

    async def _hand_over(self, sock: socket.socket, introduction: Any) -> None:
        """Make a connection of it; its task is the running one."""
        if (task := asyncio.current_task()) is not None:
            self._introductions.pop(task, None)
            self._handovers.add(task)
        make = partial(NativeTransport, self._connect, introduction)
        if self._encryption is not None:
            await connect_accepted(make, sock, self._encryption)
            return
        try:
            await self._loop.connect_accepted_socket(make, sock)
        except OSError:
            sock.close()
            raise

    def _introduced(self, task: asyncio.Task[None]) -> None:
        self._handovers.discard(task)
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


class ProxyListener(AcceptingListener):
    """Accepts connections that begin with a PROXY protocol header.

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
        super().__init__(bound, encryption)
        self._versions = versions
        self._trusted = trusted
        self._timeout = timeout
        self._has_warned = False
        more = ", TLS" if encryption else ""
        self.description = f"{bound.description} (PROXY protocol{more})"

    async def close(self) -> None:
        """Accept no more, and drop whoever is not introduced soon, TLS handshake and all."""
        if self._is_closed:
            return
        self._stop()
        if under_way := [*self._introductions, *self._handovers]:
            await asyncio.wait(under_way, timeout=_LAST_INTRODUCTIONS)
        for task in self._introductions:
            task.cancel()
        # Without TLS a hand-over is waited for: cancelled, uvloop would make a connection of it
        # that never ends.
        if self._encryption is not None:
            for task in self._handovers:
                task.cancel()
        if waiting := [*self._introductions, *self._handovers]:
            await asyncio.wait(waiting)
        self._bound.close()

    def _accepted(self, sock: socket.socket, name: Any) -> None:
        """Refuse it unless it comes from somebody who is trusted."""
        host = name[0] if isinstance(name, tuple) else None
        if self._trusted.trust(host):
            super()._accepted(sock, name)
        else:
            self._refuse(sock, f"{host or 'a unix socket'} is none of the trusted proxies")

    async def _introduce(self, sock: socket.socket) -> None:
        """Read the header, then hand the connection to the loop."""
        reader = HeaderReader(self._versions)
        try:
            async with asyncio.timeout(self._timeout):
                while reader.header is None:
                    with readable(self._loop, sock) as ready:
                        await ready
                    ahead = sock.recv(_PEEK, socket.MSG_PEEK)
                    if not ahead:
                        raise ProxyProtocolError("the connection ended before its header did")
                    sock.recv(reader.feed(ahead))
            await self._hand_over(sock, reader.header)
        except ProxyProtocolError as error:
            self._refuse(sock, str(error))
        except TimeoutError:
            self._refuse(sock, "no PROXY protocol header came in time")
        except OSError:
            sock.close()  # whoever it was has gone

    def _refuse(self, sock: socket.socket, reason: str) -> None:
        """Close a connection; say so loudly the first time, for it is often a mistake of ours."""
        sock.close()
        level = logging.DEBUG if self._has_warned else logging.WARNING
        logger.log(level, "A connection to %s is closed: %s", self.description, reason)
        self._has_warned = True
