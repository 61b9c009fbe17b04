"""The file that says which process serves."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from .exceptions import ConfigurationError


class PidFile:
    """The file for as long as a block runs; with None there is none.

    At the end it is removed if it still names this process, and not another that has taken over.
    """

    def __init__(self, path: str | None) -> None:
        self._path = None if path is None else Path(path).absolute()

    def __enter__(self) -> PidFile:
        self.write()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.remove()

    def write(self) -> None:
        """Write the number of this process, in one step. Raises ConfigurationError."""
        if self._path is None:
            return
        temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            temporary.write_text(f"{os.getpid()}\n", encoding="ascii")
            temporary.replace(self._path)
        except OSError as error:
            with suppress(OSError):
                temporary.unlink()
            raise ConfigurationError(
                f"--pid-file {self._path}: cannot be written ({error.strerror})."
            ) from None

    def remove(self) -> None:
        """Remove it if it is this process's."""
        if self._path is not None:
            with suppress(OSError, ValueError):
                if int(self._path.read_text(encoding="ascii")) == os.getpid():
                    self._path.unlink()
