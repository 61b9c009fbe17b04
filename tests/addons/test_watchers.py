"""Packages that watch requests, and show or count or log what they saw."""

from __future__ import annotations

import re
from typing import Any

from .exchange import USUAL, Ask, Clients, both, describe, tidy, together
from .support import AddonTestCase, needs


@needs("debug_toolbar")
class ToolbarTests(AddonTestCase):
    """django-debug-toolbar: a dual middleware that puts itself into pages."""

    parts = ("toolbar",)

    def script(self, clients: Clients) -> list[dict[str, Any]]:
        """Ask for pages, and then for the queries that the toolbar has seen."""
        # The pages that Django makes of errors in development show the handler's own code.
        shown = [ask for ask in USUAL if "/fail/" not in ask.path and "suspicious" not in ask.path]
        answers = clients.ask_one_by_one(shown)
        for ask in both("/page/*/queries", "ann"):
            response = clients.send(ask)
            answers.append(describe(ask, response))
            request = response.headers["djdt-request-id"]
            panel = f"/__debug__/render_panel/?request_id={request}&panel_id=SQLPanel"
            content = clients.send(Ask(panel, "ann")).json()["content"]
            # The page also has the stack of each query, which is the handler's own.
            queries = re.findall(r'(?s)<div class="djDebugSql">(.*?)</div>', content)
            answers.append({"asked": f"queries of {ask.path}", "queries": tidy(str(queries))})
        return [*answers, *clients.ask_together(together(self.concurrent))]

    def test_same(self):
        """The developer sees the toolbar in each page, with the page's own queries."""
        answers = self.assert_same().answers
        pages = [answer for answer in answers if "GET /page/" in answer["asked"]]
        for page in pages:
            self.assertIn('id="djDebug"', str(page))
        self.assertIn('desc="SQL 3 queries"', str(pages[-2]))


@needs("silk")
class SilkTests(AddonTestCase):
    """django-silk: a middleware for sync only that keeps requests and queries."""

    parts = ("silk",)

    def test_same(self):
        """The developer finds each request with its status and its own queries."""
        rows = self.assert_same().recorded["silk"]
        self.assertGreater(len(rows), 50)


@needs("django_prometheus")
class PrometheusTests(AddonTestCase):
    """django-prometheus: hooks alone, two of them around all others."""

    parts = ("prometheus",)

    def test_same(self):
        """The collector finds the same counters."""
        counters = self.assert_same().recorded["prometheus"]
        (name,) = [name for name in counters if "requests_before_middlewares_total" in name]
        self.assertEqual(counters[name], len(USUAL) + self.concurrent)


@needs("django_structlog")
class StructlogTests(AddonTestCase):
    """django-structlog: a dual middleware that binds context variables."""

    parts = ("structlog",)

    def test_same(self):
        """The reader of the log finds the lines of each request under one number."""
        groups = self.assert_same().recorded["structlog"]
        events = {tuple(line[0] for line in group) for group in groups}
        self.assertIn(("request_started", "mark", "request_finished"), events)
        self.assertIn(("request_started", "mark", "request_failed"), events)
