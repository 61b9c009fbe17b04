"""Packages that trace requests for a service elsewhere."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from .exchange import Clients, both
from .support import AddonTestCase, Run, needs


@needs("sentry_sdk")
class SentryTests(AddonTestCase):
    """Sentry's SDK, which replaces methods of Django's handler and wraps every middleware."""

    parts = ("sentry",)

    def script(self, clients: Clients) -> list[dict[str, Any]]:
        """Ask the usual, and then for much that fails at the same time."""
        asks = [ask for number in range(12) for ask in both(f"/fail/*/failure{number}")]
        return [*super().script(clients), *clients.ask_together(asks)]

    def assert_separate(self, run: Run) -> None:
        """Assert that each request has a transaction with its route, and no event of another's."""
        events = run.recorded["sentry"]["events"]
        transactions = [event for event in events if event["type"] == "transaction"]
        # By default it takes no interest in HEAD.
        asked = [answer for answer in run.answers if not answer["asked"].startswith("HEAD ")]
        self.assertEqual(len(transactions), len(asked))
        failures = [event for event in events if event["exceptions"] and event["mark"]]
        self.assertEqual(len(failures), 26)
        for event in failures:
            self.assertEqual(event["exceptions"][0][1], event["mark"])
        for event in events:
            with self.subTest(event=event):
                if event["mark"]:
                    kind, _, tag = event["request"][1].rpartition("/")
                    self.assertEqual(event["transaction"], f"/{kind.split('/', 3)[3]}/{{tag}}")
                    self.assertEqual(event["mark"].partition("/")[0], tag)
                    self.assertLessEqual({*event["breadcrumbs"]}, {event["mark"]})

    def test_before_django(self):
        """The project starts Sentry first of all: every event has its own request alone."""
        self.options = {"start": "first"}
        self.assert_separate(self.assert_same())

    def test_after_import(self):
        """The project starts Sentry before it asks for an application."""
        self.options = {"start": "imported"}
        self.assert_separate(self.assert_same())

    def test_after_construction(self):
        """The project starts Sentry when it has its application."""
        self.options = {"start": "built"}
        self.assert_separate(self.assert_same())

    def test_spans(self):
        """The project wants a span for each middleware and each receiver of a signal."""
        self.options, self.way = {"spans": True}, "one around each middleware"
        self.assert_separate(self.assert_same())


@needs("opentelemetry.instrumentation.django", "opentelemetry.instrumentation.asgi")
class OpenTelemetryTests(AddonTestCase):
    """OpenTelemetry's instrumentation: a middleware for sync only."""

    parts = ("otel",)

    def assert_traced(self, spans: list[dict[str, Any]]) -> None:
        """Assert that there is a span for each request, and those of views are below it."""
        served = [span for span in spans if span["kind"] == "SERVER"]
        self.assertGreater(len(served), 50)
        for span in spans:
            if span["name"].startswith("mark"):
                self.assertIsNotNone(span["parent"])

    def test_same(self):
        """The exporter gets a span for each request, and those of views below it."""
        self.assert_traced(self.assert_same().recorded["otel"])

    def test_asgi(self):
        """The project has the instrumentation of ASGI around it, too: spans of messages besides."""
        self.options = {"asgi": True}
        spans = self.assert_same().recorded["otel"]
        self.assert_traced(spans)
        self.assertIn("http send", str(spans))


@needs("elasticapm")
class ElasticTests(AddonTestCase):
    """Elastic's agent: signals of Django, and hooks alone."""

    parts = ("elastic",)

    def test_same(self):
        """The agent is told of each request, its queries and its errors."""
        expected, found = self.run_both()
        self.assert_same_answers(expected, found)
        expected_kinds, kinds = (
            Counter(entry["kind"] for entry in run.recorded["elastic"]) for run in (expected, found)
        )
        self.assert_documented(found)
        # Below Django's own handler of before 6.1 the agent knows of no request at all.
        if expected_kinds["transaction"]:
            self.assert_same_recordings(expected, found)
            self.assertEqual(kinds["transaction"], len(found.answers))
        self.assertGreater(kinds["transaction"], 30)
        for entry in found.recorded["elastic"]:
            if entry["kind"] == "span":
                self.assertIsNotNone(entry["parent"], entry)


@needs("ddtrace")
class DatadogTests(AddonTestCase):
    """Datadog's tracer, which exchanges the code of Django's methods."""

    parts = ("datadog",)

    def test_same(self):
        """The tracer has each request with its route, view and user, and all else below it."""
        spans = self.assert_same().recorded["datadog"]
        requests = [span for span in spans if span["parent"] is None]
        self.assertGreater(len(requests), 50)
        self.assertIn("GET meet/async/<tag>", str(requests))

    def test_blocked(self):
        """A scanner is to be kept out: the tracer ends its request with an answer of its own."""
        self.options = {"appsec": True}
        self.asks = both("/*/scanned", headers={"User-Agent": "dd-test-scanner-log-block"})
        answers = self.assert_same().answers
        scanned = [answer["status"] for answer in answers if "/scanned" in answer["asked"]]
        self.assertEqual(scanned, [403, 403])


@needs("newrelic")
class NewRelicTests(AddonTestCase):
    """New Relic's agent, which wraps Django's functions as they are imported."""

    parts = ("newrelic",)

    def assert_same_recordings(self, expected: Run, found: Run) -> None:
        """Leave out what the page says is different, and compare the rest."""
        for run in (expected, found):
            recorded = json.loads(
                json.dumps(run.recorded["newrelic"]).replace("_get_response_async", "_get_response")
            )
            recorded["traces"] = [
                trace for trace in recorded["traces"] if not self.is_different(trace)
            ]
            run.recorded["newrelic"] = recorded
        super().assert_same_recordings(expected, found)

    def is_different(self, trace: list[str]) -> bool:
        """Tell whether a node of a trace is one of those that may be there or not."""
        path, node, parent = trace
        return (
            (node.endswith(":URLResolver.resolve") and parent.startswith("RootNode"))
            or (node.endswith(".process_view") and "async" in path)
            or path.startswith("/stream/sync/")
            or node == "FunctionNode "  # what a hook calls is below it, or beside it
        )

    def test_same(self):
        """The agent has a transaction for each request, named after its view."""
        transactions = self.assert_same().recorded["newrelic"]["transactions"]
        self.assertGreater(len(transactions), 50)
