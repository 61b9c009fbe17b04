"""Limits and faults over real sockets: whatever happens, the server serves on."""

from __future__ import annotations

import contextlib
import socket
import threading
from concurrent.futures import Future
from typing import Any

from django.test import tag

from tests.compliance import CHUNKED, FIVE, POST, ResponseReader, SocketChannel, request
from tests.support.server import PATIENCE, serve

from .test_server import GET, LAST, LOGGER, Gate, ServerTestCase, hello


@tag("loop")
class LimitTests(ServerTestCase):
    """Limits that only show with real sockets."""

    def test_max_connections(self):
        """The clients are too many: the last ones are reset, and one line says so."""
        with serve(hello, max_connections=2) as server, self.assertLogs(LOGGER) as logs:
            kept = [self.connect(server) for _ in range(2)]
            for sock in kept:
                sock.sendall(GET)
                self.assertEqual(next(ResponseReader(SocketChannel(sock)).read("GET")).status, 200)
            for _ in range(3):
                with self.assertRaises(ConnectionResetError):
                    self.connect(server).recv(1)
            kept[0].sendall(LAST)
            list(self.responses(kept[0]))
            self.assert_serves(server)
        self.assertEqual([each.levelname for each in logs.records], ["WARNING"])

    def test_answer_to_a_large_upload(self):
        """The client sends 10 MB whatever comes back, and still reads why it was refused."""
        with serve(hello, max_body_size=1000) as server:
            sock = self.connect(server)
            sock.sendall(request(b"Content-Length: 10000000", line=POST))
            with contextlib.suppress(ConnectionError):
                sock.sendall(b"x" * 10_000_000)
            self.assertEqual(next(ResponseReader(SocketChannel(sock)).read("GET")).status, 413)

    def test_answer_to_large_chunks(self):
        """The client sends 10 MB in chunks, of which the first is too many."""
        with serve(hello, max_body_size=1000) as server:
            sock = self.connect(server)
            with contextlib.suppress(ConnectionError):
                sock.sendall(request(CHUNKED, line=POST) + b"ffffff\r\n" + b"x" * 10_000_000)
            (response,) = ResponseReader(SocketChannel(sock)).read("GET")
            self.assertIn(response.status, (200, 413))

    def test_send_waits(self):
        """The client does not read 20 MB; the application waits, and learns when it leaves."""
        sent: list[int] = []
        outcome: Future[BaseException | None] = Future()

        async def stream(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "http":
                raise ValueError
            try:
                await send({"type": "http.response.start", "status": 200})
                for _ in range(320):
                    part = {"type": "http.response.body", "body": b"x" * 65536, "more_body": True}
                    await send(part)
                    sent.append(1)
                    waiting.set()
                outcome.set_result(None)
            except OSError as error:
                outcome.set_result(error)
                raise

        waiting = threading.Event()
        with serve(stream) as server:
            sock = self.connect(server)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            sock.sendall(GET)
            self.assertTrue(waiting.wait(PATIENCE))
            self.assertFalse(outcome.done())
            sock.close()
            self.assertIsInstance(outcome.result(PATIENCE), OSError)
            self.assertLess(len(sent), 320)


@tag("loop")
class FaultTests(ServerTestCase):
    """After whatever goes wrong the server serves on."""

    def test_abort_is_a_reset(self):
        """The application fails inside its answer; the client sees a reset and no end."""

        async def fail(scope: Any, receive: Any, send: Any) -> None:
            if scope["path"] == "/other":
                await hello(scope, receive, send)
                return
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": b"part", "more_body": True})
            raise RuntimeError("inside")

        with serve(fail, lifespan="off") as server, self.assertLogs(LOGGER, "ERROR"):
            for wire in (GET, b"GET / HTTP/1.0\r\n\r\n"):
                sock = self.connect(server)
                sock.sendall(wire)
                with self.assertRaises(ConnectionResetError):
                    while sock.recv(65536):
                        pass
            sock = self.connect(server)
            sock.sendall(request(b"Connection: close", line=b"GET /other HTTP/1.1"))
            self.assertEqual([each.body for each in self.responses(sock)], [b"hello"])

    def test_bad_clients(self):
        """Clients send garbage, half a head, half a body, or leave at once."""
        with serve(hello) as server:
            for wire in (b"\x16\x03\x01", b"GET", request(FIVE, line=POST), b"", b"\n" * 10**5):
                sock = self.connect(server)
                with contextlib.suppress(ConnectionError):
                    sock.sendall(wire)
                sock.close()
            self.assert_serves(server)

    def test_exits(self):
        """The application exits, and the process does not."""

        async def leave(scope: Any, receive: Any, send: Any) -> None:
            if scope["path"] == "/exit":
                raise SystemExit(1)
            await hello(scope, receive, send)

        with serve(leave, lifespan="off") as server, self.assertLogs(LOGGER, "ERROR"):
            sock = self.connect(server)
            sock.sendall(request(line=b"GET /exit HTTP/1.1"))
            self.assertEqual([each.status for each in self.responses(sock)], [500])
            self.assert_serves(server)

    def test_slow_and_fast(self):
        """One client's request waits; another one is served meanwhile."""
        gate = Gate()

        async def application(scope: Any, receive: Any, send: Any) -> None:
            slow = scope["type"] == "http" and scope["path"] == "/slow"
            await (gate if slow else hello)(scope, receive, send)

        with serve(application) as server:
            sock = self.connect(server)
            sock.sendall(request(b"Connection: close", line=b"GET /slow HTTP/1.1"))
            self.assertTrue(gate.entered.wait(PATIENCE))
            self.assert_serves(server)
            gate.open()
            self.assertEqual([each.body for each in self.responses(sock)], [b"hello"])
