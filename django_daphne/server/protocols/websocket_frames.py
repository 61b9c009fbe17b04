"""The frames of a WebSocket, both ways (RFC 6455, section 5).

Theory of operation. ``FrameReader`` is fed what the client sends and calls its receiver for whole
messages and for control frames. Nearly every frame is a whole message that is whole in the read: it
takes a short way that walks an offset through the read and copies nothing but the payload. All
others are taken piece by piece as they come, unmasked, inflated and checked at once. So of a
message one growing buffer is held, whatever the sizes of its fragments and of the reads, and a
limit or a broken character is noticed at the first byte that breaks it.

The receiver may pause the reader in the middle of a read; what is left of it is kept until it is
resumed. A violation is a ``WebSocketError`` with the code of the close frame to answer with.
"""

from __future__ import annotations

import codecs
import struct
from collections.abc import Callable
from functools import cache
from typing import Any, Final, Protocol

from ..exceptions import WebSocketError

CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

_FIN: Final = 0x80
_COMPRESSED: Final = 0x40  # RSV1 with permessage-deflate (RFC 7692, section 6)
_RESERVED: Final = 0x30
_MASKED: Final = 0x80
_MAX_CONTROL: Final = 125

# Bytes, or characters. Pieces of a message that are smaller are joined.
_SMALL_PIECE: Final = 512
# Below this many bytes Python's integers unmask faster than a call to C does.
_SMALL: Final = 512
_from_bytes: Final = int.from_bytes
# The fastest of the compiled implementations; where it is not built, another is taken.
_VECTORS: Final = 2

_NO_LIMIT: Final = 2**63
_head_16: Final = struct.Struct("!BBH").pack
_head_64: Final = struct.Struct("!BBQ").pack
# The heads of unfragmented frames of a server with up to 125 bytes, by opcode and length.
_SMALL_HEADS: Final = {
    first: [bytes((first, length)) for length in range(_MAX_CONTROL + 1)]
    for opcode in (TEXT, BINARY, CLOSE, PING, PONG)
    for first in (_FIN | opcode, _FIN | _COMPRESSED | opcode)
}


class Inflater(Protocol):
    """The receiving half of permessage-deflate, for one connection."""

    def begin(self) -> None:
        """Begin a message."""

    def inflate(self, data: bytes, limit: int | None) -> bytes:
        """Return what a piece of the message stands for; raise WebSocketError beyond ``limit``."""

    def end(self, limit: int | None) -> bytes:
        """Return the rest of the message."""


class Receiver(Protocol):
    """Who is told of what a client sends."""

    def message_received(self, data: str | bytes) -> None:
        """Take a message: a text, or bytes."""

    def ping_received(self, payload: bytes) -> None: ...

    def pong_received(self, payload: bytes) -> None: ...

    def close_received(self, payload: bytes) -> None: ...


