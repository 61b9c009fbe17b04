"""Connections in memory, and an application, both moved by hand: no sockets and no waiting.

`MemoryServer` gives connections whose other end is a `MemoryClient`. Whatever a test does there
(send, read, move the clock) returns when the server has done all that follows from it.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from django.test import SimpleTestCase

from django_daphne.server import AccessRecord, ServerConfig
from django_daphne.server.asgi.tasks import ApplicationTasks
from django_daphne.server.connection import Connection, ServerContext
from django_daphne.server.reactor import new_event_loop
from django_daphne.server.types import Message, Receive, Scope, Send
from tests.compliance import Response, ResponseReader

from .server import eager
from .wire import ManualClock, MemoryTransport

T = TypeVar("T")

DATE = b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
SERVER = b"Server: daphne\r\n"

# Enough turns of the loop for everything that one event sets off.
_TURNS = 12


class FixedHeaders:
    """The default headers of responses at the beginning of 1970."""

    server = SERVER

    def date(self) -> bytes:
        """Return the Date line."""
        return DATE

    def block(self) -> bytes:
        """Return both lines."""
        return DATE + SERVER

    def fields(self) -> list[tuple[bytes, bytes]]:
        """Return both with names in lower case."""
        return [(b"date", DATE[6:-2]), (b"server", SERVER[8:-2])]


class InlineExecutor(ThreadPoolExecutor):
    """Runs everything at once, in the thread that asks."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run ``fn`` and return its outcome."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - handed on, as executors do
            future.set_exception(error)
        return future


class ManualLoop:
    """A private event loop that turns when it is told to."""

    def __init__(self) -> None:
        self.loop = new_event_loop(os.environ.get("DAPHNE_TEST_LOOP", "auto"))
        self.loop.set_default_executor(InlineExecutor(1))
        self.faults: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda _, context: self.faults.append(context))

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end."""
        return self.loop.run_until_complete(coroutine)

    def call(self, function: Callable[..., T], *args: Any) -> T:
        """Call a function inside the loop, then let the loop do all that follows."""

        async def turn() -> T:
            result = function(*args)
            for _ in range(_TURNS):
                await asyncio.sleep(0)
            return result

        return self.run(turn())

    def begin(self, awaitable: Awaitable[T]) -> asyncio.Task[T]:
        """Start waiting for something; the task is done if that did not have to wait."""

        async def wait() -> T:
            return await awaitable

        return self.call(lambda: asyncio.ensure_future(wait()))

    def turn(self, times: int = 1) -> None:
        """Let the loop do what is to be done."""
        for _ in range(times):
            self.call(lambda: None)

    def advance(self, clock: ManualClock, seconds: float) -> None:
        """Let time pass, and the loop turn after each call."""
        end = clock.now() + seconds
        while self.call(clock.run_next, end):
            pass

    def close(self) -> None:
        """End what is still running, and raise what went wrong unseen."""
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        if tasks:
            self.run(asyncio.wait(tasks, timeout=5))
        self.turn()
        self.loop.close()
        assert not self.faults, self.faults


class MemoryServer(ManualLoop):
    """What connections of one server share, without a listener. ``access`` has the records."""

    def __init__(
        self, application: Any, state: dict[str, Any] | None = None, **values: Any
    ) -> None:
        super().__init__()
        self.access: list[AccessRecord] = []
        self.clock = ManualClock()
        self.config = ServerConfig().replace(**values)
        self.clients: list[MemoryClient] = []

        def make() -> ServerContext:
            context = ServerContext(
                config=self.config,
                clock=self.clock,
                tasks=ApplicationTasks(application, eager=eager()),
                state=state,
                log_access=self.access.append,
                call_soon=self.loop.call_soon,
            )
            context.default_headers = FixedHeaders()  # type: ignore[assignment]
            return context

        self.context = self.call(make)

    def connect(self, **options: Any) -> MemoryClient:
        """Return the client of a new connection."""
        transport = MemoryTransport(self.loop.call_soon, **options)
        connection = Connection(self.context)
        self.call(transport.connect, connection)
        client = MemoryClient(self, transport, connection)
        self.clients.append(client)
        return client

    def wait(self, seconds: float) -> None:
        """Let time pass for the server."""
        self.advance(self.clock, seconds)

    def close(self) -> None:
        """End every connection; raise AssertionError for a fault that nobody saw."""
        for client in self.clients:
            client.reset()
        super().close()
        assert not self.context.connections
        self.context.wheel.close()


class MemoryClient:
    """The client's end of one connection; also a channel for `tests.compliance`."""

    def __init__(
        self, server: MemoryServer, transport: MemoryTransport, connection: Connection
    ) -> None:
        self.server = server
        self.transport = transport
        self.connection = connection
        self._seen = 0

    def send(self, data: bytes) -> None:
        """Send ``data`` in one piece."""
        self.server.call(self.transport.arrive, data)

    def send_bytewise(self, data: bytes) -> None:
        """Send ``data`` a byte at a time, with a turn of the loop now and then."""

        async def send() -> None:
            for number, value in enumerate(data):
                self.transport.arrive(bytes((value,)))
                if number % 16 == 0:
                    await asyncio.sleep(0)

        self.server.run(send())
        self.server.turn()

    def half_close(self) -> None:
        """Say that nothing more will be sent."""
        self.server.call(self.transport.arrive, None)

    def reset(self) -> None:
        """Leave without a word."""
        self.server.call(self.transport.lose)

    def stop_reading(self) -> None:
        """Read nothing from now on."""
        self.transport.client_reads = False

    def read_on(self) -> None:
        """Read what waits and all that comes."""
        self.transport.client_reads = True
        self.take()

    def take(self, count: int | None = None) -> None:
        """Read ``count`` bytes of what waits, or all."""
        self.server.call(self.transport.take, count)

    @property
    def ended(self) -> bool:
        """Whether the client has seen the server's end."""
        transport = self.transport
        return transport.lost or (transport.write_closed and not transport.unsent)

    @property
    def was_reset(self) -> bool:
        """Whether the server has reset the connection."""
        return self.transport.aborted

    def read(self) -> bytes:
        """Return what has come since the last time."""
        data = bytes(self.transport.output[self._seen :])
        self._seen += len(data)
        return data

    def receive(self) -> bytes:
        """Return what has come, or none after the end. Raise TimeoutError where one would wait."""
        data = self.read()
        if not data and not self.ended:
            raise TimeoutError
        return data

    def responses(self, *methods: str) -> list[Response]:
        """Return what has come as responses, to requests with these methods and then to GET."""
        reader = ResponseReader(_Bytes(self.read()))
        found: list[Response] = []
        for method in itertools.chain(methods, itertools.repeat("GET")):
            answers = list(reader.read(method))
            if not answers:
                return found
            found += answers
        raise AssertionError("unreachable")

    def statuses(self, *methods: str) -> list[int]:
        """Return the statuses of the responses that have come."""
        return [response.status for response in self.responses(*methods)]


