"""The app, as INSTALLED_APPS knows it."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage, register

from .handlers import substitute


def run_checks(**options: Any) -> list[CheckMessage]:
    """Return what all checks of the app find. They are imported where checks are run."""
    from .checks import CHECKS

    return [message for check in CHECKS for message in check(**options)]


class DjangoDaphneConfig(AppConfig):
    """Register the system checks, and put our handler into Django's place where it is wanted."""

    name = "django_daphne"
    label = "django_daphne"
    verbose_name = "Django Daphne"

    def ready(self) -> None:
        register(run_checks, "django_daphne")
        substitute()
