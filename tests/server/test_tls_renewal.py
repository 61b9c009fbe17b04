"""New certificates while the server serves: nobody is disconnected, refused or forgotten."""

from __future__ import annotations

import asyncio
import functools
import os
import socket
import ssl
import threading
from pathlib import Path
from typing import Any

from django.test import tag

from django_daphne.server import ServerConfig
from django_daphne.server.accepting import AcceptingListener
from django_daphne.server.certificates import Certificates
from django_daphne.server.config import ListenConfig
from django_daphne.server.endpoints import SocketListener
from django_daphne.server.sockets import bind
from tests.support.carriers import CarrierTestCase, on_loop
from tests.support.server import PATIENCE, RunningServer, call
from tests.support.tls import (
    GET,
    LAST,
    Pair,
    ServedTLSTestCase,
    TLSTestCase,
    common_name,
    read_all,
    read_answer,
)

LOGGER = "django_daphne.server"


@tag("loop")
class RenewalTests(ServedTLSTestCase):
    """The operator asks for it, or the server finds out."""

    def setUp(self):
        super().setUp()
        self.pair.write(self.issue("localhost", common_name="first"))

    def renew(self, server: RunningServer) -> None:
        """Ask for new certificates."""
        call(server.server.renew_certificates())

    def assert_shown(self, server: RunningServer, expected: str, **options: Any) -> None:
        """The next client is shown a certificate, and served."""
        sock = self.open(server.address, **options)
        self.assertEqual(common_name(sock), expected)
        self.ask(sock)

    def test_new_certificate(self):
        """The operator renews the certificate: new connections have it, and the old one goes on."""
        server = self.serve()
        sock = self.open(server.address)
        sock.sendall(GET)
        read_answer(sock)
        self.pair.write(self.issue("localhost", common_name="second"))
        with self.assertLogs(LOGGER, "INFO") as logs:
            self.renew(server)
        self.assertRegex(logs.output[0], "CN=second.*, valid until ")
        self.assert_shown(server, "second")
        self.assertEqual(common_name(sock), "first")
        self.ask(sock)

    def test_bad_certificate(self):
        """The operator makes a mistake: the old certificate stays, until the mistake is mended."""
        server = self.serve()
        leaf = self.issue("localhost", common_name="second")
        self.pair.write_certificate(leaf)
        with self.assertLogs(LOGGER, "INFO") as logs:
            self.renew(server)
        self.assertEqual([record.levelname for record in logs.records], ["ERROR"])
        self.assertIn("the key does not belong", logs.output[0])
        self.assert_shown(server, "first")
        self.pair.write_key(leaf)
        self.renew(server)
        self.assert_shown(server, "second")

    def test_clients(self):
        """The operator trusts another authority with the clients, from the next connection on."""
        import trustme

        path = Path(self.write_authority())
        server = self.serve(client_certificates="required", ca_certs=str(path))
        theirs = trustme.CA()
        known = self.trusting(self.issue("client@example.org"))
        stranger = self.trusting(theirs.issue_cert("client@example.org"))
        self.assert_refused(server.address, context=stranger)
        path.write_bytes(theirs.cert_pem.bytes())
        self.renew(server)
        self.assert_refused(server.address, context=known)
        self.assert_shown(server, "first", context=stranger)

    def test_names(self):
        """The operator renews the second of two certificates."""
        other = Pair(self.folder, "other")
        other.write(self.issue("other.example", common_name="old"))
        server = self.serve(
            certfile=[str(self.pair.certfile), str(other.certfile)],
            keyfile=[str(self.pair.keyfile), str(other.keyfile)],
        )
        other.write(self.issue("other.example", common_name="new"))
        self.renew(server)
        self.assert_shown(server, "new", name="other.example")
        self.assert_shown(server, "first")

    def test_found(self):
        """The operator asks for nothing, and the server looks now and then."""
        server = self.serve(certificate_check_interval=0.01)
        with self.assertLogs(LOGGER, "INFO"):
            self.pair.rename(self.issue("localhost", common_name="second"))
            shown = ""
            while shown != "second":
                sock = self.open(server.address)
                shown = common_name(sock)
                self.ask(sock)

    def test_not_looked_for(self):
        """The operator wants no looks, and nothing is looked for but by request."""
        server = self.serve(certificate_check_interval=-1)
        self.assertIsNone(server.server._listeners._watching)
        self.pair.rename(self.issue("localhost", common_name="second"))
        self.renew(server)
        self.assert_shown(server, "second")

    def test_without_tls(self):
        """The operator asks a server without certificates."""
        server = self.serve(certfile=[], keyfile=[])
        with self.assertNoLogs():
            self.renew(server)
        self.assertFalse(server.server.has_certificates)
        with socket.create_connection(server.address, PATIENCE) as sock:
            self.ask(sock)

    def test_stopped(self):
        """The operator asks a server that has stopped."""
        server = self.serve()
        server.stop()
        with self.assertNoLogs():
            self.renew(server)
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection(server.address, PATIENCE)

    def test_port_is_free(self):
        """The operator starts another server where one with renewed certificates has stopped."""
        server = self.serve()
        self.renew(server)
        server.stop()
        again = self.serve(port=server.port)
        self.assertEqual(again.port, server.port)

    def test_load(self):
        """The operator renews twenty times while clients come and go, and each is served."""
        server = self.serve()
        stop, failures, served = threading.Event(), [], []

        def come_and_go() -> None:
            context = self.trusting()
            while not stop.is_set():
                try:
                    with socket.create_connection(server.address, PATIENCE) as sock:
                        tls = context.wrap_socket(sock, server_hostname="localhost")
                        tls.sendall(LAST)
                        served.append(read_all(tls).startswith(b"HTTP/1.1 200 "))
                        tls.close()
                except OSError as error:
                    failures.append(error)

        clients = [threading.Thread(target=come_and_go) for _ in range(3)]
        for client in clients:
            client.start()
        try:
            with self.assertLogs(LOGGER, "INFO") as logs:
                for number in range(20):
                    self.pair.write(self.issue("localhost", common_name=f"number {number}"))
                    count = len(served)
                    self.renew(server)
                    while len(served) < count + 5 and not failures:
                        call(asyncio.sleep(0))
        finally:
            stop.set()
            for client in clients:
                client.join(PATIENCE)
        self.assertEqual(failures, [])
        self.assertTrue(all(served))
        self.assertEqual(len(logs.records), 20)
        self.assert_shown(server, "number 19")


