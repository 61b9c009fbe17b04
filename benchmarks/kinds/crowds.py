"""Many clients at once, to all of whom the application speaks."""

from __future__ import annotations

import asyncio
import contextlib
import json
import select
import subprocess
import time
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, ClassVar

import sse_load
from servers import BenchmarkError, Server, pinned

from .base import HERE, Column, Scenario
from .idle import SPARE_DESCRIPTORS, raise_limit
from .loading import CLIENT_GRACE_SECONDS, Speed

if TYPE_CHECKING:
    from measure import Run

# What opening all connections may take.
OPEN_SECONDS = 75.0
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
        needed = self.clients + SPARE_DESCRIPTORS
        if raise_limit(needed) < needed:
            raise BenchmarkError(f"needs {needed} open files, more than the hard limit")
        with run.server() as server:
            # The memory of the first clients counts: later ones find what these have left.
            before = server.memory()
            memory = 0.0
            for seconds in filter(None, (run.load.warmup, run.load.seconds)):
                sample, after = self._load(run, server, seconds)
                memory = memory or (after - before) / self.clients / 1024
            server.check()
        return Deliveries(**sample, memory=memory)

    def _load(self, run: Run, server: Server, seconds: int) -> tuple[dict[str, Any], int]:
        """Return what a load has found, and the server's memory just before it."""
        options = {
            "port": server.port,
            "clients": self.clients,
            "seconds": seconds,
            **self.options(),
        }
        words = [f"--{name}={value}" for name, value in options.items()]
        with _talking_to(
            [*pinned(run.cores.client), str(run.python), str(self.loader), *words]
        ) as client:
            client.expect("open", OPEN_SECONDS)
            memory, busy = server.memory(), server.processor_seconds()
            client.say()
            counts = json.loads(client.line(seconds + CLIENT_GRACE_SECONDS))
            busy = server.processor_seconds() - busy
        server.expect_running()
        if not counts["answers"]:
            raise BenchmarkError("nothing was delivered")
        elapsed = counts["microseconds"] / 1e6
        return {
            "rate": counts["answers"] / elapsed,
            "p50": counts["p50"] / 1e3,
            "p99": counts["p99"] / 1e3,
            "answers": counts["answers"],
            "server_core": busy / elapsed,
            "client_core": counts["busy"] / counts["microseconds"],
        }, memory


@dataclass(frozen=True)
class Events(Crowd):
    """Server-Sent Events, each to all clients, the next when all have been sent one.

    `root` is what stands before the paths of the application.
    """

    loader = HERE / "sse_load.py"

    root: str = "/"

    def check(self, port: int) -> None:
        """Let two clients hear some events."""
        asyncio.run(sse_load.load(port, 2, CHECK_SECONDS, lambda: None, self.root))

    def options(self) -> dict[str, object]:
        """Return where the streams are."""
        return {"root": self.root}


@dataclass(frozen=True)
class _Client:
    """A loader that was started, and what it says, a line at a time."""

    process: subprocess.Popen[bytes]
    output: IO[bytes]

    def line(self, seconds: float) -> str:
        """Return its next line. Raises BenchmarkError when it says none, or too late."""
        deadline, line = time.monotonic() + seconds, b""
        while not line.endswith(b"\n"):
            left = max(deadline - time.monotonic(), 0)
            if not select.select([self.output], [], [], left)[0]:
                raise BenchmarkError(f"the client said nothing for {seconds:g} seconds")
            if not (piece := self.output.read(4096)):
                raise BenchmarkError(f"the client failed: {self._complaint()}")
            line += piece
        return line.decode()

    def expect(self, word: str, seconds: float) -> None:
        """Wait until it says just this."""
        if (line := self.line(seconds).strip()) != word:
            raise BenchmarkError(f"the client said {line!r}")

    def say(self) -> None:
        """Tell it to go on."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    def _complaint(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.read().decode(errors="replace").strip()


@contextlib.contextmanager
def _talking_to(command: list[str]) -> Iterator[_Client]:
    """Start a loader, and end it afterwards if it has not ended."""
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0) as process:
        assert process.stdout is not None
        try:
            yield _Client(process, process.stdout)
        finally:
            process.kill()
