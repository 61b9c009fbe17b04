"""HTTP/2 with streams that become WebSockets (RFC 8441).

To its WebSocket such a stream is a transport, to HTTP/2 it is a request whose body and response go
on: ``Tunnel`` is both, the transport of the one and the cycle of the other.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import ClassVar, Final, cast

from ..interfaces import ConnectionContext, HTTPCycle
from ..types import Headers
from .deadlines import Deadlines
from .http2 import HTTP2
from .http2_frames import ErrorCode
from .http2_stream import HTTP2Stream
from .websocket import WebSocket
from .websocket_handshake import (
    Handshake,
    Offer,
    accept_fields,
    choose_extensions,
    read_offer,
)
from .wire import Wire

_OK: Final = 200


class ExtendedHTTP2(HTTP2):
    """One connection, whose clients may ask for a WebSocket on a stream."""

    make_websocket: ClassVar[type[WebSocket]] = WebSocket

    def _create_cycle(self, stream: HTTP2Stream) -> HTTPCycle:
        request = stream.request
        if not request.wants_websocket:
            return super()._create_cycle(stream)
        offer = read_offer(request)
        self.timeouts.expect_answer(stream, self._connect_timed_out)
        handshake = Handshake(
            offer,
            stream,
            lambda offer, subprotocol, headers: self._open(stream, offer, subprotocol, headers),
            lambda: self.timeouts.answered(stream),
        )
        cycle = cast(HTTPCycle, self._context.create_websocket_cycle(request, handshake))
        stream.record(0, "connecting")
        # Messages before the handshake is answered wait; until then a tunnel has nowhere to lead.
        return _Waiting(cycle, stream)

    def _connect_timed_out(self, stream: HTTP2Stream) -> None:
        """Answer for an application that did not, within websocket_connect_timeout."""
        if stream.cycle is not None:
            self._limit.stream_ended(stream.cycle)
            stream.leave_cycle()
            stream.refuse(403, "Access denied")

    def _open(
        self, stream: HTTP2Stream, offer: Offer, subprotocol: str | None, headers: Headers
    ) -> WebSocket:
        """Accept a handshake.

        Raises ApplicationError for what cannot be sent, and then nothing was.
        """
        waiting = stream.cycle
        assert isinstance(waiting, _Waiting)
        context = self._context
        answer, deflate = choose_extensions(offer, context.config.websocket)
        fields = accept_fields(offer, subprotocol, answer, headers)
        self.timeouts.connected(stream)
        stream.start_response(_OK, fields, False)
        stream.send_body(b"", True)
        deadlines = self._deadlines.sibling()
        tunnel = Tunnel(stream, context, deadlines, waiting.cycle)
        wire = Wire(tunnel, deadlines, context.config, tunnel.abort)
        tunnel.websocket = self.make_websocket(
            *(stream.request, context, tunnel, deadlines, wire),
            waiting.cycle,  # type: ignore[arg-type]  # see _create_cycle
            deflate,
            waiting.take(),
        )
        stream.become_tunnel(tunnel)
        if waiting.has_ended:
            context.call_soon(tunnel.websocket.eof_received)
        if self._is_draining:
            context.call_soon(tunnel.stopping)
        return tunnel.websocket

    def _end_stream(self, stream: HTTP2Stream) -> None:
        if isinstance(stream.cycle, Tunnel):
            stream.cycle.stopping()
        else:
            super()._end_stream(stream)


class _Waiting:
    """The cycle of a handshake, and what the client sends before it is answered."""

    def __init__(self, cycle: HTTPCycle, stream: HTTP2Stream) -> None:
        self.cycle = cycle
        self.has_ended = False
        self._stream = stream
        self._early: list[bytes] = []
        self._is_waiting = True
        self.start = cycle.start
        self.disconnected = cycle.disconnected
        self.stopping = cycle.stopping
        self.pause_sending = cycle.pause_sending
        self.resume_sending = cycle.resume_sending

    @property
    def is_running(self) -> bool:
        """Return what the cycle says."""
        return self.cycle.is_running

    def body_received(self, data: bytes, more: bool) -> None:
        """Keep what comes early; what follows is the stream's to keep."""
        if self._is_waiting:
            self._stream.pause_reading()
        self._early.append(data)
        self.has_ended = not more

    def take(self) -> bytes:
        """Return what came early, and let the rest come."""
        self._is_waiting = False
        if self._early:
            self._stream.resume_reading()
        return b"".join(self._early)


class Tunnel:
    """A stream with a WebSocket in it (``HTTPCycle``, ``ByteStream``)."""

    websocket: WebSocket

    def __init__(
        self,
        stream: HTTP2Stream,
        context: ConnectionContext,
        deadlines: Deadlines,
        cycle: HTTPCycle,
    ) -> None:
        self._stream = stream
        self._context = context
        self._deadlines = deadlines
        self._cycle = cycle
        self._is_closed = False  # nothing goes to the stream any more

    # HTTPCycle

    @property
    def is_running(self) -> bool:
        """Return whether the application runs."""
        return self._cycle.is_running

    def start(self) -> None:
        """Nothing is left to be started."""

    def body_received(self, data: bytes, more: bool) -> None:
        """Hand frames on."""
        if data:
            self.websocket.data_received(data)
        if not more and not self._is_closed:
            self.websocket.eof_received()

    def disconnected(self) -> None:
        """Tell the WebSocket of the end."""
        self._is_closed = True
        self.websocket.connection_lost()
        self._deadlines.cancel_all()

    def stopping(self) -> None:
        """Close, because the server stops."""
        if not self._is_closed:
            self.websocket.end_streams()

    def pause_sending(self) -> None:
        """Pass backpressure on."""
        if not self._is_closed:
            self.websocket.pause_sending()

    def resume_sending(self) -> None:
        """Pass its end on."""
        if not self._is_closed:
            self.websocket.resume_sending()

    # ByteStream

    @property
    def is_tls(self) -> bool:
        """Return true: like TLS, a stream that is reset behind its end has no half-close."""
        return True

    @property
    def write_buffer_size(self) -> int:
        """Return the bytes that wait for their turn or for room in the windows."""
        return self._stream.unsent

    def write(self, data: bytes) -> None:
        """Send frames."""
        if not self._is_closed:
            self._stream.send_body(data, True)

    def pause_reading(self) -> None:
        """Credit no more."""
        self._stream.pause_reading()

    def resume_reading(self) -> None:
        """Credit again."""
        if not self._is_closed:
            self._stream.resume_reading()

    def write_eof(self) -> None:
        """Do nothing, as over TLS."""

    def close(self) -> None:
        """End the stream behind what was sent."""
        if not self._is_closed:
            self._is_closed = True
            self._stream.send_body(b"", False)

    def abort(self) -> None:
        """Reset the stream."""
        if self._stream.cycle is not None:
            self._is_closed = True
            self._stream.abort(ErrorCode.CANCEL)
            self._context.call_soon(self.disconnected)

    def send_file(
        self, descriptor: int, offset: int, count: int, progress: Callable[[], object]
    ) -> Awaitable[None]:
        """Send a part of a file."""
        return self._context.copy_file(self._stream, descriptor, offset, count, progress)
