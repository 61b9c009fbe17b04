"""A client of HTTP/2 (RFC 9113) on TLS that waits for each answer, to look at all of it.

It knows as much of the protocol as a check needs: requests are without fields of their own, the
answers of a connection fit into its first window (65,535 bytes), and of the fields of an answer
only the status is looked at, which comes first.
"""

from __future__ import annotations

import struct

from tls import connect
from websocket_client import WrongAnswer

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

# Types and flags of frames.
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY = 0, 1, 3, 4, 6, 7
ACK = END_STREAM = 0x1
END_HEADERS = 0x4
PADDED = 0x8

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


class HTTP2Client:
    """One connection. Every method raises WrongAnswer for what a server must not do."""

    def __init__(self, port: int) -> None:
        """Open it, on a port of 127.0.0.1. Raises what `tls.connect` does."""
        self._authority = b"127.0.0.1:%d" % port
        self._stream = -1
        self._sock = connect(port, "h2")
        self._received = self._sock.makefile("rb")
        self._sock.sendall(PREFACE)
        self._send(SETTINGS)

    def close(self) -> None:
        """Close it."""
        self._received.close()
        self._sock.close()

    def get(self, path: str) -> bytes:
        """Return the body that comes for `path`, with status 200."""
        self._stream += 2
        self._send(HEADERS, END_STREAM | END_HEADERS, self._stream, self._fields(path))
        body = b""
        while True:
            kind, flags, stream, payload = self._frame()
            if kind in (SETTINGS, PING) and not flags & ACK:
                self._send(kind, ACK, payload=payload if kind == PING else b"")
            elif kind in (RST_STREAM, GOAWAY):
                raise WrongAnswer(f"frame of type {kind}: {payload.hex()}")
            elif kind in (DATA, HEADERS):
                if stream != self._stream:
                    raise WrongAnswer(f"stream {stream} instead of {self._stream}")
                if flags & PADDED:
                    payload = payload[1 : len(payload) - payload[0]]
                if kind == DATA:
                    body += payload
                elif not payload.startswith(STATUS_200):
                    raise WrongAnswer(f"fields {payload[:40].hex()}, not of status 200")
                if flags & END_STREAM:
                    return body

    def _fields(self, path: str) -> bytes:
        """Return the encoded fields of a request."""
        named = b"".join(
            bytes((name, len(value))) + value
            for name, value in ((PATH, path.encode("ascii")), (AUTHORITY, self._authority))
        )
        return bytes((GET, HTTPS)) + named

    def _send(self, kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> None:
        head = struct.pack("!IBI", len(payload) << 8 | kind, flags, stream)
        self._sock.sendall(head + payload)

    def _frame(self) -> tuple[int, int, int, bytes]:
        """Return the type, the flags, the stream and the payload of the next frame."""
        size_and_kind, flags, stream = struct.unpack("!IBI", self._read(9))
        return size_and_kind & 0xFF, flags, stream, self._read(size_and_kind >> 8)

    def _read(self, size: int) -> bytes:
        try:
            data = self._received.read(size)
        except OSError as error:
            raise WrongAnswer(f"no answer: {error!r}") from error
        if len(data) < size:
            raise WrongAnswer("the connection ended before its answer")
        return data
