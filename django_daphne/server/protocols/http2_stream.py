"""One request and its response on an HTTP/2 connection.

What the application sends goes to the engine at once where the windows and the client take it. What
they do not take waits here, up to write_buffer_size, and the application waits with it; the
connection fetches it a frame at a time, in turn with the other streams.

What the client sends goes to the application at once. Above body_buffer_size bytes that it has not
taken, what follows is counted and not credited, so the client stops at the end of its window.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

from ..exceptions import ClientDisconnected, StreamError
from ..interfaces import ConnectionContext, HTTPCycle, RequestHead
from ..types import Header, Headers
from .exchange import ENDED, HELD, SENDING, Exchange
from .flow_control import FlowControl
from .http2_frames import ErrorCode
from .http2_head import check_trailers
from .http2_interfaces import Engine, Fields
from .http2_output import Output
from .http2_priority import DEFAULT
from .http2_response import HTTP2Response, plain_fields
from .http2_timeouts import StreamTimeouts
from .responses import error_page


class StreamOwner(Protocol):
    """The connection, as a stream sees it."""

    engine: Engine
    output: Output
    timeouts: StreamTimeouts

    def stream_ended(self, stream: HTTP2Stream) -> None:
        """Forget a stream whose response is complete."""

    def reset_stream(self, stream: HTTP2Stream, code: int, cycle: HTTPCycle | None = None) -> None:
        """Reset a stream and forget it; ``cycle`` was its, and is the one who asks."""

    def close_soon(self) -> None:
        """End the connection when its streams have ended."""


class HTTP2Stream(Exchange):
    """The wire's side of one request (``HTTPStream``)."""

    _response: HTTP2Response | None

    def __init__(
        self,
        stream_id: int,
        request: RequestHead,
        is_received: bool,
        owner: StreamOwner,
        context: ConnectionContext,
    ) -> None:
        super().__init__(request, context)
        self.stream_id = stream_id
        self.is_received = is_received
        self._owner = owner
        self.priority = DEFAULT
        self.is_queued = False
        self.received = 0  # bytes of body
        self._is_full = False  # the application: what comes is not credited
        self._held = 0  # bytes that are not credited
        self._kept: bytearray | None = None  # what comes after it is full
        self._waiting: deque[bytes] | None = None
        self.unsent = 0  # bytes of what waits
        self._offset = 0  # of the first that waits, what was sent of it
        self._is_last = False  # behind what waits comes the end
        self._trailer_fields: list[Header] | None = None
        self._flow: FlowControl | None = None
        self._is_tunnel = False
        self.is_timed = False  # it has, or had, deadlines of its own
        self.is_blocked = False  # it waits for room in the windows

    # What the client sends.

    def data_received(self, data: bytes, size: int, ended: bool) -> None:
        """Take a piece of the body. Raises StreamError when it is not what was announced."""
        self.received += len(data)
        expected = self.request.content_length
        if expected is not None and (
            self.received > expected or (ended and self.received < expected)
        ):
            self._held += size
            raise StreamError(ErrorCode.PROTOCOL_ERROR, "a body that is not its content-length")
        self.is_received = ended
        if self._is_full or self._kept is not None:
            # Joined: as pieces, small frames would take many times their size.
            self._kept = self._kept or bytearray()
            self._kept += data
            self._held += size
        else:
            if self.cycle is not None and (data or ended):
                self.cycle.body_received(data, not ended)
            # Behind the end, too: many streams together could hold too much otherwise.
            self._held += size
            if not self._is_full:
                self.take_back()
        self._owner.timeouts.expect_body(self, not (ended or self._is_full))

    def _deliver(self) -> None:
        """Hand over what was kept, unless the application has enough again."""
        kept = self._kept
        if kept is None or self._is_full:
            return
        self._kept = None
        if self.cycle is not None:
            self.cycle.body_received(bytes(kept), not self.is_received)
        if not self._is_full:
            self.take_back()

    def trailers_received(self, fields: Fields) -> None:
        """Take the end of the body; nothing in ASGI takes the fields. Raises StreamError."""
        check_trailers(fields, self._context.config.limits.max_header_size)
        self.data_received(b"", 0, True)

    def pause_reading(self) -> None:
        """Credit no more until the application has taken what there is."""
        self._is_full = True
        self._owner.timeouts.expect_body(self, False)

    def resume_reading(self) -> None:
        """Credit what was taken, and go on with what was kept."""
        self._is_full = False
        if self._kept is None:
            self.take_back()
        else:
            self._context.call_soon(self._deliver)
        if not self.is_received and self.state is not ENDED:
            self._owner.timeouts.expect_body(self, True)

    def take_back(self) -> None:
        """Credit what is held."""
        if self._held:
            held, self._held = self._held, 0
            self._owner.engine.credit(self.stream_id, held)

    # HTTPStream

    def send_informational(self, status: int, headers: Headers) -> None:
        """Send a 1xx response."""
        fields = [(b":status", b"%d" % status), *plain_fields(headers)]
        self._owner.engine.send_headers(self.stream_id, fields, False)

    def start_response(self, status: int, headers: Headers, trailers: bool) -> None:
        """Hold the head back for the first body part."""
        if self._context.id_header is not None:
            headers = self.name_request(headers)
        self._response = HTTP2Response(
            self.request, status, headers, trailers, self._context.default_headers
        )
        self.state = HELD

    def send_body(self, data: bytes, more: bool) -> None:
        """Send a body part; the first takes the head with it."""
        response = self._response
        assert response is not None
        head = None
        if self.state is HELD:
            self.state = SENDING
            head = response.head(None if more else len(data))
        size = response.take(len(data))
        if size < len(data):
            data = data[:size]
        last = response.ends_with(more)
        if head is not None:
            is_all = last and not data
            self._owner.engine.send_headers(self.stream_id, head, is_all)
            if is_all:
                self._sent_all()
        if self.state is not ENDED and (data or last):
            self._send(data, last)
        if response.missing or response.overflowed:
            self._judge(response, more)

    async def send_file(self, descriptor: int, offset: int, count: int, more: bool) -> None:
        """Send a part of a file as body."""
        response = self._response
        assert response is not None
        if self.state is HELD:
            self.state = SENDING
            head = response.head(None if more else count)
            self._owner.engine.send_headers(self.stream_id, head, False)
        size = response.take(count)
        if size:
            await self._context.copy_file(self, descriptor, offset, size, _nothing)
        if response.ends_with(more):
            self._send(b"", True)
        self._judge(response, more)

    def send_trailers(self, headers: Headers, more: bool) -> None:
        """Send trailer fields, all in one frame behind the body."""
        fields = (self._trailer_fields or []) + plain_fields(headers)
        self._trailer_fields = fields
        if more:
            return
        self._is_last = True
        if not self._waiting:
            self._send_trailers(fields)

    def refuse(self, status: int, text: str, extra: Headers = ()) -> None:
        """Answer with the server's own page."""
        headers, body = error_page(status, text)
        self.start_response(status, [*headers, *extra], False)
        self.send_body(body, False)

    def abort(self, code: int = ErrorCode.INTERNAL_ERROR) -> None:
        """Reset the stream."""
        cycle, self.cycle = self.cycle, None
        self._owner.reset_stream(self, code, cycle)

    # Sending.

    def _send(self, data: bytes, last: bool) -> None:
        """Send a piece, or keep it until it is this stream's turn."""
        owner = self._owner
        if not self._waiting and owner.output.is_free:
            engine = owner.engine
            if not data or len(data) <= engine.window(self.stream_id):
                engine.send_data(self.stream_id, data, last)
                if last:
                    self._sent_all()
                return
        if self._waiting is None:
            self._waiting = deque()
        self._waiting.append(data)
        self.unsent += len(data)
        self._is_last = last
        owner.output.queue(self)
        if self.unsent > self._context.config.limits.write_buffer_size:
            self._pause()

    def send_frame(self) -> bool:
        """Send a frame of what waits; return whether there is more that can be sent now."""
        waiting, engine = self._waiting, self._owner.engine
        if not waiting:
            return False
        data, offset = waiting[0], self._offset
        left = len(data) - offset
        room = engine.window(self.stream_id)
        if left and room <= 0:
            if not self.is_blocked:  # once, however often there is no room
                self._owner.timeouts.expect_room(self, True)
            return False
        if left <= room or not left:
            piece = data[offset:] if offset else data
            waiting.popleft()
            self._offset = 0
        else:
            piece = data[offset : offset + room]
            self._offset += room
        self.unsent -= len(piece)
        last = self._is_last and not waiting
        engine.send_data(self.stream_id, piece, last and self._trailer_fields is None)
        if self.is_blocked:
            self._owner.timeouts.expect_room(self, False)
        if last and self._trailer_fields is not None:
            self._send_trailers(self._trailer_fields)
        elif last:
            self._sent_all()
        elif self.unsent <= self._context.config.limits.write_buffer_size // 4:
            self._resume()
        return bool(waiting)

    def _send_trailers(self, fields: list[Header]) -> None:
        if fields:
            self._owner.engine.send_headers(self.stream_id, fields, True)
        else:
            self._owner.engine.send_data(self.stream_id, b"", True)
        self._sent_all()

    def _pause(self) -> None:
        if self._flow is None:
            self._flow = FlowControl()
        if not self._flow.is_paused:
            self._flow.pause()
            if self.cycle is not None:
                self.cycle.pause_sending()

    def _resume(self) -> None:
        if self._flow is not None and self._flow.is_paused:
            self._flow.resume()
            if self.cycle is not None:
                self.cycle.resume_sending()

    def write(self, data: bytes) -> None:
        """Send a piece of a file (``FileWriter``)."""
        if self.state is not ENDED:
            self._send(data, False)

    async def drained(self) -> None:
        """Return when more may be written; raise ClientDisconnected when nothing may be."""
        if self._flow is not None:
            await self._flow.wait()
        if self.state is ENDED:
            raise ClientDisconnected("the stream ended")

    def _sent_all(self) -> None:
        """Go on behind a complete response."""
        response = self._response
        assert response is not None
        if response.close:
            self._owner.close_soon()
        self._owner.stream_ended(self)
        cycle = self.cycle
        self.end(response.status)
        if self._is_tunnel and cycle is not None:
            self._context.call_soon(cycle.disconnected)

    def become_tunnel(self, cycle: HTTPCycle) -> None:
        """Go on with another protocol in the bodies of request and response."""
        assert self._response is not None
        self._account(self._response.status, "connected")
        self._is_tunnel = True
        self.cycle = cycle

    def leave(self) -> None:
        """End an exchange whose response will never be complete."""
        self._waiting = self._kept = None
        self.unsent = 0
        super().leave()
        if self._flow is not None:
            self._flow.resume()


def _nothing() -> None:
    """Take note of progress that the windows show."""
