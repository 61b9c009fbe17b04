"""The reader of request heads: what it answers. What it refuses is mostly in the corpus."""

from __future__ import annotations

import unittest
from typing import Any

from django.test import tag

from django_daphne.server.exceptions import PeerError
from django_daphne.server.interfaces import RequestHead
from django_daphne.server.protocols.http11_head import HeadReader
from tests.compliance import CHUNKED, FIVE, GET_10, POST, request
from tests.support.memory import Puppet, WireTestCase


class HeadTestCase(unittest.TestCase):
    """Tests with a reader of their own."""

    def setUp(self):
        self.reader = HeadReader(100)

    def read(self, *fields: bytes, **more: Any) -> RequestHead:
        """Return a head that is legal but for the arguments."""
        return self.reader.read(request(*fields, **more))

    def refusal(self, *fields: bytes, **more: Any) -> int:
        """Return the status with which a head is refused."""
        with self.assertRaises(PeerError) as caught:
            self.read(*fields, **more)
        return caught.exception.status


class FactsTests(HeadTestCase):
    """What is read from a head."""

    def test_plain(self):
        """The client asks for a page and nothing else."""
        head = self.read(line=b"GET /a%20b?c=d HTTP/1.1")
        self.assertEqual((head.method, head.http_version), ("GET", "1.1"))
        self.assertEqual((head.target, head.path, head.query), (b"/a%20b?c=d", b"/a%20b", b"c=d"))
        self.assertEqual(head.headers, [(b"host", b"zebra.example")])
        self.assertEqual((head.keep_alive, head.has_body, head.content_length), (True, False, None))
        self.assertEqual((head.expect_continue, head.accepts_trailers), (False, False))

    def test_bodies(self):
        """The client announces bodies in every way."""
        for field, expected in (
            (FIVE, (True, 5)),
            (b"Content-Length: 0", (False, 0)),
            (CHUNKED, (True, None)),
            (b"X: 1", (False, None)),
        ):
            head = self.read(field, line=POST)
            self.assertEqual((head.has_body, head.content_length), expected, field)

    def test_keep_alive(self):
        """The client says what shall become of the connection."""
        for line, field, expected in (
            (b"GET / HTTP/1.1", b"Connection: close", False),
            (b"GET / HTTP/1.1", b"Connection: Keep-Alive", True),
            (b"GET / HTTP/1.1", b"Connection: x,\tClose ,y", False),
            (b"GET / HTTP/1.1", b"Connection: closed", True),
            (GET_10, b"X: 1", False),
            (GET_10, b"Connection: Keep-Alive", True),
            (GET_10, b"Connection: keep-alive, close", False),
        ):
            head = HeadReader(100).read(request(field, line=line))
            self.assertEqual(head.keep_alive, expected, (line, field))

    def test_repeated_connection(self):
        """The client says it in two fields, which are one list."""
        self.assertFalse(self.read(b"Connection: x", b"Connection: close").keep_alive)

    def test_expectations(self):
        """The client expects 100, with a body and on HTTP/1.1, where alone it means something."""
        expect = b"Expect: 100-Continue"
        self.assertTrue(self.read(expect, FIVE, line=POST).expect_continue)
        self.assertFalse(self.read(expect, line=POST).expect_continue)
        self.assertFalse(self.read(expect, FIVE, line=b"POST / HTTP/1.0").expect_continue)
        self.assertFalse(self.read(b"Expect: x", FIVE, line=POST).expect_continue)

    def test_trailers(self):
        """The client takes trailers, among other codings."""
        self.assertTrue(self.read(b"TE: gzip, Trailers").accepts_trailers)
        self.assertFalse(self.read(b"TE: gzip").accepts_trailers)
        self.assertFalse(self.read(b"TE: trailers", line=GET_10).accepts_trailers)

    def test_values(self):
        """The client surrounds values with blanks, which are no part of them."""
        head = self.read(b"A:\t 1 2 \t ", b"B:", b"C: \t", b"D:\xff")
        expected = [(b"a", b"1 2"), (b"b", b""), (b"c", b""), (b"d", b"\xff")]
        self.assertEqual(head.headers[1:], expected)


