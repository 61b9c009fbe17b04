"""runserver --https with its clients: Python, curl, websockets, and a Chromium that trusts it."""

from __future__ import annotations

import re
import shlex
import shutil
import ssl
import subprocess
from contextlib import closing
from http.client import HTTPSConnection
from unittest import skipUnless

from django_daphne.management.local_authority import LocalAuthority
from tests.integration.projects import DEVELOPMENT_URLS, RunserverTestCase
from tests.integration.test_chat import ExampleTestCase
from tests.support.browser import BrowserTestCase
from tests.support.processes import PATIENCE, Process, ProcessTestCase, Response
from tests.test_docs import blocks

LISTENING = re.compile(r"development server at https://([^/]+):(\d+)/\nQuit the server")
MADE = "A certificate authority was made for this user"


class LocalTestCase(ProcessTestCase):
    """Tests with a configuration folder, and a home, of their own."""

    def setUp(self) -> None:
        super().setUp()
        self.home = self.folder / "home"
        self.home.mkdir()
        self.config = self.home / ".config"
        self.ca = self.config / "django-daphne" / "authority" / "certificate.crt"

    def runserver(self, *arguments: str, **variables: str) -> Process:
        """Start the command with these folders."""
        folders = {"XDG_CONFIG_HOME": str(self.config), "HOME": str(self.home)}
        return self.start("manage.py", "runserver", *arguments, **folders, **variables)

    def wait_for_tls(self, server: Process) -> int:
        """Return the port, once the server says that it speaks TLS there."""
        return int(server.wait_for(LISTENING)[2])

    def ask(self, port: int, host: str = "localhost", path: str = "/") -> Response:
        """Ask for a page by TLS, trusting the authority for this name and nothing else."""
        context = ssl.create_default_context(cafile=str(self.ca))
        connection = HTTPSConnection(host, port, timeout=PATIENCE, context=context)
        with closing(connection):
            connection.request("GET", path)
            return Response(connection.getresponse())


class CommandTests(LocalTestCase, RunserverTestCase):
    """The developer starts the command, alone and beneath the autoreloader."""

    def test_starts(self):
        """The first start tells how to trust the authority, and the second one knows it."""
        for is_first in (True, False):
            server = self.runserver("--https", "--noreload", "127.0.0.1:0")
            port = self.wait_for_tls(server)
            for host in ("localhost", "127.0.0.1"):
                self.assertEqual(self.ask(port, host).text, "first")
            self.interrupt(server)
            self.assertEqual(MADE in server.output, is_first, server)
            self.assertEqual(f"  {self.ca}\n" in server.output, is_first, server)

    def test_reload(self):
        """The developer breaks the project and mends it: all of it is seen by TLS."""
        server = self.runserver("--https", "0")
        port = self.wait_for_tls(server)
        self.assertEqual(self.ask(port).text, "first")
        certificates = [path.stat() for path in self.config.rglob("*.pem")]
        self.write("site_urls.py", "import nowhere")
        server.wait_for("Waiting for a file to change")
        page = self.ask(port)
        self.assertEqual(page.status, 500)
        self.assertIn("nowhere", page.text)
        self.write("site_urls.py", DEVELOPMENT_URLS.replace('"first"', '"second"'))
        server.wait_for("(?s)Quit the server.*Quit the server")
        self.assertEqual(self.ask(port).text, "second")
        self.finish(server)
        self.assertEqual(server.output.count(MADE), 1, server)
        self.assertEqual([path.stat() for path in self.config.rglob("*.pem")], certificates)

    def test_own(self):
        """The developer has a certificate and its key, besides those that settings have."""
        self.settings_are(
            more='DAPHNE = {"CERTFILE": ["production.pem"], "CLIENT_CERTIFICATES": "required",'
            ' "CA_CERTS": "production.pem"}'
        )
        authority = LocalAuthority(self.folder / "own")
        self.ca = authority.certificate_file
        certificate = str(authority.issue(["localhost"]))
        key = str(shutil.copy(certificate, self.folder / "key.pem"))
        server = self.runserver("--certfile", certificate, "--keyfile", key, "--noreload", "0")
        self.assertEqual(self.ask(self.wait_for_tls(server)).text, "first")
        self.interrupt(server)
        self.assertFalse(self.config.exists())


class ExampleTests(LocalTestCase, ExampleTestCase, BrowserTestCase):
    """The example project, whose pages and WebSockets are all served by TLS."""

    def setUp(self):
        super().setUp()
        self.server = self.runserver("--https", "--noreload", "0")
        self.port = self.wait_for_tls(self.server)

    @skipUnless(shutil.which("curl"), "missing: curl")
    def test_clients(self):
        """The developer has curl, over HTTP/2, and the Python of the docs, over wss, too."""
        shown = ("--silent", "--show-error", "--output", "page", "--write-out")
        url = f"https://localhost:{self.port}/chat/"
        done = subprocess.run(
            [
                "curl",
                "--http2",
                "--cacert",
                str(self.ca),
                *shown,
                "%{http_version} %{http_code}",
                url,
            ],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        self.assertEqual(done.stdout, "2 200", done.stderr)
        client = "\n".join(
            block for block in blocks("howto/development-https.md", "python") if "import" in block
        )
        self.write("client.py", client.replace("localhost:8000", f"localhost:{self.port}"))
        process = self.start("client.py", HOME=str(self.home))
        self.assertEqual(process.wait(), 0, process)
        self.assertEqual(process.output, "200\nHello\n")
        self.finish(self.server)

    def trust(self) -> None:
        """Do for Chromium what the server said at its start."""
        if shutil.which("certutil") is None:
            self.skipTest("missing: certutil")
        commands = [
            line.removeprefix("  Chromium, Chrome").strip()
            for line in self.server.output.splitlines()
            if "nssdb" in line
        ]
        self.assertEqual([command.split()[0] for command in commands], ["mkdir", "certutil"])
        for command in commands:
            subprocess.run(
                shlex.split(command),
                check=True,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=PATIENCE,
            )

    def test_browser(self):
        """Somebody reads a page and chats: all of it comes by one connection of HTTP/2."""
        self.trust()
        window = self.open_window(self.start_browser(self.home), f"https://127.0.0.1:{self.port}/")
        protocol = "performance.getEntriesByType('navigation')[0].nextHopProtocol"
        self.assertEqual(window.evaluate(protocol), "h2")
        window.get_by_role("link", name="Chat").first.click()
        self.assertEqual(window.evaluate("[location.pathname, isSecureContext]"), ["/chat/", True])
        window.get_by_label("Name").fill("Ada")
        window.get_by_role("status").get_by_text("open", exact=True).wait_for()
        window.get_by_role("textbox", name="Message").fill("by wss")
        window.get_by_role("button", name="Send").click()
        window.get_by_role("listitem").get_by_text("by wss", exact=True).wait_for()
        self.server.wait_for(r"HTTP GET /chat/ 200 \[.*, h2\]")
        self.server.wait_for(r"WebSocket CONNECT /ws/chat \[127\.0\.0\.1:\d+, h2, ")
        clients = re.findall(r"\[.*?\b127\.0\.0\.1:(\d+)", self.server.errors)
        self.assertGreater(len(clients), 5, self.server)
        self.assertEqual(len({*clients}), 1, self.server)
        self.finish(self.server)
