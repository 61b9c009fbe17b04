"""Finding the project's ASGI application."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.asgi import ASGIHandler
from django.test import SimpleTestCase, override_settings

from django_daphne.asgi import load_application


async def serve(scope: Any, receive: Any, send: Any) -> None:
    """Serve, in the shape of ASGI 3."""


NUMBER = 3


def no_arguments() -> None:
    """Be called by somebody who wants an application."""


def wsgi(environ: Any, start_response: Any) -> None:
    """Serve, in another shape."""


def one_too_many(scope: Any, receive: Any, send: Any, more: Any) -> None:
    """Serve nobody."""


class Unmade:
    """An application, once there is an object of it."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve."""


made = Unmade()


class Double:
    """Serve, in the shape of ASGI 2."""

    def __init__(self, scope: Any) -> None:
        """Begin."""

    async def __call__(self, receive: Any, send: Any) -> None:
        """Serve."""


class HeirOfDouble(Double):
    """Serve as one's parents did."""


def double(scope: Any) -> Any:
    """Serve as ASGI 2, from a function."""


def anything(*args: Any) -> Any:
    """Serve whoever can be served so."""


class LoadApplicationTests(SimpleTestCase):
    """The setting ASGI_APPLICATION leads to an application or to a clear error."""

    def assert_refused(self, value: object, text: str) -> None:
        """Assert what is said about a value of the setting."""
        with (
            override_settings(ASGI_APPLICATION=value),
            self.assertRaises(ImproperlyConfigured) as caught,
        ):
            load_application()
        self.assertIn(text, str(caught.exception))

    def test_without_setting(self):
        """The project has no ASGI_APPLICATION, or an empty one."""
        self.assertFalse(hasattr(settings, "ASGI_APPLICATION"))
        self.assertIsInstance(load_application(), ASGIHandler)
        for value in (None, ""):
            with override_settings(ASGI_APPLICATION=value):
                self.assertIsInstance(load_application(), ASGIHandler)

    def test_named(self):
        """The project names a callable."""
        with override_settings(ASGI_APPLICATION="tests.test_asgi.serve"):
            self.assertIs(load_application(), serve)

    def test_shapes(self):
        """The setting is no dotted name, but often resembles one."""
        for value, example in (
            ("application", "mysite.asgi.application"),
            ("site.asgi:application", "site.asgi.application"),
            ("site/asgi.py", "site.asgi.application"),
            ("site\\asgi.py", "site.asgi.application"),
            (".a", "mysite.asgi.application"),
            ("a.", "mysite.asgi.application"),
            ("a..b", "mysite.asgi.application"),
            (3, "mysite.asgi.application"),
        ):
            with self.subTest(value):
                self.assert_refused(
                    value,
                    f"ASGI_APPLICATION is {value!r}; expected a dotted name such as {example!r}.",
                )

    def test_guess(self):
        """The project has what "startproject" made, and the setting is wrong in some other way."""
        with tempfile.TemporaryDirectory() as folder, mock.patch.object(sys, "path", [folder]):
            package = Path(folder, "guessed")
            package.mkdir()
            for name in ("__init__.py", "asgi.py"):
                (package / name).touch()
            self.addCleanup(sys.modules.pop, "guessed", None)
            with override_settings(ROOT_URLCONF="guessed.urls"):
                self.assert_refused("application", "such as 'guessed.asgi.application'.")
                there = " There is 'guessed.asgi.application'."
                self.assert_refused("guesed.asgi.application", f"there is no 'guesed'.{there}")
                self.assert_refused("guessed.agsi.application", f"no 'guessed.agsi'.{there}")
                text = "is a module; expected the application in it, such as 'guessed.asgi.appl"
                self.assert_refused("guessed.asgi", text)
            self.assertNotIn("guessed.asgi", sys.modules)

    def test_misfits(self):
        """The setting names what is no application."""
        for name, text in (
            (
                "NUMBER",
                "is no callable, but an int; expected a callable of (scope, receive, send).",
            ),
            ("tempfile", "is a module; expected the application in it."),
            ("no_arguments", "is a function without arguments; expected what it returns."),
            ("wsgi", "looks like a WSGI application: it takes two arguments;"),
            ("one_too_many", "cannot be called as an ASGI application;"),
            ("Unmade", "is a class; expected an instance of it."),
        ):
            with self.subTest(name):
                self.assert_refused(f"tests.test_asgi.{name}", f"'tests.test_asgi.{name}' {text}")
        for name in ("Double", "HeirOfDouble", "double", "anything", "made"):
            with self.subTest(name), override_settings(ASGI_APPLICATION=f"tests.test_asgi.{name}"):
                self.assertIs(load_application(), globals()[name])

    def test_leads_nowhere(self):
        """The setting names what is not there, or cannot be called."""
        text = "Cannot import ASGI_APPLICATION module 'nowhere.asgi': there is no 'nowhere'."
        self.assert_refused("nowhere.asgi.application", text)
        text = "module 'tests.nowhere': there is no 'tests.nowhere'."
        self.assert_refused("tests.nowhere.application", text)
        text = "Cannot find 'application' in ASGI_APPLICATION module tests.settings"
        self.assert_refused("tests.settings.application", text)

    def test_module_that_fails(self):
        """The project's module imports what is not there, and the author sees that."""
        with tempfile.TemporaryDirectory() as folder, mock.patch.object(sys, "path", [folder]):
            Path(folder, "failing_asgi.py").write_text("import no_such_library\n")
            with (
                override_settings(ASGI_APPLICATION="failing_asgi.application"),
                self.assertRaisesRegex(ModuleNotFoundError, "'no_such_library'"),
            ):
                load_application()
