"""The options of worker processes."""

from __future__ import annotations

from .options import Group, limit, option, timeout


class WorkerConfig(Group, title="Workers"):
    """Say how many processes serve, and when one of them makes room for a fresh one."""

    workers: int = option(
        1,
        help="Processes that serve; with several, or with one of the limits below, a supervisor"
        " starts them and replaces those that end.",
        unit="processes",
        short="-w",
        minimum=1,
        maximum=1024,
        variables=("WEB_CONCURRENCY",),
    )
    max_requests: int | None = limit(
        None, "Requests that a worker has served.", "it is replaced", unit="requests"
    )
    max_requests_jitter: int = option(
        0,
        help="What is added to --max-requests at most, by chance, so that workers do not all end"
        " together.",
        unit="requests",
        minimum=0,
    )
    max_rss: int | None = limit(None, "The memory that a worker uses.", "it is replaced")
    max_lifetime: float | None = option(
        None,
        help="The time for which a worker serves.",
        outcome="it is replaced",
        unit="seconds",
        minimum=1,
        none_means="no limit",
    )
    worker_start_timeout: float | None = timeout(
        120, "The wait for a worker to be ready.", "it is killed", minimum=1
    )
    worker_timeout: float | None = timeout(
        30,
        "The wait for a sign from a worker's event loop, which gives one each second.",
        "it is killed and replaced",
        minimum=5,
    )

    @property
    def is_supervised(self) -> bool:
        """Tell whether workers serve, below a supervisor, and not the process that was started."""
        limits = (self.max_requests, self.max_rss, self.max_lifetime)
        return self.workers > 1 or any(each is not None for each in limits)
