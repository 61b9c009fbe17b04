"""OpenTelemetry's instrumentation of Django, with its exporter into memory."""

from __future__ import annotations

from typing import Any

from opentelemetry import trace
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.instrumentation.django import DjangoInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from ..stack import OPTIONS, Part

_exporter = InMemorySpanExporter()
_VARYING = ("net.host.port", "net.peer.port", "server.port", "client.port")


def start() -> None:
    """Instrument Django before it has read its settings' middleware."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(_exporter))
    trace.set_tracer_provider(provider)
    DjangoInstrumentor().instrument(is_sql_commentor_enabled=False)


def wrap(application: Any) -> Any:
    """Put the instrumentation of ASGI around the application, where it is asked for."""
    return OpenTelemetryMiddleware(application) if OPTIONS.get("asgi") else application


def mark(tag: str) -> None:
    """Put an attribute on the span of the request, and make a span below it."""
    trace.get_current_span().set_attribute("mark", tag)
    with trace.get_tracer("project").start_as_current_span(f"mark {tag}"):
        pass


def see(request: Any) -> dict[str, Any]:
    """Tell whether there is a span around the view."""
    return {"is_traced": trace.get_current_span().is_recording()}


def recorded() -> list[dict[str, Any]]:
    """Return the spans, with the names of their parents.

    How often receive() is called is up to the server and the handler: in how many pieces a body
    comes, and how a client is watched that may leave. One piece of a body counts.
    """
    spans = {span.context.span_id: span for span in _exporter.get_finished_spans() if span.context}
    pieces = set()
    described = []
    for span in spans.values():
        parent = spans.get(span.parent.span_id) if span.parent else None
        if span.name.endswith("http receive"):
            piece = span.parent and span.parent.span_id
            is_body = (span.attributes or {}).get("asgi.event.type") == "http.request"
            if piece in pieces or not is_body:
                continue
            pieces.add(piece)
        attributes = {
            key: value for key, value in (span.attributes or {}).items() if key not in _VARYING
        }
        described.append(
            {
                "name": span.name,
                "kind": span.kind.name,
                "status": [span.status.status_code.name, span.status.description],
                "parent": parent.name if parent else None,
                "attributes": attributes,
                "events": [
                    [event.name, (event.attributes or {}).get("exception.message")]
                    for event in span.events
                ],
            }
        )
    return described


PART = Part(start=start, wrap=wrap, mark=mark, see=see, recorded=recorded)
