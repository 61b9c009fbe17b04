"""What a reader of frames holds, how much of it, and what it costs."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
import unittest
from collections.abc import Iterable
from typing import Any

from tests.support.websocket import frame

from .test_websocket_frames import (
    GOOD,
    KILO,
    LONG,
    MASK,
    ZEROS,
    Event,
    Listener,
    sliced,
)

MANY = 4000
COUNT = 20_000


def head(first: int, size: int) -> bytes:
    """Return a head that announces ``size`` bytes."""
    if size < 126:
        return bytes((first, 0x80 | size)) + MASK
    if size < 65536:
        return bytes((first, 0xFE)) + size.to_bytes(2) + MASK
    return bytes((first, 0xFF)) + size.to_bytes(8) + MASK


class PauseTests(unittest.TestCase):
    """The receiver pauses the reader in the middle of a read."""

    def setUp(self):
        self.wire = b"".join(wire for wire, _ in GOOD.values())
        self.expected = [event for _, events in GOOD.values() for event in events]

    def test_every_frame(self):
        """The server pauses at each message and control frame of one read, and goes on."""
        listener = Listener(pauses=True).feed(self.wire)
        for count in range(1, len(self.expected) + 1):
            self.assertEqual(listener.events, self.expected[:count])
            listener.resume()
        self.assertEqual(listener.events, self.expected)

    def test_more_comes(self):
        """The client sends on while the server pauses, in reads of several sizes."""
        for size in (1, 2, 7, 30, 150):
            listener = Listener(pauses=True)
            for piece in sliced(self.wire, size):
                before = len(listener.events)
                was_paused = listener.reader.is_paused
                listener.feed(piece)
                self.assertLessEqual(len(listener.events), before + (not was_paused))
                if len(listener.events) % 2:
                    listener.resume()
            while listener.events != self.expected:
                before = len(listener.events)
                self.assertEqual(len(listener.resume().events), before + 1, size)

    def test_nothing_is_left(self):
        """The server pauses at the last frame of a read, and goes on with the next read."""
        listener = Listener(pauses=True).feed(GOOD["bytes"][0])
        listener.resume().resume()
        self.assertEqual(listener.feed(GOOD["text"][0]).events, [b"Hello", "Hello"])

    def test_inside_a_frame(self):
        """The server pauses at a ping between two fragments; the second is left in halves."""
        listener = Listener(pauses=True)
        listener.feed(frame(0x01, b"a") + frame(0x89) + frame(0x80, b"bc")[:7])
        listener.feed(frame(0x80, b"bc")[7:])
        self.assertEqual(listener.events, [("ping", b"")])
        self.assertEqual(listener.resume().events, [("ping", b""), "abc"])

    def test_violation_behind_a_pause(self):
        """The client's message is followed by a violation, which is noticed when it is read."""
        listener = Listener(pauses=True).feed(frame(0x82, b"a") + b"\x82\x00")
        self.assertIsNone(listener.code)
        self.assertEqual(listener.resume().code, 1002)


