#!/usr/bin/env python
"""Let one of many WebSockets say what all of them must hear, and print what was counted as JSON.

    python benchmarks/group_load.py --port 8000 --clients 500 --seconds 4

Says "open" when every WebSocket is, and waits for a line. The first one then says a message, and
the next when all of them, itself included, have heard this one. Latencies are from saying to the
last hearing. Says "loaded" after the last message, and waits for a line again before it closes.

Ends with status 1, and one line about the reason, at the first wrong byte, lost connection or
message that does not come to all, or comes twice.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable

from crowd import Counts, main, percentiles, wait_after, within
from websocket_client import CLOSE, CLOSED, PING, Messages, WrongAnswer, take_ping
from websocket_load import open_all

# What a message may take to come to all, and all closing handshakes.
LAST_SECONDS = 10.0


class Room:
    """All of them, and the message that is under way. `ended` is done after the last one."""

    def __init__(self, size: int) -> None:
        """Have messages of so many bytes, and no members yet."""
        self.members: list[Member] = []
        self.rounds = 0
        self.frame = b""
        self.latencies: list[float] = []
        self.ended: asyncio.Future[None] = asyncio.Future()
        self.is_over = False
        self._messages = Messages(0, size, in_flight=1)
        self._missing = 0
        self._since = 0.0

    def say(self) -> None:
        """Have the first member say the next message."""
        messages = self._messages
        index = self.rounds % messages.count
        self.rounds += 1
        self._missing = len(self.members)
        self.frame = messages.heard[index * messages.heard_size :][: messages.heard_size]
        self._since = time.perf_counter()
        said = messages.sent[index * messages.sent_size :][: messages.sent_size]
        self.members[0].transport.write(said)

    def count(self) -> None:
        """Take note that one more has heard it; after the last one say the next."""
        self._missing -= 1
        if self._missing:
            return
        self.latencies.append(time.perf_counter() - self._since)
        if self.is_over:
            self.ended.set_result(None)
        else:
            self.say()


class Member(asyncio.Protocol):
    """One open WebSocket. `ended` is done after the closing handshake, or has what was wrong."""

    def __init__(self, transport: asyncio.Transport, room: Room) -> None:
        """Take an open connection over."""
        self.transport = transport
        self.ended: asyncio.Future[None] = asyncio.Future()
        self._room = room
        self._heard = 0  # rounds
        self._cut = b""  # the beginning of a frame
        transport.set_protocol(self)

    def data_received(self, data: bytes) -> None:
        """Compare with what is said in this round, which each hears once."""
        room = self._room
        if data == room.frame and self._heard < room.rounds and not self._cut:
            self._heard += 1
            room.count()
        else:
            self._read(self._cut + data)

    def _read(self, data: bytes) -> None:
        """Take what is not one whole frame: parts, pings, and the close frame in the end."""
        self._cut = b""
        while data:
            frame, is_due = self._room.frame, self._heard < self._room.rounds
            if data.startswith(PING):
                pong, data = take_ping(data)
                if not pong:
                    self._cut = data
                    return
                self.transport.write(pong)
            elif is_due and data.startswith(frame):
                data = data[len(frame) :]
                self._heard += 1
                self._room.count()
            elif self._room.ended.done() and data == CLOSED:
                self.ended.set_result(None)
                return
            elif (is_due and frame.startswith(data)) or CLOSED.startswith(data):
                self._cut = data
                return
            else:
                self._fail(f"heard {data[:40]!r} in round {self._room.rounds}")
                return

    def connection_lost(self, exc: Exception | None) -> None:
        """Report a connection that ended too early."""
        self._fail("a WebSocket was lost")

    def _fail(self, text: str) -> None:
        self.transport.abort()
        if not self.ended.done():
            self.ended.set_exception(WrongAnswer(text))
            self.ended.exception()  # or the loop would complain of all but the first


async def load(
    port: int, clients: int, seconds: float, size: int, pause: Callable[[str], None]
) -> Counts:
    """Return counts of deliveries, and times in microseconds. Raises WrongAnswer, OSError."""
    room = Room(size)
    room.members = [Member(transport, room) for transport in await open_all(port, clients)]
    pause("open")
    began, busy = time.perf_counter(), time.process_time()
    room.say()
    ended = [member.ended for member in room.members]
    early, _ = await asyncio.wait(ended, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for future in early:
        future.result()
        raise WrongAnswer("a WebSocket closed by itself")
    room.is_over = True
    await asyncio.wait(
        [room.ended, *ended], timeout=LAST_SECONDS, return_when=asyncio.FIRST_COMPLETED
    )
    for future in ended:
        if future.done():
            future.result()
    if not room.ended.done():
        raise WrongAnswer(f"message {room.rounds} did not come to all")
    took, busy = time.perf_counter() - began, time.process_time() - busy
    pause("loaded")
    for member in room.members:
        member.transport.write(CLOSE)
    await within(LAST_SECONDS, ended, "a close frame")
    return {
        "answers": room.rounds * clients,
        "microseconds": took * 1e6,
        "busy": busy * 1e6,
        **percentiles(room.latencies),
    }


if __name__ == "__main__":
    options = (
        ("clients", 500, "WebSockets."),
        ("seconds", 4.0, "Length of the load."),
        ("size", 64, "Bytes in a message."),
    )
    sys.exit(main(__doc__, options, load, pause=wait_after))
