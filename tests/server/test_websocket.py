"""An open WebSocket on its wire: how it begins, what it writes when, and what is held of it."""

from __future__ import annotations

import asyncio
import socket
import zlib
from typing import Any
from unittest.mock import ANY

from django.test import tag

from tests.compliance import request
from tests.support.memory import MemoryClient, Puppet
from tests.support.server import PATIENCE, eager, serve
from tests.support.websocket import (
    ACCEPTED,
    CONNECT,
    KEY,
    WebSocketTestCase,
    close,
    disconnect,
    echo,
    event,
    frame,
    handshake,
    ping,
    pong,
    read_frames,
    received,
    take_all,
    text,
)
from tests.support.wire import CLIENT, HOST

ACCEPT = event("accept")


@tag("loop")
class ScopeTests(WebSocketTestCase):
    """The scope of a WebSocket: every key of it."""

    maxDiff = None

    def test_whole(self):
        """The client repeats a header, which stays two, and sends one with an underscore."""
        scope = self.begin(
            b"GET /a%20b/?x=%20&y HTTP/1.1\r\nHost: zebra.example\r\nX-A:  1 \r\n"
            b"Upgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\nX_A: 2\r\nx-a: \r\n"
            b"Sec-WebSocket-Key: " + KEY + b"\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Protocol: v2, v1\r\n\r\n",
            root_path="/mount",
        )[1].scope
        self.assertEqual(
            scope,
            {
                "type": "websocket",
                "asgi": {"version": "3.0", "spec_version": "2.5"},
                "http_version": "1.1",
                "scheme": "ws",
                "path": "/a b/",
                "raw_path": b"/a%20b/",
                "query_string": b"x=%20&y",
                "root_path": "/mount",
                "headers": [
                    (b"host", b"zebra.example"),
                    (b"x-a", b"1"),
                    (b"upgrade", b"WebSocket"),
                    (b"connection", b"keep-alive, Upgrade"),
                    (b"x-a", b""),
                    (b"sec-websocket-key", KEY),
                    (b"sec-websocket-version", b"13"),
                    (b"sec-websocket-protocol", b"v2, v1"),
                ],
                "client": CLIENT,
                "server": HOST,
                "subprotocols": ["v2", "v1"],
                "extensions": {"websocket.http.response": {}, "django_daphne.trace": ANY},
            },
        )

    def test_scheme(self):
        """The client uses TLS, towards the server or towards a proxy that is trusted with it."""
        forwarded = b"X-Forwarded-Proto: https"
        trusting = {"proxy_headers": True, "trusted_proxies": [CLIENT[0]]}
        for scheme, lines, values, is_tls in (
            ("ws", (), {}, False),
            ("wss", (), {}, True),
            ("ws", (forwarded,), {}, False),
            ("wss", (forwarded,), trusting, False),
            ("ws", (b"X-Forwarded-Proto: http",), trusting, False),
            ("ws", (forwarded,), trusting | {"trusted_proxies": ["192.0.2.77"]}, False),
        ):
            with self.subTest(scheme, lines=lines, values=values):
                server = self.serve(Puppet(), **values)
                _, call = self.ask(server, *lines, is_tls=is_tls)
                self.assertEqual(call.scope["scheme"], scheme)

    def test_own(self):
        """The application changes its scope and its state, and the next scope has not changed."""
        server = self.serve(Puppet(), state={"count": 1})
        _, first = self.ask(server)
        self.assertEqual(first.scope["state"], {"count": 1})
        first.scope["state"]["count"] = 2
        first.scope["extensions"]["websocket.http.response"]["x"] = 1
        first.scope["subprotocols"].append("x")
        _, second = self.ask(server)
        self.assertEqual(second.scope["state"], {"count": 1})
        expected = {"websocket.http.response": {}, "django_daphne.trace": ANY}
        self.assertEqual(second.scope["extensions"], expected)
        self.assertEqual(second.scope["subprotocols"], [])

    def test_double_callable(self):
        """The operator serves a class of ASGI 2, whose instances are called once more."""

        class Application:
            def __init__(self, scope: Any) -> None:
                self.scope = scope

            async def __call__(self, receive: Any, send: Any) -> None:
                self.first = await receive()
                await send(ACCEPT)
                await send(event("send", bytes=self.scope["raw_path"]))

        end = b"\r\n\r\n\x82\x06/zebra\x88\x02\x03\xe8"
        with (
            serve(Application) as server,
            socket.create_connection(server.address, PATIENCE) as sock,
        ):
            sock.sendall(handshake() + close(1000))
            answer = b"".join(iter(lambda: sock.recv(65536), b""))
        self.assertEqual(answer[-len(end) :], end)


