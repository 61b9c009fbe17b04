"""The command of this process, to be run again."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

# What the service manager wants to hear, it wants to hear from one process.
_OF_THE_MANAGER: Final = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class Command:
    """Runs what this process was started with: interpreter, options, arguments, folder.

    The folder is that of ``$PWD`` where this says where we are: behind a symbolic link which leads
    to another release meanwhile, that is the release which is run.
    """

    def __init__(self) -> None:
        self._arguments = [sys.executable, *sys.orig_argv[1:]]
        self._folder = Path.cwd()
        named = Path(os.environ.get("PWD", ""))
        with suppress(OSError):
            if named.is_absolute() and named.samefile(self._folder):
                self._folder = named

    def start(
        self, variables: Mapping[str, str], descriptors: Sequence[int], *, is_main: bool = False
    ) -> subprocess.Popen[bytes]:
        """Start it again with these variables besides, and descriptors by their numbers.

        ``is_main`` says that it will speak to the service manager.
        """
        left_out = ("WATCHDOG_PID",) if is_main else _OF_THE_MANAGER
        environ = {name: value for name, value in os.environ.items() if name not in left_out}
        return subprocess.Popen(  # noqa: S603 - what runs is this very command
            self._arguments,
            cwd=self._folder,
            env={**environ, **variables},
            pass_fds=descriptors,
            # Ctrl-C in a terminal is for the supervisor alone, which then tells the others.
            process_group=0,
        )


def describe_end(status: int) -> str:
    """Say how a process has ended, by what ``Popen.returncode`` is."""
    if status >= 0:
        return f"exit status {status}"
    import signal

    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"
