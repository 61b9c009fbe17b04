"""Turn samples into a report: Markdown for people, JSON for programs.

Both hold what it takes to judge the numbers: machine, versions, commands, spread.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from measure import Load, Sample, Speed
from peers import Peer
from servers import Cores
from uses import Scenario

# The samples of each server in each scenario: samples[scenario][peer], one for each round.
Samples = dict[str, dict[str, list[Sample]]]

# A server that keeps less of its core busy was disturbed, or the client could not keep up with it.
SERVER_BUSY = 0.9
CLIENT_BUSY = 0.9
# A fastest round so many times the median says that the machine was busy with something else, or
# that the host of a virtual machine was, which cannot be seen from inside.
UNSTEADY = 1.1

COMPARED = ("min..max", "times", "by round", "at best")
SPEED_HEADS = (
    *("server", "answers/s", *COMPARED, "p50 ms", "p99 ms"),
    *("us", "times us", "core", "client"),
)
MEMORY_HEADS = ("server", "KiB each", *COMPARED, "used", "open", "MiB before", "us")


@dataclass(frozen=True)
class Report:
    """Hold a finished comparison.

    `base` is the name of the server to which the ratios refer, or the first where it has no
    samples; `versions` are by distribution, with Python's under "python".
    """

    started: datetime
    peers: Sequence[Peer]
    scenarios: Sequence[Scenario]
    samples: Samples
    load: Load
    repeats: int
    versions: dict[str, str]
    machine: dict[str, str]
    base: str

    def markdown(self) -> str:
        """Return the report as Markdown, a table for each scenario."""
        load = self.load
        lines = [
            f"# Benchmark of {self.started:%Y-%m-%d %H:%M} UTC",
            "",
            f"{load.connections} connections, {load.seconds} s after {load.warmup} s of warm-up, "
            f"{self.repeats} rounds over the servers in turn; medians.",
            "",
            *(f"* {key}: {value}" for key, value in self.machine.items()),
            "",
        ]
        for scenario in self.scenarios:
            lines += [f"## {scenario.name}: {scenario.summary}", ""]
            lines += [*self._table(scenario.name), "", *self._notes(scenario.name)]
        lines += [
            f'"times" is how many times better {self.base} is than the server, faster or smaller, '
            'by medians; "by round" is the smallest and the largest such ratio within one round, '
            '"at best" that of the best rounds.',
            '"us" is the processor time of the server for an answer, or for a WebSocket and its '
            f'first message, in microseconds; "times us" is how many times that of {self.base} it '
            'is; "core" and "client" are the parts of their cores that server and client kept '
            "busy.",
            '"KiB each" is what the server\'s memory (resident set) has grown by for each open '
            'WebSocket, "used" the same after a message and its echo on each; "MiB before" is the '
            "memory of the whole server before.",
            "",
            "## Servers",
            "",
        ]
        for peer in self.peers:
            versions = ", ".join(f"{name} {self.versions[name]}" for name in peer.distributions)
            if commands := "; ".join(f"`{command}`" for command in self._commands(peer)):
                lines += [f"* {versions}: {commands}"]
        return "\n".join(lines) + "\n"

    def json(self) -> str:
        """Return the report with every single sample as JSON."""
        return json.dumps(
            {
                "started": self.started.isoformat(),
                "machine": self.machine,
                "versions": self.versions,
                "load": {**asdict(self.load), "repeats": self.repeats},
                "commands": {peer.name: self._commands(peer) for peer in self.peers},
                "base": self.base,
                "scenarios": {
                    scenario: {
                        name: {
                            "ratio": self._ratio(scenario, name),
                            "ratio_at_best": self._ratio(scenario, name, of=max),
                            "ratio_of_processor_time": self._more_work(scenario, name),
                            "samples": [asdict(sample) for sample in samples],
                        }
                        for name, samples in by_peer.items()
                    }
                    for scenario, by_peer in self.samples.items()
                },
            },
            indent=2,
        )

    def write(self, folder: Path) -> Path:
        """Write both forms into `folder` and return the path of the Markdown."""
        folder.mkdir(exist_ok=True)
        path = folder / f"{self.started:%Y%m%d-%H%M%S}.md"
        path.write_text(self.markdown())
        path.with_suffix(".json").write_text(self.json() + "\n")
        return path

    def _ratio(
        self, scenario: str, name: str, of: Callable[[list[float]], float] = median
    ) -> float:
        """Return how many times better the base is than the named server, by median or maximum."""
        base, other = (
            of([sample.merit for sample in self.samples[scenario][peer]])
            for peer in (self._base(scenario), name)
        )
        return base / other

    def _more_work(self, scenario: str, name: str) -> float:
        """Return how many times the processor time of the base the named server takes."""
        base, other = (
            _middle(self.samples[scenario][peer], "processor_time")
            for peer in (self._base(scenario), name)
        )
        return other / base

    def _base(self, scenario: str) -> str:
        """Return the name of the server that the others are compared with in this scenario."""
        by_peer = self.samples[scenario]
        return self.base if self.base in by_peer else next(iter(by_peer))

    def _commands(self, peer: Peer) -> list[str]:
        """Return the commands by which a server was started in these scenarios."""
        served = (scenario for scenario in self.scenarios if peer.application(scenario))
        return list(dict.fromkeys(peer.shown(scenario.transport) for scenario in served))

    def _table(self, scenario: str) -> list[str]:
        """Return the lines of the table of one scenario."""
        by_peer = self.samples[scenario]
        is_speed = all(isinstance(s, Speed) for samples in by_peer.values() for s in samples)
        rows: list[tuple[str, ...]] = [SPEED_HEADS if is_speed else MEMORY_HEADS]
        for name, samples in by_peer.items():
            # Two runs of one round were close in time: what slowed one slowed the other.
            pairs = zip(by_peer[self._base(scenario)], samples, strict=True)
            rounds = [ours.merit / theirs.merit for ours, theirs in pairs]
            compared = (
                f"{self._ratio(scenario, name):.2f}",
                f"{min(rounds):.2f}..{max(rounds):.2f}",
                f"{self._ratio(scenario, name, of=max):.2f}",
            )
            more_work = f"{self._more_work(scenario, name):.2f}"
            shown, before, after = _speed(samples, more_work) if is_speed else _memory(samples)
            rows.append((name, shown, before, *compared, *after))
        return _aligned(rows)

    def _notes(self, scenario: str) -> list[str]:
        """Return a warning for each server whose numbers say less than they seem to."""
        notes = []
        for name, samples in self.samples[scenario].items():
            speeds = [sample for sample in samples if isinstance(sample, Speed)]
            if not speeds:
                continue
            if _middle(speeds, "client_core") > CLIENT_BUSY:
                notes.append(f"* The client was the limit for {name}, which is faster than shown.")
            elif _middle(speeds, "server_core") < SERVER_BUSY:
                notes.append(f"* {name} had, or used, less than its whole core.")
            unsteadiness = max(speed.rate for speed in speeds) / _middle(speeds, "rate")
            if unsteadiness > UNSTEADY:
                notes.append(
                    f"* The fastest round of {name} was {unsteadiness:.2f} times its median: the "
                    "machine was disturbed, run again."
                )
        return [*notes, ""] if notes else []


def _speed(samples: Sequence[Sample], more_work: str) -> tuple[str, str, tuple[str, ...]]:
    """Return the cells for a server's speed: the first, the spread, and those at the end."""
    rates = _values(samples, "rate")
    return (
        f"{median(rates):,.0f}",
        f"{min(rates):,.0f}..{max(rates):,.0f}",
        (
            f"{_middle(samples, 'p50'):.2f}",
            f"{_middle(samples, 'p99'):.2f}",
            f"{_middle(samples, 'processor_time'):.1f}",
            more_work,
            f"{_middle(samples, 'server_core'):.0%}",
            f"{_middle(samples, 'client_core'):.0%}",
        ),
    )