@tag("loop")
class OpeningTests(WebSocketTestCase):
    """From the handshake to the first messages."""

    def test_in_one_read(self):
        """The application answers at once; where tasks start eagerly all leaves in one write."""

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send(ACCEPT)
            await send(event("send", text="hello"))
            await receive()

        client = self.connect(application)
        client.send(handshake())
        self.assertEqual(client.read(), ACCEPTED + b"\x81\x05hello")
        self.assertEqual(client.transport.writes, 1 if eager() else 2)

    def test_over_at_once(self):
        """The application accepts and is done with it: the 101 comes before the close frame."""

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send(ACCEPT)
            await send(event("send", bytes=b"bye"))
            if scope["path"] == "/closes":
                await send(event("close", code=4001))

        for path, code in ((b"/closes", b"\x0f\xa1"), (b"/returns", b"\x03\xe8")):
            client = self.connect(application)
            client.send(handshake(target=path))
            self.assertEqual(client.read(), ACCEPTED + b"\x82\x03bye\x88\x02" + code)

    def test_early_frames(self):
        """The client sends frames before it is accepted, in several reads: none is lost."""
        client, call = self.begin(handshake() + text("one") + text("two")[:3])
        client.send(text("two")[3:] + ping(b"!"))
        self.assertEqual(take_all(call), [CONNECT])
        call.send(ACCEPT).result()
        self.assertEqual(client.read(), ACCEPTED + b"\x8a\x01!")
        client.send(text("three"))
        self.assertEqual(take_all(call), [received(data) for data in ("one", "two", "three")])

    def test_early_and_late(self):
        """More of the client comes in the very turn in which the application accepts."""
        go_on = asyncio.Event()
        got: list[Any] = []

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await go_on.wait()
            await send(ACCEPT)
            while (not got) or got[-1]["type"] != "websocket.disconnect":
                got.append(await receive())

        client = self.connect(application)
        client.send(handshake() + text("one") + frame(0x01, b"t"))

        def both() -> None:
            go_on.set()
            client.server.loop.call_soon(client.transport.arrive, frame(0x80, b"wo"))

        client.server.call(both)
        self.assertEqual(got, [CONNECT, received("one"), received("two")])

    def test_early_end(self):
        """The client sends more than the queue holds and leaves before it is accepted."""
        said = [str(number) for number in range(40)]
        for last, code, answer in ((close(4000), 4000, b"\x88\x02\x0f\xa0"), (b"", 1006, b"")):
            client, call = self.begin(handshake() + b"".join(map(text, said)) + last)
            client.half_close()
            call.send(ACCEPT).result()
            self.assertEqual(take_all(call), [CONNECT, *map(received, said), disconnect(code)])
            self.assertEqual(client.read(), ACCEPTED + answer)
            self.assert_ends(client)

    def test_early_flood(self):
        """The client fills the buffer before it is accepted; reading goes on then."""
        client, call = self.begin(handshake(), max_pipelined_size=1000, websocket_max_queue=None)
        for number in range(300):
            client.send(text(str(number)))
        self.assertGreater(client.transport.unread, 0)
        call.send(ACCEPT).result()
        self.assertEqual(take_all(call), [CONNECT, *(received(str(n)) for n in range(300))])

    def test_bytewise(self):
        """The client sends all that it says a byte at a time."""
        client = self.connect(echo)
        client.feed_bytewise(handshake() + ping(b"?") + text("zoë"))
        self.assertEqual(client.read(), ACCEPTED + b"\x8a\x01?\x81\x04zo\xc3\xab")
        client.feed_bytewise(close(1000, b"bye"))
        self.assertEqual(client.read(), b"\x88\x02\x03\xe8")
        self.assert_ends(client)

    def test_behind_a_request(self):
        """The client asks for a page first; HTTP's deadlines end with the handshake."""
        puppet = Puppet()
        timeouts = {"http_timeout": 5, "keep_alive_timeout": 5, "header_timeout": 5}
        client = self.connect(puppet, **timeouts, half_close_timeout=1, ping_interval=None)
        client.send(request())
        puppet.calls[0].answer()
        client.read()
        client.send(handshake())
        client.server.wait(4)
        self.accept(client, puppet.calls[1])
        client.server.wait(1000)
        client.send(text("one"))
        self.assertEqual(take_all(puppet.calls[1]), [received("one")])


