"""What the threads of requests tell whoever counts."""

from __future__ import annotations

import asyncio
from typing import Any

from django_daphne.server.metrics import threads
from django_daphne.server.metrics.board import Board
from django_daphne.server.metrics.recorder import PageRecorder
from tests.support.metrics import Samples, exposition, scrape
from tests.support.server import PATIENCE, call

from .lane_jobs import DELAY, LanesTestCase


class LaneMetricsTests(LanesTestCase):
    """The waits for a lane, and how many lanes there are."""

    def setUp(self) -> None:
        super().setUp()
        self.board = Board()
        self.addCleanup(self.board.close)
        self.recorder = PageRecorder(self.board.add())
        threads.use(self.recorder.thread_waited_for)
        self.addCleanup(threads.use, None)

    def samples(self) -> Samples:
        """Return what Prometheus is told."""
        with exposition(self.board) as answering:
            return scrape(answering.addresses[0])

    def test_waits(self):
        """Two views begin at once and a third waits for a thread; a lease has one at once."""
        self.stop_time()
        pool = self.make_pool(2)
        gates = [self.submit_gate(pool) for _ in range(3)]
        self.clock.advance(DELAY / 2)
        gates[0].open()
        self.assertTrue(gates[2].arrival.wait(PATIENCE))
        loop: Any = self.clock
        pool.lease(lambda lane: None, loop)
        for gate in gates[1:]:
            gate.open()
        samples = self.samples()
        self.assertEqual(samples["request_queue_seconds_count",], 4)
        self.assertEqual(samples["request_queue_seconds_bucket", "0.0001"], 3)
        self.assertEqual(samples["request_queue_seconds_sum",], DELAY / 2)

    def test_nobody_counts(self):
        """A view waits for a thread when nobody wants to know."""
        threads.use(None)
        pool = self.make_pool(1)
        gate = self.submit_gate(pool)
        gate.open()
        self.assertTrue(gate.arrival.wait(PATIENCE))
        self.assertEqual(self.samples()["request_queue_seconds_count",], 0)

    def test_numbers(self):
        """The operator sees how many threads there are, and how many are busy."""
        pool = self.make_pool(2)
        gates = [self.submit_gate(pool) for _ in range(2)]
        before, busy = threads.sample()
        self.assertGreaterEqual(busy, 2)

        async def measure() -> None:
            self.recorder.start(asyncio.get_running_loop())
            self.recorder.stop()

        call(measure())
        samples = self.samples()
        self.assertEqual((samples["threads",], samples["threads_busy",]), (before, busy))
        for gate in gates:
            gate.open()
