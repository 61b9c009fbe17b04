"""Python's garbage collector while a process loads, and afterwards."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

# New objects between two rounds of the collector.
_SELDOM: Final = 50_000


@contextmanager
def collecting_seldom() -> Iterator[None]:
    """Let the collector wait while modules are imported, which makes little garbage.

    It would look at all that is new again and again. A collector that somebody has set otherwise,
    or sets meanwhile, is left alone.
    """
    before = gc.get_threshold()
    seldom = (_SELDOM, *before[1:])
    if not 0 < before[0] < _SELDOM:
        yield
        return
    gc.set_threshold(*seldom)
    try:
        yield
    finally:
        if gc.get_threshold() == seldom:
            gc.set_threshold(*before)


def keep_what_is_loaded() -> None:
    """Take what has been made so far out of the collector's rounds.

    An application and its modules live as long as their process. Without them a full round takes
    a fraction of the time, and that is time in which nobody is served.
    """
    gc.freeze()
