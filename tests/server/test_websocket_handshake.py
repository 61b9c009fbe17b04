"""The opening handshake: which are taken, what they are answered, and what comes before it."""

from __future__ import annotations

from typing import Any

from django.test import tag
from websockets.client import ClientProtocol
from websockets.extensions.permessage_deflate import enable_client_permessage_deflate
from websockets.frames import Frame
from websockets.protocol import State
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from django_daphne.server.exceptions import ApplicationError
from tests.compliance import CHUNKED, FIVE, GET_10, SMUGGLED, request
from tests.support.memory import DATE, SERVER, Call, MemoryClient, Puppet, WireTestCase
from tests.support.websocket import frame

UPGRADE = b"Upgrade: websocket"
CONNECTION = b"Connection: Upgrade"
VERSION = b"Sec-WebSocket-Version: 13"
KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455, section 1.3
SWITCHING = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
)
PROTOCOL = b"Sec-WebSocket-Protocol: "
EXTENSIONS = b"Sec-WebSocket-Extensions: "
DEFLATE = b"permessage-deflate; client_max_window_bits=12"
GOOD = (UPGRADE, CONNECTION, KEY, VERSION)
HANDSHAKE = request(*GOOD)


class HandshakeTestCase(WireTestCase):
    """Tests with a client that asks for a WebSocket."""

    def ask(self, *fields: bytes, **values: Any) -> tuple[MemoryClient, Call]:
        """Send a good handshake with more fields; return the client and the application's call."""
        return self.begin(request(*GOOD, *fields), **values)

    def accept(self, call: Call, **values: Any) -> None:
        """Let the application accept."""
        self.assertEqual(call.receive_now(), {"type": "websocket.connect"})
        call.send({"type": "websocket.accept"} | values).result()

    def deny(self, call: Call, body: bytes = b"no", more: bool = False) -> None:
        """Let the application answer with a response of its own."""
        start: dict[str, Any] = {"type": "websocket.http.response.start", "status": 401}
        call.send(start | {"headers": [(b"X-Why", b"because")]}).result()
        part: dict[str, Any] = {"type": "websocket.http.response.body", "body": body}
        call.send(part | {"more_body": more}).result()

    def received(self, call: Call, count: int) -> list[Any]:
        """Return the texts and bytes of the next messages, which must be there."""
        messages = [call.receive_now() for _ in range(count)]
        return [message["text" if "text" in message else "bytes"] for message in messages]


