"""The threaded handler behind the real server, with real clients."""

from __future__ import annotations

import asyncio
import gc
import itertools
import logging
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from contextvars import Context
from http.client import HTTPConnection
from typing import Any
from unittest import mock

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import tag
from django.urls import path

from django_daphne.handlers.lanes import Lane
from tests.support.processes import get
from tests.support.server import PATIENCE, RunningServer, serve

from .support import LANE, Gate, HandlerTestCase

MEGABYTE = 1024 * 1024


def hello(request: HttpRequest) -> HttpResponse:
    """Answer at once."""
    return HttpResponse(f"hello from {threading.current_thread().name}")


def reset(client: HTTPConnection) -> None:
    """Leave so that the server hears of it at once."""
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


@contextmanager
def collecting() -> Iterator[list[Any]]:
    """Give a list that holds, after the block, what only the garbage collector could free."""
    garbage: list[Any] = []
    gc.collect()
    gc.disable()
    try:
        yield garbage
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        garbage += gc.garbage
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


@tag("loop")
class ServerTests(HandlerTestCase):
    """What clients see, and what becomes of the views that they have left."""

    def start(self, view: Any, *patterns: Any, **values: Any) -> RunningServer:
        """Serve a project with a view at / and a hello."""
        self.ended = threading.Event()
        handler = self.handler(view, path("hello", hello), *patterns, **values)

        async def application(scope: Any, receive: Any, send: Any) -> None:
            try:
                await handler(scope, receive, send)
            finally:
                if scope["path"] == "/":
                    self.ended.set()

        # Who has closed the own side is soon taken for gone.
        return self.enterContext(serve(application, half_close_timeout=0.1))

    def request(self, server: RunningServer, path: str = "/") -> HTTPConnection:
        """Send a request and return the client's connection."""
        client = HTTPConnection(server.host, server.port, timeout=PATIENCE)
        self.addCleanup(client.close)
        client.request("GET", path)
        return client

    def assert_serves(self, server: RunningServer) -> None:
        """Assert that the next client is served, and that all lanes are free then."""
        self.assertEqual(get(server.port, "/hello").text, f"hello from {LANE}")
        asyncio.run(self.assert_idle())

    def gated(self, gate: Gate) -> Any:
        """Return a view that waits at a gate."""

        def view(request: HttpRequest) -> HttpResponse:
            gate.wait()
            return HttpResponse("late")

        return view

    def test_many(self):
        """Clients come at once: each gets its own answer."""

        def view(request: HttpRequest, number: int) -> HttpResponse:
            return HttpResponse(str(number))

        server = self.start(hello, path("<int:number>", view))
        with ThreadPoolExecutor(8) as clients:
            numbers = clients.map(lambda number: get(server.port, f"/{number}").text, range(200))
            self.assertEqual(list(numbers), [str(number) for number in range(200)])
        self.assert_serves(server)

    def test_nothing_to_collect(self):
        """A client is answered: nothing of ours is left for the garbage collector."""

        async def view(request: HttpRequest) -> HttpResponse:
            return HttpResponse("async")

        server = self.start(hello, path("async", view))
        for name in ("/", "/async"):
            get(server.port, name)  # what is kept for the next is made
            self.assert_serves(server)
            with collecting() as garbage:
                self.assertEqual(get(server.port, name).status, 200)
                self.assert_serves(server)
            kinds = {type(item) for item in garbage}
            ours = {kind for kind in kinds if kind.__module__.startswith("django_daphne.handlers")}
            self.assertEqual(ours | kinds & {Context, HttpResponse, ASGIRequest}, set())

    def test_kept_connection(self):
        """A client sends one request after the other on its connection."""
        server = self.start(hello)
        ear = self.listen()
        with closing(self.request(server)) as client:
            for _ in range(3):
                self.assertEqual(client.getresponse().read().decode(), f"hello from {LANE}")
                client.request("GET", "/hello")
            client.getresponse().read()
        ear.wait(4)
        # A client may be faster than a lane is free again.
        self.assertLessEqual(len(self.pool), 2)

    def test_upload(self):
        """A client sends a large body: the view begins when all of it is there."""
        server = self.start(
            lambda request: HttpResponse(str(len(request.body))),
            DATA_UPLOAD_MAX_MEMORY_SIZE=4 * MEGABYTE,
        )
        with closing(HTTPConnection(server.host, server.port, timeout=PATIENCE)) as client:
            client.request("POST", "/", body=b"x" * 3 * MEGABYTE)
            self.assertEqual(client.getresponse().read(), str(3 * MEGABYTE).encode())
        self.assert_serves(server)

    def test_client_leaves(self):
        """The client leaves while its view runs: one line in the log, and the view goes on."""
        gate, ear = self.make_gate(), self.listen()
        server = self.start(self.gated(gate))
        with self.assertLogs("django_daphne.server", "INFO") as logs:
            client = self.request(server)
            self.assertTrue(gate.arrival.wait(PATIENCE))
            client.close()
            self.assertTrue(self.ended.wait(PATIENCE))
        self.assertEqual([record.levelname for record in logs.records], ["INFO"])
        self.assertEqual((ear.names, self.pool.busy), (["started"], 1))
        gate.open()
        ear.wait()
        self.assert_once(ear)
        self.assert_serves(server)

    def test_client_of_an_async_view_leaves(self):
        """The client resets its connection while an async view waits: the view is cancelled."""
        began, cancelled = threading.Event(), threading.Event()

        async def view(request: HttpRequest) -> HttpResponse:
            began.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.set()
                raise
            return HttpResponse("never")

        ear = self.listen()
        server = self.start(view)
        with self.assertLogs("django_daphne.server", "INFO") as logs:
            client = self.request(server)
            self.assertTrue(began.wait(PATIENCE))
            reset(client)
            self.assertTrue(cancelled.wait(PATIENCE))
            self.assertTrue(self.ended.wait(PATIENCE))
        self.assertEqual([record.levelname for record in logs.records], ["INFO"])
        ear.wait()
        self.assert_once(ear)
        self.assert_serves(server)

    def test_crowd_leaves(self):
        """More clients than there are lanes leave: all their views end, and the next is served."""
        gate, ear = self.make_gate(), self.listen()
        server = self.start(self.gated(gate))
        clients = [self.request(server) for _ in range(12)]
        self.assertTrue(gate.arrival.wait(PATIENCE))
        for client in clients[1:]:
            client.close()
        gate.open()
        self.assertEqual(clients[0].getresponse().read(), b"late")
        self.assert_serves(server)
        started = ear.names.count("started")
        ear.wait(started)
        self.assertEqual(ear.names.count("finished"), started)

    def test_crowd_resets(self):
        """Clients of all kinds of views leave at any moment: what has started is finished."""

        async def wait(request: HttpRequest) -> HttpResponse:
            for _ in range(20):
                await asyncio.sleep(0)
            return HttpResponse("waited")

        def stream(request: HttpRequest) -> StreamingHttpResponse:
            return StreamingHttpResponse(b"x" * 1024 for _ in range(20))

        server = self.start(hello, path("wait", wait), path("stream", stream))
        ear = self.listen()

        def visit(number: int) -> None:
            client = self.request(server, ("/hello", "/wait", "/stream")[number % 3])
            if number % 4 == 0:
                client.getresponse().read()
            elif number % 4 == 1:
                client.sock.recv(100)
            reset(client)

        with ThreadPoolExecutor(16) as clients:
            list(clients.map(visit, range(240)))
        self.assert_serves(server)
        server.stop()
        self.assertTrue(self.pool.close(PATIENCE))
        started, finished = (ear.names.count(name) for name in ("started", "finished"))
        self.assertGreater(started, 60)
        self.assertEqual(started, finished)

    def test_stopping_view(self):
        """A view raises what would end the process: its client hears, the next is served."""
        server = self.start(lambda request: exit(3))
        with self.assertLogs("django_daphne", "ERROR"):
            self.assertEqual(get(server.port).status, 500)
        self.assert_serves(server)

    def test_first_byte(self):
        """The view streams and has to wait: the client reads what came before."""
        gate = self.make_gate()

        def parts() -> Iterator[str]:
            yield "one"
            gate.wait()
            yield "two"

        server = self.start(lambda request: StreamingHttpResponse(parts()))
        response = self.request(server).getresponse()
        self.assertEqual(response.read(3), b"one")
        gate.open()
        self.assertEqual(response.read(), b"two")
        self.assert_serves(server)

    def test_client_of_an_endless_stream(self):
        """The client reads a part of a stream without end and leaves: the stream ends, too."""
        ended: list[int] = []
        ear = self.listen()

        def parts() -> Iterator[bytes]:
            try:
                for _ in itertools.count():
                    yield b"x" * 65536
            finally:
                ended.append(threading.get_ident())

        server = self.start(lambda request: StreamingHttpResponse(parts()))
        client = self.request(server)
        self.assertEqual(len(client.getresponse().read(MEGABYTE)), MEGABYTE)
        client.close()
        ear.wait()
        self.assert_once(ear)
        self.assertEqual(ended, ear.threads[:1])
        self.assert_serves(server)

    def test_work_after_the_answer(self):
        """A response does its work in close(): client and server are done with it before."""
        gate, ear = self.make_gate(), self.listen()
        server = self.start(self.working(gate.wait))
        with self.assertNoLogs("django_daphne", "INFO"):
            self.assertEqual(get(server.port).text, "hello")
            self.assertTrue(self.ended.wait(PATIENCE))
            self.assertEqual(ear.names, ["started"])
            self.assertEqual(get(server.port, "/hello").text, f"hello from {LANE}")
            gate.open()
            ear.wait(2)
        self.assert_serves(server)

    def test_followed_to_its_end(self):
        """A tool has put a send of its own before ours: it sees request_finished, too."""
        ear, names = self.listen(), list[str]()
        handler = self.handler(self.working(lambda: None))

        async def tool(scope: Any, receive: Any, send: Any) -> None:
            async def watch(message: Any) -> None:
                await send(message)

            await handler(scope, receive, watch)
            names.extend(ear.names)

        with serve(tool) as server:
            self.assertEqual(get(server.port).text, "hello")
            server.stop(PATIENCE)
        self.assertEqual(names, ["started", "finished"])

    def working(self, work: Callable[[], None]) -> Any:
        """Return a view whose response does some work in close()."""

        class Worker(HttpResponse):
            def close(self) -> None:
                work()
                super().close()

        return lambda request: Worker("hello")

    def test_failing_work_after_the_answer(self):
        """A response fails in close(): the log has it, with the request, and the next is served."""

        def fail() -> None:
            raise ValueError("no report was sent")

        server = self.start(self.working(fail))
        with self.assertLogs("django_daphne", "ERROR") as logs:
            self.assertEqual(get(server.port).text, "hello")
            asyncio.run(self.assert_idle())
        text = "Exception inside application: GET '/': no report was sent"
        self.assertEqual([record.getMessage() for record in logs.records], [text])
        self.assertIn("ValueError", logging.Formatter().format(logs.records[0]))
        self.assert_serves(server)

    def test_stop_during_work_after_the_answer(self):
        """The server stops while a response works in close(): it has its time for that, too."""
        gate, ear = self.make_gate(), self.listen()
        server = self.start(self.working(gate.wait))
        self.assertEqual(get(server.port).text, "hello")
        self.assertTrue(self.ended.wait(PATIENCE))
        with ThreadPoolExecutor(1) as threads:
            stopping = threads.submit(server.stop, PATIENCE)
            with self.assertRaises(TimeoutError):
                stopping.result(0.1)
            gate.open()
            stopping.result(PATIENCE)
        ear.wait()
        self.assert_once(ear)

    def test_no_thread(self):
        """The system has no thread for a request: that gets 500, and the next is served."""
        found: list[Any] = []
        handler = self.handler(hello, path("hello", hello))

        async def application(scope: Any, receive: Any, send: Any) -> None:
            found.append(receive.__self__.afterwork)
            await handler(scope, receive, send)

        server = self.enterContext(serve(application))
        refused = mock.patch.object(Lane, "start", side_effect=RuntimeError("no more threads"))
        with refused, self.assertLogs("django_daphne.server", "ERROR") as logs:
            self.assertEqual(get(server.port).status, 500)
        self.assertIn("no more threads", logs.output[0])
        self.assert_serves(server)
        self.assertEqual([len(afterwork) for afterwork in found], [0, 0])

    def test_stop(self):
        """The server stops and does not wait: the view goes on to its end, and closes."""
        gate, ear = self.make_gate(), self.listen()
        server = self.start(self.gated(gate))
        self.request(server)
        self.assertTrue(gate.arrival.wait(PATIENCE))
        server.stop()
        self.assertTrue(self.ended.wait(PATIENCE))
        self.assertEqual(ear.names, ["started"])
        gate.open()
        ear.wait()
        self.assert_once(ear)
        self.assertTrue(self.pool.close(PATIENCE))
