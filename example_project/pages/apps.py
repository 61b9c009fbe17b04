"""The application configuration of the pages."""

from django.apps import AppConfig


class PagesConfig(AppConfig):
    """Name the app."""

    name = "pages"
