"""One connection: the owner of its transport and of its deadlines, whatever is spoken on it.

Here the wire meets ASGI: the protocol gets a way to make cycles and knows nothing more of them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure

from .asgi.http_cycle import ApplicationCycle, CycleContext
from .asgi.scope import ScopeFactory
from .asgi.tasks import ApplicationTasks
from .config import ServerConfig
from .interfaces import (
    AccessRecord,
    Clock,
    ConnectionContext,
    Transport,
)
from .protocols.deadlines import Deadlines, DeadlineWheel
from .protocols.http11 import HTTP11
from .protocols.responses import DefaultHeaders


class LoopClock:
    """The time and the timers of an event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.now = loop.time
        self.call_later = loop.call_later


class RequestLimit:
    """Counts the requests that are running, up to a limit."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._running = 0

    def enter(self) -> bool:
        """Count one more, if there is room."""
        if self._running >= self._limit:
            return False
        self._running += 1
        return True

    def leave(self) -> None:
        """Count one less."""
        self._running -= 1


@dataclass(slots=True)
class ServerContext:
    """What the connections of one server share. Made on the loop's thread."""

    config: ServerConfig
    clock: Clock
    tasks: ApplicationTasks
    state: dict[str, Any] | None
    log_access: Callable[[AccessRecord], None] | None
    call_soon: Callable[..., object]
    wheel: DeadlineWheel = field(init=False)
    cycles: CycleContext = field(init=False)
    admission: RequestLimit | None = None
    default_headers: DefaultHeaders = field(init=False)
    connections: set[Connection] = field(default_factory=set)
    # Set when a connection or a task has ended.
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.tasks.on_done = self.changed.set
        self.wheel = DeadlineWheel(self.clock)
        if self.config.limits.limit_concurrency is not None:
            self.admission = RequestLimit(self.config.limits.limit_concurrency)
        self.cycles = CycleContext(
            tasks=self.tasks,
            clock=self.clock,
            body_limit=self.config.limits.body_buffer_size,
            close_timeout=self.config.timeouts.application_close_timeout,
        )
        self.default_headers = DefaultHeaders(self.config.http.server_name, time.time)

    def remove(self, connection: Connection) -> None:
        """Forget a connection that has ended."""
        self.connections.discard(connection)
        self.changed.set()


class RefusedConnection(Protocol):
    """A connection that there is no room for: reset at once."""

    transport: Transport  # type: ignore[assignment]  # Twisted's has fewer wishes

    # Twisted's names.

    def connectionMade(self) -> None:
        self.transport.abort()

    def readConnectionLost(self) -> None:
        pass

    def pause_sending(self) -> None:
        """Nothing is sent."""

    def resume_sending(self) -> None:
        """Nothing is sent."""


class Connection(Protocol):
    """A connection from its first byte to its last."""

    transport: Transport  # type: ignore[assignment]  # Twisted's has fewer wishes

    def __init__(self, context: ServerContext) -> None:
        self._context = context
        self._deadlines = Deadlines(context.wheel)
        self._protocol: HTTP11

    # Twisted's names (IProtocol, IHalfCloseableProtocol).

    def connectionMade(self) -> None:
        context, transport = self._context, self.transport
        config = context.config
        peer, host, is_tls = transport.peer, transport.host, transport.is_tls
        scopes = ScopeFactory(
            scheme="https" if is_tls else "http",
            client=peer,
            server=host,
            root_path=config.http.root_path,
            state=context.state,
        )
        context.connections.add(self)
        transport.set_write_buffer_limit(config.limits.write_buffer_size)
        self._protocol = HTTP11(
            ConnectionContext(
                config=config,
                clock=context.clock,
                client=peer,
                create_cycle=partial(ApplicationCycle, context.cycles, scopes),
                call_soon=context.call_soon,
                default_headers=context.default_headers,
                admission=context.admission,
                log_access=context.log_access,
            ),
            transport,
            self._deadlines,
        )
        # The hot path: bytes go to the protocol without a stop here.
        self.dataReceived = self._protocol.data_received  # type: ignore[method-assign]

    def readConnectionLost(self) -> None:
        self._protocol.eof_received()

    def connectionLost(self, reason: Failure | None = None) -> None:
        self._context.remove(self)
        self._protocol.connection_lost()
        self._deadlines.cancel_all()

    # The transport's backpressure.

    def pause_sending(self) -> None:
        """Tell the protocol that the client does not read."""
        self._protocol.pause_sending()

    def resume_sending(self) -> None:
        """Tell the protocol that the client reads on."""
        self._protocol.resume_sending()

    # The server's wishes.

    def drain(self) -> None:
        """Finish what is under way, then close."""
        self._protocol.drain()

    def abort(self) -> None:
        """Reset the connection."""
        self.transport.abort()
