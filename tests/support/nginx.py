"""nginx between a browser and the server, with a configuration of the test's own.

nginx has one process and keeps its files in the test's folder. Its error log is its standard
error, so that a wait can end with a line of it and a failure can show it.
"""

from __future__ import annotations

import datetime
import ipaddress
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import tempfile
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from typing import Any, Literal, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from .processes import PATIENCE, Process, ProcessTestCase, Response

Context = Literal["http", "stream"]

# Not everybody has these in PATH.
SBIN = ("/usr/sbin", "/usr/local/sbin")

# Tries to find a port that is still free when nginx wants it.
ATTEMPTS = 5

# It chooses the method once all sockets listen; before that it may find the port taken.
STARTED = re.compile(r'using the "(?P<method>\w+)" event method|Address already in use')

MAIN = """
{directives}
daemon off;
master_process off;
pid {home}/pid;
lock_file {home}/lock;
error_log stderr notice;
events {{ worker_connections 1000; }}
{context} {{
    {settings}
    {blocks}
}}
"""

SETTINGS: dict[Context, str] = {
    "http": """
    access_log {home}/access.log;
    client_body_temp_path {home}/body;
    proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi;
    scgi_temp_path {home}/scgi;
    uwsgi_temp_path {home}/uwsgi;
    """,
    "stream": "",
}

# It answers with what its scope says, or with the body that it was sent.
APPLICATION = """
    import json

    NAMES = ("client", "scheme", "server", "root_path", "path", "http_version")

    async def read(receive):
        body, more = b"", True
        while more:
            event = await receive()
            body, more = body + event["body"], event["more_body"]
        return body

    async def application(scope, receive, send):
        assert scope["type"] == "http", scope["type"]
        seen = {name: scope[name] for name in NAMES}
        seen["headers"] = [[part.decode() for part in field] for field in scope["headers"]]
        told = json.dumps(seen).encode()
        body = await read(receive) if scope["method"] == "POST" else told
        headers = [(b"content-length", str(len(body)).encode()), (b"seen", told)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
"""

# No trusted proxy of the tests, though it is on this machine.
BROWSER = "127.0.0.2"

# In each family of headers: what nginx has to say, and what of the browser it has to remove.
X_FORWARDED = """
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_set_header X-Forwarded-Port $server_port;
    proxy_set_header X-Client-Port $remote_port;
    proxy_set_header Forwarded "";
    proxy_set_header Daphne-Root-Path "";
"""

# The host is the browser's choice. Whatever it does to the quotes, what nginx says of the client
# comes later and so is in the last element.
FORWARDED = """
    proxy_set_header Host $http_host;
    proxy_set_header Forwarded 'host="$http_host";for="$node";proto=$scheme';
    proxy_set_header X-Forwarded-For "";
    proxy_set_header X-Forwarded-Proto "";
    proxy_set_header X-Forwarded-Port "";
    proxy_set_header X-Client-Port "";
    proxy_set_header Daphne-Root-Path "";
"""

# Beside the servers: the browser's end as Forwarded has it, an IPv6 address in brackets.
NODE = """
    map $remote_addr $node {
        ~: "[$remote_addr]:$remote_port";
        default "$remote_addr:$remote_port";
    }
"""

