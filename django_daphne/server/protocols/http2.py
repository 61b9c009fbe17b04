"""HTTP/2 on one connection (RFC 9113).

Theory of operation. The engine reads frames and says what they mean for streams; here streams begin
and end. ``data_received`` lets the engine read all that has come and starts applications only then:
so one that is reset in the same read is never called, and its body is there when it asks. What is
written meanwhile, and in one turn of the loop afterwards, leaves in one write.

A stream counts until its response has left and its application has returned, so that clients cannot
have more applications running than http2_max_concurrent_streams, whatever they do to their streams.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import ClassVar, Final

from h2.settings import SettingCodes

from ..exceptions import HTTP2Error, PeerError, StreamError
from ..interfaces import ConnectionContext, HTTPCycle, RequestHead, Transport
from .deadlines import Deadlines
from .exchange import AWAITED, ENDED, READY, SENDING
from .http2_discards import Discards
from .http2_engine import FrameEngine
from .http2_frames import NO_RFC7540_PRIORITIES, STREAM_MASK, ErrorCode
from .http2_head import HeadReader, refused_head
from .http2_interfaces import Engine, Fields
from .http2_limits import Allowances, StreamLimit
from .http2_liveness import Liveness
from .http2_output import Output
from .http2_priority import EarlyPriorities, read_priority
from .http2_stream import HTTP2Stream
from .http2_timeouts import StreamTimeouts
from .wire import OPEN, Wire

logger = logging.getLogger("django_daphne.server")

# Requests started before other connections get their turn.
_MAX_STARTS: Final = 16
# Seconds for a client to answer the first GOAWAY of a graceful end.
_DRAIN_TIMEOUT: Final = 1.0
_DRAIN_PING: Final = b"draining"


class HTTP2:
    """One connection."""

    make_engine: ClassVar[Callable[..., Engine]] = FrameEngine
    make_stream: ClassVar[type[HTTP2Stream]] = HTTP2Stream

    def __init__(
        self, context: ConnectionContext, transport: Transport, deadlines: Deadlines
    ) -> None:
        config = context.config
        self._context = context
        self._deadlines = deadlines
        self._settings = config.http2
        self._wire = Wire(transport, deadlines, config, self._write_timed_out)
        self.output = Output(self._wire, transport, context.turn_end, self._flushed)
        self._allowances = Allowances(context.clock.now)
        max_list = config.limits.max_header_size
        self.engine = self.make_engine(self, self.output.write, self._allowances, max_list)
        self._discards = Discards(self.engine, deadlines, config)
        self.timeouts = StreamTimeouts(self, deadlines, config)
        self._liveness = Liveness(self, context.clock, deadlines, config)
        self._heads = HeadReader(config.limits)
        self._streams: dict[int, HTTP2Stream] = {}
        self._starting: deque[HTTP2Stream] = deque()
        self._limit = StreamLimit(self._settings.http2_max_concurrent_streams)
        self._priorities = EarlyPriorities()
        self._requests = 0
        self._last_named = STREAM_MASK
        self._is_draining = False  # the first GOAWAY was sent
        self._is_closing = False  # no streams begin any more
        self.engine.start(
            {
                SettingCodes.MAX_CONCURRENT_STREAMS: self._limit.most,
                SettingCodes.INITIAL_WINDOW_SIZE: self._settings.http2_stream_window,
                SettingCodes.MAX_FRAME_SIZE: self._settings.http2_max_frame_size,
                SettingCodes.MAX_HEADER_LIST_SIZE: max_list,
                SettingCodes.ENABLE_CONNECT_PROTOCOL: 1,
                NO_RFC7540_PRIORITIES: 1,
            },
            self._settings.http2_connection_window,
        )

    # What happened to the transport (ConnectionProtocol).

    def data_received(self, data: bytes) -> None:
        """Take bytes of the client."""
        wire = self._wire
        if wire.state is not OPEN:
            wire.discard(len(data))
            return
        self._liveness.heard()
        wire.is_corked = True
        try:
            self.engine.feed(data)
        except HTTP2Error as error:
            self._fail(error)
            return
        self._liveness.expect_head(self.engine.is_amid_head, self.engine.last_stream_id)
        self._advance()

    def eof_received(self) -> None:
        """Take note that the client left: without answers to its frames nothing goes on."""
        self._leave_all()
        self._wire.close()

    def connection_lost(self) -> None:
        """Take note that the connection has ended."""
        self._wire.lost()
        self._leave_all()

    def pause_sending(self) -> None:
        """Take note that the client does not read as fast as is written."""
        self.output.pause()

    def resume_sending(self) -> None:
        """Take note that the client has read on."""
        self._wire.resume()
        if self._wire.state is OPEN:
            self._liveness.heard()  # who reads is there
            self.output.resume()
            self._advance()

    def drain(self) -> None:
        """Let the client know, then finish the streams that are under way (section 6.8)."""
        if self._wire.state is not OPEN or self._is_draining:
            return
        self._is_draining = True
        self._say_last(STREAM_MASK, ErrorCode.NO_ERROR)
        # What the client began before it could know is served; its answer says that it does.
        self.engine.ping(_DRAIN_PING)
        self._deadlines.start("drain", _DRAIN_TIMEOUT, self.refuse_streams)

    def end_streams(self) -> None:
        """Ask for the end of each stream that may have none."""
        for stream in list(self._streams.values()):
            if stream.cycle is not None:
                self._end_stream(stream)

    def _end_stream(self, stream: HTTP2Stream) -> None:
        stream.end_stream()

    def _say_last(self, stream_id: int, code: int) -> None:
        """Send GOAWAY; what it names as the last stream can only become lower (section 6.8)."""
        self._last_named = min(self._last_named, stream_id)
        self.engine.goaway(self._last_named, code)

    def refuse_streams(self) -> None:
        """Say which stream was the last."""
        if not self._is_closing and self._wire.state is OPEN:
            self._is_closing = True
            self._deadlines.cancel("drain")
            self._say_last(self.engine.last_stream_id, ErrorCode.NO_ERROR)
            self.output.flush_soon()  # which closes where nothing is left

    # What the engine says (Receiver).

    def request_received(self, stream_id: int, fields: Fields, ended: bool) -> None:
        """Make ready for a request; it is started when everything was read."""
        if self._is_closing or not self._limit.has_room(len(self._streams) + len(self._discards)):
            raise StreamError(ErrorCode.REFUSED_STREAM, "no more streams")
        try:
            request = self._heads.read(fields, ended)
        except PeerError as error:
            self._reject(self._add_stream(stream_id, refused_head(fields), ended), error)
            return
        stream = self._add_stream(stream_id, request, ended)
        stream.priority = self._priorities.begin(stream_id, request.headers)
        try:
            stream.cycle = self._create_cycle(stream)
        except PeerError as error:
            self._reject(stream, error)
            return
        if not ended:
            self.timeouts.expect_body(stream, True)
        self._starting.append(stream)

    def _add_stream(self, stream_id: int, request: RequestHead, ended: bool) -> HTTP2Stream:
        stream = self.make_stream(stream_id, request, ended, self, self._context)
        self._streams[stream_id] = stream
        self._liveness.busy()
        self._requests += 1
        if self._requests == self._settings.http2_max_requests:
            self._context.call_soon(self.drain)
        return stream

    def _create_cycle(self, stream: HTTP2Stream) -> HTTPCycle:
        return self._context.create_cycle(stream.request, stream)

    def trailers_received(self, stream_id: int, fields: Fields) -> None:
        """Take the end of a body."""
        stream = self._streams.get(stream_id)
        if stream is None:
            self._discards.end(stream_id)
        else:
            stream.trailers_received(fields)

    def body_received(self, stream_id: int, data: bytes, size: int, ended: bool) -> None:
        """Take a piece of a body."""
        stream = self._streams.get(stream_id)
        if stream is None:
            self._discards.received(stream_id, size, ended)
            return
        stream.data_received(data, size, ended)
        limit = self._context.config.limits.max_body_size
        if limit is not None and stream.received > limit and not stream.request.wants_websocket:
            error = PeerError(413, "request body over max_body_size", limit="max_body_size")
            self._reject(stream, error)

    def reset_received(self, stream_id: int) -> None:
        """Take note that the client gave a stream up."""
        stream = self._take_out(stream_id)
        if stream is not None:
            self._leave(stream)

    def stream_failed(self, stream_id: int, error: StreamError) -> None:
        """Reset a stream for what the client did."""
        logger.debug("HTTP/2 stream %d of %s: %s", stream_id, self._context.client, error)
        stream = self._take_out(stream_id)
        self.engine.reset(stream_id, error.code)
        if stream is not None:
            self._leave(stream)

    def _take_out(self, stream_id: int) -> HTTP2Stream | None:
        """Return a stream that is reset, unless it has ended; count the reset."""
        self._allowances.take("resets")
        self._discards.end(stream_id)
        return self._streams.pop(stream_id, None)

    def window_opened(self, stream_id: int) -> None:
        """Let those send who could not."""
        if stream_id:
            stream = self._streams.get(stream_id)
            if stream is not None and stream.unsent:
                self.output.queue(stream)
        else:
            for stream in self._streams.values():
                if stream.unsent:
                    self.output.queue(stream)

    def priority_received(self, stream_id: int, value: bytes) -> None:
        """Give a stream another priority; one that has not begun has it from the beginning."""
        priority = read_priority(value)
        stream = self._streams.get(stream_id)
        if stream is not None:
            self.output.senders.move(stream, priority)
        else:
            self._priorities.keep(stream_id, priority, self.engine.last_stream_id)

    def ping_answered(self, payload: bytes) -> None:
        """Go on draining: the client knows of the first GOAWAY by now."""
        if self._is_draining and payload == _DRAIN_PING:
            self.refuse_streams()

    def goaway_received(self) -> None:
        """Close behind the streams that are there."""
        self._is_closing = True
        self.output.flush_soon()  # which closes where nothing is left

    # Beginning.

    def _advance(self) -> None:
        """Start what was read, as far as it goes, and send."""
        wire = self._wire
        if wire.state is not OPEN:
            return
        wire.is_corked = True
        starting = self._starting
        starts = 0
        while starting and wire.state is OPEN:
            if starts == _MAX_STARTS:
                self._context.call_soon(self._advance)
                break
            stream = starting.popleft()
            if stream.state is READY and stream.cycle is not None:
                starts += 1
                self._start(stream, stream.cycle)
        self.output.flush()

    def _start(self, stream: HTTP2Stream, cycle: HTTPCycle) -> None:
        admission = self._context.admission
        if admission is not None and not stream.enter(admission):
            error = PeerError(503, "Too many requests are running.", limit="limit_concurrency")
            self._reject(stream, error)
            return
        stream.state = AWAITED
        self.timeouts.started(stream)
        cycle.start()

    @property
    def is_idle(self) -> bool:
        """Return whether nothing is being served."""
        return not (self._streams or self._discards)

    # The end of a stream.

    def stream_ended(self, stream: HTTP2Stream) -> None:
        """Forget a stream whose response is complete."""
        del self._streams[stream.stream_id]
        if not stream.is_received:
            self._discards.begin(stream)
        self._forget(stream)

    def reset_stream(self, stream: HTTP2Stream, code: int, cycle: HTTPCycle | None = None) -> None:
        """Reset a stream for what the application did, or the time that it took.

        ``cycle`` was that of the stream, where it is the one who asks.
        """
        self._limit.stream_ended(cycle)
        if self._streams.pop(stream.stream_id, None) is not None:
            self.engine.reset(stream.stream_id, code)
            self._leave(stream)

    def _leave(self, stream: HTTP2Stream) -> None:
        """End a stream whose response will never be complete."""
        self._forget(stream)
        stream.leave()

    def _leave_all(self) -> None:
        streams = list(self._streams.values())
        self._streams.clear()
        for stream in streams:
            self._leave(stream)

    def _forget(self, stream: HTTP2Stream) -> None:
        """Let go of what belongs to a stream besides its exchange."""
        self._limit.stream_ended(stream.cycle)
        stream.take_back()
        self.timeouts.forget(stream)

    def _flushed(self) -> None:
        """Take note that what could be sent was, which may have ended the last stream."""
        if self.is_idle:
            if self._is_closing:
                self._wire.close()
            else:
                self._liveness.idle()

    def close_soon(self) -> None:
        """End the connection when its streams have ended."""
        self._context.call_soon(self.drain)

    # Faults.

    def _fail(self, error: HTTP2Error) -> None:
        """End the connection for what the client did (section 5.4.1)."""
        logger.debug("HTTP/2 connection of %s: %s", self._context.client, error)
        # Requests that were read and not started are not named as processed.
        waiting = [stream.stream_id for stream in self._starting if stream.state is READY]
        last = waiting[0] - 2 if waiting else self.engine.last_stream_id
        self._say_last(max(last, 0), error.code)
        self._leave_all()
        self._wire.linger()

    def _reject(self, stream: HTTP2Stream, error: PeerError) -> None:
        """Answer a request that cannot be served, as far as it can be answered."""
        if stream.state is SENDING:
            self.reset_stream(stream, ErrorCode.CANCEL)
        elif stream.state is not ENDED:
            self._limit.stream_ended(stream.cycle)
            stream.leave_cycle()
            stream.refuse(error.status, error.reason if error.status == 503 else "", error.headers)

    def give_up(self) -> None:
        """Reset the connection."""
        self._wire.abort()
        self._leave_all()

    # Deadlines that have come.

    def ping_timed_out(self) -> None:
        """Give up a client that is not there."""
        self.give_up()

    def _write_timed_out(self) -> None:
        self.give_up()

    def body_timed_out(self, stream: HTTP2Stream) -> None:
        """Answer for a client that does not send the rest of its request."""
        self._reject(stream, PeerError(408, "body_timeout", limit="body_timeout"))

    def room_timed_out(self, stream: HTTP2Stream) -> None:
        """Give up a stream whose client leaves no room for it in the windows."""
        self.reset_stream(stream, ErrorCode.CANCEL)

    def request_timed_out(self, stream: HTTP2Stream) -> None:
        """Answer for an application that did not, within http_timeout."""
        self._reject(stream, PeerError(503, "Application failed to respond within time limit."))

    def head_timed_out(self) -> None:
        """Give up a client that does not say what it wants."""
        self._fail(HTTP2Error(ErrorCode.NO_ERROR, "header_timeout", limit="header_timeout"))
