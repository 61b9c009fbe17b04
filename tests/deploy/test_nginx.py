"""The real nginx with the files for it, in front of the server that they are for."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import signal
import ssl
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPSConnection
from importlib.util import find_spec
from typing import Any

from tests.deploy import adapt, read, read_command
from tests.deploy.service import SiteTestCase
from tests.support.nginx import BROWSER, Browser, NginxTestCase, free_port, write_certificate
from tests.support.processes import PATIENCE, Process, get

FALSE = (("X-Forwarded-For", "6.6.6.6"), ("Forwarded", "for=6.6.6.6"), ("Daphne-Root-Path", "/6"))

# Visitors who ask without pause during a reload.
VISITORS = 2


class FrontTestCase(SiteTestCase, NginxTestCase):
    """Tests with a browser, nginx and the site behind it."""

    def setUp(self):
        super().setUp()
        self.certificate = self.folder / "certificate.pem"
        self.tls: ssl.SSLContext = write_certificate(self.certificate)

    def ask(self, port: int) -> dict[str, Any]:
        """Return what the site says to a browser that pretends to be somebody else."""
        response = self.open(port, tls=self.tls).send("/page", *FALSE)
        self.assertEqual(response.status, 200, response.text)
        seen: dict[str, Any] = json.loads(response.body)
        return seen

    def curl(self, port: int) -> dict[str, Any]:
        """Return what the site says to curl, which would rather speak HTTP/2."""
        program = shutil.which("curl")
        if program is None:
            self.skipTest("missing: curl")
        options = ["--http2", "--silent", "--show-error", "--fail", "--max-time", str(PATIENCE)]
        ends = ["--interface", BROWSER, "--cacert", str(self.certificate), "--noproxy", "*"]
        done = subprocess.run(
            [program, *options, *ends, f"https://127.0.0.1:{port}/page"],
            capture_output=True,
            timeout=2 * PATIENCE,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        seen: dict[str, Any] = json.loads(done.stdout)
        return seen

    def talk(self, port: int) -> list[str | bytes]:
        """Return what is heard on a WebSocket, of which the last is an echo."""
        if find_spec("websockets") is None:
            self.skipTest("missing: websockets")
        from websockets.sync.client import connect

        address = f"wss://127.0.0.1:{port}/ws"
        with connect(address, source_address=(BROWSER, 0), ssl=self.tls, proxy=None) as client:
            client.send("echo")
            return [client.recv(PATIENCE), client.recv(PATIENCE)]


class UnixTests(FrontTestCase):
    """nginx-unix.conf, in front of the service of systemd."""

    def start_front(self) -> tuple[int, int]:
        """Start nginx; return its ports for http and https."""
        plain = free_port()
        text = adapt(
            re.sub(r"listen \[::\].*;\n", "", read("nginx-unix.conf")),
            ("listen 80;", f"listen 127.0.0.1:{plain};"),
            ("listen 443 ", "listen 127.0.0.1:PORT "),
            ("/etc/ssl/mysite/certificate.pem", self.certificate),
            ("/etc/ssl/mysite/key.pem", self.certificate),
            ("/run/mysite/web.sock", self.path),
            ("/srv/mysite/static", self.folder / "static"),
        )
        return plain, self._start_nginx("http", text)

    def test_site(self):
        """The browser is redirected, sees all kinds of content, and nothing of a reload."""
        self.write("static/style.css", "p { }")
        server, _ = self.start_service()
        plain, port = self.start_front()
        redirect = get(plain, "/page?x=1")
        self.assertEqual(redirect.status, 308)
        self.assertEqual(redirect.headers["Location"], "https://127.0.0.1/page?x=1")
        seen = self.ask(port)
        told = {"client": BROWSER, "uri": f"https://127.0.0.1:{port}/page", "http": "1.1"}
        self.assertLessEqual(told.items(), seen.items(), server)
        self.assertEqual(self.open(port, tls=self.tls).send("/static/style.css").text, "p { }")
        self.assertEqual(self.talk(port), [f"wss {BROWSER}", "echo"])
        self.assertLessEqual({"client": BROWSER, "http": "1.1"}.items(), self.curl(port).items())
        stream = HTTPSConnection("127.0.0.1", port, timeout=PATIENCE, context=self.tls)
        with closing(stream):
            stream.request("GET", "/events/")
            self.assertEqual(stream.getresponse().readline(), b"data: 1\n")
        self.reload(server, port)
        self.finish(server)

    def reload(self, server: Process, port: int) -> None:
        """Deploy the second release while visitors ask without pause: none is turned away."""
        browsers = [self.open(port, tls=self.tls) for _ in range(VISITORS)]
        with ThreadPoolExecutor(VISITORS) as pool:
            begun = [threading.Event() for _ in browsers]
            visits = [pool.submit(visit, *each) for each in zip(browsers, begun, strict=True)]
            for each in begun:
                self.assertTrue(each.wait(PATIENCE))
            self.link("2")
            server.send_signal(signal.SIGHUP)
            for visited in visits:
                statuses, release = visited.result()
                self.assertEqual((set(statuses), release), ({200}, "2"), server)


def visit(browser: Browser, begun: threading.Event) -> tuple[list[int], str]:
    """Ask again and again, until the second release answers; return each status, and who did."""
    statuses, release, deadline = [], "", time.monotonic() + PATIENCE
    while release != "2" and time.monotonic() < deadline:
        response = browser.send("/page")
        statuses.append(response.status)
        if response.status == 200:
            release = json.loads(response.body)["release"]
        begun.set()
    return statuses, release


class PassthroughTests(FrontTestCase):
    """nginx-passthrough.conf, in front of a server that speaks TLS itself."""

    def test_site(self):
        """The browser speaks HTTP/2 and WebSocket with the server, which knows who it is."""
        flags = adapt(
            read_command("nginx-passthrough.conf"),
            ("127.0.0.1:8443", "127.0.0.1:0"),
            ("/etc/ssl/mysite/chain.pem", self.certificate),
            ("/etc/ssl/mysite/key.pem", self.certificate),
        )
        server = self.start("1/manage.py", "rundaphne", *shlex.split(flags))
        text = re.sub(r"listen \[::\].*;\n", "", read("nginx-passthrough.conf"))
        block = re.search(r"(?s)\nstream \{\n(.*)\n\}\n$", text)
        assert block is not None
        lines = adapt(
            block[1],
            ("listen 443;", "listen 127.0.0.1:PORT;"),
            ("127.0.0.1:8443", f"127.0.0.1:{server.wait_for_port()}"),
        )
        port = self._start_nginx("stream", lines)
        told = {"client": BROWSER, "uri": f"https://127.0.0.1:{port}/page", "http": "2"}
        self.assertLessEqual(told.items(), self.curl(port).items(), server)
        self.assertEqual(self.talk(port), [f"wss {BROWSER}", "echo"])
