"""The PROXY protocol reader: every form of the header, however it is cut, and nothing else."""

from __future__ import annotations

import random
import tracemalloc
import unittest
from collections.abc import Iterable, Iterator
from itertools import pairwise

from django_daphne.server.exceptions import ServerError
from django_daphne.server.proxy_protocol import (
    HeaderReader,
    ProxyHeader,
    ProxyProtocolError,
    Versions,
)

SIGNATURE = b"\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a"
# Version 2 until the length: the commands, and the families and transports that are taken.
LOCAL, PROXY = SIGNATURE + b"\x20", SIGNATURE + b"\x21"
UNSPEC, TCP_4, TCP_6, UNIX = PROXY + b"\x00", PROXY + b"\x11", PROXY + b"\x21", PROXY + b"\x31"
BOUND = 12 + 4 + 4096  # bytes of the largest header

INET = b"\xc0\x00\x02\x07\xc6\x33\x64\x01\xdc\x04\x01\xbb"
DB8 = b"\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
INET6 = DB8 + b"\x07" + DB8 + b"\x01" + b"\xdc\x04\x01\xbb"
FFFF = b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff"
MAPPED = FFFF + b"\xc0\x00\x02\x07" + FFFF + b"\xc6\x33\x64\x01" + b"\xdc\x04\x01\xbb"
PATHS = b"/run/client.sock".ljust(108, b"\0") + b"/run/server.sock".ljust(108, b"\0")
SSL = b"\x20\x00\x05\x01\x00\x00\x00\x00"
WIDE = b"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
ADDRESSES = b"PROXY TCP4 192.0.2.7 198.51.100.1 "

PLAIN = ProxyHeader(("192.0.2.7", 56324), ("198.51.100.1", 443), is_local=False, is_tls=False)
TLS = ProxyHeader(("192.0.2.7", 56324), ("198.51.100.1", 443), is_local=False, is_tls=True)
PLAIN_6 = ProxyHeader(("2001:db8::7", 56324), ("2001:db8::1", 443), is_local=False, is_tls=False)
NAMELESS = ProxyHeader(None, None, is_local=False, is_tls=False)
OWN = ProxyHeader(None, None, is_local=True, is_tls=False)
OWN_TLS = ProxyHeader(None, None, is_local=True, is_tls=True)
ZEROS_4 = ProxyHeader(("0.0.0.0", 0), ("1.1.1.1", 0), is_local=False, is_tls=False)
ZEROS_6 = ProxyHeader(("::", 0), ("::1", 0), is_local=False, is_tls=False)
LAST_4 = ProxyHeader(("255.255.255.255", 65535), ("255.255.255.255", 65535), False, False)
LAST_6 = ProxyHeader((WIDE.decode(), 65535), (WIDE.decode(), 65535), False, False)

