#!/usr/bin/env python
"""Ask a server at a fixed rate, by HTTP/1.1 or HTTP/2, and print how late the answers were as JSON.

    python benchmarks/rate_load.py --port 8000 --request FILE --answer FILE --rate 1000 --seconds 4

Each request is due at its time of a schedule that does not wait for the server. Latency is counted
from then until the answer is whole, so a request that finds all connections waiting, because the
server has stalled, is late by all of that: a client that counts from sending would hear of a stall
once for each connection, and leave out the many that were to be asked meanwhile.

The loop is `select` on plain sockets, the one wait of Python that knows microseconds on every
version: timers of uvloop know milliseconds, which is longer than these answers take. Before a
request is due the loop does not sleep but looks at the clock, as waking up takes its time too.

Ends with status 1, and one line about the reason, at the first wrong byte, lost connection or
missing answer.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import select
import socket
import ssl
import sys
import time
from array import array
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from http2_client import HTTP2Session
from tls import connect
from websocket_client import WrongAnswer

# What opening a connection may take.
CONNECT_SECONDS = 10.0
# What is due is still sent for so long after the schedule's end, for a server that is behind.
BEHIND_SECONDS = 4.0
# And what was sent must then be answered within so long.
LAST_SECONDS = 6.0
# So long before a request is due the loop no longer sleeps.
AWAKE_SECONDS = 0.0002
# More than the head of an answer has.
HEAD_BYTES = 16_384
# More open files than these are too many for `select`.
MOST_CONNECTIONS = 900

OK = b"HTTP/1.1 200 "
BLANK = b"\r\n\r\n"


@dataclass(frozen=True)
class Schedule:
    """When each of `count` requests is due: at even distances from `begin` on, in seconds."""

    begin: float
    rate: float
    count: int

    def due(self, number: int) -> float:
        """Return when the request of this number, from 0 on, is due."""
        return self.begin + number / self.rate

    @property
    def end(self) -> float:
        """Return when the one after the last would be."""
        return self.due(self.count)


class Connection:
    """One connection, with one request at a time."""

    def __init__(self, port: int, request: bytes, answer: bytes) -> None:
        """Open it, on a port of 127.0.0.1. Raises OSError."""
        self.due = 0.0
        self.free_since = 0.0
        self._request = request
        self._answer = answer
        self._heard = b""
        self._sock = self._open(port)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock.setblocking(False)
        self.number = self._sock.fileno()

    def _open(self, port: int) -> socket.socket:
        return socket.create_connection(("127.0.0.1", port), timeout=CONNECT_SECONDS)

    def ask(self, due: float) -> None:
        """Send the request that was due at this time."""
        self.due = due
        self._send(self._request)

    def _send(self, data: bytes) -> None:
        if self._sock.send(data) < len(data):
            raise WrongAnswer("a request did not fit into a connection")

    def listen(self) -> bool:
        """Read what has come; return whether the answer is whole. Raises WrongAnswer, OSError."""
        data = self._sock.recv(65_536)
        if not data:
            raise WrongAnswer("a connection was lost")
        self._heard += data
        head, blank, body = self._heard.partition(BLANK)
        if not blank or len(body) < len(self._answer):
            if len(self._heard) > HEAD_BYTES + len(self._answer):
                raise WrongAnswer(f"no end of the head in {self._heard[:40]!r}")
            return False
        if not head.startswith(OK) or body != self._answer:
            raise WrongAnswer(f"heard {head[:20]!r} and {body[:40]!r}, for {self._answer[:40]!r}")
        self._heard = b""
        return True

    def close(self) -> None:
        """Close it."""
        self._sock.close()


class HTTP2Connection(Connection):
    """The same over HTTP/2 on TLS, for a request that is a path."""

    def __init__(self, port: int, request: bytes, answer: bytes) -> None:
        """Open it, on a port of 127.0.0.1. Raises WrongAnswer, OSError."""
        self._session = HTTP2Session(port)
        self._path = request.decode("ascii")
        super().__init__(port, request, answer)

    def _open(self, port: int) -> socket.socket:
        return connect(port, "h2")

    def ask(self, due: float) -> None:
        """Send the request that was due at this time."""
        self.due = due
        self._session.ask(self._path)
        self._send(self._session.said())

    def listen(self) -> bool:
        """Read what has come; return whether the answer is whole. Raises WrongAnswer, OSError."""
        body = None
        # What TLS has read of the kernel already would not be seen by `select`.
        with suppress(ssl.SSLWantReadError):
            while True:
                data = self._sock.recv(65_536)
                if not data:
                    raise WrongAnswer("a connection was lost")
                heard = self._session.hear(data)
                body = body if heard is None else heard
        if said := self._session.said():
            self._send(said)
        if body not in (None, self._answer):
            raise WrongAnswer(f"heard {body[:40]!r}, for {self._answer[:40]!r}")
        return body is not None


class Load:
    """A schedule that is followed on these connections, and what is found, in seconds.

    `latencies` are counted from when a request was due. `delays` are this client's own: how late
    it sent what was due while a connection was free. `in_time` counts answers before the
    schedule's end, `sent` requests.
    """

    def __init__(self, schedule: Schedule, connections: Sequence[Connection]) -> None:
        """Take open connections."""
        self.latencies = array("d")
        self.delays = array("d")
        self.in_time = 0
        self.sent = 0
        self._schedule = schedule
        self._last = schedule.end + BEHIND_SECONDS
        self._free = deque(connections)
        self._busy: dict[int, Connection] = {}

    def run(self) -> None:
        """Send each request when it is due, on a free connection or the next that becomes free.

        What could not be sent even some time after the schedule's end counts as late by then.
        Raises WrongAnswer, also for requests without an answer, and OSError.
        """
        while True:
            self._send()
            now = time.perf_counter()
            is_over = self.sent == self._schedule.count or now >= self._last
            if is_over and not self._busy:
                break
            if now > self._last + LAST_SECONDS:
                raise WrongAnswer(f"{len(self._busy)} requests without an answer")
            if is_over or not self._free:
                wait = 1.0  # for an answer, and in between for the deadline
            else:
                wait = max(0.0, self._schedule.due(self.sent) - now - AWAKE_SECONDS)
            for number in select.select(self._busy.keys(), (), (), wait)[0]:
                if self._busy[number].listen():
                    self._heard(self._busy.pop(number))
                    self._send()
        never_sent = range(self.sent, self._schedule.count)
        self.latencies.extend(now - self._schedule.due(number) for number in never_sent)

    def _send(self) -> None:
        """Send what is due while connections are free."""
        while self.sent < self._schedule.count and self._free:
            due, now = self._schedule.due(self.sent), time.perf_counter()
            if not due <= now < self._last:
                break
            connection = self._free.popleft()
            self.delays.append(now - max(due, connection.free_since))
            connection.ask(due)
            self._busy[connection.number] = connection
            self.sent += 1

    def _heard(self, connection: Connection) -> None:
        """Count an answer."""
        connection.free_since = now = time.perf_counter()
        self.latencies.append(now - connection.due)
        self.in_time += now < self._schedule.end
        self._free.append(connection)


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest of these sorted values that so many of 100 do not exceed."""
    return values[max(0, math.ceil(len(values) * percent / 100) - 1)]


