"""What the tests of HTTP/2 over real sockets share: a server, an application under watch, clients.

`serve_http2` is the one place that says which server is tested: a test case of another one has
another attribute of that name.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from typing import Any

from django.test import SimpleTestCase

from tests.support.http2 import SocketClient
from tests.support.http2_conversation import Answer
from tests.support.http2_frames import Code
from tests.support.server import PATIENCE, RunningServer, running_loop, serve

from . import PROBE_PATH, PROBE_TEXT

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Handler = Callable[[Any, Receive, Send], Awaitable[None]]

serve_http2 = serve


class Gate:
    """What an application waits at until a test opens it."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    async def wait(self) -> None:
        """Return once the gate is open; in the application."""
        await self._event.wait()

    def open(self) -> None:
        """Let the application go on; in the test."""
        running_loop().loop.call_soon_threadsafe(self._event.set)


class Application:
    """Runs a handler, and keeps what can be seen of its calls.

    ``peak`` is how many ran at the same time at most. `note` tells the test something, which it
    takes with `next_note`. Requests for the probe's path are answered and not counted.
    """

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.scopes: list[Any] = []
        self.running = 0
        self.peak = 0
        self._notes: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._changed = threading.Condition()

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            raise ValueError(f"No {scope['type']} here")
        if scope["path"] == PROBE_PATH:
            await answer(scope, receive, send)
            return
        with self._changed:
            self.scopes.append(scope)
            self.running += 1
            self.peak = max(self.peak, self.running)
        try:
            await self.handler(scope, receive, send)
        finally:
            with self._changed:
                self.running -= 1
                self._changed.notify_all()

    @property
    def calls(self) -> int:
        """Return how often it was called."""
        return len(self.scopes)

    def note(self, value: object) -> None:
        """Tell the test something."""
        self._notes.put(value)

    def next_note(self) -> Any:
        """Return what the application tells next."""
        try:
            return self._notes.get(timeout=PATIENCE)
        except queue.Empty:
            raise AssertionError("The application does not get that far") from None

    def wait_until_idle(self) -> None:
        """Return as soon as no call is running."""
        with self._changed:
            ended = self._changed.wait_for(lambda: not self.running, PATIENCE)
        assert ended, f"{self.running} calls never end"


async def read_body(receive: Receive) -> bytes | None:
    """Return the whole body, or None when the client is gone before its end."""
    pieces = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        pieces.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(pieces)


async def start(send: Send, *headers: tuple[bytes, bytes], status: int = 200) -> None:
    """Send the head of a response."""
    await send({"type": "http.response.start", "status": status, "headers": [*headers]})


async def body(send: Send, data: bytes = b"", *, more: bool = False) -> None:
    """Send a part of a response's body, the last one unless there is more."""
    await send({"type": "http.response.body", "body": data, "more_body": more})


async def answer(scope: Any, receive: Receive, send: Send) -> None:
    """Read the whole body, and answer with ``METHOD PATH LENGTH``."""
    data = await read_body(receive)
    if data is None:
        return
    text = f"{scope['method']} {scope['path']} {len(data)}".encode()
    await start(send, (b"content-length", b"%d" % len(text)))
    await body(send, text)


async def until_disconnect(receive: Receive) -> None:
    """Return once the client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


class HTTP2TestCase(SimpleTestCase):
    """Tests with a server of their own, clients, and judgements about both."""

    serve_http2 = staticmethod(serve_http2)
    application: Application
    server: RunningServer

    def serve(self, handler: Handler = answer, **values: Any) -> RunningServer:
        """Serve a handler while the test runs; ``values`` are configuration by field name."""
        self.application = Application(handler)
        self.server = self.enterContext(self.serve_http2(self.application, **values))
        return self.server

    def connect(
        self,
        settings: Mapping[int, int] | None = None,
        *,
        credit: bool = True,
        greet: bool = True,
        buffer: int | None = None,
    ) -> SocketClient:
        """Return a new client, which is closed after the test."""
        client = SocketClient.connect(
            self.server.address, settings=settings, credit=credit, greet=greet, buffer=buffer
        )
        self.addCleanup(client.sock.close)
        return client

    def assert_served(self, client: SocketClient) -> None:
        """The connection still serves: another request has its answer."""
        self.assert_answer(client.request(b"GET", PROBE_PATH.encode()), PROBE_TEXT)

    def assert_others_served(self) -> None:
        """The server serves a new connection."""
        with SocketClient.connect(self.server.address) as client:
            self.assert_served(client)

    def assert_answer(self, answer: Answer, body: bytes, status: int = 200) -> None:
        """This is the answer, to its end."""
        found = (answer.status, bytes(answer.body), answer.ended, answer.reset)
        self.assertEqual(found, (status, body, True, None))

    def assert_reset(self, answer: Answer, code: Code) -> None:
        """The stream was reset with this code, and nothing was answered."""
        self.assertEqual((answer.status, answer.reset), (None, code))

    def assert_goaway(self, client: SocketClient, code: Code) -> None:
        """The server says GOAWAY with this code, and closes."""
        goaway = client.read_to_end()
        self.assertIsNotNone(goaway, "closed without GOAWAY")
        assert goaway is not None
        self.assertEqual(goaway.code, code, goaway)

    @contextlib.contextmanager
    def logged(self) -> Iterator[list[str]]:
        """Collect the server's log, whatever is in it; at least one line has to be."""
        with self.assertLogs("django_daphne.server") as logs:
            yield logs.output
