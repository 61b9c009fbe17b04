"""System checks: the order of INSTALLED_APPS, settings.DAPHNE and the environment.

One function per check, each with an id of its own that never changes its meaning.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from django.apps import AppConfig, apps
from django.core.checks import CheckMessage, Error, Info, Warning
from django.core.management import find_commands
from django.db import connections

from .conf import (
    GROUPS,
    OPTIONS,
    TOTAL_FOR_EACH,
    DjangoConfig,
    find_contradictions,
    get_django_config,
    get_setting,
    read_other_settings,
)
from .handlers.middleware import Obstacles, find_obstacles
from .handlers.strategies import describe, has_async_views
from .server import (
    ConfigurationError,
    Problem,
    contradictions,
    merge,
    read_environment,
    read_settings,
)

APP = "django_daphne"
STATICFILES = "django.contrib.staticfiles"
REFERENCE = "The reference of the settings lists every name with its meaning."

Check = Callable[..., list[CheckMessage]]


def check_staticfiles_order(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Find django.contrib.staticfiles above this app."""
    if not any(config.name == STATICFILES for config in _apps_above()):
        return []
    text = f'"{APP}" must be listed above "{STATICFILES}" in INSTALLED_APPS.'
    hint = f'Move "{APP}" to the top. Below, "runserver" is a server without ASGI.'
    return [Error(text, hint=hint, id=f"{APP}.E001")]


