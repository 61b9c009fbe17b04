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
# Close codes that blame the client (RFC 6455, section 7.4.1), and the one that blames the site.
_BLAMING_CLIENT: Final = frozenset((1002, 1003, 1007, 1008, 1009))
_INTERNAL_ERROR: Final = 1011


def http_details(record: AccessRecord) -> dict[str, Any]:
    """Return a record as the details of the action ("http", "complete")."""
    return {
        "path": printable(record.target),
        "status": record.status,
        "method": record.method,
        "client": client_name(record),
        "time_taken": record.duration,
        "size": record.size,
        "http_version": record.http_version,
    }


def websocket_details(record: AccessRecord) -> dict[str, Any]:
    """Return a record as the details of the actions of "websocket"."""
    return {
        "path": printable(record.target),
        "client": client_name(record),
        "http_version": record.http_version,
        "status": record.status,
        "code": record.code,
        "time_taken": record.duration,
    }


def log_http(details: Mapping[str, Any], style: Style) -> None:
    """Log one request: ``HTTP GET /path 200 [0.013, 127.0.0.1:5000, 5.2 KB, h2]``.

    A subclass of the command may have made the details: ``size`` and ``http_version`` can be left
    out, and with them their part of the line.
    """
    status = details["status"]
    items = [format_seconds(details["time_taken"]), str(details["client"])]
    if details.get("size") is not None:
        items.append(_size(details["size"]))
    items += _protocol(details)
    text = "HTTP {method} {path} {status}".format_map(details)
    level = logging.ERROR if status >= 500 else logging.WARNING if status >= 400 else logging.INFO
    logger.log(level, "%s", _paint(style, status)(f"{text} [{', '.join(items)}]"))


def log_websocket(action: str, details: Mapping[str, Any], style: Style) -> None:
    """Log what happened to a WebSocket: ``WebSocket CONNECT /path [127.0.0.1:5000, h1, 0.004 s]``.

    A rejected one has the status of its answer, one that has ended its close code, and the time is
    how long it was open. ``path`` and ``client`` alone will do, as with `log_http`.
    """
    items = [str(details["client"]), *_protocol(details)]
    if action == "rejected" and details.get("status"):
        items.append(f"status {details['status']}")
    if details.get("code") is not None:
        items.append(f"code {details['code']}")
    if action != "connecting" and details.get("time_taken") is not None:
        items.append(f"{format_seconds(details['time_taken'])} s")
    text = f"WebSocket {_ACTIONS[action]} {details['path']} [{', '.join(items)}]"
    logger.info("%s", _paint(style, _likeness(action, details))(text))


def format_seconds(time: float) -> str:
    """Return a time with milliseconds below a second, and with fewer digits the longer it is."""
    return f"{time:.{3 if time < 1 else 2 if time < 10 else 1}f}"


def _size(count: int) -> str:
    """Return a number of bytes in a unit that people read, of 1024 of the one below it."""
    if count < 1024:
        return f"{count} B"
    size = count / 1024
    for unit in ("KB", "MB", "GB"):
        if size < 1023.95:  # or it would be rounded to 1024.0
            return f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TB"


def _protocol(details: Mapping[str, Any]) -> list[str]:
    """Return "h1" or "h2", as browsers call them, if the version of HTTP is known."""
    version = details.get("http_version")
    return [f"h{version[0]}"] if version else []


def _likeness(action: str, details: Mapping[str, Any]) -> int:
    """Return the status of HTTP whose colour an event of a WebSocket has."""
    if action == "connected":
        return 200
    if action == "rejected":
        return details.get("status") or 403
    if details.get("code") == _INTERNAL_ERROR:
        return 500
    return 400 if details.get("code") in _BLAMING_CLIENT else 101


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
