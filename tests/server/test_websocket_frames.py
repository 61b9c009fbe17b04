"""The frames of a WebSocket: what is read, however it is cut, and the bytes that are written."""

from __future__ import annotations

import unittest
from collections.abc import Iterable, Iterator
from itertools import product
from typing import Any, Self

from django_daphne.server.exceptions import WebSocketError
from django_daphne.server.protocols.websocket_frames import FrameReader, Inflater, encode_frame
from tests.support.websocket import frame

Event = str | bytes | tuple[str, bytes]

ZEROS = b"\x00\x00\x00\x00"  # as a mask it changes nothing
MASK = b"\x37\xfa\x21\x3d"
KILO = bytes(range(256)) * 4


class Listener:
    """A reader of frames, what it has told so far, and the code of its refusal."""

    def __init__(
        self,
        *,
        max_frame: int | None = None,
        max_message: int | None = None,
        max_fragments: int | None = None,
        inflater: Inflater | None = None,
        pauses: bool = False,
    ) -> None:
        self.events: list[Event] = []
        self.code: int | None = None
        self.reader = FrameReader(
            self,
            max_frame=max_frame,
            max_message=max_message,
            max_fragments=max_fragments,
            inflater=inflater,
        )
        self._pauses = pauses

    def feed(self, *pieces: bytes) -> Self:
        """Feed pieces, up to one that is refused."""
        for piece in pieces:
            if self.code is None:
                self._go(self.reader.feed, piece)
        return self

    def resume(self) -> Self:
        """Let a paused reader go on."""
        self._go(self.reader.resume)
        return self

    def _go(self, function: Any, *arguments: bytes) -> None:
        try:
            function(*arguments)
        except WebSocketError as error:
            self.code = error.code

    def message_received(self, data: str | bytes) -> None:
        self._note(data)

    def ping_received(self, payload: bytes) -> None:
        self._note(("ping", payload))

    def pong_received(self, payload: bytes) -> None:
        self._note(("pong", payload))

    def close_received(self, payload: bytes) -> None:
        self._note(("close", payload))

    def _note(self, event: Event) -> None:
        self.events.append(event)
        self.reader.is_paused = self._pauses


def sliced(data: bytes, size: int) -> Iterator[bytes]:
    """Yield ``data`` in pieces of ``size`` bytes."""
    return (data[start : start + size] for start in range(0, len(data), size))


def single(data: bytes) -> Iterator[bytes]:
    """Yield ``data`` a byte at a time."""
    return sliced(data, 1)


