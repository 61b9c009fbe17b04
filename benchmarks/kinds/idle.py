"""What an open connection costs on which nothing happens."""

from __future__ import annotations

import resource
from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from http_client import KeepAlive
from servers import BenchmarkError, Server
from websocket_client import Client, Connection, WrongAnswer

from .base import Column, Sample, Scenario

if TYPE_CHECKING:
    from measure import Run

# Descriptors that a server and this process have beside their connections.
SPARE_DESCRIPTORS = 256

C = TypeVar("C", bound=Connection)


@dataclass(frozen=True)
class Memory(Sample):
    """Hold what `count` open connections took.

    In KiB: `silent` is that of each which was opened, `used` after one use more of each; `before`
    is the whole server's in MiB. `processor_time` is that of the server for opening one and for
    that use, in microseconds. To open is a handshake of WebSocket or a first answer of HTTP; a use
    is a message and its echo or a second answer.
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
        'WebSocket, or connection after one answer; "used" the same after a message and its echo, '
        'or a second answer, on each; "MiB before" is the memory of the whole server before; "us" '
        "its processor time for all that on one."
    )

    count: int
    before: float
    silent: float
    used: float
    processor_time: float


@dataclass(frozen=True)
class Idle(Scenario, Generic[C]):
    """Open connections on which nothing happens, measured in the memory that the server has.

    `count` is how many.
    """

    count: int

    @abstractmethod
    def open(self, port: int, number: int) -> C:
        """Return the open connection of this number. Raises what `check` does."""

    @abstractmethod
    def use(self, connection: C) -> None:
        """Let the server do something on it. Raises what `check` does."""

    def check(self, port: int) -> None:
        """Use one connection."""
        connection = self.open(port, 0)
        with connection.closed_on_error():
            self.use(connection)
            connection.close()

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
        """Open so many connections, one after the other, and look at the server's memory."""
        connections: list[C] = []
        before, busy = server.memory(), server.processor_seconds()
        try:
            for number in range(count):
                connections.append(self.open(server.port, number))
            silent = server.memory()
            for connection in connections:
                self.use(connection)
            used = server.memory()
            busy = server.processor_seconds() - busy
            # What was closed would not have been measured.
            for connection in connections:
                connection.expect_open()
        except WrongAnswer as error:
            found = f"with {len(connections)} of {count} connections open"
            raise BenchmarkError(f"{found}: {error}") from error
        finally:
            for connection in connections:
                connection.reset()
        return Memory(
            count=count,
            before=before / 1024**2,
            silent=(silent - before) / count / 1024,
            used=(used - before) / count / 1024,
            processor_time=busy / count * 1e6,
        )


@dataclass(frozen=True)
class IdleWebSockets(Idle[Client]):
    """WebSockets; `size` is that of the messages that show that they are open."""

    size: int

    def open(self, port: int, number: int) -> Client:
        """Return it after its handshake."""
        return Client(port, number, self.size)

    def use(self, connection: Client) -> None:
        """Let a message come back."""
        connection.echo()


@dataclass(frozen=True)
class IdleRequests(Idle[KeepAlive]):
    """Connections of HTTP/1.1 that are kept alive after an answer."""

    patient: ClassVar[bool] = True

    answer: bytes

    def open(self, port: int, number: int) -> KeepAlive:
        """Return it after its first answer."""
        return KeepAlive(port, self.answer)

    def use(self, connection: KeepAlive) -> None:
        """Let a request be answered."""
        connection.ask()


def raise_limit(count: int) -> int:
    """Let this process, and those that it starts, open so many files; return how many they may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        soft = count if hard == resource.RLIM_INFINITY else min(count, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return count if soft == resource.RLIM_INFINITY else soft
