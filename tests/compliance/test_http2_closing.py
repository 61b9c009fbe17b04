"""How connections of HTTP/2 end, over real sockets: drained, exhausted, idle or given up."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from concurrent.futures import Future
from typing import Any

from django.test import tag

from tests.support.http2 import SocketClient
from tests.support.http2_conversation import GoAway
from tests.support.http2_frames import (
    ACK,
    MAX_WINDOW,
    PREFACE,
    Code,
    Frame,
    Kind,
    cut,
    goaway_frame,
    headers_frame,
    literal,
    ping_frame,
    request_fields,
    settings_frame,
)
from tests.support.server import PATIENCE, running_loop

from .http2 import Gate, HTTP2TestCase, Receive, Send, answer, body, start, until_disconnect

GET = literal(request_fields())
TEXT = b"GET /zebra 0"
FIRST = GoAway(MAX_WINDOW, Code.NO_ERROR)


class ClosingTestCase(HTTP2TestCase):
    """Tests with requests that wait for the test."""

    def setUp(self) -> None:
        super().setUp()
        self.gate = Gate()
        self.addCleanup(self.gate.open)

    async def _hold(self, scope: Any, receive: Receive, send: Send) -> None:
        """Answer when the test says so."""
        self.application.note("held")
        await self.gate.wait()
        await answer(scope, receive, send)

    async def _wait(self, scope: Any, receive: Receive, send: Send) -> None:
        """End when the client is gone."""
        self.application.note("held")
        await until_disconnect(receive)

    def held(self, client: SocketClient) -> Any:
        """Return the answer to a request that is running."""
        found = client.start()
        self.assertEqual(self.application.next_note(), "held")
        return found

    def pings(self, client: SocketClient) -> list[bytes]:
        """Return the server's pings so far."""
        log = client.conversation.log
        return [each.payload for each in log if each.kind == Kind.PING and not each.flags & ACK]

    def assert_closed(self, client: SocketClient, *goaways: GoAway) -> None:
        """The server closes, and has said this of it."""
        client.read_to_end()
        self.assertEqual(client.conversation.goaways, [*goaways])


@tag("loop")
class DrainTests(ClosingTestCase):
    """The server stops (RFC 9113, section 6.8)."""

    def stop(self, graceful: float | None = None) -> Future[None]:
        """Begin to stop the server."""
        loop = running_loop().loop
        return asyncio.run_coroutine_threadsafe(self.server.server.stop(graceful), loop)

    def drained(self, client: SocketClient) -> Future[None]:
        """Stop the server; return when the client has heard of it, and not answered."""
        client.conversation.answers_pings = False
        stopping = self.stop()
        client.read_until(lambda: client.goaway is not None and self.pings(client))
        self.assertEqual(client.goaway, FIRST)
        return stopping

    def test_two_steps(self) -> None:
        """The client's requests from before its PING has come back are served, and no others."""
        self.serve(self._hold)
        client = self.connect()
        one = self.held(client)
        stopping = self.drained(client)
        two = self.held(client)
        client.send(ping_frame(self.pings(client)[0], ACK))
        client.settle()  # what is said of the one has been said before the answer to the other
        self.assertEqual(client.goaway, GoAway(two.number, Code.NO_ERROR))
        late = client.start()
        client.settle()
        self.gate.open()
        self.assert_answer(client.finish(one), TEXT)
        self.assert_answer(client.finish(two), TEXT)
        client.read_to_end()
        stopping.result(PATIENCE)
        self.assertEqual((late.status, self.application.calls), (None, 2))
        self.assertIn(late.reset, (None, Code.REFUSED_STREAM))

    def test_no_answer(self) -> None:
        """The client does not answer the PING, and the second step comes all the same."""
        self.serve(self._hold)
        client = self.connect()
        found = self.held(client)
        stopping = self.drained(client)
        client.read_until(lambda: len(client.conversation.goaways) == 2)
        self.gate.open()
        self.assert_answer(client.finish(found), TEXT)
        self.assert_closed(client, FIRST, GoAway(found.number, Code.NO_ERROR))
        stopping.result(PATIENCE)

    def test_upload(self) -> None:
        """The client is in the middle of an upload, and may end it."""
        self.serve()
        client = self.connect()
        found = client.start(b"POST", end=False)
        client.send_body(found, b"hell", end=False)
        client.settle()
        stopping = self.stop()
        client.read_until(lambda: len(client.conversation.goaways) == 2)
        client.send_body(found, b"o")
        self.assert_answer(client.finish(found), b"POST /zebra 5")
        self.assert_closed(client, FIRST, GoAway(found.number, Code.NO_ERROR))
        stopping.result(PATIENCE)

    def test_idle(self) -> None:
        """The client has nothing to wait for."""
        self.serve()
        client = self.connect()
        self.assert_served(client)
        stopping = self.stop()
        client.read_to_end()
        stopping.result(PATIENCE)
        self.assertEqual(client.conversation.goaways[0], FIRST)

    def test_time_is_over(self) -> None:
        """The client's request takes longer than the server waits."""
        self.serve(self._hold)
        client = self.connect()
        found = self.held(client)
        stopping = self.stop(0.2)
        client.read_to_end()
        stopping.result(PATIENCE)
        self.assertIsNone(found.status)
        self.application.wait_until_idle()