class _Bytes:
    """A channel that has all it will ever have."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def send(self, data: bytes) -> None:
        """Forget ``data``."""

    def receive(self) -> bytes:
        """Return everything, then the end."""
        data, self._data = self._data, b""
        return data


class Call:
    """One call of a `Puppet`: receives, sends and ends when the test says so."""

    def __init__(self, loop: ManualLoop, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.loop = loop
        self._receive = receive
        self._send = send
        self.end: asyncio.Future[None] = loop.loop.create_future()
        self.cancelled = False

    def receive(self) -> asyncio.Task[Message]:
        """Call receive(); the task is not done while it waits."""
        return self.loop.begin(self._receive())

    def receive_now(self) -> Message:
        """Return the next message, which must be there."""
        return self.receive().result()

    def send(self, message: Message | str, **values: Any) -> asyncio.Task[None]:
        """Call send(); a text is the type of the message and ``values`` are the rest of it."""
        if isinstance(message, str):
            message = {"type": f"http.response.{message}", **values}
        return self.loop.begin(self._send(message))

    def start(
        self, status: int = 200, headers: Iterable[tuple[bytes, bytes]] = (), **more: Any
    ) -> None:
        """Start the response."""
        self.send("start", status=status, headers=list(headers), **more).result()

    def body(self, data: bytes = b"", more: bool = False) -> None:
        """Send a part of the body without having to wait."""
        self.send("body", body=data, more_body=more).result()

    def answer(self, body: bytes = b"hello", status: int = 200) -> None:
        """Send a whole response and return from the application."""
        self.start(status)
        self.body(body)
        self.finish()

    def finish(self) -> None:
        """Return from the application."""
        self.loop.call(self.end.set_result, None)

    def fail(self, error: BaseException) -> None:
        """Raise from the application."""
        self.loop.call(self.end.set_exception, error)


class Puppet:
    """An application that does what the test says; ``calls`` are its calls so far."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.loop: ManualLoop

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        call = Call(self.loop, scope, receive, send)
        self.calls.append(call)
        try:
            await call.end
        except asyncio.CancelledError:
            call.cancelled = True
            raise


class WireTestCase(SimpleTestCase):
    """Tests of connections in memory."""

    def serve(self, application: Any, **values: Any) -> MemoryServer:
        """Serve an application with configuration values by field name."""
        server = MemoryServer(application, **values)
        self.addCleanup(server.close)
        if isinstance(application, Puppet):
            application.loop = server
        return server

    def connect(self, application: Any, **values: Any) -> MemoryClient:
        """Connect to a new server of an application."""
        return self.serve(application, **values).connect()

    def begin(self, wire: bytes, **values: Any) -> tuple[MemoryClient, Call]:
        """Send ``wire`` and return the client and the application's first call."""
        puppet = Puppet()
        client = self.connect(puppet, **values)
        client.send(wire)
        return client, puppet.calls[0]

    def assert_ends(self, client: MemoryClient) -> None:
        """The client sees an orderly end, and nothing before it that was not read yet."""
        self.assertEqual(client.read(), b"")
        self.assertTrue(client.ended, "the connection is still open")
        self.assertFalse(client.was_reset, "the connection was reset")

    def assert_open(self, client: MemoryClient) -> None:
        """The client could send another request."""
        self.assertFalse(client.ended or client.transport.closing, "the connection has ended")

    def assert_reset(self, client: MemoryClient) -> None:
        """The client sees that it was cut off."""
        self.assertTrue(client.was_reset, "the connection was not reset")
        self.assertTrue(client.transport.lost)
