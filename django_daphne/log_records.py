"""The id of the request on every record of logging that is made while it is handled."""

from __future__ import annotations

import logging
from typing import Final

from .server import current_trace, trace_fields

__all__ = ["RequestIDFilter"]

_OUTSIDE: Final = dict.fromkeys(("request_id", "trace_id", "traceparent"), "-")  # as in its lines


class RequestIDFilter(logging.Filter):
    """Gives each record ``request_id``, ``trace_id`` and ``traceparent``; "-" outside of a request.

    To be put on handlers, not loggers: a handler sees the records of all loggers below. It lets
    every record pass, and leaves those that name their request alone, as the access log's do.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add what is missing, and let the record pass."""
        trace = current_trace()
        for name, value in (_OUTSIDE if trace is None else trace_fields(trace)).items():
            vars(record).setdefault(name, value)
        return True
