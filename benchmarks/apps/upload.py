"""A request with a body, read to its end before the answer."""

from __future__ import annotations

from lifespan import Receive, Scope, Send, answer_lifespan


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the number of bytes that arrived, in decimal digits."""
    if scope["type"] == "lifespan":
        return await answer_lifespan(receive, send)
    size = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    body = b"%d" % size
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [
                (b"content-type", b"text/plain"),
                (b"content-length", b"%d" % len(body)),
            ],
        }
    )
    return await send({"type": "http.response.body", "body": body})
