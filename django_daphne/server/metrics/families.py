"""What is counted: the declaration of every metric, and the place of its numbers in a page.

Names, types and units are as Prometheus wants them. A family with labels has all combinations of
their values from the beginning, so that counting is adding one in a place known before. A page has
two parts: whole numbers, and seconds (or bytes of a gauge) as floating-point numbers.
"""

from __future__ import annotations

import enum
import itertools
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final


class Kind(enum.Enum):
    """How the numbers of several processes, and of ended ones, become one."""

    COUNTER = "counter"  # added up; those of ended processes stay
    TOTAL = "total"  # the same, in seconds
    GAUGE = "gauge"  # added up; those of ended processes vanish
    AGE = "age"  # seconds since a moment of the system's monotonic clock; the longest counts
    HISTOGRAM = "histogram"  # a counter for each bucket, and the sum in seconds
    HELD = "held"  # a counter of the process that holds the pages, in none of them
    HELD_GAUGE = "held gauge"  # a number that it knows

    @property
    def prometheus_type(self) -> str:
        """Return what Prometheus calls it."""
        if self in (Kind.COUNTER, Kind.TOTAL, Kind.HELD):
            return "counter"
        return "histogram" if self is Kind.HISTOGRAM else "gauge"


@dataclass(frozen=True)
class Family:
    """One metric: its name, its help, what tells its samples apart.

    ``values`` are those of each label, in the labels' order. Of a ``sparse`` family only samples
    that were ever counted are shown. ``buckets`` are the upper bounds of a histogram, in seconds,
    without the last, which is infinite.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    values: tuple[tuple[str, ...], ...] = ()
    buckets: tuple[float, ...] = ()
    is_sparse: bool = False

    def samples(self) -> list[tuple[str, ...]]:
        """Return the label values of every sample, in the order of their places."""
        return list(itertools.product(*self.values))


PREFIX: Final = "django_daphne_"

VERSIONS: Final = ("1.0", "1.1", "2")
FIRST_STATUS: Final = 100
# The last is for all others, which an application may make up.
STATUSES: Final = (*map(str, range(FIRST_STATUS, 600)), "other")
# What the server refuses, ends or cuts for an option that says so, by the option's name.
LIMITS: Final = (
    *("max_connections", "limit_concurrency"),
    *("max_request_line", "max_header_size", "max_header_count", "max_body_size"),
    *("http_timeout", "header_timeout", "body_timeout", "write_timeout"),
    *("http2_max_concurrent_streams", "http2_ping_timeout", "http2_allowances"),
    *("websocket_timeout", "websocket_connect_timeout", "ping_timeout"),
    *("websocket_max_message_size", "websocket_max_frame_size", "websocket_max_fragments"),
)
# Why a worker was replaced.
REASONS: Final = (
    *("ended", "failed", "silent"),
    *("reload", "max_requests", "max_lifetime", "max_rss"),
)

FAST: Final = (0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
SLOW: Final = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
)


def _family(name: str, kind: Kind, help: str, **parts: object) -> Family:
    return Family(PREFIX + name, kind, help, **parts)  # type: ignore[arg-type]  # as Family says


REQUESTS: Final = _family(
    "requests_total",
    Kind.COUNTER,
    "Requests that have ended, by HTTP version and status; 499 is a client that left, and a"
    " WebSocket is one request, when it is opened.",
    labels=("protocol", "status"),
    values=(VERSIONS, STATUSES),
    is_sparse=True,
)
QUEUE: Final = _family(
    "request_queue_seconds",
    Kind.HISTOGRAM,
    "The wait for a thread, each time that a request needs one.",
    buckets=FAST,
)
APPLICATION: Final = _family(
    "request_application_seconds",
    Kind.HISTOGRAM,
    "From the head of a request to the start of its response, the wait for a thread included.",
    buckets=SLOW,
)
SENDING: Final = _family(
    "request_sending_seconds",
    Kind.HISTOGRAM,
    "From the start of a response to its last byte, as handed to the operating system or its"
    " buffer.",
    buckets=SLOW,
)
CONNECTIONS: Final = _family(
    "connections",
    Kind.GAUGE,
    "Open connections, by what is spoken on them.",
    labels=("protocol",),
    values=(("http1", "http2", "websocket"),),
)
ACCEPTED: Final = _family(
    "accepted_connections_total",
    Kind.COUNTER,
    "Connections that were accepted, those that were refused for max_connections included.",
)
STREAMS: Final = _family("streams", Kind.GAUGE, "Open streams of HTTP/2.")
WEBSOCKETS: Final = _family(
    "websockets", Kind.GAUGE, "Open WebSockets, over HTTP/1.1 and over HTTP/2."
)
MESSAGES: Final = _family(
    "websocket_messages_total",
    Kind.COUNTER,
    "Messages of WebSockets, by direction as the server sees it.",
    labels=("direction",),
    values=(("received", "sent"),),
)
RECEIVED: Final = _family(
    "received_bytes_total",
    Kind.COUNTER,
    "Bytes read from connections; over TLS, what it carried.",
)
SENT: Final = _family(
    "sent_bytes_total",
    Kind.COUNTER,
    "Bytes written to connections; over TLS, what it carries.",
)
LAG: Final = _family(
    "event_loop_lag_seconds",
    Kind.HISTOGRAM,
    "How late a timer of the event loop was that is due twice a second.",
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
SILENCE: Final = _family(
    "event_loop_silence_seconds",
    Kind.AGE,
    "The time since that timer was called last, in the process where it is the longest.",
)
THREADS: Final = _family("threads", Kind.GAUGE, "Threads for sync views and what they lease.")
THREADS_BUSY: Final = _family("threads_busy", Kind.GAUGE, "Those of them that have a request.")
RESETS: Final = _family(
    "resets_total",
    Kind.COUNTER,
    "Connections that the server has reset; streams of HTTP/2 that it or the client has.",
    labels=("kind",),
    values=(("connection", "stream_sent", "stream_received"),),
)
LIMITS_HIT: Final = _family(
    "limits_hit_total",
    Kind.COUNTER,
    "Refusals and ends for a limit, by the option that sets it; http2_allowances are those of"
    " frames that only make work.",
    labels=("limit",),
    values=(LIMITS,),
)
CPU: Final = _family("cpu_seconds_total", Kind.TOTAL, "Processor time of the processes that serve.")
MEMORY: Final = _family(
    "resident_memory_bytes", Kind.GAUGE, "Memory of the processes that serve; 0 but on Linux."
)
RESTARTS: Final = _family(
    "worker_restarts_total",
    Kind.HELD,
    "Workers that were started in the place of another, by the reason.",
    labels=("reason",),
    values=(REASONS,),
)
WORKERS: Final = _family("workers", Kind.HELD_GAUGE, "Processes that are ready to serve.")

FAMILIES: Final = (
    *(REQUESTS, QUEUE, APPLICATION, SENDING, CONNECTIONS, ACCEPTED, STREAMS, WEBSOCKETS, MESSAGES),
    *(RECEIVED, SENT, LAG, SILENCE, THREADS, THREADS_BUSY, RESETS, LIMITS_HIT, CPU, MEMORY),
    *(RESTARTS, WORKERS),
)


@dataclass(frozen=True)
class Place:
    """Where the numbers of a family begin: ``count`` for whole ones, ``second`` for others."""

    count: int
    second: int


class Layout:
    """The order of all numbers in a page.

    ``counts`` and ``seconds`` are how many there are of each. ``mark`` tells layouts apart: another
    version of the package may have another.
    """

    def __init__(self, families: Sequence[Family]) -> None:
        self.families = tuple(families)
        self._places: dict[str, Place] = {}
        self.counts = self.seconds = 0
        # What a process leaves behind when it has ended.
        self.lasting_counts: list[int] = []
        self.lasting_seconds: list[int] = []
        for family in families:
            self._places[family.name] = Place(self.counts, self.seconds)
            counts, seconds = _size(family)
            if family.kind in (Kind.COUNTER, Kind.TOTAL, Kind.HISTOGRAM):
                self.lasting_counts += range(self.counts, self.counts + counts)
                self.lasting_seconds += range(self.seconds, self.seconds + seconds)
            self.counts += counts
            self.seconds += seconds
        self.mark = zlib.crc32(repr(self.families).encode())

    def place(self, family: Family) -> Place:
        """Return where a family begins."""
        return self._places[family.name]

    def slots(self, family: Family) -> Iterator[tuple[tuple[str, ...], int]]:
        """Yield label values and index of each whole number of a family."""
        first = self._places[family.name].count
        for index, values in enumerate(family.samples()):
            yield values, first + index


def _size(family: Family) -> tuple[int, int]:
    """Return how many whole numbers a family has, and how many others."""
    match family.kind:
        case Kind.COUNTER | Kind.GAUGE:
            return len(family.samples()), 0
        case Kind.TOTAL | Kind.AGE:
            return 0, 1
        case Kind.HISTOGRAM:
            return len(family.buckets) + 1, 1
        case Kind.HELD | Kind.HELD_GAUGE:
            return 0, 0


LAYOUT: Final = Layout(FAMILIES)
