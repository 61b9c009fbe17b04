"""The reader of frames against autobahn's, and the writer against the `websockets` package.

Both readers are given the same random streams, cut in the same way, and must have told the same
and refused the same after each read. Where autobahn is known to do something else the trial ends,
and is counted under the name of the difference.
"""

from __future__ import annotations

import random
import unittest
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import cycle, pairwise, product
from typing import Any, Self

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.compress_deflate import PerMessageDeflate
from twisted.internet.task import Clock
from websockets.client import ClientProtocol
from websockets.frames import Frame
from websockets.protocol import State
from websockets.uri import parse_uri

from django_daphne.server.protocols.websocket_deflate import Deflate
from django_daphne.server.protocols.websocket_frames import encode_frame

from .test_websocket_frames import Event, Listener, sliced

TAIL = b"\x00\x00\xff\xff"

# What autobahn does differently.
ENDED = "behind a deflate stream that has ended it delivers nothing"
YIELDS = "what the end of a message still yields it drops"
SHORT_CLOSE = "a close frame of one byte it refuses at once; here the WebSocket does"


class Sink:
    """What autobahn writes to; nobody reads it."""

    def write(self, data: bytes) -> None: ...

    def loseConnection(self) -> None: ...

    def abortConnection(self) -> None: ...

    def unregisterProducer(self) -> None: ...


class Codec(PerMessageDeflate):
    """Autobahn's, and what it has met that it does differently."""

    difference: str | None = None

    def end_decompress_message(self) -> None:
        self.look()
        decompressor: Any = self._decompressor
        with suppress(zlib.error):
            if decompressor.copy().decompress(TAIL):
                self.difference = YIELDS
        super().end_decompress_message()

    def look(self) -> None:
        """See whether a stream has ended."""
        if self._decompressor is not None and self._decompressor.eof:
            self.difference = ENDED


class Autobahn(WebSocketServerProtocol):
    """Autobahn's server past the handshake: what it tells, and the code of its refusal."""

    _factory = WebSocketServerFactory(reactor=Clock())

    def __init__(self, codec: Codec | None, max_frame: int | None, max_message: int | None) -> None:
        super().__init__()
        self.events: list[Event] = []
        self._values = vars(self)  # its annotations are not to be relied on
        self._values.update(
            factory=self._factory,
            transport=Sink(),
            failByDrop=False,
            openHandshakeTimeout=0,
            closeHandshakeTimeout=0,
            maxFramePayloadSize=max_frame or 0,
            maxMessagePayloadSize=max_message or 0,
        )
        self._connectionMade()
        self._values.update(
            websocket_version=13,
            state=self.STATE_OPEN,
            inside_message=False,
            current_frame=None,
            _perMessageCompress=codec,
        )

    @property
    def code(self) -> int | None:
        """The code of the refusal."""
        code: int | None = self._values["localCloseCode"]
        return code

    @property
    def difference(self) -> str | None:
        """What it does differently in this stream, once it has come to it."""
        if b"close control frame with payload len 1" in (self._values["localCloseReason"] or b""):
            return SHORT_CLOSE
        codec: Codec | None = self._values["_perMessageCompress"]
        if codec is None:
            return None
        codec.look()
        return codec.difference

    def onMessage(self, payload: bytes, is_binary: bool) -> None:
        self._note(payload if is_binary else payload.decode())

    def onPing(self, payload: bytes) -> None:
        self._note(("ping", payload))

    def onPong(self, payload: bytes) -> None:
        self._note(("pong", payload))

    def onCloseFrame(self, code: int | None, reason: bytes | None) -> None:
        """Go on reading: what a close frame holds is not for the reader of frames."""
        self._note(("close", b"" if code is None else code.to_bytes(2) + (reason or b"")))

    def _note(self, event: Event) -> None:
        if self._values["state"] == self.STATE_OPEN:
            self.events.append(event)


