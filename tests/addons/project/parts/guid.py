"""django-guid, which takes the identity of a request from the client."""

from __future__ import annotations

from typing import Any

from ..stack import Part


def see(request: Any) -> dict[str, Any]:
    """Return the identity that the log would have."""
    from django_guid import get_guid

    return {"guid": get_guid()}


PART = Part(
    apps=["django_guid"],
    outer=["django_guid.middleware.guid_middleware"],
    settings={"DJANGO_GUID": {"GUID_HEADER_NAME": "Correlation-ID", "VALIDATE_GUID": False}},
    see=see,
)
