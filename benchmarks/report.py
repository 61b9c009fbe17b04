"""Turn samples into a report: plain data, Markdown for people, a picture.

Each holds what it takes to judge the numbers: machine, versions, commands, spread.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from goals import judge
from kinds.base import Column, Sample, Scenario
from measure import Load
from peers import Peer
from plot import draw
from servers import Cores
from tables import goal_table, note_list, scenario_table

# The samples of each server in each scenario: samples[scenario][peer], one for each round.
Samples = dict[str, dict[str, list[Sample]]]


@dataclass(frozen=True)
class Report:
    """Hold a finished comparison.

    `base` is the name of the server to which the ratios refer, or the first where it has no
    samples; `versions` are by distribution, with Python's under "python". `left_out` says by
    scenario who does not take part, and why.
    """

    started: datetime
    peers: Sequence[Peer]
    scenarios: Sequence[Scenario]
    samples: Samples
    left_out: Mapping[str, Sequence[str]]
    load: Load
    repeats: int
    versions: dict[str, str]
    machine: dict[str, str]
    base: str

    def data(self) -> dict[str, Any]:
        """Return all that is shown, as JSON can hold it, with every single sample."""
        return {
            "started": self.started.isoformat(),
            "machine": self.machine,
            "load": {**asdict(self.load), "repeats": self.repeats},
            "base": self.base,
            "goals": judge(self._merits),
            "scenarios": [self._scenario(scenario) for scenario in self.scenarios],
            "servers": [
                [
                    ", ".join(f"{name} {self.versions[name]}" for name in peer.distributions),
                    commands,
                ]
                for peer in self.peers
                if (commands := self._commands(peer))
            ],
        }

    def write(self, folder: Path) -> Path:
        """Write all forms into `folder` and return the path of the Markdown."""
        folder.mkdir(exist_ok=True)
        path = folder / f"{self.started:%Y%m%d-%H%M%S}.md"
        data = self.data()
        path.write_text(markdown(data))
        path.with_suffix(".json").write_text(json.dumps(data, indent=2) + "\n")
        path.with_suffix(".svg").write_text(draw(data))
        return path

    def _scenario(self, scenario: Scenario) -> dict[str, Any]:
        by_peer = self.samples[scenario.name]
        kind = type(next(iter(by_peer.values()))[0])
        base = by_peer[self.base if self.base in by_peer else next(iter(by_peer))]
        notes = [note for name in by_peer for note in kind.notes(name, by_peer[name])]
        return {
            "name": scenario.name,
            "summary": scenario.summary,
            "head": kind.FIGURE.head,
            "larger_is_better": kind.LARGER_IS_BETTER,
            "details": [
                ("times " * n + c.head) for c in kind.DETAILS for n in range(1 + c.compared)
            ],
            "legend": kind.LEGEND,
            "servers": [_server(name, by_peer[name], base) for name in by_peer],
            "notes": [*notes, *self.left_out.get(scenario.name, ())],
        }

    def _merits(self, scenario: str) -> dict[str, float]:
        """Return the median merit of each server in a scenario."""
        by_peer = self.samples.get(scenario, {})
        return {name: _merit(samples) for name, samples in by_peer.items()}

    def _commands(self, peer: Peer) -> list[str]:
        """Return the commands by which a server was started in these scenarios."""
        served = (s for s in self.scenarios if peer.name in self.samples[s.name])
        return list(dict.fromkeys(peer.shown(scenario) for scenario in served))


def markdown(data: Mapping[str, Any]) -> str:
    """Return a report, given as `Report.data` has it, as Markdown: a table for each scenario."""
    load, base = data["load"], data["base"]
    lines = [
        f"# Benchmark of {data['started'][:16].replace('T', ' ')} UTC",
        "",
        f"{load['connections']} connections, {load['seconds']} s after {load['warmup']} s of "
        f"warm-up, {load['repeats']} rounds over the servers in turn; medians.",
        "",
        *(f"* {key}: {value}" for key, value in data["machine"].items()),
        "",
    ]
    if data["goals"]:
        lines += ["## Goals", "", *goal_table(data["goals"]), ""]
    for scenario in data["scenarios"]:
        lines += [f"## {scenario['name']}: {scenario['summary']}", "", *scenario_table(scenario)]
        lines += [*note_list(scenario["notes"]), ""]
    lines += [
        f'"times" is how many times better {base} is than the server, faster or smaller, '
        'by medians; "by round" is the smallest and the largest such ratio within one round, '
        '"at best" that of the best rounds. Another "times" is that of the column before it.',
        *dict.fromkeys(scenario["legend"] for scenario in data["scenarios"]),
        "",
        "## Servers",
        "",
    ]
    for versions, commands in data["servers"]:
        lines.append(f"* {versions}: {'; '.join(f'`{command}`' for command in commands)}")
    return "\n".join(lines) + "\n"


def _server(name: str, samples: Sequence[Sample], base: Sequence[Sample]) -> dict[str, Any]:
    """Return the row of one server, with its ratios to the base."""
    kind = type(samples[0])
    values = kind.FIGURE.values(samples)
    ends = (min(values), max(values))
    # Two runs of one round were close in time: what slowed one slowed the other.
    rounds = [ours.merit / theirs.merit for ours, theirs in zip(base, samples, strict=True)]
    return {
        "name": name,
        "figure": kind.FIGURE.form.format(median(values)),
        "values": [ends[0], median(values), ends[1]],
        "spread": [kind.FIGURE.form.format(value) for value in ends],
        "ratio": _merit(base) / _merit(samples),
        "by_round": [min(rounds), max(rounds)],
        "best": _merit(base, max) / _merit(samples, max),
        "details": [cell for column in kind.DETAILS for cell in _cells(column, samples, base)],
        "samples": [asdict(sample) for sample in samples],
    }


def _merit(samples: Sequence[Sample], of: Callable[[Sequence[float]], float] = median) -> float:
    """Return the median merit, or the largest."""
    return of([sample.merit for sample in samples])


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