# What a browser might send to be taken for somebody else.
FALSE_X_FORWARDED = (
    ("X-Forwarded-For", "6.6.6.6"),
    ("X-Forwarded-For", "7.7.7.7:7, unknown"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Port", "7"),
    ("X-Client-Port", "7"),
)
FALSE_FORWARDED = (
    ("Forwarded", "for=6.6.6.6:6;proto=https;host=six.example"),
    ("Forwarded", 'for=7.7.7.7;proto=https;host="seven.example'),
)
FALSE_ROOT_PATH = (("Daphne-Root-Path", "/six"), ("Daphne-Root-Path", "/seven"))
FALSE = FALSE_X_FORWARDED + FALSE_FORWARDED + FALSE_ROOT_PATH


class Seen(NamedTuple):
    """What the application saw of a request."""

    client: list[Any] | None
    scheme: str
    server: list[Any] | None
    root_path: str
    path: str
    http_version: str
    headers: list[list[str]]

    @property
    def origin(self) -> tuple[list[Any] | None, str, list[Any] | None]:
        """Return client, scheme and server."""
        return self.client, self.scheme, self.server

    def values(self, name: str) -> list[str]:
        """Return the values of a header."""
        return [value for field, value in self.headers if field == name]


class Browser:
    """A connection. ``address`` is its own end and ``site`` the other: host and port of each."""

    def __init__(self, connection: HTTPConnection) -> None:
        self._connection = connection
        connection.connect()
        self.address: list[Any] = list(connection.sock.getsockname()[:2])
        self.site: list[Any] = [connection.host, connection.port]

    def send(
        self, path: str, *headers: tuple[str, str], method: str = "GET", body: Any = None
    ) -> Response:
        """Send a request; its headers may be repeated, and a body of parts is sent in chunks."""
        is_chunked = body is not None and not isinstance(body, bytes)
        self._connection.putrequest(method, path, skip_host="Host" in dict(headers))
        for name, value in headers:
            self._connection.putheader(name, value)
        if is_chunked:
            self._connection.putheader("Transfer-Encoding", "chunked")
        elif body is not None:
            self._connection.putheader("Content-Length", str(len(body)))
        self._connection.endheaders(body, encode_chunked=is_chunked)
        return Response(self._connection.getresponse())

    def ask(self, path: str, *headers: tuple[str, str]) -> Seen:
        """Return what the application sees of a request."""
        response = self.send(path, *headers)
        if response.status != 200:
            raise AssertionError(f"{path}: {response.status}\n{response.text}")
        return Seen(**json.loads(response.body))


class NginxTestCase(ProcessTestCase):
    """Tests with a browser and the application, and nginx between them; skipped without it."""

    def setUp(self):
        super().setUp()
        self.write("app.py", APPLICATION)

    def serve(self, *arguments: str) -> tuple[Process, str]:
        """Start the server on a port; return it and how nginx calls its address."""
        server = self.start_cli("-b", "127.0.0.1:0", *arguments, "app:application")
        return server, f"127.0.0.1:{server.wait_for_port()}"

    def serve_unix(self, *arguments: str) -> tuple[Process, str]:
        """Start the server on a unix socket; return it and how nginx calls its address."""
        path = self.folder / "socket"
        server = self.start_cli("-u", str(path), *arguments, "app:application")
        server.wait_for("Listening on unix socket")
        return server, f"unix:{path}"

    def start_site(
        self, lines: str, listen: str = "listen 127.0.0.1:PORT;", outside: str = ""
    ) -> int:
        """Start nginx with a server of these lines; PORT stands for the port that is returned."""
        return self._start_nginx("http", f"{NODE} {outside} server {{ {listen} {lines} }}")

    def start_stream(self, upstream: str, listen: str = "listen 127.0.0.1:PORT;") -> int:
        """Start nginx passing connections on by the PROXY protocol; return its port."""
        lines = f"{listen} proxy_pass {upstream}; proxy_protocol on;"
        return self._start_nginx("stream", f"server {{ {lines} }}")

    def _start_nginx(self, context: Context, blocks: str) -> int:
        program, directives = self._find_nginx(context)
        home = Path(tempfile.mkdtemp(prefix="nginx-", dir=self.folder))
        configuration = home / "nginx.conf"
        command = [program, "-p", str(home), "-e", "stderr", "-c", str(configuration)]
        for _ in range(ATTEMPTS):
            port = free_port()
            text = MAIN.format(
                directives=directives,
                home=home,
                context=context,
                settings=SETTINGS[context].format(home=home),
                blocks=blocks.replace("PORT", str(port)),
            )
            configuration.write_text(text, encoding="utf-8")
            process = self.start_command(command)
            started = process.appears(STARTED, PATIENCE)
            if started is None:
                raise AssertionError(f"nginx does not start.\n{process}\n-- with:\n{text}")
            if started["method"]:
                return port
            process.kill()
        raise AssertionError(f"Each port was taken, {ATTEMPTS} times.\n{process}")

    def _find_nginx(self, context: Context) -> tuple[str, str]:
        """Return the path of nginx, and the directives that this machine needs."""
        search = os.pathsep.join((os.environ.get("PATH", os.defpath), *SBIN))
        program = shutil.which("nginx", path=search)
        if program is None:
            self.skipTest("missing: nginx")
        # Without it root gives nginx's folders to a user who may not exist.
        directives = "user root; " if os.geteuid() == 0 else ""
        if context == "stream":
            loading = load_stream(program)
            if loading is None:
                self.skipTest("missing: nginx's stream module")
            directives += loading
        return program, directives

    def open(
        self,
        port: int,
        source: str = BROWSER,
        host: str = "127.0.0.1",
        tls: ssl.SSLContext | None = None,
    ) -> Browser:
        """Return a browser at this source address that is connected."""
        self.need_address(source)
        ends: Any = {"host": host, "port": port, "source_address": (source, 0)}
        connection = (
            HTTPConnection(**ends, timeout=PATIENCE)
            if tls is None
            else HTTPSConnection(**ends, timeout=PATIENCE, context=tls)
        )
        self.addCleanup(connection.close)
        return Browser(connection)

    def certify(self) -> tuple[str, ssl.SSLContext]:
        """Return the lines that make nginx listen for TLS, and what a browser trusts then."""
        file = self.folder / "certificate.pem"
        tls = write_certificate(file)
        files = f"ssl_certificate {file}; ssl_certificate_key {file};"
        return f"listen 127.0.0.1:PORT ssl; {files}", tls

    def need_address(self, host: str) -> None:
        """Skip the test on a machine without this address."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            socket.create_server((host, 0), family=family).close()
        except OSError:
            self.skipTest("missing: IPv6" if ":" in host else f"missing: the address {host}")

    def assert_logged(self, server: Process, client: list[Any], target: str) -> None:
        """Assert that the access log has a line of this client and target."""
        host = f"[{client[0]}]" if ":" in client[0] else client[0]
        name = re.escape(f"{host}:{client[1]}")
        server.wait_for(rf'(?m)^{name} - - \[\S+\] "GET {re.escape(target)}" 200 ')


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on: nginx takes no 0 for any."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


def load_stream(program: str) -> str | None:
    """Return the directive that loads the stream module, "" if it is built in, None without it."""
    build = subprocess.run([program, "-V"], capture_output=True, text=True, check=True).stderr
    if re.search(r"--with-stream(?!\S)", build):
        return ""
    folder = re.search(r"--modules-path=(\S+)", build)
    module = Path(folder[1] if folder else "/usr/lib/nginx/modules", "ngx_stream_module.so")
    return f"load_module {module};" if module.exists() else None


def write_certificate(file: Path) -> ssl.SSLContext:
    """Write a key and its certificate for 127.0.0.1 to a file; return who trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "nginx")])
    now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    private = key.private_bytes(pem, pkcs8, serialization.NoEncryption())
    file.write_bytes(private + certificate.public_bytes(pem))
    return ssl.create_default_context(cafile=file)
