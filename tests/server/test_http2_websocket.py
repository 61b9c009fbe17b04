"""WebSockets over HTTP/2 (RFC 8441): from the handshake to both ends of the stream."""

from __future__ import annotations

import zlib
from unittest.mock import ANY

from django.test import tag

from django_daphne.server import ApplicationError, ClientDisconnected
from tests.support.http2_frames import Code, Setting, request_fields, websocket_fields
from tests.support.memory import Puppet
from tests.support.websocket import (
    CONNECT,
    LOGGER,
    binary,
    close,
    disconnect,
    event,
    frame,
    ping,
    pong,
    received,
    take_all,
    text,
)
from tests.support.wire import CLIENT, HOST

from .http2_support import DATE_FIELD, SERVER_FIELD, TunnelTestCase

PROTOCOLS = (b"sec-websocket-protocol", b"v2, v1")
DEFLATE = (b"sec-websocket-extensions", b"permessage-deflate; client_max_window_bits")


@tag("loop")
class HandshakeTests(TunnelTestCase):
    """The handshake, and its answers."""

    maxDiff = None

    def test_settings(self):
        """The client is told that it may ask for WebSockets, and needs no other priorities."""
        client, _ = self.speak()
        said = client.conversation.server_settings
        self.assertEqual(
            (said[Setting.ENABLE_CONNECT_PROTOCOL], said[Setting.NO_RFC7540_PRIORITIES]), (1, 1)
        )

    def test_scope(self):
        """The client offers subprotocols; the application is told what it always is."""
        scope = self.connecting(PROTOCOLS, (b"x-a", b"1"), root_path="/mount")[2].scope
        self.assertEqual(
            scope,
            {
                "type": "websocket",
                "asgi": {"version": "3.0", "spec_version": "2.5"},
                "http_version": "2",
                "scheme": "ws",
                "path": "/zebra",
                "raw_path": b"/zebra",
                "query_string": b"",
                "root_path": "/mount",
                "headers": [
                    (b"host", b"zebra.example"),
                    (b"sec-websocket-version", b"13"),
                    PROTOCOLS,
                    (b"x-a", b"1"),
                ],
                "client": CLIENT,
                "server": HOST,
                "subprotocols": ["v2", "v1"],
                "extensions": {"websocket.http.response": {}, "django_daphne.trace": ANY},
            },
        )

    def test_tls(self):
        """The client uses TLS."""
        self.assertEqual(self.connecting(is_tls=True)[2].scope["scheme"], "wss")

    def test_accept(self):
        """The application accepts with a subprotocol and a field: 200, and no key is proved."""
        client, answer, call = self.connecting(PROTOCOLS)
        self.assertEqual(call.receive_now(), CONNECT)
        self.say(call, "accept", subprotocol="v1", headers=[(b"X-A", b"1")])
        client.hear()
        self.assertEqual((answer.status, answer.done), (200, False))
        fields = {b"sec-websocket-protocol": b"v1", b"x-a": b"1"}
        self.assertEqual(answer.headers, fields | dict((DATE_FIELD, SERVER_FIELD)))

    def test_wrong_accept(self):
        """The application accepts what was not offered: it is told, and can accept otherwise."""
        client, answer, call = self.connecting(PROTOCOLS)
        for values in (
            {"subprotocol": "v3"},
            {"headers": [(b"sec-websocket-accept", b"x")]},
            {"headers": [(b"x", b"a\nb")]},
        ):
            error = call.send(event("accept", **values)).exception()
            self.assertIsInstance(error, ApplicationError)
        self.say(call, "accept")
        client.give(answer, text("x"))
        self.assertEqual(take_all(call), [CONNECT, received("x")])

    def test_extension(self):
        """The client offers compression, and a long message is compressed."""
        client, answer, call = self.open(DEFLATE)
        self.assertIn(b"permessage-deflate", answer.headers[b"sec-websocket-extensions"])
        self.say(call, "send", text="zebra " * 1000)
        ((first, payload),) = client.told(answer)
        self.assertEqual(first, 0xC1)
        self.assertLess(len(payload), 200)
        inflated = zlib.decompressobj(-15).decompress(payload + b"\0\0\xff\xff")
        self.assertEqual(inflated, b"zebra " * 1000)

    def test_refused(self):
        """The client's handshake is not as it must be: 400, nobody is called, and others go on."""
        fields = websocket_fields()
        for name, wrong, end in (
            ("ended", fields, True),
            ("key", (*fields, (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ==")), False),
            ("version", websocket_fields(version=b"12"), False),
            ("no version", fields[:-1], False),
            ("protocol", (*fields, (b"sec-websocket-protocol", b"a b")), False),
        ):
            with self.subTest(name):
                client, calls = self.speak()
                answer = client.ask(wrong, end=end)
                self.assertEqual((answer.status, answer.ended), (400, True))
                self.assertIsNone(answer.reset)
                self.assertEqual(calls, [])
                events = [record.event for record in client.server.access]
                self.assertEqual(events, ["rejected"])
                self.assert_going_on(client)

    def test_other_protocol(self):
        """The client asks for a tunnel of another kind: 501."""
        client, calls = self.speak()
        fields = tuple(
            (name, b"connect-udp" if name == b":protocol" else value)
            for name, value in websocket_fields()
        )
        answer = client.ask(fields, end=False)
        self.assertEqual((answer.status, calls), (501, []))
        self.assert_going_on(client)

    def test_denied(self):
        """The application closes in place of accepting: 403."""
        client, answer, call = self.connecting()
        call.receive_now()
        self.say(call, "close")
        client.hear()
        self.assertEqual((answer.status, answer.ended, answer.reset), (403, True, None))
        self.assertEqual(call.receive_now(), disconnect(1006))
        call.finish()
        events = [(each.event, each.status) for each in client.server.access]
        self.assertEqual(events, [("connecting", 0), ("rejected", 403)])
        self.assert_going_on(client)

    def test_denied_with_a_response(self):
        """The application denies with a response of its own, in parts."""
        client, answer, call = self.connecting()
        headers = [(b"x-a", b"1")]
        self.say(call, "http.response.start", status=402, headers=headers)
        self.say(call, "http.response.body", body=b"pay ", more_body=True)
        self.say(call, "http.response.body", body=b"first")
        call.finish()
        client.hear()
        self.assertEqual((answer.status, bytes(answer.body)), (402, b"pay first"))
        self.assertEqual((answer.ended, answer.reset), (True, None))
        self.assertEqual(answer.headers[b"x-a"], b"1")
        self.assert_going_on(client)

    def test_fault(self):
        """The application fails before it has answered, or within its denial."""
        for started in (False, True):
            with self.subTest(started=started):
                client, answer, call = self.connecting()
                call.receive_now()
                if started:
                    self.say(call, "http.response.start", status=402)
                    self.say(call, "http.response.body", body=b"pay ", more_body=True)
                with self.assertLogs(LOGGER, "ERROR"):
                    call.fail(ValueError())
                client.hear()
                end = (402, Code.INTERNAL_ERROR) if started else (500, None)
                self.assertEqual((answer.status, answer.reset), end)
                self.assert_going_on(client)

    def test_given_up(self):
        """The client gives up before the answer."""
        client, answer, call = self.connecting()
        call.receive_now()
        waiting = call.receive()
        client.give_up(answer)
        self.assertEqual(waiting.result(), disconnect(1006))
        with self.assertRaises(ClientDisconnected):
            call.send(event("accept")).result()
        call.finish()
        events = [(each.event, each.status) for each in client.server.access]
        self.assertEqual(events, [("connecting", 0), ("rejected", 499)])
        self.assert_going_on(client)

    def test_contradiction(self):
        """The client's proxies contradict each other: 400."""
        client, calls = self.speak(proxy_headers=True, trusted_proxies=[CLIENT[0]])
        headers = ((b"x-forwarded-for", b"198.51.100.7"), (b"forwarded", b"for=198.51.100.8"))
        with self.assertLogs(LOGGER):
            answer = client.ask(websocket_fields(b"/", *headers), end=False)
        self.assertEqual((answer.status, calls), (400, []))
        self.assert_going_on(client)


@tag("loop")
class MessageTests(TunnelTestCase):
    """Messages both ways."""

    def test_echo(self):
        """The client sends a text and bytes, and gets them back."""
        client, answer, call = self.open()
        client.give(answer, text("zebra") + binary(b"\0\1"))
        self.assertEqual(take_all(call), [received("zebra"), received(b"\0\1")])
        self.say(call, "send", text="zebra")
        self.say(call, "send", bytes=b"\0\1")
        self.assertEqual(client.told(answer), [(0x81, b"zebra"), (0x82, b"\0\1")])

    def test_bytewise(self):
        """The client's frames come a byte in each DATA."""
        client, answer, call = self.open()
        for byte in text("zebra") + ping(b"!"):
            client.give(answer, bytes((byte,)))
        self.assertEqual(take_all(call), [received("zebra")])
        self.assertEqual(client.told(answer), [(0x8A, b"!")])

    def test_fragments(self):
        """The client sends a message in fragments, with a ping between them."""
        client, answer, call = self.open()
        client.give(answer, frame(0x01, b"ze") + ping(b"?") + frame(0x00, b"b"))
        client.give(answer, frame(0x80, b"ra"))
        self.assertEqual(take_all(call), [received("zebra")])
        self.assertEqual(client.told(answer), [(0x8A, b"?")])

    def test_large(self):
        """The client and the application send messages of many frames of HTTP/2."""
        client, answer, call = self.open(settings={Setting.INITIAL_WINDOW_SIZE: 10**6})
        data = "zebra" * 20_000
        wire = text(data)
        for start in range(0, len(wire), 16384):
            client.give(answer, wire[start : start + 16384])
        self.assertEqual(take_all(call), [received(data)])
        call.send(event("send", text=data))
        self.assertEqual(client.told(answer), [(0x81, data.encode())])

    def test_early(self):
        """The client does not wait for the answer: its messages wait, in their order."""
        client, answer, call = self.connecting()
        client.give(answer, text("one"))
        client.give(answer, text("two")[:3])
        client.give(answer, text("two")[3:])
        self.say(call, "accept")
        client.give(answer, text("three"))
        texts = [received("one"), received("two"), received("three")]
        self.assertEqual(take_all(call), [CONNECT, *texts])

    def test_early_credit(self):
        """The client sends much before the answer, and may send as much again behind it."""
        client, answer, call = self.connecting(http2_stream_window=65535)
        for _ in range(15):
            client.give(answer, text("x" * 4000))
        self.assertLess(answer.window, 6000)
        self.say(call, "accept")
        client.hear()
        self.assertGreaterEqual(answer.window, 32767)
        self.assertEqual(len(take_all(call)), 16)

    def test_early_end(self):
        """The client sends a message and leaves, before the answer."""
        client, answer, call = self.connecting()
        client.give(answer, text("one"), end=True)
        self.assertEqual(call.receive_now(), CONNECT)
        self.say(call, "accept")
        self.assertEqual(take_all(call), [received("one"), disconnect(1006)])
        self.assertEqual(client.finish(answer).status, 200)

    def test_early_close(self):
        """The client sends a message and a close frame, before the answer."""
        client, answer, call = self.connecting()
        client.give(answer, text("one") + close(4000))
        self.say(call, "accept")
        self.assertEqual(take_all(call), [CONNECT, received("one"), disconnect(4000)])
        client.finish(answer)
        self.assertEqual(client.told(answer), [(0x88, b"\x0f\xa0")])

    def test_early_and_denied(self):
        """The client does not wait for the answer, which is no: its window is given back."""
        client, answer, call = self.connecting()
        before = client.conversation.window
        for _ in range(60):
            client.give(answer, bytes(16384))
        call.receive_now()
        self.say(call, "close")
        call.finish()
        self.assertEqual(client.finish(answer).status, 403)
        for _ in range(8):
            answer = client.ask(websocket_fields(), end=False)
            for _ in range(60):
                client.give(answer, bytes(16384))
            self.say(client.calls[-1], "close")
            client.finish(answer)
        self.assertLess(before - client.conversation.window, 4 * 2**20)

    def test_several(self):
        """The client has several WebSockets beside requests: nothing is mixed up."""
        client, calls = self.speak()
        tunnels = [self.open_on(client, calls) for _ in range(5)]
        request = client.ask(request_fields(b"POST"), end=False)
        post = calls[-1]
        for number, (answer, _) in enumerate(tunnels):
            client.give(answer, text(f"to {number}"))
        client.give(request, b"body", end=True)
        for number, (_, call) in enumerate(tunnels):
            self.assertEqual(take_all(call), [received(f"to {number}")])
            self.say(call, "send", text=f"from {number}")
        self.assertEqual(post.receive_now()["body"], b"body")
        post.answer()
        self.assert_answered(client.finish(request))
        for number, (answer, _) in enumerate(tunnels):
            self.assertEqual(client.told(answer), [(0x81, b"from %d" % number)])
        client.give(tunnels[2][0], close(1000))
        self.assertEqual(take_all(tunnels[2][1]), [disconnect(1000)])
        self.assertEqual([take_all(call) for _, call in (tunnels[0], tunnels[4])], [[], []])

    def test_access_log(self):
        """The client opens, is sent something, and closes: three events."""
        client, answer, call = self.open()
        self.say(call, "send", text="zebra")
        client.wait(2)
        client.give(answer, pong() + close(4000))
        call.finish()
        client.hear()
        self.assertEqual(
            [
                (each.event, each.status, each.code, each.http_version, each.method)
                for each in client.server.access
            ],
            [
                ("connecting", 0, None, "2", "CONNECT"),
                ("connected", 200, None, "2", "CONNECT"),
                ("disconnected", 200, 4000, "2", "CONNECT"),
            ],
        )
        last = client.server.access[-1]
        self.assertEqual((last.size, last.duration, last.target), (5, 2, b"/zebra"))

    def test_state(self):
        """The application's state is the scope's, also here."""
        puppet = Puppet()
        client = self.serve(puppet, state={"a": 1}).speak()
        self.open_on(client, puppet.calls)
        self.assertEqual(puppet.calls[0].scope["state"], {"a": 1})
