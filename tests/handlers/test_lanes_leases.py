"""Leased lanes, jobs that step aside, and the bound that counts all of them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from django_daphne.handlers.lanes import Lane
from tests.support.server import PATIENCE

from .lane_jobs import DELAY, LanesTestCase
from .support import until


class LeaseTests(LanesTestCase):
    """Jobs that mostly wait for the loop do not count for the limit."""

    async def test_beside_sync_views(self):
        """Three views wait for the loop while one runs, which is the limit: all have lanes."""
        pool = self.make_pool(1)
        leased = [self.lease_gate(pool) for _ in range(3)]
        submitted = self.submit_gate(pool)
        self.assert_stand(*leased, submitted)
        self.assertEqual((len(pool), pool.busy), (4, 4))
        for gate in leased:
            gate.open()
        await until(lambda: pool.busy == 1)

    async def test_limit_of_the_others(self):
        """A leased lane becomes free: another sync view has to wait all the same."""
        pool = self.make_pool(1)
        leased, first = self.lease_gate(pool), self.submit_gate(pool)
        self.assert_stand(leased, first)
        second = self.submit_gate(pool)
        leased.open()
        await until(lambda: pool.busy == 1)
        self.assertFalse(second.arrival.is_set())
        first.open()
        self.assert_stand(second)

    async def test_kinds(self):
        """Lanes are idle that sync views had, or others: each kind of job takes one of its own."""
        pool = self.make_pool(2, total=4)
        for _ in range(2):
            gates = [*map(self.submit_gate, 2 * [pool]), *map(self.lease_gate, 2 * [pool])]
            self.assert_stand(*gates)
            threads = [{gate.thread for gate in two} for two in (gates[:2], gates[2:])]
            for gate in gates:
                gate.open()
            await until(lambda: not pool.busy)
        for _ in range(3):
            self.assertIn(self.submit_name(pool)(), threads[0])
            gate = self.lease_gate(pool)
            self.assert_stand(gate)
            self.assertIn(gate.thread, threads[1])
            gate.open()
            await until(lambda: not pool.busy)
        self.assertEqual(len(pool), 4)

    def test_many(self):
        """Leases and sync views come by turns: all are done, and the bounds hold at any time."""
        pool = self.make_pool(2, total=3)
        lock, done = threading.Lock(), threading.Event()
        running, most, count = {True: 0, False: 0}, {True: 0, False: 0}, [0]
        threads: set[int] = set()

        def job(lane: Lane, leased: bool) -> None:
            with lock:
                running[leased] += 1
                most[leased] = max(most[leased], running[leased])
                threads.add(threading.get_ident())
            with lock:
                running[leased] -= 1
                count[0] += 1
                if count[0] == 1000:
                    done.set()

        timers: Any = self.clock
        for _ in range(500):
            pool.submit(lambda lane: job(lane, leased=False), timers)
            pool.lease(lambda lane: job(lane, leased=True), timers)
        self.assertTrue(done.wait(PATIENCE), count)
        self.assertLessEqual(most[False], 2)
        self.assertEqual(most[True], 1)
        self.assertLessEqual(len(threads), 3)


class AsideTests(LanesTestCase):
    """A job that waits for others from now on, and no longer counts."""

    def test_next_one(self):
        """A view steps aside: the next begins at once, while the loop stands still."""
        pool = self.make_pool(1)
        arrived, go_on, aside = (threading.Event() for _ in range(3))
        self.addCleanup(aside.set)

        def job(lane: Lane) -> None:
            arrived.set()
            assert go_on.wait(PATIENCE)
            pool.step_aside(lane)
            assert aside.wait(PATIENCE)

        timers: Any = self.clock
        pool.submit(job, timers)
        self.assertTrue(arrived.wait(PATIENCE))
        second = self.submit_gate(pool)
        third = self.submit_gate(pool)
        self.assertFalse(second.arrival.is_set())
        go_on.set()
        self.assert_stand(second)
        self.assertEqual(pool.busy, 2)
        self.assertFalse(third.arrival.is_set())

    async def test_end(self):
        """A view that has stepped aside ends: the limit is what it was."""
        pool = self.make_pool(1)
        aside = self.submit_aside(pool)
        self.assert_stand(aside)
        first = self.submit_gate(pool)
        self.assert_stand(first)
        second = self.submit_gate(pool)
        aside.open()
        await until(lambda: pool.busy == 1)
        self.assertFalse(second.arrival.is_set())
        first.open()
        self.assert_stand(second)
        self.assertEqual(pool.busy, 1)

    async def test_more_than_once(self):
        """A view steps aside twice, and a leased one, too: each counts at most once."""
        pool = self.make_pool(1)
        timers: Any = self.clock

        def twice(lane: Lane) -> None:
            pool.step_aside(lane)
            pool.step_aside(lane)

        for begin in (pool.lease, pool.submit):
            begin(twice, timers)
            await until(lambda: not pool.busy)
            gates = [self.submit_gate(pool) for _ in range(2)]
            self.assertEqual(pool.busy, 1)
            for gate in gates:
                gate.open()
            await until(lambda: not pool.busy)

    async def test_after_a_failure(self):
        """A view fails after it has stepped aside: nothing counts for it."""
        pool = self.make_pool(1)

        def fail(lane: Lane) -> None:
            pool.step_aside(lane)
            raise ValueError

        timers: Any = self.clock
        with self.assertLogs("django_daphne", "CRITICAL"):
            pool.submit(fail, timers)
            await until(lambda: not pool.busy)
        first, second = self.submit_gate(pool), self.submit_gate(pool)
        self.assert_stand(first)
        self.assertFalse(second.arrival.is_set())
        self.assertEqual(pool.busy, 1)


class TotalTests(LanesTestCase):
    """All lanes together are bounded, too, and some of them are kept for sync views."""

    async def test_lease_behind_the_share(self):
        """Views that stepped aside are more than the others' share; all end: a lease is served."""
        pool = self.make_pool(2, total=4)
        aside = []
        for _ in range(3):
            aside.append(self.submit_aside(pool))
            self.assert_stand(aside[-1])
            await until(lambda: pool._counted == 0)
        leased = [self.lease_gate(pool) for _ in range(2)]
        self.assertFalse(any(gate.arrival.is_set() for gate in leased))
        aside[0].open()
        await until(lambda: pool.busy == 2)
        late = self.lease_gate(pool)
        self.assertFalse(any(gate.arrival.is_set() for gate in (*leased, late)))
        for gate in aside[1:]:
            gate.open()
        self.assert_stand(*leased)
        self.assertFalse(late.arrival.is_set(), "it has overtaken those that came before")
        leased[0].open()
        self.assert_stand(late)

    def test_leases(self):
        """More leases come than may have lanes: the others take over, oldest first."""
        pool = self.make_pool(2, total=5)
        first = [self.lease_gate(pool) for _ in range(3)]
        self.assert_stand(*first)
        then = [self.lease_gate(pool) for _ in range(2)]
        self.assertFalse(any(gate.arrival.is_set() for gate in then))
        self.assertEqual(len(pool), 3)
        first[1].open()
        self.assert_stand(then[0])
        self.assertIs(then[0].thread, first[1].thread)
        self.assertFalse(then[1].arrival.is_set())
        first[0].open()
        self.assert_stand(then[1])

    async def test_sync_views(self):
        """All leases that there may be have begun, and more wait: sync views have their lanes."""
        pool = self.make_pool(2, total=4)
        leased = [self.lease_gate(pool) for _ in range(3)]
        self.assert_stand(*leased[:2])
        for _ in range(3):
            gates = [self.submit_gate(pool) for _ in range(2)]
            self.assert_stand(*gates)
            self.assertEqual((len(pool), pool.busy), (4, 4))
            for gate in gates:
                gate.open()
            await until(lambda: pool.busy == 2 or leased[2].arrival.is_set())
            self.assertFalse(leased[2].arrival.is_set(), "it has a lane of the sync views")
        leased[0].open()
        self.assert_stand(leased[2])

    def test_aside(self):
        """Streams have stepped aside on all lanes: the next view waits for the end of one."""
        pool = self.make_pool(1, total=3)
        streams = [self.submit_aside(pool) for _ in range(3)]
        self.assert_stand(*streams)
        gate = self.submit_gate(pool)
        self.assertEqual(len(pool), 3)
        self.assertFalse(gate.arrival.is_set())
        streams[2].open()
        self.assert_stand(gate)
        self.assertIs(gate.thread, streams[2].thread)

    def test_both_kinds_wait(self):
        """A lease and a sync view wait for a lane: both get one in the end."""
        pool = self.make_pool(1, total=2)
        held = [self.submit_aside(pool) for _ in range(2)]
        self.assert_stand(*held)
        gate = self.lease_gate(pool)
        name = self.submit_name(pool)
        held[0].open()
        self.assertIs(name(), held[0].thread)
        held[1].open()
        self.assert_stand(gate)

    async def test_lane_that_is_left(self):
        """Streams have left their lanes: a sync view takes one, for there may be no more."""
        pool = self.make_pool(1, total=2)
        streams = [self.submit_aside(pool) for _ in range(2)]
        self.assert_stand(*streams)
        for gate in streams:
            gate.open()
        await until(lambda: not pool.busy)
        for _ in range(2):
            self.assertIn(self.submit_name(pool)(), [gate.thread for gate in streams])
        self.assertEqual(len(pool), 2)

    def test_default(self):
        """The project names no total: it is four times the limit."""
        pool = self.make_pool(2)
        gates = [self.lease_gate(pool) for _ in range(7)]
        self.assert_stand(*gates[:6], *(self.submit_gate(pool) for _ in range(2)))
        self.assertEqual(len(pool), 8)
        self.assertFalse(gates[6].arrival.is_set())

    def test_close(self):
        """The pool is closed while jobs of both kinds wait: they are done first."""
        pool = self.make_pool(1, total=2)
        held = [self.lease_gate(pool), self.submit_gate(pool)]
        self.assert_stand(*held)
        waiting = [self.lease_gate(pool), self.submit_gate(pool)]
        self.assertFalse(pool.close(0))
        for gate in (*held, *waiting):
            gate.open()
        self.assertTrue(pool.close(PATIENCE))
        self.assert_stand(*waiting)
        self.assertEqual((len(pool), pool.busy), (0, 0))