GOOD: dict[str, tuple[bytes, list[Event]]] = {
    "text": (b"\x81\x85" + MASK + b"\x7f\x9f\x4d\x51\x58", ["Hello"]),
    "bytes": (b"\x82\x85" + MASK + b"\x7f\x9f\x4d\x51\x58", [b"Hello"]),
    "pong": (b"\x8a\x85" + MASK + b"\x7f\x9f\x4d\x51\x58", [("pong", b"Hello")]),
    "no mask to speak of": (b"\x82\x83" + ZEROS + b"abc", [b"abc"]),
    "empty text": (b"\x81\x80" + MASK, [""]),
    "empty bytes": (b"\x82\x80" + MASK, [b""]),
    "empty ping": (b"\x89\x80" + MASK, [("ping", b"")]),
    "empty close": (b"\x88\x80" + MASK, [("close", b"")]),
    "close": (b"\x88\x84" + MASK + b"\x34\x12\x43\x44", [("close", b"\x03\xe8by")]),
    "ping of 125": (b"\x89\xfd" + ZEROS + b"p" * 125, [("ping", b"p" * 125)]),
    "125": (b"\x82\xfd" + ZEROS + b"a" * 125, [b"a" * 125]),
    "126": (b"\x82\xfe\x00\x7e" + ZEROS + b"a" * 126, [b"a" * 126]),
    "127": (b"\x81\xfe\x00\x7f" + ZEROS + b"a" * 127, ["a" * 127]),
    "256": (b"\x82\xfe\x01\x00" + ZEROS + KILO[:256], [KILO[:256]]),
    "two fragments": (b"\x01\x83" + ZEROS + b"Hel" + b"\x80\x82" + ZEROS + b"lo", ["Hello"]),
    "ping in between": (
        b"\x02\x81" + ZEROS + b"a" + b"\x89\x81" + ZEROS + b"?" + b"\x80\x81" + ZEROS + b"b",
        [("ping", b"?"), b"ab"],
    ),
    "close in between": (
        b"\x02\x81" + ZEROS + b"a" + b"\x88\x80" + ZEROS + b"\x80\x80" + ZEROS,
        [("close", b""), b"a"],
    ),
    "empty fragments": (
        b"\x01\x80" + ZEROS + b"\x00\x80" + MASK + b"\x00\x81" + ZEROS + b"x" + b"\x80\x80" + ZEROS,
        ["x"],
    ),
    "nothing in fragments": (b"\x02\x80" + ZEROS + b"\x80\x80" + ZEROS, [b""]),
    "a character in two fragments": (
        b"\x01\x82" + ZEROS + b"\xe2\x82" + b"\x8a\x80" + ZEROS + b"\x80\x81" + ZEROS + b"\xac",
        [("pong", b""), "\u20ac"],
    ),
}
LONG: dict[str, tuple[bytes, list[Event]]] = {
    "511": (b"\x82\xfe\x01\xff" + MASK + MASK * 127 + MASK[:3], [bytes(511)]),
    "512": (b"\x82\xfe\x02\x00" + MASK + MASK * 128, [bytes(512)]),
    "513": (b"\x81\xfe\x02\x01" + MASK + MASK * 128 + MASK[:1], ["\x00" * 513]),
    "1535": (b"\x82\xfe\x05\xff" + MASK + MASK * 383 + MASK[:3], [bytes(1535)]),
    "1536": (b"\x82\xfe\x06\x00" + MASK + MASK * 384, [bytes(1536)]),
    "1537": (b"\x82\xfe\x06\x01" + MASK + MASK * 384 + MASK[:1], [bytes(1537)]),
    "65535": (b"\x82\xfe\xff\xff" + ZEROS + KILO * 63 + KILO[:1023], [(KILO * 64)[:65535]]),
    "65536": (b"\x82\xff\x00\x00\x00\x00\x00\x01\x00\x00" + ZEROS + KILO * 64, [KILO * 64]),
    "text of 65537": (
        b"\x81\xff\x00\x00\x00\x00\x00\x01\x00\x01" + MASK + MASK * 16384 + MASK[:1],
        ["\x00" * 65537],
    ),
    "fragment of 65536": (
        b"\x02\xff\x00\x00\x00\x00\x00\x01\x00\x00" + ZEROS + KILO * 64 + b"\x80\x80" + ZEROS,
        [KILO * 64],
    ),
}
# Each is refused when its last byte has come, and not before.
BAD: dict[str, tuple[bytes, int]] = {
    "no mask": (b"\x82\x00", 1002),
    "no mask, ping": (b"\x89\x00", 1002),
    "RSV1": (b"\xc2\x80", 1002),
    "RSV1, ping": (b"\xc9\x80", 1002),
    "RSV2": (b"\xa1\x80", 1002),
    "RSV3": (b"\x92\x80", 1002),
    "opcode 3": (b"\x83\x80", 1002),
    "opcode 11": (b"\x8b\x80", 1002),
    "ping in fragments": (b"\x09\x80", 1002),
    "close in fragments": (b"\x08\x80", 1002),
    "ping of two length bytes": (b"\x89\xfe", 1002),
    "close of eight length bytes": (b"\x88\xff", 1002),
    "continuation of nothing": (b"\x80\x80", 1002),
    "unfinished continuation of nothing": (b"\x00\x80", 1002),
    "message in a message": (b"\x01\x80" + ZEROS + b"\x81\x80", 1002),
    "beginning in a message": (b"\x02\x81" + ZEROS + b"a" + b"\x02\x80", 1002),
    "0 in two bytes": (b"\x82\xfe\x00\x00" + ZEROS, 1002),
    "125 in two bytes": (b"\x81\xfe\x00\x7d" + ZEROS, 1002),
    "0 in eight bytes": (b"\x82\xff" + bytes(8) + ZEROS, 1002),
    "65535 in eight bytes": (b"\x82\xff" + (65535).to_bytes(8) + ZEROS, 1002),
    "64 bits": (b"\x82\xff" + (2**63).to_bytes(8) + ZEROS, 1002),
    "all bits": (b"\x81\xff" + b"\xff" * 8 + ZEROS, 1002),
    "no UTF-8": (b"\x81\x82" + ZEROS + b"a" + b"\xff", 1007),
    "half a character": (b"\x81\x82" + ZEROS + b"a" + b"\xc3", 1007),
    "half a character, then an empty end": (
        b"\x01\x81" + ZEROS + b"\xc3" + b"\x80\x80" + ZEROS,
        1007,
    ),
}


