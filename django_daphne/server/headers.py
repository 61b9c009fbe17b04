"""The grammar of header fields that every protocol shares (RFC 9110, section 5)."""

from __future__ import annotations

import re
from typing import Final

from .exceptions import ApplicationError
from .types import Header

TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")

# uri-host [":" port] (RFC 9110, section 7.2; RFC 3986, section 3.2.2). Names are checked by their
# characters only: whether such a host exists is the application's business.
HOST: Final = re.compile(
    rb"(?:\[[0-9A-Za-z:.%~_-]+\]|[0-9A-Za-z\-._~!$&'()*+,;=%]+)"
    rb"(?::(?:[0-9]{0,4}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?"
)

# RFC 9110, section 5.5: field values hold no controls but HTAB; CR, LF and NUL are the dangerous
# ones. Applications are held to the same rule as clients.
FORBIDDEN_IN_VALUE: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")

_LENGTH: Final = re.compile(rb"0|[1-9][0-9]{0,18}")
_MAX_LENGTH: Final = 2**63 - 1

# Response fields that a protocol has a say in.
HANDLED_FIELDS: Final = frozenset(
    (b"content-length", b"transfer-encoding", b"connection", b"date", b"server")
)
# Response fields that are different each time.
ONE_TIME_FIELDS: Final = frozenset(
    (b"set-cookie", b"location", b"etag", b"last-modified", b"x-request-id")
)
VARYING_FIELDS: Final = HANDLED_FIELDS | ONE_TIME_FIELDS

# What was checked before: the lower-case forms of names, and whole lines. Most responses of an
# application have the same few, so writing one is mostly one look-up. Bounded in number and size.
_MAX_KNOWN: Final = 1024
_MAX_KNOWN_VALUE: Final = 256
_known_names: dict[bytes, bytes] = {}
known_field_lines: dict[Header, bytes] = {}


def field_line(field: Header) -> tuple[bytes, bytes]:
    """Return the lower-case name of a response field, and its line with CRLF.

    Raises ApplicationError when it is no pair of byte strings, when the name is not a token or when
    the value holds a control character (RFC 9110, sections 5.1 and 5.5). A line that is likely to
    come again is kept in ``known_field_lines``.
    """
    try:
        name, value = field
        lowered = _known_names.get(name) or _check_name(name)
        forbidden = FORBIDDEN_IN_VALUE.search(value)
        line = b"%b: %b\r\n" % (name, value)
    except ApplicationError:
        raise
    except (TypeError, ValueError):
        raise _bad_field(field) from None
    if forbidden is not None:
        raise ApplicationError(f"Header value of {name!r} holds a control character: {value!r}")
    if (
        lowered not in VARYING_FIELDS
        and type(field) is tuple
        and len(value) <= _MAX_KNOWN_VALUE
        and len(known_field_lines) < _MAX_KNOWN
    ):
        known_field_lines[field] = line
    return lowered, line


def _check_name(name: bytes) -> bytes:
    """Return the lower-case form of a field name; raise ApplicationError when it is no token."""
    if not isinstance(name, bytes):
        raise TypeError
    if TOKEN.fullmatch(name) is None:
        raise ApplicationError(f"Header name {name!r} is not a token")
    lowered = name.lower()
    if len(_known_names) < _MAX_KNOWN:
        _known_names[name] = lowered
    return lowered


def _bad_field(field: object) -> ApplicationError:
    """Return the error for a field that is no pair of byte strings."""
    if isinstance(field, tuple | list) and len(field) == 2:
        for part, what in zip(field, ("name", "value"), strict=True):
            if not isinstance(part, bytes):
                return ApplicationError(
                    f"Header {what} {part!r} expected to be `bytes`, but got `{type(part)}`"
                )
    return ApplicationError(f"A header must be a pair of byte strings, not {field!r}")


def read_length(value: bytes) -> int | None:
    """Return the number of a request's Content-Length; None unless it is plain, below 2**63."""
    if _LENGTH.fullmatch(value) is None or int(value) > _MAX_LENGTH:
        return None
    return int(value)


def has_token(value: bytes, token: bytes) -> bool:
    """Say whether a comma-separated list holds a token, in any letter case."""
    return any(item.strip(b" \t") == token for item in value.lower().split(b","))
