"""Projects made by chance, and requests of all kinds: our handler answers as Django's does.

DAPHNE_TEST_CASES is the number of projects, and DAPHNE_TEST_SEED the number of the first.
"""

from __future__ import annotations

import gc
import gzip
import logging
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.core.handlers.asgi import ASGIHandler
from django.http import FileResponse, HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import override_settings, tag
from django.urls import path

from .stack_views import Project
from .stacks import STACKS, make_project
from .support import SIGNALS, Exchange, HandlerTestCase, named
from .ways import TOOLS, watched

CASES = int(os.environ.get("DAPHNE_TEST_CASES", "300"))
FIRST = int(os.environ.get("DAPHNE_TEST_SEED", "0"))
# Requests to each project.
REQUESTS = 3

ADDRESS = re.compile(rb"0x[0-9a-f]+")
FORM = (b"content-type", b"application/x-www-form-urlencoded")
MULTIPART = (b"content-type", b"multipart/form-data; boundary=x")
UPLOAD = (
    b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n'
    b"Content-Type: text/plain\r\n\r\nhello\r\n--x--\r\n"
)


@dataclass
class Outcome:
    """All that a request leaves behind, as far as it has to be the same."""

    error: str
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    trace: list[object]

    def without(self, line: str) -> list[object]:
        """Return the trace without some lines."""
        return [each for each in self.trace if each != line]


class Records(logging.Handler):
    """Writes what is logged into a trace."""

    def __init__(self, trace: list[object]) -> None:
        super().__init__()
        self._trace = trace

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line."""
        self._trace.append((record.name, record.levelname, record.getMessage()))


@contextmanager
def written(trace: list[object]) -> Iterator[None]:
    """Have Django's signals and log lines written into a trace."""
    logger = logging.getLogger("django")
    kept, propagate = logger.handlers, logger.propagate
    logger.handlers, logger.propagate = [Records(trace)], False
    receivers = {}
    for name, signal in SIGNALS.items():

        def receiver(name: str = name, **values: object) -> None:
            trace.append(name)

        receivers[name] = receiver
        signal.connect(receiver)
    try:
        yield
    finally:
        logger.handlers, logger.propagate = kept, propagate
        for name, receiver in receivers.items():
            SIGNALS[name].disconnect(receiver)


def plain(outcome: Outcome) -> Iterator[object]:
    """Yield headers and body without what is another each time."""
    headers, body = outcome.headers, outcome.body
    if (b"Content-Encoding", b"gzip") in headers:
        # Django hides the length of compressed pages behind a random one.
        headers = [each for each in headers if each[0] != b"Content-Length"]
        body = gzip.decompress(body)
    if ADDRESS.search(body):
        headers = [each for each in headers if each[0] != b"ETag"]
    yield headers
    yield ADDRESS.sub(b"", body)


class DifferentialTestCase(HandlerTestCase):
    """Requests to two handlers of the same project."""

    maxDiff = None

    async def outcome(self, handler: Any, trace: list[object], request: dict[str, Any]) -> Outcome:
        """Return what a request leaves behind; the trace is empty again after it."""
        values = dict(request)
        error = ""
        exchange = await Exchange(handler, values.pop("path"), **values).begin(values.pop("data"))
        try:
            await exchange.end()
        except Exception as raised:  # noqa: BLE001 - it is what is compared
            error = type(raised).__name__
        await self.assert_idle()
        lines = trace.copy()
        trace.clear()
        if error or not exchange.sent:
            return Outcome(error, 0, [], b"", lines)
        response = exchange.response
        return Outcome("", response.status, response.headers, response.body, lines)

    def difference(self, ours: Outcome, stock: Outcome, *, is_debug: bool = False) -> str:
        """Return what is not the same, an empty string if all is."""
        finished = ours.trace.count("finished")
        if finished != 1:
            return f"request_finished came {finished} times: {ours.trace}"
        if ours.error or stock.error:
            # Django's own way may end here without request_finished.
            traces = (ours.without("finished"), stock.without("finished"))
            pairs: list[Any] = [(ours.error, stock.error), traces]
        else:
            pairs = [(ours.trace, stock.trace), (ours.status, stock.status)]
            if not (is_debug and ours.status in (400, 500)):
                # What the traceback of such a page says is different: the frames are.
                pairs += zip(plain(ours), plain(stock), strict=True)
        return "".join(f"\nours  {a!r:.2000}\nstock {b!r:.2000}" for a, b in pairs if a != b)


