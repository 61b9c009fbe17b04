"""Requests of HTTP/2, from their fields (RFC 9113, section 8; RFC 8441).

A request that breaks a rule is malformed: its stream is reset and the others go on. One that keeps
them and cannot be served, for its size or its method, is answered with a status. What applications
are given is what they would be given over HTTP/1.1: ``host`` stands for ``:authority``, and the
pieces of a cookie are one field again.
"""

from __future__ import annotations

import re
from typing import Final

from ..config import LimitsConfig
from ..exceptions import PeerError, StreamError
from ..headers import FORBIDDEN_IN_VALUE, HOST, TOKEN, has_token, read_length
from ..interfaces import RequestHead
from ..types import Header
from .http2_frames import ErrorCode
from .http2_interfaces import Fields

_PSEUDO: Final = frozenset((b":method", b":scheme", b":authority", b":path", b":protocol"))
_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
# Visible ASCII but "#": a fragment is never sent (RFC 9113, section 8.3.1).
_PATH: Final = re.compile(rb"/[\x21\x22\x24-\x7e]*")
_BLANKS: Final = b" \t"
_UNDERSCORE: Final = ord("_")

# What HTTP/1.1 says of a connection, HTTP/2 does not (RFC 9113, section 8.2.2).
CONNECTION_FIELDS: Final = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")
)
_SPECIAL: Final = CONNECTION_FIELDS | {b"content-length", b"cookie", b"expect", b"host", b"te"}
# What means the same with a body and without one.
_PLAIN: Final = frozenset((b"cookie", b"host"))
# Counted for each field besides its name and value.
_FIELD_OVERHEAD: Final = 32

# Lists of fields remembered for a connection, in number and size.
_MAX_KNOWN: Final = 64
_MAX_KNOWN_SIZE: Final = 2048


