"""A report as a picture (SVG, for light and dark): a panel for each scenario, bars for servers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from xml.sax.saxutils import escape

# Pixels.
WIDTH = 860
NAME = 150
BAR = 430
ROW = 22
HEAD = 44
GAP = 18

STYLE = """
text { font: 13px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600 } .small { fill: #57606a; font-size: 12px }
.bar { fill: #8c959f } .ours { fill: #0969da } .spread { stroke: #24292f; stroke-width: 1 }
.ground { fill: #ffffff }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .small { fill: #9198a1 } .bar { fill: #6e7681 } .ours { fill: #4493f8 }
.spread { stroke: #e6edf3 } .ground { fill: #0d1117 }
}
"""


def draw(data: Mapping[str, Any]) -> str:
    """Return the picture of a report, given as `Report.data` has it."""
    parts: list[str] = []
    top = GAP
    for scenario in data["scenarios"]:
        parts += _panel(scenario, data["base"], top)
        top += HEAD + ROW * len(scenario["servers"]) + GAP
    size = f'width="{WIDTH}" height="{top}" viewBox="0 0 {WIDTH} {top}"'
    title = f"Benchmark of {data['started'][:10]}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">'
        f"<title>{title}</title><style>{STYLE}</style>"
        f'<rect class="ground" width="100%" height="100%"/>{"".join(parts)}</svg>\n'
    )


def _panel(scenario: Mapping[str, Any], base: str, top: int) -> list[str]:
    """Return the panel of one scenario, whose longest bar or whisker fills the width."""
    better = "more is better" if scenario["larger_is_better"] else "less is better"
    longest = max(server["values"][2] for server in scenario["servers"])
    parts = [
        f'<text class="title" x="16" y="{top + 12}">{escape(scenario["name"])}</text>',
        f'<text class="small" x="16" y="{top + 30}">{escape(scenario["summary"])}; '
        f"{escape(scenario['head'])}, {better}</text>",
    ]
    for number, server in enumerate(scenario["servers"]):
        y = top + HEAD + ROW * number
        low, middle, high = (16 + NAME + BAR * value / longest for value in server["values"])
        kind = "ours" if server["name"] == base else "bar"
        shown = server["figure"]
        if server["name"] != base:
            shown += f" ({server['ratio']:.2f})"
        parts += [
            f'<text x="16" y="{y + 12}">{escape(server["name"])}</text>',
            f'<rect class="{kind}" x="{16 + NAME}" y="{y}" width="{middle - 16 - NAME:.1f}" '
            f'height="{ROW - 8}" rx="2"/>',
            f'<path class="spread" d="M{low:.1f} {y + 7}H{high:.1f}"/>',
            f'<text class="small" x="{high + 8:.1f}" y="{y + 12}">{shown}</text>',
        ]
    return parts