@tag("loop")
class RequestTests(HandshakeTestCase):
    """Which requests are good handshakes."""

    TAKEN = (
        GOOD,
        GOOD[::-1],
        (b"upgrade: WebSocket", b"connection: UPGRADE", KEY, VERSION),
        (UPGRADE, b"Connection: keep-alive, Upgrade", KEY, VERSION),
        (UPGRADE, b"Connection: keep-alive", CONNECTION, KEY, VERSION),
        (UPGRADE, b"Connection: close,\tupgrade ", KEY, VERSION),
        (b"Upgrade: h2c, websocket", CONNECTION, KEY, VERSION),
        (b"Upgrade: h2c", UPGRADE, CONNECTION, KEY, VERSION),
        (*GOOD[:2], b"SEC-WEBSOCKET-KEY:\t++++++++++//////////AA== ", b"sec-websocket-version:13 "),
        (*GOOD, b"Content-Length: 0"),
        (*GOOD, b"Expect: 100-continue"),
        (*GOOD, b"Origin: null"),
        (*GOOD, b"Sec-WebSocket-Extensions: ;;,\xff", b"Sec_WebSocket_Key: x", b"Cookie: a\xff"),
        (*GOOD, PROTOCOL + b"chat"),
    )
    VERSIONS = (b"12", b"8", b"0", b"14", b"013", b"+13", b"13.0", b"13, 8", b"13,13", b"", b"x")
    KEYS = (
        *(
            b"",
            b"x",
            b"==",
            b"A" * 22,
            b"A" * 24,
            b"A" * 23 + b"=",
            b"A" * 22 + b"=",
            b"A" * 21 + b"==",
        ),
        *(b"A" * 23 + b"==", b"A" * 20, b"-_" * 11 + b"==", b" A" * 11 + b"==", b"A" * 22 + b"==A"),
        *(
            b"A" * 21 + b"\xff==",
            b"A" * 22 + b"==,",
            b'"' + b"A" * 20 + b'"==',
            b"A" * 22 + b"== ==",
        ),
        b"dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ==",
    )
    PROTOCOLS = (
        *(b"a b", b"a/b", b"a;b", b'"a"', b"(a)", b"a@b", b"a, b c", b"a\tb", b"[a]"),
        *(b"\xe9", b"a\x85", b"\xc3\xa9", b"chat, caf\xe9", b"a=b"),
    )

    def test_taken(self):
        """The client asks in every way that is allowed."""
        for fields in self.TAKEN:
            client, call = self.begin(request(*fields))
            self.assertEqual((call.scope["type"], client.read()), ("websocket", b""), fields)

    def test_absolute_target(self):
        """The client asks as it would ask a proxy."""
        _, call = self.begin(request(*GOOD, line=b"GET http://zebra.example/chat?a HTTP/1.1"))
        self.assertEqual((call.scope["type"], call.scope["path"]), ("websocket", "/chat"))

    def test_no_handshake(self):
        """The client asks for another protocol, or for none: it gets a page."""
        for fields in (GOOD[1:], (b"Upgrade: websocket2", *GOOD[1:]), (b"Upgrade: h2c", *GOOD[1:])):
            _, call = self.begin(request(*fields))
            self.assertEqual(call.scope["type"], "http", fields)

    def assert_refused(self, wire: bytes, status: int) -> None:
        """One response with ``status``; nothing is called, and nothing served behind it."""
        for follows in (b"", SMUGGLED, frame(0x81, b"hello") + SMUGGLED):
            puppet = Puppet()
            client = self.connect(puppet)
            client.send(wire + follows)
            client.send(SMUGGLED)
            (response,) = client.responses()
            self.assertEqual((response.status, puppet.calls), (status, []), wire)
            self.assertEqual(response.headers[b"connection"], b"close")
            client.half_close()
            self.assert_ends(client)

    def test_not_upgraded(self):
        """The client leaves Connection out, or does not name the upgrade in it."""
        for field in (
            b"X: 1",
            b"Connection: close",
            b"Connection: upgraded",
            b"Connection: up,grade",
        ):
            self.assert_refused(request(UPGRADE, field, KEY, VERSION), 400)

    def test_methods(self):
        """The client asks by another method than GET."""
        for method in (b"POST", b"PUT", b"OPTIONS", b"get", b"QUERY"):
            self.assert_refused(request(*GOOD, line=method + b" / HTTP/1.1"), 400)

    def test_old_version(self):
        """The client speaks HTTP/1.0."""
        for connection in (CONNECTION, b"Connection: keep-alive, upgrade"):
            wire = request(UPGRADE, connection, KEY, VERSION, line=GET_10)
            self.assert_refused(wire, 400)

    def test_bodies(self):
        """The client's handshake has a body."""
        self.assert_refused(request(*GOOD, FIVE, body=b"hello"), 400)
        self.assert_refused(request(*GOOD, CHUNKED, body=b"5\r\nhello\r\n0\r\n\r\n"), 400)
        self.assert_refused(request(*GOOD, CHUNKED, body=b"0\r\n\r\n"), 400)

    def test_versions(self):
        """The client speaks another version, none, or says so twice."""
        for version in self.VERSIONS:
            self.assert_refused(request(*GOOD[:3], b"Sec-WebSocket-Version: " + version), 426)
        self.assert_refused(request(*GOOD[:3]), 426)
        self.assert_refused(request(*GOOD, VERSION), 426)

    def test_version_that_is_spoken(self):
        """The client learns which version it should speak (RFC 6455, 4.4; RFC 9110, 15.5.22)."""
        client = self.connect(Puppet())
        client.send(request(*GOOD[:3], b"Sec-WebSocket-Version: 12"))
        head, _, _ = client.read().partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        self.assertEqual(first, b"HTTP/1.1 426 Upgrade Required")
        self.assertIn(b"Sec-WebSocket-Version: 13", lines)
        self.assertIn(b"Upgrade: websocket", lines)
        options = b",".join(line[11:] for line in lines if line.startswith(b"Connection:"))
        self.assertEqual({b"close", b"upgrade"}, {*options.lower().replace(b" ", b"").split(b",")})

    def test_keys(self):
        """The client's key is not 16 bytes in base64, not there, or there twice."""
        for key in self.KEYS:
            fields = (UPGRADE, CONNECTION, b"Sec-WebSocket-Key: " + key, VERSION)
            self.assert_refused(request(*fields), 400)
        self.assert_refused(request(UPGRADE, CONNECTION, VERSION), 400)
        self.assert_refused(request(*GOOD, KEY), 400)

    def test_subprotocols(self):
        """The client speaks subprotocols whose names are none, among others."""
        for value in self.PROTOCOLS:
            self.assert_refused(request(*GOOD, PROTOCOL + value), 400)
            if value.strip(b", \t"):  # empty items of a list are passed over
                self.assert_refused(request(*GOOD, PROTOCOL + b"chat", PROTOCOL + value), 400)

    def test_control_characters(self):
        """The client puts characters into values that some split lines at (CVE-2026-44546)."""
        for byte in (0x00, 0x01, 0x08, 0x0B, 0x0C, 0x1C, 0x1D, 0x1E, 0x1F, 0x7F):
            injected = b"a" + bytes((byte,)) + b"X-Injected: b"
            for name in (b"Cookie", b"Origin", b"Sec-WebSocket-Extensions", b"X"):
                self.assert_refused(request(*GOOD, name + b": " + injected), 400)
            self.assert_refused(request(*GOOD, PROTOCOL + b"chat" + bytes((byte,))), 400)

    def test_high_bytes(self):
        """The client puts other bytes into values; they stay where they are."""
        value = b"a\x85X-Injected: b\xa0\xff"
        _, call = self.ask(b"Cookie: " + value, b"X-Last: 1")
        self.assertEqual(call.scope["headers"][-2:], [(b"cookie", value), (b"x-last", b"1")])

    def test_bytewise(self):
        """The client sends a good handshake and bad ones a byte at a time."""
        for wire, calls, status in (
            (HANDSHAKE, 1, None),
            (request(*GOOD[:3]) + SMUGGLED, 0, 426),
            (request(*GOOD[1:], UPGRADE, KEY) + SMUGGLED, 0, 400),
        ):
            puppet = Puppet()
            client = self.connect(puppet)
            client.feed_bytewise(wire)
            self.assertEqual(len(puppet.calls), calls)
            self.assertEqual(client.statuses(), [] if status is None else [status])


