"""An open WebSocket (RFC 6455): what its frames mean, and how it ends.

    open ── close frame sent ──> closing ── the client's has come ──> ended
      └───────── the client's came first, it broke a rule, it left ─────^

Closing is the closing handshake (RFC 6455, section 7.1.2): messages that come are dropped, and a
client that does not answer is cut off at a deadline. Whoever ends it, the cycle is told once, at
once, with the code; a violation sends its close frame before the connection goes.

A message that the application does not take pauses the reading, in the middle of a read if need be;
what is left waits unparsed. While it does, nothing can be heard of the client, so it is not held to
its pongs.
"""

from __future__ import annotations

import logging
import struct
from typing import TYPE_CHECKING, Final

from ..exceptions import ApplicationError, WebSocketError
from ..interfaces import AccessRecord, ByteStream, ConnectionContext, RequestHead, WebSocketCycle
from .deadlines import Deadlines
from .liveness import Heartbeat
from .websocket_frames import BINARY, CLOSE, PING, PONG, TEXT, FrameReader, encode_frame, frame_head
from .wire import LARGE, OPEN, Wire

if TYPE_CHECKING:
    from .websocket_deflate import Deflate

logger = logging.getLogger("django_daphne.server")

# Close codes (RFC 6455, section 7.4.1, and the registry of IANA).
NORMAL: Final = 1000
PROTOCOL_ERROR: Final = 1002
NO_STATUS: Final = 1005
ABNORMAL: Final = 1006
NOT_UTF8: Final = 1007
INTERNAL_ERROR: Final = 1011
SERVICE_RESTART: Final = 1012

# Those that a close frame may hold; 3000 to 4999 are for libraries and applications.
_SENDABLE: Final = frozenset((1000, 1001, 1002, 1003, *range(1007, 1015), *range(3000, 5000)))
_MAX_REASON: Final = 123
# Bytes. Shorter messages do not gain what compressing them costs.
_WORTH_COMPRESSING: Final = 128


