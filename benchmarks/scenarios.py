"""What is asked of the servers: the application, what a client says, and the only right answer."""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from websocket_client import ANSWER_SECONDS, Client, WrongAnswer

HERE = Path(__file__).resolve().parent
# The servers run here, so that "trivial:app" names apps/trivial.py to all of them.
APPS = HERE / "apps"
ECHO_LOADER = HERE / "websocket_load.py"

PREPARE_SECONDS = 60


@dataclass(frozen=True)
class Scenario(ABC):
    """Describe one kind of use. `application` is module:name in apps/, of ASGI."""

    name: str
    summary: str
    application: str

    @property
    def packages(self) -> tuple[str, ...]:
        """Return the distributions that the application needs beside the server."""
        return ()

    def prepare(self, python: Path, folder: Path) -> dict[str, str]:
        """Put into `folder` what the application reads, and return its environment variables.

        Raises what `subprocess.run` does.
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
class Requests(Loading):
    """A request of HTTP, and the body that must come back with status 200.

    `payload` is the body that goes out, ASCII only, empty for none. `headers` must come back as
    well, among others. The load is wrk's.
    """

    answer: bytes
    method: str = "GET"
    path: str = "/"
    payload: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()

    def check(self, port: int) -> None:
        """Send the request twice on one connection.

        A server that closed the connection would be measured at connecting, not at answering.
        """
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
        with contextlib.closing(client):
            client.connect()
            for _ in range(2):
                try:
                    client.request(self.method, self.path, self.payload or None)
                    response = client.getresponse()
                    self._compare(response, response.read())
                except (OSError, http.client.HTTPException) as error:
                    raise WrongAnswer(f"no answer: {error!r}") from error
                if response.will_close:
                    raise WrongAnswer("the connection was not kept alive")

    def _compare(self, response: http.client.HTTPResponse, body: bytes) -> None:
        if response.status != 200:
            raise WrongAnswer(f"status {response.status} instead of 200")
        for name, value in self.headers:
            if (found := response.getheader(name)) != value:
                raise WrongAnswer(f"{name} is {found!r} instead of {value!r}")
        if body != self.answer:
            sizes = f"{len(body)} bytes for {len(self.answer)}"
            raise WrongAnswer(f"body {body[:40]!r} instead of {self.answer[:40]!r} ({sizes})")

    def command(
        self, port: int, connections: int, seconds: int, *, python: Path, folder: Path
    ) -> list[str]:
        """Return the command of wrk, with a script that is made here."""
        script = folder / f"{self.name}.lua"
        script.write_text(self._script())
        url = f"http://127.0.0.1:{port}{self.path}"
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

    def fault(self, counts: dict[str, Any]) -> str | None:
        """Return what is wrong unless every request was answered, and at full length."""
        failed = {kind: count for kind, count in counts["errors"].items() if count}
        if failed:
            found = ", ".join(f"{count} {kind}" for kind, count in failed.items())
            return f"errors counted by wrk: {found}"
        if counts["bytes"] < counts["answers"] * len(self.answer):
            return "wrk received fewer bytes than the answers have"
        return super().fault(counts)


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
class DjangoRequests(Requests):
    """A view of the Django project in apps/library, below a stack of middleware.

    Servers of WSGI can answer these as well.
    """

    stack: str = ""
    wsgi_application: str = "library.wsgi:application"

    @property
    def packages(self) -> tuple[str, ...]:
        """Return Django, and what the stack is made of."""
        return ("django", *STACKS[self.stack])

    def prepare(self, python: Path, folder: Path) -> dict[str, str]:
        """Make the project's database, and collect its static files."""
        variables = {"BENCHMARK_STACK": self.stack, "BENCHMARK_DATA": str(folder)}
        subprocess.run(
            [str(python), "-m", "library.prepare"],
            cwd=APPS,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=2,
            timeout=PREPARE_SECONDS,
            check=True,
        )
        return variables


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


# The stacks of the project's settings, and the distributions that each needs.
_PRODUCTION = ("django-cors-headers", "django-allauth", "django-htmx", "django-otp")
STACKS: dict[str, tuple[str, ...]] = {
    "startproject": (),
    "production": _PRODUCTION,
    "whitenoise": (*_PRODUCTION, "whitenoise"),
    "sentry": (*_PRODUCTION, "whitenoise", "sentry-sdk"),
    "untraced": (*_PRODUCTION, "whitenoise", "sentry-sdk"),
}

_BOOKS = [{"title": f"Title {n}", "author": f"Author {n}", "year": 2000 + n} for n in range(10)]
_ROWS = "\n".join(
    f"<tr>{''.join(f'<td>{value}</td>' for value in book.values())}</tr>" for book in _BOOKS
)
_PAGE = f"""<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>10 books</title></head>
<body>
<table>
{_ROWS}
</table>
</body>
</html>
"""


def _django_scenarios() -> Iterator[DjangoRequests]:
    """Yield each view below each stack; without a suffix in its name what startproject makes."""
    json_text = json.dumps({"books": _BOOKS}).encode()
    views = (
        ("sync-hello", "13 bytes of text by a sync view", "/hello", b"Hello, world!"),
        ("orm-page", "ten rows in a page by a sync view", "/page", _PAGE.encode()),
        ("async-hello", "13 bytes of text by an async view", "/async-hello", b"Hello, world!"),
        ("async-orm", "ten rows as JSON by an async view", "/async-books", json_text),
    )
    for stack in STACKS:
        suffix = "" if stack == "startproject" else f"-{stack}"
        # That the middleware is there shows in what it adds, the first and one of the last.
        headers = [("X-Frame-Options", "DENY")]
        if stack != "startproject":
            headers.append(("Vary", "origin"))
        for name, summary, path, answer in views:
            yield DjangoRequests(
                f"django-{name}{suffix}",
                f"Django, {stack}, {summary}",
                "library.asgi:application",
                answer,
                path=path,
                headers=tuple(headers),
                stack=stack,
            )


SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Requests("trivial", "GET, 13 bytes of text", "trivial:app", b"Hello, world!"),
        Requests("json1k", "GET, 1 KB of JSON", "json1k:app", b'{"text": "' + b"x" * 1012 + b'"}'),
        Requests(
            "upload",
            "POST of 10 KB, read to its end",
            "upload:app",
            b"10240",
            method="POST",
            payload=b"x" * 10_240,
        ),
        Requests(
            "stream",
            "GET, 100 KB in 100 pieces",
            "stream:app",
            b"0123456789abcdef" * 6_400,
        ),
        Echoes("echo64", "WebSocket, 64 bytes and back, one at a time", "echo:app", 64, 1),
        Echoes("echo64x32", "WebSocket, 64 bytes and back, 32 under way", "echo:app", 64, 32),
        Echoes("echo16k", "WebSocket, 16 KiB and back, one at a time", "echo:app", 16_384, 1),
        Idle("idle", "WebSocket, 10,000 open and silent", "echo:app", 10_000, 64),
        *_django_scenarios(),
    )
}
