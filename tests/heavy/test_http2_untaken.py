"""Windows that are filled with next to nothing in each frame, to applications that take nothing.

What a server holds is to be in proportion to the bytes of the windows, and so is what it does.
"""

from __future__ import annotations

from django.test import tag

from tests.support.http2 import SocketClient
from tests.support.http2_frames import Fields, data_frame, request_fields, websocket_fields
from tests.support.websocket import binary

from . import MIB
from .test_http2 import HTTP2AttackTestCase


@tag("heavy")
class UntakenTests(HTTP2AttackTestCase):
    """The application takes nothing, and the client sends what it may by two bytes a frame."""

    window, streams = 8 * MIB, 7

    def prepare(self, *options: str) -> None:
        """Start the server."""
        self.server = self.serve("--http2-connection-window", str(self.window), *options)
        self.assertEqual(self.server.ask("/"), "served")

    def fill(self, client: SocketClient, fields: Fields, data: bytes) -> None:
        """Send so much on a new stream."""
        found = client.start_literal(fields, end=False)
        pieces = (data[offset : offset + 2] for offset in range(0, len(data), 2))
        client.flood([b"".join(data_frame(found.number, piece) for piece in pieces)])
        client.settle()

    def check_memory(self, fields: Fields, *options: str) -> None:
        """Fill the windows, which must not weigh far more than they say."""
        self.prepare(*options)
        with self.watch(3 * self.window), self.connected() as client:
            for _ in range(self.streams):
                self.fill(client, fields, bytes(self.window // 8))
            self.assertEqual(self.server.ask("/running"), str(self.streams + 1))
            for _ in range(self.streams):
                self.server.ask("/step")

    def test_uploads(self) -> None:
        """The client uploads to applications that do not read."""
        self.check_memory(request_fields(b"POST", b"/attacked/wait"))

    def test_early_messages(self) -> None:
        """The client speaks before its WebSockets are accepted."""
        fields = websocket_fields(b"/attacked/wait")
        self.check_memory(fields, "--websocket-connect-timeout", "60")

    def test_messages(self) -> None:
        """The client sends eight times as much, which is not to cost far more than that."""
        self.prepare()
        seconds = []
        with self.watch(3 * self.window):
            for size in (100_000, 800_000):
                with self.connected() as client:
                    before = self.server.seconds
                    message = binary(bytes(100))
                    fields = websocket_fields(b"/attacked/accept")
                    self.fill(client, fields, message * (size // len(message)))
                    seconds.append(self.server.seconds - before)
                self.server.ask("/step")
        self.report(f"{seconds} s")
        self.assertLess(seconds[1], 16 * seconds[0])
