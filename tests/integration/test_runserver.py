"""runserver, alone and beneath the autoreloader."""

from __future__ import annotations

import os
import re
import signal
import socket
from contextlib import closing
from http.client import HTTPConnection
from importlib.util import find_spec

import django

import django_daphne
from tests.integration.projects import DEVELOPMENT_APPS, DEVELOPMENT_URLS, RunserverTestCase
from tests.support.processes import (
    LISTENING,
    PATIENCE,
    Process,
    get,
)

ASGI, WSGI = "ASGIRequest", "WSGIRequest"


class BannerTests(RunserverTestCase):
    """The banner tells the truth."""

    def test_texts(self):
        """The developer starts a server on any free port and reads the banner."""
        server = self.runserver("--noreload", "127.0.0.1:0")
        port = server.wait_for_port()
        self.assertEqual(get(port).text, "first")
        self.interrupt(server)
        checks, issues, date, *banner = filter(None, server.output.splitlines())
        self.assertEqual(checks, "Performing system checks...")
        self.assertEqual(issues, "System check identified no issues (0 silenced).")
        self.assertRegex(date, r"^[A-Z][a-z]+ \d\d, \d{4} - .*\d\d:\d\d:\d\d")
        version = django_daphne.__version__
        self.assertEqual(
            banner,
            [
                f"Django version {django.get_version()}, using settings 'site_settings'",
                f"Starting ASGI/Daphne version {version} development server"
                f" at http://127.0.0.1:{port}/",
                "Quit the server with CONTROL-C.",
            ],
        )

    def test_addresses(self):
        """The developer listens everywhere, on IPv6 and by name, and skips the checks."""
        everywhere = self.runserver("--noreload", "0:0")
        ipv6 = self.runserver("--noreload", "-6", "--skip-checks", "0")
        name = self.runserver("--noreload", "localhost:0")
        server = everywhere.wait_for(LISTENING)
        self.assertEqual(server["host"], "0.0.0.0")
        self.assertEqual(get(int(server["port"])).text, "first")
        if socket.has_ipv6 and can_bind_ipv6():
            server = ipv6.wait_for(LISTENING)
            self.assertEqual(server["host"], "[::1]")
            self.assertEqual(get(int(server["port"]), host="::1").text, "first")
            self.assertNotIn("checks", ipv6.output)
        server = name.wait_for(LISTENING)
        self.assertEqual(server["host"], "localhost")
        self.assertEqual(get(int(server["port"]), host="localhost").text, "first")
        for process in (everywhere, name):
            self.interrupt(process)

    def test_busy_port(self):
        """The developer starts a second server on the port, with and without autoreloader."""
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = str(other.getsockname()[1])
            started = [self.runserver(port), self.runserver("--noreload", port)]
            for process in started:
                with self.subTest(process.arguments):
                    self.assertEqual(process.wait(), 1, process)
                    self.assertIn("Error: That port is already in use.\n", process.errors)
                    self.assertNotIn("Starting", process.output)

    def test_other_addresses(self):
        """The settings name a socket for production, which stays production's."""
        self.settings_are(more='DAPHNE = {"UNIX_SOCKET": "nowhere/s", "PORT": 1}')
        server = self.runserver("--noreload", "0")
        self.assertEqual(get(server.wait_for_port()).text, "first")
        self.interrupt(server)

    def test_mistakes(self):
        """The project's application is not there, and a flag and a loop are wrong."""
        self.settings_are(more='ASGI_APPLICATION = "nowhere.application"')
        application = self.runserver("--noreload", "0")
        self.assertEqual(application.wait(), 1)
        self.assertIn("(django_daphne.E008) Cannot import ASGI_APPLICATION", application.errors)
        self.assertNotIn("Traceback", application.errors)
        self.settings_are()
        self.write("uvloop.py", "raise ImportError('there is no uvloop')")
        flag = self.runserver("--noreload", "--http_timeout", "soon", "0")
        loop = self.runserver("--noreload", "--loop", "uvloop", "0")
        self.assert_one_line(flag, 1, "CommandError: flag --http-timeout: 'soon' is not allowed.")
        self.assert_one_line(loop, 1, "Error: --loop uvloop: the package uvloop is not installed")

    def test_startup(self):
        """The application says in its lifespan why it cannot start."""
        self.settings_are(more='ASGI_APPLICATION = "startup.application"')
        self.write(
            "startup.py",
            """
            async def application(scope, receive, send):
                await receive()
                await send({"type": "lifespan.startup.failed", "message": "no database"})
            """,
        )
        process = self.runserver("--noreload", "--nostatic", "0")
        self.assert_one_line(process, 1, "Error: Application startup failed: no database")


