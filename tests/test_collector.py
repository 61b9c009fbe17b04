"""The garbage collector while a process loads."""

from __future__ import annotations

import gc
import subprocess
import sys
import unittest

from django_daphne.collector import collecting_seldom

FREEZE = """
import gc
from django_daphne.collector import keep_what_is_loaded

class Loaded:
    pass

one = Loaded()
gc.collect()
keep_what_is_loaded()
print(gc.get_freeze_count() > 1000, any(each is one for each in gc.get_objects()))
"""


class CollectorTests(unittest.TestCase):
    """A process is loaded, and goes on as it was."""

    def setUp(self):
        self.addCleanup(gc.set_threshold, *gc.get_threshold())

    def test_seldom(self):
        """An application is imported: fewer rounds meanwhile, and as many as before afterwards."""
        gc.set_threshold(700, 10, 9)
        with self.assertRaises(ZeroDivisionError), collecting_seldom():
            young, *old = gc.get_threshold()
            self.assertEqual((young > 10_000, old), (True, [10, 9]))
            raise ZeroDivisionError
        self.assertEqual(gc.get_threshold(), (700, 10, 9))

    def test_set_by_others(self):
        """Whoever starts the process has set the collector, or the application does."""
        for own in ((0, 10, 10), (1_000_000, 5, 5)):
            gc.set_threshold(*own)
            with collecting_seldom():
                self.assertEqual(gc.get_threshold(), own)
            self.assertEqual(gc.get_threshold(), own)
        gc.set_threshold(700, 10, 9)
        with collecting_seldom():
            gc.set_threshold(5000, 20, 20)
        self.assertEqual(gc.get_threshold(), (5000, 20, 20))

    def test_kept(self):
        """What was loaded is not looked at any more."""
        command = [sys.executable, "-c", FREEZE]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        self.assertEqual(done.stdout.split(), ["True", "False"])
