"""The client of the tests of HTTP/2 itself: it has to find fault, and to be understood."""

from __future__ import annotations

from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.exceptions
from django.test import SimpleTestCase, tag

from tests.support.http2 import Client, SocketClient
from tests.support.http2_conversation import Conversation, GoAway
from tests.support.http2_frames import (
    ACK,
    END_HEADERS,
    PREFACE,
    SETTINGS_ACK,
    Code,
    Field,
    Frame,
    Kind,
    Setting,
    continuation_frame,
    cut,
    data_frame,
    frame,
    goaway_frame,
    header_frames,
    headers_frame,
    list_size,
    literal,
    ping_frame,
    request_fields,
    reset_frame,
    settings_frame,
    window_frame,
)
from tests.support.server import serve
from tests.support.tls import TLSTestCase

from .http2 import Application, answer

OK = (b":status", b"200")


def response(*fields: Field, stream: int = 1, end: bool = False) -> bytes:
    """Return HEADERS of a server's."""
    return headers_frame(stream, literal((OK, *fields)), end=end)


class ConversationTests(SimpleTestCase):
    """What no server may say is an error."""

    def setUp(self) -> None:
        super().setUp()
        self.conversation = Conversation()
        self.conversation.propose({})
        self.answer = self.conversation.begin(1, b"GET")
        self.assertEqual(self.hear(settings_frame() + SETTINGS_ACK), SETTINGS_ACK)

    def hear(self, data: bytes) -> bytes:
        """Let the client hear this, and return what it says."""
        return self.conversation.receive(data)

    def assert_fault(self, *pieces: bytes) -> None:
        """The last piece is a fault, and none before it is."""
        for piece in pieces[:-1]:
            self.hear(piece)
        with self.assertRaises(AssertionError):
            self.hear(pieces[-1])

    def test_answer(self) -> None:
        """The server says it all, cut anywhere."""
        wire = response((b"content-length", b"5")) + data_frame(1, b"hello", padding=3, end=True)
        said = b"".join(self.hear(bytes((byte,))) for byte in wire)
        self.assertEqual(said, window_frame(0, 9))
        found = self.answer
        self.assertEqual((found.status, found.body, found.ended), (200, b"hello", True))
        self.assertEqual(found.headers, {b"content-length": b"5"})

    def test_order(self) -> None:
        """The server's frames come in the wrong order."""
        self.assert_fault(data_frame(1, b"a"))
        self.assert_fault(response(end=True), data_frame(1, b""))

    def test_block(self) -> None:
        """The server says something within a header block."""
        begun = headers_frame(1, literal((OK,)), end_headers=False)
        self.assert_fault(begun, ping_frame())

    def test_block_of_other(self) -> None:
        """The server continues the header block of another stream."""
        self.conversation.begin(3, b"GET")
        begun = headers_frame(1, literal((OK,)), end_headers=False)
        self.assert_fault(begun, continuation_frame(3, b""))

    def test_unknown_stream(self) -> None:
        """The server answers what nobody asked."""
        self.assert_fault(response(stream=3))

    def test_first_frame(self) -> None:
        """The server begins with something else."""
        with self.assertRaises(AssertionError):
            Conversation().receive(ping_frame())

    def test_fields(self) -> None:
        """The server's headers are none of HTTP/2."""
        for bad in ((b"X-A", b"a"), (b"connection", b"close"), (b"x", b"a\nb"), (b":a", b"")):
            with self.subTest(bad=bad):
                self.conversation.begin(1, b"GET")
                self.assert_fault(response(bad))

    def test_length(self) -> None:
        """The server's length is wrong."""
        self.assert_fault(response((b"content-length", b"5")), data_frame(1, b"a", end=True))

    def test_windows(self) -> None:
        """The server sends more than it may, on a stream or on all."""
        self.conversation.credit = False
        self.hear(response())
        for _ in range(3):
            self.hear(data_frame(1, bytes(16384)))
        self.hear(data_frame(1, bytes(16383)))
        self.assert_fault(data_frame(1, b"a"))

    def test_smaller_windows(self) -> None:
        """The server goes on as if it had not acknowledged a smaller window."""
        self.conversation.propose({Setting.INITIAL_WINDOW_SIZE: 10})
        self.hear(response() + data_frame(1, bytes(11)))
        self.assertEqual(self.answer.room, 65535)
        self.hear(SETTINGS_ACK)
        self.assertEqual(self.answer.room, 10)
        self.assert_fault(data_frame(1, bytes(11)))

    def test_reset(self) -> None:
        """The server goes on with a stream that it has reset."""
        self.assert_fault(response(), reset_frame(1, Code.NO_ERROR), data_frame(1, b"a"))

    def test_goaway(self) -> None:
        """The server promises more than before."""
        self.assert_fault(goaway_frame(1), goaway_frame(3))
        self.assertEqual(self.conversation.goaways[0], GoAway(1, Code.NO_ERROR))

    def test_acknowledgement(self) -> None:
        """The server acknowledges what nobody said."""
        self.assert_fault(SETTINGS_ACK)

    def test_unknown(self) -> None:
        """The server says something unheard of."""
        self.assert_fault(frame(Kind.PUSH_PROMISE, END_HEADERS, 1, bytes(4)))

    def test_too_large(self) -> None:
        """The server's frame is larger than is allowed."""
        self.assert_fault(response(), data_frame(1, bytes(16385)))

    def test_ping(self) -> None:
        """The server pings, and the client answers."""
        self.assertEqual(self.hear(ping_frame(b"12345678")), ping_frame(b"12345678", ACK))


