"""Priorities of HTTP/2 (RFC 9218): what clients say, and who sends first."""

from __future__ import annotations

from django.test import SimpleTestCase, tag

from django_daphne.server.protocols.http2_priority import (
    DEFAULT,
    EarlyPriorities,
    Priority,
    SendQueue,
    read_priority,
)
from tests.support.http2_frames import (
    Kind,
    Setting,
    priority_update_frame,
    request_fields,
)

from .http2_support import HTTP2Client, HTTP2TestCase


class Waiting:
    """A stream that waits to send."""

    is_queued = False

    def __init__(self, stream_id: int, urgency: int = 3, takes_turns: bool = True) -> None:
        self.stream_id = stream_id
        self.priority = Priority(urgency, takes_turns)

    def send_frame(self) -> bool:
        """Send nothing."""
        return False


class PriorityTests(SimpleTestCase):
    """What clients say of priorities (RFC 9218, sections 4 and 5)."""

    def test_reading(self):
        """The client's field says what it says; what is wrong of it counts as not said."""
        for value, urgency, takes_turns in (
            (b"", 3, False),
            (b"u=0", 0, False),
            (b"u=7, i", 7, True),
            (b"i,u=1", 1, True),
            (b"i=?1", 3, True),
            (b"i=?0", 3, False),
            (b"u=5;x=1 ,\ti;y", 5, True),
            (b"u=2, u=4", 4, False),
            (b"u=8", 3, False),
            (b"u=-1", 3, False),
            (b"u=1.0", 3, False),
            (b"u=\xb2, i", 3, True),
            (b"x=1, ui, u", 3, False),
            (b"U=1", 3, False),
        ):
            with self.subTest(value=value):
                self.assertEqual(read_priority(value), Priority(urgency, takes_turns))
        self.assertEqual(DEFAULT, Priority(3, True))

    def test_early(self):
        """The client's frame comes before its request, and wins over its field."""
        early = EarlyPriorities()
        headers = [(b"host", b"x"), (b"priority", b"u=5")]
        early.keep(3, Priority(1), 1)
        self.assertEqual(early.begin(3, headers), Priority(1))
        self.assertEqual(early.begin(3, headers), Priority(5, False))
        self.assertEqual(early.begin(5, []), DEFAULT)

    def test_early_bound(self):
        """The client's frames are of many streams that never begin: few are kept, the rest lost."""
        early = EarlyPriorities()
        for number in range(1, 10_001, 2):
            early.keep(number, Priority(1), 0)
        kept = sum(early.begin(number, []) != DEFAULT for number in range(1, 10_001, 2))
        self.assertIn(kept, range(1, 101))

    def test_early_room(self):
        """The client's streams with early priorities begin, or never do: there is room again."""
        early = EarlyPriorities()
        for number in range(1, 2001, 2):
            early.keep(number, Priority(1), number - 2)
        early.keep(2001, Priority(2), 1999)
        self.assertEqual(early.begin(2001, []), Priority(2))
        early.keep(5, Priority(2), 1999)
        self.assertEqual(early.begin(5, []), DEFAULT)


