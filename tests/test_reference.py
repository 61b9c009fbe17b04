"""The reference page is what the options say."""

from __future__ import annotations

import re
import runpy
import shlex
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path

from django.test import SimpleTestCase

from django_daphne.conf import OPTIONS
from django_daphne.server.resolution import add_arguments, resolve

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE = DOCS / "reference" / "settings.md"


class ReferenceTests(SimpleTestCase):
    """docs/reference/settings.md is generated and up to date."""

    def test_up_to_date(self):
        """The author of an option changes it and is reminded of the page."""
        make_page: Callable[[], str] = runpy.run_path(str(DOCS / "generate.py"))["make_page"]
        if PAGE.read_text(encoding="utf-8") != make_page():
            self.fail("docs/reference/settings.md is out of date: run `make docs`.")

    def test_every_name_is_there(self):
        """The reader finds every key, flag and variable."""
        lines = PAGE.read_text(encoding="utf-8").splitlines()
        text = "\n".join(line for line in lines if line.startswith("|"))
        for item in OPTIONS:
            names = () if item.core_only else (item.key, *item.environment)
            for name in (*item.flags, *names):
                self.assertEqual(text.count(f"`{name}`"), 1, name)

    def test_tables_are_whole(self):
        """The reader sees every table with as many cells in each row as in its head."""
        for line in PAGE.read_text(encoding="utf-8").splitlines():
            if line.startswith("|"):
                self.assertEqual(len(re.findall(r"(?<!\\)\|", line)), 7, line)

    def test_the_example_works(self):
        """The reader copies the settings, the flags and the variables of the page."""
        text = PAGE.read_text(encoding="utf-8")
        (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
        names: dict[str, dict[str, object]] = {}
        exec(example, names)  # our own page
        config = resolve({}, {}, names["DAPHNE"]).config
        self.assertEqual(config.listen.bind, ("127.0.0.1", "[::1]"))
        (flags, variables) = re.findall(r"^\$ (.*)$", text, re.MULTILINE)
        parser = ArgumentParser()
        add_arguments(parser, core=True)
        given = parser.parse_args(shlex.split(flags)[3:])
        self.assertEqual(resolve(vars(given), {}, {}).config.listen, config.listen)
        environ = dict(word.split("=", 1) for word in shlex.split(variables)[:2])
        self.assertEqual(resolve({}, environ, {}).config.listen.bind, config.listen.bind)
