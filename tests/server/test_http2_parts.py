"""Fields of HTTP/2 and the requests that they make, without a connection."""

from __future__ import annotations

import random
import tracemalloc
from typing import Any

import hpack
from django.test import SimpleTestCase
from hpack.table import HeaderTable

from django_daphne.server import ServerConfig
from django_daphne.server.exceptions import HTTP2Error, PeerError, StreamError
from django_daphne.server.protocols.http2_fields import NO_TABLE, FieldReader, write_field
from django_daphne.server.protocols.http2_head import HeadReader
from tests.support.http2_frames import Code, Fields, request_fields

GET = request_fields(b"GET", b"/", (b"x-zebra", b"1"))


class FieldReaderTests(SimpleTestCase):
    """Blocks of fields, and what is remembered of them."""

    def setUp(self):
        self.reader = FieldReader(10_000)
        self.encoder = hpack.Encoder()

    def read(self, fields: Fields) -> Fields:
        """Return what is read of what an encoder makes of fields."""
        return self.reader.read(self.encoder.encode(fields))

    def test_repeated(self):
        """The client repeats itself, and is understood the same way each time."""
        for _ in range(5):
            self.assertEqual(self.read(GET), GET)

    def test_same_block_other_table(self):
        """The client's table changes, and what was one field is another in the same bytes."""
        first = b"\x40\x01a\x01b"
        self.assertEqual(self.reader.read(first), ((b"a", b"b"),))
        for _ in range(3):
            self.assertEqual(self.reader.read(b"\xbe"), ((b"a", b"b"),))
        self.assertEqual(self.reader.read(b"\x40\x01c\x01d"), ((b"c", b"d"),))
        for _ in range(3):
            self.assertEqual(self.reader.read(b"\xbe"), ((b"c", b"d"),))
            self.assertEqual(self.reader.read(b"\xbf"), ((b"a", b"b"),))

    def test_eviction(self):
        """The client's table becomes too small for what it had: references to it are errors."""
        self.reader.read(b"\x40\x01a\x01b")
        self.assertEqual(self.reader.read(b"\xbe"), ((b"a", b"b"),))
        self.assertEqual(self.reader.read(b"\x20"), ())
        with self.assertRaises(HTTP2Error) as caught:
            self.reader.read(b"\xbe")
        self.assertEqual(caught.exception.code, Code.COMPRESSION_ERROR)

    def test_size_update_beside_references(self):
        """The client makes its table smaller in the block that refers to the static one."""
        self.reader.read(b"\x40\x01a\x01b")
        self.reader.read(b"\xbe")
        self.assertEqual(self.reader.read(b"\x20\x82"), ((b":method", b"GET"),))
        with self.assertRaises(HTTP2Error):
            self.reader.read(b"\xbe")

    def test_never_indexed(self):
        """The client asks that a field is never kept: it is not, and nothing else changes."""
        self.reader.read(b"\x40\x01a\x01b")
        self.assertEqual(self.reader.read(b"\x10\x01s\x01t"), ((b"s", b"t"),))
        self.assertEqual(self.reader.read(b"\xbe"), ((b"a", b"b"),))

    def test_large_index(self):
        """The client refers to so late an entry that the number goes on in the next octet."""
        for number in range(100):
            self.reader.read(b"\x40\x03k%02d\x01v" % number)
        for _ in range(2):
            self.assertEqual(self.reader.read(b"\xff\x22"), ((b"k00", b"v"),))
        self.reader.read(b"\x40\x01x\x01y")
        self.assertEqual(self.reader.read(b"\xff\x22"), ((b"k01", b"v"),))

    def test_bad(self):
        """The client's block is none: an error of the connection."""
        for block in (
            b"\x80",
            b"\xbe",
            b"\xff\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
            b"\x40\x05ab",
            b"\x40",
            b"\x3f\xe2\x1f",  # a table of 4097 bytes
            b"\x82\x20",  # a size behind a field (RFC 7541, section 4.2)
            b"\x40\x81\xff\x01b",  # a Huffman code that is only padding
        ):
            with self.subTest(block=block), self.assertRaises(HTTP2Error) as caught:
                FieldReader(10_000).read(block)
            self.assertEqual(caught.exception.code, Code.COMPRESSION_ERROR, block)

    def test_oversized(self):
        """The client makes much of little, by references to one large field."""
        self.reader.read(b"\x40\x01a\x7f\xb1\x16" + b"x" * 2992)
        self.assertEqual(len(self.reader.read(b"\xbe" * 3)), 3)
        with self.assertRaises(HTTP2Error) as caught:
            self.reader.read(b"\xbe" * 4)
        self.assertEqual(caught.exception.code, Code.ENHANCE_YOUR_CALM)

    def test_against_another(self):
        """The client sends all kinds of fields; a decoder that remembers nothing reads the same."""
        source = random.Random(6)
        for _ in range(20):
            encoder, oracle, reader = hpack.Encoder(), hpack.Decoder(), FieldReader(10**6)
            names = [b"k%d" % number for number in range(8)]
            for step in range(200):
                if step % 50 == 49:
                    encoder.header_table_size = source.choice((0, 100, 200, 4096))
                fields: list[Any] = []
                for _ in range(source.randrange(4)):
                    field = source.choice(names), b"v%d" % source.randrange(4)
                    fields.append(
                        hpack.NeverIndexedHeaderTuple(*field) if source.random() < 0.1 else field
                    )
                block = encoder.encode(fields, huffman=source.random() < 0.5)
                expected = tuple(map(tuple, oracle.decode(block, raw=True)))
                self.assertEqual(tuple(map(tuple, reader.read(block))), expected)

    def test_noise(self):
        """The client sends noise: fields, or an error of the connection, and nothing else."""
        source = random.Random(7)
        for _ in range(3000):
            reader = FieldReader(1000)
            try:
                for _ in range(4):
                    reader.read(source.randbytes(source.randrange(1, 30)))
            except HTTP2Error as error:
                self.assertIn(error.code, (Code.COMPRESSION_ERROR, Code.ENHANCE_YOUR_CALM))


