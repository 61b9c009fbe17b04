"""Frames of HTTP/2 as bytes (RFC 9113, sections 4 and 6): made as they should be, or otherwise.

Pure functions; nothing here knows a connection. `frame` makes anything, legal or not, and the
functions after it make what a client may send. `literal` makes header blocks that neither need nor
change a compressor's state, so that they can be repeated and sent on any connection.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum

Field = tuple[bytes, bytes]
Fields = tuple[Field, ...]

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD_SIZE = 9
MAX_WINDOW = 2**31 - 1


class Kind(IntEnum):
    """Types of frames."""

    DATA = 0x0
    HEADERS = 0x1
    PRIORITY = 0x2
    RST_STREAM = 0x3
    SETTINGS = 0x4
    PUSH_PROMISE = 0x5
    PING = 0x6
    GOAWAY = 0x7
    WINDOW_UPDATE = 0x8
    CONTINUATION = 0x9
    PRIORITY_UPDATE = 0x10


ACK = END_STREAM = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITY = 0x20


class Code(IntEnum):
    """Error codes (RFC 9113, section 7)."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    SETTINGS_TIMEOUT = 0x4
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    CONNECT_ERROR = 0xA
    ENHANCE_YOUR_CALM = 0xB


class Setting(IntEnum):
    """Settings (RFC 9113, section 6.5.2; RFC 8441, section 3; RFC 9218, section 2.1)."""

    HEADER_TABLE_SIZE = 0x1
    ENABLE_PUSH = 0x2
    MAX_CONCURRENT_STREAMS = 0x3
    INITIAL_WINDOW_SIZE = 0x4
    MAX_FRAME_SIZE = 0x5
    MAX_HEADER_LIST_SIZE = 0x6
    ENABLE_CONNECT_PROTOCOL = 0x8
    NO_RFC7540_PRIORITIES = 0x9


DEFAULTS: Mapping[int, int] = {
    Setting.HEADER_TABLE_SIZE: 4096,
    Setting.ENABLE_PUSH: 1,
    Setting.INITIAL_WINDOW_SIZE: 65535,
    Setting.MAX_FRAME_SIZE: 16384,
}
"""What holds for an end that has said nothing else; a setting that is not here has no bound."""


@dataclass(frozen=True)
class Frame:
    """One frame; the reserved bit of its stream is gone."""

    kind: int
    flags: int
    stream: int
    payload: bytes

    def __str__(self) -> str:
        name = Kind(self.kind).name if self.kind in Kind.__members__.values() else hex(self.kind)
        return f"{name} flags={self.flags:#x} stream={self.stream} {len(self.payload)} bytes"


def cut(data: bytes) -> tuple[list[Frame], bytes]:
    """Return the whole frames that ``data`` begins with, and the rest."""
    found, offset = [], 0
    while len(data) - offset >= HEAD_SIZE:
        size = int.from_bytes(data[offset : offset + 3])
        end = offset + HEAD_SIZE + size
        if end > len(data):
            break
        kind, flags, stream = struct.unpack_from("!BBL", data, offset + 3)
        payload = data[offset + HEAD_SIZE : end]
        found.append(Frame(kind, flags, stream & MAX_WINDOW, payload))
        offset = end
    return found, data[offset:]


def frame(
    kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"", *, size: int | None = None
) -> bytes:
    """Return any frame; ``size`` is what it says of its payload's length in place of the truth.

    ``stream`` has all 32 bits, the reserved one included.
    """
    size = len(payload) if size is None else size
    return size.to_bytes(3) + struct.pack("!BBL", kind, flags, stream) + payload


def settings_frame(values: Mapping[int, int] | None = None) -> bytes:
    """Return SETTINGS."""
    pairs = (values or {}).items()
    return frame(Kind.SETTINGS, payload=b"".join(struct.pack("!HL", *pair) for pair in pairs))


SETTINGS_ACK = frame(Kind.SETTINGS, ACK)


def headers_frame(
    stream: int,
    block: bytes,
    *,
    end: bool = True,
    end_headers: bool = True,
    priority: tuple[int, int] | None = None,
) -> bytes:
    """Return HEADERS; ``priority`` is the stream depended on and the weight, from 0 to 255."""
    flags = END_STREAM * end | END_HEADERS * end_headers
    if priority is not None:
        flags |= PRIORITY
        block = struct.pack("!LB", *priority) + block
    return frame(Kind.HEADERS, flags, stream, block)


