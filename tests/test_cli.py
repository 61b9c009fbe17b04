"""The parts of the command line; tests.integration has it whole."""

from __future__ import annotations

import asyncio
import io
import logging
from contextlib import redirect_stderr, redirect_stdout

from django.test import SimpleTestCase

from django_daphne import __version__, cli
from django_daphne.cli import ApplicationNotFound, build_parser, load_application
from django_daphne.server import OPTIONS
from tests.integration.projects import SmallProjectTestCase
from tests.support.processes import Process


class ParserTests(SimpleTestCase):
    """The parser knows every option, in every spelling."""

    def test_every_flag(self):
        """The user finds each flag in the help, and none twice."""
        text = build_parser().format_help()
        for option in OPTIONS:
            for flag in option.flags:
                self.assertIn(flag, text)

    def test_spellings(self):
        """The user writes daphne's underscores or hyphens."""
        for flag in ("--websocket_timeout", "--websocket-timeout"):
            flags = build_parser().parse_args([flag, "5", "app:application"])
            self.assertEqual(flags.websocket_timeout, "5")

    def test_no_abbreviations(self):
        """The user shortens a flag, which could mean another one tomorrow."""
        with redirect_stderr(io.StringIO()) as errors, self.assertRaises(SystemExit) as caught:
            build_parser().parse_args(["--websocket-time", "5", "app:application"])
        self.assertEqual(caught.exception.code, 2)
        self.assertIn("unrecognized arguments", errors.getvalue())

    def test_version(self):
        """The user asks for the version."""
        with redirect_stdout(io.StringIO()) as output, self.assertRaises(SystemExit) as caught:
            cli.main(["--version"])
        self.assertEqual(caught.exception.code, 0)
        self.assertEqual(output.getvalue(), f"django-daphne {__version__}\n")


class LoadApplicationTests(SimpleTestCase):
    """A path leads to an application, or the error says where it ends."""

    def test_found(self):
        """The path leads through attributes of attributes."""
        self.assertIs(load_application("django_daphne.cli:main"), cli.main)
        self.assertIs(load_application("tests.test_cli:cli.main"), cli.main)

    def test_not_found(self):
        """The path ends early."""
        cases = {
            "nowhere:x": "there is no module 'nowhere'",
            "tests.nowhere.more:x": "there is no module 'tests.nowhere'",
            "tests.test_cli:cli.nothing": "tests.test_cli has no 'cli.nothing'",
            "tests.test_cli:__doc__": "it is no callable",
            "tests.test_cli": "expected module.path:object.path",
            "tests.test_cli:": "expected module.path:object.path",
            ":main": "expected module.path:object.path",
            ".cli:main": "expected module.path:object.path",
            "tests..cli:main": "expected module.path:object.path",
        }
        for path, text in cases.items():
            with self.subTest(path), self.assertRaises(ApplicationNotFound) as caught:
                load_application(path)
            self.assertIn(text, str(caught.exception))
            self.assertIn(path, str(caught.exception))


class LoopTests(SimpleTestCase):
    """The loop is told to debug."""

    def test_debugging(self):
        """The user asks for everything."""

        async def debugs() -> bool:
            await cli.debug_loop()
            return asyncio.get_running_loop().get_debug()

        with self.assertNoLogs("asyncio", logging.WARNING):
            self.assertTrue(asyncio.run(debugs()))


DJANGO = """
    from django.core.asgi import get_asgi_application

    application = get_asgi_application()
"""

# An application of Channels has consumers, and maybe nothing of Django's handler.
CONSUMERS = """
    import django
    django.setup()

    from channels.generic.websocket import WebsocketConsumer
    from channels.routing import ProtocolTypeRouter

    application = ProtocolTypeRouter({"websocket": WebsocketConsumer.as_asgi()})
"""

FOREIGN = """
    async def application(scope, receive, send):
        pass
"""


