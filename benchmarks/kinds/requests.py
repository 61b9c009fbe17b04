"""Requests of HTTP, by wrk and h2load."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from http2_client import HTTP2Client
from tls import connect
from websocket_client import ANSWER_SECONDS, WrongAnswer

from .base import HERE, Transport
from .loading import Loading

HTTP2_LOADER = HERE / "http2_load.py"

# A letter or digit that differs in each answer, in the place of any.
VARIES = "\x1a"


@dataclass(frozen=True)
class Answers(Loading):
    """A path of HTTP, and the body that must come back with status 200."""

    # Its bytes; VARIES stands for a letter or digit that differs in each answer.
    answer: bytes
    path: str = "/"

    def fault(self, counts: dict[str, Any]) -> str | None:
        """Return what is wrong unless every request was answered, and at full length."""
        failed = {kind: count for kind, count in counts["errors"].items() if count}
        if failed:
            found = ", ".join(f"{count} {kind}" for kind, count in failed.items())
            return f"errors counted by the client: {found}"
        if counts["bytes"] < counts["answers"] * len(self.answer):
            return "the client received fewer bytes than the answers have"
        return super().fault(counts)

    def _is_right(self, body: bytes) -> bool:
        varying, answer = VARIES.encode(), self.answer
        if varying not in answer:
            return body == answer
        pattern = re.escape(answer).replace(re.escape(varying), b"[0-9A-Za-z]")
        return re.fullmatch(pattern, body) is not None

    def _compare(self, body: bytes) -> None:
        """Raise WrongAnswer for another body."""
        if not self._is_right(body):
            sizes = f"{len(body)} bytes for {len(self.answer)}"
            raise WrongAnswer(f"body {body[:40]!r} instead of {self.answer[:40]!r} ({sizes})")


@dataclass(frozen=True)
class Requests(Answers):
    """A request of HTTP/1.1 and its answer.

    `upload` is how many bytes of body go out. `sent` are headers of the request; `headers` must
    come back, among others. The load is wrk's, on `connections` of the scenario's own if any.
    """

    scheme: ClassVar[str] = "http"

    method: str = "GET"
    upload: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    sent: tuple[tuple[str, str], ...] = ()
    connections: int | None = None

    def check(self, port: int) -> None:
        """Send the request twice on one connection."""
        self.ask(port, times=2)

    def ask(self, port: int, times: int) -> None:
        """Send the request so many times on one connection. Raises what `check` does.

        A server that closed the connection would be measured at connecting, not at answering.
        """
        with contextlib.closing(self._connect(port)) as client:
            for _ in range(times):
                try:
                    body = b"x" * self.upload or None
                    client.request(self.method, self.path, body, dict(self.sent))
                    response = client.getresponse()
                    self._look_at(response)
                except (OSError, http.client.HTTPException) as error:
                    raise WrongAnswer(f"no answer: {error!r}") from error
                if response.will_close:
                    raise WrongAnswer("the connection was not kept alive")

    def programs(self) -> tuple[str, ...]:
        """Return wrk."""
        return ("wrk",)

    def encoded(self, port: int) -> bytes:
        """Return the bytes of the request, which must be without a body."""
        assert not self.upload
        fields = (("Host", f"127.0.0.1:{port}"), *self.sent)
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
        return f"{self.method} {self.path} HTTP/1.1\r\n{lines}\r\n".encode("ascii")

    def _connect(self, port: int) -> http.client.HTTPConnection:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
        client.connect()
        return client

    def _look_at(self, response: http.client.HTTPResponse) -> None:
        if response.status != 200:
            raise WrongAnswer(f"status {response.status} instead of 200")
        for name, value in self.headers:
            if (found := response.getheader(name)) != value:
                raise WrongAnswer(f"{name} is {found!r} instead of {value!r}")
        self._compare(response.read())

    def command(
        self, port: int, connections: int, seconds: int, *, python: Path, folder: Path
    ) -> list[str]:
        """Return the command of wrk, with a script that is made here."""
        script = folder / f"{self.name}.lua"
        script.write_text(self._script())
        url = f"{self.scheme}://127.0.0.1:{port}{self.path}"
        connections = self.connections or connections
        return ["wrk", "-t1", f"-c{connections}", "-s", str(script), f"-d{seconds}s", url]

    def _script(self) -> str:
        """Return the Lua script that has wrk send the request and print its counts as JSON.

        The request is constant: wrk builds it once, and Lua runs only before and after the load.
        """
        request = f"wrk.method = {json.dumps(self.method)}\n"
        if self.upload:
            request += f'wrk.body = string.rep("x", {self.upload})\n'
        for name, value in self.sent:
            # For printable ASCII a string of JSON is a string of Lua.
            request += f"wrk.headers[{json.dumps(name)}] = {json.dumps(value)}\n"
        return request + _COUNTS


# Times in microseconds, as wrk counts them.
_COUNTS = """
function done(summary, latency, requests)
   local errors = summary.errors
   print(string.format(
      '{"answers": %d, "microseconds": %d, "bytes": %d, "p50": %d, "p99": %d, "errors": '
         .. '{"connect": %d, "read": %d, "write": %d, "status": %d, "timeout": %d}}',
      summary.requests, summary.duration, summary.bytes,
      latency:percentile(50), latency:percentile(99),
      errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
"""


@dataclass(frozen=True)
class TLSRequests(Requests):
    """A request of HTTP/1.1 on TLS, which is what a client gets that offers nothing by ALPN."""

    transport: ClassVar[Transport] = "tls"
    scheme: ClassVar[str] = "https"

    def _connect(self, port: int) -> http.client.HTTPConnection:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
        client.sock = connect(port)
        return client


@dataclass(frozen=True)
class HTTP2Requests(Answers):
    """Requests by GET over HTTP/2 on TLS, so many of them under way on each connection.

    The load is h2load's, on `connections` of the scenario's own. It is a short one, for some
    servers bound the requests of a connection (uvicorn 4096 with zttp, hypercorn 1000) and let what
    is under way at the bound fail.
    """

    transport: ClassVar[Transport] = "http2"
    longest: ClassVar[int | None] = 1

    connections: int = 8
    streams: int = 16

    def check(self, port: int) -> None:
        """Send the request twice on one connection."""
        with contextlib.closing(HTTP2Client(port)) as client:
            self._compare(client.get(self.path))
            self._compare(client.get(self.path))

    def programs(self) -> tuple[str, ...]:
        """Return h2load."""
        return ("h2load",)

    def encoded(self, port: int) -> bytes:
        """Return what rate_load.py wants to know of the request."""
        return self.path.encode("ascii")

    def command(
        self, port: int, connections: int, seconds: int, *, python: Path, folder: Path
    ) -> list[str]:
        """Return the command of the loader."""
        options = {
            "port": port,
            "path": self.path,
            "connections": self.connections,
            "streams": self.streams,
            "seconds": seconds,
        }
        words = (f"--{name}={value}" for name, value in options.items())
        return [str(python), str(HTTP2_LOADER), *words]
