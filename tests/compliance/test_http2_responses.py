"""Responses of HTTP/2 over real sockets: what an application says, and what the client reads."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from django.test import tag

from tests.support.http2 import SocketClient
from tests.support.http2_conversation import Answer
from tests.support.http2_frames import (
    Code,
    Field,
    data_frame,
    header_frames,
    headers_frame,
    literal,
    request_fields,
)

from .http2 import Gate, HTTP2TestCase, Receive, Send, answer, body, start

FIVE = (b"content-length", b"5")


class ResponseTestCase(HTTP2TestCase):
    """Tests of one answer, and of the connection's next."""

    def say(self, *messages: Any, method: bytes = b"GET", **values: Any) -> Answer:
        """Return what the client reads of an application that sends these messages."""

        async def handler(scope: Any, receive: Receive, send: Send) -> None:
            for message in messages:
                await send(message)

        self.serve(handler, **values)
        client = self.connect()
        found = client.finish(client.start(method))
        self.assert_served(client)
        return found

    def begin(self, *headers: Field, status: int = 200) -> Any:
        """Return the message that begins a response."""
        return {"type": "http.response.start", "status": status, "headers": [*headers]}

    def piece(self, data: bytes, *, more: bool = False) -> Any:
        """Return the message with a piece of a body."""
        return {"type": "http.response.body", "body": data, "more_body": more}


