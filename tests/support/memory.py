"""Connections in memory, and an application, both moved by hand: no sockets and no waiting.

`MemoryServer` gives connections whose other end is a `MemoryClient`. Whatever a test does there
(send, read, move the clock) returns when the server has done all that follows from it.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable
from typing import Any

from django.test import SimpleTestCase, tag

from django_daphne.server import memory
from django_daphne.server.manual_loop import ManualLoop
from django_daphne.server.protocols.responses import DefaultHeaders
from django_daphne.server.types import Message, Receive, Scope, Send
from tests.compliance import Response, ResponseReader

from .server import eager
from .wire import MemoryTransport

__all__ = [
    "DATE",
    "SERVER",
    "Call",
    "ManualLoop",
    "MemoryClient",
    "MemoryServer",
    "Puppet",
    "WireTestCase",
]

DATE = b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
SERVER = b"Server: daphne\r\n"


class MemoryServer(memory.MemoryServer):
    """A server without lifespan. It is not later than the beginning of 1970 in its responses."""

    def __init__(
        self, application: Any, state: dict[str, Any] | None = None, **values: Any
    ) -> None:
        super().__init__(application, eager=eager(), **{"lifespan": "off"} | values)
        self.start()
        self.context.state = state
        self.context.default_headers = DefaultHeaders("daphne", lambda: 0.0)

    def _make_connection(self, transport: MemoryTransport) -> MemoryClient:
        return MemoryClient(self, transport)

    def connect(self, **options: Any) -> MemoryClient:
        """Return the client of a new connection."""
        client = super().connect(**options)
        assert isinstance(client, MemoryClient)
        return client

    def wait(self, seconds: float) -> None:
        """Let time pass for the server."""
        self.advance(seconds)

    def close(self) -> None:
        """End every connection; raise AssertionError for a fault that nobody saw."""
        super().close()
        assert not self.context.connections


class MemoryClient(memory.MemoryConnection):
    """The client's end of one connection; also a channel for `tests.compliance`."""

    server: MemoryServer

    def send(self, data: bytes) -> None:
        """Send ``data`` in one piece."""
        self.feed(data)

    def half_close(self) -> None:
        """Say that nothing more will be sent."""
        self.feed_eof()

    def stop_reading(self) -> None:
        """Read nothing from now on."""
        self.pause_reading()

    def read_on(self) -> None:
        """Read what waits and all that comes."""
        self.resume_reading()

    @property
    def ended(self) -> bool:
        """Whether the client has seen the server's end."""
        return self.is_closed

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


@tag("memory")
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
