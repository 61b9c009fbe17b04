"""Lanes that are borrowed for a moment at a time: for streams, and for consumers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

from django.db import connection, transaction

from django_daphne.handlers.connections import close_all
from django_daphne.handlers.lanes import LanePool
from django_daphne.handlers.lease import BorrowingExecutor, iterate
from tests.support.server import PATIENCE

from .support import until
from .test_lease import in_thread, on_a_loop
from .test_threaded_database import DatabaseTestCase, write

T = TypeVar("T")


def count() -> int:
    """Return the number of rows."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM visit")
        found: int = cursor.fetchone()[0]
    return found


def commit() -> None:
    """End the transaction of this thread: the name stands for another connection in each."""
    connection.commit()


def visits() -> Any:
    """Return a cursor that goes through all rows."""
    cursor = connection.cursor()
    cursor.execute("SELECT number FROM visit")
    return cursor


async def through(executor: Any, function: Callable[..., T], *args: Any) -> T:
    """Call a function through an executor."""
    future: Future[T] = executor.submit(function, *args)
    return await asyncio.wrap_future(future)


class BorrowingTestCase(DatabaseTestCase):
    """Tests with a database and few lanes."""

    def make_few(self, count: int) -> None:
        """Use no more than so many lanes for what waits, and one for sync views."""
        self.pool = LanePool(1, PATIENCE, close_all, total=count + 1)
        self.addCleanup(lambda: self.assertTrue(self.pool.close(PATIENCE), "a lane does not end"))


