"""The threads that requests run in: which of them takes what, and their end."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

from django_daphne.handlers.lanes import LanePool
from tests.support.processes import ProcessTestCase
from tests.support.server import PATIENCE

from .lane_jobs import LanesTestCase
from .support import LANE, happens, until

FORK = """
    import asyncio, os, threading
    from django_daphne.handlers.lanes import LanePool

    def work(pool):
        done = threading.Event()
        pool.submit(lambda lane: done.set(), asyncio.new_event_loop())
        assert done.wait(20), "the job is not done"

    pool = LanePool(2, total=3)
    gates = [threading.Event() for _ in range(3)]
    arrived = [threading.Event() for _ in range(3)]

    def stand(number):
        arrived[number].set()
        assert gates[number].wait(20)

    for number, begin in enumerate((pool.submit, pool.submit, pool.lease)):
        begin(lambda lane, number=number: stand(number), asyncio.new_event_loop())
        assert arrived[number].wait(20)
    told = [threading.Event() for _ in range(2)]

    def tell(number):
        print("parent's own", flush=True)
        told[number].set()

    pool.lease(lambda lane: tell(0), asyncio.new_event_loop())
    pool.submit(lambda lane: tell(1), asyncio.new_event_loop())
    child = os.fork()
    if child == 0:
        status = 1
        try:
            print("child begins with", len(pool), pool.busy, flush=True)
            work(pool)
            print("child has", len(pool), pool.close(20), flush=True)
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    print("parent has", len(pool), pool.busy, flush=True)
    for number in (2, 0):
        gates[number].set()
    assert all(each.wait(20) for each in told), "a job is not done"
    gates[1].set()
    print("parent ends:", pool.close(20), flush=True)
"""


class OrderTests(LanesTestCase):
    """Which lane takes which job."""

    async def test_last_in_first_out(self):
        """The pool gives out the lane that became idle last."""
        pool = self.make_pool(2)
        gates = [self.submit_gate(pool) for _ in range(2)]
        for number, gate in enumerate(gates):
            await gate.reached()
            gate.open()
            left = len(gates) - number - 1
            await until(partial(lambda left: pool.busy == left, left))
        threads = []
        for _ in range(3):
            threads.append(self.submit_name(pool)())
            await until(lambda: pool.busy == 0)
        self.assertEqual(threads, 3 * [gates[1].thread])
        # The other one is next when that is busy.
        held = self.submit_gate(pool)
        await held.reached()
        self.assertIs(held.thread, threads[0])
        self.assertIsNot(self.submit_name(pool)(), threads[0])
        self.assertEqual(len(pool), 2)

    async def test_two_at_once(self):
        """The loop submits two jobs and then stands still: both run."""
        pool = self.make_pool(8)
        for _ in range(2):
            await self.submit_gate(pool).reached()
        self.assertEqual((len(pool), pool.busy), (2, 2))

    def test_hand_on(self):
        """A lane takes the jobs that wait, in their order, while the loop stands still."""
        pool = self.make_pool(1)
        first = self.submit_gate(pool)
        order: list[int] = []
        threads = set()
        done = threading.Event()

        def job(number: int) -> None:
            order.append(number)
            threads.add(threading.get_ident())
            if number == 99:
                done.set()

        for number in range(100):
            self.submit(pool, partial(job, number))
        first.open()
        self.assertTrue(done.wait(PATIENCE))
        self.assertEqual(order, list(range(100)))
        self.assertEqual(len(threads), 1)

    async def test_many(self):
        """Many jobs come: all are done, and never more at a time than allowed."""
        pool = self.make_pool(3)
        running: list[None] = []
        most: list[int] = []
        done = threading.Event()

        def job() -> None:
            running.append(None)
            most.append(len(running))
            running.pop()
            if len(most) == 2000:
                done.set()

        loop = asyncio.get_running_loop()
        for _ in range(2000):
            self.submit(pool, job, loop)
        await happens(done)
        self.assertLessEqual(max(most), 3)
        self.assertLessEqual(len(pool), 3)


class EndTests(LanesTestCase):
    """Lanes end: after a while without a job, or with the pool."""

    def setUp(self) -> None:
        super().setUp()
        self.ended: list[threading.Thread] = []

    def note_end(self) -> None:
        """Write down which thread ends."""
        self.ended.append(threading.current_thread())

    async def test_idle(self):
        """A lane without a job closes what it has opened, and its thread ends."""
        pool = self.make_pool(4, idle_timeout=0.001, on_end=self.note_end)
        threads = [self.submit_name(pool)() for _ in range(3)]
        for thread in threads:
            await asyncio.to_thread(thread.join, PATIENCE)
            self.assertFalse(thread.is_alive())
        self.assertEqual(set(self.ended), set(threads))
        self.assertEqual((len(pool), pool.busy), (0, 0))

    def test_job_at_the_last_moment(self):
        """A job comes just when a lane gives up: the lane does it."""
        late: list[Callable[[], threading.Thread]] = []

        class Pool(LanePool):
            def let_go(pool, lane: Any) -> bool:  # noqa: N805 - it is called by the lane
                if not late:
                    late.append(self.submit_name(pool))
                return super().let_go(lane)

        pool = Pool(2, idle_timeout=0.001)
        self.addCleanup(pool.close, PATIENCE)
        first = self.submit_name(pool)()
        first.join(PATIENCE)
        self.assertIs(late[0](), first)

    def test_jobs_at_many_moments(self):
        """Jobs come while lanes give up: each is done."""
        pool = self.make_pool(2, idle_timeout=0.00001)
        for _ in range(500):
            self.submit_name(pool)()

    def test_close(self):
        """The pool is closed: every lane ends in its own thread, and it says so."""
        pool = self.make_pool(4, idle_timeout=None, on_end=self.note_end)
        gates = [self.submit_gate(pool) for _ in range(2)]
        for gate in gates:
            gate.arrival.wait(PATIENCE)
            gate.open()
        self.assertTrue(pool.close(PATIENCE))
        self.assertEqual([thread.name for thread in self.ended], [LANE, LANE])
        self.assertEqual(len(set(self.ended)), 2)
        self.assertEqual(len(pool), 0)

    def test_close_while_busy(self):
        """The pool is closed while a lane is busy: that takes no longer than was said."""
        pool = self.make_pool(4, on_end=self.note_end)
        gate = self.submit_gate(pool)
        gate.arrival.wait(PATIENCE)
        self.assertFalse(pool.close(0.001))
        self.assertEqual(self.ended, [])
        gate.open()
        self.assertTrue(pool.close(PATIENCE))
        self.assertEqual(len(self.ended), 1)

    def test_close_while_jobs_wait(self):
        """The pool is closed while jobs wait: they are done first."""
        pool = self.make_pool(1)
        gate = self.submit_gate(pool)
        threads = [self.submit_name(pool) for _ in range(3)]
        self.assertFalse(pool.close(0))
        gate.open()
        self.assertTrue(pool.close(PATIENCE))
        self.assertEqual(len({thread() for thread in threads}), 1)

    async def test_submit_after_close(self):
        """A job comes after the end: it is done as ever, and the pool can be closed again."""
        pool = self.make_pool(2)
        first = self.submit_name(pool)()
        self.assertTrue(pool.close(PATIENCE))
        self.assertFalse(first.is_alive())
        second = self.submit_name(pool)()
        await until(lambda: pool.busy == 0)
        self.assertIs(self.submit_name(pool)(), second, "the lane has ended again")
        self.assertTrue(pool.close(PATIENCE))
        self.assertFalse(second.is_alive())

    def test_failing_end(self):
        """The project's clean-up fails: the log says so, and the lane is gone all the same."""

        def fail() -> None:
            raise ValueError("no such connection")

        pool = self.make_pool(2, on_end=fail)
        self.submit_name(pool)()
        with self.assertLogs("django_daphne", "ERROR") as logs:
            self.assertTrue(pool.close(PATIENCE))
        self.assertIn("no such connection", logs.output[0])
        self.assertEqual(len(pool), 0)


