"""How many threads there are for requests."""

from __future__ import annotations

import asyncio
from unittest import mock

from django_daphne.handlers import lanes
from django_daphne.handlers.lanes import WARM_LANES as AT_ONCE
from django_daphne.handlers.lanes import Lane, LanePool
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

    def test_outside_of_tests(self):
        """Three jobs that come at once begin at once, and not a fourth."""
        with mock.patch.object(lanes, "WARM_LANES", AT_ONCE):
            pool = self.make_pool(8)
            gates = [self.submit_gate(pool) for _ in range(AT_ONCE + 1)]
        for gate in gates[:AT_ONCE]:
            self.assertTrue(gate.arrival.wait(PATIENCE))
        self.assertEqual((AT_ONCE, len(pool)), (3, 3))

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

    def test_no_thread(self):
        """The system has no thread for one more: the job waits on, for those that there are."""
        pool = self.make_pool(8)
        with mock.patch.object(Lane, "start", side_effect=RuntimeError("can't start new thread")):
            with self.assertRaisesRegex(RuntimeError, "new thread"):
                self.submit_gate(pool)
            self.assertEqual((len(pool), pool.busy), (0, 0))
        gates = [self.submit_gate(pool) for _ in range(3)]
        with mock.patch.object(Lane, "start", side_effect=RuntimeError):
            for _ in range(3):
                self.clock.advance(DELAY)
            self.assertEqual((len(pool), gates[2].arrival.is_set()), (2, False))
            gates[0].open()
            self.assertTrue(gates[2].arrival.wait(PATIENCE))
        for gate in gates:
            gate.open()

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


class LevelTests(LanesTestCase):
    """How many run at once depends on whether more of them would do more."""

    def setUp(self) -> None:
        super().setUp()
        self.stop_time()

    def grow(self, pool: LanePool, count: int) -> None:
        """Let views that wait make the pool run so many at once, and end."""
        gates = [self.submit_gate(pool) for _ in range(count)]
        self.clock.advance((count - 2) * DELAY)
        self.assert_stand(*gates)
        for gate in gates:
            gate.open()
        self.rest(pool)

    def rest(self, pool: LanePool) -> None:
        """Return when no job runs any more."""
        asyncio.run(until(lambda: not pool.busy))

    def run_jobs(self, pool: LanePool, count: int) -> None:
        """Run so many jobs, one after the other, in no time."""
        for _ in range(count):
            self.submit_name(pool)()
            self.rest(pool)

    def assert_at_once(self, pool: LanePool, count: int, leased: int = 0) -> None:
        """Assert how many of a crowd begin at once, beside lanes that are leased."""
        gates = [self.submit_gate(pool) for _ in range(count + 2)]
        self.assert_stand(*gates[:count])
        self.assertEqual(pool.busy - leased, count)
        self.assertFalse(gates[count].arrival.is_set())
        for gate in gates:
            gate.open()

    def test_stuck(self):
        """Two views compute for long: the processor is busy, and a third begins all the same."""
        pool = self.make_pool(8)
        gates = [self.submit_gate(pool) for _ in range(4)]
        self.pass_time(DELAY, 1.0)
        self.assert_stand(*gates[:3])
        self.assertFalse(gates[3].arrival.is_set())
        self.pass_time(DELAY, 1.0)
        self.assert_stand(gates[3])

    def test_waiting_views(self):
        """Views come and go: there are more at once unless one processor is all that they need."""
        for share, expected in ((0.0, 3), (0.5, 3), (1.0, 2), (2.0, 3)):
            with self.subTest(share):
                pool = self.make_pool(8)
                gates = [self.submit_gate(pool) for _ in range(4)]
                gates[0].open()
                self.assert_stand(*gates[:3])
                self.pass_time(DELAY, share)
                self.assertEqual(pool.busy, expected)
                for gate in gates:
                    gate.open()
                self.rest(pool)

    def test_fall(self):
        """The pool runs four at once, and then what comes needs the processor: two do as well.

        There are idle lanes, which must not take more.
        """
        pool = self.make_pool(8)
        self.grow(pool, 4)
        self.run_jobs(pool, 6)
        self.pass_time(DELAY, 1.0)
        self.assertEqual(len(pool), 4)
        self.assert_at_once(pool, 2)
        self.assertEqual(len(pool), 4)

    def test_fall_in_steps(self):
        """The pool runs nine at once: it goes down by halves, and never below two."""
        pool = self.make_pool(16)
        self.grow(pool, 9)
        for expected in (4, 2, 2):
            self.run_jobs(pool, 12)
            self.pass_time(DELAY, 1.0)
            self.assert_at_once(pool, expected)
            self.rest(pool)
            # That crowd has itself begun within the next measure.
            self.pass_time(DELAY)
            self.run_jobs(pool, 1)

    def test_no_reason_to_fall(self):
        """The processor has time, or few jobs begin: as many run at once as before."""
        for jobs, share in ((6, 0.0), (6, 0.5), (6, 2.0), (3, 1.0)):
            with self.subTest(jobs, share=share):
                pool = self.make_pool(8)
                self.grow(pool, 4)
                self.pass_time(DELAY)
                self.run_jobs(pool, jobs)
                self.pass_time(DELAY, share)
                self.assert_at_once(pool, 4)
                self.rest(pool)

    def test_leases(self):
        """Lanes are leased while the level is low: they are no affair of it."""
        pool = self.make_pool(8)
        leased = [self.lease_gate(pool) for _ in range(6)]
        self.assert_stand(*leased)
        self.assert_at_once(pool, 2, leased=6)
        self.assertEqual(len(pool), 8)
