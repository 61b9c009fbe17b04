"""settings.DAPHNE and the other settings that count, read when asked for."""

from __future__ import annotations

import os
from argparse import ArgumentParser
from typing import Any
from unittest import mock

from django.core.management import CommandError, call_command
from django.core.management.base import BaseCommand
from django.test import SimpleTestCase, override_settings

from django_daphne.conf import get_config
from django_daphne.management.options import (
    add_server_arguments,
    get_command_config,
    get_flags,
)
from django_daphne.server.config import ListenConfig, ProcessConfig, ServerConfig
from django_daphne.server.exceptions import ConfigurationError
from django_daphne.server.resolution import Resolved


class CleanEnvironment(SimpleTestCase):
    """Run each test without the variables of whoever runs it."""

    def setUp(self):
        super().setUp()
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("DJANGO_DAPHNE", "ASGI"))}
        patch = mock.patch.dict(os.environ, kept, clear=True)
        patch.start()
        self.addCleanup(patch.stop)


class SettingTests(CleanEnvironment):
    """settings.DAPHNE is read when the configuration is asked for."""

    def test_nothing_set(self):
        """The project has no DAPHNE and gets the defaults."""
        self.assertEqual(get_config().config, ServerConfig())

    def test_read_late(self):
        """The test overrides a setting and takes it back."""
        with override_settings(DAPHNE={"PORT": 1}):
            resolved = get_config()
        self.assertEqual(resolved.config.listen.port, 1)
        self.assertEqual(resolved.origins["port"], "settings.DAPHNE['PORT']")
        self.assertIsNone(get_config().config.listen.port)

    @override_settings(DAPHNE={"PORT": 3})
    def test_order(self):
        """The operator overrides the setting by a variable, and that by a flag."""
        os.environ["DJANGO_DAPHNE_PORT"] = "2"
        self.assertEqual(get_config().config.listen.port, 2)
        self.assertEqual(get_config({"port": "1"}).config.listen.port, 1)

    def test_wrong_settings(self):
        """The project sets DAPHNE to a list, and to an unknown key."""
        for value, text in ((["PORT"], "is a list, not a dictionary"), ({"POR": 1}, "mean PORT?")):
            with (
                self.subTest(value=value),
                override_settings(DAPHNE=value),
                self.assertRaisesRegex(ConfigurationError, text),
            ):
                get_config()


class OtherSettingTests(CleanEnvironment):
    """Settings outside of DAPHNE count where nothing else does."""

    def test_script_name(self):
        """The project sets FORCE_SCRIPT_NAME, with or without a slash at its end."""
        for value, root_path in (("/shop", "/shop"), ("/shop/", "/shop"), ("/", ""), ("", "")):
            with self.subTest(value=value), override_settings(FORCE_SCRIPT_NAME=value):
                resolved = get_config()
                self.assertEqual(resolved.config.http.root_path, root_path)
                self.assertEqual(resolved.origins["root_path"], "settings.FORCE_SCRIPT_NAME")

    def test_no_script_name(self):
        """The project leaves FORCE_SCRIPT_NAME alone."""
        self.assertEqual(get_config().origins["root_path"], "default")

    @override_settings(FORCE_SCRIPT_NAME="/shop", DAPHNE={"ROOT_PATH": "/site"})
    def test_root_path_wins(self):
        """The project sets both, and the operator sets the variable as well."""
        self.assertEqual(get_config().config.http.root_path, "/site")
        os.environ["DJANGO_DAPHNE_ROOT_PATH"] = ""
        self.assertEqual(get_config().config.http.root_path, "")

    @override_settings(FORCE_SCRIPT_NAME="shop")
    def test_wrong_script_name(self):
        """The project sets a path without its slash and reads where."""
        with self.assertRaisesRegex(ConfigurationError, "^settings.FORCE_SCRIPT_NAME: 'shop'"):
            get_config()

    @override_settings(
        DAPHNE_WEBSOCKET_MAX_MESSAGE_SIZE=1, DAPHNE_WEBSOCKET_MAX_FRAME_SIZE=0, DAPHNE={}
    )
    def test_settings_of_daphne(self):
        """The project keeps the two settings it had, and then has a key for one of them."""
        resolved = get_config()
        self.assertEqual(resolved.config.websocket.websocket_max_message_size, 1)
        self.assertIsNone(resolved.config.websocket.websocket_max_frame_size)
        self.assertEqual(
            resolved.origins["websocket_max_message_size"],
            "settings.DAPHNE_WEBSOCKET_MAX_MESSAGE_SIZE",
        )
        with override_settings(DAPHNE={"WEBSOCKET_MAX_MESSAGE_SIZE": 2}):
            self.assertEqual(get_config().config.websocket.websocket_max_message_size, 2)


