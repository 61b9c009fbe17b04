"""The smallest answer: what is measured is the server."""

from __future__ import annotations

from lifespan import Receive, Scope, Send, answer_lifespan

BODY = b"Hello, world!"


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer every request with 13 bytes of plain text."""
    if scope["type"] == "lifespan":
        return await answer_lifespan(receive, send)
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-type", b"text/plain"), (b"content-length", b"13")],
        }
    )
    return await send({"type": "http.response.body", "body": BODY})
