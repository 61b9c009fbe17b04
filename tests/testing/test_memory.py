"""The server in memory: its clock, its threads, its ends. What it serves is tested elsewhere."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from asgiref.sync import async_to_sync, sync_to_async
from django.core.asgi import get_asgi_application
from django.test import SimpleTestCase

from django_daphne.server import ConfigurationError, LifespanFailure
from django_daphne.testing import MemoryConnection, MemoryServer

OK = b"HTTP/1.1 200 OK\r\n"
SHORT = 0.05  # seconds, of what is meant to run out


def get(path: str = "/") -> bytes:
    """Return a request."""
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


async def answer(send: Any, body: bytes = b"hello") -> None:
    """Send a whole response."""
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def hello(scope: Any, receive: Any, send: Any) -> None:
    """Answer every request in the same way."""
    assert scope["type"] == "http"
    await answer(send)


class MemoryTestCase(SimpleTestCase):
    """Tests of a server in memory."""

    def connect(self, application: Any, **options: Any) -> MemoryConnection:
        """Return a connection to a new server."""
        return self.enterContext(MemoryServer(application, **options)).connect()


class ConnectionTests(MemoryTestCase):
    """Bytes in, bytes out."""

    def test_response(self):
        """The client sees each byte of a response, once; the date is that of the clock."""
        connection = self.connect(hello)
        connection.feed(get())
        fields = b"content-length: 5\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nServer: daphne\r\n"
        self.assertEqual(connection.read(), OK + fields + b"\r\nhello")
        self.assertEqual(connection.read(), b"")
        connection.server.advance(3)
        connection.feed_bytewise(get())
        self.assertIn(b"Date: Thu, 01 Jan 1970 00:00:03 GMT\r\n", connection.read())

    def test_no_bytes(self):
        """The developer feeds a text."""
        with self.assertRaisesRegex(TypeError, r"feed\(\) takes bytes, not str"):
            self.connect(hello).feed("GET /")  # type: ignore[arg-type]

    def test_addresses(self):
        """The application is told who connects, and by what."""
        scopes: list[Any] = []

        async def application(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                scopes.append(scope)
                await answer(send)

        server = self.enterContext(MemoryServer(application))
        for options in ({}, {"client": None, "server": None}, {"is_tls": True}):
            server.connect(**options).feed(get())
        plain, unix, encrypted = scopes
        self.assertEqual(plain["client"], ("192.0.2.1", 40000))
        self.assertEqual(plain["server"], ("192.0.2.9", 8000))
        self.assertEqual((unix["client"], unix["server"]), (None, None))
        self.assertEqual(encrypted["scheme"], "https")
        self.assertEqual(encrypted["extensions"]["tls"]["tls_version"], 0x0304)

    def test_http2(self):
        """The client says by ALPN that it speaks HTTP/2, and hears of the server's settings."""
        server = self.enterContext(MemoryServer(hello))
        connection = server.connect(alpn="h2")
        connection.feed(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
        self.assertEqual(connection.read()[3:4], b"\4")

    def test_endings(self):
        """The client half-closes, the client leaves, the server closes, the server cuts off."""

        async def cut(scope: Any, receive: Any, send: Any) -> None:
            assert scope["type"] == "http"
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": b"begun", "more_body": True})
            raise ValueError("as asked")

        def half_close(connection: MemoryConnection) -> None:
            connection.feed(get())
            connection.feed_eof()

        def ask_to_close(connection: MemoryConnection) -> None:
            connection.feed(get()[:-2] + b"Connection: close\r\n\r\n")

        for end in (half_close, ask_to_close):
            connection = self.connect(hello)
            self.assertFalse(connection.is_closed)
            end(connection)
            self.assertTrue(connection.read().startswith(OK))
            self.assertEqual((connection.is_closed, connection.was_reset), (True, False))
        connection = self.connect(hello)
        connection.reset()
        self.assertEqual((connection.is_closed, connection.was_reset), (True, False))
        connection.feed(get())
        self.assertEqual(connection.read(), b"")
        connection = self.connect(cut)
        with self.assertLogs("django_daphne.server", "ERROR"):
            connection.feed(get())
        self.assertTrue(connection.was_reset)

    def test_backpressure(self):
        """The client stops reading, and the application waits until it reads on."""
        sent: list[int] = []

        async def application(scope: Any, receive: Any, send: Any) -> None:
            assert scope["type"] == "http"
            await send({"type": "http.response.start", "status": 200})
            for number in range(100):
                await send({"type": "http.response.body", "body": bytes(1024), "more_body": True})
                sent.append(number)
            await send({"type": "http.response.body"})

        connection = self.connect(application, write_buffer_size=8192)
        connection.pause_reading()
        connection.feed(get())
        before = len(sent)
        self.assertLess(before, 20)
        self.assertGreater(connection.waiting, 8192)
        self.assertEqual(connection.read(), b"")
        connection.take(connection.waiting)
        self.assertLess(before, len(sent))
        self.assertLess(len(sent), 100)
        connection.resume_reading()
        self.assertEqual((len(sent), connection.waiting), (100, 0))
        self.assertTrue(connection.read().endswith(b"0\r\n\r\n"))

    def test_endless(self):
        """The application sends without end: the client reads 16 MiB ahead, and then so much more.

        The server has no more than its buffer beside that.
        """

        async def application(scope: Any, receive: Any, send: Any) -> None:
            assert scope["type"] == "http"
            await send({"type": "http.response.start", "status": 200})
            while True:
                part = {"type": "http.response.body", "body": bytes(1 << 20), "more_body": True}
                await send(part)

        connection = self.connect(application)
        connection.feed(get())
        for _ in range(3):
            self.assertLess(connection.waiting, 3 << 20)
            self.assertLess(abs(len(connection.read()) - (16 << 20)), 3 << 20)

    def test_access(self):
        """The developer reads what the access log would say."""
        connection = self.connect(hello)
        connection.feed(get("/zebra"))
        (record,) = connection.server.access
        self.assertEqual((record.target, record.status, record.size), (b"/zebra", 200, 5))


class ClockTests(MemoryTestCase):
    """Time passes when it is told to, for the server and for the application."""

    def test_deadline(self):
        """The server ends an idle connection, not before its time."""
        connection = self.connect(hello, keep_alive_timeout=5)
        connection.feed(get())
        connection.server.advance(4.9)
        self.assertFalse(connection.is_closed)
        connection.server.advance(0.4)
        self.assertTrue(connection.is_closed)

    def test_sleep(self):
        """The application sleeps for an hour, and has a deadline of its own."""

        async def application(scope: Any, receive: Any, send: Any) -> None:
            assert scope["type"] == "http"
            await asyncio.sleep(3600)
            try:
                async with asyncio.timeout(60):
                    await asyncio.Event().wait()
            except TimeoutError:
                await answer(send)

        connection = self.connect(application)
        connection.feed(get())
        connection.server.advance(3659)
        self.assertEqual(connection.read(), b"")
        connection.server.advance(1)
        self.assertTrue(connection.read().startswith(OK))

    def test_order(self):
        """Timers of the server and of the application come in order, each at its time."""
        server = self.enterContext(MemoryServer(hello))
        came: list[tuple[str, float]] = []
        began = server.clock.now()

        def note(name: str) -> None:
            came.append((name, server.clock.now() - began))

        server.clock.call_later(2.0, note, "clock")
        server.call(server.loop.call_later, 1.0, note, "loop")
        server.call(server.loop.call_later, 3.0, note, "loop")
        server.clock.call_later(200_000.0, note, "clock")
        server.call(server.loop.call_later, 300_000.0, note, "loop")
        server.advance(400_000)
        expected = [(1.0, "loop"), (2.0, "clock"), (3.0, "loop")]
        expected += [(200_000.0, "clock"), (300_000.0, "loop")]
        self.assertEqual([(when, name) for name, when in came], expected)

    def test_back(self):
        """The developer turns the clock back."""
        server = self.enterContext(MemoryServer(hello))
        with self.assertRaisesRegex(ValueError, "does not go back: -1"):
            server.advance(-1)

    def test_coroutine(self):
        """The developer runs a coroutine beside the application, for which time passes."""
        server = self.enterContext(MemoryServer(hello))
        began = server.clock.now()
        self.assertEqual(server.run(asyncio.sleep(30, "rested")), "rested")
        self.assertEqual(server.clock.now() - began, 30)
        with self.assertRaisesRegex(TimeoutError, "Event.wait.* waits for what nobody does"):
            server.run(asyncio.Event().wait())


class ThreadTests(MemoryTestCase):
    """Threads take real time; the step that began them is over when they are."""

    def test_executors(self):
        """The application calls a thread in each of the usual ways."""

        def work() -> bytes:
            threading.Event().wait(0.01)
            return b"worked"

        async def application(scope: Any, receive: Any, send: Any) -> None:
            assert scope["type"] == "http"
            if scope["path"] == "/asyncio":
                await answer(send, await asyncio.to_thread(work))
            else:
                await answer(send, await sync_to_async(work)())

        connection = self.connect(application)
        for path in ("/asyncio", "/asgiref"):
            connection.feed(get(path))
            self.assertTrue(connection.read().endswith(b"worked"), path)

    def test_thread_waits_for_clock(self):
        """Sync code calls async code, which sleeps: the step ends, and the clock moves it on."""

        def work() -> bytes:
            async_to_sync(asyncio.sleep)(5)
            threading.Event().wait(0.01)
            return b"worked"

        async def application(scope: Any, receive: Any, send: Any) -> None:
            assert scope["type"] == "http"
            await answer(send, await sync_to_async(work)())

        connection = self.connect(application)
        connection.feed(get())
        connection.server.advance(4)
        self.assertEqual(connection.read(), b"")
        connection.server.advance(1)
        self.assertTrue(connection.read().endswith(b"worked"))

    def test_unknown_thread(self):
        """The application has a thread of its own, which nobody can know of: the test waits."""

        async def application(scope: Any, receive: Any, send: Any) -> None:
            assert scope["type"] == "http"
            done, loop = asyncio.Event(), asyncio.get_running_loop()
            threading.Timer(0.01, loop.call_soon_threadsafe, (done.set,)).start()
            await done.wait()
            await answer(send)

        connection = self.connect(application)
        connection.feed(get())
        self.assertTrue(connection.read_until(b"hello").startswith(OK))

    def test_django(self):
        """Django answers from the threads of this package, one request behind the other."""
        connection = self.connect(get_asgi_application())
        for _ in range(2):
            connection.feed(get("/no/such/page/"))
            self.assertIn(b"404 Not Found", connection.read_until(b"</html>"))

    def test_nothing_comes(self):
        """The test waits for what does not come, or cannot come any more."""
        connection = self.connect(hello)
        connection.feed(get())
        server = connection.server
        patience, server.loop.patience = server.loop.patience, SHORT
        with self.assertRaisesRegex(TimeoutError, r"b'zebra' in .*hello"):
            connection.read_until(b"zebra")
        server.loop.patience = patience
        server.advance(1)
        server.drain()
        with self.assertRaisesRegex(EOFError, r"closed before b'zebra': .*hello"):
            connection.read_until(b"zebra")

    def test_no_rest(self):
        """The application computes for ever, in the loop or in a thread; each step ends."""
        go_on = threading.Event()
        self.addCleanup(go_on.set)

        async def application(scope: Any, receive: Any, send: Any) -> None:
            assert scope["type"] == "http"
            if scope["path"] == "/thread":
                await asyncio.to_thread(go_on.wait)
            while True:
                await asyncio.sleep(0)

        for path, why in (("/thread", "a thread is at work"), ("/", "goes on without waiting")):
            server = MemoryServer(application)
            server.start()
            connection = server.connect()
            server.loop.patience = SHORT
            with self.assertRaisesRegex(TimeoutError, f"No rest after 0.05 s.*: .*{why}"):
                connection.feed(get(path))
            with self.assertRaises(TimeoutError):
                server.close()
            self.assertTrue(server.loop.is_closed())


class LifeTests(MemoryTestCase):
    """The beginning and the end."""

    def test_lifespan(self):
        """The application starts and stops, and takes its time; its state is in the scope."""
        events: list[str] = []

        async def application(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                await answer(send, scope["state"]["greeting"])
                return
            for verb in ("startup", "shutdown"):
                events.append((await receive())["type"])
                await asyncio.sleep(1)
                scope["state"]["greeting"] = b"good morning"
                await send({"type": f"lifespan.{verb}.complete"})

        with MemoryServer(application) as server:
            self.assertEqual(events, ["lifespan.startup"])
            connection = server.connect()
            connection.feed(get())
            self.assertTrue(connection.read().endswith(b"good morning"))
        self.assertEqual(events, ["lifespan.startup", "lifespan.shutdown"])

    def test_lifespan_fails(self):
        """The application does not start in time, by the clock."""

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await asyncio.Event().wait()

        server = MemoryServer(application, lifespan_timeout=1000)
        with self.assertRaisesRegex(LifespanFailure, "did not start within 1000 s"):
            server.start()
        self.assertTrue(server.loop.is_closed())

    def test_options(self):
        """The developer mistypes an option."""
        with self.assertRaisesRegex(ConfigurationError, "keep_alive_timeuot"):
            MemoryServer(hello, keep_alive_timeuot=5)

    def test_end(self):
        """What runs when the server ends hears that its client has left; other tasks are ended."""
        heard: list[str] = []

        async def forget() -> None:
            try:
                await asyncio.sleep(3600)
            finally:
                heard.append("background task")

        async def application(scope: Any, receive: Any, send: Any) -> None:
            assert scope["type"] == "http"
            application.background = asyncio.create_task(forget())  # type: ignore[attr-defined]
            await receive()
            heard.append((await receive())["type"])

        with MemoryServer(application) as server:
            server.connect().feed(get())
        server.close()
        self.assertEqual(heard, ["http.disconnect", "background task"])

    def test_drain(self):
        """The server stops as one does in production: it answers what it has, then closes."""
        connection = self.connect(hello)
        connection.feed(get()[:-2])
        connection.server.drain()
        connection.feed(b"\r\n")
        self.assertIn(b"Connection: close\r\n", connection.read())
        self.assertTrue(connection.is_closed)

    def fail_unseen(self, server: MemoryServer) -> None:
        """Let a callback fail, where there is nobody to tell."""

        def fail() -> None:
            raise LookupError("unseen")

        server.call(server.loop.call_soon, fail)

    def test_fault(self):
        """A callback of the application has failed, which shows at the end."""
        server = MemoryServer(hello)
        self.fail_unseen(server)
        with self.assertRaisesRegex(AssertionError, "the event loop has reported.*unseen"):
            server.close()

    def test_failing_test(self):
        """A test fails, and the server's faults do not hide that."""
        with self.assertRaisesRegex(LookupError, "of the test"), MemoryServer(hello) as server:
            self.fail_unseen(server)
            raise LookupError("of the test")

    async def test_in_coroutine(self):
        """The developer uses it in a test that has a loop already."""
        with self.assertRaisesRegex(RuntimeError, "MemoryServer has an event loop of its own"):
            MemoryServer(hello)
