"""One WebSocket from the application's point of view: its messages, in every state."""

from __future__ import annotations

import asyncio
from typing import Any

from django.test import tag

from django_daphne.server import ApplicationError, ClientDisconnected
from django_daphne.server.types import Message
from tests.support.memory import DATE, SERVER, Call, MemoryClient
from tests.support.websocket import (
    ACCEPTED,
    CONNECT,
    LOGGER,
    SWITCHING,
    WebSocketTestCase,
    binary,
    channels,
    close,
    disconnect,
    event,
    handshake,
    received,
    take_all,
    text,
)

ACCEPT = event("accept")
SEND_TEXT = event("send", text="hello")
SEND_BYTES = event("send", bytes=b"hello")
CLOSE = event("close")
START = event("http.response.start", status=401)
BODY = event("http.response.body", body=b"no")
EVERY = (ACCEPT, SEND_TEXT, SEND_BYTES, CLOSE, START, BODY)

DENIAL = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n" + DATE + SERVER + b"\r\nno"
FORBIDDEN = b"HTTP/1.1 403 Forbidden\r\n"

# What each message that is allowed in a state puts on the wire, or how that begins.
LEGAL: dict[str, list[tuple[Message, bytes]]] = {
    "connecting": [(ACCEPT, ACCEPTED), (CLOSE, FORBIDDEN), (START, b"")],
    "open": [
        (SEND_TEXT, b"\x81\x05hello"),
        (SEND_BYTES, b"\x82\x05hello"),
        (CLOSE, b"\x88\x02\x03\xe8"),
    ],
    "denying": [(BODY, DENIAL)],
    "closed": [],
    "refused": [],
    "denied": [],
    "left": [],
    "left before": [],
    "left denying": [],
}
# How the states are called in the text of an error.
NAMES = {"connecting": "CONNECTING", "open": "OPEN", "denying": "DENYING"}

NONSENSE: tuple[Any, ...] = (
    *(event("receive"), event("disconnect"), event("http.response.debug"), {"type": "lifespan"}),
    *({"type": "http.response.start", "status": 200}, {"type": None}, {"type": ["websocket.send"]}),
    *({}, {"text": "hello"}, None, [], "websocket.accept", b"", 5),
)


WRONG: dict[str, tuple[Message, ...]] = {
    "connecting": (
        *(event("accept", subprotocol=value) for value in (5, b"chat", ["chat"], "unasked")),
        *(event("accept", headers=[field]) for field in (5, ("a", "b"), (b"a",), (b"a", 1))),
        event("accept", headers=[(b"a b", b"c")]),
        event("accept", headers=[(b"a", b"b\r\nc: d")]),
        *(event("http.response.start", status=value) for value in (None, "401", True, 101)),
        event("http.response.start", status=401, headers=[(b"a", b"\n")]),
    ),
    "open": (
        *(event("send"), event("send", text=None), event("send", text=None, bytes=None)),
        *(event("send", text=value) for value in (5, b"hello", ["hello"], "\ud800")),
        *(event("send", bytes=value) for value in (5, "hello", [104], True)),
        *(event("send", text="a", bytes=b"a"), event("send", text="", bytes=b"")),
        *(event("close", code=value) for value in ("1000", 1000.0, b"", [1000])),
        *(event("close", code=value) for value in (-1, 0, True, 999, 1004, 1005, 1006)),
        *(event("close", code=value) for value in (1015, 1016, 2999, 5000, 65536)),
        *(event("close", reason=value) for value in (5, b"no", "x" * 124, "é" * 62)),
    ),
    "denying": tuple(event("http.response.body", body=body) for body in (None, "no", 5)),
}
RIGHT = (
    (event("send", text=""), b"\x81\x00"),
    (event("send", bytes=b""), b"\x82\x00"),
    (event("send", text="zoë", bytes=None), b"\x81\x04zo\xc3\xab"),
    (event("send", text=None, bytes=b"\xff"), b"\x82\x01\xff"),
    (event("send", bytes=bytearray(b"ab")), b"\x82\x02ab"),
    (event("send", bytes=memoryview(b"ab")), b"\x82\x02ab"),
    (event("send", text=type("Safe", (str,), {})("ab")), b"\x81\x02ab"),
    (event("send", text="x" * 125), b"\x81\x7d" + b"x" * 125),
    (event("send", text="x" * 126), b"\x81\x7e\x00\x7e" + b"x" * 126),
    (event("send", bytes=bytes(65536)), b"\x82\x7f\0\0\0\0\0\1\0\0" + bytes(65536)),
    (event("close", code=None, reason=None), b"\x88\x02\x03\xe8"),
    (event("close", reason=""), b"\x88\x02\x03\xe8"),
    (event("close", code=1001, reason="zoë"), b"\x88\x06\x03\xe9zo\xc3\xab"),
    (event("close", code=3000, reason="x" * 123), b"\x88\x7d\x0b\xb8" + b"x" * 123),
    (event("close", code=4999), b"\x88\x02\x13\x87"),
    (event("close", reason="\ud800"), b"\x88\x03\x03\xe8?"),
)


