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
from .http2_engine import FrameEngine
from .http2_frames import MAX_WINDOW, NO_RFC7540_PRIORITIES, ErrorCode
from .http2_head import HeadReader
from .http2_interfaces import Engine, Fields
from .http2_limits import Allowances
from .http2_priority import Priority, SendQueue, read_priority
from .http2_stream import UNREADABLE, HTTP2Stream
from .wire import OPEN, Wire

logger = logging.getLogger("django_daphne.server")

# Requests started before other connections get their turn.
_MAX_STARTS: Final = 16
# Cycles of streams that ended before their application did: so many are kept without a look.
_MAX_UNSEEN: Final = 16
# Bytes of answers to frames that wait for a client that does not read, before we do not either.
_MAX_ANSWERS: Final = 16384
# Seconds for a client to answer the first GOAWAY of a graceful end.
_DRAIN_TIMEOUT: Final = 1.0
_DRAIN_PING: Final = b"draining"
_LIVENESS_PING: Final = b"liveness"
_MAX_EARLY_PRIORITIES: Final = 64


class HTTP2:
    """One connection."""

    make_engine: ClassVar[Callable[..., Engine]] = FrameEngine

    def __init__(
        self, context: ConnectionContext, transport: Transport, deadlines: Deadlines
    ) -> None:
        config = context.config
        self._context = context
        self._transport = transport
        self._deadlines = deadlines
        self._settings = config.http2
        self._timeouts = config.timeouts
        self._max_streams = config.http2.http2_max_concurrent_streams
        self._wire = Wire(transport, deadlines, config, self.give_up)
        self._allowances = Allowances(context.clock.now)
        max_list = config.limits.max_header_size
        self.engine = self.make_engine(self, self._write, self._allowances, max_list)
        self._heads = HeadReader(config.limits)
        self._streams: dict[int, HTTP2Stream] = {}
        self._starting: deque[HTTP2Stream] = deque()
        self._left: list[HTTPCycle] = []  # applications that may run on behind their streams
        self._queue = SendQueue()
        self._early_priorities: dict[int, Priority] = {}
        self._requests = 0
        self._head_is_timed = True
        self._flush_is_due = False
        self._is_draining = False  # the first GOAWAY was sent
        self._is_closing = False  # no streams begin any more
        self._answers = 0  # bytes written while the client does not read
        self._reading_is_paused = False
        self._idle_since = self._heard = self._pinged = context.clock.now()
        deadlines.start("head", self._timeouts.header_timeout, self._head_timed_out)
        deadlines.start("ping", self._settings.http2_ping_interval, self._ping_is_due)
        self._idleness_is_timed = False
        self.engine.start(
            {
                SettingCodes.MAX_CONCURRENT_STREAMS: self._max_streams,
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
        self._heard = self._context.clock.now()
        wire.is_corked = True
        try:
            self.engine.feed(data)
        except HTTP2Error as error:
            self._fail(error)
            return
        if self.engine.is_amid_head is not self._head_is_timed:
            self._update_head_deadline()
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
        self._answers = 0
        self._wire.pause()

    def resume_sending(self) -> None:
        """Take note that the client has read on."""
        self._wire.resume()
        if self._wire.state is OPEN:
            if self._reading_is_paused:
                self._reading_is_paused = False
                self._transport.resume_reading()
            self._advance()

    def drain(self) -> None:
        """Let the client know, then finish the streams that are under way (section 6.8)."""
        if self._wire.state is not OPEN or self._is_draining:
            return
        self._is_draining = True
        self.engine.goaway(MAX_WINDOW, ErrorCode.NO_ERROR)
        # What the client began before it could know is served; its answer says that it does.
        self.engine.ping(_DRAIN_PING)
        self._deadlines.start("drain", _DRAIN_TIMEOUT, self._refuse_streams)
        for stream in list(self._streams.values()):
            if stream.cycle is not None:
                self._drain_stream(stream)

    def _drain_stream(self, stream: HTTP2Stream) -> None:
        """Let a stream that has no end of its own know; a request has one."""

    def _refuse_streams(self) -> None:
        """Say which stream was the last."""
        if not self._is_closing and self._wire.state is OPEN:
            self._is_closing = True
            self._deadlines.cancel("drain")
            self.engine.goaway(self.engine.last_stream_id, ErrorCode.NO_ERROR)
            self._close_if_done()

    # What the engine says (Receiver).

    def request_received(self, stream_id: int, fields: Fields, ended: bool) -> None:
        """Make ready for a request; it is started when everything was read."""
        if self._is_closing:
            self.engine.reset(stream_id, ErrorCode.REFUSED_STREAM)
            return
        if len(self._streams) + self._count_left() >= self._max_streams:
            self.stream_failed(stream_id, ErrorCode.REFUSED_STREAM, "too many streams")
            return
        try:
            request = self._heads.read(fields, ended)
        except StreamError as error:
            self.stream_failed(stream_id, error.code, error.reason)
            return
        except PeerError as error:
            self._reject(self._add_stream(stream_id, UNREADABLE, ended), error)
            return
        stream = self._add_stream(stream_id, request, ended)
        self._set_priority(stream, fields)
        try:
            stream.cycle = self._create_cycle(stream)
        except PeerError as error:
            self._reject(stream, error)
            return
        if not ended:
            self.expect_body(stream, True)
        self._starting.append(stream)

    def _add_stream(self, stream_id: int, request: RequestHead, ended: bool) -> HTTP2Stream:
        stream = HTTP2Stream(stream_id, request, ended, self, self._context)
        self._streams[stream_id] = stream
        self._requests += 1
        if self._requests == self._settings.http2_max_requests:
            self._context.call_soon(self.drain)
        return stream

    def _create_cycle(self, stream: HTTP2Stream) -> HTTPCycle:
        return self._context.create_cycle(stream.request, stream)

    def trailers_received(self, stream_id: int, fields: Fields) -> None:
        """Take the end of a body."""
        stream = self._streams.get(stream_id)
        if stream is not None:
            try:
                stream.trailers_received(fields)
            except StreamError as error:
                self.stream_failed(stream_id, error.code, error.reason)

    def body_received(self, stream_id: int, data: bytes, size: int, ended: bool) -> None:
        """Take a piece of a body."""
        stream = self._streams.get(stream_id)
        if stream is None:
            self.engine.credit(stream_id, size)
            return
        try:
            stream.data_received(data, size, ended)
        except StreamError as error:
            self.stream_failed(stream_id, error.code, error.reason)
            return
        limit = self._context.config.limits.max_body_size
        if limit is not None and stream.received > limit:
            self._reject(stream, PeerError(413, "request body over max_body_size"))

    def reset_received(self, stream_id: int) -> None:
        """Take note that the client gave a stream up."""
        self._allowances.take("resets")
        stream = self._streams.pop(stream_id, None)
        if stream is not None:
            self._leave(stream)

    def stream_failed(self, stream_id: int, code: int, text: str) -> None:
        """Reset a stream for what the client did."""
        self._allowances.take("resets")
        stream = self._streams.pop(stream_id, None)
        self.engine.reset(stream_id, code)
        if stream is not None:
            self._leave(stream)

    def window_opened(self, stream_id: int) -> None:
        """Let those send who could not."""
        if stream_id:
            stream = self._streams.get(stream_id)
            if stream is not None and stream.unsent:
                self.queue(stream)
        else:
            for stream in self._streams.values():
                if stream.unsent:
                    self.queue(stream)

    def priority_received(self, stream_id: int, value: bytes) -> None:
        """Give a stream another priority; one that has not begun has it from the beginning."""
        priority = read_priority(value)
        stream = self._streams.get(stream_id)
        if stream is not None:
            self._queue.move(stream, priority)
        elif (
            stream_id > self.engine.last_stream_id
            and len(self._early_priorities) < _MAX_EARLY_PRIORITIES
        ):
            self._early_priorities[stream_id] = priority

    def ping_answered(self, payload: bytes) -> None:
        """Go on draining: the client knows of the first GOAWAY by now."""
        if self._is_draining and payload == _DRAIN_PING:
            self._refuse_streams()

    def goaway_received(self) -> None:
        """Close behind the streams that are there."""
        self._is_closing = True
        self._close_if_done()

    # Beginning.

    def _set_priority(self, stream: HTTP2Stream, fields: Fields) -> None:
        early = self._early_priorities
        if early and (priority := early.pop(stream.stream_id, None)) is not None:
            stream.priority = priority
            return
        for name, value in stream.request.headers:
            if name == b"priority":
                stream.priority = read_priority(value)

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
        self._flush()

    def _start(self, stream: HTTP2Stream, cycle: HTTPCycle) -> None:
        admission = self._context.admission
        if admission is not None and not stream.enter(admission):
            self._reject(stream, PeerError(503, "Too many requests are running."))
            return
        stream.state = AWAITED
        timeout = self._timeouts.http_timeout
        if timeout is not None:
            self._set_deadline("request", stream, timeout, self._request_timed_out)
        cycle.start()
        if stream.state is ENDED and cycle.is_running:
            self._left.append(cycle)

    def _count_left(self) -> int:
        """Return how many applications run behind their streams, about; exactly when it matters."""
        left = self._left
        if len(left) > _MAX_UNSEEN or len(self._streams) + len(left) >= self._max_streams:
            left[:] = [cycle for cycle in left if cycle.is_running]
        return len(left)

    # Sending (StreamOwner).

    def _write(self, data: bytes) -> None:
        """Keep what is written until the end of the read, or of this turn of the loop."""
        wire = self._wire
        if not wire.is_corked:
            self._flush_soon()
        wire.write(data)
        if wire.is_paused:
            self._answers += len(data)
            if self._answers > _MAX_ANSWERS and not self._reading_is_paused:
                self._reading_is_paused = True
                self._transport.pause_reading()

    def _flush_soon(self) -> None:
        self._wire.is_corked = True
        if not self._flush_is_due:
            self._flush_is_due = True
            self._context.call_soon(self._flush)

    def _flush(self) -> None:
        """Send what may be sent now, in one write."""
        wire, queue = self._wire, self._queue
        self._flush_is_due = False
        if wire.state is OPEN:
            wire.is_corked = True
            while queue and not wire.is_paused:
                stream = queue.take()
                if stream.send_frame():
                    queue.add(stream)
            if not self._streams:
                self._idle()
        wire.uncork()

    @property
    def may_send(self) -> bool:
        """Return whether nobody else waits to send, and the client reads."""
        return not (self._queue or self._wire.is_paused)

    def queue(self, stream: HTTP2Stream) -> None:
        """Let a stream send when it is its turn."""
        self._queue.add(stream)
        if not (self._wire.is_corked or self._wire.is_paused):
            self._flush_soon()

    # The end of a stream.

    def stream_ended(self, stream: HTTP2Stream) -> None:
        """Forget a stream whose response is complete."""
        stream_id = stream.stream_id
        del self._streams[stream_id]
        if not stream.is_complete():
            # The client need not send the rest (section 8.1).
            self.engine.reset(stream_id, ErrorCode.NO_ERROR)
        self._forget(stream)

    def reset_stream(self, stream: HTTP2Stream, code: int) -> None:
        """Reset a stream for what the application did, or the time that it took."""
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
        self._note_left(stream)
        stream.take_back(0)
        if stream.is_timed:
            for kind in ("body", "request", "room", "connect"):
                self._deadlines.cancel((kind, stream.stream_id))

    def _note_left(self, stream: HTTP2Stream) -> None:
        """Count an application that runs on behind its stream."""
        if stream.cycle is not None and stream.cycle.is_running:
            self._left.append(stream.cycle)

    def _idle(self) -> None:
        """Take note that there are no streams."""
        if self._is_closing:
            self._wire.close()
            return
        # One deadline runs on, whatever comes in between; it looks when it comes.
        self._idle_since = self._context.clock.now()
        if not self._idleness_is_timed:
            self._idleness_is_timed = True
            timeout = self._timeouts.keep_alive_timeout
            self._deadlines.start("keep-alive", timeout, self._keep_alive_timed_out)

    def _close_if_done(self) -> None:
        if self._is_closing and not self._streams:
            self._flush_soon()

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
        self.engine.goaway(max(last, 0), error.code)
        self._leave_all()
        self._wire.linger()

    def _reject(self, stream: HTTP2Stream, error: PeerError) -> None:
        """Answer a request that cannot be served, as far as it can be answered."""
        if stream.state is SENDING:
            self.reset_stream(stream, ErrorCode.CANCEL)
        elif stream.state is not ENDED:
            self._note_left(stream)
            stream.leave_cycle()
            stream.refuse(error.status, error.reason if error.status == 503 else "", error.headers)

    def give_up(self) -> None:
        """Reset the connection."""
        self._wire.abort()
        self._leave_all()

    # Deadlines.

    def _set_deadline(
        self,
        kind: str,
        stream: HTTP2Stream,
        seconds: float | None,
        callback: Callable[[HTTP2Stream], object],
    ) -> None:
        stream.is_timed = True
        self._deadlines.start((kind, stream.stream_id), seconds, lambda: callback(stream))

    def expect_body(self, stream: HTTP2Stream, expected: bool) -> None:
        """Set or cancel the deadline for more of a body."""
        if expected and not stream.request.wants_websocket:
            self._set_deadline("body", stream, self._timeouts.body_timeout, self._body_timed_out)
        else:
            self._deadlines.cancel(("body", stream.stream_id))

    def expect_room(self, stream: HTTP2Stream, expected: bool) -> None:
        """Set or cancel the deadline for room in the windows."""
        stream.is_blocked = expected
        if expected:
            self._set_deadline("room", stream, self._timeouts.write_timeout, self._room_timed_out)
        else:
            self._deadlines.cancel(("room", stream.stream_id))

    def _body_timed_out(self, stream: HTTP2Stream) -> None:
        self._reject(stream, PeerError(408, "body_timeout"))

    def _room_timed_out(self, stream: HTTP2Stream) -> None:
        self.reset_stream(stream, ErrorCode.CANCEL)

    def _request_timed_out(self, stream: HTTP2Stream) -> None:
        """Answer for an application that did not, within http_timeout."""
        self._reject(stream, PeerError(503, "Application failed to respond within time limit."))

    def _update_head_deadline(self) -> None:
        self._head_is_timed = self.engine.is_amid_head
        timeout = self._timeouts.header_timeout if self._head_is_timed else None
        self._deadlines.start("head", timeout, self._head_timed_out)

    def _head_timed_out(self) -> None:
        self._fail(HTTP2Error(ErrorCode.NO_ERROR, "header_timeout"))

    def _keep_alive_timed_out(self) -> None:
        """Close a connection that has been idle for so long; look again later at another."""
        timeout = self._timeouts.keep_alive_timeout
        if timeout is None:
            return
        left = timeout
        if not self._streams:
            left -= self._context.clock.now() - self._idle_since
        if left > 0:
            self._deadlines.start("keep-alive", left, self._keep_alive_timed_out)
        else:
            self._refuse_streams()

    def _ping_is_due(self) -> None:
        """Send a PING to a client that has been silent for so long while it is being served."""
        interval = self._settings.http2_ping_interval
        if interval is None:
            return
        now = self._context.clock.now()
        silence = now - self._heard
        if silence < interval or not self._streams:
            left = interval - silence if silence < interval else interval
            self._deadlines.start("ping", left, self._ping_is_due)
            return
        self.engine.ping(_LIVENESS_PING)
        self._deadlines.start("ping", interval, self._ping_is_due)
        if self._heard >= self._pinged:  # it is the first one without an answer
            self._pinged = now
            timeout = self._settings.http2_ping_timeout
            self._deadlines.start("pong", timeout, self._pong_timed_out)

    def _pong_timed_out(self) -> None:
        """Give up a client that said nothing since it was asked, unless nobody listened."""
        if self._heard < self._pinged and not self._reading_is_paused:
            self.give_up()
