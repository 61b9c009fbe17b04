"""Finding the project's ASGI application."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from unittest import mock

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.asgi import ASGIHandler
from django.test import SimpleTestCase, override_settings

from django_daphne.asgi import get_asgi_application, load_application


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
        with override_settings(ASGI_APPLICATION="django_daphne.asgi.get_asgi_application"):
            self.assertIs(load_application(), get_asgi_application)

    def test_shapes(self):
        """The setting is no dotted name."""
        for value in (
            "application",
            "site.asgi:application",
            "site/asgi.py",
            ".a",
            "a.",
            "a..b",
            3,
        ):
            with self.subTest(value):
                self.assert_refused(value, f"ASGI_APPLICATION is {value!r}; expected a dotted name")

    def test_leads_nowhere(self):
        """The setting names what is not there, or cannot be called."""
        text = "Cannot import ASGI_APPLICATION module 'nowhere.asgi': there is no 'nowhere'."
        self.assert_refused("nowhere.asgi.application", text)
        text = "module 'tests.nowhere': there is no 'tests.nowhere'."
        self.assert_refused("tests.nowhere.application", text)
        text = "Cannot find 'application' in ASGI_APPLICATION module tests.settings"
        self.assert_refused("tests.settings.application", text)
        text = "ASGI_APPLICATION 'tests.settings.SECRET_KEY' is no callable."
        self.assert_refused("tests.settings.SECRET_KEY", text)

    def test_module_that_fails(self):
        """The project's module imports what is not there, and the author sees that."""
        with tempfile.TemporaryDirectory() as folder, mock.patch.object(sys, "path", [folder]):
            Path(folder, "failing_asgi.py").write_text("import no_such_library\n")
            with (
                override_settings(ASGI_APPLICATION="failing_asgi.application"),
                self.assertRaisesRegex(ModuleNotFoundError, "'no_such_library'"),
            ):
                load_application()
