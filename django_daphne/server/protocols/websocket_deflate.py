"""permessage-deflate (RFC 7692) on autobahn's codec, with two of its faults mended.

The inflated size is what is limited: one byte more than the limit is asked for, so that a message
that is too large is refused and never cut. And a deflate stream may end in the middle of a
connection (a block with BFINAL); what follows begins a new stream, which knows the window of the
old one.

A pair of codecs weighs up to 300 KB at the largest window, so none is made before the first
compressed message in its direction.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable
from typing import Any, Final

from autobahn.websocket.compress_deflate import (
    PerMessageDeflate,
    PerMessageDeflateOffer,
    PerMessageDeflateOfferAccept,
)

from ..exceptions import WebSocketError
from ..protocol_config import WebSocketConfig

_NAME: Final = "permessage-deflate"
_WORD: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
# One extension or parameter of Sec-WebSocket-Extensions (RFC 6455, section 9.1).
_PART: Final = re.compile(rf'[ \t]*({_WORD})(?:=(?:({_WORD})|"({_WORD})"))?[ \t]*')
_BITS: Final = re.compile("[1-9][0-9]?")

# autobahn is annotated here and there.
_parse_offer: Any = PerMessageDeflateOffer.parse
_make_answer: Any = PerMessageDeflateOfferAccept
_create_codec: Any = PerMessageDeflate.create_from_offer_accept

# zlib's memory level; with windows of 12 bits its hash tables weigh what the window does.
_MEMORY_LEVEL: Final = 5
# What a sender takes off the end of each message (RFC 7692, section 7.2.1).
_TAIL: Final = b"\x00\x00\xff\xff"
# Streams that may end in one message. One is usual for those that end them at all; each costs as
# much as a codec does.
_MAX_STREAMS: Final = 16


def negotiate(offers: Iterable[str], config: WebSocketConfig) -> tuple[str, Deflate] | None:
    """Return the Sec-WebSocket-Extensions to answer with, and the codec; None declines all.

    ``offers`` are the values of the client's Sec-WebSocket-Extensions fields. The first offer that
    can be met is taken (RFC 7692, section 5).
    """
    for offer in ",".join(offers).split(","):
        parts = [_PART.fullmatch(part) for part in offer.split(";")]
        if any(part is None for part in parts):
            continue
        (name, *_), *pairs = [(part[1], part[2] or part[3]) for part in parts if part is not None]
        if name.lower() == _NAME and (found := _accept(pairs, config)) is not None:
            return found
    return None


def _accept(
    pairs: list[tuple[str, str | None]], config: WebSocketConfig
) -> tuple[str, Deflate] | None:
    """Return the answer to one offer and the codec, None for an offer that cannot be met."""
    parameters: dict[str, list[str | bool]] = {}
    for name, value in pairs:
        if value is not None and _BITS.fullmatch(value) is None:
            return None
        parameters.setdefault(name, []).append(value or True)
    try:
        offer = _parse_offer(parameters)
    except Exception:  # noqa: BLE001 - it raises nothing narrower
        return None
    bits = config.websocket_compression_bits
    hint = parameters.get("client_max_window_bits", [True])[0]
    answer = _make_answer(
        offer,
        request_no_context_takeover=not config.websocket_compression_context,
        request_max_window_bits=min(bits, int(hint) if hint is not True else bits)
        if offer.accept_max_window_bits
        else 0,
        no_context_takeover=offer.request_no_context_takeover
        or not config.websocket_compression_context,
        window_bits=min(bits, offer.request_max_window_bits or bits),
        mem_level=_MEMORY_LEVEL,
    )
    codec = _create_codec(True, answer)
    return answer.get_extension_string(), Deflate(codec)


class Deflate:
    """Both directions of one connection."""

    def __init__(self, codec: Any) -> None:
        """Take autobahn's ``PerMessageDeflate`` as it was negotiated."""
        self._codec = codec
        # What the client may refer to, if its stream ends; nothing where it keeps no context.
        self._window_size = 0
        if not codec.client_no_context_takeover:
            self._window_size = 1 << codec.client_max_window_bits
        self._window = b""
        self._streams = 0
        self._is_fresh = True  # nothing was inflated since the stream began

    def compress(self, data: bytes) -> bytes:
        """Return the payload of a message; whoever calls it has to send it."""
        self._codec.start_compress_message()
        compressed: bytes = self._codec.compress_message_data(data)
        compressed += self._codec.end_compress_message()
        if self._codec.server_no_context_takeover:
            self._codec._compressor = None  # made anew for the next one anyway
        return compressed

    def begin(self) -> None:
        """Begin to inflate a message."""
        self._codec.start_decompress_message()
        self._streams = 0
        self._is_fresh = self._is_fresh or not self._window_size

    def inflate(self, data: bytes, limit: int | None) -> bytes:
        """Return what a piece of the message stands for.

        Raises WebSocketError for more than ``limit`` bytes, and for what is no deflate stream.
        """
        inflated = b""
        while data:
            decompressor = self._codec._decompressor
            wanted = 0 if limit is None else limit + 1 - len(inflated)
            try:
                piece = decompressor.decompress(data, wanted)
            except zlib.error:
                raise WebSocketError(1007, "compressed data that cannot be inflated") from None
            inflated = inflated + piece if inflated else piece
            if limit is not None and len(inflated) > limit:
                raise WebSocketError(
                    1009,
                    "inflated message over websocket_max_message_size",
                    limit="websocket_max_message_size",
                )
            self._remember(piece)
            self._is_fresh = False
            data = b""
            if decompressor.eof:
                data = decompressor.unused_data
                self._begin_stream()
        return inflated

    def end(self, limit: int | None) -> bytes:
        """Return the rest of the message."""
        rest = b"" if self._is_fresh else self.inflate(_TAIL, limit)
        if not self._window_size:
            self._codec._decompressor = None  # made anew for the next message anyway
        return rest

    def _begin_stream(self) -> None:
        """Go on behind a stream that has ended."""
        self._streams += 1
        if self._streams > _MAX_STREAMS:
            raise WebSocketError(1007, "message of too many deflate streams")
        bits = self._codec.client_max_window_bits
        self._codec._decompressor = zlib.decompressobj(-bits, self._window)
        self._is_fresh = True

    def _remember(self, piece: bytes) -> None:
        size = self._window_size
        if size:
            self._window = (piece if len(piece) >= size else self._window + piece)[-size:]
