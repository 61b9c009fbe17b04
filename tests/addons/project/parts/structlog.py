"""structlog with django-structlog, which logs the beginning and the end of each request."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import structlog

from ..stack import Part

_lines: list[dict[str, Any]] = []


def _keep(logger: Any, method: str, line: Any) -> Any:
    _lines.append(dict(line))
    raise structlog.DropEvent


def start() -> None:
    """Keep all lines in this process."""
    structlog.configure(processors=[structlog.contextvars.merge_contextvars, _keep])


def mark(tag: str) -> None:
    """Log from a view."""
    structlog.get_logger("project").info("mark", tag=tag)


def recorded() -> list[Any]:
    """Return the lines of each request together, without its random identity."""
    groups = defaultdict(list)
    for line in _lines:
        request, user = str(line.get("request", "")), line.get("user_id")
        entry = [line.get("event"), request, user, line.get("code"), line.get("tag")]
        groups[line.get("request_id")].append([*entry, line.get("ip")])
    return list(groups.values())


PART = Part(
    apps=["django_structlog"],
    last=["django_structlog.middlewares.RequestMiddleware"],
    start=start,
    mark=mark,
    recorded=recorded,
)
