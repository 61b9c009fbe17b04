"""Long bodies over HTTP/2: a fast stream and a slow one on the same connection."""

from __future__ import annotations

import socket
import time
from contextlib import closing

from django.test import tag
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, Event, StreamEnded

from . import KIB, MIB, MemoryTestCase, ServerProcess, apps, eventually

# Bytes that both streams together may take at any time.
MAX_FOR_BOTH = 64 * MIB
# The client's windows, which one full read does not fill.
WINDOW = 4 * MIB
# The slow stream is read once for so many pieces of the fast one.
PATIENCE = 64


class HTTP2Client:
    """A client that is h2, on a connection without TLS."""

    def __init__(self, server: ServerProcess) -> None:
        self.sock = socket.create_connection(("127.0.0.1", server.port), timeout=30)
        self.http2 = H2Connection(H2Configuration(client_side=True, header_encoding=None))
        self.http2.initiate_connection()
        self.http2.increment_flow_control_window(WINDOW)
        self.sizes: dict[int, int] = {}
        self.ended: set[int] = set()
        self.flush()

    def close(self) -> None:
        """Leave."""
        self.sock.close()

    def flush(self) -> None:
        """Send what h2 has to say."""
        self.sock.sendall(self.http2.data_to_send())

    def start(self, method: str, path: str, *, end: bool = True) -> int:
        """Begin a request; return the number of its stream."""
        stream = self.http2.get_next_available_stream_id()
        head = {":method": method, ":scheme": "http", ":authority": "test", ":path": path}
        self.http2.send_headers(stream, list(head.items()), end_stream=end)
        self.sizes[stream] = 0
        self.flush()
        return stream

    def read(self) -> list[Event]:
        """Read what there is, and take note of it."""
        data = self.sock.recv(256 * KIB)
        assert data, "the server closed the connection"
        events = self.http2.receive_data(data)
        for event in events:
            if isinstance(event, DataReceived):
                self.sizes[event.stream_id] += len(event.data)
            elif isinstance(event, StreamEnded):
                self.ended.add(event.stream_id)
        return events

    def send(self, stream: int, left: int) -> int:
        """Send as much of a body of zeros as the windows take; return how much is left."""
        while left and (room := self.http2.local_flow_control_window(stream)) > 0:
            size = min(left, room, self.http2.max_outbound_frame_size)
            left -= size
            self.http2.send_data(stream, bytes(size), end_stream=not left)
            self.flush()
        return left


class SlowAndFast(MemoryTestCase):
    """A client shares its connection out unfairly."""

    def check_download(self, size: int) -> None:
        """Read one of two bodies as fast as it comes, and hardly any of the other."""
        server = self.serve()
        before = server.memory
        with closing(HTTP2Client(server)) as client:
            fast, slow = (client.start("GET", f"/pieces/{size // MIB}") for _ in range(2))
            began, pieces = time.monotonic(), 0
            while fast not in client.ended:
                for event in client.read():
                    if not isinstance(event, DataReceived) or not event.data:
                        continue
                    credit = event.flow_controlled_length
                    client.http2.increment_flow_control_window(credit)
                    pieces += 1
                    if event.stream_id == fast:
                        if fast not in client.ended:
                            client.http2.increment_flow_control_window(credit, fast)
                    elif pieces % PATIENCE == 0:
                        client.http2.increment_flow_control_window(credit, slow)
                client.flush()
            took = time.monotonic() - began
            self.assertEqual(client.sizes[fast], size // MIB * apps.PIECE)
            self.assertGreater(client.sizes[slow], 0)
            self.assertLess(client.sizes[slow], size // 8)
            self.assertLess(server.peak - before, MAX_FOR_BOTH)
            client.http2.reset_stream(slow, ErrorCodes.CANCEL)
            client.flush()
            self.assertTrue(eventually(lambda: server.ask("/running") == "1"), "it runs on")
        self.report(f"{size / MIB / took:.0f} MiB/s, at most {server.peak / MIB:.1f} MiB")

    def check_upload(self, size: int) -> None:
        """Send one body as fast as it is taken, and one to an application that takes nothing."""
        server = self.serve()
        before = server.memory
        steps, slow_size = 2, 8 * MIB
        with closing(HTTP2Client(server)) as client:
            fast = client.start("POST", "/upload", end=False)
            slow = client.start("POST", f"/upload/{steps}", end=False)
            began, left, slow_left = time.monotonic(), size, slow_size
            while fast not in client.ended:
                left = client.send(fast, left)
                slow_left = client.send(slow, slow_left)
                client.read()
                client.flush()
            took = time.monotonic() - began
            self.assertEqual(client.sizes[fast], len(str(size)))
            self.assertGreater(slow_left, 0, "The server takes what its application does not.")
            self.assertLess(server.peak - before, MAX_FOR_BOTH)
            for _ in range(steps):
                self.assertEqual(server.ask("/step"), "")
            while slow not in client.ended:
                slow_left = client.send(slow, slow_left)
                client.read()
                client.flush()
            self.assertEqual(client.sizes[slow], len(str(slow_size)))
        self.report(f"{size / MIB / took:.0f} MiB/s, at most {server.peak / MIB:.1f} MiB")


@tag("heavy")
class SlowAndFastTests(SlowAndFast):
    """Bodies are larger than any buffer."""

    size = 1024 * MIB

    def test_download(self):
        """The client downloads 1 GiB beside a body that it hardly reads."""
        self.check_download(self.size)

    def test_upload(self):
        """The client uploads 1 GiB beside a body that waits for its application."""
        self.check_upload(self.size)
