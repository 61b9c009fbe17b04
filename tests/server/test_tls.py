"""TLS of our own, over real sockets: what is served, by which version, certificate and suite."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Any

from django.test import tag

from django_daphne.server import ConfigurationError, Server, ServerConfig
from tests.support.server import PATIENCE, call, serve
from tests.support.tls import GET, LAST, Pair, ServedTLSTestCase, common_name, read_all, read_answer

# More than the kernel takes for a client that does not read.
PART, PARTS = b"x" * 65536, 1024


async def turn() -> None:
    """Let the loop do what is to be done."""
    for _ in range(20):
        await asyncio.sleep(0)


@tag("loop")
class ServingTests(ServedTLSTestCase):
    """What is served, and to whom."""

    def test_request(self):
        """The client trusts the authority and sends a request."""
        server = self.serve()
        self.assertEqual(self.ask(self.open(server.address)), b"xxxxx")
        (scope,) = self.witness.scopes
        self.assertEqual((scope["scheme"], scope["server"]), ("https", server.address))

    def test_keep_alive(self):
        """The client sends several requests on its connection."""
        sock = self.open(self.serve().address)
        for _ in range(3):
            sock.sendall(GET)
            self.assertIn(b" 200 OK\r\n", read_answer(sock))

    def test_protocols(self):
        """The client offers protocols, of which HTTP/1.1 is spoken, or none."""
        server = self.serve()
        for offer, agreed in ((["http/1.1"], "http/1.1"), (["spdy", "http/1.1"], "http/1.1")):
            context = self.trusting()
            context.set_alpn_protocols(offer)
            sock = self.open(server.address, context=context)
            self.assertEqual(sock.selected_alpn_protocol(), agreed)
            self.ask(sock)
        sock = self.open(server.address)
        self.assertIsNone(sock.selected_alpn_protocol())
        self.ask(sock)

    def test_description(self):
        """The operator reads which addresses have TLS."""
        path = str(self.folder / "socket")
        server = self.serve(
            bind=["127.0.0.1:0", "127.0.0.2:0 proxy_protocol=any"],
            insecure_bind=["127.0.0.3:0"],
            unix_socket=path,
        )
        first, second, third = server.server.addresses
        self.assertEqual(
            server.server.descriptions,
            [
                f"TCP address 127.0.0.1:{first[1]} (TLS)",
                f"TCP address 127.0.0.2:{second[1]} (PROXY protocol, TLS)",
                f"TCP address 127.0.0.3:{third[1]}",
                f"unix socket {path}",
            ],
        )

    def test_plain_addresses(self):
        """The client comes by an address, or a path, that the operator wants plain."""
        path = str(self.folder / "socket")
        server = self.serve(bind=["127.0.0.1:0"], insecure_bind=["127.0.0.2:0"], unix_socket=path)
        _, insecure = server.server.addresses
        with socket.create_connection(insecure, PATIENCE) as sock:
            self.ask(sock)
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(PATIENCE)
            sock.connect(path)
            self.ask(sock)
        self.assertEqual([scope["scheme"] for scope in self.witness.scopes], ["http", "http"])
        self.assertFalse([True for each in self.witness.scopes if "tls" in each["extensions"]])

    def test_inherited(self):
        """The operator passes a listening socket, which speaks TLS."""
        inherited = self.enterContext(socket.create_server(("127.0.0.1", 0)))
        server = self.serve(fd=inherited.fileno())
        self.ask(self.open(server.address))

    def test_nothing_to_encrypt(self):
        """The operator has a certificate, and no address that speaks TLS with it."""
        path = self.folder / "socket"
        config = ServerConfig().replace(**self.pair.values, unix_socket=str(path))

        async def start() -> None:
            await Server(self.witness, config).start()

        with self.assertRaisesRegex(ConfigurationError, r"\A--certfile: no address speaks TLS"):
            call(start())
        self.assertFalse(path.exists())

    def test_large_response(self):
        """The client reads a large response slowly."""
        self.witness.size = 16 * 1024 * 1024
        sock = self.open(self.serve(write_buffer_size=65536).address)
        sock.sendall(LAST)
        size = 0
        while piece := sock.recv(4096):
            size += len(piece)
        self.assertGreater(size, self.witness.size)

    def test_backpressure(self):
        """The client does not read, and the application waits until it does."""
        sent = [0]

        async def stream(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200})
            while sent[0] < PARTS:
                sent[0] += 1
                await send({"type": "http.response.body", "body": PART, "more_body": True})
            await send({"type": "http.response.body"})

        server = self.enterContext(serve(stream, port=0, lifespan="off", **self.pair.values))
        sock = self.open(server.address)
        sock.sendall(LAST)
        sock.recv(1)
        before = -1
        while before != sent[0]:
            before = sent[0]
            call(turn())
        self.assertLess(sent[0], PARTS / 2)
        size = 0
        while piece := sock.recv(1 << 20):
            size += len(piece)
        self.assertGreater(size, PARTS * len(PART))
        sock.close()

    def test_upload(self):
        """The client sends a large body."""
        sock = self.open(self.serve().address)
        body = b"y" * (4 * 1024 * 1024)
        sock.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n")
        sock.sendall(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        self.assertIn(b" 200 OK\r\n", read_all(sock))


@tag("loop")
class VersionTests(ServedTLSTestCase):
    """Versions and cipher suites."""

    def limited(self, version: ssl.TLSVersion) -> ssl.SSLContext:
        """Return a client of one version."""
        context = self.trusting()
        context.minimum_version = context.maximum_version = version
        return context

    def test_versions(self):
        """The client speaks TLS 1.2 or 1.3."""
        server = self.serve()
        for version, name in (
            (ssl.TLSVersion.TLSv1_2, "TLSv1.2"),
            (ssl.TLSVersion.TLSv1_3, "TLSv1.3"),
        ):
            sock = self.open(server.address, context=self.limited(version))
            self.assertEqual(sock.version(), name)
            self.ask(sock)

    def test_minimum(self):
        """The operator wants TLS 1.3, and a client speaks 1.2, whatever name it asks for."""
        other = self.make_pair("other.example", file="other")
        server = self.serve(
            certfile=[str(self.pair.certfile), str(other.certfile)],
            keyfile=[str(self.pair.keyfile), str(other.keyfile)],
            tls_min_version="1.3",
        )
        for name in ("localhost", "other.example"):
            old = self.limited(ssl.TLSVersion.TLSv1_2)
            self.assert_refused(server.address, name, context=old)
            self.open(server.address, name)

    def test_ciphers(self):
        """The client of TLS 1.2 is offered ephemeral keys and authenticated encryption alone."""
        server = self.serve()
        for ciphers in ("AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA", "DHE"):
            old = self.limited(ssl.TLSVersion.TLSv1_2)
            old.set_ciphers(ciphers)
            self.assert_refused(server.address, context=old)
        old = self.limited(ssl.TLSVersion.TLSv1_2)
        old.set_ciphers("ECDHE-ECDSA-CHACHA20-POLY1305")
        self.ask(self.open(server.address, context=old))

    def test_own_ciphers(self):
        """The operator names the suites of TLS 1.2, and those of 1.3 stay."""
        server = self.serve(ciphers="ECDHE-ECDSA-AES256-GCM-SHA384")
        old = self.limited(ssl.TLSVersion.TLSv1_2)
        cipher = self.open(server.address, context=old).cipher()
        assert cipher is not None
        self.assertEqual(cipher[0], "ECDHE-ECDSA-AES256-GCM-SHA384")
        old.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
        self.assert_refused(server.address, context=old)
        self.ask(self.open(server.address))

    def test_no_renegotiation(self):
        """The client of TLS 1.2 resumes its session and finds no compression."""
        server = self.serve()
        old = self.limited(ssl.TLSVersion.TLSv1_2)
        first = self.open(server.address, context=old)
        self.assertIsNone(first.compression())
        again = old.wrap_socket(
            socket.create_connection(server.address, PATIENCE),
            server_hostname="localhost",
            session=first.session,
        )
        with again:
            self.assertTrue(again.session_reused)
            self.ask(again)


@tag("loop")
class NameTests(ServedTLSTestCase):
    """Several certificates."""

    def serve_three(self, **values: Any) -> Any:
        """Return a server with three certificates, the first of which is for localhost."""
        pairs = []
        for name, *others in (
            ("first.example", "localhost"),
            ("*.wild.example", "second.example", "192.0.2.1"),
            ("third.example", "deep.wild.example", "first.example"),
        ):
            pair = Pair(self.folder, name)
            pair.write(self.issue(name, *others, common_name=name))
            pairs.append(pair)
        return self.serve(
            certfile=[str(pair.certfile) for pair in pairs],
            keyfile=[str(pair.keyfile) for pair in pairs],
            **values,
        )

    def test_names(self):
        """The client asks for a name, which chooses the certificate."""
        server = self.serve_three()
        for name, expected in (
            ("first.example", "first.example"),
            ("localhost", "first.example"),
            ("second.example", "*.wild.example"),
            ("a.wild.example", "*.wild.example"),
            ("A.Wild.Example", "*.wild.example"),
            ("deep.wild.example", "third.example"),
            ("third.example", "third.example"),
        ):
            with self.subTest(name):
                sock = self.open(server.address, name)
                self.assertEqual(common_name(sock), expected)
                self.ask(sock)

    def test_address(self):
        """The client asks for an IP address as if it were a name, as it should not (RFC 6066)."""
        from OpenSSL import SSL

        server = self.serve_three()
        with socket.create_connection(server.address, PATIENCE) as sock:
            sock.settimeout(None)
            client = SSL.Connection(SSL.Context(SSL.TLS_METHOD), sock)
            client.set_tlsext_host_name(b"192.0.2.1")
            client.set_connect_state()
            client.do_handshake()
            certificate = client.get_peer_certificate()
            assert certificate is not None
            self.assertEqual(certificate.get_subject().CN, "*.wild.example")

    def test_other_names(self):
        """The client asks for a name that no certificate has, or for none: the first is shown."""
        server = self.serve_three()
        context = self.trusting()
        for name in ("wild.example", "a.b.wild.example", "example", "elsewhere.example", "x" * 63):
            context.check_hostname = False
            sock = socket.create_connection(server.address, PATIENCE)
            with self.subTest(name), context.wrap_socket(sock, server_hostname=name) as tls:
                self.assertEqual(common_name(tls), "first.example")
                self.ask(tls)
        sock = self.open(server.address, None)
        self.assertEqual(common_name(sock), "first.example")

    def test_required(self):
        """The client has no certificate, and is refused whatever name it asks for."""
        server = self.serve_three(client_certificates="required", ca_certs=self.write_authority())
        for name in ("first.example", "second.example", "third.example", "a.wild.example"):
            with self.subTest(name):
                self.assert_refused(server.address, name)
        known = self.trusting(self.issue("client@example.org"))
        self.ask(self.open(server.address, "third.example", known))


@tag("loop")
class ClientCertificateTests(ServedTLSTestCase):
    """Certificates of clients."""

    def setUp(self):
        super().setUp()
        import trustme

        self.known = self.trusting(self.issue("client@example.org"))
        self.unknown = self.trusting(trustme.CA().issue_cert("client@example.org"))
        self.values = {"ca_certs": self.write_authority()}

    def test_off(self):
        """The operator does not ask, and what the client has makes no difference."""
        server = self.serve()
        for context in (None, self.known, self.unknown):
            self.ask(self.open(server.address, context=context))
        for scope in self.witness.scopes:
            self.assertEqual(scope["extensions"]["tls"]["client_cert_chain"], ())

    def test_optional(self):
        """The operator asks: clients without one are served, those with a bad one are not."""
        server = self.serve(client_certificates="optional", **self.values)
        self.assert_refused(server.address, context=self.unknown)
        for context in (None, self.known):
            self.ask(self.open(server.address, context=context))
        chains = [each["extensions"]["tls"]["client_cert_chain"] for each in self.witness.scopes]
        self.assertEqual(list(map(bool, chains)), [False, True])

    def test_required(self):
        """The operator insists, and only a client with a good one is served."""
        server = self.serve(client_certificates="required", **self.values)
        for context in (None, self.unknown):
            self.assert_refused(server.address, context=context)
        self.ask(self.open(server.address, context=self.known))
