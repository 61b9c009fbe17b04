"""How an exchange ends early: the client leaves, or the application fails."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Callable
from typing import Any

from django.test import tag

from django_daphne.server import ApplicationError, ClientDisconnected
from tests.compliance import FIVE, POST, request

from .test_http_cycle import GET, LOGGER, CycleTestCase


@tag("loop")
class ClientLeftTests(CycleTestCase):
    """What send() does after the client left."""

    def run_application(self, application: Callable[..., Any], after: bytes = b"") -> None:
        """Run an application whose client leaves before it sends; no log above DEBUG is allowed."""
        client = self.connect(application)
        client.send(GET)
        with self.assertNoLogs(LOGGER, "INFO"):
            client.reset()

    def test_raises(self):
        """The application sends and gets an OSError, each time."""
        for _ in range(2):
            client, call = self.wire()
            client.reset()
            error = call.send("start", status=200).exception()
            self.assertIsInstance(error, ClientDisconnected)
            self.assertIsInstance(error, OSError)

    def test_inside_the_response(self):
        """The client leaves inside the response; the next part is what raises."""
        client, call = self.wire()
        call.start()
        call.body(b"part", more=True)
        client.reset()
        with self.assertRaises(ClientDisconnected):
            call.body(b"next")

    def test_let_out(self):
        """The application lets the error out: nothing worth a line in the log."""

        async def application(scope: Any, receive: Any, send: Any) -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            await send({"type": "http.response.start", "status": 200})

        self.run_application(application)

    def test_returns(self):
        """The application returns without an answer that nobody would get: no line either."""

        async def application(scope: Any, receive: Any, send: Any) -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        self.run_application(application)

    def test_own_error(self):
        """The application fails in another way after its client left, which is worth a line."""
        client, call = self.wire()
        client.reset()
        with self.assertLogs(LOGGER, "ERROR") as logs:
            call.fail(RuntimeError("disk full"))
        self.assertIn("disk full", logs.output[0])

    def test_stock_django(self):
        """Django's own handler sends, directly or deeper: its message is dropped in silence."""
        namespace: dict[str, Any] = {"__name__": "django.core.handlers.asgi"}
        source = "async def handler(send, message):\n    await send(message)\n    return 'sent'\n"
        exec(source, namespace)
        handler: types.FunctionType = namespace["handler"]
        outcomes: list[str] = []

        async def application(scope: Any, receive: Any, send: Any) -> None:
            async def middleware(message: Any) -> None:
                await send(message)

            while (await receive())["type"] != "http.disconnect":
                pass
            for way in (send, middleware):
                start = {"type": "http.response.start", "status": 200}
                outcomes.append(await handler(way, start))

        self.run_application(application)
        self.assertEqual(outcomes, ["sent", "sent"])

    def test_bad_message(self):
        """The application sends nonsense to a client that left: still its own fault."""
        client, call = self.wire()
        client.reset()
        self.assertIsInstance(call.send({}).exception(), ApplicationError)


@tag("loop")
class ToldOfLeavingTests(CycleTestCase):
    """Who has asked to be told that the client leaves."""

    def test_leaves(self):
        """The client leaves before its answer, and in the middle of it: each is told once."""
        told: list[str] = []
        for start in (False, True):
            told.clear()
            exchange = self.exchange()
            exchange.cycle.call_on_disconnect(lambda: told.append("left"))
            if start:
                exchange.the_call.start()
                exchange.the_call.body(b"part", more=True)
            self.assertEqual(told, [])
            exchange.call(exchange.cycle.disconnected)
            self.assertEqual(told, ["left"])

    def test_had_left(self):
        """The client has left before anybody asks: that is told, too."""
        told: list[str] = []
        exchange = self.exchange()
        exchange.call(exchange.cycle.disconnected)
        exchange.call(exchange.cycle.call_on_disconnect, lambda: told.append("left"))
        self.assertEqual(told, ["left"])

    def test_no_news(self):
        """The client leaves with its whole answer, or nobody wants to know any more."""
        told: list[str] = []
        for answered in (False, True):
            exchange = self.exchange()
            exchange.cycle.call_on_disconnect(lambda: told.append("left"))
            if answered:
                exchange.the_call.start()
                exchange.the_call.body()
            else:
                exchange.cycle.call_on_disconnect(None)
            exchange.call(exchange.cycle.disconnected)
        self.assertEqual(told, [])


