"""What one HTTP/2 connection may ask for without giving work: each kind of it has an allowance.

A client pays little for a frame that makes the server work: a request that it takes back at once, a
PING, an empty DATA. None of them is forbidden and every client sends some, so each kind is a bucket
of tokens that refills with time. Who empties one is told to calm down (ENHANCE_YOUR_CALM) and loses
the connection. The table is the documentation: see also docs/topics/http2.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ..exceptions import HTTP2Error
from ..interfaces import HTTPCycle
from .http2_frames import ErrorCode

# kind: how many at once, and how many more each second. CVE numbers name what it is against.
ALLOWANCES: Final[dict[str, tuple[int, int]]] = {
    "resets": (200, 20),  # by the client (CVE-2023-44487) or provoked from us (CVE-2025-8671)
    "SETTINGS": (100, 5),  # CVE-2019-9515
    "PING": (500, 50),  # CVE-2019-9512
    "empty frames": (100, 10),  # CVE-2019-9518
    "PRIORITY": (1000, 100),  # CVE-2019-9513; PRIORITY_UPDATE, too
    "WINDOW_UPDATE": (2000, 200),  # CVE-2019-9511; sending earns more, see below
    "unknown frames": (100, 10),
}
# Who is sent much has much to acknowledge: tokens for each frame of DATA, unless the client's own
# window made it smaller than so many bytes.
EARNED_BY_DATA: Final = 3
WORTH_EARNING: Final = 1024
# Cycles that are kept without a look whether they run.
_MAX_UNSEEN: Final = 16
# Frames that one block of header fields may come in (VU#421644); its bytes are bounded, too.
MAX_BLOCK_FRAMES: Final = 64


class Allowances:
    """What is left of each allowance of one connection."""

    __slots__ = ("_left", "_now", "_since")

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._since: dict[str, float] = {}
        self._left: dict[str, float] = {}

    def take(self, kind: str) -> None:
        """Take one; raise HTTP2Error when there is none left."""
        left = self._left.get(kind)
        if left is None:
            self._since[kind] = self._now()
            left = ALLOWANCES[kind][0]
        elif left < 1:
            left = self._refill(kind, left)
        self._left[kind] = left - 1

    def earn(self, kind: str, tokens: int) -> None:
        """Add to an allowance that was used before, up to what it began with."""
        left = self._left.get(kind)
        if left is not None:
            self._left[kind] = min(left + tokens, ALLOWANCES[kind][0])

    def _refill(self, kind: str, left: float) -> float:
        """Look at the clock, which only the impatient make necessary."""
        most, rate = ALLOWANCES[kind]
        now = self._now()
        left = min(left + (now - self._since[kind]) * rate, most)
        self._since[kind] = now
        if left < 1:
            raise HTTP2Error(
                ErrorCode.ENHANCE_YOUR_CALM, f"too many {kind}", limit="http2_allowances"
            )
        return left


class StreamLimit:
    """How many streams there may be, with those that ended and whose application still runs."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._running: list[HTTPCycle] = []

    def stream_ended(self, cycle: HTTPCycle | None) -> None:
        """Count an application that runs on behind its stream."""
        if cycle is not None and cycle.is_running:
            self._running.append(cycle)

    def has_room(self, streams: int) -> bool:
        """Say whether one more may begin beside so many."""
        running = self._running
        # Most have ended since. Few are kept without a look, so that looking costs next to nothing.
        if len(running) > _MAX_UNSEEN or streams + len(running) >= self.most:
            running[:] = [cycle for cycle in running if cycle.is_running]
        return streams + len(running) < self.most
