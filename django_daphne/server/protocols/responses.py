"""Responses of HTTP/1.1 as bytes, and the pages the server answers with itself."""

from __future__ import annotations

import enum
import html
from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus
from typing import Final

from .. import interfaces
from ..exceptions import ApplicationError
from ..headers import check_field_value, has_token, lower_field_name
from ..interfaces import RequestHead
from ..types import Header, Headers

_STATUS_LINES: Final = {
    status.value: b"HTTP/1.1 %d %s\r\n" % (status.value, status.phrase.encode("ascii"))
    for status in HTTPStatus
}

# Statuses that never have a body (RFC 9110, sections 15.2, 15.3.5 and 15.4.5).
BODILESS: Final = frozenset((204, 304))


class Framing(enum.Enum):
    """How the client finds the end of a response (RFC 9112, section 6.3)."""

    NO_BODY = enum.auto()
    LENGTH = enum.auto()
    CHUNKED = enum.auto()
    UNTIL_CLOSE = enum.auto()


class ResponseWriter:
    """Turns one response into bytes.

    The head is checked when the object is made and written with the first body part, because only
    then it is known whether the whole body is there and its length can be said.
    """

    __slots__ = (
        *("_content_length", "_defaults", "_fields", "_framing", "_has_date", "_has_server"),
        *("_http11", "_left", "_trailer_fields", "close", "started", "status", "trailers"),
    )

    def __init__(
        self,
        request: RequestHead,
        status: int,
        headers: Headers,
        trailers: bool,
        defaults: interfaces.DefaultHeaders,
    ) -> None:
        """Raise ApplicationError for a field that cannot be sent.

        ``trailers`` says that trailer fields may follow the body; the client takes them.
        """
        self.status = status
        self.close = not request.keep_alive
        self.started = False
        self.trailers = trailers
        self._defaults = defaults
        self._http11 = request.http_version == "1.1"
        self._has_date = self._has_server = False
        self._content_length: int | None = None
        self._left = 0
        self._trailer_fields: list[bytes] = []
        self._framing = Framing.UNTIL_CLOSE
        line = _STATUS_LINES.get(status)
        parts = [line if line is not None else b"HTTP/1.1 %d \r\n" % status]
        for name, value in headers:
            lowered = lower_field_name(name)
            check_field_value(name, value)
            if lowered not in _HANDLED or self._handle(lowered, value):
                parts.append(name + b": " + value + b"\r\n")
        self._fields = b"".join(parts)
        if request.method == "HEAD" or status in BODILESS:
            self._framing = Framing.NO_BODY

    def _handle(self, name: bytes, value: bytes) -> bool:
        """Take note of a field that the server has a say in; false when it is not to be sent."""
        if name == b"content-length":
            if not value.isdigit() or self._content_length not in (None, int(value)):
                raise ApplicationError(f"Content-Length {value!r} is not one number of bytes")
            if self._content_length is not None or self.status == 204:
                return False
            self._content_length = int(value)
        elif name == b"transfer-encoding":
            return False  # how the message is framed is decided here
        elif name == b"connection":
            # Whether the connection stays open is decided here; the application may ask to close.
            self.close = self.close or has_token(value, b"close")
            return False
        elif name == b"date":
            self._has_date = True
        else:
            self._has_server = True
        return True

    def informational(self) -> bytes:
        """Return the whole response when it is a 1xx one."""
        return self._fields + b"\r\n"

    def body(self, data: bytes, more: bool) -> bytes:
        """Return the bytes of a body part, behind the head when it is the first.

        With ``more`` false they end the response unless trailers follow. Data over Content-Length
        is cut off: ``overflows`` and ``missing`` tell of it.
        """
        if not self.started:
            return self._head(None if more else len(data)) + self._part(data, more)
        return self._part(data, more)

    def file(self, count: int, more: bool) -> tuple[bytes, int, bytes]:
        """Return the bytes before a part of a file, how many of it may go, the bytes behind."""
        head = b"" if self.started else self._head(None if more else count)
        if self._framing is Framing.NO_BODY:
            return head, 0, b""
        if self._framing is Framing.LENGTH:
            count = min(count, self._left)
            self._left -= count
        elif self._framing is Framing.CHUNKED:
            end = b"" if more or self.trailers else b"0\r\n\r\n"
            return (head + b"%x\r\n" % count, count, b"\r\n" + end) if count else (head, 0, end)
        return head, count, b""

    def trailer_section(self, headers: Headers, more: bool) -> bytes:
        """Return the bytes of trailer fields; with ``more`` false they end the response."""
        for name, value in headers:
            lower_field_name(name)
            check_field_value(name, value)
            self._trailer_fields.append(name + b": " + value + b"\r\n")
        if more or self._framing is not Framing.CHUNKED:
            return b""
        return b"0\r\n" + b"".join(self._trailer_fields) + b"\r\n"

    def overflows(self, size: int) -> bool:
        """Say whether ``size`` more bytes of body would pass the response's Content-Length."""
        if self._framing is Framing.NO_BODY:
            return False
        limit = self._left if self.started else self._content_length
        return limit is not None and self._is_counted and size > limit

    @property
    def missing(self) -> int:
        """The bytes of body that Content-Length promises and that were not written yet."""
        return self._left if self._framing is Framing.LENGTH else 0

    @property
    def _is_counted(self) -> bool:
        return not self.started or self._framing is Framing.LENGTH

    def _head(self, body_size: int | None) -> bytes:
        """Return the head; ``body_size`` is given when the whole body is known."""
        self.started = True
        fields = self._fields
        if self._framing is not Framing.NO_BODY:
            length = self._content_length
            if length is None and body_size is not None and not self.trailers:
                length = body_size
                fields += b"Content-Length: %d\r\n" % body_size
            if length is not None:
                self._framing = Framing.LENGTH
                self._left = length
            elif self._http11:
                self._framing = Framing.CHUNKED
                fields += b"Transfer-Encoding: chunked\r\n"
            else:
                self.close = True
        if self.close:
            fields += b"Connection: close\r\n"
        elif not self._http11:
            fields += b"Connection: keep-alive\r\n"
        return fields + self._default_fields() + b"\r\n"

    def _default_fields(self) -> bytes:
        if not (self._has_date or self._has_server):
            return self._defaults.block()
        return (b"" if self._has_date else self._defaults.date()) + (
            b"" if self._has_server else self._defaults.server
        )

    def _part(self, data: bytes, more: bool) -> bytes:
        framing = self._framing
        if framing is Framing.LENGTH:
            if len(data) > self._left:
                data = data[: self._left]
            self._left -= len(data)
            return data
        if framing is Framing.CHUNKED:
            chunk = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
            return chunk if more or self.trailers else chunk + b"0\r\n\r\n"
        return data if framing is Framing.UNTIL_CLOSE else b""


