"""Tables of a report, from its plain data: for a terminal, and for the documentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def scenario_table(scenario: Mapping[str, Any], *, in_short: bool = False) -> list[str]:
    """Return the table of one scenario, a row for each server."""
    details = [] if in_short else scenario["details"]
    compared = ("times",) if in_short else ("times", "by round", "at best")
    rows = [("server", scenario["head"], "min..max", *compared, *details)]
    for server in scenario["servers"]:
        spread = "..".join(server["spread"])
        ratios = [f"{server['ratio']:.2f}"]
        if not in_short:
            ratios += ["..".join(f"{r:.2f}" for r in server["by_round"]), f"{server['best']:.2f}"]
        cells = [] if in_short else server["details"]
        rows.append((server["name"], server["figure"], spread, *ratios, *cells))
    return aligned(rows)


def goal_table(goals: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the table of goals."""
    rows = [("goal", "reached", "")]
    rows += [(g["goal"], f"{g['ratio']:.2f}", "met" if g["met"] else "missed") for g in goals]
    return aligned(rows)


def note_list(notes: Sequence[str]) -> list[str]:
    """Return what stands below a table, to be read with it: an empty line and the notes, if any."""
    return ["", *(f"* {note}" for note in notes)] if notes else []


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a Markdown table: the head, then rows of a name and numbers."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]

    def line(cells: Sequence[str]) -> str:
        first, *others = zip(cells, widths, strict=True)
        padded = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
        return f"| {' | '.join(padded)} |"

    head, *body = rows
    return [line(head), line(rule), *map(line, body)]
