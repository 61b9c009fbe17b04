"""A client of HTTP/2 (RFC 9113) on TLS that waits for each answer, to look at all of it.

It knows as much of the protocol as a check needs: requests are without fields of their own,
an answer fits into the first window of a stream (65,535 bytes), and of its fields only the status
is looked at, which comes first.
"""

from __future__ import annotations

import struct

from tls import connect
from websocket_client import WrongAnswer

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

# Types and flags of frames.
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
ACK = END_STREAM = 0x1
END_HEADERS = 0x4
PADDED = 0x8
HEAD_SIZE = 9
# The window of a connection, at first and at most.
FIRST_BYTES, MOST_BYTES = 65_535, 2**31 - 1

# From the static table of HPACK (RFC 7541, appendix A): whole fields, and names alone.
GET, HTTPS = 0x82, 0x87
AUTHORITY, PATH = 0x01, 0x04
# The static table has this too, but a server may as well spell it, with or without Huffman's code.
STATUS_200 = (
    b"\x88",
    *(
        name + value
        for name in (b"\x08", b"\x18", b"\x48")
        for value in (b"\x03200", b"\x82\x10\x01")
    ),
)


class HTTP2Session:
    """What one side of a connection says and hears, without the connection: bytes in, bytes out.

    One request at a time.
    """

    def __init__(self, port: int) -> None:
        """Begin, with a port of 127.0.0.1."""
        self._outgoing = PREFACE
        self._authority = b"127.0.0.1:%d" % port
        self._stream = -1
        self._received = b""
        self._body = b""
        self._say(SETTINGS)
        # The window of the connection is never an obstacle.
        self._say(WINDOW_UPDATE, payload=struct.pack("!I", MOST_BYTES - FIRST_BYTES))

    def said(self) -> bytes:
        """Return what is to be sent now, and take it for sent."""
        said, self._outgoing = self._outgoing, b""
        return said

    def ask(self, path: str) -> None:
        """Ask for `path`."""
        self._stream += 2
        self._body = b""
        named = b"".join(
            bytes((name, len(value))) + value
            for name, value in ((PATH, path.encode("ascii")), (AUTHORITY, self._authority))
        )
        fields = bytes((GET, HTTPS)) + named
        self._say(HEADERS, END_STREAM | END_HEADERS, self._stream, fields)

    def hear(self, data: bytes) -> bytes | None:
        """Return the body that has come, with status 200, or None while it is not whole."""
        self._received += data
        whole = None
        while len(self._received) >= HEAD_SIZE:
            size_and_kind, flags, stream = struct.unpack("!IBI", self._received[:HEAD_SIZE])
            end = HEAD_SIZE + (size_and_kind >> 8)
            if len(self._received) < end:
                break
            payload, self._received = self._received[HEAD_SIZE:end], self._received[end:]
            if self._frame(size_and_kind & 0xFF, flags, stream, payload):
                whole = self._body
        return whole

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> bool:
        """Take a frame; tell whether it is the last of the answer."""
        if kind in (SETTINGS, PING) and not flags & ACK:
            self._say(kind, ACK, payload=payload if kind == PING else b"")
        elif kind in (RST_STREAM, GOAWAY):
            raise WrongAnswer(f"frame of type {kind}: {payload.hex()}")
        elif kind in (DATA, HEADERS):
            if stream != self._stream:
                raise WrongAnswer(f"stream {stream} instead of {self._stream}")
            if flags & PADDED:
                payload = payload[1 : len(payload) - payload[0]]
            if kind == DATA:
                self._body += payload
            elif not payload.startswith(STATUS_200):
                raise WrongAnswer(f"fields {payload[:40].hex()}, not of status 200")
            return bool(flags & END_STREAM)
        return False

    def _say(self, kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> None:
        self._outgoing += struct.pack("!IBI", len(payload) << 8 | kind, flags, stream) + payload


class HTTP2Client:
    """One connection. Every method raises WrongAnswer for what a server must not do."""

    def __init__(self, port: int) -> None:
        """Open it, on a port of 127.0.0.1. Raises what `tls.connect` does."""
        self._session = HTTP2Session(port)
        self._sock = connect(port, "h2")

    def close(self) -> None:
        """Close it."""
        self._sock.close()

    def get(self, path: str) -> bytes:
        """Return the body that comes for `path`, with status 200."""
        session = self._session
        session.ask(path)
        body = None
        while body is None:
            self._sock.sendall(session.said())
            try:
                data = self._sock.recv(65_536)
            except OSError as error:
                raise WrongAnswer(f"no answer: {error!r}") from error
            if not data:
                raise WrongAnswer("the connection ended before its answer")
            body = session.hear(data)
        return body
