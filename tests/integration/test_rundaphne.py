"""The management command for production, on the example project and on small ones."""

from __future__ import annotations

import resource
import signal
import socket
import sys

from tests.integration.projects import SmallProjectTestCase
from tests.support.processes import (
    ProcessTestCase,
    copy_example,
    get,
)


class ExampleTests(ProcessTestCase):
    """rundaphne serves the example project."""

    def setUp(self):
        super().setUp()
        self.folder = copy_example(self.folder)

    def test_serve(self):
        """The administrator serves the site, looks at it and stops it."""
        server = self.start("manage.py", "rundaphne", "-b", "127.0.0.1", "-p", "0")
        response = get(server.wait_for_port())
        self.assertEqual((response.status, response.headers["Server"]), (200, "daphne"))
        self.assertIn("<h1", response.text)
        server.wait_for('"GET /" 200')
        self.finish(server)
        self.assertIn("Warning: DEBUG is on", server.errors)
        self.assertIn("(security.W009)", server.errors)  # its SECRET_KEY is for development
        self.assertNotIn("(security.W020)", server.errors)

    def test_production(self):
        """The administrator turns DEBUG off and hears no warning of it."""
        server = self.start(
            "manage.py", "rundaphne", "-p", "0", DEMO_DEBUG="0", DEMO_SECRET_KEY=SECRET
        )
        self.assertEqual(get(server.wait_for_port()).status, 200)
        server.send_signal(signal.SIGINT)
        self.assertEqual(server.wait(), 0, server)
        self.assertNotIn("Warning", server.errors)


# Long and varied enough for production.
SECRET = "".join(map(chr, range(48, 123)))


class ServeTests(SmallProjectTestCase):
    """rundaphne finds the application and sets the process up."""

    def test_without_asgi_application(self):
        """The project has no ASGI_APPLICATION, and a soft limit on descriptors that is low."""
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        limited = 'ulimit -S -n 200 && exec "$0" manage.py rundaphne -p 0'
        server = self.start_command(["sh", "-c", limited, sys.executable])
        port = server.wait_for_port()
        self.assertEqual(get(port, "/app").text, "False")
        self.assertEqual(get(port, "/limit").text, str(hard))
        self.finish(server)

    def test_asgi_application(self):
        """The project names its application; -v 0 silences all but errors."""
        self.settings_are('ASGI_APPLICATION = "site_asgi.application"')
        self.write(
            "site_asgi.py",
            """
            from django_daphne.asgi import get_asgi_application

            application = get_asgi_application()
            """,
        )
        with socket.create_server(("127.0.0.1", 0)) as listening:
            descriptor = listening.fileno()
            arguments = ["manage.py", "rundaphne", "-v", "0", "--fd", str(descriptor)]
            server = self.start_command([sys.executable, *arguments], pass_fds=[descriptor])
            self.assertEqual(get(listening.getsockname()[1], "/app").text, "True")
        self.finish(server)
        self.assertEqual((server.output, server.errors), ("", ""))

    def test_signals(self):
        """The receivers of the app's signals are called in order, around the requests."""
        self.settings_are(apps='"receivers",')
        self.write("receivers/__init__.py", "")
        self.write(
            "receivers/apps.py",
            """
            from django.apps import AppConfig
            from django_daphne.signals import server_started, server_stopping

            def say(**kwargs):
                print("sync", kwargs["signal"] is server_started, flush=True)

            async def asay(**kwargs):
                print("async", kwargs["signal"] is server_started, flush=True)

            class Config(AppConfig):
                name = "receivers"

                def ready(self):
                    for signal in (server_started, server_stopping):
                        signal.connect(say)
                        signal.connect(asay)
            """,
        )
        server = self.manage("rundaphne", "-p", "0")
        get(server.wait_for_port(), "/app")
        self.finish(server)
        words = [" ".join(line.split()[:2]) for line in server.output.splitlines()]
        self.assertEqual(sorted(words[:2]), ["async True", "sync True"])
        self.assertEqual(words[2], "Listening on")
        self.assertRegex(words[3], "127.0.0.1:")
        self.assertEqual(sorted(words[4:]), ["async False", "sync False"])

    def test_receiver_that_raises(self):
        """A receiver of server_started keeps the server from starting."""
        self.write(
            "site_asgi.py",
            """
            from django.dispatch import receiver
            from django_daphne.asgi import get_asgi_application
            from django_daphne.signals import server_started

            @receiver(server_started)
            def refuse(**kwargs):
                raise RuntimeError("not today")

            application = get_asgi_application()
            """,
        )
        self.settings_are('ASGI_APPLICATION = "site_asgi.application"')
        process = self.manage("rundaphne", "-p", "0")
        text = "CommandError: A receiver of server_started failed: RuntimeError: not today"
        self.assert_one_line(process, 3, text)


