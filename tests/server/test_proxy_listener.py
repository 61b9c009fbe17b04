"""Listeners whose connections begin with a PROXY protocol header, over real sockets."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
import tempfile
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from django.test import SimpleTestCase, tag

from django_daphne.server import ConfigurationError, Server, ServerConfig
from django_daphne.server.accepting import ProxyListener
from django_daphne.server.addresses import TrustedPeers
from django_daphne.server.config import ListenConfig
from django_daphne.server.endpoints import Listener
from django_daphne.server.resolution import resolve
from django_daphne.server.sockets import bind
from django_daphne.server.types import Scope
from tests.compliance import request
from tests.support.carriers import RESET, CarrierTestCase, Client, Recorder, on_loop
from tests.support.server import PATIENCE, RunningServer, call, running_loop, serve

LOGGER = "django_daphne.server"
GET = request()
LAST = request(b"Connection: close")

TEXT = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n"
TEXT_6 = b"PROXY TCP6 2001:db8::7 2001:db8::1 56324 443\r\n"
UNKNOWN = b"PROXY UNKNOWN\r\n"
SIGNATURE = b"\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a"
INET = b"\xc0\x00\x02\x07\xc6\x33\x64\x01\xdc\x04\x01\xbb"
TLS = b"\x20\x00\x05\x01\x00\x00\x00\x00"
BINARY = SIGNATURE + b"\x21\x11\x00\x0c" + INET
BINARY_TLS = SIGNATURE + b"\x21\x11\x00\x14" + INET + TLS
BINARY_NO_TLS = SIGNATURE + b"\x21\x11\x00\x14" + INET + b"\x20\x00\x05\x00\x00\x00\x00\x01"
BINARY_UNIX = SIGNATURE + b"\x21\x31\x00\xd8" + bytes(216)
LOCAL = SIGNATURE + b"\x20\x00\x00\x00"
LOCAL_TLS = SIGNATURE + b"\x20\x00\x00\x08" + TLS
UNSPEC_TLS = SIGNATURE + b"\x21\x00\x00\x08" + TLS
ANNOUNCED = (("192.0.2.7", 56324), ("198.51.100.1", 443))

# More turns of the loop than there are batches to accept in any of these tests.
TURNS = 100


async def turn() -> None:
    """Let the loop do what is to be done."""
    for _ in range(TURNS):
        await asyncio.sleep(0)


class Witness:
    """An application that remembers its scopes."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise ValueError(scope["type"])
        self.scopes.append(scope)
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"hello"})


class ProxyListenerTestCase(SimpleTestCase):
    """A real server behind a proxy, which the test plays."""

    def setUp(self):
        self.witness = Witness()
        folder = self.enterContext(tempfile.TemporaryDirectory())
        self.path = str(Path(folder, "socket"))

    def serve(self, **values: Any) -> RunningServer:
        """Return a server that runs until the test ends."""
        return self.enterContext(serve(self.witness, **values))

    def connect(self, address: tuple[str, int] | str) -> socket.socket:
        """Return a connection to an address, or to a path."""
        if isinstance(address, str):
            sock = self.enterContext(socket.socket(socket.AF_UNIX))
            sock.settimeout(PATIENCE)
            sock.connect(address)
            return sock
        sock = self.enterContext(socket.create_connection(address, PATIENCE))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def read(self, sock: socket.socket) -> bytes:
        """Return all that comes up to the end; a reset is one, too."""
        data = bytearray()
        try:
            while piece := sock.recv(65536):
                data += piece
        except ConnectionResetError:
            pass
        return bytes(data)

    def assert_answered(self, sock: socket.socket) -> Scope:
        """The server answers the last request; return the scope that the application saw."""
        self.assertRegex(self.read(sock), rb"(?s)\AHTTP/1.1 200 .*\r\n\r\nhello\Z")
        return self.witness.scopes[-1]

    def ask(self, address: tuple[str, int] | str, header: bytes, wire: bytes = LAST) -> Scope:
        """Send a header and a request in one piece; return the scope that the application saw."""
        sock = self.connect(address)
        sock.sendall(header + wire)
        return self.assert_answered(sock)

    @contextmanager
    def assert_dropped(self, server: RunningServer, times: int = 1) -> Iterator[list[str]]:
        """So many connections are closed in the block, and told of: once aloud, then quietly."""
        texts: list[str] = []
        count = len(self.witness.scopes)
        with self.assertLogs(LOGGER, "DEBUG") as logs:
            yield texts
            call(turn())  # a connection is closed before it is written of
        records = [each for each in logs.records if "is closed: " in each.getMessage()]
        texts += [each.getMessage() for each in records]
        levels = [logging.WARNING, *[logging.DEBUG] * (times - 1)]
        self.assertEqual([each.levelno for each in records], levels, texts)
        start = f"A connection to {server.server.descriptions[0]} is closed: "
        self.assertTrue(all(text.startswith(start) for text in texts), texts)
        self.assertEqual(len(self.witness.scopes), count)

    def assert_silent_end(self, sock: socket.socket) -> None:
        """The server closes the connection without a word."""
        self.assertEqual(self.read(sock), b"")


