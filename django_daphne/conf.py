"""The configuration as a Django project gives it: settings.DAPHNE, and where else values come from.

Nothing is read before it is asked for, so `override_settings` works.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import PurePath
from typing import Any, Final, Literal

from django.conf import settings

from .server import (
    ConfigurationError,
    Group,
    Layer,
    Resolved,
    all_options,
    option,
    resolve,
    timeout,
)

# THREADS_TOTAL, where the project does not say, for each of THREADS.
TOTAL_FOR_EACH: Final = 4


class DjangoConfig(Group, title="Django"):
    """Say how Django's requests are run."""

    django_handler: Literal["threaded", "stock"] = option(
        "threaded",
        help="How requests are run: threaded in one hop to a thread each, stock as Django does.",
    )
    threads: int = option(
        64, help="Sync views that run at the same time.", unit="threads", minimum=1
    )
    threads_total: int | None = option(
        None,
        help="All threads of requests: also those that wait for an async view or send a stream.",
        unit="threads",
        minimum=1,
        none_means=f"{TOTAL_FOR_EACH} times THREADS",
    )
    consumer_threads: int = option(
        16, help="Threads of synchronous Channels consumers.", unit="threads", minimum=1
    )
    thread_idle_timeout: float | None = option(
        60,
        help="The wait of an idle thread for a request. Beyond it: it ends.",
        unit="seconds",
        minimum=0.001,
        none_values=(-1,),
        none_means="never",
    )


def _is_pattern(value: str) -> bool:
    """Tell whether a path can be looked for: "**" stands for folders, and for whole ones."""
    return bool(value) and all(part == "**" or "**" not in part for part in PurePath(value).parts)


class DevelopmentConfig(Group, title="Development"):
    """Say what runserver, and rundaphne with --reload, do for a developer."""

    reload_include: tuple[str, ...] = option(
        (),
        help="A file whose change starts the server again, as that of a module does; or a glob such"
        " as templates/**/*.html. BASE_DIR is where relative ones begin.",
        path=True,
        rule=lambda values: all(map(_is_pattern, values)),
        allowed='a list of paths or globs, "**" a part of its own',
    )
    blocked_loop_time: float | None = timeout(
        0.25, "The time the event loop may be blocked.", "a warning with the stack"
    )


class FilesConfig(Group, title="Static files and media"):
    """Say which files rundaphne and django-daphne serve themselves, before the application."""

    # Off by default: the project may have WhiteNoise's middleware, or a proxy, that does it.
    serve_static: bool = option(
        False, help="Serve what is in STATIC_ROOT below STATIC_URL; it needs the extra static."
    )
    static_max_age: int | None = option(
        60,
        help="How long static files may be kept; those with a hash in their name are for ever.",
        unit="seconds",
        minimum=0,
        none_means="not said",
    )
    serve_media: bool = option(
        False, help="Serve what is in MEDIA_ROOT below MEDIA_URL, to everybody."
    )
    media_max_age: int | None = option(
        0,
        help="How long media may be kept without asking again.",
        unit="seconds",
        minimum=0,
        none_means="not said",
    )


# Groups that only Django needs, and every option that a project can set.
GROUPS: Final = (DjangoConfig, DevelopmentConfig, FilesConfig)
OPTIONS: Final = all_options(GROUPS)


def get_config(flags: Mapping[str, Any] | None = None) -> Resolved:
    """Return the configuration that flags, environment and settings make, in this order.

    `flags` maps field names to what the command line gave. Raise ConfigurationError with a line for
    every problem found.
    """
    resolved = resolve(flags or {}, os.environ, get_setting(), read_other_settings(), GROUPS)
    if problems := find_contradictions(resolved):
        raise ConfigurationError("\n".join(problems))
    return resolved


def find_contradictions(resolved: Resolved) -> list[str]:
    """Return a line for each pair of values for Django that rule each other out."""
    config: Any = resolved.extra[DjangoConfig]
    if config.threads_total is None or config.threads_total > config.threads:
        return []
    return [
        f"THREADS_TOTAL is {config.threads_total}; expected more than THREADS, which is"
        f" {config.threads}: async views and streams have what is left."
    ]


def use_config(resolved: Resolved) -> Resolved:
    """Make this the configuration of the process: that of the command that runs in it."""
    _in_use[:] = [resolved]
    return resolved


@contextmanager
def using_config(resolved: Resolved) -> Iterator[None]:
    """Make this the configuration of the process for as long as a block runs, as tests do."""
    _in_use.append(resolved)
    try:
        yield
    finally:
        with suppress(ValueError):  # a command that ran meanwhile has its own
            _in_use.remove(resolved)


def get_django_config() -> DjangoConfig:
    """Return how Django's requests are run: as the command says, or the project."""
    found: DjangoConfig = _get_in_use().extra[DjangoConfig]
    return found


def get_development_config() -> DevelopmentConfig:
    """Return what is done for the developer: as the command says, or the project."""
    found: DevelopmentConfig = _get_in_use().extra[DevelopmentConfig]
    return found


def get_files_config() -> FilesConfig:
    """Return which files are served: as the command says, or the project."""
    found: FilesConfig = _get_in_use().extra[FilesConfig]
    return found


def get_root_path() -> str:
    """Return the path that the project is mounted at, "" at the top: FORCE_SCRIPT_NAME, mostly."""
    return _get_in_use().config.http.root_path


def _get_in_use() -> Resolved:
    return _in_use[-1] if _in_use else get_config()


_in_use: list[Resolved] = []


def get_setting() -> object:
    """Return settings.DAPHNE as it is, an empty dictionary where there is none."""
    return getattr(settings, "DAPHNE", {})


def read_other_settings() -> Layer:
    """Read the settings outside of DAPHNE that stand in for a key that DAPHNE does not have.

    These are Django's FORCE_SCRIPT_NAME, and two that projects have kept from daphne.
    """
    layer = Layer()
    by_name = {item.name: item for item in OPTIONS}
    script_name = settings.FORCE_SCRIPT_NAME
    if script_name is not None:
        # Django takes "/shop/" as well as "/shop"; a root_path never ends with a slash.
        root_path = script_name.rstrip("/") if isinstance(script_name, str) else script_name
        layer.add(by_name["root_path"], root_path, "settings.FORCE_SCRIPT_NAME")
    for name in ("websocket_max_message_size", "websocket_max_frame_size"):
        setting = f"DAPHNE_{name.upper()}"
        if hasattr(settings, setting):
            layer.add(by_name[name], getattr(settings, setting), f"settings.{setting}")
    return layer
