"""The Django-free command line: ``django-daphne [options] module:application``."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import logging
import os
import sys
from collections.abc import Sequence
from typing import Any

from . import __version__
from .collector import collecting_seldom, keep_what_is_loaded
from .server import (
    ConfigurationError,
    LifespanFailure,
    ListenError,
    Resolved,
    Server,
    ServerConfig,
    WorkerFailure,
    add_arguments,
    add_dry_run_arguments,
    describe,
    find_misfit,
    forward_twisted_log,
    get_worker,
    log_level,
    loop_in_use,
    raise_descriptor_limit,
    resolve,
    run,
    set_up_access_log,
    supervise,
)

logger = logging.getLogger("django_daphne.server")

EXIT_OK = 0
EXIT_CANNOT_START = 1


class ApplicationNotFound(Exception):
    """The application's path does not lead to an application; the text says where it ends."""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="django-daphne",
        # All flags would fill the screen above each message about one of them.
        usage="%(prog)s [options] module.path:object.path",
        description="Serve an ASGI application.",
        allow_abbrev=False,
    )
    parser.add_argument("application", help="The application, as module.path:object.path.")
    parser.add_argument("--version", action="version", version=f"django-daphne {__version__}")
    add_dry_run_arguments(parser)
    add_arguments(parser, core=True)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status.

    0 after a graceful stop, 1 when it cannot start, 2 for a wrong flag, 3 when the application's
    startup failed, or a worker's.
    """
    parser = build_parser()
    flags = vars(parser.parse_args(argv))
    path, print_config, check = (
        flags.pop(name) for name in ("application", "print_config", "check")
    )
    try:
        resolved = resolve(flags, os.environ, {})
    except ConfigurationError as error:
        parser.error(str(error))
    config = resolved.config
    configure_logging(config)
    sys.path.insert(0, ".")
    try:
        if print_config:
            warn(resolved)
            loop = loop_in_use(config.process.loop)
            sys.stdout.write(f"{describe(resolved)}\nThe event loop will be {loop}.\n")
            return EXIT_OK
        if config.workers.is_supervised and not (check or get_worker()):
            warn(resolved)
            supervise(config, announce=say_where)
            return EXIT_OK
        with collecting_seldom():
            application = load_application(path)
            # A Django project brings our Django layer along, which has options of its own.
            if layer := sys.modules.get("django_daphne.handlers"):
                application = layer.prepare_site(application)
                resolved = resolve(flags, os.environ, {}, groups=layer.GROUPS)
        if get_worker() is None:
            warn(resolved)
        if check:
            from .server import check_certificates  # and with it TLS

            check_certificates(config)
            sys.stdout.write(f"{path} is ready to be served.\n")
            return EXIT_OK
        return serve(application, config)
    except (ApplicationNotFound, ListenError, ConfigurationError) as error:
        logger.critical("%s", error)
        return EXIT_CANNOT_START
    except (LifespanFailure, WorkerFailure) as error:
        logger.critical("%s", error)
        return error.exit_status


def warn(resolved: Resolved) -> None:
    """Log what is odd about the configuration."""
    for warning in resolved.warnings:
        logger.warning("%s", warning)


def load_application(path: str) -> Any:
    """Return the object at ``module.path:object.path``.

    Raises ApplicationNotFound naming the part that is not there. An error inside the module comes
    out as it is: its traceback is the author's.
    """
    module_path, colon, object_path = path.partition(":")
    if not (colon and object_path and all(module_path.split("."))):
        raise ApplicationNotFound(
            f"{path!r} does not name an application; expected module.path:object.path."
        )
    try:
        found: Any = importlib.import_module(module_path)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_path}.".startswith(f"{error.name}."):
            raise
        raise ApplicationNotFound(
            f"Cannot load {path!r}: there is no module {error.name!r}."
        ) from error
    for name in object_path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise ApplicationNotFound(
                f"Cannot load {path!r}: {module_path} has no {object_path!r}."
            ) from None
    if misfit := find_misfit(found):
        raise ApplicationNotFound(f"Cannot load {path!r}: it {misfit}")
    return found


def configure_logging(config: ServerConfig) -> None:
    """Set logging up for a process that is nothing but the server."""
    verbosity = config.logging.verbosity
    logging.basicConfig(level=log_level(verbosity), format=config.logging.log_fmt)
    if verbosity >= 2:
        forward_twisted_log()


def serve(application: Any, config: ServerConfig) -> int:
    """Serve until a signal says stop; return the exit status."""
    raise_descriptor_limit()
    keep_what_is_loaded()
    logger.disabled = False  # by an application's dictConfig, which does not know it
    run(
        application,
        config,
        log_access=set_up_access_log(config, sys.stdout if config.logging.verbosity else None),
        announce=announce,
        on_started=debug_loop if config.logging.verbosity >= 3 else None,
    )
    return EXIT_OK


def announce(server: Server) -> None:
    """Say where the server listens, with the real ports."""
    say_where(server.descriptions)


def say_where(descriptions: Sequence[str]) -> None:
    """Say where there is a listener."""
    for description in descriptions:
        logger.info("Listening on %s", description)


async def debug_loop() -> None:
    """Let the running loop log what is slow or was never awaited."""
    asyncio.get_running_loop().set_debug(True)
