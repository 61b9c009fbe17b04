"""daphne's flags, as the page on moving from daphne describes them."""

from __future__ import annotations

import json
import re
import signal
import socket
import stat
import sys
from contextlib import closing, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from unittest import skipIf

from tests.support.browser import WebSocketTestCase
from tests.support.processes import PATIENCE, Process, ProcessTestCase, Response, get

APPLICATION = """
    import asyncio, json

    KEYS = ("client", "server", "scheme", "path", "root_path")

    async def application(scope, receive, send):
        assert scope["type"] == "http", scope["type"]
        seen = {key: scope[key] for key in KEYS}
        seen["headers"] = [name.decode() for name, _ in scope["headers"]]
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": json.dumps(seen).encode()})

    async def waiting(scope, receive, send):
        assert scope["type"] == "http", scope["type"]
        try:
            print("began", flush=True)
            await asyncio.Event().wait()
        finally:
            print("cancelled", flush=True)

    async def echo(scope, receive, send):
        assert scope["type"] == "websocket", scope["type"]
        await receive()
        if scope["path"] == "/wait":
            await asyncio.Event().wait()
        await send({"type": "websocket.close" if scope["path"] == "/no" else "websocket.accept"})
        while (event := await receive())["type"] == "websocket.receive":
            await send({**event, "type": "websocket.send"})
"""

LISTENING = re.compile(r"INFO +Listening on (.*)\n")
# A client that closes its side may still be reading; nobody needs to be waited for here.
AT_ONCE = ("--half-close-timeout", "0", "--application-close-timeout", "0")
HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
needs_unix_sockets = skipIf(sys.platform == "win32", "there are no Unix sockets")


class FlagTestCase(ProcessTestCase):
    """Tests with an application that answers with its scope."""

    def setUp(self):
        super().setUp()
        self.app = self.write("app.py", APPLICATION)

    def serve(self, *arguments: str, application: str = "application") -> Process:
        """Start the command line, on any free port, and wait until it listens there."""
        server = self.start_cli("-b", "127.0.0.1:0", *arguments, f"app:{application}")
        server.wait_for_port()
        return server

    def scope(self, server: Process, **headers: str) -> Any:
        """Return the scope of a request."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        response = get(server.wait_for_port(), "/page", **named)
        self.assertEqual(response.status, 200)
        return json.loads(response.body)

    def ask(self, path: str) -> bytes:
        """Return what a server answers on a Unix socket."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            client.connect(str(self.folder / path))
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            return b"".join(iter(lambda: client.recv(65536), b""))


class ListenTests(FlagTestCase):
    """-b, -p, -u, --fd and -e say where the server listens."""

    def test_bind(self):
        """The user gives -b twice, once with a port of its own, and is served at both."""
        arguments = ("-b", "127.0.0.1:0", "-b", "127.0.0.1", "-p", "0")
        server = self.start_cli(*arguments, "app:application")
        server.wait_for("(?s)Listening.*Listening.*\n")
        ports = [int(where.rpartition(":")[2]) for where in LISTENING.findall(server.errors)]
        self.assertEqual(len(set(ports)), 2)
        for port in ports:
            seen = json.loads(get(port).body)
            self.assertEqual(seen["server"], ["127.0.0.1", port])
        self.finish(server)

    @needs_unix_sockets
    def test_unix_socket(self):
        """The user starts a server where one answers, then where one was killed."""
        first = self.start_cli("-u", "s", "app:application")
        first.wait_for("Listening on unix socket s")
        second = self.start_cli("-u", "s", "app:application")
        self.assert_one_line(second, 1, "Couldn't listen on unix socket s: a server answers on it")
        first.kill()
        path = Path(self.folder, "s")
        self.assertTrue(path.is_socket())
        third = self.start_cli("-u", "s", "--unix-socket-mode", "600", "app:application")
        third.wait_for("Listening on unix socket s")
        self.assertIn(b'"client": null', self.ask("s"))
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)
        self.finish(third)
        self.assertFalse(path.exists())
        self.assertEqual(LISTENING.findall(third.errors), ["unix socket s"])

    @needs_unix_sockets
    def test_fd(self):
        """The parent hands over a socket that is not TCP's, then a file."""
        with socket.socket(socket.AF_UNIX) as listening, self.app.open() as file:
            listening.bind(str(self.folder / "s"))
            listening.listen()
            numbers = listening.fileno(), file.fileno()
            good, bad = (
                self.start_command(
                    [sys.executable, "-m", "django_daphne", "--fd", str(number), "app:application"],
                    pass_fds=[number],
                )
                for number in numbers
            )
            self.assertIn(b'"path": "/"', self.ask("s"))
        self.finish(good)
        self.assertEqual(LISTENING.findall(good.errors), [f"descriptor {numbers[0]}"])
        self.assert_one_line(bad, 1, f"descriptor {numbers[1]}: it is no listening socket")

    @needs_unix_sockets
    def test_endpoint(self):
        """The user gives endpoints in an order that is kept, and one of daphne's own kind."""
        endpoints = ("unix:s", "tcp:0:interface=127.0.0.1")
        server = self.start_cli("-e", endpoints[0], "-e", endpoints[1], "app:application")
        own = self.start_cli("-e", "fd:fileno=0", "app:application")
        server.wait_for("(?s)Listening.*Listening.*\n")
        self.assertIn(b'"path": "/"', self.ask("s"))
        self.finish(server)
        first, second = LISTENING.findall(server.errors)
        self.assertEqual(first, f"endpoint {endpoints[0]}")
        self.assertRegex(second, rf"^endpoint {re.escape(endpoints[1])} at 127\.0\.0\.1:\d+$")
        self.assert_one_line(own, 1, "Couldn't listen on endpoint fd:fileno=0")


