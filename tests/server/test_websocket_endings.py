"""Every end of a WebSocket: its code on both sides, its close frame, and that nothing follows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from django.test import tag

from django_daphne.server import ApplicationError, ClientDisconnected
from django_daphne.server.protocols.deadlines import RESOLUTION
from django_daphne.server.types import Message
from tests.support.memory import DATE, SERVER, Call, MemoryClient, Puppet
from tests.support.websocket import (
    CONNECT,
    JUST_BEFORE,
    LOGGER,
    WebSocketTestCase,
    channels,
    close,
    disconnect,
    drain,
    event,
    fill,
    frame,
    handshake,
    ping,
    received,
    text,
)


@dataclass(frozen=True)
class Ending:
    """Say what ends an open WebSocket, and what follows at once.

    ``wire`` is what the client reads; the application receives ``code`` and ``reason``. ``options``
    are of the configuration. ``waits``: the server waits for the client's close frame. ``reset``:
    the connection is. ``own``: the application closed, so sending on is its fault, and messages
    that it did not take are gone. ``returned``: it is over.
    """

    name: str
    do: Callable[[MemoryClient, Call], object]
    wire: bytes
    code: int
    reason: str = ""
    _: KW_ONLY
    waits: bool = False
    reset: bool = False
    own: bool = False
    returned: bool = False
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def told(self) -> Message:
        """What the application receives."""
        return disconnect(self.code, self.reason)


def sends(data: bytes) -> Callable[[MemoryClient, Call], object]:
    """Return an ending by what the client sends."""
    return lambda client, _: client.send(data)


def passes(seconds: float) -> Callable[[MemoryClient, Call], object]:
    """Return an ending by time."""
    return lambda client, _: client.server.wait(seconds)


def closes(**values: Any) -> Callable[[MemoryClient, Call], object]:
    """Return an ending by the application."""
    return lambda _, call: call.send(event("close", **values)).result()


def does_not_read(client: MemoryClient, call: Call) -> None:
    """End by a client that does not read."""
    fill(client, call)
    client.server.wait(60 + RESOLUTION)


def fails(client: MemoryClient, call: Call) -> None:
    """End by an error of the application."""
    call.fail(RuntimeError("secret"))


def returns(client: MemoryClient, call: Call) -> None:
    """End by returning from the application."""
    call.finish()


def half_closes(client: MemoryClient, call: Call) -> None:
    """End by a client that says that it sends no more, and waits for its answer in vain."""
    client.half_close()
    client.server.wait(3 + RESOLUTION)


OWN_CLOSE = closes(code=4001, reason="bye")
WRONG = b"\x88\x02\x03\xea"
NO_TEXT = b"\x88\x02\x03\xef"
NORMAL = b"\x88\x02\x03\xe8"
REASON = "tsch\xfc\xdf"
SMALL = {"websocket_max_message_size": 254}
SHORT = {"websocket_timeout": 50, "ping_interval": None}
PINGS = {"ping_interval": 20, "ping_timeout": 10}
WRITES = {"write_timeout": 60, "write_buffer_size": 8192}
TIMED_OUT = b"\x89\x00\x88\x0e\x03\xf3ping timeout"

BODY = event("http.response.body", body=b"no")
DENIAL = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n" + DATE + SERVER + b"\r\nno"

ENDINGS = (
    Ending("close", sends(close()), b"\x88\x00", 1005),
    Ending("close with a code", sends(close(1000)), NORMAL, 1000),
    Ending("with a reason", sends(close(4321, REASON.encode())), b"\x88\x02\x10\xe1", 4321, REASON),
    Ending("bad close code", sends(close(1005)), WRONG, 1002),
    Ending("half a code", sends(frame(0x88, b"\3")), WRONG, 1002),
    Ending("reason that is no text", sends(close(1000, b"\xff")), NO_TEXT, 1007),
    Ending("end of file", lambda client, _: client.half_close(), b"", 1006),
    Ending("reset", lambda client, _: client.reset(), b"", 1006),
    Ending("no mask", sends(b"\x81\x01a"), WRONG, 1002),
    Ending("no UTF-8", sends(frame(0x81, b"\xff")), NO_TEXT, 1007),
    Ending("size", sends(b"\x82\xfe\0\xff\0\0\0\0"), b"\x88\x02\x03\xf1", 1009, options=SMALL),
    Ending("lifetime", passes(50 + RESOLUTION), NORMAL, 1000, waits=True, options=SHORT),
    Ending("ping timeout", passes(30 + 2 * RESOLUTION), TIMED_OUT, 1006, options=PINGS),
    Ending("write timeout", does_not_read, b"", 1006, reset=True, options=WRITES),
    Ending("stop", lambda client, _: drain(client), b"\x88\x02\x03\xf4", 1012, waits=True),
    Ending("own close", closes(), NORMAL, 1000, waits=True, own=True),
    Ending("own code", OWN_CLOSE, b"\x88\x05\x0f\xa1bye", 4001, "bye", waits=True, own=True),
    Ending("return", returns, NORMAL, 1000, waits=True, returned=True),
    Ending("failure", fails, b"\x88\x02\x03\xf3", 1011, waits=True, returned=True),
)


@tag("loop")
class EndingTests(WebSocketTestCase):
    """Every way in which an open WebSocket ends."""

    def setUp(self):
        self.enterContext(channels(loaded=False))

    def end(self, ending: Ending, *before: bytes) -> tuple[MemoryClient, Call]:
        """Bring a WebSocket to its end, behind some messages of the client."""
        client, call = self.open(**ending.options)
        for message in before:
            client.send(message)
        self.reach(ending, client, call)
        return client, call

    def reach(self, ending: Ending, client: MemoryClient, call: Call) -> None:
        """End, without a word in the log unless the application failed."""
        if ending.do is not fails:
            with self.assertNoLogs(LOGGER, "INFO"):
                ending.do(client, call)
            return
        with self.assertLogs(LOGGER, "INFO") as logs:
            ending.do(client, call)
        (line,) = logs.output
        self.assertIn("WebSocket '/zebra'", line)
        self.assertIn("RuntimeError: secret", line)

    def test_codes(self):
        """The client and the application get their codes, and the connection ends or is kept."""
        for ending in ENDINGS:
            with self.subTest(ending.name):
                client, call = self.end(ending)
                self.assertEqual(client.read(), ending.wire)
                self.assert_told(call, ending.told)
                self.assertEqual(client.ended, not ending.waits)
                self.assertEqual(client.was_reset, ending.reset)

    def test_waiting(self):
        """The application waits for a message and gets the end."""
        for ending in ENDINGS:
            with self.subTest(ending.name):
                client, call = self.open(**ending.options)
                waiting = call.receive()
                self.assertFalse(waiting.done())
                self.reach(ending, client, call)
                self.assertEqual(waiting.result(), ending.told)

    def test_messages_come_first(self):
        """The application takes what came before the end; before its own, it did not want it."""
        for ending in ENDINGS:
            with self.subTest(ending.name):
                _, call = self.end(ending, text("one"), text("two"))
                kept = [] if ending.own else [received("one"), received("two")]
                self.assert_told(call, *kept, ending.told)

    def test_nothing_follows(self):
        """The client sends on, time passes, the server stops: no second close frame, no news."""
        for ending in ENDINGS:
            with self.subTest(ending.name):
                client, call = self.end(ending)
                client.read()
                client.send(text("late") + ping(b"late"))
                drain(client)
                client.send(b"\x81\x01a" + close(4000))
                self.assertEqual(client.read(), b"")
                self.assert_told(call, ending.told)
                with self.assertNoLogs(LOGGER, "WARNING"):
                    client.server.wait(10_000)
                self.assertEqual(client.read(), b"")
                self.assertTrue(client.transport.lost)
                self.assertEqual(client.was_reset, ending.reset)
                self.assertEqual(client.server.clock.pending, 0)

    def test_send(self):
        """The application sends on, and learns by the error whose fault it is."""
        for ending in ENDINGS:
            with self.subTest(ending.name):
                client, call = self.end(ending)
                client.read()
                for message in (event("send", text="a"), event("close"), event("accept")):
                    error = ApplicationError if ending.own else ClientDisconnected
                    self.assertIs(type(call.send(message).exception()), error)
                self.assertEqual(client.read(), b"")

    def test_access(self):
        """The operator finds every end once in the access log, with its code, when it is over."""
        for ending in ENDINGS:
            with self.subTest(ending.name):
                client, _ = self.end(ending)
                client.server.wait(10_000)
                events = [(record.event, record.code) for record in client.server.access]
                begin = [("connecting", None), ("connected", None)]
                self.assertEqual(events, [*begin, ("disconnected", ending.code)])

    def test_application_is_cancelled(self):
        """The application does not end by itself: cancelled when its time is over, not before."""
        for ending in ENDINGS:
            with self.subTest(ending.name):
                client, call = self.end(ending)
                client.server.wait(9)
                self.assertFalse(call.cancelled)
                level = self.assertNoLogs if ending.returned else self.assertLogs
                with level(LOGGER, "INFO"):
                    client.server.wait(2)
                self.assertEqual(call.cancelled, not ending.returned)

    def test_application_goes_on(self):
        """The application closes before it has waited for anything, and goes on: cancelled."""
        ends: list[str] = []

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await send(event("accept"))
            await send(event("close"))
            try:
                await asyncio.Event().wait()
            finally:
                ends.append("cancelled")

        client = self.connect(application)
        client.send(handshake())
        client.server.wait(9)
        self.assertEqual(ends, [])
        client.server.wait(2)
        self.assertEqual(ends, ["cancelled"])


@tag("loop")
class BeforeAcceptTests(WebSocketTestCase):
    """A handshake that never becomes a WebSocket."""

    FORBIDDEN = b"HTTP/1.1 403 Forbidden\r\n"
    FAILED = b"HTTP/1.1 500 Internal Server Error\r\n"

    def check(self, do: Callable[[MemoryClient, Call], object], wire: bytes, status: int) -> None:
        """Let it end: what the client reads begins with ``wire``, and the log has ``status``."""
        client, call = self.connecting()
        self.assertEqual(call.receive_now(), CONNECT)
        waiting = call.receive()
        do(client, call)
        got = client.read()
        self.assertEqual(got[: len(wire)], wire)
        self.assertEqual(bool(got), bool(wire))
        self.assertEqual(waiting.result(), disconnect(1006))
        self.assert_told(call, disconnect(1006))
        client.server.wait(10_000)
        self.assertTrue(client.transport.lost)
        events = [(record.event, record.status) for record in client.server.access]
        self.assertEqual(events, [("connecting", 0), ("rejected", status)])

    def test_quiet(self):
        """The client leaves, nobody answers in time, or the application does not want it."""
        self.check(lambda client, _: client.reset(), b"", 499)
        self.check(half_closes, b"", 499)
        self.check(passes(5 + RESOLUTION), self.FORBIDDEN, 403)
        self.check(closes(), self.FORBIDDEN, 403)
        for code in (4001, 1005, "unread"):
            self.check(closes(code=code, reason="nobody is told"), self.FORBIDDEN, 403)

    def test_application_fails(self):
        """The application raises, or returns, without an answer: a page, and a line in the log."""
        for do, is_traced in ((returns, False), (fails, True)):
            with self.assertLogs(LOGGER, "ERROR") as logs:
                self.check(do, self.FAILED, 500)
            (line,) = logs.output
            self.assertIn("WebSocket '/zebra'", line)
            self.assertEqual("RuntimeError: secret" in line, is_traced)

    def test_value_error(self):
        """The application raises a ValueError that is not about its routes: traced."""

        async def too_early(scope: Any, receive: Any, send: Any) -> None:
            await send(event("send", text="too early"))

        client = self.connect(too_early)
        with self.assertLogs(LOGGER, "ERROR") as logs:
            self.check(lambda _, call: call.fail(ValueError("secret")), self.FAILED, 500)
            client.send(handshake())
        self.assertTrue(all("Traceback" in line for line in logs.output))
        self.assertEqual((len(logs.output), client.statuses()), (2, [500]))

    def test_nobody_serves_it(self):
        """A router raises ValueError for a path that it does not know: one line, no traceback."""

        async def application(scope: Any, receive: Any, send: Any) -> None:
            raise ValueError(f"No route found for path {scope['path']!r}.")

        client = self.connect(application)
        with self.assertLogs(LOGGER, "ERROR") as logs:
            client.send(handshake(target=b"/a%0ab"))
        self.assertTrue(client.read().startswith(self.FAILED))
        (line,) = logs.output
        self.assertNotIn("\n", line)
        self.assertIn(r"WebSocket '/a\nb': No route found", line)

    def test_too_late(self):
        """The application accepts a client that was told 403 already."""
        client, call = self.connecting(websocket_connect_timeout=2)
        client.server.wait(2 - JUST_BEFORE)
        self.assertEqual(client.read(), b"")
        client.server.wait(RESOLUTION + JUST_BEFORE)
        self.assertEqual(client.statuses(), [403])
        with channels(loaded=False):
            error = call.send(event("accept")).exception()
        self.assertIsInstance(error, ClientDisconnected)
        self.assert_ends(client)


@tag("loop")
class DenialTests(WebSocketTestCase):
    """A response of the application's in place of the WebSocket."""

    def test_in_parts(self):
        """The application streams its denial, whose end is its end, and the next request comes."""
        puppet = Puppet()
        client = self.connect(puppet)
        client.send(handshake())
        call = puppet.calls[0]
        self.assertEqual(call.receive_now(), CONNECT)
        self.say(call, "http.response.start", status=403, headers=[(b"X-A", b"1")])
        waiting = call.receive()
        self.say(call, "http.response.body", body=b"no", more_body=True)
        self.assertFalse(waiting.done())
        self.say(call, "http.response.body", body=bytearray(b"pe"))
        self.assertEqual(waiting.result(), disconnect(1006))
        self.assertEqual(
            client.read(),
            b"HTTP/1.1 403 Forbidden\r\nX-A: 1\r\nTransfer-Encoding: chunked\r\n"
            + (DATE + SERVER + b"\r\n2\r\nno\r\n2\r\npe\r\n0\r\n\r\n"),
        )
        client.send(handshake())
        self.accept(client, puppet.calls[1])

    def test_too_long(self):
        """The denial is longer than its Content-Length; what it breaks is its own request only."""
        self.enterContext(channels(loaded=False))
        puppet = Puppet()
        client = self.connect(puppet)
        client.send(handshake())
        first = puppet.calls[0]
        self.say(first, "http.response.start", status=401, headers=[(b"Content-Length", b"2")])
        error = first.send(event("http.response.body", body=b"nope", more_body=True)).exception()
        self.assertIsInstance(error, ApplicationError)
        self.assertEqual(client.read(), DENIAL)
        client.send(handshake())
        self.assertIs(type(first.send(BODY).exception()), ApplicationError)
        with self.assertLogs(LOGGER, "ERROR"):
            first.fail(error or RuntimeError())
        self.accept(client, puppet.calls[1])
        statuses = [record.status for record in client.server.access]
        self.assertEqual(statuses, [0, 401, 0, 101])

    def test_unfinished(self):
        """The application leaves its denial unfinished: cut, so that it never looks whole."""
        for begin in ((), (event("http.response.body", body=b"no", more_body=True),)):
            for end in (returns, fails):
                client, call = self.connecting()
                self.say(call, "http.response.start", status=401)
                for message in begin:
                    call.send(message).result()
                with self.assertLogs(LOGGER, "ERROR"):
                    end(client, call)
                self.assertFalse(any(response.complete for response in client.responses()))
                self.assert_reset(client)
