"""Exchanges of HTTP/1.1 and HTTP/1.0: what goes in and the bytes that come out."""

from __future__ import annotations

import asyncio
from typing import Any

from django.test import tag

from tests.compliance import CHUNKED, FIVE, GET_10, POST, request
from tests.support.memory import DATE, SERVER, MemoryClient, Puppet, WireTestCase

GET = request()
UPLOAD = request(FIVE, line=POST, body=b"hello")


def get(path: str) -> bytes:
    """Return a GET request for ``path``."""
    return request(line=f"GET {path} HTTP/1.1".encode())


async def echo_path(scope: Any, receive: Any, send: Any) -> None:
    """Answer at once with the path."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["path"].encode()})


async def echo_body(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the body of the request."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


@tag("loop")
class ResponseTests(WireTestCase):
    """One request and the bytes of its answer."""

    def test_whole_response(self):
        """The application answers in one part, and every byte is where it should be."""
        client, call = self.begin(GET)
        call.start(200, [(b"Content-Type", b"text/plain"), (b"X-Two", b"a"), (b"X-Two", b"b")])
        call.body(b"hello")
        self.assertEqual(
            client.read(),
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-Two: a\r\nX-Two: b\r\n"
            b"Content-Length: 5\r\n" + DATE + SERVER + b"\r\nhello",
        )

    def test_one_write(self):
        """The application answers in one part, which leaves in one write with the head."""
        client, call = self.begin(GET)
        call.answer(b"hello")
        self.assertEqual(client.transport.writes, 1)

    def test_pieces_of_a_turn(self):
        """The application streams without a wait: what it says in one turn leaves in one write."""
        writes: list[int] = []

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200})
            for _ in range(2):
                for _ in range(100):
                    piece = {"type": "http.response.body", "body": b"piece", "more_body": True}
                    await send(piece)
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                writes.append(client.transport.writes)
            await send({"type": "http.response.body"})

        client = self.connect(application)
        client.send(GET)
        self.assertEqual((writes, client.transport.writes), ([1, 2], 3))
        self.assertEqual([answer.body for answer in client.responses()], [b"piece" * 200])

    def test_any_method(self):
        """The client uses methods of its own making, in their own letter case."""
        for method in ("BREW", "get", "M-SEARCH", "QUERY", "!#$%&'*+.^_`|~9"):
            client, call = self.begin(request(line=f"{method} /tea HTTP/1.1".encode()))
            call.answer()
            self.assertEqual(call.scope["method"], method)
            self.assertEqual(client.statuses(), [200])

    def test_date_on_errors(self):
        """The client sends garbage and still learns the date."""
        client = self.connect(Puppet())
        client.send(b"\x00\r\n\r\n")
        self.assertIn(DATE, client.read())

    def test_own_date_and_server(self):
        """The application sends its own Date and Server, which stand alone."""
        client, call = self.begin(GET)
        call.start(200, [(b"date", b"then"), (b"server", b"mine")])
        call.body()
        head = client.read().lower()
        self.assertEqual((head.count(b"date:"), head.count(b"server:")), (1, 1))
        self.assertIn(b"date: then\r\nserver: mine\r\n", head)

    def test_no_server_name(self):
        """The operator wants no Server header; the application's own stays possible."""
        client, call = self.begin(GET, server_name="")
        call.answer()
        self.assertEqual(client.statuses(), [200])

    def test_head(self):
        """The client sends HEAD: the length of the body is told, the body is not sent."""
        client, call = self.begin(request(line=b"HEAD / HTTP/1.1") + GET)
        call.answer(b"hello")
        self.assertTrue(client.read().endswith(b"\r\n\r\n"))
        self.assert_open(client)

    def test_head_keeps_content_length(self):
        """The application tells the length of a body that it does not send to HEAD."""
        client, call = self.begin(request(line=b"HEAD / HTTP/1.1"))
        call.start(200, [(b"Content-Length", b"99")])
        call.body()
        (response,) = client.responses("HEAD")
        self.assertEqual(response.headers[b"content-length"], b"99")
        self.assert_open(client)

    def test_no_content(self):
        """The application sends a body with 204, which has none, nor a length of one."""
        client, call = self.begin(GET)
        call.start(204, [(b"Content-Length", b"5")])
        call.body(b"hello")
        self.assertEqual(client.read(), b"HTTP/1.1 204 No Content\r\n" + DATE + SERVER + b"\r\n")
        self.assert_open(client)

    def test_not_modified(self):
        """The application answers 304 with the length that 200 would have had (RFC 9110, 8.6)."""
        client, call = self.begin(GET)
        call.start(304, [(b"Content-Length", b"5")])
        call.body()
        head = b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n"
        self.assertEqual(client.read(), head + DATE + SERVER + b"\r\n")

    def test_chunks(self):
        """The application streams a body; empty parts are no chunks, which would end it."""
        client, call = self.begin(GET)
        call.start()
        for data in (b"", b"hello", b"", b"0123456789abcdef"):
            call.body(data, more=True)
        call.body()
        self.assertEqual(
            client.read(),
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" + DATE + SERVER + b"\r\n"
            b"5\r\nhello\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n",
        )
        self.assert_open(client)

    def test_stream_with_length(self):
        """The application streams a body of a length that it has told."""
        client, call = self.begin(GET)
        call.start(200, [(b"Content-Length", b"6")])
        call.body(b"abc", more=True)
        call.body(b"def")
        self.assertTrue(client.read().endswith(b"\r\n\r\nabcdef"))
        self.assert_open(client)

    def test_application_asks_to_close(self):
        """The application sends Connection: close and the server closes."""
        client, call = self.begin(GET)
        call.start(200, [(b"Connection", b"Close")])
        call.body(b"hello")
        self.assertIn(b"\r\nConnection: close\r\n", client.read())
        self.assert_ends(client)

    def test_application_frames(self):
        """The application sends Transfer-Encoding, which is not its business."""
        client, call = self.begin(GET)
        call.start(200, [(b"Transfer-Encoding", b"gzip, chunked")])
        call.body(b"hello")
        self.assertNotIn(b"transfer-encoding", client.read().lower())

    def test_unknown_status(self):
        """The application answers with a status that has no name."""
        client, call = self.begin(GET)
        call.answer(b"hello", status=299)
        self.assertTrue(client.read().startswith(b"HTTP/1.1 299 \r\n"))


