"""What a thread was doing when it was looked at: which code of the project, for which request.

Other threads go on while one looks. A stack that moves meanwhile comes out as none, which is right
for this use: who moves is not stuck.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final, TypeAlias

from ..server import printable

Stack: TypeAlias = Sequence[tuple[FrameType, int]]
"""Frames with their lines, the innermost last."""

_DEBUGGERS: Final = frozenset(
    (
        *("bdb", "pdb", "ipdb", "pudb", "IPython"),
        *("debugpy", "pydevd", "_pydevd_bundle", "_pydevd_frame_eval", "_pydevd_sys_monitoring"),
    )
)
# Where the interpreter's own modules are, and this package.
_NOT_THE_PROJECTS: Final = tuple(
    os.path.join(folder, "")  # noqa: PTH118 - compared with what code objects have, a text
    for folder in (Path(os.__file__).parent, Path(__file__).parent.parent)
)
_HOLDERS: Final = frozenset(("scope", "request"))
_INSTALLED: Final = frozenset(("site-packages", "dist-packages"))


@dataclass(frozen=True, slots=True)
class Sight:
    """What was seen in a stack, as text. ``request`` is "" where it could not be told."""

    file: str
    line: int
    function: str
    request: str
    stack: str

    def __str__(self) -> str:
        """Say who did it: ``chat.views.slow (chat/views.py:42), for GET /slow``."""
        place = f"{self.function} ({_relative(self.file)}:{self.line})"
        return f"{place}, for {self.request}" if self.request else place


def stack_of(thread: int, base: CodeType) -> Stack:
    """Return the frames of a thread that are inside of the code ``base``.

    There are none when it is not in ``base``, or in nothing that was called from there.
    """
    found = []
    frame = sys._current_frames().get(thread)
    while frame is not None and frame.f_code is not base:
        found.append((frame, frame.f_lineno))
        frame = frame.f_back
    return found[::-1] if frame is not None else ()


def is_debugged(stack: Stack) -> bool:
    """Tell whether a debugger holds the thread."""
    return any(_module(frame).partition(".")[0] in _DEBUGGERS for frame, _ in stack)


def look_at(stack: Stack) -> Sight:
    """Return what a stack, which is not empty, says.

    The one to name is the innermost function of the project, or else the innermost of all.
    """
    frame, line = next(
        (item for item in reversed(stack) if _is_of_project(item[0].f_code.co_filename)), stack[-1]
    )
    lines = traceback.StackSummary.extract(iter(stack)).format()
    return Sight(
        file=frame.f_code.co_filename,
        line=line,
        function=f"{_module(frame)}.{frame.f_code.co_qualname}",
        request=next(_requests(stack), ""),
        stack=f"Stack (most recent call last):\n{''.join(lines).rstrip()}",
    )


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "?"))


@lru_cache(maxsize=1024)
def _is_of_project(file: str) -> bool:
    """Tell whether a file is neither Python's nor installed nor ours; "<string>" is no file."""
    if file.startswith(("<", *_NOT_THE_PROJECTS)):
        return False
    return _INSTALLED.isdisjoint(Path(file).parts)


def _relative(file: str) -> str:
    """Return a path as short as it can be from here."""
    return file.removeprefix(os.path.join(os.getcwd(), ""))  # noqa: PTH109, PTH118 - a text


def _requests(stack: Stack) -> Iterator[str]:
    """Yield what the functions of a stack have been called for, the innermost first."""
    for frame, _ in reversed(stack):
        # By these names applications know their scope, and views their request, which has it.
        for name in _HOLDERS.intersection(frame.f_code.co_varnames):
            held = frame.f_locals.get(name)
            scope = held if isinstance(held, dict) else getattr(held, "__dict__", {}).get("scope")
            if isinstance(scope, dict) and scope.get("type") in ("http", "websocket"):
                yield _request(scope)


def _request(scope: dict[str, Any]) -> str:
    """Return ``GET /path``, or ``WebSocket /path``, safe to print."""
    path = scope.get("raw_path")
    if not isinstance(path, bytes):
        path = str(scope.get("path", "")).encode("utf-8", "replace")
    method = "WebSocket" if scope["type"] == "websocket" else scope.get("method", "?")
    return f"{method} {printable(path)}"
