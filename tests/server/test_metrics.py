"""The numbers of one process in shared memory, and of all processes together."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import mock

from django.test import SimpleTestCase

from django_daphne.server import OPTIONS
from django_daphne.server.metrics.board import Board
from django_daphne.server.metrics.families import (
    CPU,
    FAMILIES,
    LAYOUT,
    LIMITS,
    PREFIX,
    QUEUE,
    REASONS,
    STREAMS,
    Kind,
    Layout,
)
from django_daphne.server.metrics.page import Page, PageError
from django_daphne.server.metrics.recorder import PageRecorder
from tests.support.metrics import MetricsTestCase

ROOT = Path(__file__).resolve().parents[2]

WRITER = """
    import signal, sys
    from django_daphne.server.metrics.page import Page
    from django_daphne.server.metrics.recorder import PageRecorder

    recorder = PageRecorder(Page.attach(int(sys.argv[1])))
    for _ in range(1000):
        recorder.request("1.1", 200, 0.25, 0.5)
    recorder.streams_changed(+3)
    print("counted", flush=True)
    signal.pause()
"""


class LayoutTests(SimpleTestCase):
    """Where the numbers are."""

    def test_names(self):
        """Prometheus finds names as it wants them: units, and a suffix for counters alone."""
        for family in FAMILIES:
            self.assertRegex(family.name, rf"^{PREFIX}[a-z0-9_]+$")
            is_counter = family.kind in (Kind.COUNTER, Kind.TOTAL, Kind.HELD)
            self.assertEqual(family.name.endswith("_total"), is_counter, family.name)
            self.assertTrue(family.help.endswith("."), family.name)
            self.assertEqual(len(family.labels), len(family.values), family.name)
            self.assertEqual(sorted(family.buckets), list(family.buckets), family.name)
        self.assertEqual(len({family.name for family in FAMILIES}), len(FAMILIES))

    def test_no_number_is_shared(self):
        """The author of a family gives each of its samples a number of its own."""
        taken = [index for family in FAMILIES for _, index in LAYOUT.slots(family) if family.labels]
        taken = [each for each in taken if each < LAYOUT.counts]
        held = {index for f in FAMILIES if f.kind is Kind.HELD for _, index in LAYOUT.slots(f)}
        own = [each for each in taken if each not in held]
        self.assertEqual(len(own), len(set(own)))

    def test_marks(self):
        """Another version of the package has another mark."""
        self.assertNotEqual(Layout(FAMILIES[:-1]).mark, LAYOUT.mark)
        self.assertEqual(Layout(FAMILIES).mark, LAYOUT.mark)


class PageTests(SimpleTestCase):
    """Memory that two processes look at."""

    def setUp(self) -> None:
        super().setUp()
        self.page = Page.create()
        self.addCleanup(self.page.close)

    def test_attach(self):
        """The worker writes what the supervisor reads, the largest and the smallest, too."""
        other = Page.attach(os.dup(self.page.fileno()))
        other.counts[0] += 2**62
        other.counts[LAYOUT.counts - 1] -= 1
        other.seconds[LAYOUT.seconds - 1] += 0.5
        other.close()
        counts, seconds = self.page.read()
        self.assertEqual((counts[0], counts[-1], seconds[-1]), (2**62, -1, 0.5))
        self.assertEqual((sum(counts), sum(seconds)), (2**62 - 1, 0.5))

    def test_not_inherited(self):
        """The supervisor starts something else, which does not inherit the page."""
        self.assertFalse(os.get_inheritable(self.page.fileno()))
        descriptor = os.dup(self.page.fileno())
        os.set_inheritable(descriptor, True)
        other = Page.attach(descriptor)
        self.assertFalse(os.get_inheritable(descriptor))
        other.close()
        self.assertRaises(OSError, os.fstat, descriptor)
        other.close()

    def test_not_a_page(self):
        """The worker is given a descriptor that is none, a pipe, or one of another version."""
        other = Page.create(Layout((*FAMILIES[1:], FAMILIES[0])))
        self.addCleanup(other.close)
        with tempfile.TemporaryFile() as file:
            file.truncate(os.fstat(self.page.fileno()).st_size)
            for descriptor in (-1, file.fileno(), other.fileno(), 0):
                with self.assertRaisesMessage(PageError, "not a page"):
                    Page.attach(descriptor)

    def test_elsewhere(self):
        """The system has no memory without a file, and a file without a name takes its place."""
        with mock.patch.object(os, "memfd_create", create=True):
            del os.memfd_create
            page = Page.create()
        page.counts[5] += 1
        other = Page.attach(os.dup(page.fileno()))
        self.assertEqual(other.counts[5], 1)
        other.close()
        page.close()


class RecorderTests(MetricsTestCase):
    """What the serving process writes."""

    def test_statuses(self):
        """The application answers with a status that nobody knows."""
        for status in (100, 599, 600, 999, 99):
            self.recorder.request("1.0", status, 0.0, None)
        found = {key[2]: n for key, n in self.samples().items() if key[0] == "requests_total"}
        self.assertEqual(found, {"100": 1, "599": 1, "other": 3})

    def test_buckets(self):
        """Waits stand in the bucket whose bound they do not exceed."""
        for wait in (0.0, 0.0001, 0.00011, 2.5, 100):
            self.recorder.thread_waited_for(wait)
        samples = self.samples()
        name = "request_queue_seconds"
        buckets = {key[1]: n for key, n in samples.items() if key[0] == f"{name}_bucket"}
        self.assertEqual(len(buckets), len(QUEUE.buckets) + 1)
        found = {le: buckets[le] for le in ("0.0001", "0.0005", "1.0", "2.5", "+Inf")}
        self.assertEqual(found, {"0.0001": 2, "0.0005": 3, "1.0": 3, "2.5": 4, "+Inf": 5})
        self.assertEqual(samples[f"{name}_count",], 5)
        self.assertAlmostEqual(samples[f"{name}_sum",], 102.50021)


class BoardTests(SimpleTestCase):
    """All processes together."""

    def setUp(self) -> None:
        super().setUp()
        self.board = Board()
        self.addCleanup(self.board.close)

    def read(self, index: int) -> int:
        """Return a whole number."""
        return self.board.read().counts[index]

    def test_sums(self):
        """Two workers count, and one ends: counters stay, gauges vanish."""
        pages = [self.board.add(), self.board.add()]
        streams = LAYOUT.place(STREAMS).count
        cpu = LAYOUT.place(CPU).second
        for number, page in enumerate(pages, 1):
            page.counts[0] += number
            page.counts[streams] += number
            page.seconds[cpu] = number / 2
        self.assertEqual((self.read(0), self.read(streams)), (3, 3))
        self.board.retire(pages[0])
        self.board.retire(pages[0])
        self.assertEqual((self.read(0), self.read(streams)), (3, 2))
        self.assertEqual(self.board.read().seconds[cpu], 1.5)
        self.board.retire(pages[1])
        self.assertEqual((self.read(0), self.read(streams)), (3, 0))

    def test_silence(self):
        """The quietest of the processes that have begun counts, and none that has ended."""
        self.assertEqual(self.board.read().silence, 0)
        pages = [self.board.add(), self.board.add()]
        PageRecorder(pages[1])
        self.assertEqual(self.board.read().silence, 0)
        index = LAYOUT.seconds  # the last but those of the families behind
        names = [family.name for family in FAMILIES if family.kind is Kind.AGE]
        self.assertEqual(names, [f"{PREFIX}event_loop_silence_seconds"])
        place = LAYOUT.place(next(f for f in FAMILIES if f.kind is Kind.AGE)).second
        self.assertLess(place, index)
        pages[0].seconds[place] = 1e-9
        pages[1].seconds[place] = 2.0**52
        quiet = self.board.read().silence
        self.assertGreater(quiet, 0)
        self.board.retire(pages[0])
        self.assertEqual(self.board.read().silence, 0)

    def test_holder(self):
        """The supervisor counts what no worker can."""
        self.board.set_workers(2)
        self.board.count_restart("max_rss")
        self.board.count_restart("max_rss")
        totals = self.board.read()
        self.assertEqual(totals.workers, 2)
        self.assertEqual(totals.restarts, dict.fromkeys(REASONS, 0) | {"max_rss": 2})

    def test_killed(self):
        """A worker is killed in the middle, and what it has counted is not lost."""
        page = self.board.add()
        descriptor = page.fileno()
        command = [sys.executable, "-c", "if True:" + WRITER, str(descriptor)]
        with subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, text=True, pass_fds=[descriptor]
        ) as worker:
            assert worker.stdout is not None
            self.assertEqual(worker.stdout.readline(), "counted\n")
            streams = LAYOUT.place(STREAMS).count
            self.assertEqual(self.read(streams), 3)
            worker.send_signal(signal.SIGKILL)
        self.assertEqual(worker.returncode, -signal.SIGKILL)
        before = self.board.read()
        self.assertEqual(sum(before.counts), 3003)
        self.board.retire(page)
        after = self.board.read()
        self.assertEqual((sum(after.counts), after.counts[streams]), (3000, 0))
        self.assertEqual(sum(after.seconds), 750.0)


class DocsTests(SimpleTestCase):
    """docs/howto/metrics.md says what is there."""

    def setUp(self) -> None:
        super().setUp()
        self.text = (ROOT / "docs" / "howto" / "metrics.md").read_text(encoding="utf-8")

    def test_table(self):
        """The operator finds every metric, with its type and its labels, and no other."""
        rows = re.findall(r"^\| `(\w+)` \| (\w+) \|([^|]*)\| .+ \|$", self.text, re.MULTILINE)
        self.assertEqual(
            [(name, kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows],
            [(each.name, each.kind.prometheus_type, each.labels) for each in FAMILIES],
        )

    def test_values(self):
        """The operator finds every word that a label may be; a limit is an option."""
        words = [word for f in FAMILIES for values in f.values for word in values if len(word) > 3]
        for word in (*words, *REASONS):
            self.assertIn(f"`{word}`", self.text)
        options = {item.name for item in OPTIONS}
        self.assertEqual(set(LIMITS) - options, {"http2_allowances"})

    def test_queries(self):
        """The operator copies queries, whose metrics exist."""
        queries = "".join(re.findall(r"```promql\n(.*?)```", self.text, re.DOTALL))
        found = {re.sub("_bucket$", "", name) for name in re.findall(rf"{PREFIX}\w+", queries)}
        self.assertGreater(len(found), 3)
        self.assertLessEqual(found, {family.name for family in FAMILIES})
