"""Clients that leave Django's views, by the hundred and again and again."""

from __future__ import annotations

import json
import os
import re
import socket

from django.test import tag

from tests.heavy import MemoryTestCase, ServerProcess, eventually, reset
from tests.support.processes import get

from .projects import SmallProjectTestCase

ROUNDS = 3

TROUBLE = re.compile(r" (WARNING|ERROR|CRITICAL) |Traceback|Task was destroyed|never awaited")
FULL = re.compile(r"All \d+ threads .* are busy")

SETTINGS = """
    DAPHNE = {{
        "DJANGO_HANDLER": "threaded",
        "THREADS": {threads},
        "THREAD_IDLE_TIMEOUT": 0.5,
        "HALF_CLOSE_TIMEOUT": 0.1,
    }}
    MIDDLEWARE = ["django.middleware.common.CommonMiddleware", *{middleware}]
    ASGI_APPLICATION = "site_asgi.application"
"""

# What the test has to ask and to say never waits for a thread of Django's.
ASGI = """
    import json
    from django.core.asgi import get_asgi_application

    project = get_asgi_application()

    from site_urls import counts, lock, released

    async def application(scope, receive, send):
        name, _, number = scope.get("path", "/")[1:].partition("/")
        if name == "state":
            with lock:
                body = json.dumps(counts).encode()
        elif name == "release":
            released[int(number)].set()
            body = b"released"
        else:
            return await project(scope, receive, send)
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": body})
"""

# Every view waits until its round is released, or for ever; the project counts what becomes of it.
URLS = """
    import asyncio, threading
    from collections import Counter, defaultdict
    from asgiref.sync import async_to_sync, iscoroutinefunction, sync_to_async
    from django.core.signals import request_finished, request_started
    from django.http import HttpResponse, StreamingHttpResponse
    from django.urls import path
    from django.utils.decorators import sync_and_async_middleware

    counts, lock = Counter(), threading.Lock()
    released = defaultdict(threading.Event)

    def count(name):
        with lock:
            counts[name] += 1

    def note_start(**values):
        count("started")

    def note_end(**values):
        count("finished")

    request_started.connect(note_start)
    request_finished.connect(note_end)

    @sync_and_async_middleware
    def passing(get_response):
        "No hooks-only class: it has to be called around the view."
        if not iscoroutinefunction(get_response):
            return lambda request: get_response(request)

        async def call(request):
            return await get_response(request)

        return call

    def hello(request):
        return HttpResponse("hello")

    async def async_hello(request):
        return HttpResponse("hello")

    def wait(request, number):
        count("running")
        released[number].wait()
        count("ended")
        return HttpResponse("done")

    def wait_on_loop(request, number):
        async def for_ever():
            count("running")
            try:
                await asyncio.Event().wait()
            finally:
                count("ended")

        async_to_sync(for_ever)()

    async def async_wait(request, number):
        count("running")
        try:
            await asyncio.Event().wait()
        finally:
            count("ended")

    async def async_wait_in_thread(request, number):
        return await sync_to_async(wait)(request, number)

    def stream(request, number):
        def pieces():
            count("running")
            try:
                while True:
                    yield bytes(10_000)
            finally:
                count("ended")

        return StreamingHttpResponse(pieces())

    def stream_that_waits(request, number):
        def pieces():
            count("running")
            try:
                yield "first"
                released[number].wait()
                yield "second"
                yield "third"
            finally:
                count("ended")

        return StreamingHttpResponse(pieces())

    def async_stream(request, number):
        async def pieces():
            count("running")
            try:
                yield "first"
                await asyncio.Event().wait()
            finally:
                count("ended")

        return StreamingHttpResponse(pieces())

    async def async_view_stream(request, number):
        return async_stream(request, number)

    urlpatterns = [
        path("hello", hello),
        path("async-hello", async_hello),
        path("wait/sync/<int:number>", wait),
        path("wait/loop/<int:number>", wait_on_loop),
        path("wait/async/<int:number>", async_wait),
        path("wait/thread/<int:number>", async_wait_in_thread),
        path("wait/stream/<int:number>", stream),
        path("wait/slow-stream/<int:number>", stream_that_waits),
        path("wait/async-stream/<int:number>", async_stream),
        path("wait/async-view-stream/<int:number>", async_view_stream),
    ]
"""


