"""runserver, without a process of its own; tests.integration has it whole."""

from __future__ import annotations

import io
from unittest import mock

from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler, StaticFilesHandler
from django.contrib.staticfiles.management.commands.runserver import Command as StaticfilesCommand
from django.core.handlers.asgi import ASGIHandler
from django.core.management.base import CommandError
from django.core.management.commands.runserver import Command as DjangoCommand
from django.test import SimpleTestCase, override_settings

from django_daphne import conf
from django_daphne.handlers.static_files import ThreadedStaticFilesHandler
from django_daphne.handlers.threaded import ThreadedASGIHandler
from django_daphne.management.commands import runserver
from django_daphne.management.commands.runserver import Command
from django_daphne.server import AccessRecord

RECORD = AccessRecord(
    client=("127.0.0.1", 5000),
    method="GET",
    target=b"/",
    http_version="1.1",
    status=200,
    size=1,
    duration=0.0,
    headers=(),
)


class NextCommandTests(SimpleTestCase):
    """The command extends the one that would be found without this app."""

    def test_staticfiles(self):
        """The project has staticfiles."""
        self.assertTrue(issubclass(Command, StaticfilesCommand))

    def test_order(self):
        """The project lists other apps below, above, or none with a runserver."""
        expected = {
            ("django_daphne", "django.contrib.staticfiles"): StaticfilesCommand,
            ("django.contrib.staticfiles", "django_daphne"): DjangoCommand,
            ("django_daphne", "django.contrib.auth", "django.contrib.contenttypes"): DjangoCommand,
            ("django_daphne",): DjangoCommand,
            ("django.contrib.staticfiles",): StaticfilesCommand,
        }
        for installed, command in expected.items():
            with self.subTest(installed), override_settings(INSTALLED_APPS=installed):
                self.assertIs(runserver._next_runserver(), command)


class HandlerTests(SimpleTestCase):
    """The command serves the application, with static files where they belong."""

    def setUp(self) -> None:
        super().setUp()
        # Another test may have run a command in this process.
        self.enterContext(mock.patch.object(conf, "_in_use", []))

    def handler(self, **options: bool) -> object:
        """Return what is served with these options."""
        given = {"use_asgi": True, "use_static_handler": True, "insecure_serving": False}
        return Command().get_handler(**given | options)

    def test_asgi(self):
        """The developer changes DEBUG and the options for static files."""
        self.assertIs(type(self.handler()), ThreadedASGIHandler)
        self.assertIsInstance(self.handler(insecure_serving=True), ThreadedStaticFilesHandler)
        with override_settings(DEBUG=True):
            self.assertIsInstance(self.handler(), ThreadedStaticFilesHandler)
            self.assertIs(type(self.handler(use_static_handler=False)), ThreadedASGIHandler)
        with override_settings(DEBUG=True, DAPHNE={"DJANGO_HANDLER": "stock"}):
            self.assertIs(type(self.handler()), ASGIStaticFilesHandler)
            self.assertIs(type(self.handler(use_static_handler=False)), ASGIHandler)

    @override_settings(DEBUG=True, WSGI_APPLICATION=None)
    def test_wsgi(self):
        """The developer wants WSGI."""
        self.assertIsInstance(self.handler(use_asgi=False), StaticFilesHandler)

    @override_settings(ASGI_APPLICATION="nowhere.application")
    def test_no_application(self):
        """The project names an application that is not there."""
        with self.assertRaisesRegex(CommandError, "there is no 'nowhere'"):
            self.handler()


class ActionTests(SimpleTestCase):
    """A finished request is an action, for subclasses to see."""

    def test_logged(self):
        """The server finishes a request."""
        command = Command(stdout=io.StringIO(), stderr=io.StringIO(), no_color=True)
        with self.assertLogs("django.channels.server") as logs:
            command.log_access(RECORD)
            command.log_access(RECORD._replace(event="disconnected", code=1000))
        self.assertEqual(
            [record.getMessage() for record in logs.records],
            [
                "HTTP GET / 200 [0.000, 127.0.0.1:5000, 1 B, h1]",
                "WebSocket DISCONNECT / [127.0.0.1:5000, h1, code 1000, 0.000 s]",
            ],
        )

    def test_other_actions(self):
        """The server tells of what the command has no line for."""
        with self.assertNoLogs("django.channels.server"):
            Command().log_action("http", "started", {})

    def test_subclass(self):
        """The project's own command takes the actions."""
        taken = []

        class Own(Command):
            def log_action(self, protocol, action, details):
                taken.append((protocol, action, details["path"]))

        Own().log_access(RECORD)
        self.assertEqual(taken, [("http", "complete", "/")])
