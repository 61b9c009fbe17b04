"""django-silk, which writes each request and its queries into the database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.urls import include, path

from ..stack import Part


def urls() -> Sequence[Any]:
    """Return silk's own."""
    return [path("silk/", include("silk.urls", namespace="silk"))]


def recorded() -> list[Any]:
    """Return each request with its answer's status and its queries."""
    from silk.models import Request, SQLQuery

    return [
        [
            request.method,
            request.path,
            request.view_name,
            request.response.status_code,
            request.num_sql_queries,
            sorted(SQLQuery.objects.filter(request=request).values_list("query", flat=True)),
        ]
        for request in Request.objects.select_related("response")
    ]


PART = Part(
    apps=["silk"],
    last=["silk.middleware.SilkyMiddleware"],
    settings={"SILKY_META": False, "SILKY_MAX_RECORDED_REQUESTS": 10**6},
    urls=urls,
    recorded=recorded,
)