@tag("loop")
class ExhaustedTests(ClosingTestCase):
    """A connection that has had its share."""

    def test_max_requests(self) -> None:
        """The client sends as many requests as a connection may have."""
        self.serve(http2_max_requests=3)
        client = self.connect()
        for _ in range(3):
            self.assert_answer(client.request(), TEXT)
        client.read_to_end()
        self.assertEqual(client.goaway, GoAway(5, Code.NO_ERROR))
        self.assert_others_served()

    def test_max_requests_at_once(self) -> None:
        """The client sends its last requests together, and all of them are served."""
        self.serve(self._hold, http2_max_requests=3)
        client = self.connect()
        found = [self.held(client) for _ in range(3)]
        self.gate.open()
        for each in found:
            self.assert_answer(client.finish(each), TEXT)
        client.read_to_end()
        self.assertEqual(client.goaway, GoAway(5, Code.NO_ERROR))

    def test_application_closes(self) -> None:
        """The application says "connection: close": what is running ends, then the connection."""

        async def handler(scope: Any, receive: Receive, send: Send) -> None:
            if scope["path"] == "/last":
                await start(send, (b"connection", b"close"))
                await body(send, b"last")
            else:
                await self._hold(scope, receive, send)

        self.serve(handler)
        client = self.connect()
        found = self.held(client)
        self.assert_answer(client.finish(client.start(b"GET", b"/last")), b"last")
        client.read_until(lambda: client.goaway)
        self.gate.open()
        self.assert_answer(client.finish(found), TEXT)
        client.read_to_end()
        self.assertEqual(client.goaway, GoAway(3, Code.NO_ERROR))

    def test_client_goes(self) -> None:
        """The client says GOAWAY, and has the answers to what it asked before."""
        self.serve(self._hold)
        client = self.connect()
        found = self.held(client)
        client.send(goaway_frame())
        client.settle()
        self.gate.open()
        self.assert_answer(client.finish(found), TEXT)
        client.read_to_end()

    def test_client_goes_with_nothing(self) -> None:
        """The client says GOAWAY when nothing is running."""
        self.serve()
        client = self.connect()
        self.assert_served(client)
        client.send(goaway_frame())
        client.read_to_end()
        self.assertIn(client.goaway and client.goaway.code, (None, Code.NO_ERROR))

    def test_client_goes_with_error(self) -> None:
        """The client says GOAWAY with an error, and closes: the application is told."""

        self.serve(self._wait)
        client = self.connect()
        self.held(client)
        client.send(goaway_frame(0, Code.INTERNAL_ERROR, b"zebra"))
        client.sock.close()
        self.application.wait_until_idle()

    def test_half_close(self) -> None:
        """The client closes its own side, on which it would have to open windows: it is gone."""
        self.serve(self._wait)
        client = self.connect()
        self.held(client)
        client.sock.shutdown(socket.SHUT_WR)
        client.read_to_end()
        self.application.wait_until_idle()

    def test_limit_concurrency(self) -> None:
        """The client has more requests at the same time than the server takes."""
        self.serve(self._hold, limit_concurrency=2)
        client = self.connect()
        held = [self.held(client) for _ in range(2)]
        self.assertEqual(client.finish(client.start()).status, 503)
        self.gate.open()
        for each in held:
            self.assert_answer(client.finish(each), TEXT)
        self.application.wait_until_idle()
        self.assert_served(client)


