"""The command of this process, to be run again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from .channel import make_pair
from .inheritance import VARIABLES, Inheritance

# What the service manager wants to hear, it wants to hear from one process.
_OF_THE_MANAGER: Final = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
# What this process was given for itself alone.
_OURS: Final = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", *VARIABLES)
_ENVIRON: Final = Path("/proc/self/environ")


class Command:
    """Runs what this process was started with: interpreter, options, arguments, variables, folder.

    The variables are those of the start where that can be known: what the settings have added
    since, from a file maybe, is for the next process to find anew. The folder is that of ``$PWD``
    where this says where we are: behind a symbolic link which leads to another release meanwhile,
    that is the release which is run.
    """

    def __init__(self) -> None:
        self._environ = _read_environ(_ENVIRON) or dict(os.environ)
        self._folder = Path.cwd()
        named = Path(self._environ.get("PWD", ""))
        with suppress(OSError):
            if named.is_absolute() and named.samefile(self._folder):
                self._folder = named

    def start_with_channel(
        self,
        inherit: Callable[..., Inheritance],
        descriptors: Sequence[int],
        *,
        is_main: bool = False,
    ) -> tuple[subprocess.Popen[bytes], socket.socket]:
        """Start it again; return the process, and this one's end of a channel to it.

        ``inherit`` makes what it gets from the descriptor of its own end, as ``channel``. For the
        rest see `start`.
        """
        ours, its = make_pair()
        try:
            variables = inherit(channel=its.fileno()).variables()
            return self.start(variables, [its.fileno(), *descriptors], is_main=is_main), ours
        except OSError:
            ours.close()
            raise
        finally:
            its.close()

    def start(
        self, variables: Mapping[str, str], descriptors: Sequence[int], *, is_main: bool = False
    ) -> subprocess.Popen[bytes]:
        """Start it again with these variables besides, and descriptors by their numbers.

        ``is_main`` says that it will speak to the service manager.
        """
        left_out = (*_OURS, *(("WATCHDOG_PID",) if is_main else _OF_THE_MANAGER))
        environ = {name: value for name, value in self._environ.items() if name not in left_out}
        # A worker that hangs says where, from its first line on.
        options = [] if is_main else ["-X", "faulthandler"]
        return subprocess.Popen(  # noqa: S603 - what runs is this very command
            [sys.executable, *options, *sys.orig_argv[1:]],
            cwd=self._folder,
            env={**environ, **variables},
            pass_fds=descriptors,
            # Ctrl-C in a terminal is for the supervisor alone, which then tells the others.
            process_group=0,
        )


def _read_environ(path: Path) -> dict[str, str]:
    """Return the environment that a process was started with; empty where it cannot be known.

    A program may have overwritten it, with its title for one.
    """
    try:
        data = path.read_bytes()
    except OSError:
        return {}
    pairs = [os.fsdecode(item).partition("=") for item in data.removesuffix(b"\0").split(b"\0")]
    is_whole = all(name and sign for name, sign, _ in pairs)
    return {name: value for name, _, value in pairs} if is_whole else {}


def describe_end(status: int) -> str:
    """Say how a process has ended, by what ``Popen.returncode`` is."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"
