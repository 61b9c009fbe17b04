"""WebSockets on streams of HTTP/2 (RFC 8441), over real sockets and with frames made by hand."""

from __future__ import annotations

import asyncio
import zlib
from typing import Any

from django.test import tag

from tests.support.http2 import SocketClient
from tests.support.http2_conversation import Answer
from tests.support.http2_frames import (
    Code,
    Field,
    Setting,
    data_frame,
    reset_frame,
    websocket_fields,
)
from tests.support.server import PATIENCE, running_loop
from tests.support.websocket import binary, close, frame, ping, read_frames, text

from .http2 import Gate, HTTP2TestCase, Receive, Send, answer

TEXT, BINARY, CLOSE, PONG = 0x81, 0x82, 0x88, 0x8A
NORMAL = (1000).to_bytes(2)


async def accept(send: Send, **values: Any) -> None:
    """Accept."""
    await send({"type": "websocket.accept", **values})


class WebSocketTestCase(HTTP2TestCase):
    """Tests whose application echoes, and tells the test of the end."""

    async def _echo(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await answer(scope, receive, send)
            return
        assert (await receive())["type"] == "websocket.connect"
        await accept(send)
        while (message := await receive())["type"] == "websocket.receive":
            await send({**message, "type": "websocket.send"})
        self.application.note(message["code"])

    def ask(self, client: SocketClient, *headers: Field, version: bytes = b"13") -> Answer:
        """Ask for a WebSocket; the stream stays open."""
        client.read_until(lambda: client.conversation.has_settings)
        fields = websocket_fields(b"/zebra", *headers, version=version)
        return client.start_literal(fields, end=False)

    def open(self, *headers: Field, **values: Any) -> tuple[SocketClient, Answer]:
        """Return the client of an echo, and its stream."""
        if not hasattr(self, "server"):
            self.serve(self._echo, **values)
        client = self.connect()
        found = self.ask(client, *headers)
        client.read_until(lambda: found.status)
        self.assertEqual((found.status, found.done), (200, False))
        return client, found

    def frames(self, client: SocketClient, found: Answer, count: int) -> list[tuple[int, bytes]]:
        """Return this many frames of the server's, which are all there are."""

        def whole() -> bool:
            try:
                return len(read_frames(bytes(found.body))) >= count
            except (AssertionError, IndexError):
                return False

        client.read_until(whole)
        frames = read_frames(bytes(found.body))
        self.assertEqual(len(frames), count)
        found.body.clear()
        return frames

    def assert_echo(self, client: SocketClient, found: Answer, data: str = "hello") -> None:
        """A text comes back."""
        client.send_body(found, text(data), end=False)
        self.assertEqual(self.frames(client, found, 1), [(TEXT, data.encode())])

    def assert_left(self, code: int) -> None:
        """The application is told of the end, by this code."""
        self.assertEqual(self.application.next_note(), code)
        self.application.wait_until_idle()


@tag("loop")
class HandshakeTests(WebSocketTestCase):
    """How a stream becomes a WebSocket, or does not."""

    def test_scope(self) -> None:
        """The application sees a WebSocket like any other, over HTTP/2."""
        client, found = self.open((b"x-a", b"a"), (b"sec-websocket-protocol", b"one, two"))
        self.assertEqual(client.conversation.server_settings[Setting.ENABLE_CONNECT_PROTOCOL], 1)
        scope = self.application.scopes[0]
        names = ("type", "http_version", "scheme", "path", "subprotocols")
        expected = ("websocket", "2", "ws", "/zebra", ["one", "two"])
        self.assertEqual(tuple(scope[name] for name in names), expected)
        headers = [tuple(pair) for pair in scope["headers"]]
        self.assertEqual(headers[0], (b"host", b"zebra.example"))
        self.assertIn((b"x-a", b"a"), headers)
        unwanted = (b"accept", b"extensions", b"protocol")
        self.assertFalse({b"sec-websocket-" + name for name in unwanted} & {*found.headers})
        self.assertNotIn(b"content-length", found.headers)

    def test_accepted(self) -> None:
        """The application chooses a subprotocol and adds headers."""

        async def handler(scope: Any, receive: Receive, send: Send) -> None:
            await receive()
            await accept(send, subprotocol="two", headers=[(b"X-A", b"a")])
            await receive()

        self.serve(handler)
        _, found = self.open((b"sec-websocket-protocol", b"one, two"))
        self.assertEqual(found.headers[b"sec-websocket-protocol"], b"two")
        self.assertEqual(found.headers[b"x-a"], b"a")

    def check_denied(self, status: int, *messages: Any) -> Answer:
        """The application sends these messages, and the client reads no WebSocket."""

        async def handler(scope: Any, receive: Receive, send: Send) -> None:
            await receive()
            for message in messages:
                await send(message)

        self.serve(handler)
        client = self.connect()
        found = self.ask(client)
        client.read_until(lambda: found.ended)
        self.assertEqual(found.status, status)
        client.settle()
        self.assert_served(client)
        return found

    def test_denied(self) -> None:
        """The application closes before it has accepted."""
        self.check_denied(403, {"type": "websocket.close"})

    def test_denied_with_response(self) -> None:
        """The application answers with a response of its own."""
        begin = {"type": "websocket.http.response.start", "status": 401, "headers": []}
        piece = {"type": "websocket.http.response.body", "body": b"who?"}
        found = self.check_denied(401, begin, piece)
        self.assertEqual(found.body, b"who?")

    def test_application_fails(self) -> None:
        """The application fails before it has accepted."""
        with self.logged():
            self.check_denied(500)

    def check_refused(self, *headers: Field, version: bytes = b"13") -> None:
        """Ask in this way; the application is not called."""
        self.serve(self._echo)
        client = self.connect()
        found = self.ask(client, *headers, version=version)
        client.read_until(lambda: found.ended)
        self.assertEqual(found.status, 400)
        self.assertEqual(self.application.calls, 0)
        self.assert_served(client)

    def test_version(self) -> None:
        """The client speaks another version."""
        self.check_refused(version=b"12")

    def test_no_version(self) -> None:
        """The client names no version."""
        self.serve(self._echo)
        client = self.connect()
        fields = tuple(each for each in websocket_fields() if not each[0].endswith(b"version"))
        found = client.start_literal(fields, end=False)
        client.read_until(lambda: found.ended)
        self.assertEqual((found.status, self.application.calls), (400, 0))

    def test_key(self) -> None:
        """The client sends a key, as HTTP/1.1 has it."""
        self.check_refused((b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="))

    def test_bad_subprotocol(self) -> None:
        """The client offers subprotocols that are no tokens (CVE-2026-42544)."""
        self.check_refused((b"sec-websocket-protocol", b"\x80\xff"))

    def test_early_messages(self) -> None:
        """The client speaks before it is accepted, and is heard."""
        gate = Gate()

        async def handler(scope: Any, receive: Receive, send: Send) -> None:
            await gate.wait()
            await self._echo(scope, receive, send)

        self.serve(handler)
        client = self.connect()
        found = self.ask(client)
        client.send_body(found, text("one") + text("two"), end=False)
        client.settle()
        self.assertIsNone(found.status)
        gate.open()
        self.assertEqual(self.frames(client, found, 2), [(TEXT, b"one"), (TEXT, b"two")])

    def test_left_before_answer(self) -> None:
        """The client resets its stream before it is accepted."""

        async def handler(scope: Any, receive: Receive, send: Send) -> None:
            self.application.note((await receive())["type"])
            message = await receive()
            self.application.note(message["type"])
            self.application.note(message["code"])

        self.serve(handler)
        client = self.connect()
        found = self.ask(client)
        self.assertEqual(self.application.next_note(), "websocket.connect")
        client.send(reset_frame(found.number))
        self.assertEqual(self.application.next_note(), "websocket.disconnect")
        self.assert_left(1006)
        self.assert_served(client)

    def test_no_answer(self) -> None:
        """The application neither accepts nor denies."""
        gate = Gate()
        self.addCleanup(gate.open)

        async def handler(scope: Any, receive: Receive, send: Send) -> None:
            await gate.wait()

        self.serve(handler, websocket_connect_timeout=0.2)
        client = self.connect()
        found = self.ask(client)
        client.read_until(lambda: found.ended)
        self.assertEqual(found.status, 403)
        self.assert_served(client)


@tag("loop")
class MessageTests(WebSocketTestCase):
    """What goes through an open WebSocket."""

    def test_echo(self) -> None:
        """The client sends texts and bytes of several sizes."""
        client, found = self.open()
        for size in (0, 1, 125, 126, 65535, 65536, 300_000):
            data = bytes(size)
            client.send_body(found, binary(data), end=False)
            self.assertEqual(self.frames(client, found, 1), [(BINARY, data)])
            self.assert_echo(client, found, "x" * size)
        self.assert_served(client)

    def test_cut(self) -> None:
        """The client's frames are cut into DATA of one byte, and joined."""
        client, found = self.open()
        wire = text("hello") + text("again")
        client.send(b"".join(data_frame(found.number, bytes((byte,))) for byte in wire))
        expected = [(TEXT, b"hello"), (TEXT, b"again")]
        self.assertEqual(self.frames(client, found, 2), expected)
        client.send(data_frame(found.number, wire, padding=100))
        self.assertEqual(self.frames(client, found, 2), expected)

    def test_several(self) -> None:
        """The client has WebSockets and requests on one connection."""
        client, one = self.open()
        two = self.ask(client)
        client.read_until(lambda: two.status)
        for number in range(10):
            self.assert_echo(client, one, f"one {number}")
            self.assert_answer(client.request(b"GET", b"/a"), b"GET /a 0")
            self.assert_echo(client, two, f"two {number}")
        client.send(reset_frame(one.number))
        self.assertEqual(self.application.next_note(), 1006)
        self.assert_echo(client, two)

    def test_ping(self) -> None:
        """The client pings, and has its pong."""
        client, found = self.open()
        client.send_body(found, ping(b"zebra"), end=False)
        self.assertEqual(self.frames(client, found, 1), [(PONG, b"zebra")])

    def test_compression(self) -> None:
        """The client offers compression, and both sides compress."""
        offer = (b"sec-websocket-extensions", b"permessage-deflate")
        client, found = self.open(offer)
        self.assertIn(b"permessage-deflate", found.headers[b"sec-websocket-extensions"])
        compressor = zlib.compressobj(wbits=-12)
        packed = compressor.compress(b"zebra" * 1000) + compressor.flush(zlib.Z_SYNC_FLUSH)
        client.send_body(found, frame(0xC1, packed[:-4]), end=False)
        ((first, payload),) = self.frames(client, found, 1)
        self.assertEqual(first, 0xC1)
        plain = zlib.decompressobj(wbits=-15).decompress(payload + b"\x00\x00\xff\xff")
        self.assertEqual(plain, b"zebra" * 1000)

    def test_no_window(self) -> None:
        """The client opens its window late, and has the whole echo."""
        client, found = self.open()
        client.conversation.credit = False
        client.change({Setting.INITIAL_WINDOW_SIZE: 100})
        room = found.room
        client.send_body(found, binary(bytes(1000)), end=False)
        client.read_until(lambda: len(found.body) == room)
        client.settle()
        self.assertEqual(len(found.body), room)
        client.grant(found.number, 10_000)
        self.assertEqual(self.frames(client, found, 1), [(BINARY, bytes(1000))])


@tag("loop")
class ClosingTests(WebSocketTestCase):
    """How a WebSocket on a stream ends; the connection stays."""

    def test_client(self) -> None:
        """The client closes, and the stream ends with the server's answer."""
        client, found = self.open()
        client.send_body(found, close(1000), end=False)
        client.finish(found)
        self.assertEqual((found.ended, self.frames(client, found, 1)), (True, [(CLOSE, NORMAL)]))
        self.assert_left(1000)
        client.send(data_frame(found.number, end=True))
        self.assert_served(client)

    def test_client_ends(self) -> None:
        """The client closes, and ends its side at once."""
        client, found = self.open()
        client.send_body(found, close(3000, b"bye"))
        client.finish(found)
        self.assertTrue(found.ended)
        self.assert_left(3000)
        self.assert_served(client)

    def test_server(self) -> None:
        """The application closes, and the stream ends when the client has answered."""

        async def handler(scope: Any, receive: Receive, send: Send) -> None:
            await receive()
            await accept(send)
            await send({"type": "websocket.close", "code": 3001, "reason": "zebra"})
            self.application.note((await receive())["code"])

        self.serve(handler)
        client, found = self.open()
        expected = [(CLOSE, (3001).to_bytes(2) + b"zebra")]
        self.assertEqual(self.frames(client, found, 1), expected)
        client.send_body(found, close(3001), end=False)
        client.finish(found)
        self.assertTrue(found.ended)
        self.assert_left(3001)
        self.assert_served(client)

    def test_end_without_close(self) -> None:
        """The client ends its side without a word."""
        client, found = self.open()
        client.send(data_frame(found.number, end=True))
        self.assert_left(1006)
        client.finish(found)
        self.assert_served(client)

    def test_reset(self) -> None:
        """The client resets the stream."""
        client, found = self.open()
        client.send(reset_frame(found.number, Code.CANCEL))
        self.assert_left(1006)
        self.assert_served(client)

    def test_connection_lost(self) -> None:
        """The client leaves with the connection."""
        client, _ = self.open()
        client.reset()
        self.assert_left(1006)

    def check_failure(self, wire: bytes, code: int, **values: Any) -> None:
        """Send this, which costs the WebSocket, and nothing but the WebSocket."""
        client, found = self.open(**values)
        client.send_body(found, wire, end=False)
        self.assertEqual(self.frames(client, found, 1)[0][1][:2], code.to_bytes(2))
        self.assert_left(code)
        client.send_body(found, close(code))
        client.finish(found)
        self.assert_served(client)

    def test_unmasked(self) -> None:
        """The client sends a frame without a mask."""
        self.check_failure(b"\x81\x05hello", 1002)

    def test_too_large(self) -> None:
        """The client announces more than a message may have."""
        self.check_failure(binary(bytes(2000))[:100], 1009, websocket_max_message_size=1000)

    def test_drain(self) -> None:
        """The server stops, and says so as over HTTP/1.1."""
        client, found = self.open()
        loop = running_loop().loop
        stopping = asyncio.run_coroutine_threadsafe(self.server.server.stop(None), loop)
        self.assertEqual(self.frames(client, found, 1)[0], (CLOSE, (1012).to_bytes(2)))
        client.send_body(found, close(1012))
        client.finish(found)
        self.assert_left(1012)
        client.read_to_end()
        stopping.result(PATIENCE)
