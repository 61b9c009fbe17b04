"""The files of docs/deploy, read and run."""

from __future__ import annotations

import re
from typing import Any

from tests.support.processes import ROOT

FOLDER = ROOT / "docs" / "deploy"

Unit = dict[str, dict[str, list[str]]]


def read(name: str) -> str:
    """Return the text of a file."""
    return (FOLDER / name).read_text(encoding="utf-8")


def adapt(text: str, *changes: tuple[str, Any]) -> str:
    """Return a text as its reader changes it; each thing to be changed has to be there."""
    for theirs, ours in changes:
        if theirs not in text:
            raise AssertionError(f"there is no {theirs} in:\n{text}")
        text = text.replace(theirs, str(ours))
    return text


def read_command(name: str) -> str:
    """Return the arguments of rundaphne, in one line, that the comments of a file name."""
    (command,) = re.findall(r"(?m)^#     rundaphne ((?:.*\\\n)*.*)$", read(name))
    return re.sub(r"\\\n#\s+", "", command)


def read_unit(name: str) -> Unit:
    """Return the values of a unit of systemd by section and key; a key may be there again."""
    sections: Unit = {}
    text = re.sub(r"(?m)^#.*\n", "", read(name)).replace("\\\n", " ")
    for line in filter(None, text.splitlines()):
        if line.startswith("["):
            section = sections.setdefault(line.strip("[]"), {})
        else:
            key, _, value = line.partition("=")
            section.setdefault(key, []).append(value)
    return sections