class LeavingTestCase(SmallProjectTestCase, MemoryTestCase):
    """Tests with a project whose views wait."""

    middleware: tuple[str, ...] = ()

    def serve_project(self, threads: int) -> ServerProcess:
        """Start the server, with so many threads for sync views."""
        self.settings_are(SETTINGS.format(threads=threads, middleware=self.middleware))
        self.write("site_urls.py", URLS)
        self.write("site_asgi.py", ASGI)
        loop = os.environ.get("DAPHNE_TEST_LOOP", "auto")
        options = ("-p", "0", "--loop", loop, "--access-log", "access.log")
        server = ServerProcess(self.manage("rundaphne", *options))
        self.assert_serves(server)
        return server

    def counts(self, server: ServerProcess) -> dict[str, int]:
        """Return how often what has happened."""
        found: dict[str, int] = json.loads(get(server.port, "/state").text)
        return {name: found.get(name, 0) for name in ("started", "running", "ended", "finished")}

    def assert_serves(self, server: ServerProcess) -> None:
        """Assert that the next clients are served."""
        self.assertEqual(get(server.port, "/hello").text, "hello", server.process)
        self.assertEqual(get(server.port, "/async-hello").text, "hello", server.process)

    def come_and_leave(
        self, server: ServerProcess, kind: str, number: int, clients: int, running: int
    ) -> None:
        """Let so many clients ask, and leave when some views run; half of them by a reset."""
        before = self.counts(server)["running"]
        request = f"GET /wait/{kind}/{number} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
        with server.clients(clients) as sockets:
            for sock in sockets:
                sock.sendall(request)
            self.assertTrue(
                eventually(lambda: self.counts(server)["running"] >= before + running),
                (self.counts(server), before, server.process),
            )
            if kind.endswith("stream") and running == clients:
                for sock in sockets:
                    self.assertTrue(sock.recv(1000).startswith(b"HTTP/1.1 200"))
            # A client that only says that it sends no more may still read what begins after that.
            resets_only = kind.endswith("stream") and running < clients
            for place, sock in enumerate(sockets):
                if place % 2 or resets_only:
                    reset(sock)
                else:
                    sock.shutdown(socket.SHUT_RDWR)

    def check(
        self, kind: str, clients: int = 40, threads: int = 64, running: int | None = None
    ) -> None:
        """Let clients come and leave, round after round, and see that nothing of it stays.

        `running` is how many views run before the clients leave, which is all of them by default.
        """
        server = self.serve_project(threads)
        descriptors, own_threads = server.idle
        for number in range(ROUNDS):
            self.come_and_leave(server, kind, number, clients, running or clients)
            # The server has let all of them go, whatever their views are doing.
            gone = eventually(lambda: server.descriptors == descriptors)
            self.assertTrue(gone, (server.descriptors, descriptors, server.process))
            if clients <= threads or kind == "sync":  # not all threads of any kind are taken
                self.assertEqual(get(server.port, "/async-hello").text, "hello")
            self.assertEqual(get(server.port, f"/release/{number}").text, "released")
            self.assert_serves(server)
            self.assertTrue(eventually(lambda: self.is_idle(server)), self.counts(server))
        if running is None:
            self.assertEqual(self.counts(server)["running"], ROUNDS * clients)
        ended = eventually(lambda: server.threads == own_threads)
        self.assertTrue(ended, (server.threads, own_threads, server.process))
        self.assert_serves(server)
        self.assert_silent(server, may_be_full=running is not None)

    def is_idle(self, server: ServerProcess) -> bool:
        """Tell whether no view runs, and each request has ended."""
        counts = self.counts(server)
        return counts["started"] == counts["finished"] and counts["running"] == counts["ended"]

    def assert_silent(self, server: ServerProcess, *, may_be_full: bool) -> None:
        """Stop the server; it said nothing above INFO, but perhaps that more came than it takes."""
        errors = self.finish(server.process).errors
        found = [line for line in errors.splitlines() if TROUBLE.search(line)]
        if may_be_full:
            found = [line for line in found if not FULL.search(line)]
        self.assertEqual(found, [], errors[-4000:])


class SyncTests(LeavingTestCase):
    """Clients leave sync views."""

    @tag("loop")
    def test_slow_views(self):
        """Two hundred clients leave as many views that run."""
        self.check("sync", 200, threads=210)

    def test_waiting_for_a_thread(self):
        """Two hundred clients leave eight views that run, and the wait for one."""
        self.check("sync", 200, threads=8, running=8)

    def test_on_the_loop(self):
        """The clients leave views that wait for async code of theirs, which is cancelled."""
        self.check("loop")

    def test_stream(self):
        """The clients leave in the middle of streams that would never end."""
        self.check("stream")

    def test_waiting_stream(self):
        """The clients leave streams whose generators wait for something else."""
        self.check("slow-stream")

    def test_more_streams_than_threads(self):
        """The clients leave streams, and the wait for one."""
        self.check("slow-stream", threads=4, running=4)

    def test_async_stream(self):
        """The clients leave async streams of sync views."""
        self.check("async-stream")


class AsyncTests(LeavingTestCase):
    """Clients leave async views, in a project whose middleware can be taken apart."""

    def test_views(self):
        """The clients leave views that wait on the loop: each is cancelled."""
        self.check("async", 200, threads=80)

    def test_threads(self):
        """The clients leave views that wait for sync code of theirs."""
        self.check("thread", 20)

    @tag("loop")
    def test_stream(self):
        """The clients leave streams that wait on the loop."""
        self.check("async-view-stream")


class WrappedTests(AsyncTests):
    """Clients leave async views, below a middleware that has to be called around them."""

    middleware = ("site_urls.passing",)
