"""Messages over WebSockets, there and back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from websocket_client import Client

from .base import HERE
from .loading import Loading

ECHO_LOADER = HERE / "websocket_load.py"


@dataclass(frozen=True)
class Echoes(Loading):
    """Messages of so many bytes over WebSockets, so many of them under way on each.

    The load is that of websocket_load.py, which looks at every byte of every echo itself.
    """

    size: int
    in_flight: int
    # Of the scenario's own.
    connections: int | None = None

    def check(self, port: int) -> None:
        """Let two messages come back."""
        client = Client(port, 0, self.size)
        client.echo()
        client.echo()
        client.close()

    def command(
        self, port: int, connections: int, seconds: int, *, python: Path, folder: Path
    ) -> list[str]:
        """Return the command of the loader."""
        options = {
            "port": port,
            "connections": self.connections or connections,
            "size": self.size,
            "in-flight": self.in_flight,
            "seconds": seconds,
        }
        words = (f"--{name}={value}" for name, value in options.items())
        return [str(python), str(ECHO_LOADER), *words]
