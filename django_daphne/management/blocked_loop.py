"""A warning when code on the event loop keeps it from serving anybody else.

Theory of operation. A thread looks several times within the limit at the stack of the loop's
thread. While the loop waits for something to do, that is all. While it runs something, the thread
asks it for a sign. If none comes within the limit, the thread takes the stack, waits for the sign
on, and then says what was running and for how long.

The thread counts only time in which it could have seen the sign. Where it was late itself, the
process was stopped, the machine slept, or others had the processor or the interpreter's lock; that
is not the loop's fault, and the limit begins again. And a loop that waits for something to do is
not blocked, however late the sign is.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from time import monotonic
from types import CodeType
from typing import Final

from .console import format_seconds
from .stacks import Sight, is_debugged, look_at, stack_of

logger = logging.getLogger("django_daphne.server")

# Seconds. How long the end of a block is waited for before it is told of.
_PATIENCE: Final = 5.0
# Seconds in which one function is named once, and the number of functions that are remembered.
_QUIET_TIME: Final = 10.0
_MAX_FUNCTIONS: Final = 100
# The part of the limit after which is looked again, and the fewest seconds.
_LOOK: Final = 1 / 5
_SHORTEST_LOOK: Final = 0.01
# Seconds. Threads that compute give the interpreter's lock to each other after 5 ms; a thread that
# waits longer than for two or three of them is late.
_LATE: Final = 0.02


class LoopWatch:
    """Warns when an event loop was blocked for ``limit`` seconds; None is never.

    Blocks that are longer than that by a fifth are all seen, shorter ones by chance.
    """

    def __init__(self, limit: float | None, patience: float = _PATIENCE) -> None:
        """Take the limit, and how long the end is waited for beyond it before the warning."""
        self._limit = limit
        self._patience = patience
        self._ended = threading.Event()

    def start(self, server: object = None) -> None:
        """Begin. To be called on the loop when the server accepts, as ``announce`` is."""
        if self._limit is not None:
            asyncio.get_running_loop().call_soon(self._begin, self._limit)

    def _begin(self, limit: float) -> None:
        # The loop has called this, so the frame below is the one that all code on the loop is
        # called from: asyncio's Handle._run, or whatever runs a loop that is written in C.
        base = sys._getframe(1).f_code
        _Watcher(asyncio.get_running_loop(), base, limit, self._patience, self._ended).start()

    def stop(self) -> None:
        """End, from any thread. What has been seen already is still told."""
        self._ended.set()


class _Watcher(threading.Thread):
    """The thread. Made on the loop's."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        base: CodeType,
        limit: float,
        patience: float,
        ended: threading.Event,
    ) -> None:
        super().__init__(name="blocked-loop-watch", daemon=True)
        self._loop = loop
        self._thread = threading.get_ident()
        self._base = base
        self._limit = limit
        self._patience = patience
        self._ended = ended
        self._pause = max(limit * _LOOK, _SHORTEST_LOOK)
        # When each function was named, and how often it would have been since.
        self._named: dict[tuple[str, str], tuple[float, int]] = {}

    def run(self) -> None:
        """Look until told to end, or until the loop has."""
        while not self._ended.wait(self._pause) and not self._loop.is_closed():
            try:
                if stack_of(self._thread, self._base):
                    self._ask()
            except Exception:
                if not self._loop.is_closed():  # or it was closed just now, and nothing is wrong
                    logger.exception("Internal error while watching the event loop")

    def _ask(self) -> None:
        """Ask the loop for a sign, and return when it came."""
        sign = threading.Event()
        self._loop.call_soon_threadsafe(sign.set)
        seen = self._wait(sign, self._limit, is_strict=True)
        if sign.is_set() or self._ended.is_set():
            return
        stack = stack_of(self._thread, self._base)
        sight = look_at(stack) if stack else None
        if sight is not None:
            logger.debug("The event loop is blocked by %s", sight)
        while not sign.is_set() and seen < self._limit + self._patience:
            if is_debugged(stack):
                sight = None
            seen += self._wait(sign, self._limit)
            stack = stack_of(self._thread, self._base)
        if sight is not None and not is_debugged(stack):
            self._tell(sight, seen, sign.is_set())
        while not (sign.wait(self._limit) or self._ended.is_set() or self._loop.is_closed()):
            pass  # one block is told of once

    def _wait(self, sign: threading.Event, seconds: float, *, is_strict: bool = False) -> float:
        """Wait for the sign, so long at most; return the seconds that this thread saw go by.

        A wait that was late counts as what it was meant to be; strictly, the time begins again.
        """
        seen = counted = 0.0
        while counted < seconds and not (sign.is_set() or self._loop.is_closed()):
            piece = min(self._pause, seconds - counted)
            began = monotonic()
            sign.wait(piece)
            passed = monotonic() - began
            is_late = passed > piece + _LATE
            seconds_seen = piece if is_late else passed
            seen += seconds_seen
            counted = 0.0 if is_late and is_strict else counted + seconds_seen
        return seen

    def _tell(self, sight: Sight, seconds: float, has_ended: bool) -> None:
        """Log one warning with the stack, or count it where one function is slow all the time."""
        now, key = monotonic(), (sight.file, sight.function)
        last, count = self._named.pop(key, (float("-inf"), 0))
        if now - last < _QUIET_TIME:
            self._named[key] = last, count + 1
            return
        if len(self._named) >= _MAX_FUNCTIONS:
            del self._named[next(iter(self._named))]
        self._named[key] = now, 0
        how_long = f"{format_seconds(seconds + self._pause / 2)} s"  # begun between two looks
        what = f"was blocked for {how_long}"
        if not has_ended:
            what = f"has been blocked for {how_long} already"
        text = f"The event loop {what} by {sight}; nothing else was served meanwhile."
        if count:
            text += f" Not reported in the last {now - last:.0f} s: {count} more by this function."
        if logger.isEnabledFor(logging.WARNING):
            # A formatter puts the stack below the line, as it does with a traceback.
            where = (sight.file, sight.line)
            logger.handle(
                logging.getLogRecordFactory()(
                    *(logger.name, logging.WARNING, *where, "%s", (text,), None),
                    *(sight.function, sight.stack),
                )
            )