@tag("loop")
class PersistenceTests(WireTestCase):
    """One request after another on a connection."""

    def test_keep_alive(self):
        """The client sends a second request after the first answer."""
        client = self.connect(echo_path)
        for path in ("/a", "/b"):
            client.send(get(path))
            (response,) = client.responses()
            self.assertEqual((response.status, response.body), (200, path.encode()))
        self.assert_open(client)

    def test_client_closes(self):
        """The client sends Connection: close among other words."""
        client = self.connect(echo_path)
        client.send(request(b"Connection: Foo, CLOSE"))
        self.assertIn(b"\r\nConnection: close\r\n", client.read())
        self.assert_ends(client)

    def test_http10(self):
        """The client speaks HTTP/1.0 and nothing else: one answer, then the end."""
        client = self.connect(echo_path)
        client.send(b"GET /a HTTP/1.0\r\n\r\n")
        self.assertEqual(
            client.read(),
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n"
            + DATE
            + SERVER
            + b"\r\n/a",
        )
        self.assert_ends(client)

    def test_http10_keep_alive(self):
        """The client speaks HTTP/1.0 and asks to keep the connection."""
        client = self.connect(echo_path)
        client.send(request(b"Connection: keep-alive", line=GET_10))
        self.assertIn(b"\r\nConnection: keep-alive\r\n", client.read())
        self.assert_open(client)

    def test_http10_stream(self):
        """The client speaks HTTP/1.0, which has no chunks: the end is the end of the body."""
        client, call = self.begin(request(b"Connection: keep-alive", line=GET_10))
        call.start()
        call.body(b"hel", more=True)
        call.body(b"lo")
        data = client.read()
        self.assertTrue(data.endswith(b"\r\nConnection: close\r\n" + DATE + SERVER + b"\r\nhello"))
        self.assertNotIn(b"Transfer-Encoding", data)
        self.assert_ends(client)

    def test_upgrade_is_ignored(self):
        """The client offers an Upgrade nobody speaks, with a body that belongs to the request."""
        client = self.connect(echo_body)
        upgrade = (b"Connection: Upgrade", b"Upgrade: h2c")
        client.send(request(*upgrade, FIVE, line=POST, body=b"hello") + get("/next"))
        first, second = client.responses()
        self.assertEqual((first.status, first.body), (200, b"hello"))
        self.assertEqual((second.status, second.body), (200, b""))

    def test_blank_line_between(self):
        """The client sends one blank line after its body."""
        client = self.connect(echo_body)
        client.send(UPLOAD + b"\r\n" + GET)
        self.assertEqual(client.statuses(), [200, 200])


