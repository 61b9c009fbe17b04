"""One request from the application's point of view: receiving, sending, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from typing import Any

from django.test import tag

from django_daphne.server.asgi.context import CycleContext
from django_daphne.server.asgi.http_cycle import ApplicationCycle
from django_daphne.server.asgi.scope import ScopeFactory
from django_daphne.server.asgi.tasks import ApplicationTasks
from django_daphne.server.interfaces import Origin
from django_daphne.server.protocols.http11_head import HeadReader
from tests.compliance import CHUNKED, FIVE, POST, request
from tests.support.memory import Call, ManualLoop, MemoryClient, Puppet, WireTestCase
from tests.support.server import eager, serve
from tests.support.wire import CLIENT, HOST

GET = request()
DISCONNECT = {"type": "http.disconnect"}
LOGGER = "django_daphne.server"


class RecordingStream:
    """A stream that writes down what it is told to say."""

    def __init__(self) -> None:
        self.said: list[tuple[Any, ...]] = []

    def send_informational(self, status: int, headers: Any) -> None:
        self.said.append(("informational", status, list(headers)))

    def start_response(self, status: int, headers: Any, trailers: bool) -> None:
        self.said.append(("start", status, list(headers), trailers))

    def send_body(self, data: bytes, more: bool) -> None:
        self.said.append(("body", data, more))

    async def send_file(self, descriptor: int, offset: int, count: int, more: bool) -> None:
        self.said.append(("file", offset, count, more))

    def send_trailers(self, headers: Any, more: bool) -> None:
        self.said.append(("trailers", list(headers), more))

    def refuse(self, status: int, text: str) -> None:
        self.said.append(("refuse", status, text))

    def abort(self) -> None:
        self.said.append(("abort",))

    def pause_reading(self) -> None:
        self.said.append(("pause",))

    def resume_reading(self) -> None:
        self.said.append(("resume",))


class Exchange(ManualLoop):
    """A cycle between a recording stream and an application, which is a puppet by default."""

    def __init__(self, application: Any, wire: bytes, body_limit: int) -> None:
        super().__init__()
        self.puppet = Puppet()
        self.puppet.loop = self
        self.stream = RecordingStream()
        head = HeadReader(None).read(wire)
        scopes = ScopeFactory(Origin(CLIENT, "http", HOST, ""), None)

        def make() -> ApplicationCycle:
            tasks = ApplicationTasks(application or self.puppet, eager=eager())
            context = CycleContext(tasks, self.clock, body_limit, close_timeout=10.0)
            return ApplicationCycle(context, scopes, head, self.stream)

        self.cycle = self.call(make)
        self.call(self.cycle.start)

    def send(self, message: dict[str, Any]) -> asyncio.Task[None]:
        """Send a message of the application; its type goes without the common prefix."""
        return self.send_as_is({**message, "type": f"http.response.{message['type']}"})

    def send_as_is(self, message: Any) -> asyncio.Task[None]:
        """Send whatever it is."""
        return self.puppet.calls[0].send(message)

    def exchange_error(self, message: Any) -> BaseException | None:
        """Return the error of a message."""
        return self.send_as_is(message).exception()

    @property
    def the_call(self) -> Call:
        """The application's one call."""
        return self.puppet.calls[0]

    def close(self) -> None:
        """End the application quietly."""
        for call in self.puppet.calls:
            self.call(call.end.cancel)
        super().close()


class CycleTestCase(WireTestCase):
    """Tests of cycles, alone or on a wire."""

    def exchange(
        self, wire: bytes = GET, application: Any = None, body_limit: int = 10
    ) -> Exchange:
        """Return a new exchange for the head of a request."""
        exchange = Exchange(application, wire, body_limit)
        self.addCleanup(self._close_quietly, exchange)
        return exchange

    def _close_quietly(self, exchange: Exchange) -> None:
        # Many of these end in the middle, which is worth a line in the log, but not here.
        logger = logging.getLogger(LOGGER)
        logger.disabled = True
        try:
            exchange.close()
        finally:
            logger.disabled = False

    def wire(self, data: bytes = GET, **values: Any) -> tuple[MemoryClient, Call]:
        """Return a client on a memory connection and the call of its request."""
        return self.begin(data, **values)


