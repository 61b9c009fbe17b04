"""Real connections on a loop of the test's own, carried by the loop or by Twisted."""

from __future__ import annotations

import asyncio
import functools
import socket
import struct
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from django.test import SimpleTestCase
from twisted.internet.asyncioreactor import AsyncioSelectorReactor

from django_daphne.server.config import ListenConfig
from django_daphne.server.endpoints import Listener, SocketListener
from django_daphne.server.interfaces import Transport
from django_daphne.server.reactor import new_event_loop
from django_daphne.server.sockets import bind
from django_daphne.server.twisted_endpoints import listen_endpoint

from .server import PATIENCE

MEGABYTE = 1024 * 1024
RESET = struct.pack("ii", 1, 0)


class Recorder:
    """A connection that writes down what its transport tells it."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.events: list[str] = []
        self.on_data: Callable[[], object] = lambda: None
        self._changed = asyncio.Event()
        self.transport: Transport

    # Twisted's names.

    def makeConnection(self, transport: Transport) -> None:
        self.transport = transport
        self._note("made")

    def dataReceived(self, data: bytes) -> None:
        self.data += data
        self._changed.set()
        self.on_data()

    def readConnectionLost(self) -> None:
        self._note("eof")

    def connectionLost(self, reason: object = None) -> None:
        self._note("lost")

    # The transport's backpressure.

    def pause_sending(self) -> None:
        self._note("pause")

    def resume_sending(self) -> None:
        self._note("resume")

    def introduced(self) -> None:
        """Nobody asks for the addresses."""

    def _note(self, event: str) -> None:
        self.events.append(event)
        self._changed.set()

    async def until(self, event: str) -> None:
        """Return when an event has happened."""
        await self.when(lambda: event in self.events)

    async def when(self, condition: Callable[[], bool]) -> None:
        """Return when a condition holds, which is looked at after each event."""
        while not condition():
            self._changed.clear()
            await self._changed.wait()


class Client:
    """The other end: a plain socket."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._loop = asyncio.get_running_loop()

    async def send(self, data: bytes) -> None:
        """Send all of ``data``."""
        await self._loop.sock_sendall(self.sock, data)

    async def receive(self, size: int = MEGABYTE) -> bytes:
        """Return some bytes, none at the end. Raises ConnectionResetError."""
        return await self._loop.sock_recv(self.sock, size)

    async def receive_all(self) -> bytes:
        """Return everything up to the end."""
        pieces = []
        while piece := await self.receive():
            pieces.append(piece)
        return b"".join(pieces)

    async def receive_exactly(self, size: int) -> bytes:
        """Return ``size`` bytes."""
        data = b""
        while len(data) < size:
            piece = await self.receive(size - len(data))
            assert piece, "the end came first"
            data += piece
        return data

    def fill(self) -> int:
        """Send until nothing more is taken; return how much was."""
        total = 0
        try:
            while True:
                total += self.sock.send(b"x" * 65536)
        except BlockingIOError:
            return total

    def reset(self) -> None:
        """Leave without a word."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.sock.close()


class CarrierTestCase(SimpleTestCase):
    """The setting: a loop of the class's own, a listener for each test."""

    loop_name = "asyncio"
    loop: asyncio.AbstractEventLoop

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.loop = new_event_loop(cls.loop_name)
        cls.addClassCleanup(cls.loop.close)

    def setUp(self) -> None:
        self.recorders: list[Recorder] = []
        self.faults: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda _, context: self.faults.append(context))

    def make_recorder(self) -> Recorder:
        """Return what serves a new connection."""
        self.recorders.append(Recorder())
        return self.recorders[-1]

    async def listen(self) -> Listener:
        """Listen on a free port of 127.0.0.1."""
        (bound,) = bind(ListenConfig(port=0))
        listener = SocketListener(bound)
        await listener.start(self.make_recorder, 100)
        return listener

    async def connect(self) -> tuple[Client, Recorder]:
        """Return both ends of a new connection."""
        sock, count = self.make_socket(), len(self.recorders)
        sock.setblocking(False)
        await self.loop.sock_connect(sock, self.address)
        return Client(sock), await self.recorder_behind(count)

    def make_socket(self) -> socket.socket:
        """Return a client's socket."""
        sock = socket.socket()
        self.addCleanup(sock.close)
        # A small window, so that a client that does not read is noticed soon.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        return sock

    async def recorder_behind(self, count: int) -> Recorder:
        """Return the one that comes behind so many, once its connection is made."""
        while len(self.recorders) == count or not self.recorders[-1].events:
            await asyncio.sleep(0)
        return self.recorders[-1]

    def run_scenario(self, scenario: Coroutine[Any, Any, None]) -> None:
        """Run a test with a listener, then see that every connection ends and nothing is odd."""

        async def run() -> None:
            listener = await self.listen()
            assert listener.address is not None
            self.address = listener.address
            try:
                await scenario
            finally:
                await listener.close()
            for recorder in self.recorders:
                recorder.transport.abort()
                await recorder.until("lost")

        self.loop.run_until_complete(asyncio.wait_for(run(), PATIENCE))
        self.assertEqual(self.faults, [])
        for recorder in self.recorders:
            self.assertEqual(recorder.events.count("lost"), 1)

    def make_file(self, size: int) -> tuple[int, bytes]:
        """Return the descriptor and the content of a file."""
        content = bytes(range(251)) * (size // 251 + 1)
        path = Path(self.enterContext(tempfile.TemporaryDirectory()), "file")
        path.write_bytes(content[:size])
        return self.enterContext(path.open("rb")).fileno(), content[:size]


Scenario = Callable[[Any], Coroutine[Any, Any, None]]


def on_loop(scenario: Scenario) -> Callable[[Any], None]:
    """Make a test of a coroutine function."""

    @functools.wraps(scenario)
    def test(self: CarrierTestCase) -> None:
        self.run_scenario(scenario(self))

    return test


class TwistedTestCase(CarrierTestCase):
    """Twisted's transports, on a reactor of the class's own."""

    reactor: AsyncioSelectorReactor

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.reactor = AsyncioSelectorReactor(cls.loop)
        cls.reactor.startRunning(installSignalHandlers=False)
        cls.addClassCleanup(cls.stop_reactor)

    @classmethod
    def stop_reactor(cls) -> None:
        """Stop the reactor, which stops the loop."""
        cls.loop.call_soon(cls.reactor.stop)
        cls.loop.run_forever()

    async def listen(self) -> Listener:
        """Listen as an endpoint string says."""
        endpoint = "tcp:0:interface=127.0.0.1"
        return await listen_endpoint(self.reactor, endpoint, self.make_recorder, ["http/1.1"])
