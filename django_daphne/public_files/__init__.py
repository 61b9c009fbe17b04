"""Static files and media in production: served before the application, where it is wanted.

No middleware runs for them and, for static files, no thread. ``handlers/static_files`` is what
serves them in development. WhiteNoise is imported only by who serves.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from django.conf import ENVIRONMENT_VARIABLE, settings
from django.urls import get_script_prefix, set_script_prefix

from ..conf import get_files_config, get_root_path
from ..server import ConfigurationError, Problem

__all__ = ("find_problems", "serve_files")


def serve_files(application: Any) -> Any:
    """Return an application with the files before it that the project wants served.

    Without any it is the same. Raise ConfigurationError with a line for every problem.
    """
    config = get_files_config()
    wanted = _wanted()
    if not wanted:
        return application
    problems = [*find_problems(), *(kind.find_missing_folder() for kind in wanted)]
    if found := [str(problem) for problem in problems if problem is not None]:
        raise ConfigurationError("\n".join(found))

    from whitenoise.media_types import MediaTypes

    from .handler import PublicFiles, Source
    from .media import MediaFiles
    from .static import StaticFiles

    sources: list[Source] = []
    if config.serve_static:
        try:
            with _script_prefix():
                sources.append(StaticFiles(_STATIC.prefix, _STATIC.root, config.static_max_age))
        except OSError as error:
            raise ConfigurationError(f"STATIC_ROOT cannot be read: {error}") from error
    if config.serve_media:
        types = MediaTypes(extra_types=getattr(settings, "WHITENOISE_MIMETYPES", None))
        sources.append(MediaFiles(_MEDIA.prefix, _MEDIA.root, config.media_max_age, types))
    return PublicFiles(application, *sources)


@contextmanager
def _script_prefix() -> Iterator[None]:
    """Let URLs begin as in a request: Django keeps the first STATIC_URL that it has made."""
    before = get_script_prefix()
    set_script_prefix(f"{get_root_path()}/")
    try:
        yield
    finally:
        set_script_prefix(before)


def find_problems() -> list[Problem]:
    """Return what is wrong with the settings of those files that are to be served."""
    wanted = _wanted()
    problems = [problem for kind in wanted for problem in kind.find_problems()]
    if wanted and find_spec("whitenoise") is None:
        text = f"{wanted[0].option} is on, but the package whitenoise is not installed."
        problems.append(Problem(kind="value", text=text, hint="Install django-daphne[static]."))
    return problems


class _Kind(NamedTuple):
    """One of the two kinds of files, and the settings that belong to it."""

    name: str
    filled_by: str

    @property
    def option(self) -> str:
        return f"SERVE_{self.name}"

    @property
    def root(self) -> Any:
        return getattr(settings, f"{self.name}_ROOT")

    @property
    def url(self) -> Any:
        # As it is written: Django puts the script name of the moment before it, and keeps that.
        return getattr(settings._wrapped, f"{self.name}_URL")

    @property
    def prefix(self) -> str:
        """Return the path of the URL, with a slash at both ends, without the project's own."""
        path = f"/{urlsplit(self.url or '').path.strip('/')}/"
        if self.name == "STATIC":
            path = getattr(settings, "WHITENOISE_STATIC_PREFIX", None) or path
        mounted = get_root_path()
        path = path.removeprefix(mounted) if path.startswith(f"{mounted}/") else path
        return f"/{path.strip('/')}/".replace("//", "/")

    def find_problems(self) -> Iterator[Problem]:
        """Yield what can be seen before anybody has made the folder."""
        if self.prefix == "/":
            yield self._problem(
                f"{self.name}_URL is {self.url!r}.",
                f"Expected a path of its own, such as {self.name.lower() + '/'!r}.",
            )
        if not self.root:
            yield self._problem(
                f"{self.name}_ROOT is not set.",
                f"Set it to the folder that {self.filled_by}.",
            )
        elif secret := self._find_settings():
            yield self._problem(
                f"{self.name}_ROOT, {str(self.root)!r}, has the project's settings in it: {secret}",
                f"Set it to a folder for nothing but what {self.filled_by}.",
            )

    def find_missing_folder(self) -> Problem | None:
        """Return what is wrong with the folder on the disk."""
        if not self.root or Path(self.root).is_dir():
            return None
        if self.name == "MEDIA" and not Path(self.root).exists():
            return None  # the first upload makes it
        return self._problem(
            f"{self.name}_ROOT, {str(self.root)!r}, is no folder.",
            f"Expected the folder that {self.filled_by}.",
        )

    def _find_settings(self) -> str | None:
        module = sys.modules.get(os.environ.get(ENVIRONMENT_VARIABLE, ""))
        file = getattr(module, "__file__", None)
        is_inside = file and Path(os.path.realpath(self.root)) in Path(file).resolve().parents
        return file if is_inside else None

    def _problem(self, text: str, hint: str) -> Problem:
        return Problem(kind="value", text=f"{self.option} is on, but {text}", hint=hint)


_STATIC = _Kind("STATIC", "collectstatic fills")
_MEDIA = _Kind("MEDIA", "users fill")


def _wanted() -> list[_Kind]:
    config = get_files_config()
    kinds = ((config.serve_static, _STATIC), (config.serve_media, _MEDIA))
    return [kind for is_wanted, kind in kinds if is_wanted]
