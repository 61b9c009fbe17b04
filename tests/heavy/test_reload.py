"""Fifty edits under load, of which not one may cost a request."""

from __future__ import annotations

from django.test import tag

from tests.integration.reloading import EditingTestCase


@tag("heavy")
class ReloadTests(EditingTestCase):
    """What tests.integration.test_reload does with a few edits."""

    def test_fifty_edits(self):
        """The developer edits a view fifty times while two clients ask without pause."""
        server = self.runserver("127.0.0.1:0")
        self.assert_nothing_is_lost(server, 50)
        self.interrupt(server)
