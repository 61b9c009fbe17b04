"""Opening the files of logs again, after somebody has moved them: what logrotate asks for.

Theory of operation. The new file takes the place of the old one under its descriptor, which is one
step of the operating system's: every line, of whichever thread, is in the one or in the other, and
no handler has to know. Nothing is changed where the new file cannot be opened.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator
from logging.handlers import MemoryHandler, WatchedFileHandler
from typing import Any, Final

logger = logging.getLogger("django_daphne.server")

_FLAGS: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
_PERMISSIONS: Final = 0o666  # as open() has it: less what the process's mask takes away


def reopen_log_files() -> list[str]:
    """Open the file of every handler of logging again, by its name; return the names.

    That is each handler with ``baseFilename`` and ``stream``, as a FileHandler has, on a logger or
    behind another handler: the access log's, too. Left alone are a WatchedFileHandler, which looks
    for itself, and what is no regular file. For a file that cannot be opened there is an error in
    the log, and its handler writes on where it did.
    """
    names = []
    for handler in _handlers():
        name, stream = getattr(handler, "baseFilename", None), getattr(handler, "stream", None)
        if name is None or stream is None or isinstance(handler, WatchedFileHandler):
            continue
        try:
            if _reopen(handler, name, stream):
                names.append(str(name))
        except (OSError, ValueError) as error:  # the second of a stream that is closed
            logger.error("The log %s cannot be opened again: %s", name, error)
    return names


def _reopen(handler: logging.Handler, name: str, stream: Any) -> bool:
    """Put a new file in the place of a stream's; tell whether it was one that can be moved."""
    descriptor: int = stream.fileno()
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        return False
    new = os.open(name, _FLAGS, _PERMISSIONS)
    try:
        handler.acquire()  # or a record could be between the two, half of it
        try:
            handler.flush()
            os.dup2(new, descriptor, inheritable=False)
        finally:
            handler.release()
    finally:
        os.close(new)
    return True


def _handlers() -> Iterator[logging.Handler]:
    """Yield every handler that a logger leads to, once."""
    loggers = [logging.getLogger(), *list(logging.Logger.manager.loggerDict.values())]
    waiting: list[Any] = [
        handler for each in loggers if isinstance(each, logging.Logger) for handler in each.handlers
    ]
    seen: set[int] = set()
    while waiting:
        handler = waiting.pop(0)
        if isinstance(handler, logging.Handler) and id(handler) not in seen:
            seen.add(id(handler))
            yield handler
            # A QueueHandler that dictConfig has made knows its listener (Python 3.12).
            waiting.extend(getattr(getattr(handler, "listener", None), "handlers", ()))
            if isinstance(handler, MemoryHandler):
                waiting.append(handler.target)
