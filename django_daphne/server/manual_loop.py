"""A clock and an event loop that are moved by hand: no waiting, and the same outcome every time.

Theory of operation. An event loop asks its selector for events and says how long it could wait for
them. Not at all: there is more to do. For ever, or until its next timer: it *rests*. So a selector
that ends the loop's run when it would have to wait makes ``run_forever`` mean "do all that follows
from what has happened", and the time it was given says when the next timer is due. The loop's own
time is that of the clock, so ``asyncio.sleep`` and ``asyncio.timeout`` are moved by hand, too.

Threads take real time, and no clock moves it. The loop does not rest as long as a function is at
work that was given to ``run_in_executor``, as ``asyncio.to_thread`` and ``sync_to_async`` do. A
thread that has given the loop a task (``async_to_sync``, ``run_coroutine_threadsafe``) waits for
that task and is not at work meanwhile. Of other threads nothing is known: ``wait_until`` waits.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
import selectors
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import Executor
from contextvars import Context
from functools import partial
from typing import Any, Final, TypeVar, TypeVarTuple

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")

# Seconds of real time that one step may take: for threads, and for what would never end.
PATIENCE: Final = 10.0


class ManualTimer:
    """A call at a later time of a `ManualClock`."""

    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        """Do not call."""
        self.cancelled = True


class ManualClock:
    """Time in seconds that passes only when it is told to."""

    def __init__(self, now: float = 1000.0) -> None:
        self._now = now
        self._count = itertools.count()
        self._timers: list[tuple[float, int, ManualTimer]] = []

    def now(self) -> float:
        """Return the time in seconds."""
        return self._now

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> ManualTimer:
        """Call at a later time, unless the timer is cancelled."""
        timer = ManualTimer(lambda: callback(*args))
        heapq.heappush(self._timers, (self._now + delay, next(self._count), timer))
        return timer

    @property
    def pending(self) -> int:
        """The number of calls still to come."""
        return sum(not timer.cancelled for _, _, timer in self._timers)

    @property
    def due(self) -> float:
        """The time of the next call; infinity without one."""
        while self._timers and self._timers[0][2].cancelled:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else math.inf

    def run_next(self, end: float) -> bool:
        """Go on to the next call, at most to the time ``end``; false when none is left till then.

        The call is made at its time.
        """
        if self.due <= end:
            when, _, timer = heapq.heappop(self._timers)
            self._now = max(self._now, when)
            timer.callback()
            return True
        self._now = max(self._now, end)
        return False

    def jump(self, seconds: float) -> None:
        """Let time pass with nobody looking: what is due is late, and called by ``advance``."""
        self._now += seconds

    def advance(self, seconds: float) -> None:
        """Let time pass and make the calls that are due, in order."""
        end = self._now + seconds
        while self.run_next(end):
            pass


class _Selector(selectors.DefaultSelector):
    """Asks ``wait`` how long to wait where a loop would have to."""

    wait: Callable[[float | None], float]

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return the events that there are, or those of a thread that is waited for."""
        events = super().select(0)
        if events or (patience := self.wait(timeout)) <= 0:
            return events
        return super().select(patience)


class ManualEventLoop(asyncio.SelectorEventLoop):
    """An event loop on the time of a clock, whose ``run_forever`` ends when it has nothing to do.

    It raises TimeoutError when that does not come about in ``patience`` seconds of real time.
    """

    def __init__(self, clock: ManualClock, patience: float) -> None:
        selector = _Selector()
        selector.wait = self._wait
        self._clock = clock
        self.patience = patience
        self._end = math.inf  # of patience
        self._working = 0  # threads
        self._workers: list[int] = []  # threads that run a function of an executor
        self.due = math.inf  # its next timer, as of when it came to rest
        self.wants_thread = False  # the next rest comes after a call by a thread
        super().__init__(selector)
        self.slow_callback_duration = math.inf  # by its own time, which jumps

    def time(self) -> float:
        """Return the clock's time."""
        return self._clock.now()

    def rest(self) -> None:
        """Do all that is to be done."""
        self._end = time.monotonic() + self.patience
        self.run_forever()

    def _wait(self, timeout: float | None) -> float:
        """Return how long to wait for threads; stop when there is nothing to wait for."""
        left = self._end - time.monotonic()
        must_not_wait = timeout is not None and timeout <= 0
        if left <= 0:
            raise TimeoutError(
                f"No rest after {self.patience:g} s of real time: "
                + ("a task goes on without waiting" if must_not_wait else "a thread is at work")
            )
        if must_not_wait:
            return 0.0
        if self._working > 0 or self.wants_thread:
            self.wants_thread = False
            return left
        self.due = math.inf if timeout is None else self.time() + timeout
        self.stop()
        return 0.0

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*Arguments], T], *args: *Arguments
    ) -> asyncio.Future[T]:
        """Run a function in a thread, and do not rest before its end."""

        def work() -> T:
            this = threading.get_ident()
            self._workers.append(this)
            try:
                return func(*args)
            finally:
                self._workers.remove(this)

        future = super().run_in_executor(executor, work)
        self._working += 1
        future.add_done_callback(self._stop_waiting)
        return future

    def call_soon_threadsafe(
        self,
        callback: Callable[[*Arguments], object],
        *args: *Arguments,
        context: Context | None = None,
    ) -> asyncio.Handle:
        """Call soon; from any thread."""
        call: Callable[[], object] = partial(callback, *args)
        if threading.get_ident() in self._workers:
            call = partial(self._call_for_worker, call)
        return super().call_soon_threadsafe(call, context=context)

    def _call_for_worker(self, call: Callable[[], object]) -> None:
        """Make a call of a thread, which waits from now on for the tasks that it starts."""
        before = asyncio.all_tasks(self)
        call()
        for task in asyncio.all_tasks(self) - before:
            self._working -= 1
            task.add_done_callback(self._wait_again)

    def _stop_waiting(self, _: object) -> None:
        self._working -= 1

    def _wait_again(self, _: object) -> None:
        self._working += 1


