"""The connection scopes of requests and WebSockets (ASGI HTTP and WebSocket specification, 2.5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from urllib.parse import unquote

from ..interfaces import Origin, RequestHead
from ..request_id import TRACE_EXTENSION
from ..types import Scope

ASGI_VERSION: Final = "3.0"
HTTP_SPEC_VERSION: Final = "2.5"

_EXTENSIONS: Final[dict[str, object]] = {
    "http.response.pathsend": {},
    "http.response.zerocopysend": {},
    "http.response.trailers": {},
    "http.response.early_hint": {},
}
_PERCENT: Final = ord("%")


class ScopeFactory:
    """Makes the scopes of one connection's requests.

    ``state`` is what the application put there during its startup, or None without lifespan.
    ``tls`` returns what the extension of that name says of the connection; it is called once, with
    the first request, and None where there is no TLS.
    """

    def __init__(
        self,
        origin: Origin,
        state: dict[str, Any] | None,
        tls: Callable[[], dict[str, object]] | None = None,
    ) -> None:
        self._state = state
        self._tls = tls
        self._tls_extension: dict[str, object] | None = None
        # What the template says of a request is that of the last one: most ask for the same again.
        self._target, self._method = b"", ""
        # Copying it and changing what differs is twice as fast as making a scope anew.
        self._template: dict[str, Any] = {
            "type": "http",
            "asgi": {},
            "http_version": "1.1",
            "method": "",
            "scheme": origin.scheme,
            "path": "",
            "raw_path": b"",
            "query_string": b"",
            "root_path": origin.root_path,
            "headers": [],
            "client": origin.client,
            "server": origin.server,
            "extensions": {},
        }

    def http(self, head: RequestHead) -> Scope:
        """Return the scope of one request; what in it can be changed is its own."""
        if head.target is not self._target or head.method is not self._method:
            self._take_line(head)
        scope = self._template.copy()
        scope["asgi"] = {"version": ASGI_VERSION, "spec_version": HTTP_SPEC_VERSION}
        scope["headers"] = head.headers
        scope["extensions"] = extensions = _EXTENSIONS.copy()
        if head.trace is not None:
            extensions[TRACE_EXTENSION] = head.trace.copy()
        if self._tls is not None:
            extensions["tls"] = self._describe_tls(self._tls)
        if head.http_version != "1.1":
            scope["http_version"] = head.http_version
            if head.http_version == "1.0":  # it knows neither chunks nor 1xx responses
                del extensions["http.response.trailers"]
                del extensions["http.response.early_hint"]
        origin = head.origin
        if origin is not None:
            scope["client"], scope["scheme"] = origin.client, origin.scheme
            scope["server"], scope["root_path"] = origin.server, origin.root_path
        if self._state is not None:
            scope["state"] = self._state.copy()
        return scope

    def _take_line(self, head: RequestHead) -> None:
        """Put what a request asks for into the template."""
        self._target, self._method = head.target, head.method
        path, template = head.path, self._template
        text = path.decode("ascii")
        template["method"] = head.method
        # Invalid UTF-8 is replaced; raw_path has what was sent.
        template["path"] = unquote(text) if _PERCENT in path else text
        template["raw_path"] = path
        template["query_string"] = head.query

    def websocket(self, head: RequestHead, subprotocols: list[str]) -> Scope:
        """Return the scope of a WebSocket."""
        scope = self.http(head)
        del scope["method"]
        scope["type"] = "websocket"
        scope["scheme"] = "wss" if scope["scheme"] == "https" else "ws"
        extensions: dict[str, object] = {"websocket.http.response": {}}
        for name in (TRACE_EXTENSION, "tls"):
            if name in scope["extensions"]:
                extensions[name] = scope["extensions"][name]
        scope["extensions"] = extensions
        scope["subprotocols"] = subprotocols
        return scope

    def _describe_tls(self, describe: Callable[[], dict[str, object]]) -> dict[str, object]:
        if self._tls_extension is None:
            self._tls_extension = describe()
        return self._tls_extension.copy()
