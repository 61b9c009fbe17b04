"""The server's flags in management commands."""

from __future__ import annotations

import argparse
import os
from unittest import mock

from django.core.management.base import CommandError, CommandParser
from django.test import SimpleTestCase, override_settings

from django_daphne.management.commands import rundaphne, runserver
from django_daphne.management.options import add_server_arguments, get_command_config, get_flags
from django_daphne.server import OPTIONS, LimitsConfig


class FlagTests(SimpleTestCase):
    """A command takes the flags of the groups that it names."""

    def test_groups(self):
        """The author of a command wants the limits alone."""
        parser = argparse.ArgumentParser()
        add_server_arguments(parser, [LimitsConfig])
        options = vars(parser.parse_args(["--max-body-size", "5"]))
        self.assertEqual(get_flags(options), {"max_body_size": "5"})
        self.assertEqual(get_command_config(options).config.limits.max_body_size, 5)
        self.assertNotIn("--port", parser.format_help())

    def test_verbosity(self):
        """The administrator's -v stays Django's."""
        parser: CommandParser = rundaphne.Command().create_parser("manage.py", "rundaphne")
        options = vars(parser.parse_args(["-v", "3", "-p", "0"]))
        self.assertEqual(options["verbosity"], 3)
        self.assertEqual(get_flags(options), {"port": "0"})

    def test_problems(self):
        """The administrator gives two flags that are wrong."""
        with self.assertRaises(CommandError) as caught:
            get_command_config({"port": "x", "backlog": "y", "verbosity": 1})
        self.assertEqual(len(str(caught.exception).splitlines()), 2)

    @override_settings(DAPHNE={"PORT": 1, "BACKLOG": 1, "MAX_HEADER_COUNT": 1})
    def test_precedence(self):
        """The flag wins over the environment, and that over the settings."""
        variables = {"DJANGO_DAPHNE_PORT": "2", "DJANGO_DAPHNE_BACKLOG": "2"}
        with mock.patch.dict(os.environ, variables):
            config = get_command_config({"port": "3"}).config
        self.assertEqual(config.listen.port, 3)
        self.assertEqual(config.listen.backlog, 2)
        self.assertEqual(config.limits.max_header_count, 1)

    def test_every_flag(self):
        """The administrator finds each flag of the server in the help of rundaphne."""
        text = rundaphne.Command().create_parser("manage.py", "rundaphne").format_help()
        for option in OPTIONS:
            if not option.core_only:
                self.assertIn(option.flag, text)

    def test_runserver(self):
        """The developer gives daphne's flags, and the address as ever."""
        parser = runserver.Command().create_parser("manage.py", "runserver")
        arguments = ["--http_timeout", "5", "--websocket_handshake_timeout", "6", "0:80"]
        options = vars(parser.parse_args(arguments))
        config = get_command_config(options).config
        self.assertEqual(options["addrport"], "0:80")
        self.assertEqual(config.timeouts.http_timeout, 5)
        self.assertEqual(config.websocket.websocket_connect_timeout, 6)
        for absent in ("--bind", "--unix-socket", "--endpoint", "--access-log"):
            self.assertNotIn(absent, parser.format_help())
