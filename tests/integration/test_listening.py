"""Every way to listen, by real processes: what they serve, say, leave alone and leave behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import stat
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

from django.test import tag

from tests.integration.projects import SmallProjectTestCase
from tests.server.test_endpoints import require_ipv6
from tests.server.test_sockets import full_queue, leave_dead, new_owner, reach
from tests.support.processes import PATIENCE, Process, get
from tests.support.systemd import LAUNCHER, Manager

LOOP = ("--loop", os.environ.get("DAPHNE_TEST_LOOP", "auto"))
SERVER = ("-m", "django_daphne", *LOOP, "app:application")
MANAGE = ("manage.py", "rundaphne", *LOOP)

# With GATE the module, or the startup, waits until the test lets it go. The body of a request is
# awaited, so that a client decides how long its request runs.
APPLICATION = """
    import asyncio, os, socket

    if os.environ.get("GATE") == "module":
        with socket.socket(socket.AF_UNIX) as gate:
            gate.connect("gate")
            gate.recv(1)

    async def application(scope, receive, send):
        if scope["type"] == "lifespan":
            await receive()
            if os.environ.get("GATE") == "startup":
                reader, writer = await asyncio.open_unix_connection("gate")
                await reader.read()
                writer.close()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        print("began", flush=True)
        while (await receive())["more_body"]:
            pass
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": repr(scope["server"]).encode()})
"""


class ListeningTestCase(SmallProjectTestCase):
    """Tests with an application, a Django project and a folder."""

    def setUp(self):
        super().setUp()
        self.write("app.py", APPLICATION)
        self.path = self.folder / "socket"

    def ask(self, sock: socket.socket | None = None) -> bytes:
        """Return what is answered on a connected socket, or on the path."""
        with sock or socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            if sock is None:
                client.connect(str(self.path))
            client.sendall(b"GET /app HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            received = b"".join(iter(lambda: client.recv(65536), b""))
        self.assertIn(b" 200 OK\r\n", received)
        return received.partition(b"\r\n\r\n")[2]

    def begin(self, port: int, server: Process) -> HTTPConnection:
        """Return a connection with a request that runs until its one byte of body is sent."""
        connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        connection.request("POST", "/", headers={"Content-Length": "1"})
        server.wait_for("began")
        return connection

    def places(self, server: Process) -> list[str]:
        """Return where a server says that it listens."""
        return re.findall(r"Listening on (.+)\n", server.output + server.errors)

    def make_gate(self) -> socket.socket:
        """Return what modules and startups that wait connect to."""
        gate = self.enterContext(socket.socket(socket.AF_UNIX))
        gate.bind(str(self.folder / "gate"))
        gate.listen()
        gate.settimeout(PATIENCE)
        return gate


class RefusedTests(ListeningTestCase):
    """What cannot be had is one line, and nothing is served."""

    def assert_refused(self, *cases: Sequence[str], pass_fds: Sequence[int] = ()) -> None:
        """Assert that servers end with a line, the last item of each case, and status 1."""
        started = [
            (self.start_command([sys.executable, *SERVER, *arguments], pass_fds=pass_fds), text)
            for *arguments, text in cases
        ]
        for process, text in started:
            with self.subTest(text):
                self.assert_one_line(process, 1, text)

    def test_addresses(self):
        """The operator names a busy address, alone or behind a free one, or an impossible name."""
        with socket.create_server(("127.0.0.2", 0)) as sock:
            free = sock.getsockname()
        with socket.create_server(("127.0.0.1", 0)) as other:
            busy = f"127.0.0.1:{other.getsockname()[1]}"
            text = f"Couldn't listen on {busy}: that address is already in use."
            self.assert_refused(
                ("-b", busy, text),
                ("-b", f"127.0.0.2:{free[1]}", "-b", busy, text),
                ("-b", "a..b:0", "Couldn't listen on a..b:0: "),
            )
            project = self.start(*MANAGE, "-b", busy)
            self.assert_one_line(project, 1, f"CommandError: {text}")
        with socket.create_server(free):
            pass

    def test_unix_sockets(self):
        """The operator names a file, nobody's name, and endpoints that are none."""
        self.write("file", "precious")
        one, two = "tcp:port", "systemd:domain=INET:index=0"
        self.assert_refused(
            ("-u", "file", "listen on unix socket file: there is a file that is no socket."),
            ("-u", "s", "--unix-socket-owner", "no-such", "--unix-socket-owner no-such: there"),
            ("-u", "s", "--unix-socket-group", "no-such", "--unix-socket-group no-such: there"),
            ("-u", "s", "-e", one, f"Couldn't listen on endpoint {one}: "),
            ("-u", "t", "-e", two, f"Couldn't listen on endpoint {two}: "),
        )
        self.assertEqual([*filter(Path.is_socket, self.folder.iterdir())], [])

    def test_descriptors(self):
        """The parent passes what nobody can connect to, or nothing."""
        with (
            socket.create_server(("127.0.0.1", 0)) as listening,
            socket.create_connection(listening.getsockname()) as connected,
            socket.socket(type=socket.SOCK_DGRAM) as datagrams,
            socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as packets,
            self.write("file", "").open() as file,
        ):
            packets.bind(str(self.path))
            packets.listen()
            numbers = [each.fileno() for each in (connected, datagrams, packets, file)]
            self.assert_refused(
                *(
                    ("--fd", f"{number}", f"listen on descriptor {number}: it is no listening")
                    for number in (1, *numbers)  # its output is a pipe
                ),
                ("--fd", "999", "listen on descriptor 999: there is no such descriptor."),
                pass_fds=numbers,
            )


