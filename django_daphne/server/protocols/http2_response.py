"""Responses of HTTP/2: their fields, and how much of their body was sent (RFC 9113, section 8)."""

from __future__ import annotations

from http import HTTPStatus
from typing import ClassVar, Final

from ..headers import HANDLED_FIELDS, VARYING_FIELDS, field_line
from ..types import Header, Headers
from .http2_head import CONNECTION_FIELDS
from .responses import Response

_BLANKS: Final = b" \t"
# Fields checked before, with their names in lower case. Bounded in number and size.
_MAX_KNOWN: Final = 1024
_MAX_KNOWN_VALUE: Final = 256
_known: dict[Header, Header] = {}


def _status_field(status: int) -> Header:
    return b":status", b"%d" % status


class HTTP2Response(Response[Header]):
    """One response: its fields, and how much of its body was taken."""

    statuses: ClassVar[dict[int, Header]] = {
        status.value: _status_field(status) for status in HTTPStatus
    }
    known = _known
    known_lengths: ClassVar[dict[Header, tuple[int, Header]]] = {}
    handled_fields = HANDLED_FIELDS | CONNECTION_FIELDS

    def _new_status(self, status: int) -> Header:
        return _status_field(status)

    def _make_piece(self, lowered: bytes, field: Header, line: bytes) -> Header:
        value = bytes(field[1])
        piece = lowered, value.strip(_BLANKS)
        if (
            lowered not in VARYING_FIELDS
            and type(field) is tuple
            and len(value) <= _MAX_KNOWN_VALUE
            and len(_known) < _MAX_KNOWN
        ):
            _known[field] = piece
        return piece

    def head(self, body_size: int | None) -> list[Header]:
        """Return the fields, complete; ``body_size`` is given when the whole body is known."""
        fields = self._pieces
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
            size = self._cut(size)
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
            fields.append((name, bytes(field[1]).strip(_BLANKS)))
    return fields
