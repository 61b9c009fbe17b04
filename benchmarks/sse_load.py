#!/usr/bin/env python
"""Listen to many streams of Server-Sent Events, and print what was counted as JSON.

    python benchmarks/sse_load.py --port 8000 --clients 1000 --seconds 4

Says "open" when every stream is, waits for a line, and has the application begin to publish. Says
"loaded" when all streams have ended, and waits for a line again.
The first stream to hear an event says what its bytes are, once number, time and padding are right;
all others must hear the same bytes. In the end each must have heard as many as were published.

Ends with status 1, and one line about the reason, at the first wrong byte or lost event.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import cast

from apps.broadcast import EVENT_SIZE, GREETING, make_event
from crowd import Counts, main, open_all, percentiles, wait_after, within
from websocket_client import ANSWER_SECONDS, WrongAnswer

# What the last events and the end of all streams may take.
LAST_SECONDS = 10.0
# The longest head of an answer, and the longest line before a chunk.
HEAD_SIZE = 8192
LINE_SIZE = 64


class Published:
    """The events that were heard by at least one stream, and when each came to each."""

    def __init__(self) -> None:
        """Know none yet."""
        self.events: list[bytes] = []
        self.chunks: list[bytes] = []
        self.times: list[float] = []
        self.latencies: list[float] = []

    def learn(self, event: bytes) -> None:
        """Take the next event, whose time nobody can know before. Raises WrongAnswer."""
        number = len(self.events)
        digits = event[19:39]
        nanoseconds = int(digits) if digits.isdigit() else 0
        if event != make_event(number, nanoseconds):
            raise WrongAnswer(f"event {number} is {event[:60]!r}")
        self.events.append(event)
        self.chunks.append(b"%x\r\n%s\r\n" % (len(event), event))
        self.times.append(nanoseconds / 1e9)


class Stream(asyncio.Protocol):
    """One stream. `opened` is done after its greeting, `ended` after its last chunk."""

    def __init__(self, port: int, path: str, published: Published) -> None:
        """Ask for this path on a port of 127.0.0.1. To be made in the loop."""
        self.opened: asyncio.Future[None] = asyncio.Future()
        self.ended: asyncio.Future[None] = asyncio.Future()
        self.heard = 0
        self._request = b"GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % (path.encode(), port)
        self._published = published
        self._has_head = False
        self._cut = b""  # what has come of a head or of a chunk
        self._body = b""  # what has come of a greeting or of an event
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the request."""
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Compare with the chunk that must come; read what is another one, or a part, at length."""
        published, number = self._published, self.heard
        if not self._cut and number < len(published.chunks) and data == published.chunks[number]:
            self.heard = number + 1
            published.latencies.append(time.perf_counter() - published.times[number])
            return
        try:
            self._read(self._cut + data)
        except WrongAnswer as error:
            self._fail(str(error))

    def _read(self, data: bytes) -> None:
        """Read the head, and chunks of any size."""
        if not self._has_head:
            head, blank, rest = data.partition(b"\r\n\r\n")
            if len(head) > HEAD_SIZE:
                raise WrongAnswer("the head of the answer is too long")
            if not blank:
                self._cut = data
                return
            self._look_at(head)
            self._has_head, data = True, rest
        while data:
            line, end, rest = data.partition(b"\r\n")
            if len(line) > LINE_SIZE:
                raise WrongAnswer(f"{line[:40]!r} is no size of a chunk")
            size = _size(line) if end else 0
            if not end or len(rest) < size + 2:
                break
            if rest[size : size + 2] != b"\r\n":
                raise WrongAnswer("a chunk is longer than it says")
            self._take(rest[:size])
            data = rest[size + 2 :]
        self._cut = data

    def _look_at(self, head: bytes) -> None:
        status, *lines = head.lower().split(b"\r\n")
        if not status.startswith(b"http/1.1 200"):
            raise WrongAnswer(f"the stream was answered with {status!r}")
        if not any(line.startswith(b"content-type: text/event-stream") for line in lines):
            raise WrongAnswer("the stream has another type")
        if b"transfer-encoding: chunked" not in lines:
            raise WrongAnswer("the stream is not sent in chunks")

    def _take(self, chunk: bytes) -> None:
        """Take a part of the body, or with nothing its end."""
        if not chunk:
            self._finish()
            return
        body = self._body + chunk
        if not self.opened.done():
            if body.startswith(GREETING):
                body = body[len(GREETING) :]
                self.opened.set_result(None)
            elif not GREETING.startswith(body):
                raise WrongAnswer(f"the stream begins with {body[:40]!r}")
        published = self._published
        while self.opened.done() and len(body) >= EVENT_SIZE:
            event, body = body[:EVENT_SIZE], body[EVENT_SIZE:]
            if self.heard == len(published.events):
                published.learn(event)
            if event != published.events[self.heard]:
                raise WrongAnswer(f"{event[:60]!r} is not event {self.heard}")
            published.latencies.append(time.perf_counter() - published.times[self.heard])
            self.heard += 1
        self._body = body

    def _finish(self) -> None:
        if self._body or not self.opened.done():
            raise WrongAnswer("a stream ended in the middle")
        if not self.ended.done():
            self.ended.set_result(None)
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Report a connection that ended too early."""
        self._fail("a stream was lost")

    def _fail(self, text: str) -> None:
        self.transport.abort()
        for future in (self.opened, self.ended):
            if not future.done():
                future.set_exception(WrongAnswer(text))
                future.exception()  # or the loop would complain of all but the first