class MistakeTests(SmallProjectTestCase):
    """Every mistake is one clear line."""

    def test_application(self):
        """The project names an application that is not there."""
        self.write("site_asgi.py", "number = 3")
        cases = {
            "no.such.module": "?: (django_daphne.E008) Cannot import ASGI_APPLICATION module"
            " 'no.such': there is no 'no'.",
            "site_asgi.name": "CommandError: Cannot find 'name' in ASGI_APPLICATION module",
            "site_asgi.number": "CommandError: ASGI_APPLICATION 'site_asgi.number' is no callable,",
            "site_asgi:name": "?: (django_daphne.E007) ASGI_APPLICATION is 'site_asgi:name';",
        }
        self.settings_are('import os; ASGI_APPLICATION = os.environ["DEMO_PATH"]')
        started = {
            text: self.manage("rundaphne", "-p", "0", DEMO_PATH=path)
            for path, text in cases.items()
        }
        for text, process in started.items():
            with self.subTest(text):
                self.assertEqual(process.wait(), 1)
                self.assertEqual(process.errors.count(text), 1, process)
                self.assertNotIn("Traceback", process.errors)

    def test_module_that_fails(self):
        """The project's ASGI module raises, and its author sees where."""
        self.write("site_asgi.py", "import no_such_library")
        self.settings_are('ASGI_APPLICATION = "site_asgi.application"')
        process = self.manage("rundaphne", "-p", "0")
        self.assertEqual(process.wait(), 1)
        self.assertIn('site_asgi.py", line 1', process.errors)

    def test_flags(self):
        """The administrator gives a value, an address, a file and a loop that cannot be."""
        self.write("uvloop.py", "raise ImportError('there is no uvloop')")
        with socket.create_server(("127.0.0.1", 0)) as other:
            busy = str(other.getsockname()[1])
            cases = {
                "that address is already in use": ("-p", busy),
                "flag --port: 'x' is not allowed": ("-p", "x"),
                "--access-log no/log: cannot be written to": ("--access-log", "no/log", "-p", "0"),
                "--loop uvloop: the package uvloop is not": ("--loop", "uvloop", "-p", "0"),
            }
            started = {
                text: self.manage("rundaphne", *arguments) for text, arguments in cases.items()
            }
            for text, process in started.items():
                with self.subTest(text):
                    self.assert_one_line(process, 1, text)

    def test_system_checks(self):
        """The settings fail a system check, so nothing is served."""
        self.settings_are('DAPHNE = {"PORTT": 0}')
        process = self.manage("rundaphne")
        self.assertEqual(process.wait(), 1)
        self.assertIn("(django_daphne.E003)", process.errors)
        self.assertNotIn("Listening", process.output)


class InformationTests(SmallProjectTestCase):
    """rundaphne tells about its configuration without serving."""

    def test_configuration(self):
        """The administrator asks where each value comes from; -v is Django's verbosity."""
        self.settings_are('DAPHNE = {"BACKLOG": 3, "PORT": 4, "LOOP": "asyncio"}')
        arguments = ("-v", "3", "--ping-timeout", "8")
        process = self.manage("rundaphne", "--print-config", *arguments, DJANGO_DAPHNE_PORT="5")
        self.assertEqual(process.wait(), 0, process)
        lines = [" ".join(line.split()) for line in process.output.splitlines()]
        self.assertIn("ping_timeout 8 seconds flag --ping-timeout", lines)
        self.assertIn("port 5 environment DJANGO_DAPHNE_PORT", lines)
        self.assertIn("backlog 3 settings.DAPHNE['BACKLOG']", lines)
        self.assertIn("bind (empty) default", lines)
        self.assertEqual(lines[-1], "The event loop will be asyncio.")

    def test_check(self):
        """The administrator checks a project, and one whose application is not there."""
        self.settings_are('import os; ASGI_APPLICATION = os.environ.get("DEMO_PATH")')
        good = self.manage("rundaphne", "--check")
        bad = self.manage("rundaphne", "--check", DEMO_PATH="no.application")
        self.assertEqual(good.wait(), 0, good)
        self.assertEqual(
            good.output, "The configuration is valid and the application loads.\n", good
        )
        self.assertEqual(bad.wait(), 1)
        self.assertEqual(bad.errors.count("there is no 'no'"), 1, bad)

    def test_version(self):
        """The administrator asks for the version with Django's flag, and gets Django's."""
        process = self.manage("rundaphne", "--version")
        self.assertEqual(process.wait(), 0)
        self.assertRegex(process.output, r"^\d+\.\d+")
