"""System checks: the order of INSTALLED_APPS, settings.DAPHNE and the environment.

One function per check, each with an id of its own that never changes its meaning.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from django.apps import AppConfig, apps
from django.core.checks import CheckMessage, Error, Warning
from django.core.management import find_commands

from .conf import GROUPS, OPTIONS, get_setting, read_other_settings
from .server import (
    Problem,
    contradictions,
    merge,
    read_environment,
    read_settings,
)

APP = "django_daphne"
STATICFILES = "django.contrib.staticfiles"
REFERENCE = "The reference of the settings lists every name with its meaning."

Check = Callable[..., list[CheckMessage]]


def check_staticfiles_order(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Find django.contrib.staticfiles above this app."""
    if not any(config.name == STATICFILES for config in _apps_above()):
        return []
    text = f'"{APP}" must be listed above "{STATICFILES}" in INSTALLED_APPS.'
    hint = f'Move "{APP}" to the top. Below, "runserver" is a server without ASGI.'
    return [Error(text, hint=hint, id=f"{APP}.E001")]


def check_runserver_shadowed(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Find other apps above this one that have a runserver command."""
    hint = f'Move "{APP}" above it in INSTALLED_APPS, best at the top.'
    return [
        Warning(
            f'"{config.name}" is listed above "{APP}", so "runserver" is its command.',
            hint=hint,
            id=f"{APP}.W001",
        )
        for config in _apps_above()
        if config.name != STATICFILES
        and "runserver" in find_commands(str(Path(config.path, "management")))
    ]


def check_daphne_installed(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Find the daphne app beside this one."""
    if not apps.is_installed("daphne"):
        return []
    text = f'INSTALLED_APPS has both "{APP}" and "daphne", and both provide "runserver".'
    hint = 'Remove "daphne" from INSTALLED_APPS: the command listed first is the one that runs.'
    return [Warning(text, hint=hint, id=f"{APP}.W002")]


def check_setting_type(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Find a settings.DAPHNE that is not a dictionary."""
    hint = 'Write, for example, DAPHNE = {"KEEP_ALIVE_TIMEOUT": 30}, or remove it.'
    return [_error(problem, "E002", hint) for problem in _setting_problems("type")]


def check_setting_names(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Find keys of settings.DAPHNE that no option has."""
    return [_error(problem, "E003", REFERENCE) for problem in _setting_problems("unknown")]


def check_setting_values(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Find settings of a wrong type or value."""
    problems = [*_setting_problems("value"), *read_other_settings().problems]
    return [_error(problem, "E004", REFERENCE) for problem in problems]


def check_contradictions(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Find values in the environment and the settings that rule each other out."""
    layers = [
        read_environment(OPTIONS, os.environ),
        read_settings(OPTIONS, get_setting()),
        read_other_settings(),
    ]
    resolved = merge(layers, GROUPS)
    hint = "In settings.DAPHNE the key of a flag is its name in upper case, with underscores."
    return [
        Error(text, hint=hint, id=f"{APP}.E005")
        for text in contradictions(resolved.config, resolved.origins)
    ]


def check_environment_names(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Find environment variables with the prefix of this app that no option has."""
    return [
        Warning(problem.text, hint=problem.hint or REFERENCE, id=f"{APP}.W003")
        for problem in read_environment(OPTIONS, os.environ).warnings
    ]


def check_environment_values(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Find environment variables whose text cannot be used."""
    problems = read_environment(OPTIONS, os.environ).problems
    return [_error(problem, "E006", REFERENCE) for problem in problems]


CHECKS: Sequence[Check] = (
    check_staticfiles_order,
    check_runserver_shadowed,
    check_daphne_installed,
    check_setting_type,
    check_setting_names,
    check_setting_values,
    check_contradictions,
    check_environment_names,
    check_environment_values,
)


def _apps_above() -> list[AppConfig]:
    configs = list(apps.get_app_configs())
    names = [config.name for config in configs]
    return configs[: names.index(APP)] if APP in names else []


def _setting_problems(kind: str) -> list[Problem]:
    problems = read_settings(OPTIONS, get_setting()).problems
    return [problem for problem in problems if problem.kind == kind]


def _error(problem: Problem, number: str, hint: str) -> Error:
    return Error(problem.text, hint=problem.hint or hint, id=f"{APP}.{number}")
