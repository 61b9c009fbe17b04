"""Django requests at the speed of WSGI: each in one hop to a long-lived thread."""

from __future__ import annotations

import atexit
import sys
from functools import cache
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

from django.core import asgi
from django.core.handlers.asgi import ASGIHandler

from ..conf import GROUPS, get_django_config

if TYPE_CHECKING:
    from .lanes import LanePool

__all__ = (
    "GROUPS",
    "make_handler",
    "make_static_files_handler",
    "prepare",
    "prepare_site",
    "substitute",
)

# Seconds that requests are given which still run when the interpreter ends.
_EXIT_TIMEOUT: Final = 5.0


def make_handler() -> Any:
    """Return the handler that ``DJANGO_HANDLER`` names; in the place of ``ASGIHandler()``."""
    handler: Any
    if is_stock():
        handler = ASGIHandler()
    else:
        from .threaded import ThreadedASGIHandler

        handler = ThreadedASGIHandler(request_pool())
    _made.add(handler)
    return handler


def renew_handlers() -> None:
    """Make what ``make_handler`` has made anew, in its place: for tests that change settings.

    A handler loads its middleware once, and a project makes its handler when it is imported.
    """
    for handler in list(_made):
        pool = () if type(handler) is ASGIHandler else (request_pool(),)
        handler.__init__(*pool)


def substitute() -> None:
    """Let Django's ``get_asgi_application()`` return our handler where it is wanted.

    Nobody else's name is changed: tools that patch ASGIHandler have to find, and to patch, the
    class that ours extends.
    """
    vars(asgi)["ASGIHandler"] = make_handler


def make_static_files_handler(application: Any) -> Any:
    """Return what serves static files in development, and the application for all else."""
    if is_stock():
        from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler

        return ASGIStaticFilesHandler(application)
    from .static_files import ThreadedStaticFilesHandler

    return ThreadedStaticFilesHandler(application, request_pool())


def prepare(application: Any) -> Any:
    """Return a loaded application with threads for Channels' synchronous consumers, if it has any.

    Without Channels, or where the project wants Django's own handler, it is the same.
    """
    if "channels.consumer" not in sys.modules or is_stock() or isinstance(application, ASGIHandler):
        return application
    from .consumers import ConsumerLanes

    config = get_django_config()
    return ConsumerLanes(application, config.consumer_threads, config.thread_idle_timeout)


def prepare_site(application: Any) -> Any:
    """Return what is served in production: ``prepare``, and before it the files that are wanted.

    Raise ConfigurationError with a line for every problem.
    """
    from ..public_files import serve_files

    return serve_files(prepare(application))


def is_stock() -> bool:
    """Tell whether the project wants Django's own handler."""
    return get_django_config().django_handler == "stock"


def request_pool() -> LanePool:
    """Return the lanes of requests, one pool for the process."""
    config = get_django_config()
    return _pool(config.threads, config.threads_total, config.thread_idle_timeout)


@cache
def _pool(threads: int, total: int | None, idle_timeout: float | None) -> LanePool:
    """Return the one pool of the process."""
    return make_pool(threads, total, idle_timeout)


def make_pool(threads: int, total: int | None, idle_timeout: float | None) -> LanePool:
    """Return new lanes, which end with the interpreter: so many for sync views, and in all."""
    from .connections import close_all
    from .lanes import LanePool

    pool = LanePool(threads, idle_timeout, close_all, total)
    atexit.register(pool.close, _EXIT_TIMEOUT)
    return pool


_made: WeakSet[Any] = WeakSet()
