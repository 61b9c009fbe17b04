"""Checks of INSTALLED_APPS: whose runserver runs, and who serves static files in development."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any, Final

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Info, Warning
from django.core.management import find_commands
from django.utils.module_loading import import_string

from .base import APP, STATICFILES, installed_apps, is_above

_OUR_COMMAND: Final = f"{APP}.management.commands.runserver"
_WHITENOISE: Final = "whitenoise.runserver_nostatic"
_WHITENOISE_MIDDLEWARE: Final = "whitenoise.middleware.WhiteNoiseMiddleware"


def check_staticfiles_order(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Find django.contrib.staticfiles above this app."""
    if not is_above(STATICFILES, APP):
        return []
    text = f'"{APP}" must be listed above "{STATICFILES}" in INSTALLED_APPS.'
    hint = (
        f'Move "{APP}" to the top. Below, "runserver" is the command of staticfiles, a WSGI server:'
        " no WebSockets, no async views without detours, and none of the options of DAPHNE."
    )
    return [Error(text, hint=hint, id=f"{APP}.E001")]


def check_runserver_shadowed(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Find the app above this one whose runserver command runs, and does not extend ours."""
    name = _runserver_above()
    if name is None or name == STATICFILES or _extends_ours(name):
        return []
    text = f'"{name}" is listed above "{APP}", so "runserver" is its command, without this server.'
    hint = (
        f'Move "{APP}" above it in INSTALLED_APPS, best at the top; or let its command extend'
        f" {_OUR_COMMAND}.Command."
    )
    return [Warning(text, hint=hint, id=f"{APP}.W001")]


def check_daphne_installed(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Find the daphne app beside this one."""
    if not apps.is_installed("daphne"):
        return []
    text = f'INSTALLED_APPS has both "{APP}" and "daphne", and both provide "runserver".'
    hint = 'Remove "daphne" from INSTALLED_APPS: the command listed first is the one that runs.'
    return [Warning(text, hint=hint, id=f"{APP}.W002")]


def check_whitenoise_order(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Find whitenoise's app where nothing asks it: a command extends those that are below."""
    if not is_above(STATICFILES, _WHITENOISE):
        return []
    text = (
        f'"{_WHITENOISE}" is listed below "{STATICFILES}" and has no effect: "runserver" serves'
        " static files itself."
    )
    hint = f'Move it above "{STATICFILES}"; whether above or below "{APP}" makes no difference.'
    return [Info(text, hint=hint, id=f"{APP}.I002")]


def check_whitenoise_middleware(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Find a project in development whose static files neither runserver nor whitenoise serves."""
    if not (settings.DEBUG and is_above(_WHITENOISE, STATICFILES)):
        return []
    if any(map(_may_be_whitenoise, settings.MIDDLEWARE)):
        return []
    text = (
        f'"{_WHITENOISE}" turns the static files of "runserver" off, and MIDDLEWARE has no'
        " WhiteNoiseMiddleware: nobody serves them."
    )
    hint = (
        f'Add "{_WHITENOISE_MIDDLEWARE}" to MIDDLEWARE, below SecurityMiddleware; or remove'
        f' "{_WHITENOISE}" from INSTALLED_APPS.'
    )
    return [Warning(text, hint=hint, id=f"{APP}.W007")]


def _runserver_above() -> str | None:
    """Return the name of the app whose runserver is found before ours."""
    for name, config in installed_apps().items():
        if name == APP:
            return None
        if "runserver" in find_commands(str(Path(config.path, "management"))):
            return name
    return None


def _extends_ours(name: str) -> bool:
    """Tell whether the runserver of an app is a subclass of ours, as whitenoise's then is."""
    if name == "daphne":
        return False  # and importing it would install a reactor
    try:
        command = import_module(f"{name}.management.commands.runserver").Command
        return any(base.__module__ == _OUR_COMMAND for base in command.__mro__)
    except Exception:  # noqa: BLE001 - of their module: "runserver" itself will show it
        return False


def _may_be_whitenoise(path: str) -> bool:
    """Tell whether a middleware is WhiteNoise, or cannot be loaded, which Django says itself."""
    try:
        middleware = import_string(path)
    except Exception:  # noqa: BLE001 - of the project's own modules
        return True
    bases = getattr(middleware, "__mro__", (middleware,))
    return any(getattr(base, "__module__", "").startswith("whitenoise.") for base in bases)
