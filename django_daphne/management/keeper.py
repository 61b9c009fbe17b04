"""The process that keeps the listening sockets while those that serve come and go.

    keeper              binds, and starts the next process when one leaves for an edit
      child             ``python -m django_daphne.management.child manage.py runserver ...``
        main thread     the autoreloader, or the page that shows why the project is broken
        another thread  the server

A request made between two processes waits in the sockets' queue.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

from django.conf import settings
from django.utils.autoreload import get_child_arguments

from ..autoreload import RESTART, RESTART_EARLY
from ..server import BoundSocket
from .inheritance import Inheritance

# Seconds that the serving process has to end by itself after Ctrl-C, which a terminal lets it hear
# as well; then to end when it is told to. Beyond it is killed.
_INTERRUPT_TIMEOUT: Final = 0.3
_TERMINATE_TIMEOUT: Final = 3.0
# What Django allows, too, where DEBUG is on and ALLOWED_HOSTS has nothing.
_LOCAL_HOSTS: Final = (".localhost", "127.0.0.1", "[::1]")


def debug_hosts() -> list[str]:
    """Return the names under which a traceback may be asked for; none without DEBUG."""
    return [*settings.ALLOWED_HOSTS, *_LOCAL_HOSTS] if settings.DEBUG else []


class Keeper:
    """Starts a serving process again for as long as each ends only because of an edit."""

    def __init__(
        self,
        sockets: Sequence[BoundSocket],
        *,
        values: Mapping[str, Any] | None = None,
        hosts: Sequence[str] = (),
    ) -> None:
        """Take listening sockets; for the rest see `Inheritance`."""
        self._sockets = sockets
        self._inheritance = Inheritance(
            sockets=tuple(each.hand_down() for each in sockets),
            values=dict(values or {}),
            hosts=tuple(hosts),
        )

    def run(self) -> int:
        """Return the exit status of the last process, 0 after Ctrl-C and SIGTERM to this one."""
        early_restarts = 0
        try:
            with _exit_at_sigterm():
                while True:
                    status = self._run_child(early_restarts)
                    if status == RESTART_EARLY:
                        early_restarts += 1
                    elif status == RESTART:
                        early_restarts = 0
                    elif status < 0:
                        name = signal.Signals(-status).name
                        print(f"The serving process was ended by {name}.", file=sys.stderr)  # noqa: T201 - to the developer
                        return 128 - status  # as shells have it
                    else:
                        return status
        except (KeyboardInterrupt, SystemExit):
            return 0
        finally:
            for each in self._sockets:
                each.close()

    def _run_child(self, early_restarts: int) -> int:
        reading, writing = os.pipe()
        os.set_inheritable(reading, True)
        inheritance = replace(self._inheritance, lifeline=reading, early_restarts=early_restarts)
        variables = {**os.environ, **inheritance.variables()}
        if getattr(sys.__stdout__, "write_through", False):
            variables["PYTHONUNBUFFERED"] = "1"  # this one was started with -u
        try:
            child = subprocess.Popen(  # noqa: S603 - what runs is this very command
                _arguments(), env=variables, close_fds=False
            )
            os.close(reading)
            try:
                return child.wait()
            except KeyboardInterrupt:
                # In a terminal the child has heard of it, too.
                _wait(child, _INTERRUPT_TIMEOUT)
                raise
            finally:
                _end(child)
        finally:
            os.close(writing)


def _arguments() -> list[str]:
    """Return the command of the child: this process's own, below the module that watches it."""
    arguments = [str(each) for each in get_child_arguments()]
    if arguments[0] != sys.executable:
        return arguments  # a program of its own, which only Windows has
    options = 1 + len(sys.warnoptions) + len(sys._xoptions)
    return [*arguments[:options], "-m", "django_daphne.management.child", *arguments[options:]]


def _wait(child: subprocess.Popen[bytes], timeout: float) -> bool:
    try:
        child.wait(timeout)
    except subprocess.TimeoutExpired:
        return False
    return True


def _end(child: subprocess.Popen[bytes]) -> None:
    """See that a child has ended, whatever it is doing."""
    if child.poll() is None:
        child.terminate()
        if not _wait(child, _TERMINATE_TIMEOUT):
            child.kill()
            child.wait()


@contextmanager
def _exit_at_sigterm() -> Iterator[None]:
    """Let SIGTERM raise SystemExit in the main thread."""
    previous = signal.signal(signal.SIGTERM, lambda *args: sys.exit(0))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
