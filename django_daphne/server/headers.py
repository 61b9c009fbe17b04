"""The grammar of header fields that every protocol shares (RFC 9110, section 5)."""

from __future__ import annotations

import re
from typing import Final

from .exceptions import ApplicationError

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

# Response field names that were checked before. Applications use few, so the check is one look-up;
# the bound is for one that makes names up.
_MAX_KNOWN_NAMES: Final = 1024
_known_names: dict[bytes, bytes] = {}


def lower_field_name(name: bytes) -> bytes:
    """Return the lower-case form of a response field name.

    Raises ApplicationError when the name is not bytes or not a token (RFC 9110, section 5.1).
    """
    try:
        return _known_names[name]
    except (KeyError, TypeError):
        pass
    if not isinstance(name, bytes):
        raise ApplicationError(
            f"Header name {name!r} expected to be `bytes`, but got `{type(name)}`"
        )
    if TOKEN.fullmatch(name) is None:
        raise ApplicationError(f"Header name {name!r} is not a token")
    lowered = name.lower()
    if len(_known_names) < _MAX_KNOWN_NAMES:
        _known_names[name] = lowered
    return lowered


def check_field_value(name: bytes, value: bytes) -> None:
    """Raise ApplicationError when a response field value is not bytes or holds a control."""
    if not isinstance(value, bytes):
        raise ApplicationError(
            f"Header value {value!r} of {name!r} expected to be `bytes`, but got `{type(value)}`"
        )
    if FORBIDDEN_IN_VALUE.search(value) is not None:
        raise ApplicationError(f"Header value of {name!r} holds a control character: {value!r}")


def has_token(value: bytes, token: bytes) -> bool:
    """Say whether a comma-separated list holds a token, in any letter case."""
    return any(item.strip(b" \t") == token for item in value.lower().split(b","))
