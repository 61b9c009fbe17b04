"""Who is served first (RFC 9218): streams that wait for one window, and the order they leave in."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from django.test import tag

from tests.support.http2 import SocketClient
from tests.support.http2_conversation import Answer
from tests.support.http2_frames import Field, Kind, Setting, priority_update_frame

from .http2 import HTTP2TestCase, Receive, Send, body, start

WINDOW = 65535
SIZE = 40_000


@tag("loop")
class PriorityTests(HTTP2TestCase):
    """Each answer is whole in the server before the client opens the connection's window."""

    async def _fill(self, scope: Any, receive: Receive, send: Send) -> None:
        size = int(scope["query_string"])
        await start(send, (b"content-length", b"%d" % size))
        await body(send, bytes(size))
        self.application.note(scope["path"])

    def shut(self) -> SocketClient:
        """Return a client whose connection has no window left, while its streams have enough."""
        self.serve(self._fill, write_buffer_size=1 << 20)
        client = self.connect({Setting.INITIAL_WINDOW_SIZE: 1 << 20}, credit=False)
        client.settle()
        found = client.finish(client.start(b"GET", b"/?%d" % WINDOW))
        self.assertEqual((len(found.body), client.conversation.room), (WINDOW, 0))
        self.application.next_note()
        return client

    def wait(self, client: SocketClient, *headers: Field) -> Answer:
        """Return an answer that waits for the window."""
        found = client.start(b"GET", b"/?%d" % SIZE, *headers)
        self.application.next_note()
        client.settle()
        self.assertEqual(len(found.body), 0)
        return found

    def wait_with(self, client: SocketClient, *values: bytes | None) -> list[Answer]:
        """Return answers that wait, one for each value of the header."""
        return [
            self.wait(client, *(() if value is None else ((b"priority", value),)))
            for value in values
        ]

    def order(self, client: SocketClient, answers: list[Answer]) -> list[int]:
        """Open the window, and return whose DATA comes, frame by frame, as places in the list."""
        count = len(client.conversation.log)
        client.grant(0, 1 << 24)
        for each in answers:
            client.finish(each)
            self.assertEqual(len(each.body), SIZE)
        numbers = [each.number for each in answers]
        log = client.conversation.log[count:]
        return [
            numbers.index(each.stream) for each in log if each.kind == Kind.DATA and each.payload
        ]

    def assert_one_by_one(self, order: list[int], *expected: int) -> None:
        """The answers come one after the other, in this order."""
        self.assertEqual([place for place, _ in groupby(order)], [*expected])

    def assert_in_turns(self, order: list[int], *places: int) -> None:
        """These answers come in turns: each has begun before one of them has ended."""
        order = [place for place in order if place in places]
        first_end = min(len(order) - order[::-1].index(place) - 1 for place in places)
        self.assertEqual({*order[:first_end]}, {*places}, order)

    def test_urgency(self) -> None:
        """The client says how urgent each is."""
        client = self.shut()
        answers = self.wait_with(client, b"u=5", b"u=0", b"u=7", b"u=1", b"u=3")
        self.assert_one_by_one(self.order(client, answers), 1, 3, 4, 0, 2)

    def test_default_urgency(self) -> None:
        """The client says nothing of one, which is as urgent as 3."""
        client = self.shut()
        answers = self.wait_with(client, b"u=4", None, b"u=2")
        self.assert_one_by_one(self.order(client, answers), 2, 1, 0)

    def test_same_urgency(self) -> None:
        """The client can use none before it is whole."""
        client = self.shut()
        answers = self.wait_with(client, b"u=3", b"u=3", b"u=3")
        self.assert_one_by_one(self.order(client, answers), 0, 1, 2)

    def test_incremental(self) -> None:
        """The client can use parts of each."""
        client = self.shut()
        answers = self.wait_with(client, b"u=3, i", b"u=3, i", b"u=3, i")
        self.assert_in_turns(self.order(client, answers), 0, 1, 2)

    def test_no_signal(self) -> None:
        """The client says nothing, and none waits for another's end."""
        client = self.shut()
        answers = self.wait_with(client, None, None, None)
        self.assert_in_turns(self.order(client, answers), 0, 1, 2)

    def test_incremental_and_urgent(self) -> None:
        """The client's incremental answers wait for a more urgent one."""
        client = self.shut()
        answers = self.wait_with(client, b"u=2, i", b"u=1", b"u=2, i")
        order = self.order(client, answers)
        self.assertEqual({*order[:3]}, {1})
        self.assert_in_turns(order, 0, 2)

    def test_bad_values(self) -> None:
        """The client's priorities mean nothing, and all are served."""
        client = self.shut()
        answers = self.wait_with(client, b"u=9", b"u=-1", b"zebra", b"u", b"u=1.5", b",", b"i=?0")
        self.assertEqual({*self.order(client, answers)}, {*range(7)})

    def test_unknown_members(self) -> None:
        """The client says more than anybody knows."""
        client = self.shut()
        answers = self.wait_with(client, b"u=5, zebra=1", b'a="b", u=1;x=y')
        self.assert_one_by_one(self.order(client, answers), 1, 0)

    def test_update(self) -> None:
        """The client changes its mind about answers that wait."""
        client = self.shut()
        answers = self.wait_with(client, b"u=1", b"u=2", b"u=3")
        client.send(priority_update_frame(answers[2].number, b"u=0"))
        client.send(priority_update_frame(answers[0].number, b"u=7"))
        client.settle()
        self.assert_one_by_one(self.order(client, answers), 2, 1, 0)

    def test_update_of_turns(self) -> None:
        """The client changes its mind about one of those that take turns."""
        client = self.shut()
        answers = self.wait_with(client, None, None, None)
        client.send(priority_update_frame(answers[1].number, b"u=2, i"))
        client.settle()
        order = self.order(client, answers)
        self.assertEqual({*order[:3]}, {1})
        self.assert_in_turns(order, 0, 2)

    def test_update_before(self) -> None:
        """The client says how urgent its next stream is before it opens it."""
        client = self.shut()
        first = self.wait_with(client, b"u=3")
        client.send(priority_update_frame(first[0].number + 2, b"u=0"))
        second = self.wait_with(client, b"u=5")
        self.assert_one_by_one(self.order(client, first + second), 1, 0)

    def test_urgent_newcomer(self) -> None:
        """The client asks for something urgent when others are under way."""
        client = self.shut()
        answers = self.wait_with(client, b"u=5", b"u=5")
        client.grant(0, 1000)
        client.read_until(lambda: sum(len(each.body) for each in answers) == 1000)
        answers += self.wait_with(client, b"u=0")
        self.assert_one_by_one(self.order(client, answers), 2, 0, 1)

    def test_blocked_urgent(self) -> None:
        """The client leaves its most urgent stream without a window, and others go on."""
        self.serve(self._fill, write_buffer_size=1 << 20)
        client = self.connect({Setting.INITIAL_WINDOW_SIZE: 10_000}, credit=False)
        client.settle()
        client.grant(0, 1 << 24)
        found = client.start(b"GET", b"/?%d" % SIZE, (b"priority", b"u=0"))
        client.read_until(lambda: len(found.body) == 10_000)
        other = client.start(b"GET", b"/?10000", (b"priority", b"u=7"))
        client.finish(other)
        client.grant(found.number, SIZE)
        client.finish(found)
        self.assertEqual((len(other.body), len(found.body)), (10_000, SIZE))