def _is_running() -> bool:
    """Tell whether this thread has a running loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class ManualLoop:
    """An event loop that is moved by hand, from a thread that has no running loop.

    Whatever is done here returns when the loop rests: when all has happened that follows from it
    without time passing. ``clock`` is the time of the loop. TimeoutError is raised when it does not
    come to rest in ``patience`` seconds of real time.
    """

    def __init__(self, patience: float = PATIENCE) -> None:
        if _is_running():
            raise RuntimeError(
                f"{type(self).__name__} has an event loop of its own: use it where none is running,"
                " in a test that is no coroutine."
            )
        self.clock = ManualClock()
        self.loop = ManualEventLoop(self.clock, patience)
        self.faults: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda _, context: self.faults.append(context))

    def settle(self) -> None:
        """Do what is to be done without time passing."""
        self.loop.rest()

    def call(self, function: Callable[..., T], *args: Any) -> T:
        """Call a function inside the loop, then do all that follows; return what it returns."""

        async def call() -> T:
            return function(*args)

        task = self.loop.create_task(call())
        self.settle()
        return task.result()

    def begin(self, awaitable: Awaitable[T]) -> asyncio.Task[T]:
        """Start waiting for something; the task is done if that did not have to wait."""

        async def wait() -> T:
            return await awaitable

        task = self.loop.create_task(wait())
        self.settle()
        return task

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end; time passes as far as it waits for that.

        Raises TimeoutError when it waits for what nobody will do.
        """
        task = self.begin(coroutine)
        end = time.monotonic() + self.loop.patience
        while not task.done():
            if self.due == math.inf or time.monotonic() > end:
                self.call(task.cancel)
                raise TimeoutError(f"{coroutine!r} waits for what nobody does")
            self.step()
        return task.result()

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait for threads, in real time, until a condition holds.

        It is looked at after each call that a thread makes into the loop.
        """
        end = time.monotonic() + self.loop.patience
        self.settle()
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"Nothing of it in {self.loop.patience:g} s of real time")
            self.loop.wants_thread = True
            self.settle()

    @property
    def due(self) -> float:
        """The time of the next timer; infinity without one."""
        return min(self.clock.due, self.loop.due)

    def step(self) -> None:
        """Go on to the next timer."""
        self.call(self.clock.run_next, self.due)

    def steps(self, seconds: float) -> Iterator[None]:
        """Let time pass, and yield after each step of it."""
        if seconds < 0:
            raise ValueError(f"time does not go back: {seconds}")
        end = self.clock.now() + seconds
        self.settle()
        while self.due <= end:
            self.step()
            yield
        self.call(self.clock.run_next, end)

    def advance(self, seconds: float) -> None:
        """Let time pass. What is due is done at its time, in order, with all that follows."""
        for _ in self.steps(seconds):
            pass

    def close(self) -> None:
        """End what is still running. Raise AssertionError for what went wrong and nobody saw."""
        if self.loop.is_closed():
            return
        try:
            self._end_tasks()
        finally:
            self.loop.close()
        assert not self.faults, f"the event loop has reported: {self.faults}"

    def _end_tasks(self) -> None:
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        self.settle()
        self.run(self.loop.shutdown_asyncgens())