class DjangoLayerTests(SmallProjectTestCase):
    """The options of the Django layer belong to applications that bring Django along."""

    def setUp(self) -> None:
        super().setUp()
        self.write("django_app.py", DJANGO)
        self.write("consumers_app.py", CONSUMERS)
        self.write("foreign_app.py", FOREIGN)

    def check(self, application: str, **variables: str) -> Process:
        """Start the command, which only looks whether the application can be served."""
        return self.start_cli(
            *("--check", f"{application}:application"),
            DJANGO_SETTINGS_MODULE="site_settings",
            **variables,
        )

    def test_known(self):
        """The operator sets variables of the layer for a Django project."""
        variables = {
            "DJANGO_DAPHNE_THREADS": "8",
            "DJANGO_DAPHNE_THREADS_TOTAL": "16",
            "DJANGO_DAPHNE_CONSUMER_THREADS": "2",
            "DJANGO_DAPHNE_THREAD_IDLE_TIMEOUT": "-1",
            "DJANGO_DAPHNE_DJANGO_HANDLER": "threaded",
        }
        for application in ("django_app", "consumers_app"):
            with self.subTest(application):
                process = self.check(application, **variables)
                self.assertEqual(process.wait(), 0, process)
                self.assertEqual(process.errors, "")
                self.assertIn("is ready to be served", process.output)

    def test_unknown(self):
        """The operator sets one of them for an application that knows nothing of Django."""
        process = self.check("foreign_app", DJANGO_DAPHNE_THREADS="8")
        self.assertEqual(process.wait(), 0, process)
        (line,) = process.errors.splitlines()
        self.assertIn("DJANGO_DAPHNE_THREADS", line)

    def test_misspelt(self):
        """The operator misspells one of them for a Django project: the right one is named."""
        process = self.check("django_app", DJANGO_DAPHNE_TREADS="8")
        self.assertEqual(process.wait(), 0, process)
        (line,) = process.errors.splitlines()
        self.assertIn("DJANGO_DAPHNE_TREADS", line)
        self.assertIn("DJANGO_DAPHNE_THREADS", line)

    def test_wrong_value(self):
        """The operator sets one of them to what it cannot be."""
        for application in ("django_app", "consumers_app"):
            for name, value in (("THREADS", "many"), ("CONSUMER_THREADS", "0")):
                with self.subTest(application, name=name):
                    process = self.check(application, **{f"DJANGO_DAPHNE_{name}": value})
                    self.assert_one_line(process, 1, f"DJANGO_DAPHNE_{name}: '{value}'")

    def test_wrong_settings(self):
        """The project sets a wrong value, and two that rule each other out."""
        for more, text in (
            ('DAPHNE = {"THREADS": "many"}', "settings.DAPHNE['THREADS']: 'many'"),
            ('DAPHNE = {"THREADS": 8, "THREADS_TOTAL": 8}', "THREADS_TOTAL is 8"),
        ):
            self.settings_are(more)
            for application in ("django_app", "consumers_app"):
                with self.subTest(application, text=text):
                    self.assert_one_line(self.check(application), 1, text)

    def test_consumers(self):
        """The command looks at the application: consumers are given threads, all else is not."""
        code = """
            from django_daphne import cli
            from django_daphne.handlers.consumers import ConsumerLanes

            def serve(application, config):
                print(type(application) is ConsumerLanes, type(application).__name__)
                return 0

            cli.serve = serve
            raise SystemExit(cli.main())
        """
        self.write("command.py", code)
        for application, text in (
            ("consumers_app", "True ConsumerLanes"),
            ("django_app", "False ThreadedASGIHandler"),
            ("foreign_app", "False function"),
        ):
            with self.subTest(application):
                process = self.start(
                    *("command.py", f"{application}:application"),
                    DJANGO_SETTINGS_MODULE="site_settings",
                )
                self.assertEqual(process.wait(), 0, process)
                self.assertEqual(process.output, f"{text}\n")
