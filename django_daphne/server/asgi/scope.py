"""The connection scope of an HTTP request (ASGI HTTP specification, version 2.5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

from ..interfaces import RequestHead
from ..types import Address, Scope

ASGI_VERSION: Final = "3.0"
HTTP_SPEC_VERSION: Final = "2.5"

_EXTENSIONS: Final[dict[str, dict[str, object]]] = {
    "http.response.pathsend": {},
    "http.response.zerocopysend": {},
    "http.response.trailers": {},
    "http.response.early_hint": {},
}


@dataclass(frozen=True, slots=True)
class Origin:
    """What all requests of a connection have in common.

    ``state`` is what the application put there during its startup, or None without lifespan.
    """

    scheme: str
    client: Address
    server: Address
    root_path: str
    state: dict[str, Any] | None


def http_scope(head: RequestHead, origin: Origin) -> Scope:
    """Return the scope of one request; everything in it that can be changed is its own."""
    path = head.path
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": ASGI_VERSION, "spec_version": HTTP_SPEC_VERSION},
        "http_version": head.http_version,
        "method": head.method,
        "scheme": origin.scheme,
        # Invalid UTF-8 is replaced; raw_path has what was sent.
        "path": unquote(path.decode("ascii")) if b"%" in path else path.decode("ascii"),
        "raw_path": path,
        "query_string": head.query,
        "root_path": origin.root_path,
        "headers": head.headers,
        "client": origin.client,
        "server": origin.server,
        "extensions": _EXTENSIONS.copy(),
    }
    if head.http_version == "1.0":  # it knows neither chunks nor 1xx responses
        del scope["extensions"]["http.response.trailers"]
        del scope["extensions"]["http.response.early_hint"]
    if origin.state is not None:
        scope["state"] = origin.state.copy()
    return scope
