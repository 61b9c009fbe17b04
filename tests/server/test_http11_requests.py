"""Requests on their way in: bodies, their framing, and Expect: 100-continue."""

from __future__ import annotations

from django.test import tag

from tests.compliance import CHUNKED, FIVE, POST, request
from tests.support.memory import WireTestCase

from .test_http11 import GET, UPLOAD, echo_body


@tag("loop")
class RequestBodyTests(WireTestCase):
    """Bodies on their way to the application."""

    def test_small_body_is_complete(self):
        """The client sends head and body together; the first receive() has all of it."""
        _, call = self.begin(UPLOAD)
        message = call.receive_now()
        self.assertEqual(message, {"type": "http.request", "body": b"hello", "more_body": False})

    def test_no_body(self):
        """The client sends no body; the application gets one empty message."""
        _, call = self.begin(GET)
        self.assertEqual(
            call.receive_now(), {"type": "http.request", "body": b"", "more_body": False}
        )

    def test_body_in_pieces(self):
        """The client sends its body piece by piece and the application sees each."""
        client, call = self.begin(request(b"Content-Length: 6", line=POST))
        for piece, more in ((b"ab", True), (b"cd", True), (b"ef", False)):
            waiting = call.receive()
            self.assertFalse(waiting.done())
            client.send(piece)
            self.assertEqual(
                waiting.result(), {"type": "http.request", "body": piece, "more_body": more}
            )

    def test_chunked_body(self):
        """The client sends chunks cut in the middle; the application sees no framing."""
        client, call = self.begin(request(CHUNKED, line=POST))
        for piece in (b"5;note=1\r\nhel", b"lo\r\n3\r", b"\nabc\r\n0\r\n", b"\r\n"):
            client.send(piece)
        self.assertEqual(
            call.receive_now(), {"type": "http.request", "body": b"helloabc", "more_body": False}
        )

    def test_trailers_are_dropped(self):
        """The client sends trailers, which are checked and then forgotten."""
        client = self.connect(echo_body)
        client.send(request(CHUNKED, line=POST, body=b"2\r\nhi\r\n0\r\nX-Sum: 9\r\n\r\n") + GET)
        self.assertEqual([each.body for each in client.responses()], [b"hi", b""])

    def test_bad_trailers(self):
        """The client sends trailers that it must not, or that are none."""
        for trailer in (b"Content-Length: 5", b"Host: other", b"X Y: 1", b"X-Y"):
            client = self.connect(echo_body)
            wire = request(CHUNKED, line=POST, body=b"2\r\nhi\r\n0\r\n" + trailer + b"\r\n\r\n")
            client.send(wire)
            self.assertEqual(client.statuses(), [400], trailer)
            self.assert_ends(client)


@tag("loop")
class ContinueTests(WireTestCase):
    """Expect: 100-continue is answered when the application first asks for the body."""

    EXPECT = request(FIVE, b"Expect: 100-continue", line=POST)
    CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

    def test_asked(self):
        """The application asks for the body, and only then the client is told to go on."""
        client, call = self.begin(self.EXPECT)
        self.assertEqual(client.read(), b"")
        waiting = call.receive()
        self.assertEqual(client.read(), self.CONTINUE)
        client.send(b"hello")
        self.assertEqual(waiting.result()["body"], b"hello")
        call.answer()
        self.assertEqual(client.statuses(), [200])
        self.assert_open(client)

    def test_once(self):
        """The application asks twice and the client is told once."""
        client, call = self.begin(self.EXPECT)
        call.receive()
        client.read()
        client.send(b"he")
        call.receive()
        self.assertEqual(client.read(), b"")

    def test_impatient_client(self):
        """The client does not wait and is not told what it knows."""
        client, call = self.begin(self.EXPECT + b"hello")
        call.receive_now()
        call.answer()
        self.assertEqual(client.statuses(), [200])

    def test_refused(self):
        """The application answers without asking: no 100, and nobody knows what comes next."""
        client, call = self.begin(self.EXPECT)
        call.answer(status=403)
        self.assertEqual(client.statuses(), [403])
        self.assertTrue(client.ended)

    def test_http10(self):
        """The client of HTTP/1.0 expects what it must not be sent."""
        post = request(FIVE, b"Expect: 100-continue", line=b"POST / HTTP/1.0")
        client, call = self.begin(post)
        call.receive()
        self.assertEqual(client.read(), b"")
