"""What this process may have of the system, and what it uses."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Final

logger = logging.getLogger("django_daphne.server")

# Kept back for files, databases and the loop when the limit on connections is derived.
_RESERVED: Final = 64
_STATM: Final = Path("/proc/self/statm")


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


def find_rss() -> int | None:
    """Return the memory that this process has in use, in bytes; None elsewhere than on Linux."""
    try:
        return int(_STATM.read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None


def find_peak_rss() -> int:
    """Return the most memory that this process has ever had in use, in bytes; not on Windows."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
