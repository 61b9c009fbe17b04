"""A transport whose other end is in somebody's hands: no socket, and no time of its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from . import files
from .exceptions import ClientDisconnected
from .protocols.flow_control import FlowControl
from .transports import ConnectionProtocol
from .types import Address

CLIENT: Final = ("192.0.2.1", 40000)
HOST: Final = ("192.0.2.9", 8000)

# Bytes that a client reads before anybody looks at them; it is slow from then on.
MOST_UNSEEN: Final = 16 * 1024 * 1024
# Bytes of a file that are sent at a time.
_PIECE: Final = 1024


class MemoryTransport:
    """The server's end of a connection in memory, with what the client does to it.

    ``output`` is what the client has, ``unsent`` what waits while ``client_reads`` is false, or
    while nobody takes what the client has.
    """

    def __init__(
        self,
        call_soon: Callable[..., object],
        *,
        peer: Address = CLIENT,
        host: Address = HOST,
        is_tls: bool = False,
        alpn: str | None = None,
    ) -> None:
        self.peer = peer
        self.host = host
        self.is_tls = self.is_secure = is_tls
        self.alpn = alpn
        self.output = bytearray()
        self.unsent = bytearray()
        self.writes = 0
        self.client_reads = True
        self.reading = True
        self.write_closed = False
        self.closing = False
        self.aborted = False
        self.lost = False
        self._call_soon = call_soon
        self._arriving: deque[bytes | None] = deque()  # None is the end
        self._flow = FlowControl()
        self._high = 65536
        self._connection: ConnectionProtocol

    def connect(self, connection: ConnectionProtocol) -> None:
        """Begin."""
        self._connection = connection
        connection.makeConnection(self)

    # What the server says (Transport).

    @property
    def write_buffer_size(self) -> int:
        """Return what the client has not taken."""
        return len(self.unsent)

    def write(self, data: bytes) -> None:
        """Send, as far as the client reads. After write_eof it is an error, as on real ones."""
        assert not self.write_closed or self.lost, f"written after write_eof: {data[:80]!r}"
        if self.lost or self.closing or self.aborted:
            return
        assert isinstance(data, bytes)
        self.writes += 1
        is_taken = self.client_reads and not self.unsent and len(self.output) < MOST_UNSEEN
        (self.output if is_taken else self.unsent).extend(data)
        if len(self.unsent) > self._high and not self._flow.is_paused:
            self._flow.pause()
            self._connection.pause_sending()

    def tls_extension(self) -> dict[str, object]:
        """Return what there is to say where nothing was encrypted: TLS 1.3, without certificates.

        The keys are those of ``tls_extension``.
        """
        return {
            "server_cert": None,
            "client_cert_chain": (),
            "client_cert_name": None,
            "client_cert_error": None,
            "tls_version": 0x0304,
            "cipher_suite": None,
        }

    def set_write_buffer_limit(self, high: int) -> None:
        """Set the mark above which sending is paused."""
        self._high = high

    def pause_reading(self) -> None:
        """Leave what arrives where it is."""
        self.reading = False

    def resume_reading(self) -> None:
        """Take what has arrived, a turn later."""
        self.reading = True
        self._call_soon(self._deliver)

    def write_eof(self) -> None:
        """Close the write side."""
        if not self.is_tls:
            self.write_closed = True

    def close(self) -> None:
        """End when the client has taken everything."""
        self.closing = True
        if not self.unsent:
            self._call_soon(self.lose)

    def abort(self) -> None:
        """End at once."""
        if not self.lost:
            self.aborted = True
            self.unsent.clear()
            self._call_soon(self.lose)

    async def send_file(
        self, descriptor: int, offset: int, count: int, progress: Callable[[], object]
    ) -> None:
        """Send a part of a file, a small piece at a time."""
        end = offset + count
        while offset < end:
            await self._drained()
            data = files.read_at(descriptor, min(_PIECE, end - offset), offset)
            if not data:
                raise EOFError
            self.write(data)
            progress()
            offset += len(data)
        await self._drained()

    async def _drained(self) -> None:
        await self._flow.wait()
        if self.lost or self.aborted:
            raise ClientDisconnected("the connection ended")

    # What the client does.

    @property
    def unread(self) -> int:
        """The bytes that the server has not read."""
        return sum(len(data) for data in self._arriving if data is not None)

    def arrive(self, data: bytes | None) -> None:
        """Deliver data, or the end of it when it is None, as soon as the server reads."""
        self._arriving.append(data)
        self._deliver()

    def take(self, count: int | None = None) -> None:
        """Let the client read ``count`` bytes of what waits, or all."""
        count = len(self.unsent) if count is None else count
        self.output.extend(self.unsent[:count])
        del self.unsent[:count]
        if self._flow.is_paused and len(self.unsent) <= self._high // 4:
            self._flow.resume()
            self._connection.resume_sending()
        if self.closing and not self.unsent:
            self._call_soon(self.lose)

    def lose(self) -> None:
        """End the connection; also what a reset by the client does."""
        if not self.lost:
            self.lost = True
            self._flow.resume()
            self._connection.connectionLost()

    def _deliver(self) -> None:
        while self._arriving and self.reading and not (self.lost or self.closing or self.aborted):
            data = self._arriving.popleft()
            if data is None:
                self._connection.readConnectionLost()
            else:
                self._connection.dataReceived(data)
