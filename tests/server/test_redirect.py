"""Redirection of plain requests to https."""

from __future__ import annotations

import re
import socket
from contextlib import closing
from typing import Any

from django.test import tag

from django_daphne.server.redirect import HTTPSRedirect
from tests.compliance import request
from tests.server.test_proxy_listener import BINARY_UNIX, TEXT
from tests.support.server import PATIENCE, RunningServer
from tests.support.tls import ServedTLSTestCase, read_all

HANDSHAKE = request(
    b"Connection: Upgrade",
    b"Upgrade: websocket",
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==",
)


@tag("loop")
class RedirectTests(ServedTLSTestCase):
    """What comes by an insecure address, and what comes by others."""

    def setUp(self):
        super().setUp()
        self.path = str(self.folder / "socket")

    def serve(self, **values: Any) -> RunningServer:
        """Return a server that redirects from its second address to its first."""
        usual = {
            "bind": ["127.0.0.1:0"],
            "insecure_bind": ["127.0.0.1:0"],
            "redirect_to_https": True,
        }
        return super().serve(**usual | values)

    def answer(self, server: RunningServer, wire: bytes, index: int = 1) -> bytes:
        """Return the answer to the last request of a connection without TLS."""
        address = server.server.addresses[index]
        with closing(socket.create_connection(address, PATIENCE)) as sock:
            sock.sendall(wire)
            sock.shutdown(socket.SHUT_WR)
            return read_all(sock)

    def location(self, server: RunningServer, wire: bytes) -> str:
        """Return where the client of a request is sent, with PORT for that of TLS."""
        answer = self.answer(server, wire)
        self.assertRegex(answer, rb"\AHTTP/1.[01] 308 Permanent Redirect\r\n")
        self.assertEqual(self.witness.scopes, [])
        (found,) = re.findall(rb"(?m)^location: (.*)\r$", answer)
        text: str = found.decode()
        return text.replace(f":{server.port}", ":PORT")

    def test_targets(self):
        """The client asks for anything by any method, and is sent to the same by https."""
        server = self.serve()
        for line, expected in (
            (b"GET / HTTP/1.1", "/"),
            (b"POST /a%20b/c;d?x=1&y=%2F HTTP/1.1", "/a%20b/c;d?x=1&y=%2F"),
            (b"DELETE //evil.example/ HTTP/1.1", "//evil.example/"),
            (b"GET /? HTTP/1.1", "/"),
            (b"OPTIONS * HTTP/1.1", ""),
            (b"GET http://other.example/z HTTP/1.1", None),
        ):
            host = "zebra.example" if expected is not None else "other.example"
            wire = request(b"Connection: close", line=line, host=b"Host: zebra.example")
            with self.subTest(line):
                target = "/z" if expected is None else expected
                self.assertEqual(self.location(server, wire), f"https://{host}:PORT{target}")

    def test_hosts(self):
        """The client names a host in every form, and its port is not that of https."""
        server = self.serve()
        for host, expected in (
            (b"example.org", "example.org"),
            (b"example.org:8080", "example.org"),
            (b"example.org:", "example.org"),
            (b"[2001:db8::1]", "[2001:db8::1]"),
            (b"[2001:db8::1]:8080", "[2001:db8::1]"),
            (b"192.0.2.1:80", "192.0.2.1"),
        ):
            with self.subTest(host):
                wire = request(b"Connection: close", host=b"Host: " + host)
                self.assertEqual(self.location(server, wire), f"https://{expected}:PORT/zebra")

    def test_no_host(self):
        """The client of HTTP/1.0 names no host, and is sent to the address that it has reached."""
        location = self.location(self.serve(), b"GET /x HTTP/1.0\r\n\r\n")
        self.assertEqual(location, "https://127.0.0.1:PORT/x")

    def test_no_address(self):
        """The client names no host, and nobody knows an address."""
        server = self.serve(proxy_protocol="any")
        wire = b"GET /x HTTP/1.0\r\n\r\n"
        self.assertIn(b" 400 ", self.answer(server, BINARY_UNIX + wire))
        self.assertEqual(self.witness.scopes, [])

    def test_bad_host(self):
        """The client names a host that is none, and is refused before."""
        wire = request(b"Connection: close", host=b"Host: a/b")
        self.assertIn(b" 400 ", self.answer(self.serve(), wire))

    def test_body(self):
        """The client sends a body with its request, and others behind it."""
        server = self.serve()
        post = request(b"Content-Length: 5", line=b"POST / HTTP/1.1", body=b"hello")
        answer = self.answer(server, post + request(b"Connection: close"))
        self.assertEqual(answer.count(b" 308 "), 2)
        self.assertEqual(answer.count(b"content-length: 0\r\n"), 2)

    def test_websocket(self):
        """The client opens a WebSocket."""
        location = self.location(self.serve(), HANDSHAKE)
        self.assertRegex(location, r"\Ahttps://[^/]+/zebra\Z")

    def test_usual_port(self):
        """The operator has https where everybody looks for it."""
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            raise AssertionError("there is nothing to wait for")

        async def application(scope: Any, receive: Any, send: Any) -> None:
            raise AssertionError(scope)

        scope = {
            **{"type": "http", "scheme": "http", "raw_path": b"/a", "query_string": b""},
            **{"headers": [(b"host", b"a.example:80")], "server": None},
        }
        coroutine = HTTPSRedirect(application, 443)(scope, receive, send)
        with self.assertRaises(StopIteration):
            coroutine.send(None)
        self.assertIn((b"location", b"https://a.example/a"), sent[0]["headers"])

    def test_other_addresses(self):
        """The client comes by TLS, or by a unix socket, and is served."""
        server = self.serve(unix_socket=self.path)
        self.ask(self.open(server.address))
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(PATIENCE)
            sock.connect(self.path)
            self.ask(sock)

    def test_proxies(self):
        """The trusted proxy says that its client spoke TLS, or that it did not."""
        server = self.serve(proxy_headers=True)
        for scheme, expected in ((b"https", 200), (b"http", 308)):
            wire = request(b"Connection: close", b"X-Forwarded-Proto: " + scheme)
            answer = self.answer(server, wire)
            self.assertRegex(answer, rb"\AHTTP/1.1 %d " % expected)

    def test_strangers(self):
        """The client says that it spoke TLS, and is not believed."""
        server = self.serve(proxy_headers=True, trusted_proxies=["192.0.2.9"])
        wire = request(b"Connection: close", b"X-Forwarded-Proto: https")
        self.assertIn(b" 308 ", self.answer(server, wire))
        server = self.serve(proxy_headers=True, proxy_protocol="v1")
        self.assertIn(b" 308 ", self.answer(server, TEXT + wire))

    def test_off(self):
        """The operator wants no redirection."""
        server = self.serve(redirect_to_https=False)
        self.assertIn(b" 200 OK", self.answer(server, request(b"Connection: close")))
        self.assertEqual(self.witness.scopes[0]["scheme"], "http")

    def test_access_log(self):
        """The operator finds the redirections in the access log, and stops in good order."""
        server = self.serve()
        self.answer(server, request(b"Connection: close"))
        self.assertEqual([record.status for record in server.access], [308])
        server.stop(None)
