"""Deadlines on a clock that is moved by hand."""

from __future__ import annotations

import unittest
from collections.abc import Callable

from django_daphne.server.protocols.deadlines import RESOLUTION, Deadlines, DeadlineWheel
from tests.support.wire import ManualClock


class DeadlineTestCase(unittest.TestCase):
    """Tests with a wheel, the deadlines of one connection, and a list of what was called."""

    def setUp(self):
        self.clock = ManualClock()
        self.wheel = DeadlineWheel(self.clock)
        self.deadlines = Deadlines(self.wheel)
        self.called: list[str] = []

    def note(self, name: str) -> Callable[[], None]:
        """Return a callback that writes its name down."""
        return lambda: self.called.append(name)

    def start(self, name: str, seconds: float | None) -> None:
        """Start a deadline that writes its name down."""
        self.deadlines.start(name, seconds, self.note(name))


class DeadlinesTests(DeadlineTestCase):
    """The deadlines of one connection."""

    def test_never_early(self):
        """The deadline comes behind its time, by one tick at most, wherever the tick lies."""
        for offset in range(10):
            self.clock.advance(0.0371 * offset)
            self.called.clear()
            self.start("head", 5)
            self.clock.advance(4.999)
            self.assertEqual(self.called, [])
            self.clock.advance(0.001 + RESOLUTION)
            self.assertEqual(self.called, ["head"])

    def test_once(self):
        """The deadline has come and comes no more."""
        self.start("head", 5)
        self.clock.advance(100)
        self.assertEqual(self.called, ["head"])
        self.assertEqual(self.deadlines.names(), set())

    def test_cancelled(self):
        """The server cancels one deadline of two, and one that there is not."""
        self.start("head", 5)
        self.start("body", 5)
        self.deadlines.cancel("head")
        self.deadlines.cancel("linger")
        self.assertEqual(self.deadlines.names(), {"body"})
        self.clock.advance(6)
        self.assertEqual(self.called, ["body"])

    def test_never(self):
        """The operator wants no such deadline, and one that was running is over."""
        for never in (None, -1):
            self.start("head", 5)
            self.start("head", never)
            self.assertEqual(self.deadlines.names(), set())
        self.clock.advance(100)
        self.assertEqual(self.called, [])

    def test_zero(self):
        """The operator gives no time at all: the next tick."""
        self.start("head", 0)
        self.assertEqual(self.called, [])
        self.clock.advance(RESOLUTION)
        self.assertEqual(self.called, ["head"])

    def test_moved(self):
        """The server moves a deadline, later or earlier."""
        self.start("head", 5)
        self.start("head", 50)
        self.clock.advance(49)
        self.assertEqual(self.called, [])
        self.start("head", 500)
        self.start("head", 2)
        self.clock.advance(2 + RESOLUTION)
        self.assertEqual(self.called, ["head"])

    def test_order(self):
        """Deadlines of different lengths come in their order, not in that of their start."""
        for name, seconds in (("c", 30), ("a", 10), ("b", 20)):
            self.start(name, seconds)
        self.clock.advance(40)
        self.assertEqual(self.called, ["a", "b", "c"])

    def test_started_again_from_its_callback(self):
        """A callback starts its deadline anew, as the keeper of progress does."""

        def again() -> None:
            self.called.append("write")
            self.deadlines.start("write", 5, again)

        self.deadlines.start("write", 5, again)
        self.clock.advance(5 * (5 + RESOLUTION))
        self.assertEqual(self.called, ["write"] * 5)

    def test_cancelled_by_a_neighbour(self):
        """Two come at once, and the first cancels the second."""

        def first() -> None:
            self.called.append("body")
            self.deadlines.cancel_all()

        self.deadlines.start("body", 5, first)
        self.start("request", 5)
        self.clock.advance(6)
        self.assertEqual(self.called, ["body"])

    def test_moved_by_a_neighbour(self):
        """Two come at once, and the first moves the second."""

        def first() -> None:
            self.start("request", 50)

        self.deadlines.start("body", 5, first)
        self.start("request", 5)
        self.clock.advance(6)
        self.assertEqual((self.called, self.deadlines.names()), ([], {"request"}))
        self.clock.advance(50)
        self.assertEqual(self.called, ["request"])

    def test_usable_after_cancel_all(self):
        """The server cancels everything and starts one more, which comes."""
        self.start("head", 5)
        self.deadlines.cancel_all()
        self.start("linger", 5)
        self.clock.advance(6)
        self.assertEqual(self.called, ["linger"])


class WheelTests(DeadlineTestCase):
    """The one timer behind all connections."""

    def test_one_timer(self):
        """A thousand connections wait, and the loop has one timer of them."""
        for number in range(1000):
            Deadlines(self.wheel).start("head", 30 + number % 7, self.note("head"))
        self.assertEqual(self.clock.pending, 1)
        self.clock.advance(40)
        self.assertEqual(len(self.called), 1000)

    def test_no_timer(self):
        """Nobody waits, and the process can sleep."""
        self.assertEqual(self.clock.pending, 0)
        self.start("head", 5)
        self.clock.advance(6)
        self.assertEqual(self.clock.pending, 0)

    def test_timer_goes_after_cancelling(self):
        """Everybody has left before their time, and the process can sleep in the end."""
        self.start("head", 5)
        self.deadlines.cancel_all()
        self.clock.advance(6)
        self.assertEqual((self.called, self.clock.pending), ([], 0))

    def test_an_earlier_one(self):
        """A connection with a short deadline comes after one with a long one."""
        self.start("keep-alive", 60)
        Deadlines(self.wheel).start("half-close", 3, self.note("half-close"))
        self.clock.advance(3 + RESOLUTION)
        self.assertEqual(self.called, ["half-close"])
        self.clock.advance(60)
        self.assertEqual(self.called, ["half-close", "keep-alive"])

    def test_neighbours_leave_together(self):
        """A callback ends another connection whose deadline comes in the same tick."""
        pair = (self.deadlines, Deadlines(self.wheel))

        def end_both() -> None:
            self.called.append("head")
            for each in pair:
                each.cancel_all()

        for each in pair:
            each.start("head", 5, end_both)
        self.clock.advance(6)
        self.assertEqual(len(self.called), 1)

    def test_closed(self):
        """The server stops, and no deadline comes after it."""
        self.start("head", 5)
        self.wheel.close()
        self.clock.advance(100)
        self.assertEqual((self.called, self.clock.pending), ([], 0))

    def test_late_loop(self):
        """The loop was busy and turns late; everything that is due comes at once."""
        for seconds in (1, 2, 3):
            Deadlines(self.wheel).start("head", seconds, self.note(str(seconds)))
        self.clock.jump(10)
        self.clock.advance(0)
        self.assertEqual(self.called, ["1", "2", "3"])
