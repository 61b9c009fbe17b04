"""The client that asks at a fixed rate: its schedule, what it counts, what it refuses."""

from __future__ import annotations

import socketserver
import threading
import time

from django.test import SimpleTestCase
from rate_load import BEHIND_SECONDS, Connection, Load, Schedule, percentile
from websocket_client import WrongAnswer

REQUEST = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"
BODY = b"Hello, world!"
ANSWER = (b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n" + BODY,)


class Server(socketserver.ThreadingTCPServer):
    """A server of one answer, in these pieces; without any it hangs up."""

    daemon_threads = True

    def __init__(self, pieces: tuple[bytes, ...]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.pieces = pieces


class Handler(socketserver.BaseRequestHandler):
    """A connection to it."""

    server: Server

    def handle(self):
        """Answer each request."""
        while self.server.pieces and self.request.recv(1_000):
            for piece in self.server.pieces:
                self.request.sendall(piece)
        # Closing before the request has come would be a reset.
        self.request.recv(1_000)


class ScheduleTests(SimpleTestCase):
    """When requests are due, and what their latencies come to."""

    def test_even(self):
        """Requests are due at even distances, and the schedule ends where one more would be."""
        schedule = Schedule(begin=100.0, rate=4, count=8)
        self.assertEqual([schedule.due(n) for n in (0, 1, 7)], [100.0, 100.25, 101.75])
        self.assertEqual(schedule.end, 102.0)

    def test_percentile(self):
        """A percentile is a value that was measured, and never above the largest."""
        values = range(1, 1_001)
        found = [percentile(values, percent) for percent in (0, 50, 99, 99.9, 100)]
        self.assertEqual(found, [1, 500, 990, 999, 1_000])
        self.assertEqual([percentile([7.0], percent) for percent in (0, 50, 99.9)], [7.0] * 3)
        self.assertEqual(percentile([1.0, 2.0], 99), 2.0)


class LoadTests(SimpleTestCase):
    """A schedule followed against a server."""

    def load(self, schedule: Schedule, pieces: tuple[bytes, ...] = ANSWER) -> Load:
        """Return a load that has run, on two connections to a server of these pieces."""
        server = self.enterContext(Server(pieces))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(server.shutdown)
        connections = []
        for _ in range(2):
            connections.append(Connection(server.server_address[1], REQUEST, BODY))
            self.addCleanup(connections[-1].close)
        load = Load(schedule, connections)
        load.run()
        return load

    def test_in_time(self):
        """A server that keeps up is asked for all, and answers within the schedule."""
        load = self.load(Schedule(time.perf_counter(), rate=500, count=50))
        self.assertEqual((load.sent, len(load.latencies), len(load.delays)), (50, 50, 50))
        self.assertGreater(load.in_time, 0)
        self.assertGreater(min(load.latencies), 0)

    def test_behind(self):
        """A request that leaves late counts from when it was due: here all are a second late."""
        load = self.load(Schedule(time.perf_counter() - 1.5, rate=20, count=10))
        self.assertEqual((load.sent, load.in_time), (10, 0))
        self.assertGreaterEqual(min(load.latencies), 1.0)
        # The first is due half a second before the last.
        self.assertGreaterEqual(max(load.latencies), 1.45)

    def test_never_sent(self):
        """What was not even sent until long after the end is among the latencies."""
        begin = time.perf_counter() - BEHIND_SECONDS - 2
        load = self.load(Schedule(begin, rate=10, count=10))
        self.assertEqual((load.sent, len(load.latencies)), (0, 10))
        self.assertGreaterEqual(min(load.latencies), BEHIND_SECONDS)

    def test_pieces(self):
        """An answer may come in pieces, cut in its head and in its body."""
        answer = ANSWER[0]
        pieces = (answer[:20], answer[20:-5], answer[-5:])
        self.assertEqual(self.load(Schedule(time.perf_counter(), 500, 20), pieces).sent, 20)

    def test_wrong(self):
        """Another body, more than the body, another status or none at all end the load."""
        (answer,) = ANSWER
        for pieces, text in (
            ((answer.replace(b"world", b"World"),), "heard .*Hello, World!"),
            ((answer + b"!",), "heard "),
            ((answer.replace(b"200 OK", b"503 No"),), "heard .*503"),
            ((b"x" * 20_000,), "no end of the head"),
            ((), "a connection was lost"),
        ):
            with self.subTest(text), self.assertRaisesRegex((WrongAnswer, OSError), text):
                self.load(Schedule(time.perf_counter(), rate=100, count=3), pieces)
