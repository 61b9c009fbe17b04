"""The app, as INSTALLED_APPS knows it."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import register

from .checks import CHECKS
from .handlers import substitute


class DjangoDaphneConfig(AppConfig):
    """Register the system checks, and put our handler into Django's place where it is wanted."""

    name = "django_daphne"
    label = "django_daphne"
    verbose_name = "Django Daphne"

    def ready(self) -> None:
        for check in CHECKS:
            register(check, "django_daphne")
        substitute()