@tag("loop")
class ReceiveTests(CycleTestCase):
    """What receive() gives, and when."""

    def body(self, **facts: Any) -> tuple[Exchange, Call]:
        """Return an exchange whose request has a body, and its call."""
        exchange = self.exchange(request(CHUNKED, line=POST), **facts)
        return exchange, exchange.the_call

    def test_pieces_are_joined(self):
        """The application is late and gets in one message what came in two."""
        exchange, call = self.body()
        exchange.call(exchange.cycle.body_received, b"abc", True)
        exchange.call(exchange.cycle.body_received, b"def", True)
        message = {"type": "http.request", "body": b"abcdef", "more_body": True}
        self.assertEqual(call.receive_now(), message)

    def test_end_alone(self):
        """The body ends without further bytes, and the application is told so."""
        exchange, call = self.body()
        exchange.call(exchange.cycle.body_received, b"abc", True)
        call.receive_now()
        waiting = call.receive()
        exchange.call(exchange.cycle.body_received, b"", False)
        message = {"type": "http.request", "body": b"", "more_body": False}
        self.assertEqual(waiting.result(), message)

    def test_cancelled(self):
        """The application cancels a pending receive() and loses nothing by it."""
        exchange, call = self.body()
        waiting = call.receive()
        exchange.call(waiting.cancel)
        self.assertTrue(waiting.cancelled())
        exchange.call(exchange.cycle.body_received, b"abc", False)
        self.assertEqual(call.receive_now()["body"], b"abc")

    def test_cancelled_as_it_comes(self):
        """The body comes in the turn in which the application cancels its receive()."""
        exchange, call = self.body()
        waiting = call.receive()

        def both() -> None:
            exchange.cycle.body_received(b"abc", False)
            waiting.cancel()

        exchange.call(both)
        got = [] if waiting.cancelled() else [waiting.result()["body"]]
        if not got:
            got.append(call.receive_now()["body"])
        self.assertEqual(got, [b"abc"])

    def test_asked_too_often(self):
        """The application asks again after the whole body: only the end is left to be told."""
        exchange = self.exchange()
        call = exchange.the_call
        call.receive_now()
        waiting = call.receive()
        self.assertFalse(waiting.done())
        exchange.call(exchange.cycle.disconnected)
        self.assertEqual(waiting.result(), DISCONNECT)

    def test_two_receivers(self):
        """The application waits in two tasks, and both are told of the end."""
        exchange = self.exchange()
        exchange.the_call.receive_now()
        waiting = [exchange.the_call.receive() for _ in range(2)]
        exchange.call(exchange.cycle.disconnected)
        self.assertEqual([task.result() for task in waiting], [DISCONNECT] * 2)

    def test_disconnect_at_the_end(self):
        """The application has answered: whatever it did not take is gone."""
        exchange, call = self.body()
        exchange.call(exchange.cycle.body_received, b"abc", True)
        call.start()
        call.body()
        self.assertEqual([call.receive_now() for _ in range(3)], [DISCONNECT] * 3)

    def test_reading_pauses(self):
        """The application does not take the body: reading is paused once, then resumed once."""
        exchange, call = self.body(body_limit=5)
        for _ in range(4):
            exchange.call(exchange.cycle.body_received, b"abc", True)
        self.assertEqual(exchange.stream.said, [("pause",)])
        call.receive_now()
        self.assertEqual(exchange.stream.said, [("pause",), ("resume",)])

    def test_complete_body_pauses_nothing(self):
        """The last piece is large, and there is nothing left to pause."""
        exchange, _ = self.body(body_limit=5)
        exchange.call(exchange.cycle.body_received, b"x" * 100, False)
        self.assertEqual(exchange.stream.said, [])

    def test_no_resume_after_leaving(self):
        """The client left; the stream is not called again whatever the application does."""
        exchange, call = self.body(body_limit=5)
        exchange.call(exchange.cycle.body_received, b"x" * 9, True)
        exchange.call(exchange.cycle.disconnected)
        self.assertEqual(call.receive_now()["body"], b"x" * 9)
        self.assertEqual(call.receive_now(), DISCONNECT)
        self.assertEqual(exchange.stream.said, [("pause",)])


