"""The readers of request bodies: however the bytes are cut, the body is the same."""

from __future__ import annotations

import unittest
from collections.abc import Iterable

from django_daphne.server.exceptions import PeerError
from django_daphne.server.protocols.http11_body import BodyReader, ChunkedBody, LengthBody
from django_daphne.server.protocols.http11_head import HeadReader

NEXT = b"GET / HTTP/1.1\r\n"


def chunked(max_body: int | None = None, max_trailers: int | None = 1000) -> ChunkedBody:
    """Return a reader of chunks."""
    return ChunkedBody(HeadReader(100), max_body, max_trailers)


def feed(body: BodyReader, pieces: Iterable[bytes]) -> tuple[bytes, bytes]:
    """Return what the reader makes of pieces of input, and what it leaves."""
    data, rest = b"", b""
    for piece in pieces:
        rest += piece
        if not body.complete:
            found, offset = body.read(rest, 0)
            data, rest = data + found, rest[offset:]
    return data, rest


class LengthTests(unittest.TestCase):
    """Bodies of a known length."""

    def test_whole(self):
        """The client sends the body and the beginning of its next request."""
        body = LengthBody(5)
        self.assertEqual(body.read(b"....hello" + NEXT, 4), (b"hello", 9))
        self.assertTrue(body.complete)

    def test_pieces(self):
        """The client sends the body in pieces."""
        body = LengthBody(5)
        self.assertEqual(body.read(b"he", 0), (b"he", 2))
        self.assertEqual((body.remaining, body.complete), (3, False))
        self.assertEqual(body.read(b"xxllo", 2), (b"llo", 5))
        self.assertEqual((body.remaining, body.complete), (0, True))

    def test_exact(self):
        """The client sends the body and nothing else."""
        body = LengthBody(5)
        self.assertEqual(body.read(b"hello", 0), (b"hello", 5))
        self.assertTrue(body.complete)

    def test_empty(self):
        """The client announces no bytes, and the body is complete from the start."""
        self.assertTrue(LengthBody(0).complete)


class ChunkTests(unittest.TestCase):
    """Bodies in chunks."""

    WIRE = (
        b"5\r\nhello\r\n1;a=b\r\n \r\n00A \t;x\r\n0123\r\n5678\r\n0\r\nX-Sum: 1\r\nX-B: 2\r\n\r\n"
    )
    BODY = b"hello 0123\r\n5678"[:16]

    def test_every_cut(self):
        """The client's chunks are cut in two at each place."""
        for cut in range(len(self.WIRE) + 1):
            body = chunked()
            found = feed(body, (self.WIRE[:cut], self.WIRE[cut:] + NEXT))
            self.assertEqual((*found, body.complete), (self.BODY, NEXT, True), cut)

    def test_single_bytes(self):
        """The client's chunks come a byte at a time."""
        body = chunked()
        found = feed(body, [bytes([byte]) for byte in self.WIRE + NEXT])
        self.assertEqual((*found, body.complete), (self.BODY, NEXT, True))

    def test_nothing_is_held(self):
        """The client is in the middle of a chunk, all of which so far has been handed on."""
        body = chunked()
        self.assertEqual(body.read(b"a\r\n01234", 0), (b"01234", 8))
        self.assertEqual(body.read(b"567", 0), (b"567", 3))
        self.assertFalse(body.complete)
        self.assertIsNone(body.remaining)

    def test_sizes(self):
        """The client writes the same size in several ways."""
        for size in (b"a", b"A", b"0a", b"000000000000000a"):
            self.assertEqual(feed(chunked(), [size + b"\r\n0123456789"])[0], b"0123456789", size)

    def assert_refused(self, wire: bytes, status: int = 400, **limits: int) -> None:
        """The reader refuses as soon as it has seen all of ``wire``, and not before."""
        body = chunked(**limits)
        with self.assertRaises(PeerError, msg=wire) as caught:
            feed(body, [wire])
        self.assertEqual(caught.exception.status, status, wire)

    def test_bad_sizes(self):
        """The client writes sizes that are none; it is refused before their line ends."""
        for size in (b"g", b"-1", b"+1", b"0x1", b" 1", b"1 1", b"1,", b"", b"1\n", b"1\x00"):
            self.assert_refused(size + b"\r\n")
        for start in (b"g", b"-", b"+", b" ", b"0x", b"\n", b"1;a\x00"):
            self.assert_refused(start)

    def test_too_many_digits(self):
        """The client writes 17 digits, zeros though they are."""
        self.assert_refused(b"0" * 17 + b"\r\n")

    def test_bare_lines(self):
        """The client ends lines with LF or CR alone."""
        self.assert_refused(b"1\na\r\n")
        self.assert_refused(b"1\r\na\n")
        self.assert_refused(b"1\r\naa")
        self.assert_refused(b"1\r\na\rx")
        self.assert_refused(b"1\rx")
        self.assert_refused(b"1;\n\r\n")

    def test_extensions_are_bounded(self):
        """The client sends an extension without end."""
        self.assert_refused(b"1;" + b"a" * 2000)
        self.assertEqual(feed(chunked(), [b"1;" + b"a" * 500 + b"\r\nx"])[0], b"x")

    def test_max_body(self):
        """The client announces the chunk that is too much; it is not waited for."""
        self.assertEqual(feed(chunked(10), [b"5\r\nhello\r\n5\r\nworld\r\n"])[0], b"helloworld")
        self.assert_refused(b"5\r\nhello\r\n6\r\n", 413, max_body=10)
        self.assert_refused(b"ffffffffffffffff\r\n", 413, max_body=10)

    def test_trailers_are_bounded(self):
        """The client sends trailers without end."""
        self.assert_refused(b"0\r\nA: " + b"a" * 2000, 431)
        self.assert_refused(b"0\r\n" + b"A: a\r\n" * 101 + b"\r\n", 431, max_trailers=10**6)

    def test_bad_trailers(self):
        """The client sends trailers that are no fields."""
        self.assert_refused(b"0\r\nA B: 1\r\n\r\n")
        self.assert_refused(b"0\r\n folded\r\n\r\n")
