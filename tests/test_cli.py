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
