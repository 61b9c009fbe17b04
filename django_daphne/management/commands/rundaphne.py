"""``rundaphne``: serve the project in production."""

from __future__ import annotations

import logging
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.management.base import BaseCommand, CommandError

from ...asgi import ApplicationNotFound, load_application
from ...collector import collecting_seldom, keep_what_is_loaded
from ...handlers import prepare_site
from ...server import (
    BoundSocket,
    ConfigurationError,
    LifespanFailure,
    ListenError,
    Resolved,
    Server,
    ServerConfig,
    WorkerFailure,
    activated,
    add_dry_run_arguments,
    bind,
    describe,
    get_worker,
    log_level,
    loop_in_use,
    raise_descriptor_limit,
    run,
    set_up_access_log,
    supervise,
)
from ...signals import send_started, send_stopping
from .. import inheritance
from ..keeper import Keeper, debug_hosts
from ..options import add_server_arguments, get_command_config
from ..serving import INTERRUPT_TIMEOUT, DevelopmentProcess, serve_and_watch

# Of Django's deployment checks those that no production site can do without: the SECRET_KEY was
# made for development, ALLOWED_HOSTS is empty. "check --deploy" has the others.
_DEPLOYMENT_CHECKS = frozenset(("security.W009", "security.W020"))


class Command(BaseCommand):
    """Check the project, then serve it until SIGTERM or SIGINT."""

    help = "Serves the project over ASGI, in production."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add every flag of the server."""
        add_dry_run_arguments(parser)
        parser.add_argument(
            "--reload",
            action="store_true",
            help="Start again when a file of the project changes; for development.",
        )
        add_server_arguments(parser)

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Serve, after the system checks unless the supervisor has made them for this worker."""
        worker = get_worker()
        if worker is not None and worker.is_checked:
            options["skip_checks"] = True
        return super().execute(*args, **options)

    def handle(self, *args: Any, **options: Any) -> None:
        """Serve; the system checks have passed."""
        if options["reload"]:
            options.setdefault("graceful_timeout", INTERRUPT_TIMEOUT)
        resolved = get_command_config(options)
        if options["print_config"]:
            self._print_config(resolved)
            return
        verbosity = options["verbosity"]
        self._set_up_logging(resolved.config, verbosity)
        heritage = inheritance.get()
        if heritage is not None:
            serve_and_watch(
                self._serve_development,
                config=resolved.config,
                sockets=heritage.take_over(),
                verbosity=verbosity,
            )
        if get_worker() is not None:
            self._serve(self._load(), resolved.config, verbosity)
            return
        if verbosity and not options["reload"]:
            self._warn_of_development_settings()
        for warning in resolved.warnings:
            self._warn(warning)
        if options["check"]:
            from ...server import check_certificates  # and with it TLS

            self._load()
            try:
                check_certificates(resolved.config)
            except ConfigurationError as error:
                raise CommandError(str(error)) from error
            self.stdout.write("The configuration is valid and the application loads.")
        elif options["reload"]:
            if resolved.config.workers.is_supervised:
                self._warn("--reload serves with one process: WORKERS and its limits are left out.")
            sys.exit(self._keep(resolved.config))
        elif resolved.config.workers.is_supervised:
            self._supervise(resolved.config, verbosity)
        else:
            self._serve(self._load(), resolved.config, verbosity)

    def _load(self) -> Any:
        try:
            with collecting_seldom():
                return prepare_site(load_application())
        except (ApplicationNotFound, ConfigurationError) as error:
            raise CommandError(str(error)) from error

    def _warn_of_development_settings(self) -> None:
        if settings.DEBUG:
            self._warn("DEBUG is on: every error page shows the project's settings and sources.")
        for message in checks.run_checks(
            tags=[checks.Tags.security], include_deployment_checks=True
        ):
            if message.id in _DEPLOYMENT_CHECKS and not message.is_silenced():
                self._warn(f"{message.msg} ({message.id})")

    def _print_config(self, resolved: Resolved) -> None:
        try:
            loop = loop_in_use(resolved.config.process.loop)
        except ConfigurationError as error:
            raise CommandError(str(error)) from error
        for warning in resolved.warnings:
            self._warn(warning)
        self.stdout.write(f"{describe(resolved)}\nThe event loop will be {loop}.")

    def _serve(self, application: Any, config: ServerConfig, verbosity: int) -> None:
        raise_descriptor_limit()
        keep_what_is_loaded()
        with _as_command_errors():
            run(application, config, **self._server_options(config, verbosity))

    def _supervise(self, config: ServerConfig, verbosity: int) -> None:
        """Let workers serve, which run this command, too."""
        with _as_command_errors():
            supervise(config, announce=self._say_where if verbosity else None)

    def _server_options(self, config: ServerConfig, verbosity: int) -> dict[str, Any]:
        return {
            "log_access": set_up_access_log(config, sys.stdout if verbosity else None),
            "announce": self._announce if verbosity else None,
            "on_started": send_started,
            "on_stopping": send_stopping,
        }

    def _keep(self, config: ServerConfig) -> int:
        """Bind, and see that one process after another serves; return the exit status."""
        if config.listen.endpoint:
            raise CommandError(
                "--reload: nobody can keep an --endpoint open; expected --bind, --unix-socket, --fd"
                " or a port."
            )
        try:
            sockets = bind(config.listen, activated(config))
        except ListenError as error:
            raise CommandError(str(error)) from error
        return Keeper(sockets, hosts=debug_hosts()).run()

    def _serve_development(
        self,
        *,
        config: ServerConfig,
        sockets: list[BoundSocket],
        on_loaded: Callable[[], object],
        verbosity: int,
    ) -> None:
        """Serve below a keeper."""
        application = self._load()
        process = DevelopmentProcess(
            application, config, sockets=sockets, **self._server_options(config, verbosity)
        )
        on_loaded()
        try:
            process.run()
        except (ConfigurationError, LifespanFailure) as error:
            raise CommandError(str(error)) from error

    def _announce(self, server: Server) -> None:
        self._say_where(server.descriptions)

    def _say_where(self, descriptions: Sequence[str]) -> None:
        for description in descriptions:
            self.stdout.write(f"Listening on {description}")
        self.stdout.flush()

    def _warn(self, text: str) -> None:
        self.stderr.write(self.style.WARNING(f"Warning: {text}"))

    def _set_up_logging(self, config: ServerConfig, verbosity: int) -> None:
        """Log to standard error where LOGGING says nothing about the server."""
        logger = logging.getLogger("django_daphne.server")
        if not logger.hasHandlers():
            handler = logging.StreamHandler()
            handler.setFormatter(logging.Formatter(config.logging.log_fmt))
            logger.addHandler(handler)
            logger.setLevel(log_level(verbosity))


@contextmanager
def _as_command_errors() -> Iterator[None]:
    """Let Django say in one line why nothing is served."""
    try:
        yield
    except (ConfigurationError, ListenError) as error:
        raise CommandError(str(error)) from error
    except (LifespanFailure, WorkerFailure) as error:
        raise CommandError(str(error), returncode=error.exit_status) from error
