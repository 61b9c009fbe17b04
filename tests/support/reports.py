"""Tests that show figures beside their names."""

from __future__ import annotations

import unittest
from typing import Any


class ReportingTestCase(unittest.TestCase):
    """Tests with figures. `report` is shown with the test's name, with -v 2."""

    def run(self, result: unittest.TestResult | None = None) -> unittest.TestResult | None:
        """Run the test, keeping where its report goes."""
        self._stream: Any = getattr(result, "showAll", False) and getattr(result, "stream", None)
        return super().run(result)

    def report(self, text: str) -> None:
        """Show figures."""
        if self._stream:
            self._stream.write(f"[{text}] ")
