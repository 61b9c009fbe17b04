"""Responses of HTTP/1.1 as bytes."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from http import HTTPStatus
from typing import ClassVar, Final

from ..headers import field_line, known_field_lines
from ..types import Header, Headers
from .responses import Response
from .wire import LARGE

_END_OF_HEAD: Final = b"\r\n"


class Framing(enum.Enum):
    """How the client finds the end of a response (RFC 9112, section 6.3)."""

    NO_BODY = enum.auto()
    LENGTH = enum.auto()
    CHUNKED = enum.auto()
    UNTIL_CLOSE = enum.auto()


# Looked up for every response, and members of an enum are slow to look up.
_NO_BODY, _LENGTH, _CHUNKED, _UNTIL_CLOSE = Framing


class ResponseWriter(Response[bytes]):
    """Turns one response into bytes."""

    statuses: ClassVar[dict[int, bytes]] = {
        status.value: b"HTTP/1.1 %d %b\r\n" % (status, status.phrase.encode("ascii"))
        for status in HTTPStatus
    }
    known = known_field_lines
    known_lengths: ClassVar[dict[Header, tuple[int, bytes]]] = {}

    framing: Framing  # known when the head leaves
    _trailer_fields: bytes = b""

    def _new_status(self, status: int) -> bytes:
        return b"HTTP/1.1 %d \r\n" % status  # RFC 9112, section 4: the phrase may be missing

    def _make_piece(self, lowered: bytes, field: Header, line: bytes) -> bytes:
        return line

    def _handle(self, name: bytes, value: bytes) -> bool:
        """Let ``Connection: upgrade`` pass, which belongs to the field of that name."""
        is_sent = super()._handle(name, value)
        return is_sent or (name == b"connection" and value.lower() == b"upgrade")

    def informational(self) -> bytes:
        """Return the whole response when it is a 1xx one."""
        return b"".join(self._pieces) + _END_OF_HEAD

    def body(self, data: bytes, more: bool) -> Sequence[bytes]:
        """Return the pieces of a body part, behind the head when it is the first; mostly one.

        With ``more`` false they end the response unless trailers follow. Data over Content-Length
        is cut off: ``overflowed`` and ``missing`` tell of it.
        """
        size = len(data)
        pieces = self._pieces
        if self._content_length == size and pieces and not (more or self.is_unusual):
            # In short the usual response: a body that is whole and as long as was promised.
            self._pieces = []
            self.size = size
            pieces += (self._defaults.block(), _END_OF_HEAD)
            if size >= LARGE:
                return b"".join(pieces), data
            pieces.append(data)
            return (b"".join(pieces),)
        if more and not pieces and 0 < size < LARGE and self.framing is _CHUNKED:
            # And the usual piece of a stream.
            self.size += size
            return (b"%x\r\n%b\r\n" % (size, data),)
        pieces = self._take_head(None if more else size)
        framing = self.framing
        if framing is _LENGTH:
            taken = self._cut(size)
            if taken < size:
                data = data[:taken]
        elif framing is _NO_BODY:
            data = b""
        self.size += len(data)
        if framing is not _CHUNKED:
            before, behind = pieces, b""
        else:
            before = [*pieces, b"%x\r\n" % size] if data else pieces
            behind = b"\r\n" if data else b""
            if not (more or self.trailers):
                behind += b"0\r\n\r\n"
        if size >= LARGE:
            return [piece for piece in (b"".join(before), data, behind) if piece]
        return (b"".join((*before, data, behind)),)

    def file(self, count: int, more: bool) -> tuple[bytes, int, bytes]:
        """Return the bytes before a part of a file, how many of it may go, the bytes behind."""
        before = b"".join(self._take_head(None if more else count))
        if self.framing is _NO_BODY:
            return before, 0, b""
        if self.framing is _LENGTH:
            count = self._cut(count)
        self.size += count
        if self.framing is not _CHUNKED:
            return before, count, b""
        end = b"" if more or self.trailers else b"0\r\n\r\n"
        return (before + b"%x\r\n" % count, count, b"\r\n" + end) if count else (before, 0, end)

    def trailer_section(self, headers: Headers, more: bool) -> bytes:
        """Return the bytes of trailer fields; with ``more`` false they end the response."""
        self._trailer_fields += b"".join([field_line(field)[1] for field in headers])
        if more or self.framing is not _CHUNKED:
            return b""
        return b"0\r\n" + self._trailer_fields + b"\r\n"

    def _take_head(self, body_size: int | None) -> list[bytes]:
        """Return the pieces of the head, complete, and afterwards none.

        ``body_size`` is given when the whole body is known.
        """
        head, request = self._pieces, self._request
        if not head:
            return head
        self._pieces = []
        framing = _UNTIL_CLOSE
        is_http11 = request.http_version == "1.1"
        self.close |= not request.keep_alive
        if self.is_bodiless:
            framing = _NO_BODY
        else:
            length = self._content_length
            if length is None and body_size is not None and not self.trailers:
                length = body_size
                head.append(b"Content-Length: %d\r\n" % body_size)
            if length is not None:
                framing = _LENGTH
                self.missing = length
            elif is_http11:
                framing = _CHUNKED
                head.append(b"Transfer-Encoding: chunked\r\n")
            else:
                self.close = True
        self.framing = framing
        if self.close:
            head.append(b"Connection: close\r\n")
        elif not is_http11:
            head.append(b"Connection: keep-alive\r\n")
        if not (self._has_date or self._has_server):
            head.append(self._defaults.block())
        elif not self._has_date:
            head.append(self._defaults.date())
        elif not self._has_server:
            head.append(self._defaults.server)
        head.append(_END_OF_HEAD)
        return head
