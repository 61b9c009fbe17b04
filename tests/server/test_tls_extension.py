"""What the scope says of TLS: the extension of that name, on every kind of connection with it."""

from __future__ import annotations

import json
import socket
import ssl
import sys
from contextlib import suppress
from typing import Any
from unittest import mock

from django.test import tag

from django_daphne.server import tls_extension
from tests.compliance import request
from tests.support.server import PATIENCE, call
from tests.support.tls import GET, ServedTLSTestCase, read_answer

HANDSHAKE = request(
    b"Connection: Upgrade",
    b"Upgrade: websocket",
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==",
)
KEYS = {
    *("server_cert", "client_cert_chain", "client_cert_name", "client_cert_error"),
    *("tls_version", "cipher_suite"),
}


def pem(leaf: Any) -> str:
    """Return a certificate of trustme's as text."""
    text: str = leaf.cert_chain_pems[0].bytes().decode()
    return text


class ExtensionTestCase(ServedTLSTestCase):
    """The application sees the extension."""

    def setUp(self):
        super().setUp()
        self.own = self.issue("localhost", common_name="localhost")
        self.pair.write(self.own)

    def serve_endpoint(self) -> Any:
        """Return a server on an endpoint of Twisted's."""
        files = f"certKey={self.pair.certfile}:privateKey={self.pair.keyfile}"
        endpoint = [f"ssl:0:interface=127.0.0.1:{files}"]
        return self.serve(endpoint=endpoint, certfile=[], keyfile=[])

    def see(self, server: Any, context: ssl.SSLContext | None = None) -> dict[str, Any]:
        """Send a request; return what the scope says of TLS."""
        self.ask(self.open(server.address, context=context))
        extension: dict[str, Any] = self.witness.scopes[-1]["extensions"]["tls"]
        self.assertEqual(extension.keys(), KEYS)
        self.assertIsNone(extension["client_cert_error"])
        return extension

    def limited(self, version: ssl.TLSVersion, ciphers: str | None = None) -> ssl.SSLContext:
        """Return a client of one version."""
        context = self.trusting()
        context.minimum_version = context.maximum_version = version
        if ciphers is not None:
            context.set_ciphers(ciphers)
        return context


