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
from typing import Any, Final

from asgiref.compatibility import guarantee_single_callable

from . import endpoints
from .addresses import TrustedPeers
from .asgi.lifespan import Lifespan
from .asgi.tasks import ApplicationTasks
from .certificates import Certificates
from .config import ServerConfig
from .connection import Connection, LoopClock, RefusedConnection, ServerContext
from .counted_connection import CountedConnection
from .exceptions import ConfigurationError
from .health import HealthCheck
from .interfaces import AccessRecord
from .metrics.recorder import PageRecorder
from .redirect import HTTPS_PORT, HTTPSRedirect
from .sockets import BoundSocket, bind
from .tls import Encryption
from .transports import ConnectionFactory, ConnectionProtocol
from .types import ASGIApplication

logger = logging.getLogger("django_daphne.server")

# Descriptors kept back for files, databases and the loop when the limit on connections is derived.
_RESERVED_DESCRIPTORS: Final = 64
# Turns of the loop from the acceptance of a connection to its protocol, which asyncio makes a task.
_TURNS_TO_ACCEPT: Final = 6
# Seconds that TLS handshakes have which have begun when the server stops: few of them take longer.
_HANDSHAKE_TIME: Final = 0.1
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
        self._reactor = reactor
        self._recorder = recorder
        self._eager = eager
        self._on_started = on_started
        self._on_stopping = on_stopping
        self._sockets = sockets
        self._certificates: Certificates | None = None
        self._listeners: list[endpoints.Listener] = []
        self._encrypted: list[tuple[endpoints.NativeListener, Encryption]] = []
        self._renewing = asyncio.Lock()
        self._watching: asyncio.Task[None] | None = None
        self._is_closing = False  # the listeners
        self._is_closed = False
        self._hurried = asyncio.Event()
        self._max_connections = self._config.limits.max_connections or _descriptor_limit()
        self._make_connection: type[Connection] = (
            Connection if recorder is None else CountedConnection
        )
        self._refusal_logged = float("-inf")
        self._lifespan: Lifespan
        self._context: ServerContext

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Return host and port of every TCP listener."""
        return endpoints.addresses(self._listeners or self._sockets or [])

    @property
    def has_certificates(self) -> bool:
        """Tell whether there are certificates to renew."""
        return self._certificates is not None

    @property
    def descriptions(self) -> list[str]:
        """Say for people where the server listens."""
        return [listener.description for listener in self._listeners]

    def bind(self, activated: Sequence[tuple[int, str]] = ()) -> None:
        """Read the certificates and take every address, without accepting yet.

        ``activated`` are descriptors with names, from a service manager. Raises ConfigurationError
        for certificates that cannot be used, and ListenError; then nothing stays bound.
        """
        sockets = list(self._sockets or ())
        try:
            if self._certificates is None and self._config.tls.certfile:
                self._certificates = Certificates(self._config, self._versions())
            if self._sockets is None:
                self._sockets = sockets = bind(self._config.listen, activated)
            if self._certificates is not None and all(each.is_plain for each in sockets):
                raise ConfigurationError(
                    "--certfile: no address speaks TLS with it; expected --bind, --port or --fd."
                )
        except ConfigurationError:
            for bound in sockets:
                bound.close()
            raise

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
            await self._close_listeners()
            await self._lifespan.shutdown()
            if self._recorder is not None:
                self._recorder.stop()
            raise

    async def _listen(self) -> None:
        listen, context = self._config.listen, self._context
        connect = partial(self._connect, context)
        insecure = connect
        if self._config.tls.redirect_to_https:
            redirect = HTTPSRedirect(self._application, self._https_port())
            insecure = partial(self._connect, context.serving(self._checked(redirect)))
        async with self._renewing:  # a signal may ask for it while the application starts
            for bound in self._sockets or ():
                await self._accept(bound, insecure if bound.is_insecure else connect)
        for endpoint in listen.endpoint:
            self._listeners.append(
                await endpoints.listen_endpoint(self._reactor, endpoint, connect, self._versions())
            )
        interval = self._config.tls.certificate_check_interval
        if self._encrypted and interval is not None:
            self._watching = asyncio.create_task(self._watch_certificates(interval))

    def _checked(self, application: ASGIApplication) -> ASGIApplication:
        return application if self._health is None else self._health.before(application)

    def _log_unchecked(self) -> LogAccess | None:
        if self._health is None or self._log_access is None:
            return self._log_access
        return self._health.unlogged(self._log_access)

    async def _accept(self, bound: BoundSocket, connect: ConnectionFactory) -> None:
        """Begin to accept on a socket."""
        encryption = None
        if self._certificates is not None and not bound.is_plain:
            encryption = self._certificates.encryption
        listener: endpoints.NativeListener
        if bound.proxy_protocol == "off":
            listener = endpoints.SocketListener(bound, encryption)
        else:
            listener = endpoints.ProxyListener(
                bound,
                bound.proxy_protocol,
                TrustedPeers(self._config.proxy.trusted_proxies),
                self._config.timeouts.header_timeout,
                encryption,
            )
        await listener.start(connect, self._config.listen.backlog)
        self._listeners.append(listener)
        if encryption is not None:
            self._encrypted.append((listener, encryption))

    def _https_port(self) -> int:
        """Return the port of the first address with TLS."""
        places = [each.address for each in self._sockets or () if not each.is_plain]
        return next((place[1] for place in places if place is not None), HTTPS_PORT)

    def _versions(self) -> tuple[str, ...]:
        """Return the versions of HTTP to agree on over TLS by ALPN, the best first."""
        return ("h2", "http/1.1") if self._config.http2.http2 else ("http/1.1",)

    def _connect(self, context: ServerContext) -> ConnectionProtocol:
        """Return what serves a new connection."""
        if self._is_closed:
            return RefusedConnection()  # its TLS handshake has ended too late
        if self._is_closing:  # it was accepted while the listeners were closed
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
        async with self._renewing:
            certificates = self._certificates
            if certificates is None or self._is_closing:
                return
            is_new = await asyncio.to_thread(certificates.renew, is_asked=is_asked)
            # Also those where it went wrong the last time.
            for index, (listener, used) in enumerate(self._encrypted):
                if used is not certificates.encryption:
                    try:
                        await listener.renew(certificates.encryption)
                    except OSError as error:
                        logger.error("No new certificates on %s: %s", listener.description, error)
                    else:
                        self._encrypted[index] = listener, certificates.encryption
            if is_new:
                logger.info("Certificates for new connections: %s", certificates)

    async def _watch_certificates(self, interval: float) -> None:
        """Look at the files now and then."""
        while True:
            await asyncio.sleep(interval)
            try:
                await self.renew_certificates(is_asked=False)
            except Exception:  # a mistake of ours, which must not end the looking
                logger.exception("Internal error while reading the certificates")

    async def stop(self, graceful_timeout: float | None = 0.0) -> None:
        """Stop accepting, let running requests finish, then stop the application.

        All of it begins after ``shutdown_delay``. What is still running after ``graceful_timeout``
        seconds (None waits for ever), or after ``hurry``, is cancelled and its connection reset.
        """
        if self._health is not None:
            self._health.is_stopping = True
        if delay := self._config.timeouts.shutdown_delay:
            with suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._hurried.wait()
        await self._close_listeners()
        context = self._context
        for connection in list(context.connections):
            connection.drain()
        try:
            async with asyncio.timeout(graceful_timeout):
                await self._meet_latecomers()
                await self._finish_requests()
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

    async def _meet_latecomers(self) -> None:
        """Return when those have come that the loop has accepted, but not handed over yet."""
        if self._encrypted:
            await asyncio.sleep(_HANDSHAKE_TIME)
        for _ in range(_TURNS_TO_ACCEPT):
            await asyncio.sleep(0)

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
        async with self._renewing:  # a server may be about to take a socket over
            self._is_closing = True
            if self._watching is not None:
                self._watching.cancel()
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