@tag("loop")
class WritingTests(WebSocketTestCase):
    """What leaves when, and in how many writes."""

    def talk(self, application: Any, *data: bytes, **values: Any) -> tuple[MemoryClient, int]:
        """Return a client that has read the answer to one read, and the writes that took."""
        client = self.connect(application, **values)
        client.send(handshake())
        self.assertEqual(client.read(), ACCEPTED)
        before = client.transport.writes
        client.send(b"".join(data))
        return client, client.transport.writes - before

    def test_together(self):
        """The application answers all messages of one read in one write, and if it pauses."""
        said = [text(str(number)) for number in range(6)]
        for limit in (32, 2):
            client, writes = self.talk(echo, *said, websocket_max_queue=limit)
            answers = b"".join(b"\x81\x01%d" % number for number in range(6))
            self.assertEqual((client.read(), writes), (answers, 1))

    def test_at_once(self):
        """The application sends, and it has left when send() returns if no message waits."""
        seen: list[bytes] = []

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send(ACCEPT)
            for data in ("a", "b", "c"):
                if data != "c":
                    await receive()
                await send(event("send", text=data))
                seen.append(client.read())
            await receive()

        client = self.connect(application)
        client.send(handshake())
        client.read()
        client.send(text("1") + text("2"))
        self.assertEqual(seen, [b"", b"\x81\x01a\x81\x01b", b"\x81\x01c"])

    def test_not_kept_longer(self):
        """The application answers the first of two messages, then forgets the other one."""

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send(ACCEPT)
            await receive()
            await send(event("send", text="a"))
            await send(event("send", text="b"))
            await asyncio.Event().wait()

        client, writes = self.talk(application, text("1"), text("2"))
        self.assertEqual((client.read(), writes), (b"\x81\x01a\x81\x01b", 1))
        client.send(ping())
        self.assertEqual(client.read(), b"\x8a\x00")

    def test_close_comes_last(self):
        """The application answers the first of two messages, and it is over in the same turn."""

        def ends_by(end: Any) -> Any:
            async def application(scope: Any, receive: Any, send: Any) -> None:
                await receive()
                await send(ACCEPT)
                await receive()
                await send(event("send", text="a"))
                await end(send)

            return application

        async def close_it(send: Any) -> None:
            await send(event("close", code=4001))

        async def drain_it(send: Any) -> None:
            (connection,) = self.server.context.connections
            connection.end_streams()
            await asyncio.Event().wait()

        async def return_now(send: Any) -> None:
            pass

        for end, code in ((close_it, 4001), (drain_it, 1012), (return_now, 1000)):
            client = self.connect(ends_by(end))
            self.server = client.server
            client.send(handshake())
            client.read()
            client.send(text("1") + text("2"))
            wire = b"\x81\x01a\x88\x02" + code.to_bytes(2)
            self.assertEqual(client.read(), wire)
            client.send(close())
            self.assert_ends(client)

    def test_compressed(self):
        """The client offers compression: what is worth it comes compressed, and may itself."""
        client, call = self.connecting(b"Sec-WebSocket-Extensions: permessage-deflate")
        self.say(call, "accept")
        self.assertIn(b"\r\nSec-WebSocket-Extensions: permessage-deflate", client.read())
        for size in (127, 128):
            self.say(call, "send", bytes=bytes(size))
        small, (first, payload) = read_frames(client.read())
        self.assertEqual((small, first), ((0x82, bytes(127)), 0xC2))
        inflated = zlib.decompressobj(-15).decompress(payload + b"\0\0\xff\xff")
        self.assertEqual(inflated, bytes(128))
        client.send(frame(0xC2, payload))
        self.assertEqual(take_all(call), [CONNECT, received(bytes(128))])

    def test_many(self):
        """The application answers more than is kept for one write; all of it comes, in order."""
        said = [str(number) * 1000 for number in range(100, 200)]
        limits = {"websocket_max_queue": None, "body_buffer_size": 10**6}
        client, writes = self.talk(echo, *map(text, said), **limits)
        self.assertEqual(read_frames(client.read()), [(0x81, data.encode()) for data in said])
        self.assertLess(writes, 10)


@tag("loop")
class PingTests(WebSocketTestCase):
    """The client's pings and pongs."""

    def test_answered(self):
        """The client pings, empty and with the most that fits, and gets it back."""
        client, _ = self.open()
        client.send(ping() + ping(b"x" * 125))
        self.assertEqual(client.read(), b"\x8a\x00\x8a\x7d" + b"x" * 125)

    def test_between_fragments(self):
        """The client pings inside a message, and is answered before the message is whole."""
        client, call = self.open()
        waiting = call.receive()
        client.send(frame(0x01, b"hel") + ping(b"?"))
        self.assertEqual(client.read(), b"\x8a\x01?")
        self.assertFalse(waiting.done())
        client.send(pong() + frame(0x80, b"lo"))
        self.assertEqual(waiting.result(), received("hello"))

    def test_flood(self):
        """The client pings a thousand times in one read: all are answered, in one write."""
        client, _ = self.open()
        before = client.transport.writes
        client.send(b"".join(ping(b"%d" % number) for number in range(1000)))
        expected = [(0x8A, b"%d" % number) for number in range(1000)]
        self.assertEqual(read_frames(client.read()), expected)
        self.assertEqual(client.transport.writes, before + 1)

    def test_pongs(self):
        """The client sends pongs that nobody asked for: nothing happens."""
        client, call = self.open()
        client.send(pong() + pong(b"x" * 125))
        self.assertEqual((client.read(), take_all(call)), (b"", []))
        self.assert_open(client)

    def test_before_violation(self):
        """The client breaks a rule behind a ping: it reads both answers."""
        client, _ = self.open()
        client.send(ping(b"?") + b"\x81\x01a" + ping())
        self.assertEqual(client.read(), b"\x8a\x01?\x88\x02\x03\xea")