class HandoverTests(CarrierTestCase, TLSTestCase):
    """Connections that are accepted in the very turns in which a server is closed."""

    loop_name = os.environ.get("DAPHNE_TEST_LOOP", "auto")
    CLIENTS = 12
    TURNS = 5

    def setUp(self):
        CarrierTestCase.setUp(self)
        TLSTestCase.setUp(self)

    def connect_some(self, address: Any) -> list[socket.socket]:
        """Connect so many clients, in no time."""
        socks = [socket.create_connection(address, PATIENCE) for _ in range(self.CLIENTS)]
        for sock in socks:
            self.addCleanup(sock.close)
        return socks

    @on_loop
    async def test_renewed(self: Any) -> None:
        """The clients connect so many turns before the certificates are renewed: all are served."""
        pair = self.make_pair("localhost")
        certificates = Certificates(ServerConfig().replace(**pair.values), ())
        (bound,) = bind(ListenConfig(port=0))
        listener = AcceptingListener(bound, certificates.encryption)
        await listener.start(self.make_recorder, 100)
        for turns in range(self.TURNS):
            socks = self.connect_some(listener.address)
            for _ in range(turns):
                await asyncio.sleep(0)
            certificates.renew(is_asked=True)
            listener.renew(certificates.encryption)
            for sock in socks:
                ask = functools.partial(self.handshake, sock)
                await self.loop.run_in_executor(None, ask)
        await listener.close()
        self.assertEqual(len(self.recorders), self.CLIENTS * self.TURNS)

    def handshake(self, sock: socket.socket) -> None:
        """Speak TLS; in a thread."""
        sock.settimeout(5)
        tls = self.trusting().wrap_socket(sock, server_hostname="localhost")
        assert isinstance(tls, ssl.SSLSocket)
        self.addCleanup(tls.close)

    @on_loop
    async def test_closed(self: Any) -> None:
        """The clients connect so many turns before the end: each is served or told, none hangs."""
        for turns in range(self.TURNS):
            (bound,) = bind(ListenConfig(port=0))
            listener = SocketListener(bound)
            await listener.start(self.make_recorder, 100)
            count = len(self.recorders)
            socks = self.connect_some(listener.address)
            for _ in range(turns):
                await asyncio.sleep(0)
            await listener.close()
            for _ in range(self.TURNS):
                await asyncio.sleep(0)
            served = len(self.recorders) - count
            told = 0
            for sock in socks:
                sock.setblocking(False)
                try:
                    told += sock.recv(1) == b""
                except ConnectionResetError:
                    told += 1
                except BlockingIOError:
                    pass
            self.assertEqual(served + told, self.CLIENTS, turns)
