"""The seam within HTTP/2: between the frames of a connection and what they mean.

bytes -> engine -> receiver (``http2.HTTP2``) -> cycles ... -> receiver -> engine -> bytes
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol, TypeAlias

from ..exceptions import StreamError
from ..types import Header

Fields: TypeAlias = tuple[Header, ...]


class Receiver(Protocol):
    """What an engine says.

    For what the client did it may raise HTTP2Error, and where a stream is named StreamError, which
    comes back as ``stream_failed``.
    """

    def request_received(self, stream_id: int, fields: Fields, ended: bool) -> None:
        """Take a request; ``ended`` says that it has no body."""

    def trailers_received(self, stream_id: int, fields: Fields) -> None:
        """Take the fields behind a body, which they end."""

    def body_received(self, stream_id: int, data: bytes, size: int, ended: bool) -> None:
        """Take a piece of a body; ``size`` is what it took from the windows, for ``credit``."""

    def reset_received(self, stream_id: int) -> None:
        """Take note that the client gave a stream up."""

    def stream_failed(self, stream_id: int, error: StreamError) -> None:
        """Reset a stream whose frame broke a rule; it may have ended before."""

    def window_opened(self, stream_id: int) -> None:
        """Take note that more may be sent; stream 0 stands for any."""

    def priority_received(self, stream_id: int, value: bytes) -> None:
        """Take the priority of a stream, which may not have begun (RFC 9218, section 7.1)."""

    def ping_answered(self, payload: bytes) -> None:
        """Take the answer to a PING."""

    def goaway_received(self) -> None:
        """Take note that the client begins no more streams."""


class Engine(Protocol):
    """What can be said to an engine."""

    @property
    def last_stream_id(self) -> int:
        """Return the highest number of a stream that was handed over."""

    @property
    def is_amid_head(self) -> bool:
        """Return whether the client owes the rest of its preface or of a block of fields."""

    def start(self, settings: Mapping[int, int], connection_window: int) -> None:
        """Send the server's preface."""

    def feed(self, data: bytes) -> None:
        """Read. Raises HTTP2Error for what the connection cannot survive."""

    def window(self, stream_id: int) -> int:
        """Return how many bytes of DATA may be sent in one frame now."""

    def send_headers(self, stream_id: int, fields: Iterable[Header], ended: bool) -> None:
        """Send fields, their names in lower case, pseudo-header fields first."""

    def send_data(self, stream_id: int, data: bytes, ended: bool) -> None:
        """Send DATA within ``window``."""

    def reset(self, stream_id: int, code: int) -> None:
        """Send RST_STREAM; the stream is forgotten."""

    def credit(self, stream_id: int, size: int) -> None:
        """Let the client send so many bytes more, on the connection and on the stream if it can."""

    def ping(self, payload: bytes) -> None:
        """Send PING with 8 bytes."""

    def goaway(self, last_stream_id: int, code: int) -> None:
        """Send GOAWAY."""
