"""What clients of WebSockets need to check echoes: a handshake, streams of messages, one client.

Nothing but the last part knows of a socket, and nothing of a loop: the loader uses its own. A
message is a text, unfragmented and uncompressed, both ways (RFC 6455, section 5).
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import random
import select
import socket
import struct
from collections.abc import Iterator

ANSWER_SECONDS = 10.0

# Close frames with code 1000.
CLOSE = b"\x88\x82\x00\x00\x00\x00\x03\xe8"
CLOSED = b"\x88\x02\x03\xe8"
PING = b"\x89"

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TEXT = 0x81
_PONG = 0x8A
_MASKED = 0x80
# More messages differ than are in flight, so that none is taken for another.
_AT_LEAST = 8


class WrongAnswer(Exception):
    """Raised with one line when a server does not do what it must."""


class Handshake:
    """The opening handshake of one connection. It offers no extension."""

    def __init__(self, port: int) -> None:
        """Make the ``request`` to send."""
        key = base64.b64encode(os.urandom(16))
        self._accept = base64.b64encode(hashlib.sha1(key + _GUID).digest())
        self._answer = b""
        self.request = (
            b"GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n\r\n"
        ) % (port, key)

    def is_done(self, data: bytes) -> bool:
        """Take bytes of the answer; return whether it is complete. Raises WrongAnswer."""
        self._answer += data
        head, blank, rest = self._answer.partition(b"\r\n\r\n")
        if not blank:
            return False
        status, *lines = head.split(b"\r\n")
        if not status.startswith(b"HTTP/1.1 101 "):
            raise WrongAnswer(f"handshake answered with {status!r}")
        pairs = (line.partition(b":") for line in lines)
        fields = {name.lower(): value.strip() for name, _, value in pairs}
        if fields.get(b"sec-websocket-accept") != self._accept:
            raise WrongAnswer("handshake answered for another key")
        if b"sec-websocket-extensions" in fields or rest:
            raise WrongAnswer("handshake answered with more than was asked for")
        return True


class Messages:
    """What one connection says, and what it must hear, as two streams that repeat.

    Neighbours differ, and so do connections: an echo that is lost, doubled, cut, out of order or
    somebody else's does not match. ``sent`` holds frames of ``sent_size`` bytes, ``heard`` their
    echoes of ``heard_size`` bytes. Both begin anew after ``count`` messages, and go on behind that
    for as many as are in flight, so that what is written or read is always one piece of them.
    """

    def __init__(self, connection: int, size: int, in_flight: int) -> None:
        """Make messages of `size` bytes for the connection of this number."""
        self.count = max(2 * in_flight, _AT_LEAST)
        masks = random.Random(connection)
        texts = [b"%d.%d " % (connection, index) for index in range(self.count)]
        if max(map(len, texts)) > size:
            raise ValueError(f"messages of {size} bytes cannot all differ")
        texts = [text.ljust(size, b"x") for text in texts]
        sent = [_frame(_TEXT, text, masks.randbytes(4)) for text in texts]
        heard = [_frame(_TEXT, text) for text in texts]
        self.sent_size, self.heard_size = len(sent[0]), len(heard[0])
        self.sent = b"".join(sent + sent[:in_flight])
        self.heard = b"".join(heard + heard[:in_flight])


def take_ping(data: bytes) -> tuple[bytes, bytes]:
    """Return the pong for the ping that begins `data`, and what follows it; b"" for a cut ping."""
    stop = 2 + data[1] if len(data) > 1 else 2
    if len(data) < stop:
        return b"", data
    return _frame(_PONG, data[2:stop], bytes(4)), data[stop:]


def _frame(first: int, payload: bytes, mask: bytes = b"") -> bytes:
    """Return a whole frame; a client's has a mask, a server's has none."""
    size, masked = len(payload), _MASKED if mask else 0
    if size < 126:
        head = bytes((first, masked | size))
    elif size < 65536:
        head = struct.pack("!BBH", first, masked | 126, size)
    else:
        head = struct.pack("!BBQ", first, masked | 127, size)
    if not mask:
        return head + payload
    key = (mask * (size // 4 + 1))[:size]
    hidden = int.from_bytes(payload, "little") ^ int.from_bytes(key, "little")
    return head + mask + hidden.to_bytes(size, "little")


class Connection:
    """One connection of a client that waits for what it is to hear."""

    def __init__(self, port: int) -> None:
        """Connect to a port of 127.0.0.1.

        This and the methods raise WrongAnswer, and ConnectionRefusedError and other OSErrors.
        """
        self._sock = socket.create_connection(("127.0.0.1", port), ANSWER_SECONDS)

    @contextlib.contextmanager
    def closed_on_error(self) -> Iterator[None]:
        """Close the connection when what is done within fails."""
        try:
            yield
        except BaseException:
            self._sock.close()
            raise

    def expect_open(self) -> None:
        """Raise WrongAnswer when the server has ended the connection; pings may have come."""
        events = select.poll()
        events.register(self._sock, select.POLLIN)
        if not events.poll(0):
            return
        if (data := self._sock.recv(1, socket.MSG_PEEK)) != PING:
            raise WrongAnswer(f"the connection did not stay open and silent: {data!r} came")

    def close(self) -> None:
        """End it."""
        self._sock.close()

    def reset(self) -> None:
        """Leave without a word, and without a port that stays taken for a minute."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()

    def _received(self) -> bytes:
        try:
            data = self._sock.recv(65536)
        except TimeoutError:
            raise WrongAnswer(f"no answer within {ANSWER_SECONDS:g} seconds") from None
        if not data:
            raise WrongAnswer("the connection ended before its answer")
        return data


class Client(Connection):
    """One open WebSocket, of a client that waits for each echo."""

    def __init__(self, port: int, connection: int, size: int) -> None:
        """Open it. Raises what a Connection does."""
        super().__init__(port)
        self._messages = Messages(connection, size, in_flight=1)
        self._index = 0
        with self.closed_on_error():
            handshake = Handshake(port)
            self._sock.sendall(handshake.request)
            while not handshake.is_done(self._received()):
                pass

    def echo(self) -> None:
        """Say the next message, and expect its echo."""
        messages, index = self._messages, self._index
        self._sock.sendall(messages.sent[index * messages.sent_size :][: messages.sent_size])
        self.hear()

    def hear(self) -> None:
        """Expect the next message, whoever says it."""
        messages, index = self._messages, self._index
        self._index = (index + 1) % messages.count
        self._expect(messages.heard[index * messages.heard_size :][: messages.heard_size])

    def close(self) -> None:
        """Close with a closing handshake."""
        with self._sock:
            self._sock.sendall(CLOSE)
            self._expect(CLOSED)

    def _expect(self, answer: bytes) -> None:
        """Read until this answer is complete; pings may come before it."""
        heard = b""
        while len(heard) < len(answer):
            heard += self._received()
            while heard.startswith(PING):
                pong, heard = take_ping(heard)
                if not pong:
                    break
                self._sock.sendall(pong)
        if heard != answer:
            raise WrongAnswer(f"heard {heard[:40]!r} instead of {answer[:40]!r}")
