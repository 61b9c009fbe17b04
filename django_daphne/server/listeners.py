"""What a server accepts on: its sockets, their certificates, and Twisted's endpoints."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from . import endpoints
from .addresses import TrustedPeers
from .bound_socket import BoundSocket
from .config import ServerConfig
from .exceptions import ConfigurationError
from .redirect import HTTPS_PORT
from .sockets import bind
from .transports import ConnectionFactory

if TYPE_CHECKING:
    from .accepting import AcceptingListener
    from .certificates import Certificates

logger = logging.getLogger("django_daphne.server")


class Listeners:
    """The sockets of one server: bound first, accepted on later, closed in the end.

    Call ``bind``, ``listen`` and ``close``, in this order; on one loop from ``listen`` on.
    """

    def __init__(
        self, config: ServerConfig, sockets: Sequence[BoundSocket] | None, reactor: Any
    ) -> None:
        """Take what is bound already, or None; ``reactor`` is Twisted's, for endpoint strings."""
        self._config = config
        self._sockets = sockets
        self._reactor = reactor
        self._certificates: Certificates | None = None
        self._accepting: dict[BoundSocket, endpoints.NativeListener] = {}
        self._ports: list[endpoints.Listener] = []  # of endpoint strings
        self._encrypted: dict[BoundSocket, AcceptingListener] = {}
        self._changing = asyncio.Lock()
        self._watching: asyncio.Task[None] | None = None
        # How the connections of an address are made; the second of those without TLS beside others.
        self._connects: tuple[ConnectionFactory, ConnectionFactory]
        self.is_closing = False

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Return host and port of every TCP listener."""
        return endpoints.addresses(self._all() or self._sockets or [])

    @property
    def descriptions(self) -> list[str]:
        """Say for people where there is a listener."""
        return [listener.description for listener in self._all()]

    @property
    def has_certificates(self) -> bool:
        """Tell whether there are certificates to renew."""
        return self._certificates is not None

    @property
    def is_encrypted(self) -> bool:
        """Tell whether a listener speaks TLS."""
        return bool(self._encrypted)

    @property
    def https_port(self) -> int:
        """Return the port of the first address with TLS."""
        places = [each.address for each in self._sockets or () if not each.is_plain]
        return next((place[1] for place in places if place is not None), HTTPS_PORT)

    def _all(self) -> list[endpoints.Listener]:
        return [*self._accepting.values(), *self._ports]

    def bind(self, activated: Sequence[tuple[int, str]] = ()) -> None:
        """Read the certificates and take every address, without accepting yet.

        ``activated`` are descriptors with names, from a service manager. Raises ConfigurationError
        for certificates that cannot be used, and ListenError; then nothing stays bound.
        """
        sockets = list(self._sockets or ())
        try:
            if self._certificates is None and self._config.tls.certfile:
                from .certificates import Certificates

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

    async def listen(self, connect: ConnectionFactory, insecure: ConnectionFactory) -> None:
        """Accept on everything.

        ``connect`` makes what serves a connection, ``insecure`` where the address is without TLS
        beside others. Raises ListenError.
        """
        self._connects = (connect, insecure)
        await self.accept_on(self._sockets or ())
        for endpoint in self._config.listen.endpoint:
            from .twisted_endpoints import listen_endpoint  # and with it Twisted

            self._ports.append(
                await listen_endpoint(self._reactor, endpoint, connect, self._versions())
            )
        interval = self._config.tls.certificate_check_interval
        if self._encrypted and interval is not None:
            self._watching = asyncio.create_task(self._watch_certificates(interval))

    async def accept_on(self, sockets: Sequence[BoundSocket]) -> None:
        """Accept on these from now on; they are closed with the others."""
        async with self._changing:  # a signal may ask for certificates while the server starts
            for bound in sockets:
                if self.is_closing:
                    bound.close()
                else:
                    await self._accept(bound)

    async def leave(self, sockets: Sequence[BoundSocket]) -> None:
        """Accept on these no more, and close them; their connections go on."""
        async with self._changing:
            for bound in sockets:
                listener = self._accepting.pop(bound, None)
                self._encrypted.pop(bound, None)
                if listener is not None:
                    await listener.close()
                bound.close()

    async def close(self) -> None:
        """Accept no more, and close all sockets."""
        async with self._changing:  # a server may be about to take a socket over
            self.is_closing = True
            if self._watching is not None:
                self._watching.cancel()
        for listener in self._all():
            await listener.close()
        for bound in self._sockets or ():  # those that nothing accepts on yet
            bound.close()

    async def _accept(self, bound: BoundSocket) -> None:
        """Begin to accept on a socket."""
        certificates = None if bound.is_plain else self._certificates
        listener: endpoints.NativeListener
        if certificates is None and bound.proxy_protocol == "off" and not bound.is_contended:
            listener = endpoints.SocketListener(bound)
        else:
            listener = self._make_accepting(bound, certificates)
        await listener.start(self._connects[bound.is_insecure], self._config.listen.backlog)
        self._accepting[bound] = listener

    def _make_accepting(
        self, bound: BoundSocket, certificates: Certificates | None
    ) -> AcceptingListener:
        from .accepting import AcceptingListener, ProxyListener

        encryption = None if certificates is None else certificates.encryption
        listener = (
            AcceptingListener(bound, encryption)
            if bound.proxy_protocol == "off"
            else ProxyListener(
                bound,
                bound.proxy_protocol,
                TrustedPeers(self._config.proxy.trusted_proxies),
                self._config.timeouts.header_timeout,
                encryption,
            )
        )
        if encryption is not None:
            self._encrypted[bound] = listener
        return listener

    def _versions(self) -> tuple[str, ...]:
        """Return the versions of HTTP to agree on over TLS by ALPN, the best first."""
        return ("h2", "http/1.1") if self._config.http2.http2 else ("http/1.1",)

    async def renew_certificates(self, *, is_asked: bool = True) -> None:
        """Read the certificates again, and serve new connections with them; others go on.

        Those that cannot be used are an error in the log, and the old ones stay. Nothing is read
        unless ``is_asked`` or the files have changed.
        """
        async with self._changing:
            certificates = self._certificates
            if certificates is None or self.is_closing:
                return
            if await asyncio.to_thread(certificates.renew, is_asked=is_asked):
                for listener in self._encrypted.values():
                    listener.renew(certificates.encryption)
                logger.info("Certificates for new connections: %s", certificates)

    async def _watch_certificates(self, interval: float) -> None:
        """Look at the files now and then."""
        while True:
            await asyncio.sleep(interval)
            try:
                await self.renew_certificates(is_asked=False)
            except Exception:  # a mistake of ours, which must not end the looking
                logger.exception("Internal error while reading the certificates")
