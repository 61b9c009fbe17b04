"""The server as a whole, over real sockets: starting, stopping, draining, and what it survives."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from django.test import SimpleTestCase, tag

from django_daphne.server import LifespanFailure, ListenError, ServerConfig
from tests.compliance import Response, ResponseReader, SocketChannel, request
from tests.support.server import PATIENCE, RunningServer, running_loop, serve

GET = request()
LAST = request(b"Connection: close")
LOGGER = "django_daphne.server"


async def hello(scope: Any, receive: Any, send: Any) -> None:
    """Answer every request, without lifespan."""
    if scope["type"] != "http":
        raise ValueError(scope["type"])
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"hello"})


class Gate:
    """An application that answers when its gate is opened."""

    def __init__(self, application: Callable[..., Any] = hello) -> None:
        self.entered = threading.Event()
        self.ended = threading.Event()
        self.cancelled = False
        self._application = application
        self._gate = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            self.entered.set()
            try:
                await self._gate.wait()
            except asyncio.CancelledError:
                self.cancelled = True
                raise
            finally:
                self.ended.set()
        await self._application(scope, receive, send)

    def open(self) -> None:
        """Let every request through."""
        running_loop().loop.call_soon_threadsafe(self._gate.set)


class ServerTestCase(SimpleTestCase):
    """Tests with real servers and plain sockets."""

    def start(self, application: Any, options: dict[str, Any] | None = None, **values: Any) -> Any:
        """Return a running server, which the test stops itself."""
        config = ServerConfig().replace(port=0, **values)
        running = RunningServer(application, config, **options or {})
        running.start()
        return running

    def connect(self, server: RunningServer) -> socket.socket:
        """Return a connected socket."""
        sock = self.enterContext(socket.create_connection(server.address, PATIENCE))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def stop(self, server: RunningServer, graceful: float | None = None) -> Future[None]:
        """Begin to stop a server; the future is done when it has stopped."""
        loop = running_loop().loop
        return asyncio.run_coroutine_threadsafe(server.server.stop(graceful), loop)

    def responses(self, sock: socket.socket) -> Iterator[Response]:
        """Yield the responses that come on a socket."""
        reader = ResponseReader(SocketChannel(sock))
        while answers := list(reader.read("GET")):
            yield from answers

    def assert_serves(self, server: RunningServer) -> None:
        """The server answers a new client."""
        sock = self.connect(server)
        sock.sendall(LAST)
        self.assertEqual([each.body for each in self.responses(sock)], [b"hello"])

    def assert_refuses(self, address: tuple[str, int]) -> None:
        """Nobody listens at an address."""
        with self.assertRaises(ConnectionRefusedError), socket.create_connection(address):
            pass


@tag("loop")
class LifeTests(ServerTestCase):
    """Starting and stopping."""

    def test_fifty_times(self):
        """A process starts and stops fifty servers on one loop and keeps no descriptor of them."""
        descriptors = Path("/proc/self/fd")
        before = 0
        for number in range(50):
            server = self.start(hello)
            self.assert_serves(server)
            server.stop()
            self.assert_refuses(server.address)
            self.doCleanups()
            if number == 4:
                before = len([*descriptors.glob("*")])
        self.assertLessEqual(len([*descriptors.glob("*")]), before + 2)

    def test_side_by_side(self):
        """A process serves with ten servers at once."""
        servers = [self.start(hello) for _ in range(10)]
        self.assertEqual(len({server.port for server in servers}), 10)
        for server in servers:
            self.assert_serves(server)
            server.stop()

    def test_order(self):
        """Application, hooks and listeners start and stop in their order."""
        events: list[str] = []

        async def application(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                events.append("request")
                await hello(scope, receive, send)
                return
            for step in ("startup", "shutdown"):
                await receive()
                events.append(step)
                await send({"type": f"lifespan.{step}.complete"})

        async def note(event: str) -> None:
            events.append(event)

        hooks = {"on_started": lambda: note("started"), "on_stopping": lambda: note("stopping")}
        server = self.start(application, hooks)
        self.assert_serves(server)
        server.stop()
        self.assertEqual(events, ["startup", "started", "request", "stopping", "shutdown"])

    def test_state(self):
        """The application's state reaches its requests."""

        async def application(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "lifespan":
                scope["state"]["word"] = b"hello"
                await receive()
                await send({"type": "lifespan.startup.complete"})
                await receive()
                await send({"type": "lifespan.shutdown.complete"})
                return
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": scope["state"]["word"]})

        with serve(application) as server:
            self.assert_serves(server)

    def test_does_not_start(self):
        """The application refuses to start; the address is given back."""

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "lifespan.startup.failed", "message": "no database"})

        with socket.create_server(("127.0.0.1", 0)) as sock:
            address = sock.getsockname()
        with self.assertRaisesRegex(LifespanFailure, "no database"):
            self.start(application, bind=[f"127.0.0.1:{address[1]}"])
        self.assert_refuses(address)

    def test_hook_fails(self):
        """The hook after the start fails; the application is stopped and nothing listens."""
        events: list[str] = []

        async def application(scope: Any, receive: Any, send: Any) -> None:
            for step in ("startup", "shutdown"):
                await receive()
                events.append(step)
                await send({"type": f"lifespan.{step}.complete"})

        async def fail() -> None:
            raise RuntimeError("hook")

        with self.assertRaisesRegex(RuntimeError, "hook"):
            self.start(application, {"on_started": fail})
        self.assertEqual(events, ["startup", "shutdown"])

    def test_busy_port(self):
        """The port is busy, which is found out before the application starts."""
        gate = Gate()
        with socket.create_server(("127.0.0.1", 0)) as sock:
            port = sock.getsockname()[1]
            with self.assertRaisesRegex(ListenError, f"127.0.0.1:{port}"):
                self.start(gate, bind=[f"127.0.0.1:{port}"])
        self.assertFalse(gate.entered.is_set())


