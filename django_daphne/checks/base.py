"""What the modules of checks share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from django.apps import AppConfig, apps
from django.core.checks import CheckMessage

APP: Final = "django_daphne"
STATICFILES: Final = "django.contrib.staticfiles"

Check = Callable[..., list[CheckMessage]]


def installed_apps() -> dict[str, AppConfig]:
    """Return the project's apps by name, in the order in which they are listed."""
    return {config.name: config for config in apps.get_app_configs()}


def is_above(first: str, second: str) -> bool:
    """Tell whether both apps are installed, and the first one is listed above the other."""
    names = list(installed_apps())
    return {first, second} <= {*names} and names.index(first) < names.index(second)
