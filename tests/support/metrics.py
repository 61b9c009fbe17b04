"""Metrics as Prometheus reads them, and connections in memory that are counted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import Any

from django.test import SimpleTestCase
from prometheus_client.parser import text_string_to_metric_families

from django_daphne.server import ServerConfig
from django_daphne.server.counted_connection import CountedConnection
from django_daphne.server.metrics.board import Board
from django_daphne.server.metrics.exposition import Exposition, bind_metrics
from django_daphne.server.metrics.families import PREFIX
from django_daphne.server.metrics.recorder import PageRecorder

from .memory import MemoryClient, MemoryServer, Puppet
from .server import PATIENCE, RunningServer
from .wire import MemoryTransport

Samples = dict[tuple[str, ...], float]


def parse(text: str) -> Samples:
    """Return the value of each sample, by name without the prefix and label values."""
    return {
        (sample.name.removeprefix(PREFIX), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def scrape(address: tuple[str, int], path: str = "/metrics") -> Samples:
    """Return what the address answers Prometheus."""
    connection = HTTPConnection(*address, timeout=PATIENCE)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        assert response.status == 200, response.status
        return parse(response.read().decode())
    finally:
        connection.close()


@contextmanager
def exposition(board: Board) -> Iterator[Exposition]:
    """Answer for a board on a free port while the block runs."""
    answering = Exposition(board, bind_metrics("127.0.0.1:0"))
    answering.start()
    try:
        yield answering
    finally:
        answering.close()


class CountedClient(MemoryClient):
    """The client's end of a connection in memory that is counted."""

    make_server_end = CountedConnection


class CountedServer(MemoryServer):
    """A server in memory that counts."""

    def _make_connection(self, transport: MemoryTransport) -> MemoryClient:
        return CountedClient(self, transport)


class MetricsTestCase(SimpleTestCase):
    """A board with one page, and who counts in it."""

    def setUp(self) -> None:
        super().setUp()
        self.board = Board()
        self.addCleanup(self.board.close)
        self.recorder = PageRecorder(self.board.add())

    def serve(self, application: Any, **values: Any) -> RunningServer:
        """Return a server on a free port that counts, to be entered."""
        config = ServerConfig().replace(port=0, lifespan="off", **values)
        return RunningServer(application, config, recorder=self.recorder)

    def serve_in_memory(self, application: Any, **values: Any) -> CountedServer:
        """Return a server without sockets that counts."""
        server = CountedServer(application, **values)
        self.addCleanup(server.close)
        server.context.recorder = self.recorder
        if isinstance(application, Puppet):
            application.loop = server
        return server

    def samples(self) -> Samples:
        """Return what Prometheus is told."""
        with exposition(self.board) as answering:
            return scrape(answering.addresses[0])

    def counted(self, name: str) -> dict[str, float]:
        """Return the samples of a family with one label that are not zero, by label."""
        return {key[1]: value for key, value in self.samples().items() if key[0] == name and value}
