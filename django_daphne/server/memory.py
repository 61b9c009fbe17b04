"""A server whose connections are in memory, moved by hand: no sockets, and no waiting.

Everything behind the transport is what serves on sockets, too: the protocols, the cycles, the
configuration, the deadlines. What a listener has to do with is not there: addresses, the limit on
connections, TLS itself. The event loop, and what "all that follows" is: ``manual_loop``.
"""

from __future__ import annotations

from contextlib import nullcontext, suppress
from types import TracebackType
from typing import Any, ClassVar, Final

from asgiref.compatibility import guarantee_single_callable

from .asgi.lifespan import Lifespan
from .asgi.tasks import ApplicationTasks
from .config import ServerConfig
from .connection import Connection, ServerContext
from .interfaces import AccessRecord
from .manual_loop import PATIENCE, ManualLoop
from .memory_transport import CLIENT, HOST, MOST_UNSEEN, MemoryTransport
from .protocols.responses import DefaultHeaders
from .types import Address

# Bytes in an error's text.
_SHOWN: Final = 200


class MemoryConnection:
    """The client's end of one connection; each method returns when the server has done its part.

    After the end of the connection what is fed goes nowhere.
    """

    make_server_end: ClassVar[type[Connection]] = Connection

    def __init__(self, server: MemoryServer, transport: MemoryTransport) -> None:
        """Connect; ``MemoryServer.connect`` is the usual way."""
        self.server = server
        self.transport = transport
        self.connection = self.make_server_end(server.context)
        server.call(transport.connect, self.connection)

    def feed(self, data: bytes) -> None:
        """Send bytes, in one piece."""
        if not isinstance(data, bytes):
            raise TypeError(f"feed() takes bytes, not {type(data).__name__}")
        self.server.call(self.transport.arrive, data)

    def feed_bytewise(self, data: bytes) -> None:
        """Send bytes one at a time: each is one read of the server."""
        self.server.call(self._arrive_bytewise, data)

    def _arrive_bytewise(self, data: bytes) -> None:
        self.transport.arrive(data[:1])
        if len(data) > 1:
            self.server.loop.call_soon(self._arrive_bytewise, data[1:])

    def feed_eof(self) -> None:
        """Say that nothing more will be sent; the server may still answer."""
        self.server.call(self.transport.arrive, None)

    def reset(self) -> None:
        """Leave without a word."""
        self.server.call(self.transport.lose)

    def read(self) -> bytes:
        """Return what has come since the last time.

        A client reads no more than 16 MiB that nobody has asked for: behind so much call it again.
        """
        transport = self.transport
        data = bytes(transport.output)
        transport.output.clear()
        if transport.unsent and transport.client_reads and not transport.lost:
            self.server.call(transport.take, MOST_UNSEEN)
        return data

    def read_until(self, ending: bytes) -> bytes:
        """Wait for threads until ``ending`` has come, in real time; return as ``read`` does.

        Raises TimeoutError when it does not come, and EOFError when it will not.
        """
        transport = self.transport
        try:
            self.server.wait_until(lambda: ending in transport.output or self.is_closed)
        except TimeoutError as error:
            raise TimeoutError(f"{error}: {ending!r} in {self._shown()}") from None
        if ending not in transport.output:
            raise EOFError(f"The connection was closed before {ending!r}: {self._shown()}")
        return self.read()

    def _shown(self) -> str:
        return repr(bytes(self.transport.output[-_SHOWN:]))

    def pause_reading(self) -> None:
        """Read nothing from now on: the server has to wait, once its buffers are full."""
        self.transport.client_reads = False

    def resume_reading(self) -> None:
        """Read what waits and all that comes."""
        self.transport.client_reads = True
        self.take()

    def take(self, count: int | None = None) -> None:
        """Read ``count`` bytes of what waits, or all of it, and no more."""
        self.server.call(self.transport.take, count)

    @property
    def waiting(self) -> int:
        """The bytes that the server has sent and the client has not read."""
        return len(self.transport.unsent)

    @property
    def is_closed(self) -> bool:
        """Whether the client has seen the server's end, or has left."""
        transport = self.transport
        return transport.lost or (transport.write_closed and not transport.unsent)

    @property
    def was_reset(self) -> bool:
        """Whether the server has cut the connection off."""
        return self.transport.aborted