class StateTestCase(WebSocketTestCase):
    """Tests that begin in some state."""

    def setUp(self):
        self.enterContext(channels(loaded=False))

    def put(self, state: str) -> tuple[MemoryClient, Call]:
        """Return a client that has read everything, and a call, in a state."""
        is_open = state in ("open", "closed", "left")
        client, call = self.open() if is_open else self.connecting()
        if state in ("refused", "closed"):
            call.send(CLOSE).result()
        elif state in ("denying", "denied", "left denying"):
            call.send(START).result()
        if state == "denied":
            call.send(BODY).result()
        if state.startswith("left"):
            client.reset()
        client.read()
        return client, call


@tag("loop")
class TableTests(StateTestCase):
    """Every state meets every message."""

    def test_legal(self):
        """The application sends what it may, and the client gets it at once."""
        for state, allowed in LEGAL.items():
            for message, wire in allowed:
                with self.subTest(state, message=message):
                    client, call = self.put(state)
                    call.send(message).result()
                    got = client.read()
                    self.assertEqual(got[: len(wire)] if wire is FORBIDDEN else got, wire)

    def test_illegal(self):
        """The application sends what it may not: an error says so, and nothing else happens."""
        for state, allowed in LEGAL.items():
            legal = [message for message, _ in allowed]
            for message in (each for each in EVERY if each not in legal):
                with self.subTest(state, message=message):
                    client, call = self.put(state)
                    error = call.send(message).exception()
                    expected = ClientDisconnected if state.startswith("left") else ApplicationError
                    self.assertIs(type(error), expected)
                    self.assertIn(message["type"], str(error))
                    if expected is ApplicationError:
                        self.assertIn(f"in state {NAMES.get(state, 'CLOSED')} ", str(error))
                    self.assertEqual(client.read(), b"")
                    for again in legal[:1]:
                        call.send(again).result()

    def test_nonsense(self):
        """The application sends what no specification knows, in every state."""
        for state in LEGAL:
            client, call = self.put(state)
            for message in NONSENSE:
                with self.subTest(state, message=message):
                    self.assertIs(type(call.send(message).exception()), ApplicationError)
                    self.assertEqual(client.read(), b"")

    def test_error_classes(self):
        """The application can tell its own faults, ValueErrors, from a client that left."""
        self.assertTrue(issubclass(ApplicationError, ValueError))
        self.assertTrue(issubclass(ClientDisconnected, OSError))
        self.assertFalse(issubclass(ClientDisconnected, ValueError))


