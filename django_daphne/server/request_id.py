"""The id of a request, and its place in a distributed trace (W3C Trace Context, level 2).

Both are taken over from a trusted peer that names them, and made otherwise. They are there to find
what belongs together in logs, and are no secret: who has seen many of them may guess the next. So
they come from a generator without a system call. Each process seeds its own, and a fork does so
again, so that they are as different as 128 random bits are.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from random import Random
from typing import Final, TypedDict

from .types import Header

TRACE_EXTENSION: Final = "django_daphne.trace"
"""The name under which the extensions of a scope have a request's Trace."""

DEFAULT_HEADER: Final = "X-Request-ID"

_TRACEPARENT: Final = b"traceparent"
_TRACESTATE: Final = b"tracestate"

# What stands in a line of a log, in a header and in a URL and means nothing there. Ids of Heroku,
# nginx, Envoy, AWS and Google Cloud are among it.
_ID: Final = re.compile(rb"[0-9A-Za-z._~:;/+=@|-]{1,128}")
_HEX_ID: Final = re.compile(r"(?!0{32})[0-9a-f]{32}")
# Version, trace id, parent id and flags; a later version may have more behind them (section 3.2).
_PARENT: Final = re.compile(
    rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?"
)
_STATE: Final = re.compile(rb"[\x20-\x7e]+")
_KNOWN_FLAGS: Final = 3  # sampled, random


class Trace(TypedDict):
    """What names a request: its id, and the values of the headers of its trace.

    ``traceparent`` is of version 00. ``tracestate`` is None where nobody has sent one.
    """

    request_id: str
    traceparent: str
    tracestate: str | None


current: Final[ContextVar[Trace | None]] = ContextVar("django_daphne_trace", default=None)
"""The trace of the request that the running code handles."""

# Looked up for every request: a method of a name that was imported is looked up the long way.
set_current: Final = current.set


def current_trace() -> Trace | None:
    """Return the trace of the request that the calling code handles, None outside of one."""
    trace = current.get()
    return None if trace is None else trace.copy()


@contextmanager
def handling(trace: Trace | None) -> Iterator[None]:
    """Let what a block logs belong to a request."""
    token = current.set(trace)
    try:
        yield
    finally:
        current.reset(token)


def trace_id(trace: Trace) -> str:
    """Return the 32 hexadecimal digits that all requests of one trace share."""
    return trace["traceparent"][3:35]


def trace_fields(trace: Trace) -> dict[str, str]:
    """Return what a record of logging says of its request, by name."""
    return {
        "request_id": trace["request_id"],
        "trace_id": trace_id(trace),
        "traceparent": trace["traceparent"],
    }


def make_trace() -> Trace:
    """Return the trace of a request that nobody has named: its id is that of its trace."""
    try:
        return _traces.pop()
    except IndexError:
        _make_traces()
        return _traces.pop()


class TraceReader:
    """Reads what trusted peers say of their requests, for all connections of a server.

    ``names`` are the fields that it wants to see: a request without them needs no look.
    """

    def __init__(self, id_header: str | None) -> None:
        """Take the name of the header with the id; None is no such header."""
        self._id_header = (id_header or "").lower().encode("ascii")
        self.names = frozenset((self._id_header, _TRACEPARENT)) - {b""}

    def read(self, headers: Sequence[Header]) -> Trace:
        """Return the trace of a request whose peer is believed.

        What is malformed, or given twice, counts as not given.
        """
        trace = make_trace()
        ids = [value for name, value in headers if name == self._id_header]
        if len(ids) == 1 and _ID.fullmatch(ids[0]) is not None:
            request_id = trace["request_id"] = ids[0].decode("ascii")
            if _HEX_ID.fullmatch(request_id) is not None:
                trace["traceparent"] = f"00-{request_id}-{trace['traceparent'][36:]}"
        parents = [value for name, value in headers if name == _TRACEPARENT]
        parent = _read_parent(parents[0]) if len(parents) == 1 else None
        if parent is not None:
            trace["traceparent"] = parent
            trace["tracestate"] = _read_state(headers)
        return trace


def _read_parent(value: bytes) -> str | None:
    """Return a traceparent in the form of version 00, None for one that is invalid."""
    match = _PARENT.fullmatch(value)
    if match is None:
        return None
    version, *fields, flags, more = match.groups()
    if version == b"00" and more is not None:
        return None
    first, second = (field.decode("ascii") for field in fields)
    return f"00-{first}-{second}-{int(flags, 16) & _KNOWN_FLAGS:02x}"


def _read_state(headers: Sequence[Header]) -> str | None:
    """Return the tracestate, which may come in several fields (section 3.3.1)."""
    state = b",".join(value for name, value in headers if name == _TRACESTATE and value)
    return state.decode("ascii") if _STATE.fullmatch(state) is not None else None


def _make_traces() -> None:
    """Have some ready: made together, each takes a third of the time."""
    ids = _random.randbytes(16 * _BATCH).hex(" ", 16).split(" ")
    # The parent's id needs bits of its own no more than the trace's does; they would cost most.
    _traces.extend(
        [
            {"request_id": id_, "traceparent": f"00-{id_}-{id_[:16]}-00", "tracestate": None}
            for id_ in ids
        ]
    )


def _begin_anew() -> None:
    """Forget, in a process that was forked, what the other one will use."""
    _traces.clear()
    _random.seed()


_BATCH: Final = 64
_traces: Final[list[Trace]] = []
# Not the module's own: a project may give that a seed, and then ids would come again.
_random: Final = Random()  # noqa: S311 - an id is no secret

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
