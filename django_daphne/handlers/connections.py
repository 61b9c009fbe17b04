"""What a lane keeps between requests: database connections, which Django holds by thread, and
cache backends, which it would make anew for every request."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from weakref import WeakSet

from django.core.cache import caches
from django.db import close_old_connections
from django.db import connections as databases

from .locals import is_empty


class _Kept(threading.local):
    """Cache backends of one thread, and the store of Django's that they were found in."""

    def __init__(self) -> None:
        self.backends: dict[str, Any] = {}
        self.home: object = None
        self.foreign: list[str] = []  # that the context had already: made for another thread


_kept = _Kept()


def restore_caches() -> None:
    """Put the thread's cache backends where Django looks for them, which is the context."""
    store = vars(caches)["_connections"]
    if is_empty(store):
        _kept.foreign = []
    else:
        _kept.foreign = [alias for alias in caches if hasattr(store, alias)]
    if _kept.backends:
        if _kept.home is not store:  # settings.CACHES has changed
            _kept.backends.clear()
        for alias, backend in _kept.backends.items():
            if alias not in _kept.foreign:
                caches[alias] = backend


def has_caches() -> bool:
    """Tell whether there are cache backends where Django looks for them."""
    return not is_empty(vars(caches)["_connections"])


def keep_caches() -> None:
    """Keep what a request has made for the thread's next one, and take it out of the context.

    What lives on in the context, as a task may that a view has left behind, never shares a backend
    with another thread.
    """
    _kept.home = store = vars(caches)["_connections"]
    if is_empty(store):
        return
    for alias in caches:
        if alias not in _kept.foreign:
            backend = getattr(store, alias, None)
            if backend is not None:
                _kept.backends.setdefault(alias, backend)
                del caches[alias]


class Cursors:
    """Notes which database cursors of a thread live on, as those of an iterator do."""

    def __init__(self) -> None:
        self._alive: WeakSet[Any] = WeakSet()

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Take note of what is executed in this thread."""
        watched = databases.all()
        for connection in watched:
            connection.execute_wrappers.append(self._note)
        try:
            yield
        finally:
            for connection in watched:
                connection.execute_wrappers.remove(self._note)

    def _note(self, execute: Any, sql: Any, params: Any, many: Any, context: Any) -> Any:
        self._alive.add(context["cursor"])
        return execute(sql, params, many, context)

    def __bool__(self) -> bool:
        return bool(self._alive)


def release(cursors: Cursors | None = None) -> bool:
    """Let go of connections that have had their time; false while one is still needed.

    That is one in a transaction, or with a cursor.
    """
    if cursors:
        return False
    for connection in databases.all(initialized_only=True):
        if connection.connection is not None and (
            connection.in_atomic_block or not connection.autocommit
        ):
            return False
    close_old_connections()
    return True


def drop_transactions() -> None:
    """Close connections that somebody has left in a transaction: there is nobody to end it."""
    for connection in databases.all(initialized_only=True):
        if connection.in_atomic_block and not connection.allow_thread_sharing:
            with suppress(Exception):  # of a server that may be gone
                connection.close()
            del databases[connection.alias]  # it remembers that it was closed too early


def close_all() -> None:
    """Close what the thread has opened; a database connection can be closed by its own only."""
    databases.close_all()
    restore_caches()
    caches.close_all()
    _kept.backends.clear()
