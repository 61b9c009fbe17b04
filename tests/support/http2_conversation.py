"""A strict reader of what a server says over HTTP/2, without a wire.

Anything that a server must not say is an AssertionError at once. Header blocks are read by hpack;
otherwise this shares nothing with a server.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import hpack

from .http2_frames import (
    ACK,
    DEFAULTS,
    END_HEADERS,
    END_STREAM,
    MAX_WINDOW,
    PADDED,
    PRIORITY,
    SETTINGS_ACK,
    Fields,
    Frame,
    Kind,
    Setting,
    cut,
    ping_frame,
    window_frame,
)

FORBIDDEN = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")
)


@dataclass
class Answer:
    """What has come on one stream; ``ended`` by END_STREAM, ``reset`` with a code.

    ``fields`` are all headers in their order, ``hints`` the informational responses, ``pieces`` the
    sizes of the DATA frames. ``window`` is what the client may send, ``room`` what the server may,
    and ``sent`` what the client has sent.
    """

    number: int
    method: bytes
    window: int
    room: int
    status: int | None = None
    headers: dict[bytes, bytes] = field(default_factory=dict)
    fields: Fields = ()
    hints: list[tuple[int, Fields]] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)
    trailers: Fields | None = None
    ended: bool = False
    reset: int | None = None
    sent: int = 0
    pieces: list[int] = field(default_factory=list)

    @property
    def done(self) -> bool:
        """Say whether nothing more will come."""
        return self.ended or self.reset is not None


@dataclass(frozen=True)
class GoAway:
    """What a server says at its end."""

    last: int
    code: int


class Conversation:
    """The client's side of one connection, without a wire.

    With ``credit`` all that arrives is given back to the server's windows at once. ``log`` has
    every frame in order. `receive` returns what the client has to say to what it heard.
    """

    def __init__(self, *, credit: bool = True) -> None:
        self.credit = credit
        self.log: list[Frame] = []
        self.answers: dict[int, Answer] = {}
        self.goaways: list[GoAway] = []
        self.pongs: list[bytes] = []
        self.acknowledged = 0  # settings of ours
        self.window = 65535  # what we may send
        self.room = 65535  # what the server may
        self.server_settings: dict[int, int] = dict(DEFAULTS)
        self.has_settings = False
        self.answers_pings = True
        self._settings: dict[int, int] = dict(DEFAULTS)
        self.proposals: list[Mapping[int, int]] = []
        self._decoder = hpack.Decoder(max_header_list_size=1 << 20)
        self._data = b""
        self._block: tuple[Frame, bytes] | None = None

    def begin(self, number: int, method: bytes) -> Answer:
        """Note that the client opens a stream."""
        answer = Answer(
            number,
            method,
            self.server_settings[Setting.INITIAL_WINDOW_SIZE],
            self._settings[Setting.INITIAL_WINDOW_SIZE],
        )
        self.answers[number] = answer
        return answer

    def propose(self, values: Mapping[int, int]) -> None:
        """Note that the client sends SETTINGS, which hold from their acknowledgement on."""
        self.proposals.append(values)

    def grant(self, stream: int, increment: int) -> None:
        """Note that the client sends WINDOW_UPDATE."""
        if not stream:
            self.room += increment
        elif stream in self.answers:
            self.answers[stream].room += increment

    def receive(self, data: bytes) -> bytes:
        """Take a server's bytes. Raises AssertionError for what no server may say."""
        frames, self._data = cut(self._data + data)
        return b"".join(self._take(each) for each in frames)

    def _take(self, each: Frame) -> bytes:
        self.log.append(each)
        assert len(each.payload) <= self._settings[Setting.MAX_FRAME_SIZE], f"too large: {each}"
        assert self.has_settings or each.kind == Kind.SETTINGS, f"{each} before SETTINGS"
        if self._block is not None:
            assert each.kind == Kind.CONTINUATION, f"{each} inside a header block"
        take = self._TAKERS.get(each.kind)
        assert take is not None, f"unexpected {each}"
        return take(self, each) or b""

    def _of_connection(self, each: Frame, size: int | None = None) -> None:
        assert not each.stream, f"{each} on a stream"
        assert size is None or len(each.payload) == size, f"{each} of another size"

    def _of_stream(self, each: Frame) -> Answer:
        assert each.stream in self.answers, f"{each} on a stream that nobody opened"
        answer = self.answers[each.stream]
        assert answer.reset is None, f"{each} after RST_STREAM"
        return answer

    def _settings_frame(self, each: Frame) -> bytes:
        self._of_connection(each)
        if each.flags & ACK:
            assert not each.payload, f"{each} with content"
            assert self.proposals, "an acknowledgement of nothing"
            self._apply(self.proposals.pop(0))
            self.acknowledged += 1
            return b""
        assert len(each.payload) % 6 == 0, f"{each} is cut"
        self.has_settings = True
        before = self.server_settings[Setting.INITIAL_WINDOW_SIZE]
        for offset in range(0, len(each.payload), 6):
            name = int.from_bytes(each.payload[offset : offset + 2])
            self.server_settings[name] = int.from_bytes(each.payload[offset + 2 : offset + 6])
        delta = self.server_settings[Setting.INITIAL_WINDOW_SIZE] - before
        for answer in self.answers.values():
            answer.window += delta
        return SETTINGS_ACK

    def _apply(self, values: Mapping[int, int]) -> None:
        before = self._settings[Setting.INITIAL_WINDOW_SIZE]
        self._settings.update(values)
        for answer in self.answers.values():
            answer.room += self._settings[Setting.INITIAL_WINDOW_SIZE] - before
        self._decoder.max_allowed_table_size = self._settings[Setting.HEADER_TABLE_SIZE]

    def _ping_frame(self, each: Frame) -> bytes:
        self._of_connection(each, 8)
        if each.flags & ACK:
            self.pongs.append(each.payload)
            return b""
        return ping_frame(each.payload, ACK) if self.answers_pings else b""

    def _goaway_frame(self, each: Frame) -> None:
        self._of_connection(each)
        last = int.from_bytes(each.payload[:4]) & MAX_WINDOW
        assert not self.goaways or last <= self.goaways[-1].last, "the last stream grows"
        self.goaways.append(GoAway(last, int.from_bytes(each.payload[4:8])))

    def _window_frame(self, each: Frame) -> None:
        assert len(each.payload) == 4, f"{each} of another size"
        increment = int.from_bytes(each.payload)
        assert 0 < increment <= MAX_WINDOW, f"{each} of {increment}"
        if not each.stream:
            self.window += increment
            assert self.window <= MAX_WINDOW, "the connection's window overflows"
            return
        answer = self._of_stream(each)
        answer.window += increment
        assert answer.window <= MAX_WINDOW, f"the window of {each.stream} overflows"

    def _reset_frame(self, each: Frame) -> None:
        assert len(each.payload) == 4, f"{each} of another size"
        self._of_stream(each).reset = int.from_bytes(each.payload)

    def _data_frame(self, each: Frame) -> bytes:
        answer = self._of_stream(each)
        assert not answer.ended, f"{each} after the end"
        assert answer.status is not None, f"{each} before HEADERS"
        assert answer.trailers is None, f"{each} after trailers"
        size = len(each.payload)
        self.room -= size
        answer.room -= size
        assert not size or (self.room >= 0 and answer.room >= 0), f"{each} beyond the windows"
        data = _unpadded(each)
        answer.body += data
        answer.pieces.append(len(data))
        if each.flags & END_STREAM:
            self._end(answer)
        if not (self.credit and size):
            return b""
        self.room += size
        answer.room += size
        credit = window_frame(0, size)
        return credit if answer.ended else credit + window_frame(each.stream, size)

    def _headers_frame(self, each: Frame) -> None:
        answer = self._of_stream(each)
        assert not answer.ended, f"{each} after the end"
        block = _unpadded(each)[5 if each.flags & PRIORITY else 0 :]
        self._continue(each, block, last=bool(each.flags & END_HEADERS))

    def _continuation_frame(self, each: Frame) -> None:
        assert self._block is not None, f"{each} out of place"
        first, block = self._block
        assert each.stream == first.stream, f"{each} inside the block of {first}"
        self._continue(first, block + each.payload, last=bool(each.flags & END_HEADERS))

    def _continue(self, first: Frame, block: bytes, *, last: bool) -> None:
        self._block = None if last else (first, block)
        if not last:
            return
        decoded = self._decoder.decode(block, raw=True)
        fields = tuple((bytes(name), bytes(value)) for name, value in decoded)
        for name, value in fields:
            assert name and name == name.lower(), f"the name {name!r}"
            assert name not in FORBIDDEN, f"the name {name!r}"
            assert value == value.strip(b" \t") and not {0, 10, 13} & {*value}, (
                f"{name!r}: {value!r}"
            )
        self._message(self.answers[first.stream], fields, end=bool(first.flags & END_STREAM))

    def _message(self, answer: Answer, fields: Fields, *, end: bool) -> None:
        pseudo = [name for name, _ in fields if name[:1] == b":"]
        if answer.status is not None:
            assert end and not pseudo, f"trailers: {fields}"
            answer.trailers = fields
            self._end(answer)
            return
        assert pseudo == [b":status"] and fields[0][0] == b":status", f"a response: {fields}"
        assert fields[0][1].isdigit() and len(fields[0][1]) == 3, f"the status {fields[0][1]!r}"
        status = int(fields[0][1])
        if status < 200:
            assert not end and status != 101, f"the status {status}"
            answer.hints.append((status, fields[1:]))
            return
        answer.status, answer.fields, answer.headers = status, fields[1:], dict(fields[1:])
        if end:
            self._end(answer)

    def _end(self, answer: Answer) -> None:
        answer.ended = True
        length = answer.headers.get(b"content-length")
        if answer.method == b"HEAD" or answer.status in (204, 304):
            assert not answer.body, f"a body of {answer.method!r} {answer.status}"
        elif length is not None:
            assert int(length) == len(answer.body), f"{length!r} for {len(answer.body)} bytes"

    _TAKERS: Mapping[int, Callable[[Conversation, Frame], bytes | None]] = {
        Kind.DATA: _data_frame,
        Kind.HEADERS: _headers_frame,
        Kind.RST_STREAM: _reset_frame,
        Kind.SETTINGS: _settings_frame,
        Kind.PING: _ping_frame,
        Kind.GOAWAY: _goaway_frame,
        Kind.WINDOW_UPDATE: _window_frame,
        Kind.CONTINUATION: _continuation_frame,
    }


def _unpadded(each: Frame) -> bytes:
    if not each.flags & PADDED:
        return each.payload
    padding = each.payload[0]
    assert padding < len(each.payload), f"the padding of {each}"
    return each.payload[1 : len(each.payload) - padding]
