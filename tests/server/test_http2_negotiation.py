"""What is spoken on a connection: HTTP/2 or HTTP/1.1, by ALPN or by the first bytes."""

from __future__ import annotations

from typing import Any

from django.test import tag

from tests.compliance import POST, request
from tests.support.http2_frames import PREFACE, headers_frame, literal, request_fields
from tests.support.memory import MemoryClient, Puppet

from .http2_support import HTTP2Client, HTTP2Server, HTTP2TestCase, agree

GET = request()


class NegotiationTestCase(HTTP2TestCase):
    """Tests of the first bytes."""

    def connect_to(self, **values: Any) -> tuple[HTTP2Server, MemoryClient, Puppet]:
        """Return a new server, a client that has said nothing, and the application."""
        options = {name: values.pop(name) for name in ("alpn", "is_tls") if name in values}
        puppet = Puppet()
        server = self.serve(puppet, **values)
        return server, server.connect(**options), puppet

    def assert_http11(self, memory: MemoryClient, puppet: Puppet, wire: bytes = GET) -> None:
        """The client is served over HTTP/1.1, and its connection goes on."""
        memory.send(wire)
        self.assertEqual(puppet.calls[-1].scope["http_version"], "1.1")
        puppet.calls[-1].answer()
        self.assertEqual(memory.statuses(), [200])
        self.assert_open(memory)

    def assert_http2(self, memory: MemoryClient, puppet: Puppet) -> None:
        """The client is served over HTTP/2."""
        client = HTTP2Client(memory)
        answer = client.ask(request_fields())
        self.assertEqual(puppet.calls[-1].scope["http_version"], "2")
        puppet.calls[-1].answer()
        self.assert_answered(client.finish(answer))

    def assert_refused(self, memory: MemoryClient, puppet: Puppet) -> None:
        """The client's preface is a request of HTTP/1.1 that nobody serves."""
        memory.send(PREFACE + b"\0\0\0\4\0\0\0\0\0")
        self.assertEqual(puppet.calls, [])
        (status,) = memory.statuses()
        self.assertIn(status, (400, 505))
        self.assertTrue(memory.ended or memory.transport.closing or memory.transport.write_closed)


@tag("loop")
class PriorKnowledgeTests(NegotiationTestCase):
    """A client on a plain socket begins with HTTP/2 (RFC 9113, section 3.3)."""

    def test_preface(self):
        """The client begins with the preface."""
        _, memory, puppet = self.connect_to()
        self.assert_http2(memory, puppet)

    def test_nothing_before(self):
        """The client has not said anything: the server neither, for it cannot know the language."""
        _, memory, _ = self.connect_to()
        self.assertEqual(memory.read(), b"")

    def test_pieces(self):
        """The client's preface comes in two pieces, cut anywhere."""
        for size in range(1, len(PREFACE) + 9):
            with self.subTest(size=size):
                _, memory, puppet = self.connect_to()
                client = HTTP2Client(memory, greet=False)
                wire = PREFACE + b"\0\0\0\4\0\0\0\0\0"
                memory.send(wire[:size])
                self.assertEqual(memory.read() == b"", size < len(PREFACE))
                client.conversation.propose({})
                client.conversation.begin(1, b"GET")
                memory.send(wire[size:] + headers_frame(1, literal(request_fields())))
                self.assertEqual(puppet.calls[0].scope["http_version"], "2")

    def test_bytewise(self):
        """The client's first bytes come one by one, those of its first request, too."""
        _, memory, puppet = self.connect_to()
        block = headers_frame(1, literal(request_fields()))
        memory.feed_bytewise(PREFACE + b"\0\0\0\4\0\0\0\0\0" + block)
        self.assertEqual(puppet.calls[0].scope["http_version"], "2")

    def test_post(self):
        """The client's first piece is a P, which becomes POST in the next: nothing is lost."""
        for size in range(1, 5):
            with self.subTest(size=size):
                _, memory, puppet = self.connect_to()
                wire = request(b"Content-Length: 5", line=POST, body=b"hello")
                memory.send(wire[:size])
                memory.send(wire[size:])
                self.assertEqual(puppet.calls[0].receive_now()["body"], b"hello")

    def test_almost(self):
        """The client begins like the preface and goes on otherwise: a bad request of HTTP/1.1."""
        _, memory, puppet = self.connect_to()
        memory.send(PREFACE[:-3])
        self.assertEqual(memory.read(), b"")
        memory.send(b"x\r\n")
        self.assertEqual(puppet.calls, [])
        self.assertIn(memory.statuses()[0], (400, 505))

    def test_later(self):
        """The client says the preface behind a request of HTTP/1.1: too late."""
        _, memory, puppet = self.connect_to()
        self.assert_http11(memory, puppet)
        memory.send(PREFACE)
        self.assertIn(memory.statuses()[0], (400, 505))
        self.assertEqual(len(puppet.calls), 1)

    def test_upgrade(self):
        """The client asks for an upgrade to h2c: it is served over HTTP/1.1."""
        _, memory, puppet = self.connect_to()
        wire = request(
            b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk"
        )
        self.assert_http11(memory, puppet, wire)

    def test_off(self):
        """The operator wants no prior knowledge, or no HTTP/2 at all."""
        for values in ({"http2_prior_knowledge": False}, {"http2": False}):
            with self.subTest(values=values):
                _, memory, puppet = self.connect_to(**values)
                self.assert_refused(memory, puppet)
                _, memory, puppet = self.connect_to(**values)
                self.assert_http11(memory, puppet)

    def test_deadline(self):
        """The client says a part of the preface, and the rest in time: HTTP/2's deadlines hold."""
        server, memory, _ = self.connect_to(header_timeout=7, keep_alive_timeout=20)
        memory.send(PREFACE[:5])
        server.wait(6)
        client = HTTP2Client(memory, greet=False)
        client.conversation.propose({})
        memory.send(PREFACE[5:] + b"\0\0\0\4\0\0\0\0\0")
        server.wait(15)
        client.hear()
        self.assertTrue(client.is_open)

    def test_half_close(self):
        """The client says a part of the preface, or of POST, and leaves."""
        for said in (PREFACE[:5], b"P"):
            _, memory, puppet = self.connect_to()
            memory.send(said)
            memory.half_close()
            self.assertTrue(memory.ended)
            self.assertEqual(puppet.calls, [])

    def test_reset(self):
        """The client says a part of the preface, and vanishes."""
        server, memory, _ = self.connect_to()
        memory.send(PREFACE[:5])
        memory.reset()
        self.assertEqual(server.context.connections, set())


