"""The formats of the access log: what one line says of a finished request.

Much of a line was chosen by the client. In no format can it end the line or its field, or reach the
terminal of whoever reads the log: what could is escaped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from typing import Any, Final

from .interfaces import AccessRecord
from .request_id import Trace, make_trace, trace_fields

# What a terminal or a log reader would act on, and the quote that ends a field (CVE-2020-7694).
_UNSAFE: Final = re.compile(r'[\x00-\x1f"\\\x7f-\x9f]')
# What nginx escapes besides: all that is not ASCII, so that the line is the same in any encoding.
_UNSAFE_IN_COMBINED: Final = re.compile(r"[^ !#-\[\]-~]")


# What daphne calls the events of a WebSocket.
_EVENTS: Final = {
    "connecting": "WSCONNECTING",
    "connected": "WSCONNECT",
    "rejected": "WSREJECT",
    "disconnected": "WSDISCONNECT",
}


def printable(data: bytes) -> str:
    """Return bytes of a client as text that is safe in one line of a log."""
    return _UNSAFE.sub(lambda match: f"\\x{ord(match[0]):02x}", data.decode("latin-1"))


def client_name(record: AccessRecord) -> str | None:
    """Return ``host:port``, IPv6 addresses in brackets, or None on a unix socket."""
    if record.client is None:
        return None
    host, port = record.client
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Entry:
    """A finished request on its way into the log. What no line needs is not made.

    ``time`` is when it ended, in seconds since 1970.
    """

    def __init__(self, record: AccessRecord, time: float) -> None:
        self.record = record
        self.time = time

    @cached_property
    def trace(self) -> Trace:
        """Return what names the request; made here for one that nobody has named."""
        return self.record.trace or make_trace()

    def header(self, name: bytes) -> bytes | None:
        """Return a header of the request, the last one of several, None without one."""
        return self._headers.get(name)

    @cached_property
    def _headers(self) -> dict[bytes, bytes]:
        return dict(self.record.headers)

    def fields(self) -> dict[str, Any]:
        """Return everything by name, as text that is safe to read where the client wrote it."""
        record = self.record
        referer, user_agent = self.header(b"referer"), self.header(b"user-agent")
        return {
            "client": client_name(record),
            "method": record.method,
            "target": printable(record.target),
            "http_version": record.http_version,
            "event": record.event,
            "status": record.status,
            "code": record.code,
            "size": record.size,
            "duration": record.duration,
            **trace_fields(self.trace),
            "referer": None if referer is None else printable(referer),
            "user_agent": None if user_agent is None else printable(user_agent),
        }


def daphne_line(entry: Entry) -> str:
    """Return daphne's line: ``CLIENT - - [time] "METHOD /path?query" STATUS SIZE``.

    Local time without its zone; a status or size of zero is "-". Of a WebSocket each event has a
    line, in the place of the method.
    """
    record = entry.record
    event = _EVENTS.get(record.event)
    if event is not None:
        return (
            f"{client_name(record)} - - [{_clf_time(int(entry.time))[:20]}]"
            f' "{event} {printable(record.target)}" - -'
        )
    return (
        f"{client_name(record)} - - [{_clf_time(int(entry.time))[:20]}]"
        f' "{record.method} {printable(record.target)}"'
        f" {record.status or '-'} {record.size or '-'}"
    )


def combined_line(entry: Entry) -> str:
    r"""Return the line that Apache and nginx call "combined".

    ``HOST - - [time zone] "METHOD target HTTP/1.1" STATUS SIZE "referer" "user-agent"``, with "-"
    for what is missing. Bytes that are not printable ASCII, quotes and backslashes are ``\xHH``.
    """
    record = entry.record
    host = "-" if record.client is None else record.client[0]
    return (
        f"{host} - - [{_clf_time(int(entry.time))}]"
        f' "{record.method} {_escaped(record.target)} HTTP/{record.http_version}"'
        f" {record.status or '-'} {record.size}"
        f' "{_escaped(entry.header(b"referer"))}" "{_escaped(entry.header(b"user-agent"))}"'
    )


def extended_line(entry: Entry) -> str:
    """Return the combined line, the duration in seconds and the request's id."""
    return f"{combined_line(entry)} {entry.record.duration:.6f} {entry.trace['request_id']}"


def json_line(entry: Entry) -> str:
    r"""Return an object of JSON in pure ASCII; null stands for what is missing.

    Bytes of the client are UTF-8 there, those that are not are ``\xHH``.
    """
    record = entry.record
    second = int(entry.time)
    clock, zone = _iso_time(second)
    return json.dumps(
        {
            "time": f"{clock}.{int((entry.time - second) * 1000):03d}{zone}",
            "client": client_name(record),
            "method": record.method,
            "target": _decoded(record.target),
            "http_version": record.http_version,
            "event": record.event,
            "status": record.status or None,
            "code": record.code,
            "size": record.size,
            "duration": round(record.duration, 6),
            **trace_fields(entry.trace),
            "referer": _decoded(entry.header(b"referer")),
            "user_agent": _decoded(entry.header(b"user-agent")),
        }
    )


ENDINGS_ONLY: Final = frozenset(("combined", "extended"))
"""The formats whose readers know one line for each request, when it has ended."""

LINES: Final[Mapping[str, Callable[[Entry], str]]] = {
    "daphne": daphne_line,
    "combined": combined_line,
    "extended": extended_line,
    "json": json_line,
}
"""What makes the line of each format of the option access_log_format."""


def _escaped(data: bytes | None) -> str:
    if data is None:
        return "-"
    text = data.decode("latin-1")
    return _UNSAFE_IN_COMBINED.sub(lambda match: f"\\x{ord(match[0]):02X}", text)


def _decoded(data: bytes | None) -> str | None:
    return None if data is None else data.decode("utf-8", "backslashreplace")


# Each second's time is made once, by the first line that needs it.


@lru_cache(maxsize=1)
def _clf_time(second: int) -> str:
    """Return ``day/Mon/year:time +zone``, as the common log format has it."""
    moment = _local_time(second)
    month = moment.ctime()[4:7]  # in English, where strftime speaks the locale's language
    return f"{moment:%d}/{month}/{moment:%Y:%H:%M:%S %z}"


@lru_cache(maxsize=1)
def _iso_time(second: int) -> tuple[str, str]:
    """Return date with time, and the zone, of which ISO 8601 makes one text."""
    text = _local_time(second).isoformat()
    return text[:19], text[19:]


def _local_time(second: int) -> datetime:
    return datetime.fromtimestamp(second, UTC).astimezone()