@tag("loop")
class AnnouncedTests(ProxyListenerTestCase):
    """What the proxy has announced."""

    def test_addresses(self):
        """The proxy announces a client in either version; application and log see that one."""
        for mode, header in (("v1", TEXT), ("v2", BINARY), ("any", TEXT), ("any", BINARY)):
            with self.subTest(mode=mode, header=header):
                server = self.serve(proxy_protocol=mode)
                scope = self.ask(server.address, header)
                self.assertEqual((scope["client"], scope["server"]), ANNOUNCED)
                self.assertEqual((scope["scheme"], scope["path"]), ("http", "/zebra"))
                self.assertEqual([each.client for each in server.access], [ANNOUNCED[0]])
        scope = self.ask(server.address, TEXT_6)
        self.assertEqual(scope["client"], ("2001:db8::7", 56324))
        self.assertEqual(scope["server"], ("2001:db8::1", 443))

    def test_description(self):
        """The operator reads which listeners want a header."""
        server = self.serve(bind=["127.0.0.1:0 proxy_protocol=any", "127.0.0.2:0"])
        first, second = server.server.descriptions
        self.assertEqual(first, f"TCP address 127.0.0.1:{server.port} (PROXY protocol)")
        self.assertNotIn("PROXY", second)

    def test_own_addresses(self):
        """The proxy speaks for itself, or does not know."""
        server = self.serve(proxy_protocol="any")
        for header in (UNKNOWN, LOCAL):
            sock = self.connect(server.address)
            sock.sendall(header + LAST)
            scope = self.assert_answered(sock)
            self.assertEqual(
                (scope["client"], scope["server"]), (sock.getsockname(), server.address)
            )
            self.assertEqual(scope["scheme"], "http")
            self.assertEqual(server.access[-1].client, sock.getsockname())

    def test_tls(self):
        """The client spoke TLS to the proxy, or did not."""
        server = self.serve(proxy_protocol="v2")
        self.assertEqual(self.ask(server.address, BINARY_TLS)["scheme"], "https")
        self.assertEqual(self.ask(server.address, BINARY_NO_TLS)["scheme"], "http")
        # What the proxy does not know are the addresses; for itself it has no client.
        scope = self.ask(server.address, UNSPEC_TLS)
        self.assertEqual((scope["scheme"], scope["server"]), ("https", server.address))
        self.assertEqual(self.ask(server.address, LOCAL_TLS)["scheme"], "http")

    def test_nobody(self):
        """The client of the proxy came over a unix socket."""
        server = self.serve(proxy_protocol="v2")
        scope = self.ask(server.address, BINARY_UNIX)
        self.assertEqual((scope["client"], scope["server"]), (None, None))

    def test_bytewise(self):
        """The proxy sends byte by byte."""
        server = self.serve(proxy_protocol="any")
        for header in (TEXT, BINARY_TLS):
            sock = self.connect(server.address)
            for byte in header + LAST:
                sock.sendall(bytes((byte,)))
            scope = self.assert_answered(sock)
            self.assertEqual((scope["client"], scope["server"]), ANNOUNCED)

    def test_every_request(self):
        """The client sends several requests on its connection, and a body, without more headers."""
        server = self.serve(proxy_protocol="v1")
        post = request(b"Content-Length: 5", line=b"POST / HTTP/1.1", body=b"hello")
        sock = self.connect(server.address)
        sock.sendall(TEXT + GET + post + LAST)
        self.assertEqual(self.read(sock).count(b"HTTP/1.1 200 "), 3)
        self.assertEqual([each["client"] for each in self.witness.scopes], [ANNOUNCED[0]] * 3)
        self.assertEqual([each.client for each in server.access], [ANNOUNCED[0]] * 3)

    def test_second_header(self):
        """The client sends a header of its own behind the proxy's, which is no request."""
        server = self.serve(proxy_protocol="v1")
        sock = self.connect(server.address)
        sock.sendall(TEXT + TEXT_6 + LAST)
        self.assertRegex(self.read(sock), rb"\AHTTP/1.1 400 ")
        self.assertEqual(self.witness.scopes, [])
        self.assertEqual([each.client for each in server.access], [ANNOUNCED[0]])

    def test_other_listeners(self):
        """The proxy comes over a unix socket, IPv6, or an inherited descriptor."""
        inherited = self.enterContext(socket.create_server(("127.0.0.1", 0)))
        server = self.serve(
            *(), proxy_protocol="v2", unix_socket=self.path, bind=["[::1]:0"], fd=inherited.fileno()
        )
        places: list[tuple[str, int] | str] = [self.path, *server.server.addresses]
        self.assertEqual(len(places), 3)
        for place in places:
            scope = self.ask(place, BINARY)
            self.assertEqual((scope["client"], scope["server"]), ANNOUNCED)
        self.assertEqual(self.ask(self.path, LOCAL)["client"], None)

    def test_each_listener(self):
        """The operator says it of some addresses, and the others are as always."""
        server = self.serve(
            bind=["127.0.0.1:0 proxy_protocol=v2", "127.0.0.1:0", "127.0.0.1:0 proxy_protocol=v1"]
        )
        binary, plain, text = server.server.addresses
        self.assertEqual(self.ask(binary, BINARY)["client"], ANNOUNCED[0])
        self.assertEqual(self.ask(text, TEXT)["client"], ANNOUNCED[0])
        self.assertEqual(self.ask(plain, b"")["server"], plain)
        with self.assert_dropped(server):
            sock = self.connect(binary)
            sock.sendall(LAST)
            self.assert_silent_end(sock)

    def test_off_for_one(self):
        """The operator says it of all addresses but one."""
        server = self.serve(
            bind=["127.0.0.1:0", "127.0.0.1:0 proxy_protocol=off"], proxy_protocol="v1"
        )
        text, plain = server.server.addresses
        self.assertEqual(self.ask(text, TEXT)["client"], ANNOUNCED[0])
        self.assertEqual(self.ask(plain, b"")["server"], plain)

    def test_headers(self):
        """The client sends headers of proxies; who it is was announced, and that is what counts."""
        server = self.serve(proxy_protocol="any", proxy_headers=True)
        wire = request(
            *(b"X-Forwarded-For: 203.0.113.9", b"Daphne-Root-Path: /x", b"Connection: close")
        )
        local = b"PROXY TCP4 127.0.0.5 127.0.0.1 1 2\r\n"
        for header in (local, UNKNOWN, BINARY_UNIX):
            scope = self.ask(server.address, header, wire)
            self.assertEqual((scope["client"], scope["root_path"]), (("203.0.113.9", 0), "/x"))
        with self.assertLogs(LOGGER, "WARNING") as logs:
            scope = self.ask(server.address, TEXT, wire)
        self.assertEqual((scope["client"], scope["root_path"]), (ANNOUNCED[0], ""))
        self.assertEqual([record.args for record in logs.records], [(ANNOUNCED[0][0],)])


