"""The server behind runserver, as Django's command uses it."""

from __future__ import annotations

import errno
import os
import socket
import tempfile
from pathlib import Path

from django.test import SimpleTestCase

from django_daphne.management.development_server import DevelopmentServer, development_config
from django_daphne.management.serving import DevelopmentProcess
from django_daphne.server import ServerConfig


class BindTests(SimpleTestCase):
    """The server is bound as soon as it is made."""

    def make(self, host: str, port: int, ipv6: bool = False, **values: object) -> DevelopmentServer:
        """Make a server; its socket is closed with the test."""

        class Server(DevelopmentServer):
            config = development_config(ServerConfig().replace(**values))
            options = {}  # noqa: RUF012 - declared in the base

        server = Server((host, port), None, ipv6=ipv6)
        for bound in server._sockets:
            self.addCleanup(bound.close)
        return server

    def test_free_port(self):
        """The developer asks for any free port, and is told which."""
        server = self.make("127.0.0.1", 0)
        self.assertGreater(server.server_port, 0)
        socket.create_connection(("127.0.0.1", server.server_port)).close()

    def test_name(self):
        """The developer gives a name."""
        self.assertGreater(self.make("localhost", 0).server_port, 0)

    def test_ipv6(self):
        """The developer wants IPv6, by address and by name."""
        try:
            socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        except OSError:
            self.skipTest("missing: IPv6")
        server = self.make("::1", 0, ipv6=True)
        self.assertEqual(server._sockets[0].socket.family, socket.AF_INET6)

    def test_errors(self):
        """The address is taken, foreign or unknown: Django gets the number that it explains."""
        taken = self.make("127.0.0.1", 0).server_port
        for host, port, number in (
            ("127.0.0.1", taken, errno.EADDRINUSE),
            ("192.0.2.1", 0, errno.EADDRNOTAVAIL),
            ("no-such-name.invalid", 0, None),
        ):
            with self.subTest(host), self.assertRaises(OSError) as caught:
                self.make(host, port)
            self.assertEqual(caught.exception.errno, number)

    def test_nothing_else(self):
        """The configuration names a socket and an endpoint that are production's."""
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "s")  # noqa: PTH118 - the option is a text
            server = self.make("127.0.0.1", 0, unix_socket=path, endpoint=("tcp:80",))
            self.assertFalse(Path(path).exists())
        self.assertEqual(len(server._sockets), 1)
        self.assertEqual(server.config.listen.endpoint, ())

    def test_end_without_server(self):
        """The process ends before anything was served."""
        self.assertIsNone(DevelopmentProcess._current)
        DevelopmentProcess.leave(0)
