"""A large answer in one message: what is measured is how bytes leave."""

from __future__ import annotations

from lifespan import Receive, Scope, Send, answer_lifespan

BODY = b"0123456789abcdef" * 65_536


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer every request with 1 MiB."""
    if scope["type"] == "lifespan":
        return await answer_lifespan(receive, send)
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [
                (b"content-type", b"application/octet-stream"),
                (b"content-length", b"1048576"),
            ],
        }
    )
    return await send({"type": "http.response.body", "body": BODY})
