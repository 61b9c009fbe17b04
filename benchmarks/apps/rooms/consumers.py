"""A room as the tutorial of Channels has it."""

from __future__ import annotations

from typing import Any

from channels.generic.websocket import AsyncWebsocketConsumer

GROUP = "room"


class Room(AsyncWebsocketConsumer):
    """Tell all in the room what one of them says."""

    async def connect(self) -> None:
        """Join, and then accept: whoever is accepted misses nothing."""
        await self.channel_layer.group_add(GROUP, self.channel_name)
        await self.accept()

    async def disconnect(self, code: int) -> None:
        """Leave."""
        await self.channel_layer.group_discard(GROUP, self.channel_name)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Send it to the group, the one who said it included."""
        await self.channel_layer.group_send(GROUP, {"type": "room.said", "text": text_data})

    async def room_said(self, event: dict[str, Any]) -> None:
        """Hear it."""
        await self.send(text_data=event["text"])
