"""Listening: every kind of address, and what is said of those that cannot be."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.test import SimpleTestCase, tag

from django_daphne.server import ListenError, ServerConfig
from django_daphne.server.config import ListenConfig
from django_daphne.server.endpoints import SocketListener, bind
from tests.compliance import request
from tests.support.server import PATIENCE, call, serve


async def hello(scope: Any, receive: Any, send: Any) -> None:
    """Answer with client and server of the scope."""
    body = repr((scope["client"], scope["server"])).encode()
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": body})


def ask(sock: socket.socket) -> bytes:
    """Return the body of the answer on a connected socket."""
    sock.settimeout(PATIENCE)
    sock.sendall(request(b"Connection: close"))
    return b"".join(iter(lambda: sock.recv(65536), b"")).partition(b"\r\n\r\n")[2]


def ask_at(family: int, address: Any) -> bytes:
    """Return the body of the answer at an address."""
    with socket.socket(family) as sock:
        sock.connect(address)
        return ask(sock)


class BindTestCase(SimpleTestCase):
    """Tests of binding alone."""

    def bind(self, **values: Any) -> list[SocketListener]:
        """Return listeners for a configuration; they are closed after the test."""
        listeners = bind(ServerConfig().replace(**values).listen)
        for listener in listeners:
            self.addCleanup(call, listener.close())
        return listeners

    def refusal(self, **values: Any) -> str:
        """Return why nothing can be listened on."""
        with self.assertRaises(ListenError) as caught:
            self.bind(**values)
        return str(caught.exception)

    @contextlib.contextmanager
    def busy_port(self) -> Iterator[int]:
        """Yield a port of 127.0.0.1 that somebody listens on."""
        with socket.create_server(("127.0.0.1", 0)) as sock:
            yield sock.getsockname()[1]


@tag("loop")
class TCPTests(BindTestCase):
    """Addresses of TCP."""

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
        (listener,) = self.bind(bind=["[::1]:0"])
        assert listener.address is not None
        host, port = listener.address
        self.assertEqual((host, listener.description), ("::1", f"TCP address [::1]:{port}"))
        self.bind(bind=[f"127.0.0.1:{port}"])

    def test_name(self):
        """The operator names a host; all its addresses get the same port."""
        listeners = self.bind(bind=["localhost"], port=0)
        ports = {listener.address[1] for listener in listeners if listener.address}
        self.assertEqual(len(ports), 1)
        hosts = {listener.address[0] for listener in listeners if listener.address}
        self.assertTrue(hosts <= {"127.0.0.1", "::1"})

    def test_served(self):
        """The operator names several addresses, and all of them are served."""
        with serve(hello, bind=["127.0.0.1:0", "127.0.0.2:0", "[::1]:0"]) as server:
            self.assertEqual(len(server.server.addresses), 3)
            for host, port in server.server.addresses:
                family = socket.AF_INET6 if ":" in host else socket.AF_INET
                self.assertIn(repr((host, port)).encode(), ask_at(family, (host, port)))

    def test_busy(self):
        """Somebody listens there already."""
        with self.busy_port() as port:
            text = self.refusal(port=port)
        self.assertEqual(
            text, f"Couldn't listen on 127.0.0.1:{port}: that address is already in use."
        )

    def test_nothing_is_left(self):
        """The second of two addresses is busy, and the first is given back."""
        with socket.create_server(("127.0.0.2", 0)) as sock:
            free = sock.getsockname()[1]
        with self.busy_port() as port:
            self.refusal(bind=[f"127.0.0.2:{free}", f"127.0.0.1:{port}"])
        self.bind(bind=[f"127.0.0.2:{free}"])

    def test_own_listener_is_busy(self):
        """The operator starts the same server twice."""
        (listener,) = self.bind(port=0)
        assert listener.address is not None
        self.assertIn("already in use", self.refusal(port=listener.address[1]))

    def test_foreign_address(self):
        """The operator names an address of another machine."""
        text = self.refusal(bind=["192.0.2.1:8000"])
        self.assertIn("192.0.2.1:8000: that address is not one of this machine's", text)

    def test_unknown_host(self):
        """The operator names a host that does not exist."""
        self.assertIn("host.invalid:8000", self.refusal(bind=["host.invalid:8000"]))

    def test_errno(self):
        """The caller is told the operating system's number."""
        with self.busy_port() as port, self.assertRaises(ListenError) as caught:
            bind(ListenConfig(port=port))
        self.assertIsNotNone(caught.exception.errno)


