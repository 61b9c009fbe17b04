"""What can be asked of a server: what a client says, and the only right answer."""

from __future__ import annotations

import contextlib
import http.client
import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from http2_client import HTTP2Client
from tls import connect, make_certificate
from websocket_client import ANSWER_SECONDS, Client, WrongAnswer

HERE = Path(__file__).resolve().parent
# The servers run here, so that "trivial:app" names apps/trivial.py to all of them.
APPS = HERE / "apps"
ECHO_LOADER = HERE / "websocket_load.py"
HTTP2_LOADER = HERE / "http2_load.py"

# What the connections of a scenario are made of: TCP alone, TLS, TLS with HTTP/2.
Transport = Literal["tcp", "tls", "http2"]


@dataclass(frozen=True)
class Scenario(ABC):
    """Describe one kind of use. `application` is module:name in apps/, of ASGI."""

    transport: ClassVar[Transport] = "tcp"

    name: str
    summary: str
    application: str

    @property
    def packages(self) -> tuple[str, ...]:
        """Return the distributions that the application needs beside the server."""
        return ()

    def prepare(self, python: Path, folder: Path) -> dict[str, str]:
        """Put into `folder` what the application reads, and return its environment variables.

        The server's command has their names for placeholders. Raises what `subprocess.run` does.
        """
        return {}

    @abstractmethod
    def check(self, port: int) -> None:
        """Ask the server on this port for all that is asked of it, and look at all of the answers.

        Raises WrongAnswer, ConnectionRefusedError while nobody listens, and other OSErrors.
        """


@dataclass(frozen=True)
class Loading(Scenario):
    """A use that is measured under full load, in answers a second."""

    @abstractmethod
    def command(
        self, port: int, connections: int, seconds: int, *, python: Path, folder: Path
    ) -> list[str]:
        """Return the command that loads the server on this port.

        The last line that it prints is an object of JSON: `answers`, `microseconds`, `p50` and
        `p99` in microseconds too, and what else is counted. `python` is an interpreter with uvloop,
        `folder` is for files.
        """

    def fault(self, counts: dict[str, Any]) -> str | None:
        """Return what is wrong with what the command counted, or None when nothing is."""
        return None


@dataclass(frozen=True)
class Answers(Loading):
    """A path of HTTP, and the body that must come back with status 200."""

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

    def _compare(self, body: bytes) -> None:
        """Raise WrongAnswer for another body."""
        if body != self.answer:
            sizes = f"{len(body)} bytes for {len(self.answer)}"
            raise WrongAnswer(f"body {body[:40]!r} instead of {self.answer[:40]!r} ({sizes})")


@dataclass(frozen=True)
class Requests(Answers):
    """A request of HTTP/1.1 and its answer.

    `payload` is the body that goes out, ASCII only, empty for none. `headers` must come back as
    well, among others. The load is wrk's.
    """

    scheme: ClassVar[str] = "http"

    method: str = "GET"
    payload: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()

    def check(self, port: int) -> None:
        """Send the request twice on one connection.

        A server that closed the connection would be measured at connecting, not at answering.
        """
        with contextlib.closing(self._connect(port)) as client:
            for _ in range(2):
                try:
                    client.request(self.method, self.path, self.payload or None)
                    response = client.getresponse()
                    self._look_at(response)
                except (OSError, http.client.HTTPException) as error:
                    raise WrongAnswer(f"no answer: {error!r}") from error
                if response.will_close:
                    raise WrongAnswer("the connection was not kept alive")

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
        return ["wrk", "-t1", f"-c{connections}", "-s", str(script), f"-d{seconds}s", url]

    def _script(self) -> str:
        """Return the Lua script that has wrk send the request and print its counts as JSON.

        The request is constant: wrk builds it once, and Lua runs only before and after the load.
        """
        request = f"wrk.method = {json.dumps(self.method)}\n"
        if self.payload:
            # For printable ASCII a string of JSON is a string of Lua.
            request += f"wrk.body = {json.dumps(self.payload.decode('ascii'))}\n"
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

    def prepare(self, python: Path, folder: Path) -> dict[str, str]:
        """Make a certificate."""
        return make_certificate(folder)

    def _connect(self, port: int) -> http.client.HTTPConnection:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
        client.sock = connect(port)
        return client


@dataclass(frozen=True)
class HTTP2Requests(Answers):
    """Requests by GET over HTTP/2 on TLS, so many of them under way on each connection.

    The load is h2load's, on `connections` of the scenario's own.
    """

    transport: ClassVar[Transport] = "http2"

    connections: int = 8
    streams: int = 16

    def prepare(self, python: Path, folder: Path) -> dict[str, str]:
        """Make a certificate."""
        return make_certificate(folder)

    def check(self, port: int) -> None:
        """Send the request twice on one connection."""
        with contextlib.closing(HTTP2Client(port)) as client:
            self._compare(client.get(self.path))
            self._compare(client.get(self.path))

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


@dataclass(frozen=True)
class Echoes(Loading):
    """Messages of so many bytes over WebSockets, so many of them under way on each.

    The load is that of websocket_load.py, which looks at every byte of every echo itself.
    """

    size: int
    in_flight: int

    def check(self, port: int) -> None:
        """Let two messages come back."""
        client = Client(port, 0, self.size)
        client.echo()
        client.echo()
        client.close()

    def command(
        self, port: int, connections: int, seconds: int, *, python: Path, folder: Path
    ) -> list[str]:
        """Return the command of the loader."""
        options = {
            "port": port,
            "connections": connections,
            "size": self.size,
            "in-flight": self.in_flight,
            "seconds": seconds,
        }
        words = (f"--{name}={value}" for name, value in options.items())
        return [str(python), str(ECHO_LOADER), *words]


@dataclass(frozen=True)
class Idle(Scenario):
    """Open WebSockets on which nothing happens, measured in the memory that the server has.

    `count` is how many; `size` is that of the messages that show that they are open.
    """

    count: int
    size: int

    def check(self, port: int) -> None:
        """Let a message come back."""
        client = self.open(port, 0)
        client.echo()
        client.close()

    def open(self, port: int, number: int) -> Client:
        """Return the open WebSocket of this number. Raises what `check` does."""
        return Client(port, number, self.size)
