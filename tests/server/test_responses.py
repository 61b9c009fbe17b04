"""Responses as bytes: framing, the default headers, and the server's own pages."""

from __future__ import annotations

import unittest

from django.test import tag

from django_daphne.server.protocols.responses import DefaultHeaders, error_page
from tests.compliance import request
from tests.support.memory import WireTestCase

OLD = b"GET / HTTP/1.0\r\n\r\n"
OLD_KEPT = b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
HEAD = request(line=b"HEAD / HTTP/1.1")
GET = request()
KEPT, CLOSED = None, "close"


@tag("loop")
class FramingTests(WireTestCase):
    """How a client finds the end of a body, and what becomes of the connection."""

    # Request, status, Content-Length of the application, parts of the body; and of the response
    # Content-Length, Transfer-Encoding and Connection.
    TABLE = (
        (GET, 200, None, 1, "5", None, KEPT),
        (GET, 200, None, 2, None, "chunked", KEPT),
        (GET, 200, b"5", 1, "5", None, KEPT),
        (GET, 200, b"10", 2, "10", None, KEPT),
        (GET, 404, None, 1, "5", None, KEPT),
        (GET, 204, None, 1, None, None, KEPT),
        (GET, 204, b"5", 1, None, None, KEPT),
        (GET, 304, b"5", 1, "5", None, KEPT),
        (GET, 304, None, 2, None, None, KEPT),
        (GET, 205, None, 0, "0", None, KEPT),
        (HEAD, 200, b"5", 1, "5", None, KEPT),
        (HEAD, 200, b"99", 1, "99", None, KEPT),
        (OLD, 200, None, 1, "5", None, CLOSED),
        (OLD, 200, None, 2, None, None, CLOSED),
        (OLD, 200, b"10", 2, "10", None, CLOSED),
        (OLD_KEPT, 200, None, 1, "5", None, "keep-alive"),
        (OLD_KEPT, 200, b"10", 2, "10", None, "keep-alive"),
        (OLD_KEPT, 200, None, 2, None, None, CLOSED),
        (OLD_KEPT, 204, None, 1, None, None, "keep-alive"),
    )

    def test_table(self):
        """Every kind of client gets every kind of response."""
        for row in self.TABLE:
            wire, status, told, parts, length, coding, connection = row
            with self.subTest(row=row):
                client, call = self.begin(wire)
                call.start(status, [] if told is None else [(b"content-length", told)])
                for number in range(1, max(parts, 1) + 1):
                    call.body(b"hello" if parts else b"", more=number < parts)
                (response,) = client.responses("HEAD" if wire is HEAD else "GET")
                self.assertEqual(response.status, status)
                found = [
                    response.headers.get(name)
                    for name in (b"content-length", b"transfer-encoding", b"connection")
                ]
                expected = (length, coding, connection)
                self.assertEqual(found, [value and value.encode() for value in expected])
                bodiless = wire is HEAD or status in (204, 304)
                self.assertEqual(response.body, b"" if bodiless else b"hello" * parts)
                self.assertEqual(client.ended, connection == CLOSED)


class DefaultHeadersTests(unittest.TestCase):
    """Date and Server, made once a second."""

    def setUp(self):
        self.time = 784111777.5

    def test_date(self):
        """The client reads a date in the one form there is (RFC 9110, 5.6.7)."""
        headers = DefaultHeaders("daphne", lambda: self.time)
        self.assertEqual(headers.date(), b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n")
        self.assertEqual(headers.server, b"Server: daphne\r\n")

    def test_once_a_second(self):
        """The server answers twice in a second, then in the next one."""
        headers = DefaultHeaders("", lambda: self.time)
        first = headers.block()
        self.time += 0.4
        self.assertIs(headers.block(), first)
        self.time += 0.2
        self.assertEqual(headers.block(), b"Date: Sun, 06 Nov 1994 08:49:38 GMT\r\n")

    def test_clock_goes_back(self):
        """The machine's clock is set back, and so is the date."""
        headers = DefaultHeaders("", lambda: self.time)
        headers.block()
        self.time -= 3600
        self.assertEqual(headers.block(), b"Date: Sun, 06 Nov 1994 07:49:37 GMT\r\n")


class ErrorPageTests(unittest.TestCase):
    """The server's own answers."""

    def test_page(self):
        """The client reads what happened, in HTML."""
        headers, body = error_page(503, "Come back later.")
        self.assertEqual(
            headers,
            [
                (b"Content-Type", b"text/html; charset=utf-8"),
                (b"Content-Length", str(len(body)).encode()),
            ],
        )
        for part in (
            b"<title>503 Service Unavailable</title>",
            b"<h1>503 Service Unavailable</h1>",
            b"<p>Come back later.</p>",
            b"<footer>Daphne</footer>",
        ):
            self.assertIn(part, body)

    def test_unknown_status(self):
        """The status has no name."""
        self.assertIn(b"<h1>499 Error</h1>", error_page(499, "")[1])

    def test_escaping(self):
        """Whatever the text is, it is text."""
        self.assertNotIn(b"<script>", error_page(400, "<script>alert(1)</script>")[1])
