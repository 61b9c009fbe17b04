"""Frames of HTTP/2 as bytes (RFC 9113, sections 4 and 6).

length 24 bits | type 8 | flags 8 | reserved 1, stream 31 | payload
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final

from h2.errors import ErrorCodes as ErrorCode

from ..exceptions import HTTP2Error

__all__ = ["ErrorCode"]

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

HEADER: Final = struct.Struct("!LBL")  # length and type share the first number
HEADER_SIZE: Final = HEADER.size
STREAM_MASK: Final = 2**31 - 1
MAX_WINDOW: Final = 2**31 - 1
DEFAULT_WINDOW: Final = 65535
DEFAULT_FRAME_SIZE: Final = 16384

DATA: Final = 0x0
HEADERS: Final = 0x1
PRIORITY: Final = 0x2
RST_STREAM: Final = 0x3
SETTINGS: Final = 0x4
PUSH_PROMISE: Final = 0x5
PING: Final = 0x6
GOAWAY: Final = 0x7
WINDOW_UPDATE: Final = 0x8
CONTINUATION: Final = 0x9
PRIORITY_UPDATE: Final = 0x10  # RFC 9218, section 7.1

END_STREAM: Final = 0x01
ACK: Final = 0x01
END_HEADERS: Final = 0x04
PADDED: Final = 0x08
HAS_PRIORITY: Final = 0x20

NO_RFC7540_PRIORITIES: Final = 0x9  # RFC 9218, section 2.1

_LONG: Final = struct.Struct("!L")
_GOAWAY: Final = struct.Struct("!LL")
_SETTING: Final = struct.Struct("!HL")
_PRIORITY_SIZE: Final = 5


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """Return one frame."""
    return HEADER.pack(len(payload) << 8 | kind, flags, stream_id) + payload


def settings_frame(settings: Mapping[int, int]) -> bytes:
    """Return a SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join([_SETTING.pack(*item) for item in settings.items()]))


def window_update_frame(stream_id: int, increment: int) -> bytes:
    """Return a WINDOW_UPDATE frame; stream 0 is the connection."""
    return frame(WINDOW_UPDATE, 0, stream_id, _LONG.pack(increment))


def reset_frame(stream_id: int, code: int) -> bytes:
    """Return a RST_STREAM frame."""
    return frame(RST_STREAM, 0, stream_id, _LONG.pack(code))


def goaway_frame(last_stream_id: int, code: int, text: bytes = b"") -> bytes:
    """Return a GOAWAY frame: streams above the last were not, and will not be, processed."""
    return frame(GOAWAY, 0, 0, _GOAWAY.pack(last_stream_id, code) + text)


def read_settings(payload: bytes) -> list[tuple[int, int]]:
    """Return the settings of a SETTINGS frame; raises HTTP2Error for a wrong size."""
    if len(payload) % _SETTING.size:
        raise HTTP2Error(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS of a wrong size")
    return list(_SETTING.iter_unpack(payload))


def read_number(payload: bytes, kind: str) -> int:
    """Return the number that is the whole payload; raises HTTP2Error for a wrong size."""
    if len(payload) != _LONG.size:
        raise HTTP2Error(ErrorCode.FRAME_SIZE_ERROR, f"{kind} of a wrong size")
    return int.from_bytes(payload)


def strip(payload: bytes, flags: int) -> bytes:
    """Return the payload of DATA or HEADERS without padding and priority.

    Raises HTTP2Error where that is more than there is (RFC 9113, sections 6.1 and 6.2).
    """
    start, end = 0, len(payload)
    if flags & PADDED:
        if not payload:
            raise HTTP2Error(ErrorCode.FRAME_SIZE_ERROR, "a padded frame without a length of it")
        start, end = 1, end - payload[0]
    if flags & HAS_PRIORITY:
        start += _PRIORITY_SIZE
        if len(payload) < start:
            raise HTTP2Error(ErrorCode.FRAME_SIZE_ERROR, "a frame without its priority")
    if start > end:
        raise HTTP2Error(ErrorCode.PROTOCOL_ERROR, "padding longer than its frame")
    return payload[start:end]
