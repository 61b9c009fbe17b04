"""What one connection of HTTP/2 may ask for: allowances and streams, without a connection."""

from __future__ import annotations

from typing import Any

from django.test import SimpleTestCase

from django_daphne.server.exceptions import HTTP2Error
from django_daphne.server.protocols.http2_limits import (
    ALLOWANCES,
    EARNED_BY_DATA,
    Allowances,
    StreamLimit,
)
from tests.support.http2_frames import Code
from tests.support.wire import ManualClock


class AllowanceTests(SimpleTestCase):
    """Buckets of tokens, on a clock that is moved by hand."""

    def setUp(self):
        self.clock = ManualClock()
        self.allowances = Allowances(self.clock.now)

    def take_all(self, kind: str) -> int:
        """Return how many can be taken until it is too much."""
        for count in range(10**5):
            try:
                self.allowances.take(kind)
            except HTTP2Error as error:
                self.assertEqual(error.code, Code.ENHANCE_YOUR_CALM)
                return count
        raise AssertionError("there is no end")

    def test_table(self):
        """The client uses each allowance up, waits, and has as much as it refills."""
        self.assertEqual(
            ALLOWANCES,
            {
                "resets": (200, 20),
                "SETTINGS": (100, 5),
                "PING": (500, 50),
                "empty frames": (100, 10),
                "PRIORITY": (1000, 100),
                "WINDOW_UPDATE": (2000, 200),
                "unknown frames": (100, 10),
            },
        )
        for kind, (most, rate) in ALLOWANCES.items():
            with self.subTest(kind):
                self.assertEqual(self.take_all(kind), most)
                self.assertEqual(self.take_all(kind), 0)
                self.clock.advance(2)
                self.assertEqual(self.take_all(kind), 2 * rate)
                self.clock.advance(10**6)
                self.assertEqual(self.take_all(kind), most)

    def test_steady(self):
        """The client stays below the rate, for ever."""
        self.take_all("PING")
        for _ in range(1000):
            self.clock.advance(0.1)
            for _ in range(4):
                self.allowances.take("PING")

    def test_above_the_rate(self):
        """The client is a little faster than the rate: it is found out in the end."""
        with self.assertRaises(HTTP2Error):
            for _ in range(2000):
                self.clock.advance(0.1)
                for _ in range(6):
                    self.allowances.take("PING")

    def test_earned(self):
        """The client is sent much, and acknowledges it; what it earns has a bound."""
        self.allowances.earn("WINDOW_UPDATE", EARNED_BY_DATA)
        self.assertEqual(self.take_all("WINDOW_UPDATE"), 2000)
        for _ in range(100):
            self.allowances.earn("WINDOW_UPDATE", EARNED_BY_DATA)
            self.assertEqual(self.take_all("WINDOW_UPDATE"), EARNED_BY_DATA)
        for _ in range(5000):
            self.allowances.earn("WINDOW_UPDATE", EARNED_BY_DATA)
        self.assertEqual(self.take_all("WINDOW_UPDATE"), 2000)


class Running:
    """An application that runs, or has ended."""

    is_running = True


class StreamLimitTests(SimpleTestCase):
    """How many streams there may be."""

    def test_running(self):
        """The applications of streams that ended count while they run."""
        limit = StreamLimit(5)
        cycles: list[Any] = [Running() for _ in range(4)]
        for cycle in cycles:
            limit.stream_ended(cycle)
        self.assertEqual([limit.has_room(streams) for streams in (0, 1)], [True, False])
        cycles[2].is_running = False
        self.assertEqual([limit.has_room(streams) for streams in (1, 2)], [True, False])

    def test_many_ends(self):
        """The applications end with their streams: none of them is kept."""
        limit = StreamLimit(5)
        for _ in range(1000):
            cycle: Any = Running()
            limit.stream_ended(cycle)
            cycle.is_running = False
            self.assertTrue(limit.has_room(4))
            self.assertFalse(limit.has_room(5))
        limit.stream_ended(None)
        self.assertTrue(limit.has_room(4))