class CutTests(CarrierTestCase):
    """Headers that the network has cut, and nothing lost or taken behind them."""

    loop_name = os.environ.get("DAPHNE_TEST_LOOP", "auto")

    async def listen(self) -> Listener:
        """Listen for headers of both versions."""
        (bound,) = bind(ListenConfig(port=0))
        trusted = TrustedPeers(["127.0.0.1"])
        listener = ProxyListener(bound, "any", trusted, PATIENCE)
        await listener.start(self.make_recorder, 100)
        return listener

    async def introduce(self, header: bytes, cut: int) -> Recorder:
        """Send header and request in two pieces; return the connection, which has the request."""
        sock = self.enterContext(socket.socket())
        sock.setblocking(False)
        await self.loop.sock_connect(sock, self.address)
        client, stream, count = Client(sock), header + GET, len(self.recorders)
        if cut:
            await client.send(stream[:cut])
            for _ in range(8):
                await asyncio.sleep(0)
        if cut < len(header):
            self.assertEqual(len(self.recorders), count, "a connection before its header")
        await client.send(stream[cut:])
        while len(self.recorders) == count:
            await asyncio.sleep(0)
        recorder = self.recorders[-1]
        await recorder.when(lambda: len(recorder.data) >= len(GET))
        return recorder

    @on_loop
    async def test_every_cut(self: Any) -> None:
        """The network cuts header and request in two, anywhere up to within the request."""
        for header, is_secure in ((TEXT, False), (BINARY_TLS, True)):
            for cut in range(len(header) + 3):
                recorder = await self.introduce(header, cut)
                self.assertEqual(recorder.data, GET, cut)
                transport = recorder.transport
                self.assertEqual((transport.peer, transport.host), ANNOUNCED)
                self.assertEqual((transport.is_secure, transport.is_tls), (is_secure, False))

    @on_loop
    async def test_closed_twice(self: Any) -> None:
        """The server stops twice."""
        listener = await self.listen()
        await listener.close()
        await listener.close()


