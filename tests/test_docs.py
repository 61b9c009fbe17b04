"""What the pages say of flags and tests is true, and their examples run."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

from django.test import SimpleTestCase

from django_daphne.server import OPTIONS
from tests.support.processes import ProcessTestCase

HOWTO = Path(__file__).resolve().parent.parent / "docs" / "howto"
WORDS = ("same", "better", "changed", "gone", "not yet")

# What the command line of daphne 4.2 takes.
DAPHNE_FLAGS = """
    -h --help -p --port -b --bind -u --unix-socket --fd -e --endpoint -v --verbosity
    -t --http-timeout --websocket_timeout --websocket_connect_timeout --access-log --log-fmt
    --ping-interval --ping-timeout --websocket-max-message-size --websocket-max-frame-size
    --application-close-timeout --root-path --proxy-headers --proxy-headers-host
    --proxy-headers-port -s --server-name --no-server-name
"""


def tables(page: str) -> list[list[list[str]]]:
    """Return the tables of a page, each a list of rows of cells; the first row is the head."""
    text = (HOWTO / page).read_text(encoding="utf-8")
    return [
        [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()]
        for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    ]


class FromDaphneTests(SimpleTestCase):
    """The page on moving from daphne says what changed, and where that is tested."""

    def setUp(self):
        super().setUp()
        self.tables = tables("from-daphne.md")

    def test_tests(self):
        """The reader finds each test that is named, and one for whatever is there."""
        rows = [row for head, _, *rows in self.tables if head[-1] == "test" for row in rows]
        self.assertTrue(rows)
        for row in rows:
            with self.subTest(row[0]):
                names = re.findall(r"`(tests\.[\w.]+)`", row[-1])
                self.assertTrue(names or row[1] == "not yet")
                for name in names:
                    module, case, method = name.rsplit(".", 2)
                    self.assertTrue(method.startswith("test_"), name)
                    self.assertTrue(callable(getattr(getattr(import_module(module), case), method)))

    def test_tables(self):
        """The reader sees whole rows, and one of a few words for how much has changed."""
        for head, _, *rows in self.tables:
            for row in rows:
                self.assertEqual(len(row), len(head), row)
                if not head[1]:
                    self.assertIn(row[1], WORDS, row[0])

    def test_flags(self):
        """The user of daphne finds each flag in the table, and the parser takes it."""
        theirs = set(DAPHNE_FLAGS.split())
        ours = {flag for item in OPTIONS for flag in (*item.flags, item.off_flag)}
        table = next(table for table in self.tables if table[0][0] == "flag")
        listed = {flag for row in table for flag in re.findall(r"`(--?[\w-]+)`", row[0])}
        self.assertEqual(theirs - ours, {"-h", "--help"})  # argparse has these two
        self.assertEqual(theirs - listed, set())


class ExampleTests(ProcessTestCase):
    """The examples of the page on embedding run as they stand."""

    def test_embed(self):
        """The reader copies each example that is whole, and stops the one that serves on."""
        text = (HOWTO / "embed.md").read_text(encoding="utf-8")
        examples = re.findall(r"```python\n((?:from|import) .*?)```", text, re.DOTALL)
        self.assertGreater(len(examples), 5)
        started = {}
        for number, example in enumerate(examples):
            self.write(f"example{number}.py", example)
            started[example] = self.start(f"example{number}.py")
        for example, process in started.items():
            with self.subTest(example):
                if "raise_descriptor_limit()" in example:
                    process.wait_for_port()
                    self.finish(process)
                self.assertEqual(process.wait(), 0, process)
