"""The app, as INSTALLED_APPS knows it."""

from __future__ import annotations

from django.apps import AppConfig
from django.core import asgi
from django.core.checks import register

from .checks import CHECKS
from .handlers import make_handler


class DjangoDaphneConfig(AppConfig):
    """Register the system checks, and put our handler into Django's place where it is wanted."""

    name = "django_daphne"
    label = "django_daphne"
    verbose_name = "Django Daphne"

    def ready(self) -> None:
        for check in CHECKS:
            register(check, "django_daphne")
        # Looked up by Django's get_asgi_application() after this. Nobody else's name is changed:
        # tools that patch ASGIHandler have to find, and to patch, the class that ours extends.
        vars(asgi)["ASGIHandler"] = make_handler
