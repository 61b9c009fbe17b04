"""What these tests share: lanes, exchanges with a handler, gates for views and ears for signals."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from unittest import mock

from asgiref.testing import ApplicationCommunicator
from django.core import signals
from django.test import SimpleTestCase, override_settings
from django.urls import path

from django_daphne.handlers import strategies
from django_daphne.handlers.connections import close_all
from django_daphne.handlers.lanes import LanePool
from django_daphne.handlers.threaded import ThreadedASGIHandler
from tests.support.server import PATIENCE

# The name of every thread of a pool.
LANE = "django-daphne-lane"

SIGNALS = {
    "started": signals.request_started,
    "exception": signals.got_request_exception,
    "finished": signals.request_finished,
}

_numbers = itertools.count()


async def until(condition: Callable[[], object]) -> None:
    """Return when a condition holds that a thread brings about and tells nobody."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it does not come to pass"
        await asyncio.sleep(0)


async def happens(event: threading.Event) -> None:
    """Return when a thread has set an event; the loop goes on meanwhile."""
    assert await asyncio.to_thread(event.wait, PATIENCE), "it does not happen"


async def turns(count: int = 12) -> None:
    """Let the loop do what can be done at once."""
    for _ in range(count):
        await asyncio.sleep(0)


class Gate:
    """A place where a thread waits until the test lets it go on; ``thread`` is that one."""

    def __init__(self) -> None:
        self.thread: threading.Thread | None = None
        self.arrival = threading.Event()
        self._opening = threading.Event()

    def wait(self) -> None:
        """Stop here until the gate is open."""
        self.thread = threading.current_thread()
        self.arrival.set()
        # Longer than any test waits: what fails is the test, and not the gate under it.
        assert self._opening.wait(3 * PATIENCE), "nobody opens the gate"

    def open(self) -> None:
        """Let everybody pass from now on."""
        self._opening.set()

    async def reached(self) -> None:
        """Return when somebody stands there."""
        await happens(self.arrival)


class Ear:
    """Hears the signals of requests: names and threads, in the order of their coming.

    ``places`` are the names of the threads. A class of handlers leaves out the requests of all
    others: the end of one may come when the test that has asked is over.
    """

    def __init__(self, handlers: type[ThreadedASGIHandler] | None = None) -> None:
        # An exception is nobody's.
        self._senders = {name: None if name == "exception" else handlers for name in SIGNALS}
        self.names: list[str] = []
        self.threads: list[int] = []
        self.places: list[str] = []
        self._changed = threading.Condition()
        self._receivers: dict[str, Callable[..., None]] = {}

    def __enter__(self) -> Ear:
        for name, signal in SIGNALS.items():
            self._receivers[name] = self._receiver(name)
            signal.connect(self._receivers[name], self._senders[name])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, traceback: TracebackType | None
    ) -> None:
        for name, receiver in self._receivers.items():
            SIGNALS[name].disconnect(receiver, self._senders[name])

    def _receiver(self, name: str) -> Callable[..., None]:
        def hear(**values: object) -> None:
            with self._changed:
                self.threads.append(threading.get_ident())
                self.places.append(threading.current_thread().name)
                self.names.append(name)
                self._changed.notify_all()

        return hear

    def wait(self, count: int = 1) -> None:
        """Return when so many requests have finished; not on the loop."""
        with self._changed:
            enough = self._changed.wait_for(lambda: self.names.count("finished") >= count, PATIENCE)
        assert enough, "a request does not finish"

    async def finished(self, count: int = 1) -> None:
        """Return when so many requests have finished; the loop goes on meanwhile."""
        await asyncio.to_thread(self.wait, count)


@dataclass(frozen=True)
class Response:
    """What a client gets."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes

    @property
    def text(self) -> str:
        """Return the body as text."""
        return self.body.decode()


def make_response(sent: list[dict[str, Any]]) -> Response:
    """Return what an application has sent as a whole response."""
    head, *parts = sent
    assert head["type"] == "http.response.start", sent
    more = [part.get("more_body", False) for part in parts]
    assert more == [True] * (len(parts) - 1) + [False], "the body has no end, or several"
    body = b"".join(part.get("body", b"") for part in parts)
    return Response(head["status"], head["headers"], body)


def make_scope(path: str = "/", method: str = "GET", **more: Any) -> dict[str, Any]:
    """Return the scope of a request."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"testserver")],
        "client": ("192.0.2.1", 40000),
        "server": ("testserver", 80),
        **more,
    }


