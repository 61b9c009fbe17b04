"""Visitors of a chat room, who come back when they lose it, and a record of what they hear.

The room is that of docs/howto/more-than-one-machine.md. All visitors are tasks of one event loop.
What happens has a moment, a number that grows, so that "said after he had come in" is a comparison.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .processes import PATIENCE

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

# Seconds: between two looks, of the longest back-off, and of a visitor's own pings.
_GLANCE = 0.02
_LONGEST = 0.5
_PING_INTERVAL, _PING_TIMEOUT = 1, 3


class Lost(Exception):
    """The session has ended before the message was accepted."""


class Room:
    """What all visitors share: the way in, and which messages were accepted.

    ``accepted`` maps a message to the moment when the server was told that accepted it.
    """

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.accepted: dict[str, int] = {}
        self.said_again = 0
        self.codes: list[int | None] = []
        self._moments = itertools.count(1)

    def moment(self) -> int:
        """Return a number that is greater than all before."""
        return next(self._moments)


class Session:
    """One WebSocket of a visitor: at which host, since when, and what is heard live."""

    def __init__(self, room: Room, socket: ClientConnection, host: str) -> None:
        self.room = room
        self.socket = socket
        self.host = host
        self.joined = room.moment()
        self.began = time.monotonic()
        self.heard: set[str] = set()
        self._waiting: dict[str, tuple[int, asyncio.Future[None]]] = {}

    async def say(self, text: str) -> None:
        """Say it; return when it is accepted and has come back, or raise Lost.

        Whoever waits until then never has more than one message on its way.
        """
        future = asyncio.get_running_loop().create_future()
        self._waiting[text] = (self.room.moment(), future)
        try:
            await self.socket.send(json.dumps({"key": text, "text": text}))
            await asyncio.wait_for(future, PATIENCE)
        except TimeoutError:
            raise AssertionError(f"{text!r} does not come back within {PATIENCE} s") from None
        finally:
            self._waiting.pop(text, None)

    def hear(self, event: dict[str, Any]) -> str | None:
        """Take what the server says; return the message in it."""
        text: str | None = None
        if "message" in event:
            text = event["message"]["text"]
            self.heard.add(text)
            self._settle(text)
        elif text_accepted := event.get("accepted"):
            moment, _ = self._waiting.get(text_accepted, (0, None))
            self.room.accepted.setdefault(text_accepted, moment)
            self._settle(text_accepted)
        return text

    def _settle(self, text: str) -> None:
        if text in self._waiting and text in self.heard and text in self.room.accepted:
            future = self._waiting[text][1]
            if not future.done():
                future.set_result(None)

    def end(self) -> None:
        """Tell those who wait."""
        for _, future in self._waiting.values():
            if not future.done():
                future.set_exception(Lost)

    def missing(self) -> set[str]:
        """Return what was accepted of all that was said since it began, but not heard."""
        due = {text for text, moment in self.room.accepted.items() if moment > self.joined}
        return due - self.heard


class Visitor:
    """Somebody who stays in the room. One who does not ping is told by nginx of a silent host."""

    def __init__(self, room: Room, *, pings: bool) -> None:
        self.room = room
        self.pings = pings
        self.sessions: list[Session] = []
        self.session: Session | None = None
        self.seen: set[str] = set()
        self._newest = 0

    @property
    def host(self) -> str | None:
        """Return the address of the host at the other end, None while there is none."""
        return self.session.host if self.session else None

    async def live(self) -> None:
        """Come, and come back, until cancelled."""
        from websockets.exceptions import ConnectionClosed, WebSocketException

        failures = 0
        while True:
            with suppress(OSError, TimeoutError, WebSocketException):
                async with self._connect() as socket:
                    try:
                        session = await self._enter(socket)
                        failures = 0
                        await self._attend(session)
                    except ConnectionClosed as closed:
                        self.room.codes.append(closed.rcvd.code if closed.rcvd else None)
            # What a client has to do anyway: all of them come at the same moment.
            await asyncio.sleep(random.uniform(0, min(_LONGEST, 0.1 * 2**failures)))
            failures += 1

    def _connect(self) -> Any:
        from websockets.asyncio.client import unix_connect

        return unix_connect(
            str(self.room.socket),
            f"ws://www.example.com/ws/room/?after={max(0, self._newest - 100)}",
            open_timeout=PATIENCE,
            close_timeout=1,
            ping_interval=_PING_INTERVAL if self.pings else None,
            ping_timeout=_PING_TIMEOUT,
            compression=None,
        )

    async def _enter(self, socket: ClientConnection) -> Session:
        """Catch up; return the session that begins then."""
        while "ready" not in (event := json.loads(await socket.recv())):
            self._see(event)
        assert socket.response is not None
        # Of several hosts that nginx has tried the last one has answered.
        host = socket.response.headers["Upstream"].rpartition(", ")[2]
        return Session(self.room, socket, host)

    async def _attend(self, session: Session) -> None:
        self.sessions.append(session)
        self.session = session
        try:
            while True:
                event = json.loads(await session.socket.recv())
                session.hear(event)
                self._see(event)
        finally:
            self.session = None
            session.end()

    async def come_again(self) -> None:
        """Leave, and wait until back, at whatever host nginx chooses."""
        session = self.session
        if session is not None:
            await session.socket.close()
        await until(lambda: self.session not in (None, session), "a visitor is back")

    def _has_left(self, session: Session) -> bool:
        return self.session is not session

    def _see(self, event: dict[str, Any]) -> None:
        if message := event.get("message"):
            self.seen.add(message["text"])
            self._newest = max(self._newest, message["id"])

    async def say(self, text: str) -> None:
        """Say it until it is accepted."""
        from websockets.exceptions import ConnectionClosed

        while text not in self.room.accepted:
            await until(lambda: self.session is not None, "a visitor is back")
            session = self.session
            assert session is not None
            try:
                await session.say(text)
            except (Lost, ConnectionClosed):
                self.room.said_again += text not in self.room.accepted
                # Who says it into a closed connection is not kept waiting, and must not go on so.
                await until(partial(self._has_left, session), "a visitor has left")


async def until(condition: Callable[[], object], what: str) -> None:
    """Return as soon as the condition holds; it is looked at again and again, up to a deadline."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"Not within {PATIENCE} s: {what}")
        await asyncio.sleep(_GLANCE)
