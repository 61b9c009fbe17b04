"""Checks of the application that is served, and of what its modules do to the server.

The module of ASGI_APPLICATION is never imported here: it may be slow, and Django may not be ready
for it. Whatever is wrong inside is shown by the command that serves it.
"""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Info, Warning
from django.urls import get_resolver

from ..asgi import find_missing, find_misspelling, guess_name
from ..server import ForeignReactor, find_foreign_reactor
from .base import APP


def check_application_name(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Find an ASGI_APPLICATION that is no dotted name."""
    name = _application_name()
    return _errors(find_misspelling(name) if name else None, "E007")


def check_application_is_there(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Find an ASGI_APPLICATION that leads nowhere, as far as that shows without an import."""
    name = _application_name()
    if not name or find_misspelling(name) or _is_wsgi(name):
        return []
    return _errors(find_missing(name), "E008")


def check_wsgi_application(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Find the value of WSGI_APPLICATION in ASGI_APPLICATION."""
    name = _application_name()
    if not name or not _is_wsgi(name):
        return []
    text = f"ASGI_APPLICATION and WSGI_APPLICATION are both {name!r}."
    guess = guess_name()
    other = f"Set ASGI_APPLICATION to {guess!r}" if guess else "Name the ASGI application"
    hint = f"{other}, or remove the setting: Django's own application is served without it."
    return [Error(text, hint=hint, id=f"{APP}.E009")]


def check_channels_application(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Find Channels in a project whose consumers no request reaches."""
    if _application_name() or not apps.is_installed("channels"):
        return []
    text = (
        "Channels is installed, but ASGI_APPLICATION is not set: Django's own application is"
        " served, and no WebSocket reaches a consumer."
    )
    example = guess_name() or "mysite.asgi.application"
    hint = f"Set ASGI_APPLICATION to the name of the router, such as {example!r}."
    return [Warning(text, hint=hint, id=f"{APP}.W008")]


def check_reactor(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Find a Twisted reactor that a module of the project has installed by importing it."""
    _load_urls()
    found = find_foreign_reactor()
    if found is None or _is_of_a_command(found):
        return []
    # The server would say the same when it starts in this process.
    found.mark_reported()
    if found.is_usable:
        return [Info(found.text, hint=found.advice, id=f"{APP}.I003")]
    return [Warning(found.text, hint=found.advice, id=f"{APP}.W009")]


def _application_name() -> Any:
    return getattr(settings, "ASGI_APPLICATION", None)


def _is_wsgi(name: object) -> bool:
    return name == getattr(settings, "WSGI_APPLICATION", None)


def _errors(fault: str | None, number: str) -> list[CheckMessage]:
    return [Error(fault, id=f"{APP}.{number}")] if fault else []


def _load_urls() -> None:
    """Load the views, as Django's own checks do, which may come before or after this one."""
    try:
        get_resolver().url_patterns  # noqa: B018 - it loads them
    except Exception:  # noqa: BLE001 - of the project's URLs, which may not be there yet
        return


def _is_of_a_command(found: ForeignReactor) -> bool:
    """Tell whether only modules of management commands hold it, which are not there when serving.

    A crawler's command has a reason to have a reactor.
    """
    return bool(found.holders) and all(".management.commands." in name for name in found.holders)