class Exchange:
    """One request to an application, in a task that begins with an empty context.

    ``sent`` is what the application has sent. ``on_send`` is awaited first, with the message.
    """

    def __init__(
        self,
        application: Any,
        path: str = "/",
        *,
        on_send: Callable[[dict[str, Any]], Awaitable[None]] | None = None,
        **more: Any,
    ) -> None:
        self.sent: list[dict[str, Any]] = []

        async def observed(scope: Any, receive: Any, send: Any) -> None:
            async def observe(message: dict[str, Any]) -> None:
                if on_send is not None:
                    await on_send(message)
                self.sent.append(message)
                await send(message)

            await application(scope, receive, observe)

        self._communicator = ApplicationCommunicator(observed, make_scope(path, **more))

    async def begin(self, body: bytes = b"", more_body: bool = False) -> Exchange:
        """Send the request with a body, or its first part."""
        await self.input({"type": "http.request", "body": body, "more_body": more_body})
        return self

    async def input(self, message: dict[str, Any]) -> None:
        """Send any message."""
        await self._communicator.send_input(message)

    async def leave(self) -> None:
        """Close the connection."""
        await self.input({"type": "http.disconnect"})

    def cancel(self) -> None:
        """Cancel the application's task, as a server does that stops."""
        self._communicator.future.cancel()

    async def part(self) -> bytes:
        """Return the next piece of the body that the application sends."""
        message = await self._communicator.receive_output(PATIENCE)
        if message["type"] == "http.response.start":
            return await self.part()
        data: bytes = message["body"]
        return data

    async def end(self) -> None:
        """Wait for the end of the application; raise what it raises, if it was not cancelled."""
        task = self._communicator.future
        await asyncio.wait([task], timeout=PATIENCE)
        if not task.done():
            task.cancel()
            raise AssertionError("the application does not end")
        if not task.cancelled():
            task.result()

    @property
    def response(self) -> Response:
        """Return what has been sent as a whole response."""
        return make_response(self.sent)

    async def answer(self, body: bytes = b"") -> Response:
        """Send the request, and return the response once the application has ended."""
        await self.begin(body)
        await self.end()
        return self.response


async def ask(application: Any, path: str = "/", body: bytes = b"", **more: Any) -> Response:
    """Return the response to one request."""
    return await Exchange(application, path, **more).answer(body)


async def visit(application: Any, path: str, number: int, turns_to_wait: int | None) -> Exchange:
    """Post "x" with a number in the query; leave after some turns of the loop, if they are given.

    Return the exchange at its end.
    """
    exchange = Exchange(application, path, query_string=f"number={number}".encode(), method="POST")
    await exchange.begin(b"x")
    if turns_to_wait is not None:
        await turns(turns_to_wait)
        await exchange.leave()
    await exchange.end()
    return exchange


async def ask_in_this_task(application: Any, path: str = "/") -> Response:
    """Return the response to one request, for which no task is made."""
    body: list[dict[str, Any]] = [{"type": "http.request"}]
    sent: list[dict[str, Any]] = []

    async def receive() -> Any:
        return body.pop() if body else await asyncio.Event().wait()

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await application(make_scope(path), receive, send)
    return make_response(sent)


@contextmanager
def named(factory: Any) -> Iterator[str]:
    """Give a middleware a dotted name for as long as the block runs."""
    name = f"middleware_{next(_numbers)}"
    globals()[name] = factory
    try:
        yield f"{__name__}.{name}"
    finally:
        del globals()[name]


class HandlerTestCase(SimpleTestCase):
    """Tests of handlers over a pool of their own."""

    def setUp(self) -> None:
        super().setUp()
        # Each handler says once which way its requests take; few tests want to hear it.
        self.enterContext(mock.patch.object(strategies.logger, "disabled", True))
        self.pool = self.make_pool()
        self.handlers: type[ThreadedASGIHandler] = type("Handler", (ThreadedASGIHandler,), {})

    def make_pool(self, limit: int = 4) -> LanePool:
        """Return lanes that end with the test, and that have to be idle then."""
        pool = LanePool(limit, PATIENCE, close_all)
        self.addCleanup(lambda: self.assertTrue(pool.close(PATIENCE), "a lane does not end"))
        return pool

    def make_gate(self) -> Gate:
        """Return a gate that is open after the test at the latest."""
        gate = Gate()
        self.addCleanup(gate.open)
        return gate

    def site(
        self,
        view: Any,
        *patterns: Any,
        middleware: Iterable[Any] = (),
        pages: dict[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        """Make a project for the test: a view at / and patterns, with middleware and settings.

        ``pages`` are the views for errors, such as ``handler404``.
        """
        names = [
            each if isinstance(each, str) else self.enterContext(named(each)) for each in middleware
        ]
        root = type("urls", (), {"urlpatterns": [path("", view), *patterns], **(pages or {})})
        self.enterContext(override_settings(ROOT_URLCONF=root, MIDDLEWARE=names, **settings))

    def handler(self, view: Any, *patterns: Any, **values: Any) -> ThreadedASGIHandler:
        """Return a new handler for a project made by ``site``."""
        self.site(view, *patterns, **values)
        return self.new_handler()

    def new_handler(self) -> ThreadedASGIHandler:
        """Return a new handler for the project as it is."""
        return self.handlers(self.pool)

    def listen(self) -> Ear:
        """Hear signals of handlers that are made by this test, until its end."""
        return self.enterContext(Ear(self.handlers))

    def assert_once(self, ear: Ear, *between: str) -> None:
        """Assert that one request was heard, which started and finished in the same thread."""
        self.assertEqual(ear.names, ["started", *between, "finished"])
        self.assertEqual(len(set(ear.threads)), 1)

    async def assert_idle(self, pool: LanePool | None = None) -> None:
        """Assert that every lane comes back."""
        lanes = pool or self.pool
        await until(lambda: not lanes.busy)
