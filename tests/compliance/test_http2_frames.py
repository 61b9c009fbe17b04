"""The rules of frames in HTTP/2, driven against the server over real sockets."""

from __future__ import annotations

import socket
from collections import Counter
from typing import Any

from django.test import SimpleTestCase, tag

from tests.support.http2 import SocketClient
from tests.support.http2_conversation import Answer
from tests.support.http2_frames import (
    PREFACE,
    SETTINGS_ACK,
    Code,
    Kind,
    Setting,
    cut,
    data_frame,
    frame,
    headers_frame,
    literal,
    ping_frame,
    request_fields,
    reset_frame,
    settings_frame,
    window_frame,
)

from . import PROBE_PATH, TIMEOUT, ResponseReader, SocketChannel, over, request
from .http2 import Gate, HTTP2TestCase, Receive, Send, answer, read_body
from .http2_frames import CASES, Case

TEXT = b"GET /zebra 0"


class CaseTestCase(HTTP2TestCase):
    """Plays cases, each against a server and a connection of its own."""

    async def _handle(self, scope: Any, receive: Receive, send: Send) -> None:
        """Answer, but ``/hold`` not before the test says so."""
        if scope["path"] == "/hold":
            self.application.note("held")
            await self.gate.wait()
        await answer(scope, receive, send)

    def judge(self, case: Case) -> None:
        """Play one case and compare everything that can be seen of it."""
        self.gate = Gate()
        self.serve(self._handle)
        client = self.connect()
        first = self.prepare(client, case)
        self.expect(client, case.wire)
        client.send(case.wire)
        fatal = bool(case.goaway)
        try:
            client.settle()
        except EOFError:
            self.assertTrue(fatal, f"closed, with {client.goaway}")
        if client.closed or (fatal and not (case.reset or case.lenient)):
            self.judge_goaway(client, case)
        else:
            self.judge_stream(client, case, first)
        self.gate.open()
        client.sock.close()
        self.application.wait_until_idle()
        self.assert_others_served()

    def expect(self, client: SocketClient, wire: bytes) -> None:
        """Note what these bytes may be answered with."""
        conversation = client.conversation
        for each in cut(wire)[0]:
            number = each.stream
            if each.kind == Kind.SETTINGS and not each.flags:
                conversation.propose({})
            if each.kind == Kind.HEADERS and number % 2 and number not in conversation.answers:
                conversation.begin(number, b"GET")

    def prepare(self, client: SocketClient, case: Case) -> Answer | None:
        """Bring stream 1 into the state of a case; the next one is 3 when it is not idle."""
        if case.before == "idle":
            return None
        method, path = (b"GET", b"/hold") if case.before == "half" else (b"POST", b"/zebra")
        has_body = case.before in ("open", "cancelled", "refused")
        fields = request_fields(method, path if case.before != "refused" else b"zebra")
        found = client.start_literal(fields, end=not has_body)
        if case.before == "half":
            self.assertEqual(self.application.next_note(), "held")
        elif case.before == "cancelled":
            client.send(reset_frame(found.number))
        elif case.before != "open":
            client.finish(found)
        client.settle()
        return found

    def judge_goaway(self, client: SocketClient, case: Case) -> None:
        """The connection ended with one of these codes."""
        client.read_to_end()
        self.assertIsNotNone(client.goaway, "closed without GOAWAY")
        assert client.goaway is not None
        self.assertIn(client.goaway.code, case.goaway)

    def judge_stream(self, client: SocketClient, case: Case, first: Answer | None) -> None:
        """The connection goes on, and the stream was reset with one of these codes, or not."""
        self.assertIsNone(client.goaway)
        found = first or client.conversation.answers.get(case.stream)
        if case.reset:
            assert found is not None
            if found.reset is None and case.before != "closed":
                self.assertTrue(case.lenient, "nothing happens")
            if found.reset is not None:
                self.assertIn(found.reset, case.reset)
        elif found is not None and case.before != "refused":
            self.assertIsNone(found.reset)
        if case.answered and found is not None and found.reset is None:
            client.finish(found)
            self.assertEqual((found.status, found.ended), (200, True))
        used = [each.stream for each in cut(case.wire)[0] if each.kind == Kind.HEADERS]
        while client.take_number() < max([1, *used]):
            pass
        self.assert_served(client)


@tag("loop")
@over(CASES, lambda case: case.wire[:40].hex())
class CaseTests(CaseTestCase):
    """Every case, each on a connection of its own."""


