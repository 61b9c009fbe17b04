"""The deadlines of the streams of an HTTP/2 connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from ..config import ServerConfig
from .deadlines import Deadlines

if TYPE_CHECKING:
    from .http2_stream import HTTP2Stream

_KINDS: Final = ("body", "request", "room", "handshake")


class TimeoutOwner(Protocol):
    """The connection."""

    def body_timed_out(self, stream: HTTP2Stream) -> None:
        """Give up waiting for more of a request."""

    def room_timed_out(self, stream: HTTP2Stream) -> None:
        """Give up waiting for room in the windows."""

    def request_timed_out(self, stream: HTTP2Stream) -> None:
        """Give up waiting for the application."""


class StreamTimeouts:
    """Starts and cancels them."""

    def __init__(self, owner: TimeoutOwner, deadlines: Deadlines, config: ServerConfig) -> None:
        self._owner = owner
        self._deadlines = deadlines
        self._timeouts = config.timeouts
        self._connect_timeout = config.websocket.websocket_connect_timeout

    def started(self, stream: HTTP2Stream) -> None:
        """Take note that the application was called."""
        timeout = self._timeouts.http_timeout
        if timeout is not None:
            self._start("request", stream, timeout, self._owner.request_timed_out)

    def expect_body(self, stream: HTTP2Stream, expected: bool) -> None:
        """Wait for more of a body, or no longer; in a WebSocket silence is nothing unusual."""
        if expected and not stream.request.wants_websocket:
            self._start("body", stream, self._timeouts.body_timeout, self._owner.body_timed_out)
        else:
            self._deadlines.cancel(("body", stream.stream_id))

    def expect_room(self, stream: HTTP2Stream, expected: bool) -> None:
        """Wait for room in the windows, or no longer."""
        stream.is_blocked = expected
        if expected:
            self._start("room", stream, self._timeouts.write_timeout, self._owner.room_timed_out)
        else:
            self._deadlines.cancel(("room", stream.stream_id))

    def expect_answer(
        self, stream: HTTP2Stream, timed_out: Callable[[HTTP2Stream], object]
    ) -> None:
        """Wait for the answer to a WebSocket handshake."""
        self._start("handshake", stream, self._connect_timeout, timed_out)

    def answered(self, stream: HTTP2Stream) -> None:
        """Wait for the answer to a WebSocket handshake no longer."""
        self._deadlines.cancel(("handshake", stream.stream_id))

    def connected(self, stream: HTTP2Stream) -> None:
        """Take note that a request has become a WebSocket."""
        self.answered(stream)
        self._deadlines.cancel(("request", stream.stream_id))

    def forget(self, stream: HTTP2Stream) -> None:
        """Wait for nothing any more."""
        if stream.is_timed:
            for kind in _KINDS:
                self._deadlines.cancel((kind, stream.stream_id))

    def _start(
        self,
        kind: str,
        stream: HTTP2Stream,
        seconds: float | None,
        callback: Callable[[HTTP2Stream], object],
    ) -> None:
        stream.is_timed = True
        self._deadlines.start((kind, stream.stream_id), seconds, lambda: callback(stream))
