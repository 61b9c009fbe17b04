"""The project's ASGI application: finding it, and Django's own where it has none."""

from __future__ import annotations

import re
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from django.conf import settings
from django.core import asgi
from django.core.exceptions import ImproperlyConfigured

from .handlers import substitute
from .server import find_misfit


class ApplicationNotFound(ImproperlyConfigured):
    """ASGI_APPLICATION names what is not there, or no application."""


def get_asgi_application() -> Any:
    """Return an ASGI application for the Django project, as Django's function of that name.

    A project whose INSTALLED_APPS have this app gets the same one from Django's.
    """
    substitute()
    return asgi.get_asgi_application()


def load_application() -> Any:
    """Return the application that settings.ASGI_APPLICATION names, or Django's own without it.

    Raises ApplicationNotFound with the part of the name that leads nowhere, or with what is there
    instead of an application. An error inside the project's module comes out as it is: its
    traceback is the author's.
    """
    path = getattr(settings, "ASGI_APPLICATION", None)
    if not path:
        return get_asgi_application()
    if fault := find_misspelling(path):
        raise ApplicationNotFound(fault)
    module_path, _, name = path.rpartition(".")
    try:
        module = import_module(module_path)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_path}.".startswith(f"{error.name}."):
            raise
        raise ApplicationNotFound(_missing_module(module_path, error.name)) from error
    if not hasattr(module, name):
        fault = find_missing(path)
        raise ApplicationNotFound(
            fault or f"Cannot find {name!r} in ASGI_APPLICATION module {module_path}"
        )
    application = getattr(module, name)
    if misfit := find_misfit(application):
        raise ApplicationNotFound(f"ASGI_APPLICATION {path!r} {misfit}")
    return application


def find_misspelling(path: object) -> str | None:
    """Return what is wrong with a value of ASGI_APPLICATION that is no dotted name."""
    spelled = ""
    if isinstance(path, str):
        if _is_dotted_name(path):
            return None
        # A path of a file, or what other servers take for a name.
        spelled = re.sub(r"[/\\:]+", ".", path.strip().removesuffix(".py").strip("./\\"))
        if path.strip().endswith(".py"):
            spelled += ".application"
    if not _is_dotted_name(spelled):
        spelled = guess_name() or "mysite.asgi.application"
    return f"ASGI_APPLICATION is {path!r}; expected a dotted name such as {spelled!r}."


def find_missing(path: str) -> str | None:
    """Return where a dotted name leads nowhere, as far as it shows without its module's import."""
    module_path = path.rpartition(".")[0]
    if missing := _find_missing_module(module_path):
        return _missing_module(module_path, missing)
    if _is_package(module_path) and _has_module(path):
        example = guess_name() or f"{path}.application"
        return (
            f"ASGI_APPLICATION {path!r} is a module; expected the application in it, such as"
            f" {example!r}."
        )
    return None


def guess_name() -> str | None:
    """Return what "startproject" calls the application, if the project has such a module."""
    package = getattr(settings, "ROOT_URLCONF", None)
    if not isinstance(package, str) or "." not in package:
        return None
    module = f"{package.rpartition('.')[0]}.asgi"
    return f"{module}.application" if _has_module(module) else None


def _is_dotted_name(text: str) -> bool:
    parts = text.split(".")
    return len(parts) > 1 and all(map(str.isidentifier, parts))


def _missing_module(module_path: str, missing: str) -> str:
    guess = guess_name()
    text = f"Cannot import ASGI_APPLICATION module {module_path!r}: there is no {missing!r}."
    return f"{text} There is {guess!r}." if guess else text


def _find_missing_module(module_path: str) -> str | None:
    """Return the first part of a module's name that is not there; packages are imported for it."""
    parts = module_path.split(".")
    for count in range(1, len(parts) + 1):
        if not _has_module(name := ".".join(parts[:count])):
            return name
    return None


def _is_package(name: str) -> bool:
    """Tell whether a module can have modules in it: to look for them imports it."""
    spec = find_spec(name)
    return spec is not None and spec.submodule_search_locations is not None


def _has_module(name: str) -> bool:
    """Tell whether there is such a module; where that cannot be known, it is assumed.

    The packages that it is in are imported for it.
    """
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False
    except Exception:  # noqa: BLE001 - of a package of the project, whose import shows it
        return True
