"""permessage-deflate: what is agreed to, and what is made of what clients send."""

from __future__ import annotations

import random
import unittest
import zlib
from collections.abc import Iterable
from itertools import product
from typing import Any

from django_daphne.server import WebSocketConfig
from django_daphne.server.protocols.websocket_deflate import Deflate, negotiate
from tests.support.websocket import frame

from .test_websocket_frames import Event, Listener, single, sliced

NAME = "permessage-deflate"
BITS = f"{NAME}; client_max_window_bits"
TAIL = b"\x00\x00\xff\xff"
WORDS = b"".join(b"%d bottles of beer on the wall, " % number for number in range(5000))

# Payloads of RFC 7692, section 7.2.3: all of them say "Hello".
HELLO = bytes.fromhex("f248cdc9c90700")
AGAIN = bytes.fromhex("f200110000")  # refers to the one before
STORED = bytes.fromhex("000500faff48656c6c6f00")
PADDED = bytes.fromhex("f348cdc9c9070000")  # a block with BFINAL and a byte behind it
IN_TWO_BLOCKS = bytes.fromhex("f248050000 00ffffcac9c90700")
LAST = PADDED[:-1]


def agree(*offers: str, **values: Any) -> tuple[str, Deflate] | None:
    """Return what is agreed with a client, given configuration values without their prefix."""
    config = {f"websocket_compression_{name}": value for name, value in values.items()}
    return negotiate(offers, WebSocketConfig(**config))


def make_deflate(*parameters: str, **values: Any) -> Deflate:
    """Return the codec that is agreed on with a client."""
    agreed = agree("; ".join((NAME, *parameters)), **values)
    assert agreed is not None
    return agreed[1]


class Client:
    """What a client compresses with: zlib, and its window from one stream to the next."""

    def __init__(self, bits: int = 12) -> None:
        self._bits = bits
        self._window = b""
        self._codec = zlib.compressobj(wbits=-bits)

    def message(self, data: bytes) -> bytes:
        """Return a payload that ends as most do."""
        self._window = (self._window + data)[-(1 << self._bits) :]
        return (self._codec.compress(data) + self._codec.flush(zlib.Z_SYNC_FLUSH)).removesuffix(
            TAIL
        )

    def last(self, data: bytes) -> bytes:
        """Return a payload that ends the stream; the next one knows the window of this."""
        self._window = (self._window + data)[-(1 << self._bits) :]
        payload = self._codec.compress(data) + self._codec.flush()
        self._codec = zlib.compressobj(wbits=-self._bits, zdict=self._window)
        return payload


