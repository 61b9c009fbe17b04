"""The examples of the page on tests in memory run as they stand."""

from __future__ import annotations

import importlib
import re
import sys
import tempfile
import unittest
from pathlib import Path

from django.test import TestCase

from django_daphne import testing
from tests.test_docs import blocks, read

PAGE = "howto/testing-in-memory.md"


class ExampleTests(TestCase):
    """A package of the page's files."""

    def setUp(self) -> None:
        super().setUp()
        folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.names: list[str] = []
        for text in blocks(PAGE, "python"):
            name = re.match(r"# (guess/\w+)\.py\n", text)
            assert name is not None, text
            file = folder / f"{name[1]}.py"
            file.parent.mkdir(exist_ok=True)
            file.write_text(text, encoding="utf-8")
            self.names.append(name[1].replace("/", "."))
        sys.path.insert(0, str(folder))
        self.addCleanup(self.forget, str(folder))

    def forget(self, folder: str) -> None:
        """Let nobody else find the package."""
        sys.path.remove(folder)
        for name in [each for each in sys.modules if each.split(".")[0] == "guess"]:
            del sys.modules[name]
        importlib.invalidate_caches()

    def test_examples(self):
        """The reader copies every file, and its tests pass."""
        importlib.invalidate_caches()
        loader, counts = unittest.TestLoader(), {}
        for name in self.names:
            result = unittest.TestResult()
            loader.loadTestsFromModule(importlib.import_module(name)).run(result)
            self.assertEqual([text for _, text in (*result.errors, *result.failures)], [])
            counts[name] = result.testsRun
        tests = {name: count for name, count in counts.items() if ".test_" in name}
        self.assertEqual(len(tests), 5)
        self.assertTrue(all(tests.values()), tests)

    def test_names(self):
        """The reader finds each name of the tables in the code."""
        visitor = testing.WebsocketCommunicator(lambda scope: None, "/")
        text = read(PAGE)
        for owner, head in ((visitor, "| `Websocket"), (testing.MemoryConnection, "| connection")):
            table = text[text.index(head) :].partition("\n\n")[0]
            names = re.findall(r"`(?:await )?(\w+)(?:\([^`]*\))?`", "".join(self.cells(table)))
            self.assertGreater(len(names), 5)
            for name in names:
                self.assertTrue(hasattr(owner, name), name)

    def cells(self, table: str) -> list[str]:
        """Return the first cell of each row below the head."""
        return [row.split("|")[1] for row in table.splitlines()[2:]]
