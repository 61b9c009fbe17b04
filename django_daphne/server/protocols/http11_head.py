"""Request heads of HTTP/1.1 and HTTP/1.0 (RFC 9112, sections 2 to 6).

The caller cuts one head out of its buffer, up to and including the blank line, within its limits.
The request line is checked here, the field lines by httptools (llhttp, strict). llhttp lets some
requests through that two servers in a row may read differently, and says of others too late; so the
request line it sees is always a plain one, it is fed exactly one head at a time, and whatever
decides how the message is framed or routed is decided here:

* Transfer-Encoding is ``chunked``, once, on HTTP/1.1 only, and never beside Content-Length;
* Content-Length is plain digits without leading zeros, below 2**63;
* Host is given once and well-formed (HTTP/1.0 may lack it); the authority of an absolute-form
  target takes its place (RFC 9112, section 3.2.2);
* an Upgrade that nobody here speaks is ignored, and its body belongs to this request.

Field names with an underscore are dropped: to a CGI-style application they would pass for the name
with a dash (CVE-2015-0219).
"""

from __future__ import annotations

import re
from typing import Final

import httptools

from ..exceptions import PeerError
from ..headers import HOST, TOKEN, has_token
from ..interfaces import RequestHead
from ..types import Header

_VERSIONS: Final = {b"HTTP/1.1": "1.1", b"HTTP/1.0": "1.0"}
_OTHER_VERSION: Final = re.compile(rb"HTTP/[0-9]\.[0-9]")
_METHODS: Final = {
    name.encode(): name
    for name in ("GET", "POST", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
}
# Visible ASCII but "#": a fragment is never sent (RFC 9112, section 3.2).
_TARGET: Final = re.compile(rb"[\x21\x22\x24-\x7e]+")
_ABSOLUTE: Final = re.compile(rb"https?://([^/?@]+)(/[^?]*)?(\?.*)?", re.IGNORECASE)
_LENGTH: Final = re.compile(rb"0|[1-9][0-9]{0,18}")
_MAX_LENGTH: Final = 2**63 - 1

# llhttp is given this instead of the client's request line, which it does not have to judge.
_PLAIN_LINE: Final = b"POST / HTTP/1.1\r\n"

# Fields that change how this server reads the message or the connection.
_SPECIAL: Final = frozenset(
    (b"host", b"connection", b"content-length", b"transfer-encoding", b"expect", b"te", b"upgrade")
)

# Trailers may not frame, route, modify or authenticate (RFC 9110, section 6.5.1).
_FORBIDDEN_TRAILERS: Final = frozenset(
    (
        *(b"transfer-encoding", b"content-length", b"host", b"trailer", b"te", b"connection"),
        *(b"upgrade", b"keep-alive", b"proxy-connection", b"expect", b"max-forwards"),
        *(b"cache-control", b"pragma", b"range", b"if-match", b"if-none-match", b"if-range"),
        *(b"if-modified-since", b"if-unmodified-since", b"authorization", b"cookie"),
        *(b"proxy-authorization", b"set-cookie", b"content-encoding", b"content-type"),
        *(b"content-range", b"forwarded", b"x-forwarded-for", b"x-forwarded-proto"),
        *(b"x-forwarded-host", b"x-forwarded-port"),
    )
)


class HeadReader:
    """Reads the heads of one connection, one after another."""

    __slots__ = ("_good_host", "_headers", "_max_count", "_parser", "_special")

    def __init__(self, max_header_count: int | None) -> None:
        self._max_count = max_header_count
        self._parser: httptools.HttpRequestParser | None = None
        self._headers: list[Header] = []
        self._special: dict[bytes, bytes] = {}
        self._good_host: bytes | None = None

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one field line; called by httptools."""
        name = name.lower()
        if b"_" in name:
            return
        value = value.rstrip(b" \t")
        if name in _SPECIAL:
            special = self._special
            if name not in special:
                special[name] = value
            elif name == b"connection" or name == b"te" or name == b"expect":
                special[name] += b"," + value
            elif name != b"upgrade":
                # Raised when httptools has returned: an error in a callback loses its type.
                special[b""] = name
        self._headers.append((name, value))

    def read(self, head: bytes) -> RequestHead:
        """Return the request of ``head``, which ends with its blank line.

        Raises PeerError with the status to answer with.
        """
        line_end = head.index(b"\r\n") + 2
        method, target, version = self._request_line(head[: line_end - 2])
        special = self._field_lines(head[line_end:])
        path, query = self._target(method, target)
        request = RequestHead(method, target, path, query, version, self._headers)
        if special:
            self._frame(request, special)
        if version == "1.1":
            if b"host" not in special:
                raise PeerError(400, "no Host")
        elif b"connection" not in special:
            request.keep_alive = False
        return request

    def read_trailers(self, block: bytes) -> list[Header]:
        """Return the trailer fields of ``block``, which ends with its blank line.

        Raises PeerError for bad grammar and for fields that must not stand in trailers.
        """
        self._field_lines(block)
        for name, _ in self._headers:
            if name in _FORBIDDEN_TRAILERS:
                raise PeerError(400, f"{name.decode('ascii')} in trailers")
        return self._headers

    def _request_line(self, line: bytes) -> tuple[str, bytes, str]:
        try:
            token, target, version_name = line.split(b" ")
        except ValueError:
            raise PeerError(400, "bad request line") from None
        method = _METHODS.get(token)
        if method is None:
            if TOKEN.fullmatch(token) is None:
                raise PeerError(400, "bad method")
            method = token.decode("ascii")
        version = _VERSIONS.get(version_name)
        if version is None:
            if _OTHER_VERSION.fullmatch(version_name) is not None:
                raise PeerError(505, "unsupported HTTP version")
            raise PeerError(400, "bad HTTP version")
        if method == "CONNECT":
            raise PeerError(501, "CONNECT is not supported")
        return method, target, version

    def _field_lines(self, block: bytes) -> dict[bytes, bytes]:
        if self._max_count is not None and block.count(b"\r\n") - 1 > self._max_count:
            raise PeerError(431, "too many header fields")
        parser, self._parser = self._parser, None
        if parser is None:
            parser = httptools.HttpRequestParser(self)
        self._headers = []
        special: dict[bytes, bytes] = {}
        self._special = special
        try:
            parser.feed_data(_PLAIN_LINE + block)
        except httptools.HttpParserUpgrade:
            return special
        except httptools.HttpParserError as error:
            raise PeerError(400, str(error)) from None
        if b"" in special:
            raise PeerError(400, f"repeated {special[b''].decode('ascii')}")
        # A parser that now waits for a body, or for the end of the connection, is not used again.
        if not special or special.keys() == {b"host"}:
            self._parser = parser
        return special

    def _target(self, method: str, target: bytes) -> tuple[bytes, bytes]:
        """Return path and query of a request target (RFC 9112, section 3.2)."""
        if _TARGET.fullmatch(target) is None:
            raise PeerError(400, "bad request target")
        if target[0] == 0x2F:  # origin-form, "/"
            path, _, query = target.partition(b"?")
            return path, query
        if target == b"*" and method == "OPTIONS":
            return target, b""
        absolute = _ABSOLUTE.fullmatch(target)
        if absolute is None:
            raise PeerError(400, "bad request target")
        authority, path, query = absolute.groups(b"")
        self._replace_host(authority)
        return path or b"/", query[1:]

    def _replace_host(self, authority: bytes) -> None:
        """Put the authority of an absolute-form target in the place of Host."""
        if self._special.get(b"host") is None:
            return  # missing: refused later on HTTP/1.1, allowed on HTTP/1.0
        if HOST.fullmatch(self._special[b"host"]) is None:
            raise PeerError(400, "bad Host")
        self._special[b"host"] = authority
        self._headers[:] = [
            (name, authority if name == b"host" else value) for name, value in self._headers
        ]

    def _frame(self, request: RequestHead, special: dict[bytes, bytes]) -> None:
        """Apply the fields that say where the message ends and what becomes of the connection."""
        host = special.get(b"host")
        if host is not None and host != self._good_host:
            if HOST.fullmatch(host) is None:
                raise PeerError(400, "bad Host")
            self._good_host = host
        if len(special) == 1 and host is not None:
            return  # the common request
        is_http11 = request.http_version == "1.1"
        coding = special.get(b"transfer-encoding")
        length = special.get(b"content-length")
        if coding is not None:
            if not is_http11 or length is not None or coding.lower() != b"chunked":
                raise PeerError(400, "bad Transfer-Encoding")
            request.chunked = True
        elif length is not None:
            if _LENGTH.fullmatch(length) is None or int(length) > _MAX_LENGTH:
                raise PeerError(400, "bad Content-Length")
            request.content_length = int(length)
        connection = special.get(b"connection", b"")
        request.keep_alive = not has_token(connection, b"close") and (
            is_http11 or has_token(connection, b"keep-alive")
        )
        if is_http11:
            expect = special.get(b"expect", b"")
            request.expect_continue = request.has_body and has_token(expect, b"100-continue")
            request.accepts_trailers = has_token(special.get(b"te", b""), b"trailers")
