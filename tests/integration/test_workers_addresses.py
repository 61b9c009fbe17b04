"""Workers on every kind of address: by TLS, behind proxies, unix sockets, systemd's."""

from __future__ import annotations

import os
import re
import signal
import socket
import ssl
import sys
from contextlib import closing

from tests.support.processes import PATIENCE
from tests.support.systemd import LAUNCHER, Manager
from tests.support.tls import TLSTestCase
from tests.support.workers import Supervised, SupervisedTestCase

# Answers with the process and with what it knows of the client.
APPLICATION = """
    import os

    async def application(scope, receive, send):
        assert scope["type"] == "http"
        client = scope["client"] and scope["client"][0]
        body = f"{os.getpid()} {scope['scheme']} {client}".encode()
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": body})
"""
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def ask(sock: socket.socket) -> list[str]:
    """Return the words of the answer on a connection."""
    with closing(sock):
        sock.settimeout(PATIENCE)
        sock.sendall(REQUEST)
        received = b"".join(iter(lambda: sock.recv(65536), b""))
    return received.partition(b"\r\n\r\n")[2].decode().split()


class AddressTests(TLSTestCase, SupervisedTestCase):
    """Each address is served by each worker, also behind a reload and by another supervisor."""

    def setUp(self):
        super().setUp()
        self.write("app.py", APPLICATION)

    def ask_tls(self, port: int) -> list[str]:
        """Return the answer to a client behind a proxy, by TLS."""
        before = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n"
        return ask(self.open(("127.0.0.1", port), before=before))

    def ask_path(self) -> list[str]:
        """Return the answer on the unix socket."""
        client = socket.socket(socket.AF_UNIX)
        client.connect(str(self.folder / "socket"))
        return ask(client)

    def test_addresses(self):
        """The operator listens everywhere, renews the certificate, and replaces the supervisor."""
        pair = self.make_pair("localhost")
        inherited = self.enterContext(socket.create_server(("127.0.0.1", 0)))
        arguments = ["--insecure-bind", "127.0.0.2:0", "-u", "socket"]
        arguments += ["--fd", str(inherited.fileno()), "-b", "127.0.0.1:0 proxy_protocol=v1"]
        arguments += ["--certfile", str(pair.certfile), "--keyfile", str(pair.keyfile)]
        arguments += ["--trusted-proxies", "127.0.0.1", "--certificate-check-interval", "none"]
        command = [sys.executable, "-m", "django_daphne", "--workers", "2", "--lifespan", "off"]
        server = self.watch(
            self.start_command(
                [*command, *arguments, "app:application"], pass_fds=[inherited.fileno()]
            )
        )
        proxied, plain = (
            int(server.process.wait_for(rf"Listening on TCP address {host}:(\d+)")[1])
            for host in (r"127\.0\.0\.1", r"127\.0\.0\.2")
        )
        ways = {
            "proxied": lambda: self.ask_tls(proxied),
            "plain": lambda: ask(socket.create_connection(("127.0.0.2", plain))),
            "path": self.ask_path,
            "inherited": lambda: ask(self.trusting_inherited(inherited.getsockname())),
        }
        expected = {
            "proxied": ["https", "192.0.2.7"],
            "plain": ["http", "127.0.0.1"],
            "path": ["http", "None"],
            "inherited": ["https", "127.0.0.1"],
        }
        self.assertEqual({name: way()[1:] for name, way in ways.items()}, expected)
        server.process.wait_for(r"(?s)(is ready.*){2}")
        serial = self.serial(inherited.getsockname())
        pair.write(self.issue("localhost"))
        server.send(signal.SIGHUP)
        server.expect("The reload is complete")
        self.assertEqual({name: way()[1:] for name, way in ways.items()}, expected)
        self.assertNotEqual(self.serial(inherited.getsockname()), serial)
        server.send(signal.SIGUSR2)
        number = int(server.expect(r"Another supervisor is started \(pid (\d+)\)")[1])
        server.expect("Stopping: waiting for the workers")
        self.assertEqual({name: way()[1:] for name, way in ways.items()}, expected)
        os.kill(number, signal.SIGTERM)
        process = self.ended(server)
        self.assertNotIn("Traceback", process.errors)
        self.assertFalse((self.folder / "socket").exists())

    def trusting_inherited(self, address: tuple[str, int]) -> ssl.SSLSocket:
        """Return a connection by TLS."""
        return self.open(address)

    def serial(self, address: tuple[str, int]) -> str:
        """Return the number of the certificate that is shown."""
        with self.open(address) as sock:
            return str((sock.getpeercert() or {})["serialNumber"])


class ManagedTests(SupervisedTestCase):
    """The service manager passes sockets to the supervisor, and hears of it alone."""

    def setUp(self):
        super().setUp()
        self.web = self.enterContext(socket.create_server(("127.0.0.1", 0)))
        self.manager = Manager(self.folder / "notify")
        self.addCleanup(self.manager.tell, b"")

    def activate(self, *arguments: str, **variables: str) -> Supervised:
        """Start a supervisor with the socket."""
        command = ("-m", "django_daphne", "--workers", "2", *arguments, "app:application")
        number = self.web.fileno()
        launcher = [sys.executable, "-c", LAUNCHER, str(number), *command]
        common = {"LISTEN_FDNAMES": "web", "NOTIFY_SOCKET": self.manager.path}
        return self.watch(self.start_command(launcher, common | variables, pass_fds=[number]))

    def ready(self, pid: int) -> str:
        """Return what is heard from a supervisor that is ready."""
        return f"READY=1\nSTATUS=2 workers on activated socket web\nMAINPID={pid}"

    def next(self) -> str:
        """Return the next message but those of the watchdog, of which the time is left out."""
        while (message := self.manager.next()) == "WATCHDOG=1":
            pass
        return re.sub(r"\d{5,}$", "N", message) if "MONOTONIC" in message else message

    def test_activated(self):
        """Systemd starts it, reloads it, sees another supervisor take over, and stops that."""
        server = self.activate(WATCHDOG_USEC="200000")
        port = self.web.getsockname()[1]
        self.assertEqual(self.next(), self.ready(server.process.pid))
        self.assertEqual(self.manager.next(), "WATCHDOG=1")
        self.answering(port, 2)
        with self.load(port):
            server.send(signal.SIGHUP)
            self.assertEqual(self.next(), "RELOADING=1\nMONOTONIC_USEC=N")
            self.assertEqual(self.next(), self.ready(server.process.pid))
            server.send(signal.SIGUSR2)
            number = int(server.expect(r"Another supervisor is started \(pid (\d+)\)")[1])
            both = {self.next(), self.next()}  # two processes, two messages
            self.assertEqual(both, {self.ready(number), f"MAINPID={number}"})
        os.kill(number, signal.SIGTERM)
        self.assertEqual(self.next(), "STOPPING=1")
        self.ended(server)
        self.manager.tell(b"that is all")
        self.assertEqual(self.next(), "that is all")

    def test_broken(self):
        """A reload fails, and so does the next supervisor; the service is ready all the time."""
        server = self.activate()
        self.assertEqual(self.next(), self.ready(server.process.pid))
        self.write("refuse", "")
        server.send(signal.SIGHUP)
        self.assertEqual(self.next(), "RELOADING=1\nMONOTONIC_USEC=N")
        self.assertEqual(self.next(), self.ready(server.process.pid))
        server.send(signal.SIGUSR2)
        server.expect("this one goes on")
        self.manager.tell(b"so far")
        self.assertEqual(self.next(), "so far")
        self.end(server)
        self.assertEqual(self.next(), "STOPPING=1")
