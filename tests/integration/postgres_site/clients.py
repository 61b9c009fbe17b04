"""Clients of the site: what they may ask for, and many of them at once."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import NamedTuple

from tests.support.processes import PATIENCE, Process

from . import ROWS

COUNT = str(ROWS)
LINES = "".join(f"{number}\n" for number in range(ROWS))
# What there is to ask for, and the right answers.
ANSWERS = {
    "read": COUNT,
    "aside/read": COUNT,
    "write": COUNT,
    "hello": "hello",
    "bridge": COUNT,
    "aside/write": COUNT,
    "aside/stream": LINES,
}
STREAMS = {"stream": LINES, "aside/stream": LINES}

# What a client sends at most while the database is away: it is answered fast then.
REQUESTS_MEANWHILE = 3


class Request(NamedTuple):
    """One request: when it was sent, when its answer had come, and whether that was right."""

    path: str
    began: float
    ended: float
    is_right: bool


def processor_seconds(process: Process) -> float:
    """Return the seconds of processor time that a process has used; 0 where Linux is not."""
    try:
        status = Path("/proc", str(process.pid), "stat").read_text()
    except FileNotFoundError:
        return 0.0
    fields = status.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Crowd:
    """Clients that send their requests one after the other, each on a connection of its own."""

    def __init__(
        self, port: int, clients: int, requests: int, answers: Mapping[str, str] = ANSWERS
    ) -> None:
        """Start the clients; there are so many requests in all. Half of them are sent at first.

        `answers` has the right answers by path; each client asks for one path after the other.
        """
        self.requests: list[Request] = []
        self._answers = answers
        self._paths = tuple(answers)
        self._port = port
        self._each = requests // clients
        self._half = threading.Barrier(clients + 1, timeout=2 * PATIENCE)
        self._goes_on = threading.Event()
        self._began = time.monotonic()
        self._clients = [
            threading.Thread(target=self._run, args=(number,)) for number in range(clients)
        ]
        for client in self._clients:
            client.start()

    def _run(self, number: int) -> None:
        with closing(HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)) as connection:
            half = self._each // 2
            for count in range(half):
                self._ask(connection, number + count)
            self._half.wait()
            for count in range(REQUESTS_MEANWHILE):
                if not self._goes_on.is_set():
                    self._ask(connection, number + count)
            self._goes_on.wait(2 * PATIENCE)
            for count in range(half, self._each):
                self._ask(connection, number + count)

    def _ask(self, connection: HTTPConnection, number: int) -> None:
        path = self._paths[number % len(self._paths)]
        began, is_right = time.monotonic(), False
        try:
            connection.request("GET", f"/{path}")
            response = connection.getresponse()
            is_right = response.read().decode() == self._answers[path] and response.status == 200
        except (HTTPException, OSError):
            connection.close()  # the next request makes a new one
        self.requests.append(Request(path, began, time.monotonic(), is_right))

    def wait_for_half(self) -> None:
        """Wait until every client has sent half of its requests."""
        self._half.wait()

    def go_on(self) -> None:
        """Let the clients send the other half."""
        self._goes_on.set()

    def wait(self) -> float:
        """Wait for all answers; return the requests per second."""
        for client in self._clients:
            client.join()
        return len(self.requests) / (time.monotonic() - self._began)

    def wrong(self) -> list[Request]:
        """Return the requests without the right answer."""
        return [request for request in self.requests if not request.is_right]
