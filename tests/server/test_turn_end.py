"""When what was kept is written: at the end of a turn, and of the batch that starts in it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from django.test import SimpleTestCase, tag

from django_daphne.server.protocols.wire import TurnEnd
from tests.compliance import request
from tests.support.memory import MemoryServer
from tests.support.server import eager

GET = request()


class TurnEndTests(SimpleTestCase):
    """The end of a turn, with callbacks and a clock moved by hand."""

    def setUp(self):
        self.now = 0.0
        self.callbacks: list[Callable[[], object]] = []
        self.written: list[str] = []
        self.end = TurnEnd(self.callbacks.append, lambda: self.now)

    def hold(self, name: str) -> bool:
        """Return whether an answer is held."""
        is_held = self.end.may_hold()
        if is_held:
            self.end.call(self.pipe(name))
        return is_held

    def pipe(self, name: str) -> Callable[[], object]:
        """Return what writes."""
        return partial(self.written.append, name)

    def test_one_callback(self):
        """Three streams write in a turn: one callback of the loop is the end of it for all."""
        for name in "abc":
            self.end.call(self.pipe(name))
        self.assertEqual((len(self.callbacks), self.written), (1, []))
        self.callbacks.pop()()
        self.assertEqual((self.callbacks, self.written), ([], ["a", "b", "c"]))

    def test_batch(self):
        """Answers and a stream's piece wait for the end of their batch, and for no callback."""
        self.end.begin()
        self.assertTrue(self.hold("a"))
        self.end.call(self.pipe("b"))
        self.assertEqual((self.callbacks, self.written), ([], []))
        self.end.end()
        self.assertEqual((self.callbacks, self.written), ([], ["a", "b"]))
        self.assertFalse(self.end.may_hold())

    def test_long_batch(self):
        """An application takes a millisecond: what was ready before leaves before the next."""
        self.end.begin()
        self.assertTrue(self.hold("a"))
        self.now += 0.001
        self.assertFalse(self.hold("b"))
        self.assertEqual(self.written, ["a"])
        self.assertTrue(self.hold("c"))
        self.end.end()
        self.assertEqual(self.written, ["a", "c"])

    def test_failing(self):
        """One of them fails, and the others are written by the next callback."""

        def fail() -> None:
            raise OSError("nothing is written here")

        self.end.call(fail)
        self.end.call(self.pipe("b"))
        with self.assertRaises(OSError):
            self.callbacks.pop()()
        self.callbacks.pop()()
        self.assertEqual((self.callbacks, self.written), ([], ["b"]))

    def test_more_in_the_end(self):
        """What is written makes an application go on: what that says is not forgotten."""
        self.end.call(lambda: self.end.call(self.pipe("later")))
        self.callbacks.pop()()
        self.assertEqual(self.written, [])
        while self.callbacks:
            self.callbacks.pop()()
        self.assertEqual(self.written, ["later"])


@tag("loop")
class BatchTests(SimpleTestCase):
    """Requests on several connections, in memory."""

    def serve(self, clients: int) -> tuple[list[list[int]], list[int]]:
        """Ask on so many connections in one turn.

        Return the writes on each of them after each answer was given, and those at the end.
        """
        seen: list[list[int]] = []

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": b"answer"})
            seen.append([each.transport.writes for each in connections])

        server = MemoryServer(application)
        self.addCleanup(server.close)
        connections = [server.connect() for _ in range(clients)]

        def ask() -> None:
            for each in connections:
                each.transport.arrive(GET)

        server.call(ask)
        for each in connections:
            self.assertEqual([answer.body for answer in each.responses()], [b"answer"])
        return seen, [each.transport.writes for each in connections]

    def test_together(self):
        """Three clients ask in one turn: all are answered, and then all answers are written."""
        seen, writes = self.serve(3)
        self.assertEqual(writes, [1, 1, 1])
        if not eager():
            self.assertEqual(seen, [[0, 0, 0]] * 3)

    def test_alone(self):
        """One client asks: its answer waits for nothing but the read, where tasks start in it."""
        seen, writes = self.serve(1)
        self.assertEqual(writes, [1])
        self.assertEqual(seen, [[0 if eager() else 1]])
