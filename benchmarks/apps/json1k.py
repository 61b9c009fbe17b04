"""An answer of the size that an API gives; constant, because encoding is not the server's work."""

from __future__ import annotations

from lifespan import Receive, Scope, Send, answer_lifespan

BODY = b'{"text": "' + b"x" * 1012 + b'"}'


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer every request with 1024 bytes of JSON."""
    if scope["type"] == "lifespan":
        return await answer_lifespan(receive, send)
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-type", b"application/json"), (b"content-length", b"1024")],
        }
    )
    return await send({"type": "http.response.body", "body": BODY})
