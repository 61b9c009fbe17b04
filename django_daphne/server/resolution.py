"""The configuration that all sources make together, and what is said of it.

Flags win over the environment, the environment over settings, settings over defaults. Every problem
is found before one is reported.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from .config import GROUPS, OPTIONS, ServerConfig
from .consistency import contradictions
from .exceptions import ConfigurationError
from .options import Group, Option
from .sources import Layer, add_group_arguments, read_environment, read_settings, read_values


class Resolved(NamedTuple):
    """Hold a configuration, the origin of each value by field name, and warnings.

    ``extra`` has what was made of groups that are not the server's, by group.
    """

    config: ServerConfig
    origins: Mapping[str, str]
    warnings: tuple[str, ...]
    extra: Mapping[type[Group], Any]


def add_arguments(
    parser: argparse.ArgumentParser, *, core: bool, groups: Iterable[type[Group]] | None = None
) -> None:
    """Add the flags of the groups (default: all); `core` adds those that Django must not see."""
    for group in GROUPS.values() if groups is None else groups:
        add_group_arguments(parser, group, core=core)


def add_dry_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags that look at everything and serve nothing."""
    parser.add_argument(
        "--print-config",
        action="store_true",
        help="Print every value and where it came from, then exit.",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="Check the configuration and the certificates, load the application, then exit.",
    )


def merge(layers: Sequence[Layer], groups: Sequence[type[Group]] = ()) -> Resolved:
    """Return what the layers make, an earlier one winning; do not look at their problems."""
    values = {item.name: item.default for item in all_options(groups)}
    origins = dict.fromkeys(values, "default")
    for layer in reversed(layers):
        values |= layer.plain()
        origins |= {name: origin for name, (_, origin) in layer.values.items()}
    return Resolved(
        config=ServerConfig.from_values(values),
        origins=origins,
        warnings=tuple(str(warning) for layer in layers for warning in layer.warnings),
        extra={
            group: group(**{item.name: values[item.name] for item in group.options})
            for group in groups
        },
    )


def all_options(groups: Sequence[type[Group]] = ()) -> tuple[Option, ...]:
    """Return the options of the server, and those of further groups."""
    return (*OPTIONS, *(item for group in groups for item in group.options))


def resolve(
    flags: Mapping[str, Any],
    environ: Mapping[str, str],
    settings: object,
    fallbacks: Layer | None = None,
    groups: Sequence[type[Group]] = (),
) -> Resolved:
    """Return the configuration that the sources make: flags, environment, settings, defaults.

    `flags` maps field names to what argparse made of `add_arguments`; `settings` is the dictionary
    settings.DAPHNE; `fallbacks` stands just above the defaults; `groups` are read besides the
    server's. Raise one ConfigurationError with a line for every problem; unknown environment
    variables are only warnings.
    """
    options = all_options(groups)
    layers = [
        read_values(options, flags, flags=True),
        read_environment(options, environ),
        read_settings(options, settings),
        fallbacks or Layer(),
    ]
    resolved = merge(layers, groups)
    problems = [str(problem) for layer in layers for problem in layer.problems]
    problems += contradictions(resolved.config, resolved.origins)
    if problems:
        raise ConfigurationError("\n".join(problems))
    return resolved


def describe(resolved: Resolved) -> str:
    """Return a table with the name, value, unit and origin of every option, a line each."""
    rows = [("option", "value", "unit", "from")]
    values = resolved.config.values()
    for group in resolved.extra.values():
        values |= vars(group)
    for item in all_options(tuple(resolved.extra)):
        shown = item.format(values[item.name]) or "(empty)"
        rows.append((item.name, shown, item.unit, resolved.origins[item.name]))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
