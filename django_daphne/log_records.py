"""The id of the request on every record of logging that is made while it is handled."""

from __future__ import annotations

import logging
from typing import Final

from .server import current_trace, trace_id

__all__ = ["RequestIDFilter"]

_OUTSIDE: Final = "-"  # as in an access log


class RequestIDFilter(logging.Filter):
    """Gives each record ``request_id``, ``trace_id`` and ``traceparent``; "-" outside of a request.

    To be put on handlers, not loggers: a handler sees the records of all loggers below. It lets
    every record pass, and leaves those that name their request alone, as the access log's do.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add what is missing, and let the record pass."""
        trace = current_trace()
        fields = vars(record)
        fields.setdefault("request_id", _OUTSIDE if trace is None else trace["request_id"])
        fields.setdefault("trace_id", _OUTSIDE if trace is None else trace_id(trace))
        fields.setdefault("traceparent", _OUTSIDE if trace is None else trace["traceparent"])
        return True