@tag("loop")
class FieldTests(StateTestCase):
    """Values of the wrong type, and those of the right one at the edge."""

    def test_wrong(self):
        """The application sends a value that cannot be sent, and then goes on as if it had not."""
        for state, wrong in WRONG.items():
            client, call = self.put(state)
            for message in wrong:
                with self.subTest(state, message=message):
                    self.assertIs(type(call.send(message).exception()), ApplicationError)
                    self.assertEqual(client.read(), b"")
            message, wire = LEGAL[state][0]
            call.send(message).result()
            self.assertEqual(client.read(), wire)

    def test_wrong_close(self):
        """The application fails to close, and then the client leaves: it was the client."""
        client, call = self.put("open")
        self.assertIs(type(call.send(event("close", code=1)).exception()), ApplicationError)
        client.send(text("one"))
        client.reset()
        self.assert_told(call, received("one"), disconnect(1006))
        self.assertIs(type(call.send(SEND_TEXT).exception()), ClientDisconnected)

    def test_right(self):
        """The application sends the empty, the longest, and what is as good as bytes or text."""
        for message, wire in RIGHT:
            with self.subTest(message=message):
                client, call = self.put("open")
                call.send(message).result()
                self.assertEqual(client.read(), wire)

    def test_codes(self):
        """The application closes with every code that a close frame may hold."""
        for code in (1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3999, 4000, 4999):
            with self.subTest(code):
                client, call = self.put("open")
                self.say(call, "close", code=code)
                self.assertEqual(client.read(), b"\x88\x02" + code.to_bytes(2))
                self.assertEqual(call.receive_now(), disconnect(code))


@tag("loop")
class AcceptTests(WebSocketTestCase):
    """What the answer to a handshake has."""

    def answer(self, *lines: bytes, **values: Any) -> bytes:
        """Return what the client reads of an accept with these values."""
        client, call = self.connecting(*lines)
        self.say(call, "accept", **values)
        return client.read()

    def test_subprotocol(self):
        """The application chooses one of the offered subprotocols, in the letters of the offer."""
        offers = (b"Sec-WebSocket-Protocol: v2.chat, v1.chat", b"Sec-WebSocket-Protocol: soap")
        client, call = self.connecting(*offers)
        self.assertEqual(call.scope["subprotocols"], ["v2.chat", "v1.chat", "soap"])
        self.assertIsInstance(
            call.send(event("accept", subprotocol="V2.chat")).exception(), ApplicationError
        )
        self.say(call, "accept", subprotocol="soap")
        chosen = SWITCHING + b"Sec-WebSocket-Protocol: soap\r\n" + DATE + SERVER + b"\r\n"
        self.assertEqual(client.read(), chosen)

    def test_no_subprotocol(self):
        """The application chooses none, in either of three ways; the client asked for some."""
        for values in ({}, {"subprotocol": None}, {"subprotocol": ""}):
            with self.subTest(values):
                self.assertEqual(self.answer(b"Sec-WebSocket-Protocol: a", **values), ACCEPTED)

    def test_headers(self):
        """The application adds headers, as pairs of either kind; they stay in their order."""
        added = [(b"Set-Cookie", b"a=1"), [b"set-cookie", b"b=2"], (b"server", b"mine")]
        own = b"Set-Cookie: a=1\r\nset-cookie: b=2\r\nserver: mine\r\n"
        self.assertEqual(self.answer(headers=added), SWITCHING + own + DATE + b"\r\n")


