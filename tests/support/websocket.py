"""What a WebSocket's client says, in memory: handshakes and masked frames, and what came back."""

from __future__ import annotations

import contextlib
import itertools
import operator
import sys
import types
from collections.abc import Iterator
from typing import Any

from django_daphne.server.protocols.deadlines import RESOLUTION
from django_daphne.server.types import Message
from tests.compliance import request

from .memory import DATE, SERVER, Call, MemoryClient, MemoryServer, Puppet, WireTestCase

LOGGER = "django_daphne.server"

# RFC 6455, section 1.3: its own example of a key, and what it is answered with.
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
SWITCHING = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
)
ACCEPTED = SWITCHING + DATE + SERVER + b"\r\n"

# Seconds; deadlines are never early.
JUST_BEFORE = 0.01

CONNECT: Message = {"type": "websocket.connect"}

_MASK = b"\x37\xfa\x21\x3d"


def handshake(*lines: bytes, target: bytes = b"/zebra") -> bytes:
    """Return the request for a WebSocket, with more header lines."""
    return request(
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Key: " + KEY,
        b"Sec-WebSocket-Version: 13",
        *lines,
        line=b"GET " + target + b" HTTP/1.1",
    )


def frame(first: int, payload: bytes = b"") -> bytes:
    """Return a client's frame, masked; ``first`` is its first byte, with FIN and the opcode."""
    size = len(payload)
    if size < 126:
        length = bytes((0x80 | size,))
    elif size < 65536:
        length = b"\xfe" + size.to_bytes(2)
    else:
        length = b"\xff" + size.to_bytes(8)
    masked = bytes(map(operator.xor, payload, itertools.cycle(_MASK)))
    return bytes((first,)) + length + _MASK + masked


def text(data: str) -> bytes:
    """Return a client's text message."""
    return frame(0x81, data.encode())


def binary(data: bytes) -> bytes:
    """Return a client's binary message."""
    return frame(0x82, data)


def ping(payload: bytes = b"") -> bytes:
    """Return a client's ping."""
    return frame(0x89, payload)


def pong(payload: bytes = b"") -> bytes:
    """Return a client's pong."""
    return frame(0x8A, payload)


def close(code: int | None = None, reason: bytes = b"") -> bytes:
    """Return a client's close frame."""
    return frame(0x88, b"" if code is None else code.to_bytes(2) + reason)


def read_frames(data: bytes) -> list[tuple[int, bytes]]:
    """Return a server's frames: the first byte and the payload of each; none may be cut."""
    found, offset = [], 0
    while offset < len(data):
        first, length = data[offset], data[offset + 1]
        assert length < 128, "a server's frame has no mask"
        offset += 2
        if length > 125:
            width = 2 if length == 126 else 8
            length = int.from_bytes(data[offset : offset + width])
            offset += width
        assert offset + length <= len(data), "the last frame is cut"
        found.append((first, data[offset : offset + length]))
        offset += length
    return found


def event(kind: str, **values: Any) -> Message:
    """Return a message of the application."""
    return {"type": f"websocket.{kind}", **values}


def received(data: str | bytes) -> Message:
    """Return the message that brings the application a text, or bytes."""
    return {"type": "websocket.receive", "text" if isinstance(data, str) else "bytes": data}


def disconnect(code: int, reason: str = "") -> Message:
    """Return the message that tells the application of the end."""
    return {"type": "websocket.disconnect", "code": code, "reason": reason}


def take_all(call: Call) -> list[Message]:
    """Return what receive() gives without waiting, up to the first ``websocket.disconnect``."""
    found: list[Message] = []
    while not (found and found[-1]["type"] == "websocket.disconnect"):
        waiting = call.receive()
        if not waiting.done():
            call.loop.call(waiting.cancel)
            break
        found.append(waiting.result())
    return found


def drain(client: MemoryClient) -> None:
    """Let the server come to an end, and not wait for WebSockets."""
    client.server.call(client.connection.drain)
    client.server.call(client.connection.end_streams)


def fill(client: MemoryClient, call: Call) -> None:
    """Let the client stop reading, and the application send until it has to wait."""
    client.stop_reading()
    while call.send(event("send", text="x" * 1000)).done():
        pass


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Accept, then answer every text with itself."""
    await receive()
    await send(event("accept"))
    while (message := await receive())["type"] == "websocket.receive":
        await send(event("send", text=message["text"]))


@contextlib.contextmanager
def channels(loaded: bool) -> Iterator[None]:
    """Let Channels look as if it were in use by this process, or as if it were not."""
    name = "channels.consumer"
    before = sys.modules.pop(name, None)
    if loaded:
        sys.modules[name] = types.ModuleType(name)
    try:
        yield
    finally:
        sys.modules.pop(name, None)
        if before is not None:
            sys.modules[name] = before


class WebSocketTestCase(WireTestCase):
    """Tests of WebSockets in memory, whose application is a puppet."""

    def ask(self, server: MemoryServer, *lines: bytes, **options: Any) -> tuple[MemoryClient, Call]:
        """Send the handshake of a new client of a puppet's server; return it and its call."""
        client = server.connect(**options)
        client.send(handshake(*lines))
        puppet = server.context.tasks.application
        assert isinstance(puppet, Puppet)
        return client, puppet.calls[-1]

    def connecting(self, *lines: bytes, **values: Any) -> tuple[MemoryClient, Call]:
        """Return a client whose handshake was not answered yet, and the application's call."""
        return self.ask(self.serve(Puppet(), **values), *lines)

    def accept(self, client: MemoryClient, call: Call) -> None:
        """Let the application take ``websocket.connect`` and accept, and the client read it."""
        self.assertEqual(call.receive_now(), CONNECT)
        self.say(call, "accept")
        self.assertEqual(client.read(), ACCEPTED)

    def open(self, **values: Any) -> tuple[MemoryClient, Call]:
        """Return the client of an open WebSocket, and the application's call."""
        client, call = self.connecting(**values)
        self.accept(client, call)
        return client, call

    def say(self, call: Call, kind: str, **values: Any) -> None:
        """Send a message of the application, which must not have to wait."""
        call.send(event(kind, **values)).result()

    def assert_told(self, call: Call, *messages: Message) -> None:
        """The application receives these messages, the last of them again and again."""
        self.assertEqual([call.receive_now() for _ in messages], [*messages])
        self.assertEqual(call.receive_now(), messages[-1])


class DeadlineTestCase(WebSocketTestCase):
    """Tests of deadlines, which come at most one tick late and never early."""

    def assert_nothing_until(self, client: MemoryClient, seconds: float) -> None:
        """Nothing happens before the time; afterwards it has passed with its tick."""
        client.server.wait(seconds - JUST_BEFORE)
        self.assertEqual(client.read(), b"")
        self.assert_open(client)
        client.server.wait(RESOLUTION + JUST_BEFORE)
