"""Between HTTP/1.1 and WebSocket: what comes before the 101, and what goes on without it."""

from __future__ import annotations

from typing import Any

from django.test import tag

from tests.compliance import SMUGGLED, request
from tests.support.memory import DATE, SERVER, MemoryClient, Puppet
from tests.support.websocket import close, frame

from .test_websocket_handshake import HANDSHAKE, SWITCHING, HandshakeTestCase

ACCEPTED = SWITCHING + DATE + SERVER + b"\r\n"


@tag("loop")
class DenialTests(HandshakeTestCase):
    """The application does not want the WebSocket; the connection may go on."""

    DENIED = (
        b"HTTP/1.1 401 Unauthorized\r\nX-Why: because\r\nContent-Length: 2\r\n"
        + DATE
        + SERVER
        + b"\r\nno"
    )

    def denied(self, **values: Any) -> tuple[MemoryClient, Puppet]:
        """Return a client that was denied a WebSocket by a response, and the application."""
        puppet = Puppet()
        client = self.connect(puppet, **values)
        client.send(HANDSHAKE)
        self.deny(puppet.calls[0])
        puppet.calls[0].finish()
        self.assertEqual(client.read(), self.DENIED)
        self.assert_open(client)
        return client, puppet

    def test_next_request(self):
        """The client that was denied asks for a page on the same connection."""
        client, puppet = self.denied()
        client.send(request())
        self.assertEqual(puppet.calls[1].scope["type"], "http")
        puppet.calls[1].answer()
        self.assertEqual(client.statuses(), [200])
        self.assert_open(client)

    def test_next_handshake(self):
        """The client that was denied asks again, and is accepted."""
        client, puppet = self.denied()
        client.send(HANDSHAKE)
        self.accept(puppet.calls[1])
        self.assertEqual(client.read(), ACCEPTED)

    def test_pipelined(self):
        """The client has sent its next request already, which waits for its turn."""
        puppet = Puppet()
        client = self.connect(puppet)
        client.send(HANDSHAKE + request())
        self.assertEqual(len(puppet.calls), 1)
        self.deny(puppet.calls[0])
        client.server.settle()
        self.assertEqual([call.scope["type"] for call in puppet.calls], ["websocket", "http"])
        puppet.calls[1].answer()
        self.assertEqual(client.statuses(), [401, 200])

    def test_frames_behind(self):
        """The client sends frames before it is denied, which are no request."""
        client, call = self.begin(HANDSHAKE + frame(0x81, b"hello") + SMUGGLED)
        self.deny(call)
        client.server.settle()
        self.assertEqual(client.statuses(), [401, 400])

    def test_time_is_over(self):
        """The time to accept runs out after the denial, and concerns nobody any more."""
        client, puppet = self.denied(websocket_connect_timeout=5, keep_alive_timeout=60)
        client.send(request())
        client.server.wait(30)
        self.assertEqual(client.read(), b"")
        puppet.calls[1].answer()
        self.assertEqual(client.statuses(), [200])

    def test_long_denial(self):
        """The application's denial is longer than the time to accept."""
        client, call = self.ask(websocket_connect_timeout=5)
        self.deny(call, b"a", more=True)
        client.server.wait(30)
        call.send({"type": "websocket.http.response.body", "body": b"b"}).result()
        (response,) = client.responses()
        self.assertEqual((response.status, response.body), (401, b"ab"))
        self.assert_open(client)

    def test_close(self):
        """The application closes instead of accepting: 403, and the connection ends."""
        client, call = self.begin(HANDSHAKE + SMUGGLED)
        call.send({"type": "websocket.close"}).result()
        self.assertEqual(client.statuses(), [403])
        client.half_close()
        self.assert_ends(client)


@tag("loop")
class EarlyTests(HandshakeTestCase):
    """What the client sends before it has the 101."""

    FRAMES = b"".join(frame(0x82, bytes((65 + number,))) for number in range(20))
    EXPECTED = tuple(bytes((65 + number,)) for number in range(20))

    def test_one_read(self):
        """The client sends frames in one read with the handshake."""
        _, call = self.begin(HANDSHAKE + self.FRAMES)
        self.accept(call)
        self.assertEqual(self.received(call, 20), [*self.EXPECTED])

    def test_many_reads(self):
        """The client sends frames in reads of their own, more than the server takes in."""
        for limit in (10, 100, 65536):
            client, call = self.ask(max_pipelined_size=limit)
            for at in range(0, len(self.FRAMES), 7):
                client.send(self.FRAMES[at : at + 7])
            self.assertEqual(client.transport.unread > 0, limit < 140)
            self.accept(call)
            client.send(frame(0x81, b"last"))
            self.assertEqual(self.received(call, 21), [*self.EXPECTED, "last"])

    def test_every_cut(self):
        """The client's frames are cut in two at each place by the 101."""
        for cut in range(len(self.FRAMES)):
            client, call = self.begin(HANDSHAKE + self.FRAMES[:cut])
            self.accept(call)
            client.send(self.FRAMES[cut:])
            self.assertEqual(self.received(call, 20), [*self.EXPECTED], cut)

    def test_bytewise(self):
        """The client sends handshake and frames a byte at a time."""
        puppet = Puppet()
        client = self.connect(puppet)
        client.feed_bytewise(HANDSHAKE + self.FRAMES)
        self.accept(puppet.calls[0])
        self.assertEqual(self.received(puppet.calls[0], 20), [*self.EXPECTED])

    def test_violation(self):
        """The client breaks a rule before it has the 101, and learns it behind that."""
        client, call = self.begin(HANDSHAKE + frame(0x81, b"a") + b"\x82\x00")
        self.accept(call)
        end = ACCEPTED + b"\x88\x02\x03\xea"
        self.assertEqual(client.read(), end)
        self.assertEqual(self.received(call, 1), ["a"])
        self.assertEqual(call.receive_now()["code"], 1002)

    def test_close(self):
        """The client has closed before it has the 101; its message comes first."""
        client, call = self.begin(HANDSHAKE + frame(0x81, b"a") + close(1001))
        self.accept(call)
        end = ACCEPTED + b"\x88\x02\x03\xe9"
        self.assertEqual(client.read(), end)
        self.assertEqual(self.received(call, 1), ["a"])
        self.assertEqual(call.receive_now()["code"], 1001)
