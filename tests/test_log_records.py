"""The id of the request on records of logging: of views, of consumers, and outside of requests."""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import AsyncIterator
from contextlib import contextmanager
from typing import Any

from asgiref.sync import async_to_sync, sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import SimpleTestCase
from django.urls import path
from django.utils.log import configure_logging
from websockets.sync.client import connect

from django_daphne.handlers import prepare
from django_daphne.handlers.threaded import ThreadedASGIHandler
from django_daphne.log_records import RequestIDFilter
from django_daphne.management.commands.runserver import Command
from django_daphne.server import AccessRecord, handling
from tests.handlers.support import HandlerTestCase
from tests.support.processes import get
from tests.support.server import PATIENCE, serve

logger = logging.getLogger("site")

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE_ID}-00f067aa0ba902b7-01"


def log(place: str) -> None:
    """Log where the code runs."""
    logger.info(place)


def sync_view(request: HttpRequest) -> HttpResponse:
    """Log in a lane, and below it on the loop."""
    log("sync view")

    async def below() -> None:
        log("async below")

    async_to_sync(below)()
    return HttpResponse()


async def async_view(request: HttpRequest) -> HttpResponse:
    """Log on the loop, in a task, and below it in a thread."""
    log("async view")
    await sync_to_async(log)("sync below")

    async def child() -> None:
        log("task")

    await asyncio.create_task(child())
    return HttpResponse()


def stream_view(request: HttpRequest) -> StreamingHttpResponse:
    """Log while a stream is read, and when it is closed."""

    async def parts() -> AsyncIterator[bytes]:
        log("stream")
        yield b"x"

    return StreamingHttpResponse(parts())


class Middleware:
    """Logs around a view."""

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> Any:
        """Log before and behind it."""
        log("before")
        response = self.get_response(request)
        log("behind")
        return response


class Chat(WebsocketConsumer):  # type: ignore[misc]  # it has no annotations
    """Logs in a thread."""

    def connect(self) -> None:
        """Accept."""
        log("sync connect")
        self.accept()

    def receive(self, text_data: str = "", bytes_data: bytes | None = None) -> None:
        """Answer."""
        log("sync receive")
        self.send("done")


class AsyncChat(AsyncWebsocketConsumer):  # type: ignore[misc]  # the same
    """Logs on the loop."""

    async def receive(self, text_data: str = "", bytes_data: bytes | None = None) -> None:
        """Answer."""
        log("async receive")
        await sync_to_async(log)("sync below")
        await self.send("done")


class CaptureTestCase(SimpleTestCase):
    """Tests of a handler with the filter, as a project configures it."""

    def setUp(self) -> None:
        super().setUp()
        self.stream = io.StringIO()
        handler = logging.StreamHandler(self.stream)
        handler.setFormatter(logging.Formatter("%(request_id)s %(trace_id)s %(message)s"))
        handler.addFilter(RequestIDFilter())
        for name in ("site", "django.request", "django.channels.server"):
            each = logging.getLogger(name)
            before = each.level, each.propagate
            each.addHandler(handler)
            each.setLevel(logging.INFO)
            each.propagate = False
            self.addCleanup(self.restore, each, handler, *before)

    @staticmethod
    def restore(
        each: logging.Logger, handler: logging.Handler, level: int, propagate: bool
    ) -> None:
        """Leave a logger as it was."""
        each.removeHandler(handler)
        each.setLevel(level)
        each.propagate = propagate

    def assert_logged(self, request_id: str, *messages: str) -> None:
        """These messages, and no others, were logged, each under the id of the request."""
        expected = [f"{request_id} {TRACE_ID} {message}" for message in messages]
        self.assertEqual(self.stream.getvalue().splitlines(), expected)
        self.stream.truncate(0)
        self.stream.seek(0)


