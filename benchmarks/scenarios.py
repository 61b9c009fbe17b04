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
from kinds.fixed_rate import FixedRate, HTTP2FixedRate
from kinds.growth import Growing
from kinds.idle import IdleRequests, IdleWebSockets
from kinds.requests import VARIES, HTTP2Requests, Requests, TLSRequests
from kinds.start import Start

PREPARE_SECONDS = 60
# The key of a session whose user is logged in.
SESSION = "benchmark" * 3
STYLE = Path("library/static/library/style.css")


@dataclass(frozen=True)
class Project(Application):
    """The Django project in apps/library, below a stack of middleware."""

    asgi: str = "library.asgi:application"
    wsgi: str = "library.wsgi:application"
    stack: str = "startproject"
    # Who answers for static files; see the project's settings.
    static: str = ""
    # For how many seconds a database connection may be used: CONN_MAX_AGE.
    persistent: int = 0

    @property
    def packages(self) -> tuple[str, ...]:
        """Return Django, and what the stack is made of."""
        served = ("whitenoise",) if self.static else ()
        return ("django", *STACKS[self.stack], *served)

    @property
    def is_django(self) -> bool:
        """Return True."""
        return True

    def prepare(self, python: Path, folder: Path) -> dict[str, str]:
        """Make the project's database, and collect its static files."""
        variables = {
            "BENCHMARK_STACK": self.stack,
            "BENCHMARK_DATA": str(folder),
            "BENCHMARK_SESSION": SESSION,
            "BENCHMARK_STATIC": self.static,
            "BENCHMARK_PERSISTENT": str(self.persistent),
        }
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


_LOGIN = f"""<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>Log in</title></head>
<body>
<p>You are reader. Who else?</p>
<form method="post">
<input type="hidden" name="csrfmiddlewaretoken" value="{VARIES * 64}">
<p><input type="text" name="username" autofocus autocapitalize="none" autocomplete="username" \
maxlength="150" required id="id_username"></p>
<p><input type="password" name="password" autocomplete="current-password" required \
id="id_password"></p>
<button>Log in</button>
</form>
</body>
</html>
"""
# The session of a reader, and a secret of CSRF: 32 letters and digits.
_COOKIES = f"sessionid={SESSION}; csrftoken={'csrf' * 8}"


def _django_scenarios() -> Iterator[Requests]:
    """Yield what is asked of the project; without a suffix in a name what startproject makes."""
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
    yield Requests(
        "django-orm-page-persistent",
        "Django, startproject with CONN_MAX_AGE = 60, ten rows in a page by a sync view",
        Project(persistent=60),
        _PAGE.encode(),
        path="/page",
        headers=(("X-Frame-Options", "DENY"),),
    )
    yield Requests(
        "django-json",
        "Django, startproject, ten rows as JSON by a sync view",
        Project(),
        json_text,
        path="/books",
        headers=(("X-Frame-Options", "DENY"), ("Content-Type", "application/json")),
    )
    yield Requests(
        "django-login",
        "Django, startproject, login form with its token, to a user with a session",
        Project(),
        _LOGIN.encode(),
        path="/login",
        headers=(("X-Frame-Options", "DENY"), ("Vary", "Cookie")),
        sent=(("Cookie", _COOKIES),),
    )
    style = (APPS / STYLE).read_bytes()
    for suffix, static, summary in (
        ("", "server", "by this server, by WhiteNoise's middleware under others"),
        ("-whitenoise", "whitenoise", "by WhiteNoise's middleware"),
    ):
        yield Requests(
            f"django-static{suffix}",
            f"Django, startproject, a style sheet of 4 KiB {summary}",
            Project(static=static),
            style,
            path=f"/static/{STYLE.relative_to('library/static')}",
            headers=(("Content-Type", 'text/css; charset="utf-8"'),),
        )


_OVER_HTTP2 = "GET over HTTP/2 on TLS, 13 bytes of text"
_HTTP2 = HTTP2Requests(
    "http2",
    f"{_OVER_HTTP2}, 8 connections with 16 under way on each",
    Application("trivial:app"),
    b"Hello, world!",
)
_TRIVIAL = Requests(
    "trivial", "GET, 13 bytes of text", Application("trivial:app"), b"Hello, world!"
)
_DJANGO = {scenario.name: scenario for scenario in _django_scenarios()}
_HELLO = _DJANGO["django-sync-hello"]

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        _TRIVIAL,
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
            upload=10_240,
        ),
        Requests(
            "upload10m",
            "POST of 10 MiB, read to its end, on 8 connections",
            Application("upload:app"),
            b"10485760",
            method="POST",
            upload=10_485_760,
            connections=8,
        ),
        Requests(
            "body1m",
            "GET, 1 MiB, on 8 connections",
            Application("body1m:app"),
            b"0123456789abcdef" * 65_536,
            connections=8,
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
        _HTTP2,
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
        Echoes(
            "echo1m",
            "WebSocket, 1 MiB and back, one at a time",
            Application("echo:app"),
            2**20,
            1,
            8,
        ),
        IdleWebSockets(
            "idle", "WebSocket, 10,000 open and silent", Application("echo:app"), 10_000, 64
        ),
        IdleRequests(
            "idle-http",
            "GET, 13 bytes of text, 10,000 connections kept alive after it",
            Application("trivial:app"),
            10_000,
            b"Hello, world!",
        ),
        *_DJANGO.values(),
        Start("start", "from starting to the first answer", _TRIVIAL.application, _TRIVIAL),
        Start(
            "django-start",
            "Django, startproject, from starting to the first answer",
            _HELLO.application,
            _HELLO,
        ),
        *(
            FixedRate(
                f"{request.name}-latency",
                f"{request.summary}, asked for at a fixed rate",
                request.application,
                request,
            )
            for request in (_TRIVIAL, _HELLO)
        ),
        HTTP2FixedRate(
            "http2-latency",
            f"{_OVER_HTTP2}, asked for at a fixed rate",
            _HTTP2.application,
            _HTTP2,
        ),
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
    )
}