class SendQueueTests(SimpleTestCase):
    """Whose turn it is (RFC 9218, section 10)."""

    def order(self, queue: SendQueue, count: int, again: int = 0) -> list[int]:
        """Return who sends, where the first ``again`` have more to send afterwards."""
        found = []
        for number in range(count):
            sender = queue.take()
            found.append(sender.stream_id)
            if number < again:
                queue.add(sender)
        return found

    def queue(self, *senders: Waiting) -> SendQueue:
        """Return a queue with these."""
        queue = SendQueue()
        for sender in senders:
            queue.add(sender)
        return queue

    def test_urgency(self):
        """The client wants some before others."""
        queue = self.queue(Waiting(1, 7), Waiting(3, 0), Waiting(5, 3), Waiting(7, 0, False))
        self.assertEqual(self.order(queue, 4), [7, 3, 5, 1])
        self.assertEqual(len(queue), 0)

    def test_turns(self):
        """The client says nothing of its streams: they take turns."""
        queue = self.queue(Waiting(5), Waiting(1), Waiting(3))
        self.assertEqual(self.order(queue, 9, 6), [5, 1, 3] * 3)

    def test_one_after_the_other(self):
        """The client wants its streams one after the other: by their number, each to its end."""
        queue = self.queue(*(Waiting(number, 3, False) for number in (5, 1, 3)))
        self.assertEqual(self.order(queue, 3), [1, 3, 5])
        queue = self.queue(*(Waiting(number, 3, False) for number in (5, 1, 3)))
        self.assertEqual(self.order(queue, 6, 3), [1, 1, 1, 1, 3, 5])

    def test_twice(self):
        """The stream is queued twice, and sends once."""
        sender = Waiting(1)
        queue = self.queue(sender, sender)
        self.assertEqual((len(queue), self.order(queue, 1), len(queue)), (1, [1], 0))

    def test_move(self):
        """The client changes its mind about a stream that waits, and about one that does not."""
        first, second, third = (Waiting(number) for number in (1, 3, 5))
        queue = self.queue(first, second)
        queue.move(second, Priority(0))
        queue.move(third, Priority(1, False))
        self.assertEqual((len(queue), third.is_queued), (2, False))
        queue.add(third)
        self.assertEqual(self.order(queue, 3), [3, 5, 1])
        self.assertEqual(second.priority, Priority(0))

    def test_move_within(self):
        """The client moves a stream from one kind of its urgency to the other, and back."""
        first, second = Waiting(1), Waiting(3)
        queue = self.queue(first, second)
        queue.move(second, Priority(3, False))
        queue.move(first, Priority(3, False))
        queue.move(first, Priority(3, True))
        self.assertEqual(self.order(queue, 2), [3, 1])
        with self.assertRaises(IndexError):
            queue.take()


@tag("loop")
class OrderTests(HTTP2TestCase):
    """The order of DATA when there is room for several answers at once."""

    def order(self, *values: bytes, **updates: bytes) -> list[int]:
        """Return the streams of the DATA frames of large answers, by the priority of each."""
        client, calls = self.speak(settings={Setting.INITIAL_WINDOW_SIZE: 0})
        for number, value in updates.items():
            if number.startswith("early"):
                client.send(priority_update_frame(int(number[5:]), value))
        for value in values:
            fields = [(b"priority", value)] if value else []
            client.ask(request_fields(b"GET", b"/", *fields))
        for call in calls:
            call.start()
            call.send("body", body=bytes(40_000))
        for number, value in updates.items():
            if number.startswith("late"):
                client.send(priority_update_frame(int(number[4:]), value))
        return self.sent(client)

    def sent(self, client: HTTP2Client) -> list[int]:
        """Make room for everything; return the streams of the DATA frames."""
        client.grant(0, 10**6)
        client.change({Setting.INITIAL_WINDOW_SIZE: 10**6})
        return [each.stream for each in client.conversation.log if each.kind == Kind.DATA]

    def test_nothing_said(self):
        """The client says nothing: its answers take turns."""
        self.assertEqual(self.order(b"", b""), [1, 3] * 3)

    def test_urgency(self):
        """The client wants the last first."""
        self.assertEqual(self.order(b"u=5", b"", b"u=0"), [5] * 3 + [3] * 3 + [1] * 3)

    def test_one_after_the_other(self):
        """The client wants one after the other, or says that it can use parts."""
        self.assertEqual(self.order(b"u=3", b"u=3"), [1] * 3 + [3] * 3)
        self.assertEqual(self.order(b"u=3, i", b"u=3, i"), [1, 3] * 3)

    def test_update(self):
        """The client changes its mind before the answer has left, or before the request."""
        self.assertEqual(self.order(b"", b"", late3=b"u=0"), [3] * 3 + [1] * 3)
        self.assertEqual(self.order(b"", b"u=7", early3=b"u=0"), [3] * 3 + [1] * 3)
        self.assertEqual(self.order(b"u=0", b"", late1=b"u=6, i"), [3] * 3 + [1] * 3)

    def test_urgent_within(self):
        """The client's urgent request comes while a large answer is under way."""
        client, calls = self.speak(settings={Setting.INITIAL_WINDOW_SIZE: 20_000}, credit=False)
        large = client.ask(request_fields())
        calls[0].start()
        calls[0].send("body", body=bytes(40_000))
        urgent = client.ask(request_fields(b"GET", b"/", (b"priority", b"u=0")))
        calls[1].answer()
        self.assert_answered(client.finish(urgent))
        self.assertFalse(large.ended)
