"""The system checks of the application that is served, and of who serves static files."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

from django.test import SimpleTestCase, override_settings
from twisted.internet import asyncioreactor

from django_daphne import checks
from django_daphne.checks.base import Check
from django_daphne.server.reactor import new_event_loop
from tests.support.processes import ROOT

OURS, STATICFILES = "django_daphne", "django.contrib.staticfiles"
NOSTATIC = "whitenoise.runserver_nostatic"
MIDDLEWARE = "whitenoise.middleware.WhiteNoiseMiddleware"


class CheckTestCase(SimpleTestCase):
    """Tests that ask checks what they find."""

    def found(self, *wanted: Check, **settings: Any) -> dict[str, str]:
        """Return the texts of what the checks find with these settings, by number."""
        with override_settings(**settings):
            messages = [message for check in wanted for message in check()]
        return {(each.id or "").removeprefix("django_daphne."): each.msg for each in messages}


class NameTests(CheckTestCase):
    """ASGI_APPLICATION, as far as it is known without an import."""

    def named(self, name: object, **settings: Any) -> dict[str, str]:
        """Return what all checks of the name find."""
        return self.found(
            checks.check_application_name,
            checks.check_application_is_there,
            checks.check_wsgi_application,
            checks.check_channels_application,
            ASGI_APPLICATION=name,
            **settings,
        )

    def test_right(self):
        """The project names what is there, or nothing."""
        self.assertEqual(self.named("tests.test_asgi.serve"), {})
        self.assertEqual(self.named(None), {})

    def test_no_dotted_name(self):
        """The project names a file, and what other servers take, and no text at all."""
        for name in ("mysite/asgi.py", "mysite.asgi:application", 3):
            with self.subTest(name):
                self.assertEqual([*self.named(name)], ["E007"])

    def test_leads_nowhere(self):
        """The project's name has a slip in it."""
        (text,) = self.named("tests.agsi.application").values()
        self.assertIn("there is no 'tests.agsi'", text)
        self.assertEqual([*self.named("tests.test_asgi")], ["E008"])

    def test_no_import(self):
        """The project's module is broken: that is shown by the command that imports it."""
        with mock.patch.dict(sys.modules):
            sys.modules.pop("tests.addons.project.asgi", None)
            self.assertEqual(self.named("tests.addons.project.asgi.application"), {})
            self.assertFalse("tests.addons.project.asgi" in sys.modules)

    def test_wsgi(self):
        """The project has the same in both settings."""
        name = "mysite.wsgi.application"
        self.assertEqual([*self.named(name, WSGI_APPLICATION=name)], ["E009"])

    def test_channels(self):
        """The project has Channels, and no request of it gets there."""
        self.assertEqual([*self.named(None, INSTALLED_APPS=[OURS, "channels"])], ["W008"])


class WhitenoiseTests(CheckTestCase):
    """Who serves static files in development."""

    def asked(self, *installed: str, middleware: str = MIDDLEWARE, debug: bool = True) -> list[str]:
        """Return what the checks find with these apps."""
        found = self.found(
            checks.check_whitenoise_order,
            checks.check_whitenoise_middleware,
            checks.check_runserver_shadowed,
            INSTALLED_APPS=installed,
            MIDDLEWARE=[middleware],
            DEBUG=debug,
        )
        return [*found]

    def test_right(self):
        """The project has its app above staticfiles and its middleware, or none of them."""
        self.assertEqual(self.asked(OURS, NOSTATIC, STATICFILES), [])
        self.assertEqual(self.asked(OURS, STATICFILES), [])
        # Its command extends ours then.
        self.assertEqual(self.asked(NOSTATIC, OURS, STATICFILES), [])

    def test_without_effect(self):
        """The project has it below staticfiles."""
        self.assertEqual(self.asked(OURS, STATICFILES, NOSTATIC), ["I002"])

    def test_nobody_serves(self):
        """The project has no middleware of it; in production that is another's affair."""
        other = "django.middleware.common.CommonMiddleware"
        self.assertEqual(self.asked(OURS, NOSTATIC, STATICFILES, middleware=other), ["W007"])
        wrong = "no.such.Middleware"
        self.assertEqual(self.asked(OURS, NOSTATIC, STATICFILES, middleware=wrong), [])
        apps = (OURS, NOSTATIC, STATICFILES)
        self.assertEqual(self.asked(*apps, middleware=other, debug=False), [])


class ReactorTests(CheckTestCase):
    """A reactor that a module of the project has installed."""

    def installed(self, reactor: object, holder: str = "mysite.crawler") -> dict[str, str]:
        """Return what the check finds when a module holds this reactor."""
        module = ModuleType(holder)
        module.reactor = reactor  # type: ignore[attr-defined]
        modules = {"twisted.internet.reactor": reactor, holder: module}
        with mock.patch.dict(sys.modules, modules):
            return self.found(checks.check_reactor)

    def test_none(self):
        """The project has none, or that of the server itself."""
        with mock.patch.dict(sys.modules):
            sys.modules.pop("twisted.internet.reactor", None)
            self.assertEqual(self.found(checks.check_reactor), {})

    def test_another_kind(self):
        """The project's crawler has one that is of no use."""
        text = self.installed(Other())["W009"]
        self.assertIn("tests.test_checks_application.Other, held by mysite.crawler", text)

    def test_asyncio(self):
        """The project's crawler has one that the server can use, or one that runs elsewhere."""
        loop = new_event_loop("asyncio")
        self.addCleanup(loop.close)
        reactor = asyncioreactor.AsyncioSelectorReactor(loop)
        self.assertEqual([*self.installed(reactor)], ["I003"])

    def test_of_a_command(self):
        """The project's reactor is that of a management command."""
        self.assertEqual(self.installed(Other(), "mysite.management.commands.crawl"), {})


class Other:
    """A reactor of a kind of its own."""


class ReferenceTests(SimpleTestCase):
    """The page that lists the checks."""

    def test_every_id(self):
        """The reader of a message finds its id, and none that does not exist."""
        folder = Path(checks.__file__).parent
        source = "".join(path.read_text() for path in folder.glob("*.py"))
        there = {
            *re.findall(r'id=f"\{APP\}\.([EWI]\d+)"', source),
            *re.findall(r'_errors?\([^()]*(?:\([^()]*\)[^()]*)*"([EWI]\d+)"', source),
        }
        page = (ROOT / "docs/reference/checks.md").read_text()
        listed = re.findall(r"^\| `django_daphne\.([EWI]\d+)` \|", page, re.MULTILINE)
        self.assertEqual(sorted(listed), sorted(there))