class ServingTests(ListeningTestCase):
    """Addresses and unix sockets, from the beginning to the end."""

    @tag("loop")
    def test_every_address(self):
        """The operator wants every address on any port, and is told the port of each family."""
        server = self.start(*SERVER, "-b", "*", "-p", "0")
        port = server.wait_for_port()
        self.assertEqual(get(port).text, f"('127.0.0.1', {port})")
        require_ipv6()
        self.assertEqual(get(port, host="::1").text, f"('::1', {port})")
        self.finish(server)
        places = [f"TCP address 0.0.0.0:{port}", f"TCP address [::]:{port}"]
        self.assertEqual(self.places(server), places)

    def serve(self, *arguments: str) -> Process:
        """Start a server on the path, with the umask of somebody careful, until it listens."""
        script = ["sh", "-c", 'umask 077; exec "$0" "$@"', sys.executable]
        server = self.start_command([*script, *SERVER, "-u", "socket", *arguments])
        server.wait_for("Listening on unix socket socket\n")
        return server

    @tag("loop")
    def test_permissions(self):
        """The operator says who may connect and to whom the socket belongs, or nothing."""
        user, group = new_owner()
        flags = ("--unix-socket-owner", user.pw_name, "--unix-socket-group", group.gr_name)
        for arguments, expected in (
            ((), (0o666, os.geteuid(), os.getegid())),
            (("--unix-socket-mode", "660", *flags), (0o660, user.pw_uid, group.gr_gid)),
        ):
            server = self.serve(*arguments)
            found = self.path.stat()
            mode = stat.S_IMODE(found.st_mode)
            self.assertEqual((mode, found.st_uid, found.st_gid), expected)
            self.assertEqual(self.ask(), b"None")
            self.finish(server)
            self.assertFalse(self.path.exists())

    @tag("loop")
    def test_killed(self):
        """A server is killed; the next one replaces the socket that it left."""
        self.serve().kill()
        with self.assertRaises(ConnectionRefusedError):
            reach(self.path)
        server = self.serve()
        self.assertEqual(self.ask(), b"None")
        self.finish(server)
        self.assertFalse(self.path.exists())

    def test_alive(self):
        """Another server answers there, or hangs with a full queue; it and its clients go on."""
        server = self.serve("--backlog", "1")
        text = "Couldn't listen on unix socket socket: a server answers on it."
        self.assert_one_line(self.start(*SERVER, "-u", "socket"), 1, text)
        server.send_signal(signal.SIGSTOP)
        with full_queue(self.path) as clients:
            self.assert_one_line(self.start(*SERVER, "-u", "socket"), 1, text)
            server.send_signal(signal.SIGCONT)
            self.assertEqual(self.ask(clients[0]), b"None")
        self.finish(server)

    @tag("loop")
    def test_race(self):
        """Two servers start together where a dead one has been; one of them serves."""
        leave_dead(self.path)
        gate = self.make_gate()
        servers = [self.start(*SERVER, "-u", "socket", GATE="module") for _ in range(2)]
        with gate.accept()[0], gate.accept()[0]:
            pass  # both have come, and go on together
        for server in servers:
            server.wait_for("Listening on|Couldn't listen on")
        loser, winner = sorted(servers, key=self.places)
        self.assert_one_line(loser, 1, "unix socket socket: a server answers on it.")
        self.assertEqual(self.ask(), b"None")
        self.finish(winner)

    @tag("loop")
    def test_successor(self):
        """The next server starts while this one waits for its last request, and keeps the path."""
        first = self.serve("-b", "127.0.0.1:0")
        with closing(self.begin(first.wait_for_port(), first)) as connection:
            first.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + PATIENCE
            while self.path.exists():
                self.assertLess(time.monotonic(), deadline, first)
            second = self.serve()
            connection.send(b"x")
            self.assertEqual(connection.getresponse().status, 200)
        self.assertEqual(first.wait(), 0, first)
        self.assertEqual(self.ask(), b"None")
        self.finish(second)
        self.assertFalse(self.path.exists())

    def test_stopped_during_startup(self):
        """The supervisor stops a server whose application still starts; its socket goes, too."""
        gate = self.make_gate()
        server = self.start(*SERVER, "-u", "socket", GATE="startup")
        with gate.accept()[0]:
            reach(self.path)
            self.finish(server)
        self.assertFalse(self.path.exists())


