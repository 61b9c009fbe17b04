"""HTTP/2 in memory: a client that complains of a server's every fault, and its application.

What the client sends is read, answered and heard before `HTTP2Client.send` returns. What the
application says is heard by `HTTP2Client.hear`, or by `HTTP2Client.finish`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django_daphne.server.protocols.deadlines import RESOLUTION
from tests.support.http2 import Client
from tests.support.http2_conversation import Answer, GoAway
from tests.support.http2_frames import (
    Code,
    Field,
    Fields,
    data_frame,
    headers_frame,
    literal,
    request_fields,
    reset_frame,
    websocket_fields,
)
from tests.support.memory import (
    Call,
    MemoryClient,
    MemoryServer,
    Puppet,
    WireTestCase,
)
from tests.support.websocket import channels, event, read_frames
from tests.support.wire import MemoryTransport

DATE_FIELD = (b"date", b"Thu, 01 Jan 1970 00:00:00 GMT")
SERVER_FIELD = (b"server", b"daphne")
KIB = 1024
# Seconds; deadlines are never early.
JUST_BEFORE = 0.01


def agree(transport: MemoryTransport, alpn: str | None) -> None:
    """Let TLS have agreed on what is spoken."""
    transport.alpn = alpn


class HTTP2Server(MemoryServer):
    """What connections of one server share, without a listener."""

    def speak(
        self,
        *,
        settings: Mapping[int, int] | None = None,
        credit: bool = True,
        greet: bool = True,
        **options: Any,
    ) -> HTTP2Client:
        """Return a client that has sent its preface and SETTINGS."""
        return HTTP2Client(self.connect(**options), settings=settings, credit=credit, greet=greet)


class HTTP2Client(Client):
    """A client in memory; ``memory`` is its end of the connection, and ``wire`` the server's."""

    def __init__(self, memory: MemoryClient, **options: Any) -> None:
        self.memory = memory
        self.wire = memory.transport
        assert isinstance(memory.server, HTTP2Server)
        self.server = memory.server
        self._has_greeted = False
        super().__init__(memory, **options)

    def greet(self, settings: Mapping[int, int]) -> None:
        """Send the preface and SETTINGS."""
        self._has_greeted = True
        super().greet(settings)

    def send(self, data: bytes) -> None:
        """Send bytes as they are, and hear what comes of it."""
        super().send(data)
        self.hear()

    def hear(self) -> None:
        """Take what has come; answer it, but not before the preface."""
        while data := self.memory.read():
            reply = self.conversation.receive(data)
            if reply and self._has_greeted:
                self.memory.send(reply)

    def wait(self, seconds: float) -> None:
        """Let time pass, and hear at once what comes of it."""
        for _ in self.server.steps(seconds):
            self.hear()
        self.hear()

    def ask(self, fields: Fields, *, end: bool = True) -> Answer:
        """Open a stream with fields of any kind, which change nobody's tables."""
        return self.start_literal(fields, end=end)

    def in_one_read(self, *requests: Fields) -> list[Answer]:
        """Open streams, without bodies, in one piece; return what will come in answer."""
        answers, frames = [], []
        for fields in requests:
            method = dict(fields).get(b":method", b"")
            answers.append(self.conversation.begin(self.take_number(), method))
            frames.append(headers_frame(answers[-1].number, literal(fields)))
        self.send(b"".join(frames))
        return answers

    def give_up(self, answer: Answer, code: int = Code.CANCEL) -> None:
        """Reset a stream."""
        self.send(reset_frame(answer.number, code))

    def give(self, answer: Answer, data: bytes, *, end: bool = False) -> None:
        """Send one DATA frame, whatever the windows say; they know of it."""
        answer.window -= len(data)
        self.conversation.window -= len(data)
        self.send(data_frame(answer.number, data, end=end))

    def told(self, answer: Answer) -> list[tuple[int, bytes]]:
        """Return the frames of a WebSocket that have come, once: the first byte and the payload."""
        self.hear()
        data = bytes(answer.body)
        answer.body.clear()
        return read_frames(data)

    @property
    def calls(self) -> list[Call]:
        """Return the calls of the application, which is a puppet."""
        puppet = self.server.context.tasks.application
        assert isinstance(puppet, Puppet)
        return puppet.calls

    @property
    def goaways(self) -> list[GoAway]:
        """Return what the server has said of its end."""
        self.hear()
        return self.conversation.goaways

    @property
    def is_open(self) -> bool:
        """Say whether the connection goes on."""
        self.hear()
        return not (self.memory.ended or self.wire.closing or self.wire.write_closed)

    @property
    def deadlines(self) -> set[Any]:
        """Return the names of the deadlines that are running."""
        return self.memory.connection._deadlines.names()

    def stall(self) -> None:
        """Read nothing from the connection any more."""
        self.memory.stop_reading()

    def read_on(self) -> None:
        """Read what waits and all that comes."""
        self.memory.read_on()
        self.hear()


