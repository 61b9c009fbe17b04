"""The project under two servers."""

from __future__ import annotations

import importlib.util
import json
import re
import signal
import unittest
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, NamedTuple

import httpx
from django.test import tag

from tests.support.processes import ROOT, Process, ProcessTestCase

from .exchange import USUAL, Ask, Clients, tidy, together

LISTENING = re.compile(r"(?:Listening on TCP address|running on http://)\s*[\w.]+:(\d+)")
COLUMNS = re.compile(r'SELECT \\"[^()]+? FROM (\\"\w+)')
PAGE = ROOT / "docs" / "topics" / "add-ons.md"
# What the page calls the ways of async views, the fastest first, and what the log says of each.
LOGGED = {
    "as without it": "of async views two.",
    "two more than without it": "of async views two.",
    "two hops": "of async views two.",
    "fused": "after each run of hooks",
    "one around each middleware": "one around each middleware",
    "one hop with a way back": "async views are called from that thread",
}
APPLICATION = "tests.addons.project.asgi:application"


def needs(*modules: str, small: bool = False) -> Callable[[type], type]:
    """Skip the tests of a class where one of these modules is not installed.

    Those that are not `small` are left to the full run.
    """
    missing = [name for name in ("uvicorn", *modules) if not is_installed(name)]
    skip = unittest.skipIf(bool(missing), f"missing: {', '.join(missing)}")
    tags = tag("addons") if small else tag("addons", "full")
    return lambda case: tags(skip(case))


def is_installed(name: str) -> bool:
    """Tell whether there is a module of that name, with dots in it or none."""
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


@dataclass
class Run:
    """What a server has answered, and what the packages have recorded."""

    answers: list[dict[str, Any]]
    recorded: dict[str, Any]
    kinds: dict[str, str]
    log: str


class AddonTestCase(ProcessTestCase):
    """Tests that ask the project under both servers the same."""

    maxDiff = 5000

    parts: Sequence[str] = ()
    options: Mapping[str, Any] = {}
    # Of async views, where it is not what the page has for the slowest of the packages.
    way = ""
    concurrent = 24
    # What is asked besides the usual, when the users have logged in.
    asks: Sequence[Ask] = ()

    def script(self, clients: Clients) -> list[dict[str, Any]]:
        """Ask the project all that is to be asked."""
        answers = clients.ask_one_by_one([*USUAL, *self.asks])
        return [*answers, *clients.ask_together(together(self.concurrent))]

    def assert_same(self) -> Run:
        """Assert that both servers answer and record the same; return what ours has."""
        expected, found = self.run_both()
        self.assert_same_answers(expected, found)
        self.assert_same_recordings(expected, found)
        self.assert_documented(found)
        return found

    def run_both(self) -> tuple[Run, Run]:
        """Ask uvicorn with Django's own handler, in a project that knows nothing of us; and us."""
        other = self.start_server(
            "django", "-m", "uvicorn", "--port", "0", "--no-access-log", APPLICATION
        )
        own = self.start_server("threaded", "-m", "django_daphne", "-p", "0", APPLICATION)
        return self.ask_server("django", other), self.ask_server("threaded", own)

    def assert_same_answers(self, expected: Run, found: Run) -> None:
        """Assert that the clients got the same."""
        for answer, expectation in zip(found.answers, expected.answers, strict=True):
            with self.subTest(asked=answer["asked"]):
                self.assertEqual(answer, expectation)

    def assert_same_recordings(self, expected: Run, found: Run) -> None:
        """Assert that the packages have recorded the same."""
        for name in self.parts:
            ours, theirs = entries(found.recorded[name]), entries(expected.recorded[name])
            with self.subTest(recorded=name):
                differences = [
                    *(f"with us only: {entry}" for entry in sorted((ours - theirs).elements())),
                    *(f"with Django only: {entry}" for entry in sorted((theirs - ours).elements())),
                ]
                self.assertFalse(differences, "\n".join(differences))

    def assert_documented(self, found: Run) -> None:
        """Assert that the page on packages and the log say the same of the stack."""
        packages = documented_packages()
        self.assertLessEqual(set(self.parts), set(packages))
        rows = [packages[name] for name in self.parts]
        self.assertEqual(set(found.kinds.values()), {row.kind for row in rows} - {"none"})
        order = list(LOGGED)
        slowest = max((order.index(row.way) for row in rows), default=order.index("two hops"))
        self.assertIn(LOGGED[self.way or order[slowest]], found.log)
        # Two of the hops are those of the loop, that asks a tool.
        asks_loop = any(row.sync_way == "three hops" for row in rows)
        self.assertEqual("watches Django" in found.log, asks_loop)
        for path, kind in found.kinds.items():
            if kind == "sync only":
                self.assertIn(path, found.log)

    def start_server(self, handler: str, *arguments: str) -> Process:
        """Start a server whose project has this handler."""
        folder = self.folder / handler
        folder.mkdir()
        return self.start(
            *arguments,
            PYTHONHASHSEED="0",  # some headers are made of sets
            ADDONS=",".join(self.parts),
            ADDONS_OPTIONS=json.dumps(self.options),
            ADDONS_HANDLER=handler,
            ADDONS_DATABASE=str(folder / "database.sqlite3"),
            ADDONS_RECORD=str(folder / "recorded.json"),
        )

    def ask_server(self, handler: str, process: Process) -> Run:
        """Ask a server, end it, and return what came of it."""
        port = int(process.wait_for(LISTENING)[1])
        with closing(Clients(port)) as clients:
            try:
                answers = self.script(clients)
            except httpx.HTTPError as error:
                raise AssertionError(f"{handler}: {error!r}\n{process}") from error
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(), 0, process)
        file = self.folder / handler / "recorded.json"
        self.assertTrue(file.exists(), process)
        recorded = json.loads(file.read_text(encoding="utf-8"))
        return Run(answers, recorded["parts"], recorded["kinds"], process.errors)


class Row(NamedTuple):
    """What the page says of a package: its kind, and the ways of sync and of async views."""

    kind: str
    sync_way: str
    way: str


def documented_packages() -> dict[str, Row]:
    """Return the rows of the page on packages by the names of their parts."""
    text = PAGE.read_text(encoding="utf-8")
    found = re.findall(r"^\| <!-- (\w+) --> [^|]+ \| ([^|]+) \| ([^|]+) \| ([^|]+) \|", text, re.M)
    return {name: Row(*cells) for name, *cells in found}


def entries(recorded: Any) -> Counter[str]:
    """Return the single entries of a recording, whose order depends on which request was faster."""
    if isinstance(recorded, dict):
        recorded = [
            [key, entry]
            for key, value in recorded.items()
            for entry in (value if isinstance(value, list) else [value])
        ]
    lines = (tidy(json.dumps(entry, sort_keys=True)) for entry in recorded)
    return Counter(COLUMNS.sub(r"SELECT ... FROM \1", line) for line in lines)
