"""The system checks, each with settings that it should find fault with."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from unittest import mock

from django.apps import apps
from django.core.checks import Error, Warning, run_checks
from django.test import SimpleTestCase, override_settings

from django_daphne import checks

STATICFILES = "django.contrib.staticfiles"


def set_environ(**variables: str) -> mock._patch_dict:
    """Set variables with our prefix, and no others of it."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("DJANGO_DAPHNE")}
    return mock.patch.dict(
        os.environ, kept | {f"DJANGO_DAPHNE_{k}": v for k, v in variables.items()}, clear=True
    )


class RegistrationTests(SimpleTestCase):
    """The app registers its checks and is content with the settings of the tests."""

    def test_all_checks_run(self):
        """Django runs every check, once, under the name of the app."""
        with override_settings(DAPHNE={"POR": 1, "LOOP": "x"}), set_environ(FD="x", POTR="1"):
            found = [message.id or "" for message in run_checks(tags=["django_daphne"])]
        expected = ["E003", "E004", "E006", "W003"]
        # Django keeps its checks in a set and runs them in any order.
        self.assertEqual(sorted(found), [f"django_daphne.{number}" for number in expected])

    def test_no_complaints(self):
        """The project that changes nothing hears nothing."""
        with set_environ():
            self.assertEqual(run_checks(tags=["django_daphne"]), [])

    def test_every_message_helps(self):
        """The reader of any message is told what to do."""
        with (
            override_settings(
                DAPHNE={"X": 1, "LOOP": "x", "PROXY_HEADERS_HOST": "X"},
                INSTALLED_APPS=[STATICFILES, "django_daphne"],
            ),
            set_environ(FD="x", Y="1"),
        ):
            messages = [message for check in checks.CHECKS for message in check()]
        self.assertEqual(len(messages), 6)
        for message in messages:
            self.assertTrue(message.hint, message.id)

    def test_config(self):
        """The project finds the app under its label."""
        config = apps.get_app_config("django_daphne")
        self.assertEqual((config.name, config.verbose_name), ("django_daphne", "Django Daphne"))


class OrderTests(SimpleTestCase):
    """The app stands above those whose runserver it replaces."""

    def found(self, *installed: str) -> list[str]:
        """Return the ids of what the checks say about the order of these apps."""
        order = checks.CHECKS[:3]
        with override_settings(INSTALLED_APPS=installed):
            return [message.id or "" for check in order for message in check()]

    def test_above_staticfiles(self):
        """The project lists the app above staticfiles, or has no staticfiles."""
        self.assertEqual(self.found("django_daphne", STATICFILES), [])
        self.assertEqual(self.found("django_daphne"), [])

    def test_below_staticfiles(self):
        """The project lists staticfiles above, by name or by the path of its configuration."""
        for name in (STATICFILES, f"{STATICFILES}.apps.StaticFilesConfig"):
            self.assertEqual(self.found(name, "django_daphne"), ["django_daphne.E001"], name)

    def test_own_config_path(self):
        """The project names our configuration by its path, and the order counts the same."""
        path = "django_daphne.apps.DjangoDaphneConfig"
        self.assertEqual(self.found(STATICFILES, path), ["django_daphne.E001"])
        self.assertEqual(self.found(path, STATICFILES), [])

    def test_runserver_of_another_app(self):
        """The project has an app with a runserver command above, and then below."""
        with make_app("busy_daphne_app", "management/commands/runserver.py") as name:
            with override_settings(INSTALLED_APPS=[name, "django_daphne"]):
                (message,) = checks.check_runserver_shadowed()
            self.assertEqual((message.id, message.level), ("django_daphne.W001", Warning("").level))
            self.assertIn('"busy_daphne_app"', message.msg)
            self.assertEqual(self.found("django_daphne", name), [])

    def test_harmless_app_above(self):
        """The project has an app with another command above."""
        with make_app("calm_daphne_app", "management/commands/walk.py") as name:
            self.assertEqual(self.found(name, "django_daphne"), [])

    def test_daphne_beside(self):
        """The project still lists the daphne app, below and then above."""
        with make_app("daphne", "management/commands/runserver.py") as name:
            self.assertEqual(self.found("django_daphne", name), ["django_daphne.W002"])
            both = ["django_daphne.W001", "django_daphne.W002"]
            self.assertEqual(self.found(name, "django_daphne"), both)


