"""A command in a process below the keeper: ``python -m django_daphne.management.child COMMAND``.

The command is run as Python itself would run it. When it fails, or the thread that serves does, the
process goes on: it says why to whoever asks, and ends to be started again when a file is changed.
"""

from __future__ import annotations

import atexit
import os
import runpy
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from django_daphne.autoreload import RESTART, RESTART_EARLY
from django_daphne.management import inheritance
from django_daphne.management.breakdown import Breakdown
from django_daphne.management.error_page import is_told

# The thread in which Django's autoreloader runs a command.
_SERVING_THREAD: Final = "django-main-thread"
# With what a command ends that nothing is wrong with.
_PLANNED: Final = (None, 0, RESTART, RESTART_EARLY)
_WAITING: Final = "The project cannot be served. Waiting for a file to change."


class Child:
    """The life of the process; ``run`` it in the main thread."""

    def __init__(self) -> None:
        self._breakdown: Breakdown | None = None
        self.status = 0

    def run(self, arguments: Sequence[str]) -> int:
        """Run the command; return the exit status, which tells the keeper what to do."""
        threading.excepthook = self._thread_failed
        status = 0
        try:
            status = self._run_command(arguments)
            if self._breakdown is not None:
                signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it is ending already
        except (KeyboardInterrupt, SystemExit):
            pass
        if self._breakdown is not None:
            status = self._breakdown.end() or status
        return status

    def _run_command(self, arguments: Sequence[str]) -> int:
        error: BaseException
        try:
            execute(arguments)
        except SystemExit as leaving:
            if self._breakdown is not None or leaving.code in _PLANNED:
                return leaving.code if isinstance(leaving.code, int) else 0
            if isinstance(leaving.code, str):
                _say(leaving.code)  # as Python does
            # What a command could not do has been said, and is the context.
            error = _settings_error() or leaving.__context__ or leaving
        except Exception as failure:  # noqa: BLE001 - of the project, whatever it is
            error = failure
            _cut(error)
            traceback.print_exception(error)
        else:
            return 0
        self._breakdown = Breakdown(error)
        self._breakdown.start()
        _say(_WAITING)
        self._breakdown.wait()
        return 0

    def _thread_failed(self, failure: threading.ExceptHookArgs) -> None:
        """Answer in the place of the thread that was to serve, until the main thread leaves."""
        error = failure.exc_value
        if failure.thread is None or failure.thread.name != _SERVING_THREAD or error is None:
            threading.__excepthook__(failure)
            return
        if is_told(error):
            _say(f"{type(error).__name__}: {error}")
        else:
            traceback.print_exception(error)
        self._breakdown = Breakdown(error, on_change=_interrupt_main_thread)
        self._breakdown.start()
        _say(_WAITING)


def execute(arguments: Sequence[str]) -> None:
    """Run a script, or with "-m" a module, with these arguments, as ``python`` does."""
    if arguments[0] == "-m":
        sys.argv = list(arguments[1:])
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = list(arguments)
        if not sys.flags.safe_path:
            sys.path[0] = str(Path(arguments[0]).resolve().parent)
        runpy.run_path(arguments[0], run_name="__main__")


def _settings_error() -> BaseException | None:
    """Return why there are no settings: a command then fails for one reason or another."""
    from django.conf import settings

    try:
        settings.INSTALLED_APPS  # noqa: B018 - it is loaded by this
    except Exception as error:  # noqa: BLE001 - whatever the module raises
        traceback.print_exception(error)
        return error
    return None


def _cut(error: BaseException) -> None:
    """Let the traceback begin in the project and not here."""
    ours = {__file__, runpy.__file__, "<frozen runpy>"}
    here: Any = error.__traceback__
    while here is not None and here.tb_frame.f_code.co_filename in ours:
        here = here.tb_next
    error.__traceback__ = here


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - to the developer


def _interrupt_main_thread() -> None:
    """End the main thread, which runs the autoreloader, in an orderly way."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
    else:
        signal.raise_signal(signal.SIGTERM)


def _leave_at_once(status: int) -> None:
    """Save the time that it takes to clear up memory, where somebody waits for the next process."""
    if status:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):  # it is closed
                stream.flush()
        os._exit(status)


def _follow(lifeline: int) -> None:
    """End this process when the keeper has ended, however it did."""
    os.read(lifeline, 1)
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> int:
    """Run the command that the arguments name."""
    inheritance.take()
    heritage = inheritance.get()
    if heritage is None or len(sys.argv) < 2:
        _say("This is what runserver and rundaphne --reload start; call one of them.")
        return 2
    threading.Thread(target=_follow, args=(heritage.lifeline,), daemon=True).start()
    child = Child()
    # What is registered first is called last.
    atexit.register(lambda: _leave_at_once(child.status))
    child.status = child.run(sys.argv[1:])
    return child.status


if __name__ == "__main__":
    sys.exit(main())
