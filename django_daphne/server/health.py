"""The path that load balancers ask whether the server takes requests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final

from .interfaces import AccessRecord
from .types import ASGIApplication, Receive, Scope, Send

_ALLOWED: Final = ("GET", "HEAD")


class HealthCheck:
    """Answers requests for one path before any application does: 200, and 503 while stopping.

    The status is that of the server. Nobody asks the application: one that is slow, or whose
    database is away, is no better off when its other requests go elsewhere, or when it is killed.
    """

    def __init__(self, path: str) -> None:
        """Take the path, as scopes have it."""
        self._path = path
        self._target = path.encode()
        self.is_stopping = False

    def before(self, application: ASGIApplication) -> ASGIApplication:
        """Return an application with the check before it."""

        def check(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
            if scope["type"] == "http" and scope["path"] == self._path:
                return self._answer(scope["method"], send)
            return application(scope, receive, send)

        return check

    def unlogged(
        self, log_access: Callable[[AccessRecord], None]
    ) -> Callable[[AccessRecord], None]:
        """Return what logs all other requests: this one comes every few seconds, for ever."""

        def log_others(record: AccessRecord) -> None:
            if record.target.partition(b"?")[0] != self._target:
                log_access(record)

        return log_others

    async def _answer(self, method: str, send: Send) -> None:
        status = HTTPStatus.SERVICE_UNAVAILABLE if self.is_stopping else HTTPStatus.OK
        headers = [(b"content-type", b"text/plain"), (b"cache-control", b"no-store")]
        if method not in _ALLOWED:
            status = HTTPStatus.METHOD_NOT_ALLOWED
            headers.append((b"allow", ", ".join(_ALLOWED).encode()))
        body = f"{status.phrase}\n".encode()
        headers.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": status.value, "headers": headers})
        await send({"type": "http.response.body", "body": body})
