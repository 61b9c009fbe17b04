"""django-htmx."""

from __future__ import annotations

from typing import Any

from ..stack import Part


def see(request: Any) -> dict[str, Any]:
    """Return what the request says of htmx."""
    return {"htmx": [bool(request.htmx), request.htmx.target]}


PART = Part(apps=["django_htmx"], inner=["django_htmx.middleware.HtmxMiddleware"], see=see)
