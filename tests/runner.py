"""Run the suite with Django's runner and count every test exactly once.

unittest keeps one list per kind of trouble, so a test with three failed subtests is three
failures, and its number of tests run says nothing about classes that failed to set up. Here each
test, whatever happens in it, ends with the worst of its outcomes.
"""

from __future__ import annotations

import enum
import os
import unittest
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.test import SimpleTestCase, TestCase
from django.test.runner import DiscoverRunner, filter_tests_by_tags
from django.test.utils import iter_test_cases  # type: ignore[attr-defined]  # not in the stubs

from tests.support.processes import ProcessTestCase

HEAVY = "heavy"
"""The tag of tests that run only when they are asked for by it."""

ADDONS, FULL = "addons", "full"
"""The tags of tests of packages around Django, and of those that run only when asked for."""

MISSING = "missing:"
"""How the reason of a skip begins when a program or a library is not installed."""


class Outcome(enum.IntEnum):
    """How a test ended; of several, the greatest counts."""

    PASSED = 0
    SKIPPED = 1
    FAILED = 2


@dataclass(frozen=True)
class Tally:
    """Hold the number of tests by outcome, and print as the last line of a run."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.passed + other.passed, self.failed + other.failed, self.skipped + other.skipped
        )

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"

    @property
    def exit_status(self) -> int:
        """Return 0 when tests ran and none failed, 1 after a failure, 5 when none ran."""
        if self.failed:
            return 1
        return 0 if self.passed else 5


def parts_are_required(environ: Mapping[str, str] = os.environ) -> bool:
    """Tell whether a skip for a missing part is a failure, as it is where CI=true."""
    return environ.get("CI", "").lower() in {"1", "true"}


class TallyingResult(unittest.TextTestResult):
    """Note the outcome of every test, in this process or sent by a parallel one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.outcomes: dict[str, Outcome] = {}

    @property
    def tally(self) -> Tally:
        """Return the counts so far."""
        counts = Counter(self.outcomes.values())
        return Tally(counts[Outcome.PASSED], counts[Outcome.FAILED], counts[Outcome.SKIPPED])

    def _note(self, test: Any, outcome: Outcome) -> None:
        # A subtest counts for the test it belongs to. What fails before or after the tests
        # of a class or module comes with a stand-in that has an id of its own.
        name = getattr(test, "test_case", test).id()
        self.outcomes[name] = max(outcome, self.outcomes.get(name, outcome))

    def addSuccess(self, test: unittest.TestCase) -> None:
        super().addSuccess(test)
        self._note(test, Outcome.PASSED)

    def addExpectedFailure(self, test: unittest.TestCase, err: Any) -> None:
        super().addExpectedFailure(test, err)
        self._note(test, Outcome.PASSED)

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:
        super().addFailure(test, err)
        self._note(test, Outcome.FAILED)

    def addError(self, test: unittest.TestCase, err: Any) -> None:
        super().addError(test, err)
        self._note(test, Outcome.FAILED)

    def addUnexpectedSuccess(self, test: unittest.TestCase) -> None:
        super().addUnexpectedSuccess(test)
        self._note(test, Outcome.FAILED)

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: Any) -> None:
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._note(test, Outcome.FAILED)

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        super().addSkip(test, reason)
        if parts_are_required() and reason.startswith(MISSING):
            self.failures.append((test, f"With CI=true no part may be absent; {reason}\n"))
            self._note(test, Outcome.FAILED)
        else:
            self._note(test, Outcome.SKIPPED)


class Runner(DiscoverRunner):
    """Run tests as Django does, without the heavy ones, and keep a tally.

    `tally` is complete once `run_tests` has returned. `only` names a tag that the tests selected
    by everything else must have, too.
    """

    # The classes that take longest begin: at the end, the short ones keep all processes busy.
    reorder_by: Any = (ProcessTestCase, TestCase, SimpleTestCase)

    def __init__(self, *, only: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.only = only
        self.tally = Tally()
        if HEAVY not in self.tags:
            self.exclude_tags.add(HEAVY)
        if ADDONS not in self.tags:
            self.exclude_tags.add(FULL)

    @classmethod
    def add_arguments(cls, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--only", metavar="TAG", help="Of the tests selected, run those that have TAG, too."
        )

    def load_tests_for_label(self, label: str, discover_kwargs: dict[str, str]) -> Any:
        tests: Iterable[Any] = super().load_tests_for_label(label, discover_kwargs)
        if self.only is None:
            return tests
        return self.test_suite(filter_tests_by_tags(iter_test_cases(tests), {self.only}, set()))

    def get_resultclass(self) -> type[TallyingResult]:
        base = super().get_resultclass()
        if base is None:
            return TallyingResult
        return type("TallyingResult", (TallyingResult, base), {})

    def suite_result(self, suite: Any, result: Any, **kwargs: Any) -> int:
        self.tally = result.tally
        return self.tally.failed
