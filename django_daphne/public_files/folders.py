"""What is really in a folder. No path, and no symbolic link, leads out of it.

A file is looked for by its path, links and all, and known by its place: the names that lead to it
from the folder once every link is resolved. It is opened by its place, name by name, and none of
them may have become a link meanwhile: whatever happens on the disk between the two, what is opened
is inside.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

logger = logging.getLogger("django_daphne.server")

# Of an open: there is no such file, or none for us. Anything else is trouble of the machine's.
_NOT_THERE: Final = frozenset(
    (
        *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EMLINK),
        *(errno.EACCES, errno.ENAMETOOLONG, errno.ENXIO, errno.ENODEV),
    )
)

# Windows knows neither of these, and opens nothing relative to a folder.
_HAS_PLACES: Final = os.open in os.supports_dir_fd and hasattr(os, "O_NOFOLLOW")
_STAY: Final = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
# Linux lets a folder be passed through that cannot be listed.
_FOLDER: Final = _STAY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_PATH", os.O_RDONLY)
# A FIFO would keep us waiting for somebody who writes.
_FILE: Final = os.O_RDONLY | _STAY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)

Place = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """A regular file: its place, and what the system said of it."""

    place: Place
    status: os.stat_result


class Folder:
    """A folder as it was when this was made; links on the way to it are resolved once."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Take a folder, which need not be there yet."""
        self.path = Path(os.path.realpath(path))

    def find(self, relative: str) -> Found | None:
        """Return the file at a path with slashes; None for what is no plain way down."""
        names = relative.split("/")
        if "\0" in relative or "\\" in relative or not {"", ".", ".."}.isdisjoint(names):
            return None
        return self.look(self.path.joinpath(*names))

    def look(self, path: Path) -> Found | None:
        """Return the file at a path of the system; None unless it really is in the folder."""
        try:
            real = Path(os.path.realpath(path, strict=True))
            place = self._place(real)
            status = real.lstat() if place else None
        except OSError as error:
            if error.errno in _NOT_THERE:
                return None
            raise
        if status is None or not stat.S_ISREG(status.st_mode):
            return None
        return Found(place, status)

    def walk(self) -> Iterator[tuple[Path, Found]]:
        """Yield the path of every file, links to what is inside among them, and the file.

        A link that leads out is passed over, with a warning.
        """
        yield from self._walk(self.path, frozenset((self.path,)))

    def _walk(self, path: Path, above: frozenset[Path]) -> Iterator[tuple[Path, Found]]:
        for each in sorted(path.iterdir()):
            real = Path(os.path.realpath(each))
            if not real.is_relative_to(self.path):
                logger.warning("%s is not served: it leads out of %s", each, self.path)
            elif not real.is_dir():
                found = self.look(each)
                if found is not None:
                    yield each, found
            elif real not in above:  # or a link goes round in circles
                yield from self._walk(each, above | {real})

    def _place(self, real: Path) -> Place:
        """Return the names that lead to a real path, or none where that is not inside."""
        return real.relative_to(self.path).parts if real.is_relative_to(self.path) else ()

    def open(self, place: Place) -> int | None:
        """Return a descriptor of the file at a place, or None where there is none any more.

        Raise OSError where the system cannot open anything.
        """
        try:
            return self._open(place) if _HAS_PLACES else self._open_path(place)
        except OSError as error:
            if error.errno in _NOT_THERE:
                return None
            raise

    def _open(self, place: Place) -> int:
        folder = os.open(self.path, _FOLDER)
        try:
            for name in place[:-1]:
                inner = os.open(name, _FOLDER, dir_fd=folder)
                os.close(folder)
                folder = inner
            return os.open(place[-1], _FILE, dir_fd=folder)
        finally:
            os.close(folder)

    def _open_path(self, place: Place) -> int:
        path = self.path.joinpath(*place)
        if Path(os.path.realpath(path)) != path:
            raise FileNotFoundError(errno.ENOENT, "It has become a link", str(path))
        return os.open(path, _FILE)