class Stream:
    """A random client: the frames that it sends, and what they say."""

    SIZES = (0, 1, 2, 3, 5, 20, 60, 124, 125, 126, 127, 200, 511, 512, 513, 1537)
    CHARACTERS = "abc \xdf\xe9\u20ac\u65e5\U0001f40d\U0010ffff"
    NO_TEXT = (b"\xff", b"\xc3", b"\xe2\x82", b"\xf4\x90", b"\xf0\x9f\x98", b"\x80", b"\xc0\xaf")

    def __init__(self, seed: int, *, compresses: bool = False, bad_texts: float = 0) -> None:
        self.frames: list[bytes] = []
        self.events: list[Event] = []
        self.compresses = compresses
        self._choose = choose = random.Random(seed)
        self._bad_texts = bad_texts
        self._codec = zlib.compressobj(wbits=-12) if compresses else None
        for _ in range(choose.randrange(1, 8)):
            choose.choice((self._message, self._message, self._control))()

    def _message(self) -> None:
        choose = self._choose
        opcode, size = choose.choice((1, 2)), choose.choice(self.SIZES)
        data: bytes
        event: Event
        if opcode == 1:
            text = "".join(choose.choices(self.CHARACTERS, k=size))
            data, event = text.encode(), text
            if choose.random() < self._bad_texts:
                cut = choose.randrange(len(data) + 1)
                data = data[:cut] + choose.choice(self.NO_TEXT) + data[cut:]
        else:
            data = event = choose.randbytes(size)
        first = opcode
        if self._codec is not None and choose.random() < 0.8:
            first |= 0x40
            data = self._codec.compress(data) + self._codec.flush(zlib.Z_SYNC_FLUSH)
            data = data.removesuffix(TAIL)
        count = choose.choice((0, 0, 1, 2, 4))
        cuts = sorted(choose.randrange(len(data) + 1) for _ in range(count))
        for number, (start, stop) in enumerate(pairwise((0, *cuts, len(data)))):
            is_last = number == count
            self._frame(first | (0x80 if is_last else 0), data[start:stop])
            first = 0
            if not is_last and choose.random() < 0.3:
                self._control()
        self.events.append(event)

    def _control(self) -> None:
        names = {8: "close", 9: "ping", 10: "pong"}
        opcode, size = self._choose.choice([*names]), self._choose.choice((0, 2, 9, 125))
        payload = self._choose.randbytes(size)
        self._frame(0x80 | opcode, payload)
        self.events.append((names[opcode], payload))

    def _frame(self, first: int, payload: bytes) -> None:
        """Add a frame."""
        mask, size = self._choose.randbytes(4), len(payload)
        length = bytes((0x80 | size,)) if size < 126 else b"\xfe" + size.to_bytes(2)
        masked = bytes(byte ^ key for byte, key in zip(payload, cycle(mask), strict=False))
        self.frames.append(bytes((first,)) + length + mask + masked)

    def change(self) -> Self:
        """Change frames here and there, mostly in their heads."""
        choose = self._choose
        for _ in range(choose.randrange(1, 4)):
            frames = self.frames
            index = choose.randrange(len(frames))
            wire = bytearray(frames[index])
            place = choose.randrange(choose.choice((1, 2, 8, len(wire))))
            place = min(place, len(wire) - 1)
            match choose.randrange(10):
                case 0:
                    frames.insert(choose.randrange(len(frames)), frames[index])
                case 1 if len(frames) > 1:
                    del frames[index]
                case 2:
                    del wire[place]
                    frames[index] = bytes(wire) or b"\x81"
                case 3:
                    wire.insert(place, choose.randrange(256))
                    frames[index] = bytes(wire)
                case _:
                    wire[place] ^= 1 << choose.randrange(8)
                    frames[index] = bytes(wire)
        return self

    def reads(self) -> Iterator[bytes]:
        """Yield all of it, cut in one of several ways."""
        choose, wire = self._choose, b"".join(self.frames)
        small = (1,) if len(wire) < 500 else range(1, 40)
        sizes = choose.choice(((len(wire),), small, range(1, 2000)))
        start = 0
        while start < len(wire):
            stop = start + choose.choice(sizes)
            yield wire[start:stop]
            start = stop


Outcomes = Counter[int | str | None]


