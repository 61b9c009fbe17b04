"""The database connections of a live server's threads.

Theory of operation. Django keeps connections by thread, and a server has many threads that nobody
can tell to let go: lanes, asgiref's executors, Channels' workers. So while live servers run, the
place where Django looks for connections is another one: the thread of the tests finds there what it
always had, and every other thread starts with nothing.

What such a thread opens leads to the test database and is its own, as under any server, and is
noted, so that it can be closed when the last live server ends; a database that somebody is still
connected to cannot be dropped. A SQLite database in memory exists in one connection only, so there
all threads share the one of the tests.
"""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from typing import Any, Final, Self
from weakref import WeakSet

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from ..handlers.lanes import end_lanes

logger = logging.getLogger("django_daphne.server")

# Seconds that threads are given at the end which still run a view.
_END_TIMEOUT: Final = 2.0


def is_in_memory(connection: Any) -> bool:
    """Tell whether a database is one of SQLite's that exist in one process only."""
    return connection.vendor == "sqlite" and bool(connection.is_in_memory_db())


class _Places:
    """Where Django finds a thread's connections, as attributes by alias."""

    def __init__(self, kept: Any, shared: dict[str, BaseDatabaseWrapper]) -> None:
        own: Any = {
            "_kept": kept,
            "_shared": shared,
            "_tests": threading.get_ident(),
            "_local": threading.local(),
            "_made": WeakSet(),
        }
        vars(self).update(own)

    def _place(self) -> Any:
        return self._kept if threading.get_ident() == self._tests else self._local

    def __getattr__(self, alias: str) -> Any:
        place = self._place()
        if place is self._local and alias in self._shared:
            return self._shared[alias]
        return getattr(place, alias)

    def __setattr__(self, alias: str, connection: Any) -> None:
        place = self._place()
        if place is self._local:
            self._made.add(connection)
        setattr(place, alias, connection)

    def __delattr__(self, alias: str) -> None:
        delattr(self._place(), alias)


class ServerConnections:
    """Connections for the threads of live servers while a block runs in the thread of the tests.

    Blocks may overlap: the last that ends closes what there is.
    """

    _lock = threading.Lock()
    _users: int = 0
    _places: Any
    _kept: Any

    def __enter__(self) -> Self:
        cls = type(self)
        with cls._lock:
            if cls._users == 0:
                # Whoever looks for more of them in another thread is a server's.
                shared = {each.alias: each for each in connections.all() if is_in_memory(each)}
                for connection in shared.values():
                    connection.inc_thread_sharing()
                cls._kept = vars(connections)["_connections"]
                cls._places = _Places(cls._kept, shared)
                vars(connections)["_connections"] = cls._places
            cls._users += 1
        return self

    def __exit__(self, *exc_info: object) -> None:
        cls = type(self)
        with cls._lock:
            cls._users -= 1
            if cls._users:
                return
            if not end_lanes(_END_TIMEOUT):
                logger.warning("A view runs on after the end of the live server")
            places = cls._places
            vars(connections)["_connections"] = cls._kept
            for connection in list(places._made):
                connection.inc_thread_sharing()  # to be closed by another thread than its own
                with suppress(Exception):  # of a server that may be gone
                    connection.close()
            for connection in places._shared.values():
                connection.dec_thread_sharing()

    @property
    def are_shared(self) -> bool:
        """Tell whether threads share connections."""
        return bool(self._places._shared)
