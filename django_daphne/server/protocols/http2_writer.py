"""Writing the frames of one HTTP/2 connection, and the windows that bound them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from h2.settings import Settings
from h2.windows import WindowManager

from ..types import Header
from . import http2_frames as wire
from .http2_fields import known_fields, write_field
from .http2_limits import EARNED_BY_DATA, WORTH_EARNING, Allowances

# Streams that were reset by us and may still have frames under way, the latest.
_MAX_REMEMBERED_RESETS: Final = 256


class StreamState:
    """What is kept of a stream until both sides have ended it."""

    __slots__ = ("has_ended", "receive_window", "remote_has_ended", "send_window")

    def __init__(self, send_window: int, remote_has_ended: bool) -> None:
        self.send_window = send_window
        self.remote_has_ended = remote_has_ended
        self.has_ended = False
        self.receive_window: WindowManager | None = None  # until there is a body


class FrameWriter:
    """The half of an engine that writes."""

    def __init__(self, write: Callable[[bytes], None], allowances: Allowances) -> None:
        self._write = write
        self._allowances = allowances
        self._settings = Settings(client=True)  # the client's
        self._streams: dict[int, StreamState] = {}
        self._resets: dict[int, None] = {}  # by us
        self._send_window = wire.DEFAULT_WINDOW
        self._receive_window = WindowManager(wire.DEFAULT_WINDOW)
        self._max_sent_frame = wire.DEFAULT_FRAME_SIZE
        self._block_prefix = b""

    def window(self, stream_id: int) -> int:
        """Return how many bytes of DATA may be sent in one frame now; not above 0: none."""
        state = self._streams[stream_id]
        return min(self._send_window, state.send_window, self._max_sent_frame)

    def send_headers(self, stream_id: int, fields: Iterable[Header], ended: bool) -> None:
        """Send fields, in more than one frame where the client takes only so much."""
        block = b"".join([known_fields.get(field) or write_field(field) for field in fields])
        if self._block_prefix:
            block, self._block_prefix = self._block_prefix + block, b""
        flags = wire.END_STREAM if ended else 0
        most = self._max_sent_frame
        if len(block) <= most:
            flags |= wire.END_HEADERS
            self._write(wire.HEADER.pack(len(block) << 8 | wire.HEADERS, flags, stream_id) + block)
        else:
            kind = wire.HEADERS
            for start in range(0, len(block), most):
                end = wire.END_HEADERS if start + most >= len(block) else 0
                piece = block[start : start + most]
                self._write(wire.frame(kind, flags | end, stream_id, piece))
                kind, flags = wire.CONTINUATION, 0
        if ended:
            self._ended(stream_id, self._streams[stream_id])

    def send_data(self, stream_id: int, data: bytes, ended: bool) -> None:
        """Send DATA within ``window``."""
        size = len(data)
        state = self._streams[stream_id]
        self._send_window -= size
        state.send_window -= size
        # A small frame counts where it is as small as the application made it.
        if ended or state.send_window > 0 or size >= WORTH_EARNING:
            self._allowances.earn("WINDOW_UPDATE", EARNED_BY_DATA)
        # In short what wire.frame does.
        self._write(wire.HEADER.pack(size << 8, ended, stream_id) + data)
        if ended:
            self._ended(stream_id, state)

    def _ended(self, stream_id: int, state: StreamState) -> None:
        state.has_ended = True
        if state.remote_has_ended:
            del self._streams[stream_id]

    def reset(self, stream_id: int, code: int) -> None:
        """Send RST_STREAM, and pass over what the client sent before it knew."""
        self._streams.pop(stream_id, None)
        self._resets[stream_id] = None
        if len(self._resets) > _MAX_REMEMBERED_RESETS:
            del self._resets[next(iter(self._resets))]
        self._write(wire.reset_frame(stream_id, code))

    def credit(self, stream_id: int, size: int) -> None:
        """Let the client send so many bytes more."""
        increment = self._receive_window.process_bytes(size)
        if increment:
            self._write(wire.window_update_frame(0, increment))
        state = self._streams.get(stream_id)
        if state is not None and state.receive_window and not state.remote_has_ended:
            increment = state.receive_window.process_bytes(size)
            if increment:
                self._write(wire.window_update_frame(stream_id, increment))

    def ping(self, payload: bytes) -> None:
        """Send PING."""
        self._write(wire.frame(wire.PING, 0, 0, payload))

    def goaway(self, last_stream_id: int, code: int) -> None:
        """Send GOAWAY."""
        self._write(wire.goaway_frame(last_stream_id, code))