Good = dict[str, tuple[bytes, ProxyHeader]]
GOOD_1: Good = {
    "TCP4": (b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n", PLAIN),
    "TCP4, shortest": (b"PROXY TCP4 0.0.0.0 1.1.1.1 0 0\r\n", ZEROS_4),
    "TCP4, longest": (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", LAST_4),
    "TCP6": (b"PROXY TCP6 2001:db8::7 2001:db8::1 56324 443\r\n", PLAIN_6),
    "not canonical": (b"PROXY TCP6 2001:0DB8:0:0:0::7 2001:DB8::0:1 56324 443\r\n", PLAIN_6),
    "TCP6, shortest": (b"PROXY TCP6 :: ::1 0 0\r\n", ZEROS_6),
    "TCP6, longest": (b"PROXY TCP6 " + WIDE + b" " + WIDE + b" 65535 65535\r\n", LAST_6),
    "IPv4 mapped": (b"PROXY TCP6 ::ffff:192.0.2.7 ::FFFF:c633:6401 56324 443\r\n", PLAIN),
    "UNKNOWN": (b"PROXY UNKNOWN\r\n", OWN),
    "UNKNOWN, a space": (b"PROXY UNKNOWN \r\n", OWN),
    "UNKNOWN, junk": (b"PROXY UNKNOWN  \t PROXY TCP4 999 \x01\x7f\x80\xff\r\n", OWN),
    "UNKNOWN, longest": (b"PROXY UNKNOWN " + WIDE + b" " + WIDE + b" 65535 65535\r\n", OWN),
}
GOOD_2: Good = {
    "INET": (TCP_4 + b"\x00\x0c" + INET, PLAIN),
    "INET6": (TCP_6 + b"\x00\x24" + INET6, PLAIN_6),
    "IPv4 mapped": (TCP_6 + b"\x00\x24" + MAPPED, PLAIN),
    "UNIX": (UNIX + b"\x00\xd8" + PATHS, NAMELESS),
    "UNIX, ALPN": (UNIX + b"\x00\xdd" + PATHS + b"\x01\x00\x02h2", NAMELESS),
    "UNSPEC": (UNSPEC + b"\x00\x00", OWN),
    "UNSPEC, SSL": (UNSPEC + b"\x00\x08" + SSL, OWN_TLS),
    "LOCAL": (LOCAL + b"\x00\x00\x00", OWN),
    "LOCAL, addresses": (LOCAL + b"\x11\x00\x0c" + INET, OWN),
    "LOCAL, no addresses": (LOCAL + b"\x11\x00\x00", OWN),
    "LOCAL, DGRAM": (LOCAL + b"\x12\x00\x0c" + INET, OWN),
    "LOCAL, no such family": (LOCAL + b"\xff\x00\x03\xff\xff\xff", OWN),
    "LOCAL, SSL": (LOCAL + b"\x00\x00\x08" + SSL, OWN),
    "LOCAL, longest": (LOCAL + b"\x00\x10\x00" + bytes(4096), OWN),
    "NOOP, empty": (TCP_4 + b"\x00\x0f" + INET + b"\x04\x00\x00", PLAIN),
    "NOOP, twice": (TCP_4 + b"\x00\x13" + INET + b"\x04\x00\x00\x04\x00\x01\x20", PLAIN),
    "NOOP, longest": (TCP_4 + b"\x10\x00" + INET + b"\x04\x0f\xf1" + bytes(4081), PLAIN),
    "ALPN": (TCP_4 + b"\x00\x11" + INET + b"\x01\x00\x02h2", PLAIN),
    "AUTHORITY": (TCP_4 + b"\x00\x1e" + INET + b"\x02\x00\x0fwww.example.org", PLAIN),
    "a type of its own": (TCP_4 + b"\x00\x11" + INET + b"\xea\x00\x02\x01\x02", PLAIN),
    "SSL": (TCP_4 + b"\x00\x14" + INET + b"\x20\x00\x05\x01\x00\x00\x00\x00", TLS),
    "SSL, all bits": (TCP_4 + b"\x00\x14" + INET + b"\x20\x00\x05\xff\xff\xff\xff\xff", TLS),
    "SSL, other bits": (TCP_4 + b"\x00\x14" + INET + b"\x20\x00\x05\xfe\x00\x00\x00\x01", PLAIN),
    "SSL, version": (TCP_4 + b"\x00\x18" + INET + b"\x20\x00\x09\x01\0\0\0\0\x21\x00\x01x", TLS),
    "SSL first": (TCP_4 + b"\x00\x19" + INET + SSL + b"\x01\x00\x02h2", TLS),
    "SSL last": (TCP_4 + b"\x00\x19" + INET + b"\x01\x00\x02h2" + SSL, TLS),
    "SSL as a value": (TCP_4 + b"\x00\x17" + INET + b"\x04\x00\x08" + SSL, PLAIN),
}

# Each ends with the byte at which it is refused.
Bad = dict[str, tuple[bytes, ...]]
BAD_1: Bad = {
    "another protocol": (b"G", b"\x16", b"\0", b"PRI"),
    "lower case": (b"p", b"Pr", b"PROXY t", b"PROXY u"),
    "no single space": (b"PROXYT", b"PROXY UNKNOWNS", b"PROXY\t", b"PROXY  ", b"PROXY\r"),
    "family": (b"PROXY UD", b"PROXY TCP5", b"PROXY TCP ", b"PROXY TCP4\r"),
    "UNKNOWN, LF": (b"PROXY UNKNOWN\n", b"PROXY UNKNOWN 1 2\n"),
    "UNKNOWN, CR": (b"PROXY UNKNOWN\rG", b"PROXY UNKNOWN 1 2\rG", b"PROXY UNKNOWN 1 2\r\r"),
    "UNKNOWN, NUL": (b"PROXY UNKNOWN\0", b"PROXY UNKNOWN 1 2\0"),
    "UNKNOWN, too long": (b"PROXY UNKNOWN " + b"x" * 92,),
    "no source": (b"PROXY TCP4  ", b"PROXY TCP6  "),
    "no destination": (b"PROXY TCP4 192.0.2.7  ", b"PROXY TCP6 ::1  "),
    "how many numbers": (b"PROXY TCP4 1 ", b"PROXY TCP4 1.2.3 ", b"PROXY TCP4 1.2.3.4.5 "),
    "number too large": (b"PROXY TCP4 1.2.3.256 ", b"PROXY TCP4 1.2.3.4 1.2.3.256 "),
    "leading zero": (b"PROXY TCP4 1.2.3.04 ", b"PROXY TCP6 ::ffff:1.2.3.04 "),
    "no digit": (b"PROXY TCP4 0x", b"PROXY TCP4 l", b"PROXY TCP4 1.2.3.4/", b"PROXY TCP4 \xd9"),
    "no hexadecimal digit": (b"PROXY TCP6 2001:dg", b"PROXY TCP6 -"),
    "other family": (b"PROXY TCP4 2001:", b"PROXY TCP6 1.2.3.4 ", b"PROXY TCP6 ::1 1.2.3.4 "),
    "address too wide": (b"PROXY TCP4 192.0.2.71111111", b"PROXY TCP6 " + WIDE + b"f"),
    "brackets, scope": (b"PROXY TCP6 [", b"PROXY TCP6 fe80::1%"),
    "groups": (b"PROXY TCP6 1:2:3:4:5:6:7 ", b"PROXY TCP6 1:2:3:4:5:6:7:8:9 "),
    "group too wide": (b"PROXY TCP6 02001::7 ",),
    "gaps": (b"PROXY TCP6 1::2::3 ", b"PROXY TCP6 1:::2 "),
    "no port": (ADDRESSES + b" ", ADDRESSES + b"1  ", ADDRESSES + b"1\r", ADDRESSES + b"1 \r\n"),
    "port too large": (ADDRESSES + b"65536 ", ADDRESSES + b"1 65536\r\n"),
    "port too wide": (ADDRESSES + b"563244", ADDRESSES + b"1 100000"),
    "port, leading zero": (ADDRESSES + b"056 ", ADDRESSES + b"00 ", ADDRESSES + b"1 0443\r\n"),
    "port, no digit": (ADDRESSES + b"+", ADDRESSES + b"-", ADDRESSES + b"h", ADDRESSES + b"1 \xb2"),
    "LF": (ADDRESSES + b"1 2\n", ADDRESSES + b"\n", b"PROXY TCP4 1.2.3.4\n"),
    "CR": (ADDRESSES + b"1 2\rG", ADDRESSES + b"1 2\r\r"),
    "NUL, space": (ADDRESSES + b"1 2\0", b"PROXY TCP4 1.2.3.4\0", ADDRESSES + b"1 2 "),
}
BAD_2: Bad = {
    "another protocol": (b"G", b"\x16", b"\r\n\r\nG"),
    "wrong signature": (b"\r\n\r\n\x00\r\nq", b"\r\n\r\n\x00\r\nQUIT\r"),
    "version": (SIGNATURE + b"\x01", SIGNATURE + b"\x11", SIGNATURE + b"\x31"),
    "command": (SIGNATURE + b"\x22", SIGNATURE + b"\x2f"),
    "family and transport": (PROXY + b"\x41", PROXY + b"\x13", PROXY + b"\xff"),
    "DGRAM": (PROXY + b"\x12", PROXY + b"\x22", PROXY + b"\x32", PROXY + b"\x02"),
    "combination": (PROXY + b"\x01", PROXY + b"\x10", PROXY + b"\x20", PROXY + b"\x30"),
    "too short": (TCP_4 + b"\x00\x0b", TCP_6 + b"\x00\x23", UNIX + b"\x00\xd7"),
    "too long": (TCP_4 + b"\x10\x01", UNSPEC + b"\xff\xff", LOCAL + b"\x00\x10\x01"),
    "TLV head cut off": (TCP_4 + b"\x00\x0d" + INET, TCP_4 + b"\x00\x0e" + INET),
    "TLV head cut off, second": (TCP_4 + b"\x00\x11" + INET + b"\x04\x00\x00",),
    "TLV cut off": (TCP_4 + b"\x00\x10" + INET + b"\x04\x00\x02", UNSPEC + b"\0\x03\x04\xff\xff"),
    "TLV cut off, second": (TCP_4 + b"\x00\x12" + INET + b"\x04\x00\x00\x01\x00\x01",),
    "SSL, empty": (TCP_4 + b"\x00\x0f" + INET + b"\x20\x00\x00",),
    "SSL, too short": (TCP_4 + b"\x00\x13" + INET + b"\x20\x00\x04",),
    "SSL, cut off": (TCP_4 + b"\x00\x14" + INET + b"\x20\x00\x06",),
}

REQUEST = b"GET / HTTP/1.1\r\nHost: zebra.example\r\n\r\n"
# What may follow a header, and must not be taken for more of it.
FOLLOWERS = (b"", b"\0", b"\r\n\r\n", b"\x16\x03\x01", b"PROXY UNKNOWN\r\n", SIGNATURE, REQUEST)

GOOD: list[tuple[str, Versions, bytes, ProxyHeader]] = [
    *((name, "v1", *case) for name, case in GOOD_1.items()),
    *((name, "v2", *case) for name, case in GOOD_2.items()),
    *((f"{name} as any", "any", *case) for name, case in (*GOOD_1.items(), *GOOD_2.items())),
]
BAD: list[tuple[str, Versions, bytes]] = [
    *((name, "v1", data) for name, variants in BAD_1.items() for data in variants),
    *((name, "v2", data) for name, variants in BAD_2.items() for data in variants),
]
BAD += [(f"{name} as any", "any", data) for name, _, data in BAD]


def one_by_one(data: bytes) -> Iterator[bytes]:
    """Yield the bytes, each by itself."""
    return (data[at : at + 1] for at in range(len(data)))


def outcome(pieces: Iterable[bytes]) -> tuple[ProxyHeader | None, int, bool]:
    """Return the header, the bytes taken by the calls that returned, and whether one raised."""
    reader = HeaderReader("any")
    taken = 0
    for piece in pieces:
        try:
            taken += reader.feed(piece)
        except ProxyProtocolError:
            return None, taken, True
    return reader.header, taken, False


class ReaderTestCase(unittest.TestCase):
    """Tests that feed a reader."""

    def assert_read(
        self, versions: Versions, pieces: Iterable[bytes], size: int, expected: ProxyHeader
    ) -> None:
        """The pieces are a header of that size and what follows it, of which nothing is taken."""
        reader = HeaderReader(versions)
        offset = 0
        for piece in pieces:
            belongs = max(0, min(len(piece), size - offset))
            self.assertEqual(reader.feed(piece), belongs, f"{piece!r} at {offset}")
            offset += len(piece)
            self.assertEqual(reader.header, expected if offset >= size else None, f"at {offset}")

    def assert_open(self, versions: Versions, data: bytes) -> HeaderReader:
        """The bytes may still become a header; return the reader that took them."""
        reader = HeaderReader(versions)
        self.assertEqual(reader.feed(data), len(data))
        self.assertIsNone(reader.header)
        return reader

    def refusal(self, reader: HeaderReader, data: bytes) -> str:
        """Return the text of the error with which the bytes are refused."""
        with self.assertRaises(ProxyProtocolError) as caught:
            reader.feed(data)
        self.assertIsNone(reader.header)
        self.assertIsInstance(caught.exception, ServerError)
        return str(caught.exception)


class HeaderTests(ReaderTestCase):
    """Headers that are one, and where they end."""

    def test_whole(self):
        """The proxy sends the header and what follows in one piece."""
        for name, versions, data, header in GOOD:
            with self.subTest(name):
                for follower in FOLLOWERS:
                    self.assert_read(versions, [data + follower], len(data), header)

    def test_two_pieces(self):
        """The network cuts the bytes in two, anywhere."""
        for name, versions, data, header in GOOD:
            with self.subTest(name):
                stream = data + REQUEST
                for cut in range(len(data) + 3):
                    self.assert_read(versions, [stream[:cut], stream[cut:]], len(data), header)

    def test_one_by_one(self):
        """The network delivers byte by byte."""
        for name, versions, data, header in GOOD:
            with self.subTest(name):
                self.assert_read(versions, one_by_one(data + REQUEST), len(data), header)

    def test_longest(self):
        """The proxy sends the longest headers that there are."""
        sizes = [len(GOOD_1[f"{name}, longest"][0]) for name in ("TCP4", "TCP6", "UNKNOWN")]
        self.assertEqual((*sizes, len(GOOD_2["NOOP, longest"][0])), (56, 104, 107, BOUND))

    def test_every_type(self):
        """The proxy sends a TLV of every type but SSL."""
        tlvs = b"".join(bytes((kind, 0, 1, 1)) for kind in range(256) if kind != 0x20)
        data = TCP_4 + (12 + len(tlvs)).to_bytes(2) + INET + tlvs
        self.assert_read("v2", [data + REQUEST], len(data), PLAIN)


class RefusalTests(ReaderTestCase):
    """What is no header, refused at the byte that shows it."""

    def test_refused(self):
        """The peer sends something else: in one piece, with more behind it, byte by byte."""
        for name, versions, data in BAD:
            with self.subTest(name, data=data):
                self.refusal(HeaderReader(versions), data)
                self.refusal(HeaderReader(versions), data + REQUEST)
                reader = HeaderReader(versions)
                for byte in one_by_one(data[:-1]):
                    self.assertEqual(reader.feed(byte), 1)
                self.refusal(reader, data[-1:])

    def test_again(self):
        """The peer goes on, with a true header, after it was refused."""
        for name, versions, data in BAD:
            with self.subTest(name, data=data):
                reader = HeaderReader(versions)
                self.refusal(reader, data)
                for byte in one_by_one(GOOD_1["UNKNOWN"][0]):
                    self.refusal(reader, byte)

    def assert_next(self, versions: Versions, start: bytes, allowed: bytes) -> None:
        """After the start, each of the bytes allowed is taken and every other one refused."""
        for byte in one_by_one(bytes(range(256))):
            with self.subTest(start=start, byte=byte):
                if byte in allowed:
                    self.assert_open(versions, start + byte)
                else:
                    self.refusal(HeaderReader(versions), start + byte)

    def test_every_byte(self):
        """The peer sends any byte there is where only a few have a meaning."""
        self.assert_next("v1", b"", b"P")
        self.assert_next("v2", b"", b"\r")
        self.assert_next("any", b"", b"P\r")
        self.assert_next("any", b"PROXY ", b"TU")
        self.assert_next("any", b"PROXY TCP4 ", b"0123456789.")
        self.assert_next("any", b"PROXY TCP6 ", b"0123456789abcdefABCDEF:.")
        self.assert_next("any", ADDRESSES, b"0123456789")
        self.assert_next("any", SIGNATURE, b"\x20\x21")
        self.assert_next("any", SIGNATURE + b"\x20", bytes(range(256)))
        self.assert_next("any", SIGNATURE + b"\x21", b"\x00\x11\x21\x31")

    def test_every_length(self):
        """The proxy announces any length there is."""
        for start, least in ((UNSPEC, 3), (TCP_4, 12), (TCP_6, 36), (UNIX, 216)):
            for length in (*range(1, 220), 4095, 4096, 4097, 65535):
                with self.subTest(start=start, length=length):
                    data = start + length.to_bytes(2)
                    if least <= length <= 4096:
                        self.assert_open("v2", data)
                    else:
                        self.refusal(HeaderReader("v2"), data)

    def test_versions(self):
        """The proxy speaks the version that the operator has not chosen."""
        self.refusal(HeaderReader("v1"), GOOD_2["INET"][0])
        self.refusal(HeaderReader("v2"), GOOD_1["TCP4"][0])

    def test_text(self):
        """The operator reads in the log what was refused, and no byte of the peer as it is."""
        for name, versions, data in (*BAD, ("", "any", b"PROXY UNKNOWN " + b"\xff" * 92)):
            with self.subTest(name, data=data):
                text = self.refusal(HeaderReader(versions), data)
                self.assertRegex(text, r"\A[\x20-\x7e]{9,500}\Z")
        self.assertIn("'1.2.3.256'", self.refusal(HeaderReader("v1"), b"PROXY TCP4 1.2.3.256 "))
        self.assertIn("b'G'", self.refusal(HeaderReader("any"), REQUEST))


class BoundTests(ReaderTestCase):
    """What a peer can make the reader hold."""

    def test_never_complete(self):
        """The peer stops one byte before the end of its header."""
        for name, versions, data, header in GOOD:
            with self.subTest(name):
                reader = self.assert_open(versions, data[:-1])
                self.assertEqual((reader.feed(b""), reader.header), (0, None))
                self.assertEqual((reader.feed(data[-1:]), reader.header), (1, header))

    def test_endless(self):
        """The peer never ends its line or its TLVs."""
        for start, filler, most in (
            (b"PROXY TCP4 ", b"1", 107),
            (b"PROXY TCP6 ", b"f", 107),
            (b"PROXY UNKNOWN ", b" ", 107),
            (TCP_4 + b"\x10\x00" + INET, b"\x04", BOUND),
            (TCP_4 + b"\x10\x00" + INET, b"\x00", BOUND),
            (LOCAL + b"\x00\x10\x00", b"\xff", BOUND),
        ):
            with self.subTest(start=start, filler=filler):
                header, taken, refused = outcome([start, *[filler] * 2 * BOUND])
                self.assertTrue(header or refused)
                self.assertLessEqual(taken, most)

    def test_memory(self):
        """The peer sends the largest header but for its end, byte by byte."""
        many = TCP_4 + b"\x0f\xff" + INET + b"\x04\x00\x00" * 1361
        for data in (GOOD_2["LOCAL, longest"][0], GOOD_2["NOOP, longest"][0], many):
            pieces = list(one_by_one(data[:-1]))
            reader = HeaderReader("any")
            tracemalloc.start()
            try:
                for piece in pieces:
                    reader.feed(piece)
                held, _ = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            self.assertIsNone(reader.header)
            self.assertLess(held, 2 * BOUND)


class FuzzTests(unittest.TestCase):
    """Headers that chance has damaged."""

    def damaged(self, dice: random.Random, vectors: list[bytes]) -> bytes:
        """Return one of the vectors with a few bytes changed, cut out, put in or repeated."""
        data = bytearray(dice.choice(vectors))
        for _ in range(dice.randint(1, 4)):
            at = dice.randrange(len(data) + 1)
            end = at + dice.choice((0, 1, 1, 2, 8))
            other = dice.choice(vectors)
            sign = dice.choice((b"", b" ", b"\r", b"\n", b"\r\n", b"\0", b"0", b":", b"."))
            noise = dice.randbytes(end - at)
            data[at:end] = dice.choice((noise, sign, data[at:end] * 2, other[at:end], other[at:]))
        return bytes(data)

    def test_damaged(self):
        """The proxy sends damaged headers, and the network cuts them anywhere."""
        dice = random.Random(20260114)
        vectors = [data for data, _ in (*GOOD_1.values(), *GOOD_2.values()) if len(data) < 300]
        counts = {"read": 0, "refused": 0, "open": 0}
        for turn in range(4000):
            data = self.damaged(dice, vectors)
            cuts = sorted(dice.randrange(len(data) + 1) for _ in range(dice.randint(0, 6)))
            pieces = [data[left:right] for left, right in pairwise((0, *cuts, len(data)))]
            with self.subTest(turn=turn, data=data, cuts=cuts):
                header, taken, refused = outcome([data])
                self.assertLessEqual(taken, BOUND)
                self.assertEqual(outcome(pieces)[::2], (header, refused))
                self.assertEqual(outcome(one_by_one(data))[::2], (header, refused))
                if header is not None:
                    self.assertEqual(outcome([data[:taken]]), (header, taken, False))
                    self.assertEqual(outcome([data[: taken - 1]]), (None, taken - 1, False))
            counts["read" if header else "refused" if refused else "open"] += 1
        self.assertGreater(min(counts.values()), 100, counts)

    def test_noise(self):
        """The proxy sends noise after a true beginning."""
        dice = random.Random(20260115)
        for turn in range(2000):
            start = dice.choice(GOOD)[2][: dice.randrange(30)]
            data = start + dice.randbytes(dice.randint(0, BOUND + 100))
            with self.subTest(turn=turn):
                self.assertLessEqual(outcome([data])[1], BOUND)
