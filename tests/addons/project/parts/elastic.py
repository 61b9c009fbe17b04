"""Elastic's APM agent, with a transport that keeps what would have been sent."""

from __future__ import annotations

from typing import Any

from elasticapm.transport.base import Transport

from ..stack import Part

_kept: list[tuple[str, dict[str, Any]]] = []


class Keeper(Transport):
    """Keeps events in this process."""

    def queue(self, event_type: str, data: dict[str, Any], flush: bool = False) -> None:
        """Keep an event of the agent; "close" is the only one without data."""
        if data:
            _kept.append((event_type, data))

    def start_thread(self, pid: int | None = None) -> None:
        """Start nothing: there is nothing to send."""


def mark(tag: str) -> None:
    """Label the transaction, and make a span below it."""
    import elasticapm

    elasticapm.label(mark=tag)
    with elasticapm.capture_span(f"mark {tag}"):
        pass


def recorded() -> list[Any]:
    """Return transactions, and spans and errors with the names of their parents."""
    names = {data["id"]: data.get("name") for _, data in _kept if "id" in data}
    return [
        {
            "kind": kind,
            "name": data.get("name"),
            "type": data.get("type") or data["exception"]["type"],
            "parent": names.get(data.get("parent_id")),
            "transaction": names.get(data.get("transaction_id")),
            "result": [data.get("result"), data.get("outcome")],
            "tags": data.get("context", {}).get("tags"),
            "user": data.get("context", {}).get("user"),
            "path": data.get("context", {}).get("request", {}).get("url", {}).get("pathname"),
            "spans": data.get("span_count"),
        }
        for kind, data in _kept
        if kind in {"transaction", "span", "error"}
    ]


PART = Part(
    apps=["elasticapm.contrib.django"],
    outer=["elasticapm.contrib.django.middleware.TracingMiddleware"],
    settings={
        "ELASTIC_APM": {
            "SERVICE_NAME": "project",
            "SERVER_URL": "http://127.0.0.1:9",
            "TRANSPORT_CLASS": f"{__name__}.Keeper",
            "CLOUD_PROVIDER": "none",
            "CENTRAL_CONFIG": False,
            "METRICS_INTERVAL": "0ms",
            "SPAN_COMPRESSION_ENABLED": False,
            "SPAN_STACK_TRACE_MIN_DURATION": "-1ms",
            "DEBUG": True,
        }
    },
    mark=mark,
    recorded=recorded,
)