class RepetitionTests(HeadTestCase):
    """One reader reads all heads of a connection."""

    def test_nothing_is_carried_over(self):
        """The client sends a head with everything, then a plain one."""
        everything = (CHUNKED, b"Connection: x", b"TE: trailers", b"Expect: 100-continue")
        for _ in range(3):
            self.read(*everything, line=POST)
            head = self.read()
            self.assertEqual((head.keep_alive, head.has_body), (True, False))
            self.assertEqual((head.expect_continue, head.accepts_trailers), (False, False))
            self.assertEqual(head.headers, [(b"host", b"zebra.example")])

    def test_hosts(self):
        """The client sends good hosts and then a bad one, or none."""
        for _ in range(2):
            self.read(host=b"Host: a.example")
            self.read(host=b"Host: b.example:80")
        self.assertEqual(self.refusal(host=b"Host: a b"), 400)
        self.assertEqual(self.refusal(host=None), 400)
        self.assertEqual(self.refusal(host=b"Host:"), 400)

    def test_no_host_after_http10(self):
        """The client leaves Host out in HTTP/1.0, which may, and in 1.1, which may not."""
        keep = b"Connection: keep-alive"
        self.assertTrue(self.read(keep, host=None, line=b"GET / HTTP/1.0").keep_alive)
        self.assertEqual(self.refusal(keep, host=None), 400)

    def test_targets_are_not_mixed_up(self):
        """The client repeats its fields behind other targets: a path, a URL, an asterisk."""
        for _ in range(2):
            self.assertEqual(self.read(line=b"GET /a?b HTTP/1.1").path, b"/a")
            absolute = self.read(line=b"GET http://other.example/c HTTP/1.1")
            self.assertEqual((absolute.path, absolute.headers[0][1]), (b"/c", b"other.example"))
            self.assertEqual(self.read(line=b"OPTIONS * HTTP/1.1").path, b"*")
            self.assertEqual(self.read().headers, [(b"host", b"zebra.example")])

    def test_kept_connections(self):
        """The client says odd things of a connection that is kept, and goes on with it."""
        for field in (b"Proxy-Connection: close", b"Keep-Alive: close", b"Connection: closed"):
            for _ in range(2):
                self.assertTrue(self.read(field).keep_alive)
            self.assertEqual(self.read().headers, [(b"host", b"zebra.example")])

    def test_headers_are_their_own(self):
        """The application changes the headers of one request; the others' stay."""
        first = self.read(b"A: 1")
        second = self.read(b"B: 2")
        first.headers.clear()
        self.assertEqual(second.headers, [(b"host", b"zebra.example"), (b"b", b"2")])

    def test_count(self):
        """The client sends too many fields, whatever they are."""
        self.assertEqual(self.refusal(*[b"A: 1"] * 100), 431)
        self.assertEqual(self.refusal(*[b"A_B: 1"] * 100), 431)
        self.read(*[b"A: 1"] * 99)


class TrailerTests(HeadTestCase):
    """Trailers, which are read by the same grammar."""

    def test_good(self):
        """The client sends trailers of its own."""
        trailers = self.reader.read_trailers(b"X-Sum: 1\r\nx-sum:2 \r\n\r\n")
        self.assertEqual(trailers, [(b"x-sum", b"1"), (b"x-sum", b"2")])

    def test_forbidden(self):
        """The client sends in trailers what frames, routes or authenticates."""
        names = (b"Host", b"Content-Length", b"Transfer-Encoding", b"Authorization", b"Cookie")
        for name in (*names, b"x-forwarded-for", b"TE", b"Content-Type"):
            with self.assertRaises(PeerError, msg=name) as caught:
                self.reader.read_trailers(name + b": 1\r\n\r\n")
            self.assertEqual(caught.exception.status, 400)


@tag("loop")
class CutTests(WireTestCase):
    """Limits hold for what is sent, not for how it is cut."""

    def test_exact_sizes(self):
        """The client sends the longest line and the largest headers, cut at each place."""
        line = b"GET /" + b"a" * 26 + b" HTTP/1.1"
        wire = request(b"X: " + b"a" * 14, line=line)
        fields = len(wire) - len(line) - len(b"\r\n\r\n")
        limits = {"max_request_line": len(line), "max_header_size": fields}
        for cut in range(1, len(wire)):
            puppet = Puppet()
            client = self.connect(puppet, **limits)
            client.send(wire[:cut])
            client.send(wire[cut:])
            self.assertEqual((client.read(), len(puppet.calls)), (b"", 1), cut)
            puppet.calls[0].answer()
