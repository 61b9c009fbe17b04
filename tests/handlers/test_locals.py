"""Asking asgiref's ``Local`` whether it holds anything."""

from __future__ import annotations

from contextvars import copy_context

from asgiref.local import Local
from django.test import SimpleTestCase

from django_daphne.handlers.locals import is_empty


class EmptyTests(SimpleTestCase):
    """What is found empty, and what only may be."""

    def test_nothing_set(self):
        """Nobody has set anything."""
        self.assertTrue(is_empty(Local()))

    def test_something_set(self):
        """Somebody has set something here: it is not empty, nor is it in a copy of the context."""
        local = Local()
        local.name = "value"
        self.assertFalse(is_empty(local))
        self.assertFalse(copy_context().run(is_empty, local))

    def test_set_elsewhere(self):
        """Somebody has set something in another context: here it is empty."""
        local = Local()
        copy_context().run(setattr, local, "name", "value")
        self.assertTrue(is_empty(local))

    def test_deleted(self):
        """Somebody has set and deleted something: to look is slow, and right."""
        local = Local()
        local.name = "value"
        del local.name
        self.assertFalse(is_empty(local))

    def test_unknown(self):
        """A kind of Local is made otherwise: nobody can tell without a look."""
        self.assertFalse(is_empty(Local(thread_critical=True)))

        class Other:
            pass

        self.assertFalse(is_empty(Other()))
