"""What runserver prints for each request."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from django.core.management.color import Style

from ..server import AccessRecord, client_name, printable

# Many projects configure this name in LOGGING.
logger = logging.getLogger("django.channels.server")

_ACTIONS: Final = {
    "connecting": "HANDSHAKING",
    "connected": "CONNECT",
    "rejected": "REJECT",
    "disconnected": "DISCONNECT",
}


def http_details(record: AccessRecord) -> dict[str, Any]:
    """Return a record as the details of the action ("http", "complete")."""
    return {
        "path": printable(record.target),
        "status": record.status,
        "method": record.method,
        "client": client_name(record),
        "time_taken": record.duration,
        "size": record.size,
    }


def websocket_details(record: AccessRecord) -> dict[str, Any]:
    """Return a record as the details of the actions of "websocket"."""
    return {"path": printable(record.target), "client": client_name(record)}


def log_websocket(action: str, details: Mapping[str, Any]) -> None:
    """Log what happened to a WebSocket: ``WebSocket CONNECT /path [127.0.0.1:5000]``."""
    logger.info("WebSocket %s %s [%s]", _ACTIONS[action], details["path"], details["client"])


def log_http(details: Mapping[str, Any], style: Style) -> None:
    """Log one request: ``HTTP GET /path 200 [0.01, 127.0.0.1:5000]``, in Django's colours."""
    status = details["status"]
    text = "HTTP {method} {path} {status} [{time_taken:.2f}, {client}]".format_map(details)
    level = logging.ERROR if status >= 500 else logging.WARNING if status >= 400 else logging.INFO
    logger.log(level, "%s", _paint(style, status)(text))


def _paint(style: Style, status: int) -> Any:
    """Return what colours a line, by the class of its status."""
    if status in (304, 404):
        return style.HTTP_NOT_MODIFIED if status == 304 else style.HTTP_NOT_FOUND
    if status >= 500:
        return style.HTTP_SERVER_ERROR
    if status >= 400:
        return style.HTTP_BAD_REQUEST
    if status >= 300:
        return style.HTTP_REDIRECT
    return style.HTTP_SUCCESS if status >= 200 else style.HTTP_INFO
