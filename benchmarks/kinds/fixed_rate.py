"""How long answers take when as many are asked for a second of every server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from measure import Load, Run, measure
from servers import BenchmarkError, pinned

from .base import HERE, Column, Sample, Scenario, Transport
from .loading import Speed, run_client
from .requests import HTTP2Requests, Requests

RATE_LOADER = HERE / "rate_load.py"

# What is offered to all, as a part of what the slowest of them can do.
OFFERED = 0.5
# The load that finds what that is: seconds, and seconds to warm up.
CALIBRATION = (2, 1)
# A server that answers a smaller part of what it was asked for, in the time, is behind.
REACHED = 0.98
# The client's own delays matter when they are a larger part of the latency.
DELAYED = 0.2


@dataclass(frozen=True)
class Latency(Sample):
    """Hold the latencies of one load, in milliseconds from when a request was due.

    Of 100 answers so many took no longer than `p50`, `p90`, `p99` and `p999` (of 1,000). `rate` is
    how many requests a second were offered, `reached` the part (0 to 1) that was answered by the
    end of the load. `processor_time` is that of the server for an answer, in microseconds. `delay`
    is the 99th percentile of what the client itself was late.
    """

    FIGURE = Column("p99 ms", "p99", "{:.2f}")
    LARGER_IS_BETTER = False
    DETAILS = (
        Column("p50 ms", "p50", "{:.2f}", compared=True),
        Column("p90 ms", "p90", "{:.2f}"),
        Column("p99.9 ms", "p999", "{:.2f}"),
        Column("max ms", "longest", "{:.1f}"),
        Column("asked/s", "rate"),
        Column("reached", "reached", "{:.1%}"),
        Column("us", "processor_time", "{:.1f}", compared=True),
        Column("delay ms", "delay", "{:.3f}"),
    )
    LEGEND = (
        '"p99 ms" is what 99 of 100 answers took at most, counted from when the request was due; '
        f'"asked/s" is the rate, {OFFERED:g} times the maximum of the slowest server of this run, '
        '"reached" the part that was answered in time; "us" is the processor time of the server '
        'for an answer, in microseconds; 99 of 100 requests left the client within "delay ms" of '
        "being due."
    )

    p50: float
    p90: float
    p99: float
    p999: float
    longest: float
    rate: float
    reached: float
    processor_time: float
    delay: float

    @classmethod
    def notes(cls, name: str, samples: Sequence[Sample]) -> list[str]:
        """Return whether the server was behind, and whether the client was."""
        found = []
        middle = {column.field: column.middle(samples) for column in (cls.FIGURE, *cls.DETAILS)}
        if middle["reached"] < REACHED:
            found.append(f"{name} answered {middle['reached']:.1%} in time: it was behind.")
        if middle["delay"] > DELAYED * middle["p99"]:
            found.append(f"The client was late itself for {name}, which is quicker than shown.")
        return found


@dataclass(frozen=True)
class FixedRate(Scenario):
    """A request that is sent at a fixed rate, the same for all servers, none of whom is at its end.

    The rate is found before the rounds, by loading each server to its maximum as the scenario of
    the request does. The load is that of rate_load.py, which compares every body with `answer`;
    `request` has neither a body to send nor an answer that varies.

    h2load has a rate too (`--rps`), but counts from sending. A server that stands still for half
    a second, at 992 requests a second on 32 connections for four, leaves 496 requests late; h2load
    lists 32, so its 99th percentile is 20 ms where rate_load.py finds 461 ms. It also sends in one
    burst for each connection and interval, so what is measured is a queue of its own making.
    """

    flags: ClassVar[tuple[str, ...]] = ()

    request: Requests | HTTP2Requests
    # Requests a second; 0 until it has been found.
    rate: float = 0

    def check(self, port: int) -> None:
        """Send the request twice on one connection."""
        self.request.check(port)

    def programs(self) -> tuple[str, ...]:
        """Return what finds the rate."""
        return self.request.programs()

    def calibrate(self, runs: Sequence[Run]) -> FixedRate:
        """Find the rate, by the maximum of the slowest server."""
        rates = []
        for run in runs:
            load = Load(*CALIBRATION, run.load.connections)
            sample = measure(replace(run, scenario=self.request, load=load))
            assert isinstance(sample, Speed)
            rates.append(sample.rate)
        return replace(self, rate=float(round(OFFERED * min(rates))))

    def measure(self, run: Run) -> Latency:
        """Load the server at the rate to warm it up, then to measure it."""
        if not self.rate:
            raise BenchmarkError("no rate was found before the rounds")
        with run.server() as server:
            for seconds in filter(None, (run.load.warmup, run.load.seconds)):
                command = self._command(run, server.port, seconds)
                busy = server.processor_seconds()
                counts = run_client(command, seconds)
                busy = server.processor_seconds() - busy
                server.expect_running()
            server.check()
        milliseconds = ("p50", "p90", "p99", "p999", "longest", "delay")
        return Latency(
            rate=self.rate,
            reached=counts["in_time"] / counts["asked"],
            processor_time=busy / counts["answers"] * 1e6,
            **{name: counts[name] / 1e3 for name in milliseconds},
        )

    def _command(self, run: Run, port: int, seconds: int) -> list[str]:
        """Return the command of the loader, for whom files are made here."""
        request, answer = run.folder / "request", run.folder / "answer"
        request.write_bytes(self.request.encoded(port))
        answer.write_bytes(self.request.answer)
        options = {
            "port": port,
            "request": request,
            "answer": answer,
            "connections": run.load.connections,
            "rate": self.rate,
            "seconds": seconds,
        }
        words = (f"--{name}={value}" for name, value in options.items())
        loader = (str(run.python), str(RATE_LOADER))
        return [*pinned(run.cores.client), *loader, *words, *self.flags]


@dataclass(frozen=True)
class HTTP2FixedRate(FixedRate):
    """The same over HTTP/2 on TLS: as many connections, each with one request under way."""

    transport: ClassVar[Transport] = "http2"
    flags: ClassVar[tuple[str, ...]] = ("--http2",)