@tag("loop")
class TimeTests(ClosingTestCase):
    """What takes too long."""

    def test_idle(self) -> None:
        """The client asks for nothing more."""
        self.serve(keep_alive_timeout=0.2)
        client = self.connect()
        found = client.request()
        self.assert_closed(client, GoAway(found.number, Code.NO_ERROR))

    def test_never_asked(self) -> None:
        """The client says its SETTINGS, and never asks for anything."""
        self.serve(keep_alive_timeout=0.1, header_timeout=0.2)
        client = self.connect()
        self.assert_closed(client, GoAway(0, Code.NO_ERROR))

    def test_not_idle(self) -> None:
        """The client waits for an answer for longer than it may be idle."""
        self.serve(self._hold, keep_alive_timeout=0.1, http2_ping_interval=0.2)
        client = self.connect()
        found = self.held(client)
        client.read_until(lambda: len(self.pings(client)) >= 2)
        self.gate.open()
        self.assert_answer(client.finish(found), TEXT)
        self.assert_closed(client, GoAway(found.number, Code.NO_ERROR))

    def check_beginning(self, wire: bytes) -> list[Frame]:
        """Send this and no more, no answers either; return what is heard until the end."""
        self.serve(header_timeout=0.2, keep_alive_timeout=None)
        client = self.connect(greet=False)
        client.send(wire)
        pieces = []
        with contextlib.suppress(ConnectionError):
            while data := client.sock.recv(65536):
                pieces.append(data)
        self.assertEqual(self.application.calls, 0)
        self.assert_others_served()
        return cut(b"".join(pieces))[0]

    def test_preface(self) -> None:
        """The client's preface never ends; nobody knows yet that it is one, nor need to."""
        self.serve(header_timeout=0.2)
        with socket.create_connection(self.server.address, PATIENCE) as sock:
            sock.sendall(PREFACE[:16])
            while sock.recv(1000):
                pass

    def test_settings(self) -> None:
        """The client's SETTINGS never come."""
        self.check_beginning(PREFACE)

    def test_half_settings(self) -> None:
        """The client's SETTINGS never end."""
        self.check_beginning(PREFACE + settings_frame({1: 4096})[:-1])

    def test_block(self) -> None:
        """The client's header block never ends."""
        wire = PREFACE + settings_frame() + headers_frame(1, GET, end_headers=False)
        self.assertEqual(self.check_beginning(wire)[-1].kind, Kind.GOAWAY)

    def test_frame(self) -> None:
        """The client's HEADERS never end."""
        wire = PREFACE + settings_frame() + headers_frame(1, GET)[:-1]
        self.assertEqual(self.check_beginning(wire)[-1].kind, Kind.GOAWAY)

    def test_ping_unanswered(self) -> None:
        """The client does not answer a PING."""
        self.serve(self._hold, http2_ping_interval=0.1, http2_ping_timeout=0.2)
        client = self.connect()
        client.conversation.answers_pings = False
        self.held(client)
        with self.assertRaises(EOFError):  # before it has asked for long
            client.read_until(lambda: len(self.pings(client)) == 50)
        self.assertGreaterEqual(len(self.pings(client)), 1)
        self.gate.open()
        self.application.wait_until_idle()
        self.assert_others_served()

    def test_ping_answered(self) -> None:
        """The client answers each PING, and its request goes on."""
        self.serve(self._hold, http2_ping_interval=0.1, http2_ping_timeout=20)
        client = self.connect()
        found = self.held(client)
        client.read_until(lambda: len(self.pings(client)) >= 3)
        self.gate.open()
        self.assert_answer(client.finish(found), TEXT)

    def test_request(self) -> None:
        """The application takes longer than a request may."""
        self.serve(self._hold, http_timeout=0.2)
        client = self.connect()
        found = client.finish(self.held(client))
        self.assertEqual((found.status, found.ended), (503, True))
        self.gate.open()
        self.application.wait_until_idle()
        self.assert_served(client)

    def test_response(self) -> None:
        """The application takes longer than a request may, and has begun to answer."""

        async def handler(scope: Any, receive: Receive, send: Send) -> None:
            await start(send)
            await body(send, b"begun", more=True)
            await self.gate.wait()

        self.serve(handler, http_timeout=0.2)
        client = self.connect()
        found = client.finish(client.start())
        self.assertEqual((found.status, found.body, found.ended), (200, b"begun", False))
        self.assertIsNotNone(found.reset)
        self.assert_served(client)

    def test_body(self) -> None:
        """The client's body does not come, and its other requests do."""
        self.serve(body_timeout=0.2)
        client = self.connect()
        found = client.start(b"POST", end=False)
        client.send_body(found, b"hell", end=False)
        self.assert_answer(client.request(), TEXT)
        client.finish(found)
        self.assertEqual((found.status, found.ended), (408, True))
        self.application.wait_until_idle()
        self.assert_served(client)
