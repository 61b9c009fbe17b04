"""Checks of the settings for the files that the server is to serve itself."""

from __future__ import annotations

from typing import Any

from django.core.checks import CheckMessage, Warning

from ..public_files import find_problems
from ..server import ConfigurationError
from .base import APP


def check_public_files(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Find what keeps rundaphne from serving static files or media; runserver has its own way."""
    try:
        problems = find_problems()
    except ConfigurationError:  # which other checks say
        return []
    return [Warning(each.text, hint=each.hint, id=f"{APP}.W010") for each in problems]