class StackTests(DifferentialTestCase):
    """Stacks of middleware made by chance, with views made by chance below them.

    The views are of both kinds. Some of the projects are watched by a tool, as if for its spans.
    """

    async def assert_same(self, stack: str) -> None:
        """Compare one of the four kinds of stacks."""
        differences: list[str] = []
        statuses = set()
        with warnings.catch_warnings(action="ignore"):
            for seed in range(FIRST, FIRST + CASES // len(STACKS)):
                project = make_project(seed, stack)
                statuses |= await self.compare(project, differences)
                self.assertLess(len(differences), 5, "\n".join(differences))
            gc.collect()  # coroutines that nobody awaits, by chance
        self.assertEqual(differences, [], "\n".join(differences))
        # Whoever changes the projects makes sure that requests still come to all kinds of ends.
        if CASES >= 300:
            self.assertLessEqual({0, 200, 202, 203, 400, 403, 404, 500}, statuses)

    async def compare(self, project: Project, differences: list[str]) -> set[int]:
        """Send requests to a project, and return what statuses were seen."""
        statuses = set()
        with ExitStack() as stack:
            if tool := TOOLS[project.tool]:
                stack.enter_context(watched(tool))
            names = [stack.enter_context(named(each)) for each in project.middleware]
            stack.enter_context(override_settings(MIDDLEWARE=names, **project.settings))
            stack.enter_context(written(project.trace))
            handlers = (self.new_handler(), ASGIHandler())
            for _ in range(REQUESTS):
                request = self.make_request(project)
                ours, stock = [
                    await self.outcome(each, project.trace, request) for each in handlers
                ]
                statuses.add(ours.status)
                found = self.difference(ours, stock, is_debug=project.settings["DEBUG"])
                if found:
                    differences.append(f"{project.seed}: {request}\n{project.plan}{found}\n")
        return statuses

    def make_request(self, project: Project) -> dict[str, Any]:
        """Return a request made by chance."""
        chance = project.chance
        routes = [str(each.pattern) for each in project.settings["SHOP"].urlpatterns]
        where = "nowhere" if chance.random() < 0.05 else chance.choice(routes)
        return {
            "path": f"/{where}",
            "method": chance.choice(("GET", "GET", "POST")),
            "query_string": b"fail=1" if chance.random() < 0.1 else b"",
            "headers": [(b"host", b"testserver"), chance.choice((FORM, MULTIPART))],
            "data": chance.choice((b"name=ann", b"", b"--x\r\nnonsense")),
        }

    async def test_hooks(self):
        """Every middleware is a class of hooks: one hop, or two around an async view."""
        await self.assert_same("hooks")

    async def test_dual(self):
        """Middleware for both sides stands among hooks: these are fused around an async view."""
        await self.assert_same("dual")

    async def test_sync_only(self):
        """A middleware is for the synchronous side only: it calls async views from its lane."""
        await self.assert_same("sync")

    async def test_async_only(self):
        """A middleware is for the asynchronous side only: all requests go Django's own chain."""
        await self.assert_same("async")


@tag("loop")
class RequestTests(DifferentialTestCase):
    """Requests of all kinds to a project with the usual middleware."""

    # method, path, headers, body
    CASES: tuple[tuple[str, str, tuple[tuple[bytes, bytes], ...], bytes], ...] = (
        ("GET", "/", (), b""),
        ("HEAD", "/", (), b""),
        ("OPTIONS", "/", (), b""),
        ("GET", "/?a=1&b=%C3%A9", (), b""),
        ("GET", "/page", ((b"accept-encoding", b"gzip"),), b""),
        ("HEAD", "/page", ((b"accept-encoding", b"gzip"),), b""),
        ("GET", "/page", ((b"if-none-match", b"*"),), b""),
        ("GET", "/stream", ((b"accept-encoding", b"br"),), b""),
        ("HEAD", "/stream", (), b""),
        ("GET", "/file", (), b""),
        ("GET", "/file", ((b"range", b"bytes=0-4"),), b""),
        ("HEAD", "/file", (), b""),
        ("POST", "/form", (FORM,), b"name=ann&name=bob"),
        ("POST", "/form", (FORM,), b"x" * 5000),
        ("POST", "/form", (FORM,), b"&".join(b"a=1" for _ in range(40))),
        ("POST", "/form", (MULTIPART,), UPLOAD),
        ("POST", "/form", (MULTIPART,), UPLOAD[:40]),
        ("POST", "/form", (MULTIPART,), b"nonsense"),
        ("POST", "/form", ((b"content-type", b"multipart/form-data"),), UPLOAD),
        ("POST", "/raw", ((b"content-type", b"application/json"),), b"{}"),
        ("PUT", "/raw", (), b"x" * 5000),
        ("GET", "/raw", ((b"cookie", b"a=1; b=2"), (b"cookie", b"c=3")), b""),
        ("GET", "/page/", (), b""),
        ("GET", "/no-slash", (), b""),
        ("GET", "/raw", ((b"host", b"elsewhere.example"),), b""),
    )

    def setUp(self) -> None:
        super().setUp()
        self.site(
            lambda request: HttpResponse(request.META["QUERY_STRING"]),
            path("page", lambda request: HttpResponse("page " * 100)),
            path("stream", lambda request: StreamingHttpResponse(iter(["a", b"b"]))),
            path("file", show_file),
            path("form", show_form),
            path("raw", show_raw),
            path("no-slash/", show_raw),
            middleware=[
                "django.middleware.security.SecurityMiddleware",
                "django.middleware.gzip.GZipMiddleware",
                "django.middleware.http.ConditionalGetMiddleware",
                "django.middleware.common.CommonMiddleware",
                "django.middleware.locale.LocaleMiddleware",
                "django.middleware.clickjacking.XFrameOptionsMiddleware",
            ],
            DATA_UPLOAD_MAX_MEMORY_SIZE=4000,
            DATA_UPLOAD_MAX_NUMBER_FIELDS=30,
        )

    async def test_requests(self):
        """A client sends one request after the other: each answer is that of Django."""
        for is_debug in (False, True):
            with override_settings(DEBUG=is_debug), warnings.catch_warnings(action="ignore"):
                handlers = (self.new_handler(), ASGIHandler())
                for case in self.CASES:
                    with self.subTest(case=case, debug=is_debug):
                        await self.compare(handlers, case, is_debug=is_debug)

    async def compare(self, handlers: Any, case: Any, *, is_debug: bool) -> None:
        """Compare the answers to one request."""
        method, target, more, body = case
        name, _, query = target.partition("?")
        headers = [*more, (b"content-length", str(len(body)).encode())]
        if not any(key == b"host" for key, _ in more):
            headers.append((b"host", b"testserver"))
        request = {
            "path": name,
            "method": method,
            "query_string": query.encode(),
            "headers": headers,
            "data": body,
        }
        trace: list[object] = []
        with written(trace):
            ours, stock = [await self.outcome(each, trace, request) for each in handlers]
        self.assertEqual(self.difference(ours, stock, is_debug=is_debug), "")


def show_form(request: HttpRequest) -> HttpResponse:
    """Answer with what a form has sent."""
    files: dict[str, Any] = {**request.FILES}
    sizes = {name: file.size for name, (file,) in files.items()}
    return HttpResponse(f"{dict(request.POST)} {sizes}")


def show_file(request: HttpRequest) -> FileResponse:
    """Answer with this file."""
    return FileResponse(Path(__file__).open("rb"))


def show_raw(request: HttpRequest) -> HttpResponse:
    """Answer with body and cookies, and set one."""
    response = HttpResponse(f"{request.body!r} {request.COOKIES}")
    response.set_cookie("seen", "yes", httponly=True)
    return response