class LimitTests(unittest.TestCase):
    """The limits hold on the head alone: no byte of the payload is needed."""

    SIZES = (1, 10, 124, 125, 126, 127, 65534, 65535, 65536, 65537)

    def assert_code(self, code: int | None, *pieces: bytes, **limits: Any) -> None:
        """The pieces are refused with ``code`` at the last of them, or not at all."""
        listener = Listener(**limits).feed(*pieces[:-1])
        self.assertIsNone(listener.code, (pieces, limits))
        self.assertEqual(listener.feed(pieces[-1]).code, code, (pieces, limits))

    def test_frame(self):
        """The client announces a frame just below, at and above the limit."""
        for limit in self.SIZES:
            for first in (0x81, 0x82, 0x01, 0x02):
                self.assert_code(None, head(first, limit - 1), max_frame=limit)
                self.assert_code(None, head(first, limit), max_frame=limit)
                self.assert_code(1009, head(first, limit + 1), max_frame=limit)
            start = frame(0x02, b"a")
            self.assert_code(None, start, head(0x80, limit), max_frame=limit)
            self.assert_code(1009, start, head(0x80, limit + 1), max_frame=limit)

    def test_message(self):
        """The client announces a message just below, at and above the limit, whole or in two."""
        for limit in self.SIZES:
            for first in (0x81, 0x82, 0x01, 0x02):
                self.assert_code(None, head(first, limit - 1), max_message=limit)
                self.assert_code(None, head(first, limit), max_message=limit)
                self.assert_code(1009, head(first, limit + 1), max_message=limit)
            for last in (0x80, 0x00):
                start = frame(0x02, b"a")
                self.assert_code(None, start, head(last, limit - 1), max_message=limit)
                self.assert_code(1009, start, head(last, limit), max_message=limit)

    def test_whole_frames(self):
        """The client's frames come with their payload, at the limit and above it."""
        for limit in (10, 125, 126, 2000):
            for name in ("max_frame", "max_message"):
                limits: dict[str, Any] = {name: limit}
                good, more = frame(0x81, b"a" * limit), frame(0x81, b"a" * (limit + 1))
                listener = Listener(**limits).feed(good + more + good)
                self.assertEqual((listener.events, listener.code), (["a" * limit], 1009), limits)

    def test_the_smaller_one(self):
        """The client is held to both limits, whichever is the smaller."""
        self.assert_code(1009, head(0x82, 11), max_frame=10, max_message=20)
        self.assert_code(1009, head(0x82, 11), max_frame=20, max_message=10)
        three = (frame(0x02, b"a" * 10), frame(0, b"a" * 10), head(0x80, 1))
        self.assert_code(1009, *three, max_frame=10, max_message=20)

    def test_huge(self):
        """The client announces gigabytes, and is refused before any of them comes."""
        for size in (2**31, 2**32, 2**63 - 1):
            self.assert_code(1009, head(0x82, size), max_frame=2**20)
            self.assert_code(1009, head(0x82, size), max_message=2**20)
            self.assert_code(None, head(0x82, size))

    def test_fragments(self):
        """The client sends as many fragments as it may, and one more; empty ones count too."""
        for limit in (1, 2, 3, 20):
            for data in (b"", b"a"):
                rest = [frame(0x00, data)] * (limit - 1)
                self.assert_code(None, frame(0x02, data), *rest, max_fragments=limit)
                self.assert_code(1009, frame(0x02), *rest, head(0x00, 1), max_fragments=limit)
                self.assert_code(1009, frame(0x02), *rest, head(0x80, 0), max_fragments=limit)

    def test_each_message_anew(self):
        """The client sends message after message at the limits, with pings in between."""
        listener = Listener(max_frame=4, max_message=6, max_fragments=2)
        message = frame(0x01, b"abc") + frame(0x89, b"ping" * 9) * 3 + frame(0x80, b"def")
        listener.feed((message + frame(0x82, b"four")) * 3)
        pings: list[Event] = [("ping", b"ping" * 9)] * 3
        self.assertEqual(listener.events, [*pings, "abcdef", b"four"] * 3)
        self.assertIsNone(listener.code)


class CountingBytes(bytes):
    """A read that counts what is copied of it."""

    copied = 0

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        if isinstance(key, slice):
            self.copied += len(found)
        return found


class CostTests(unittest.TestCase):
    """Small frames cost what they weigh, however many there are."""

    READS = (
        *(frame(0x82, b"a"), frame(0x81), frame(0x89, b"a"), frame(0x8A)),
        frame(0x02, b"a") + frame(0x80, b"b"),
    )

    def test_one_read(self):
        """The client fills one read with tiny frames; of each a few bytes are copied once."""
        for wire in self.READS:
            read = CountingBytes(wire * MANY)
            listener = Listener().feed(read)
            self.assertEqual(len(listener.events), MANY)
            self.assertLessEqual(read.copied, len(read))

    def test_one_by_one(self):
        """The server pauses at each frame of such a read, and still copies each once."""
        for wire in self.READS:
            read = CountingBytes(wire * MANY)
            listener = Listener(pauses=True).feed(read)
            for _ in range(MANY):
                listener.resume()
            self.assertEqual(len(listener.events), MANY)
            self.assertLessEqual(read.copied, len(read))

    def test_fragments(self):
        """The client sends a message in tiny fragments, all in one read."""
        read = CountingBytes(frame(0x02) + frame(0x00, b"a") * MANY + frame(0x80))
        self.assertEqual(Listener().feed(read).events, [b"a" * MANY])
        self.assertLessEqual(read.copied, len(read))

    def test_a_large_frame(self):
        """The client sends a large frame in one read; it is copied once, and its mask."""
        for wire, _ in LONG.values():
            read = CountingBytes(wire)
            self.assertEqual(len(Listener().feed(read).events), 1)
            self.assertLessEqual(read.copied, len(read))


