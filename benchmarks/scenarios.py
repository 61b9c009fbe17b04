"""What is asked of the servers: the applications, the project of Django, and their answers."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kinds.base import APPS, Application, Scenario
from kinds.crowds import Events, Groups
from kinds.echoes import Echoes
from kinds.growth import Growing
from kinds.idle import Idle
from kinds.requests import HTTP2Requests, Requests, TLSRequests

PREPARE_SECONDS = 60


@dataclass(frozen=True)
class Project(Application):
    """The Django project in apps/library, below a stack of middleware."""

    asgi: str = "library.asgi:application"
    wsgi: str = "library.wsgi:application"
    stack: str = "startproject"

    @property
    def packages(self) -> tuple[str, ...]:
        """Return Django, and what the stack is made of."""
        return ("django", *STACKS[self.stack])

    @property
    def is_django(self) -> bool:
        """Return True."""
        return True

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
class Rooms(Application):
    """The Django project in apps/rooms, with Channels."""

    @property
    def packages(self) -> tuple[str, ...]:
        """Return Django and Channels."""
        return ("django", "channels")

    @property
    def is_django(self) -> bool:
        """Return True."""
        return True


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


def _django_scenarios() -> Iterator[Requests]:
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
            yield Requests(
                f"django-{name}{suffix}",
                f"Django, {stack}, {summary}",
                Project(stack=stack),
                answer,
                path=path,
                headers=tuple(headers),
            )


SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Requests("trivial", "GET, 13 bytes of text", Application("trivial:app"), b"Hello, world!"),
        Requests(
            "json1k",
            "GET, 1 KB of JSON",
            Application("json1k:app"),
            b'{"text": "' + b"x" * 1012 + b'"}',
        ),
        Requests(
            "upload",
            "POST of 10 KB, read to its end",
            Application("upload:app"),
            b"10240",
            method="POST",
            payload=b"x" * 10_240,
        ),
        Requests(
            "stream",
            "GET, 100 KB in 100 pieces",
            Application("stream:app"),
            b"0123456789abcdef" * 6_400,
        ),
        TLSRequests(
            "tls", "GET over TLS, 13 bytes of text", Application("trivial:app"), b"Hello, world!"
        ),
        HTTP2Requests(
            "http2",
            "GET over HTTP/2 on TLS, 13 bytes of text, 8 connections with 16 under way on each",
            Application("trivial:app"),
            b"Hello, world!",
        ),
        Echoes(
            "echo64", "WebSocket, 64 bytes and back, one at a time", Application("echo:app"), 64, 1
        ),
        Echoes(
            "echo64x32",
            "WebSocket, 64 bytes and back, 32 under way",
            Application("echo:app"),
            64,
            32,
        ),
        Echoes(
            "echo16k",
            "WebSocket, 16 KiB and back, one at a time",
            Application("echo:app"),
            16_384,
            1,
        ),
        Idle("idle", "WebSocket, 10,000 open and silent", Application("echo:app"), 10_000, 64),
        Events("sse", "Server-Sent Events, each to 1,000 clients", Application("sse:app"), 1000),
        Events(
            "django-sse",
            "Django, Server-Sent Events by an async view, each to 1,000 clients",
            Project(wsgi=""),
            1000,
        ),
        Groups(
            "channels-group",
            "Channels, 64 bytes by one of 500 WebSockets in a group, to all of them",
            Rooms("rooms.asgi:application"),
            500,
            64,
        ),
        Growing(
            "growth",
            "GET, 13 bytes of text, 8 under way, with 10 to 10,000 connections open",
            Application("trivial:app"),
            b"Hello, world!",
            8,
        ),
        *_django_scenarios(),
    )
}
