"""Responses of every version of HTTP: what is found out of one, and what the server says itself."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, ClassVar, Final, Generic, TypeVar

from .. import services
from ..exceptions import ApplicationError
from ..headers import HANDLED_FIELDS, field_line, has_token
from ..interfaces import RequestHead
from ..types import Header, Headers

Piece = TypeVar("Piece")

# Statuses that never have a body (RFC 9110, sections 15.2, 15.3.5 and 15.4.5).
BODILESS: Final = frozenset((204, 304))

# Lengths that were checked before: bounded in number and size.
_MAX_KNOWN_LENGTHS: Final = 4096
_MAX_DIGITS: Final = 8


class Response(Generic[Piece]):
    """One response of the application: its fields, as pieces of a head, and its length.

    The head is checked when the object is made and sent with the first body part, because only then
    it is known whether the whole body is there and its length can be said. No ABC, for the reason
    that ``Exchange`` gives.
    """

    # What a response begins with, by its status; and pieces that were made before, of any response.
    statuses: ClassVar[dict[int, Any]]
    known: ClassVar[Mapping[Header, Any]]
    known_lengths: ClassVar[dict[Header, tuple[int, Any]]]
    handled_fields = HANDLED_FIELDS  # those that the server has a say in

    def __init__(
        self,
        request: RequestHead,
        status: int,
        headers: Headers,
        trailers: bool,
        defaults: services.DefaultHeaders,
    ) -> None:
        """Make a piece of each field; raise ApplicationError for one that cannot be sent.

        ``trailers`` says that trailer fields may follow the body; the client takes them.
        """
        self.status = status
        self.trailers = trailers
        self.size = 0  # the bytes of body that were taken, without framing
        self.missing = 0  # the bytes of body that Content-Length promises and that were not taken
        self.overflowed = False  # the body was longer than Content-Length, and was cut
        self.close = False  # the connection is not used again
        self.is_bodiless = False
        # There is more to look at than whether the body is as long as was promised.
        self.is_unusual = False
        self._has_date = self._has_server = False
        self._content_length: int | None = None
        self._request = request
        self._defaults = defaults
        first = self.statuses.get(status)
        self._pieces: list[Piece] = [self._new_status(status) if first is None else first]
        if request.method == "HEAD" or status in BODILESS:
            self.is_bodiless = self.is_unusual = True
        elif trailers or not request.keep_alive or request.http_version == "1.0":
            self.is_unusual = True
        known = self.known
        for field in headers:
            try:
                piece = known.get(field)
            except TypeError:  # a list
                piece = None
            if piece is None:
                piece = self._new_piece(field)
                if piece is None:
                    continue
            self._pieces.append(piece)

    @property
    def is_endless(self) -> bool:
        """Tell whether nobody has said how long it is."""
        return self._content_length is None

    @abstractmethod
    def _new_status(self, status: int) -> Piece:
        """Return what a response begins with whose status nobody has given a name."""

    def _new_piece(self, field: Header) -> Piece | None:
        """Return the piece of a field that is not known yet; None when it is not to be sent."""
        # In short the one field that is another in nearly every response.
        if type(field) is tuple and self._content_length is None and self.status != 204:
            try:
                length = self.known_lengths.get(field)
            except TypeError:  # something in it is no bytes
                length = None
            if length is not None:
                self._content_length = length[0]
                known: Piece = length[1]
                return known
        lowered, line = field_line(field)
        if lowered in self.handled_fields and not self._handle(lowered, field[1]):
            return None
        piece = self._make_piece(lowered, field, line)
        if lowered == b"content-length" and type(field) is tuple and type(field[1]) is bytes:
            self._keep_length(field, piece)
        return piece

    def _keep_length(self, field: Header, piece: Piece) -> None:
        known, size = self.known_lengths, self._content_length
        if size is not None and len(known) < _MAX_KNOWN_LENGTHS and len(field[1]) < _MAX_DIGITS:
            known[field] = size, piece

    @abstractmethod
    def _make_piece(self, lowered: bytes, field: Header, line: bytes) -> Piece:
        """Return the piece of a field, given with its name in lower case and as a line."""

    def _handle(self, name: bytes, value: bytes) -> bool:
        """Take note of a field that the server has a say in; false when it is not to be sent."""
        if name == b"content-length":
            size = int(value) if value.isdigit() else -1
            if size < 0 or self._content_length not in (None, size):
                raise ApplicationError(f"Content-Length {value!r} is not one number of bytes")
            if self._content_length is not None or self.status == 204:
                return False
            self._content_length = size
            return True
        if name == b"date" or name == b"server":
            self._has_date |= name == b"date"
            self._has_server |= name == b"server"
            self.is_unusual = True
            return True
        # How the message is framed, and whether the connection stays open, is decided by the
        # server; the application may ask to close.
        if name == b"connection" and has_token(value, b"close"):
            self.close = self.is_unusual = True
        return False

    def _cut(self, size: int) -> int:
        """Return how many of so many bytes the promised length has room for."""
        if size > self.missing:
            self.overflowed = True
            size = self.missing
        self.missing -= size
        return size

    def ends_with(self, more: bool) -> bool:
        """Return whether the response is complete with a body part, behind which ``more`` comes."""
        return not self.missing and (self.overflowed or not (more or self.trailers))


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
    from html import escape  # a large table comes with it

    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Error"
    title = escape(f"{status} {phrase}")
    body = (
        f"<!DOCTYPE html>\n<html lang=en>\n<head><title>{title}</title></head>\n"
        f"<body>\n<h1>{title}</h1>\n<p>{escape(text)}</p>\n"
        "<hr>\n<footer>Daphne</footer>\n</body>\n</html>\n"
    ).encode()
    return [
        (b"Content-Type", b"text/html; charset=utf-8"),
        (b"Content-Length", b"%d" % len(body)),
    ], body
