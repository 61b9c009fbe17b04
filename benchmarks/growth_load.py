#!/usr/bin/env python
"""Keep many connections of HTTP/1.1 open, ask on a few at a time, and print the counts as JSON.

    python benchmarks/growth_load.py --port 8000 --clients 10000 --active 8 --seconds 4

Opens the connections and has each answered once; says "open", and waits for a line. Then so many
requests are under way at any time: after each answer the next goes out on the connection that has
been silent for longest, in an order that was shuffled. wrk would ask on all of them at once, and
so measure how long requests queue. Says "loaded" after the last answer, and waits for a line again.

Ends with status 1, and one line about the reason, at the first wrong answer or lost connection.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import cast

from crowd import Counts, main, open_all, percentiles, wait_after
from http_client import is_whole, make_request
from websocket_client import ANSWER_SECONDS, WrongAnswer


class Visitors:
    """All connections, of which some are silent, and what was counted.

    `ended` is done when nothing is under way after the end, or has what was wrong.
    """

    def __init__(self, port: int, body: bytes) -> None:
        """Ask for / on a port of 127.0.0.1, where the answer has this body."""
        self.request, self.body = make_request(port), body
        self.silent: deque[Visitor] = deque()
        self.latencies: list[float] = []
        self.under_way = 0
        self.is_over = False
        self.ended: asyncio.Future[None] = asyncio.Future()

    def next(self) -> None:
        """Let who was silent for longest ask, unless something was wrong."""
        if self.ended.done():
            return
        self.under_way += 1
        self.silent.popleft().ask()

    def answered(self, visitor: Visitor, seconds: float) -> None:
        """Count an answer, and let the next one ask."""
        self.latencies.append(seconds)
        self.silent.append(visitor)
        self.under_way -= 1
        if not self.is_over:
            self.next()
        elif not self.under_way and not self.ended.done():
            self.ended.set_result(None)

    def fail(self, text: str) -> None:
        """End for this reason, unless there was another."""
        if not self.ended.done():
            self.ended.set_exception(WrongAnswer(text))
            self.ended.exception()  # or the loop would complain when nobody waits yet


class Visitor(asyncio.Protocol):
    """One connection. `opened` is done after its first answer, which is not counted."""

    def __init__(self, visitors: Visitors) -> None:
        """Be one of them. To be made in the loop."""
        self.opened: asyncio.Future[None] = asyncio.Future()
        self._visitors = visitors
        self._answer = b""
        self._since = 0.0
        self._is_asking = False
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the first time."""
        self.transport = cast(asyncio.Transport, transport)
        self.ask()

    def ask(self) -> None:
        """Send the request."""
        self._is_asking = True
        self._since = time.perf_counter()
        self.transport.write(self._visitors.request)

    def data_received(self, data: bytes) -> None:
        """Take an answer, or a part of one."""
        visitors = self._visitors
        answer = self._answer = self._answer + data
        try:
            if not is_whole(answer, visitors.body):
                return
        except WrongAnswer as error:
            self._fail(str(error))
            return
        if not self._is_asking:
            self._fail(f"answered with {answer[:40]!r} without having been asked")
            return
        self._answer, self._is_asking = b"", False
        if self.opened.done():
            visitors.answered(self, time.perf_counter() - self._since)
        else:
            self.opened.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Report a connection that was not kept alive."""
        self._fail("a connection was not kept alive")

    def _fail(self, text: str) -> None:
        self.transport.abort()
        self._visitors.fail(text)
        if not self.opened.done():
            self.opened.set_exception(WrongAnswer(text))
            self.opened.exception()  # or the loop would complain of all but the first


async def load(
    port: int, clients: int, seconds: float, active: int, body: str, pause: Callable[[str], None]
) -> Counts:
    """Return counts of answers, and times in microseconds. Raises WrongAnswer, OSError."""
    visitors = Visitors(port, body.encode())
    loop = asyncio.get_running_loop()

    async def open_one() -> Visitor:
        _, visitor = await loop.create_connection(lambda: Visitor(visitors), "127.0.0.1", port)
        await visitor.opened
        return visitor

    everybody = await open_all([open_one] * clients)
    random.Random(clients).shuffle(everybody)
    visitors.silent.extend(everybody)
    pause("open")
    began, busy = time.perf_counter(), time.process_time()
    for _ in range(min(active, clients)):
        visitors.next()
    await asyncio.wait([visitors.ended], timeout=seconds)
    visitors.is_over = True
    await asyncio.wait([visitors.ended], timeout=ANSWER_SECONDS)
    took, busy = time.perf_counter() - began, time.process_time() - busy
    if not visitors.ended.done():
        raise WrongAnswer(f"{visitors.under_way} requests without an answer")
    visitors.ended.result()
    pause("loaded")
    return {
        "answers": len(visitors.latencies),
        "microseconds": took * 1e6,
        "busy": busy * 1e6,
        **percentiles(visitors.latencies),
    }


if __name__ == "__main__":
    options = (
        ("clients", 10_000, "Connections."),
        ("seconds", 4.0, "Length of the load."),
        ("active", 8, "Requests under way."),
        ("body", "Hello, world!", "The body of the answer."),
    )
    sys.exit(main(__doc__, options, load, pause=wait_after))
