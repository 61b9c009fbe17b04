"""How much of compressed messages is taken in, and what it costs."""

from __future__ import annotations

import random
import tracemalloc
import unittest
from collections.abc import Iterable
from itertools import pairwise, product

from tests.support.websocket import frame

from .test_websocket_deflate import HELLO, LAST, TAIL, Client, make_deflate
from .test_websocket_frames import Listener, sliced

WORDS = b"".join(b"%d bottles of beer on the wall, " % number for number in range(5000))


class LimitTests(unittest.TestCase):
    """The limit is one of what is inflated, to the byte."""

    def test_exact(self):
        """The client sends messages of 300 lengths around the limit, of several kinds of data."""
        noise = random.Random(0).randbytes(5000)
        for data, limit in product((bytes(5000), WORDS, noise, noise[:50] * 100), (1000, 4096)):
            for size in range(limit - 150, limit + 150):
                wire = frame(0xC2, Client().message(data[:size]))
                for pieces in ([wire], sliced(wire, 997)):
                    listener = Listener(inflater=make_deflate(), max_message=limit).feed(*pieces)
                    expected = ([data[:size]], None) if size <= limit else ([], 1009)
                    self.assertEqual((listener.events, listener.code), expected, size)

    def test_every_ending(self):
        """The client's message at the limit ends in other ways, and so does one above it."""
        for size, code in ((99, None), (100, None), (101, 1009)):
            data = WORDS[:size]
            for payload in (
                Client().last(data),
                Client().last(data) + b"\x00",
                Client().last(data[:50]) + Client().last(data[50:]),
                Client().message(data) + TAIL + b"\x00",
            ):
                listener = Listener(inflater=make_deflate(), max_message=100)
                listener.feed(frame(0xC2, payload), frame(0xC2, payload))
                self.assertEqual(listener.code, code, (size, payload))
                self.assertEqual(listener.events, [] if code else [data, data])

    def test_fragments(self):
        """The client's fragments add up to the limit, and go a byte beyond."""
        client = Client()
        parts = [
            client.message(WORDS[:60]) + TAIL,
            client.message(WORDS[:40]),
            client.message(b"x"),
        ]
        pieces = [frame(0x42, parts[0]), frame(0x00, parts[1] + TAIL), frame(0x80, parts[2])]
        listener = Listener(inflater=make_deflate(), max_message=100)
        self.assertIsNone(listener.feed(*pieces[:2]).code)
        self.assertEqual(listener.feed(pieces[2]).code, 1009)

    def test_larger_than_inflated(self):
        """The client compresses what cannot be; only its inflated size counts for the message."""
        data = random.Random(0).randbytes(100)
        payload = Client().message(data)
        self.assertGreater(len(payload), 100)
        listener = Listener(inflater=make_deflate(), max_message=100).feed(frame(0xC2, payload))
        self.assertEqual(listener.events, [data])
        listener = Listener(inflater=make_deflate(), max_frame=len(payload) - 1)
        listener.feed(frame(0xC2, payload)[:6])
        self.assertEqual(listener.code, 1009)


class MemoryTests(unittest.TestCase):
    """Nobody takes more memory than the limits say."""

    def peak(self, pieces: Iterable[bytes], listener: Listener) -> int:
        """Return the most bytes that feeding the pieces took."""
        tracemalloc.start()
        try:
            listener.feed(*pieces)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    def test_bomb(self):
        """The client sends 32 MiB of nothing in a few KiB, at once, in pieces and in fragments."""
        payload = Client(15).message(bytes(1 << 25))
        self.assertLess(len(payload), 65536)
        wire = frame(0xC2, payload)
        fragments = [frame(0x42), *(frame(0x00, part) for part in sliced(payload, 99)), frame(0x80)]
        for pieces in ([wire], [*sliced(wire, 99)], fragments):
            listener = Listener(inflater=make_deflate(), max_message=1 << 20)
            self.assertLess(self.peak(pieces, listener), 3 << 20)
            self.assertEqual((listener.events, listener.code), ([], 1009))

    def test_bomb_behind_a_stream(self):
        """The client fills the message to the limit, ends the stream, and sends the bomb then."""
        size = 1 << 20
        wire = frame(0xC2, Client().last(bytes(size)) + Client().message(bytes(32 * size)))
        listener = Listener(inflater=make_deflate(), max_message=size)
        self.assertLess(self.peak([wire], listener), 3 * size)
        self.assertEqual((listener.events, listener.code), ([], 1009))

    def test_window(self):
        """The client sends a megabyte in small messages, of which a window is kept."""
        client = Client()
        wires = [frame(0xC2, client.message(WORDS[:1000])) for _ in range(1000)]
        listener = Listener(inflater=make_deflate())
        tracemalloc.start()
        try:
            for wire in wires:
                listener.feed(wire)
                listener.events.clear()
            self.assertLess(tracemalloc.get_traced_memory()[0], 1 << 17)
        finally:
            tracemalloc.stop()

    def test_many_streams(self):
        """The client ends as many streams as it can, and no codec is left of each."""
        wires = [frame(0xC2, LAST * 16) for _ in range(100)]
        self.assertLess(self.peak(wires, Listener(inflater=make_deflate(bits=15))), 200_000)

    def test_codecs_are_made_when_needed(self):
        """The server agrees with 50 clients, of which few ever send or get a message."""
        tracemalloc.start()
        try:
            sizes = [tracemalloc.get_traced_memory()[0]]
            deflates = [make_deflate(bits=15) for _ in range(50)]
            sizes.append(tracemalloc.get_traced_memory()[0])
            inflated = [Listener(inflater=deflate).feed(frame(0xC2, HELLO)) for deflate in deflates]
            sizes.append(tracemalloc.get_traced_memory()[0])
            compressed = [deflate.compress(WORDS[:200]) for deflate in deflates]
            sizes.append(tracemalloc.get_traced_memory()[0])
        finally:
            tracemalloc.stop()
        agreed, read, written = (after - before for before, after in pairwise(sizes))
        self.assertEqual((len(inflated), len(compressed)), (50, 50))
        self.assertLess(agreed, 50 * 4096)
        self.assertGreater(read, 50 * 5000)
        self.assertLess(read, 50 * 60_000)  # a window and what zlib needs with it
        self.assertGreater(written, 50 * 100_000)  # this is the larger half

    def test_codecs_without_context(self):
        """The operator wants no window kept: between messages there is no codec either."""
        deflates = [make_deflate(bits=15, context=False) for _ in range(50)]
        tracemalloc.start()
        try:
            listeners = [Listener(inflater=deflate) for deflate in deflates]
            before = tracemalloc.get_traced_memory()[0]
            for listener, deflate in zip(listeners, deflates, strict=True):
                listener.feed(frame(0xC2, HELLO), frame(0xC2, LAST))
                deflate.compress(WORDS[:200])
                listener.events.clear()
            self.assertLess(tracemalloc.get_traced_memory()[0] - before, 50 * 2048)
        finally:
            tracemalloc.stop()