@tag("loop")
class AcceptTests(HandshakeTestCase):
    """What the client is answered."""

    def test_example(self):
        """The client sends the key of the specification's example."""
        client, call = self.ask()
        self.accept(call)
        self.assertEqual(client.read(), SWITCHING + DATE + SERVER + b"\r\n")
        self.assertEqual(client.transport.writes, 1)

    def test_another_key(self):
        """The client sends another key."""
        key = b"Sec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw=="
        client, call = self.begin(request(UPGRADE, CONNECTION, key, VERSION))
        self.accept(call)
        self.assertIn(b"\r\nSec-WebSocket-Accept: HSmrc0sMlYUkAGmm5OPpG2HaGWk=\r\n", client.read())

    def test_everything(self):
        """The application chooses a subprotocol and sends fields, and compression is agreed on."""
        client, call = self.ask(PROTOCOL + b"soap, chat", EXTENSIONS + DEFLATE)
        fields = [(b"X-One", b"1"), [b"set-cookie", b"a=b"], (b"Set-Cookie", b"c=\xff")]
        self.accept(call, subprotocol="chat", headers=fields)
        self.assertEqual(
            client.read(),
            SWITCHING + b"Sec-WebSocket-Protocol: chat\r\n"
            b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=12\r\n"
            b"X-One: 1\r\nset-cookie: a=b\r\nSet-Cookie: c=\xff\r\n" + DATE + SERVER + b"\r\n",
        )

    def test_own_defaults(self):
        """The application sends its own Date and Server, which stand alone."""
        client, call = self.ask()
        self.accept(call, headers=[(b"server", b"mine"), (b"DATE", b"then")])
        self.assertEqual(client.read(), SWITCHING + b"server: mine\r\nDATE: then\r\n\r\n")

    def test_subprotocols(self):
        """The client offers subprotocols in two fields, which the application sees as one list."""
        client, call = self.ask(PROTOCOL + b"a,b , C", PROTOCOL + b"!#$%&'*+-.^_`|~9")
        self.assertEqual(call.scope["subprotocols"], ["a", "b", "C", "!#$%&'*+-.^_`|~9"])
        self.accept(call, subprotocol="!#$%&'*+-.^_`|~9")
        self.assertIn(b"\r\nSec-WebSocket-Protocol: !#$%&'*+-.^_`|~9\r\n", client.read())

    def test_empty_items(self):
        """The client's list has holes, which are no subprotocols (RFC 9110, 5.6.1.2)."""
        for value in (b"a,,b", b",a,b", b"a, b,", b"a,\t, ,b"):
            _, call = self.ask(PROTOCOL + value)
            self.assertEqual(call.scope["subprotocols"], ["a", "b"], value)

    def test_no_subprotocol(self):
        """The application chooses none of those that were offered."""
        for choice in ({}, {"subprotocol": None}, {"subprotocol": ""}):
            client, call = self.ask(PROTOCOL + b"chat")
            self.accept(call, **choice)
            self.assertNotIn(b"Protocol:", client.read())

    def test_compression(self):
        """The client and the operator agree on compression or do not."""
        for offer, values, agreed in (
            (EXTENSIONS + DEFLATE, {}, True),
            (EXTENSIONS + DEFLATE, {"websocket_compression": False}, False),
            (EXTENSIONS + b"permessage-bzip2", {}, False),
            (EXTENSIONS + b"permessage-deflate; client_max_window_bits=8", {}, False),
            (b"X: 1", {}, False),
        ):
            client, call = self.ask(offer, **values)
            self.accept(call)
            self.assertEqual(b"Sec-WebSocket-Extensions: " in client.read(), agreed, offer)
            client.send(frame(0xC1, b"\xf2\x48\xcd\xc9\xc9\x07\x00"))
            if agreed:
                self.assertEqual(self.received(call, 1), ["Hello"])
            else:
                self.assertEqual(client.read(), b"\x88\x02\x03\xea")

    # What an application may not send with the 101.
    BAD: tuple[dict[str, Any], ...] = (
        {"subprotocol": "other"},
        {"subprotocol": "CHAT"},
        {"subprotocol": "soap, chat"},
        {"subprotocol": "chat\r\nX: 1"},
        {"subprotocol": "\u20ac"},
        {"subprotocol": b"chat"},
        *(
            {"headers": [(b"X-Fine", b"1"), (name, b"x")]}
            for name in (
                *(b"Connection", b"upgrade", b"Content-Length", b"Transfer-Encoding"),
                *(b"Sec-WebSocket-Accept", b"sec-websocket-protocol", b"SEC-WEBSOCKET-EXTENSIONS"),
                *(b"", b"a b", b"a:", b"a\r\nb", b"\xe9", "X-Text"),
            )
        ),
        *(
            {"headers": [(b"X", value)]}
            for value in (b"1\r\nY: 2", b"\n", b"\x00", b"\x7f", "text")
        ),
        *({"headers": [field]} for field in ((b"X",), (b"X", b"1", b"2"), b"X: 1", None, 5)),
    )

    def test_bad(self):
        """The application says what cannot be sent: nothing of it is, and it may try again."""
        for values in self.BAD:
            client, call = self.ask(PROTOCOL + b"soap, chat")
            failed = call.send({"type": "websocket.accept"} | values)
            self.assertIsInstance(failed.exception(), ApplicationError, values)
            self.assertEqual(client.read(), b"", values)
            self.accept(call)
            self.assertEqual(client.read(), SWITCHING + DATE + SERVER + b"\r\n", values)

    def test_real_client(self):
        """The client is that of the websockets package, and the two understand each other."""
        for extensions in (None, enable_client_permessage_deflate(None)):
            peer = ClientProtocol(
                parse_uri("ws://zebra.example/chat?x"),
                extensions=extensions,
                subprotocols=[Subprotocol("soap"), Subprotocol("chat")],
            )
            peer.send_request(peer.connect())
            client, call = self.begin(b"".join(peer.data_to_send()))
            self.accept(call, subprotocol="chat")
            call.send({"type": "websocket.send", "text": "\u20ac" * 200}).result()
            peer.receive_data(client.read())
            self.assertIs(peer.state, State.OPEN)
            self.assertEqual((peer.subprotocol, len(peer.extensions)), ("chat", bool(extensions)))
            _, message = peer.events_received()
            assert isinstance(message, Frame)
            self.assertEqual(bytes(message.data).decode(), "\u20ac" * 200)
            peer.send_text(b"hello")
            client.send(b"".join(peer.data_to_send()))
            self.assertEqual(self.received(call, 1), ["hello"])
