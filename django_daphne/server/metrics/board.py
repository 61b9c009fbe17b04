"""The pages of all processes that serve, added up, in the process that is asked for them."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from time import monotonic

from .families import LAYOUT, REASONS, SILENCE
from .page import Page


@dataclass(frozen=True)
class Totals:
    """The numbers of all processes together, in the layout's order; and what no page has.

    ``silence`` is how long ago the quietest process has given a sign, in seconds.
    """

    counts: list[int]
    seconds: list[float]
    silence: float
    restarts: dict[str, int]
    workers: int


class Board:
    """Adds up what processes have counted, those that live and those that have ended.

    Its methods may be called from any thread. No counter ever falls.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pages: list[Page] = []
        self._ended_counts = [0] * LAYOUT.counts
        self._ended_seconds = [0.0] * LAYOUT.seconds
        self._restarts: Counter[str] = Counter(dict.fromkeys(REASONS, 0))
        self._workers = 0

    def add(self) -> Page:
        """Return a page for a process that is about to start; hand its ``fileno`` to it."""
        page = Page.create()
        with self._lock:
            self._pages.append(page)
        return page

    def retire(self, page: Page) -> None:
        """Keep what a process has counted that has ended, and forget its page.

        Called again, it does nothing. What is counted in the page later is lost.
        """
        with self._lock:
            if page not in self._pages:
                return
            self._pages.remove(page)
            counts, seconds = page.read()
            for index in LAYOUT.lasting_counts:
                self._ended_counts[index] += counts[index]
            for index in LAYOUT.lasting_seconds:
                self._ended_seconds[index] += seconds[index]
        page.close()

    def count_restart(self, reason: str) -> None:
        """Count a worker that was started in the place of another; see ``REASONS``.

        ``reason`` is a word of the program's: every other one makes another time series.
        """
        with self._lock:
            self._restarts[reason] += 1

    def set_workers(self, count: int) -> None:
        """Say how many processes are ready."""
        self._workers = count

    def read(self) -> Totals:
        """Return the sums as they are now."""
        with self._lock:
            counts, seconds = self._ended_counts[:], self._ended_seconds[:]
            turned = []
            for page in self._pages:
                its_counts, its_seconds = page.read()
                counts = list(map(int.__add__, counts, its_counts))
                seconds = list(map(float.__add__, seconds, its_seconds))
                turned.append(its_seconds[LAYOUT.place(SILENCE).second])
            restarts = dict(self._restarts)
        turned = [moment for moment in turned if moment]  # others have not begun
        silence = max(monotonic() - min(turned), 0.0) if turned else 0.0
        return Totals(counts, seconds, silence, restarts, self._workers)

    def close(self) -> None:
        """Let all pages go; nothing is read any more."""
        with self._lock:
            pages, self._pages = self._pages, []
        for page in pages:
            page.close()