@tag("loop")
class FailureTests(CycleTestCase):
    """The application fails."""

    PAGE = b"Exception inside application."

    def test_before_the_start(self):
        """The application raises: the client gets the page at once and the log the traceback."""
        client, call = self.wire(request(line=b"GET /a%0a%1b HTTP/1.1"))
        with self.assertLogs(LOGGER, "ERROR") as logs:
            call.fail(RuntimeError("secret"))
        (response,) = client.responses()
        self.assertEqual(response.status, 500)
        self.assertIn(self.PAGE, response.body)
        self.assertNotIn(b"secret", response.body)
        self.assertIn(r"GET '/a\n\x1b'", logs.output[0])
        self.assertIn("RuntimeError: secret", logs.output[0])
        self.assert_ends(client)

    def test_head_only(self):
        """The application raises after the start, of which nothing has left: cut."""
        client, call = self.wire()
        call.start()
        with self.assertLogs(LOGGER, "ERROR"):
            call.fail(RuntimeError())
        self.assert_reset(client)

    def test_inside_the_response(self):
        """The application raises inside the response: cut, so that it never looks whole."""
        client, call = self.wire()
        call.start()
        call.body(b"part", more=True)
        with self.assertLogs(LOGGER, "ERROR"):
            call.fail(RuntimeError())
        self.assertFalse(client.responses()[0].complete)
        self.assert_reset(client)

    def test_behind_the_response(self):
        """The application raises after its answer, which the client has; only the log knows."""
        client, call = self.wire()
        call.start()
        call.body(b"hello")
        with self.assertLogs(LOGGER, "ERROR"):
            call.fail(RuntimeError())
        self.assertEqual(client.statuses(), [200])
        self.assert_open(client)

    def test_no_response(self):
        """The application returns without an answer: a 500, and one line with the path."""
        client, call = self.wire()
        with self.assertLogs(LOGGER, "ERROR") as logs:
            call.finish()
        self.assertEqual(client.statuses(), [500])
        self.assertEqual(len(logs.output), 1)
        self.assertIn("GET '/zebra'", logs.output[0])

    def test_half_a_response(self):
        """The application returns inside its answer: cut, and one line."""
        client, call = self.wire()
        call.start()
        call.body(b"part", more=True)
        with self.assertLogs(LOGGER, "ERROR") as logs:
            call.finish()
        self.assert_reset(client)
        self.assertEqual(len(logs.output), 1)

    def test_exits(self):
        """The application exits, interrupts or cancels itself; the server serves on."""
        for error in (SystemExit(1), KeyboardInterrupt(), asyncio.CancelledError()):

            async def application(
                scope: Any, receive: Any, send: Any, error: BaseException = error
            ) -> None:
                if scope["path"] == "/zebra":
                    raise error
                await send({"type": "http.response.start", "status": 204})
                await send({"type": "http.response.body"})

            server = self.serve(application)
            client, other = server.connect(), server.connect()
            with self.assertLogs(LOGGER, "ERROR"):
                client.send(GET)
            other.send(request(line=b"GET /other HTTP/1.1"))
            self.assertEqual((client.statuses(), other.statuses()), ([500], [204]), error)

    def test_exit_later(self):
        """The application exits after it has waited."""
        client, call = self.wire()
        with self.assertLogs(LOGGER, "ERROR"):
            call.fail(SystemExit(3))
        self.assertEqual(client.statuses(), [500])

    def test_pretends_that_the_client_left(self):
        """The application raises a ClientDisconnected of its own; the client is still there."""
        client, call = self.wire()
        call.fail(ClientDisconnected())
        self.assertEqual(client.statuses(), [500])

    def test_too_long(self):
        """The application sends more than its Content-Length: the rest is dropped, it is told."""
        client, call = self.wire()
        call.start(200, [(b"content-length", b"3")])
        error = call.send("body", body=b"hello").exception()
        self.assertIsInstance(error, ApplicationError)
        self.assertEqual(client.responses()[0].body, b"hel")
        self.assert_open(client)

    def test_too_short(self):
        """The application sends less than its Content-Length: cut, and it is told."""
        client, call = self.wire()
        call.start(200, [(b"content-length", b"9")])
        error = call.send("body", body=b"hello").exception()
        self.assertIsInstance(error, ApplicationError)
        self.assert_reset(client)

    def test_error_in_upload(self):
        """The application raises while its client is still sending."""
        client, call = self.wire(request(FIVE, line=POST, body=b"he"))
        with self.assertLogs(LOGGER, "ERROR"):
            call.fail(RuntimeError())
        self.assertEqual(client.statuses(), [500])
        self.assert_ends(client)
