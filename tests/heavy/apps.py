"""The application of the memory tests: small answers, long bodies, and a brake for slow reading.

A test copies this file to where its server starts. It imports nothing of the project, so that the
process is the server and no more. The first part of a path says what happens, the second how often.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

PIECE = 1024 * 1024
"""Bytes in each body message of /pieces."""

FILE = "file"
"""The name of what /file sends, in the folder of the process."""


class Progress:
    """What the requests of the process have done so far."""

    def __init__(self) -> None:
        self.running = 0
        self.pieces_sent = 0
        self.steps = asyncio.Semaphore(0)


progress = Progress()


async def application(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Serve the path, and count how many requests are running."""
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    name, _, count = scope["path"][1:].partition("/")
    progress.running += 1
    try:
        if name == "upload":
            await upload(int(count or 0), receive, send)
        elif name == "pieces":
            await pieces(int(count), send)
        elif name == "file":
            path = str(Path(FILE).absolute())
            await begin(send, Path(FILE).stat().st_size)
            await send({"type": "http.response.pathsend", "path": path})
        elif name == "endless":
            await send({"type": "http.response.start", "status": 200})
            while True:
                piece = bytes(int(count))
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        elif name == "step":
            progress.steps.release()
            await answer(send, "")
        else:
            await answer(send, str(getattr(progress, name)) if name else "served")
    finally:
        progress.running -= 1


async def upload(steps: int, receive: Receive, send: Send) -> None:
    """Take one message for each of the steps, then all others; answer with the bytes taken."""
    taken, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        taken += len(message["body"])
        more = message["more_body"]
        if steps:
            steps -= 1
            await progress.steps.acquire()
    await answer(send, str(taken))


async def pieces(count: int, send: Send) -> None:
    """Send so many pieces, as fast as they are taken."""
    progress.pieces_sent = 0
    await begin(send, count * PIECE)
    for _ in range(count):
        await send({"type": "http.response.body", "body": bytes(PIECE), "more_body": True})
        progress.pieces_sent += 1
    await send({"type": "http.response.body"})


async def begin(send: Send, size: int) -> None:
    """Send the head of a response of so many bytes."""
    headers = [(b"content-length", b"%d" % size)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})


async def answer(send: Send, text: str) -> None:
    """Send a short response."""
    await begin(send, len(text))
    await send({"type": "http.response.body", "body": text.encode()})