class FrameTests(SimpleTestCase):
    """Frames as they are made and cut."""

    def test_cut(self) -> None:
        """The reader gets frames whole, and keeps the rest."""
        wire = ping_frame(b"12345678") + data_frame(1, b"hello", end=True)
        expected = [Frame(Kind.PING, 0, 0, b"12345678"), Frame(Kind.DATA, 1, 1, b"hello")]
        self.assertEqual(cut(wire), (expected, b""))
        for end in range(17, len(wire)):
            self.assertEqual(cut(wire[:end]), (expected[:1], wire[17:end]))

    def test_size(self) -> None:
        """The author of a list knows its size."""
        self.assertEqual(list_size(((b"a", b"bc"), (b"", b""))), 67)


class H2Channel:
    """h2 in the place of a server, in memory: what it hears is kept as its events."""

    def __init__(self) -> None:
        config = h2.config.H2Configuration(client_side=False, header_encoding=None)
        self.connection = h2.connection.H2Connection(config)
        self.connection.initiate_connection()
        self.events: list[Any] = []

    def send(self, data: bytes) -> None:
        """Hear something."""
        self.events += self.connection.receive_data(data)

    def receive(self) -> bytes:
        """Return what it says. Raises TimeoutError when that is nothing."""
        data: bytes = self.connection.data_to_send()
        if not data:
            raise TimeoutError
        return data

    def heard(self, kind: type[Any]) -> Any:
        """Return the first event of a kind."""
        return next(event for event in self.events if isinstance(event, kind))


class AgreementTests(SimpleTestCase):
    """h2 understands the client, and the other way round."""

    def setUp(self) -> None:
        super().setUp()
        self.channel = H2Channel()
        self.raw = Client(self.channel)

    def test_request(self) -> None:
        """The client sends a request with a body, and h2 answers."""
        headers = ((b"x-a", b"a"), (b"x-b", b"b" * 100))
        found = self.raw.start(b"POST", b"/a", *headers, end=False)
        self.raw.settle()
        self.raw.send_body(found, b"hello")
        heard = self.channel.heard(h2.events.RequestReceived)
        fields = [tuple(each) for each in heard.headers]
        self.assertEqual(fields, [*request_fields(b"POST", b"/a", *headers)])
        self.assertEqual(self.channel.heard(h2.events.DataReceived).data, b"hello")
        self.assertEqual(self.channel.heard(h2.events.StreamEnded).stream_id, found.number)
        server = self.channel.connection
        server.send_headers(1, [(b":status", b"103"), (b"link", b"a")])
        server.send_headers(1, [OK, (b"content-length", b"2")])
        server.send_data(1, b"hi")
        server.send_headers(1, [(b"x-sum", b"1")], end_stream=True)
        self.raw.finish(found)
        self.assertEqual((found.status, found.body), (200, b"hi"))
        self.assertEqual(found.hints, [(103, ((b"link", b"a"),))])
        self.assertEqual(found.trailers, ((b"x-sum", b"1"),))

    def test_large_block(self) -> None:
        """The client's block takes several frames."""
        fields = request_fields(b"GET", b"/", (b"x-a", b"a" * 40_000))
        self.raw.send(header_frames(1, literal(fields)))
        heard = self.channel.heard(h2.events.RequestReceived)
        self.assertEqual([tuple(each) for each in heard.headers], [*fields])

    def test_windows(self) -> None:
        """The client changes its windows, and h2 keeps to them."""
        found = self.raw.start()
        self.raw.change({Setting.INITIAL_WINDOW_SIZE: 10})
        self.raw.grant(found.number, 5)
        self.assertEqual(self.channel.connection.local_flow_control_window(found.number), 15)
        self.assertEqual(found.room, 15)

    def test_reset(self) -> None:
        """The client resets a stream with a code."""
        found = self.raw.start()
        self.raw.send(reset_frame(found.number, Code.REFUSED_STREAM))
        heard = self.channel.heard(h2.events.StreamReset)
        self.assertEqual(heard.error_code, Code.REFUSED_STREAM)

    def test_goaway(self) -> None:
        """The client says something bad, and reads what becomes of it."""
        self.raw.settle()
        with self.assertRaises(h2.exceptions.ProtocolError):
            self.raw.send(window_frame(0, 0))
        self.raw.read_until(lambda: self.raw.goaway)
        self.assertEqual(self.raw.goaway, GoAway(0, Code.PROTOCOL_ERROR))

    def test_preface(self) -> None:
        """The client begins as it has to."""
        self.assertEqual(len(PREFACE), 24)
        self.raw.settle()
        self.assertEqual(self.raw.conversation.acknowledged, 1)


@tag("loop")
class TLSTests(TLSTestCase):
    """The client over a socket with TLS."""

    def test_request(self) -> None:
        """The client agrees on h2 by ALPN, and is served."""
        pair = self.make_pair("localhost")
        application = Application(answer)
        server = self.enterContext(serve(application, **pair.values))
        context = self.trusting()
        context.set_alpn_protocols(["h2", "http/1.1"])
        sock = self.open(server.address, context=context)
        self.assertEqual(sock.selected_alpn_protocol(), "h2")
        with SocketClient(sock) as client:
            client.settle()
            found = client.start(b"POST", b"/a", scheme=b"https", end=False)
            client.send_body(found, bytes(200_000))
            self.assertEqual(client.finish(found).body, b"POST /a 200000")
        self.assertEqual(application.scopes[0]["scheme"], "https")
