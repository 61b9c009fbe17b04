"""Files over real sockets: the kernel's way, HTTP/2, curl, and the commands that serve them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from unittest import skipUnless

from django_daphne.public_files import serve_files
from tests.integration.projects import SmallProjectTestCase
from tests.support.processes import get
from tests.support.server import RunningServer, serve

from .support import SCRIPT, FilesTestCase, application

FILM = os.urandom(1 << 20)


@skipUnless(shutil.which("curl"), "missing: curl")
class CurlTests(FilesTestCase):
    """curl asks a server on a socket."""

    def setUp(self):
        super().setUp()
        self.write("static/film.mp4", FILM)
        self.write("static/app.js")
        packed = subprocess.run(["gzip", "-c"], input=SCRIPT, capture_output=True, check=True)
        self.write("static/app.js.gz", packed.stdout)
        self.write("media/film.mp4", FILM)
        self.server: RunningServer = self.enterContext(serve(serve_files(application)))

    def curl(self, path: str, *options: str) -> tuple[str, bytes]:
        """Return status and version of HTTP as curl sees them, and the body."""
        body = self.folder / "body"
        command = ["curl", "--silent", "--show-error", "--max-time", "20", "--path-as-is"]
        command += ["--output", str(body), "--write-out", "%{http_code} %{http_version}"]
        url = f"http://127.0.0.1:{self.server.port}{path}"
        done = subprocess.run([*command, *options, url], capture_output=True, check=True, text=True)
        return done.stdout, body.read_bytes() if body.exists() else b""

    def assert_gets(self, status: str, body: bytes, path: str, *options: str) -> None:
        """curl gets this. The bodies are too long to be compared in words."""
        seen, got = self.curl(path, *options)
        self.assertEqual((seen, len(got)), (status, len(body)))
        self.assertTrue(got == body)

    def test_files(self):
        """The client fetches files whole, in parts and compressed, over both versions of HTTP."""
        for option, version in (("--http1.1", "1.1"), ("--http2-prior-knowledge", "2")):
            for folder in ("static", "media"):
                film = f"/{folder}/film.mp4"
                self.assert_gets(f"200 {version}", FILM, film, option)
                part = FILM[100000:1000000]
                self.assert_gets(f"206 {version}", part, film, option, "--range", "100000-999999")
            self.assertEqual(
                self.curl("/static/app.js", option, "--compressed"), (f"200 {version}", SCRIPT)
            )
            self.assertEqual(self.curl("/static/../secret.txt", option)[1][:4], b"GET ")

    def test_again(self):
        """The client asks with the tag of the last time, and with its beginning of the file."""
        tag = str(self.folder / "tag")
        self.assertEqual(self.curl("/static/film.mp4", "--etag-save", tag)[0], "200 1.1")
        self.assertEqual(self.curl("/static/film.mp4", "--etag-compare", tag)[0], "304 1.1")
        Path(self.folder / "body").write_bytes(FILM[:5000])
        self.assert_gets("206 1.1", FILM, "/static/film.mp4", "--continue-at", "-")


class CommandTests(SmallProjectTestCase):
    """The commands of production serve files, and say what keeps them from it."""

    def setUp(self):
        super().setUp()
        self.write("collected/style.css", "p { }")
        self.write("site_app.py", APPLICATION)

    def settings_with(self, **options: object) -> None:
        """Write settings for files."""
        lines = (f"DAPHNE = {options!r}", 'STATIC_URL = "static/"', 'STATIC_ROOT = "collected"')
        self.settings_are("\n    ".join(lines))

    def test_rundaphne(self):
        """The administrator serves static files by a flag."""
        self.settings_with()
        server = self.manage("rundaphne", "-p", "0", "--serve-static")
        response = get(server.wait_for_port(), "/static/style.css")
        self.assertEqual((response.status, response.text), (200, "p { }"))
        self.finish(server)

    def test_command_line(self):
        """The administrator serves the application by its name; the settings are the project's."""
        self.settings_with(SERVE_STATIC=True)
        server = self.start_cli("-p", "0", "site_app:application")
        self.assertEqual(get(server.wait_for_port(), "/static/style.css").text, "p { }")
        self.finish(server)

    def test_no_folder(self):
        """The administrator has not collected the files: one line says so, from both commands."""
        self.settings_with(SERVE_STATIC=True)
        (self.folder / "collected").rename(self.folder / "old")
        text = "STATIC_ROOT, 'collected', is no folder."
        self.assert_one_line(self.manage("rundaphne", "-p", "0", "-v", "0"), 1, text)
        self.assert_one_line(self.start_cli("-p", "0", "site_app:application"), 1, text)


APPLICATION = """
    import os
    os.environ["DJANGO_SETTINGS_MODULE"] = "site_settings"
    from django.core.asgi import get_asgi_application

    application = get_asgi_application()
"""
