"""Datadog's tracer, with a processor that keeps every trace and sends none."""

from __future__ import annotations

import os
from typing import Any

from ..stack import OPTIONS, Part

_traces: list[list[Any]] = []
_KEPT = ("http.route", "http.status_code", "http.url", "django.view", "django.user.name", "mark")


def start() -> None:
    """Patch what Django is made of, before it is imported."""
    switches = ("INSTRUMENTATION_TELEMETRY", "REMOTE_CONFIGURATION", "RUNTIME_METRICS", "DOGSTATSD")
    os.environ.update({f"DD_{name}_ENABLED": "false" for name in switches})
    if OPTIONS.get("appsec"):
        os.environ["DD_APPSEC_ENABLED"] = "true"
        import ddtrace.auto  # noqa: F401
    from ddtrace import patch
    from ddtrace.trace import TraceFilter, tracer

    class Keeper(TraceFilter):
        def process_trace(self, trace: list[Any]) -> None:
            _traces.append(trace)

    tracer.configure(trace_processors=[Keeper()])
    patch(django=True, asyncio=True)


def mark(tag: str) -> None:
    """Tag the span of the request, and make a span below it."""
    from ddtrace.trace import tracer

    root = tracer.current_root_span()
    if root is not None:
        root.set_tag("mark", tag)
    with tracer.trace(f"mark {tag}"):
        pass


def recorded() -> list[Any]:
    """Return the spans of requests, with the names of their parents.

    A middleware's own span, beside those of its hooks, is left out, and nothing counts as below it:
    in Django's asynchronous chain it ends before anything inside begins.
    """
    spans = {span.span_id: span for trace in _traces for span in trace}
    described = []
    for trace in _traces:
        root = min(trace, key=lambda span: span.start_ns)
        if root.name != "django.request":  # from making the database
            continue
        for span in trace:
            if span.name == "django.middleware" and span.resource.endswith(".__call__"):
                continue
            parent = spans.get(span.parent_id)
            while parent is not None and parent.name == "django.middleware":
                parent = spans.get(parent.parent_id)
            described.append(
                {
                    "request": root.get_tag("http.url"),
                    "span": [span.name, span.resource, span.service, span.error],
                    "parent": parent and [parent.name, parent.resource],
                    "tags": {key: tag for key in _KEPT if (tag := span.get_tag(key))},
                }
            )
    return described


PART = Part(start=start, mark=mark, recorded=recorded)