class StartTests(FlagTestCase):
    """What the server says when it starts."""

    @needs_unix_sockets
    def test_lines(self):
        """The user reads a line for each address, once it is served, and no others."""
        server = self.serve("-u", "s")
        server.wait_for("unix socket s\n")
        lines = [line.split(maxsplit=3)[2:] for line in server.errors.splitlines()]
        port = server.wait_for_port()
        self.assertEqual(
            lines,
            [
                ["INFO", f"Listening on TCP address 127.0.0.1:{port}"],
                ["INFO", "Listening on unix socket s"],
            ],
        )
        self.assertEqual(get(port).status, 200)
        self.finish(server)

    def test_failure(self):
        """The user reads one critical line about an address that is taken."""
        with socket.create_server(("127.0.0.1", 0)) as other:
            busy = f"127.0.0.1:{other.getsockname()[1]}"
            process = self.start_cli("-b", busy, "app:application")
            self.assertEqual(process.wait(), 1, process)
        text = f"CRITICAL Couldn't listen on {busy}: that address is already in use."
        self.assertRegex(process.errors, rf"^[-\d]+ [\d:,]+ {re.escape(text)}\n$")

    def test_signals(self):
        """The supervisor ends one server with each signal, which is a success."""
        servers = {number: self.serve() for number in (signal.SIGINT, signal.SIGTERM)}
        for number, server in servers.items():
            server.send_signal(number)
            self.assertEqual(server.wait(), 0, server)


