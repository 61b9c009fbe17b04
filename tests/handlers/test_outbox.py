"""Calls from threads into a loop."""

from __future__ import annotations

import asyncio
import gc
import random
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest import mock

from django.test import SimpleTestCase

from django_daphne.handlers.outbox import Outbox, outbox
from tests.support.server import PATIENCE

from .support import until

THREADS = 8
CALLS = 500


class Meddler(deque[Callable[[], object]]):
    """Calls that others are added to just when the loop has found none left."""

    def __init__(self) -> None:
        super().__init__()
        self.late: list[Callable[[], object]] = []

    def __len__(self) -> int:
        count = super().__len__()
        if not count and self.late:
            self.late.pop()()
        return count


class Payload:
    """Something that a call holds."""

    def use(self) -> None:
        """Do nothing."""


def post_from_threads(jobs: list[Callable[[], None]]) -> list[threading.Thread]:
    """Start a thread for each job."""
    threads = [threading.Thread(target=job) for job in jobs]
    for thread in threads:
        thread.start()
    return threads


class OutboxTests(SimpleTestCase):
    """Threads post calls, and the loop makes them."""

    def setUp(self) -> None:
        super().setUp()
        self.loop = asyncio.new_event_loop()
        self.addCleanup(self.loop.close)
        wake_up = self.loop.call_soon_threadsafe
        spy = mock.patch.object(self.loop, "call_soon_threadsafe", wraps=wake_up)
        self.wake_ups = self.enterContext(spy)
        self.made: list[Any] = []

    def turn(self) -> None:
        """Let the loop turn once."""
        self.loop.run_until_complete(asyncio.sleep(0))

    def test_one_wake_up(self):
        """Threads post many calls before the loop comes to look: it is woken once."""
        box = Outbox(self.loop)

        def post(thread: int) -> None:
            for number in range(100):
                box.post(partial(self.made.append, (thread, number)))

        for thread in post_from_threads([partial(post, number) for number in range(4)]):
            thread.join(PATIENCE)
        self.assertEqual((self.wake_ups.call_count, self.made), (1, []))
        self.turn()
        self.assertEqual(len(self.made), 400)

    def test_next_wake_up(self):
        """A thread posts a call after the loop has looked: the loop is woken again."""
        box = Outbox(self.loop)
        for number in range(3):
            box.post(partial(self.made.append, number))
            self.turn()
        self.assertEqual((self.wake_ups.call_count, self.made), (3, [0, 1, 2]))

    def test_in_the_loop(self):
        """A thread posts a call: it is made in the loop's thread, with the loop running."""
        box = Outbox(self.loop)

        def note() -> None:
            self.made.append((threading.get_ident(), asyncio.get_running_loop()))

        for thread in post_from_threads([partial(box.post, note)]):
            thread.join(PATIENCE)
        self.turn()
        self.assertEqual(self.made, [(threading.get_ident(), self.loop)])

    def test_posted_by_a_call(self):
        """A call posts another one: that is made, too."""
        box = Outbox(self.loop)
        box.post(lambda: box.post(partial(self.made.append, "inner")))
        self.turn()
        self.turn()
        self.assertEqual(self.made, ["inner"])

    def test_last_look(self):
        """A thread posts just after the loop's last look: the loop is woken again."""
        box = Outbox(self.loop)
        meddler = box._calls = Meddler()
        meddler.late.append(lambda: box.post(partial(self.made.append, "late")))
        box.post(partial(self.made.append, "early"))
        self.turn()
        self.turn()
        self.assertEqual(self.made, ["early", "late"])

    def test_contention(self):
        """Threads post in bursts while the loop runs: nothing is lost, and each keeps its order."""
        self.addCleanup(sys.setswitchinterval, sys.getswitchinterval())
        sys.setswitchinterval(1e-6)
        for seed in range(5):
            with self.subTest(seed=seed):
                self.made.clear()
                self.loop.run_until_complete(self.post_in_bursts(random.Random(seed)))
                for thread in range(THREADS):
                    mine = [number for owner, number in self.made if owner == thread]
                    self.assertEqual(mine, list(range(CALLS)))

    async def post_in_bursts(self, chance: random.Random) -> None:
        """Let threads post, each waiting for the loop after some of its calls."""
        box = outbox(asyncio.get_running_loop())

        def post(thread: int, burst: int) -> None:
            for number in range(CALLS):
                box.post(partial(self.made.append, (thread, number)))
                if number % burst == 0:
                    seen = threading.Event()
                    box.post(seen.set)
                    assert seen.wait(PATIENCE), "a call is lost"

        threads = post_from_threads(
            [partial(post, number, chance.randint(1, 60)) for number in range(THREADS)]
        )
        await until(lambda: len(self.made) == THREADS * CALLS)
        for thread in threads:
            await asyncio.to_thread(thread.join, PATIENCE)


class EndTests(SimpleTestCase):
    """A loop ends, and threads still have something to say."""

    def test_silent(self):
        """A thread posts after the loop's end: nothing happens."""
        loop = asyncio.new_event_loop()
        made: list[int] = []
        box = outbox(loop)
        loop.close()
        for number in range(3):
            box.post(partial(made.append, number))
        self.assertEqual(made, [])

    def test_nothing_kept(self):
        """A thread posts again and again after the loop's end: none of it is kept."""
        loop = asyncio.new_event_loop()
        box = outbox(loop)
        loop.close()
        for _ in range(3):
            payload = Payload()
            gone = weakref.ref(payload)
            box.post(payload.use)
            del payload
            self.assertIsNone(gone())

    def test_one_per_loop(self):
        """Two requests of a loop have one outbox, and those of another loop another one."""
        loops = [asyncio.new_event_loop() for _ in range(2)]
        for loop in loops:
            self.addCleanup(loop.close)
        first, second = map(outbox, loops)
        self.assertIs(outbox(loops[0]), first)
        self.assertIsNot(first, second)

    def test_loop_is_let_go(self):
        """A process has one loop after the other: those that ended are not kept."""
        loop = asyncio.new_event_loop()
        gone = weakref.ref(loop)
        outbox(loop).post(lambda: None)
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
        del loop
        gc.collect()
        self.assertIsNone(gone())
