"""The frames of one HTTP/2 connection: reading and writing them, and their rules (RFC 9113).

Here is what concerns frames, windows and the states of streams; what requests mean and when which
answer is sent is ``http2``'s. The two know each other by ``http2_interfaces`` alone.

Theory of operation. ``feed`` cuts frames out of what was read and hands each to the method for its
kind, which calls the receiver. It raises HTTP2Error at the first frame that the connection cannot
survive; what came before it has been handed over by then. A frame that is bad for its stream alone,
in the eyes of the engine or of the receiver, ends as ``stream_failed``. A stream is kept from its
HEADERS until both sides have ended it or one has reset it; of streams that ended nothing is kept
but the highest number, and for a while that a reset of ours may cross with frames of the client.

Settings and their rules, the windows of what is received and the error codes are h2's, as is HPACK;
frames, states and the windows of what is sent are here, because the server takes a quarter of the
processor time this way (docs/topics/performance.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from h2.exceptions import FlowControlError, InvalidSettingsValueError
from h2.settings import SettingCodes
from h2.windows import WindowManager

from ..exceptions import HTTP2Error, StreamError
from . import http2_frames as wire
from .http2_fields import NO_TABLE, FieldReader
from .http2_frames import ErrorCode
from .http2_interfaces import Receiver
from .http2_limits import MAX_BLOCK_FRAMES, Allowances
from .http2_writer import FrameWriter, StreamState

# The kinds of frames that a block of fields comes in.
_HEAD_FRAMES: Final = (bytes((wire.HEADERS,)), bytes((wire.CONTINUATION,)))
# Settings that change anything here; a client may send others, and they are checked.
_KNOWN_SETTINGS: Final = frozenset(SettingCodes)


class FrameEngine(FrameWriter):
    """Reads the frames of a connection, and writes them (``Engine``)."""

    def __init__(
        self,
        receiver: Receiver,
        write: Callable[[bytes], None],
        allowances: Allowances,
        max_list_size: int,
    ) -> None:
        """Write frames by ``write``; take lists of fields up to twice ``max_list_size``.

        Between once and twice it a request can be refused without an end of the connection.
        """
        super().__init__(write, allowances)
        self._receiver = receiver
        self._max_block = max_list_size
        self._fields = FieldReader(2 * max_list_size)
        self.last_stream_id = 0
        # Set by start.
        self._stream_window = wire.DEFAULT_WINDOW
        self._max_frame_size = wire.DEFAULT_FRAME_SIZE
        # What was read and is not complete; looked at when there are so many bytes of it.
        self._pieces: list[bytes] = []
        self._pieces_size = 0
        self._needed = len(wire.PREFACE)
        self._has_preface = False
        self._has_settings = False
        # A block of fields whose end has not come: stream, whether it ends it, its pieces.
        self._block: tuple[int, bool, list[bytes]] | None = None
        self._readers: tuple[Callable[[int, int, bytes], None], ...] = (
            *(self._data, self._headers, self._priority, self._reset, self._settings_frame),
            *(self._push_promise, self._ping, self._goaway, self._window_update),
            self._continuation,
        )

    @property
    def is_amid_head(self) -> bool:
        """Return whether the client owes the rest of its preface or of a block of fields."""
        if self._block is not None or not self._has_settings:
            return True
        return bool(self._pieces) and self._pieces[0][3:4] in _HEAD_FRAMES

    # Reading.

    def start(self, settings: Mapping[int, int], connection_window: int) -> None:
        """Send the server's preface; what it says is in force at once."""
        self._stream_window = settings[SettingCodes.INITIAL_WINDOW_SIZE]
        self._max_frame_size = settings[SettingCodes.MAX_FRAME_SIZE]
        self._receive_window = WindowManager(connection_window)
        preface = wire.settings_frame(settings)
        if connection_window > wire.DEFAULT_WINDOW:
            preface += wire.window_update_frame(0, connection_window - wire.DEFAULT_WINDOW)
        self._write(preface)

    def feed(self, data: bytes) -> None:
        """Read as many frames as there are."""
        if self._pieces:
            # A frame in many pieces is joined once, when it is all there.
            self._pieces.append(data)
            self._pieces_size += len(data)
            if self._pieces_size < self._needed:
                return
            data = b"".join(self._pieces)
            self._pieces.clear()
        offset, size = 0, len(data)
        if not self._has_preface:
            offset = self._read_preface(data)
            if not offset:
                self._keep(data, len(wire.PREFACE))
                return
        unpack = wire.HEADER.unpack_from
        needed = wire.HEADER_SIZE
        while size - offset >= wire.HEADER_SIZE:
            length, flags, stream_id = unpack(data, offset)
            kind = length & 0xFF
            length >>= 8
            if length > self._max_frame_size:
                raise HTTP2Error(ErrorCode.FRAME_SIZE_ERROR, "a frame over SETTINGS_MAX_FRAME_SIZE")
            start = offset + wire.HEADER_SIZE
            end = start + length
            if end > size:
                needed = end - offset
                break
            offset = end
            if self._block is not None and kind != wire.CONTINUATION:
                raise HTTP2Error(ErrorCode.PROTOCOL_ERROR, "a frame within a block of fields")
            if not self._has_settings and (kind != wire.SETTINGS or flags & wire.ACK):
                raise HTTP2Error(ErrorCode.PROTOCOL_ERROR, "the first frame is no SETTINGS")
            stream_id &= wire.STREAM_MASK
            try:
                if kind <= wire.CONTINUATION:
                    self._readers[kind](flags, stream_id, data[start:end])
                else:
                    self._other(kind, stream_id, data[start:end])
            except StreamError as error:
                self._receiver.stream_failed(stream_id, error)
        if offset < size:
            self._keep(data[offset:] if offset else data, needed)

    def _keep(self, data: bytes, needed: int) -> None:
        """Keep what is not complete until there are so many bytes of it."""
        self._pieces.append(data)
        self._pieces_size = len(data)
        self._needed = needed

    def _read_preface(self, data: bytes) -> int:
        """Return the offset behind the client's preface, 0 when it has not all come."""
        if not wire.PREFACE.startswith(data[: len(wire.PREFACE)]):
            raise HTTP2Error(ErrorCode.PROTOCOL_ERROR, "no preface of HTTP/2")
        if len(data) < len(wire.PREFACE):
            return 0
        self._has_preface = True
        return len(wire.PREFACE)

    def _headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        if flags & (wire.PADDED | wire.HAS_PRIORITY):
            payload = wire.strip(payload, flags)
        ended = bool(flags & wire.END_STREAM)
        if flags & wire.END_HEADERS:
            self._block_received(stream_id, ended, payload)
            return
        if not stream_id & 1:
            raise HTTP2Error(ErrorCode.PROTOCOL_ERROR, "HEADERS on no stream of a client's")
        if len(payload) > self._max_block:
            raise HTTP2Error(ErrorCode.ENHANCE_YOUR_CALM, "a block of fields that is too large")
        self._block = stream_id, ended, [payload]

    def _continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        if self._block is None or self._block[0] != stream_id:
            raise HTTP2Error(ErrorCode.PROTOCOL_ERROR, "CONTINUATION that continues nothing")
        _, ended, pieces = self._block
        if not payload and not flags & wire.END_HEADERS:
            self._allowances.take("empty frames")
        pieces.append(payload)
        if sum(map(len, pieces)) > self._max_block or len(pieces) > MAX_BLOCK_FRAMES:
            raise HTTP2Error(ErrorCode.ENHANCE_YOUR_CALM, "a block of fields that is too large")
        if flags & wire.END_HEADERS:
            self._block = None
            self._block_received(stream_id, ended, b"".join(pieces))

    def _block_received(self, stream_id: int, ended: bool, block: bytes) -> None:
        fields = self._fields.read(block)  # always, or the tables would differ from the client's
        if not stream_id & 1:
            raise HTTP2Error(ErrorCode.PROTOCOL_ERROR, "HEADERS on no stream of a client's")
        if stream_id > self.last_stream_id:
            self.last_stream_id = stream_id
            window = self._settings.initial_window_size
            self._streams[stream_id] = StreamState(window, ended)
            self._receiver.request_received(stream_id, fields, ended)
            return
        state = self._streams.get(stream_id)
        if state is None:
            if stream_id not in self._resets:
                raise HTTP2Error(ErrorCode.STREAM_CLOSED, "HEADERS on a stream that has ended")
            self._allowances.take("resets")  # one may have crossed with ours; reading is not free
        elif state.remote_has_ended:
            raise StreamError(ErrorCode.STREAM_CLOSED, "HEADERS behind the end of a request")
        elif not ended:
            raise StreamError(ErrorCode.PROTOCOL_ERROR, "trailers that do not end their request")
        else:
            self._remote_ended(stream_id, state)
            self._receiver.trailers_received(stream_id, fields)

    def _data(self, flags: int, stream_id: int, payload: bytes) -> None:
        size = len(payload)
        ended = bool(flags & wire.END_STREAM)
        try:
            self._receive_window.window_consumed(size)
        except FlowControlError:
            raise HTTP2Error(ErrorCode.FLOW_CONTROL_ERROR, "DATA beyond the window") from None
        if flags & wire.PADDED:
            payload = wire.strip(payload, flags & wire.PADDED)
        if not (payload or ended):
            self._allowances.take("empty frames")
        state = self._streams.get(stream_id)
        if state is None or state.remote_has_ended:
            self._refuse_idle(stream_id, "DATA")
            self.credit(stream_id, size)
            if stream_id not in self._resets:
                raise StreamError(ErrorCode.STREAM_CLOSED, "DATA behind the end of a request")
            return
        window = state.receive_window
        if window is None:
            window = state.receive_window = WindowManager(self._stream_window)
        try:
            window.window_consumed(size)
        except FlowControlError:
            self.credit(0, size)
            raise StreamError(ErrorCode.FLOW_CONTROL_ERROR, "DATA beyond the window") from None
        if ended:
            self._remote_ended(stream_id, state)
        self._receiver.body_received(stream_id, payload, size, ended)

    def _remote_ended(self, stream_id: int, state: StreamState) -> None:
        state.remote_has_ended = True
        if state.has_ended:
            del self._streams[stream_id]

    def _has_begun(self, stream_id: int) -> bool:
        return bool(stream_id & 1) and stream_id <= self.last_stream_id

    def _refuse_idle(self, stream_id: int, kind: str) -> None:
        """Raise for a frame on a stream that has not begun."""
        if not self._has_begun(stream_id):
            raise HTTP2Error(ErrorCode.PROTOCOL_ERROR, f"{kind} on a stream that has not begun")

    def _priority(self, flags: int, stream_id: int, payload: bytes) -> None:
        """Pass over what RFC 9113 deprecates (section 5.3.2)."""
        self._allowances.take("PRIORITY")
        if not stream_id:
            raise HTTP2Error(ErrorCode.PROTOCOL_ERROR, "PRIORITY on no stream")
        if len(payload) != 5:
            if stream_id in self._streams:
                raise StreamError(ErrorCode.FRAME_SIZE_ERROR, "PRIORITY of a wrong size")
            if not self._has_begun(stream_id):  # so it cannot be reset
                raise HTTP2Error(ErrorCode.FRAME_SIZE_ERROR, "PRIORITY of a wrong size")

    def _reset(self, flags: int, stream_id: int, payload: bytes) -> None:
        wire.read_number(payload, "RST_STREAM")
        if self._streams.pop(stream_id, None) is not None:
            self._receiver.reset_received(stream_id)
        else:
            self._refuse_idle(stream_id, "RST_STREAM")

    def _settings_frame(self, flags: int, stream_id: int, payload: bytes) -> None:
        self._allowances.take("SETTINGS")
        if stream_id:
            raise HTTP2Error(ErrorCode.PROTOCOL_ERROR, "SETTINGS on a stream")
        if flags & wire.ACK:
            if payload:
                raise HTTP2Error(ErrorCode.FRAME_SIZE_ERROR, "an answer to SETTINGS with settings")
            return
        self._has_settings = True
        for code, value in wire.read_settings(payload):
            if code in _KNOWN_SETTINGS:
                self._set(SettingCodes(code), value)
            elif code == wire.NO_RFC7540_PRIORITIES and value > 1:
                raise HTTP2Error(ErrorCode.PROTOCOL_ERROR, f"SETTINGS {code} of {value}")
        self._write(wire.frame(wire.SETTINGS, wire.ACK, 0))

    def _set(self, code: SettingCodes, value: int) -> None:
        settings = self._settings
        before = settings.initial_window_size
        try:
            settings[code] = value
        except InvalidSettingsValueError as error:
            raise HTTP2Error(error.error_code, f"SETTINGS_{code.name} of {value}") from None
        settings.acknowledge()
        self._max_sent_frame = settings.max_frame_size
        if code is SettingCodes.HEADER_TABLE_SIZE:
            self._block_prefix = NO_TABLE
        elif code is SettingCodes.INITIAL_WINDOW_SIZE:
            # Windows may become negative by it (RFC 9113, section 6.9.2).
            for state in self._streams.values():
                state.send_window += value - before
                if state.send_window > wire.MAX_WINDOW:
                    raise HTTP2Error(ErrorCode.FLOW_CONTROL_ERROR, "a window over 2^31-1")
            self._receiver.window_opened(0)

    def _push_promise(self, flags: int, stream_id: int, payload: bytes) -> None:
        raise HTTP2Error(ErrorCode.PROTOCOL_ERROR, "PUSH_PROMISE by a client")

    def _ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        self._allowances.take("PING")
        if stream_id:
            raise HTTP2Error(ErrorCode.PROTOCOL_ERROR, "PING on a stream")
        if len(payload) != 8:
            raise HTTP2Error(ErrorCode.FRAME_SIZE_ERROR, "PING of a wrong size")
        if flags & wire.ACK:
            self._receiver.ping_answered(payload)
        else:
            self._write(wire.frame(wire.PING, wire.ACK, 0, payload))

    def _goaway(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise HTTP2Error(ErrorCode.PROTOCOL_ERROR, "GOAWAY on a stream")
        if len(payload) < 8:
            raise HTTP2Error(ErrorCode.FRAME_SIZE_ERROR, "GOAWAY of a wrong size")
        self._receiver.goaway_received()

    def _window_update(self, flags: int, stream_id: int, payload: bytes) -> None:
        self._allowances.take("WINDOW_UPDATE")
        increment = wire.read_number(payload, "WINDOW_UPDATE") & wire.STREAM_MASK
        if not stream_id:
            self._send_window += increment
            if not increment:
                raise HTTP2Error(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE of nothing")
            if self._send_window > wire.MAX_WINDOW:
                raise HTTP2Error(ErrorCode.FLOW_CONTROL_ERROR, "a window over 2^31-1")
            self._receiver.window_opened(0)
            return
        state = self._streams.get(stream_id)
        if state is None:
            self._refuse_idle(stream_id, "WINDOW_UPDATE")
        elif not increment:
            raise StreamError(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE of nothing")
        elif state.send_window + increment > wire.MAX_WINDOW:
            raise StreamError(ErrorCode.FLOW_CONTROL_ERROR, "a window over 2^31-1")
        else:
            state.send_window += increment
            self._receiver.window_opened(stream_id)

    def _other(self, kind: int, stream_id: int, payload: bytes) -> None:
        """Read PRIORITY_UPDATE, and pass over what is not known (RFC 9113, section 5.5)."""
        if kind != wire.PRIORITY_UPDATE:
            self._allowances.take("unknown frames")
            return
        self._allowances.take("PRIORITY")
        if len(payload) < 4:
            raise HTTP2Error(ErrorCode.FRAME_SIZE_ERROR, "PRIORITY_UPDATE of a wrong size")
        prioritized = int.from_bytes(payload[:4]) & wire.STREAM_MASK
        if stream_id or not prioritized & 1:
            raise HTTP2Error(ErrorCode.PROTOCOL_ERROR, "PRIORITY_UPDATE of no stream")
        self._receiver.priority_received(prioritized, payload[4:])