class FrameReader:
    """Reads the frames of one client."""

    def __init__(
        self,
        receiver: Receiver,
        *,
        max_frame: int | None,
        max_message: int | None,
        max_fragments: int | None,
        inflater: Inflater | None = None,
        early: bytes = b"",
    ) -> None:
        """Limits are in bytes, as the application sees them, and in frames; None is no limit.

        ``early`` is read before what is fed first, or by ``resume``.
        """
        self._receiver = receiver
        self._max_frame = _NO_LIMIT if max_frame is None else max_frame
        self._max_message = _NO_LIMIT if max_message is None else max_message
        self._max_fragments = _NO_LIMIT if max_fragments is None else max_fragments
        self._inflater = inflater
        self._data = early  # what was read and not looked at, from the offset on
        self._offset = 0
        self.is_paused = False
        # The message that is under way; no opcode means none.
        self._opcode = 0
        self._is_compressed = False
        self._pieces: list[Any] = []  # decoded where it is a text
        self._size = 0  # of all pieces, in bytes
        self._fragments = 0
        self._utf8: codecs.IncrementalDecoder | None = None
        # The frame that is under way.
        self._in_frame = False
        self._frame_opcode = 0
        self._is_final = False
        self._mask = b""
        self._left = 0
        self._control = b""

    @property
    def has_unread(self) -> bool:
        """Whether it was paused in the middle of a read."""
        return self.is_paused and self._offset < len(self._data)

    def feed(self, data: bytes) -> None:
        """Take bytes of the client. Raises WebSocketError for what it may not send."""
        if self._offset < len(self._data):
            data = self._data[self._offset :] + data
        self._data, self._offset = data, 0
        self._read()

    def resume(self) -> None:
        """Go on with what is left, until the receiver pauses again. Raises as ``feed`` does."""
        self.is_paused = False
        self._read()

    def _read(self) -> None:
        data, offset, end = self._data, self._offset, len(self._data)
        limit = min(self._max_frame, self._max_message)
        receive = self._receiver.message_received
        while offset < end and not self.is_paused:
            # The short way, for a whole message with a length of one or three bytes.
            first = data[offset]
            if (
                (first == 0x81 or first == 0x82)
                and offset + 4 <= end
                and not (self._opcode or self._in_frame)
            ):
                length = data[offset + 1] - _MASKED
                start = offset + 6
                if length == 126:
                    length = (data[offset + 2] << 8) + data[offset + 3]
                    start = offset + 8
                    if length <= _MAX_CONTROL:
                        length = -1  # not in its shortest form
                stop = start + length
                if 0 <= length != 127 and length <= limit and stop <= end:
                    payload = _unmask(data, start, stop, data[start - 4 : start])
                    offset = self._offset = stop
                    receive(_text(payload) if first == 0x81 else bytes(payload))
                    continue
            before = offset
            offset = self._offset = self._read_piece(data, offset, end)
            if offset == before:
                return  # the rest of a head has not come yet
        if offset == end:
            self._data, self._offset = b"", 0

    def _read_piece(self, data: bytes, offset: int, end: int) -> int:
        """Read what there is of a frame, or nothing of an incomplete head; return the offset."""
        if not self._in_frame:
            stop = self._begin_frame(data, offset, end)
            if stop == offset:
                return offset
            offset = stop
        if self._left:
            stop = min(offset + self._left, end)
            self._take(data, offset, stop)
            offset = stop
        if not self._left:
            self._end_frame()
        return offset

    def _begin_frame(self, data: bytes, offset: int, end: int) -> int:
        """Read a head; return the offset of its payload, or that of the head while it is cut."""
        if end - offset < 2:
            return offset
        first, second = data[offset], data[offset + 1]
        opcode, length = first & 0x0F, second & 0x7F
        self._check_head(first, second)
        start = offset + 2 + (0 if length < 126 else 2 if length == 126 else 8)
        if end < start + 4:
            return offset
        if length >= 126:
            shortest = 126 if length == 126 else 65536
            length = int.from_bytes(data[offset + 2 : start])
            if not shortest <= length < _NO_LIMIT:
                raise WebSocketError(1002, "length not in its shortest form, or over 63 bits")
        if opcode < CLOSE:
            self._begin_data_frame(first, opcode, length)
        self._in_frame = True
        self._frame_opcode = opcode
        self._is_final = first >= _FIN
        self._mask = data[start : start + 4]
        self._left = length
        return start + 4

    def _check_head(self, first: int, second: int) -> None:
        """Raise for two bytes that cannot begin a frame here."""
        opcode = first & 0x0F
        if second < _MASKED:
            raise WebSocketError(1002, "frame without a mask")
        if first & _RESERVED:
            raise WebSocketError(1002, "reserved bits")
        if first & _COMPRESSED and (self._inflater is None or opcode not in (TEXT, BINARY)):
            raise WebSocketError(1002, "compressed frame without agreement, or in the wrong place")
        if opcode in (CLOSE, PING, PONG):
            if first < _FIN or second & 0x7F > _MAX_CONTROL:
                raise WebSocketError(1002, "control frame in fragments, or over 125 bytes")
        elif opcode == CONTINUATION:
            if not self._opcode:
                raise WebSocketError(1002, "continuation of nothing")
        elif opcode not in (TEXT, BINARY):
            raise WebSocketError(1002, "reserved opcode")
        elif self._opcode:
            raise WebSocketError(1002, "new message inside of another")

    def _begin_data_frame(self, first: int, opcode: int, length: int) -> None:
        """Apply the limits to a frame before its payload comes."""
        if length > self._max_frame:
            text = "frame over websocket_max_frame_size"
            raise WebSocketError(1009, text, limit="websocket_max_frame_size")
        if opcode != CONTINUATION:
            self._opcode = opcode
            self._is_compressed = bool(first & _COMPRESSED)
            if self._is_compressed and self._inflater is not None:
                self._inflater.begin()
        self._fragments += 1
        if self._fragments > self._max_fragments:
            raise WebSocketError(
                1009,
                "message in more than websocket_max_fragments frames",
                limit="websocket_max_fragments",
            )
        if not self._is_compressed and self._size + length > self._max_message:
            text = "message over websocket_max_message_size"
            raise WebSocketError(1009, text, limit="websocket_max_message_size")

    def _take(self, data: bytes, start: int, stop: int) -> None:
        """Take a piece of payload: what is between two places of the data."""
        size = stop - start
        self._left -= size
        piece = _unmask(data, start, stop, self._mask)
        phase = size % 4
        self._mask = self._mask[phase:] + self._mask[:phase]
        if self._frame_opcode >= CLOSE:
            self._control += piece
            return
        if self._is_compressed and self._inflater is not None:
            piece = self._inflater.inflate(bytes(piece), self._budget())
        self._append(piece, is_last=self._is_final and not self._left and not self._is_compressed)

    def _budget(self) -> int | None:
        """Return how much more a message may hold."""
        limit = self._max_message
        return None if limit == _NO_LIMIT else limit - self._size

    def _append(self, data: bytes | bytearray, is_last: bool) -> None:
        """Add to the message; of a text that is not there at once every piece is checked."""
        self._size += len(data)
        piece: Any = data
        if self._opcode == TEXT:
            if is_last and self._utf8 is None:
                piece = _text(data)
            else:
                if self._utf8 is None:
                    self._utf8 = codecs.getincrementaldecoder("utf-8")()
                try:
                    piece = self._utf8.decode(data, is_last)
                except UnicodeDecodeError:
                    raise _bad_text() from None
        pieces = self._pieces
        if pieces and len(pieces[-1]) < _SMALL_PIECE:
            pieces[-1] += piece  # as pieces they would take many times their size
        else:
            pieces.append(piece)

    def _end_frame(self) -> None:
        self._in_frame = False
        if self._frame_opcode >= CLOSE:
            payload, self._control = self._control, b""
            if self._frame_opcode == PING:
                self._receiver.ping_received(payload)
            elif self._frame_opcode == PONG:
                self._receiver.pong_received(payload)
            else:
                self._receiver.close_received(payload)
        elif self._is_final:
            self._end_message()

    def _end_message(self) -> None:
        if self._is_compressed and self._inflater is not None:
            rest = self._inflater.end(self._budget())
            self._append(rest, is_last=True)
        elif self._utf8 is not None:
            self._append(b"", is_last=True)
        pieces = self._pieces
        message = "".join(pieces) if self._opcode == TEXT else b"".join(pieces)
        self._opcode = self._fragments = 0
        self._pieces = []
        self._size = 0
        self._utf8 = None
        self._receiver.message_received(message)


