"""The corpus of HTTP/1.1 driven against the server: over real sockets, each case in one piece.

`converse` plays a case over a `Channel` and `CorpusTests` judges what came back; neither knows what
carries the bytes. Another way of carrying them (one byte at a time, in memory) is a subclass that
gives another channel from `open_channel` and is filled by `over`.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any

import h11
from django.test import SimpleTestCase, tag

from tests.support.server import serve

from . import PROBE_PATH, TIMEOUT, Case, Channel, Response, SocketChannel, converse, over
from .http11_corpus import CASES

if TYPE_CHECKING:
    from collections.abc import MutableMapping


class Application:
    """The application behind the corpus: does what the current case says and keeps what it saw."""

    def __init__(self) -> None:
        self.begin(None)

    def begin(self, case: Case | None) -> None:
        """Forget the last case and follow ``case`` from now on."""
        self.case = case
        self.scopes: list[MutableMapping[str, Any]] = []
        self.bodies: list[bytes] = []
        self.idle = threading.Event()
        self.idle.set()
        self._running = 0

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ) -> None:
        if scope["type"] != "http":
            raise ValueError(f"No {scope['type']} here")
        if scope["path"] == PROBE_PATH or self.case is None:
            await self._answer(scope, b"", send)
            return
        self._running += 1
        self.idle.clear()
        self.scopes.append(scope)
        try:
            await self._serve(self.case, scope, receive, send)
        finally:
            self._running -= 1
            if not self._running:
                self.idle.set()

    async def _serve(self, case: Case, scope: Any, receive: Any, send: Any) -> None:
        body: bytes | None = b""
        if case.reads == "first":
            body = await self._read(receive)
        if body is None:
            return
        if case.answer is None:
            await self._answer(scope, body, send)
            return
        for message in case.answer:
            await send(dict(message))
        if case.reads == "last" and await self._read(receive) is not None:
            await send({"type": "http.response.body"})

    async def _read(self, receive: Any) -> bytes | None:
        """Return the whole body, or None when the client is gone before its end."""
        body: bytes = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            if not message.get("more_body", False):
                self.bodies.append(body)
                return body

    async def _answer(self, scope: Any, body: bytes, send: Any) -> None:
        text = f"{scope['method']} {scope['path']} {len(body)}".encode()
        length = str(len(text)).encode()
        headers = [(b"content-length", length), (b"content-type", b"text/plain")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": text})


class CorpusTests(SimpleTestCase):
    """Judges the cases. A subclass serves ``application`` and says what carries the bytes."""

    application: Application

    def open_channel(self, case: Case) -> contextlib.AbstractContextManager[Channel]:
        """Return a new connection to a server that is configured as the case asks."""
        raise NotImplementedError

    def judge(self, case: Case) -> None:
        """Play one case and compare everything that can be seen of it."""
        application = self.application
        application.begin(case)
        with self.open_channel(case) as channel:
            responses = converse(channel, case)
        statuses = [response.status for response in responses]
        lost = case.cut and len(statuses) < len(case.responses)
        self.assertEqual(statuses, [*case.responses[:-1]] if lost else [*case.responses])
        self.assertTrue(application.idle.wait(TIMEOUT), "The application never ends")
        for number, response in enumerate(responses, 1):
            self.judge_response(case, response, last=number == len(case.responses))
        if case.bodies:
            bodies = [response.body for response in responses if response.status >= 200]
            self.assertEqual(bodies, [*case.bodies])
        self.judge_application(case)

    def judge_response(self, case: Case, response: Response, *, last: bool) -> None:
        """Check what holds for each response, whatever its case is about."""
        self.assertEqual(response.complete, not (case.cut and last), "complete")
        if response.status < 200:
            return
        headers = response.headers
        is_10 = b" HTTP/1.0\r\n" in case.wire
        if is_10 or response.status == 204:
            self.assertNotIn(b"transfer-encoding", headers)
        if response.status == 204:
            self.assertNotIn(b"content-length", headers)
        if response.status >= 400 and (case.answer is None or response.status == 500):
            self.assertEqual(headers[b"connection"].lower(), b"close")
            self.assertEqual(headers[b"content-type"], b"text/html; charset=utf-8")
            self.assertNotIn(b"zebra", response.body, "the request is shown in the error page")
        if last and not case.cut and case.closes is not None:
            connection = headers.get(b"connection", b"").lower()
            if case.closes and not is_10:
                self.assertEqual(connection, b"close")
            if not case.closes and is_10:
                self.assertEqual(connection, b"keep-alive")

    def judge_application(self, case: Case) -> None:
        """Check how often the application was called, and with what."""
        application = self.application
        if case.calls is None:
            self.assertLessEqual(len(application.scopes), 1, "calls")
        else:
            self.assertEqual(len(application.scopes), case.calls, "calls")
        if case.answer is None and case.reads == "first":
            served = sum(status == 200 for status in case.responses)
            self.assertEqual(len(application.bodies), served, "bodies seen to their end")
        if case.scope or case.headers is not None:
            scope = application.scopes[-1]
            self.assertEqual({key: scope[key] for key in case.scope}, case.scope)
            if case.headers is not None:
                self.assertEqual([tuple(pair) for pair in scope["headers"]], [*case.headers])


def sent(case: Case) -> str:
    """Return the beginning of what the client sends."""
    return f"{case.wire[:100]!r}"


@tag("loop")
@over(CASES, sent)
class SocketCorpusTests(CorpusTests):
    """The whole corpus over real sockets, each ``wire`` in one piece."""

    address: tuple[str, int]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.application = Application()
        server = cls.enterClassContext(serve(cls.application))
        cls.address = (server.host, server.port)

    @contextlib.contextmanager
    def open_channel(self, case: Case) -> Iterator[Channel]:
        """Connect to the server of this class, or to one with the options of the case."""
        with contextlib.ExitStack() as stack:
            address = self.address
            if case.options:
                server = stack.enter_context(serve(self.application, **case.options))
                address = (server.host, server.port)
            sock = stack.enter_context(socket.create_connection(address, TIMEOUT))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            yield SocketChannel(sock)


class Script:
    """A channel on which a server says what it was told to, however it is asked."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = list(pieces)

    def send(self, data: bytes) -> None:
        """Forget ``data``."""

    def receive(self) -> bytes:
        """Return the next piece, then the end."""
        return self._pieces.pop(0) if self._pieces else b""


