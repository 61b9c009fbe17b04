"""A lane for one request: kept for all of it, or borrowed for a moment at a time."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from functools import partial
from typing import Any, TypeVar

from asgiref.local import Local
from asgiref.sync import async_to_sync, sync_to_async

from django_daphne.handlers.lease import Lease, sensitive
from django_daphne.handlers.outbox import outbox
from tests.support.server import PATIENCE

from .support import Gate, HandlerTestCase, turns

T = TypeVar("T")

user: ContextVar[str] = ContextVar("user", default="nobody")
local = Local()


def on_a_loop(test: Callable[[Any], Coroutine[Any, Any, None]]) -> Callable[[Any], None]:
    """Run a test on a loop of its own: no thread waits for it that sync code would go to."""

    @functools.wraps(test)
    def run(self: Any) -> None:
        asyncio.run(test(self))

    return run


async def in_thread() -> int:
    """Return the number of the thread where asgiref calls sync code of this request."""
    number: int = await sync_to_async(threading.get_ident)()
    return number


class LeaseTests(HandlerTestCase):
    """A lane that waits for what the loop has for it."""

    def lease(self) -> Lease:
        """Return a lease whose lane waits; it ends with the test."""
        loop = asyncio.get_running_loop()
        lease = Lease(outbox(loop), [])
        self.addCleanup(lease.end)
        self.pool.lease(lambda lane: lease.serve(), loop)
        return lease

    @on_a_loop
    async def test_order(self):
        """Calls of all kinds come at once: one thread makes them, in their order."""
        lease = self.lease()
        order: list[tuple[int, int]] = []

        def note(number: int) -> None:
            order.append((number, threading.get_ident()))

        waiting = []
        for number in range(0, 90, 3):
            lease.post(partial(note, number))
            waiting.append(asyncio.wrap_future(lease.submit(note, number + 1)))
            waiting.append(asyncio.ensure_future(lease.run(note, number + 2)))
            await asyncio.sleep(0)
        await asyncio.gather(*waiting)
        self.assertEqual([number for number, _ in order], list(range(90)))
        self.assertEqual(len({thread for _, thread in order}), 1)

    @on_a_loop
    async def test_end(self):
        """The request ends: what was posted before is done, and the lane is free."""
        lease = self.lease()
        gate = self.make_gate()
        done: list[int] = []
        lease.post(gate.wait)
        for number in range(3):
            lease.post(partial(done.append, number))
        lease.end()
        await gate.reached()
        self.assertEqual((done, self.pool.busy), ([], 1))
        gate.open()
        await self.assert_idle()
        self.assertEqual(done, [0, 1, 2])

    @on_a_loop
    async def test_asgiref(self):
        """Sync code below the request goes to its lane, until the lease is closed.

        A task that the request leaves behind goes on after that, in a thread that asgiref makes.
        """
        lease = self.lease()
        own = await lease.run(threading.get_ident)
        sensitive.set(lease.context)
        lease.open()
        self.assertEqual(await in_thread(), own)
        self.assertEqual(await asyncio.create_task(in_thread()), own)
        closed = asyncio.Event()

        async def left_behind() -> int:
            await closed.wait()
            return await in_thread()

        task = asyncio.create_task(left_behind())
        lease.close()
        lease.end()
        await self.assert_idle()
        closed.set()
        async with asyncio.timeout(PATIENCE):
            self.assertNotIn(await task, (own, threading.get_ident()))

    @on_a_loop
    async def test_two_requests(self):
        """Two requests run side by side: the code of each goes to its own lane."""

        async def request() -> tuple[int, int]:
            lease = self.lease()
            own = await lease.run(threading.get_ident)
            sensitive.set(lease.context)
            lease.open()
            try:
                return own, await in_thread()
            finally:
                lease.close()

        pairs = await asyncio.gather(request(), request())
        for own, used in pairs:
            self.assertEqual(own, used)
        self.assertNotEqual(pairs[0], pairs[1])

    @on_a_loop
    async def test_context(self):
        """Code in the lane finds what the loop's side has set, and changes it for that."""
        lease = self.lease()
        user.set("ann")
        local.tenant = "shop"

        def change() -> str:
            found = f"{user.get()} {local.tenant}"
            user.set("bob")
            local.tenant = "club"
            return found

        self.assertEqual(await lease.run(change), "ann shop")
        self.assertEqual(f"{user.get()} {local.tenant}", "bob club")

    @on_a_loop
    async def test_own_executor(self):
        """Code in the lane must not wait for the lane, and on the loop's side still finds it."""
        lease = self.lease()
        sensitive.set(lease.context)
        lease.open()
        self.assertIsNone(await lease.run(sensitive.get, None))
        self.assertIs(sensitive.get(None), lease.context)
        # What runs a loop of its own in the lane has sync code called in a thread of asgiref's.
        async with asyncio.timeout(PATIENCE):
            self.assertIsInstance(await lease.run(asyncio.run, in_thread()), int)
        lease.close()

    @on_a_loop
    async def test_context_after_a_failure(self):
        """Code in the lane changes something and then fails: both come to the loop's side."""
        lease = self.lease()

        def fail() -> None:
            user.set("eve")
            raise LookupError("no such thing")

        with self.assertRaisesRegex(LookupError, "no such thing"):
            await lease.run(fail)
        self.assertEqual(user.get(), "eve")

    @on_a_loop
    async def test_errors(self):
        """Code in the lane raises what no future can carry as it is: whoever waits is told."""

        def fail(kind: type[BaseException]) -> None:
            raise kind

        lease = self.lease()
        for kind, expected in (
            (ValueError, ValueError),
            (asyncio.CancelledError, asyncio.CancelledError),
            (StopIteration, RuntimeError),
        ):
            with self.subTest(kind), self.assertRaises(expected):
                async with asyncio.timeout(1):
                    await lease.run(fail, kind)
        self.assertEqual(await lease.run(int), 0)

    @on_a_loop
    async def test_nested(self):
        """Code in the lane waits for the loop, and what runs there for the lane."""
        lease = self.lease()
        own = await lease.run(threading.get_ident)
        loop = asyncio.get_running_loop()

        async def below() -> tuple[bool, int]:
            return asyncio.get_running_loop() is loop, await in_thread()

        self.assertEqual(await lease.run(async_to_sync(below)), (True, own))

    @on_a_loop
    async def test_cancelled_call(self):
        """Nobody wants a call any more before it begins: it is not made, and the next one is."""
        lease = self.lease()
        gate = self.make_gate()
        made: list[int] = []
        lease.post(gate.wait)
        unwanted = lease.submit(made.append, 1)
        wanted = asyncio.wrap_future(lease.submit(made.append, 2))
        self.assertTrue(unwanted.cancel())
        gate.open()
        await wanted
        self.assertEqual(made, [2])

    @on_a_loop
    async def test_cancelled_waiter(self):
        """Who waits for a call is cancelled: that ends first, and the lane goes on."""
        lease = self.lease()
        for is_last in (False, True):
            gate = self.make_gate()
            ended: list[str] = []

            def work(gate: Gate = gate, ended: list[str] = ended) -> str:
                gate.wait()
                ended.append("work")
                return "done"

            with self.subTest(is_last):
                task = asyncio.create_task(lease.run(work, is_last=is_last))
                await gate.reached()
                for _ in range(2):
                    task.cancel()
                    await turns()
                self.assertEqual((task.done(), ended), (False, []))
                gate.open()
                if is_last:
                    self.assertEqual(await task, "done")
                else:
                    with self.assertRaises(asyncio.CancelledError):
                        await task
                self.assertEqual(ended, ["work"])
                self.assertEqual(await lease.run(int), 0)
