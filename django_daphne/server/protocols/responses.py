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
from ..headers import HANDLED_FIELDS, field_line, has_token, known_field_lines
from ..interfaces import RequestHead
from ..types import Header, Headers

_STATUS_LINES: Final = {
    status.value: b"HTTP/1.1 %d %s\r\n" % (status.value, status.phrase.encode("ascii"))
    for status in HTTPStatus
}

# Statuses that never have a body (RFC 9110, sections 15.2, 15.3.5 and 15.4.5).
BODILESS: Final = frozenset((204, 304))


_CONTENT_LENGTH: Final = (b"Content-Length", b"content-length")


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

    # One is made for each response. What most responses do not have is set where it is there.
    size = 0  # the bytes of body that were written, without framing
    overflowed = False  # the body was longer than Content-Length, and was cut
    framing = Framing.UNTIL_CLOSE
    _has_date = False
    _has_server = False
    _content_length: int | None = None
    _head: list[bytes] | None  # its pieces, until they leave
    missing = 0  # the bytes of body that Content-Length promises and that were not written yet
    _trailer_fields: bytes = b""

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
        self.trailers = trailers
        self._defaults = defaults
        self._is_http11 = request.http_version == "1.1"
        self._head = head = [_STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status]
        for field in headers:
            try:
                line = known_field_lines.get(field)
            except TypeError:  # a list
                line = None
            if line is None:
                line = self._new_line(field)
                if line is None:
                    continue
            head.append(line)
        if request.method == "HEAD" or status in BODILESS:
            self.framing = Framing.NO_BODY

    def _new_line(self, field: Header) -> bytes | None:
        """Return the line of a field that is not known yet; None when it is not to be sent."""
        if type(field) is tuple and len(field) == 2 and self._content_length is None:
            # In short the one field that is new in nearly every response, as it is mostly written.
            name, value = field
            if (
                name in _CONTENT_LENGTH
                and type(value) is bytes
                and value.isdigit()
                and self.status != 204
            ):
                self._content_length = int(value)
                return b"%b: %b\r\n" % (name, value)
        lowered, line = field_line(field)
        if lowered in HANDLED_FIELDS and not self._handle(lowered, field[1]):
            return None
        return line

    def _handle(self, name: bytes, value: bytes) -> bool:
        """Take note of a field that the server has a say in; false when it is not to be sent."""
        if name == b"content-length":
            size = int(value) if value.isdigit() else -1
            if size < 0 or self._content_length not in (None, size):
                raise ApplicationError(f"Content-Length {value!r} is not one number of bytes")
            if self._content_length is not None or self.status == 204:
                return False
            self._content_length = size
        elif name == b"transfer-encoding":
            return False  # how the message is framed is decided here
        elif name == b"connection":
            # Whether the connection stays open is decided here; the application may ask to close.
            self.close = self.close or has_token(value, b"close")
            return value.lower() == b"upgrade"  # which belongs to the field of that name
        elif name == b"date":
            self._has_date = True
        else:
            self._has_server = True
        return True

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
            if len(data) > self.missing:
                self.overflowed = True
                data = data[: self.missing]
            self.missing -= len(data)
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
            self.overflowed = count > self.missing
            count = min(count, self.missing)
            self.missing -= count
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


class DefaultHeaders:
    """The Date and Server lines of every response, made once a second (RFC 9110, section 6.6.1)."""

    def __init__(self, server_name: str, time: Callable[[], float]) -> None:
        self._time = time
        self.server = f"Server: {server_name}\r\n".encode("latin-1") if server_name else b""
        self._from = self._until = 0.0
        self._block = b""
        self._fields: tuple[Header, ...] = ()

    def block(self) -> bytes:
        """Return both lines."""
        now = self._time()
        if not self._from <= now < self._until:  # the clock may have been set back
            self._from = float(int(now))
            self._until = self._from + 1.0
            self._block = self.date() + self.server
            lines = self._block.split(b"\r\n")[:-1]
            pairs = [line.split(b": ", 1) for line in lines]
            self._fields = tuple((name.lower(), value) for name, value in pairs)
        return self._block

    def fields(self) -> tuple[Header, ...]:
        """Return both as fields with names in lower case."""
        self.block()
        return self._fields

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
