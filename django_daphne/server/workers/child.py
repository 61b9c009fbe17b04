"""What the supervisor knows of a worker, and can tell it."""

from __future__ import annotations

import enum
import logging
import re
import signal
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any, Final

from ..bound_socket import BoundSocket
from ..metrics.page import Page
from ..worker_config import WorkerConfig
from .channel import Channel, Message, close_all
from .command import Command
from .inheritance import WorkerInheritance

logger = logging.getLogger("django_daphne.server")

# Seconds between two signs of a worker. After three without one its neighbours help.
BEAT: Final = 1.0
_SILENCE: Final = 3 * BEAT
# Seconds from SIGABRT, at which a worker says where it hangs, to SIGKILL.
_LAST_WORDS: Final = 2.0
# Seconds that cancelled tasks and the application's shutdown have when there is no time left.
_HURRY: Final = 10.0
# Seconds that a process has to end when its loop has.
_FAREWELL: Final = 15.0


class State(enum.Enum):
    """Where the life of a worker stands; it goes on in this order."""

    STARTING = enum.auto()
    READY = enum.auto()
    LEAVING = enum.auto()
    ENDED = enum.auto()


class Child:
    """A worker: its process, the channel to it, and what it has said last.

    ``wish`` is why it wants to be replaced, None as long as it does not. ``is_outdated`` is the
    supervisor's note that it is to be. ``on_change`` is called when it has become ready, leaves
    without having been told to, or has another wish.
    """

    def __init__(
        self,
        command: Command,
        slot: int,
        sockets: Sequence[BoundSocket],
        on_change: Callable[[], object],
        *,
        is_checked: bool,
        page: Page | None = None,
    ) -> None:
        """Start it; it counts in the page. Raises OSError."""
        inherit = partial(
            WorkerInheritance,
            sockets=[each.describe() for each in sockets],
            is_checked=is_checked,
            page=None if page is None else page.fileno(),
        )
        descriptors = [each.socket.fileno() for each in sockets]
        if page is not None:
            descriptors.append(page.fileno())
        self._process, ours = command.start_with_channel(inherit, descriptors)
        self._on_change = on_change
        self._channel = Channel(ours, self._note, self._has_hung_up)
        self.slot = slot
        self.page = page
        self.state = State.STARTING
        self.wish: str | None = None
        self.is_outdated = False
        self._is_debugged = False
        self._is_gone = False  # and only its process is left
        self._is_aborted = False
        self._heard = monotonic()
        self._deadline: float | None = None  # when it is killed

    def __str__(self) -> str:
        return f"Worker {self.slot + 1} (pid {self._process.pid})"

    @property
    def was_aborted(self) -> bool:
        """Tell whether the supervisor has ended it, and not somebody else."""
        return self._is_aborted

    @property
    def is_silent(self) -> bool:
        """Tell whether its loop has not turned for a while."""
        return self._is_gone or monotonic() - self._heard > _SILENCE

    def forgive(self, seconds: float) -> None:
        """Take no offence at a silence of so many seconds."""
        self._heard = min(self._heard + seconds, monotonic())

    def judge(self, limits: WorkerConfig) -> None:
        """Look at its deadlines, and end it when one is over."""
        silence = monotonic() - self._heard
        start, sign = limits.worker_start_timeout, limits.worker_timeout
        if self._deadline is not None and monotonic() >= self._deadline:
            logger.error("%s does not end and is killed", self)
            self.kill()
        elif self._is_gone or self._is_aborted:
            pass  # it has a deadline
        elif self.state is State.STARTING:
            if start is not None and silence > start:
                logger.error("%s is not ready after %g s (worker_start_timeout)", self, start)
                self._abort()
        elif sign is not None and silence > sign and not self._is_examined():
            logger.error("%s gives no sign for %g s (worker_timeout)", self, sign)
            self._abort()

    def _is_examined(self) -> bool:
        """Tell whether somebody debugs it."""
        return self._is_debugged or _is_traced(self._process.pid)

    def poll(self) -> int | None:
        """Return the status it has ended with, or None."""
        status = self._process.poll()
        if status is not None and self.state is not State.ENDED:
            self.state = State.ENDED
            self._channel.close()
        return status

    def take(self, slot: int, sockets: Sequence[BoundSocket]) -> bool:
        """Let it accept on the sockets of another slot, too; tell whether it hears of it."""
        return self._channel.send(
            {"order": "take", "slot": slot, "sockets": [each.parts() for each in sockets]},
            [each.socket.fileno() for each in sockets],
        )

    def leave(self, slot: int) -> None:
        """Let it accept on them no more."""
        self._channel.send({"order": "leave", "slot": slot})

    def dismiss(self, timeout: float | None, *, is_replaced: bool) -> None:
        """Let it finish what it is doing, and end it after so many seconds.

        ``is_replaced`` says that others go on in its place.
        """
        if self.state is State.STARTING:
            self._process.terminate()  # it may not listen yet
            self._heard = monotonic()
        else:
            self._channel.send({"order": "stop", "is_replaced": is_replaced})
        self.state = State.LEAVING
        if timeout is not None:
            self._end_within(timeout)

    def hurry(self) -> None:
        """Let it end at once, after it was dismissed."""
        self._channel.send({"order": "hurry"})
        self._end_within(0.0 if self.is_silent else _HURRY)

    def _end_within(self, seconds: float) -> None:
        deadline = monotonic() + seconds
        self._deadline = deadline if self._deadline is None else min(self._deadline, deadline)

    def _abort(self) -> None:
        """End it although it does not hear, but let it say first where it hangs."""
        self._is_aborted = True
        self._process.send_signal(signal.SIGABRT)
        self._end_within(_LAST_WORDS)

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the process."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it at once."""
        self._is_aborted, self._deadline = True, None
        self._process.kill()

    def wait(self) -> None:
        """Wait for the end of a process that was killed."""
        self._process.wait()
        self.poll()

    def _note(self, message: Message, descriptors: list[int]) -> None:
        close_all(descriptors)
        self._heard = monotonic()
        self._is_debugged = bool(message.get("is_debugged"))
        before: tuple[Any, ...] = (self.state, self.wish)
        self.wish = message.get("wish")
        state = message.get("state")
        if self.state is State.STARTING and state == "ready":
            self.state = State.READY
        elif self.state is State.READY and state == "leaving":
            self.state = State.LEAVING  # by a signal of somebody else
        if (self.state, self.wish) != before:
            self._on_change()

    def _has_hung_up(self) -> None:
        """Give its process the time to end, too."""
        self._is_gone = True
        self._end_within(_FAREWELL)


def _is_traced(pid: int) -> bool:
    """Tell whether a debugger is attached to a process, where that can be known."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    found = re.search(r"^TracerPid:\s*([0-9]+)", status, re.MULTILINE)
    return found is not None and found[1] != "0"
