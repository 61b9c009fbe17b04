"""Noticing that the project was edited: what Django's autoreloader does, at once and without gaps.

Django's own loses an edit made between the import of a file and its first look at it, and looks
once a second. Here a file that was written after the process began counts as changed at the first
look, and where the package watchfiles is installed (extra ``reload``) the operating system says
when to look again. All that apps know stays: the signals ``autoreload_started``, where a receiver
can call ``watch_dir`` of the sender or add to its ``extra_files``, and ``file_changed``.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final, TypeAlias

from django.conf import settings
from django.utils import autoreload

from .conf import get_development_config

logger = logging.getLogger("django_daphne.autoreload")

# The exit statuses of a process that wants to be started again: Django's, and ours for a file that
# was written while the process started.
RESTART: Final = 3
RESTART_EARLY: Final = 103
# What writes its own files whenever it starts would be started for ever.
MAX_EARLY_RESTARTS: Final = 5

# Seconds between two looks where nothing calls for one, as in Django's own.
_INTERVAL: Final = 1.0
# Milliseconds that files are given to settle after the first event.
_DEBOUNCE: Final = 50
_STEP: Final = 10
# Milliseconds of one turn of waiting for an event.
_POLL: Final = 200

Stamp: TypeAlias = tuple[int, int]


@dataclass(frozen=True)
class Change:
    """A file that is not what the process has read; early: maybe written before it was read."""

    path: Path
    is_early: bool = False


def restart_status(change: Change, early_restarts: int) -> int:
    """Return the exit status that a change asks for, 0 where it is no reason to start again.

    ``early_restarts`` is how often in a row the process was started again for an early one.
    """
    if not change.is_early:
        return RESTART
    return RESTART_EARLY if early_restarts < MAX_EARLY_RESTARTS else 0


class FileWatch:
    """What is known of files, and which of them have changed.

    ``started`` is when the process began, in seconds since the epoch. Until ``has_started`` a file
    that is seen for the first time was read since then, or is still to be.
    """

    def __init__(self, started: float) -> None:
        self._started = started
        self._stamps: dict[Path, Stamp] = {}
        self._lock = threading.Lock()
        self.has_started = False

    def look(self, read: Iterable[Path], others: Iterable[Path] = ()) -> list[Change]:
        """Return what has changed since the last look.

        ``read`` are files that the process has read, such as modules. Of ``others`` those that are
        new count, too.
        """
        with self._lock:
            found = [self._compare(path) for path in dict.fromkeys(read)]
            found += [self._compare(path, new_counts=True) for path in dict.fromkeys(others)]
            return [change for change in found if change is not None]

    def _compare(self, path: Path, *, new_counts: bool = False) -> Change | None:
        try:
            status = path.stat()
        except (OSError, ValueError):
            return None  # it may come back: some editors write a new file and rename it
        stamp = (status.st_mtime_ns, status.st_size)
        known = self._stamps.get(path)
        self._stamps[path] = stamp
        if known is not None:
            return Change(path) if stamp != known else None
        if self.has_started:
            return Change(path) if new_counts else None
        # A clock that is ahead, on another machine, would make a file new for ever.
        is_early = self._started < status.st_mtime < time.time()
        return Change(path, is_early=True) if is_early else None


class StatReloader(autoreload.BaseReloader):
    """Looks at the files once a second, and at once when the operating system says so."""

    def __init__(self, watch: FileWatch, early_restarts: int = 0) -> None:
        """Take how often in a row the process was started again for an early change."""
        super().__init__()
        self._watch = watch
        self._early_restarts = early_restarts
        self._found: list[Change] = []
        self._stopping = threading.Event()

    def started(self) -> None:
        """Take note that everything is loaded; called in the thread that is about to serve."""
        self._found += self._look()
        self._watch.has_started = True

    def look(self) -> None:
        """Leave with SystemExit if a file has changed, and nobody has dealt with that."""
        found, self._found = self._found, []
        for change in [*found, *self._look()]:
            if status := restart_status(change, self._early_restarts):
                try:
                    self.notify_file_changed(change.path)
                except SystemExit:
                    raise SystemExit(status) from None
            else:
                logger.warning(
                    "%s is written whenever the server starts; this is no longer a reason to start"
                    " it again",
                    change.path,
                )

    def _look(self) -> list[Change]:
        globbed = (
            path
            for directory, patterns in list(self.directory_globs.items())
            for pattern in list(patterns)
            for path in directory.glob(pattern)
        )
        others = [*self.extra_files, *globbed]
        return self._watch.look(autoreload.iter_all_python_module_files(), others)

    def tick(self) -> Iterator[None]:
        """Look, and wait until it is time to look again."""
        while True:
            self.look()
            yield
            self.wait()

    def wait(self) -> None:
        """Wait for a second."""
        self._stopping.wait(_INTERVAL)

    def stop(self) -> None:
        """End the looking."""
        self._stopping.set()
        super().stop()

    @classmethod
    def check_availability(cls) -> bool:
        """Return that it works everywhere."""
        return True


class WatchfilesReloader(StatReloader):
    """Waits for the operating system. What it says is only a reason to look."""

    def __init__(self, watch: FileWatch, early_restarts: int = 0) -> None:
        super().__init__(watch, early_restarts)
        self._folders: set[Path] = set()
        self._events: Iterator[object] = iter(())

    def wait(self) -> None:
        """Wait until something happens in a folder with files to be watched, for a second at most.

        Some file systems say nothing.
        """
        folders = self._find_folders()
        is_new = folders != self._folders
        if is_new:
            self._folders = folders
            self._events = import_module("watchfiles").watch(
                *filter(Path.is_dir, folders),
                watch_filter=None,
                debounce=_DEBOUNCE,
                step=_STEP,
                stop_event=self._stopping,
                rust_timeout=_POLL,
                yield_on_timeout=True,
                recursive=False,
                ignore_permission_denied=True,
            )
        try:
            # What happened before the first turn is nothing that it could know: look soon.
            for _ in range(1 if is_new else int(_INTERVAL * 1000) // _POLL):
                if next(self._events):
                    break
        except StopIteration:
            super().wait()
        except OSError as error:
            # As many systems have a limit on the folders that can be watched.
            logger.info("The operating system does not say when a file changes: %s", error)

    def _find_folders(self) -> set[Path]:
        """Return the folders of all files; their own parts are not watched with them."""
        files = {*autoreload.iter_all_python_module_files(), *self.extra_files}
        folders = {file.parent for file in files}
        for directory, patterns in list(self.directory_globs.items()):
            folders.add(directory)
            if any("/" in pattern or "**" in pattern for pattern in patterns):
                folders.update(directory.rglob("*/"))
        return folders


class WatchmanReloader(autoreload.WatchmanReloader):
    """Django's reloader over Watchman, without the gap before its first look."""

    def __init__(self, looks: StatReloader) -> None:
        super().__init__()
        self._looks = looks
        self.extra_files = looks.extra_files
        self.directory_globs = looks.directory_globs

    def started(self) -> None:
        """Take note that everything is loaded; called in the thread that is about to serve."""
        self._looks.started()

    def update_watches(self) -> None:
        """Tell Watchman what to watch, and look for what it could not see before."""
        super().update_watches()
        self._looks.look()


