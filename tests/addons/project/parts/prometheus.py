"""django-prometheus."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.urls import include, path

from ..stack import Part


def urls() -> Sequence[Any]:
    """Return the view for the collector."""
    return [path("prometheus/", include("django_prometheus.urls"))]


def recorded() -> dict[str, float]:
    """Return the counters of Django; times and moments are left out."""
    from prometheus_client import REGISTRY

    return {
        f"{sample.name}{sorted(sample.labels.items())}": sample.value
        for metric in REGISTRY.collect()
        for sample in metric.samples
        if sample.name.startswith("django_")
        and not sample.name.endswith(("_created", "_sum"))
        and not ("latency" in sample.name and sample.name.endswith("_bucket"))
    }


PART = Part(
    apps=["django_prometheus"],
    outer=["django_prometheus.middleware.PrometheusBeforeMiddleware"],
    last=["django_prometheus.middleware.PrometheusAfterMiddleware"],
    urls=urls,
    recorded=recorded,
)
