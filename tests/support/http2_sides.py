"""Two servers that differ in their engine of HTTP/2 alone, and the application of both."""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable, Iterable
from typing import Any

from hpack import HPACKError

from django_daphne.server.protocols.responses import DefaultHeaders
from django_daphne.server.request_id import TRACE_EXTENSION

from .h2_engine import slotted
from .http2_conversation import Conversation
from .http2_frames import ACK, END_STREAM, Code, Frame, Kind
from .memory import MemoryClient, MemoryServer


class Application:
    """Answers in the way that the path names, and keeps what it was told."""

    def __init__(self) -> None:
        self.calls: list[list[Any]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        # A request's trace is its own.
        extensions = {**scope["extensions"], TRACE_EXTENSION: None}
        told: list[Any] = [{**scope, "extensions": extensions}]
        self.calls.append(told)

        async def hear() -> dict[str, Any]:
            message = await receive()
            told.append(message)
            return dict(message)

        try:
            if scope["type"] == "websocket":
                await self._converse(hear, send)
            else:
                await getattr(self, scope["path"].split("/")[1])(hear, send)
        except BaseException as error:
            told.append(repr(error))
            raise
        told.append("returned")

    async def _converse(self, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] != "websocket.disconnect":
            await send({"type": "websocket.send", "bytes": message["bytes"], "text": None})

    async def _start(self, send: Any, **more: Any) -> None:
        headers = [(b"content-type", b"text/plain"), (b"set-cookie", b"a=b")]
        await send({"type": "http.response.start", "status": 200, "headers": headers, **more})

    async def _body(self, send: Any, data: bytes = b"", *, more: bool = False) -> None:
        await send({"type": "http.response.body", "body": data, "more_body": more})

    async def now(self, receive: Any, send: Any) -> None:
        """Answer without a look at the body."""
        await self._start(send)
        await self._body(send, b"Hello")

    async def echo(self, receive: Any, send: Any) -> None:
        """Send the body back, piece for piece."""
        await self._start(send)
        while (message := await receive())["type"] == "http.request":
            await self._body(send, message["body"], more=message["more_body"])
            if not message["more_body"]:
                return

    async def pieces(self, receive: Any, send: Any) -> None:
        """Send more than the windows take at first."""
        await self._start(send)
        for number in range(5):
            await self._body(send, b"%d" % number * 20_000, more=True)
        await self._body(send)

    async def early(self, receive: Any, send: Any) -> None:
        """Answer behind the first piece of the body, and look for more."""
        await receive()
        await send({"type": "http.response.early_hint", "links": [b"</a>; rel=preload"]})
        await self.now(receive, send)
        await receive()

    async def never(self, receive: Any, send: Any) -> None:
        """Wait until the client is gone."""
        while (await receive())["type"] == "http.request":
            pass

    async def fail(self, receive: Any, send: Any) -> None:
        """Fail when the response has begun, and its body has come."""
        await self._start(send)
        await self._body(send, b"begun", more=True)
        await receive()
        raise ValueError("as asked")

    async def trailers(self, receive: Any, send: Any) -> None:
        """Send trailers."""
        await self._start(send, trailers=True)
        await self._body(send, b"with trailers")
        await send({"type": "http.response.trailers", "headers": [(b"x-checksum", b"1")]})

    async def short(self, receive: Any, send: Any) -> None:
        """Promise more than there is."""
        headers = [(b"content-length", b"100")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._body(send, b"short")


class Notes(logging.Handler):
    """What a server logs."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


class Side:
    """A server with one of the engines, and one client after the other."""

    def __init__(self, make: Callable[..., Any], notes: Notes, **values: Any) -> None:
        self._make = make
        self._notes = notes
        self._application = Application()
        self.server = MemoryServer(self._application, **values)
        self.server.context.default_headers = DefaultHeaders("daphne", lambda: 0.0)
        self._client: MemoryClient | None = None

    def begin(self) -> None:
        """Connect a new client in the place of the one before."""
        self.leave()
        self._application.calls = []
        self._client = self.server.connect()
        self._conversation = Conversation(credit=False)
        self._highest = 0
        self._said: set[int] = set()
        self._resets: dict[int, int] = {}
        self._error = ""
        self.fault = ""

    def leave(self) -> None:
        """End the connection, and all that is under way."""
        if self._client is not None:
            self._client.reset()

    def play(self, read: bytes, frames: Iterable[Frame], methods: dict[int, bytes]) -> None:
        """Let the server read, and take what it says."""
        assert self._client is not None
        for each in frames:
            self._announce(each, methods)
        self._notes.texts.clear()
        before = self._all_resets()
        with slotted(self._make):
            self._client.send(read)
        self._hear()
        after = self._all_resets()
        self._resets = {number: after[number] for number in after.keys() - before.keys()}
        errors = [text for text in self._notes.texts if text.startswith("HTTP/2 connection of")]
        self._error = errors[0].partition(": ")[2] if errors else ""

    def wait(self, seconds: float) -> None:
        """Say nothing for so long."""
        self.server.wait(seconds)
        self._hear()

    def _hear(self) -> None:
        assert self._client is not None
        try:
            self._conversation.receive(self._client.read())
        except (AssertionError, HPACKError) as error:
            self.fault = str(error)

    def _announce(self, each: Frame, methods: dict[int, bytes]) -> None:
        """Let the conversation know what is said."""
        conversation, number = self._conversation, each.stream
        if each.kind == Kind.HEADERS:
            self._highest = max(self._highest, number)
        if each.kind in (Kind.HEADERS, Kind.DATA) and each.flags & END_STREAM:
            self._said.add(number)  # what may be said there makes no difference from now on
        if number % 2 and number <= self._highest and number not in conversation.answers:
            # Lower ones have ended with the first HEADERS of a higher one.
            conversation.begin(number, methods.get(number, b"GET"))
        if each.kind == Kind.WINDOW_UPDATE:
            conversation.grant(number, int.from_bytes(each.payload[:4]) & (2**31 - 1))
        elif each.kind == Kind.SETTINGS and not each.flags & ACK:
            size = len(each.payload) // 6 * 6
            conversation.propose(dict(struct.iter_unpack("!HL", each.payload[:size])))

    def _all_resets(self) -> dict[int, int]:
        answers = self._conversation.answers.values()
        return {each.number: each.reset for each in answers if each.reset is not None}

    @property
    def code(self) -> str:
        """Return the code of a connection error; empty when there was none."""
        return Code(self._conversation.goaways[-1].code).name if self._error else ""

    @property
    def outcome(self) -> str:
        """Return what came of the last read, as in `Difference`."""
        resets = [f"{number} {Code(code).name}" for number, code in sorted(self._resets.items())]
        return self.fault or (f"{self.code}: {self._error}" if self._error else ", ".join(resets))

    def seen(self) -> dict[str, Any]:
        """Return all that both ends have seen."""
        assert self._client is not None
        conversation = self._conversation
        return {
            "goaways": conversation.goaways,
            "ended": self._client.ended,
            "answers": [
                (
                    *(each.number, each.status, each.headers, each.hints, bytes(each.body)),
                    *(each.trailers, each.ended, each.reset, each.room, each.pieces),
                    each.number in self._said or each.window,
                )
                for each in conversation.answers.values()
            ],
            "pongs": conversation.pongs,
            "acknowledged": conversation.acknowledged,
            "window": conversation.window,
            "calls": self._application.calls,
        }