class WebSocket:
    """One open WebSocket (``ConnectionProtocol``, ``WebSocketStream``)."""

    def __init__(
        self,
        request: RequestHead,
        context: ConnectionContext,
        transport: ByteStream,
        deadlines: Deadlines,
        wire: Wire,
        cycle: WebSocketCycle,
        deflate: Deflate | None,
        early: bytes,
    ) -> None:
        """Take a connection over whose handshake is on its way; ``early`` came before it."""
        self._request = request
        self._context = context
        self._transport = transport
        self._deadlines = deadlines
        self._wire = wire
        self._cycle = cycle
        self._deflate = deflate
        self._timeouts = context.config.timeouts
        self._limits = limits = context.config.websocket
        self._is_open = True  # no close frame was sent or received
        self._reader = FrameReader(
            self,
            max_frame=limits.websocket_max_frame_size,
            max_message=limits.websocket_max_message_size,
            max_fragments=limits.websocket_max_fragments,
            inflater=deflate,
            early=early,
        )
        self._application_is_full = False
        self._eof = False  # but not everything before it was read
        self._flush_is_due = False
        self._code: int | None = None  # once the cycle was told
        self._sent = 0
        self._began = context.clock.now()
        wire.hand_over(self._write_timed_out)
        deadlines.start("lifetime", limits.websocket_timeout, self._lifetime_is_over)
        self._heartbeat = Heartbeat(
            self, context.clock.now, deadlines, limits.ping_interval, limits.ping_timeout
        )
        if wire.is_paused:
            wire.watch_progress()
        if early or wire.is_paused:
            # Soon, because the cycle does not know of this object yet.
            context.call_soon(self._begin)

    def _begin(self) -> None:
        """Read what came early, unless the client does not read."""
        self._update_reading()
        if not self._reader.is_paused:
            self._read(None)

    # What happened to the transport (ConnectionProtocol).

    def data_received(self, data: bytes) -> None:
        """Take bytes of the client."""
        wire = self._wire
        if wire.state is not OPEN:
            wire.discard(len(data))
            return
        self._heartbeat.heard = self._context.clock.now()
        self._read(data)

    def eof_received(self) -> None:
        """Take note that the client left without a word."""
        if self._reader.has_unread and self._is_open:
            self._eof = True
            return
        self._end(ABNORMAL)
        self._wire.close()

    def connection_lost(self) -> None:
        """Take note that the connection has ended."""
        self._wire.lost()
        self._end(ABNORMAL)
        self._record()

    def pause_sending(self) -> None:
        """Take note that the client does not read as fast as is written."""
        self._wire.pause()
        self._update_reading()  # or the answers to its pings would pile up
        self._cycle.pause_sending()

    def resume_sending(self) -> None:
        """Take note that the client has read on."""
        self._wire.resume()
        self._update_reading()
        self._cycle.resume_sending()

    def drain(self) -> None:
        """Go on: a WebSocket has its end when ``end_streams`` says so."""

    def end_streams(self) -> None:
        """Close, because the server stops."""
        self._say_close(SERVICE_RESTART)

    # What the application says (WebSocketStream).

    def send(self, data: str | bytes, soon: bool) -> None:
        """Send a message; with ``soon`` at the end of this turn, with those that follow."""
        if not self._is_open:
            return
        if type(data) is str:
            try:
                opcode, payload = TEXT, data.encode()
            except UnicodeEncodeError as error:
                raise ApplicationError(
                    f"websocket.send: text that is no Unicode: {error}"
                ) from None
        else:
            opcode, payload = BINARY, data  # type: ignore[assignment]  # mypy sees no type() is
        wire = self._wire
        self._sent += len(payload)
        is_compressed = self._deflate is not None and len(payload) >= _WORTH_COMPRESSING
        if is_compressed and self._deflate is not None:
            payload = self._deflate.compress(payload)
        if soon and not self._flush_is_due:
            # Nothing says that the application goes on at once, so this is not left to it.
            self._flush_is_due = wire.is_corked = True
            self._context.turn_end.call(self._flush)
        if len(payload) < LARGE:
            wire.write(encode_frame(opcode, payload, is_compressed=is_compressed))
        else:  # not worth a copy
            wire.write(frame_head(opcode, len(payload), is_compressed=is_compressed))
            wire.write(payload)
        if self._flush_is_due and not soon:
            self._flush_is_due = False
            wire.uncork()

    def close(self, code: int, reason: str) -> None:
        """Begin the closing handshake."""
        encoded = reason.encode("utf-8", "surrogatepass")
        if code not in _SENDABLE:
            raise ApplicationError(
                f"websocket.close: code {code!r} is not allowed; 1000 to 1003, 1007 to 1014 and"
                " 3000 to 4999 are"
            )
        if len(encoded) > _MAX_REASON:
            raise ApplicationError(
                f"websocket.close: the reason has {len(encoded)} bytes, more than {_MAX_REASON}"
            )
        self._say_close(code, reason)

    def pause_reading(self) -> None:
        """Read no more until the application has taken what there is."""
        self._application_is_full = True
        self._update_reading()

    def resume_reading(self) -> None:
        """Read on."""
        self._application_is_full = False
        self._update_reading()

    # What the client says (Receiver).

    def message_received(self, data: str | bytes) -> None:
        """Hand a message on."""
        if self._is_open:
            self._cycle.message_received(data)

    def ping_received(self, payload: bytes) -> None:
        """Answer (RFC 6455, section 5.5.2)."""
        if self._is_open:
            self._wire.write(encode_frame(PONG, payload))

    def pong_received(self, payload: bytes) -> None:
        """Go on: whatever a client sends says that it is there."""

    def close_received(self, payload: bytes) -> None:
        """Answer with the same code, and close."""
        code, reason = _parse_close(payload)
        if self._is_open:
            self._wire.write(encode_frame(CLOSE, payload[:2]))
        self._end(code, reason)
        self._reader.is_paused = True  # nothing may follow
        self._wire.close()

    # Reading.

    def _read(self, data: bytes | None) -> None:
        """Read frames of new data, or on from where it was paused; keep answers for one write."""
        wire, reader = self._wire, self._reader
        wire.is_corked = True
        try:
            if data is None:
                reader.resume()
            else:
                reader.feed(data)
        except WebSocketError as error:
            self._fail(error)
        finally:
            if not self._flush_is_due:
                wire.uncork()

    def _update_reading(self) -> None:
        """Pause or resume by what the application and the client take."""
        reader = self._reader
        pause = self._is_open and (self._application_is_full or self._wire.is_paused)
        if self._wire.state is not OPEN or pause is reader.is_paused:
            return
        if pause:
            reader.is_paused = True
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()
            self._heartbeat.heard = self._context.clock.now()
            self._read(None)
            if self._eof and not reader.is_paused:
                self._eof = False
                self.eof_received()

    # The end.

    def _say_close(self, code: int, reason: str = "") -> None:
        """Send a close frame, tell the cycle, and wait for the client's."""
        if not self._is_open:
            return
        self._flush_is_due = False
        self._wire.uncork()  # what was kept comes first, and may be too much for the client
        self._is_open = False
        self._wire.write(_close_frame(code, reason))
        self._end(code, reason)
        self._deadlines.start("close", self._timeouts.linger_timeout, self._close_timed_out)
        # Soon, because this may have been called from within the reader.
        self._context.call_soon(self._update_reading)

    def _fail(self, error: WebSocketError) -> None:
        """Answer a violation with its close frame, and let the client read it."""
        logger.debug("WebSocket %a: %s", self._request.target, error)
        was_open = self._is_open
        self._end(error.code)
        self._reader.is_paused = True
        if was_open:
            self._wire.write(_close_frame(error.code, ""))
        self._wire.linger()

    def _end(self, code: int, reason: str = "") -> None:
        """Tell the cycle, once."""
        self._is_open = False
        if self._code is None:
            self._code = code
            self._deadlines.cancel_all()
            if self._wire.is_paused:
                self._wire.watch_progress()
            self._cycle.disconnected(code, reason)

    def _record(self) -> None:
        context, request = self._context, self._request
        if context.log_access is not None:
            context.log_access(
                AccessRecord(
                    client=context.client if request.origin is None else request.origin.client,
                    method=request.method,
                    target=request.target,
                    http_version=request.http_version,
                    status=101 if request.http_version == "1.1" else 200,
                    size=self._sent,
                    duration=context.clock.now() - self._began,
                    headers=request.headers,
                    event="disconnected",
                    code=self._code,
                    trace=request.trace,
                )
            )

    def _flush(self) -> None:
        """Send what was kept in this turn."""
        if self._flush_is_due:
            self._flush_is_due = False
            self._wire.uncork()

    # Deadlines that have come.

    def _lifetime_is_over(self) -> None:
        self._say_close(NORMAL)

    def ping(self) -> None:
        """Send a ping (``PingOwner``)."""
        self._wire.write(encode_frame(PING, b""))

    @property
    def wants_pings(self) -> bool:
        """Return true: an open WebSocket is there to be used at any time."""
        return True

    @property
    def is_deaf(self) -> bool:
        """Return whether reading is paused."""
        return self._reader.is_paused

    def ping_timed_out(self) -> None:
        """Close the WebSocket of a client that said nothing since it was pinged."""
        logger.debug("WebSocket %a: no answer to a ping", self._request.target)
        self._wire.write(_close_frame(INTERNAL_ERROR, "ping timeout"))
        self._end(ABNORMAL)
        self._wire.linger()

    def _close_timed_out(self) -> None:
        self._wire.close()

    def _write_timed_out(self) -> None:
        """Reset the connection of a client that does not read."""
        self._wire.abort()
        self._end(ABNORMAL)


def _close_frame(code: int, reason: str) -> bytes:
    return encode_frame(CLOSE, struct.pack("!H", code) + reason.encode("utf-8", "replace"))


def _parse_close(payload: bytes) -> tuple[int, str]:
    """Return code and reason of a close frame (RFC 6455, section 7.1.5 and 7.1.6)."""
    if not payload:
        return NO_STATUS, ""
    code = int.from_bytes(payload[:2])
    if len(payload) == 1 or code not in _SENDABLE:
        raise WebSocketError(PROTOCOL_ERROR, "bad close code")
    try:
        return code, payload[2:].decode()
    except UnicodeDecodeError:
        raise WebSocketError(NOT_UTF8, "close reason that is not UTF-8") from None
