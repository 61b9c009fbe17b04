"""Many clients at once, to all of whom the application speaks."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import sse_load
from websocket_client import Client

from .base import HERE, Column, Scenario
from .loading import Speed
from .talking import load, need_connections

if TYPE_CHECKING:
    from measure import Run

# How long a check publishes.
CHECK_SECONDS = 0.05


@dataclass(frozen=True)
class Deliveries(Speed):
    """Hold the result of one load: what was sent once and came to all.

    `memory` is what the server's memory has grown by for each open connection, in KiB.
    """

    FIGURE = Column("deliveries/s", "rate")
    DETAILS = (
        *Speed.DETAILS[:3],
        Column("KiB each", "memory", "{:.1f}"),
        *Speed.DETAILS[3:],
    )
    LEGEND = (
        '"deliveries/s" counts what came to each of the clients; "p50" and "p99" are from '
        'publishing to hearing, "us" is the processor time of the server for a delivery, in '
        'microseconds, and "KiB each" what its memory (resident set) grew by for each connection '
        "before the load."
    )

    memory: float


@dataclass(frozen=True)
class Crowd(Scenario):
    """So many clients, all open before the load, that hear what is published.

    The load is that of a program that says "open", and begins when it is told to.
    """

    loader: ClassVar[Path]

    clients: int

    @abstractmethod
    def options(self) -> dict[str, object]:
        """Return the options of the loader beside port, number of clients and length."""

    def measure(self, run: Run) -> Deliveries:
        """Let all clients come, look at the memory, and load; after a warm-up of its own."""
        need_connections(self.clients)
        options = {"clients": self.clients, **self.options()}
        with run.server() as server:
            before = server.memory()
            lengths = [seconds for seconds in (run.load.warmup, run.load.seconds) if seconds]
            counted = [load(run, server, self.loader, seconds, options) for seconds in lengths]
            server.check()
        # The first clients count: later ones are given the memory that these have left.
        memory = (counted[0].memory - before) / self.clients / 1024
        return Deliveries(**counted[-1].speed(), memory=memory)


@dataclass(frozen=True)
class Events(Crowd):
    """Server-Sent Events, each to all clients, the next when all have been sent one.

    `root` is what stands before the paths of the application.
    """

    loader = HERE / "sse_load.py"

    root: str = "/"

    def check(self, port: int) -> None:
        """Let two clients hear some events."""
        asyncio.run(sse_load.load(port, 2, CHECK_SECONDS, lambda word: None, self.root))

    def options(self) -> dict[str, object]:
        """Return where the streams are."""
        return {"root": self.root}


@dataclass(frozen=True)
class Groups(Crowd):
    """Messages over WebSockets of `size` bytes, that one says and all in its group hear.

    The next is said when all have heard this one.
    """

    loader = HERE / "group_load.py"

    size: int

    def check(self, port: int) -> None:
        """Let two hear what the first says."""
        speaker, listener = (Client(port, 0, self.size) for _ in range(2))
        for _ in range(2):
            speaker.echo()
            listener.hear()
        speaker.close()
        listener.close()

    def options(self) -> dict[str, object]:
        """Return the size of the messages."""
        return {"size": self.size}
