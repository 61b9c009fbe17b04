"""Jobs for lanes, and a clock moved by hand in the place of an event loop."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from unittest import mock

from django.test import SimpleTestCase

from django_daphne.handlers import lanes
from django_daphne.handlers.lanes import Lane, LanePool
from tests.support.server import PATIENCE
from tests.support.wire import ManualClock

from .support import Gate

# Seconds that a job waits here until there is another lane; sums of it are exact.
DELAY = 0.25
# Jobs that run at once here without waiting.
WARM_LANES = 2


class LanesTestCase(SimpleTestCase):
    """A clock moved by hand in the place of a loop, and jobs that wait for the test.

    ``processor`` are the seconds of processor time that the process has used, for a pool that looks
    at the test's clock.
    """

    def setUp(self) -> None:
        super().setUp()
        self.clock = ManualClock()
        self.processor = 0.0
        self.enterContext(mock.patch.object(lanes, "GROWTH_DELAY", DELAY))
        self.enterContext(mock.patch.object(lanes, "WARM_LANES", WARM_LANES))

    def make_pool(self, limit: int, **options: Any) -> LanePool:
        """Return lanes that have to end with the test."""
        pool = LanePool(limit, **options)
        self.addCleanup(lambda: self.assertTrue(pool.close(PATIENCE), "a lane does not end"))
        return pool

    def stop_time(self) -> None:
        """Let the pool look at the clocks that the test moves."""
        time = SimpleNamespace(monotonic=self.clock.now, process_time=lambda: self.processor)
        self.enterContext(mock.patch.object(lanes, "time", time))

    def pass_time(self, seconds: float, share: float = 0.0) -> None:
        """Let time pass, and the process use so much of one processor meanwhile."""
        self.processor += seconds * share
        self.clock.advance(seconds)

    def submit(self, pool: LanePool, job: Callable[[], object], loop: Any = None) -> None:
        """Submit a job from a loop that nobody runs, if the test names no other."""
        timers: Any = loop or self.clock
        pool.submit(lambda _lane: job(), timers)

    def submit_gate(self, pool: LanePool, loop: Any = None) -> Gate:
        """Submit a job that waits at a gate."""
        gate = Gate()
        self.addCleanup(gate.open)
        self.submit(pool, gate.wait, loop)
        return gate

    def submit_aside(self, pool: LanePool) -> Gate:
        """Submit a job that steps aside at once and then waits at a gate."""
        gate = Gate()
        self.addCleanup(gate.open)

        def job(lane: Lane) -> None:
            pool.step_aside(lane)
            gate.wait()

        timers: Any = self.clock
        pool.submit(job, timers)
        return gate

    def lease_gate(self, pool: LanePool) -> Gate:
        """Lease a lane to a job that waits at a gate."""
        gate = Gate()
        self.addCleanup(gate.open)
        timers: Any = self.clock
        pool.lease(lambda _lane: gate.wait(), timers)
        return gate

    def assert_stand(self, *gates: Gate) -> None:
        """Assert that somebody stands at each gate, while no loop runs and no time passes."""
        for gate in gates:
            self.assertTrue(gate.arrival.wait(PATIENCE), "it does not begin")

    def submit_name(self, pool: LanePool) -> Callable[[], threading.Thread]:
        """Submit a job; what is returned waits for its thread."""
        done = threading.Event()
        threads: list[threading.Thread] = []

        def job() -> None:
            threads.append(threading.current_thread())
            done.set()

        self.submit(pool, job)

        def thread() -> threading.Thread:
            assert done.wait(PATIENCE), "the job is not done"
            return threads[0]

        return thread
