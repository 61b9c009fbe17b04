"""A server under full load: as many answers a second as it has."""

from __future__ import annotations

import json
import os
import sys
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from programs import ProgramFailed, output_of
from servers import BenchmarkError, Server, pinned

from .base import Column, Sample, Scenario

if TYPE_CHECKING:
    from measure import Run

# What a loading client may take beyond the time of its load, to set itself up and to end.
CLIENT_GRACE_SECONDS = 15.0

# A server that keeps less of its core busy was disturbed, or the client could not keep up with it.
SERVER_BUSY = 0.9
CLIENT_BUSY = 0.9
# A fastest round so many times the median says that the machine was busy with something else, or
# that the host of a virtual machine was, which cannot be seen from inside.
UNSTEADY = 1.1


@dataclass(frozen=True)
class Speed(Sample):
    """Hold the result of one load.

    `rate` is in answers a second, `p50` and `p99` are latencies in milliseconds. `server_core`
    and `client_core` are the parts of their cores (0 to 1) that server and client kept busy.
    """

    FIGURE = Column("answers/s", "rate")
    DETAILS: ClassVar[tuple[Column, ...]] = (
        Column("p50 ms", "p50", "{:.2f}"),
        Column("p99 ms", "p99", "{:.2f}"),
        Column("us", "processor_time", "{:.1f}", compared=True),
        Column("core", "server_core", "{:.0%}"),
        Column("client", "client_core", "{:.0%}"),
    )
    LEGEND = (
        '"us" is the processor time of the server for an answer, in microseconds; "core" and '
        '"client" are the parts of their cores that server and client kept busy.'
    )

    rate: float
    p50: float
    p99: float
    answers: int
    server_core: float
    client_core: float

    @property
    def processor_time(self) -> float:
        """Return the processor time of the server for one answer, in microseconds."""
        return self.server_core / self.rate * 1e6

    @classmethod
    def notes(cls, name: str, samples: Sequence[Sample]) -> list[str]:
        """Return what was the limit, if not the server, and whether the machine was restless."""
        found = []
        details = {column.field: column.middle(samples) for column in cls.DETAILS}
        if details["client_core"] > CLIENT_BUSY:
            found.append(f"The client was the limit for {name}, which is faster than shown.")
        elif details["server_core"] < SERVER_BUSY:
            found.append(f"{name} had, or used, less than its whole core.")
        unsteadiness = max(cls.FIGURE.values(samples)) / cls.FIGURE.middle(samples)
        if unsteadiness > UNSTEADY:
            found.append(
                f"The fastest round of {name} was {unsteadiness:.2f} times its median: the "
                "machine was disturbed, run again."
            )
        return found


@dataclass(frozen=True)
class Loading(Scenario):
    """A use that is measured under full load, in answers a second."""

    # Seconds that a load takes at most, whatever is asked for.
    longest: ClassVar[int | None] = None

    @abstractmethod
    def command(
        self, port: int, connections: int, seconds: int, *, python: Path, folder: Path
    ) -> list[str]:
        """Return the command that loads the server on this port.

        The last line that it prints is an object of JSON: `answers`, `microseconds`, `p50` and
        `p99` in microseconds too, and what else is counted. `python` is an interpreter with uvloop,
        `folder` is for files.
        """

    def fault(self, counts: dict[str, Any]) -> str | None:
        """Return what is wrong with what the command counted, or None when nothing is."""
        return None

    def measure(self, run: Run) -> Sample:
        """Load the server to warm it up, then to measure it."""
        with run.server() as server:
            for seconds in (run.load.warmup, min(run.load.seconds, self.longest or sys.maxsize)):
                command = self.command(
                    server.port,
                    run.load.connections,
                    seconds,
                    python=run.python,
                    folder=run.folder,
                )
                if seconds:
                    sample = self._load([*pinned(run.cores.client), *command], server, seconds)
            server.check()
        # Before the first answer the warm-up may well be over.
        if not sample.answers:
            raise BenchmarkError("no answer was counted")
        return sample

    def _load(self, command: list[str], server: Server, seconds: int) -> Speed:
        """Run a loading client and return what it counted."""
        busy_before, own_before = server.processor_seconds(), os.times()
        counts = run_client(command, seconds)
        own_after = os.times()
        busy = server.processor_seconds() - busy_before
        server.expect_running()
        if fault := self.fault(counts):
            raise BenchmarkError(fault)
        elapsed = counts["microseconds"] / 1e6
        used = sum(own_after[2:4]) - sum(own_before[2:4])
        return Speed(
            rate=counts["answers"] / elapsed,
            p50=counts["p50"] / 1e3,
            p99=counts["p99"] / 1e3,
            answers=counts["answers"],
            server_core=busy / elapsed,
            # A client that is long in starting says itself what the load took.
            client_core=counts.get("busy", used * 1e6) / counts["microseconds"],
        )


def run_client(command: Sequence[str], seconds: float) -> dict[str, Any]:
    """Run a client whose load takes so long; return the object of JSON on the last line it prints.

    Raises BenchmarkError when it fails, with what it says, or does not end.
    """
    try:
        printed = output_of(command, seconds + CLIENT_GRACE_SECONDS, "the client")
    except ProgramFailed as error:
        raise BenchmarkError(str(error)) from None
    counts: dict[str, Any] = json.loads(printed.strip().splitlines()[-1])
    return counts