class MemoryServer(ManualLoop):
    """Serves an application to connections in memory; a context manager.

        with MemoryServer(application, keep_alive_timeout=5) as server:
            connection = server.connect()
            connection.feed(b"GET / HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n")
            assert connection.read().startswith(b"HTTP/1.1 200 OK\\r\\n")
            server.advance(6)
            assert connection.is_closed

    ``options`` are values of the configuration by field name; ConfigurationError names those that
    cannot be used. ``eager`` is that of ``Server``. ``access`` has the records of the access log,
    ``connections`` all that were made. The Date of responses is the time since 1970 by the clock.
    """

    def __init__(
        self,
        application: Any,
        *,
        eager: bool = False,
        patience: float = PATIENCE,
        **options: Any,
    ) -> None:
        self.config = ServerConfig().replace(**options)
        super().__init__(patience)
        self.access: list[AccessRecord] = []
        self.connections: list[MemoryConnection] = []
        self.context: ServerContext
        self._eager = eager
        self._has_started = False
        self._application = guarantee_single_callable(  # type: ignore[no-untyped-call]
            application
        )
        self._lifespan = Lifespan(
            self._application, self.config.process.lifespan, self.config.timeouts.lifespan_timeout
        )

    def __enter__(self) -> MemoryServer:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # What follows from an error would only hide it.
        with nullcontext() if error is None else suppress(AssertionError):
            self.close()

    def start(self) -> None:
        """Start the application: its lifespan, for which time passes as far as it takes any.

        Raises LifespanFailure, and then nothing is left running.
        """
        try:
            self.run(self._lifespan.startup())
        except BaseException:
            super().close()
            raise
        self.context = self.call(self._make_context)
        self._has_started = True

    def _make_context(self) -> ServerContext:
        context = ServerContext(
            config=self.config,
            clock=self.clock,
            tasks=ApplicationTasks(self._application, eager=self._eager),
            state=self._lifespan.state,
            log_access=self.access.append,
            call_soon=self.loop.call_soon,
        )
        began = self.clock.now()
        context.default_headers = DefaultHeaders(
            self.config.http.server_name, lambda: self.clock.now() - began
        )
        return context

    def connect(
        self,
        *,
        client: Address = CLIENT,
        server: Address = HOST,
        is_tls: bool = False,
        alpn: str | None = None,
    ) -> MemoryConnection:
        """Return a new connection between two addresses, each a pair or None as on a Unix socket.

        ``is_tls`` lets the scheme be https; the bytes are plain all the same. ``alpn`` is what TLS
        has agreed on, such as "h2".
        """
        transport = MemoryTransport(
            self.loop.call_soon,
            peer=client,
            host=server,
            is_tls=is_tls or alpn is not None,
            alpn=alpn,
        )
        connection = self._make_connection(transport)
        self.connections.append(connection)
        return connection

    def _make_connection(self, transport: MemoryTransport) -> MemoryConnection:
        return MemoryConnection(self, transport)

    def drain(self) -> None:
        """Let each connection finish what is under way and end, as in a server that stops."""
        for connection in list(self.context.connections):
            self.call(connection.drain)

    def end_streams(self) -> None:
        """Ask for the end of streams and WebSockets, as such a server does after a while."""
        for connection in list(self.context.connections):
            self.call(connection.end_streams)

    def close(self) -> None:
        """Reset every connection, then stop the application.

        Raises AssertionError when something went wrong in the event loop that nobody saw.
        """
        super().close()

    def _end_tasks(self) -> None:
        try:
            for connection in self.connections:
                connection.reset()
        finally:
            if self._has_started:
                self.run(self.context.tasks.cancel_all())
                self.run(self._lifespan.shutdown())
                self.context.wheel.close()
            super()._end_tasks()
