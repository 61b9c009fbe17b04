"""Running foreign programs to their end."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence


class ProgramFailed(Exception):
    """A program failed or did not end; the text says so, with its last words."""


def output_of(command: Sequence[str], seconds: float, name: str) -> str:
    """Return what a program, called `name`, prints within so many seconds. Raises ProgramFailed."""
    try:
        result = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ProgramFailed(f"{name} did not end within {seconds:g} seconds") from None
    if result.returncode:
        said = (result.stderr or result.stdout).strip() or "not a word"
        raise ProgramFailed(f"{name} failed: {said}")
    return result.stdout
