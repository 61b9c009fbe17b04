"""Checks of how requests are run: middleware, threads and databases."""

from __future__ import annotations

from typing import Any

from django.core.checks import CheckMessage, Info, Warning
from django.db import connections

from ..conf import TOTAL_FOR_EACH, DjangoConfig, get_django_config
from ..handlers.middleware import Obstacles, find_obstacles
from ..handlers.strategies import describe, has_async_views
from ..server import ConfigurationError
from .base import APP


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