def _memory(samples: Sequence[Sample]) -> tuple[str, str, tuple[str, ...]]:
    """Return the same for a server's memory."""
    sizes = _values(samples, "silent")
    return (
        f"{median(sizes) / 1024:.1f}",
        f"{min(sizes) / 1024:.1f}..{max(sizes) / 1024:.1f}",
        (
            f"{_middle(samples, 'used') / 1024:.1f}",
            f"{_middle(samples, 'count'):,.0f}",
            f"{_middle(samples, 'before') / 1024**2:.1f}",
            f"{_middle(samples, 'processor_time'):.0f}",
        ),
    )


def describe_machine(cores: Cores, client: str, python: str) -> dict[str, str]:
    """Return what a reader needs to know of this machine, in words.

    To be called before the load: it takes the load average of others.
    """
    loads = "/".join(f"{load:.2f}" for load in os.getloadavg())
    return {
        "processor": f"{_processor()}, {os.cpu_count()} cores; the server on core {cores.server}, "
        f"the client on core {cores.client}",
        "system": f"{platform.system()} {platform.release()}, load average at the start {loads}",
        "Python": python,
        "client": client,
    }


def now() -> datetime:
    """Return the current time, which names a report."""
    return datetime.now(UTC)


def _processor() -> str:
    """Return the name that the processor gives itself."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.machine()


def _middle(samples: Iterable[Sample], field: str) -> float:
    """Return the median of one field."""
    return median(_values(samples, field))


def _values(samples: Iterable[Sample], field: str) -> list[float]:
    """Return one field of all samples."""
    return [getattr(sample, field) for sample in samples]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a Markdown table: the head, then rows of a name and numbers."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]

    def line(cells: Sequence[str]) -> str:
        first, *others = zip(cells, widths, strict=True)
        padded = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
        return f"| {' | '.join(padded)} |"

    head, *body = rows
    return [line(head), line(rule), *map(line, body)]
