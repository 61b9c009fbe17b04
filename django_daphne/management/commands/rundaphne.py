"""``rundaphne``: serve the project in production."""

from __future__ import annotations

import logging
import sys
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from ...asgi import load_application
from ...server import (
    AccessLogWriter,
    LifespanFailure,
    ListenError,
    Server,
    ServerConfig,
    describe,
    open_access_log,
    raise_descriptor_limit,
    run,
)
from ...signals import send_started, send_stopping
from ..options import add_server_arguments, get_command_config

EXIT_STARTUP_FAILED = 3


class Command(BaseCommand):
    """Check the project, then serve it until SIGTERM or SIGINT."""

    help = "Serves the project over ASGI, in production."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add every flag of the server."""
        parser.add_argument(
            "--print-config",
            action="store_true",
            help="Print every value and where it came from, then exit.",
        )
        parser.add_argument(
            "--check",
            action="store_true",
            help="Check the configuration, load the application, then exit.",
        )
        add_server_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Serve; the system checks have passed."""
        resolved = get_command_config(options)
        if options["print_config"]:
            self.stdout.write(describe(resolved))
            return
        self._set_up_logging(resolved.config, options["verbosity"])
        if settings.DEBUG:
            self._warn("DEBUG is on: every error page shows the project's settings and sources.")
        for warning in resolved.warnings:
            self._warn(warning)
        try:
            application = load_application()
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from error
        if options["check"]:
            self.stdout.write("The configuration is valid and the application loads.")
            return
        self._serve(application, resolved.config, options["verbosity"])

    def _serve(self, application: Any, config: ServerConfig, verbosity: int) -> None:
        raise_descriptor_limit()
        stream = open_access_log(config, default=None if verbosity == 0 else sys.stdout)
        try:
            run(
                application,
                config,
                log_access=None if stream is None else AccessLogWriter(stream),
                announce=self._announce,
                on_started=send_started,
                on_stopping=send_stopping,
            )
        except ListenError as error:
            raise CommandError(str(error)) from error
        except LifespanFailure as error:
            raise CommandError(str(error), returncode=EXIT_STARTUP_FAILED) from error

    def _announce(self, server: Server) -> None:
        for description in server.descriptions:
            self.stdout.write(f"Listening on {description}")
        self.stdout.flush()

    def _warn(self, text: str) -> None:
        self.stderr.write(self.style.WARNING(f"Warning: {text}"))

    def _set_up_logging(self, config: ServerConfig, verbosity: int) -> None:
        """Log to standard error where LOGGING says nothing about this package."""
        package = logging.getLogger("django_daphne")
        if not package.hasHandlers():
            handler = logging.StreamHandler()
            handler.setFormatter(logging.Formatter(config.logging.log_fmt))
            package.addHandler(handler)
            package.setLevel(
                (logging.WARNING, logging.INFO, logging.DEBUG, logging.DEBUG)[verbosity]
            )
