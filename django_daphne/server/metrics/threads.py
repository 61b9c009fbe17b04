"""What threads have to do with metrics: where those that serve and those that count meet.

Threads belong to a process and not to a server of it, and are started by who knows the application.
"""

from __future__ import annotations

from collections.abc import Callable

# Called with how long a request has waited for a thread, in seconds, and in any thread.
TakeNote = Callable[[float], object]
# Returns how many threads there are, and how many of them are busy.
Sample = Callable[[], tuple[int, int]]
# Told whom to call from now on, or None.
Introduce = Callable[[TakeNote | None], object]

_pools: list[tuple[Introduce, Sample]] = []
_in_use: TakeNote | None = None


def watch_threads(introduce: Introduce, sample: Sample) -> None:
    """Let threads be counted, for as long as the process lives.

    ``introduce`` is called at once and whenever another counts: with what to call for each request
    that has waited, or with None when nobody counts. ``sample`` is called now and then, on the
    loop's thread.
    """
    _pools.append((introduce, sample))
    introduce(_in_use)


def use(take_note: TakeNote | None) -> None:
    """Let all threads call this from now on."""
    global _in_use  # noqa: PLW0603 - threads are the process's
    _in_use = take_note
    for introduce, _ in _pools:
        introduce(take_note)


def sample() -> tuple[int, int]:
    """Return how many threads there are in all, and how many of them are busy."""
    found = [look() for _, look in _pools]
    return sum(each[0] for each in found), sum(each[1] for each in found)
