"""django-hijack: the superuser looks at the site as somebody else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.urls import include, path

from ..stack import Part


def urls() -> Sequence[Any]:
    """Return hijack's own."""
    return [path("hijack/", include("hijack.urls"))]


def see(request: Any) -> dict[str, Any]:
    """Tell whether the user is somebody else."""
    return {"is_hijacked": getattr(request.user, "is_hijacked", None)}


PART = Part(
    apps=["hijack"],
    inner=["hijack.middleware.HijackUserMiddleware"],
    settings={"LOGIN_REDIRECT_URL": "/sync/redirected", "LOGOUT_REDIRECT_URL": "/sync/redirected"},
    urls=urls,
    see=see,
)