class ReaderTests(unittest.TestCase):
    """What comes in."""

    def trial(
        self, stream: Stream, max_frame: int | None = None, max_message: int | None = None
    ) -> tuple[list[Event], int | str | None]:
        """Return what both have told of a stream, and the code of the refusal or a difference."""
        ours, theirs = (Codec(True, False, False, 12, 12, 5) for _ in range(2))
        listener = Listener(
            max_frame=max_frame,
            max_message=max_message,
            inflater=Deflate(ours) if stream.compresses else None,
        )
        autobahn = Autobahn(theirs if stream.compresses else None, max_frame, max_message)
        for number, read in enumerate(stream.reads()):
            listener.feed(read)
            autobahn.dataReceived(read)
            if autobahn.difference is not None:
                return listener.events, autobahn.difference
            self.assertEqual(listener.code, autobahn.code, (stream.frames, number))
            self.assertEqual(listener.events, autobahn.events, (stream.frames, number))
            if listener.code is not None:
                break
        return listener.events, listener.code

    def outcomes(self, streams: Iterable[Stream]) -> Outcomes:
        """Return how often each outcome was that of a stream."""
        return Counter(self.trial(stream)[1] for stream in streams)

    def test_valid(self):
        """The client sends frames that are as they must be, with and without compression."""
        for seed in range(200):
            stream = Stream(seed, compresses=bool(seed % 2))
            self.assertEqual(self.trial(stream), (stream.events, None), seed)

    def test_changed(self):
        """The client sends frames that were changed, and text that is none."""
        outcomes = self.outcomes(Stream(seed, bad_texts=0.3).change() for seed in range(300))
        self.assertEqual({*outcomes} - {SHORT_CLOSE}, {None, 1002, 1007})
        self.assertGreater(min(outcomes[None], outcomes[1002], outcomes[1007]), 30)

    def test_compressed(self):
        """The client sends compressed messages that were changed, or are no text."""
        streams = [Stream(seed, bad_texts=0.1, compresses=True) for seed in range(300)]
        outcomes = self.outcomes(stream.change() for stream in streams)
        self.assertEqual({*outcomes} - {SHORT_CLOSE, ENDED, YIELDS}, {None, 1002, 1007})
        self.assertGreater(min(outcomes[None], outcomes[1002], outcomes[1007]), 30)

    def test_limits(self):
        """The client sends frames, good and bad, to readers with limits."""
        outcomes: Outcomes = Counter()
        limits = product((None, 1, 20, 125, 126, 1536), repeat=2)
        for seed, (pair, changes) in enumerate(product(limits, (False, True) * 4)):
            stream = Stream(seed, bad_texts=0.1)
            outcomes[self.trial(stream.change() if changes else stream, *pair)[1]] += 1
        self.assertEqual({*outcomes} - {SHORT_CLOSE}, {None, 1002, 1007, 1009})
        self.assertGreater(outcomes[1009], 100)


class WriterTests(unittest.TestCase):
    """What goes out."""

    def read(self, *pieces: bytes) -> list[tuple[int, bool, bytes]]:
        """Return the frames that a client of the websockets package reads."""
        client = ClientProtocol(parse_uri("ws://zebra.example/"), state=State.OPEN, max_size=None)
        for piece in pieces:
            client.receive_data(piece)
        self.assertIsNone(client.parser_exc)
        frames = [event for event in client.events_received() if isinstance(event, Frame)]
        return [(frame.opcode, frame.fin, bytes(frame.data)) for frame in frames]

    def test_frames(self):
        """The server writes frames of every size and kind, and the client reads them."""
        sizes = (*range(128), 200, 65534, 65535, 65536, 65537, 200_000)
        expected = [(opcode, b"\xc3\xa9" * (size // 2)) for size in sizes for opcode in (1, 2)]
        expected += [(opcode, b"p" * size) for size in (0, 1, 124, 125) for opcode in (9, 10)]
        expected.append((8, b"\x03\xe8bye"))
        wire = b"".join(encode_frame(opcode, payload) for opcode, payload in expected)
        found = [(opcode, True, payload) for opcode, payload in expected]
        self.assertEqual(self.read(wire), found)
        self.assertEqual(self.read(*sliced(wire, 997)), found)