class VectorTests(unittest.TestCase):
    """Every kind of frame, however it is cut."""

    def assert_heard(
        self, pieces: Iterable[bytes], events: list[Event], code: int | None, name: object
    ) -> None:
        """The pieces give these events and, where a code is given, are then refused."""
        listener = Listener().feed(*pieces)
        self.assertEqual((listener.events, listener.code), (events, code), name)

    def test_whole(self):
        """The client sends each in one piece."""
        for name, (wire, events) in (GOOD | LONG).items():
            self.assert_heard([wire], events, None, name)

    def test_single_bytes(self):
        """The client sends each a byte at a time; of the long ones seven at a time."""
        for name, (wire, events) in GOOD.items():
            self.assert_heard(single(wire), events, None, name)
        for name, (wire, events) in LONG.items():
            self.assert_heard(sliced(wire, 7), events, None, name)

    def test_every_cut(self):
        """The client's frames are cut in two at each place; long ones near their ends."""
        for name, (wire, events) in (GOOD | LONG).items():
            edges = {*range(40), *range(len(wire) - 40, len(wire))}
            for cut in edges if name in LONG else range(len(wire)):
                self.assert_heard([wire[:cut], wire[cut:]], events, None, (name, cut))

    def test_pairs(self):
        """The client sends two of them in one read, in every order, or cut within the second."""
        for first, second in product(GOOD, repeat=2):
            (wire, events), (next_wire, next_events) = GOOD[first], GOOD[second]
            for cut in (0, 1, len(next_wire) - 1):
                pieces = (wire + next_wire[:cut], next_wire[cut:])
                self.assert_heard(pieces, events + next_events, None, (first, second, cut))

    def test_all(self):
        """The client sends all of them in reads of every size up to 300."""
        wire = b"".join(wire for wire, _ in GOOD.values())
        events = [event for _, events in GOOD.values() for event in events]
        for size in (*range(1, 300), len(wire)):
            self.assert_heard(sliced(wire, size), events, None, size)

    def test_bad(self):
        """The client breaks a rule, and is refused at the byte that breaks it."""
        for name, (wire, code) in BAD.items():
            self.assert_heard([wire[:-1]], [], None, name)
            self.assert_heard([wire], [], code, name)
            self.assert_heard(single(wire), [], code, name)
            for cut in range(len(wire)):
                self.assert_heard([wire[:cut], wire[cut:]], [], code, (name, cut))

    def test_bad_behind_good(self):
        """The client breaks a rule behind good frames; they count, and what follows does not."""
        for (name, (wire, code)), (before, events) in product(BAD.items(), GOOD.values()):
            follows = GOOD["bytes"][0] * 20
            self.assert_heard([before + wire + follows], events, code, name)
            self.assert_heard([before, wire, follows], events, code, name)


class HeadTests(unittest.TestCase):
    """Every head that can be written."""

    # The seven bits of the length, and the lengths behind them.
    LENGTHS = (
        *((0, (0,)), (1, (1,)), (125, (125,))),
        (126, (0, 125, 126, 127, 65535)),
        (127, (0, 126, 65535, 65536, 2**63 - 1, 2**63, 2**64 - 1)),
    )

    def test_all(self):
        """The client sends each first byte and length, masked or not, in a message and outside."""
        for inside, inflater in product((False, True), (None, Nothing())):
            for first, mask in product(range(256), (0, 128)):
                early = is_early_violation(first, mask, inside, inflater is not None)
                for bits, lengths in self.LENGTHS:
                    head = bytes((first, mask | bits))
                    code = 1002 if early or (first & 15 > 7 and bits > 125) else None
                    self.check(head, inside, inflater, code)
                    for length in lengths:
                        more = b"" if bits < 126 else length.to_bytes(2 if bits == 126 else 8)
                        shortest = {126: 126, 127: 65536}.get(bits, 0) <= length < 2**63
                        self.check(head + more + MASK, inside, inflater, code if shortest else 1002)

    def check(self, head: bytes, inside: bool, inflater: Inflater | None, code: int | None) -> None:
        """Assert that a head is refused with ``code``, in one piece and byte by byte."""
        before = b"\x02\x80" + ZEROS if inside else b""
        whole = Listener(inflater=inflater).feed(before + head)
        pieces = Listener(inflater=inflater).feed(before, *single(head))
        self.assertEqual((whole.code, pieces.code), (code, code), (head, inside, inflater))


class Nothing:
    """An inflater of nothing, for frames without payload."""

    def begin(self) -> None: ...

    def inflate(self, data: bytes, limit: int | None) -> bytes:
        assert not data, "there is nothing to inflate"
        return data

    def end(self, limit: int | None) -> bytes:
        return b""


def is_early_violation(first: int, mask: int, inside: bool, compression: bool) -> bool:
    """Say whether two bytes are against RFC 6455, section 5.2, 5.4 or 5.5, but for the length."""
    final, reserved, opcode = first & 0x80, first & 0x70, first & 0x0F
    begins = opcode in (1, 2)
    return (
        not mask
        or opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)
        or (reserved != 0 and not (reserved == 0x40 and compression and begins))
        or (begins and inside)
        or (opcode == 0 and not inside)
        or (opcode > 7 and not final)
    )