class MemoryTests(unittest.TestCase):
    """A reader holds the message that is under way, and nothing else that grows."""

    def peak(self, pieces: Iterable[bytes], listener: Listener) -> int:
        """Return the most bytes that feeding the pieces took."""
        tracemalloc.start()
        try:
            for piece in pieces:
                listener.feed(piece)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    def test_fragments_of_one_byte(self):
        """The client sends 20,000 fragments of a byte; no limit was set."""
        for first in (0x01, 0x02):
            wire = frame(first) + frame(0x00, b"a") * COUNT
            for size in (7, len(wire)):
                pieces = [*sliced(wire, size), frame(0x80)]
                listener = Listener()
                # The message as it grows, with room to grow, and as it is handed on.
                self.assertLess(self.peak(pieces, listener), 5 * COUNT + 16384, (first, size))
                self.assertEqual(len(listener.events), 1)

    def test_empty_fragments(self):
        """The client sends 20,000 empty fragments; no limit was set."""
        for first in (0x01, 0x02):
            pieces = [frame(first), *[frame(0x00)] * COUNT]
            self.assertLess(self.peak(pieces, Listener()), 16384)
            self.assertLess(self.peak([b"".join(pieces)], Listener()), 16384)

    def test_huge_head(self):
        """The client announces 2 GiB, without a limit; memory is taken for what comes."""
        listener = Listener()
        self.assertLess(self.peak([head(0x82, 2**31), KILO * 8], listener), 65536)
        self.assertIsNone(listener.code)

    def test_nothing_is_kept(self):
        """The client has sent large messages and control frames; the reader has let them go."""
        for name in ("65536", "fragment of 65536"):
            listener = Listener()
            tracemalloc.start()
            try:
                listener.feed(*sliced(frame(0x89, b"p" * 125) * 200 + LONG[name][0], 9000))
                listener.feed(LONG[name][0] + frame(0x89, b"p" * 125) * 200)
                self.assertEqual(len(listener.events), 402)
                listener.events.clear()
                self.assertLess(tracemalloc.get_traced_memory()[0], 32768, name)
            finally:
                tracemalloc.stop()

    def test_controls(self):
        """The client sends 20,000 pongs inside a message; nothing is kept of them."""

        class Deaf(Listener):
            def pong_received(self, payload: bytes) -> None:
                """Keep nothing."""

        wire = [frame(0x02, b"a"), *[frame(0x8A, ZEROS * 30)] * COUNT]
        self.assertLess(self.peak(wire, Deaf()), 16384)


UNCOMPILED = """
import sys
sys.modules["_nvx_xormasker"] = None
from tests.server.test_websocket_frames import LONG, Listener
for name, (wire, events) in LONG.items():
    listener = Listener().feed(wire[:9], wire[9:])
    assert listener.events == Listener().feed(wire).events == events, name
xormasker = sys.modules["autobahn.websocket.xormasker"]
print(xormasker.create_xor_masker(bytes(4), 512).__class__.__module__)
"""


class MachineTests(unittest.TestCase):
    """Not every machine has autobahn's compiled code."""

    def test_without_it(self):
        """The operator's machine has none of it; large frames are read all the same."""
        command = [sys.executable, "-c", UNCOMPILED]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout.strip(), "autobahn.websocket.xormasker")