class NegotiationTests(unittest.TestCase):
    """Which offers are taken, and what they are answered."""

    TAKEN = (
        # Chrome, the websockets package and ws; then Firefox and Safari.
        (BITS, f"{NAME}; client_max_window_bits=12"),
        (NAME, NAME),
        (f"{BITS}=15", f"{NAME}; client_max_window_bits=12"),
        (f"{BITS}=12", f"{NAME}; client_max_window_bits=12"),
        (f"{BITS}=9", f"{NAME}; client_max_window_bits=9"),
        (f'{BITS}="10"', f"{NAME}; client_max_window_bits=10"),
        (f"{NAME}; server_max_window_bits=10", f"{NAME}; server_max_window_bits=10"),
        (f'{NAME}; server_max_window_bits="9"', f"{NAME}; server_max_window_bits=9"),
        (f"{NAME}; server_no_context_takeover", f"{NAME}; server_no_context_takeover"),
        (f"{NAME}; client_no_context_takeover", NAME),
        (
            f"{BITS}=11;server_no_context_takeover ;\tserver_max_window_bits=10",
            f"{NAME}; server_no_context_takeover; server_max_window_bits=10;"
            " client_max_window_bits=11",
        ),
        (f"\t {NAME} ", NAME),
        (f", {NAME},,", NAME),
    )
    DECLINED = (
        *("", " ", ",", ";", "=", NAME[:-1], NAME + "2", "x-webkit-deflate-frame", f'"{NAME}"'),
        *(f"{NAME};", f"{NAME}; ", f";{NAME}", f"{NAME};;", f"{NAME}=", f"{NAME} x"),
        *(f"{NAME}; x", f"{NAME}; x=1", f'{NAME}; x="y"', f"{NAME}; max_window_bits=9"),
        *(f"{BITS}; client_max_window_bits", f"{BITS}=9; client_max_window_bits=10"),
        f"{NAME}; server_max_window_bits=9; server_max_window_bits=9",
        f"{NAME}; server_no_context_takeover; server_no_context_takeover",
        f"{NAME}; client_no_context_takeover; client_no_context_takeover",
        *(f"{NAME}\x00", f"{NAME}\xe9", f"{NAME}; \xe9", f"{NAME}; x=\x7f", f"{NAME}\n"),
        *(f"{NAME}; " + "a;" * 5000, f"{NAME}; a=" + "1" * 9999, ";" * 9999, f'{NAME}; a="'),
    )
    BAD_BITS = (
        *("0", "1", "7", "8", "16", "99", "100", "1" * 5000, "08", "09", "012", "0x9", "9.0"),
        *("+9", "-9", " 9", "1_0", "nine", "", '"', '""', '" 9"', '"+9"', '"09"', '"16"'),
        *("=9", "9=9", '"9', '9"', '"9"9', "'9'", "\\9", "\xb2", "\u0669", "\uff19"),
    )

    def test_taken(self):
        """The client makes an offer that can be met."""
        for offer, answer in self.TAKEN:
            agreed = agree(offer)
            assert agreed is not None, offer
            self.assertEqual(agreed[0], answer, offer)

    def test_declined(self):
        """The client makes an offer that cannot be met, or is none."""
        for offer in self.DECLINED:
            self.assertIsNone(agree(offer), offer)
        for side, value in product(("client", "server"), self.BAD_BITS):
            self.assertIsNone(agree(f"{NAME}; {side}_max_window_bits={value}"), (side, value))
            self.assertIsNone(agree(f"{NAME}; {side}_no_context_takeover={value}"), (side, value))
        self.assertIsNone(agree(f"{NAME}; server_max_window_bits"))

    def test_configured_bits(self):
        """The operator sets the largest window; a client that wants a smaller one gets it."""
        for bits, hint in product(range(9, 16), range(9, 16)):
            agreed = agree(f"{BITS}={hint}", bits=bits)
            assert agreed is not None
            self.assertEqual(agreed[0], f"{BITS}={min(bits, hint)}")
            agreed = agree(BITS, bits=bits)
            assert agreed is not None
            self.assertEqual(agreed[0], f"{BITS}={bits}")

    def test_no_context(self):
        """The operator wants no window kept, which the client is told for its own."""
        agreed = agree(BITS, context=False)
        assert agreed is not None
        answer = f"{NAME}; client_no_context_takeover; client_max_window_bits=12"
        self.assertEqual(agreed[0], answer)

    def test_several_offers(self):
        """The client makes offers in one field or in several; the first good one is taken."""
        bad = ("permessage-bzip2", "x-webkit-deflate-frame", f"{BITS}=8", 'foo; bar="baz"', "")
        for first, second in product(bad, repeat=2):
            offers = (first, second, f"{BITS}=10", f"{BITS}=11")
            for fields in (offers, (", ".join(offers),), (",".join(offers[:2]), *offers[2:])):
                agreed = agree(*fields)
                assert agreed is not None, fields
                self.assertEqual(agreed[0], f"{BITS}=10", fields)

    def test_garbage(self):
        """The client sends what may look like an offer: it is declined or answered in good form."""
        choose = random.Random(7692)
        words = [NAME, "client_max_window_bits", "server_max_window_bits", "=", ";", ",", "9", "15"]
        words += ["client_no_context_takeover", "server_no_context_takeover", *"\"'\\ \xffx"]
        answers = 0
        for _ in range(5000):
            agreed = agree(NAME + "".join(choose.choices(words, k=choose.randrange(1, 9))))
            if agreed is not None:
                answers += 1
                self.assertRegex(agreed[0], r"^permessage-deflate(; [a-z_]+(=(9|1[0-5]))?)*$")
        self.assertGreater(answers, 50)