@tag("loop")
class DjangoTests(CycleTestCase):
    """What Django's handler does on every request."""

    def test_listens_for_disconnect(self):
        """Django waits for the end beside its view and cancels the waiting when it has answered."""
        outcome: list[str] = []

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            async with asyncio.TaskGroup() as group:
                listening = group.create_task(receive())
                await asyncio.sleep(0)
                await send({"type": "http.response.start", "status": 200})
                await send({"type": "http.response.body", "body": b"hello"})
                listening.cancel()
            outcome.append("cancelled" if listening.cancelled() else listening.result()["type"])

        client = self.connect(application)
        for _ in range(2):
            client.send(GET)
        self.assertEqual(client.statuses(), [200, 200])
        self.assertTrue({*outcome} <= {"cancelled", "http.disconnect"})
        self.assertEqual(len(outcome), 2)

    def test_task_is_cancelled_on_leaving(self):
        """Django raises from a listening task when the client leaves, and its view is cancelled."""
        outcome: list[str] = []

        async def application(scope: Any, receive: Any, send: Any) -> None:
            async def listen() -> None:
                self.assertEqual((await receive())["type"], "http.disconnect")
                raise RuntimeError("left")

            await receive()
            with contextlib.suppress(ExceptionGroup):
                async with asyncio.TaskGroup() as group:
                    group.create_task(listen())
                    try:
                        await asyncio.Event().wait()
                    except asyncio.CancelledError:
                        outcome.append("cancelled")
                        raise

        client = self.connect(application)
        client.send(GET)
        client.reset()
        self.assertEqual(outcome, ["cancelled"])

    def test_names_keep_their_case(self):
        """Django's header names reach an HTTP/1.1 client as it wrote them, repeated ones too."""
        client, call = self.wire()
        call.start(200, [(b"Set-Cookie", b"a=1"), (b"set-cookie", b"b=2"), (b"X-fOO", b"")])
        call.body()
        self.assertIn(b"\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\nX-fOO: \r\n", client.read())


@tag("loop")
class HintTests(CycleTestCase):
    """http.response.early_hint: 103 before the response."""

    LINKS = (b"</a.css>; rel=preload", b"</b.js>; rel=preload")

    def test_hints(self):
        """The application hints twice and the client gets both before its answer."""
        client, call = self.wire()
        call.send("early_hint", links=self.LINKS).result()
        call.send("early_hint", links=self.LINKS[:1]).result()
        head = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n"
        self.assertEqual(
            client.read(), head + b"Link: </b.js>; rel=preload\r\n\r\n" + head + b"\r\n"
        )
        call.answer()
        self.assertEqual(client.statuses(), [200])

    def test_http10(self):
        """The client of HTTP/1.0 knows no hints and gets none."""
        client, call = self.wire(b"GET / HTTP/1.0\r\n\r\n")
        call.send("early_hint", links=self.LINKS).result()
        call.answer()
        self.assertTrue(client.read().startswith(b"HTTP/1.1 200 OK\r\n"))

    def test_with_expectation(self):
        """The client waits for 100 and is hinted at something meanwhile."""
        client, call = self.wire(request(FIVE, b"Expect: 100-continue", line=POST))
        call.send("early_hint", links=self.LINKS).result()
        waiting = call.receive()
        client.send(b"hello")
        self.assertEqual(waiting.result()["body"], b"hello")
        call.answer()
        self.assertEqual(client.statuses(), [103, 100, 200])


@tag("loop")
class DoubleCallableTests(CycleTestCase):
    """Applications of ASGI 2, which are called twice."""

    def test_class(self):
        """The operator serves a class whose instances are called with receive and send."""

        class Application:
            def __init__(self, scope: Any) -> None:
                self.scope = scope

            async def __call__(self, receive: Any, send: Any) -> None:
                await send({"type": "http.response.start", "status": 200})
                await send({"type": "http.response.body", "body": self.scope["raw_path"]})

        with serve(Application) as server, socket.create_connection(server.address) as sock:
            sock.sendall(request(b"Connection: close"))
            answer = b"".join(iter(lambda: sock.recv(65536), b""))
        self.assertTrue(answer.endswith(b"\r\n\r\n/zebra"))
