"""Turn samples into a report: Markdown for people, JSON for programs.

Both hold what it takes to judge the numbers: machine, versions, commands, spread.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from kinds.base import Column, Sample, Scenario
from measure import Load
from peers import Peer
from servers import Cores

# The samples of each server in each scenario: samples[scenario][peer], one for each round.
Samples = dict[str, dict[str, list[Sample]]]

COMPARED = ("min..max", "times", "by round", "at best")


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
            '"at best" that of the best rounds. Another "times" is that of the column before it.',
            *dict.fromkeys(self._kind(scenario.name).LEGEND for scenario in self.scenarios),
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

    def _kind(self, scenario: str) -> type[Sample]:
        """Return the class of the samples of a scenario."""
        return type(next(iter(self.samples[scenario].values()))[0])

    def _base(self, scenario: str) -> str:
        """Return the name of the server that the others are compared with in this scenario."""
        by_peer = self.samples[scenario]
        return self.base if self.base in by_peer else next(iter(by_peer))

    def _commands(self, peer: Peer) -> list[str]:
        """Return the commands by which a server was started in these scenarios."""
        served = (scenario for scenario in self.scenarios if peer.application(scenario))
        return list(dict.fromkeys(peer.shown(scenario) for scenario in served))

    def _table(self, scenario: str) -> list[str]:
        """Return the lines of the table of one scenario."""
        by_peer, kind = self.samples[scenario], self._kind(scenario)
        base = by_peer[self._base(scenario)]
        heads = [("times " * turn + c.head) for c in kind.DETAILS for turn in range(1 + c.compared)]
        rows: list[tuple[str, ...]] = [("server", kind.FIGURE.head, *COMPARED, *heads)]
        for name, samples in by_peer.items():
            # Two runs of one round were close in time: what slowed one slowed the other.
            pairs = zip(base, samples, strict=True)
            rounds = [ours.merit / theirs.merit for ours, theirs in pairs]
            values = kind.FIGURE.values(samples)
            rows.append(
                (
                    name,
                    kind.FIGURE.form.format(median(values)),
                    "..".join(map(kind.FIGURE.form.format, (min(values), max(values)))),
                    f"{self._ratio(scenario, name):.2f}",
                    f"{min(rounds):.2f}..{max(rounds):.2f}",
                    f"{self._ratio(scenario, name, of=max):.2f}",
                    *(cell for column in kind.DETAILS for cell in _cells(column, samples, base)),
                )
            )
        return _aligned(rows)

    def _notes(self, scenario: str) -> list[str]:
        """Return a warning for each server whose numbers say less than they seem to."""
        kind, by_peer = self._kind(scenario), self.samples[scenario]
        notes = [f"* {note}" for name in by_peer for note in kind.notes(name, by_peer[name])]
        return [*notes, ""] if notes else []


def _cells(column: Column, samples: Sequence[Sample], base: Sequence[Sample]) -> list[str]:
    """Return the cell of a column for one server, and that of the comparison it may have."""
    middle = column.middle(samples)
    shown = [column.form.format(middle)]
    return [*shown, f"{middle / column.middle(base):.2f}"] if column.compared else shown


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
