"""An engine of HTTP/2 that is h2's: the judge of our own, and what it would be without one.

Everything that a frame means for a stream or a connection is decided by ``h2``. What is done here
is what h2 leaves to others: frames are cut, so that the good ones in front of a bad one count, and
floods are counted. What h2 cannot be made to do as it should is listed in
`tests.server.test_http2_engines`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    Event,
    PingAckReceived,
    RemoteSettingsChanged,
    RequestReceived,
    StreamReset,
    TrailersReceived,
    UnknownFrameReceived,
    WindowUpdated,
)
from h2.exceptions import DenialOfServiceError, ProtocolError, StreamClosedError
from h2.settings import SettingCodes, Settings
from hpack import HPACKError
from hyperframe.frame import ExtensionFrame

from django_daphne.server.exceptions import HTTP2Error, StreamError
from django_daphne.server.protocols import http2_frames as wire
from django_daphne.server.protocols.http2 import HTTP2
from django_daphne.server.protocols.http2_interfaces import Engine, Receiver
from django_daphne.server.protocols.http2_limits import (
    EARNED_BY_DATA,
    MAX_BLOCK_FRAMES,
    WORTH_EARNING,
    Allowances,
)
from django_daphne.server.types import Header

# Streams that were reset by us, the latest, whose frames may still be under way.
MAX_REMEMBERED_RESETS = 256
GOAWAY_SIZE = 17

ALLOWANCE_OF_KIND = {
    wire.PRIORITY: "PRIORITY",
    wire.SETTINGS: "SETTINGS",
    wire.PING: "PING",
    wire.WINDOW_UPDATE: "WINDOW_UPDATE",
    wire.PRIORITY_UPDATE: "PRIORITY",
}
HAVE_NO_ALLOWANCE = frozenset(
    (wire.DATA, wire.HEADERS, wire.RST_STREAM, wire.PUSH_PROMISE, wire.GOAWAY, wire.CONTINUATION)
)
HEAD_FRAMES = (bytes((wire.HEADERS,)), bytes((wire.CONTINUATION,)))
MESSAGES = frozenset((wire.DATA, wire.HEADERS, wire.CONTINUATION))

CONFIGURATION = H2Configuration(
    client_side=False,
    # What a request may be is for those who read it: for h2 a bad one ends the connection.
    validate_inbound_headers=False,
    normalize_inbound_headers=False,
    # What is sent was checked.
    validate_outbound_headers=False,
    normalize_outbound_headers=False,
)


class Connection(H2Connection):
    """One that remembers fewer streams than the 65,536 that h2 does."""

    MAX_CLOSED_STREAMS = 1000


class H2Engine:
    """The engine; see ``http2_interfaces.Engine``."""

    def __init__(
        self,
        receiver: Receiver,
        write: Callable[[bytes], None],
        allowances: Allowances,
        max_list_size: int,
    ) -> None:
        """Write frames by ``write``; take lists of fields up to twice ``max_list_size``."""
        self._receiver = receiver
        self._write = write
        self._allowances = allowances
        self._max_block = max_list_size
        self._connection = Connection(CONFIGURATION)
        self._connection.decoder.max_header_list_size = 2 * max_list_size
        self._buffer = bytearray()
        self._has_preface = False
        self._has_settings = False
        self._is_reading = False
        self._block: list[int] | None = None  # the sizes of its frames
        self._resets: dict[int, None] = {}
        self.last_stream_id = 0

    @property
    def is_amid_head(self) -> bool:
        """Return whether the client owes the rest of its preface or of a block of fields."""
        if self._block is not None or not self._has_settings:
            return True
        return self._buffer[3:4] in HEAD_FRAMES

    # Reading.

    def start(self, settings: Mapping[int, int], connection_window: int) -> None:
        """Send the server's preface."""
        connection = self._connection
        # As the first values they are in force at once, and not when the client has agreed.
        values: dict[SettingCodes, int] = {SettingCodes.ENABLE_PUSH: 0}
        for code, value in settings.items():
            values[code] = value  # type: ignore[index]  # those that h2 has no name for work as well
        connection.local_settings = Settings(client=False, initial_values=values)
        connection.max_inbound_frame_size = connection.local_settings.max_frame_size
        connection.initiate_connection()
        if connection_window > wire.DEFAULT_WINDOW:
            connection.increment_flow_control_window(connection_window - wire.DEFAULT_WINDOW)
        self._flush()

    def feed(self, data: bytes) -> None:
        """Read as many frames as there are."""
        buffer = self._buffer
        buffer += data
        offset = 0
        self._is_reading = True
        try:
            if not self._has_preface:
                offset = self._read_preface()
            while len(buffer) - offset >= wire.HEADER_SIZE and self._has_preface:
                length, flags, stream_id = wire.HEADER.unpack_from(buffer, offset)
                end = offset + wire.HEADER_SIZE + (length >> 8)
                if length >> 8 > self._connection.max_inbound_frame_size:
                    # h2 would wait for all of it to say so.
                    raise HTTP2Error(ErrorCodes.FRAME_SIZE_ERROR, "a frame that is too large")
                if end > len(buffer):
                    break
                frame = bytes(buffer[offset:end])
                offset = end
                self._read(length & 0xFF, flags, stream_id & wire.STREAM_MASK, frame)
        finally:
            self._is_reading = False
            del buffer[:offset]
            self._flush()

    def _read_preface(self) -> int:
        """Return the offset behind the client's preface, 0 when it has not all come."""
        first = bytes(self._buffer[: len(wire.PREFACE)])
        if len(first) < len(wire.PREFACE) and wire.PREFACE.startswith(first):
            return 0
        self._receive(first)
        self._has_preface = True
        return len(first)

    def _read(self, kind: int, flags: int, stream_id: int, frame: bytes) -> None:
        """Let h2 read a frame, and say what came of it."""
        self._count(kind, flags, frame)
        if kind == wire.GOAWAY and self._block is None:
            self._goaway(stream_id, frame)
            return
        was_reset = stream_id in self._resets
        if was_reset:
            self._write(self._connection.data_to_send())
        events = self._receive(frame)
        for event in events:
            try:
                self._tell(event)
            except StreamError as error:
                self._receiver.stream_failed(stream_id, error)
        if kind == wire.SETTINGS:
            self._has_settings = True
        elif not events and kind in MESSAGES and self._block is None:
            self._refused(kind, stream_id, was_reset)

    def _count(self, kind: int, flags: int, frame: bytes) -> None:
        """Raise HTTP2Error for frames that h2 would take any number of."""
        size = len(frame) - wire.HEADER_SIZE
        if kind not in HAVE_NO_ALLOWANCE:
            self._allowances.take(ALLOWANCE_OF_KIND.get(kind, "unknown frames"))
        elif kind == wire.DATA:
            if flags & wire.PADDED and size:
                size -= 1 + frame[wire.HEADER_SIZE]
            if size <= 0 and not flags & wire.END_STREAM:
                self._allowances.take("empty frames")
        elif kind == wire.HEADERS and self._block is None:
            self._block = [size]
        elif kind == wire.CONTINUATION and self._block is not None:
            if not (size or flags & wire.END_HEADERS):
                self._allowances.take("empty frames")
            self._block.append(size)
        if self._block is None:
            return
        if flags & wire.END_HEADERS and kind in MESSAGES:
            if len(self._block) > 1:
                self._check_block(self._block)
            self._block = None
        else:
            self._check_block(self._block)

    def _check_block(self, sizes: list[int]) -> None:
        if sum(sizes) > self._max_block or len(sizes) > MAX_BLOCK_FRAMES:
            raise HTTP2Error(ErrorCodes.ENHANCE_YOUR_CALM, "a block of fields that is too large")

    def _goaway(self, stream_id: int, frame: bytes) -> None:
        """Read GOAWAY, behind which h2 answers nothing that was asked before."""
        if stream_id:
            raise HTTP2Error(ErrorCodes.PROTOCOL_ERROR, "GOAWAY on a stream")
        if len(frame) < GOAWAY_SIZE:
            raise HTTP2Error(ErrorCodes.FRAME_SIZE_ERROR, "GOAWAY of a wrong size")
        self._receiver.goaway_received()

    def _receive(self, data: bytes) -> list[Event]:
        try:
            return self._connection.receive_data(data)
        except ProtocolError as error:
            output = self._connection.data_to_send()
            if output[-GOAWAY_SIZE:-13] == b"\x00\x00\x08\x07":
                output = output[:-GOAWAY_SIZE]  # it is the receiver who ends the connection
            self._write(output)
            code = error.error_code
            if isinstance(error.__cause__, (HPACKError, IndexError)) and not isinstance(
                error, DenialOfServiceError
            ):
                code = ErrorCodes.COMPRESSION_ERROR
            raise HTTP2Error(code, f"{type(error).__name__}: {error}") from None

    def _tell(self, event: Event) -> None:
        receiver = self._receiver
        match event:
            case RequestReceived(stream_id=int(stream_id), headers=headers, stream_ended=ended):
                self.last_stream_id = stream_id
                receiver.request_received(stream_id, tuple(headers), ended is not None)
            case DataReceived(stream_id=int(stream_id), data=data, stream_ended=ended):
                size = event.flow_controlled_length
                assert data is not None and size is not None
                receiver.body_received(stream_id, data, size, ended is not None)
            case TrailersReceived(stream_id=int(stream_id), headers=headers):
                receiver.trailers_received(stream_id, tuple(headers))
            case StreamReset(stream_id=int(stream_id), remote_reset=True):
                receiver.reset_received(stream_id)
            case StreamReset(stream_id=int(stream_id), error_code=code):
                assert code is not None
                raise StreamError(code, "what h2 has reset")
            case WindowUpdated(stream_id=int(stream_id)):
                receiver.window_opened(stream_id)
            case RemoteSettingsChanged(changed_settings=changed):
                if SettingCodes.INITIAL_WINDOW_SIZE in changed:
                    receiver.window_opened(0)
            case PingAckReceived(ping_data=bytes(payload)):
                receiver.ping_answered(payload)
            case UnknownFrameReceived(frame=ExtensionFrame(type=wire.PRIORITY_UPDATE) as frame):
                self._priority_update(frame.stream_id, frame.body)

    def _priority_update(self, stream_id: int, payload: bytes) -> None:
        """Read PRIORITY_UPDATE, which h2 does not know (RFC 9218, section 7.1)."""
        prioritized = int.from_bytes(payload[:4]) & wire.STREAM_MASK
        if len(payload) < 4:
            raise HTTP2Error(ErrorCodes.FRAME_SIZE_ERROR, "PRIORITY_UPDATE of a wrong size")
        if stream_id or not prioritized & 1:
            raise HTTP2Error(ErrorCodes.PROTOCOL_ERROR, "PRIORITY_UPDATE of no stream")
        self._receiver.priority_received(prioritized, payload[4:])

    def _refused(self, kind: int, stream_id: int, was_reset: bool) -> None:
        """Take note of a frame on a stream that has ended, which h2 answers with RST_STREAM."""
        if was_reset:
            output = self._connection.data_to_send()
            again = wire.reset_frame(stream_id, ErrorCodes.STREAM_CLOSED)
            self._write(output.removesuffix(again))  # the client has had one, and is told once
            if kind != wire.DATA:
                self._allowances.take("resets")
        else:
            error = StreamError(ErrorCodes.STREAM_CLOSED, "a frame behind the end of a stream")
            self._receiver.stream_failed(stream_id, error)

    # Writing.

    def _flush(self) -> None:
        """Write what h2 has to say, unless more is to come of the same read."""
        if not self._is_reading and (output := self._connection.data_to_send()):
            self._write(output)

    def window(self, stream_id: int) -> int:
        """Return how many bytes of DATA may be sent in one frame now."""
        connection = self._connection
        room = connection.local_flow_control_window(stream_id)
        return min(room, connection.max_outbound_frame_size)

    def send_headers(self, stream_id: int, fields: Iterable[Header], ended: bool) -> None:
        """Send fields."""
        self._connection.send_headers(stream_id, fields, ended)
        self._flush()

    def send_data(self, stream_id: int, data: bytes, ended: bool) -> None:
        """Send DATA within ``window``."""
        self._connection.send_data(stream_id, data, ended)
        room = self._connection.streams[stream_id].outbound_flow_control_window
        if ended or room > 0 or len(data) >= WORTH_EARNING:
            self._allowances.earn("WINDOW_UPDATE", EARNED_BY_DATA)
        self._flush()

    def reset(self, stream_id: int, code: int) -> None:
        """Send RST_STREAM, unless h2 has."""
        self._resets[stream_id] = None
        for oldest in list(islice(self._resets, max(len(self._resets) - MAX_REMEMBERED_RESETS, 0))):
            del self._resets[oldest]
        try:
            self._connection.reset_stream(stream_id, code)
        except StreamClosedError:
            return
        self._flush()

    def credit(self, stream_id: int, size: int) -> None:
        """Let the client send so many bytes more."""
        if stream_id:
            self._connection.acknowledge_received_data(size, stream_id)
            self._flush()
            return
        # h2 has no way to ask for that of the connection alone.
        windows = self._connection._inbound_flow_control_window_manager
        if increment := windows.process_bytes(size):
            self._write(wire.window_update_frame(0, increment))

    def ping(self, payload: bytes) -> None:
        """Send PING."""
        self._connection.ping(payload)
        self._flush()

    def goaway(self, last_stream_id: int, code: int) -> None:
        """Send GOAWAY, by hand: h2 would say nothing more behind its own."""
        self._write(self._connection.data_to_send() + wire.goaway_frame(last_stream_id, code))


@contextmanager
def slotted(make: Callable[..., Engine] = H2Engine) -> Iterator[None]:
    """Give connections that begin meanwhile another engine."""
    before = HTTP2.make_engine
    HTTP2.make_engine = make
    try:
        yield
    finally:
        HTTP2.make_engine = before
