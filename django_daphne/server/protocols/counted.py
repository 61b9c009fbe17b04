"""The protocols with counting: what is served in their place when metrics are wanted.

So that nobody pays for metrics who has none, nothing is counted in the protocols themselves. Each
class here is one of them and tells the recorder, at the few places where something happens once.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from ..exceptions import HTTP2Error, PeerError, StreamError, WebSocketError
from ..interfaces import ConnectionContext, Event, HTTPCycle, RequestHead
from ..recording import Recorder
from ..types import Headers
from .exchange import ENDED, Exchange
from .http2_frames import ErrorCode
from .http2_stream import HTTP2Stream
from .http2_websocket import ExtendedHTTP2
from .http11_exchange import HTTP11Exchange
from .http11_upgrade import UpgradableHTTP11
from .websocket import WebSocket


class Counted:
    """What all protocols have for counting; a base beside the protocol itself."""

    _context: ConnectionContext

    @cached_property
    def _recorder(self) -> Recorder:
        recorder = self._context.recorder
        assert recorder is not None
        return recorder

    def _count_limit(self, error: PeerError | HTTP2Error | WebSocketError) -> None:
        """Count an error that comes of a limit."""
        if error.limit is not None:
            self._recorder.limit_hit(error.limit)


class CountedExchange(Exchange):
    """A request that is timed and counted, whether or not it is logged."""

    _responded = 0.0

    def __init__(self, request: RequestHead, context: ConnectionContext) -> None:
        super().__init__(request, context)
        if context.log_access is None:
            self._began = context.clock.now()

    def end(self, status: int) -> None:
        """Take note of a complete response."""
        if self._is_admitted or self._context.log_access is not None or self._is_accounted:
            super().end(status)
        else:
            self.state = ENDED
            self.cycle = None
            self._is_accounted = True
            self._count(status)

    def record(self, status: int, event: Event | None = None) -> None:
        """Count it, and write the access log."""
        if event != "connecting":
            self._count(status)
        super().record(status, event)

    def _count(self, status: int) -> None:
        context, responded, version = self._context, self._responded, self.request.http_version
        recorder, now = context.recorder, context.clock.now()
        assert recorder is not None
        if responded:
            recorder.request(version, status, responded - self._began, now - responded)
        else:
            recorder.request(version, status, now - self._began, None)


# The order of bases puts the counting between the exchange of a version and what all have.
class CountedHTTP11Exchange(HTTP11Exchange, CountedExchange):
    """The wire's side of a request over HTTP/1.1."""

    def start_response(self, status: int, headers: Headers, trailers: bool) -> None:
        """Take the response's head, and the time."""
        super().start_response(status, headers, trailers)
        self._responded = self._context.clock.now()


class CountedStream(HTTP2Stream, CountedExchange):
    """The wire's side of a request over HTTP/2."""

    def start_response(self, status: int, headers: Headers, trailers: bool) -> None:
        """Take the response's head, and the time."""
        super().start_response(status, headers, trailers)
        self._responded = self._context.clock.now()


class CountedWebSocket(WebSocket, Counted):
    """A WebSocket, over HTTP/1.1 or over HTTP/2."""

    def __init__(self, request: RequestHead, context: ConnectionContext, *rest: Any) -> None:
        super().__init__(request, context, *rest)
        self._recorder.websockets_changed(+1)

    def connection_lost(self) -> None:
        """Take note of the end, which comes once."""
        super().connection_lost()
        self._recorder.websockets_changed(-1)

    def message_received(self, data: str | bytes) -> None:
        """Hand a message on."""
        if self._is_open:
            self._recorder.message_received()
        super().message_received(data)

    def send(self, data: str | bytes, soon: bool) -> None:
        """Send a message."""
        was_open = self._is_open
        super().send(data, soon)
        if was_open:
            self._recorder.message_sent()

    def _fail(self, error: WebSocketError) -> None:
        self._count_limit(error)
        super()._fail(error)

    def _lifetime_is_over(self) -> None:
        self._recorder.limit_hit("websocket_timeout")
        super()._lifetime_is_over()

    def ping_timed_out(self) -> None:
        """Close the WebSocket of a client that said nothing since it was pinged."""
        self._recorder.limit_hit("ping_timeout")
        super().ping_timed_out()

    def _write_timed_out(self) -> None:
        self._recorder.limit_hit("write_timeout")
        super()._write_timed_out()


class CountedHTTP11(UpgradableHTTP11, Counted):
    """HTTP/1.1."""

    exchange_of = CountedHTTP11Exchange
    make_websocket = CountedWebSocket

    def _reject(self, error: PeerError) -> None:
        self._count_limit(error)
        super()._reject(error)

    def _request_timed_out(self) -> None:
        self._recorder.limit_hit("http_timeout")
        super()._request_timed_out()

    def _connect_timed_out(self) -> None:
        self._recorder.limit_hit("websocket_connect_timeout")
        super()._connect_timed_out()

    def _write_timed_out(self) -> None:
        self._recorder.limit_hit("write_timeout")
        super()._write_timed_out()


class CountedHTTP2(ExtendedHTTP2, Counted):
    """HTTP/2."""

    make_stream = CountedStream
    make_websocket = CountedWebSocket

    def _add_stream(self, stream_id: int, request: RequestHead, ended: bool) -> HTTP2Stream:
        self._recorder.streams_changed(+1)
        return super()._add_stream(stream_id, request, ended)

    def _forget(self, stream: HTTP2Stream) -> None:
        self._recorder.streams_changed(-1)
        super()._forget(stream)

    def reset_received(self, stream_id: int) -> None:
        """Take note that the client gave a stream up."""
        self._recorder.reset("stream_received")
        super().reset_received(stream_id)

    def stream_failed(self, stream_id: int, error: StreamError) -> None:
        """Reset a stream for what the client did."""
        self._recorder.reset("stream_sent")
        if error.code == ErrorCode.REFUSED_STREAM and not self._is_closing:
            self._recorder.limit_hit("http2_max_concurrent_streams")
        super().stream_failed(stream_id, error)

    def reset_stream(self, stream: HTTP2Stream, code: int, cycle: HTTPCycle | None = None) -> None:
        """Reset a stream for what the application did, or the time that it took."""
        if stream.stream_id in self._streams:
            self._recorder.reset("stream_sent")
        super().reset_stream(stream, code, cycle)

    def _reject(self, stream: HTTP2Stream, error: PeerError) -> None:
        self._count_limit(error)
        super()._reject(stream, error)

    def _fail(self, error: HTTP2Error) -> None:
        self._count_limit(error)
        super()._fail(error)

    def _connect_timed_out(self, stream: HTTP2Stream) -> None:
        self._recorder.limit_hit("websocket_connect_timeout")
        super()._connect_timed_out(stream)

    def request_timed_out(self, stream: HTTP2Stream) -> None:
        """Answer for an application that did not, within http_timeout."""
        self._recorder.limit_hit("http_timeout")
        super().request_timed_out(stream)

    def room_timed_out(self, stream: HTTP2Stream) -> None:
        """Give up a stream whose client leaves no room for it in the windows."""
        self._recorder.limit_hit("write_timeout")
        super().room_timed_out(stream)

    def ping_timed_out(self) -> None:
        """Reset the connection of a client that does not answer."""
        self._recorder.limit_hit("http2_ping_timeout")
        super().ping_timed_out()

    def _write_timed_out(self) -> None:
        self._recorder.limit_hit("write_timeout")
        super()._write_timed_out()