class EndTests(RunserverTestCase):
    """Ctrl-C ends the process soon, whatever it is doing."""

    def assert_ends(self, *arguments: str) -> None:
        """Assert that neither a stuck view nor an open stream keeps the command."""
        server = self.runserver(*arguments, "127.0.0.1:0")
        port = server.wait_for_port()
        with (
            closing(HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as stream,
            closing(HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as stuck,
        ):
            stream.request("GET", "/stream")
            self.assertEqual(stream.getresponse().read(9), b"data: 1\n\n")
            stuck.request("GET", "/stuck")
            server.wait_for("a view is stuck")
            self.interrupt(server)

    def test_alone(self):
        """The developer presses Ctrl-C while a view and a stream keep the server."""
        self.assert_ends("--noreload")

    def test_beneath_autoreloader(self):
        """The developer does the same with the autoreloader."""
        self.assert_ends()

    def test_shutdown_without_end(self):
        """The developer presses Ctrl-C, and the application's shutdown never ends."""
        self.settings_are(more='ASGI_APPLICATION = "endless.application"')
        self.write(
            "endless.py",
            """
            import asyncio

            async def application(scope, receive, send):
                assert scope["type"] == "lifespan"
                await receive()
                await send({"type": "lifespan.startup.complete"})
                print("started", flush=True)
                await receive()
                await asyncio.Event().wait()
            """,
        )
        for arguments in ((), ("--noreload",)):
            server = self.runserver("--nostatic", *arguments, "0")
            server.wait_for("started")
            self.interrupt(server)

    def test_terminated(self):
        """A supervisor stops the server in an orderly way, and the app's signal is sent."""
        self.write(
            "site_asgi.py",
            """
            import os
            from django.core.asgi import get_asgi_application
            from django_daphne.signals import server_started, server_stopping

            def say(signal, **kwargs):
                event = "started" if signal is server_started else "stopping"
                print(event, os.getpid(), flush=True)

            server_started.connect(say)
            server_stopping.connect(say)
            application = get_asgi_application()
            """,
        )
        self.settings_are(more='ASGI_APPLICATION = "site_asgi.application"')
        alone, reloaded = self.runserver("--noreload", "0"), self.runserver("0")
        for server in (alone, reloaded):
            self.assertEqual(get(server.wait_for_port()).text, "first")
            # Beneath the autoreloader the server is a child, which its parent follows.
            serving = int(server.wait_for(r"started (\d+)")[1])
            os.kill(serving, signal.SIGTERM)
            self.assertEqual(server.wait(), 0, server)
            self.assertIn(f"stopping {serving}\n", server.output)


class ReloadTests(RunserverTestCase):
    """The autoreloader starts the server again."""

    def test_edit(self):
        """The developer edits a view while another view is stuck and a stream is open."""
        server = self.runserver("127.0.0.1:0")
        port = server.wait_for_port()
        self.assertEqual(get(port).text, "first")
        with (
            closing(HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as stream,
            closing(HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as stuck,
        ):
            stream.request("GET", "/stream")
            self.assertEqual(stream.getresponse().read(9), b"data: 1\n\n")
            stuck.request("GET", "/stuck")
            server.wait_for("a view is stuck")
            urls = self.write("site_urls.py", DEVELOPMENT_URLS.replace('"first"', '"second"'))
            written = urls.stat().st_mtime
            # What happens before the reloader's first look is nothing that it could notice.
            for later in range(10):
                os.utime(urls, (written, written + later))
                if server.appears(re.compile("site_urls.py changed, reloading"), 3):
                    break
            server.wait_for("(?s)Quit the server.*Quit the server")
        # It is any free one, and so another one each time.
        port = int(list(LISTENING.finditer(server.output))[-1]["port"])
        self.assertEqual(get(port).text, "second")
        self.interrupt(server)


class StaticFilesTests(RunserverTestCase):
    """Static files are served in development, with either server."""

    def statuses(self, *arguments: str) -> tuple[int, str]:
        """Return the status of a static file, and the class of a request."""
        server = self.runserver("--noreload", *arguments, "0")
        port = server.wait_for_port()
        answer = (get(port, "/static/style.css").status, get(port, "/server").text)
        server.send_signal(signal.SIGINT)
        self.assertEqual(server.wait(), 0, server)
        return answer

    def test_development(self):
        """The developer sees the style sheet, over ASGI and over WSGI, unless unwanted."""
        self.assertEqual(self.statuses(), (200, ASGI))
        self.assertEqual(self.statuses("--nostatic"), (404, ASGI))
        self.assertEqual(self.statuses("--noasgi"), (200, WSGI))

    def test_without_debug(self):
        """The developer turns DEBUG off: static files come only with --insecure."""
        self.settings_are(debug=False)
        self.assertEqual(self.statuses(), (404, ASGI))
        self.assertEqual(self.statuses("--insecure"), (200, ASGI))

    def test_without_staticfiles(self):
        """The project has no staticfiles app."""
        self.settings_are("django_daphne")
        self.assertEqual(self.statuses(), (404, ASGI))

    def test_whitenoise(self):
        """The project turns static files off with whitenoise's app, below ours or above."""
        if find_spec("whitenoise") is None:
            self.skipTest("missing: whitenoise")
        whitenoise_app = "whitenoise.runserver_nostatic"
        self.settings_are("django_daphne", whitenoise_app, "django.contrib.staticfiles")
        self.assertEqual(self.statuses(), (404, ASGI))
        self.settings_are(whitenoise_app, *DEVELOPMENT_APPS)
        server = self.runserver("--noreload", "0")
        port = server.wait_for_port()
        self.assertEqual(get(port, "/static/style.css").status, 404)
        self.assertEqual(get(port, "/server").text, ASGI)
        self.interrupt(server)
        self.assertNotIn("(django_daphne.W001)", server.errors)  # its command extends ours


class ConsoleTests(RunserverTestCase):
    """Each request is a line of the console."""

    def ask(self, server: Process) -> None:
        """Make one request of each kind, and end the server."""
        port = server.wait_for_port()
        for code in (200, 302, 304, 400, 404, 500):
            self.assertEqual(get(port, f"/status/{code}?a=b").status, code)
        server.wait_for("/status/500.*")
        self.interrupt(server)

    def test_lines(self):
        """The developer reads a line for each request."""
        server = self.runserver("--noreload", "0")
        self.ask(server)
        line = r"HTTP GET /status/%d\?a=b %d \[\d+\.\d+, 127\.0\.0\.1:\d+, 0 B, h1\]\n"
        for code in (200, 302, 304, 400, 404, 500):
            self.assertRegex(server.errors, line % (code, code))
        self.assertNotIn("\x1b", server.errors)

    def test_colours(self):
        """The developer has the lines coloured as Django colours its own."""
        server = self.runserver(
            "--noreload", "--force-color", "0", DJANGO_COLORS="dark;http_success=magenta"
        )
        self.ask(server)
        colours = {200: "35", 302: "32", 304: "36", 400: "31;1", 404: "33", 500: "35;1"}
        for code, colour in colours.items():
            self.assertIn(f"\x1b[{colour}mHTTP GET /status/{code}?a=b {code} [", server.errors)

    def test_logger(self):
        """The project gives the lines a handler of their own, with their levels."""
        self.settings_are(
            more="""LOGGING = {
        "version": 1,
        "formatters": {"own": {"format": "%(levelname)s: %(message)s"}},
        "handlers": {"own": {"class": "logging.StreamHandler", "formatter": "own"}},
        "loggers": {"django.channels.server": {"handlers": ["own"], "level": "INFO"}},
    }"""
        )
        server = self.runserver("--noreload", "0")
        self.ask(server)
        levels = {200: "INFO", 302: "INFO", 404: "WARNING", 500: "ERROR"}
        for code, level in levels.items():
            self.assertIn(f"{level}: HTTP GET /status/{code}?a=b {code} [", server.errors)


class SubclassTests(RunserverTestCase):
    """A project changes the command in a subclass."""

    def test_subclass(self):
        """The project wraps the application and counts requests, in an app above ours."""
        self.write("own/__init__.py", "")
        self.write("own/management/__init__.py", "")
        self.write("own/management/commands/__init__.py", "")
        self.write(
            "own/management/commands/runserver.py",
            """
            from django_daphne.management.commands import runserver

            class Command(runserver.Command):
                def get_application(self, options):
                    application = super().get_application(options)

                    async def wrapped(scope, receive, send):
                        await application({**scope, "path": "/server"}, receive, send)

                    return wrapped

                def log_action(self, protocol, action, details):
                    print(protocol, action, details["path"], details["status"], flush=True)
            """,
        )
        self.settings_are("own", *DEVELOPMENT_APPS)
        server = self.runserver("--noreload", "0")
        self.assertEqual(get(server.wait_for_port(), "/anything").text, ASGI)
        server.wait_for("http complete /anything 200")
        self.interrupt(server)
        self.assertNotIn("(django_daphne.W001)", server.errors)  # its command extends ours


def can_bind_ipv6() -> bool:
    """Say whether this machine has the loopback address of IPv6."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True