class ProxyTests(FlagTestCase):
    """--proxy-headers and its neighbours, and what is said of the mount point."""

    def test_proxy_headers(self):
        """The proxy names client, scheme and port; what the client wrote counts for nothing."""
        said = {
            "X_Forwarded_For": "1.2.3.4, 203.0.113.9",
            "X_Forwarded_Proto": "https",
            "X_Forwarded_Port": "8443",
            "Host": "www.example.com",
        }
        believing = self.serve("--proxy-headers")
        others = (self.serve(), self.serve("--proxy-headers", "--no-trusted-proxies"))
        seen = self.scope(believing, **said)
        self.assertEqual(seen["client"], ["203.0.113.9", 0])
        self.assertEqual(seen["scheme"], "https")
        self.assertEqual(seen["server"], ["www.example.com", 8443])
        believing.wait_for(r'203\.0\.113\.9:0 - - \[.*\] "GET /page" 200')
        for server in others:
            seen = self.scope(server, **said)
            self.assertEqual(seen["client"][0], "127.0.0.1")
            self.assertEqual(seen["scheme"], "http")
            self.assertEqual(seen["server"], ["127.0.0.1", server.wait_for_port()])

    def test_other_names(self):
        """The proxy uses headers of other names for the client's address and port."""
        server = self.serve(
            *("--proxy-headers", "--proxy-headers-host", "X-Real-IP"),
            *("--proxy-headers-port", "X-Forwarded-Port"),
        )
        said = {"X_Real_IP": "203.0.113.9", "X_Forwarded_Port": "5000"}
        self.assertEqual(self.scope(server, **said)["client"], ["203.0.113.9", 5000])
        self.assertEqual(self.scope(server, X_Forwarded_For="1.2.3.4")["client"][0], "127.0.0.1")

    def test_names_alone(self):
        """The user names a header without saying that headers are believed."""
        for flag in ("--proxy-headers-host", "--proxy-headers-port"):
            process = self.start_cli(flag, "X-Name", "app:application")
            self.assertEqual(process.wait(), 2, process)
            text = f"flag {flag}: --proxy-headers has to be passed for this parameter."
            self.assertIn(text, process.errors)

    def test_root_path(self):
        """The user names a mount point, the proxy another one, and the user a wrong one."""
        server = self.serve("--root-path", "/shop")
        wrong = self.start_cli("--root-path", "shop/", "app:application")
        seen = self.scope(server)
        self.assertEqual((seen["root_path"], seen["path"]), ("/shop", "/page"))
        seen = self.scope(server, Daphne_Root_Path="/caf%C3%A9")
        self.assertEqual((seen["root_path"], seen["path"]), ("/café", "/page"))
        self.assertNotIn("daphne-root-path", seen["headers"])
        self.assertEqual(wrong.wait(), 2, wrong)
        self.assertIn("--root-path: 'shop/' is not allowed", wrong.errors)


class ResponseTests(FlagTestCase):
    """What the flags change of an answer."""

    def test_server_name(self):
        """The user names the server, or leaves the header out in two ways."""
        cases: dict[tuple[str, ...], str | None] = {
            (): "daphne",
            ("-s", "Our server"): "Our server",
            ("-s", ""): None,
            ("--no-server-name",): None,
        }
        servers = {arguments: self.serve(*arguments) for arguments in cases}
        for arguments, expected in cases.items():
            with self.subTest(arguments):
                port = servers[arguments].wait_for_port()
                self.assertEqual(get(port).headers["Server"], expected)

    def test_http_timeout(self):
        """The application takes longer than the user allows, in a fraction of a second."""
        server = self.serve("-t", "0.05", *AT_ONCE, application="waiting")
        response = get(server.wait_for_port())
        self.assertEqual(response.status, 503)
        self.assertIn("Application failed to respond within time limit.", response.text)
        self.finish(server)

    def test_application_close_timeout(self):
        """The client leaves an application that takes no notice, and is cancelled for it."""
        server = self.serve(*AT_ONCE, application="waiting")
        with closing(HTTPConnection("127.0.0.1", server.wait_for_port(), PATIENCE)) as client:
            client.request("GET", "/")
            server.wait_for("began")
        # Long before daphne's ten seconds are over.
        self.assertIsNotNone(server.appears(re.compile("cancelled"), 8), server)
        self.finish(server)