class BorrowingTests(BorrowingTestCase):
    """A lane for a moment, and none for as long as nothing is to be done."""

    def executor(self, patience: float = 0.0) -> BorrowingExecutor:
        """Return an executor of the test's lanes, which lets them go at the end."""
        executor = BorrowingExecutor(self.pool, patience, yields=False)
        self.addCleanup(executor.close)
        return executor

    @on_a_loop
    async def test_gives_back(self):
        """The stream has nothing to do for a while: its lane is free for others meanwhile."""
        executor = self.executor()
        self.assertEqual(len(self.pool), 0)
        first = await through(executor, threading.get_ident)
        await self.assert_idle()
        other = self.executor()
        self.assertEqual(await through(other, threading.get_ident), first)
        await self.assert_idle()
        self.assertEqual(await through(executor, threading.get_ident), first)

    @on_a_loop
    async def test_order(self):
        """Calls come while others wait: all are made, one at a time, in their order."""
        executor = self.executor()
        order: list[int] = []
        for number in range(300):
            executor.post(partial(order.append, number))
            if number % 10 == 0:
                await asyncio.sleep(0)
        await until(lambda: len(order) == 300)
        self.assertEqual(order, list(range(300)))
        await self.assert_idle()

    @on_a_loop
    async def test_burst(self):
        """Calls keep coming, some while others are at work: one lane makes them all."""
        executor = self.executor(patience=PATIENCE)
        threads: set[int] = set()
        for round in range(20):
            waiting = [executor.submit(threading.get_ident) for _ in range(round)]
            waiting.append(executor.submit(threading.get_ident))
            threads.update(await asyncio.gather(*map(asyncio.wrap_future, waiting)))
            # Another one takes what is idle.
            await through(self.executor(), int)
        self.assertEqual(len(threads), 1)

    @on_a_loop
    async def test_failing_call(self):
        """A call fails: who waits for it is told, and the lane goes on and back."""
        executor = self.executor()
        failing = executor.submit(int, "x")
        after = executor.submit(int, "7")
        with self.assertRaises(ValueError):
            await asyncio.wrap_future(failing)
        self.assertEqual(await asyncio.wrap_future(after), 7)
        await self.assert_idle()

    @on_a_loop
    async def test_transaction(self):
        """A transaction is begun by one call and ended by another: both are in one thread.

        Between them others have the lanes that there are, and see nothing of it.
        """
        self.use()
        executor = self.executor()
        atomic = transaction.atomic()
        threads = []
        for call in (atomic.__enter__, write):
            await through(executor, call)
            threads.append(await through(executor, threading.get_ident))
        other = self.executor()
        self.assertNotIn(await through(other, threading.get_ident), threads)
        await until(lambda: self.pool.busy == 1)
        self.assertEqual(self.rows(), 0)
        self.assertEqual(await through(executor, count), 1)
        await through(executor, atomic.__exit__, None, None, None)
        await self.assert_idle()
        self.assertEqual((self.rows(), len(set(threads))), (1, 1))

    @on_a_loop
    async def test_autocommit(self):
        """The project ends its transactions by itself: the lane stays until it is done with it."""
        self.use()
        executor = self.executor()
        await through(executor, lambda: connection.set_autocommit(False))
        await through(executor, write)
        own = await through(executor, threading.get_ident)
        self.assertEqual((self.pool.busy, self.rows()), (1, 0))
        await through(executor, commit)
        self.assertEqual(await through(executor, threading.get_ident), own)
        await through(executor, lambda: connection.set_autocommit(True))
        await self.assert_idle()
        self.assertEqual(self.rows(), 1)

    @on_a_loop
    async def test_patience(self):
        """A lane is kept for what may come soon, and let go at the end."""
        executor = self.executor(patience=PATIENCE)
        first = await through(executor, threading.get_ident)
        other = self.executor()
        self.assertNotEqual(await through(other, threading.get_ident), first)
        self.assertEqual(await through(executor, threading.get_ident), first)
        await until(lambda: self.pool.busy == 1)
        executor.close()
        await self.assert_idle()

    @on_a_loop
    async def test_others_in_want(self):
        """Lanes are getting scarce: one that yields is not kept without work, another is."""
        self.make_few(3)
        for yields in (True, False):
            with self.subTest(yields):
                executors = [
                    BorrowingExecutor(self.pool, PATIENCE, yields=yields) for _ in range(3)
                ]
                for executor in executors:
                    self.addCleanup(executor.close)
                threads = [await through(each, threading.get_ident) for each in executors]
                if yields:
                    await until(lambda: self.pool.busy < 3)
                else:
                    self.assertEqual(self.pool.busy, len(set(threads)), 3)
                for executor in executors:
                    executor.close()
                await self.assert_idle()

    @on_a_loop
    async def test_end_of_patience(self):
        """Nothing comes for too long: the lane is free, and the next call has one again."""
        executor = self.executor(patience=0.001)
        for _ in range(3):
            await through(executor, int)
            await self.assert_idle()

    @on_a_loop
    async def test_close(self):
        """The stream ends while calls wait: they are made."""
        executor = self.executor(patience=PATIENCE)
        gate = self.make_gate()
        executor.post(gate.wait)
        waiting = [executor.submit(int, str(number)) for number in range(3)]
        await gate.reached()
        executor.close()
        gate.open()
        answers = await asyncio.gather(*map(asyncio.wrap_future, waiting))
        self.assertEqual(answers, [0, 1, 2])
        await self.assert_idle()

    @on_a_loop
    async def test_close_with_a_cursor(self):
        """The stream ends with a cursor: its connection has had its time, and is closed.

        That is so whether the lane has begun to wait for the end of the cursor, or not yet.
        """
        self.use(CONN_MAX_AGE=0)
        for number in range(20):
            executor = self.executor()
            cursor = await through(executor, visits)
            own = await through(executor, threading.get_ident)
            self.assertEqual(await through(executor, threading.get_ident), own)
            self.assertEqual((self.pool.busy, self.open > 0), (1, True))
            for _ in range(number):
                await asyncio.to_thread(int)
            del cursor
            executor.close()
            await self.assert_idle()
            self.assertEqual(self.open, 0)

    @on_a_loop
    async def test_close_in_a_transaction(self):
        """The stream ends and leaves a transaction open: its lane serves others as ever.

        What they write is written, and what the stream wrote is not.
        """
        self.use()
        self.make_few(1)
        executor = self.executor()
        await through(executor, transaction.atomic().__enter__)
        await through(executor, write)
        own = await through(executor, threading.get_ident)
        executor.close()
        await self.assert_idle()
        other = self.executor()
        for number in range(1, 3):
            await through(other, write)
            self.assertEqual(await through(other, threading.get_ident), own)
            self.assertEqual(self.rows(), number)


class IteratorTests(DatabaseTestCase):
    """Async iterators with sync code below them."""

    @on_a_loop
    async def test_own_context(self):
        """The code of a stream goes to its executor, and that of whoever reads it does not."""
        executor = BorrowingExecutor(self.pool, PATIENCE, yields=False)
        own = await through(executor, threading.get_ident)

        async def parts() -> AsyncIterator[bytes]:
            for _ in range(2):
                yield b"%d" % await in_thread()

        pieces = [piece async for piece in iterate(parts(), executor)]
        self.assertEqual(pieces, 2 * [b"%d" % own])
        self.assertNotEqual(await in_thread(), own)
        await self.assert_idle()

    @on_a_loop
    async def test_closed(self):
        """Whoever reads the stream goes: its end still finds a lane, which is free then."""
        executor = BorrowingExecutor(self.pool, PATIENCE, yields=False)
        own = await through(executor, threading.get_ident)
        seen: list[int] = []

        async def parts() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield b"more"
            finally:
                seen.append(await in_thread())

        stream = iterate(parts(), executor)
        self.assertEqual(await anext(stream), b"more")
        await stream.aclose()
        self.assertEqual(seen, [own])
        await self.assert_idle()