class ViewTests(CaptureTestCase, HandlerTestCase):
    """Views of Django, on each handler."""

    def assert_views(self, application: Any) -> None:
        """Each view's records have the id of its request."""
        with serve(application, lifespan="off") as server:
            for number, (name, *messages) in enumerate(
                (
                    ("sync", "before", "sync view", "async below", "behind"),
                    ("async", "before", "async view", "sync below", "task", "behind"),
                    ("stream", "before", "behind", "stream"),
                    ("missing", "before", "behind", "Not Found: /missing"),
                )
            ):
                headers = {"X-Request-ID": f"id-{number}", "traceparent": TRACEPARENT}
                get(server.port, f"/{name}", **headers)
                self.assert_logged(f"id-{number}", *messages)

    def make_handler(self) -> ThreadedASGIHandler:
        """Return a handler for a project with the views."""
        patterns = [path("async", async_view), path("stream", stream_view), path("sync", sync_view)]
        return self.handler(sync_view, *patterns, middleware=[Middleware])

    def test_threaded(self) -> None:
        """The developer logs in views that run in lanes."""
        self.assert_views(self.make_handler())

    def test_stock(self) -> None:
        """The developer keeps Django's own handler."""
        self.make_handler()  # for its settings
        self.assert_views(ASGIHandler())


class ConsumerTests(CaptureTestCase):
    """Consumers of Channels."""

    def test_consumers(self) -> None:
        """The developer logs in consumers, which go on for as long as a WebSocket is open."""
        routes = URLRouter([path("sync", Chat.as_asgi()), path("async", AsyncChat.as_asgi())])
        application = prepare(ProtocolTypeRouter({"websocket": routes}))
        with serve(application, lifespan="off") as server:
            for name, *messages in (
                ("sync", "sync connect", "sync receive"),
                ("async", "async receive", "sync below"),
            ):
                headers = {"X-Request-ID": name, "traceparent": TRACEPARENT}
                url = f"ws://127.0.0.1:{server.port}/{name}"
                with connect(url, additional_headers=headers, open_timeout=PATIENCE) as client:
                    client.send("hello")
                    self.assertEqual(client.recv(PATIENCE), "done")
                self.assert_logged(name, *messages)


class FilterTests(CaptureTestCase):
    """The filter by itself."""

    def test_outside(self) -> None:
        """A management command logs with the format of the site."""
        logger.info("hello")
        self.assertEqual(self.stream.getvalue(), "- - hello\n")

    def test_own_fields(self) -> None:
        """The project says itself what a record belongs to, and the rest is added."""
        with handling({"request_id": "a", "traceparent": TRACEPARENT, "tracestate": None}):
            logger.info("hello", extra={"request_id": "own"})
        self.assert_logged("own", "hello")

    def test_fields(self) -> None:
        """The developer's formatter finds the whole of what is passed on to other services."""
        trace: Any = {"request_id": "a", "traceparent": TRACEPARENT, "tracestate": None}
        for inside, expected in (
            (trace, ("a", TRACE_ID, TRACEPARENT)),
            (None, ("-", "-", "-")),
        ):
            record = logging.makeLogRecord({})
            with handling(inside):
                self.assertTrue(RequestIDFilter().filter(record))
            names = ("request_id", "trace_id", "traceparent")
            self.assertEqual(tuple(vars(record)[name] for name in names), expected)

    def test_runserver(self) -> None:
        """The developer's console tells of a request whose client has left, under its id."""
        access = AccessRecord(
            client=None,
            method="GET",
            target=b"/",
            http_version="1.1",
            status=499,
            size=0,
            duration=0,
            headers=[],
            trace={"request_id": "a", "traceparent": TRACEPARENT, "tracestate": None},
        )
        Command(no_color=True).log_access(access)
        self.assert_logged("a", "HTTP GET / 499 [0.000, None, 0 B, h1]")

    @contextmanager
    def root(self) -> Any:
        """Keep the root logger as it was."""
        root = logging.getLogger()
        handlers, level = [*root.handlers], root.level
        try:
            yield root
        finally:
            root.handlers = handlers
            root.setLevel(level)

    def test_settings(self) -> None:
        """The developer names the filter in LOGGING."""
        with self.root() as root:
            configure_logging(
                "logging.config.dictConfig",
                {
                    "version": 1,
                    "disable_existing_loggers": False,
                    "filters": {"request_id": {"()": "django_daphne.log_records.RequestIDFilter"}},
                    "handlers": {
                        "null": {"class": "logging.NullHandler", "filters": ["request_id"]}
                    },
                    "root": {"handlers": ["null"]},
                },
            )
            (handler,) = root.handlers
            self.assertIsInstance(handler.filters[0], RequestIDFilter)
