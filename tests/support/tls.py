"""Certificates for tests, and clients that speak TLS."""

from __future__ import annotations

import datetime
import importlib.util
import socket
import ssl
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import SkipTest

from django.test import SimpleTestCase

from django_daphne.server import ServerConfig, TLSConfig
from tests.compliance import request

from .server import PATIENCE, RunningServer, serve

if TYPE_CHECKING:
    import trustme

GET = request()
LAST = request(b"Connection: close")


class Pair:
    """The files of a certificate and its key, which may be written to again."""

    def __init__(self, folder: Path, name: str) -> None:
        self.certfile = folder / f"{name}.pem"
        self.keyfile = folder / f"{name}.key"

    def write(self, leaf: trustme.LeafCert) -> None:
        """Write one file after the other."""
        self.write_certificate(leaf)
        self.write_key(leaf)

    def write_certificate(self, leaf: trustme.LeafCert) -> None:
        """Write the certificate with its chain."""
        self.certfile.write_bytes(b"".join(pem.bytes() for pem in leaf.cert_chain_pems))

    def write_key(self, leaf: trustme.LeafCert) -> None:
        """Write the key."""
        self.keyfile.write_bytes(leaf.private_key_pem.bytes())

    def rename(self, leaf: trustme.LeafCert) -> None:
        """Replace each file by another."""
        other = Pair(self.certfile.parent, "other")
        other.write(leaf)
        other.keyfile.rename(self.keyfile)
        other.certfile.rename(self.certfile)

    @property
    def values(self) -> dict[str, Any]:
        """Return the options that name the files."""
        return {"certfile": [str(self.certfile)], "keyfile": [str(self.keyfile)]}


class TLSTestCase(SimpleTestCase):
    """Tests with an authority of their own, and a folder."""

    authority: trustme.CA

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        if importlib.util.find_spec("trustme") is None:
            raise SkipTest("missing: trustme")
        import trustme

        cls.authority = trustme.CA()

    def setUp(self) -> None:
        super().setUp()
        if not hasattr(self, "folder"):  # another base may have one
            self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))

    def issue(
        self, *names: str, common_name: str | None = None, days: int | None = None
    ) -> trustme.LeafCert:
        """Return a new certificate for the names, which was good until some days after now."""
        until = None
        if days is not None:
            until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
        return self.authority.issue_cert(*names, common_name=common_name, not_after=until)

    def make_pair(self, *names: str, file: str = "site") -> Pair:
        """Write a new certificate for the names and return its files."""
        pair = Pair(self.folder, file)
        pair.write(self.issue(*names))
        return pair

    def write_authority(self) -> str:
        """Write the authority's certificate and return the path."""
        path = self.folder / "authority.pem"
        path.write_bytes(self.authority.cert_pem.bytes())
        return str(path)

    def config(self, **values: Any) -> TLSConfig:
        """Return the options of TLS."""
        return ServerConfig().replace(**values).tls

    def trusting(self, *certificates: trustme.LeafCert) -> ssl.SSLContext:
        """Return a client that trusts the authority, and has a certificate or none."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.authority.configure_trust(context)
        for each in certificates:
            each.configure_cert(context)
        return context

    def open(
        self,
        address: tuple[str, int],
        name: str | None = "localhost",
        context: ssl.SSLContext | None = None,
        before: bytes = b"",
    ) -> ssl.SSLSocket:
        """Connect to an address, say something in clear, and ask for a name by TLS."""
        context = context or self.trusting()
        context.check_hostname = name is not None
        sock = socket.create_connection(address, PATIENCE)
        try:
            sock.sendall(before)
            return self.enterContext(context.wrap_socket(sock, server_hostname=name))
        except BaseException:
            sock.close()
            raise


class ServedTLSTestCase(TLSTestCase):
    """A real server, and its clients."""

    def setUp(self) -> None:
        super().setUp()
        self.pair = self.make_pair("localhost", "127.0.0.1")
        self.witness = Witness()

    def serve(self, **values: Any) -> RunningServer:
        """Return a server with a certificate for localhost that runs until the test ends."""
        where = (
            {} if values.keys() & {"bind", "port", "unix_socket", "fd", "endpoint"} else {"port": 0}
        )
        return self.enterContext(serve(self.witness, **where, **self.pair.values | values))

    def ask(self, sock: socket.socket, wire: bytes = LAST) -> bytes:
        """Send the last request of a connection, end it, and return the body of the answer."""
        sock.sendall(wire)
        answer = read_all(sock)
        sock.close()  # Python's client does not answer the end of TLS, and the server would wait
        self.assertIn(b" 200 OK\r\n", answer)
        return answer.partition(b"\r\n\r\n")[2]

    def assert_refused(self, *arguments: Any, **options: Any) -> None:
        """The client cannot open a connection and have a request answered."""
        with self.assertRaises(OSError):
            sock = self.open(*arguments, **options)
            # With TLS 1.3 the server judges a client that believes itself connected.
            sock.sendall(LAST)
            if not sock.recv(1):
                raise ConnectionResetError
        self.assertEqual(self.witness.scopes, [])


class Witness:
    """An application that remembers its scopes, and answers with a body of some size."""

    def __init__(self) -> None:
        self.scopes: list[Any] = []
        self.size = 5

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise ValueError("none")
        self.scopes.append(scope)
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            return
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"x" * self.size})


def read_all(sock: socket.socket) -> bytes:
    """Return everything up to the end."""
    return b"".join(iter(lambda: sock.recv(65536), b""))


def read_answer(sock: socket.socket) -> bytes:
    """Return the head and the body of an answer with a Content-Length, and leave it at that."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = sock.recv(65536)
        assert piece, "the end came first"
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    while len(body) < length:
        piece = sock.recv(65536)
        assert piece, "the end came first"
        body += piece
    return head


def common_name(sock: ssl.SSLSocket) -> str:
    """Return the common name of the certificate that a server has shown."""
    certificate = sock.getpeercert()
    assert certificate is not None
    subject: Any = certificate["subject"]
    names: dict[str, str] = {key: value for part in subject for key, value in part}
    return names["commonName"]
