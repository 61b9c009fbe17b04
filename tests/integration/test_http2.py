"""HTTP/2 by real clients: curl, nghttp, httpx, and Chromium with its chat on one connection."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import shutil
import ssl
import subprocess
from typing import Any

from tests.integration.test_chat import ExampleTestCase
from tests.support.browser import BrowserTestCase
from tests.support.processes import PATIENCE, Process
from tests.support.tls import Pair, TLSTestCase

LISTENING = re.compile(r"Listening on TCP address (127\.0\.0\.\d):(\d+)( \(TLS\))?")


class HTTP2TestCase(TLSTestCase, ExampleTestCase):
    """The example project with a certificate, on an address with TLS and on one without."""

    def setUp(self):
        super().setUp()
        self.pair = Pair(self.folder, "site")
        self.pair.write(self.issue("localhost", "127.0.0.1", common_name="site"))
        self.authority.cert_pem.write_to_path(str(self.folder / "authority.pem"))

    def serve(self, port: int = 0, **variables: str) -> Process:
        """Serve the project."""
        return self.start(
            *("manage.py", "rundaphne", "-p", str(port), "--insecure-bind", "127.0.0.1:0"),
            *("--certfile", "site.pem", "--keyfile", "site.key"),
            *("--access-log", "access.log", "--access-log-format", "json"),
            **variables,
        )

    def addresses(self, server: Process) -> tuple[str, str]:
        """Return the beginnings of addresses, with TLS and without it."""
        found: dict[bool, str] = {}
        server.wait_for(r"(?s)Listening on .*Listening on [^\n]*\n")
        for host, port, is_tls in LISTENING.findall(server.output + server.errors):
            found[bool(is_tls)] = f"{'https' if is_tls else 'http'}://{host}:{port}"
        return found[True], found[False]

    def log(self) -> list[dict[str, Any]]:
        """Return the records of the access log."""
        lines = (self.folder / "access.log").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def run_client(self, *command: str) -> str:
        """Run a client to its end; return what it printed."""
        program = shutil.which(command[0])
        if program is None:
            self.skipTest(f"missing: {command[0]}")
        finished = subprocess.run(
            [program, *command[1:]],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        self.assertEqual(finished.returncode, 0, finished.stderr)
        return finished.stdout


class ClientTests(HTTP2TestCase):
    """Clients that somebody else wrote ask for the example's pages."""

    def test_curl(self):
        """The client curl gets a page by ALPN, by prior knowledge, or over HTTP/1.1."""
        tls, plain = self.addresses(self.serve())
        version = ("--silent", "--show-error", "--output", "page", "--write-out")
        shown = "%{http_version} %{http_code}"
        for options, url, expected in (
            (("--cacert", "authority.pem"), tls, "2 200"),
            (("--cacert", "authority.pem", "--http1.1"), tls, "1.1 200"),
            (("--http2-prior-knowledge",), plain, "2 200"),
            (("--http2",), plain, "1.1 200"),  # by Upgrade, which is ignored
            (("--http1.1",), plain, "1.1 200"),
        ):
            with self.subTest(options=options, url=url):
                answer = self.run_client("curl", *options, *version, shown, url + "/")
                self.assertEqual(answer, expected)
                self.assertIn("<html", (self.folder / "page").read_text())

    def test_nghttp(self):
        """The client nghttp gets a page and what it refers to, at once on one connection."""
        tls, _ = self.addresses(self.serve())
        self.run_client("nghttp", "--no-verify-peer", "--null-out", "--get-assets", tls + "/")
        records = self.log()
        self.assertGreater(len(records), 1)
        self.assertEqual({(r["http_version"], r["status"]) for r in records}, {("2", 200)})
        self.assertEqual(len({record["client"] for record in records}), 1)

    def test_h2load(self):
        """The client h2load sends requests on eight connections, and none of them fails."""
        tls, _ = self.addresses(self.serve())
        report = self.run_client("h2load", "-c8", "-m16", "-n400", tls + "/static/pages/icon.svg")
        self.assertIn("400 succeeded, 0 failed, 0 errored, 0 timeout", report)

    def test_httpx(self):
        """The client httpx sends files and reads a stream, at the same time."""
        import httpx

        tls, _ = self.addresses(self.serve())
        context = ssl.create_default_context(cafile=str(self.folder / "authority.pem"))
        data = b"0123456789abcdef" * 2**16

        async def talk() -> list[httpx.Response]:
            # Its other client, with threads, now and then takes a socket's timeout for an error.
            options: Any = {"base_url": tls, "trust_env": False, "timeout": PATIENCE}
            async with (
                httpx.AsyncClient(http2=True, verify=context, **options) as client,
                client.stream("GET", "/clock/stream/") as clock,
            ):
                path, files = "/upload/?format=json", {"file": ("name", data)}
                answers = await asyncio.gather(*(client.post(path, files=files) for _ in range(4)))
                self.assertTrue(await anext(clock.aiter_lines()))
                self.assertEqual(clock.http_version, "HTTP/2")
                return answers

        digest = hashlib.sha256(data).hexdigest()
        sums = [answer.json()["sha256"] for answer in asyncio.run(talk())]
        self.assertEqual(sums, [digest] * 4)


class BrowserTests(HTTP2TestCase, BrowserTestCase):
    """A browser speaks HTTP/2."""

    def test_chat(self):
        """Somebody chats: page, scripts and WebSocket share one connection of HTTP/2."""
        tls, _ = self.addresses(self.serve())
        window = self.start_browser().new_context(ignore_https_errors=True).new_page()
        window.goto(f"{tls}/chat/")
        window.get_by_label("Name").fill("ann")
        window.get_by_role("status").get_by_text("open", exact=True).wait_for()
        window.get_by_role("textbox", name="Message").fill("over HTTP/2")
        window.get_by_role("button", name="Send").click()
        window.get_by_role("listitem").get_by_text("over HTTP/2", exact=True).wait_for()
        records = self.log()
        connected = [record for record in records if record["event"] == "connected"]
        self.assertEqual([record["target"] for record in connected], ["/ws/chat"])
        self.assertEqual({record["http_version"] for record in records}, {"2"})
        self.assertEqual(len({record["client"] for record in records}), 1)