def _bad_text() -> WebSocketError:
    return WebSocketError(1007, "text that is not UTF-8")


def _text(payload: bytes | bytearray) -> str:
    try:
        return payload.decode()
    except UnicodeDecodeError:
        raise _bad_text() from None


def _unmask(data: bytes, start: int, stop: int, mask: bytes) -> bytes | bytearray:
    """Return the payload between two places of the data, without its mask (RFC 6455, 5.3).

    A large one is copied once, and unmasked where it is then.
    """
    size = stop - start
    if size >= _SMALL:
        payload = bytearray(memoryview(data)[start:stop])
        _large_unmask()(payload, mask)
        return payload
    key = (mask * (size // 4 + 1))[:size]
    number = _from_bytes(data[start:stop], "little") ^ _from_bytes(key, "little")
    return number.to_bytes(size, "little")


@cache
def _large_unmask() -> Callable[[bytearray, bytes], None]:
    """Return what unmasks large payloads: autobahn's compiled code, imported when it is needed."""
    try:
        from _nvx_xormasker import ffi, lib  # type: ignore[import-not-found]  # compiled
    except ImportError:
        from autobahn.websocket import xormasker

        create: Any = xormasker.create_xor_masker  # type: ignore[attr-defined]  # not in __all__

        def unmask_copy(payload: bytearray, mask: bytes) -> None:
            payload[:] = create(mask, len(payload)).process(bytes(payload))

        return unmask_copy

    # Straight to the functions: autobahn's object around them makes two copies of the payload.
    def unmask(payload: bytearray, mask: bytes) -> None:
        masker = lib.nvx_xormask_new(mask)
        lib.nvx_xormask_set_impl(masker, _VECTORS)
        lib.nvx_xormask_process(masker, ffi.from_buffer(payload), len(payload))
        lib.nvx_xormask_free(masker)

    return unmask


def encode_frame(opcode: int, payload: bytes, *, is_compressed: bool = False) -> bytes:
    """Return a whole, unfragmented frame of a server."""
    return frame_head(opcode, len(payload), is_compressed=is_compressed) + payload


def frame_head(opcode: int, size: int, *, is_compressed: bool = False) -> bytes:
    """Return what stands before the payload of such a frame, which has ``size`` bytes."""
    first = _FIN | opcode | (_COMPRESSED if is_compressed else 0)
    if size <= _MAX_CONTROL:
        return _SMALL_HEADS[first][size]
    if size < 65536:
        return _head_16(first, 126, size)
    return _head_64(first, 127, size)
