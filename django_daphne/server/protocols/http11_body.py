"""Request bodies of HTTP/1.1: a known length, or chunks (RFC 9112, sections 6 and 7).

A reader takes what belongs to the body out of a buffer and leaves the rest, which is the next
request. Chunks are framed here and not by httptools: llhttp cannot stop at the end of a message, so
it would read on into the next one. Every line must end in CRLF, a size is at most 16 hex digits,
and a line is bounded, so that extensions and tiny chunks cost a client as much as they cost us.
"""

from __future__ import annotations

import re
from typing import Final, Protocol

from ..exceptions import PeerError
from .http11_head import HeadReader

# chunk-size [ chunk-ext ] (RFC 9112, section 7.1): the extension is passed over, but it may hold no
# control character, least of all a bare CR or LF.
_CHUNK_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?")
_CUT_CHUNK_LINE: Final = re.compile(
    rb"[0-9A-Fa-f]{1,16}(?:[ \t]*|[ \t]*;[\t\x20-\x7e\x80-\xff]*)\r?"
)
# Bytes. Nobody sends extensions; hyper and nginx have comparable bounds.
_MAX_CHUNK_LINE: Final = 1024


class BodyReader(Protocol):
    """Takes a request body out of a buffer."""

    @property
    def complete(self) -> bool: ...

    @property
    def remaining(self) -> int | None:
        """Return the bytes still to come, None where the client has not said."""

    def read(self, buffer: bytes, offset: int) -> tuple[bytes, int]:
        """Return the body bytes of ``buffer`` from ``offset`` on, and the offset behind them.

        Raises PeerError when the framing is broken or a limit is passed.
        """


class LengthBody:
    """A body of ``length`` bytes."""

    __slots__ = ("complete", "remaining")

    def __init__(self, length: int) -> None:
        self.remaining = length
        self.complete = length == 0

    def read(self, buffer: bytes, offset: int) -> tuple[bytes, int]:
        """Take at most what remains."""
        remaining = self.remaining
        available = len(buffer) - offset
        if available < remaining:
            self.remaining = remaining - available
            return (buffer[offset:] if offset else buffer), len(buffer)
        self.remaining = 0
        self.complete = True
        end = offset + remaining
        return buffer[offset:end], end


class ChunkedBody:
    """A body in chunks, with the trailer section behind them."""

    __slots__ = ("_head_reader", "_left", "_max_body", "_max_trailers", "_size", "complete")

    def __init__(
        self, head_reader: HeadReader, max_body_size: int | None, max_trailer_size: int | None
    ) -> None:
        self.complete = False
        self._head_reader = head_reader
        self._max_body = max_body_size
        self._max_trailers = max_trailer_size
        self._size = 0  # bytes of body announced so far
        # Bytes of the current chunk still to come: 0 before a size line, -1 before the CRLF that
        # ends a chunk's data, -2 in the trailer section.
        self._left = 0

    @property
    def remaining(self) -> int | None:
        """None: a client says how much is left only as it goes."""
        return None

    def read(self, buffer: bytes, offset: int) -> tuple[bytes, int]:
        """Take whole lines and any part of a chunk's data; a cut line stays in the buffer."""
        pieces: list[bytes] = []
        end = len(buffer)
        while offset < end and not self.complete:
            left = self._left
            if left > 0:
                piece = buffer[offset : offset + left]
                pieces.append(piece)
                offset += len(piece)
                self._left = left - len(piece) or -1
            elif left == -1:
                if end - offset < 2 and buffer[offset] == 0x0D:
                    break
                if buffer[offset : offset + 2] != b"\r\n":
                    raise PeerError(400, "chunk data without CRLF")
                offset += 2
                self._left = 0
            else:
                read_line = self._size_line if left == 0 else self._trailers
                behind = read_line(buffer, offset)
                if behind == offset:
                    break
                offset = behind
        return (pieces[0] if len(pieces) == 1 else b"".join(pieces)), offset

    def _size_line(self, buffer: bytes, offset: int) -> int:
        line_end = buffer.find(b"\r\n", offset, offset + _MAX_CHUNK_LINE + 2)
        if line_end < 0:
            # What has come must be able to become a good line; a bad one is not waited for.
            too_long = len(buffer) - offset >= _MAX_CHUNK_LINE + 2
            if too_long or _CUT_CHUNK_LINE.fullmatch(buffer, offset) is None:
                raise PeerError(400, "bad chunk size")
            return offset
        match = _CHUNK_LINE.fullmatch(buffer, offset, line_end)
        if match is None:
            raise PeerError(400, "bad chunk size")
        size = int(match[1], 16)
        self._size += size
        if self._max_body is not None and self._size > self._max_body:
            raise PeerError(413, "request body over max_body_size", limit="max_body_size")
        self._left = size or -2
        return line_end + 2

    def _trailers(self, buffer: bytes, offset: int) -> int:
        if buffer.startswith(b"\r\n", offset):
            self.complete = True
            return offset + 2
        block_end = buffer.find(b"\r\n\r\n", offset)
        size = (block_end if block_end >= 0 else len(buffer)) - offset
        if self._max_trailers is not None and size > self._max_trailers:
            raise PeerError(431, "trailers over max_header_size", limit="max_header_size")
        if block_end < 0:
            return offset
        # Validated and then dropped: nothing in ASGI takes the trailers of a request.
        self._head_reader.read_trailers(buffer[offset : block_end + 4])
        self.complete = True
        return block_end + 4