@tag("loop")
class PipeliningTests(WireTestCase):
    """Many requests without waiting for answers."""

    def test_order(self):
        """The client pipelines a slow request and a fast one, and is answered in that order."""
        puppet = Puppet()
        client = self.connect(puppet)
        client.send(get("/a") + get("/b"))
        self.assertEqual([call.scope["path"] for call in puppet.calls], ["/a"])
        puppet.calls[0].answer(b"slow")
        puppet.calls[1].answer(b"fast")
        self.assertEqual([each.body for each in client.responses()], [b"slow", b"fast"])

    def test_bodies(self):
        """The client pipelines requests with bodies of both kinds."""
        client = self.connect(echo_body)
        chunked = request(CHUNKED, line=POST, body=b"3\r\nabc\r\n0\r\n\r\n")
        client.send(UPLOAD + chunked + UPLOAD)
        self.assertEqual([each.body for each in client.responses()], [b"hello", b"abc", b"hello"])

    def test_ten_thousand(self):
        """The client pipelines 10,000 requests in one piece and gets as many answers."""
        client = self.connect(echo_path, max_pipelined_size=10**7)
        client.send(get("/a") * 10_000)
        self.assertEqual(client.read().count(b"HTTP/1.1 200 OK\r\n"), 10_000)

    def test_turns(self):
        """The client pipelines many requests; other connections get their turn in between."""
        seen: list[str] = []

        async def application(scope: Any, receive: Any, send: Any) -> None:
            seen.append(scope["path"])
            await echo_path(scope, receive, send)

        server = self.serve(application)
        many, one = server.connect(), server.connect()

        def arrive() -> None:
            many.transport.arrive(get("/many") * 40)
            one.transport.arrive(get("/one"))

        server.call(arrive)
        server.settle()
        self.assertEqual(len(seen), 41)
        self.assertLessEqual(seen.index("/one"), 16)


@tag("loop")
class TrailerTests(WireTestCase):
    """Trailer fields behind a response."""

    def respond(self, *fields: bytes) -> MemoryClient:
        """Return the client of an application that ends its response with trailers."""
        client, call = self.begin(request(*fields))
        call.start(200, [(b"Trailer", b"X-Sum")], trailers=True)
        call.body(b"hello")
        call.send("trailers", headers=[(b"X-Sum", b"1")], more_trailers=True).result()
        call.send("trailers", headers=[(b"X-Too", b"2")]).result()
        call.finish()
        self.assert_open(client)
        return client

    def test_client_takes_them(self):
        """The client says TE: trailers and gets them."""
        data = self.respond(b"TE: trailers").read()
        self.assertTrue(data.endswith(b"\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\nX-Too: 2\r\n\r\n"))

    def test_client_does_not(self):
        """The client says nothing of trailers and gets none."""
        data = self.respond().read()
        self.assertTrue(data.endswith(b"\r\n\r\nhello"))
        self.assertNotIn(b"X-Sum: 1", data)

    def test_forgotten(self):
        """The application promises trailers and returns without; the next request is served."""
        puppet = Puppet()
        client = self.connect(puppet)
        client.send(get("/a") + get("/b"))
        first = puppet.calls[0]
        first.start(200, trailers=True)
        first.body(b"one")
        with self.assertNoLogs("django_daphne.server", "ERROR"):  # nobody is harmed
            first.finish()
        puppet.calls[1].answer(b"two")
        self.assertEqual([each.body for each in client.responses()], [b"one", b"two"])

    def test_disconnect_without_trailers(self):
        """The client takes no trailers, has its answer and leaves; the application learns it."""
        client, call = self.begin(GET)
        call.start(200, trailers=True)
        call.receive_now()
        call.body(b"hello")
        waiting = call.receive()
        client.reset()
        self.assertTrue(waiting.done())
        with self.assertNoLogs("django_daphne.server", "ERROR"):
            call.finish()
