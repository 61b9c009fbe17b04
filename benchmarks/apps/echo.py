"""Every message back to who sent it, as it came."""

from __future__ import annotations

from lifespan import Receive, Scope, Send, answer_lifespan


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Accept every WebSocket, and say what it says."""
    if scope["type"] == "lifespan":
        return await answer_lifespan(receive, send)
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        text = message.get("text")
        if text is None:
            await send({"type": "websocket.send", "bytes": message["bytes"]})
        else:
            await send({"type": "websocket.send", "text": text})
    return None
