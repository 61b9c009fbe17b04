"""The client of HTTP/2: what it says, what it hears, what it refuses; and at a fixed rate."""

from __future__ import annotations

import struct
import time
from contextlib import closing

from django.test import SimpleTestCase
from http2_client import HTTP2Client, HTTP2Session
from rate_load import HTTP2Connection, Load, Schedule
from tls import connect
from websocket_client import WrongAnswer

from tests.support.server import serve
from tests.support.tls import TLSTestCase

BODY = b"Hello, world!"


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    """Return a frame."""
    return struct.pack("!IBI", len(payload) << 8 | kind, flags, stream) + payload


async def application(scope, receive, send):
    """Answer every path alike."""
    await send({"type": "http.response.start", "status": 404 if scope["path"] == "/no" else 200})
    await send({"type": "http.response.body", "body": BODY})


class SessionTests(SimpleTestCase):
    """Bytes in, bytes out."""

    def session(self) -> HTTP2Session:
        """Return one that has asked."""
        session = HTTP2Session(8000)
        session.ask("/")
        session.said()
        return session

    def test_pieces(self):
        """An answer comes in pieces of any size, with frames of the connection in between."""
        wire = frame(4) + frame(1, 4, 1, b"\x88") + frame(6, 0, 0, b"12345678")
        wire += frame(0, 0, 1, BODY[:5]) + frame(0, 9, 1, b"\2" + BODY[5:] + b"\0\0")
        for size in (1, 7, 10_000):
            session = self.session()
            pieces = [wire[at : at + size] for at in range(0, len(wire), size)]
            *before, last = [session.hear(piece) for piece in pieces]
            self.assertEqual((set(before) | {None}, last), ({None}, BODY))
            self.assertEqual(session.said(), frame(4, 1) + frame(6, 1, 0, b"12345678"))

    def test_refused(self):
        """Another status, another stream, and the end of either are no answer."""
        for wire, text in (
            (frame(1, 5, 1, b"\x8d"), "not of status 200"),
            (frame(1, 5, 3, b"\x88"), "stream 3 instead of 1"),
            (frame(3, 0, 1, bytes(4)), "frame of type 3"),
            (frame(7, 0, 0, bytes(8)), "frame of type 7"),
        ):
            with self.subTest(text), self.assertRaisesRegex(WrongAnswer, text):
                self.session().hear(wire)


class ClientTests(TLSTestCase):
    """Against a real server."""

    def setUp(self):
        super().setUp()
        pair = self.make_pair("localhost")
        server = self.enterContext(serve(application, lifespan="off", port=0, **pair.values))
        self.port = server.port

    def test_get(self):
        """Two answers come on one connection, and one with another status is refused."""
        with closing(HTTP2Client(self.port)) as client:
            self.assertEqual([client.get("/"), client.get("/other")], [BODY, BODY])
            with self.assertRaisesRegex(WrongAnswer, "not of status 200"):
                client.get("/no")

    def test_context(self):
        """Connections share what they go by: made for each, it would take longer than all else."""
        clients = [self.enterContext(closing(connect(self.port, "h2"))) for _ in range(2)]
        self.assertIs(clients[0].context, clients[1].context)

    def load(self, answer: bytes, path: bytes = b"/") -> Load:
        """Return a load that has run, on two connections."""
        connections = []
        for _ in range(2):
            connections.append(HTTP2Connection(self.port, path, answer))
            self.addCleanup(connections[-1].close)
        load = Load(Schedule(time.perf_counter(), rate=500, count=50), connections)
        load.run()
        return load

    def test_rate(self):
        """All that is due is asked for and answered."""
        load = self.load(BODY)
        self.assertEqual((load.sent, len(load.latencies)), (50, 50))

    def test_wrong(self):
        """Another body or another status end the load."""
        with self.assertRaisesRegex(WrongAnswer, "heard b'Hello, world!', for b'Hello, World!'"):
            self.load(b"Hello, World!")
        with self.assertRaisesRegex(WrongAnswer, "not of status 200"):
            self.load(BODY, b"/no")