class WebSocketTests(FlagTestCase, WebSocketTestCase):
    """The flags that belong to WebSocket, with daphne's values."""

    def test_flags(self):
        """The user keeps every flag of an old command line, in its spelling."""
        values = {
            "--websocket_timeout": "-1",
            "--websocket_connect_timeout": "7",
            "--ping-interval": "8",
            "--ping-timeout": "9",
            "--websocket-max-message-size": "0",
            "--websocket-max-frame-size": "11",
        }
        arguments = [word for pair in values.items() for word in pair]
        process = self.start_cli("--print-config", *arguments, "app:application")
        self.assertEqual(process.wait(), 0, process)
        shown = dict(line.split()[:2] for line in process.output.splitlines())
        for flag, value in values.items():
            expected = "none" if value in ("-1", "0") else value
            self.assertEqual(shown[flag[2:].replace("-", "_")], expected, flag)

    def test_timeout(self):
        """The user bounds the life of a WebSocket."""
        server = self.serve("--websocket_timeout", "0.3", application="echo")
        self.assertEqual(self.closed(self.open(server, "/")), (1000, ""))

    def test_connect_timeout(self):
        """The application does not accept within the time that the user allows."""
        server = self.serve("--websocket_connect_timeout", "0.05", *AT_ONCE, application="echo")
        status, body = self.refused(server, "/wait")
        self.assertEqual(status, 403)
        self.assertIn(b"Access denied", body)

    def test_pings(self):
        """The client is silent, and answers no ping."""
        server = self.serve("--ping-interval", "0.05", "--ping-timeout", "0.05", application="echo")
        with socket.create_connection(("127.0.0.1", server.wait_for_port()), PATIENCE) as client:
            client.sendall(HANDSHAKE)
            data = b"".join(iter(lambda: client.recv(65536), b""))
        # Pings behind the head, then a close frame with code 1011.
        self.assertRegex(data, rb"\r\n\r\n(\x89\x00)+\x88\x0e\x03\xf3ping timeout$")

    def test_sizes(self):
        """The client sends messages and frames as large as the user allows, and larger ones."""
        from websockets.exceptions import ConnectionClosed

        message, frame = "--websocket-max-message-size", "--websocket-max-frame-size"
        bounded = self.serve(message, "10", frame, "6", application="echo")
        unbounded = self.serve(message, "0", frame, "0", application="echo")
        for good, bad in (([b"12345", b"67890"], [b"12345", b"678901"]), ([b"123456"], b"1234567")):
            client = self.open(bounded, "/", compression=None)
            client.send(good)
            self.assertEqual(self.receive(client), b"".join(good))
            with suppress(ConnectionClosed):  # the first frame may be too much already
                client.send(bad)
            self.assertEqual(self.closed(client)[0], 1009)
        client = self.open(unbounded, "/", compression=None, max_size=None)
        client.send(large := bytes((1 << 20) + 1))
        self.assertTrue(self.receive(client) == large)

    def test_access_log(self):
        """The client is let in, says goodbye, and is refused at another path."""
        server = self.serve(application="echo")
        self.open(server, "/in?a=b").close()
        server.wait_for("WSDISCONNECT")
        self.assertEqual(self.refused(server, "/no")[0], 403)
        self.finish(server)
        line = r'(?m)^127\.0\.0\.1:\d+ - - \[.*\] "(WS.*)" - -$'
        expected = [f"{event} /in?a=b" for event in ("WSCONNECTING", "WSCONNECT", "WSDISCONNECT")]
        expected += ["WSCONNECTING /no", "WSREJECT /no"]
        self.assertEqual(re.findall(line, server.output), expected, server)


class AccessLogTests(FlagTestCase):
    """What a line of the access log says."""

    def test_escapes(self):
        """The client sends a quote, and a request that cannot be read."""
        server = self.serve()
        port = server.wait_for_port()
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
            client.sendall(b'GET /"quoted HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
            while client.recv(65536):
                pass
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
            client.sendall(b"nonsense\r\n\r\n")
            while client.recv(65536):
                pass
        self.finish(server)
        quoted, unread = server.output.splitlines()
        self.assertRegex(quoted, r'^127\.0\.0\.1:\d+ - - \[.*\] "GET /\\x22quoted" 200 \d+$')
        self.assertRegex(unread, r'^127\.0\.0\.1:\d+ - - \[.*\] "- -" 400 \d+$')

    def test_formats(self):
        """The user has another format, in the same place."""
        server = self.serve("--access-log-format", "json")
        self.assertEqual(get(server.wait_for_port(), "/page?a=b").status, 200)
        self.finish(server)
        line = json.loads(server.output)
        self.assertEqual(
            (line["method"], line["target"], line["status"]), ("GET", "/page?a=b", 200)
        )

    def test_client_left(self):
        """The client leaves before it is answered."""
        server = self.serve(*AT_ONCE, application="waiting")
        with closing(HTTPConnection("127.0.0.1", server.wait_for_port(), PATIENCE)) as client:
            client.request("GET", "/slow")
            server.wait_for("began")
        server.wait_for(r'"GET /slow" 499 -')
        self.finish(server)

    def test_head(self):
        """The client asks for the head, which has no body to count."""
        server = self.serve()
        with closing(HTTPConnection("127.0.0.1", server.wait_for_port(), PATIENCE)) as client:
            client.request("HEAD", "/page")
            self.assertEqual(Response(client.getresponse()).body, b"")
        server.wait_for(r'"HEAD /page" 200 -\n')
        self.finish(server)
