"""The path that is answered before the application."""

from __future__ import annotations

import socket
import threading
from contextlib import closing
from http.client import HTTPConnection
from typing import Any

from django.test import SimpleTestCase, tag

from django_daphne.server import ConfigurationError, ServerConfig
from tests.server.test_server import Gate, hello
from tests.support.server import PATIENCE, RunningServer, call, serve

PATH = "/-/health"


def ask(server: RunningServer, path: str = PATH, method: str = "GET") -> tuple[int, bytes]:
    """Return status and body of an answer."""
    with closing(HTTPConnection(server.host, server.port, timeout=PATIENCE)) as connection:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read()


@tag("loop")
class HealthTests(SimpleTestCase):
    """A load balancer asks."""

    def test_answers(self):
        """The balancer asks while the application would answer nothing, and with a query."""

        async def application(scope: Any, receive: Any, send: Any) -> None:
            raise AssertionError(f"asked for {scope.get('path')}")

        with serve(application, health_path=PATH, lifespan="off") as server:
            self.assertEqual(ask(server), (200, b"OK\n"))
            self.assertEqual(ask(server, f"{PATH}?a=b"), (200, b"OK\n"))
            self.assertEqual(ask(server, method="HEAD"), (200, b""))
            self.assertEqual(ask(server, method="POST"), (405, b"Method Not Allowed\n"))
        self.assertEqual(server.access, [])

    def test_others(self):
        """Somebody asks for other paths, which are the application's and are logged."""
        with serve(hello, health_path=PATH) as server:
            for path in ("/", f"{PATH}/", "/-/Health"):
                self.assertEqual(ask(server, path), (200, b"hello"), path)
        self.assertEqual(len(server.access), 3)

    def test_while_stopping(self):
        """The balancer asks on its connection while a request is being finished."""
        gate = Gate()
        with serve(gate, health_path=PATH) as server:
            with (
                closing(HTTPConnection(server.host, server.port, timeout=PATIENCE)) as balancer,
                closing(socket.create_connection(server.address, PATIENCE)) as client,
            ):
                client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                self.assertTrue(gate.entered.wait(PATIENCE))
                balancer.connect()
                stopping = threading.Thread(target=server.stop, args=(None,))
                stopping.start()
                # It has connected before, and its first request is waited for.
                balancer.request("GET", PATH)
                response = balancer.getresponse()
                self.assertIn(response.status, (200, 503))
                gate.open()
                stopping.join(PATIENCE)
            self.assertFalse(stopping.is_alive())

    def test_delay(self):
        """The balancer finds out, and requests are accepted meanwhile, until the delay is cut."""
        with serve(hello, health_path=PATH, shutdown_delay=3600) as server:
            stopping = threading.Thread(target=server.stop, args=(None,))
            stopping.start()
            while ask(server)[0] == 200:
                pass
            self.assertEqual(ask(server), (503, b"Service Unavailable\n"))
            self.assertEqual(ask(server, "/"), (200, b"hello"))

            async def hurry() -> None:
                server.server.hurry()

            call(hurry())
            stopping.join(PATIENCE)
            self.assertFalse(stopping.is_alive())
            with self.assertRaises(ConnectionRefusedError):
                ask(server)

    def test_mistakes(self):
        """The operator gives what is no path, and no delay."""
        for name, values in (
            ("health_path", ("health", "", "/a?b", "/a b", "/%41")),
            ("shutdown_delay", (-1, None)),
        ):
            for value in values:
                with self.subTest(value), self.assertRaisesMessage(ConfigurationError, name):
                    ServerConfig().replace(**{name: value})