@tag("loop")
class ALPNTests(NegotiationTestCase):
    """A client with TLS says in its handshake what it speaks."""

    def test_h2(self):
        """The client has agreed on HTTP/2: it is told the settings before it says anything."""
        _, memory, puppet = self.connect_to(alpn="h2")
        self.assertNotEqual(memory.transport.output, b"")
        self.assert_http2(memory, puppet)

    def test_h2_and_http11(self):
        """The client has agreed on HTTP/2, and speaks HTTP/1.1: the end, and nobody is called."""
        _, memory, puppet = self.connect_to(alpn="h2")
        memory.send(GET)
        self.assertTrue(memory.ended or memory.transport.closing)
        self.assertEqual(puppet.calls, [])

    def test_http11(self):
        """The client has agreed on HTTP/1.1, or on nothing."""
        for options in ({"alpn": "http/1.1"}, {"is_tls": True}):
            with self.subTest(options=options):
                _, memory, puppet = self.connect_to(**options)
                self.assert_http11(memory, puppet)

    def test_prior_knowledge(self):
        """The client has agreed on HTTP/1.1, or on nothing, and says the preface: no HTTP/2."""
        for options in ({"alpn": "http/1.1"}, {"is_tls": True}):
            with self.subTest(options=options):
                _, memory, puppet = self.connect_to(**options)
                self.assert_refused(memory, puppet)

    def test_late(self):
        """The client's choice becomes known with its first bytes, as with Twisted's TLS."""
        _, memory, puppet = self.connect_to(is_tls=True)
        agree(memory.transport, "h2")
        self.assertEqual(memory.transport.output, b"")
        self.assert_http2(memory, puppet)

    def test_late_in_pieces(self):
        """The client's choice becomes known late, and its preface comes bytewise."""
        _, memory, puppet = self.connect_to(is_tls=True)
        agree(memory.transport, "h2")
        block = headers_frame(1, literal(request_fields()))
        memory.feed_bytewise(PREFACE + b"\0\0\0\4\0\0\0\0\0" + block)
        self.assertEqual(puppet.calls[0].scope["http_version"], "2")
        self.assertEqual(puppet.calls[0].scope["scheme"], "https")

    def test_late_http11(self):
        """The client's choice, known late, is HTTP/1.1."""
        _, memory, puppet = self.connect_to(is_tls=True)
        agree(memory.transport, "http/1.1")
        self.assert_http11(memory, puppet)

    def test_late_and_off(self):
        """The operator wants no HTTP/2, so that TLS does not agree on it: HTTP/1.1 is spoken."""
        _, memory, puppet = self.connect_to(is_tls=True, http2=False)
        self.assert_http11(memory, puppet)

    def test_late_deadline(self):
        """The client says nothing behind its handshake: it is not waited for, for ever."""
        server, memory, _ = self.connect_to(is_tls=True, header_timeout=7)
        server.wait(8)
        self.assertTrue(memory.ended)
