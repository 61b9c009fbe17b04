"""What a server holds, at a small scale; the heavy tests do the same with thousands of clients."""

from __future__ import annotations

from django.test import tag

from tests.heavy import MIB, apps
from tests.heavy import test_http2_bodies as http2
from tests.heavy import test_memory as heavy


class DroppedClientsTests(heavy.DroppedClients):
    """Clients leave in the middle."""

    def test_uploads(self):
        """Clients cut 300 uploads off, half of them with a reset."""
        self.check_uploads(100, 300)

    def test_connections(self):
        """Clients drop 300 connections before they have read an answer."""
        self.check_connections(100, 300)

    @tag("loop")
    def test_endless(self):
        """Three clients leave responses that would never end."""
        self.check_endless(3)


class LongBodiesTests(heavy.LongBodies):
    """Bodies are larger than any buffer."""

    size = 64 * MIB

    def test_upload(self):
        """The client sends 64 MiB to an application that is in no hurry."""
        self.check_upload(self.size, 5)

    def test_download(self):
        """The client pauses in the middle of 64 MiB that are generated for it."""
        self.check_download(self.size // apps.PIECE)

    def test_file(self):
        """The client pauses in the middle of a file of 64 MiB."""
        self.check_file(self.size)


class IdleConnectionsTests(heavy.IdleConnections):
    """Clients wait."""

    def test_idle(self):
        """Two hundred clients keep their connections open."""
        self.check_idle(200)


@tag("loop")
class OverloadTests(heavy.Overload):
    """More clients come than there is room for."""

    watched = 0.5

    def test_max_connections(self):
        """Thirty clients come where ten may."""
        self.check_limit(10, 30, "--max-connections", "10", limit=None)

    def test_no_descriptors(self):
        """The configuration lets in more clients than there are descriptors for."""
        self.check_descriptors(64, 100)


class SlowAndFastTests(http2.SlowAndFast):
    """Two streams of HTTP/2 share a connection."""

    size = 32 * MIB

    def test_download(self):
        """The client downloads 32 MiB beside a body that it hardly reads."""
        self.check_download(self.size)

    def test_upload(self):
        """The client uploads 32 MiB beside a body that waits for its application."""
        self.check_upload(self.size)
