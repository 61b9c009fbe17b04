"""Measurements of a real server, and the refusal of wrong answers."""

from __future__ import annotations

import dataclasses
import os
import shutil
import sys
import tempfile
import unittest
from pathlib import Path

from django.test import SimpleTestCase
from kinds.base import Scenario
from kinds.idle import IdleRequests, IdleWebSockets
from kinds.loading import Speed
from kinds.requests import Requests
from kinds.start import Beginning
from measure import Load, Run, measure
from peers import OURS, PEERS
from run import make_parser, make_plan
from scenarios import SCENARIOS
from servers import BenchmarkError, Cores


@unittest.skipUnless(sys.platform == "linux", "Linux only: processes are kept to cores")
class MeasureTests(SimpleTestCase):
    """Our own server, in this interpreter."""

    def setUp(self):
        cores = sorted(os.sched_getaffinity(0))
        self.cores = Cores(server=cores[-1], client=cores[0])
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))

    def measured(self, scenario: Scenario) -> object:
        """Return the sample of a short run."""
        load = Load(seconds=1, warmup=0, connections=4)
        python = Path(sys.executable)
        return measure(Run(PEERS[OURS], scenario, load, {}, python, self.cores, self.folder))

    @unittest.skipUnless(shutil.which("wrk"), "missing: wrk")
    def test_load(self):
        """The server answers under load, and every answer is counted."""
        sample = self.measured(SCENARIOS["json1k"])
        assert isinstance(sample, Speed)
        self.assertGreater(sample.answers, 0)
        self.assertGreater(sample.processor_time, 0)
        self.assertLessEqual(sample.p50, sample.p99)

    def test_wrong_answer(self):
        """The server does not say what is expected: there is no sample, but the reason."""
        scenario = SCENARIOS["trivial"]
        assert isinstance(scenario, Requests)
        with self.assertRaisesRegex(BenchmarkError, "django-daphne, trivial: .*wrong answer: body"):
            self.measured(dataclasses.replace(scenario, answer=b"Hello, World!"))

    def test_wrong_header(self):
        """The server lacks a header that is expected."""
        scenario = SCENARIOS["trivial"]
        assert isinstance(scenario, Requests)
        with self.assertRaisesRegex(BenchmarkError, "X-Frame-Options is None instead of 'DENY'"):
            self.measured(dataclasses.replace(scenario, headers=(("X-Frame-Options", "DENY"),)))

    def test_varying_answer(self):
        """A token may differ in each answer, and nothing else may."""
        scenario = SCENARIOS["trivial"]
        assert isinstance(scenario, Requests)
        varying = dataclasses.replace(scenario, answer=b"Hello, \x1a\x1a\x1a\x1a\x1a!")
        self.assertTrue(varying._is_right(b"Hello, world!"))
        for body in (b"Hello, wor!", b"Hello, wor<d!", b"Hallo, world!", b"Hello, world!!"):
            self.assertFalse(varying._is_right(body), body)

    def test_idle(self):
        """WebSockets and kept connections are opened and weighed."""
        for name, kind in (("idle", IdleWebSockets), ("idle-http", IdleRequests)):
            scenario = SCENARIOS[name]
            assert isinstance(scenario, kind)
            sample = self.measured(dataclasses.replace(scenario, count=20))
            self.assertEqual(getattr(sample, "count", None), 20)

    def test_start(self):
        """A start is timed, and the memory at rest is looked at."""
        sample = self.measured(SCENARIOS["start"])
        assert isinstance(sample, Beginning)
        self.assertGreater(sample.answered, 0)
        self.assertEqual(sample.processes, 1)
        self.assertGreater(sample.memory, 1)


class PlanTests(SimpleTestCase):
    """What is to be measured."""

    def plan(self, *arguments: str) -> dict[str, list[str]]:
        """Return the servers of each scenario."""
        plan, _ = make_plan(make_parser().parse_args(arguments))
        return {scenario.name: [peer.name for peer in peers] for scenario, peers in plan}

    def test_default(self):
        """Without arguments what the goals need is measured, and no more."""
        plan = self.plan()
        self.assertEqual(plan["trivial"], [OURS, "uvicorn", "granian", "gunicorn"])
        self.assertEqual(plan["http2"], [OURS, "uvicorn-zttp"])
        self.assertNotIn("upload", plan)

    def test_full(self):
        """With --full every scenario is there, with every server that can serve it."""
        plan = self.plan("--full")
        self.assertEqual(plan.keys(), SCENARIOS.keys())
        self.assertIn("hypercorn", plan["upload"])
        self.assertNotIn("granian-wsgi", plan["upload"])
        self.assertIn("granian-wsgi", plan["django-json"])

    def test_left_out(self):
        """A server that is known to fail is left out, and the report says why."""
        options = make_parser().parse_args(["--scenarios", "django-json", "--full"])
        plan, left_out = make_plan(options)
        self.assertNotIn("gunicorn", [peer.name for peer in plan[0][1]])
        self.assertIn("gunicorn leaves", left_out["django-json"][0])

    def test_nobody(self):
        """A scenario that none of the chosen servers can serve is refused by name."""
        options = make_parser().parse_args(["--scenarios", "echo64", "--peers", "granian-wsgi"])
        with self.assertRaisesRegex(BenchmarkError, "echo64: none of these .* granian-wsgi"):
            make_plan(options)