@tag("loop")
class UnixTests(BindTestCase):
    """Unix sockets."""

    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.path = self.folder / "socket"

    def listen(self) -> SocketListener:
        """Return the listener on the path."""
        (listener,) = self.bind(unix_socket=str(self.path))
        return listener

    def test_served(self):
        """The client comes over a unix socket; neither side has an address."""
        with serve(hello, unix_socket=str(self.path)) as server:
            self.assertEqual(ask_at(socket.AF_UNIX, str(self.path)), b"(None, None)")
            self.assertEqual(server.server.descriptions, [f"unix socket {self.path}"])
            self.assertEqual(server.server.addresses, [])
            self.assertEqual([each.client for each in server.access], [None])
        self.assertEqual([*self.folder.iterdir()], [])

    def test_stale(self):
        """A server that died has left its socket, which is replaced."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(self.path))
        self.listen()
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(self.path))

    def test_answering(self):
        """Another server answers there, and goes on doing it."""
        self.listen()
        text = self.refusal(unix_socket=str(self.path))
        self.assertIn(f"unix socket {self.path}: a server answers on it", text)
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(self.path))

    def test_plain_file(self):
        """The operator names a file, which is not touched."""
        self.path.write_text("precious")
        self.assertIn("no socket", self.refusal(unix_socket=str(self.path)))
        self.assertEqual(self.path.read_text(), "precious")

    def test_link(self):
        """The operator names a link to a file, which is not followed."""
        target = self.folder / "target"
        target.write_text("precious")
        self.path.symlink_to(target)
        self.assertIn("no socket", self.refusal(unix_socket=str(self.path)))
        self.assertEqual(target.read_text(), "precious")

    def test_no_directory(self):
        """The operator names a path in a directory that does not exist."""
        self.assertIn("no such directory", self.refusal(unix_socket="/no/such/directory/socket"))

    def test_too_long(self):
        """The operator names a path that no unix socket can have; nothing is left of it."""
        self.refusal(unix_socket=str(self.folder / ("x" * 150)))
        self.assertEqual([*self.folder.iterdir()], [])

    def test_removed(self):
        """The server stops and takes its socket with it."""
        listener = self.listen()
        self.assertTrue(stat.S_ISSOCK(self.path.stat().st_mode))
        call(listener.close())
        self.assertFalse(self.path.exists())

    def test_not_ours_any_more(self):
        """The next server has taken the path over, and keeps it when the first one stops."""
        listener = self.listen()
        self.path.unlink()
        with socket.socket(socket.AF_UNIX) as successor:
            successor.bind(str(self.path))
            call(listener.close())
            self.assertTrue(self.path.exists())

    def test_gone(self):
        """Somebody has removed the socket before the server stops."""
        listener = self.listen()
        self.path.unlink()
        call(listener.close())


@tag("loop")
class DescriptorTests(BindTestCase):
    """Inherited descriptors."""

    def test_served(self):
        """The parent process hands a listening socket over and keeps its own descriptor."""
        with socket.create_server(("127.0.0.1", 0)) as sock:
            address = sock.getsockname()
            with serve(hello, fd=sock.fileno()) as server:
                self.assertEqual(server.server.addresses, [address])
                self.assertIn(repr(address).encode(), ask_at(socket.AF_INET, address))
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

    def test_not_listening(self):
        """The operator names a socket that does not listen."""
        with socket.socket() as sock:
            text = self.refusal(fd=sock.fileno())
        self.assertIn("no listening socket", text)

    def test_no_socket(self):
        """The operator names a file, or nothing at all."""
        with Path(__file__).open() as file:
            self.assertIn(f"descriptor {file.fileno()}", self.refusal(fd=file.fileno()))
        self.assertIn("descriptor 99999", self.refusal(fd=99999))


@tag("loop")
class EndpointTests(SimpleTestCase):
    """Twisted's endpoint strings."""

    def test_served(self):
        """The operator names an endpoint; the real port is told."""
        with serve(hello, endpoint=["tcp:0:interface=127.0.0.1"]) as server:
            self.assertEqual(server.server.descriptions, ["endpoint tcp:0:interface=127.0.0.1"])
            self.assertGreater(server.port, 0)
            self.assertIn(repr(server.address).encode(), ask_at(socket.AF_INET, server.address))

    def test_unix(self):
        """The operator names an endpoint of a unix socket."""
        path = Path(self.enterContext(tempfile.TemporaryDirectory()), "socket")
        with serve(hello, endpoint=[f"unix:{path}"]) as server:
            self.assertEqual(ask_at(socket.AF_UNIX, str(path)), b"(None, None)")
            self.assertEqual(server.server.addresses, [])

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
        with serve(hello, endpoint=["tcp:0:interface=127.0.0.1"]) as server:
            address = server.address
        with socket.create_server(address):
            pass


@tag("loop")
class ListenerTests(BindTestCase):
    """A listener between its beginning and its end."""

    def test_closed_before_it_started(self):
        """The server is bound and stops before it has started."""
        (listener,) = self.bind(port=0)
        assert listener.address is not None
        call(listener.close())
        with socket.create_server(listener.address):
            pass

    def test_closed_twice(self):
        """The server stops twice."""
        (listener,) = self.bind(port=0)
        call(listener.close())
        call(listener.close())