def make_reloader(started: float, early_restarts: int) -> autoreload.BaseReloader:
    """Return the best reloader that works here, or the one that another package has put there."""
    watch = FileWatch(started)
    chosen = autoreload.get_reloader()
    if type(chosen) is autoreload.WatchmanReloader:
        return WatchmanReloader(StatReloader(watch, early_restarts))
    if type(chosen) is not autoreload.StatReloader:
        return chosen
    try:
        import_module("watchfiles")
    except ImportError:
        return StatReloader(watch, early_restarts)
    return WatchfilesReloader(watch, early_restarts)


def watch_included(sender: autoreload.BaseReloader, **kwargs: Any) -> None:
    """Have a reloader watch what the option reload_include names; for ``autoreload_started``."""
    for pattern in get_development_config().reload_include:
        base = Path(getattr(settings, "BASE_DIR", "")).absolute()
        parts = (base / Path(pattern).expanduser()).parts
        fixed = next((i for i, part in enumerate(parts) if set("*?[") & set(part)), len(parts))
        path = Path(*parts[:fixed])
        if fixed < len(parts):
            sender.watch_dir(path, str(Path(*parts[fixed:])))
        elif path.is_dir():
            sender.watch_dir(path, "**/*")
        else:
            sender.extra_files.add(path)
