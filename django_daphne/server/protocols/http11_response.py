"""Responses of HTTP/1.1 as bytes."""

from __future__ import annotations

import enum
from http import HTTPStatus
from typing import Final

from .. import services
from ..headers import field_line, known_field_lines
from ..interfaces import RequestHead
from ..types import Header, Headers
from .responses import BODILESS, Response

_STATUS_LINES: Final = {
    status.value: b"HTTP/1.1 %d %s\r\n" % (status.value, status.phrase.encode("ascii"))
    for status in HTTPStatus
}


class Framing(enum.Enum):
    """How the client finds the end of a response (RFC 9112, section 6.3)."""

    NO_BODY = enum.auto()
    LENGTH = enum.auto()
    CHUNKED = enum.auto()
    UNTIL_CLOSE = enum.auto()


class ResponseWriter(Response[bytes]):
    """Turns one response into bytes."""

    framing = Framing.UNTIL_CLOSE
    _head: list[bytes] | None  # its pieces, until they leave
    _trailer_fields: bytes = b""

    def __init__(
        self,
        request: RequestHead,
        status: int,
        headers: Headers,
        trailers: bool,
        defaults: services.DefaultHeaders,
    ) -> None:
        """Raise ApplicationError for a field that cannot be sent."""
        self.close = not request.keep_alive
        self._defaults = defaults
        self._is_http11 = request.http_version == "1.1"
        self._head = head = [_STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status]
        super().__init__(status, headers, trailers, head, known_field_lines)
        if request.method == "HEAD" or status in BODILESS:
            self.framing = Framing.NO_BODY

    def _make_length(self, field: Header) -> bytes:
        return b"%b: %b\r\n" % field

    def _make_piece(self, lowered: bytes, field: Header, line: bytes) -> bytes:
        return line

    def _handle(self, name: bytes, value: bytes) -> bool:
        """Let ``Connection: upgrade`` pass, which belongs to the field of that name."""
        is_sent = super()._handle(name, value)
        return is_sent or (name == b"connection" and value.lower() == b"upgrade")

    def informational(self) -> bytes:
        """Return the whole response when it is a 1xx one."""
        return b"".join(self._head or ()) + b"\r\n"

    def body(self, data: bytes, more: bool) -> bytes:
        """Return the bytes of a body part, behind the head when it is the first.

        With ``more`` false they end the response unless trailers follow. Data over Content-Length
        is cut off: ``overflowed`` and ``missing`` tell of it.
        """
        pieces = self._take_head(None if more else len(data))
        framing = self.framing
        if framing is Framing.LENGTH:
            size = self._cut(len(data))
            if size < len(data):
                data = data[:size]
        elif framing is Framing.NO_BODY:
            data = b""
        self.size += len(data)
        if framing is not Framing.CHUNKED:
            pieces.append(data)
        else:
            if data:
                pieces += (b"%x\r\n" % len(data), data, b"\r\n")
            if not (more or self.trailers):
                pieces.append(b"0\r\n\r\n")
        return b"".join(pieces)

    def file(self, count: int, more: bool) -> tuple[bytes, int, bytes]:
        """Return the bytes before a part of a file, how many of it may go, the bytes behind."""
        before = b"".join(self._take_head(None if more else count))
        if self.framing is Framing.NO_BODY:
            return before, 0, b""
        if self.framing is Framing.LENGTH:
            count = self._cut(count)
        self.size += count
        if self.framing is not Framing.CHUNKED:
            return before, count, b""
        end = b"" if more or self.trailers else b"0\r\n\r\n"
        return (before + b"%x\r\n" % count, count, b"\r\n" + end) if count else (before, 0, end)

    def trailer_section(self, headers: Headers, more: bool) -> bytes:
        """Return the bytes of trailer fields; with ``more`` false they end the response."""
        self._trailer_fields += b"".join([field_line(field)[1] for field in headers])
        if more or self.framing is not Framing.CHUNKED:
            return b""
        return b"0\r\n" + self._trailer_fields + b"\r\n"

    def _take_head(self, body_size: int | None) -> list[bytes]:
        """Return the pieces of the head, complete, and afterwards none.

        ``body_size`` is given when the whole body is known.
        """
        head, self._head = self._head, None
        if head is None:
            return []
        if self.framing is not Framing.NO_BODY:
            length = self._content_length
            if length is None and body_size is not None and not self.trailers:
                length = body_size
                head.append(b"Content-Length: %d\r\n" % body_size)
            if length is not None:
                self.framing = Framing.LENGTH
                self.missing = length
            elif self._is_http11:
                self.framing = Framing.CHUNKED
                head.append(b"Transfer-Encoding: chunked\r\n")
            else:
                self.close = True
        if self.close:
            head.append(b"Connection: close\r\n")
        elif not self._is_http11:
            head.append(b"Connection: keep-alive\r\n")
        if not (self._has_date or self._has_server):
            head.append(self._defaults.block())
        elif not self._has_date:
            head.append(self._defaults.date())
        elif not self._has_server:
            head.append(self._defaults.server)
        head.append(b"\r\n")
        return head
