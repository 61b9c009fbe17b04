"""Whose turn it is to send on an HTTP/2 connection (RFC 9218, section 10).

A lower urgency goes first. Among streams of one urgency those come first whose clients want them
one after the other, by their number; the rest take turns, a frame each. To say nothing means the
second: a client that knows no priorities expects none of its downloads to stand still.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from typing import Final, NamedTuple, Protocol

from ..types import Headers

_URGENCIES: Final = 8
_MAX_EARLY: Final = 64
_DIGITS: Final = {b"%d" % urgency: urgency for urgency in range(_URGENCIES)}


class Priority(NamedTuple):
    """How urgent a stream is, 0 to 7, and whether it takes turns with its like."""

    urgency: int = 3
    takes_turns: bool = True


DEFAULT: Final = Priority()


def read_priority(value: bytes) -> Priority:
    """Return what a ``priority`` field says; what it says wrongly counts as not said."""
    urgency, takes_turns = DEFAULT.urgency, False
    for item in value.split(b","):
        name, _, argument = item.strip(b" \t").partition(b";")[0].partition(b"=")
        if name == b"u":
            urgency = _DIGITS.get(argument, urgency)
        elif name == b"i":
            takes_turns = argument in (b"", b"?1")
    return Priority(urgency, takes_turns)


class EarlyPriorities:
    """What a client says of streams before it begins them, in frames that overtake HEADERS."""

    def __init__(self) -> None:
        self._priorities: dict[int, Priority] = {}

    def keep(self, stream_id: int, priority: Priority, last_stream_id: int) -> None:
        """Keep the priority of a stream that has not begun."""
        if len(self._priorities) >= _MAX_EARLY:
            begun = [number for number in self._priorities if number <= last_stream_id]
            for number in begun:
                del self._priorities[number]
        if stream_id > last_stream_id and len(self._priorities) < _MAX_EARLY:
            self._priorities[stream_id] = priority

    def begin(self, stream_id: int, headers: Headers) -> Priority:
        """Return the priority of a stream that begins: a frame's, or else its field's."""
        if stream_id in self._priorities:
            return self._priorities.pop(stream_id)
        for name, value in headers:
            if name == b"priority":
                return read_priority(value)
        return DEFAULT


class Sender(Protocol):
    """A stream that may have something to send."""

    stream_id: int
    priority: Priority
    is_queued: bool

    def send_frame(self) -> bool:
        """Send a frame; return whether there is more that can be sent now."""


class SendQueue:
    """The streams of a connection that have something to send and may send it."""

    def __init__(self) -> None:
        self._turns: list[deque[Sender]] = [deque() for _ in range(_URGENCIES)]
        self._lines: list[list[tuple[int, Sender]]] = [[] for _ in range(_URGENCIES)]
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, sender: Sender) -> None:
        """Put a stream behind its like; nothing changes for one that is in here."""
        if sender.is_queued:
            return
        sender.is_queued = True
        self._size += 1
        urgency, takes_turns = sender.priority
        if takes_turns:
            self._turns[urgency].append(sender)
        else:
            insort(self._lines[urgency], (sender.stream_id, sender))

    def take(self) -> Sender:
        """Take out the stream that sends next."""
        self._size -= 1
        for line, turns in zip(self._lines, self._turns, strict=True):
            sender = line.pop(0)[1] if line else turns.popleft() if turns else None
            if sender is not None:
                sender.is_queued = False
                return sender
        raise IndexError("nobody has anything to send")

    def move(self, sender: Sender, priority: Priority) -> None:
        """Give a stream another priority."""
        was_queued = sender.is_queued
        if was_queued:
            urgency, takes_turns = sender.priority
            if takes_turns:
                self._turns[urgency].remove(sender)
            else:
                self._lines[urgency].remove((sender.stream_id, sender))
            sender.is_queued = False
            self._size -= 1
        sender.priority = priority
        if was_queued:
            self.add(sender)