@tag("loop")
class PrefaceTests(HTTP2TestCase):
    """How a connection begins (RFC 9113, section 3.4)."""

    def setUp(self) -> None:
        super().setUp()
        self.hello = PREFACE + settings_frame()

    def test_bytewise(self) -> None:
        """The client sends its preface and a request byte by byte."""
        self.serve()
        client = self.connect(greet=False)
        client.conversation.propose({})
        found = client.conversation.begin(client.take_number(), b"GET")
        block = literal(request_fields())
        for byte in self.hello + headers_frame(found.number, block):
            client.send(bytes((byte,)))
        self.assert_answer(client.finish(found), TEXT)

    def test_at_once(self) -> None:
        """The client sends its first request with the preface, before it has heard anything."""
        self.serve()
        client = self.connect(greet=False)
        client.conversation.propose({})
        found = client.conversation.begin(client.take_number(), b"GET")
        client.send(self.hello + headers_frame(found.number, literal(request_fields())))
        self.assert_answer(client.finish(found), TEXT)

    def test_settings(self) -> None:
        """The client reads what the server says first."""
        self.serve(http2_max_concurrent_streams=7, http2_stream_window=100_000)
        client = self.connect()
        client.settle()
        said = client.conversation.server_settings
        expected = {
            Setting.HEADER_TABLE_SIZE: 4096,
            Setting.MAX_CONCURRENT_STREAMS: 7,
            Setting.INITIAL_WINDOW_SIZE: 100_000,
            Setting.MAX_FRAME_SIZE: 16384,
            Setting.MAX_HEADER_LIST_SIZE: 65536,
            Setting.ENABLE_CONNECT_PROTOCOL: 1,
            Setting.NO_RFC7540_PRIORITIES: 1,
        }
        self.assertEqual({key: said.get(key) for key in expected}, expected)
        self.assertEqual(client.conversation.window, 8 * 1024 * 1024)
        self.assertEqual(client.conversation.acknowledged, 1)

    def test_larger_frames(self) -> None:
        """The server allows larger frames, and the client sends one."""
        self.serve(http2_max_frame_size=100_000)
        client = self.connect()
        client.settle()
        self.assertEqual(client.conversation.server_settings[Setting.MAX_FRAME_SIZE], 100_000)
        found = client.start(b"POST", end=False)
        client.send(data_frame(found.number, bytes(100_000), end=True))
        self.assert_answer(client.finish(found), b"POST /zebra 100000")
        client.send(frame(Kind.DATA, 0, found.number + 2, size=100_001))
        self.assert_goaway(client, Code.FRAME_SIZE_ERROR)

    def check_first_frame(self, wire: bytes) -> None:
        """Send this in the place of SETTINGS."""
        self.serve()
        client = self.connect(greet=False)
        client.send(PREFACE + wire)
        self.assert_goaway(client, Code.PROTOCOL_ERROR)
        self.assertEqual(self.application.calls, 0)

    def test_no_settings(self) -> None:
        """The client sends a request in the place of SETTINGS."""
        self.check_first_frame(headers_frame(1, literal(request_fields())))

    def test_ping_first(self) -> None:
        """The client sends PING in the place of SETTINGS."""
        self.check_first_frame(ping_frame())

    def test_acknowledgement_first(self) -> None:
        """The client acknowledges settings in the place of sending its own."""
        self.check_first_frame(SETTINGS_ACK)

    def check_http11(self, wire: bytes, status: int, **values: Any) -> None:
        """Send this, and read an answer in HTTP/1.1."""
        self.serve(**values)
        with socket.create_connection(self.server.address, TIMEOUT) as sock:
            sock.sendall(wire)
            responses = [*ResponseReader(SocketChannel(sock)).read("GET")]
        self.assertEqual([response.status for response in responses], [status])

    def test_damaged(self) -> None:
        """The client's preface is damaged in its last line, which makes it a bad HTTP/1.1."""
        damaged = PREFACE.replace(b"SM", b"SN")
        self.serve()
        with socket.create_connection(self.server.address, TIMEOUT) as sock:
            sock.sendall(damaged + settings_frame())
            self.assertIn(b" 505 ", SocketChannel(sock).receive().partition(b"\r\n")[0])

    def test_no_prior_knowledge(self) -> None:
        """The client sends the preface to a server that does not want it on plain sockets."""
        self.check_http11(self.hello, 505, http2_prior_knowledge=False)

    def test_no_http2(self) -> None:
        """The client sends the preface to a server that speaks no HTTP/2."""
        self.check_http11(self.hello, 505, http2=False)

    def test_http11(self) -> None:
        """The client of the same server speaks HTTP/1.1."""
        self.check_http11(request(line=b"PRIVATE /probe HTTP/1.1"), 200)

    def test_upgrade(self) -> None:
        """The client asks for an upgrade to h2c, and is served with HTTP/1.1."""
        fields = (
            b"Connection: Upgrade, HTTP2-Settings",
            b"Upgrade: h2c",
            b"HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA",
        )
        line = b"GET " + PROBE_PATH.encode() + b" HTTP/1.1"
        self.check_http11(request(*fields, line=line), 200)

    def test_upgrade_with_body(self) -> None:
        """The client asks for an upgrade to h2c with a body that looks like HTTP/2."""
        fields = (
            b"Connection: Upgrade, HTTP2-Settings",
            b"Upgrade: h2c",
            b"HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA",
            b"Content-Length: %d" % len(self.hello),
        )
        line = b"POST /zebra HTTP/1.1"
        self.check_http11(request(*fields, line=line, body=self.hello), 200)
        self.assertEqual(self.application.calls, 1)