def continuation_frame(stream: int, block: bytes, *, end_headers: bool = True) -> bytes:
    """Return CONTINUATION."""
    return frame(Kind.CONTINUATION, END_HEADERS * end_headers, stream, block)


def header_frames(stream: int, block: bytes, *, end: bool = True, size: int = 16384) -> bytes:
    """Return HEADERS and as many CONTINUATION as a block takes in frames of ``size``."""
    pieces = [block[offset : offset + size] for offset in range(0, len(block), size)] or [b""]
    *_, last = range(len(pieces))
    frames = [headers_frame(stream, pieces[0], end=end, end_headers=not last)]
    for number, piece in enumerate(pieces[1:], 1):
        frames.append(continuation_frame(stream, piece, end_headers=number == last))
    return b"".join(frames)


def data_frame(
    stream: int, data: bytes = b"", *, end: bool = False, padding: int | None = None
) -> bytes:
    """Return DATA, with so many bytes of padding."""
    flags = END_STREAM * end
    if padding is not None:
        flags |= PADDED
        data = bytes((padding,)) + data + bytes(padding)
    return frame(Kind.DATA, flags, stream, data)


def reset_frame(stream: int, code: int = Code.CANCEL) -> bytes:
    """Return RST_STREAM."""
    return frame(Kind.RST_STREAM, 0, stream, code.to_bytes(4))


def window_frame(stream: int, increment: int) -> bytes:
    """Return WINDOW_UPDATE; ``increment`` has all 32 bits, the reserved one included."""
    return frame(Kind.WINDOW_UPDATE, 0, stream, increment.to_bytes(4))


def ping_frame(payload: bytes = bytes(8), flags: int = 0) -> bytes:
    """Return PING."""
    return frame(Kind.PING, flags, 0, payload)


def goaway_frame(last: int = 0, code: int = Code.NO_ERROR, debug: bytes = b"") -> bytes:
    """Return GOAWAY."""
    return frame(Kind.GOAWAY, 0, 0, struct.pack("!LL", last, code) + debug)


def priority_frame(stream: int, depends_on: int = 0, weight: int = 15) -> bytes:
    """Return PRIORITY (RFC 7540, section 6.3)."""
    return frame(Kind.PRIORITY, 0, stream, struct.pack("!LB", depends_on, weight))


def priority_update_frame(stream: int, value: bytes) -> bytes:
    """Return PRIORITY_UPDATE (RFC 9218, section 7.1)."""
    return frame(Kind.PRIORITY_UPDATE, 0, 0, stream.to_bytes(4) + value)


def literal(fields: Iterable[Field]) -> bytes:
    """Return a header block of literals without indexing and without Huffman codes.

    Anything can stand in a name or a value.
    """
    return b"".join(b"\x00" + _string(name) + _string(value) for name, value in fields)


def _string(value: bytes) -> bytes:
    return hpack_integer(len(value), 7) + value


def hpack_integer(value: int, bits: int, first: int = 0) -> bytes:
    """Return an integer behind the upper bits of ``first`` (RFC 7541, section 5.1)."""
    limit = (1 << bits) - 1
    if value < limit:
        return bytes((first | value,))
    octets = [first | limit]
    value -= limit
    while value >= 128:
        octets.append(value & 127 | 128)
        value >>= 7
    return bytes((*octets, value))


def request_fields(
    method: bytes = b"GET",
    path: bytes = b"/zebra",
    *headers: Field,
    scheme: bytes = b"http",
    authority: bytes = b"zebra.example",
) -> Fields:
    """Return the fields of a request that is legal as long as its arguments are."""
    return (
        (b":method", method),
        (b":scheme", scheme),
        (b":authority", authority),
        (b":path", path),
        *headers,
    )


def list_size(fields: Iterable[Field]) -> int:
    """Return the size of a list of fields as settings count it (RFC 9113, section 6.5.2)."""
    return sum(len(name) + len(value) + 32 for name, value in fields)


def websocket_fields(path: bytes = b"/zebra", *headers: Field, version: bytes = b"13") -> Fields:
    """Return the fields of a request for a WebSocket (RFC 8441, section 5)."""
    return (
        (b":protocol", b"websocket"),
        *request_fields(b"CONNECT", path, (b"sec-websocket-version", version), *headers),
    )
