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
* an Upgrade to WebSocket is the next one's to judge (``websocket_handshake``); one to anything
  else is ignored, and its body belongs to this request.

Field names with an underscore are dropped: to a CGI-style application they would pass for the name
with a dash (CVE-2015-0219).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, TypeAlias

import httptools

from ..exceptions import PeerError
from ..headers import HOST, TOKEN, has_token, read_length
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

# llhttp is given this instead of the client's request line, which it does not have to judge.
_PLAIN_LINE: Final = b"POST / HTTP/1.1\r\n"

# Fields that change how this server reads the message or the connection; some are lists, which
# may be given in several lines. To Proxy-Connection only llhttp listens.
_LISTS: Final = frozenset((b"connection", b"expect", b"te", b"proxy-connection", b"upgrade"))
_SPECIAL: Final = _LISTS | {b"host", b"content-length", b"transfer-encoding"}
_SLASH: Final = ord("/")
_UNDERSCORE: Final = ord("_")
# Bytes. What a connection remembers of its last request is not to weigh on an idle one.
_MAX_PLAIN_HEAD: Final = 2048
_MAX_KNOWN_LINE: Final = 256

# A name with an underscore, or a value that looks like one: worth a closer look.
_UNDERSCORED: Final = re.compile(rb"_[^:\r\n]*:")

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

    __slots__ = (
        *("_good_host", "_headers", "_max_count", "_parser"),
        *("_plain_block_at", "_plain_head", "_plain_headers", "_plain_line"),
    )

    def __init__(self, max_header_count: int | None) -> None:
        self._max_count = max_header_count
        self._parser: httptools.HttpRequestParser | None = None
        self._headers: list[Header] = []
        self._good_host: bytes | None = None
        # The last head of a plain request, where its fields begin, and what it meant.
        self._plain_head = b""
        self._plain_block_at = 0
        self._plain_line: RequestLine
        self._plain_headers: list[Header] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one field line; called by httptools, and the dearest call there is: once a field."""
        self._headers.append((name.lower(), value))

    def read(self, head: bytes) -> RequestHead:
        """Return the request of ``head``, which ends with its blank line.

        Raises PeerError with the status to answer with.
        """
        if head == self._plain_head:  # as a client says again that asks for the same
            method, target, path, query, version = self._plain_line
            return RequestHead(method, target, path, query, version, self._plain_headers.copy())
        line, _, block = head.partition(b"\r\n")
        read_line = _known_line if len(line) <= _MAX_KNOWN_LINE else _request_line
        method, target, path, query, version = words = read_line(line)
        if version == "1.1" and path and block == self._plain_head[self._plain_block_at :]:
            # On one connection most requests differ in their first line alone, and what the last
            # block meant this one means again.
            self._keep(head, block, words)
            return RequestHead(method, target, path, query, version, self._plain_headers.copy())
        headers = self._field_lines(block)
        if not path:
            path, query = _other_target(method, target, headers)
        request = RequestHead(method, target, path, query, version, headers)
        special: dict[bytes, bytes] = {}
        for name, value in headers:
            if name in _SPECIAL:
                _note(special, name, value)
        host = special.get(b"host")
        if host != self._good_host or host is None:
            self._check_host(host, version)
        if len(special) > 1 or host is None or version == "1.0":
            _frame(request, special)
        if len(special) > 1:
            self._parser = None  # it may wait for a body now, or for the end of the connection
        is_usual = version == "1.1" and target[0] == _SLASH
        if is_usual and request.is_plain and len(head) <= _MAX_PLAIN_HEAD:
            self._keep(head, block, words)
            self._plain_headers = headers.copy()
        return request

    def _keep(self, head: bytes, block: bytes, words: RequestLine) -> None:
        """Remember a head for the next request."""
        if len(head) <= _MAX_PLAIN_HEAD:
            self._plain_head = head
            self._plain_block_at = len(head) - len(block)
            self._plain_line = words

    def read_trailers(self, block: bytes) -> list[Header]:
        """Return the trailer fields of ``block``, which ends with its blank line.

        Raises PeerError for bad grammar and for fields that must not stand in trailers.
        """
        self._parser = None
        headers = self._field_lines(block)
        self._parser = None
        for name, _ in headers:
            if name in _FORBIDDEN_TRAILERS:
                raise PeerError(400, f"{name.decode('ascii')} in trailers")
        return headers

    def _field_lines(self, block: bytes) -> list[Header]:
        """Return the fields of a block that ends with its blank line."""
        parser = self._parser
        if parser is None:
            parser = self._parser = httptools.HttpRequestParser(self)
        headers: list[Header] = []
        self._headers = headers
        try:
            parser.feed_data(_PLAIN_LINE + block)
        except httptools.HttpParserUpgrade:
            self._parser = None  # it takes what follows for another protocol
        except httptools.HttpParserError as error:
            raise PeerError(400, str(error)) from None
        if self._max_count is not None and len(headers) > self._max_count:
            raise PeerError(431, "too many header fields", limit="max_header_count")
        # An int is found in bytes ten times as fast as bytes are.
        if _UNDERSCORE in block and _UNDERSCORED.search(block) is not None:
            headers = [field for field in headers if _UNDERSCORE not in field[0]]
        if block.find(b" \r") >= 0 or block.find(b"\t\r") >= 0:
            # llhttp leaves blanks behind a value; strip without arguments would eat more.
            headers = [(name, value.rstrip(b" \t")) for name, value in headers]
        return headers

    def _check_host(self, host: bytes | None, version: str) -> None:
        if host is None:
            if version == "1.1":
                raise PeerError(400, "no Host")
        elif HOST.fullmatch(host) is None:
            raise PeerError(400, "bad Host")
        else:
            self._good_host = host


RequestLine: TypeAlias = tuple[str, bytes, bytes, bytes, str]


def _request_line(line: bytes) -> RequestLine:
    """Return method, target, path, query and version; no path unless it begins the target."""
    try:
        token, target, version_name = line.split(b" ")
    except ValueError:
        raise PeerError(400, "bad request line") from None
    method = _METHODS.get(token) or _other_method(token)
    version = _VERSIONS.get(version_name) or _refuse_version(version_name)
    if method == "CONNECT":
        raise PeerError(501, "CONNECT is not supported")
    if _TARGET.fullmatch(target) is None:
        raise PeerError(400, "bad request target")
    if target[0] != _SLASH:
        return method, target, b"", b"", version
    path, _, query = target.partition(b"?")  # origin-form
    return method, target, path, query, version


# Clients ask for the same things again and again. Bounded in number here and in size by the caller.
_known_line = lru_cache(maxsize=1024)(_request_line)


def _other_method(token: bytes) -> str:
    """Return a method that is none of the usual ones; any token is one."""
    if TOKEN.fullmatch(token) is None:
        raise PeerError(400, "bad method")
    return token.decode("ascii")


def _refuse_version(name: bytes) -> str:
    if _OTHER_VERSION.fullmatch(name) is not None:
        raise PeerError(505, "unsupported HTTP version")
    raise PeerError(400, "bad HTTP version")


def _other_target(method: str, target: bytes, headers: list[Header]) -> tuple[bytes, bytes]:
    """Return path and query of a target that does not begin with a slash (RFC 9112, 3.2)."""
    if target == b"*" and method == "OPTIONS":
        return target, b""
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None:
        raise PeerError(400, "bad request target")
    authority, path, query = absolute.groups(b"")
    # It takes the place of Host, which must be there and well-formed all the same.
    for index, (name, value) in enumerate(headers):
        if name == b"host":
            if HOST.fullmatch(value) is None:
                raise PeerError(400, "bad Host")
            headers[index] = (name, authority)
    if HOST.fullmatch(authority) is None:
        raise PeerError(400, "bad request target")
    return path or b"/", query[1:]


def _note(special: dict[bytes, bytes], name: bytes, value: bytes) -> None:
    """Keep a field that changes how the message or the connection is read."""
    if name not in special:
        special[name] = value
    elif name in _LISTS:
        special[name] += b"," + value
    else:
        raise PeerError(400, f"repeated {name.decode('ascii')}")


def _frame(request: RequestHead, special: dict[bytes, bytes]) -> None:
    """Apply the fields that say where the message ends and what becomes of the connection."""
    is_http11 = request.http_version == "1.1"
    coding = special.get(b"transfer-encoding")
    length = special.get(b"content-length")
    if coding is not None:
        if not is_http11 or length is not None or coding.lower() != b"chunked":
            raise PeerError(400, "bad Transfer-Encoding")
        request.has_body = True
    elif length is not None:
        request.content_length = read_length(length)
        if request.content_length is None:
            raise PeerError(400, "bad Content-Length")
        request.has_body = length != b"0"
    connection = special.get(b"connection")
    if connection is not None and connection != b"keep-alive":
        request.keep_alive = not has_token(connection, b"close") and (
            is_http11 or has_token(connection, b"keep-alive")
        )
    elif not is_http11:
        request.keep_alive = connection is not None
    if is_http11 and b"expect" in special:
        request.expect_continue = request.has_body and has_token(
            special[b"expect"], b"100-continue"
        )
    if b"upgrade" in special:
        request.wants_websocket = has_token(special[b"upgrade"], b"websocket")
    if is_http11 and b"te" in special:
        request.accepts_trailers = has_token(special[b"te"], b"trailers")
