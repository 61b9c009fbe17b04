"""The app, as INSTALLED_APPS knows it."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import register

from .checks import CHECKS


class DjangoDaphneConfig(AppConfig):
    """Register the system checks when Django is ready."""

    name = "django_daphne"
    label = "django_daphne"
    verbose_name = "Django Daphne"

    def ready(self) -> None:
        for check in CHECKS:
            register(check, "django_daphne")
