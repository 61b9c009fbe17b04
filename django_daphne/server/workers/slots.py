"""The supervisor's sockets: for each worker a slot, with sockets of its own where that can be.

On Linux several sockets may listen on one port (SO_REUSEPORT): the kernel gives each an even part
of the connections. A socket stays open while the workers of its slot come and go, so that what
waits in its queue is served by the next one. Closed, it would take its queue along.

Unix sockets and inherited ones exist once; all workers accept on them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..bound_socket import CAN_SHARE_PORTS, BoundSocket, listen_error
from ..config import ListenConfig
from ..exceptions import ListenError
from ..sockets import bind


class Slots:
    """Sockets by slot, from 0 on, and those of all slots. There are never fewer than before."""

    def __init__(
        self,
        shared: Sequence[BoundSocket],
        by_slot: Sequence[Sequence[BoundSocket]],
        backlog: int,
        metrics: Sequence[BoundSocket] = (),
    ) -> None:
        """Take the shared sockets, and those of at least one slot.

        ``metrics`` are those of the supervisor itself.
        """
        self.metrics = list(metrics)
        self.shared = list(shared)
        self.by_slot = [list(each) for each in by_slot]
        self._backlog = backlog

    @classmethod
    def bind(cls, listen: ListenConfig, activated: Sequence[tuple[int, str]]) -> Slots:
        """Bind what the configuration names, for one slot; raise ListenError."""
        bound = bind(listen, activated, shares_ports=CAN_SHARE_PORTS)
        for each in bound:
            each.is_contended = not each.shares_port
        return cls(
            [each for each in bound if not each.shares_port],
            [[each for each in bound if each.shares_port]],
            listen.backlog,
        )

    @classmethod
    def adopt(cls, parts: Mapping[str, Any], backlog: int) -> Slots:
        """Return what another supervisor's `describe` has told, with its descriptors."""
        return cls(
            [BoundSocket.adopt(**each) for each in parts["shared"]],
            [[BoundSocket.adopt(**each) for each in slot] for slot in parts["by_slot"]],
            backlog,
            [BoundSocket.adopt(**each) for each in parts["metrics"]],
        )

    def grow(self, count: int) -> None:
        """Have sockets for so many slots. Raises ListenError; nothing has changed then."""
        added: list[list[BoundSocket]] = []
        try:
            for _ in range(len(self.by_slot), count):
                added.append([])
                for first in self.by_slot[0]:
                    try:
                        added[-1].append(first.another(self._backlog))
                    except OSError as error:
                        raise listen_error(first.description, error) from None
        except ListenError:
            _close(each for slot in added for each in slot)
            raise
        self.by_slot += added

    def of(self, slot: int) -> list[BoundSocket]:
        """Return what the worker of a slot accepts on."""
        return [*self.by_slot[slot], *self.shared]

    @property
    def descriptions(self) -> list[str]:
        """Say for people where the workers listen."""
        return [each.description for each in self.of(0)]

    def all(self) -> list[BoundSocket]:
        """Return every socket."""
        return [*self.shared, *(each for slot in self.by_slot for each in slot), *self.metrics]

    def describe(self) -> dict[str, Any]:
        """Return what another supervisor makes them from, beside the descriptors of `all`."""
        return {
            "shared": [each.describe() for each in self.shared],
            "by_slot": [[each.describe() for each in slot] for slot in self.by_slot],
            "metrics": [each.describe() for each in self.metrics],
        }

    def close(self) -> None:
        """Close every socket of this process; workers have theirs."""
        _close(self.all())


def _close(sockets: Any) -> None:
    for each in sockets:
        each.close()
