"""Clients that do odd things with TLS, or come with a PROXY protocol header in front of it."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import suppress
from typing import Any

from django.test import tag

from tests.server.test_proxy_listener import ANNOUNCED, BINARY, BINARY_NO_TLS, LOCAL, TEXT
from tests.support.carriers import RESET
from tests.support.server import PATIENCE, call
from tests.support.tls import GET, LAST, ServedTLSTestCase, common_name, read_all, read_answer

LOGGER = "django_daphne.server"


class RawClient:
    """A client that sees TCP beneath its TLS."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        self.sock = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")
        self.run(self.tls.do_handshake)

    def run(self, step: Any, *arguments: Any) -> Any:
        """Take a step of TLS, with as many messages as it needs."""
        while True:
            try:
                return step(*arguments)
            except ssl.SSLWantReadError:
                self.flush()
                data = self.sock.recv(65536)
                if data:
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()
            finally:
                self.flush()

    def flush(self) -> None:
        """Send what TLS has to say."""
        if data := self._outgoing.read():
            self.sock.sendall(data)

    def ask(self) -> bytes:
        """Send the last request; return what comes up to the server's end of TLS."""
        self.run(self.tls.write, LAST)
        pieces = []
        try:
            while piece := self.run(self.tls.read, 65536):
                pieces.append(piece)
        except ssl.SSLZeroReturnError:
            pass
        return b"".join(pieces)


@tag("loop")
class OddClientTests(ServedTLSTestCase):
    """Clients that do not do what clients do."""

    def assert_served(self, server: Any) -> None:
        """The next client is served."""
        self.ask(self.open(server.address))

    def test_plain_request(self):
        """The client sends plain HTTP to an address with TLS, and is closed without an answer."""
        server = self.serve()
        with self.assertNoLogs():
            with socket.create_connection(server.address, PATIENCE) as sock:
                sock.sendall(GET)
                with suppress(ConnectionResetError):
                    self.assertNotIn(b"HTTP/", read_all(sock))
            self.assert_served(server)
        self.assertEqual(len(self.witness.scopes), 1)

    def test_stalled_handshake(self):
        """The client connects and says nothing, or stops within the handshake."""
        server = self.serve(tls_handshake_timeout=0.05)
        hello = ssl.MemoryBIO()
        client = self.trusting().wrap_bio(ssl.MemoryBIO(), hello, server_hostname="localhost")
        with self.assertRaises(ssl.SSLWantReadError):
            client.do_handshake()
        whole = hello.read()
        with self.assertNoLogs():
            for begin in (b"", whole[:20], whole):
                with socket.create_connection(server.address, PATIENCE) as sock:
                    sock.sendall(begin)
                    with suppress(ConnectionResetError):
                        read_all(sock)

    def test_no_end(self):
        """The client answers the end of TLS with silence, which is waited for no longer."""
        server = self.serve(tls_shutdown_timeout=0.05)
        with self.assertNoLogs(), socket.create_connection(server.address, PATIENCE) as sock:
            client = RawClient(sock, self.trusting())
            self.assertIn(b" 200 OK\r\n", client.ask())
            with suppress(ConnectionResetError):
                self.assertEqual(sock.recv(1), b"")

    def test_late_end(self):
        """The client answers the end of TLS late, and is waited for."""
        server = self.serve(tls_shutdown_timeout=-1)
        with self.assertNoLogs(), socket.create_connection(server.address, PATIENCE) as sock:
            client = RawClient(sock, self.trusting())
            self.assertIn(b" 200 OK\r\n", client.ask())
            sock.setblocking(False)
            with self.assertRaises(BlockingIOError):
                sock.recv(1)
            sock.settimeout(PATIENCE)
            client.run(client.tls.unwrap)
            self.assertEqual(sock.recv(1), b"")

    def test_leaving(self):
        """The client leaves within its head, its body, or the response."""
        server = self.serve(write_buffer_size=4096)
        self.witness.size = 8 * 1024 * 1024
        with self.assertNoLogs():
            for wire in (
                b"GET / HT",
                b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx",
                GET,
            ):
                for end in ("close", "unwrap", "reset"):
                    sock = self.open(server.address)
                    sock.sendall(wire)
                    if wire is GET:
                        sock.recv(10)
                    if end == "unwrap":
                        sock.setblocking(False)
                        with suppress(OSError):  # the server still sends, and is not waited for
                            sock.unwrap()
                    elif end == "reset":
                        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                    sock.close()
            self.witness.size = 5
            self.assert_served(server)
            while server.server._context.connections:
                call(turn())

    def test_handshake_at_the_end(self):
        """The client is within its handshake when the server stops, which does not wait for it."""
        for mode in ("off", "v1"):
            server = self.serve(proxy_protocol=mode, tls_handshake_timeout=-1)
            before = b"" if mode == "off" else TEXT
            with socket.create_connection(server.address, PATIENCE) as sock:
                sock.sendall(before)
                other = self.open(server.address, before=before)  # the first was accepted before
                other.sendall(GET)
                read_answer(other)
                other.close()
                server.stop(None)
                call(turn())
                context = self.trusting()
                with self.assertRaises(OSError):
                    tls = context.wrap_socket(sock, server_hostname="localhost")
                    tls.sendall(LAST)
                    if not tls.recv(1):
                        raise ConnectionResetError


async def turn() -> None:
    """Let the loop do what is to be done."""
    for _ in range(20):
        await asyncio.sleep(0)


@tag("loop")
class ProxyTests(ServedTLSTestCase):
    """The PROXY protocol in front of TLS."""

    def test_header(self):
        """The proxy announces a client in either version, and TLS follows."""
        server = self.serve(proxy_protocol="any")
        for header in (TEXT, BINARY, BINARY_NO_TLS):
            self.ask(self.open(server.address, before=header))
            scope = self.witness.scopes[-1]
            self.assertEqual((scope["client"], scope["server"]), ANNOUNCED)
            self.assertEqual(scope["scheme"], "https")
        self.ask(self.open(server.address, before=LOCAL))
        self.assertEqual(self.witness.scopes[-1]["client"][0], "127.0.0.1")

    def test_one_segment(self):
        """The proxy sends its header and the client's first message in one segment."""
        server = self.serve(proxy_protocol="any")
        for header in (TEXT, BINARY):
            with socket.create_connection(server.address, PATIENCE) as sock:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                client = RawClient(_Prefixed(sock, header), self.trusting())  # type: ignore[arg-type]
                self.assertIn(b" 200 OK\r\n", client.ask())
            self.assertEqual(self.witness.scopes[-1]["client"], ANNOUNCED[0])

    def test_renewal(self):
        """The operator renews the certificate, and the next client sees the new one."""
        server = self.serve(proxy_protocol="v1")
        self.pair.write(self.issue("localhost", common_name="new"))
        call(server.server.renew_certificates())
        self.assertEqual(common_name(self.open(server.address, before=TEXT)), "new")

    def test_no_header(self):
        """The client speaks TLS and has not been announced."""
        server = self.serve(proxy_protocol="any")
        with self.assertLogs(LOGGER, "WARNING"):
            self.assert_refused(server.address)
            call(turn())  # a connection is closed before it is written of


class _Prefixed:
    """A socket whose first bytes leave behind others, together."""

    def __init__(self, sock: socket.socket, prefix: bytes) -> None:
        self._sock = sock
        self._prefix = prefix
        self.recv = sock.recv

    def sendall(self, data: bytes) -> None:
        """Send, the first time with what comes before."""
        prefix, self._prefix = self._prefix, b""
        self._sock.sendall(prefix + data)
