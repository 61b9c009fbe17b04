"""A real server for tests, in a thread of the test process.

DAPHNE_TEST_LOOP and DAPHNE_TEST_START choose the loop and how tasks start.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django_daphne.server import AccessRecord, LoopReactor, ServerConfig
from django_daphne.server.asgi.tasks import CAN_START_EAGERLY
from django_daphne.testing import server as threads
from django_daphne.testing.server import call

__all__ = ("PATIENCE", "RunningServer", "call", "eager", "running_loop", "serve")

# Seconds; only ever an upper bound for what takes milliseconds.
PATIENCE = 20


def running_loop() -> LoopReactor:
    """Return the process's loop with its reactor, started at first use."""
    return threads.running_loop(os.environ.get("DAPHNE_TEST_LOOP", "auto"))


def eager() -> bool:
    """Say whether this pass of the tests starts tasks eagerly, which Python 3.11 cannot."""
    return CAN_START_EAGERLY and os.environ.get("DAPHNE_TEST_START") == "eager"


class RunningServer(threads.ThreadServer):
    """A server that accepts connections; ``access`` has a record for each finished request."""

    def __init__(self, application: Any, config: ServerConfig, **options: Any) -> None:
        self.access: list[AccessRecord] = []
        self.config = config
        running_loop()  # before the server starts one by another name
        super().__init__(
            application, config, log_access=self.access.append, eager=eager(), **options
        )


@contextmanager
def serve(application: Any, **values: Any) -> Iterator[RunningServer]:
    """Serve an application on a free port of 127.0.0.1 while the block runs.

    ``values`` are configuration values by field name; ``on_started`` and ``on_stopping`` go to the
    server.
    """
    options = {name: values.pop(name) for name in ("on_started", "on_stopping") if name in values}
    elsewhere = values.keys() & {"bind", "port", "unix_socket", "fd", "endpoint"}
    config = ServerConfig().replace(**({} if elsewhere else {"port": 0}) | values)
    with RunningServer(application, config, **options) as running:
        yield running
