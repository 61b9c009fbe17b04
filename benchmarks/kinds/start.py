"""How long a server takes to its first answer, and what it is when it rests after that."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from measure import Run, measure
from servers import BenchmarkError, Server, kept_to

from .base import Column, Sample, Scenario
from .requests import Requests

# Between two attempts to connect, in seconds: 2 ms. An attempt takes a tenth of a millisecond of
# the client's core and nothing of the server's.
PAUSE = 0.002
# A server rests when it has used no processor time for so long.
REST_SECONDS = 0.3
# And this is how long it may take to that.
SETTLE_SECONDS = 10.0


@dataclass(frozen=True)
class Beginning(Sample):
    """Hold what a server took to its first answer, and what it is afterwards.

    `answered` and `busy`, its processor time until then, are in milliseconds; `busy` is counted by
    the kernel in steps of 10. In MiB: `memory` has shared pages divided among those who have them
    (PSS), `resident` has them once for each process (RSS).
    """

    FIGURE = Column("ms", "answered", "{:,.0f}")
    LARGER_IS_BETTER = False
    DETAILS = (
        Column("ms busy", "busy", compared=True),
        Column("MiB", "memory", "{:.1f}", compared=True),
        Column("MiB resident", "resident", "{:.1f}"),
        Column("processes", "processes"),
        Column("threads", "threads"),
    )
    LEGEND = (
        '"ms" is the time from starting the server to the end of its first right answer, "ms busy" '
        'its processor time until then; "MiB" is the memory of all its processes when it rests '
        "afterwards, with what processes share divided among them (proportional set size), "
        '"MiB resident" the sum of their resident sets, which counts it for each.'
    )

    answered: float
    busy: float
    memory: float
    resident: float
    processes: int
    threads: int


@dataclass(frozen=True)
class Start(Scenario):
    """A server that is started, asked once and left alone.

    Memory is compared by the proportional set size, because resident sets count a page that a
    server shares with its worker for both. Libraries that other programs have loaded too count for
    less by that, for all servers alike.
    """

    request: Requests

    def check(self, port: int) -> None:
        """Send the request once."""
        self.request.ask(port, times=1)

    def calibrate(self, runs: Sequence[Run]) -> Start:
        """Start each server once, so that its byte-code is compiled and its files are cached."""
        for run in runs:
            measure(run)
        return self

    def measure(self, run: Run) -> Beginning:
        """Start the server, wait for its first answer, and look at it when it rests."""
        with kept_to(run.cores.client), run.server(wait=False) as server:
            server.wait(PAUSE)
            answered = time.perf_counter() - server.started
            busy = server.processor_seconds()
            _rest(server)
            threads = server.threads()
            memory, resident = server.proportional_memory(), server.memory()
            server.check()
        return Beginning(
            answered=answered * 1e3,
            busy=busy * 1e3,
            memory=memory / 1024**2,
            resident=resident / 1024**2,
            processes=len(threads),
            threads=sum(threads),
        )


def _rest(server: Server) -> None:
    """Wait until the server uses no processor time."""
    deadline = time.monotonic() + SETTLE_SECONDS
    busy = -1.0
    while busy != (busy := server.processor_seconds()):
        if time.monotonic() > deadline:
            raise BenchmarkError(f"did not come to rest within {SETTLE_SECONDS:g} seconds")
        server.expect_running(REST_SECONDS)
