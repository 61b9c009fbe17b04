"""The server's options as flags of management commands."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from typing import Any

from django.core.management.base import CommandError

from ..conf import GROUPS, OPTIONS, get_config, use_config
from ..server import GROUPS as SERVER_GROUPS
from ..server import ConfigurationError, Group, Resolved, add_arguments


def add_server_arguments(
    parser: argparse.ArgumentParser, groups: Iterable[type[Group]] | None = None
) -> None:
    """Add the flags of the groups (default: all) to the parser of a command.

    Django's own flags, among them --verbosity, stay what they are. Give the options that the
    command is called with to `get_command_config`.
    """
    every = (*SERVER_GROUPS.values(), *GROUPS)
    add_arguments(parser, core=False, groups=every if groups is None else groups)


def get_flags(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the flags among a command's options by field name, those alone that were given."""
    names = [item.name for item in OPTIONS if not item.core_only]
    return {name: options[name] for name in names if name in options}


def get_command_config(options: Mapping[str, Any]) -> Resolved:
    """Return the configuration for a command that was called with these options.

    It is that of the whole process: Django's handler takes it, too. Raise CommandError with a line
    for every problem.
    """
    try:
        return use_config(get_config(get_flags(options)))
    except ConfigurationError as error:
        raise CommandError(str(error)) from error
