"""TLS on a socket of our own: OpenSSL reads from the kernel and writes to it.

The loops' TLS carries every byte through two buffers in memory, and ends every read with an
exception. Here a request mostly costs one call in each direction. A record is read whole and
nothing behind it, so what has not been read yet is in the kernel, where the loop sees it.

After the handshake a read never has to write first: there is no renegotiation, and a new key that
the client asks for (RFC 8446, section 4.6.3) is sent with what is written next.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from .readiness import readable, writable
from .tls import Encryption

# Bytes of an application in one record, at most (RFC 8446, section 5.1).
_RECORD: Final = 16384
# Bytes that are sent in one call; more goes record by record, so that progress is seen.
_AT_ONCE: Final = 65536
# Records in one read, for who sends a lot.
_MAX_RECORDS: Final = 16
# Reads of one record, from a client whose last one came alone.
_READS_ALONE: Final = 32

_WAITS: Final = (ssl.SSLWantReadError, ssl.SSLWantWriteError)


async def connect_accepted(
    make_protocol: Callable[[], asyncio.Protocol], sock: socket.socket, encryption: Encryption
) -> None:
    """Shake hands with a client, then give its connection to a protocol.

    The socket is ours from now on. Raises OSError (ssl.SSLError is one) when there is no connection
    in the end; then the socket is closed.
    """
    loop = asyncio.get_running_loop()
    try:
        # What is made of a socket has its descriptor.
        sock = secured = encryption.contexts[0].wrap_socket(
            sock, server_side=True, do_handshake_on_connect=False
        )
        async with asyncio.timeout(encryption.handshake_timeout):
            await _shake_hands(loop, secured)
    except BaseException as error:
        sock.close()
        if isinstance(error, TimeoutError):
            raise ConnectionAbortedError("the TLS handshake took too long") from None
        raise
    EncryptedTransport(loop, secured, make_protocol(), encryption.shutdown_timeout)


async def _shake_hands(loop: asyncio.AbstractEventLoop, sock: ssl.SSLSocket) -> None:
    while True:
        try:
            sock.do_handshake()
        except ssl.SSLWantReadError:
            waiting = readable
        except ssl.SSLWantWriteError:
            waiting = writable
        else:
            return
        with waiting(loop, sock) as ready:
            await ready


class EncryptedTransport(asyncio.Transport):
    """A transport of asyncio's over a socket whose handshake is done.

    There is no half-close: the end of what the client sends is the end of the connection.
    """

    __slots__ = (
        *("_loop", "_sock", "_descriptor", "_protocol", "_receive", "_send"),
        *("_is_reading", "_is_read", "_reads_alone", "_high", "_low", "_is_full"),
        *("_unsent", "_unsent_size", "_shutdown_timeout", "_shutdown_timer"),
        *("_is_closing", "_has_ended"),
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: ssl.SSLSocket,
        protocol: asyncio.Protocol,
        shutdown_timeout: float | None,
    ) -> None:
        """Begin; ``shutdown_timeout`` seconds the client's answer to our close_notify may take."""
        super().__init__(
            {
                "socket": sock,
                "ssl_object": sock,
                "peername": _name(sock.getpeername),
                "sockname": _name(sock.getsockname),
            }
        )
        if sock.family != getattr(socket, "AF_UNIX", None):
            with suppress(OSError):  # the client has gone meanwhile
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._loop = loop
        self._sock = sock
        # The hot path: straight to what the socket's own methods call, four deep for a read.
        inner: Any = getattr(sock, "_sslobj", sock)
        self._receive: Callable[[int], bytes] = inner.read
        self._send: Callable[[bytes | memoryview], int] = inner.write
        self._descriptor = sock.fileno()
        self._protocol = protocol
        self._shutdown_timeout = shutdown_timeout
        self._shutdown_timer: asyncio.TimerHandle | None = None
        self._unsent: deque[bytes | memoryview] = deque()
        self._unsent_size = 0
        self._high, self._low = 65536, 16384
        self._is_full = False
        self._is_reading = False
        self._is_read = False  # to the client's end
        self._reads_alone = 0  # so many to come
        self._is_closing = False
        self._has_ended = False
        protocol.connection_made(self)
        self.resume_reading()

    # Reading

    def pause_reading(self) -> None:
        """Stop reading; nothing is delivered after it."""
        if self._is_reading:
            self._is_reading = False
            self._loop.remove_reader(self._descriptor)

    def resume_reading(self) -> None:
        """Read on."""
        if self._is_reading or self._is_closing:
            return
        self._is_reading = True
        if self._is_read:
            self._loop.call_soon(self._readable)
        else:
            self._loop.add_reader(self._descriptor, self._readable)

    def is_reading(self) -> bool:
        """Tell whether what comes is read."""
        return self._is_reading

    def _readable(self) -> None:
        if not self._is_reading:
            return
        try:
            data = self._receive(_RECORD)
            if self._reads_alone and len(data) < _RECORD:
                self._reads_alone -= 1
            elif data:
                data = self._receive_more(data)
        except ssl.SSLWantReadError:
            return
        except ssl.SSLEOFError:
            data = b""  # without close_notify
        except OSError as error:
            self._end(error)
            return
        if data:
            self._protocol.data_received(data)
            return
        self.pause_reading()
        self._protocol.eof_received()
        self.close()

    def _receive_more(self, first: bytes) -> bytes:
        """Return what has come behind a record, too.

        To find nothing costs an exception, so it is not looked for every time where a record came
        alone.
        """
        pieces = [first]
        with suppress(OSError):  # where it is more than a wait, it comes again
            while len(pieces) < _MAX_RECORDS and pieces[-1]:
                pieces.append(self._receive(_RECORD))
        if len(pieces) == 1:
            self._reads_alone = _READS_ALONE
            return first
        if not pieces[-1]:
            self._is_read = True
            self._loop.call_soon(self._readable)  # the kernel has no more to say of the end
        return b"".join(pieces)

    # Writing

    def write(self, data: Any) -> None:
        """Send what the kernel takes at once, and the rest when it can."""
        if self._is_closing or not data:
            return
        is_first = not self._unsent
        if is_first and len(data) <= _AT_ONCE:
            try:
                self._send(data)
            except _WAITS:
                self._unsent.append(data)  # whole, as OpenSSL has begun with it
            except OSError as error:
                self._end(error)
                return
            else:
                return
        else:
            view = memoryview(data)
            self._unsent.extend(view[at : at + _RECORD] for at in range(0, len(data), _RECORD))
        self._unsent_size += len(data)
        if is_first:
            self._flush()
            if not self._unsent:
                return
            self._loop.add_writer(self._descriptor, self._writable)
        if self._unsent_size > self._high and not self._is_full:
            self._is_full = True
            self._protocol.pause_writing()

    def _flush(self) -> None:
        unsent = self._unsent
        try:
            while unsent:
                self._send(unsent[0])
                self._unsent_size -= len(unsent.popleft())
        except _WAITS:
            pass
        except OSError as error:
            self._end(error)

    def _writable(self) -> None:
        self._flush()
        if self._has_ended:
            return
        if not self._unsent:
            self._loop.remove_writer(self._descriptor)
        if self._is_full and self._unsent_size <= self._low:
            self._is_full = False
            self._protocol.resume_writing()
        if self._is_closing and not self._unsent:
            self._shut_down()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set both marks, in bytes."""
        self._high = 65536 if high is None else high
        self._low = self._high // 4 if low is None else low

    def get_write_buffer_size(self) -> int:
        """Return how many bytes wait for the kernel."""
        return self._unsent_size

    def can_write_eof(self) -> bool:
        """Tell that TLS has no half-close."""
        return False

    # The end

    def is_closing(self) -> bool:
        """Tell whether the connection ends or has ended."""
        return self._is_closing

    def close(self) -> None:
        """Send what is left, say close_notify, and wait for the client's; see the constructor."""
        if not self._is_closing:
            self.pause_reading()
            self._is_closing = True
            if not self._unsent:
                self._shut_down()

    def abort(self) -> None:
        """Drop what is left, and the connection."""
        self._end(None)

    def _shut_down(self) -> None:
        if self._has_ended:
            return
        try:
            self._sock.unwrap()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLWantWriteError:
            self._loop.add_writer(self._descriptor, self._shut_down)
            return
        except OSError as error:
            if getattr(error, "reason", "") != "APPLICATION_DATA_AFTER_CLOSE_NOTIFY":
                self._end(None)
                return
            # OpenSSL has said what it had to say and is done, while the client still sends. To
            # close now would be to reset the connection, and the client would lose what it has not
            # read yet. A socket that is shut down has no TLS any more.
            with suppress(OSError):
                self._sock.shutdown(socket.SHUT_WR)
            self._receive = self._sock.recv
        else:
            self._end(None)
            return
        self._loop.remove_writer(self._descriptor)
        if self._shutdown_timeout is not None:
            self._shutdown_timer = self._loop.call_later(self._shutdown_timeout, self._end, None)
        self._loop.add_reader(self._descriptor, self._discard)

    def _discard(self) -> None:
        """Read, for nobody, up to the client's end."""
        try:
            for _ in range(_MAX_RECORDS):
                if not self._receive(_RECORD):
                    self._end(None)
                    return
        except (ssl.SSLWantReadError, BlockingIOError):
            pass
        except OSError:
            self._end(None)

    def _end(self, error: OSError | None) -> None:
        if self._has_ended:
            return
        self._has_ended = self._is_closing = True
        self._is_reading = False
        self._loop.remove_reader(self._descriptor)
        self._loop.remove_writer(self._descriptor)
        if self._shutdown_timer is not None:
            self._shutdown_timer.cancel()
        self._unsent.clear()
        self._unsent_size = 0
        self._loop.call_soon(self._lose, error)

    def _lose(self, error: OSError | None) -> None:
        try:
            self._protocol.connection_lost(error)
        finally:
            self._sock.close()


def _name(ask: Callable[[], Any]) -> Any:
    """Return a name of a socket; None when the client has gone meanwhile."""
    with suppress(OSError):
        return ask()
    return None
