"""TLS by real processes: flags and settings, mistakes, SIGHUP, and curl as a client."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
from contextlib import suppress
from typing import Any
from unittest import skipUnless

from django.test import tag

from tests.integration.projects import SmallProjectTestCase
from tests.support.processes import PATIENCE, Process, get
from tests.support.tls import LAST, Pair, TLSTestCase, common_name, read_all

LOOP = ("--loop", os.environ.get("DAPHNE_TEST_LOOP", "auto"))
LISTENING = re.compile(r"Listening on TCP address 127\.0\.0\.1:(\d+) \(TLS\)")
INSECURE = re.compile(r"Listening on TCP address 127\.0\.0\.2:(\d+)\n")
PASSWORD = "open sesame"

# With HANGUP its startup sends the signal to its own process.
APPLICATION = """
    import json, os, signal

    async def application(scope, receive, send):
        if scope["type"] == "lifespan":
            await receive()
            if os.environ.get("HANGUP"):
                os.kill(os.getpid(), signal.SIGHUP)
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        tls = scope["extensions"].get("tls")
        body = json.dumps([scope["scheme"], scope["path"], tls and tls["client_cert_name"]])
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": body.encode()})
"""

# Runs a command with a terminal of its own, on which nobody will ever type.
ON_TERMINAL = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"


class TLSProcessTestCase(TLSTestCase, SmallProjectTestCase):
    """An application, a Django project, and a certificate beside its key."""

    def setUp(self):
        super().setUp()
        self.write("app.py", APPLICATION)
        self.pair = Pair(self.folder, "site")
        self.pair.write(self.issue("localhost", "127.0.0.1", common_name="first"))
        self.files = ("--certfile", "site.pem", "--keyfile", "site.key")

    def start_server(self, *flags: str, **variables: str) -> Process:
        """Start the command line on a free port, with TLS unless the flags say otherwise."""
        return self.start_cli(*LOOP, "-p", "0", *flags, "app:application", **variables)

    def wait_for_tls(self, process: Process) -> int:
        """Return the port, once the server says that it listens there with TLS."""
        return int(process.wait_for(LISTENING)[1])

    def ask_by_tls(self, port: int, context: ssl.SSLContext | None = None) -> list[Any]:
        """Return what the application has seen of a request."""
        sock = self.open(("127.0.0.1", port), context=context)
        sock.sendall(LAST)
        seen: list[Any] = json.loads(read_all(sock).partition(b"\r\n\r\n")[2])
        sock.close()
        return seen

    def shown(self, port: int) -> str:
        """Return the name in the certificate that a new client is shown."""
        sock = self.open(("127.0.0.1", port))
        name = common_name(sock)
        sock.close()
        return name

    def encrypt_key(self) -> None:
        """Give the key a password."""
        from cryptography.hazmat.primitives import serialization

        key = serialization.load_pem_private_key(self.pair.keyfile.read_bytes(), None)
        encryption = serialization.BestAvailableEncryption(PASSWORD.encode())
        pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        self.pair.keyfile.write_bytes(key.private_bytes(pem, pkcs8, encryption))


@tag("loop")
class ServeTests(TLSProcessTestCase):
    """Servers with certificates."""

    def test_command_line(self):
        """The operator gives flags, and a client comes by TLS; another is sent there."""
        server = self.start_server(
            *self.files, "--insecure-bind", "127.0.0.2:0", "--redirect-to-https"
        )
        port = self.wait_for_tls(server)
        self.assertEqual(self.ask_by_tls(port), ["https", "/zebra", None])
        insecure = int(server.wait_for(INSECURE)[1])
        response = get(insecure, "/a?b", host="127.0.0.2")
        self.assertEqual(response.status, 308)
        self.assertEqual(response.headers["location"], f"https://127.0.0.2:{port}/a?b")
        self.finish(server)

    def test_environment(self):
        """The operator gives password and certificate by the environment."""
        self.encrypt_key()
        server = self.start_server(
            DJANGO_DAPHNE_CERTFILE="site.pem",
            DJANGO_DAPHNE_KEYFILE="site.key",
            DJANGO_DAPHNE_KEYFILE_PASSWORD=PASSWORD,
        )
        self.assertEqual(self.ask_by_tls(self.wait_for_tls(server))[0], "https")
        self.finish(server)

    def test_client_certificates(self):
        """The operator wants clients with a certificate, and the application sees whose it is."""
        self.write_authority()
        server = self.start_server(
            *self.files, "--ca-certs", "authority.pem", "--client-certificates", "required"
        )
        port = self.wait_for_tls(server)
        known = self.trusting(self.issue("client@example.org", common_name="somebody"))
        self.assertIn("CN=somebody", self.ask_by_tls(port, known)[2])
        with suppress(OSError):
            self.assertEqual(self.open(("127.0.0.1", port)).recv(1), b"")
        self.finish(server)

    def test_django(self):
        """The operator gives settings, which are meant for rundaphne and not for runserver."""
        self.settings_are(
            'DAPHNE = {"CERTFILE": ["site.pem"], "KEYFILE": ["site.key"],'
            ' "INSECURE_BIND": ["127.0.0.2:0"], "REDIRECT_TO_HTTPS": True}; DEBUG = True'
        )
        server = self.start("manage.py", "rundaphne", *LOOP, "-p", "0")
        port = self.wait_for_tls(server)
        sock = self.open(("127.0.0.1", port))
        sock.sendall(b"GET /app HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        self.assertIn(b" 200 OK\r\n", read_all(sock))
        sock.close()
        self.finish(server)
        development = self.start("manage.py", "runserver", *LOOP, "--noreload", "0")
        self.assertEqual(get(development.wait_for_port(), "/app").status, 200)

    @skipUnless(shutil.which("curl"), "missing: curl")
    def test_curl(self):
        """The client is curl."""
        self.write_authority()
        server = self.start_server(*self.files)
        url = f"https://localhost:{self.wait_for_tls(server)}/from/curl"
        command = ["curl", "--silent", "--show-error", "--cacert", "authority.pem", "-4", url]
        for more in ([], ["--tls-max", "1.2"], ["--tlsv1.3"]):
            done = subprocess.run(
                [*command, *more],
                cwd=self.folder,
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=False,
            )
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(json.loads(done.stdout), ["https", "/from/curl", None])
        self.finish(server)


class MistakeTests(TLSProcessTestCase):
    """Each mistake is one line, whoever makes it, and nothing is served."""

    def assert_refused(self, text: str, *flags: str) -> None:
        """Both commands refuse to serve, and to call it good; nobody is asked anything."""
        for check in ((), ("--check",)):
            process = self.start_server(*flags, *check)
            self.assert_one_line(process, 1, text)
            process = self.start("manage.py", "rundaphne", "-p", "0", *flags, *check)
            self.assert_one_line(process, 1, text)

    def test_missing(self):
        """The operator names a file that is not there."""
        self.assert_refused("--certfile no.pem: no such file or directory.", "--certfile", "no.pem")

    def test_mismatch(self):
        """The operator names the key of another certificate."""
        self.pair.write_key(self.issue("localhost"))
        self.assert_refused("--keyfile site.key: the key does not belong", *self.files)

    def test_password(self):
        """The operator gives no password, at a terminal, and is not asked for it."""
        self.encrypt_key()
        command = ("-m", "django_daphne", "-p", "0", *self.files, "app:application")
        process = self.start("-c", ON_TERMINAL, sys.executable, *command)
        self.assertEqual(process.wait(), 1, process)
        self.assertIn("there is no --keyfile-password.", process.output)
        self.assertNotIn("phrase", process.output)

    def test_check(self):
        """The operator checks certificates that are in order, or expired."""
        process = self.start_server(*self.files, "--check")
        self.assertEqual(process.wait(), 0, process)
        self.assertEqual(process.errors, "")
        self.pair.write(self.issue("localhost", days=-1))
        process = self.start_server(*self.files, "--check")
        self.assertEqual(process.wait(), 0, process)
        self.assertIn("--certfile site.pem: the certificate expired on ", process.errors)

    def test_unix_socket(self):
        """The operator has a certificate and nothing but a unix socket; no path stays behind."""
        process = self.start_cli(*self.files, "-u", "socket", "app:application")
        self.assert_one_line(process, 1, "--certfile: no address speaks TLS with it")
        self.assertFalse((self.folder / "socket").exists())

    def test_flags(self):
        """The operator gives flags that contradict each other, or no cipher."""
        for flags, text in (
            (("--keyfile", "site.key"), "flag --keyfile: --certfile has to be passed"),
            ((*self.files, "--ciphers", "x"), "flag --ciphers: 'x' is not allowed."),
        ):
            process = self.start_server(*flags)
            self.assertEqual(process.wait(), 2, process)
            self.assertIn(text, process.errors)

    def test_print_config(self):
        """The operator prints the configuration, which does not show the password."""
        process = self.start_server(
            *self.files, "--print-config", DJANGO_DAPHNE_KEYFILE_PASSWORD=PASSWORD
        )
        self.assertEqual(process.wait(), 0, process)
        self.assertRegex(process.output, r"keyfile_password +\(secret\)")
        self.assertNotIn(PASSWORD, process.output + process.errors)


@tag("loop")
class HangupTests(TLSProcessTestCase):
    """SIGHUP reads the certificates again, and never ends a server."""

    def test_renewal(self):
        """The operator renews a certificate, then makes a mistake, then mends it."""
        server = self.start_server(*self.files, "--certificate-check-interval", "-1")
        port = self.wait_for_tls(server)
        self.assertEqual(self.shown(port), "first")
        self.pair.rename(self.issue("localhost", "127.0.0.1", common_name="second"))
        server.send_signal(signal.SIGHUP)
        server.wait_for("Certificates for new connections: .*CN=second.*, valid until ")
        self.assertEqual(self.shown(port), "second")
        self.pair.certfile.write_bytes(b"")
        server.send_signal(signal.SIGHUP)
        server.wait_for("The certificates in use stay: --certfile site.pem: there is no")
        self.assertEqual(self.shown(port), "second")
        self.pair.write(self.issue("localhost", "127.0.0.1", common_name="third"))
        server.send_signal(signal.SIGHUP)
        server.wait_for("CN=third")
        self.assertEqual(self.shown(port), "third")
        self.finish(server)

    def test_found(self):
        """The operator renews a certificate, and the server finds it by itself."""
        server = self.start_server(*self.files, "--certificate-check-interval", "0.05")
        port = self.wait_for_tls(server)
        self.pair.rename(self.issue("localhost", "127.0.0.1", common_name="second"))
        server.wait_for("CN=second")
        self.assertEqual(self.shown(port), "second")
        self.finish(server)

    def test_without_tls(self):
        """The operator sends the signal to a server without certificates, which serves on."""
        server = self.start_server()
        port = server.wait_for_port()
        server.send_signal(signal.SIGHUP)
        server.wait_for("SIGHUP: there are no certificates to read again")
        self.assertEqual(get(port).status, 200)
        self.finish(server)

    def test_startup(self):
        """The signal comes while the application starts."""
        for flags in ((), self.files):
            server = self.start_server(*flags, HANGUP="yes")
            port = server.wait_for_port()
            if flags:
                self.assertEqual(self.shown(port), "first")
            else:
                self.assertEqual(get(port).status, 200)
            self.finish(server)

    def test_many(self):
        """The operator sends the signal often, while a client is served slowly."""
        server = self.start_server(*self.files)
        port = self.wait_for_tls(server)
        sock = self.open(("127.0.0.1", port))
        sock.sendall(LAST[:10])
        for _ in range(10):
            server.send_signal(signal.SIGHUP)
            self.assertEqual(self.shown(port), "first")
        sock.sendall(LAST[10:])
        self.assertIn(b" 200 OK\r\n", read_all(sock))
        sock.close()
        self.finish(server)