class InflateTests(unittest.TestCase):
    """What clients compress arrives as it was."""

    def assert_heard(
        self, payloads: Iterable[bytes], events: list[Event], *parameters: str
    ) -> None:
        """Compressed binary messages give these events, whole, byte by byte and in fragments."""
        frames = [frame(0xC2, payload) for payload in payloads]
        whole = b"".join(frames)
        fragments = [part for payload in payloads for part in fragmented(payload)]
        for pieces in ([whole], frames, single(whole), fragments, sliced(whole, 7)):
            listener = Listener(inflater=make_deflate(*parameters)).feed(*pieces)
            self.assertEqual((listener.events, listener.code), (events, None))

    def test_examples(self):
        """The client sends the examples of the specification, one after another."""
        payloads = (HELLO, AGAIN, STORED, AGAIN, PADDED, AGAIN, IN_TWO_BLOCKS, AGAIN, LAST, HELLO)
        self.assert_heard(payloads, [b"Hello"] * len(payloads))

    def test_cuts(self):
        """The client's frame is cut in two at each place, and another follows."""
        for payload in (HELLO, STORED, PADDED, IN_TWO_BLOCKS, LAST):
            wire = frame(0xC1, payload) + frame(0xC1, AGAIN)
            for cut in range(len(wire)):
                listener = Listener(inflater=make_deflate()).feed(wire[:cut], wire[cut:])
                self.assertEqual(listener.events, ["Hello", "Hello"], (payload, cut))

    def test_not_compressed(self):
        """The client leaves a message as it is, which is none of the window's business."""
        wire = frame(0xC1, HELLO) + frame(0x81, b"other") + frame(0xC1, AGAIN)
        listener = Listener(inflater=make_deflate()).feed(wire, frame(0x01, b"a"), frame(0x80))
        self.assertEqual(listener.events, ["Hello", "other", "Hello", "a"])

    def test_pings_in_between(self):
        """The client sends a ping between the fragments of a compressed message."""
        first, second = frame(0x41, HELLO[:3]), frame(0x80, HELLO[3:])
        listener = Listener(inflater=make_deflate()).feed(first + frame(0x89, b"?") + second)
        self.assertEqual(listener.events, [("ping", b"?"), "Hello"])

    def test_texts(self):
        """The client compresses text that is none, which is noticed as soon as it can be."""
        for data in (b"\xff", b"abc\xc3(", b"\xf4\x90"):
            start = Client().message(data)
            listener = Listener(inflater=make_deflate()).feed(frame(0x41, start))
            self.assertEqual(listener.code, 1007, data)
        for data in (b"\xc3", b"a\xe2\x82"):
            wire = frame(0xC1, Client().message(data))
            self.assertEqual(Listener(inflater=make_deflate()).feed(wire).code, 1007, data)
        client = Client()
        pieces = [client.message(b"\xe2\x82") + TAIL, client.message(b"\xac")]
        listener = Listener(inflater=make_deflate())
        listener.feed(frame(0x41, pieces[0]), frame(0x80, pieces[1]))
        self.assertEqual(listener.events, ["\u20ac"])

    def test_corrupt(self):
        """The client sends what cannot be inflated, and is refused at the byte that shows it."""
        for good, bad in (
            # Blocks of a type that does not exist: at once, behind another, in a second stream.
            *((b"", b"\x06"), (b"", b"\x07"), (HELLO + TAIL, b"\x06"), (LAST, b"\x06")),
            # A stored block whose length is given in two ways, and a distance beyond the beginning.
            *((STORED[:4], b"\xfe"), (AGAIN[:2], b"\x11")),
        ):
            wire = frame(0xC2, good + bad)
            for pieces in ([wire], single(wire), [frame(0x42, good), frame(0x80, bad)]):
                listener = Listener(inflater=make_deflate()).feed(*pieces)
                self.assertEqual((listener.events, listener.code), ([], 1007), (good, bad))
            self.assertIsNone(Listener(inflater=make_deflate()).feed(wire[:-1]).code, (good, bad))


