"""What stands around Django in this process: the parts that ADDONS names, separated by commas.

Each part is a module of `parts` with a ``PART``. Their options come as JSON in ADDONS_OPTIONS, and
what they have recorded goes to the file ADDONS_RECORD when the process ends.
"""

from __future__ import annotations

import atexit
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

OPTIONS: dict[str, Any] = json.loads(os.environ.get("ADDONS_OPTIONS", "{}"))


def nothing(*_: Any) -> Any:
    """Do nothing; it sees nothing and has recorded nothing, too."""
    return {}


@dataclass(frozen=True)
class Part:
    """A package, as its own documentation says that it is put into a project.

    Its middleware stands ``outer`` of all, ``early`` behind SecurityMiddleware, ``inner`` behind
    the one for users, or ``last``. `start` is called before Django is imported, or at the stage
    that the option "start" names: "imported", when Django is ready, or "built", when there is an
    application. `wrap` puts something around the application. `fill` writes to the new database.
    `mark` takes note of a tag in a view; `see` returns what a view sees of the package. `recorded`
    is asked at the end of the process.
    """

    apps: Sequence[str] = ()
    outer: Sequence[str] = ()
    early: Sequence[str] = ()
    inner: Sequence[str] = ()
    last: Sequence[str] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    urls: Callable[[], Sequence[Any]] = nothing
    start: Callable[[], Any] = nothing
    wrap: Callable[[Any], Any] = lambda application: application
    fill: Callable[[], Any] = nothing
    mark: Callable[[str], Any] = nothing
    see: Callable[[Any], Mapping[str, Any]] = nothing
    recorded: Callable[[], Any] = nothing


def load_parts() -> dict[str, Part]:
    """Return the parts of this process by name."""
    names = filter(None, os.environ.get("ADDONS", "").split(","))
    return {name: import_module(f"{__package__}.parts.{name}").PART for name in names}


PARTS = load_parts()


def collect(attribute: str) -> list[str]:
    """Return what all parts list under that name."""
    return [entry for part in PARTS.values() for entry in getattr(part, attribute)]


def start(stage: str) -> None:
    """Start the parts whose time it is."""
    if stage == OPTIONS.get("start", "first"):
        for part in PARTS.values():
            part.start()


def record_at_exit() -> None:
    """Write down at the end of the process what the parts have recorded."""
    if path := os.environ.get("ADDONS_RECORD"):
        atexit.register(_record, Path(path))


def _record(path: Path) -> None:
    recorded = {name: part.recorded() for name, part in PARTS.items()}
    text = json.dumps({"parts": recorded, "kinds": kinds()}, indent=1, default=str)
    path.write_text(text, encoding="utf-8")


def kinds() -> dict[str, str]:
    """Return of what kind each middleware is that does not come from Django."""
    from django.conf import settings
    from django.utils.module_loading import import_string

    own = [path for path in settings.MIDDLEWARE if not path.startswith("django.")]
    return {path: _kind(import_string(path)) for path in own}


def _kind(middleware: Any) -> str:
    """Return the kind of a middleware, by what Django and MiddlewareMixin say of it."""
    from django.utils.deprecation import MiddlewareMixin

    if not getattr(middleware, "async_capable", False):
        return "sync only"
    if not getattr(middleware, "sync_capable", True):
        return "async only"
    calls = [getattr(middleware, name, None) for name in ("__call__", "__acall__")]
    own = [getattr(MiddlewareMixin, name) for name in ("__call__", "__acall__")]
    return "hooks" if calls == own else "dual"
