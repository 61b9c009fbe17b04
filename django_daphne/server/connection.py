"""One connection: the owner of its transport and of its deadlines, whatever is spoken on it.

Here the wire meets ASGI: the protocol gets a way to make cycles and knows nothing more of them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from . import files
from .asgi.context import CycleContext
from .asgi.http_cycle import ApplicationCycle
from .asgi.scope import ScopeFactory
from .asgi.tasks import ApplicationTasks
from .asgi.websocket_cycle import WebSocketCycle
from .config import ServerConfig
from .interfaces import (
    AccessRecord,
    Clock,
    ConnectionContext,
    ConnectionProtocol,
    HTTPStream,
    Origin,
    RequestHead,
    Transport,
    WebSocketHandshake,
)
from .protocols.deadlines import Deadlines, DeadlineWheel
from .protocols.http2_frames import PREFACE
from .protocols.http11_upgrade import UpgradableHTTP11
from .protocols.responses import DefaultHeaders
from .protocols.wire import TurnEnd
from .proxy_headers import ProxyHeaders
from .recording import Recorder
from .request_id import DEFAULT_HEADER, Trace, TraceReader, make_trace
from .types import ASGIApplication, Header

ProtocolFactory = Callable[[ConnectionContext, Transport, Deadlines], ConnectionProtocol]


class LoopClock:
    """The time and the timers of an event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.now = time.monotonic  # uvloop's time stands still within a turn
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


@dataclass(slots=True, eq=False)
class ServerContext:
    """What the connections of one server share. Made on the loop's thread."""

    config: ServerConfig
    clock: Clock
    tasks: ApplicationTasks
    state: dict[str, Any] | None
    log_access: Callable[[AccessRecord], None] | None
    call_soon: Callable[..., object]
    wheel: DeadlineWheel = field(init=False)
    turn_end: TurnEnd = field(init=False)
    cycles: CycleContext = field(init=False)
    proxy_headers: ProxyHeaders = field(init=False)
    traces: TraceReader = field(init=False)
    # The request's fields that need a look.
    noted: frozenset[bytes] = field(init=False)
    id_header: bytes | None = None
    admission: RequestLimit | None = None
    recorder: Recorder | None = None
    default_headers: DefaultHeaders = field(init=False)
    connections: set[Connection] = field(default_factory=set)
    # Set when a connection or a task has ended.
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.tasks.on_done = self.changed.set
        self.wheel = DeadlineWheel(self.clock)
        self.turn_end = self.tasks.turn_end = TurnEnd(self.call_soon, self.clock.now)
        if self.config.limits.limit_concurrency is not None:
            self.admission = RequestLimit(self.config.limits.limit_concurrency)
        self.cycles = CycleContext(
            tasks=self.tasks,
            clock=self.clock,
            body_limit=self.config.limits.body_buffer_size,
            close_timeout=self.config.timeouts.application_close_timeout,
            max_queue=self.config.websocket.websocket_max_queue,
        )
        self.proxy_headers = ProxyHeaders(self.config.proxy)
        id_header = self.config.proxy.request_id_header
        self.traces = TraceReader(id_header)
        self.noted = self.proxy_headers.names | self.traces.names
        if self.config.http.request_id_response:
            self.id_header = (id_header or DEFAULT_HEADER).encode("ascii")
        self.default_headers = DefaultHeaders(self.config.http.server_name, time.time)

    def serving(self, application: ASGIApplication) -> ServerContext:
        """Return the same for the connections whose requests another application answers."""
        others = copy(self)
        others.cycles = replace(self.cycles, tasks=self.tasks.serving(application))
        return others

    def remove(self, connection: Connection) -> None:
        """Forget a connection that has ended."""
        self.connections.discard(connection)
        self.changed.set()


class RefusedConnection:
    """A connection that there is no room for: reset at once."""

    # Twisted's names.

    def makeConnection(self, transport: Transport) -> None:
        transport.abort()

    def dataReceived(self, data: bytes) -> None:
        pass

    def readConnectionLost(self) -> None:
        pass

    def connectionLost(self, reason: object = None) -> None:
        pass

    def pause_sending(self) -> None:
        """Nothing is sent."""

    def resume_sending(self) -> None:
        """Nothing is sent."""

    def introduced(self) -> None:
        """Nobody asks."""