@tag("loop")
class DrainTests(ServerTestCase):
    """Stopping while clients are there."""

    def test_running_request(self):
        """The client's running request is finished, and told to be the last."""
        gate = Gate()
        server = self.start(gate)
        sock = self.connect(server)
        sock.sendall(GET)
        self.assertTrue(gate.entered.wait(PATIENCE))
        stopping = self.stop(server)
        while True:
            with (
                contextlib.suppress(ConnectionError),
                socket.create_connection(server.address),
            ):
                continue
            break
        self.assertFalse(stopping.done())
        gate.open()
        (response,) = self.responses(sock)
        self.assertEqual((response.body, response.headers[b"connection"]), (b"hello", b"close"))
        stopping.result(PATIENCE)

    def test_idle_connections(self):
        """The client keeps a connection, or has never asked anything; both are closed."""
        server = self.start(hello)
        kept, silent = self.connect(server), self.connect(server)
        kept.sendall(GET)
        self.assertEqual(next(ResponseReader(SocketChannel(kept)).read("GET")).status, 200)
        self.stop(server).result(PATIENCE)
        for sock in (kept, silent):
            # A connection that was not accepted yet when the listener closed is reset.
            with contextlib.suppress(ConnectionResetError):
                rest = sock.recv(65536)
                self.assertEqual(rest[-5:], b"hello" if rest else b"")

    def test_time_is_over(self):
        """The application does not end in its graceful time: cancelled, and its client reset."""
        gate = Gate()
        server = self.start(gate)
        sock = self.connect(server)
        sock.sendall(GET)
        self.assertTrue(gate.entered.wait(PATIENCE))
        self.stop(server, 0.0).result(PATIENCE)
        self.assertTrue(gate.cancelled)
        with self.assertRaises(ConnectionResetError):
            sock.recv(65536)

    def test_hurry(self):
        """The operator loses patience while the server waits for its requests."""
        gate = Gate()
        server = self.start(gate)
        sock = self.connect(server)
        sock.sendall(GET)
        self.assertTrue(gate.entered.wait(PATIENCE))
        stopping = self.stop(server)
        running_loop().loop.call_soon_threadsafe(server.server.hurry)
        stopping.result(PATIENCE)
        self.assertTrue(gate.cancelled)

    def test_background_work(self):
        """The application works on behind its answer; it is waited for, and no error if not."""

        async def answer_first(scope: Any, receive: Any, send: Any) -> None:
            await hello(scope, receive, send)
            if scope["type"] == "http":
                await gate(scope, receive, quiet)

        async def quiet(message: Any) -> None:
            pass

        for patient in (True, False):
            gate = Gate()
            server = self.start(answer_first)
            self.assert_serves(server)
            self.assertTrue(gate.entered.wait(PATIENCE))
            with self.assertNoLogs(LOGGER, "ERROR"):
                stopping = self.stop(server, None if patient else 0.0)
                if patient:
                    self.assertFalse(stopping.done())
                    gate.open()
                stopping.result(PATIENCE)
            self.assertEqual(gate.cancelled, not patient)

    def test_client_leaves_meanwhile(self):
        """The server waits for a request whose client leaves; then there is nothing to wait for."""
        gate = Gate()
        server = self.start(gate, application_close_timeout=0, half_close_timeout=0)
        sock = self.connect(server)
        sock.sendall(GET)
        self.assertTrue(gate.entered.wait(PATIENCE))
        stopping = self.stop(server)
        sock.close()
        stopping.result(PATIENCE)
        self.assertTrue(gate.cancelled)
