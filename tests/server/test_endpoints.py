"""Listening with real clients: every kind of address, and what is said of those that cannot be."""

from __future__ import annotations

import errno
import os
import socket
import stat
import tempfile
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from unittest import SkipTest, mock

from django.test import SimpleTestCase, tag

from django_daphne.server import ListenError, bound_socket, sockets
from django_daphne.server.addresses import BindAddress
from django_daphne.server.config import ListenConfig
from django_daphne.server.sockets import tcp_addresses
from tests.compliance import request
from tests.support.server import PATIENCE, serve

from .test_sockets import BindTestCase, UnixTestCase, reach, successor


async def hello(scope: Any, receive: Any, send: Any) -> None:
    """Answer with client and server of the scope."""
    body = repr((scope["client"], scope["server"])).encode()
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": body})


def ask(sock: socket.socket, before: bytes = b"") -> bytes:
    """Return the body of the answer on a connected socket; ``before`` is sent first."""
    sock.settimeout(PATIENCE)
    sock.sendall(before + request(b"Connection: close"))
    return b"".join(iter(lambda: sock.recv(65536), b"")).partition(b"\r\n\r\n")[2]


def ask_at(family: int, address: Any, before: bytes = b"") -> bytes:
    """Return the body of the answer at an address."""
    with socket.socket(family) as sock:
        sock.connect(address)
        return ask(sock, before)


