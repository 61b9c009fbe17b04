"""Django requests at the speed of WSGI: each in one hop to a long-lived thread."""

from __future__ import annotations

import atexit
import logging
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from django.core.handlers.asgi import ASGIHandler

from ..conf import get_django_config

if TYPE_CHECKING:
    from .lanes import LanePool

logger = logging.getLogger("django_daphne.server")

# Seconds that requests are given which still run when the interpreter ends.
_EXIT_TIMEOUT: Final = 5.0


def make_handler() -> Any:
    """Return the handler that ``DJANGO_HANDLER`` names; in the place of ``ASGIHandler()``."""
    config = get_django_config()
    if config.django_handler == "stock":
        return ASGIHandler()
    from .threaded import ThreadedASGIHandler

    return ThreadedASGIHandler(
        _pool(config.threads, config.threads_total, config.thread_idle_timeout)
    )


@cache
def _pool(threads: int, total: int | None, idle_timeout: float | None) -> LanePool:
    """Return the one pool of the process."""
    from .connections import close_all
    from .lanes import LanePool

    pool = LanePool(threads, idle_timeout, close_all, total)
    atexit.register(pool.close, _EXIT_TIMEOUT)
    return pool
