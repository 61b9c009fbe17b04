"""The WebSockets: the chat room with Channels, and an echo in plain ASGI."""

from typing import Any

from asgiref.typing import ASGIReceiveCallable, ASGISendCallable, Scope
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.utils import timezone

from pages.forms import ChatForm

ROOM = "chat"  # the group of all who are in the room, in every process that shares the layer

# RFC 6455, section 7.4.1: data of a kind that is not understood.
UNSUPPORTED_DATA = 1003


class ChatConsumer(AsyncJsonWebsocketConsumer):  # type: ignore[misc]  # Channels has no types
    """Take the messages of one window to everybody in the room.

    A window sends `{"name", "text"}`. Everybody gets `{"name", "text", "time"}`; if something is
    wrong with it, the sender alone gets `{"errors"}`, by field. Whoever is logged in speaks by the
    name of the login.
    """

    groups = (ROOM,)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Take one message, and close on whoever sends no JSON."""
        try:
            content = await self.decode_json(text_data or "")
        except (ValueError, RecursionError):  # the latter for thousands of brackets
            await self.close(UNSUPPORTED_DATA, "A message is an object of JSON.")
            return
        form = ChatForm(content if isinstance(content, dict) else {}, user=self.scope["user"])
        if not form.is_valid():
            await self.send_json({"errors": form.errors.get_json_data()})
            return
        message = {**form.cleaned_data, "time": timezone.now().isoformat(timespec="milliseconds")}
        await self.channel_layer.group_send(ROOM, {"type": "chat.message", "message": message})

    async def chat_message(self, event: dict[str, Any]) -> None:
        """Show a message of the room to the window."""
        await self.send_json(event["message"])


async def echo(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    """Send every message back as it came, until the client leaves."""
    while True:
        event = await receive()
        if event["type"] == "websocket.connect":
            await send({"type": "websocket.accept", "subprotocol": None, "headers": []})
        elif event["type"] == "websocket.receive":
            await send({**event, "type": "websocket.send"})
        else:
            return
