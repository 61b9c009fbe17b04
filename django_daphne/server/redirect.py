"""The redirection of plain requests to https."""

from __future__ import annotations

from typing import Final

from .bound_socket import describe_address
from .types import Address, ASGIApplication, Receive, Scope, Send

HTTPS_PORT: Final = 443
_SECURE: Final = ("https", "wss")


class HTTPSRedirect:
    """An application in front of another, for connections without TLS.

    Every request, and every WebSocket's handshake, is answered with status 308 (RFC 9110, section
    15.4.9): method and body stay. What a trusted proxy has received over TLS is passed on.
    """

    def __init__(self, application: ASGIApplication, port: int) -> None:
        """Take the application, and the port where its TLS is."""
        self._application = application
        self._suffix = "" if port == HTTPS_PORT else f":{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["scheme"] in _SECURE:
            await self._application(scope, receive, send)
            return
        prefix = ""
        if scope["type"] == "websocket":
            prefix = "websocket."
            await receive()  # the handshake
        host = _host(scope)
        status, headers = 400, [(b"content-length", b"0")]
        if host is not None:
            location = f"https://{host}{self._suffix}{_target(scope)}"
            status, headers = 308, [(b"location", location.encode("latin-1")), *headers]
        await send({"type": f"{prefix}http.response.start", "status": status, "headers": headers})
        await send({"type": f"{prefix}http.response.body"})


def _target(scope: Scope) -> str:
    path, query = scope["raw_path"].decode("ascii"), scope["query_string"].decode("ascii")
    target = path if path.startswith("/") else ""  # OPTIONS *
    return f"{target}?{query}" if query else target


def _host(scope: Scope) -> str | None:
    """Return the host that the client has asked for, else the one that it has reached, or None."""
    for name, value in scope["headers"]:
        if name == b"host":
            text: str = value.decode("latin-1")
            host, colon, port = text.rpartition(":")
            return text if not colon or port.endswith("]") else host
    server: Address = scope["server"]
    return None if server is None else describe_address(*server).rpartition(":")[0]
