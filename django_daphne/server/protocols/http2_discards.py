"""The rests of request bodies whose requests were answered early.

A client need not send the rest (RFC 9113, section 8.1), and RST_STREAM tells it so. But curl and
others take a reset that comes while they send for a fault, before they have looked at the answer:
an upload that is refused with 413 would end without a word. So the rest is thrown away, up to
max_discard_size bytes and for linger_timeout, as it is over HTTP/1.1, and the reset comes behind
that. At once it comes only where more was announced, and the answer is none that stops a client.
"""

from __future__ import annotations

from typing import Final

from ..config import ServerConfig
from .deadlines import Deadlines
from .http2_frames import ErrorCode
from .http2_interfaces import Engine
from .http2_stream import HTTP2Stream

# From this status on clients stop sending when they see it.
_STOPS_CLIENTS: Final = 400


class Discards:
    """What is still thrown away on one connection, by stream."""

    def __init__(self, engine: Engine, deadlines: Deadlines, config: ServerConfig) -> None:
        self._engine = engine
        self._deadlines = deadlines
        self._most = config.limits.max_discard_size
        self._timeout = config.timeouts.linger_timeout
        self._left: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._left)

    def begin(self, stream: HTTP2Stream) -> None:
        """Throw away what comes on a stream whose response is complete."""
        stream_id, status = stream.stream_id, stream.status or 0
        announced = (stream.request.content_length or 0) - stream.received
        if announced > self._most and status < _STOPS_CLIENTS:
            self._engine.reset(stream_id, ErrorCode.NO_ERROR)
            return
        self._left[stream_id] = self._most
        name = ("discard", stream_id)
        self._deadlines.start(name, self._timeout, lambda: self._reset(stream_id))

    def received(self, stream_id: int, size: int, ended: bool) -> None:
        """Take a piece of such a body."""
        self._engine.credit(stream_id, size)
        if ended:
            self.end(stream_id)
        elif stream_id in self._left:
            self._left[stream_id] -= size
            if self._left[stream_id] < 0:
                self._reset(stream_id)

    def end(self, stream_id: int) -> None:
        """Take note that nothing more comes."""
        if self._left and self._left.pop(stream_id, None) is not None:
            self._deadlines.cancel(("discard", stream_id))

    def _reset(self, stream_id: int) -> None:
        self.end(stream_id)
        self._engine.reset(stream_id, ErrorCode.NO_ERROR)
