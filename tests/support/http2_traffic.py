"""Random clients of HTTP/2: what one says on a connection, from a seed.

`Traffic` is legal unless it is told to have faults: then some of its frames are changed, and some
are ones that no client may send, at least not there.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import hpack

from .http2_frames import (
    ACK,
    END_HEADERS,
    END_STREAM,
    HEAD_SIZE,
    MAX_WINDOW,
    PADDED,
    PREFACE,
    PRIORITY,
    SETTINGS_ACK,
    Code,
    Field,
    Frame,
    Kind,
    Setting,
    continuation_frame,
    cut,
    data_frame,
    frame,
    goaway_frame,
    header_frames,
    headers_frame,
    literal,
    ping_frame,
    priority_frame,
    priority_update_frame,
    request_fields,
    reset_frame,
    settings_frame,
    websocket_fields,
    window_frame,
)

# The first parts of paths: what the application does.
BEHAVIOURS = (b"now", b"echo", b"pieces", b"early", b"never", b"fail", b"trailers", b"short")
SIZES = (0, 1, 2, 5, 100, 1023, 1024, 5000, 16384)
INCREMENTS = (1, 2, 100, 16384, 65535, 1_000_000)
PRIORITIES = (b"u=0", b"u=7", b"u=1, i", b"i", b"u=9", b"")
GOOD_SETTINGS: tuple[tuple[int, tuple[int, ...]], ...] = (
    (Setting.HEADER_TABLE_SIZE, (0, 100, 4096, 10_000)),
    (Setting.ENABLE_PUSH, (0, 1)),
    (Setting.MAX_CONCURRENT_STREAMS, (0, 100)),
    (Setting.INITIAL_WINDOW_SIZE, (0, 1, 100, 65535, 200_000)),
    (Setting.MAX_FRAME_SIZE, (16384, 20_000, 2**24 - 1)),
    (Setting.MAX_HEADER_LIST_SIZE, (0, 100_000)),
    (0x4A4A, (0, 2**32 - 1)),
)
BAD_SETTINGS: tuple[tuple[int, int], ...] = (
    (Setting.ENABLE_PUSH, 2),
    (Setting.INITIAL_WINDOW_SIZE, 2**31),
    (Setting.INITIAL_WINDOW_SIZE, MAX_WINDOW),
    (Setting.MAX_FRAME_SIZE, 16383),
    (Setting.MAX_FRAME_SIZE, 2**24),
    (Setting.ENABLE_CONNECT_PROTOCOL, 2),
)
HEADERS: tuple[Field, ...] = (
    (b"cookie", b"a=b"),
    (b"cookie", b"c=d"),
    (b"user-agent", b"zebra/1.0"),
    (b"x-long", b"z" * 300),
    (b"te", b"trailers"),
    (b"priority", b"u=1"),
    (b"expect", b"100-continue"),
    (b"accept", b"*/*"),
    (b"x_underscored", b"1"),
)
BAD_HEADERS: tuple[Field, ...] = (
    (b"Upper", b"1"),
    (b"", b"1"),
    (b"connection", b"close"),
    (b"transfer-encoding", b"chunked"),
    (b"te", b"gzip"),
    (b"x-nul", b"a\x00b"),
    (b"x-blank", b" a"),
    (b":path", b"/again"),
    (b":zebra", b"1"),
    (b":status", b"200"),
    (b":status", b"103"),
    (b"host", b"other.example"),
    (b"content-length", b"zebra"),
    (b"content-length", b"-1"),
)
BAD_BLOCKS = (b"\x80", b"\xff\x80\x01", b"\x00\x05ab", b"\x00\x01a\x81\x18", b"\x3f\xe2\x1f")
FLAGS = (0, ACK, END_HEADERS, PADDED, PRIORITY, END_STREAM | END_HEADERS, PADDED | END_STREAM, 0xFF)


class Traffic:
    """What one client says; ``methods`` are those of its streams."""

    def __init__(self, seed: int, *, faulty: bool) -> None:
        self.methods: dict[int, bytes] = {}
        self._choose = random.Random(seed)
        self._faulty = faulty
        self._encoder = hpack.Encoder()
        self._next = 1
        self.frames = [PREFACE + settings_frame(self._some_settings()), *self._say()]
        if faulty:
            for _ in range(self._choose.randrange(3)):
                self._change()

    def reads(self) -> Iterator[tuple[bytes, list[Frame]]]:
        """Yield all of it as it is read, with the frames that begin there."""
        choose, wire = self._choose, b"".join(self.frames)
        stops, stop = {len(wire)}, 0
        for piece in self.frames:
            stop += len(piece)
            if choose.random() < 0.6:
                stops.add(stop)
        if choose.random() < 0.3:
            stops |= {choose.randrange(len(wire)) for _ in range(10)}
        begins, offset = [], len(PREFACE)
        for each in cut(wire[offset:])[0]:
            begins.append((offset, each))
            offset += HEAD_SIZE + len(each.payload)
        start = 0
        for stop in sorted(stops - {0}):
            yield wire[start:stop], [each for offset, each in begins if start <= offset < stop]
            start = stop

    def singly(self, end: int) -> Iterator[tuple[bytes, list[Frame]]]:
        """Yield its first ``end`` bytes with one frame in each read."""
        wire, start, stop = b"".join(self.frames)[:end], 0, len(PREFACE)
        for each in cut(wire[stop:])[0]:
            stop += HEAD_SIZE + len(each.payload)
            yield wire[start:stop], [each]
            start = stop
        yield wire[start:], []

    def _say(self) -> Iterator[bytes]:
        """Yield streams, several at a time, and what belongs to none."""
        choose = self._choose
        waiting = [choose.choice((1, 1, 1, 3)) for _ in range(choose.randrange(1, 8))]
        streams: list[Iterator[bytes]] = []
        while waiting or streams:
            if waiting and (not streams or choose.random() < 0.4):
                streams.extend(self._stream() for _ in range(waiting.pop()))
            stream = choose.choice(streams)
            said = next(stream, None)
            if said is None:
                streams.remove(stream)
                continue
            yield said
            if choose.random() < 0.15:
                yield self._besides()
            if self._faulty and choose.random() < 0.05:
                yield self._fault()
        if choose.random() < 0.1:
            yield goaway_frame(0, choose.choice((Code.NO_ERROR, Code.CANCEL)))

    def _some_settings(self) -> dict[int, int]:
        choose = self._choose
        some = choose.sample(GOOD_SETTINGS, choose.choice((0, 0, 1, 2)))
        return {code: choose.choice(values) for code, values in some}

    def _stream(self) -> Iterator[bytes]:
        """Yield one stream, a block of fields or a frame at a time."""
        choose = self._choose
        number = self._next
        self._next += choose.choice((2, 2, 2, 6))
        headers = tuple(choose.sample(HEADERS, choose.randrange(4)))
        path = b"/%b/%d" % (choose.choice(BEHAVIOURS), number)
        sizes = [choose.choice(SIZES) for _ in range(choose.choice((0, 0, 0, 1, 2, 4)))]
        is_websocket = choose.random() < 0.05
        if is_websocket:
            self.methods[number] = b"CONNECT"
            fields = websocket_fields(path)
            sizes.append(2)
        else:
            methods = (b"GET", b"POST") if self._faulty else (b"GET", b"POST", b"HEAD")
            self.methods[number] = method = choose.choice(methods)
            if choose.random() < 0.3 and sizes:
                length = sum(sizes)
                if self._faulty and choose.random() < 0.1:
                    length += choose.choice((-1, 1, 1000))
                headers += ((b"content-length", b"%d" % max(length, 0)),)
            if self._faulty and choose.random() < 0.1:
                headers += (choose.choice(BAD_HEADERS),)
            fields = request_fields(method, path, *headers)
        yield self._head(number, self._encoder.encode(fields), end=not sizes)
        has_trailers = choose.random() < 0.2 and not is_websocket
        while sizes:
            if choose.random() < 0.04:
                yield reset_frame(number)
                return
            size = sizes.pop()
            padding = choose.choice((None, None, 0, 1, 255)) if size < 16000 else None
            end = not (sizes or has_trailers)
            yield data_frame(number, choose.randbytes(size), end=end, padding=padding)
            if end:
                break
        else:
            has_trailers = False
        if has_trailers:
            yield self._head(number, self._encoder.encode([(b"x-checksum", b"1")]), end=True)
        for _ in range(choose.choice((0, 0, 0, 1, 3))):
            yield window_frame(number, choose.choice(INCREMENTS))
        if choose.random() < 0.1:
            yield reset_frame(number, choose.choice((Code.CANCEL, Code.NO_ERROR)))

    def _head(self, number: int, block: bytes, *, end: bool) -> bytes:
        """Return a block of fields in one frame or in several."""
        choose = self._choose
        form = choose.random()
        if form < 0.6:
            return headers_frame(number, block, end=end)
        if form < 0.8:
            return header_frames(number, block, end=end, size=choose.choice((7, 20, 100)))
        if form < 0.9:
            priority = (0, choose.randrange(256))
            return headers_frame(number, block, end=end, priority=priority)
        padding = choose.randrange(1, 20)
        payload = bytes((padding,)) + block + bytes(padding)
        return frame(Kind.HEADERS, PADDED | END_HEADERS | END_STREAM * end, number, payload)

    def _besides(self) -> bytes:
        """Return a frame that may come at any time."""
        choose = self._choose
        match choose.randrange(9):
            case 0:
                return ping_frame(choose.randbytes(8), choose.choice((0, 0, ACK)))
            case 1:
                return settings_frame(self._some_settings())
            case 2:
                return SETTINGS_ACK
            case 3:
                return priority_frame(self._number(), 0)
            case 4:
                return priority_update_frame(self._number(), choose.choice(PRIORITIES))
            case 5:
                return frame(choose.choice((0xB, 0x42)), choose.choice(FLAGS), 0, b"zebra")
            case 6:
                return data_frame(self._number()) if self._faulty else ping_frame()
            case _:
                return window_frame(0, choose.choice(INCREMENTS))

    def _number(self) -> int:
        """Return a stream that was begun, or the next."""
        return self._choose.randrange(1, self._next + 1, 2)

    def _fault(self) -> bytes:
        """Return what no client may send, or seldom does."""
        choose, number = self._choose, self._number()
        match choose.choice((*range(16), *range(14))):
            case 0:
                kind = choose.choice((*Kind, 0xA, 0xC))
                stream = choose.choice((0, 0, 1, 2, number, number, self._next, 2**31 + number))
                payload = choose.choice((bytes, choose.randbytes))(choose.choice((0, 4, 5, 8, 20)))
                return frame(kind, choose.choice(FLAGS), stream, payload)
            case 1:
                increment = choose.choice((0, 1 << 31, MAX_WINDOW, 1 << 31 | 100))
                return window_frame(choose.choice((0, number, number)), increment)
            case 2:
                return settings_frame(dict(choose.sample(BAD_SETTINGS, choose.choice((1, 2)))))
            case 3:
                return headers_frame(
                    number, literal([(b"x-late", b"1")]), end=choose.random() < 0.5
                )
            case 4:
                fields = request_fields(b"GET", b"/now/%d" % number)
                return headers_frame(number + choose.choice((0, 1)), literal(fields))
            case 5:
                return data_frame(number, b"late", end=choose.random() < 0.5)
            case 6:
                return headers_frame(number, choose.choice(BAD_BLOCKS))
            case 14:
                return priority_frame(number, number)
            case 8:
                return continuation_frame(number, b"", end_headers=choose.random() < 0.5)
            case 9:
                return headers_frame(number, b"", end_headers=False)
            case 10:
                return self._many()
            case 11:
                return b"".join(self._refused() for _ in range(choose.randrange(1, 12)))
            case 12:
                return reset_frame(choose.choice((number, self._next + 8)))
            case 13:
                size = choose.choice((16385, 2**24 - 1))
                return frame(choose.choice((*Kind, 0x42)), 0, number, size=size)
            case 7:
                return data_frame(number, bytes(16384)) * choose.choice((2, 5, 13))
            case _:
                fields = request_fields(b"GET", b"/now/%d" % self._next)
                self._next += 2
                return headers_frame(self._next - 2, literal(fields), priority=(self._next - 2, 1))

    def _refused(self) -> bytes:
        """Return a request that is never answered."""
        number = self._next
        self._next += 2
        self.methods[number] = b"GET"
        return headers_frame(number, literal(request_fields(b"GET", b"/never/%d" % number)))

    def _many(self) -> bytes:
        """Return many frames of a kind, not quite too many or a few too many."""
        choose, number = self._choose, self._number()
        kinds: tuple[tuple[bytes, int], ...] = (
            (ping_frame(), 500),
            (settings_frame(), 100),
            (SETTINGS_ACK, 100),
            (data_frame(number), 100),
            (data_frame(number, padding=3), 100),
            (priority_frame(number), 1000),
            (priority_update_frame(number, b"u=2"), 1000),
            (window_frame(0, 1), 2000),
            (window_frame(number, 1), 2000),
            (frame(0x42), 100),
        )
        piece, allowance = choose.choice(kinds)
        return piece * (allowance + choose.choice((-10, -10, 5)))

    def _change(self) -> None:
        """Change a frame: leave it out, repeat it, or another bit of it."""
        choose, frames = self._choose, self.frames
        place = choose.randrange(len(frames))
        data = bytearray(frames[place])
        match choose.randrange(4):
            case 0 if place:
                del frames[place]
            case 1 if place:
                frames.insert(choose.randrange(place, len(frames)), frames[place])
            case _:
                # Lengths stay mostly as they are, or all that follows is another frame.
                offset = choose.randrange(3, len(data)) if choose.random() < 0.9 else 2
                data[offset] ^= 1 << choose.randrange(8)
                frames[place] = bytes(data)
