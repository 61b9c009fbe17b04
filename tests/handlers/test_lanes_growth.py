"""How many threads there are for requests."""

from __future__ import annotations

from tests.support.server import PATIENCE

from .lane_jobs import DELAY, LanesTestCase
from .support import until


class GrowthTests(LanesTestCase):
    """More lanes, when a job has waited."""

    def setUp(self) -> None:
        super().setUp()
        self.stop_time()

    def test_after_waiting(self):
        """Five jobs come at once: the third has to wait a while for its lane."""
        pool = self.make_pool(8)
        gates = [self.submit_gate(pool) for _ in range(5)]
        self.clock.advance(DELAY / 2)
        self.assertEqual(len(pool), 2)
        self.clock.advance(DELAY / 2)
        self.assertEqual(len(pool), 3)
        self.assertTrue(gates[2].arrival.wait(PATIENCE), "it was not the oldest")
        self.clock.advance(2 * DELAY)
        self.assertEqual(len(pool), 5)
        for gate in gates:
            self.assertTrue(gate.arrival.wait(PATIENCE))

    def test_young_job(self):
        """A job that has just come waits as long as any other, although the pool is looking."""
        pool = self.make_pool(8)
        gates = [self.submit_gate(pool) for _ in range(3)]
        self.clock.advance(DELAY / 2)
        self.submit_gate(pool)
        gates[0].open()
        self.assertTrue(gates[2].arrival.wait(PATIENCE))
        self.clock.advance(DELAY / 2)
        self.assertEqual(len(pool), 2)
        self.clock.advance(DELAY)
        self.assertEqual(len(pool), 3)

    async def test_nobody_waits(self):
        """The lanes are quick enough: there are no more of them, and no timer is left."""
        pool = self.make_pool(8)
        gates = [self.submit_gate(pool) for _ in range(3)]
        for gate in gates:
            gate.open()
        await until(lambda: pool.busy == 0)
        self.clock.advance(2 * DELAY)
        self.assertEqual((len(pool), self.clock.pending), (2, 0))

    def test_one_at_most(self):
        """The project wants a single thread: the second job waits for the first."""
        pool = self.make_pool(1)
        first = self.submit_gate(pool)
        second = self.submit_name(pool)
        self.clock.advance(3 * DELAY)
        self.assertEqual((len(pool), pool.busy), (1, 1))
        first.open()
        self.assertIs(second(), first.thread)

    def test_limit(self):
        """Jobs wait for so long that the pool has all its lanes, and no more."""
        pool = self.make_pool(4)
        for _ in range(6):
            self.submit_gate(pool)
        self.clock.advance(3 * DELAY)
        self.assertEqual((len(pool), pool.busy), (4, 4))

    def test_warning(self):
        """The operator reads how many wait and for how long, once in a while."""
        pool = self.make_pool(4)
        for _ in range(7):
            self.submit_gate(pool)
        with self.assertNoLogs("django_daphne", "WARNING"):
            self.clock.advance(1 - DELAY)
        with self.assertLogs("django_daphne", "WARNING") as logs:
            self.clock.advance(9)
        (record,) = logs.records
        text = record.getMessage()
        for figure in ("4 threads", "THREADS", "3 requests wait", "1.0 s"):
            self.assertIn(figure, text)
        with self.assertLogs("django_daphne", "WARNING") as logs:
            self.clock.advance(2)
        self.assertIn("11.0 s", logs.records[0].getMessage())

    def test_loop_that_stood_still(self):
        """The loop has no time for its timers: jobs wait for it, and not because of the limit."""
        pool = self.make_pool(64)
        for _ in range(5):
            self.submit_gate(pool)
        with self.assertNoLogs("django_daphne", "WARNING"):
            self.clock.jump(20)
            self.clock.advance(3 * DELAY)
        self.assertEqual(len(pool), 5)
