"""Serving in this process, or below it: what the commands call.

What serves below a process, or watches over it, is imported where there is such a process.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .config import ServerConfig
from .process import ServerProcess, activated
from .resources import raise_descriptor_limit
from .workers.inheritance import get_worker


def run(application: Any, config: ServerConfig, **options: Any) -> None:
    """Serve until SIGINT or SIGTERM, or as a worker until the supervisor says so.

    See ServerProcess for the options and the errors.
    """
    worker = get_worker()
    if worker is None:
        ServerProcess(application, config, **options).run()
        return
    from .workers.process import WorkerProcess

    WorkerProcess(application, config, worker, **options).run()


def supervise(
    config: ServerConfig, *, announce: Callable[[list[str]], object] | None = None
) -> None:
    """Let workers serve that run this process's own command, until SIGINT or SIGTERM.

    ``announce`` is Supervisor's. Raises ConfigurationError, ListenError or WorkerFailure.
    """
    from .metrics.exposition import bind_metrics, exposed
    from .workers.slots import Slots
    from .workers.succession import adopt_slots
    from .workers.supervisor import Supervisor

    raise_descriptor_limit()  # each worker needs a few here
    slots = adopt_slots(config.listen) or Slots.bind(config.listen, activated(config))
    try:
        slots.grow(config.workers.workers)
        if config.metrics.metrics_bind is None:
            Supervisor(slots, config, announce=announce).run()
            return
        if not slots.metrics:
            slots.metrics = bind_metrics(config.metrics.metrics_bind)
        # Those of the slots are for a supervisor that takes this one's place.
        with exposed([each.duplicate() for each in slots.metrics]) as board:
            Supervisor(slots, config, board=board, announce=announce).run()
    finally:
        slots.close()
