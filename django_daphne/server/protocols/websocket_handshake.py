"""The opening handshake of a WebSocket (RFC 6455, section 4.2; over HTTP/2 RFC 8441, section 5).

It is read from the head as it was parsed, and answered here. Nothing is written out again for
another parser to read: two parsers that disagree about one head are how daphne's CVE-2026-44546
came about.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from ..exceptions import ApplicationError, PeerError
from ..headers import TOKEN, field_line, has_token
from ..interfaces import HTTPStream, RequestHead, WebSocketStream
from ..protocol_config import WebSocketConfig
from ..types import Header, Headers

if TYPE_CHECKING:
    from .websocket_deflate import Deflate

_ACCEPT_SUFFIX: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_VERSION: Final = b"13"
# 16 bytes in base64 (RFC 6455, section 4.1).
_KEY: Final = re.compile(rb"[A-Za-z0-9+/]{22}==")

# What 426 is to say (RFC 6455, section 4.4; RFC 9110, sections 7.8 and 15.5.22).
_UPGRADE_REQUIRED: Final = (
    (b"Sec-WebSocket-Version", _VERSION),
    (b"Upgrade", b"websocket"),
    (b"Connection", b"Upgrade"),
)

# Fields of the answer that are the server's alone.
_OURS: Final = frozenset(
    (
        *(b"connection", b"upgrade", b"content-length", b"transfer-encoding"),
        *(b"sec-websocket-accept", b"sec-websocket-extensions", b"sec-websocket-protocol"),
    )
)


class Offer(NamedTuple):
    """What a client asks for: the subprotocols and extensions that it speaks.

    ``key`` is what the answer has to prove knowledge of, over HTTP/1.1.
    """

    key: bytes
    subprotocols: tuple[str, ...]
    extensions: tuple[str, ...]


def read_offer(request: RequestHead) -> Offer:
    """Return what a request for a WebSocket offers.

    Raises PeerError: 426 for another version, 400 for everything else that is not as it must be.
    """
    fields: dict[bytes, list[bytes]] = {}
    for name, value in request.headers:
        fields.setdefault(name, []).append(value)
    if request.http_version == "2":
        key = _check_extended_connect(request, fields)
    else:
        key = _check_upgrade(request, fields)
    return Offer(
        key,
        tuple(_tokens(fields.get(b"sec-websocket-protocol", ()))),
        tuple(value.decode("latin-1") for value in fields.get(b"sec-websocket-extensions", ())),
    )


def _check_upgrade(request: RequestHead, fields: dict[bytes, list[bytes]]) -> bytes:
    """Return the key of a request that is as HTTP/1.1 has it."""
    if request.method != "GET" or request.http_version != "1.1" or request.has_body:
        raise PeerError(400, "WebSocket handshake that is no plain GET of HTTP/1.1")
    if not any(has_token(value, b"upgrade") for value in fields.get(b"connection", ())):
        raise PeerError(400, "WebSocket handshake without Connection: upgrade")
    if fields.get(b"sec-websocket-version") != [_VERSION]:
        raise PeerError(426, "WebSocket version", headers=_UPGRADE_REQUIRED)
    keys = fields.get(b"sec-websocket-key", [])
    if len(keys) != 1 or _KEY.fullmatch(keys[0]) is None:
        raise PeerError(400, "bad Sec-WebSocket-Key")
    return keys[0]


def _check_extended_connect(request: RequestHead, fields: dict[bytes, list[bytes]]) -> bytes:
    """Return no key, for a request that is as HTTP/2 has it."""
    if not request.has_body or b"sec-websocket-key" in fields:
        raise PeerError(400, "WebSocket handshake that is not one of HTTP/2")
    if fields.get(b"sec-websocket-version") != [_VERSION]:
        raise PeerError(400, "WebSocket version", headers=_UPGRADE_REQUIRED[:1])
    return b""


def _tokens(values: Sequence[bytes]) -> list[str]:
    """Return the items of a list of subprotocols."""
    items = [item.strip(b" \t") for value in values for item in value.split(b",")]
    named = [item for item in items if item]  # RFC 9110, section 5.6.1.2: others are ignored
    if (items and not named) or any(TOKEN.fullmatch(item) is None for item in named):
        raise PeerError(400, "bad Sec-WebSocket-Protocol")
    return [item.decode("ascii") for item in named]


def accept_fields(
    offer: Offer, subprotocol: str | None, extensions: str, headers: Headers
) -> list[Header]:
    """Return the fields of the answer that opens the WebSocket, but those of the HTTP version.

    Raises ApplicationError for a subprotocol that was not offered, and for a field that cannot be
    sent.
    """
    fields: list[Header] = []
    if subprotocol is not None:
        if subprotocol not in offer.subprotocols:
            offered = ", ".join(offer.subprotocols) or "none"
            raise ApplicationError(
                f"websocket.accept: subprotocol {subprotocol!r} was not offered; offered: {offered}"
            )
        fields.append((b"Sec-WebSocket-Protocol", subprotocol.encode("ascii")))
    if extensions:
        fields.append((b"Sec-WebSocket-Extensions", extensions.encode("ascii")))
    for item in headers:
        field = tuple(item) if isinstance(item, list) else item
        name, _ = field_line(field)
        if name in _OURS:
            raise ApplicationError(
                f"websocket.accept: the header {name.decode()!r} is the server's"
            )
        fields.append(field)
    return fields


def accept_head(offer: Offer, fields: Sequence[Header], defaults: bytes) -> bytes:
    """Return the head of the answer over HTTP/1.1.

    ``defaults`` are lines that every response has, unless ``fields`` have them.
    """
    digest = hashlib.sha1(offer.key + _ACCEPT_SUFFIX, usedforsecurity=False).digest()
    lines = [
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n",
        b"Sec-WebSocket-Accept: %b\r\n" % base64.b64encode(digest),
    ]
    names = set()
    for name, line in map(field_line, fields):
        names.add(name)
        lines.append(line)
    lines.extend(
        line + b"\r\n"
        for line in defaults.split(b"\r\n")
        if line and line.partition(b":")[0].lower() not in names
    )
    return b"".join((*lines, b"\r\n"))


def choose_extensions(offer: Offer, config: WebSocketConfig) -> tuple[str, Deflate | None]:
    """Return the Sec-WebSocket-Extensions to answer with, and the codec."""
    if not (offer.extensions and config.websocket_compression):
        return "", None
    # Imported when it is needed: a tenth of a second, and megabytes.
    from .websocket_deflate import negotiate

    return negotiate(offer.extensions, config) or ("", None)


class Handshake:
    """The wire's side of a WebSocket until the application accepts it (``WebSocketHandshake``)."""

    def __init__(
        self,
        offer: Offer,
        exchange: HTTPStream,
        open_websocket: Callable[[Offer, str | None, Headers], WebSocketStream],
        denied: Callable[[], object],
    ) -> None:
        """Deny by means of the ``exchange``, which is that of the request, and call ``denied``."""
        self.subprotocols = offer.subprotocols
        self._offer = offer
        self._exchange = exchange
        self._open = open_websocket
        self._denied = denied

    def accept(self, subprotocol: str | None, headers: Headers) -> WebSocketStream:
        """Open the WebSocket."""
        return self._open(self._offer, subprotocol, headers)

    def start_response(self, status: int, headers: Headers, trailers: bool) -> None:
        """Deny with a response of the application's."""
        self._exchange.start_response(status, headers, trailers)
        self._denied()

    def send_body(self, data: bytes, more: bool) -> None:
        """Send a part of it."""
        self._exchange.send_body(data, more)

    def refuse(self, status: int, text: str) -> None:
        """Deny with a page of the server's."""
        self._denied()
        self._exchange.refuse(status, text)

    def abort(self) -> None:
        """Reset the connection."""
        self._exchange.abort()