class KubernetesTests(CleanEnvironment):
    """What the cluster says about a Service of our name is not ours."""

    def add_service(self, name: str, address: str = "10.0.0.1") -> None:
        """Put into the environment what Kubernetes does for a Service."""
        url = f"tcp://{address}:8000"
        os.environ |= {
            f"{name}_SERVICE_HOST": address,
            f"{name}_SERVICE_PORT": "8000",
            f"{name}_SERVICE_PORT_HTTP": "8000",
            f"{name}_PORT": url,
            f"{name}_PORT_8000_TCP": url,
            f"{name}_PORT_8000_TCP_PROTO": "tcp",
            f"{name}_PORT_8000_TCP_PORT": "8000",
            f"{name}_PORT_8000_TCP_ADDR": address,
        }

    def test_services(self):
        """The cluster has Services whose names begin like our prefix, and nothing changes."""
        before = get_config()
        # The port of the last one has the name of an option: --proxy-headers-port.
        services = ("DAPHNE", "DJANGO_DAPHNE", "DJANGO_DAPHNE_WEB", "DJANGO_DAPHNE_PROXY_HEADERS")
        for name in services:
            for address in ("10.0.0.1", "[fd00::1]"):
                with self.subTest(name=name, address=address):
                    self.add_service(name, address)
                    self.assertEqual(get_config(), before)

    def test_our_own_variable_still_counts(self):
        """The operator sets the port in a cluster with a Service of that name."""
        self.add_service("DJANGO_DAPHNE")
        os.environ["DJANGO_DAPHNE_PORT"] = "9000"
        resolved = get_config()
        self.assertEqual((resolved.config.listen.port, resolved.warnings), (9000, ()))


class ServeCommand(BaseCommand):
    """Resolve the configuration as a command does and keep it."""

    requires_system_checks = ()
    resolved: Resolved

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_server_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        self.resolved = get_command_config(options)
        self.verbosity: int = options["verbosity"]


class CommandTests(CleanEnvironment):
    """A management command has the server's flags beside Django's."""

    def run_from(self, *arguments: str) -> ServeCommand:
        """Return the command after it ran with the arguments of a command line."""
        command = ServeCommand()
        options = vars(command.create_parser("manage.py", "serve").parse_args(arguments))
        command.execute(**options)
        return command

    @override_settings(DAPHNE={"PORT": 1, "LIFESPAN": "off"})
    def test_flags(self):
        """The operator gives some flags and the settings keep the rest."""
        command = self.run_from("-p", "2", "-b", "::1", "-b", "127.0.0.1", "-t", "-1")
        config = command.resolved.config
        self.assertEqual(config.listen, ListenConfig(port=2, bind=("::1", "127.0.0.1")))
        self.assertEqual(config.process, ProcessConfig(lifespan="off"))
        self.assertEqual(command.resolved.origins["http_timeout"], "flag --http-timeout")

    def test_verbosity_is_django_s(self):
        """The operator asks Django for details, which the configuration does not have to know."""
        command = self.run_from("-v", "3")
        self.assertEqual(command.verbosity, 3)
        self.assertEqual(command.resolved.origins["verbosity"], "default")
        self.assertEqual(get_flags({"verbosity": 3, "traceback": True, "port": "1"}), {"port": "1"})

    def test_called_from_code(self):
        """The caller gives Python values to call_command."""
        command = ServeCommand()
        call_command(command, port=0, bind=["::1"], proxy_headers=True)
        config = command.resolved.config
        self.assertEqual(config.listen, ListenConfig(port=0, bind=("::1",)))
        self.assertTrue(config.proxy.proxy_headers)

    def test_mistakes(self):
        """The operator makes two mistakes and reads a line for each, as an error of the command."""
        with self.assertRaises(CommandError) as caught:
            self.run_from("-p", "x", "--fd", "y")
        self.assertEqual(
            [line.split(":")[0] for line in str(caught.exception).splitlines()],
            ["flag --port", "flag --fd"],
        )

    def test_some_groups(self):
        """The command that listens on its own terms takes only other groups."""
        parser = ArgumentParser(exit_on_error=False)
        add_server_arguments(parser, [ProcessConfig])
        self.assertEqual(vars(parser.parse_args(["--loop", "asyncio"])), {"loop": "asyncio"})
        self.assertEqual(parser.parse_known_args(["--port", "1"])[1], ["--port", "1"])
