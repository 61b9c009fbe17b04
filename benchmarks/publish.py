#!/usr/bin/env python
"""Put a result into the documentation: its figures are written nowhere by hand.

    python benchmarks/publish.py benchmarks/results/20261123-094500.json

Writes docs/topics/benchmarks.md and docs/images/benchmarks.svg.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from environment import ROOT
from plot import draw
from tables import goal_table, note_list, scenario_table

PAGE = ROOT / "docs" / "topics" / "benchmarks.md"
PICTURE = ROOT / "docs" / "images" / "benchmarks.svg"

INTRODUCTION = """\
# Benchmarks

Measured on {date} by `make bench` in a checkout, which anybody can repeat, in one run: {repeats}
rounds over the servers in turn, each on one core, the client on another. "times" is how many times
better {base} is, faster or smaller, by medians. Only ratios mean something elsewhere.
[How it is measured](../../benchmarks/README.md), and how to read it.

{machine}

![The same as bars](../images/benchmarks.svg)

## Goals

What this server sets out to reach, and what it has reached here. What [was
found](performance.md#the-goals) about those that are missed is told there.
"""


def page(data: Mapping[str, Any]) -> str:
    """Return the page of a report, given as `Report.data` has it."""
    machine = "\n".join(f"* {name}: {text}" for name, text in data["machine"].items())
    lines = [
        INTRODUCTION.format(
            date=data["started"][:10],
            repeats=data["load"]["repeats"],
            base=data["base"],
            machine=machine,
        ),
        *goal_table(data["goals"]),
    ]
    for scenario in data["scenarios"]:
        lines += ["", f"## {scenario['name']}", "", f"{scenario['summary']}.", ""]
        lines += scenario_table(scenario, in_short=True)
        lines += note_list(scenario["notes"])
    lines += ["", "## Servers", ""]
    lines += [f"* {versions}: `{commands[0]}`" for versions, commands in data["servers"]]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str]) -> int:
    """Publish the result of this path, and return the exit status."""
    if len(arguments) != 1 or not Path(arguments[0]).is_file():
        print(
            f"expected the JSON of one result in benchmarks/results\n\n{__doc__}", file=sys.stderr
        )
        return 2
    data = json.loads(Path(arguments[0]).read_text())
    PAGE.write_text(page(data))
    PICTURE.write_text(draw(data))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
