"""Fifty edits under load, of which not one may cost a request, and every way to break a project."""

from __future__ import annotations

from django.test import tag

from tests.integration.reloading import WAYS, BreakingTestCase


@tag("heavy")
class ReloadTests(BreakingTestCase):
    """What tests.integration.test_reload does with a few edits."""

    def test_fifty_edits(self):
        """The developer edits a view fifty times while two clients ask without pause."""
        server = self.runserver("127.0.0.1:0")
        self.assert_nothing_is_lost(server, 50)
        self.interrupt(server)

    def test_every_way_out(self):
        """The developer breaks one file after the other, and mends it."""
        server = self.serve_what_will_break()
        for way in WAYS:
            self.break_down(server, *way)
        self.miss_a_module(server)
        self.interrupt(server, was_broken=True)
