"""The limit on open descriptors, of which every connection is one."""

from __future__ import annotations

import logging
from typing import Final

logger = logging.getLogger("django_daphne.server")

# Kept back for files, databases and the loop when the limit on connections is derived.
_RESERVED: Final = 64


def find_connection_limit() -> int | None:
    """Return how many connections the limit on descriptors leaves room for, or None."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return None
    return max(soft - min(_RESERVED, soft // 2), 1)


def raise_descriptor_limit() -> None:
    """Raise the soft limit on open descriptors to the hard one, where there is such a thing."""
    try:
        import resource
    except ImportError:  # Windows
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        # macOS says "unlimited" and refuses it; what there is has to do.
        logger.debug("The limit on descriptors cannot be raised to %s", hard)