def fragmented(payload: bytes) -> list[bytes]:
    """Return a compressed binary message in fragments of three bytes."""
    parts = [*sliced(payload, 3)]
    firsts = [0x42, *[0x00] * (len(parts) - 1)]
    firsts[-1] |= 0x80
    return [frame(first, part) for first, part in zip(firsts, parts, strict=True)]


class EndedStreamTests(unittest.TestCase):
    """A block with BFINAL ends a stream, and the connection goes on."""

    def feed(self, *payloads: bytes, **values: Any) -> Listener:
        """Return a listener that was fed these messages."""
        listener = Listener(inflater=make_deflate("client_max_window_bits", **values))
        return listener.feed(*(frame(0xC2, payload) for payload in payloads))

    def test_in_the_middle(self):
        """The client ends streams in the middle of a message, with stored blocks in between."""
        for message in (LAST + LAST, LAST + HELLO, LAST + LAST + b"\x00", LAST + STORED):
            self.assertEqual(self.feed(message, AGAIN).events, [b"HelloHello", b"Hello"])

    def test_many_messages(self):
        """The client ends a stream with every message, with a byte behind it or without."""
        for payload in (LAST, PADDED):
            self.assertEqual(self.feed(*[payload] * 50, HELLO).events, [b"Hello"] * 51)

    def test_window_is_kept(self):
        """The client goes on with the window of streams that it ended; it refers far back."""
        choose = random.Random(1951)
        for bits in (9, 12, 15):
            noise = choose.randbytes(3 << bits - 2)
            messages = [noise[choose.randrange(len(noise)) :] for _ in range(20)] + [
                noise * 2,
                noise,
            ]
            client = Client(bits)
            payloads = [choose.choice((client.last, client.message))(data) for data in messages]
            listener = self.feed(*payloads, bits=bits)
            self.assertEqual((listener.events, listener.code), (messages, None), bits)
            if bits > 9:  # there zlib looks back less far
                self.assertLess(sum(map(len, payloads)), sum(map(len, messages)) // 2)

    def test_window_is_kept_in_pieces(self):
        """The client's streams come byte by byte, and end within messages."""
        choose = random.Random(1951)
        client, data = Client(9), choose.randbytes(200)
        message = client.last(data) + client.last(data[:100]) + client.last(data) + b"\x00"
        listener = Listener(inflater=make_deflate("client_max_window_bits=9"))
        listener.feed(*single(frame(0xC2, message) + frame(0xC2, client.message(data))))
        self.assertEqual(listener.events, [data + data[:100] + data, data])

    def test_no_context(self):
        """The client refers to a message before, although it was told that none is kept."""
        for payload in (HELLO, LAST, PADDED):
            listener = self.feed(payload, AGAIN, context=False)
            self.assertEqual((listener.events, listener.code), ([b"Hello"], 1007))
            self.assertEqual(self.feed(payload, payload, context=False).events, [b"Hello"] * 2)

    def test_too_many(self):
        """The client ends 16 streams in a message, which is a lot, and then 17."""
        for values in ({"context": True}, {"context": False}):
            good = self.feed(LAST * 16, LAST * 16, LAST * 16 + HELLO, **values)
            self.assertEqual((good.events[:2], good.code), ([b"Hello" * 16] * 2, None))
            for bad in (LAST * 17, b"\x03\x00" * 17):
                self.assertEqual(self.feed(HELLO, bad, **values).code, 1007)
        pieces = [frame(0x42, LAST), *[frame(0x00, LAST)] * 16]
        listener = Listener(inflater=make_deflate())
        self.assertIsNone(listener.feed(*pieces[:-1]).code)
        self.assertEqual(listener.feed(pieces[-1]).code, 1007)