class FieldWriterTests(SimpleTestCase):
    """Fields that are written without a table of their own."""

    def written(self, *fields: tuple[bytes, bytes]) -> list[Any]:
        """Return what a strict decoder makes of fields, twice: nothing may be left of them."""
        decoder = hpack.Decoder(10**6)
        block = NO_TABLE + b"".join(map(write_field, fields))
        first, second = decoder.decode(block, raw=True), decoder.decode(block, raw=True)
        self.assertEqual(first, second)
        self.assertEqual(len(decoder.header_table.dynamic_entries), 0)
        return list(first)

    def test_all_kinds(self):
        """The server writes fields with known names or values, long ones, and empty ones."""
        fields = [
            (b":status", b"200"),
            (b":status", b"299"),
            (b"content-length", b"0"),
            (b"content-length", b"1" * 126),
            (b"content-length", b"1" * 127),
            (b"content-type", b"text/html"),
            (b"x" * 126, b"y" * 127),
            (b"x" * 300, b"y" * 70_000),
            (b"x-empty", b""),
            (b"x-latin", b"\xe9"),
            *HeaderTable.STATIC_TABLE[7:],
        ]
        for _ in range(2):
            self.assertEqual([tuple(field) for field in self.written(*fields)], fields)

    def test_never_indexed(self):
        """The server sends a cookie: nobody on the way may keep it in a table."""
        (cookie,) = self.written((b"set-cookie", b"sessionid=secret"))
        self.assertIsInstance(cookie, hpack.NeverIndexedHeaderTuple)
        (plain,) = self.written((b"x-a", b"b"))
        self.assertNotIsInstance(plain, hpack.NeverIndexedHeaderTuple)

    def test_many(self):
        """The server sends more different fields than are remembered."""
        for number in range(5000):
            field = (b"x-number", b"%d" % number)
            self.assertEqual(self.written(field), [field])


class HeadReaderTests(SimpleTestCase):
    """Requests from fields, and what is remembered of them."""

    def setUp(self):
        self.reader = HeadReader(ServerConfig().limits)

    def test_own_lists(self):
        """The client asks the same again and again: each request has headers of its own."""
        requests = [self.reader.read(GET, True) for _ in range(3)]
        expected = [(b"host", b"zebra.example"), (b"x-zebra", b"1")]
        for request in requests:
            self.assertEqual(request.headers, expected)
            request.headers.clear()
        self.assertEqual(self.reader.read(GET, True).headers, expected)

    def test_own_body(self):
        """The client asks the same with a body and without."""
        bodies = [self.reader.read(GET, ended).has_body for ended in (True, False, True, False)]
        self.assertEqual(bodies, [False, True, False, True])

    def test_own_marks(self):
        """The client's fields that mean something to the server mean it each time."""
        for name, value, mark in (
            (b"te", b"trailers", "accepts_trailers"),
            (b"expect", b"100-continue", "expect_continue"),
            (b"content-length", b"5", "content_length"),
        ):
            fields = request_fields(b"POST", b"/", (name, value))
            for _ in range(3):
                self.assertTrue(getattr(self.reader.read(fields, False), mark), mark)

    def test_faults_are_not_remembered(self):
        """The client repeats a malformed request, and one that is refused: again and again."""
        for fields, error in (
            (request_fields(b"GET", b"zebra"), StreamError),
            (request_fields(b"GET", b"/", (b"content-length", b"5")), StreamError),
            (request_fields(b"GET", b"/" + b"a" * 10_000), PeerError),
            (request_fields(b"GET", b"/", *[(b"x", b"y")] * 500), PeerError),
        ):
            for _ in range(3):
                with self.assertRaises(error):
                    self.reader.read(fields, True)

    def test_large(self):
        """The client asks for large things, each once: nothing is remembered of them."""
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        before, _ = tracemalloc.get_traced_memory()
        for number in range(60):
            cookie = b"%05d" % number * 10_000
            self.reader.read(request_fields(b"GET", b"/", (b"cookie", cookie)), True)
        after, _ = tracemalloc.get_traced_memory()
        self.assertLess(after - before, 500_000)

    def test_many(self):
        """The client asks for more different things than are remembered."""
        for _ in range(2):
            for number in range(200):
                fields = request_fields(b"GET", b"/%d?%d" % (number, number))
                request = self.reader.read(fields, True)
                self.assertEqual((request.path, request.query), (b"/%d" % number, b"%d" % number))
