"""Lanes: long-lived threads, each serving one request at a time.

Theory of operation. A *lane* is one thread; while it serves a request nobody else uses it, so what
the request leaves in the thread (a database connection, a thread-local) is met by no other request
that runs. A lane that has finished takes the next waiting job itself, under the pool's lock:
nothing goes back to the event loop for it. Idle lanes are given out last in, first out, so that few
stay warm and the others end, in their own thread, with what they opened.

How many run at once decides the speed of views that compute and the waiting of views that wait:
more threads than a few only get in each other's way, and too few let one slow view stop the next.
So a few lanes are started at once, and one more whenever the oldest job has waited for GROWTH_DELAY
seconds, up to the limit.
"""

from __future__ import annotations

import asyncio
import logging
import os
import queue
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Final

logger = logging.getLogger("django_daphne.server")

# What it returns is called, if it can be, when the lane is free again: who hears that a request has
# ended and sends the next one finds the same lane.
Job = Callable[[], object]

# Lanes that are started without waiting: enough to keep one thread at work while another waits.
WARM_LANES: Final = 2
# Seconds that the oldest job waits before another lane is started.
GROWTH_DELAY: Final = 0.003
# Seconds that it waits before the log says so, and between two such lines.
_WORTH_A_WARNING: Final = 1.0
_WARNING_INTERVAL: Final = 10.0


class LanePool:
    """The lanes of one process.

    ``submit`` belongs to the thread of an event loop, everything else may be called from any.
    """

    def __init__(
        self,
        limit: int,
        idle_timeout: float | None = 60.0,
        on_end: Callable[[], object] = lambda: None,
    ) -> None:
        """Make a pool without threads. ``on_end`` is called in each lane before its thread ends."""
        self._limit = limit
        self._idle_timeout = idle_timeout
        self._on_end = on_end
        self._warned = float("-inf")
        self._reset()
        _pools.add(self)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._lanes: set[_Lane] = set()
        self._idle: list[_Lane] = []
        self._waiting: deque[tuple[float, Job]] = deque()
        # The loop whose timer looks after what waits.
        self._grower: asyncio.AbstractEventLoop | None = None
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._lanes)

    @property
    def busy(self) -> int:
        """Return the number of lanes that have a job."""
        return len(self._lanes) - len(self._idle)

    def submit(self, job: Job, loop: asyncio.AbstractEventLoop) -> None:
        """Run a job in a lane, now or when one is free; it must let nothing out.

        ``loop`` is the running one, whose timer sees to it that a job does not wait for long.
        """
        with self._lock:
            self._is_closed = False
            if self._idle:
                self._idle.pop().take(job)
            elif len(self._lanes) < min(WARM_LANES, self._limit):
                self._start(job)
            else:
                self._waiting.append((time.monotonic(), job))
                if self._grower is not loop:  # another's may have ended
                    self._look_again(loop)

    def close(self, timeout: float | None) -> bool:
        """Let every lane end after what waits, for so many seconds; tell whether all have."""
        with self._lock:
            self._is_closed = True
            lanes, idle = list(self._lanes), self._idle.copy()
            self._idle.clear()
            for lane in idle:
                lane.take(None)
        deadline = None if timeout is None else time.monotonic() + timeout
        for lane in lanes:
            lane.join(None if deadline is None else max(deadline - time.monotonic(), 0.0))
        return not any(lane.is_alive() for lane in lanes)

    def _start(self, job: Job) -> None:
        lane = _Lane(self, job)
        self._lanes.add(lane)
        lane.start()

    def _grow(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start a lane for a job that has waited too long; look again as long as any waits."""
        with self._lock:
            if self._grower is loop:
                self._grower = None
            if not self._waiting:
                return
            waited = time.monotonic() - self._waiting[0][0]
            if waited >= GROWTH_DELAY and len(self._lanes) < self._limit:
                self._start(self._waiting.popleft()[1])
            waiting = len(self._waiting)
            if waiting:
                self._look_again(loop)
            is_full = len(self._lanes) >= self._limit
        if waiting and is_full and waited >= _WORTH_A_WARNING:
            self._warn(waiting, waited)

    def _look_again(self, loop: asyncio.AbstractEventLoop) -> None:
        self._grower = loop
        loop.call_later(GROWTH_DELAY, self._grow, loop)

    def _warn(self, waiting: int, waited: float) -> None:
        now = time.monotonic()
        if now - self._warned >= _WARNING_INTERVAL:
            self._warned = now
            logger.warning(
                "All %d threads of sync views are busy (THREADS); %d requests wait, the oldest for"
                " %.1f s",
                self._limit,
                waiting,
                waited,
            )

    # For lanes.

    def next_job(self, lane: _Lane) -> Job | None:
        """Return a job that waits; without one the lane is idle from now on."""
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()[1]
            if self._is_closed:
                lane.take(None)
            else:
                self._idle.append(lane)
            return None

    def let_go(self, lane: _Lane) -> bool:
        """Take an idle lane out; false when it has just been given a job."""
        with self._lock:
            if lane not in self._idle:
                return False
            self._idle.remove(lane)
            return True

    def end(self, lane: _Lane) -> None:
        """Let a thread that is about to end close what it has opened, and forget it."""
        try:
            self._on_end()
        except Exception:
            logger.exception("Internal error at the end of a thread for sync views")
        with self._lock:
            self._lanes.discard(lane)


class _Lane(threading.Thread):
    """One thread. It is a daemon, for at exit ``close`` waits for it, and not for ever."""

    def __init__(self, pool: LanePool, job: Job) -> None:
        super().__init__(name="django-daphne-lane", daemon=True)
        self._pool = pool
        self._inbox: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._inbox.put(job)

    def take(self, job: Job | None) -> None:
        """Take a job, or None for the end; the lane has none at the moment."""
        self._inbox.put(job)

    def run(self) -> None:
        """Do one job after another."""
        pool = self._pool
        job = self._inbox.get()
        while job is not None:
            done: object = None
            try:
                done = job()
            except BaseException:
                logger.critical("Internal error in a thread for sync views", exc_info=True)
            job = pool.next_job(self)
            if callable(done):
                done()
            done = None  # what it holds is not kept for as long as the lane is idle
            job = job or self._wait()
        pool.end(self)

    def _wait(self) -> Job | None:
        """Return the next job, or None when it is time to end."""
        try:
            return self._inbox.get(timeout=self._pool._idle_timeout)
        except queue.Empty:
            return None if self._pool.let_go(self) else self._inbox.get()


_pools: weakref.WeakSet[LanePool] = weakref.WeakSet()


def _reset_pools() -> None:
    """Leave the lanes of the parent behind: threads are not inherited."""
    for pool in _pools:
        pool._reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_pools)
