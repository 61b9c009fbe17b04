"""The configuration that all sources make together, and what is said of it.

Flags win over the environment, the environment over settings, settings over defaults. Every problem
is found before one is reported.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .config import GROUPS, OPTIONS, ServerConfig, contradictions
from .exceptions import ConfigurationError
from .options import Group
from .sources import Layer, add_group_arguments, read_environment, read_settings, read_values


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """Hold a configuration, the origin of each value by field name, and warnings."""

    config: ServerConfig
    origins: Mapping[str, str]
    warnings: tuple[str, ...] = ()


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
        help="Check the configuration and load the application, then exit.",
    )


def merge(layers: Sequence[Layer]) -> Resolved:
    """Return what the layers make, an earlier one winning; do not look at their problems."""
    values = {item.name: item.default for item in OPTIONS}
    origins = dict.fromkeys(values, "default")
    for layer in reversed(layers):
        values |= layer.plain()
        origins |= {name: origin for name, (_, origin) in layer.values.items()}
    warnings = tuple(str(warning) for layer in layers for warning in layer.warnings)
    return Resolved(config=ServerConfig.from_values(values), origins=origins, warnings=warnings)


def resolve(
    flags: Mapping[str, Any],
    environ: Mapping[str, str],
    settings: object,
    fallbacks: Layer | None = None,
) -> Resolved:
    """Return the configuration that the sources make: flags, environment, settings, defaults.

    `flags` maps field names to what argparse made of `add_arguments`; `settings` is the dictionary
    settings.DAPHNE; `fallbacks` stands just above the defaults. Raise one ConfigurationError with
    a line for every problem; unknown environment variables are only warnings.
    """
    layers = [
        read_values(OPTIONS, flags, flags=True),
        read_environment(OPTIONS, environ),
        read_settings(OPTIONS, settings),
        fallbacks or Layer(),
    ]
    resolved = merge(layers)
    problems = [str(problem) for layer in layers for problem in layer.problems]
    problems += contradictions(resolved.config, resolved.origins)
    if problems:
        raise ConfigurationError("\n".join(problems))
    return resolved


def describe(resolved: Resolved) -> str:
    """Return a table with the name, value, unit and origin of every option, a line each."""
    rows = [("option", "value", "unit", "from")]
    for item, value in zip(OPTIONS, resolved.config.values().values(), strict=True):
        shown = item.format(value) or "(empty)"
        rows.append((item.name, shown, item.unit, resolved.origins[item.name]))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
