"""How long a server takes from its start to its first answer, and what it has in memory then."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from servers import START_SECONDS, BenchmarkError
from websocket_client import WrongAnswer

from .base import Column, Sample
from .requests import Requests

if TYPE_CHECKING:
    from measure import Run

# Seconds between two attempts, which the client makes on a core of its own.
ATTEMPT_SECONDS = 0.002
# Until the server has done what it does behind its first answer.
SETTLE_SECONDS = 0.5


@dataclass(frozen=True)
class Start(Sample):
    """Hold what a start took.

    `milliseconds` pass from the start of the process to the end of the first right answer;
    `processor_time` is that of all its processes until then, in milliseconds. `memory` is what they
    have afterwards, in MiB: each page counts in parts where several processes share it (PSS).
    """

    FIGURE = Column("ms to answer", "milliseconds")
    LARGER_IS_BETTER = False
    DETAILS = (
        Column("busy ms", "processor_time", compared=True),
        Column("MiB", "memory", "{:.1f}", compared=True),
        Column("processes", "processes"),
        Column("threads", "threads"),
    )
    LEGEND = (
        '"ms to answer" is the time from the start of the process to its first right answer, '
        '"busy ms" the processor time until then; "MiB" is the memory of all processes at rest '
        "after it (proportional set size)."
    )

    milliseconds: float
    processor_time: float
    memory: float
    processes: int
    threads: int


class Starts(Requests):
    """A server that is started, and asked until it answers."""

    def measure(self, run: Run) -> Start:
        """Start the server twice; the first time leaves the byte-code of modules behind."""
        with run.server() as server:
            server.check()
        began = time.perf_counter()
        with run.server(wait=False) as server:
            while True:
                try:
                    self.check(server.port)
                    break
                except ConnectionRefusedError:
                    server.expect_running()
                    if time.perf_counter() - began > START_SECONDS:
                        raise BenchmarkError("did not answer in time") from None
                    time.sleep(ATTEMPT_SECONDS)
                except WrongAnswer as error:
                    raise BenchmarkError(f"wrong first answer: {error}") from error
            took, busy = time.perf_counter() - began, server.processor_seconds()
            time.sleep(SETTLE_SECONDS)
            sample = Start(
                milliseconds=took * 1e3,
                processor_time=busy * 1e3,
                memory=server.memory(shared_in_parts=True) / 1024**2,
                processes=server.count_processes(),
                threads=server.count_threads(),
            )
            server.check()
            return sample