def require_ipv6() -> None:
    """Skip the rest of a test where IPv6 is switched off."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        raise SkipTest("missing: IPv6") from None


class AddressTests(BindTestCase):
    """Addresses of TCP."""

    def addresses(self, **values: Any) -> list[tuple[str, int]]:
        """Return host and port of everything that is bound."""
        return [each.address for each in self.bind(**values) if each.address is not None]

    def test_where(self):
        """The operator names addresses, a port, both or neither; what is not said is filled in."""
        home = BindAddress("127.0.0.1", 8000, "off")
        for values, expected in (
            ({}, [home]),
            ({"port": 9}, [BindAddress("127.0.0.1", 9, "off")]),
            ({"bind": ("a", "b:7")}, [BindAddress("a", 8000, "off"), BindAddress("b", 7, "off")]),
            ({"unix_socket": "s"}, []),
            ({"fd": 3}, []),
            ({"endpoint": ("tcp:1",)}, []),
            ({"unix_socket": "s", "port": 8000}, [home]),
            ({"fd": 3, "bind": ("127.0.0.1",)}, [home]),
            ({"proxy_protocol": "v1"}, [BindAddress("127.0.0.1", 8000, "v1")]),
        ):
            with self.subTest(values):
                listen = ListenConfig(**values)
                self.assertEqual(tcp_addresses(listen), expected)
                # Passed sockets stand for the default address, and for nothing that was asked for.
                is_default = not values or values.keys() == {"proxy_protocol"}
                found = tcp_addresses(listen, is_activated=True)
                self.assertEqual(found, [] if is_default else expected)

    def test_ipv4(self):
        """The operator names an IPv4 address and lets the port be chosen."""
        (listener,) = self.bind(bind=["127.0.0.2:0"])
        assert listener.address is not None
        host, port = listener.address
        self.assertEqual(host, "127.0.0.2")
        self.assertGreater(port, 0)
        self.assertEqual(listener.description, f"TCP address 127.0.0.2:{port}")

    def test_ipv6(self):
        """The operator names an IPv6 address, which does not take the IPv4 port with it."""
        require_ipv6()
        for values in ({"bind": ["[::1]:0"]}, {"bind": ["::1"], "port": 0}):
            (listener,) = self.bind(**values)
            assert listener.address is not None
            host, port = listener.address
            self.assertEqual((host, listener.description), ("::1", f"TCP address [::1]:{port}"))
            self.bind(bind=[f"127.0.0.2:{port}"])

    def test_every_address(self):
        """The operator wants every address, and gets both families on one port."""
        for values in ({"bind": ["*:0"]}, {"bind": ["*"], "port": 0}):
            found = dict(self.addresses(**values))
            self.assertGreater(found["0.0.0.0"], 0)
            self.assertEqual(len(set(found.values())), 1)
        require_ipv6()
        self.assertEqual(found.keys(), {"0.0.0.0", "::"})

    def test_one_port(self):
        """The operator names several hosts and the port of all of them, one has its own."""
        ((_, port),) = self.addresses(bind=["127.0.0.2:0"])
        found = self.addresses(bind=["127.0.0.3", "127.0.0.4", "127.0.0.2:0"], port=port)
        self.assertEqual(found[:2], [("127.0.0.3", port), ("127.0.0.4", port)])
        self.assertNotEqual(found[2], ("127.0.0.2", port))

    def test_address_elsewhere(self):
        """The host has an address that is not of this machine besides one that is."""
        here, elsewhere = (
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 0))
            for host in ("127.0.0.2", "192.0.2.1")
        )
        for found in ([here, elsewhere], [elsewhere, here]):
            with mock.patch.object(socket, "getaddrinfo", return_value=found):
                ((host, _),) = self.addresses(bind=["cluster"], port=0)
                self.assertEqual(host, "127.0.0.2")
        with mock.patch.object(socket, "getaddrinfo", return_value=[elsewhere, elsewhere]):
            self.assertIn("not one of this machine's", self.refusal(bind=["cluster"], port=0))

    def test_taken_in_between(self):
        """Somebody takes the port that was free for IPv4 before it is bound for IPv6."""
        require_ipv6()
        bind_name = bound_socket.bind_name

        def be_late(family: socket.AddressFamily, name: Any, backlog: int) -> socket.socket:
            if family == socket.AF_INET6 and not ports:
                ports.append(name[1])
                rival = socket.create_server(("::1", name[1]), family=family)
                self.addCleanup(rival.close)
            return bind_name(family, name, backlog)

        ports: list[int] = []
        with mock.patch.object(sockets, "bind_name", be_late):
            found = dict(self.addresses(bind=["*:0"]))
        self.assertEqual(found["0.0.0.0"], found["::"])
        self.assertNotIn(found["::"], ports)
        self.bind(bind=[f"127.0.0.2:{ports[0]}"])

    def test_busy(self):
        """Somebody listens there already."""
        with socket.create_server(("127.0.0.1", 0)) as sock:
            port = sock.getsockname()[1]
            for host in ("127.0.0.1", "*"):
                with self.assertRaises(ListenError) as caught:
                    self.bind(bind=[host], port=port)
                text = f"Couldn't listen on {host}:{port}: that address is already in use."
                self.assertEqual(str(caught.exception), text)
                self.assertEqual(caught.exception.errno, errno.EADDRINUSE)

    def test_nothing_is_left(self):
        """The second of two addresses is busy, and the first is given back."""
        with socket.create_server(("127.0.0.2", 0)) as sock:
            free = sock.getsockname()[1]
        with socket.create_server(("127.0.0.1", 0)) as sock:
            self.refusal(bind=[f"127.0.0.2:{free}", f"127.0.0.1:{sock.getsockname()[1]}"])
        self.bind(bind=[f"127.0.0.2:{free}"])

    def test_half_of_every_address(self):
        """Somebody listens on IPv6 only, and the port of IPv4 is given back."""
        require_ipv6()
        with socket.create_server(("::1", 0), family=socket.AF_INET6) as sock:
            port = sock.getsockname()[1]
            self.refusal(bind=[f"*:{port}"])
            self.bind(bind=[f"127.0.0.2:{port}"])

    def test_own_listener_is_busy(self):
        """The operator starts the same server twice, or names an address twice."""
        ((_, port),) = self.addresses(port=0)
        self.assertIn("already in use", self.refusal(port=port))
        self.assertIn("already in use", self.refusal(bind=[f"127.0.0.2:{port}"] * 2))

    def test_elsewhere(self):
        """The operator names an address of another machine, or hosts that are none."""
        text = self.refusal(bind=["192.0.2.1:8000"])
        self.assertIn("192.0.2.1:8000: that address is not one of this machine's", text)
        for host in ("host.invalid", "a..b", "x" * 64):
            self.assertIn(f"listen on {host}:8000: ", self.refusal(bind=[f"{host}:8000"]))


@tag("loop")
class ServedAddressTests(SimpleTestCase):
    """Addresses of TCP, and their clients."""

    def test_several(self):
        """The operator names several addresses, and all of them are served."""
        require_ipv6()
        with serve(hello, bind=["127.0.0.1:0", "127.0.0.2", "[::1]:0"], port=0) as server:
            self.assertEqual(len(server.server.addresses), 3)
            for host, port in server.server.addresses:
                family = socket.AF_INET6 if ":" in host else socket.AF_INET
                self.assertIn(repr((host, port)).encode(), ask_at(family, (host, port)))

    def test_every_address(self):
        """The operator wants every address; clients come over both families."""
        with serve(hello, bind=["*"], port=0) as server:
            for host in ("127.0.0.1", "127.0.0.2"):
                address = (host, server.port)
                self.assertIn(repr(address).encode(), ask_at(socket.AF_INET, address))
            require_ipv6()
            address = ("::1", server.port)
            self.assertIn(repr(address).encode(), ask_at(socket.AF_INET6, address))

    def test_name(self):
        """The operator names a host, and so does the client."""
        with (
            serve(hello, bind=["localhost"], port=0) as server,
            socket.create_connection(("localhost", server.port)) as sock,
        ):
            self.assertEqual(len({port for _, port in server.server.addresses}), 1)
            self.assertIn(repr(server.address).encode(), ask(sock))


@tag("loop")
class ServedUnixTests(UnixTestCase):
    """Unix sockets, and their clients."""

    def test_served(self):
        """The client comes over a unix socket; neither side has an address."""
        with serve(hello, unix_socket=str(self.path), unix_socket_mode=0o600) as server:
            self.assertEqual(ask_at(socket.AF_UNIX, str(self.path)), b"(None, None)")
            self.assertEqual(server.server.descriptions, [f"unix socket {self.path}"])
            self.assertEqual(server.server.addresses, [])
            self.assertEqual([each.client for each in server.access], [None])
            self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)
            self.assert_folder("socket")
        self.assert_folder()

    def test_successor(self):
        """The next server tries while this one stops; what it has, it keeps."""
        for mode in ("off", "any"):
            with self.subTest(proxy_protocol=mode):
                with ExitStack() as first:
                    first.enter_context(
                        serve(hello, unix_socket=str(self.path), proxy_protocol=mode)
                    )
                    with successor(self.path) as won:
                        first.close()
                (second,) = won
                with closing(second):
                    reach(self.path)


@tag("loop")
class DescriptorTests(BindTestCase):
    """Descriptors that this process was started with."""

    def test_served(self):
        """The parent process hands a listening socket over and keeps its own descriptor."""
        for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            if family == socket.AF_INET6:
                require_ipv6()
            with socket.create_server((host, 0), family=family) as sock:
                address = sock.getsockname()[:2]
                with serve(hello, fd=sock.fileno()) as server:
                    self.assertEqual(server.server.addresses, [address])
                    self.assertIn(repr(address).encode(), ask_at(family, address))
                os.fstat(sock.fileno())

    def test_unix_socket(self):
        """The parent process hands a unix socket over, whose path is not ours to remove."""
        path = Path(self.enterContext(tempfile.TemporaryDirectory()), "socket")
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(path))
            sock.listen()
            with serve(hello, fd=sock.fileno()):
                self.assertEqual(ask_at(socket.AF_UNIX, str(path)), b"(None, None)")
            self.assertTrue(path.exists())

    def test_no_socket(self):
        """The operator names a file, and as long as that is open its number stays in use."""
        with Path(__file__).open() as file:
            free = os.dup(0)
            os.close(free)
            self.assertIn(f"descriptor {file.fileno()}", self.refusal(fd=file.fileno()))
            os.fstat(file.fileno())
            now_free = os.dup(0)
            os.close(now_free)
        self.assertEqual(now_free, free)

    def test_activated(self):
        """The service manager passes sockets, which stand for the default address."""
        with socket.create_server(("127.0.0.1", 0)) as sock:
            address = sock.getsockname()
            (listener,) = self.bind([(passed := os.dup(sock.fileno()), "web")])
        self.assertEqual(listener.description, "activated socket web")
        self.assertEqual(listener.address, address)
        with self.assertRaises(OSError):
            os.fstat(passed)
        passed = os.dup(listener.socket.fileno())
        found = self.bind([(passed, "web")], bind=["127.0.0.2:0"], proxy_protocol="v2")
        self.assertEqual([each.proxy_protocol for each in found], ["v2", "v2"])
        self.assertEqual(found[1].description[:22], "TCP address 127.0.0.2:")


@tag("loop")
class EndpointTests(SimpleTestCase):
    """Twisted's endpoint strings."""

    def test_served(self):
        """The operator names an endpoint; the real port is told."""
        with serve(hello, endpoint=["tcp:0:interface=127.0.0.1"]) as server:
            host, port = server.address
            expected = f"endpoint tcp:0:interface=127.0.0.1 at {host}:{port}"
            self.assertEqual(server.server.descriptions, [expected])
            self.assertGreater(server.port, 0)
            self.assertIn(repr(server.address).encode(), ask_at(socket.AF_INET, server.address))

    def test_unix(self):
        """The operator names an endpoint of a unix socket."""
        path = Path(self.enterContext(tempfile.TemporaryDirectory()), "socket")
        with serve(hello, endpoint=[f"unix:{path}"]) as server:
            self.assertEqual(ask_at(socket.AF_UNIX, str(path)), b"(None, None)")
            self.assertEqual(server.server.addresses, [])

    def test_haproxy(self):
        """The proxy announces a client, and nothing, and says nothing at all."""
        with serve(hello, endpoint=["haproxy:tcp:0:interface=127.0.0.1"]) as server:
            for line, start in (
                (
                    b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n",
                    b"(('192.0.2.7', 56324), ('198.51.100.1', 443))",
                ),
                (
                    b"PROXY TCP6 2001:db8::7 ::1 56324 443\r\n",
                    b"(('2001:db8::7', 56324), ('::1', 443))",
                ),
                (b"PROXY UNKNOWN 1 2 3 4\r\n", b"(('127.0.0.1', "),
                (b"", b""),
            ):
                with self.subTest(line):
                    answer = ask_at(socket.AF_INET, server.address, line)
                    self.assertEqual(answer[: len(start) or None], start)

    def test_beside_an_address(self):
        """The operator names an endpoint and an address; both are served."""
        with serve(hello, endpoint=["tcp:0:interface=127.0.0.1"], bind=["127.0.0.2:0"]) as server:
            self.assertEqual(len(server.server.addresses), 2)
            for address in server.server.addresses:
                self.assertIn(repr(address).encode(), ask_at(socket.AF_INET, address))

    def refusal(self, endpoint: str, **values: Any) -> str:
        """Return why an endpoint cannot be listened on."""
        with self.assertRaises(ListenError) as caught, serve(hello, endpoint=[endpoint], **values):
            pass
        return str(caught.exception)

    def test_bad_strings(self):
        """The operator names endpoints that are none."""
        for endpoint in ("nonsense", "nonsense:80", "tcp:port", "ssl:443:privateKey=/no/such"):
            self.assertIn(f"Couldn't listen on endpoint {endpoint}: ", self.refusal(endpoint))

    def test_busy(self):
        """The endpoint is busy; the address beside it is given back."""
        with socket.create_server(("127.0.0.2", 0)) as sock:
            free = sock.getsockname()
        with socket.create_server(("127.0.0.1", 0)) as sock:
            endpoint = f"tcp:{sock.getsockname()[1]}:interface=127.0.0.1"
            self.assertIn(endpoint, self.refusal(endpoint, bind=[f"127.0.0.2:{free[1]}"]))
        with socket.create_server(free):
            pass

    def test_stopped(self):
        """The server stops and its endpoint is free again."""
        with serve(hello, endpoint=["tcp:0:interface=127.0.0.2"]) as server:
            address = server.address
        with socket.create_server(address):
            pass


@tag("loop")
class ListenerTests(BindTestCase):
    """A listener between its beginning and its end."""

    def test_closed_before_it_started(self):
        """The server is bound and stops before it has started."""
        (listener,) = self.bind(bind=["127.0.0.2:0"])
        assert listener.address is not None
        listener.close()
        with socket.create_server(listener.address):
            pass

    def test_closed_twice(self):
        """The server stops twice."""
        (listener,) = self.bind(bind=["127.0.0.2:0"])
        listener.close()
        listener.close()
