"""What an open WebSocket costs on which nothing happens."""

from __future__ import annotations

import resource
from dataclasses import dataclass
from typing import TYPE_CHECKING

from servers import BenchmarkError, Server
from websocket_client import Client, WrongAnswer

from .base import Column, Sample, Scenario

if TYPE_CHECKING:
    from measure import Run

# Descriptors that a server and this process have beside their WebSockets.
SPARE_DESCRIPTORS = 256


@dataclass(frozen=True)
class Memory(Sample):
    """Hold what `count` open WebSockets took.

    In KiB: `silent` is that of each WebSocket which was accepted, `used` after a message and its
    echo on each; `before` is the whole server's in MiB. `processor_time` is that of the server for
    opening one and for its echo, in microseconds.
    """

    FIGURE = Column("KiB each", "silent", "{:.1f}")
    LARGER_IS_BETTER = False
    DETAILS = (
        Column("used", "used", "{:.1f}"),
        Column("open", "count"),
        Column("MiB before", "before", "{:.1f}"),
        Column("us", "processor_time", compared=True),
    )
    LEGEND = (
        '"KiB each" is what the server\'s memory (resident set) has grown by for each open '
        'WebSocket, "used" the same after a message and its echo on each; "MiB before" is the '
        'memory of the whole server before; "us" its processor time for opening one and for the '
        "echo."
    )

    count: int
    before: float
    silent: float
    used: float
    processor_time: float


@dataclass(frozen=True)
class Idle(Scenario):
    """Open WebSockets on which nothing happens, measured in the memory that the server has.

    `count` is how many; `size` is that of the messages that show that they are open.
    """

    count: int
    size: int

    def check(self, port: int) -> None:
        """Let a message come back."""
        client = self.open(port, 0)
        client.echo()
        client.close()

    def open(self, port: int, number: int) -> Client:
        """Return the open WebSocket of this number. Raises what `check` does."""
        return Client(port, number, self.size)

    def measure(self, run: Run) -> Memory:
        """Open them all, one after the other, and look at the server's memory."""
        # Before the server is started, which inherits it.
        allowed = raise_limit(self.count + SPARE_DESCRIPTORS)
        count = min(self.count, allowed - SPARE_DESCRIPTORS)
        with run.server() as server:
            sample = self._fill(server, count)
            server.check()
            return sample

    def _fill(self, server: Server, count: int) -> Memory:
        """Open so many WebSockets, one after the other, and look at the server's memory."""
        clients: list[Client] = []
        before, busy = server.memory(), server.processor_seconds()
        try:
            for number in range(count):
                clients.append(self.open(server.port, number))
            silent = server.memory()
            for client in clients:
                client.echo()
            used = server.memory()
            busy = server.processor_seconds() - busy
        except WrongAnswer as error:
            raise BenchmarkError(f"WebSocket {len(clients)} of {count}: {error}") from error
        finally:
            for client in clients:
                client.reset()
        return Memory(
            count=count,
            before=before / 1024**2,
            silent=(silent - before) / count / 1024,
            used=(used - before) / count / 1024,
            processor_time=busy / count * 1e6,
        )


def raise_limit(count: int) -> int:
    """Let this process, and those that it starts, open so many files; return how many they may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        soft = count if hard == resource.RLIM_INFINITY else min(count, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return count if soft == resource.RLIM_INFINITY else soft
