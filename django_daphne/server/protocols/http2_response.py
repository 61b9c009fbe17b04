"""Responses of HTTP/2: their fields, and how much of their body was sent (RFC 9113, section 8)."""

from __future__ import annotations

from typing import Final

from .. import interfaces
from ..exceptions import ApplicationError
from ..headers import VARYING_FIELDS, field_line, has_token
from ..interfaces import RequestHead
from ..types import Header, Headers
from .http2_head import CONNECTION_FIELDS
from .responses import BODILESS

_CONTENT_LENGTH: Final = (b"content-length", b"Content-Length")
_HANDLED: Final = CONNECTION_FIELDS | {b"content-length", b"date", b"server"}

# Fields checked before, with their names in lower case. Bounded in number and size.
_MAX_KNOWN: Final = 1024
_MAX_KNOWN_VALUE: Final = 256
_known: dict[Header, Header] = {}


class Response:
    """One response; its head is checked when it is made, and complete with the first body part."""

    # One is made for each response. What most responses do not have is set where it is there.
    size = 0  # the bytes of body that were taken
    missing = 0  # the bytes of body that content-length promises and that were not taken yet
    overflowed = False  # the body was longer than content-length, and was cut
    close = False  # the application asks for the end of the connection
    _content_length: int | None = None
    _has_date = False
    _has_server = False

    def __init__(
        self,
        request: RequestHead,
        status: int,
        headers: Headers,
        trailers: bool,
        defaults: interfaces.DefaultHeaders,
    ) -> None:
        """Raise ApplicationError for a field that cannot be sent."""
        self.status = status
        self.trailers = trailers
        self.is_bodiless = status in BODILESS or request.method == "HEAD"
        self._defaults = defaults
        self.fields: list[Header] = [(b":status", b"%d" % status)]
        for field in headers:
            try:
                known = _known.get(field)
            except TypeError:  # a list
                known = None
            if known is None:
                known = self._new_field(field)
                if known is None:
                    continue
            self.fields.append(known)

    def _new_field(self, field: Header) -> Header | None:
        """Return a field that is not known yet; None when it is not to be sent."""
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
                return b"content-length", value
        name = field_line(field)[0]
        value = bytes(field[1])
        if name not in _HANDLED:
            checked = name, value.strip(b" \t")
            if (
                name not in VARYING_FIELDS
                and type(field) is tuple
                and len(value) <= _MAX_KNOWN_VALUE
                and len(_known) < _MAX_KNOWN
            ):
                _known[field] = checked
            return checked
        if name == b"content-length":
            return self._length(name, value)
        if name == b"connection":
            self.close = self.close or has_token(value, b"close")
            return None
        if name in CONNECTION_FIELDS:
            return None
        self._has_date |= name == b"date"
        self._has_server |= name == b"server"
        return name, value

    def _length(self, name: bytes, value: bytes) -> Header | None:
        size = int(value) if value.isdigit() else -1
        if size < 0 or self._content_length not in (None, size):
            raise ApplicationError(f"Content-Length {value!r} is not one number of bytes")
        if self._content_length is not None or self.status == 204:
            return None
        self._content_length = size
        return name, value

    def head(self, body_size: int | None) -> list[Header]:
        """Return the fields, complete; ``body_size`` is given when the whole body is known."""
        fields = self.fields
        if not self.is_bodiless:
            if self._content_length is not None:
                self.missing = self._content_length
            elif body_size is not None and not self.trailers:
                fields.append((b"content-length", b"%d" % body_size))
                self._content_length = self.missing = body_size
        if not (self._has_date or self._has_server):
            fields.extend(self._defaults.fields())
        else:
            given = {b"date": self._has_date, b"server": self._has_server}
            fields.extend(field for field in self._defaults.fields() if not given[field[0]])
        return fields

    def take(self, size: int) -> int:
        """Return how many of so many bytes of body are sent, after ``head``."""
        if self.is_bodiless:
            return 0
        if self._content_length is not None:
            if size > self.missing:
                self.overflowed = True
                size = self.missing
            self.missing -= size
        self.size += size
        return size


def plain_fields(headers: Headers) -> list[Header]:
    """Return the fields of trailers and of 1xx responses.

    Raises ApplicationError for one that cannot be sent.
    """
    fields = []
    for field in headers:
        name = field_line(field)[0]
        if name not in CONNECTION_FIELDS:
            fields.append((name, bytes(field[1]).strip(b" \t")))
    return fields
