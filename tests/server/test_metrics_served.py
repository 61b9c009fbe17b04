"""What is counted while a server serves: as much as was sent, and nothing more."""

from __future__ import annotations

import socket
from contextlib import closing
from pathlib import Path
from typing import Any

from django.test import SimpleTestCase, tag
from websockets.sync.client import connect

from django_daphne.server.connection import Connection
from tests.compliance import SocketChannel, request
from tests.server.test_server import Gate
from tests.support.http2 import Client, SocketClient
from tests.support.http2_frames import Code, reset_frame
from tests.support.memory import Call, MemoryClient, Puppet
from tests.support.metrics import MetricsTestCase
from tests.support.server import PATIENCE, RunningServer, serve
from tests.support.websocket import close, handshake, text

BODY = b"zebra" * 100


async def answer(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the status that the path names, and echo what a WebSocket says twice."""
    if scope["type"] == "http":
        status = int(scope["path"].removeprefix("/") or 200)
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": BODY, "more_body": True})
        await send({"type": "http.response.body", "body": BODY})
        return
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        for _ in range(2):
            await send({"type": "websocket.send", "text": message["text"]})


@tag("loop")
class SumsTests(MetricsTestCase):
    """Clients of every protocol, and what Prometheus is told of them."""

    def talk(self, server: RunningServer, *paths: str, close: bool = True) -> tuple[int, int]:
        """Ask over HTTP/1.1 until the server closes; return the bytes that were sent and came."""
        sent = b"".join(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode() for path in paths)
        sent = sent.removesuffix(b"\r\n") + b"Connection: close\r\n\r\n"
        with closing(socket.create_connection(server.address, PATIENCE)) as sock:
            sock.sendall(sent)
            return len(sent), len(b"".join(iter(lambda: sock.recv(65536), b"")))

    def test_sums(self):
        """The operator adds up what the clients have sent, and finds the same."""
        with self.serve(answer) as server:
            for _ in range(3):
                self.talk(server, *["/"] * 20, *["/404"] * 5)
            with SocketClient.connect(server.address) as client:
                for path in (b"/", b"/500", b"/500"):
                    client.request(b"GET", path)
            for _ in range(2):
                with connect(f"ws://{server.host}:{server.port}/") as websocket:
                    for _ in range(7):
                        websocket.send("zebra")
                        self.assertEqual([websocket.recv(), websocket.recv()], ["zebra"] * 2)
        samples = self.samples()
        self.assertEqual(
            {key[1:]: n for key, n in samples.items() if key[0] == "requests_total"},
            {
                ("1.1", "200"): 60,
                ("1.1", "404"): 15,
                ("1.1", "101"): 2,
                ("2", "200"): 1,
                ("2", "500"): 2,
            },
        )
        self.assertEqual(samples["request_application_seconds_count",], 80)
        self.assertEqual(samples["request_sending_seconds_count",], 78)
        self.assertEqual(samples["websocket_messages_total", "received"], 14)
        self.assertEqual(samples["websocket_messages_total", "sent"], 28)
        self.assertEqual(samples["accepted_connections_total",], 6)
        for key in ("connections", "streams", "websockets", "resets_total", "limits_hit_total"):
            self.assertEqual({n for name, n in samples.items() if name[0] == key}, {0}, key)
        self.assertEqual(samples["event_loop_silence_seconds",], 0)
        self.assertGreater(samples["cpu_seconds_total",], 0)

    def test_bytes(self):
        """The operator compares the bytes with those of the client."""
        with self.serve(answer) as server:
            sizes = [self.talk(server, "/", "/404"), self.talk(server, "/")]
        samples = self.samples()
        self.assertEqual(samples["received_bytes_total",], sizes[0][0] + sizes[1][0])
        self.assertEqual(samples["sent_bytes_total",], sizes[0][1] + sizes[1][1])

    def test_what_is_open(self):
        """The operator looks while clients are there."""
        gate = Gate(answer)
        with (
            self.serve(gate) as server,
            closing(socket.create_connection(server.address, PATIENCE)) as client,
            SocketClient.connect(server.address) as other,
            connect(f"ws://{server.host}:{server.port}/") as websocket,
        ):
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            streams = [other.start(path=b"/") for _ in range(3)]
            websocket.send("zebra")
            self.assertEqual(websocket.recv(), "zebra")
            self.assertTrue(gate.entered.wait(PATIENCE))
            other.settle()
            samples = self.samples()
            found = {key[1]: n for key, n in samples.items() if key[0] == "connections"}
            self.assertEqual(found, {"http1": 1, "http2": 1, "websocket": 1})
            self.assertEqual((samples["streams",], samples["websockets",]), (3, 1))
            gate.open()
            for stream in streams:
                other.finish(stream)
            self.assertEqual(client.recv(15), b"HTTP/1.1 200 OK")

    def test_file(self):
        """The kernel sends a file, which is counted though nobody writes it."""

        async def send_file(scope: Any, receive: Any, send: Any) -> None:
            with Path(__file__).open("rb") as file:
                size = file.seek(0, 2)
                headers = [(b"content-length", b"%d" % size)]
                start = {"type": "http.response.start", "status": 200, "headers": headers}
                await send(start)
                await send({"type": "http.response.zerocopysend", "file": file, "offset": 0})

        with self.serve(send_file) as server:
            _, came = self.talk(server, "/")
        self.assertEqual(self.samples()["sent_bytes_total",], came)

    def test_refused(self):
        """A connection comes when there is no room for it."""
        with (
            self.serve(answer, max_connections=1) as server,
            SocketClient.connect(server.address) as client,
            self.assertLogs("django_daphne.server", "WARNING"),
        ):
            client.request(path=b"/")
            # The reset may come before this side knows that it is connected.
            with (
                self.assertRaises(ConnectionResetError),
                closing(socket.create_connection(server.address, PATIENCE)) as other,
            ):
                other.recv(1)
        self.assertEqual(self.counted("limits_hit_total"), {"max_connections": 1})
        self.assertEqual(self.counted("resets_total"), {"connection": 1})
        self.assertEqual(self.samples()["accepted_connections_total",], 2)


@tag("loop")
class LimitTests(MetricsTestCase):
    """The limits that clients, and applications, hit: each is counted once, by its option."""

    def assert_hit(self, **limits: int) -> None:
        """These limits were hit so often, and no other."""
        self.assertEqual(self.counted("limits_hit_total"), limits)

    def start(self, **values: Any) -> tuple[MemoryClient, Puppet]:
        """Return a client in memory, and the application."""
        puppet = Puppet()
        return self.serve_in_memory(puppet, **values).connect(), puppet

    def open(self, **values: Any) -> tuple[MemoryClient, Call]:
        """Return the client of an open WebSocket, and the application's call."""
        client, puppet = self.start(**values)
        client.send(handshake())
        call = puppet.calls[-1]
        call.receive_now()
        call.send({"type": "websocket.accept"}).result()
        client.read()
        return client, call

    def test_heads(self):
        """Clients send heads that are too long."""
        values = {"max_request_line": 100, "max_header_size": 200, "max_header_count": 3}
        for data, status in (
            (b"GET /" + b"x" * 100, 414),
            (request(b"X: " + b"x" * 200), 431),
            (request(*[b"X: y"] * 4), 431),
        ):
            client, _ = self.start(**values)
            client.send(data)
            self.assertEqual(client.statuses(), [status])
        self.assert_hit(max_request_line=1, max_header_size=1, max_header_count=1)

    def test_bodies(self):
        """Clients of both versions send bodies that are too long."""
        post = b"POST / HTTP/1.1"
        for lines in ((b"Content-Length: 11",), (b"Transfer-Encoding: chunked",)):
            client, _ = self.start(max_body_size=10)
            client.send(request(*lines, line=post) + b"b\r\nzebrazebraz\r\n")
            self.assertEqual(client.statuses(), [413])
        memory, _ = self.start(max_body_size=10)
        http2 = Client(memory)
        self.assertEqual(http2.request(b"POST", body=b"zebrazebraz").status, 413)
        self.assert_hit(max_body_size=3)

    def test_concurrency(self):
        """A request comes while another runs, over either version."""
        memory, _ = self.start(limit_concurrency=1)
        http2 = Client(memory)
        http2.start()
        self.assertEqual(http2.request().status, 503)
        client, _ = self.start(limit_concurrency=1)
        other = client.server.connect()
        client.send(request())
        other.send(request())
        self.assertEqual(other.statuses(), [503])
        self.assert_hit(limit_concurrency=2)

    def test_timeouts(self):
        """Clients, and an application, take too long."""
        values = {"header_timeout": 5, "body_timeout": 5, "http_timeout": 20}
        for data, status in (
            (b"GET / HT", 408),
            (request(b"Content-Length: 5", line=b"POST / HTTP/1.1"), 408),
            (request(), 503),
        ):
            client, _ = self.start(**values)
            client.send(data)
            client.server.wait(21)
            self.assertEqual(client.statuses(), [status])
        self.assert_hit(header_timeout=1, body_timeout=1, http_timeout=1)

    def test_http2_timeouts(self):
        """They do so over HTTP/2, and a client is not there any more."""
        values = {"header_timeout": 5, "body_timeout": 5, "http_timeout": 20}
        for method, path in ((b"POST", b"/body"), (b"GET", b"/")):
            memory, _ = self.start(**values, http2_ping_interval=None)
            http2 = Client(memory)
            stream = http2.start(method, path, end=method == b"GET")
            memory.server.wait(21)
            self.assertEqual(http2.finish(stream).status, 408 if method == b"POST" else 503)
        memory, _ = self.start(http2_ping_interval=5, http2_ping_timeout=5, http_timeout=None)
        Client(memory).start()
        memory.server.wait(11)
        self.assertTrue(memory.was_reset)
        self.assert_hit(body_timeout=1, http_timeout=1, http2_ping_timeout=1)
        self.assertEqual(self.counted("resets_total"), {"connection": 1})
        self.assertEqual(self.samples()["streams",], 0)

    def test_unread(self):
        """A client does not read its answer."""
        client, puppet = self.start(write_timeout=5, write_buffer_size=1000)
        client.stop_reading()
        client.send(request())
        call = puppet.calls[-1]
        call.send({"type": "http.response.start", "status": 200, "headers": []})
        call.send({"type": "http.response.body", "body": bytes(5000), "more_body": True})
        client.server.wait(6)
        self.assertTrue(client.was_reset)
        self.assert_hit(write_timeout=1)
        self.assertEqual(self.counted("resets_total"), {"connection": 1})

    def test_streams(self):
        """A client begins more streams than it may, and resets others again and again."""
        memory, puppet = self.start(http2_max_concurrent_streams=2)
        http2 = Client(memory)
        first, _, third = [http2.start() for _ in range(3)]
        self.assertEqual(http2.finish(third).reset, Code.REFUSED_STREAM)
        http2.send(reset_frame(first.number, Code.CANCEL))
        self.assert_hit(http2_max_concurrent_streams=1)
        self.assertEqual(self.counted("resets_total"), {"stream_sent": 1, "stream_received": 1})
        self.assertEqual(self.samples()["streams",], 1)
        self.assertEqual(len(puppet.calls), 2)

    def test_rapid_reset(self):
        """A client takes every request back at once."""
        memory, _ = self.start()
        http2 = Client(memory)
        for _ in range(300):
            stream = http2.start()
            http2.send(reset_frame(stream.number, Code.CANCEL))
        goaway = http2.read_to_end()
        assert goaway is not None
        self.assertEqual(goaway.code, Code.ENHANCE_YOUR_CALM)
        self.assertEqual(self.counted("limits_hit_total")["http2_allowances"], 1)

    def test_websockets(self):
        """Clients of WebSockets send too much, say too little, or stay too long."""
        values = {"websocket_max_message_size": 10, "ping_interval": None}
        client, _ = self.open(**values)
        client.send(text("zebrazebraz"))
        client, _ = self.open(ping_interval=5, ping_timeout=5)
        client.server.wait(11)
        client, _ = self.open(websocket_timeout=5, ping_interval=None)
        client.server.wait(6)
        client, _ = self.start(websocket_connect_timeout=5)
        client.send(handshake())
        client.server.wait(6)
        self.assertEqual(client.statuses(), [403])
        self.assert_hit(
            websocket_max_message_size=1,
            ping_timeout=1,
            websocket_timeout=1,
            websocket_connect_timeout=1,
        )

    def test_websocket_ends(self):
        """A client closes its WebSocket, and another leaves without a word."""
        client, _ = self.open()
        other, _ = self.open()
        self.assertEqual(self.samples()["websockets",], 2)
        client.send(close(1000))
        client.feed_eof()
        other.reset()
        self.assertEqual(self.samples()["websockets",], 0)
        self.assertEqual(self.counted("connections"), {})
        self.assert_hit()


class OffTests(SimpleTestCase):
    """Nobody wants metrics."""

    def test_nothing_is_counted(self):
        """A server without a recorder serves with the protocols that count nothing."""
        with (
            serve(answer, lifespan="off") as server,
            closing(socket.create_connection(server.address, PATIENCE)) as sock,
        ):
            sock.sendall(request(line=b"GET / HTTP/1.1"))
            SocketChannel(sock).receive()
            (connection,) = server.server._context.connections
            self.assertIs(type(connection), Connection)
