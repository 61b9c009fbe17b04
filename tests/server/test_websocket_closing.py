"""Closing a WebSocket, and what the server counts, writes down and keeps of it."""

from __future__ import annotations

import asyncio
import gc
import socket
import weakref
from typing import Any

from django.test import tag

from django_daphne.server import ServerConfig
from django_daphne.server.protocols.deadlines import RESOLUTION
from tests.compliance import request
from tests.support.memory import Call, MemoryClient, Puppet
from tests.support.server import PATIENCE, RunningServer, running_loop
from tests.support.websocket import (
    ACCEPTED,
    CONNECT,
    JUST_BEFORE,
    DeadlineTestCase,
    WebSocketTestCase,
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
from tests.support.wire import CLIENT

NORMAL = b"\x88\x02\x03\xe8"
WRONG = b"\x88\x02\x03\xea"


@tag("loop")
class ClosingHandshakeTests(WebSocketTestCase):
    """The close frames of both sides, and the time for them."""

    def closing(self, **values: Any) -> tuple[MemoryClient, Call]:
        """Return a client that has read a close frame and is waited for."""
        client, call = self.open(**values)
        self.say(call, "close")
        self.assertEqual(client.read(), NORMAL)
        self.assertFalse(client.transport.closing)
        return client, call

    def test_answered(self):
        """The client answers the close frame in its own words, and the server leaves at once."""
        for answer in (close(1000), close(), close(4000, b"crossing"), text("late") + close(1001)):
            client, call = self.closing()
            client.server.wait(5 - JUST_BEFORE)
            client.send(answer)
            self.assert_ends(client)
            self.assert_told(call, disconnect(1000))

    def test_client_codes(self):
        """The client closes with every code there is; those that no frame may hold are refused."""
        good = {1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3999, 4000, 4999}
        bad = {0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535}
        for code in good | bad:
            with self.subTest(code):
                client, call = self.open()
                client.send(close(code))
                answer = code if code in good else 1002
                self.assertEqual(client.read(), b"\x88\x02" + answer.to_bytes(2))
                self.assert_told(call, disconnect(answer))

    def test_unanswered(self):
        """The client never answers, silent or busy: closed when linger_timeout is over."""
        for busy in (b"", text("on") + ping() + frame(1, b"and")):
            client, _ = self.closing(linger_timeout=7)
            client.send(busy)
            client.server.wait(7 - JUST_BEFORE)
            self.assertFalse(client.ended)
            client.server.wait(RESOLUTION + JUST_BEFORE)
            self.assert_ends(client)

    def test_time_at_its_edges(self):
        """The operator gives clients no time to answer, or all they want."""
        client, _ = self.closing(linger_timeout=0)
        client.server.wait(RESOLUTION)
        self.assert_ends(client)
        client, _ = self.closing(linger_timeout=None)
        client.server.wait(10**6)
        self.assertFalse(client.ended)
        client.send(close())
        self.assert_ends(client)

    def test_leaves_instead(self):
        """The client leaves in place of an answer, or breaks a rule: no second close frame."""
        for rest in (None, b"\x81\x01a"):
            client, call = self.closing()
            client.server.call(client.transport.arrive, rest)
            self.assert_ends(client)
            self.assert_told(call, disconnect(1000))

    def test_paused(self):
        """The application closes with its queue full; the client's answer behind it is seen."""
        client, call = self.open(websocket_max_queue=2)
        client.send(text("a") * 5 + text("last"))
        client.send(close(4000))
        self.assertGreater(client.transport.unread, 0)
        self.say(call, "close")
        self.assertEqual(client.read(), NORMAL)
        self.assert_ends(client)
        self.assert_told(call, disconnect(1000))

    def test_kept_answer_is_too_much(self):
        """The client's close frame waits unread, and the application's is what fills the wire."""

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send(event("accept"))
            await receive()
            await send(event("send", bytes=bytes(2000)))
            await send(event("close", code=4001))
            told.append(await receive())

        told: list[Any] = []
        client = self.connect(application, websocket_max_queue=2, write_buffer_size=1000)
        client.send(handshake())
        client.read()
        client.stop_reading()
        client.send(text("1") + text("2") + text("3") + close(4000))
        client.read_on()
        wire = b"\x82\x7e\x07\xd0" + bytes(2000) + b"\x88\x02\x0f\xa1"
        self.assertEqual(client.read(), wire)
        self.assertEqual(told, [disconnect(4001)])
        self.assert_ends(client)

    def test_behind_messages(self):
        """The client reads slowly; the close frame comes behind all that was sent."""
        client, call = self.open(write_buffer_size=1000)
        client.stop_reading()
        sending = call.send(event("send", text="x" * 2000))
        self.say(call, "close")
        self.assertTrue(sending.done())
        client.server.wait(10)
        client.read_on()
        self.assertEqual(client.read(), b"\x81\x7e\x07\xd0" + b"x" * 2000 + NORMAL)
        self.assert_ends(client)

    def test_never_read(self):
        """The client does not read what is before the close frame: reset in the end."""
        for linger_timeout in (5, None):
            times = {"linger_timeout": linger_timeout, "write_timeout": 20}
            client, call = self.open(write_buffer_size=1000, **times)
            fill(client, call)
            self.say(call, "close")
            # Without progress, counted from the close frame, or from the end of the wait for one.
            client.server.wait((linger_timeout or 0) + 20 - JUST_BEFORE)
            self.assertFalse(client.was_reset)
            client.server.wait(2 * RESOLUTION + JUST_BEFORE)
            self.assert_reset(client)


@tag("loop")
class LingeringTests(WebSocketTestCase):
    """The client broke a rule and goes on sending."""

    def test_time(self):
        """The client is let send for linger_timeout, so that it can read why."""
        client, _ = self.open(linger_timeout=7)
        client.send(b"\x81\x01a")
        self.assertEqual(client.read(), WRONG)
        client.send(bytes(1000))
        client.server.wait(7 - JUST_BEFORE)
        self.assertFalse(client.transport.closing)
        client.server.wait(RESOLUTION + JUST_BEFORE)
        self.assertTrue(client.transport.lost)

    def test_size(self):
        """The client is let send so many bytes, and no more."""
        client, _ = self.open(max_discard_size=1000)
        client.send(b"\x81\x01a" + bytes(2000))
        client.send(bytes(1000))
        self.assertFalse(client.transport.closing)
        client.send(b"x")
        self.assertTrue(client.transport.lost)

    def test_tls(self):
        """The client speaks TLS, which knows no half-close: closed at once."""
        server = self.serve(Puppet())
        client, call = self.ask(server, is_tls=True)
        self.accept(client, call)
        client.send(b"\x81\x01a")
        self.assertEqual(client.read(), WRONG)
        self.assertTrue(client.transport.lost)


@tag("loop")
class LifetimeTests(DeadlineTestCase):
    """websocket_timeout and websocket_connect_timeout."""

    def test_lifetime(self):
        """The client talks all the time; its time is over when it is over."""
        client, call = self.open(websocket_timeout=30, ping_interval=None)
        for _ in range(2):
            client.server.wait(10)
            client.send(text("x"))
        self.assert_nothing_until(client, 10)
        self.assertEqual(client.read(), b"\x88\x02\x03\xe8")
        self.assert_told(call, received("x"), received("x"), disconnect(1000))

    def test_for_ever(self):
        """The operator sets no limit to a life."""
        for never in (None, -1):
            client, _ = self.open(websocket_timeout=never, ping_interval=None)
            client.server.wait(10**7)
            self.assert_open(client)

    def test_connect_timeout(self):
        """The application does not answer the handshake in time; the time is the operator's."""
        client, _ = self.connecting(websocket_connect_timeout=8)
        self.assert_nothing_until(client, 8)
        self.assertEqual(client.statuses(), [403])
        for never in (None, -1):
            client, call = self.connecting(websocket_connect_timeout=never)
            client.server.wait(10**4)
            self.accept(client, call)

    def test_connect_timeout_is_over(self):
        """The application accepts or denies in time: nobody is told 403 later."""
        client, call = self.connecting(ping_interval=None)
        self.accept(client, call)
        self.assert_nothing_until(client, 100)
        client, call = self.connecting()
        self.say(call, "http.response.start", status=401)
        self.say(call, "http.response.body", body=b"no", more_body=True)
        self.assertTrue(client.read().endswith(b"\r\n\r\n2\r\nno\r\n"))
        self.assert_nothing_until(client, 100)
        self.say(call, "http.response.body")
        self.assertEqual(client.read(), b"0\r\n\r\n")
        client.send(request())
        self.assert_nothing_until(client, 50)


@tag("loop")
class StopTests(WebSocketTestCase):
    """The server stops."""

    def test_connecting(self):
        """The application accepts when the server is stopping already, or denies."""
        client, call = self.connecting()
        drain(client)
        self.assert_open(client)
        self.say(call, "accept")
        self.assertEqual(client.read(), ACCEPTED + b"\x88\x02\x03\xf4")
        self.assert_told(call, CONNECT, disconnect(1012))
        client, call = self.connecting()
        drain(client)
        self.say(call, "http.response.start", status=401)
        self.say(call, "http.response.body")
        (response,) = client.responses()
        self.assertEqual((response.status, response.headers[b"connection"]), (401, b"close"))
        self.assert_ends(client)

    def test_application_is_waited_for(self):
        """The application has work to do behind the end: the server waits for it."""
        closed: list[str] = []

        async def application(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "websocket":
                await receive()
                await send(event("accept"))
                closed.append((await receive())["code"])
                await go_on.wait()
                closed.append("saved")

        go_on = asyncio.Event()
        loop = running_loop().loop
        server = RunningServer(application, ServerConfig().replace(port=0))
        server.start()
        with socket.create_connection(server.address, PATIENCE) as sock:
            sock.sendall(handshake())
            head = sock.recv(65536)
            self.assertTrue(head.startswith(b"HTTP/1.1 101 "))
            stopping = asyncio.run_coroutine_threadsafe(server.server.stop(None), loop)
            self.assertEqual(sock.recv(65536), b"\x88\x02\x03\xf4")
            sock.sendall(close(1012))
            self.assertEqual(sock.recv(65536), b"")
        self.assertFalse(stopping.done())
        loop.call_soon_threadsafe(go_on.set)
        stopping.result(PATIENCE)
        self.assertEqual(closed, [1012, "saved"])


@tag("loop")
class ConcurrencyTests(WebSocketTestCase):
    """limit_concurrency counts handshakes, not open WebSockets."""

    def test_limit(self):
        """A handshake runs as the only request; however it ends, the next one may."""
        server = self.serve(Puppet(), limit_concurrency=1)
        client, call = self.ask(server)
        other = server.connect()
        other.send(handshake())
        self.assertEqual(other.statuses(), [503])
        self.accept(client, call)
        for end in (
            lambda client, call: client.reset(),
            lambda client, call: call.send(event("close")).result(),
            lambda client, call: server.wait(5 + RESOLUTION),
            lambda client, call: call.send(event("accept")).result(),
        ):
            end(*self.ask(server))
        self.assertEqual(server.access[-1].status, 101)


@tag("loop")
class AccessTests(WebSocketTestCase):
    """What the records of the access log say."""

    def test_facts(self):
        """The client of a trusted proxy stays for some seconds and is sent some bytes."""
        proxied = {"proxy_headers": True, "trusted_proxies": [CLIENT[0]]}
        server = self.serve(Puppet(), **proxied)
        client, call = self.ask(server, b"X-Forwarded-For: 203.0.113.7")
        server.wait(2)
        self.accept(client, call)
        self.say(call, "send", text="é")
        self.say(call, "send", bytes=b"xyz")
        server.wait(3)
        client.send(close(4000))
        records = server.access
        self.assertEqual({record.client for record in records}, {("203.0.113.7", 0)})
        self.assertEqual({record.target for record in records}, {b"/zebra"})
        self.assertEqual(
            {(record.method, record.http_version) for record in records}, {("GET", "1.1")}
        )
        self.assertEqual({dict(record.headers)[b"upgrade"] for record in records}, {b"websocket"})
        facts = [(r.event, r.status, r.size, r.duration, r.code) for r in records]
        expected = [("connecting", 0, 0, 0, None), ("connected", 101, 0, 2, None)]
        self.assertEqual(facts, [*expected, ("disconnected", 101, 5, 3, 4000)])

    def test_rejected(self):
        """The operator finds what was refused, and with which status."""
        server = self.serve(Puppet())
        _, call = self.ask(server)
        self.say(call, "http.response.start", status=418)
        self.say(call, "http.response.body", body=b"tea")
        server.connect().send(handshake().replace(b": 13", b": 12"))
        facts = [(r.event, r.status, r.size, r.code) for r in server.access]
        page = facts.pop()
        expected = [("connecting", 0, 0, None), ("rejected", 418, 3, None)]
        self.assertEqual((facts, page[:2]), (expected, ("rejected", 426)))


@tag("loop")
class MemoryTests(WebSocketTestCase):
    """What is held, and no longer than it is needed."""

    def test_http_side(self):
        """The application accepts: what served the handshake is gone."""
        client, call = self.connecting()
        protocol: Any = client.connection._protocol
        references = [weakref.ref(protocol), weakref.ref(protocol._exchange)]
        del protocol
        self.accept(client, call)
        gc.collect()
        self.assertEqual([reference() for reference in references], [None, None])

    def test_all(self):
        """The client leaves and the application returns: nothing is left of the WebSocket."""
        client, call = self.open()
        reference = weakref.ref(client.connection._protocol)
        client.send(text("never read"))
        client.reset()
        call.finish()
        server = client.server
        application: Any = server.context.tasks.application
        application.calls.clear()
        server.connections.clear()
        server.wait(60)  # this clock forgets a timer at its time only, cancelled or not
        del client, call
        gc.collect()
        self.assertIsNone(reference())
        self.assertEqual(len(server.context.tasks), 0)