@tag("loop")
class ReceiveTests(WebSocketTestCase):
    """What receive() gives, and when."""

    def test_by_state(self):
        """The application asks once more in each state: it waits, or is told of the end again."""
        for is_over, begin in (
            (False, ()),
            (False, (START,)),
            (True, (START, BODY)),
            (False, (ACCEPT,)),
            (True, (CLOSE,)),
            (True, (ACCEPT, CLOSE)),
        ):
            with self.subTest(begin=begin):
                _, call = self.connecting()
                for message in begin:
                    call.send(message).result()
                code = 1000 if ACCEPT in begin else 1006
                end = [disconnect(code)] if is_over else []
                self.assertEqual(take_all(call), [CONNECT, *end])
                self.assertEqual(take_all(call), end)

    def test_messages(self):
        """The client sends texts and bytes, several in one read; each comes as what it was."""
        client, call = self.open()
        waiting = call.receive()
        client.send(text("one") + binary(b"two") + text("") + binary(b""))
        self.assertEqual(waiting.result(), {"type": "websocket.receive", "text": "one"})
        rest = [received(data) for data in (b"two", "", b"")]
        self.assertEqual(take_all(call), rest)

    def test_disconnect_is_the_applications_own(self):
        """The application changes the message of the end; the next one has not changed."""
        client, call = self.open()
        client.send(close(4000, b"bye"))
        call.receive_now().clear()
        self.assert_told(call, disconnect(4000, "bye"))

    def test_cancelled(self):
        """The application cancels a pending receive() and loses nothing by it."""
        client, call = self.open()
        waiting = call.receive()
        client.server.call(waiting.cancel)
        self.assertTrue(waiting.cancelled())
        client.send(text("one"))
        self.assertEqual(call.receive_now(), received("one"))

    def test_cancelled_as_it_comes(self):
        """A message comes in the turn in which the application cancels its receive()."""
        for client_is_first in (True, False):
            client, call = self.open()
            waiting = call.receive()

            def both(client: Any = client, task: Any = waiting, first: Any = client_is_first):
                steps = [lambda: client.transport.arrive(text("one")), task.cancel]
                for step in steps if first else reversed(steps):
                    step()

            client.server.call(both)
            got = [] if waiting.cancelled() else [waiting.result()]
            self.assertEqual([*got, *take_all(call)], [received("one")])

    def test_one_of_two_cancelled(self):
        """The application cancels one of two that wait, either one, and the other one goes on."""
        for cancelled in (0, 1):
            client, call = self.open()
            waiting = [call.receive(), call.receive()]
            client.server.call(waiting.pop(cancelled).cancel)
            self.assertFalse(waiting[0].done())
            client.send(text("one"))
            self.assertEqual(waiting[0].result(), received("one"))

    def test_two_receivers(self):
        """The application waits in two tasks: each gets one message, and both are told the end."""
        client, call = self.open()
        first, second = call.receive(), call.receive()
        client.send(text("one"))
        self.assertEqual([first.done(), second.done()], [True, False])
        third = call.receive()
        client.send(text("two") + close(1000))
        got = sorted((second.result(), third.result()), key=str)
        self.assertEqual(got, [disconnect(1000), received("two")])


@tag("loop")
class ChannelsTests(StateTestCase):
    """What send() does after the end, and where Channels is in use."""

    def test_known(self):
        """The application sends too late: its fault, or nobody's; with Channels it goes nowhere."""
        for state in (state for state, allowed in LEGAL.items() if not allowed):
            faults = ClientDisconnected if state.startswith("left") else ApplicationError
            for loaded, expected in ((False, faults), (True, type(None))):
                client, call = self.put(state)
                for message in EVERY:
                    with self.subTest(state, message=message), channels(loaded):
                        self.assertIs(type(call.send(message).exception()), expected)
                self.assertEqual(client.read(), b"")

    def test_own_faults(self):
        """The application sends nonsense, or what is too early: its fault with Channels, too."""
        for state, wrong in (("left", {}), ("closed", event("nonsense")), ("open", ACCEPT)):
            _, call = self.put(state)
            with channels(loaded=True):
                self.assertIs(type(call.send(wrong).exception()), ApplicationError)

    def test_consumer_is_told(self):
        """A consumer answers a client that left, and goes on to its own websocket.disconnect."""
        told: list[str] = []

        async def consumer(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send(ACCEPT)
            message = await receive()
            await asyncio.sleep(0)
            for _ in range(3):
                await send(SEND_TEXT)
            while message["type"] != "websocket.disconnect":
                message = await receive()
            told.append("disconnect")

        with channels(loaded=True), self.assertNoLogs(LOGGER, "INFO"):
            client = self.connect(consumer)
            client.send(handshake())

            def both() -> None:
                client.transport.arrive(text("hello"))
                client.transport.lose()

            client.server.call(both)
        self.assertEqual(told, ["disconnect"])

    def test_let_out(self):
        """The application lets the error of a client that left out: no line in the log."""
        client, call = self.open()
        client.reset()
        with channels(loaded=False), self.assertNoLogs(LOGGER, "INFO"):
            error = call.send(SEND_TEXT).exception()
            self.assertIsInstance(error, ClientDisconnected)
            call.fail(error or RuntimeError())
