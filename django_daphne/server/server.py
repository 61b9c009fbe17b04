"""The server: listeners, connections, lifespan, and an orderly end.

``Server`` is asynchronous and owns nothing global: no signals, no reactor, no exit. A test process
starts and stops as many as it likes on one loop. ``run`` gives it a process: see ``process``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from asgiref.compatibility import guarantee_single_callable

from . import endpoints
from .addresses import TrustedPeers
from .asgi.lifespan import Lifespan
from .asgi.tasks import ApplicationTasks
from .config import ServerConfig
from .connection import Connection, LoopClock, RefusedConnection, ServerContext
from .interfaces import AccessRecord
from .sockets import BoundSocket, bind
from .transports import ConnectionProtocol

logger = logging.getLogger("django_daphne.server")

# Descriptors kept back for files, databases and the loop when the limit on connections is derived.
_RESERVED_DESCRIPTORS: Final = 64
# Seconds between two log lines that say connections are refused.
_REFUSAL_LOG_INTERVAL: Final = 10.0

Hook = Callable[[], Awaitable[None]]


class Server:
    """Serves one ASGI application on every address of its configuration.

    Call ``bind`` (or let ``start`` do it), then ``start`` and later ``stop``, on one loop.
    ``addresses`` has the real ports as soon as it is bound.
    """

    def __init__(
        self,
        application: Any,
        config: ServerConfig | None = None,
        *,
        log_access: Callable[[AccessRecord], None] | None = None,
        sockets: Sequence[BoundSocket] | None = None,
        reactor: Any = None,
        eager: bool = True,
        on_started: Hook | None = None,
        on_stopping: Hook | None = None,
    ) -> None:
        """Take an ASGI application: a single callable, or the double callable of ASGI 2.

        ``log_access`` is called once for every finished request. ``sockets`` are what ``bind`` has
        returned before, for a caller that had to know the address first. ``reactor`` is Twisted's,
        for endpoint strings. ``on_started`` is awaited after lifespan startup and before the first
        request, ``on_stopping`` after the last and before lifespan shutdown.
        """
        self._application = guarantee_single_callable(  # type: ignore[no-untyped-call]
            application
        )
        self._config = config or ServerConfig()
        self._log_access = log_access
        self._reactor = reactor
        self._eager = eager
        self._on_started = on_started
        self._on_stopping = on_stopping
        self._sockets = sockets
        self._listeners: list[endpoints.Listener] = []
        self._hurried = asyncio.Event()
        self._max_connections = self._config.limits.max_connections or _descriptor_limit()
        self._refusal_logged = float("-inf")
        self._lifespan: Lifespan
        self._context: ServerContext

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Return host and port of every TCP listener."""
        return endpoints.addresses(self._listeners or self._sockets or [])

    @property
    def descriptions(self) -> list[str]:
        """Say for people where the server listens."""
        return [listener.description for listener in self._listeners]

    def bind(self) -> None:
        """Take every address, without accepting yet. Raises ListenError."""
        if self._sockets is None:
            self._sockets = bind(self._config.listen)

    async def start(self) -> None:
        """Start the application, then accept connections.

        Raises ListenError or LifespanFailure, and then nothing is left running.
        """
        self.bind()
        loop = asyncio.get_running_loop()
        self._lifespan = Lifespan(
            self._application,
            self._config.process.lifespan,
            self._config.timeouts.lifespan_timeout,
        )
        try:
            await self._lifespan.startup()
            self._context = ServerContext(
                config=self._config,
                clock=LoopClock(loop),
                tasks=ApplicationTasks(self._application, eager=self._eager),
                state=self._lifespan.state,
                log_access=self._log_access,
                call_soon=loop.call_soon,
            )
            if self._on_started is not None:
                await self._on_started()
            await self._listen()
        except BaseException:
            await self._close_listeners()
            await self._lifespan.shutdown()
            raise

    async def _listen(self) -> None:
        listen = self._config.listen
        for bound in self._sockets or ():
            self._listeners.append(await self._accept(bound))
        for endpoint in listen.endpoint:
            self._listeners.append(
                await endpoints.listen_endpoint(self._reactor, endpoint, self._connect)
            )

    async def _accept(self, bound: BoundSocket) -> endpoints.Listener:
        """Begin to accept on a socket."""
        if bound.proxy_protocol == "off":
            plain = endpoints.SocketListener(bound)
            await plain.start(self._connect, self._config.listen.backlog)
            return plain
        introduced = endpoints.ProxyListener(
            bound,
            bound.proxy_protocol,
            self._connect,
            TrustedPeers(self._config.proxy.trusted_proxies),
            self._config.timeouts.header_timeout,
        )
        introduced.start(self._config.listen.backlog)
        return introduced

    def _connect(self) -> ConnectionProtocol:
        """Return what serves a new connection."""
        context = self._context
        if self._max_connections is None or len(context.connections) < self._max_connections:
            return Connection(context)
        now = context.clock.now()
        if now - self._refusal_logged >= _REFUSAL_LOG_INTERVAL:
            self._refusal_logged = now
            logger.warning(
                "Refusing connections: %d are open (max_connections, or the limit on descriptors)",
                len(context.connections),
            )
        return RefusedConnection()

    async def stop(self, graceful_timeout: float | None = 0.0) -> None:
        """Stop accepting, let running requests finish, then stop the application.

        What is still running after ``graceful_timeout`` seconds (None waits for ever), or after
        ``hurry``, is cancelled and its connection reset.
        """
        await self._close_listeners()
        context = self._context
        for connection in list(context.connections):
            connection.drain()
        try:
            async with asyncio.timeout(graceful_timeout):
                await self._finish_requests()
        except TimeoutError:
            logger.info("The graceful time is over; %d connections", len(context.connections))
        for connection in list(context.connections):
            connection.abort()
        await asyncio.sleep(0)  # the turn in which they learn of it
        await context.tasks.cancel_all()
        if self._on_stopping is not None:
            await self._on_stopping()
        await self._lifespan.shutdown()
        context.wheel.close()

    def hurry(self) -> None:
        """End the graceful time of ``stop`` now."""
        self._hurried.set()

    async def _finish_requests(self) -> None:
        """Return when no request is running and every answer has left, or when hurried."""
        context = self._context
        hurried = asyncio.ensure_future(self._hurried.wait())
        try:
            while not hurried.done():
                context.changed.clear()  # before the look, or what ends behind it is missed
                if not (context.tasks or context.connections):
                    break
                changed = asyncio.ensure_future(context.changed.wait())
                try:
                    await asyncio.wait((changed, hurried), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    changed.cancel()
        finally:
            hurried.cancel()

    async def _close_listeners(self) -> None:
        for listener in self._listeners:
            await listener.close()
        for bound in self._sockets or ():  # those that nothing accepts on yet
            bound.close()


def _descriptor_limit() -> int | None:
    """Return how many connections the limit on descriptors leaves room for, or None."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return None
    return max(soft - min(_RESERVED_DESCRIPTORS, soft // 2), 1)


def raise_descriptor_limit() -> None:
    """Raise the soft limit on open descriptors to the hard one, where there is such a thing."""
    try:
        import resource
    except ImportError:  # Windows
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        # macOS says "unlimited" and refuses it; what there is has to do.
        logger.debug("The limit on descriptors cannot be raised to %s", hard)
