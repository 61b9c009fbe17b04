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
_FORBIDDEN_IN_VALUE: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")

# Response fields that a protocol has a say in.
HANDLED_FIELDS: Final = frozenset(
    (b"content-length", b"transfer-encoding", b"connection", b"date", b"server")
)
# Response fields that are different each time.
_VARYING_FIELDS: Final = HANDLED_FIELDS | {b"set-cookie", b"location", b"etag", b"last-modified"}

# Lines of response fields that were checked before. Most responses of an application have the same
# few, so checking and writing one is mostly one look-up. Bounded in number and in size.
_MAX_KNOWN_LINES: Final = 1024
_MAX_KNOWN_VALUE: Final = 256
known_field_lines: dict[Header, bytes] = {}


def field_line(field: Header) -> tuple[bytes, bytes]:
    """Return the lower-case name of a response field, and its line with CRLF.

    Raises ApplicationError when it is no pair of byte strings, when the name is not a token or when
    the value holds a control character (RFC 9110, sections 5.1 and 5.5). A line that is likely to
    come again is kept in ``known_field_lines``.
    """
    try:
        name, value = field
    except (TypeError, ValueError):
        raise ApplicationError(f"A header must be a pair of byte strings, not {field!r}") from None
    for part, what in ((name, "name"), (value, "value")):
        if not isinstance(part, bytes):
            raise ApplicationError(
                f"Header {what} {part!r} expected to be `bytes`, but got `{type(part)}`"
            )
    if TOKEN.fullmatch(name) is None:
        raise ApplicationError(f"Header name {name!r} is not a token")
    if _FORBIDDEN_IN_VALUE.search(value) is not None:
        raise ApplicationError(f"Header value of {name!r} holds a control character: {value!r}")
    lowered = name.lower()
    line = b"%b: %b\r\n" % (name, value)
    if (
        lowered not in _VARYING_FIELDS
        and type(field) is tuple
        and len(value) <= _MAX_KNOWN_VALUE
        and len(known_field_lines) < _MAX_KNOWN_LINES
    ):
        known_field_lines[field] = line
    return lowered, line


def has_token(value: bytes, token: bytes) -> bool:
    """Say whether a comma-separated list holds a token, in any letter case."""
    return any(item.strip(b" \t") == token for item in value.lower().split(b","))
