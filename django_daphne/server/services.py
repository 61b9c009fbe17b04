"""What the connections of a server share, as their protocols see it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from .types import Header


class Admission(Protocol):
    """The number of requests that may run at the same time."""

    def enter(self) -> bool:
        """Count a request that begins; false when there is no room for it."""

    def leave(self) -> None:
        """Count one that has ended, after an ``enter`` that was true."""


class DefaultHeaders(Protocol):
    """The fields that every response has; lines are bytes with their CRLF."""

    @property
    def server(self) -> bytes: ...

    def date(self) -> bytes: ...

    def block(self) -> bytes:
        """Return Date and Server, made once a second."""

    def fields(self) -> Sequence[Header]:
        """Return the same with names in lower case, for HTTP/2."""


class Recorder(Protocol):
    """What counts; on the loop's thread. Times are in seconds, ``limit`` is an option's name."""

    def request(self, version: str, status: int, application: float, sending: float | None) -> None:
        """Count a request: the time to its response, if there was one, and that of sending it."""

    def connection_accepted(self) -> None: ...

    def connection_spoken(self, before: str | None, after: str | None) -> None:
        """Take note of what is spoken: nothing before a connection's begin and after its end."""

    def bytes_received(self, count: int) -> None: ...

    def bytes_sent(self, count: int) -> None: ...

    def streams_changed(self, change: int) -> None: ...

    def websockets_changed(self, change: int) -> None: ...

    def message_received(self) -> None: ...

    def message_sent(self) -> None: ...

    def reset(self, kind: str) -> None: ...

    def limit_hit(self, limit: str) -> None: ...
