"""The access log: one line for each finished request."""

from __future__ import annotations

import io
import re
import sys
import time
from pathlib import Path
from typing import Final, TextIO

from .config import ServerConfig
from .exceptions import ConfigurationError
from .interfaces import AccessRecord

# What a terminal or a log reader would act on, and the quote that ends a field (CVE-2020-7694).
_UNSAFE: Final = re.compile(r'[\x00-\x1f"\\\x7f-\x9f]')


def printable(data: bytes) -> str:
    """Return bytes of a client as text that is safe in one line of a log."""
    return _UNSAFE.sub(lambda match: f"\\x{ord(match[0]):02x}", data.decode("latin-1"))


def client_name(record: AccessRecord) -> str | None:
    """Return ``host:port``, or None on a unix socket."""
    return None if record.client is None else f"{record.client[0]}:{record.client[1]}"


class AccessLogWriter:
    """Writes daphne's access log format to a stream that flushes each line.

    ``CLIENT - - [day/Mon/year:time] "METHOD /path?query" STATUS SIZE``, local time.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._second = -1
        self._timestamp = ""

    def __call__(self, record: AccessRecord) -> None:
        """Write one line."""
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._timestamp = time.strftime("%d/%b/%Y:%H:%M:%S", time.localtime(second))
        self._stream.write(
            f"{client_name(record)} - - [{self._timestamp}]"
            f' "{record.method} {printable(record.target)}"'
            f" {record.status or '-'} {record.size or '-'}\n"
        )


def open_access_log(config: ServerConfig, default: TextIO | None) -> TextIO | None:
    """Return the stream that access_log names, or ``default`` without one; None is no log.

    Raises ConfigurationError for a file that cannot be written.
    """
    path = config.logging.access_log
    if path is not None and path != "-":
        try:
            return Path(path).open("a", buffering=1, encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(
                f"--access-log {path}: cannot be written to ({error.strerror})."
            ) from None
    stream = default if path is None else sys.stdout
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(line_buffering=True)  # a pipe would be filled in blocks
    return stream
