"""The corpus of HTTP/1.1 again, each case a byte at a time: however it is cut, it means the same.

The connection is in memory, where a byte is one read of the server for certain.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from django.test import tag

from tests.support.memory import MemoryClient, MemoryServer

from . import Case, Channel, over
from .http11_corpus import CASES
from .test_http11_corpus import Application, CorpusTests, sent


class BytewiseChannel:
    """A connection in memory that delivers single bytes."""

    def __init__(self, client: MemoryClient) -> None:
        self._client = client

    def send(self, data: bytes) -> None:
        """Send ``data`` a byte at a time."""
        self._client.feed_bytewise(data)

    def receive(self) -> bytes:
        """Return what has come, or none after the end."""
        return self._client.receive()


@tag("loop", "memory")
@over((case for case in CASES if not case.whole), sent)
class BytewiseCorpusTests(CorpusTests):
    """The whole corpus in memory, a byte at a time."""

    def setUp(self) -> None:
        self.application = Application()

    @contextlib.contextmanager
    def open_channel(self, case: Case) -> Iterator[Channel]:
        """Connect to a server with the options of the case."""
        server = MemoryServer(self.application, None, **case.options)
        try:
            yield BytewiseChannel(server.connect())
        finally:
            server.close()
