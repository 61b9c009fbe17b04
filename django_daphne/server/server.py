"""The server: listeners, connections, lifespan, and an orderly end.

``Server`` is asynchronous and owns nothing global: no signals, no reactor, no exit. A test process
starts and stops as many as it likes on one loop. ``run`` gives it a process: see ``process``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from asgiref.compatibility import guarantee_single_callable

from .asgi.lifespan import Lifespan
from .asgi.tasks import ApplicationTasks
from .bound_socket import BoundSocket
from .config import ServerConfig
from .connection import Connection, LoopClock, RefusedConnection, ServerContext
from .health import HealthCheck
from .interfaces import AccessRecord
from .listeners import Listeners
from .redirect import HTTPSRedirect
from .resources import find_connection_limit
from .transports import ConnectionProtocol
from .types import ASGIApplication

if TYPE_CHECKING:
    from .metrics.recorder import PageRecorder

logger = logging.getLogger("django_daphne.server")

# Turns of the loop from the acceptance of a connection to its protocol, which asyncio makes a task.
_TURNS_TO_ACCEPT: Final = 6
# Seconds that TLS handshakes have which have begun when the server stops: few of them take longer.
_HANDSHAKE_TIME: Final = 0.1
# The same when another process serves already, so that nobody waits for the end of this one.
_LAST_HANDSHAKES: Final = 0.5
# Seconds between two calls for an end of streams.
_REMINDER: Final = 1.0
# Seconds between two log lines that say connections are refused.
_REFUSAL_LOG_INTERVAL: Final = 10.0

Hook = Callable[[], Awaitable[None]]
LogAccess = Callable[[AccessRecord], None]


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
        log_access: LogAccess | None = None,
        sockets: Sequence[BoundSocket] | None = None,
        reactor: Any = None,
        recorder: PageRecorder | None = None,
        eager: bool = False,
        on_started: Hook | None = None,
        on_stopping: Hook | None = None,
    ) -> None:
        """Take an ASGI application: a single callable, or the double callable of ASGI 2.

        ``log_access`` is called once for every finished request. ``sockets`` are what ``bind`` has
        returned before, for a caller that had to know the address first. ``reactor`` is Twisted's,
        for endpoint strings. ``recorder`` counts what happens. ``eager`` starts the application
        within the read of a request and not a turn of the loop later (Python 3.12). ``on_started``
        is awaited after lifespan startup and before the first request, ``on_stopping`` after the
        last and before lifespan shutdown.
        """
        self._application: ASGIApplication = guarantee_single_callable(  # type: ignore[no-untyped-call]
            application
        )
        self._config = config or ServerConfig()
        self._log_access = log_access
        health_path = self._config.http.health_path
        self._health = None if health_path is None else HealthCheck(health_path)
        self._recorder = recorder
        self._eager = eager
        self._on_started = on_started
        self._on_stopping = on_stopping
        self._listeners = Listeners(self._config, sockets, reactor)
        self._is_closed = False
        self._hurried = asyncio.Event()
        self._max_connections = self._config.limits.max_connections or find_connection_limit()
        self._make_connection = Connection
        if recorder is not None:
            from .counted_connection import CountedConnection

            self._make_connection = CountedConnection
        self._refusal_logged = float("-inf")
        self._lifespan: Lifespan
        self._context: ServerContext

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Return host and port of every TCP listener."""
        return self._listeners.addresses

    @property
    def requests(self) -> int:
        """Return how many requests it has served, and is serving."""
        return self._context.tasks.started

    @property
    def has_certificates(self) -> bool:
        """Tell whether there are certificates to renew."""
        return self._listeners.has_certificates

    @property
    def descriptions(self) -> list[str]:
        """Say for people where the server listens."""
        return self._listeners.descriptions

    def bind(self, activated: Sequence[tuple[int, str]] = ()) -> None:
        """Read the certificates and take every address, without accepting yet.

        ``activated`` are descriptors with names, from a service manager. Raises ConfigurationError
        for certificates that cannot be used, and ListenError; then nothing stays bound.
        """
        self._listeners.bind(activated)

    async def start(self) -> None:
        """Start the application, then accept connections.

        Raises ConfigurationError, ListenError or LifespanFailure, and then nothing is left running.
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
                tasks=ApplicationTasks(self._checked(self._application), eager=self._eager),
                state=self._lifespan.state,
                log_access=self._log_unchecked(),
                call_soon=loop.call_soon,
                recorder=self._recorder,
            )
            if self._recorder is not None:
                self._recorder.start(loop)
            if self._on_started is not None:
                await self._on_started()
            await self._listen()
        except BaseException:
            await self._listeners.close()
            await self._lifespan.shutdown()
            if self._recorder is not None:
                self._recorder.stop()
            raise

    async def _listen(self) -> None:
        context = self._context
        connect = partial(self._connect, context)
        insecure = connect
        if self._config.tls.redirect_to_https:
            redirect = HTTPSRedirect(self._application, self._listeners.https_port)
            insecure = partial(self._connect, context.serving(self._checked(redirect)))
        await self._listeners.listen(connect, insecure)

    async def accept_on(self, sockets: Sequence[BoundSocket]) -> None:
        """Accept on these, too; they are closed with the others."""
        await self._listeners.accept_on(sockets)

    async def leave(self, sockets: Sequence[BoundSocket]) -> None:
        """Accept on these no more, and close them; their connections go on."""
        await self._listeners.leave(sockets)

    def _checked(self, application: ASGIApplication) -> ASGIApplication:
        return application if self._health is None else self._health.before(application)

    def _log_unchecked(self) -> LogAccess | None:
        if self._health is None or self._log_access is None:
            return self._log_access
        return self._health.unlogged(self._log_access)

    def _connect(self, context: ServerContext) -> ConnectionProtocol:
        """Return what serves a new connection."""
        if self._is_closed:
            return RefusedConnection()  # its TLS handshake has ended too late
        if self._listeners.is_closing:  # it was accepted while the listeners were closed
            connection = self._make_connection(context)
            context.call_soon(connection.drain)
            return connection
        if self._max_connections is None or len(context.connections) < self._max_connections:
            return self._make_connection(context)
        if self._recorder is not None:
            self._recorder.connection_refused()
        now = context.clock.now()
        if now - self._refusal_logged >= _REFUSAL_LOG_INTERVAL:
            self._refusal_logged = now
            logger.warning(
                "Refusing connections: %d are open (max_connections, or the limit on descriptors)",
                len(context.connections),
            )
        return RefusedConnection()

    async def renew_certificates(self, *, is_asked: bool = True) -> None:
        """Read the certificates again, and serve new connections with them; others go on.

        Those that cannot be used are an error in the log, and the old ones stay. Nothing is read
        unless ``is_asked`` or the files have changed.
        """
        await self._listeners.renew_certificates(is_asked=is_asked)

    async def stop(
        self, graceful_timeout: float | None = 0.0, *, is_replaced: bool = False
    ) -> None:
        """Stop accepting, let running requests finish, then stop the application.

        All of it begins after ``shutdown_delay``. What is still running after ``graceful_timeout``
        seconds (None waits for ever), or after ``hurry``, is cancelled and its connection reset.
        Streams and WebSockets are told when ``graceful_share`` of that time is over, without a
        limit at once. ``is_replaced`` says that another process is on the same addresses already:
        there is no delay then, and the server stays healthy.
        """
        if self._health is not None:
            self._health.is_stopping = not is_replaced
        delay = 0.0 if is_replaced else self._config.timeouts.shutdown_delay
        if delay:
            with suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._hurried.wait()
        await self._listeners.close()
        context = self._context
        context.tasks.tell_of_afterwork()
        for connection in list(context.connections):
            connection.drain()
        notice = (graceful_timeout or 0.0) * self._config.timeouts.graceful_share
        if not notice:
            self._end_streams()
        try:
            async with asyncio.timeout(graceful_timeout):
                await self._meet_latecomers(_LAST_HANDSHAKES if is_replaced else _HANDSHAKE_TIME)
                await self._finish_requests(notice)
                while context.tasks or context.connections:
                    self._end_streams()
                    if self._hurried.is_set():
                        break
                    await self._finish_requests(_REMINDER)  # others may have begun meanwhile
        except TimeoutError:
            logger.info("The graceful time is over; %d connections", len(context.connections))
        self._is_closed = True
        for connection in list(context.connections):
            connection.abort()
        await asyncio.sleep(0)  # the turn in which they learn of it
        await context.tasks.cancel_all()
        if self._on_stopping is not None:
            await self._on_stopping()
        await self._lifespan.shutdown()
        context.wheel.close()
        if self._recorder is not None:
            self._recorder.stop()

    def hurry(self) -> None:
        """End the graceful time of ``stop`` now."""
        self._hurried.set()

    async def _meet_latecomers(self, handshake_time: float) -> None:
        """Return when those have come that the loop has accepted, but not handed over yet."""
        if self._listeners.is_encrypted:
            await asyncio.sleep(handshake_time)
        for _ in range(_TURNS_TO_ACCEPT):
            await asyncio.sleep(0)

    def _end_streams(self) -> None:
        for connection in list(self._context.connections):
            connection.end_streams()

    async def _finish_requests(self, timeout: float) -> None:
        """Return when no request is running and every answer has left, when hurried, or in time."""
        context = self._context
        hurried = asyncio.ensure_future(self._hurried.wait())
        try:
            async with asyncio.timeout(timeout):
                while not hurried.done():
                    context.changed.clear()  # before the look, or what ends behind it is missed
                    if not (context.tasks or context.connections):
                        break
                    changed = asyncio.ensure_future(context.changed.wait())
                    try:
                        await asyncio.wait((changed, hurried), return_when=asyncio.FIRST_COMPLETED)
                    finally:
                        changed.cancel()
        except TimeoutError:
            pass
        finally:
            hurried.cancel()