@tag("loop")
class WindowTests(HTTP2TestCase):
    """The client sends more than the server's windows allow (RFC 9113, section 6.9.1)."""

    async def _never_read(self, scope: Any, receive: Receive, send: Send) -> None:
        """Take a first piece, and no more before the test says so."""
        self.application.note((await receive())["body"])
        await self.gate.wait()
        await read_body(receive)

    def setUp(self) -> None:
        super().setUp()
        self.gate = Gate()
        self.addCleanup(self.gate.open)

    def overflow(self, **windows: int) -> tuple[SocketClient, Answer]:
        """Send twice as much as is allowed to an application that does not read."""
        self.serve(self._never_read, **windows)
        client = self.connect()
        client.settle()
        found = client.start(b"POST", end=False)
        client.send_body(found, b"a", end=False)
        self.assertEqual(self.application.next_note(), b"a")
        for _ in range(9):  # what may wait for the application, as much again, and one
            client.send(data_frame(found.number, bytes(16384)))
        return client, found

    def test_connection(self) -> None:
        """The client overflows the connection's window."""
        windows = {"http2_stream_window": 1 << 20, "http2_connection_window": 65536}
        client, _ = self.overflow(**windows)
        self.assert_goaway(client, Code.FLOW_CONTROL_ERROR)
        self.gate.open()
        self.application.wait_until_idle()
        self.assert_others_served()

    def test_stream(self) -> None:
        """The client overflows a stream's window."""
        client, found = self.overflow(http2_stream_window=65536)
        try:
            client.finish(found)
        except EOFError:
            self.assertEqual(client.goaway and client.goaway.code, Code.FLOW_CONTROL_ERROR)
        else:
            self.assertEqual(found.reset, Code.FLOW_CONTROL_ERROR)
            self.assert_served(client)
        self.gate.open()
        self.application.wait_until_idle()
        self.assert_others_served()

    def test_stream_gives_back(self) -> None:
        """The client overflows one stream after another, which leaves the connection's window."""
        windows = {"http2_stream_window": 65536, "http2_connection_window": 200_000}
        self.serve(self._never_read, **windows)
        client = self.connect()
        client.settle()
        for _ in range(10):
            found = client.start(b"POST", end=False)
            client.send_body(found, b"a", end=False)
            self.assertEqual(self.application.next_note(), b"a")
            for _ in range(9):
                client.read_until(lambda: client.conversation.window >= 16384)
                client.conversation.window -= 16384
                client.send(data_frame(found.number, bytes(16384)))
            client.settle()
            self.assertEqual(found.reset, Code.FLOW_CONTROL_ERROR)
        self.assert_served(client)

    def test_padding_counts(self) -> None:
        """The client fills the window with padding, and gets it back."""
        self.serve(http2_stream_window=65536, http2_connection_window=65536)
        client = self.connect()
        client.settle()
        found = client.start(b"POST", end=False)
        conversation = client.conversation
        for _ in range(1000):
            client.read_until(lambda: min(found.window, conversation.window) > 300)
            found.window -= 257
            conversation.window -= 257
            client.send(data_frame(found.number, b"a", padding=255))
        client.send(data_frame(found.number, end=True))
        self.assert_answer(client.finish(found), b"POST /zebra 1000")

    def test_reset_gives_back(self) -> None:
        """The client resets uploads that nobody reads, which leaves the connection's window."""
        self.serve(http2_stream_window=65536, http2_connection_window=65536)
        client = self.connect()
        client.settle()
        for _ in range(10):
            found = client.start(b"POST", end=False)
            client.send_body(found, bytes(40_000), end=False)
            client.send(reset_frame(found.number))
        answer = client.request(b"POST", b"/zebra", body=bytes(200_000))
        self.assert_answer(answer, b"POST /zebra 200000")


@tag("loop")
class OrderTests(HTTP2TestCase):
    """What one read has before its error."""

    def test_request_before_error(self) -> None:
        """The client sends a good request and a bad frame in one piece."""
        self.serve()
        client = self.connect()
        found = client.conversation.begin(client.take_number(), b"GET")
        client.send(headers_frame(found.number, literal(request_fields())) + window_frame(0, 0))
        self.assert_goaway(client, Code.PROTOCOL_ERROR)
        self.application.wait_until_idle()
        assert client.goaway is not None
        if found.status is None:
            self.assertEqual((client.goaway.last, self.application.calls), (0, 0))
        else:
            self.assert_answer(found, TEXT)
            self.assertEqual(client.goaway.last, 1)


class TableTests(SimpleTestCase):
    """The table itself."""

    def test_names(self) -> None:
        """The author of a case gives it a name of its own that a method can have."""
        names = [case.name for case in CASES]
        self.assertEqual([name for name, count in Counter(names).items() if count > 1], [])
        self.assertEqual([name for name in names if not name.isidentifier()], [])
