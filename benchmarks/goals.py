"""What this server promises, as ratios to others within one run.

The default run measures what it takes to judge them, and the report says which are met.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from peers import OURS

# As good as: a run on a shared machine cannot tell a smaller difference of speeds.
LEVEL = 0.95


@dataclass(frozen=True)
class Goal:
    """To be so many times better than the best of `others` in a scenario."""

    scenario: str
    factor: float
    others: tuple[str, ...]

    def __str__(self) -> str:
        others = ", ".join(self.others)
        of = f"the best of {others}" if len(self.others) > 1 else others
        if self.factor == LEVEL:
            return f"{self.scenario}: no worse than {of}, within {1 - LEVEL:.0%}"
        how = "no worse than" if self.factor == 1 else f"{self.factor:g} times as good as"
        return f"{self.scenario}: {how} {of}"

    def reached(self, merits: Mapping[str, float]) -> float | None:
        """Return how many times better we were; None where somebody was not measured.

        `merits` are what each server has reached, more is better.
        """
        if not merits.keys() >= {OURS, *self.others}:
            return None
        return merits[OURS] / max(merits[name] for name in self.others)


GOALS = (
    Goal("trivial", 1.5, ("uvicorn", "granian", "gunicorn")),
    Goal("tls", 1.3, ("uvicorn", "granian", "gunicorn")),
    Goal("http2", 1.3, ("uvicorn-zttp",)),
    Goal("echo64", 1.3, ("uvicorn",)),
    Goal("echo64x32", 1.3, ("uvicorn",)),
    Goal("echo16k", 1.3, ("uvicorn",)),
    # Of memory a run can tell any difference.
    Goal("idle", 1, ("uvicorn",)),
    Goal("django-sync-hello", 10, ("uvicorn", "daphne")),
    Goal("django-sync-hello", LEVEL, ("granian-wsgi",)),
    Goal("django-orm-page", LEVEL, ("granian-wsgi",)),
    Goal("django-async-hello", 6, ("uvicorn",)),
    Goal("django-start", LEVEL, ("uvicorn",)),
)


def judge(merits: Callable[[str], Mapping[str, float]]) -> list[dict[str, Any]]:
    """Return what became of each goal that was measured; `merits` are those of a scenario."""
    found = []
    for goal in GOALS:
        reached = goal.reached(merits(goal.scenario))
        if reached is not None:
            met = round(reached, 2) >= goal.factor
            found.append({"goal": str(goal), "factor": goal.factor, "ratio": reached, "met": met})
    return found