class FaultTests(LanesTestCase):
    """Jobs that raise, and loops that end."""

    def test_raising_job(self):
        """A job raises what would end a thread: the lane goes on."""
        pool = self.make_pool(1)
        thread = self.submit_name(pool)()
        for kind in (ValueError, SystemExit, KeyboardInterrupt, GeneratorExit):

            def fail(kind: type[BaseException] = kind) -> None:
                raise kind

            with self.subTest(kind), self.assertLogs("django_daphne", "CRITICAL"):
                self.submit(pool, fail)
                self.assertIs(self.submit_name(pool)(), thread)

    async def test_job_is_let_go(self):
        """A lane waits for its next job: nothing of the last one is kept."""

        class Request:
            def serve(self) -> None:
                pass

        pool = self.make_pool(1)
        request = Request()
        gone = weakref.ref(request)
        self.submit(pool, request.serve)
        del request
        await until(lambda: pool.busy == 0)
        await until(lambda: gone() is None)

    def test_loop_of_nobody(self):
        """A loop ends while one of its jobs waits: the pool grows for the jobs of the next."""
        pool = self.make_pool(8)
        ended = asyncio.new_event_loop()
        gates = [self.submit_gate(pool, ended) for _ in range(3)]
        ended.close()

        async def scenario() -> None:
            gates.append(self.submit_gate(pool, asyncio.get_running_loop()))
            for gate in gates:
                await gate.reached()

        asyncio.run(scenario())

    def test_two_loops(self):
        """Two threads run a loop each: both get all that they ask for."""
        pool = self.make_pool(2)
        counts: list[int] = []

        async def scenario() -> None:
            loop = asyncio.get_running_loop()
            for _ in range(100):
                answer = loop.create_future()
                call = partial(loop.call_soon_threadsafe, answer.set_result, None)
                self.submit(pool, call, loop)
                await answer
            counts.append(100)

        threads = [threading.Thread(target=asyncio.run, args=[scenario()]) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        self.assertEqual(counts, [100, 100])
        self.assertLessEqual(len(pool), 2)


class ForkTests(ProcessTestCase):
    """A process that has lanes is copied."""

    def test_fork(self):
        """The child finds no lanes and starts its own; the parent keeps those that it has."""
        self.write("fork.py", FORK)
        process = self.start("-W", "ignore", "fork.py")
        self.assertEqual(process.wait(), 0, process)
        self.assertEqual(
            process.output.splitlines(),
            [
                "child begins with 0 0",
                "child has 1 True",
                "parent has 3 3",
                "parent's own",
                "parent's own",
                "parent ends: True",
            ],
            process,
        )