class make_app:  # noqa: N801 - used like a function
    """Make a Django app with one empty file, importable inside a with statement."""

    def __init__(self, name: str, file: str) -> None:
        self.name = name
        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name, name, file)
        path.parent.mkdir(parents=True)
        path.touch()
        Path(self.folder.name, name, "__init__.py").touch()

    def __enter__(self) -> str:
        self.saved = {key: sys.modules.pop(key) for key in list(sys.modules) if self.owns(key)}
        sys.path.insert(0, self.folder.name)
        return self.name

    def __exit__(self, *exception: object) -> None:
        sys.path.remove(self.folder.name)
        for key in [key for key in sys.modules if self.owns(key)]:
            del sys.modules[key]
        sys.modules.update(self.saved)
        self.folder.cleanup()

    def owns(self, module: str) -> bool:
        """Tell whether a module belongs to the app."""
        return module == self.name or module.startswith(f"{self.name}.")


class SettingTests(SimpleTestCase):
    """settings.DAPHNE is checked before a server starts."""

    @override_settings(DAPHNE=["PORT"])
    def test_type(self):
        """The project sets DAPHNE to a list."""
        (message,) = checks.check_setting_type()
        self.assertEqual(message.id, "django_daphne.E002")
        self.assertEqual(checks.check_setting_names(), [])

    @override_settings(DAPHNE={"KEEPALIVE_TIMEOUT": 5})
    def test_unknown_key(self):
        """The project misspells a key."""
        (message,) = checks.check_setting_names()
        self.assertEqual(message.id, "django_daphne.E003")
        self.assertEqual(message.hint, "Did you mean KEEP_ALIVE_TIMEOUT?")

    @override_settings(DAPHNE={"PORT": "8000"})
    def test_wrong_value(self):
        """The project sets a text for a number."""
        (message,) = checks.check_setting_values()
        text = "settings.DAPHNE['PORT']: '8000' is not allowed."
        hint = "Expected a whole number from 0 to 65535, or None (8000)."
        self.assertEqual(message, Error(text, hint=hint, id="django_daphne.E004"))

    @override_settings(FORCE_SCRIPT_NAME="shop", DAPHNE_WEBSOCKET_MAX_FRAME_SIZE="1")
    def test_wrong_value_elsewhere(self):
        """The project has wrong values outside of DAPHNE."""
        messages = checks.check_setting_values()
        self.assertEqual([m.id for m in messages], ["django_daphne.E004"] * 2)
        self.assertIn("settings.FORCE_SCRIPT_NAME: 'shop'", messages[0].msg)

    @override_settings(DAPHNE={"PROXY_HEADERS_PORT": "X-Port"})
    def test_contradiction(self):
        """The project names a header and does not believe headers, until a variable says so."""
        with set_environ():
            (message,) = checks.check_contradictions()
        self.assertEqual(message.id, "django_daphne.E005")
        self.assertTrue(message.msg.startswith("settings.DAPHNE['PROXY_HEADERS_PORT']: "))
        with set_environ(PROXY_HEADERS="1"):
            self.assertEqual(checks.check_contradictions(), [])


class EnvironmentTests(SimpleTestCase):
    """The environment is checked as well."""

    def test_unknown_variable(self):
        """The operator misspells a variable."""
        with set_environ(PROT="1"):
            (message,) = checks.check_environment_names()
        self.assertEqual((message.id, message.level), ("django_daphne.W003", Warning("").level))
        self.assertEqual(message.hint, "Did you mean DJANGO_DAPHNE_PORT?")

    def test_wrong_value(self):
        """The operator sets a variable to a text that is no number."""
        with set_environ(PORT="http"):
            (message,) = checks.check_environment_values()
        self.assertEqual((message.id, message.level), ("django_daphne.E006", Error("").level))
        self.assertIn("environment DJANGO_DAPHNE_PORT: 'http'", message.msg)

    def test_kubernetes(self):
        """The cluster has a Service of our name."""
        with set_environ(PORT="tcp://10.0.0.1:8000", SERVICE_HOST="10.0.0.1"):
            self.assertEqual(checks.check_environment_names(), [])
            self.assertEqual(checks.check_environment_values(), [])