@tag("loop")
class RefusalTests(ProxyListenerTestCase):
    """Connections that are closed, without a response and without a call."""

    REFUSED: tuple[tuple[str, str, bytes], ...] = (
        ("a plain request", "v1", LAST),
        ("a plain request", "v2", LAST),
        ("a plain request", "any", LAST),
        ("TLS", "any", b"\x16\x03\x01\x02\x00\x01"),
        ("a request with the word", "v1", b"PROXY / HTTP/1.1\r\n\r\n"),
        ("too long", "v1", b"PROXY UNKNOWN " + b"x" * 200),
        ("too long", "v2", SIGNATURE + b"\x21\x11\xff\xff" + INET + bytes(65523)),
        ("unknown family", "v1", b"PROXY UDP4 192.0.2.7 198.51.100.1 56324 443\r\n" + LAST),
        ("unknown family", "v2", SIGNATURE + b"\x21\x41\x00\x0c" + INET + LAST),
        ("no address", "v1", b"PROXY TCP4 192.0.2.256 198.51.100.1 56324 443\r\n" + LAST),
        ("text", "v2", TEXT + LAST),
        ("binary", "v1", BINARY + LAST),
        ("a request in front", "any", b"\r\n" + TEXT + LAST),
    )

    def send(self, address: tuple[str, int] | str, data: bytes) -> socket.socket:
        """Return a connection on which something was sent, as far as it was taken."""
        sock = self.connect(address)
        with suppress(BrokenPipeError, ConnectionResetError):
            sock.sendall(data)
        return sock

    def test_no_header(self):
        """The peer sends something else, or what the operator has not chosen."""
        for name, mode, data in self.REFUSED:
            with self.subTest(name, mode=mode):
                server = self.serve(proxy_protocol=mode)
                with self.assert_dropped(server, times=3):
                    for _ in range(3):
                        self.assert_silent_end(self.send(server.address, data))
                self.assertEqual(server.access, [])
                # The listener is none the worse for it.
                self.ask(server.address, BINARY if mode == "v2" else TEXT)

    def test_not_trusted(self):
        """The peer is none of the trusted proxies, whatever it announces."""
        trusted = ["192.0.2.1", "192.0.2.7"]
        tcp = self.serve(proxy_protocol="any", trusted_proxies=["unix", *trusted])
        trusted = ["127.0.0.1", *trusted]
        unix = self.serve(proxy_protocol="any", trusted_proxies=trusted, unix_socket=self.path)
        places: list[tuple[RunningServer, tuple[str, int] | str, str]] = [
            (tcp, tcp.address, "127.0.0.1"),
            (unix, self.path, "a unix socket"),
        ]
        for server, place, name in places:
            with self.assert_dropped(server, times=3) as texts:
                for header in (TEXT, BINARY, LOCAL):
                    self.assert_silent_end(self.send(place, header + LAST))
            self.assertIn(f" closed: {name} is none of the trusted proxies", texts[0])

    def test_ends_early(self):
        """The proxy closes its side before its header is complete."""
        server = self.serve(proxy_protocol="any")
        with self.assert_dropped(server, times=4):
            for data in (b"", b"PROXY", TEXT[:-1], BINARY[:-1]):
                sock = self.send(server.address, data)
                sock.shutdown(socket.SHUT_WR)
                self.assert_silent_end(sock)

    def test_never_complete(self):
        """The peer sends nothing, or a part of a header, and waits; the server does not."""
        server = self.serve(proxy_protocol="any", header_timeout=0.05)
        with self.assert_dropped(server, times=4) as texts:
            for data in (b"", b"PROXY", TEXT[:-1], BINARY[:-1]):
                self.assert_silent_end(self.send(server.address, data))
        self.assertTrue(all("in time" in text for text in texts), texts)

    def test_resets(self):
        """The peer resets the connection within its header, which is nobody's mistake."""
        server = self.serve(proxy_protocol="v1")
        with self.assertNoLogs(LOGGER, "WARNING"):
            sock = self.send(server.address, b"PROXY")
            call(turn())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            sock.close()
            call(turn())
            self.ask(server.address, TEXT)

    def test_each_listener(self):
        """The operator is warned of each listener once."""
        server = self.serve(bind=["127.0.0.1:0", "127.0.0.2:0"], proxy_protocol="v1")
        for address in server.server.addresses:
            with self.assertLogs(LOGGER, "WARNING") as logs:
                for _ in range(2):
                    self.assert_silent_end(self.send(address, LAST))
                call(turn())
            self.assertEqual(len(logs.records), 1)
            self.assertIn(f"{address[0]}:{address[1]}", logs.output[0])


