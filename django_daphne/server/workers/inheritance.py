"""What a process gets from the supervisor that has started it, in a variable of its environment."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from ..bound_socket import BoundSocket

_WORKER: Final = "_DJANGO_DAPHNE_WORKER"
_SUCCESSOR: Final = "_DJANGO_DAPHNE_SUCCESSOR"
VARIABLES: Final = (_WORKER, _SUCCESSOR)


@dataclass(frozen=True, kw_only=True)
class WorkerInheritance:
    """Descriptors of a worker: its end of the channel, and sockets to accept on.

    With ``is_checked`` somebody else has looked at the project before. ``page`` is the descriptor
    of what it counts in, None without metrics.
    """

    channel: int
    sockets: Sequence[Mapping[str, Any]]
    is_checked: bool
    page: int | None = None

    def variables(self) -> dict[str, str]:
        """Return it as environment variables."""
        return {_WORKER: json.dumps(asdict(self))}

    def take_over(self) -> list[BoundSocket]:
        """Return the sockets, once."""
        return [BoundSocket.adopt(**each) for each in self.sockets]


@dataclass(frozen=True, kw_only=True)
class SuccessorInheritance:
    """Descriptors of another supervisor: its end of the channel, and the `Slots` by their parts."""

    channel: int
    slots: Mapping[str, Any]

    def variables(self) -> dict[str, str]:
        """Return it as environment variables."""
        return {_SUCCESSOR: json.dumps(asdict(self))}


def get_worker() -> WorkerInheritance | None:
    """Return what this process was given as a worker, or None.

    Processes below this one inherit nothing of it.
    """
    text = os.environ.pop(_WORKER, None)
    if text is not None:
        _taken[_WORKER] = WorkerInheritance(**json.loads(text))
    return _taken.get(_WORKER)


def get_successor() -> SuccessorInheritance | None:
    """Return what this process was given as a supervisor, or None."""
    text = os.environ.pop(_SUCCESSOR, None)
    if text is not None:
        _taken[_SUCCESSOR] = SuccessorInheritance(**json.loads(text))
    return _taken.get(_SUCCESSOR)


_taken: dict[str, Any] = {}