class HeadReader:
    """Reads the requests of one connection."""

    def __init__(self, limits: LimitsConfig) -> None:
        self._limits = limits
        self._known: dict[Fields, RequestHead] = {}

    def read(self, fields: Fields, ended: bool) -> RequestHead:
        """Return the request; ``ended`` says that it has no body.

        Raises StreamError for one that is malformed, PeerError for one that is not served.
        """
        known = self._known.get(fields)
        if known is not None:
            request = RequestHead(
                *(known.method, known.target, known.path, known.query, "2", known.headers.copy())
            )
            request.has_body = not ended
            return request
        request, is_plain = self._read(fields, ended)
        if is_plain and list_size(fields) <= _MAX_KNOWN_SIZE:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            self._known[fields] = RequestHead(
                *(request.method, request.target, request.path, request.query, "2"),
                request.headers.copy(),
            )
        return request

    def _read(self, fields: Fields, ended: bool) -> tuple[RequestHead, bool]:
        """Return the request, and whether its fields always mean the same."""
        pseudo: dict[bytes, bytes] = {}
        special: dict[bytes, bytes] = {}
        headers: list[Header] = []
        for field in fields:
            name, value = field
            if name[:1] == b":":
                if name not in _PSEUDO or name in pseudo or headers or special:
                    raise _malformed(f"pseudo-header field {name!r}")
                pseudo[name] = value
                continue
            check_field(name, value)
            if name in _SPECIAL:
                self._note(special, name, value)
            if name == b"cookie" or name == b"host":
                continue
            if _UNDERSCORE not in name:
                headers.append((name, value))
        request = self._request(pseudo, special, headers)
        self._frame(request, special, ended)
        self._check_size(fields)
        return request, special.keys() <= _PLAIN and not request.wants_websocket

    @staticmethod
    def _note(special: dict[bytes, bytes], name: bytes, value: bytes) -> None:
        """Keep a field that means something to the server."""
        if name in CONNECTION_FIELDS:
            raise _malformed(f"field {name!r} is none of HTTP/2")
        if name not in special:
            special[name] = value
        elif name == b"cookie":
            special[name] += b"; " + value
        elif name == b"expect" or name == b"te":
            special[name] += b"," + value
        else:
            raise _malformed(f"repeated {name!r}")

    def _request(
        self, pseudo: dict[bytes, bytes], special: dict[bytes, bytes], headers: list[Header]
    ) -> RequestHead:
        try:
            method = pseudo[b":method"]
        except KeyError:
            raise _malformed("no :method") from None
        if TOKEN.fullmatch(method) is None:
            raise _malformed("bad :method")
        protocol = pseudo.get(b":protocol")
        if protocol is not None and method != b"CONNECT":
            raise _malformed(":protocol without CONNECT")
        authority = self._authority(pseudo, special)
        if method == b"CONNECT" and protocol is None:
            raise PeerError(501, "CONNECT is not supported")
        path = pseudo.get(b":path")
        if path is None or pseudo.get(b":scheme") not in (b"http", b"https"):
            raise _malformed("no :path, or no :scheme of HTTP")
        if _PATH.fullmatch(path) is None and not (path == b"*" and method == b"OPTIONS"):
            raise _malformed("bad :path")
        if len(path) > self._limits.max_request_line:
            raise PeerError(414, ":path over max_request_line", limit="max_request_line")
        if protocol is not None and protocol.lower() != b"websocket":
            raise PeerError(501, "an unknown :protocol")
        front = [(b"host", authority)]
        if b"cookie" in special:
            front.append((b"cookie", special[b"cookie"]))
        raw_path, _, query = path.partition(b"?")
        request = RequestHead(method.decode("ascii"), path, raw_path, query, "2", front + headers)
        request.wants_websocket = protocol is not None
        return request

    @staticmethod
    def _authority(pseudo: dict[bytes, bytes], special: dict[bytes, bytes]) -> bytes:
        """Return what was asked, from ``:authority`` or from ``host``, which must not differ."""
        authority, host = pseudo.get(b":authority"), special.get(b"host")
        if authority is None:
            authority = host
        elif host is not None and host.lower() != authority.lower():
            raise _malformed("host is not :authority")
        if authority is None or HOST.fullmatch(authority) is None:
            raise _malformed("no :authority, or a bad one")
        return authority

    def _frame(self, request: RequestHead, special: dict[bytes, bytes], ended: bool) -> None:
        """Apply the fields that say what belongs to the message."""
        request.has_body = not ended
        length = special.get(b"content-length")
        if length is not None:
            size = request.content_length = read_length(length)
            if size is None:
                raise _malformed("bad content-length")
            if ended and size:
                raise _malformed("content-length without a body")
            limit = self._limits.max_body_size
            if limit is not None and size > limit:
                raise PeerError(413, "content-length over max_body_size", limit="max_body_size")
        te = special.get(b"te")
        if te is not None:
            if te != b"trailers":
                raise _malformed("te is not trailers")
            request.accepts_trailers = True
        if not ended and b"expect" in special:
            request.expect_continue = has_token(special[b"expect"], b"100-continue")

    def _check_size(self, fields: Fields) -> None:
        limits = self._limits
        if list_size(fields) > limits.max_header_size:
            raise PeerError(431, "fields over max_header_size", limit="max_header_size")
        if len(fields) > limits.max_header_count:
            raise PeerError(431, "fields over max_header_count", limit="max_header_count")


def refused_head(fields: Fields) -> RequestHead:
    """Return what stands in the log for a request that is not served, though well-formed."""
    method = dict(fields)[b":method"].decode("ascii")
    return RequestHead(method, b"-", b"", b"", "2", [])


def check_trailers(fields: Fields, max_size: int) -> None:
    """Raise StreamError for trailers that are malformed (RFC 9113, section 8.1), or too many."""
    if list_size(fields) > max_size:
        raise StreamError(ErrorCode.ENHANCE_YOUR_CALM, "trailers over max_header_size")
    for name, value in fields:
        check_field(name, value)
        if name in CONNECTION_FIELDS:
            raise _malformed(f"field {name!r} is none of HTTP/2")


def list_size(fields: Fields) -> int:
    """Return the size of fields as RFC 9113, section 6.5.2, counts it."""
    return sum([len(name) + len(value) + _FIELD_OVERHEAD for name, value in fields])


def check_field(name: bytes, value: bytes) -> None:
    """Raise StreamError for a field that is malformed (RFC 9113, section 8.2.1)."""
    if _NAME.fullmatch(name) is None:
        raise _malformed(f"bad field name {name!r}")
    if FORBIDDEN_IN_VALUE.search(value) is not None or value.strip(_BLANKS) != value:
        raise _malformed(f"bad value of {name!r}")


def _malformed(text: str) -> StreamError:
    return StreamError(ErrorCode.PROTOCOL_ERROR, text)