@tag("loop")
class CrowdTests(ProxyListenerTestCase):
    """Connections that are open and were not introduced."""

    def test_bound(self):
        """Many connect and say nothing; more are accepted when some have gone, not before."""
        server = self.serve(proxy_protocol="v1", header_timeout=None)
        idle = [self.connect(server.address) for _ in range(300)]
        good = self.connect(server.address)
        good.sendall(TEXT + LAST)
        call(turn())
        good.setblocking(False)
        with self.assertRaises(BlockingIOError):
            good.recv(1)
        good.settimeout(PATIENCE)
        with self.assertLogs(LOGGER, "WARNING") as logs:
            for sock in idle[:60]:
                sock.close()
            self.assertEqual(self.assert_answered(good)["client"], ANNOUNCED[0])
        self.assertEqual((len(logs.records), len(self.witness.scopes)), (1, 1))
        for sock in idle[60:]:
            sock.setblocking(False)
            with self.assertRaises(BlockingIOError):
                sock.recv(1)

    def start(self, application: Any) -> RunningServer:
        """Return a running server, which the test stops itself, and which waits for ever."""
        config = ServerConfig().replace(port=0, proxy_protocol="any", header_timeout=None)
        server = RunningServer(application, config)
        server.start()
        return server

    def test_stop(self):
        """The server stops at once, and with it end those who said nothing or a part."""
        for number in (3, 260):
            server = self.start(self.witness)
            address = server.address
            socks = [self.connect(address) for _ in range(number)]
            socks[0].sendall(TEXT[:-1])
            socks[1].sendall(BINARY[:-1])
            call(turn())
            with self.assertNoLogs(LOGGER, "WARNING"):
                server.stop(graceful_timeout=None)
            for sock in socks:
                self.assert_silent_end(sock)
                sock.close()
            with self.assertRaises(ConnectionRefusedError):
                self.connect(address)
        self.assertEqual(self.witness.scopes, [])

    async def stop_after(self, turns: int) -> None:
        """Connect, and stop the server so many turns of the loop later."""
        config = ServerConfig().replace(port=0, proxy_protocol="any")
        server, loop = Server(self.witness, config), asyncio.get_running_loop()
        await server.start()
        with socket.create_connection(server.addresses[0]) as sock:
            sock.sendall(UNKNOWN)
            sock.setblocking(False)
            for _ in range(turns):
                await asyncio.sleep(0)
            await asyncio.wait_for(server.stop(None), PATIENCE / 2)
            with suppress(ConnectionResetError):
                self.assertEqual(await loop.sock_recv(sock, 1), b"")

    async def stop_after_each(self, numbers: Iterable[int]) -> None:
        """Do so for each number of turns, at the same time: a stop is half a second of waiting."""
        await asyncio.gather(*map(self.stop_after, numbers))

    def test_stop_within_hand_over(self):
        """The server stops when a connection was just accepted, introduced, or handed over."""
        gc.collect()
        with warnings.catch_warnings(
            record=True, action="always", category=ResourceWarning
        ) as found:
            call(self.stop_after_each(range(10)))
            gc.collect()
        self.assertEqual([str(each.message) for each in found], [])

    def test_stop_with_requests(self):
        """The server stops, and those who were introduced have their answers first."""
        entered, gate = threading.Event(), asyncio.Event()

        async def wait(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                entered.set()
                await gate.wait()
            await self.witness(scope, receive, send)

        server = self.start(wait)
        good, idle = self.connect(server.address), self.connect(server.address)
        good.sendall(TEXT + GET)
        self.assertTrue(entered.wait(PATIENCE))
        loop = running_loop().loop
        stopping = asyncio.run_coroutine_threadsafe(server.server.stop(None), loop)
        self.assert_silent_end(idle)
        self.assertFalse(stopping.done())
        loop.call_soon_threadsafe(gate.set)
        self.assert_answered(good)
        stopping.result(PATIENCE)


class ConfigurationTests(SimpleTestCase):
    """What the operator cannot have."""

    def test_endpoints(self):
        """The operator asks for headers on Twisted's endpoints, and is told how to do it."""
        for mode in ("v1", "v2", "any"):
            with self.assertRaisesRegex(ConfigurationError, '^proxy_protocol: .*"haproxy:"'):
                ServerConfig().replace(proxy_protocol=mode, endpoint=["tcp:0"])
        listen = ServerConfig().replace(proxy_protocol="off", endpoint=["tcp:0"]).listen
        self.assertEqual((listen.proxy_protocol, listen.endpoint), ("off", ("tcp:0",)))

    def test_flag(self):
        """The operator passes flags that contradict each other, and is told of the one."""
        with self.assertRaisesRegex(ConfigurationError, "^flag --proxy-protocol: "):
            resolve({"proxy_protocol": "v1", "endpoint": ["tcp:0"]}, {}, {})

    def test_bad_mode(self):
        """The operator chooses a version that there is not."""
        for mode in ("v3", "on", "V1", "", True, 1, None):
            with self.assertRaisesRegex(ConfigurationError, "^proxy_protocol: "):
                ServerConfig().replace(proxy_protocol=mode)


@tag("loop")
class EndpointTests(ProxyListenerTestCase):
    """Headers on Twisted's endpoints, which read them themselves."""

    def test_beside(self):
        """The operator has an endpoint beside an address whose connections begin with a header."""
        server = self.serve(
            bind=["127.0.0.1:0 proxy_protocol=v1"], endpoint=["tcp:0:interface=127.0.0.1"]
        )
        introduced, plain = server.server.addresses
        self.assertEqual(self.ask(introduced, TEXT)["client"], ANNOUNCED[0])
        self.assertEqual(self.ask(plain, b"")["server"], plain)

    def test_prefix(self):
        """The operator takes the advice and writes the prefix."""
        server = self.serve(endpoint=["haproxy:tcp:0:interface=127.0.0.1"])
        for header in (TEXT, BINARY):
            scope = self.ask(server.address, header)
            self.assertEqual((scope["client"], scope["server"]), ANNOUNCED)
