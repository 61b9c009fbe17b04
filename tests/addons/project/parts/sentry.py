"""Sentry's SDK, with a transport that keeps what would have been sent."""

from __future__ import annotations

from collections import Counter
from typing import Any

import sentry_sdk
from sentry_sdk.envelope import Envelope
from sentry_sdk.integrations.django import DjangoIntegration
from sentry_sdk.transport import Transport

from ..stack import OPTIONS, Part

_events: list[dict[str, Any]] = []
_sessions: Counter[str] = Counter()


class Keeper(Transport):
    """Keeps envelopes in this process."""

    def capture_envelope(self, envelope: Envelope) -> None:
        """Keep events and transactions; add up the sessions."""
        for item in envelope.items:
            payload = item.payload.json
            if item.type in {"event", "transaction"} and payload is not None:
                _events.append(payload)
            for sums in (payload or {}).get("aggregates", ()):
                _sessions.update({key: n for key, n in sums.items() if isinstance(n, int)})


def start() -> None:
    """Start the SDK with everything on that does not depend on the clock."""
    sentry_sdk.init(
        dsn="http://key@127.0.0.1:9/1",
        transport=Keeper,
        traces_sample_rate=1.0,
        send_default_pii=True,
        integrations=[
            DjangoIntegration(
                middleware_spans=OPTIONS.get("spans", False),
                signals_spans=OPTIONS.get("spans", False),
                failed_request_status_codes={403, *range(500, 600)},
            )
        ],
    )


def mark(tag: str) -> None:
    """Set a tag, and leave a breadcrumb."""
    sentry_sdk.set_tag("mark", tag)
    sentry_sdk.add_breadcrumb(category="mark", message=tag)


def _describe(event: dict[str, Any]) -> dict[str, Any]:
    """Return what of an event does not differ from one run to the next."""
    request = event.get("request", {})
    trace = event.get("contexts", {}).get("trace", {})
    spans = {span["span_id"]: span for span in event.get("spans", ())}
    spans[trace.get("span_id")] = {"op": trace.get("op"), "description": "the request"}

    def name(span: dict[str, Any]) -> str:
        # A middleware is entered where the chain is synchronous by __call__, and else by __acall__.
        description = str(span.get("description")).replace(".__acall__", ".__call__")
        return f"{span['op']}: {description}"

    return {
        "type": event.get("type", "event"),
        "transaction": event.get("transaction"),
        "source": event.get("transaction_info"),
        "request": [request.get(key) for key in ("method", "url", "query_string", "data")],
        "user": event.get("user", {}).get("username"),
        "mark": event.get("tags", {}).get("mark"),
        "breadcrumbs": [
            crumb.get("message")
            for crumb in event.get("breadcrumbs", {}).get("values", ())
            if crumb.get("category") == "mark"
        ],
        "exceptions": [
            [value["type"], value["value"], value.get("mechanism")]
            for value in event.get("exception", {}).get("values", ())
        ],
        "logged": event.get("logger"),
        "trace": [trace.get(key) for key in ("op", "status", "origin")],
        "spans": sorted(
            [name(span), span["origin"], name(spans[span["parent_span_id"]])]
            for span in event.get("spans", ())
        ),
    }


def recorded() -> dict[str, Any]:
    """Return events, transactions and sums of sessions."""
    sentry_sdk.get_client().close()
    return {"events": [_describe(event) for event in _events], "sessions": dict(_sessions)}


PART = Part(start=start, mark=mark, recorded=recorded)