class HTTP2TestCase(WireTestCase):
    """Tests of HTTP/2 in memory, mostly with a puppet for an application."""

    def serve(self, application: Any, **values: Any) -> HTTP2Server:
        """Serve an application with configuration values by field name."""
        server = HTTP2Server(application, **values)
        self.addCleanup(server.close)
        if isinstance(application, Puppet):
            application.loop = server
        return server

    def speak(
        self,
        *,
        settings: Mapping[int, int] | None = None,
        credit: bool = True,
        is_tls: bool = False,
        **values: Any,
    ) -> tuple[HTTP2Client, list[Call]]:
        """Return the client of a new server, and the calls of its application."""
        puppet = Puppet()
        server = self.serve(puppet, **values)
        alpn = "h2" if is_tls else None
        return server.speak(settings=settings, credit=credit, alpn=alpn), puppet.calls

    def ask(
        self,
        method: bytes = b"GET",
        path: bytes = b"/zebra",
        *headers: Field,
        end: bool = True,
        **options: Any,
    ) -> tuple[HTTP2Client, Answer, Call]:
        """Send the head of a request to a new server; return its client, its answer and call."""
        client, calls = self.speak(**options)
        answer = client.ask(request_fields(method, path, *headers), end=end)
        return client, answer, calls[-1]

    def assert_answered(self, answer: Answer, status: int = 200, body: bytes = b"hello") -> None:
        """The client has a whole answer."""
        self.assertEqual((answer.status, bytes(answer.body)), (status, body))
        self.assertTrue(answer.ended, "the answer has not ended")

    def assert_going_on(self, client: HTTP2Client) -> None:
        """The connection takes another request, and calls the application for it."""
        before = len(client.calls)
        answer = client.ask(request_fields())
        self.assertEqual(len(client.calls), before + 1, f"goaways: {client.goaways}")
        client.calls[-1].answer()
        self.assert_answered(client.finish(answer))

    def assert_nothing_left(self, client: HTTP2Client) -> None:
        """Nothing is being waited for after the end of the connection."""
        client.memory.reset()
        client.server.wait(1000)
        self.assertEqual((client.deadlines, client.server.clock.pending), (set(), 0))


class DeadlineTestCase(HTTP2TestCase):
    """Tests of deadlines, which come at most one tick late and never early."""

    def assert_nothing_until(self, client: HTTP2Client, seconds: float) -> None:
        """Nothing happens before the time; afterwards it has passed with its tick."""
        client.hear()
        before = len(client.conversation.log)
        client.wait(seconds - JUST_BEFORE)
        self.assertEqual([*map(str, client.conversation.log[before:])], [])
        self.assertTrue(client.is_open, "the connection has ended")
        client.wait(RESOLUTION + JUST_BEFORE)


class TunnelTestCase(HTTP2TestCase):
    """Tests of WebSockets over HTTP/2, in memory."""

    def setUp(self) -> None:
        super().setUp()
        self.enterContext(channels(loaded=False))  # or send() would not raise

    def connecting(self, *headers: Field, **options: Any) -> tuple[HTTP2Client, Answer, Call]:
        """Send the handshake to a new server; return its client, its answer and call."""
        client, calls = self.speak(**options)
        return client, *self.shake(client, calls, *headers)

    def shake(self, client: HTTP2Client, calls: list[Call], *headers: Field) -> tuple[Answer, Call]:
        """Ask for a WebSocket; return what will come in answer, and the call."""
        answer = client.ask(websocket_fields(b"/zebra", *headers), end=False)
        return answer, calls[-1]

    def open(self, *headers: Field, **options: Any) -> tuple[HTTP2Client, Answer, Call]:
        """Open a WebSocket on a new server."""
        client, calls = self.speak(**options)
        return client, *self.open_on(client, calls, *headers)

    def open_on(
        self, client: HTTP2Client, calls: list[Call], *headers: Field
    ) -> tuple[Answer, Call]:
        """Open a WebSocket beside what there is."""
        answer, call = self.shake(client, calls, *headers)
        self.assertEqual(call.receive_now(), {"type": "websocket.connect"})
        self.say(call, "accept")
        client.hear()
        self.assertEqual((answer.status, answer.done), (200, False))
        return answer, call

    def say(self, call: Call, kind: str, **values: Any) -> None:
        """Send a message of the application, which must not have to wait."""
        call.send(event(kind, **values)).result()
