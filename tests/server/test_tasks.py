"""The owner of application tasks."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any

from django.test import SimpleTestCase, tag

from django_daphne.server.asgi.tasks import CAN_START_EAGERLY, Afterwork, ApplicationTasks
from tests.support.memory import ManualLoop

who: ContextVar[str] = ContextVar("who", default="nobody")


class Job:
    """A coroutine as work; `task` is there once it waits."""

    def __init__(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self._coroutine = coroutine
        self.task: asyncio.Task[None] | None = None

    def run(self) -> Coroutine[Any, Any, None]:
        """Return the coroutine."""
        return self._coroutine

    def begun(self, task: asyncio.Task[None]) -> None:
        """Keep the task."""
        self.task = task

    def cancel(self) -> None:
        """Cancel the task, which waits."""
        assert self.task is not None
        self.task.cancel()


async def no_application(scope: object, receive: object, send: object) -> None:
    """Do nothing."""


@tag("loop")
class TasksTests(SimpleTestCase):
    """Starting, counting and ending tasks."""

    def setUp(self):
        self.loop = ManualLoop()
        self.addCleanup(self.loop.close)
        self.tasks = self.make()

    def make(self, *, eager: bool = False) -> ApplicationTasks:
        """Return an owner of tasks made on the loop."""
        return self.loop.call(lambda: ApplicationTasks(no_application, eager=eager))

    async def wait(self) -> None:
        """Wait for ever."""
        await asyncio.Event().wait()

    def test_count(self):
        """The server counts the tasks that are running."""
        jobs = [Job(self.wait()) for _ in range(3)]
        for job in jobs:
            self.loop.call(self.tasks.start, job)
        self.assertEqual(len(self.tasks), 3)
        self.loop.call(jobs[0].cancel)
        self.assertEqual(len(self.tasks), 2)

    def test_notice(self):
        """The server is told when a task ends."""
        ended: list[int] = []
        self.tasks.on_done = lambda: ended.append(len(self.tasks))
        job = Job(self.wait())
        self.loop.call(self.tasks.start, job)
        self.assertEqual(ended, [])
        self.loop.call(job.cancel)
        self.assertEqual(ended, [0])

    def test_held(self):
        """The collector comes by while a task waits for something that nobody else holds."""
        self.loop.call(self.tasks.start, Job(self.wait()))
        gc.collect()
        self.assertEqual(len(self.tasks), 1)
        self.assertEqual(len(asyncio.all_tasks(self.loop.loop)), 1)

    def test_eager(self):
        """The interpreter starts tasks eagerly where it can and is let."""
        seen: list[str] = []

        async def note() -> None:
            seen.append("task")

        def start(tasks: ApplicationTasks) -> None:
            tasks.start(Job(note()))
            seen.append("after")

        for eager in (True, False):
            seen.clear()
            self.loop.call(start, self.make(eager=eager))
            first = "task" if eager and CAN_START_EAGERLY else "after"
            self.assertEqual((seen[0], len(seen)), (first, 2))

    def test_together(self):
        """Requests of one turn are counted at once, and started in the next turn, in order."""
        seen: list[int] = []

        async def note(number: int) -> None:
            seen.append(number)

        def start() -> None:
            for number in range(3):
                self.tasks.start(Job(note(number)))
            self.assertEqual((seen, len(self.tasks), self.tasks.started), ([], 3, 3))

        self.loop.call(start)
        self.assertEqual((seen, len(self.tasks)), ([0, 1, 2], 0))

    def test_cancelled_before_it_began(self):
        """The server stops in the turn in which a request has come; its task may clean up."""
        seen: list[str] = []

        async def work() -> None:
            try:
                await self.wait()
            except asyncio.CancelledError:
                seen.append("cancelled")

        async def stop() -> None:
            self.tasks.start(Job(work()))
            await self.tasks.cancel_all()

        with self.assertLogs("django_daphne.server", "INFO"):
            self.loop.run(stop())
        self.assertEqual(seen, ["cancelled"] if CAN_START_EAGERLY else [])
        self.assertEqual(len(self.tasks), 0)

    def test_contexts(self):
        """One task sets a variable, which neither the next one nor the server sees."""
        who.set("test")
        self.addCleanup(who.set, "nobody")
        seen: list[str] = []

        async def note() -> None:
            seen.append(who.get())
            who.set("task")

        def start() -> None:
            for _ in range(2):
                tasks.start(Job(note()))

        tasks = self.make()
        self.loop.call(start)
        self.assertEqual(seen, ["test", "test"])
        self.assertEqual(who.get(), "test")

    def test_cancel_all(self):
        """The server stops; each task is cancelled and may clean up."""
        cleaned: list[int] = []

        async def work(number: int) -> None:
            try:
                await self.wait()
            finally:
                await asyncio.sleep(0)
                cleaned.append(number)

        for number in range(3):
            self.loop.call(self.tasks.start, Job(work(number)))
        with self.assertLogs("django_daphne.server", "INFO"):
            self.loop.run(self.tasks.cancel_all())
        self.assertEqual(sorted(cleaned), [0, 1, 2])
        self.assertEqual(len(self.tasks), 0)

    def test_nothing_to_cancel(self):
        """The server stops with nothing running, which is worth no words."""
        with self.assertNoLogs("django_daphne.server", "INFO"):
            self.loop.run(self.tasks.cancel_all())

    def test_afterwork(self):
        """What goes on in a thread counts; who stops is told of its end, and nobody before."""
        ended: list[int] = []
        self.tasks.on_done = lambda: ended.append(len(self.tasks))
        afterwork = self.tasks.serving(no_application).afterwork
        for piece in ("one", "two"):
            afterwork.begin(piece)
        self.assertEqual(len(self.tasks), 2)
        self.end(afterwork, "one")
        self.assertEqual((len(self.tasks), ended), (1, []))
        self.loop.call(self.tasks.tell_of_afterwork)
        self.end(afterwork, "two")
        self.loop.call(lambda: None)
        self.assertEqual((len(self.tasks), ended), (0, [0]))

    def test_afterwork_of_a_loop_that_has_ended(self):
        """A thread is done when the loop is no more: that is nobody's concern."""
        self.tasks.on_done = lambda: None
        self.tasks.afterwork.begin("piece")
        self.loop.call(self.tasks.tell_of_afterwork)
        self.loop.close()
        self.end(self.tasks.afterwork, "piece")
        self.assertEqual(len(self.tasks), 0)

    def end(self, afterwork: Afterwork, piece: str) -> None:
        """End a piece in a thread of its own."""
        with ThreadPoolExecutor(1) as threads:
            threads.submit(afterwork.end, piece).result()