class TextTests(unittest.TestCase):
    """Text is UTF-8, and what is none is noticed at once."""

    GOOD = (
        *("\x00", "\x7f", "\x80", "\u07ff", "\u0800", "\ud7ff", "\ue000", "\uffff"),
        *("\U00010000", "\U0010ffff", "a\u20ac\U0001f40d\xdf", "\ufeffbom"),
    )
    # Broken at the last byte. A surrogate is so at its second; Python's decoder waits for another.
    BAD = (
        *(b"\x80", b"\xbf", b"\xc0", b"\xc1", b"\xf5", b"\xff", b"a\xfe", b"\xc2\xc2", b"\xc3a"),
        *(b"\xe0\x80", b"\xe0\x9f", b"\xed\xa0\x80", b"\xe2\x82\x28", b"\xe2\x28", b"\xc3\xa9\xa9"),
        *(b"\xf0\x80", b"\xf0\x8f", b"\xf4\x90", b"\xf0\x9f\x98a", b"\xf0\x9f\x98\x80\x98"),
    )
    HALF = (b"\xc3", b"\xe2", b"\xe2\x82", b"\xf0", b"\xf0\x9f", b"\xf0\x9f\x98", b"abc\xf4\x8f")

    def test_good(self):
        """The client sends characters cut within a frame, between two, and around a ping."""
        for text in self.GOOD:
            data = text.encode()
            for cut in range(len(data) + 1):
                left, right = frame(0x01, data[:cut]), frame(0x80, data[cut:])
                whole = frame(0x81, data)
                listener = Listener().feed(whole[: 6 + cut], whole[6 + cut :], left + right)
                listener.feed(left, frame(0x89), right)
                expected = [text, text, ("ping", b""), text]
                self.assertEqual(listener.events, expected, (data, cut))

    def test_bad(self):
        """The client's text breaks in a frame that is far from its end, or in a frame of many."""
        for data in self.BAD:
            wire = frame(0x81, data + b"x" * 9)
            in_frame = Listener().feed(wire[: 6 + len(data) - 1])
            fragments = [frame(0x01, data[:1]), *(frame(0, byte) for byte in single(data[1:]))]
            in_message = Listener().feed(*fragments[:-1])
            self.assertEqual((in_frame.code, in_message.code), (None, None), data)
            in_frame.feed(wire[6 + len(data) - 1 :][:1])
            in_message.feed(fragments[-1])
            self.assertEqual((in_frame.code, in_message.code), (1007, 1007), data)
            self.assertEqual(Listener().feed(wire).code, 1007, data)

    def test_half(self):
        """The client's text ends within a character, which is noticed when it ends."""
        for data in self.HALF:
            for wires in (
                [frame(0x81, data)],
                [frame(0x81, data)[:7], frame(0x81, data)[7:]],
                [frame(0x01, data), frame(0x80)],
                [frame(0x01, data[:1]), frame(0x80, data[1:])],
            ):
                self.assertEqual(Listener().feed(*wires).code, 1007, wires)
            self.assertIsNone(Listener().feed(frame(0x01, data)).code, data)

    def test_nothing_is_carried_over(self):
        """The client sends bytes that are no text, before and behind texts."""
        listener = Listener()
        for data in (*self.BAD, *self.HALF):
            listener.feed(frame(0x02, data), frame(0x80, b""), frame(0x01, b"a"), frame(0x80, b"b"))
            self.assertEqual(listener.events[-2:], [data, "ab"])


class EncodeTests(unittest.TestCase):
    """The frames of a server."""

    def test_lengths(self):
        """The server writes payloads of each kind of length."""
        for size, head in (
            (0, b"\x82\x00"),
            (1, b"\x82\x01"),
            (125, b"\x82\x7d"),
            (126, b"\x82\x7e\x00\x7e"),
            (65535, b"\x82\x7e\xff\xff"),
            (65536, b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
        ):
            payload = (KILO * 65)[:size]
            self.assertEqual(encode_frame(0x2, payload), head + payload, size)

    def test_opcodes(self):
        """The server writes every kind of frame."""
        for opcode, first in ((1, 0x81), (2, 0x82), (8, 0x88), (9, 0x89), (10, 0x8A)):
            self.assertEqual(encode_frame(opcode, b"abc"), bytes((first, 3)) + b"abc")

    def test_compressed(self):
        """The server says of a message that it is compressed."""
        for opcode, first in ((1, b"\xc1"), (2, b"\xc2")):
            for size, length in ((3, b"\x03"), (126, b"\x7e\x00\x7e")):
                found = encode_frame(opcode, b"z" * size, is_compressed=True)
                self.assertEqual(found, first + length + b"z" * size)
