#!/usr/bin/env python
"""Load a WebSocket server that echoes, and print what was counted as JSON.

    python benchmarks/websocket_load.py --port 8000 --size 64 --in-flight 1 --seconds 4

Every connection has so many messages under way at any time: for each echo that comes it sends one
message more. All messages are made beforehand, and what comes is compared with what must come as
one piece of bytes, so an echo costs this client a part of what it costs a server in Python.

Ends with status 1, and one line about the reason, at the first wrong byte, lost connection or
missing echo.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import cast

import crowd
from websocket_client import CLOSE, CLOSED, PING, Handshake, Messages, WrongAnswer, take_ping

# What the last echoes may take.
LAST_SECONDS = 10.0


class Opening(asyncio.Protocol):
    """A connection up to the answer to its handshake; `opened` then has its transport."""

    def __init__(self, port: int) -> None:
        """Use a port of 127.0.0.1. To be made in the loop."""
        self.opened: asyncio.Future[asyncio.Transport] = asyncio.Future()
        self._handshake = Handshake(port)
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the request."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._handshake.request)

    def data_received(self, data: bytes) -> None:
        """Read the answer."""
        try:
            if self._handshake.is_done(data):
                self.opened.set_result(self._transport)
        except WrongAnswer as error:
            self.opened.set_exception(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """Report a connection that ended too early."""
        if not self.opened.done():
            self.opened.set_exception(WrongAnswer("a connection ended in its handshake"))


async def open_all(port: int, count: int) -> list[asyncio.Transport]:
    """Return the transports of so many open WebSockets. Raises WrongAnswer, OSError."""
    loop = asyncio.get_running_loop()

    async def open_one() -> asyncio.Transport:
        _, protocol = await loop.create_connection(lambda: Opening(port), "127.0.0.1", port)
        return await protocol.opened

    return await crowd.open_all([open_one] * count)


class Echo(asyncio.Protocol):
    """An open connection that keeps so many messages under way.

    `answered` counts echoes. `latencies` are seconds from sending to hearing, of one message at a
    time: when its echo has come, the next one sent is timed. `ended` is done after the closing
    handshake, and has the reason where something was wrong.
    """

    def __init__(self, transport: asyncio.Transport, messages: Messages, in_flight: int) -> None:
        """Take an open connection over, and send the first messages."""
        self.answered = 0
        self.latencies: list[float] = []
        self.ended: asyncio.Future[None] = asyncio.Future()
        self._transport = transport
        self._messages = messages
        self._in_flight = in_flight
        self._next = 0  # the message whose echo has not come to its end
        self._position = 0  # how far the stream of echoes was read
        self._waiting = in_flight  # echoes that have not come, once nothing is sent any more
        self._is_over = False
        self._cut = b""  # the beginning of a frame that is no echo
        transport.set_protocol(self)
        transport.write(messages.sent[: in_flight * messages.sent_size])
        self._until_timed = in_flight
        self._since = time.perf_counter()

    def data_received(self, data: bytes) -> None:
        """Compare with what must come."""
        if not self._cut and self._messages.heard.startswith(data, self._position):
            self._heard(len(data))
        else:
            self._read_other(data)

    def _heard(self, size: int) -> None:
        """Count so many bytes of echoes, and send as many messages as have come back."""
        messages = self._messages
        position = self._position + size
        index = position // messages.heard_size
        first, self._next = self._next, index
        count = index - first
        if index >= messages.count:
            self._next = index - messages.count
            position -= messages.count * messages.heard_size
        self._position = position
        self.answered += count
        if self._is_over:
            self._finish(count)
            return
        first += self._in_flight
        if first >= messages.count:
            first -= messages.count
        size = messages.sent_size
        self._transport.write(messages.sent[first * size : (first + count) * size])
        self._until_timed -= count
        if self._until_timed <= 0:
            now = time.perf_counter()
            self.latencies.append(now - self._since)
            self._since, self._until_timed = now, self._in_flight

    def _read_other(self, data: bytes) -> None:
        """Take what is not all echoes: pings between them, and the close frame in the end."""
        data, self._cut = self._cut + data, b""
        heard, size = self._messages.heard, self._messages.heard_size
        while data:
            piece = data[: size - self._position % size]
            if heard.startswith(piece, self._position):
                data = data[len(piece) :]
                self._heard(len(piece))
            elif data.startswith(PING) and self._position % size == 0:
                pong, data = take_ping(data)
                if not pong:
                    self._cut = data
                    return
                self._transport.write(pong)
            else:
                self._read_end(data)
                return

    def finish(self) -> None:
        """Send nothing new; close when the last echo has come."""
        self._is_over = True

    def _finish(self, count: int) -> None:
        self._waiting -= count
        if not self._waiting:
            self._transport.write(CLOSE)

    def _read_end(self, data: bytes) -> None:
        """Take the server's close frame, which answers ours."""
        if self._waiting or not CLOSED.startswith(data):
            self._fail(f"heard {data[:40]!r}, which is not what was said")
        elif data != CLOSED:
            self._cut = data
        elif not self.ended.done():
            self.ended.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Report a connection that ended too early."""
        self._fail("a connection was lost")

    def _fail(self, text: str) -> None:
        self._transport.abort()
        if not self.ended.done():
            self.ended.set_exception(WrongAnswer(text))
            self.ended.exception()  # or the loop would complain of all but the first


async def load(
    port: int, connections: int, size: int, in_flight: int, seconds: float
) -> crowd.Counts:
    """Return counts of echoes, and times in microseconds. Raises WrongAnswer, OSError."""
    messages = [Messages(number, size, in_flight) for number in range(connections)]
    transports = await open_all(port, connections)
    began, busy = time.perf_counter(), time.process_time()
    echoes = [Echo(*pair, in_flight) for pair in zip(transports, messages, strict=True)]
    ended = [echo.ended for echo in echoes]
    early, _ = await asyncio.wait(ended, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
    for future in early:
        future.result()
    took, busy = time.perf_counter() - began, time.process_time() - busy
    answered = sum(echo.answered for echo in echoes)
    latencies = [latency for echo in echoes for latency in echo.latencies]
    for echo in echoes:
        echo.finish()
    _, late = await asyncio.wait(ended, timeout=LAST_SECONDS)
    if late:
        raise WrongAnswer(f"{len(late)} connections without their last echoes or close frame")
    for future in ended:
        future.result()
    return {
        "answers": answered,
        "microseconds": took * 1e6,
        "busy": busy * 1e6,
        **crowd.percentiles(latencies),
    }


if __name__ == "__main__":
    options = (
        ("connections", 32, "WebSockets."),
        ("size", 64, "Bytes in a message."),
        ("in-flight", 1, "Messages under way on each connection."),
        ("seconds", 4.0, "Length of the load."),
    )
    sys.exit(crowd.main(__doc__, options, load))