def load(
    *,
    port: int,
    request: bytes,
    answer: bytes,
    connections: int,
    rate: float,
    seconds: float,
    http2: bool,
) -> dict[str, Any]:
    """Return counts of requests, and times in microseconds. Raises WrongAnswer, OSError."""
    kind = HTTP2Connection if http2 else Connection
    opened = [kind(port, request, answer) for _ in range(connections)]
    gc.disable()
    count = max(1, round(rate * seconds))
    found = Load(Schedule(time.perf_counter(), rate, count), opened)
    found.run()
    for connection in opened:
        connection.close()
    latencies, delays = sorted(found.latencies), sorted(found.delays)
    return {
        "asked": count,
        "in_time": found.in_time,
        "answers": found.sent,
        "microseconds": seconds * 1e6,
        **{
            name: percentile(latencies, percent) * 1e6
            for name, percent in (("p50", 50), ("p90", 90), ("p99", 99), ("p999", 99.9))
        },
        "longest": latencies[-1] * 1e6,
        "delay": percentile(delays, 99) * 1e6,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Load as the arguments say, print the counts and return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, required=True, help="A port of 127.0.0.1.")
    for name, text in (
        ("request", "A file with all bytes of the request."),
        ("answer", "A file with the body that must come back."),
    ):
        parser.add_argument(f"--{name}", type=Path, required=True, metavar="FILE", help=text)
    parser.add_argument(
        "--http2", action="store_true", help="Over HTTP/2 on TLS; the request is a path."
    )
    parser.add_argument("--rate", type=float, required=True, help="Requests a second, over all.")
    parser.add_argument("--connections", type=int, default=32, help="Connections. (%(default)s)")
    parser.add_argument("--seconds", type=float, default=4.0, help="Length. (%(default)s)")
    options = vars(parser.parse_args(arguments))
    for name in ("request", "answer"):
        options[name] = options[name].read_bytes()
    if not 0 < options["connections"] <= MOST_CONNECTIONS:
        parser.error(f"at least one connection, and at most {MOST_CONNECTIONS}")
    try:
        print(json.dumps(load(**options)))
    except (WrongAnswer, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
