"""The project's ASGI application: finding it, and Django's own where it has none."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from django.conf import settings
from django.core import asgi
from django.core.exceptions import ImproperlyConfigured

from .handlers import substitute


def get_asgi_application() -> Any:
    """Return an ASGI application for the Django project, as Django's function of that name.

    A project whose INSTALLED_APPS have this app gets the same one from Django's.
    """
    substitute()
    return asgi.get_asgi_application()


def load_application() -> Any:
    """Return the application that settings.ASGI_APPLICATION names, or Django's own without it.
    Raises ImproperlyConfigured with the part of the name that leads nowhere. An error inside the
    project's module comes out as it is: its traceback is the author's.
    """
    path = getattr(settings, "ASGI_APPLICATION", None)
    if not path:
        return get_asgi_application()
    parts = path.split(".") if isinstance(path, str) else []
    if len(parts) < 2 or not all(map(str.isidentifier, parts)):
        raise ImproperlyConfigured(
            f"ASGI_APPLICATION is {path!r}; expected a dotted name such as"
            " 'mysite.asgi.application'."
        )
    module_path, _, name = path.rpartition(".")
    try:
        module = import_module(module_path)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_path}.".startswith(f"{error.name}."):
            raise
        raise ImproperlyConfigured(
            f"Cannot import ASGI_APPLICATION module {module_path!r}: there is no {error.name!r}."
        ) from error
    try:
        application = getattr(module, name)
    except AttributeError:
        raise ImproperlyConfigured(
            f"Cannot find {name!r} in ASGI_APPLICATION module {module_path}"
        ) from None
    if not callable(application):
        raise ImproperlyConfigured(f"ASGI_APPLICATION {path!r} is no callable.")
    return application
