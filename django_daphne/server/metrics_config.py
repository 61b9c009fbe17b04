"""The options of metrics."""

from __future__ import annotations

from .addresses import parse_bind
from .options import Group, option


def _has_port(value: str) -> bool:
    address = parse_bind(value)
    return address.port is not None and address.proxy_protocol is None


class MetricsConfig(Group, title="Metrics"):
    """Say where Prometheus finds what the server counts."""

    metrics_bind: str | None = option(
        None,
        help="An address of its own for Prometheus, in plain HTTP; it is open to all who reach it.",
        rule=_has_port,
        allowed="host:port, [IPv6 address]:port or *:port",
        none_means="no metrics",
    )