class WarningTests(LanesTestCase):
    """The operator reads which setting is too low."""

    def setUp(self) -> None:
        super().setUp()
        self.stop_time()

    def text(self, seconds: float) -> str:
        """Return the warning that the log gets in so many seconds."""
        with self.assertLogs("django_daphne.server", "WARNING") as logs:
            self.clock.advance(seconds)
        (record,) = logs.records
        return record.getMessage()

    def test_leases(self):
        """Views that wait for the loop have all lanes: the next ones wait for a second."""
        pool = self.make_pool(2, total=5)
        gates = [self.lease_gate(pool) for _ in range(5)]
        with self.assertNoLogs("django_daphne", "WARNING"):
            self.clock.advance(1 - DELAY)
        text = self.text(2)
        for part in ("3 threads", "THREADS_TOTAL", "2 requests wait", "1.0 s"):
            self.assertIn(part, text)
        gates[0].open()
        self.assert_stand(gates[3])
        text = self.text(9)
        self.assertIn("1 requests wait", text)
        self.assertIn("11.0 s", text)

    def test_sync_views(self):
        """A sync view waits because streams have all lanes, and not for its own limit."""
        pool = self.make_pool(2, total=3)
        self.assert_stand(*(self.submit_aside(pool) for _ in range(3)))
        self.submit_gate(pool)
        text = self.text(2)
        for part in ("3 threads", "THREADS_TOTAL", "1 requests wait", "1.0 s"):
            self.assertIn(part, text)

    def test_nobody_waits(self):
        """All lanes are busy for long, and nobody waits: there is nothing to say."""
        pool = self.make_pool(1, total=3)
        self.assert_stand(self.submit_gate(pool), *(self.lease_gate(pool) for _ in range(2)))
        with self.assertNoLogs("django_daphne", "WARNING"):
            self.clock.advance(60)
        self.assertEqual(self.clock.pending, 0, "it looks after nobody")


class FreeTests(LanesTestCase):
    """A job may leave a word for the moment when its lane is free again."""

    def test_same_lane(self):
        """The client hears that its request has ended and sends another: the same lane takes it."""
        pool = self.make_pool(4)
        threads: list[threading.Thread] = []
        done = threading.Event()
        timers: Any = self.clock

        def job(lane: Lane) -> Callable[[], None]:
            threads.append(threading.current_thread())
            return done.set if len(threads) == 3 else lambda: pool.submit(job, timers)

        pool.submit(job, timers)
        self.assertTrue(done.wait(PATIENCE))
        self.assertEqual((len(set(threads)), len(threads), len(pool)), (1, 3, 1))

    def test_before_the_next(self):
        """A job waits already: the word is out before that begins."""
        pool = self.make_pool(1)
        order: list[object] = []
        held = self.submit_gate(pool)
        self.assert_stand(held)
        timers: Any = self.clock
        done = threading.Event()
        pool.submit(lambda lane: lambda: order.append(pool.busy), timers)
        self.submit(pool, lambda: order.append("next"))
        self.submit(pool, done.set)
        held.open()
        self.assertTrue(done.wait(PATIENCE))
        self.assertEqual(order, [1, "next"])
