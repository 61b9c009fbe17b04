"""A serving process whose project is broken: it shows why, and ends when a file is changed."""

from __future__ import annotations

import asyncio
import sysconfig
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from django.utils import autoreload

from ..autoreload import RESTART, FileWatch, restart_status
from ..server import Server, ServerConfig
from . import inheritance
from .error_page import ErrorPage

# Seconds between two looks at the files.
_INTERVAL: Final = 0.25
# Seconds that requests have which are being answered when it ends.
_END_TIMEOUT: Final = 0.5


class Breakdown:
    """Answers for a project that cannot, from a thread of its own."""

    def __init__(
        self, error: BaseException, on_change: Callable[[], object] = lambda: None
    ) -> None:
        """Take what is wrong, and what is called, in that thread, when a file has changed."""
        self._error = error
        self._places = frozenset(_find_places(error))
        self._on_change = on_change
        heritage = inheritance.get()
        assert heritage is not None
        self._heritage = heritage
        self._watch = FileWatch(inheritance.began())
        self._ending = threading.Event()
        self._status = 0
        self._thread = threading.Thread(
            target=self._run, name="django-daphne-breakdown", daemon=True
        )

    def start(self) -> None:
        """Begin to answer, and to look for a change."""
        self._thread.start()

    def wait(self) -> None:
        """Return when a file has changed."""
        while self._thread.is_alive():
            self._thread.join(_INTERVAL)  # Ctrl-C is noticed in between

    def end(self) -> int:
        """Stop answering; return the exit status that a change asks for, 0 without one."""
        self._ending.set()
        self._thread.join(_END_TIMEOUT + 1)
        return self._status

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception:  # noqa: BLE001 - nothing is left that could show it but the terminal
            traceback.print_exc()
        if self._status:
            self._on_change()

    async def _serve(self) -> None:
        page = ErrorPage(self._error, self._heritage.hosts)
        config = self._heritage.configure(ServerConfig()).replace(lifespan="off")
        server = Server(page, config, sockets=self._heritage.take_over())
        await server.start()
        while not await asyncio.to_thread(self._must_end):
            pass
        page.end()
        await server.stop(_END_TIMEOUT)

    def _must_end(self) -> bool:
        """Look, and wait until it is time to look again."""
        return self._has_changed() or self._ending.wait(_INTERVAL)

    def _has_changed(self) -> bool:
        """Look at the files, and decide how this process has to end if one has changed."""
        files = (*autoreload.iter_all_python_module_files(), *self._places)
        for change in self._watch.look(files):
            status = restart_status(change, self._heritage.early_restarts)
            if status == RESTART or not self._status:
                self._status = status
        self._watch.has_started = True
        return self._status != 0


def _find_places(error: BaseException | None) -> Iterator[Path]:
    """Yield what may have to do with an error, besides the modules that are loaded."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        for frame, _ in traceback.walk_tb(error.__traceback__):
            yield Path(frame.f_code.co_filename)
        if isinstance(error, SyntaxError) and error.filename:
            yield Path(error.filename)
        error = error.__cause__ or error.__context__
    if any(isinstance(each, ImportError) for each in seen):
        # A module that is missing may be made: something new in one of the project's folders.
        installed = {Path(path).resolve() for path in sysconfig.get_paths().values()}
        for path in autoreload.iter_all_python_module_files():
            if installed.isdisjoint(path.parents):
                yield path.parent
