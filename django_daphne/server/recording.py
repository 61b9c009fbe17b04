"""What the protocols tell whoever counts: the seam between them and the metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

# A transport's write, or a protocol's data_received.
TakeBytes: TypeAlias = Callable[[bytes], None]


class Recorder(Protocol):
    """What counts; on the loop's thread. Times are in seconds, ``limit`` is an option's name.

    ``metrics.families`` has the words that may stand for what is spoken, for a reset or a limit.
    """

    def request(self, version: str, status: int, application: float, sending: float | None) -> None:
        """Count a request: the time to its response, if there was one, and that of sending it."""

    def connection_accepted(self) -> None: ...

    def connection_spoken(self, before: str | None, after: str | None) -> None:
        """Take note of what is spoken: nothing before a connection's begin and after its end."""

    def count_received(self, receive: TakeBytes) -> TakeBytes:
        """Return what counts bytes and hands them on."""

    def count_sent(self, write: TakeBytes) -> TakeBytes:
        """Return what counts bytes and hands them on."""

    def bytes_sent(self, count: int) -> None:
        """Count what nobody hands on, because the kernel sends it."""

    def streams_changed(self, change: int) -> None: ...

    def websockets_changed(self, change: int) -> None: ...

    def message_received(self) -> None: ...

    def message_sent(self) -> None: ...

    def reset(self, kind: str) -> None: ...

    def limit_hit(self, limit: str) -> None: ...