_HANDLED: Final = frozenset(
    (b"content-length", b"transfer-encoding", b"connection", b"date", b"server")
)


class DefaultHeaders:
    """The Date and Server lines of every response, made once a second (RFC 9110, section 6.6.1)."""

    def __init__(self, server_name: str, time: Callable[[], float]) -> None:
        self._time = time
        self.server = f"Server: {server_name}\r\n".encode("latin-1") if server_name else b""
        self._second = -1
        self._block = b""

    def block(self) -> bytes:
        """Return both lines."""
        second = int(self._time())
        if second != self._second:
            self._second = second
            self._block = self.date() + self.server
        return self._block

    def date(self) -> bytes:
        """Return the Date line alone."""
        return f"Date: {formatdate(int(self._time()), usegmt=True)}\r\n".encode("ascii")


def error_page(status: int, text: str) -> tuple[list[Header], bytes]:
    """Return headers and body of the server's own answer.

    The texts are ours and hold nothing of the request.
    """
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Error"
    title = html.escape(f"{status} {phrase}")
    body = (
        f"<!DOCTYPE html>\n<html lang=en>\n<head><title>{title}</title></head>\n"
        f"<body>\n<h1>{title}</h1>\n<p>{html.escape(text)}</p>\n"
        "<hr>\n<footer>Daphne</footer>\n</body>\n</html>\n"
    ).encode()
    return [
        (b"Content-Type", b"text/html; charset=utf-8"),
        (b"Content-Length", b"%d" % len(body)),
    ], body
