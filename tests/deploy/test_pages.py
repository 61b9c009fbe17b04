"""What the pages say of the files is what is in them."""

from __future__ import annotations

import re
import shlex
from argparse import ArgumentParser

from django.test import SimpleTestCase

from django_daphne.server import add_arguments, resolve
from tests.deploy import FOLDER, read
from tests.deploy.test_container import need_yaml, read_manifest, variables_of
from tests.test_docs import blocks, tables

README = "deploy/README.md"


class ReadmeTests(SimpleTestCase):
    """The administrator reads about the files before copying them."""

    def test_files(self):
        """The administrator finds each file in the table."""
        (table,) = (rows for head, _, *rows in tables(README) if head[0] == "file")
        listed = {name for row in table for name in re.findall(r"\(([\w.-]+)\)", row[0])}
        self.assertEqual(listed | {"README.md"}, {each.name for each in FOLDER.iterdir()})

    def test_end_of_a_pod(self):
        """The administrator adds up the times of a Pod, and gets those of the manifest."""
        need_yaml(self)
        (table,) = (rows for head, _, *rows in tables(README) if head[0] == "seconds")
        ends = [int(re.findall(r"\d+", row[0])[-1]) for row in table]
        pod = read_manifest()["Deployment"]["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        given = variables_of(container)
        config = resolve({}, given, {}).config.timeouts
        assert config.graceful_timeout is not None
        at_term = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
        closed = at_term + config.shutdown_delay
        drained = closed + config.graceful_timeout
        self.assertEqual(ends, [at_term, closed, drained, pod["terminationGracePeriodSeconds"]])

    def test_sum(self):
        """The administrator adds up the comment of the manifest, too."""
        parts = re.findall(r"(?m)^      # +(\d+)  ", read("kubernetes.yaml"))
        (total,) = re.findall(r"terminationGracePeriodSeconds: (\d+)", read("kubernetes.yaml"))
        self.assertEqual(sum(map(int, parts)), int(total))


class PageTests(SimpleTestCase):
    """The administrator copies the variants of the unit that the page on systemd shows."""

    def test_commands(self):
        """Each command is one that the server takes."""
        parser = ArgumentParser(exit_on_error=False)
        add_arguments(parser, core=True)
        parser.add_argument("application", nargs="?")
        text = "".join(blocks("howto/systemd.md", "ini")).replace("\\\n", " ")
        commands = re.findall(
            r"(?m)^ExecStart=/\S+/(?:python manage.py rundaphne|django-daphne) (.*)", text
        )
        self.assertEqual(len(commands), 2)
        for flags in commands:
            given = vars(parser.parse_args(shlex.split(flags)))
            given.pop("application")
            self.assertEqual(resolve(given, {}, {}).config.workers.workers, 2)