class ActivatedTests(ListeningTestCase):
    """Sockets that systemd passes, and what it is told."""

    def setUp(self):
        super().setUp()
        self.web = self.enterContext(socket.create_server(("127.0.0.1", 0)))
        self.admin = self.enterContext(socket.socket(socket.AF_UNIX))
        self.admin.bind(str(self.path))
        self.admin.listen()
        self.manager = Manager(self.folder / "notify")
        self.addCleanup(self.manager.tell, b"")

    def activate(self, *command: str, **variables: str) -> Process:
        """Start a command with the two sockets."""
        numbers = [self.web.fileno(), self.admin.fileno()]
        launcher = [sys.executable, "-c", LAUNCHER, ",".join(map(str, numbers)), *command]
        common = {"LISTEN_FDNAMES": "web:admin", "NOTIFY_SOCKET": self.manager.path}
        return self.start_command(launcher, common | variables, pass_fds=numbers)

    def ask_web(self) -> str:
        """Return what is answered on the first socket."""
        return get(self.web.getsockname()[1], "/app").text

    @tag("loop")
    def test_served(self):
        """Systemd starts one server after the other, and no client notices."""
        places = ["activated socket web", "activated socket admin"]
        address = str(self.web.getsockname())
        for command, bodies in ((SERVER, (address, "None")), (MANAGE, ("False", "False"))):
            early = socket.create_connection(self.web.getsockname(), PATIENCE)
            server = self.activate(*command)
            ready = f"READY=1\nSTATUS=Listening on {', '.join(places)}\nMAINPID={server.pid}"
            self.assertEqual(self.manager.next(), ready)
            self.assertEqual(self.ask(early).decode(), bodies[0])
            self.assertEqual((self.ask_web(), self.ask().decode()), bodies)
            self.finish(server)
            self.assertEqual(self.manager.next(), "STOPPING=1")
            self.assertEqual(self.places(server), places)
            self.assertTrue(self.path.exists())

    @tag("loop")
    def test_ready(self):
        """The application takes its time to start, and readiness comes after that."""
        gate = self.make_gate()
        server = self.activate(*SERVER, GATE="startup")
        with gate.accept()[0]:
            self.manager.tell(b"not yet")
        self.assertEqual(self.manager.next(), "not yet")
        self.assertIn("READY=1\n", self.manager.next())
        self.assertEqual(self.ask_web(), str(self.web.getsockname()))
        self.finish(server)

    @tag("loop")
    def test_watchdog(self):
        """Systemd wants to hear every 20 ms that the server lives, also while it stops."""
        server = self.activate(*SERVER, WATCHDOG_USEC="20000")
        self.assertIn("READY=1\n", self.manager.next())
        self.assertEqual([self.manager.next() for _ in range(3)], ["WATCHDOG=1"] * 3)
        with closing(self.begin(self.web.getsockname()[1], server)) as connection:
            server.send_signal(signal.SIGTERM)
            while (message := self.manager.next()) == "WATCHDOG=1":
                pass
            self.assertEqual([message, self.manager.next()], ["STOPPING=1", "WATCHDOG=1"])
            connection.send(b"x")
            self.assertEqual(connection.getresponse().status, 200)
        self.assertEqual(server.wait(), 0, server)

    def test_addresses(self):
        """The operator names an address beside the sockets, which may be another process's."""
        ours = ["activated socket web", "activated socket admin"]
        for variables, places in (({}, ours), ({"LISTEN_PID": str(os.getpid())}, [])):
            server = self.activate(*SERVER, "-b", "127.0.0.1:0", **variables)
            port = server.wait_for_port()
            self.assertEqual(get(port).text, str(("127.0.0.1", port)))
            self.finish(server)
            self.assertEqual(self.places(server), [*places, f"TCP address 127.0.0.1:{port}"])

    def test_refused(self):
        """Systemd passes a socket of datagrams."""
        self.web = self.enterContext(socket.socket(type=socket.SOCK_DGRAM))
        for command in (SERVER, MANAGE):
            process = self.activate(*command)
            self.assert_one_line(process, 1, "on activated socket web: it is no listening socket.")

    @tag("loop")
    def test_endpoint(self):
        """The operator names the sockets by Twisted's endpoints of them."""
        endpoints = ("systemd:domain=INET:index=0", "systemd:domain=UNIX:name=admin")
        server = self.activate(*SERVER, "-e", endpoints[0], "-e", endpoints[1])
        self.assertIn("READY=1\n", self.manager.next())
        self.assertEqual(self.ask_web(), str(self.web.getsockname()))
        self.assertEqual(self.ask(), b"None")
        self.finish(server)
        host, port = self.web.getsockname()
        web, admin = (f"endpoint {endpoint}" for endpoint in endpoints)
        self.assertEqual(self.places(server), [f"{web} at {host}:{port}", admin])
