"""The benchmarks: what they measure is checked, and what they report follows from it.

Their modules are programs beside the package, and become importable here.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