REFUSAL = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


class ConverseTests(SimpleTestCase):
    """The judge itself: it must be able to find fault."""

    bad_case = Case(name="bad", wire=b"\x00\r\n\r\n", reason="RFC 9112 3")

    def statuses(self, case: Case, *pieces: bytes) -> list[tuple[int, bool]]:
        """Return status and completeness of what a scripted server answers."""
        responses = converse(Script(*pieces), case)
        return [(response.status, response.complete) for response in responses]

    def test_refusal(self) -> None:
        """The server refuses and closes, with its bytes cut anywhere."""
        for cut in range(1, len(REFUSAL)):
            found = self.statuses(self.bad_case, REFUSAL[:cut], REFUSAL[cut:])
            self.assertEqual(found, [(400, True)])

    def test_silence(self) -> None:
        """The server closes without a word."""
        self.assertEqual(self.statuses(self.bad_case), [])

    def test_two_refusals(self) -> None:
        """The server answers twice where it should answer once."""
        with self.assertRaisesRegex(AssertionError, "sent more"):
            self.statuses(self.bad_case, REFUSAL * 2)

    def test_truncated(self) -> None:
        """The server closes inside a body."""
        self.assertEqual(self.statuses(self.bad_case, ANSWER[:-1]), [(200, False)])

    def test_garbage(self) -> None:
        """The server says something that is no response."""
        with self.assertRaises(h11.RemoteProtocolError):
            self.statuses(self.bad_case, b"220 mail.example ESMTP\r\n")

    def test_stray_bytes_after_head(self) -> None:
        """The server sends a body in answer to HEAD."""
        case = Case(name="head", wire=b"HEAD / HTTP/1.1\r\n\r\n", reason="", responses=(200,))
        with self.assertRaisesRegex(AssertionError, "sent more"):
            self.statuses(case, ANSWER)

    def test_closed_too_early(self) -> None:
        """The server closes where it should go on."""
        case = Case(name="open", wire=b"", reason="", responses=(200,), closes=False)
        with self.assertRaisesRegex(AssertionError, "closed"):
            self.statuses(case, ANSWER)

    def test_next_answer_is_another(self) -> None:
        """The server answers the next request with something else."""
        case = Case(name="open", wire=b"", reason="", responses=(200,), closes=False)
        with self.assertRaisesRegex(AssertionError, "next answer"):
            self.statuses(case, ANSWER, ANSWER)

    def test_hints_come_first(self) -> None:
        """The server sends 100 before its answer."""
        case = Case(name="expect", wire=b"", reason="", responses=(100, 200))
        found = self.statuses(case, b"HTTP/1.1 100 Continue\r\n\r\n" + ANSWER)
        self.assertEqual(found, [(100, True), (200, True)])


class CorpusTableTests(SimpleTestCase):
    """The table itself."""

    def test_names(self) -> None:
        """The author of a case gives it a name of its own that a method can have."""
        names = [case.name for case in CASES]
        self.assertEqual(len(names), len(set(names)))
        self.assertEqual([name for name in names if not name.isidentifier()], [])

    def test_refusals_close(self) -> None:
        """The author of a case lets no connection live on after a refusal."""
        kept = [case.name for case in CASES if case.responses[-1] >= 400 and not case.closes]
        self.assertEqual(kept, [])