def _size(line: bytes) -> int:
    """Return the number in the line before a chunk. Raises WrongAnswer."""
    try:
        return int(line, 16)
    except ValueError:
        raise WrongAnswer(f"{line!r} is no size of a chunk") from None


async def ask(port: int, path: str) -> int:
    """Return the number with which this path is answered. Raises WrongAnswer, OSError."""
    try:
        async with asyncio.timeout(LAST_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            request = "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\n\r\n"
            writer.write((request % (path, port)).encode())
            answer = await reader.read()
            writer.close()
    except TimeoutError:
        raise WrongAnswer(f"no answer to {path} within {LAST_SECONDS:g} seconds") from None
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200") or not body.isdigit():
        raise WrongAnswer(f"{path} was answered with {answer[:40]!r}")
    return int(body)


async def load(
    port: int, clients: int, seconds: float, pause: Callable[[str], None], root: str = "/"
) -> Counts:
    """Return counts of events, and times in microseconds. Raises WrongAnswer, OSError."""
    published = Published()
    loop = asyncio.get_running_loop()

    async def open_one() -> Stream:
        stream = Stream(port, f"{root}events", published)
        await loop.create_connection(lambda: stream, "127.0.0.1", port)
        await within(ANSWER_SECONDS, [stream.opened], "the beginning of its stream")
        return stream

    streams = await open_all([partial(open_one) for _ in range(clients)])
    pause("open")
    began, busy = time.perf_counter(), time.process_time()
    if (found := await ask(port, f"{root}begin")) != clients:
        raise WrongAnswer(f"the application has {found} streams open, not {clients}")
    ended = [stream.ended for stream in streams]
    early, _ = await asyncio.wait(ended, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for future in early:
        future.result()
        raise WrongAnswer("a stream ended by itself")
    count = await ask(port, f"{root}end")
    await within(LAST_SECONDS, ended, "its end")
    took, busy = time.perf_counter() - began, time.process_time() - busy
    pause("loaded")
    if lost := [stream.heard for stream in streams if stream.heard != count]:
        raise WrongAnswer(f"{len(lost)} streams heard another number of events than {count}")
    return {
        "answers": count * clients,
        "microseconds": took * 1e6,
        "busy": busy * 1e6,
        **percentiles(published.latencies),
    }


if __name__ == "__main__":
    options = (
        ("clients", 1000, "Streams."),
        ("seconds", 4.0, "Length of the load."),
        ("root", "/", "What stands before the names of the paths."),
    )
    sys.exit(main(__doc__, options, load, pause=wait_after))
