"""Checks of settings.DAPHNE, of the environment, and of both together."""

from __future__ import annotations

import os
from typing import Any, Final

from django.core.checks import CheckMessage, Error, Warning

from ..conf import GROUPS, OPTIONS, find_contradictions, get_setting, read_other_settings
from ..server import Problem, contradictions, merge, read_environment, read_settings
from .base import APP

_REFERENCE: Final = "The reference of the settings lists every name with its meaning."


def check_setting_type(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Find a settings.DAPHNE that is not a dictionary."""
    hint = 'Write, for example, DAPHNE = {"KEEP_ALIVE_TIMEOUT": 30}, or remove it.'
    return [_error(problem, "E002", hint) for problem in _setting_problems("type")]


def check_setting_names(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Find keys of settings.DAPHNE that no option has."""
    return [_error(problem, "E003", _REFERENCE) for problem in _setting_problems("unknown")]


def check_setting_values(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Find settings of a wrong type or value."""
    problems = [*_setting_problems("value"), *read_other_settings().problems]
    return [_error(problem, "E004", _REFERENCE) for problem in problems]


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
        for text in (
            *contradictions(resolved.config, resolved.origins),
            *find_contradictions(resolved),
        )
    ]


def check_environment_names(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Find environment variables with the prefix of this app that no option has."""
    return [
        Warning(problem.text, hint=problem.hint or _REFERENCE, id=f"{APP}.W003")
        for problem in read_environment(OPTIONS, os.environ).warnings
    ]


def check_environment_values(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Find environment variables whose text cannot be used."""
    problems = read_environment(OPTIONS, os.environ).problems
    return [_error(problem, "E006", _REFERENCE) for problem in problems]


def _setting_problems(kind: str) -> list[Problem]:
    problems = read_settings(OPTIONS, get_setting()).problems
    return [problem for problem in problems if problem.kind == kind]


def _error(problem: Problem, number: str, hint: str) -> Error:
    return Error(problem.text, hint=problem.hint or hint, id=f"{APP}.{number}")
