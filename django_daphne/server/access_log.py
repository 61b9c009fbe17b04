"""The access log: each finished request is one record of the logger ``django_daphne.access``.

The record's message is the line in the configured format, its attributes are the request's fields.
Where lines go, the first of these says: --access-log, the process's logging configuration, the
command that serves.
"""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import time
from pathlib import Path
from typing import Final, TextIO

from .access_formats import ENDINGS_ONLY, LINES, Entry, client_name, printable
from .config import ServerConfig
from .exceptions import ConfigurationError
from .interfaces import AccessRecord

__all__ = ["AccessLog", "client_name", "printable", "set_up_access_log"]

_BEGINNINGS: Final = frozenset(("connecting", "connected"))

logger = logging.getLogger("django_daphne.access")
_server_logger = logging.getLogger("django_daphne.server")


class AccessLog:
    """Makes a record of the logger from each finished request. Made by `set_up_access_log`.

    The record has level INFO and these attributes: ``client`` ("host:port" or None), ``method``,
    ``target``, ``http_version``, ``event`` ("complete", or what happened to a WebSocket),
    ``status``, ``code`` (a WebSocket's), ``size`` (bytes of body), ``duration`` (seconds),
    ``request_id``, ``trace_id`` and ``traceparent`` (see `request_id`), ``referer`` and
    ``user_agent`` (None where not sent). What the client wrote is escaped by `printable`.
    """

    def __init__(self, format_name: str, handler: _LineHandler | None = None) -> None:
        self._line = LINES[format_name]
        self._skipped = _BEGINNINGS if format_name in ENDINGS_ONLY else frozenset[str]()
        self._handler = handler

    def __call__(self, record: AccessRecord) -> None:
        """Log one request, unless the logger's level says no."""
        if not logger.isEnabledFor(logging.INFO) or record.event in self._skipped:
            return
        entry = Entry(record, time.time())
        line = self._line(entry)
        if self._handler is not None and self._handler.is_alone():
            self._handler.write(line)  # a record would be seen by nobody, and costs most
            return
        # logger.info() would also walk the stack to find out who calls.
        make_record = logging.getLogRecordFactory()
        log_record = make_record(logger.name, logging.INFO, __file__, 0, line, None, None)
        log_record.__dict__.update(entry.fields())
        logger.handle(log_record)

    def close(self) -> None:
        """Leave the logger as it was before, and close the file that was opened for the log."""
        if self._handler is not None:
            self._handler.uninstall()


def set_up_access_log(config: ServerConfig, default: TextIO | None) -> AccessLog | None:
    """Return what is to be called with each AccessRecord, or None where nobody wants a log.

    Lines go to the file or standard output that access_log names. Else the configuration of logging
    decides, where it says something of ``django_daphne.access`` or ``django_daphne``: a handler, a
    level, no propagation. Else they go to ``default``; None is no log. For a stream the logger gets
    a handler, in the place of that of an earlier call.

    Raises ConfigurationError for a file that cannot be written.
    """
    for handler in list(logger.handlers):
        if isinstance(handler, _LineHandler):
            handler.uninstall()
    path, format_name = config.logging.access_log, config.logging.access_log_format
    if path is None and _is_configured():
        return AccessLog(format_name)
    place = None if path is None or path == "-" else Path(path)
    stream = _open(place) if place is not None else default if path is None else sys.stdout
    if stream is None:
        return None
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(line_buffering=True)  # else it would be filled in blocks
    return AccessLog(format_name, _LineHandler(stream, place))


class _LineHandler(logging.StreamHandler[TextIO]):
    """Writes bare lines. The logger is its own, until ``uninstall`` gives it back as it was.

    ``path`` is that of a file that was opened for it.
    """

    def __init__(self, stream: TextIO, path: Path | None) -> None:
        super().__init__(stream)
        if path is not None:  # as FileHandler has it: for who opens log files again
            self.baseFilename = str(path.absolute())
        self._closes = path is not None
        self._is_failing = False
        self._before = (logger.level, logger.propagate, logger.disabled)
        logger.addHandler(self)
        logger.setLevel(logger.level or logging.INFO)
        logger.propagate = False  # the root's handlers would print every line again
        logger.disabled = False  # by a dictConfig that does not know this logger

    def uninstall(self) -> None:
        """Take the handler off the logger, once."""
        if self in logger.handlers:
            level, logger.propagate, logger.disabled = self._before
            logger.setLevel(level)
            logger.removeHandler(self)
            self.close()
            if self._closes:
                with contextlib.suppress(OSError):  # of a disk that is still full
                    self.stream.close()

    def is_alone(self) -> bool:
        """Tell whether nobody else would look at a record."""
        if logger.propagate or logger.disabled or logger.filters or self.filters or self.level:
            return False
        return len(logger.handlers) == 1 and logger.handlers[0] is self

    def emit(self, record: logging.LogRecord) -> None:
        """Write the message."""
        self.write(record.getMessage())

    def write(self, text: str) -> None:
        """Write a line, with escapes for what the stream's encoding does not have."""
        try:
            if not text.isascii():
                encoding = self.stream.encoding or "utf-8"
                text = text.encode(encoding, "backslashreplace").decode(encoding)
            self.stream.write(f"{text}\n")
        except Exception:  # noqa: BLE001 - the request was answered, whatever happens to its line
            self._fail()
        else:
            self._is_failing = False

    def _fail(self) -> None:
        """Say that the log cannot be written, but not for every request."""
        if not self._is_failing:
            self._is_failing = True
            name = getattr(self.stream, "name", self.stream)
            _server_logger.error("The access log %s cannot be written: %s", name, sys.exception())


def _is_configured() -> bool:
    """Tell whether the configuration of logging says anything of the log."""
    loggers = (logger, logging.getLogger("django_daphne"))
    return any(each.handlers or each.level or not each.propagate for each in loggers)


def _open(path: Path) -> TextIO:
    try:
        return path.open("a", encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"--access-log {path}: cannot be written to ({error.strerror})."
        ) from None
