"""What the keeper of the listening sockets hands down to the serving process below it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from ..server import BoundSocket, ServerConfig

VARIABLE: Final = "_DJANGO_DAPHNE_INHERITANCE"
# Django's own, which projects and tools look at, too.
RUN_MAIN: Final = "RUN_MAIN"


@dataclass(frozen=True, kw_only=True)
class Inheritance:
    """Sockets by their descriptors, and what has to be the same in every serving process.

    ``values`` are configuration values by field name, such as the certificate in use. ``hosts`` are
    the names under which tracebacks may be asked for. ``lifeline`` is the reading end of a pipe
    that ends with the keeper, and ``early_restarts`` how often in a row a file was written while
    the process started.
    """

    sockets: tuple[dict[str, Any], ...]
    values: Mapping[str, Any] = field(default_factory=dict)
    hosts: tuple[str, ...] = ()
    lifeline: int = -1
    early_restarts: int = 0

    def variables(self) -> dict[str, str]:
        """Return it as environment variables, for a child process."""
        return {VARIABLE: json.dumps(asdict(self)), RUN_MAIN: "true"}

    def take_over(self) -> list[BoundSocket]:
        """Return the sockets, to be closed by the caller; the keeper's stay open."""
        return [BoundSocket.take_over(**parts) for parts in self.sockets]

    def configure(self, config: ServerConfig) -> ServerConfig:
        """Return a configuration with what has to be the same."""
        return config.replace(**self.values)


def take() -> None:
    """Take what the environment holds; processes below this one inherit nothing of it."""
    text = os.environ.pop(VARIABLE, None)
    if text is not None:
        _taken[:] = [(Inheritance(**json.loads(text)), time.time())]


def get() -> Inheritance | None:
    """Return what this process was given, or None where it has no keeper."""
    return _taken[0][0] if _taken else None


def began() -> float:
    """Return when this process took its inheritance, in seconds since the epoch."""
    return _taken[0][1]


_taken: list[tuple[Inheritance, float]] = []
