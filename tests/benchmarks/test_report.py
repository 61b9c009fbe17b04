"""What a report says of given samples."""

from __future__ import annotations

import dataclasses
import json
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.test import SimpleTestCase
from goals import GOALS, LEVEL, Goal, judge
from kinds.base import Sample
from kinds.idle import Memory
from kinds.loading import Speed
from measure import Load
from peers import OURS, PEERS
from publish import page
from report import Report, markdown
from scenarios import SCENARIOS


def speed(rate: float, **fields: float) -> Speed:
    """Return the sample of a load."""
    usual = {"p50": 1.0, "p99": 2.0, "answers": rate, "server_core": 1.0, "client_core": 0.5}
    return Speed(rate=rate, **usual | fields)  # type: ignore[arg-type]


def report(name: str, **samples: Sequence[Sample]) -> Report:
    """Return the report of one scenario, from the samples of each peer."""
    peers = [PEERS[peer.replace("_", "-")] for peer in samples]
    return Report(
        started=datetime(2026, 11, 23, 9, 30, tzinfo=UTC),
        peers=peers,
        scenarios=[SCENARIOS[name]],
        samples={name: {p.name: list(s) for p, s in zip(peers, samples.values(), strict=True)}},
        left_out={name: ["gunicorn says nothing."]},
        load=Load(3, 1, 32),
        repeats=3,
        versions={part: "1.0" for peer in peers for part in peer.distributions},
        machine={"processor": "one of them"},
        base=OURS,
    )


class ReportTests(SimpleTestCase):
    """From samples to figures."""

    def setUp(self):
        self.report = report(
            "trivial",
            django_daphne=[speed(300), speed(400), speed(500)],
            uvicorn=[speed(100), speed(250), speed(200)],
        )
        self.data = self.report.data()
        self.ours, self.theirs = self.data["scenarios"][0]["servers"]

    def test_ratios(self):
        """The reader compares medians, rounds, and the best rounds."""
        self.assertEqual((self.ours["ratio"], self.theirs["ratio"]), (1.0, 2.0))
        self.assertEqual(self.theirs["by_round"], [1.6, 3.0])
        self.assertEqual(self.theirs["best"], 2.0)

    def test_spread(self):
        """The reader sees the median with the slowest and the fastest round."""
        self.assertEqual((self.theirs["figure"], self.theirs["spread"]), ("200", ["100", "250"]))

    def test_work(self):
        """The reader sees the processor time of an answer, and how many times ours it is."""
        cells = dict(zip(self.data["scenarios"][0]["details"], self.theirs["details"], strict=True))
        self.assertEqual((cells["us"], cells["times us"]), ("5000.0", "2.00"))

    def test_less_is_better(self):
        """A server that takes twice the memory is half as good."""
        memory = Memory(count=10, before=30.0, silent=10.0, used=11.0, processor_time=300.0)
        twice = dataclasses.replace(memory, silent=20.0)
        data = report("idle", django_daphne=[memory], uvicorn=[twice]).data()
        self.assertEqual([s["ratio"] for s in data["scenarios"][0]["servers"]], [1.0, 2.0])
        self.assertFalse(data["scenarios"][0]["larger_is_better"])

    def test_notes(self):
        """The reader is warned of a client that was the limit, and of a restless machine."""
        data = report(
            "trivial",
            django_daphne=[speed(100), speed(100), speed(150)],
            uvicorn=[speed(100, client_core=0.95)] * 3,
        ).data()
        notes = "\n".join(data["scenarios"][0]["notes"])
        self.assertIn("The fastest round of django-daphne was 1.50 times its median", notes)
        self.assertIn("The client was the limit for uvicorn", notes)
        self.assertIn("gunicorn says nothing.", notes)

    def test_every_form(self):
        """The reader finds the figures in the Markdown, in the picture and on the page."""
        with tempfile.TemporaryDirectory() as folder:
            path = self.report.write(Path(folder))
            text, stored = path.read_text(), json.loads(path.with_suffix(".json").read_text())
            picture = ET.fromstring(path.with_suffix(".svg").read_text())
        self.assertEqual(text, markdown(stored))
        for form in (text, page(stored), "".join(picture.itertext())):
            for figure in ("uvicorn", "400", "200", "2.00"):
                self.assertIn(figure, form)

    def test_published_notes(self):
        """The reader of the documentation is warned of what the reader of the report is."""
        text = page(self.report.data())
        self.assertIn("* gunicorn says nothing.\n", text)
        self.assertIn("The fastest round of django-daphne was 1.25 times its median", text)

    def test_samples_are_kept(self):
        """Whoever doubts a median finds every sample in the JSON."""
        stored = json.loads(json.dumps(self.data))
        self.assertEqual(
            [s["rate"] for s in stored["scenarios"][0]["servers"][1]["samples"]], [100, 250, 200]
        )


class GoalTests(SimpleTestCase):
    """What was promised, and what was reached."""

    def judged(self, **merits: float) -> list[dict[str, Any]]:
        """Return the verdict on the goals of the scenario "trivial"."""
        reached = {OURS: 150.0, **merits}
        return judge(lambda scenario: reached if scenario == "trivial" else {})

    def test_met(self):
        """The server is as many times faster as was promised."""
        (verdict,) = self.judged(uvicorn=100.0, granian=90.0, gunicorn=50.0)
        self.assertEqual((verdict["ratio"], verdict["met"]), (1.5, True))

    def test_missed(self):
        """One of the others is faster than was hoped."""
        (verdict,) = self.judged(uvicorn=90.0, granian=110.0, gunicorn=50.0)
        self.assertFalse(verdict["met"])

    def test_not_measured(self):
        """Nothing is said of a goal for which somebody was not measured."""
        self.assertEqual(self.judged(uvicorn=90.0), [])

    def test_level(self):
        """A goal to be as fast says what it allows, because a run cannot tell it apart."""
        speed = str(Goal("django-start", LEVEL, ("uvicorn",)))
        self.assertEqual(speed, "django-start: no worse than uvicorn, within 5%")
        self.assertEqual(str(Goal("idle", 1, ("uvicorn",))), "idle: no worse than uvicorn")

    def test_names(self):
        """Every goal is about scenarios and servers that there are."""
        for goal in GOALS:
            self.assertIn(goal.scenario, SCENARIOS)
            for name in goal.others:
                self.assertTrue(PEERS[name].application(SCENARIOS[goal.scenario]), goal)
