"""The address where Prometheus asks."""

from __future__ import annotations

import socket
from contextlib import closing, suppress
from unittest import mock

from django_daphne.server import ConfigurationError, ListenError, ServerConfig
from django_daphne.server.metrics import exposition as module
from django_daphne.server.metrics.board import Board
from django_daphne.server.metrics.exposition import Exposition, bind_metrics, make_application
from django_daphne.server.metrics.families import FAMILIES
from tests.compliance import Response, ResponseReader, SocketChannel
from tests.support.metrics import MetricsTestCase, exposition, scrape
from tests.support.server import PATIENCE


class ExpositionTests(MetricsTestCase):
    """Prometheus, and others, ask."""

    def setUp(self) -> None:
        super().setUp()
        self.recorder.request("2", 404, 0.5, 0.25)
        self.answering = self.enterContext(exposition(self.board))
        (self.address,) = self.answering.addresses
        assert self.address is not None

    def connect(self) -> socket.socket:
        """Return a connection that ends with the test."""
        return self.enterContext(closing(socket.create_connection(self.address, PATIENCE)))

    def ask(self, request: bytes) -> Response:
        """Return the answer to a request, which ends the connection."""
        sock = self.connect()
        sock.sendall(request + b"\r\n\r\n")
        (response,) = ResponseReader(SocketChannel(sock)).read("GET")
        return response

    def test_families(self):
        """Prometheus's own parser finds every family that is declared."""
        names = {key[0] for key in scrape(self.address)}
        for family in FAMILIES:
            name = family.name.removeprefix("django_daphne_")
            self.assertIn(f"{name}_sum" if family.buckets else name, names)

    def test_ways_to_ask(self):
        """The scraper asks for OpenMetrics, for one family, or at the root."""
        accept = b"Accept: application/openmetrics-text; version=1.0.0"
        response = self.ask(b"GET /metrics HTTP/1.1\r\n" + accept)
        self.assertEqual(response.status, 200)
        self.assertTrue(response.body.endswith(b"# EOF\n"))
        name = "django_daphne_workers"
        samples = scrape(self.address, f"/?name[]={name}")
        self.assertEqual(samples, {("workers",): 0})

    def test_refusals(self):
        """Somebody asks for what is not there, or does not speak HTTP."""
        for request, status in (
            (b"GET /admin HTTP/1.1", 404),
            (b"POST /metrics HTTP/1.1", 405),
            (b"hello", 400),
            (b"GET / HTTP/1.1\r\nX: " + b"x" * 10000, 431),
        ):
            self.assertEqual(self.ask(request).status, status, request[:40])

    def test_many(self):
        """Somebody opens connections and says nothing: the oldest are cut, and others served."""
        silent = [self.connect() for _ in range(20)]
        self.assertEqual(scrape(self.address)["requests_total", "2", "404"], 1)
        for sock in silent[:10]:
            self.assert_cut(sock)

    def test_slow(self):
        """Somebody sends half of a request."""
        with mock.patch.object(module, "_TIME", 0.05):
            sock = self.connect()
            sock.sendall(b"GET /metr")
            self.assert_cut(sock)

    def assert_cut(self, sock: socket.socket) -> None:
        """The server has ended a connection without a word."""
        with suppress(ConnectionResetError):
            self.assertEqual(sock.recv(100), b"")

    def test_closed(self):
        """The address is free again when the server has ended."""
        self.answering.close()
        assert self.address is not None
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection(self.address, PATIENCE)


class StartTests(MetricsTestCase):
    """The operator asks for metrics that cannot be had."""

    def test_busy(self):
        """Another program has the address."""
        (bound,) = bind_metrics("127.0.0.1:0")
        self.addCleanup(bound.close)
        assert bound.address is not None
        with self.assertRaisesMessage(ListenError, "--metrics-bind: Couldn't listen on 127.0.0.1"):
            bind_metrics(f"127.0.0.1:{bound.address[1]}")

    def test_package_is_missing(self):
        """The extra is not installed."""
        with (
            mock.patch.dict("sys.modules", {"prometheus_client": None}),
            self.assertRaisesMessage(ConfigurationError, "pip install 'django-daphne[metrics]'"),
        ):
            make_application(Board())

    def test_never_started(self):
        """The server fails before the first question, and leaves nothing open."""
        (bound,) = bind_metrics("127.0.0.1:0")
        Exposition(self.board, [bound]).close()
        self.assertEqual(bound.socket.fileno(), -1)

    def test_values(self):
        """The operator gives an address without a port, or with a mode of the PROXY protocol."""
        for value in ("localhost", "127.0.0.1", "127.0.0.1:99999", "127.0.0.1:1 proxy_protocol=v1"):
            with self.assertRaisesMessage(ConfigurationError, "metrics_bind"):
                ServerConfig().replace(metrics_bind=value)
        for value in ("localhost:9100", "[::1]:0", "*:9100"):
            config = ServerConfig().replace(metrics_bind=value)
            self.assertEqual(config.metrics.metrics_bind, value)
