"""What a process gets from the supervisor that has started it, in a variable of its environment."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from ..bound_socket import BoundSocket

T = TypeVar("T")

_WORKER: Final = "_DJANGO_DAPHNE_WORKER"
_SUCCESSOR: Final = "_DJANGO_DAPHNE_SUCCESSOR"
VARIABLES: Final = (_WORKER, _SUCCESSOR)


class WorkerInheritance(NamedTuple):
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
        return {_WORKER: json.dumps(self._asdict())}

    def take_over(self) -> list[BoundSocket]:
        """Return the sockets, once."""
        return [BoundSocket.adopt(**each) for each in self.sockets]


class SuccessorInheritance(NamedTuple):
    """Descriptors of another supervisor: its end of the channel, and the `Slots` by their parts."""

    channel: int
    slots: Mapping[str, Any]

    def variables(self) -> dict[str, str]:
        """Return it as environment variables."""
        return {_SUCCESSOR: json.dumps(self._asdict())}


Inheritance: TypeAlias = WorkerInheritance | SuccessorInheritance


def get_worker() -> WorkerInheritance | None:
    """Return what this process was given as a worker, or None.

    Processes below this one inherit nothing of it.
    """
    return _get(_WORKER, WorkerInheritance)


def get_successor() -> SuccessorInheritance | None:
    """Return what this process was given as a supervisor, or None."""
    return _get(_SUCCESSOR, SuccessorInheritance)


def _get(variable: str, kind: Callable[..., T]) -> T | None:
    text = os.environ.pop(variable, None)
    if text is not None:
        _taken[variable] = kind(**json.loads(text))
    return _taken.get(variable)


_taken: dict[str, Any] = {}