@tag("loop")
class HeadTests(ResponseTestCase):
    """The head of a response (RFC 9113, section 8.3.2)."""

    def test_defaults(self) -> None:
        """The application says nothing of length, date and server."""
        found = self.say(self.begin(), self.piece(b"hello"))
        self.assert_answer(found, b"hello")
        self.assertEqual({*found.headers}, {b"content-length", b"date", b"server"})
        self.assertEqual(found.headers[b"content-length"], b"5")

    def test_pieces(self) -> None:
        """The application sends pieces, whose length nobody knows."""
        found = self.say(self.begin(), self.piece(b"hel", more=True), self.piece(b"lo"))
        self.assert_answer(found, b"hello")
        self.assertNotIn(b"content-length", found.headers)

    def test_names(self) -> None:
        """The application writes names in any case, and they arrive in lower case."""
        found = self.say(self.begin((b"X-Zebra", b"A b"), (b"Set-Cookie", b"a")), self.piece(b""))
        self.assertEqual(found.headers[b"x-zebra"], b"A b")

    def test_repeated(self) -> None:
        """The application sets cookies, which arrive one by one in order."""
        cookies = [(b"set-cookie", b"%d" % number) for number in range(5)]
        found = self.say(self.begin(*cookies), self.piece(b""))
        self.assertEqual([each for each in found.fields if each in cookies], cookies)

    def test_connection_fields(self) -> None:
        """The application names what HTTP/2 has no place for, and it is dropped."""
        names = (b"Keep-Alive", b"Proxy-Connection", b"Transfer-Encoding", b"Upgrade")
        found = self.say(self.begin(*((name, b"chunked") for name in names)), self.piece(b"hello"))
        self.assert_answer(found, b"hello")
        self.assertEqual({*found.headers}, {b"content-length", b"date", b"server"})

    def test_large(self) -> None:
        """The application sends more headers than go into one frame."""
        fields = [(b"x-%d" % number, b"v" * 1000) for number in range(50)]
        found = self.say(self.begin(*fields), self.piece(b"hello"))
        self.assert_answer(found, b"hello")
        self.assertEqual([each for each in found.fields if each[0][:2] == b"x-"], fields)

    def test_bad_headers(self) -> None:
        """The application sends headers that would be another message, or none."""
        for name, value in (
            (b"x-a", b"a\r\nb: c"),
            (b"a b", b"a"),
            (b":status", b"200"),
            (b"", b"a"),
        ):
            with self.subTest(name=name), self.logged():
                self.assertEqual(self.say(self.begin((name, value)), self.piece(b"")).status, 500)

    def test_no_body(self) -> None:
        """The application answers 204 and 304, and HEAD, with a body that nobody may see."""
        for status, method in ((204, b"GET"), (304, b"GET"), (200, b"HEAD"), (404, b"HEAD")):
            with self.subTest(status=status, method=method):
                messages = (self.begin(FIVE, status=status), self.piece(b"hello"))
                found = self.say(*messages, method=method)
                self.assert_answer(found, b"", status)
                self.assertEqual(found.pieces, [])

    def test_head_length(self) -> None:
        """The client asks for the head alone, and is told how long the body would be."""
        found = self.say(self.begin(FIVE), self.piece(b"hello"), method=b"HEAD")
        self.assertEqual(found.headers[b"content-length"], b"5")

    def test_access_log(self) -> None:
        """The operator reads of HTTP/2 in the access log."""
        self.say(self.begin(), self.piece(b"hello"))
        records = [(record.http_version, record.status) for record in self.server.access]
        self.assertEqual(records, [("2", 200)] * 2)

    def test_file(self) -> None:
        """The application sends a file."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "file")
            path.write_bytes(bytes(range(250)) * 2000)
            message = {"type": "http.response.pathsend", "path": str(path)}
            found = self.say(self.begin((b"content-length", b"500000")), message)
            self.assert_answer(found, path.read_bytes())


@tag("loop")
class FaultTests(ResponseTestCase):
    """Applications that fail, or do not keep their word."""

    def test_before_response(self) -> None:
        """The application fails before it has answered."""

        async def fail(scope: Any, receive: Receive, send: Send) -> None:
            raise ValueError("zebra")

        self.serve(fail)
        client = self.connect()
        with self.logged():
            found = client.request()
        self.assertEqual((found.status, found.ended), (500, True))
        self.assertNotIn(b"zebra", found.body)
        self.assert_served(client)

    def test_silent(self) -> None:
        """The application ends without an answer."""
        with self.logged():
            self.assertEqual(self.say().status, 500)

    def test_after_start(self) -> None:
        """The application fails when its response has begun."""

        async def fail(scope: Any, receive: Receive, send: Send) -> None:
            await start(send)
            await body(send, b"hello", more=True)
            raise ValueError("zebra")

        self.serve(fail)
        client = self.connect()
        with self.logged():
            found = client.request()
        self.assertEqual((found.status, found.reset), (200, Code.INTERNAL_ERROR))
        self.assert_served(client)

    def test_ends_early(self) -> None:
        """The application ends in the middle of its response."""
        with self.logged():
            found = self.say(self.begin(), self.piece(b"hello", more=True))
        self.assertEqual((found.status, found.reset), (200, Code.INTERNAL_ERROR))

    def test_too_short(self) -> None:
        """The application sends less than it declared."""
        with self.logged():
            found = self.say(self.begin(FIVE), self.piece(b"hell"))
        self.assertEqual(found.reset, Code.INTERNAL_ERROR)
        self.assertFalse(found.ended)

    def test_too_long(self) -> None:
        """The application sends more than it declared, and it is cut."""
        with self.logged():
            found = self.say(self.begin(FIVE), self.piece(b"hel", more=True), self.piece(b"lo!"))
        self.assert_answer(found, b"hello")


@tag("loop")
class ExtraTests(ResponseTestCase):
    """What comes before a response, and behind it."""

    def test_continue(self) -> None:
        """The client expects 100, and gets it when the application asks for the body."""
        gate = Gate()

        async def handler(scope: Any, receive: Receive, send: Send) -> None:
            await gate.wait()
            await answer(scope, receive, send)

        self.serve(handler)
        client = self.connect()
        found = client.start(b"POST", b"/a", (b"expect", b"100-continue"), end=False)
        client.settle()
        self.assertEqual(found.hints, [])
        gate.open()
        client.read_until(lambda: found.hints)
        client.send_body(found, b"hello")
        self.assert_answer(client.finish(found), b"POST /a 5")
        self.assertEqual(found.hints, [(100, ())])

    def test_continue_not_needed(self) -> None:
        """The client expects 100, and is answered without it."""

        async def refuse(scope: Any, receive: Receive, send: Send) -> None:
            await start(send, status=403)
            await body(send, b"no")

        self.serve(refuse, linger_timeout=0.2)
        client = self.connect()
        found = client.start(b"POST", b"/a", (b"expect", b"100-continue"), end=False)
        client.read_until(lambda: found.ended)
        self.assertEqual((found.status, found.hints), (403, []))
        client.read_until(lambda: found.reset is not None)
        self.assertEqual(found.reset, Code.NO_ERROR)
        self.assert_served(client)

    def test_hints(self) -> None:
        """The application hints twice, and the client gets both before its answer."""
        hints = [
            {"type": "http.response.early_hint", "links": [b"</a>; rel=preload"]},
            {"type": "http.response.early_hint", "links": [b"</b>", b"</c>"]},
        ]
        found = self.say(*hints, self.begin(), self.piece(b"hello"))
        self.assert_answer(found, b"hello")
        one, two = (b"link", b"</a>; rel=preload"), ((b"link", b"</b>"), (b"link", b"</c>"))
        self.assertEqual(found.hints, [(103, (one,)), (103, two)])

    async def _trail(self, scope: Any, receive: Receive, send: Send) -> None:
        self.application.note("http.response.trailers" in scope["extensions"])
        await send({**self.begin(), "trailers": True})
        await body(send, b"hello")
        await send(
            {
                "type": "http.response.trailers",
                "headers": [(b"X-Sum", b"1"), (b"x-b", b"")],
                "more_trailers": False,
            }
        )

    def test_trailers(self) -> None:
        """The client takes trailers, and gets them."""
        self.serve(self._trail)
        client = self.connect()
        found = client.request(b"GET", b"/", (b"te", b"trailers"))
        self.assertIs(self.application.next_note(), True)
        self.assert_answer(found, b"hello")
        self.assertEqual(found.trailers, ((b"x-sum", b"1"), (b"x-b", b"")))
        self.assert_served(client)

    def test_trailers_unwanted(self) -> None:
        """The client says nothing of trailers, and gets none."""
        self.serve(self._trail)
        client = self.connect()
        found = client.request(b"GET", b"/")
        self.assert_answer(found, b"hello")
        self.assertIsNone(found.trailers)

    def test_trailers_of_request(self) -> None:
        """The client sends trailers, which end the body."""
        self.serve()
        client = self.connect()
        found = client.start(b"POST", end=False)
        client.send_body(found, b"hello", end=False)
        client.settle()
        client.send(headers_frame(found.number, literal(((b"x-a", b"a"),))))
        self.assert_answer(client.finish(found), b"POST /zebra 5")

    def test_large_request_head(self) -> None:
        """The client sends more headers than go into one frame."""
        self.serve()
        client = self.connect()
        found = client.conversation.begin(client.take_number(), b"GET")
        fields = request_fields(b"GET", b"/", (b"x-a", b"a" * 40_000))
        client.send(header_frames(found.number, literal(fields)))
        self.assert_answer(client.finish(found), b"GET / 0")
        self.assertEqual(len(dict(self.application.scopes[0]["headers"])[b"x-a"]), 40_000)


@tag("loop")
class EarlyTests(ResponseTestCase):
    """Answers that are complete before their requests are (RFC 9113, section 8.1)."""

    async def _refuse(self, scope: Any, receive: Receive, send: Send) -> None:
        await start(send, status=403)
        await body(send, b"no")

    def refused(self, **values: int | float) -> tuple[SocketClient, Answer]:
        """Return a client whose windows are small, and the whole answer to an upload it began."""
        self.serve(self._refuse, http2_stream_window=65536, **values)
        client = self.connect()
        client.settle()
        found = client.start(b"POST", end=False)
        client.read_until(lambda: found.ended)
        self.assertEqual((found.status, found.body), (403, b"no"))
        return client, found

    def test_reset(self) -> None:
        """The client says no more, and is told not to."""
        client, found = self.refused(linger_timeout=0.2, http2_connection_window=65536)
        client.read_until(lambda: found.reset is not None)
        self.assertEqual(found.reset, Code.NO_ERROR)
        for _ in range(50):  # what is on its way is no fault, and costs the others no window
            client.read_until(lambda: client.conversation.window >= 10_000)
            client.conversation.window -= 10_000
            client.send(data_frame(found.number, bytes(10_000)))
        client.send(data_frame(found.number, end=True))
        self.assert_served(client)

    def test_rest(self) -> None:
        """The client sends the rest all the same, and the stream ends without a reset."""
        client, found = self.refused()
        client.send_body(found, bytes(500_000))
        self.assert_served(client)
        self.assert_answer(found, b"no", 403)

    def test_large_rest(self) -> None:
        """The client sends more than the server throws away, until the window is shut."""
        client, found = self.refused(linger_timeout=0.5, max_discard_size=100_000)
        client.send_body(found, bytes(1_000_000))
        self.assertEqual(found.reset, Code.NO_ERROR)
        self.assertLessEqual(found.sent, 100_000 + 65536)
        self.assert_served(client)

    def test_end_at_once(self) -> None:
        """The client has ended, and nothing is reset."""
        self.serve(self._refuse)
        client = self.connect()
        self.assert_answer(client.request(b"POST"), b"no", 403)
        client.settle()

    def test_half_read(self) -> None:
        """The application answers when it has read a part."""

        async def handler(scope: Any, receive: Receive, send: Send) -> None:
            await receive()
            await self._refuse(scope, receive, send)

        self.serve(handler)
        client = self.connect()
        for _ in range(5):
            found = client.start(b"POST", end=False)
            client.send_body(found, bytes(100_000), end=False)
            client.finish(found)
            self.assertEqual((found.status, found.body), (403, b"no"))
        self.assert_served(client)