class Connection:
    """A connection from its first byte to its last."""

    http1: ClassVar[type[UpgradableHTTP11]] = UpgradableHTTP11

    transport: Transport
    # The hot path: bytes go to the protocol without a stop here.
    dataReceived: Callable[[bytes], None]

    def __init__(self, context: ServerContext) -> None:
        self._context = context
        self._deadlines = Deadlines(context.wheel)
        self._protocol: ConnectionProtocol
        self._late_origin: Origin | None = None  # what was not known when it was made
        self._plain_headers: list[Header] = []  # the last ones that needed no look
        self._is_draining = False
        self._first_bytes = b""

    # Twisted's names (IProtocol, IHalfCloseableProtocol).

    def makeConnection(self, transport: Transport) -> None:
        self.transport = transport
        self.connectionMade()

    def connectionMade(self) -> None:
        context, transport = self._context, self.transport
        config = context.config
        self._note_origin()
        tls = transport.tls_extension if transport.is_tls else None
        self._scopes = ScopeFactory(self._origin, context.state, tls)
        context.connections.add(self)
        transport.set_write_buffer_limit(config.limits.write_buffer_size)
        if transport.alpn == "h2":
            self._switch_protocol(self._make_protocol(self.http2()))
            return
        self._switch_protocol(self._make_protocol(self.http1))
        if config.http2.http2:
            self.dataReceived = self._negotiate

    @staticmethod
    def http2() -> ProtocolFactory:
        """Return what speaks HTTP/2: as much code as the rest, imported where somebody does."""
        from .protocols.http2_websocket import ExtendedHTTP2

        return ExtendedHTTP2

    def _make_protocol(self, make: ProtocolFactory) -> ConnectionProtocol:
        context = self._context
        return make(
            ConnectionContext(
                config=context.config,
                clock=context.clock,
                client=self.transport.peer,
                create_cycle=self._create_cycle,
                create_websocket_cycle=self._create_websocket_cycle,
                switch_protocol=self._switch_protocol,
                call_soon=context.call_soon,
                turn_end=context.turn_end,
                copy_file=files.copy,
                default_headers=context.default_headers,
                admission=context.admission,
                log_access=context.log_access,
                trace=self._trace,
                id_header=context.id_header,
                recorder=context.recorder,
            ),
            self.transport,
            self._deadlines,
        )

    def _negotiate(self, data: bytes) -> None:
        """Find out what the client speaks, from its first bytes where nothing else has said it.

        Twisted's TLS knows what was negotiated only when there are any. Over TLS nothing else
        counts; without it a client may begin with the preface of HTTP/2 (RFC 9113, section 3.3).
        """
        data = self._first_bytes + data
        alpn, first = self.transport.alpn, data[: len(PREFACE)]
        is_cleartext = (
            not self.transport.is_tls and self._context.config.http2.http2_prior_knowledge
        )
        if alpn != "h2" and not (is_cleartext and PREFACE.startswith(first)):
            self._switch_protocol(self._protocol)
        elif alpn == "h2" or first == PREFACE:
            self._deadlines.cancel_all()
            self._switch_protocol(self._make_protocol(self.http2()))
        else:
            self._first_bytes = data  # the beginning of the preface, or of "POST"
            return
        self._first_bytes = b""
        self._protocol.data_received(data)
        if self._is_draining:
            self._protocol.drain()

    def readConnectionLost(self) -> None:
        self._protocol.eof_received()

    def connectionLost(self, reason: object = None) -> None:
        self._context.remove(self)
        self._protocol.connection_lost()
        self._deadlines.cancel_all()

    def introduced(self) -> None:
        """Take note that a proxy has said of the transport whose connection it is."""
        self._note_origin()
        self._late_origin = self._origin

    def _note_origin(self) -> None:
        context, transport = self._context, self.transport
        self._origin = Origin(
            client=transport.peer,
            scheme="https" if transport.is_secure else "http",
            server=transport.host,
            root_path=context.config.http.root_path,
        )
        self._is_trusted = context.proxy_headers.trusts(transport.peer)

    # The transport's backpressure.

    def pause_sending(self) -> None:
        """Tell the protocol that the client does not read."""
        self._protocol.pause_sending()

    def resume_sending(self) -> None:
        """Tell the protocol that the client reads on."""
        self._protocol.resume_sending()

    # The ring.

    def _switch_protocol(self, protocol: ConnectionProtocol) -> None:
        """Speak another protocol from the next byte on."""
        self._protocol = protocol
        self.dataReceived = protocol.data_received

    def _create_cycle(self, head: RequestHead, stream: HTTPStream) -> ApplicationCycle:
        """Return the ASGI side of a request. Raises PeerError when proxies contradict each other.

        Part of the hot path: fields that are equal to the last ones say again what those have said.
        """
        if head.headers == self._plain_headers:
            head.origin = self._late_origin
            head.trace = make_trace()
        else:
            self._identify(head)
        return ApplicationCycle(self._context.cycles, self._scopes, head, stream)

    def _create_websocket_cycle(
        self, head: RequestHead, handshake: WebSocketHandshake
    ) -> WebSocketCycle:
        self._identify(head)
        return WebSocketCycle(self._context.cycles, self._scopes, head, handshake)

    def _identify(self, head: RequestHead) -> None:
        """Find out where a request comes from, and what it is called."""
        context = self._context
        head.origin = self._late_origin
        if context.noted.isdisjoint(dict(head.headers)):
            self._plain_headers = head.headers.copy()
            head.trace = make_trace()
            return
        self._trace(head)
        head.origin = context.proxy_headers.read(head.headers, self._origin, self._is_trusted)

    def _trace(self, head: RequestHead) -> Trace:
        """Return the trace of a request, for one that was refused, too."""
        if head.trace is None:
            read = self._context.traces.read
            head.trace = read(head.headers) if self._is_trusted else make_trace()
        return head.trace

    # The server's wishes.

    def drain(self) -> None:
        """Finish what is under way, then close."""
        self._is_draining = True
        self._protocol.drain()

    def end_streams(self) -> None:
        """Ask for the end of what has none by itself: streams and WebSockets."""
        self._protocol.end_streams()

    def abort(self) -> None:
        """Reset the connection."""
        self.transport.abort()