def check_runserver_shadowed(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Find other apps above this one that have a runserver command."""
    hint = f'Move "{APP}" above it in INSTALLED_APPS, best at the top.'
    return [
        Warning(
            f'"{config.name}" is listed above "{APP}", so "runserver" is its command.',
            hint=hint,
            id=f"{APP}.W001",
        )
        for config in _apps_above()
        if config.name != STATICFILES
        and "runserver" in find_commands(str(Path(config.path, "management")))
    ]


def check_daphne_installed(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Find the daphne app beside this one."""
    if not apps.is_installed("daphne"):
        return []
    text = f'INSTALLED_APPS has both "{APP}" and "daphne", and both provide "runserver".'
    hint = 'Remove "daphne" from INSTALLED_APPS: the command listed first is the one that runs.'
    return [Warning(text, hint=hint, id=f"{APP}.W002")]


def check_setting_type(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Find a settings.DAPHNE that is not a dictionary."""
    hint = 'Write, for example, DAPHNE = {"KEEP_ALIVE_TIMEOUT": 30}, or remove it.'
    return [_error(problem, "E002", hint) for problem in _setting_problems("type")]


def check_setting_names(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Find keys of settings.DAPHNE that no option has."""
    return [_error(problem, "E003", REFERENCE) for problem in _setting_problems("unknown")]


def check_setting_values(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Find settings of a wrong type or value."""
    problems = [*_setting_problems("value"), *read_other_settings().problems]
    return [_error(problem, "E004", REFERENCE) for problem in problems]


def check_contradictions(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Find values in the environment and the settings that rule each other out."""
    layers = [
        read_environment(OPTIONS, os.environ),
        read_settings(OPTIONS, get_setting()),
        read_other_settings(),
    ]
    resolved = merge(layers, GROUPS)
    hint = "In settings.DAPHNE the key of a flag is its name in upper case, with underscores."
    return [
        Error(text, hint=hint, id=f"{APP}.E005")
        for text in (
            *contradictions(resolved.config, resolved.origins),
            *find_contradictions(resolved),
        )
    ]


def check_environment_names(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Find environment variables with the prefix of this app that no option has."""
    return [
        Warning(problem.text, hint=problem.hint or REFERENCE, id=f"{APP}.W003")
        for problem in read_environment(OPTIONS, os.environ).warnings
    ]


def check_environment_values(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Find environment variables whose text cannot be used."""
    problems = read_environment(OPTIONS, os.environ).problems
    return [_error(problem, "E006", REFERENCE) for problem in problems]


def check_strategy(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Find middleware that stands in the way of a faster way for the project's requests."""
    obstacles = _obstacles()
    if obstacles is None or _django_config("threaded") is None:
        return []
    if obstacles.async_only:
        hint = "Where a class can also be synchronous (sync_capable), a sync view takes one hop."
    elif not _has_async_views():
        return []
    elif obstacles.sync_only:
        hint = "Where a class can also be asynchronous (async_capable), async views are awaited."
    elif obstacles.dual:
        hint = "A MiddlewareMixin with nothing but process_request and the like ends no run."
    else:
        return []
    return [Info(describe(obstacles), hint=hint, id=f"{APP}.I001")]


def check_middleware_mix(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Find middleware that is synchronous only beside such that is asynchronous only."""
    obstacles = _obstacles()
    if obstacles is None or not (obstacles.sync_only and obstacles.async_only):
        return []
    text = (
        f"MIDDLEWARE has {', '.join(obstacles.sync_only)}, which can only be synchronous, and"
        f" {', '.join(obstacles.async_only)}, which can only be asynchronous."
    )
    hint = "Each request waits for a change between threads wherever they meet. Keep one kind."
    return [Warning(text, hint=hint, id=f"{APP}.W004")]


def check_persistent_connections(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Find CONN_MAX_AGE under Django's own handler, where every request has a new thread."""
    if _django_config("stock") is None:
        return []
    hint = (
        'Set CONN_MAX_AGE to 0, use a pool (OPTIONS["pool"]), or remove DAPHNE["DJANGO_HANDLER"].'
    )
    found: list[CheckMessage] = [
        Warning(
            f"DATABASES[{alias!r}] has CONN_MAX_AGE = {database['CONN_MAX_AGE']!r}, but under"
            " Django's own ASGI handler no connection is used again, and some stay open.",
            hint=hint,
            id=f"{APP}.W005",
        )
        for alias, database in connections.settings.items()
        if database.get("CONN_MAX_AGE") != 0 and not database.get("OPTIONS", {}).get("pool")
    ]
    return found


def check_database_pools(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Find more threads than a database's own pool has connections."""
    config = _django_config("threaded")
    if config is None:
        return []
    total = config.threads_total or TOTAL_FOR_EACH * config.threads
    found: list[CheckMessage] = []
    for alias, database in connections.settings.items():
        pool = database.get("OPTIONS", {}).get("pool")
        if not pool:
            continue
        # The sizes of psycopg_pool.ConnectionPool where the project names none.
        sizes = pool if isinstance(pool, dict) else {}
        size = sizes.get("max_size") or sizes.get("min_size", 4)
        if total > size:
            text = (
                f"THREADS_TOTAL is {total}, but the pool of DATABASES[{alias!r}] has at most"
                f" {size} connections."
            )
            hint = (
                'Requests beyond wait for one and fail after the pool\'s timeout. Raise "max_size"'
                ' in OPTIONS["pool"], or lower THREADS_TOTAL and THREADS in settings.DAPHNE.'
            )
            found.append(Warning(text, hint=hint, id=f"{APP}.W006"))
    return found


CHECKS: Sequence[Check] = (
    check_staticfiles_order,
    check_runserver_shadowed,
    check_daphne_installed,
    check_setting_type,
    check_setting_names,
    check_setting_values,
    check_contradictions,
    check_environment_names,
    check_environment_values,
    check_strategy,
    check_middleware_mix,
    check_persistent_connections,
    check_database_pools,
)


def _apps_above() -> list[AppConfig]:
    configs = list(apps.get_app_configs())
    names = [config.name for config in configs]
    return configs[: names.index(APP)] if APP in names else []


def _django_config(handler: str) -> DjangoConfig | None:
    """Return how requests are run; None if it is not by this handler, or other checks complain."""
    try:
        config = get_django_config()
    except ConfigurationError:
        return None
    return config if config.django_handler == handler else None


def _obstacles() -> Obstacles | None:
    """Return the middleware in the way; None where Django itself cannot load it, and says so."""
    try:
        return find_obstacles()
    except Exception:  # noqa: BLE001 - of the project's own modules
        return None


def _has_async_views() -> bool:
    try:
        return has_async_views()
    except Exception:  # noqa: BLE001 - of the project's URLs, which may not be there yet
        return False


def _setting_problems(kind: str) -> list[Problem]:
    problems = read_settings(OPTIONS, get_setting()).problems
    return [problem for problem in problems if problem.kind == kind]


def _error(problem: Problem, number: str, hint: str) -> Error:
    return Error(problem.text, hint=problem.hint or hint, id=f"{APP}.{number}")
