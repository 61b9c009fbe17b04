"""An answer in many pieces and of no announced length: the server frames each piece."""

from __future__ import annotations

from lifespan import Receive, Scope, Send, answer_lifespan

PIECES = 100
PIECE = b"0123456789abcdef" * 64


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with 100 pieces of 1024 bytes."""
    if scope["type"] == "lifespan":
        return await answer_lifespan(receive, send)
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-type", b"application/octet-stream")],
        }
    )
    for _ in range(PIECES):
        await send({"type": "http.response.body", "body": PIECE, "more_body": True})
    return await send({"type": "http.response.body", "body": b""})