@tag("loop")
class ConnectionTests(ExtensionTestCase):
    """Of the connection and the server's certificate."""

    def test_versions(self):
        """The client speaks TLS 1.2 or 1.3, to us or to Twisted."""
        cases = (
            (self.limited(ssl.TLSVersion.TLSv1_3), 0x0304, (0x1301, 0x1302, 0x1303)),
            (
                self.limited(ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-GCM-SHA256"),
                0x0303,
                (0xC02B,),
            ),
        )
        for server in (self.serve(), self.serve_endpoint()):
            for context, version, suites in cases:
                extension = self.see(server, context)
                self.assertEqual(extension["tls_version"], version)
                self.assertIn(extension["cipher_suite"], suites)
                self.assertEqual(extension["server_cert"], pem(self.own))
                self.assertEqual(extension["client_cert_chain"], ())
                self.assertIsNone(extension["client_cert_name"])

    def test_plain(self):
        """The client speaks no TLS: to us, to Twisted, or to a proxy that says it did."""
        told = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n"
        for where, before in (
            ({"bind": ["127.0.0.1:0"]}, b""),
            ({"endpoint": ["tcp:0:interface=127.0.0.1"]}, b""),
            ({"bind": ["127.0.0.1:0 proxy_protocol=v1"]}, told),
        ):
            server = self.serve(**where, certfile=[], keyfile=[])
            with self.subTest(where), socket.create_connection(server.address, PATIENCE) as sock:
                sock.sendall(before)
                self.ask(sock)
                self.assertNotIn("tls", self.witness.scopes[-1]["extensions"])

    def test_names(self):
        """The client has chosen one of two certificates by its name."""
        other = self.issue("other.example")
        pair = self.make_pair("other.example", file="other")
        pair.write(other)
        server = self.serve(
            certfile=[str(self.pair.certfile), str(pair.certfile)],
            keyfile=[str(self.pair.keyfile), str(pair.keyfile)],
        )
        for name, leaf in (("other.example", other), ("localhost", self.own)):
            self.ask(self.open(server.address, name))
            shown = self.witness.scopes[-1]["extensions"]["tls"]["server_cert"]
            self.assertEqual(shown, pem(leaf))

    def test_once(self):
        """The client sends several requests: each has its own copy of what was found out once."""
        with mock.patch.object(
            tls_extension, "_describe", side_effect=tls_extension._describe
        ) as describe:
            sock = self.open(self.serve().address)
            for _ in range(3):
                sock.sendall(GET)
                read_answer(sock)
                self.witness.scopes[-1]["extensions"]["tls"].pop("server_cert")
        self.assertEqual(describe.call_count, 1)

    def test_websocket(self):
        """The client opens a WebSocket."""
        for server in (self.serve(), self.serve_endpoint()):
            sock = self.open(server.address)
            sock.sendall(HANDSHAKE)
            self.assertIn(b" 101 ", sock.recv(65536))
            scope = self.witness.scopes[-1]
            self.assertEqual(scope["scheme"], "wss")
            extensions = scope["extensions"]
            self.assertEqual(
                extensions.keys(), {"websocket.http.response", "django_daphne.trace", "tls"}
            )
            self.assertEqual(extensions["tls"]["server_cert"], pem(self.own))

    def test_renewed(self):
        """The operator has renewed the certificate; an old connection says what it was shown."""
        server = self.serve()
        sock = self.open(server.address)
        self.pair.write(self.issue("localhost"))
        call(server.server.renew_certificates())
        self.ask(sock)
        self.assertEqual(self.witness.scopes[-1]["extensions"]["tls"]["server_cert"], pem(self.own))


@tag("loop")
class ClientTests(ExtensionTestCase):
    """Of the client's certificate."""

    def setUp(self):
        super().setUp()
        self.intermediate = self.authority.create_child_ca()
        self.leaf = self.intermediate.issue_cert("client@example.org", common_name="Zoë, A+B")

    def test_chain(self):
        """The client shows a certificate with an authority in between."""
        server = self.serve(client_certificates="required", ca_certs=self.write_authority())
        extension = self.see(server, self.trusting(self.leaf))
        chain = extension["client_cert_chain"]
        self.assertEqual(chain[0], pem(self.leaf))
        if sys.version_info >= (3, 13):
            self.assertEqual(chain[1], self.intermediate.cert_pem.bytes().decode())
        self.assertRegex(extension["client_cert_name"], r"CN=Zoë\\, A\\\+B")
        json.dumps(extension)

    def test_resumed(self):
        """The client goes on with a session of before, without showing its certificate again."""
        server = self.serve(client_certificates="required", ca_certs=self.write_authority())
        context = self.trusting(self.leaf)
        first = self.open(server.address, context=context)
        first.sendall(GET)
        read_answer(first)  # behind the tickets
        sock = context.wrap_socket(
            socket.create_connection(server.address, PATIENCE),
            server_hostname="localhost",
            session=first.session,
        )
        self.assertTrue(sock.session_reused)
        self.ask(sock)
        extension = self.witness.scopes[-1]["extensions"]["tls"]
        self.assertEqual(extension["client_cert_chain"][0], pem(self.leaf))

    def test_endpoint(self):
        """The client shows its certificate to a plug-in's endpoint of Twisted's."""
        from OpenSSL import SSL

        context = SSL.Context(SSL.TLS_METHOD)
        context.use_certificate_chain_file(str(self.pair.certfile))
        context.use_privatekey_file(str(self.pair.keyfile))
        context.load_verify_locations(self.write_authority())
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_: True)
        server = SSL.Connection(context)
        server.set_accept_state()
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = self.trusting(self.leaf).wrap_bio(incoming, outgoing, server_hostname="localhost")
        is_done = False
        for _ in range(4):
            with suppress(ssl.SSLWantReadError):
                client.do_handshake()
            if data := outgoing.read():
                server.bio_write(data)
            with suppress(SSL.WantReadError):
                server.do_handshake()
                is_done = True
            with suppress(SSL.WantReadError):
                incoming.write(server.bio_read(65536))
        self.assertTrue(is_done)
        extension = tls_extension.of_twisted(server)
        chain: Any = extension["client_cert_chain"]
        intermediate = self.intermediate.cert_pem.bytes().decode()
        self.assertEqual(chain[:2], (pem(self.leaf), intermediate))
        self.assertEqual(extension["server_cert"], pem(self.own))
        self.assertIn("CN=Zo", str(extension["client_cert_name"]))
