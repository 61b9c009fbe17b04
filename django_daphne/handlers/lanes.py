"""Lanes: long-lived threads, each serving one request at a time.

Theory of operation. A *lane* is one thread; while it serves a request nobody else uses it, so what
the request leaves in the thread (a database connection, a thread-local) is met by no other request
that runs. A lane that has finished takes the next waiting job itself, under the pool's lock:
nothing goes back to the event loop for it. Idle lanes are given out last in, first out, so that few
stay warm and the others end, in their own thread, with what they opened.

Jobs are of two kinds. Those that are *submitted* run sync views; ``limit`` of them run at once.
Those that are *leased* a lane mostly wait for the event loop, as does a submitted job after it has
stepped aside; there are as many as ``total`` leaves, which counts every lane. Each kind has lanes
of its own: sync views leave no connections open in more than ``limit`` of them, and what waits for
long never takes the last one away.

How many sync views run at once decides the speed of those that compute and the waiting of those
that wait: under one interpreter lock more threads than a few only get in each other's way, and too
few let one slow view stop the next. The *level* is how many may run at the moment. It rises by one
when the oldest job has waited for GROWTH_DELAY seconds, and either no job has begun in that time
(what runs is stuck) or the processor has time to spare (what runs is waiting). It falls while the
processor is busy and jobs begin all the same.
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
from contextlib import suppress
from typing import Final

from ..conf import TOTAL_FOR_EACH
from ..server import watch_threads

logger = logging.getLogger("django_daphne.server")

# It gets the lane that it runs in. What it returns is called, if it can be, when the lane is free
# again: who hears that a request has ended and sends the next one finds the same lane.
Job = Callable[["Lane"], object]

# Sync views that run at once without waiting: enough to keep one thread at work while another
# waits and a third lets go of the interpreter's lock.
WARM_LANES: Final = 3
# Seconds that the oldest job waits before another may run beside those that do.
GROWTH_DELAY: Final = 0.003
# Seconds over which the use of the processor is measured, and the share of one that is "busy".
# More than one is used only by what lets others run: there more threads do more.
_MEASURE: Final = 0.02
_BUSY: Final = (0.75, 1.25)
# Seconds that it waits before the log says so, and between two such lines.
_WORTH_A_WARNING: Final = 1.0
_WARNING_INTERVAL: Final = 10.0


class LanePool:
    """The lanes of one process.

    ``submit`` and ``lease`` belong to the thread of an event loop, everything else may be called
    from any.
    """

    def __init__(
        self,
        limit: int,
        idle_timeout: float | None = 60.0,
        on_end: Callable[[], object] = lambda: None,
        total: int | None = None,
    ) -> None:
        """Make a pool without threads. ``on_end`` is called in each lane before its thread ends.

        ``total`` is above ``limit``; without one it is what the settings' default makes of that.
        """
        self._limit = limit
        self._total = total or TOTAL_FOR_EACH * limit
        self._idle_timeout = idle_timeout
        self._on_end = on_end
        self._warned = float("-inf")
        self._reset()
        _pools.add(self)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._lanes: set[Lane] = set()
        self._idle: dict[bool, list[Lane]] = {True: [], False: []}  # by the kind they served last
        self._counted = 0  # submitted jobs that run and have not stepped aside
        self._level = min(WARM_LANES, self._limit)
        self._waiting: deque[tuple[float, Job]] = deque()
        self._wanted: deque[tuple[float, Job]] = deque()  # leases, beyond the total
        self._begun = 0
        self._measured = (time.monotonic(), time.process_time(), 0)
        self._is_busy = False
        # The loop whose timer looks after what waits.
        self._grower: asyncio.AbstractEventLoop | None = None
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._lanes)

    @property
    def busy(self) -> int:
        """Return the number of lanes that have a job."""
        return len(self._lanes) - len(self._idle[True]) - len(self._idle[False])

    @property
    def is_crowded(self) -> bool:
        """Tell whether lanes are getting scarce: a hint, for who would keep one."""
        return 2 * len(self._lanes) > self._total

    def submit(self, job: Job, loop: asyncio.AbstractEventLoop) -> None:
        """Run a job in a lane, now or when one is free; it must let nothing out.

        ``loop`` is the running one, whose timer sees to it that a job does not wait for long.
        """
        with self._lock:
            self._is_closed = False
            now = time.monotonic()
            if now - self._measured[0] >= _MEASURE:
                self._measure(now)
            if self._counted < self._level and self._has_room(counts=True):
                self._give(job, counts=True)
                if note_wait is not None:
                    note_wait(0.0)
            else:
                self._waiting.append((now, job))
                self._look_after(loop)

    def lease(self, job: Job, loop: asyncio.AbstractEventLoop) -> None:
        """Run a job that mostly waits in a lane, now or when one is free; it lets nothing out."""
        with self._lock:
            self._is_closed = False
            if self._has_room(counts=False) and not self._wanted:
                self._give(job, counts=False)
                if note_wait is not None:
                    note_wait(0.0)
            else:
                self._wanted.append((time.monotonic(), job))
                self._look_after(loop)

    def step_aside(self, lane: Lane) -> None:
        """Let a lane's job count no more: from now on it waits for others. In its own thread."""
        with self._lock:
            if lane.counts:
                lane.counts = False
                self._counted -= 1
                if self._waiting and self._counted < self._level and self._has_room(counts=True):
                    self._give_oldest()

    def close(self, timeout: float | None) -> bool:
        """Let every lane end after what waits, for so many seconds; tell whether all have."""
        with self._lock:
            self._is_closed = True
            lanes = list(self._lanes)
            for idle in self._idle.values():
                while idle:
                    idle.pop().take(None)
        deadline = None if timeout is None else time.monotonic() + timeout
        for lane in lanes:
            lane.join(None if deadline is None else max(deadline - time.monotonic(), 0.0))
        return not any(lane.is_alive() for lane in lanes)

    # With the lock.

    def _has_room(self, counts: bool) -> bool:
        if self._idle[counts]:
            return True
        if counts:  # the others are only too many where sync views have stepped aside
            return len(self._lanes) < self._total or bool(self._idle[False])
        return self._others() < self._total - self._limit

    def _others(self) -> int:
        """Return the number of lanes at work that do not count."""
        return self.busy - self._counted

    def _give(self, job: Job, counts: bool) -> None:
        """Let a lane do a job. Raises RuntimeError when the system has no thread for it."""
        lane = self._find(counts)
        self._begin(counts)
        lane.counts = counts
        lane.take(job)

    def _give_oldest(self) -> None:
        """Let a lane do the oldest job that waits; when there is no thread for it, it waits on."""
        with suppress(RuntimeError):
            self._give(self._waiting[0][1], counts=True)
            _take(self._waiting)

    def _find(self, counts: bool) -> Lane:
        if self._idle[counts]:
            return self._idle[counts].pop()
        if len(self._lanes) < self._total:
            lane = Lane(self)
            lane.start()
            self._lanes.add(lane)
            return lane
        return self._idle[False].pop()

    def _begin(self, counts: bool) -> None:
        self._begun += 1
        self._counted += counts

    def _measure(self, now: float) -> None:
        """Look at the use of the processor since the last time, and let the level fall."""
        since, used, begun = self._measured
        processor = time.process_time()
        least, most = _BUSY
        self._is_busy = least <= (processor - used) / (now - since) <= most
        # Not below: that a job lets others run shows only where there is another.
        warm = min(WARM_LANES, self._limit)
        if self._is_busy and self._begun - begun > self._level > warm:
            self._level = max(self._level // 2, warm)
        self._measured = (now, processor, self._begun)

    def _look_after(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._grower is not loop:  # another's may have ended
            self._look_again(loop)

    def _look_again(self, loop: asyncio.AbstractEventLoop) -> None:
        self._grower = loop
        loop.call_later(GROWTH_DELAY, self._grow, loop, self._begun)

    def _grow(self, loop: asyncio.AbstractEventLoop, begun: int) -> None:
        """Let one more run when a job has waited too long; look again as long as any waits."""
        with self._lock:
            if self._grower is loop:
                self._grower = None
            now = time.monotonic()
            if now - self._measured[0] >= _MEASURE:
                self._measure(now)
            if self._waiting and now - self._waiting[0][0] >= GROWTH_DELAY:
                if self._level < self._limit and not (self._is_busy and self._begun > begun):
                    self._level += 1
                if self._counted < self._level and self._has_room(counts=True):
                    self._give_oldest()
            if self._waiting or self._wanted:
                self._look_again(loop)
            text = self._complaint(now)
        if text:
            logger.warning("%s", text)

    def _complaint(self, now: float) -> str:
        """Return what to say of jobs that wait because there are no more threads to be had."""
        if now - self._warned < _WARNING_INTERVAL:
            return ""
        limit, total = self._limit, self._total
        beyond = f"{total - limit} threads of async views and streams (THREADS_TOTAL)"
        is_crowded = not self._has_room(counts=True)
        for waiting, is_full, what in (
            (self._wanted, True, beyond),
            (self._waiting, is_crowded, f"{total} threads (THREADS_TOTAL)"),
            (self._waiting, self._counted >= limit, f"{limit} threads of sync views (THREADS)"),
        ):
            if waiting and is_full and now - waiting[0][0] >= _WORTH_A_WARNING:
                self._warned = now
                return (
                    f"All {what} are busy; {len(waiting)} requests wait, the oldest for"
                    f" {now - waiting[0][0]:.1f} s"
                )
        return ""

    # For lanes.

    def next_job(self, lane: Lane) -> Job | None:
        """Return a job that waits; without one the lane is idle from now on."""
        with self._lock:
            counted = lane.counts
            self._counted -= counted
            is_waiting = bool(self._waiting) and self._counted < self._level
            if is_waiting and (counted or not self._has_room(counts=True)):
                lane.counts = True
                self._begin(counts=True)
                return _take(self._waiting)
            # Not where sync views that have stepped aside are more than the others' share.
            if self._wanted and not counted and self._others() <= self._total - self._limit:
                self._begin(counts=False)
                return _take(self._wanted)
            if self._is_closed:  # what waits is taken by those that run
                lane.take(None)
            else:
                self._idle[counted].append(lane)
            return None

    def let_go(self, lane: Lane) -> bool:
        """Take an idle lane out; false when it has just been given a job."""
        with self._lock:
            for idle in self._idle.values():
                if lane in idle:
                    idle.remove(lane)
                    return True
            return False

    def end(self, lane: Lane) -> None:
        """Let a thread that is about to end close what it has opened, and forget it."""
        try:
            self._on_end()
        except Exception:
            logger.exception("Internal error at the end of a thread for sync views")
        with self._lock:
            self._lanes.discard(lane)


class Lane(threading.Thread):
    """One thread. It is a daemon, for at exit ``close`` waits for it, and not for ever."""

    counts = False  # its job is one of those that are limited

    def __init__(self, pool: LanePool) -> None:
        super().__init__(name="django-daphne-lane", daemon=True)
        self._pool = pool
        self._inbox: queue.SimpleQueue[Job | None] = queue.SimpleQueue()

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
                done = job(self)
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

# Called with the seconds that each job has waited, when somebody counts.
note_wait: Callable[[float], object] | None = None


def _take(waiting: deque[tuple[float, Job]]) -> Job:
    """Return the oldest job that waits."""
    since, job = waiting.popleft()
    if note_wait is not None:
        note_wait(time.monotonic() - since)
    return job


def _count_for(take_note: Callable[[float], object] | None) -> None:
    global note_wait  # noqa: PLW0603 - threads are the process's
    note_wait = take_note


def _count_lanes() -> tuple[int, int]:
    """Return how many lanes there are, and how many have a job."""
    pools = list(_pools)
    return sum(map(len, pools)), sum(pool.busy for pool in pools)


watch_threads(_count_for, _count_lanes)


def end_lanes(timeout: float) -> bool:
    """Let every lane of the process end, for so many seconds in all; tell whether all have.

    Pools stay usable: what is submitted later starts lanes again.
    """
    deadline = time.monotonic() + timeout
    ended = [pool.close(max(deadline - time.monotonic(), 0.0)) for pool in list(_pools)]
    return all(ended)


def _reset_pools() -> None:
    """Leave the lanes of the parent behind: threads are not inherited."""
    for pool in _pools:
        pool._reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_pools)
