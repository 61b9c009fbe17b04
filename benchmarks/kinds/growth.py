"""What an answer costs while more and more other connections are open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, ClassVar

from .base import HERE, Column, Sample, Scenario
from .loading import SERVER_BUSY
from .requests import Requests
from .talking import load, need_connections

if TYPE_CHECKING:
    from measure import Run

LOADER = HERE / "growth_load.py"
POINTS = (10, 100, 1_000, 10_000)


@dataclass(frozen=True)
class Growth(Sample):
    """Hold the points of one server: with 10, 100, 1,000 and 10,000 connections open.

    Of each the processor time of the server for an answer, in microseconds (`us_...`), the answers
    a second (`rate_...`) and the 99th percentile of their times in milliseconds (`p99_...`).
    `server_core` and `client_core` are the parts of their cores (0 to 1) that they kept busy with
    the most connections.
    """

    FIGURE = Column("us at 10,000", "us_10000", "{:.1f}")
    LARGER_IS_BETTER = False
    DETAILS = (
        Column("growth", "growth", "{:.2f}"),
        *(Column(f"us at {count:,}", f"us_{count}", "{:.1f}") for count in POINTS[:-1]),
        *(Column(f"answers/s at {count:,}", f"rate_{count}") for count in POINTS),
        *(Column(f"p99 ms at {count:,}", f"p99_{count}", "{:.2f}") for count in POINTS),
        Column("core", "server_core", "{:.0%}"),
        Column("client", "client_core", "{:.0%}"),
    )
    LEGEND = (
        '"us at" is the processor time of the server for an answer, in microseconds, with so many '
        'connections open; "growth" is what it is with 10,000 over what it is with 10; '
        '"core" and "client" are the parts of their cores that server and client kept busy with '
        "10,000."
    )

    us_10: float
    us_100: float
    us_1000: float
    us_10000: float
    rate_10: float
    rate_100: float
    rate_1000: float
    rate_10000: float
    p99_10: float
    p99_100: float
    p99_1000: float
    p99_10000: float
    server_core: float
    client_core: float

    @property
    def growth(self) -> float:
        """Return how many times the processor time of few connections many take."""
        return self.us_10000 / self.us_10

    @classmethod
    def notes(cls, name: str, samples: Sequence[Sample]) -> list[str]:
        """Return whether answers a second, and their times, are those of a disturbed machine."""
        sides = ("server_core", "client_core")
        if max(median(getattr(s, side) for s in samples) for side in sides) >= SERVER_BUSY:
            return []
        return [f"Neither {name} nor the client had its whole core: only us can be compared."]


@dataclass(frozen=True)
class Growing(Scenario):
    """Requests on few connections at a time, `active`, of more and more that are open."""

    # Connections are silent for seconds between two requests.
    patient: ClassVar[bool] = True

    answer: bytes
    active: int

    def check(self, port: int) -> None:
        """Send the request twice on one connection."""
        Requests(self.name, self.summary, self.application, self.answer).check(port)

    def measure(self, run: Run) -> Growth:
        """Load the same server at each point, after a warm-up with the fewest connections."""
        need_connections(max(POINTS))
        options = {"active": self.active, "body": self.answer.decode()}
        values = {}
        with run.server() as server:
            if run.load.warmup:
                load(run, server, LOADER, run.load.warmup, {"clients": POINTS[0], **options})
            for count in POINTS:
                found = load(run, server, LOADER, run.load.seconds, {"clients": count, **options})
                values[f"us_{count}"] = found.busy / found.answers * 1e6
                values[f"rate_{count}"] = found.answers / found.elapsed
                values[f"p99_{count}"] = found.p99
            server.check()
        cores = (found.busy / found.elapsed, found.client_busy / found.elapsed)
        return Growth(**values, server_core=cores[0], client_core=cores[1])
