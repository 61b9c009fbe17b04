"""The command, from its arguments to its report or its refusal."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import shutil
import signal
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import environment
import run
from django.test import SimpleTestCase
from kinds.base import Application, Scenario
from kinds.requests import Requests
from peers import OURS, PEERS
from scenarios import SCENARIOS

# Right as long as somebody looks at the whole answer, and wrong when the load comes.
LYING = """
answers = 0

async def app(scope, receive, send):
    global answers
    if scope["type"] != "http":
        return
    answers += 1
    status = 200 if answers <= 2 else 503
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": b"Hello, world!"})
"""


class LyingApplication(Application):
    """An application that keeps its word for two answers."""

    def prepare(self, python: Path, folder: Path) -> dict[str, str]:
        """Write it where the server finds it."""
        (folder / "lying.py").write_text(LYING)
        return {"PYTHONPATH": str(folder)}


@unittest.skipUnless(sys.platform == "linux", "Linux only: processes are kept to cores")
@unittest.skipUnless(shutil.which("wrk"), "missing: wrk")
class CommandTests(SimpleTestCase):
    """The command with our own server, in this interpreter."""

    def setUp(self):
        if len(os.sched_getaffinity(0)) < 2:
            self.skipTest("missing: a second core")
        self.results = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.enterContext(mock.patch.object(run, "RESULTS", self.results))
        # The command has one of its own.
        self.addCleanup(signal.signal, signal.SIGTERM, signal.getsignal(signal.SIGTERM))

    def run_command(self, scenario: Scenario) -> tuple[int, str, str]:
        """Return the status of a run of one second, and what it printed as output and as errors."""
        arguments = ["--here", f"--peers={OURS}", f"--scenarios={scenario.name}"]
        arguments += ["--repeats=1", "--seconds=1", "--warmup=0", "--connections=4"]
        output, errors = io.StringIO(), io.StringIO()
        with (
            mock.patch.dict(SCENARIOS, {scenario.name: scenario}),
            contextlib.redirect_stdout(output),
            contextlib.redirect_stderr(errors),
        ):
            status = run.main(arguments)
        return status, output.getvalue(), errors.getvalue()

    def test_report(self):
        """The server is measured: the operator has a report, and files of it in three forms."""
        status, output, errors = self.run_command(SCENARIOS["trivial"])
        self.assertEqual(status, 0, errors)
        self.assertIn("1 runs, about 0 minutes", errors)
        files = {path.suffix: path for path in self.results.iterdir()}
        self.assertEqual(files.keys(), {".md", ".json", ".svg"})
        self.assertEqual(output.strip(), files[".md"].read_text().strip())
        (server,) = json.loads(files[".json"].read_text())["scenarios"][0]["servers"]
        self.assertEqual(server["name"], OURS)
        self.assertGreater(server["samples"][0]["rate"], 0)
        self.assertRegex(output, rf"\| {OURS} +\| +{server['figure']} \|")

    def test_wrong_answer(self):
        """An application that says something else ends the run without a report."""
        scenario = SCENARIOS["trivial"]
        other = dataclasses.replace(scenario, application=Application("json1k:app"))
        self.assert_refused(other, "wrong answer: body")

    def test_wrong_answer_under_load(self):
        """An application that fails only under load ends the run without a report."""
        scenario = SCENARIOS["trivial"]
        assert isinstance(scenario, Requests)
        lying = dataclasses.replace(scenario, application=LyingApplication("lying:app"))
        self.assert_refused(lying, r"errors counted by the client: .* status")

    def assert_refused(self, scenario: Scenario, reason: str) -> None:
        """Expect exit status 1, the reason on standard error, and nothing else anywhere."""
        status, output, errors = self.run_command(scenario)
        self.assertEqual((status, output), (1, ""))
        self.assertRegex(errors, f"benchmark: {OURS}, {scenario.name}: {reason}")
        self.assertEqual(list(self.results.iterdir()), [])


class ChoiceTests(SimpleTestCase):
    """What is served by which interpreter."""

    def test_no_interpreter(self):
        """An interpreter that is not there is named."""
        with self.assertRaisesRegex(OSError, "there is no interpreter /nowhere/python"):
            environment.here("/nowhere/python")

    def test_environment_is_kept(self):
        """The interpreter of an environment stays that, though it is a link to another one."""
        folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        link = folder / "python"
        link.symlink_to(sys.executable)
        self.assertEqual(environment.here(str(link)), link)

    def test_either_or(self):
        """To install anew and to install nothing cannot be asked for at once."""
        with contextlib.redirect_stderr(io.StringIO()) as errors, self.assertRaises(SystemExit):
            run.make_parser().parse_args(["--here", "--fresh"])
        self.assertIn("not allowed with", errors.getvalue())

    def test_exception_of_a_rule(self):
        """A server is left out where it fails, and takes part where it does not."""
        gunicorn = PEERS["gunicorn"]
        self.assertTrue(gunicorn.reason_to_leave_out(SCENARIOS["django-json"]))
        self.assertIsNone(gunicorn.reason_to_leave_out(SCENARIOS["django-start"]))
        self.assertIsNone(gunicorn.reason_to_leave_out(SCENARIOS["trivial"]))
