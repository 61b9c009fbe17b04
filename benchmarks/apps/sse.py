"""Server-Sent Events: one publisher, and as many streams as are asked for."""

from __future__ import annotations

from contextlib import aclosing

from broadcast import Broadcast
from lifespan import Receive, Scope, Send, answer_lifespan

broadcast = Broadcast()


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer /begin and /end with a number, and /events with the stream."""
    if scope["type"] == "lifespan":
        return await answer_lifespan(receive, send)
    if scope["path"] == "/begin":
        return await _answer(send, broadcast.begin())
    if scope["path"] == "/end":
        return await _answer(send, await broadcast.end())
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache")],
        }
    )
    async with aclosing(broadcast.stream()) as pieces:
        async for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    return await send({"type": "http.response.body", "body": b""})


async def _answer(send: Send, number: int) -> None:
    """Answer with a number in decimal digits."""
    body = b"%d" % number
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
