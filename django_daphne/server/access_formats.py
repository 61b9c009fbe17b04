"""The formats of the access log: what one line says of a finished request.

Much of a line was chosen by the client. In no format can it end the line or its field, or reach the
terminal of whoever reads the log: what could is escaped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple

from .interfaces import AccessRecord

# What a terminal or a log reader would act on, and the quote that ends a field (CVE-2020-7694).
_UNSAFE: Final = re.compile(r'[\x00-\x1f"\\\x7f-\x9f]')
# What nginx escapes besides: all that is not ASCII, so that the line is the same in any encoding.
_UNSAFE_IN_COMBINED: Final = re.compile(r"[^ !#-\[\]-~]")


class Entry(NamedTuple):
    """A finished request on its way into the log. Made by `make_entry`.

    ``time`` is when it ended, in seconds since 1970. A header that was not sent is None. ``fields``
    has everything by name, as text that is safe to read where the client wrote it.
    """

    record: AccessRecord
    time: float
    referer: bytes | None
    user_agent: bytes | None
    fields: Mapping[str, Any]


def printable(data: bytes) -> str:
    """Return bytes of a client as text that is safe in one line of a log."""
    return _UNSAFE.sub(lambda match: f"\\x{ord(match[0]):02x}", data.decode("latin-1"))


def client_name(record: AccessRecord) -> str | None:
    """Return ``host:port``, or None on a unix socket."""
    return None if record.client is None else f"{record.client[0]}:{record.client[1]}"


def make_entry(record: AccessRecord, time: float, request_id: str) -> Entry:
    """Return what a line is made of; of a header that was sent twice, the last one."""
    headers = dict(record.headers)
    referer, user_agent = headers.get(b"referer"), headers.get(b"user-agent")
    fields = {
        "client": client_name(record),
        "method": record.method,
        "target": printable(record.target),
        "http_version": record.http_version,
        "status": record.status,
        "size": record.size,
        "duration": record.duration,
        "request_id": request_id,
        "referer": None if referer is None else printable(referer),
        "user_agent": None if user_agent is None else printable(user_agent),
    }
    return Entry(record, time, referer, user_agent, fields)


def daphne_line(entry: Entry) -> str:
    """Return daphne's line: ``CLIENT - - [time] "METHOD /path?query" STATUS SIZE``.

    Local time without its zone; a status or size of zero is "-".
    """
    record = entry.record
    return (
        f"{entry.fields['client']} - - [{_clf_time(int(entry.time))[:20]}]"
        f' "{record.method} {entry.fields["target"]}"'
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
        f' "{_escaped(entry.referer)}" "{_escaped(entry.user_agent)}"'
    )


def extended_line(entry: Entry) -> str:
    """Return the combined line, the duration in seconds and the request's id."""
    return f"{combined_line(entry)} {entry.record.duration:.6f} {entry.fields['request_id']}"


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
            "client": entry.fields["client"],
            "method": record.method,
            "target": _decoded(record.target),
            "http_version": record.http_version,
            "status": record.status or None,
            "size": record.size,
            "duration": round(record.duration, 6),
            "request_id": entry.fields["request_id"],
            "referer": _decoded(entry.referer),
            "user_agent": _decoded(entry.user_agent),
        }
    )


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
