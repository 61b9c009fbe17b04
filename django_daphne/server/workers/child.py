"""What the supervisor knows of a worker, and can tell it."""

from __future__ import annotations

import enum
import re
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, Final

from ..bound_socket import BoundSocket
from .channel import Channel, Message, close_all, make_pair
from .command import Command
from .inheritance import WorkerInheritance

# Seconds between two signs of a worker. After three without one its neighbours help.
BEAT: Final = 1.0
_SILENCE: Final = 3 * BEAT
# Seconds from SIGABRT, at which a worker says where it hangs, to SIGKILL.
_LAST_WORDS: Final = 2.0
# Seconds that cancelled tasks and the application's shutdown have when there is no time left.
_HURRY: Final = 10.0


class State(enum.Enum):
    """Where the life of a worker stands; it goes on in this order."""

    STARTING = enum.auto()
    READY = enum.auto()
    LEAVING = enum.auto()
    ENDED = enum.auto()


class Child:
    """A worker: its process, the channel to it, and what it has said last.

    ``wish`` is why it wants to be replaced, None as long as it does not. ``is_outdated`` is the
    supervisor's note that it is to be, and ``deadline`` when it will be killed. ``on_change`` is
    called when it has become ready, or has another wish.
    """

    def __init__(
        self,
        command: Command,
        slot: int,
        sockets: Sequence[BoundSocket],
        on_change: Callable[[], object],
        *,
        is_checked: bool,
    ) -> None:
        """Start it. Raises OSError."""
        ours, its = make_pair()
        inheritance = WorkerInheritance(
            channel=its.fileno(),
            sockets=[{"descriptor": each.socket.fileno(), **each.parts()} for each in sockets],
            is_checked=is_checked,
        )
        descriptors = [its.fileno(), *(each.socket.fileno() for each in sockets)]
        try:
            self._process = command.start(inheritance.variables(), descriptors)
        except OSError:
            ours.close()
            raise
        finally:
            its.close()
        self._on_change = on_change
        self._channel = Channel(ours, self._note, _do_nothing)
        self.slot = slot
        self.state = State.STARTING
        self.wish: str | None = None
        self.is_outdated = False
        self._is_debugged = False
        self.heard = monotonic()
        self.deadline: float | None = None

    def __str__(self) -> str:
        return f"Worker {self.slot + 1} (pid {self._process.pid})"

    @property
    def is_silent(self) -> bool:
        """Tell whether its loop has not turned for a while."""
        return monotonic() - self.heard > _SILENCE

    def is_lost(self, timeout: float | None) -> bool:
        """Tell whether it has been silent for so long, and nobody debugs it."""
        is_over = timeout is not None and monotonic() - self.heard > timeout
        return is_over and not self._is_debugged and not _is_traced(self._process.pid)

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
        self._stop(is_replaced)
        if timeout is not None:
            self.deadline = monotonic() + timeout

    def hurry(self) -> None:
        """Let it end at once, after it was dismissed."""
        self._stop(False)
        self.deadline = monotonic() + (0.0 if self.is_silent else _HURRY)

    def _stop(self, is_replaced: bool) -> None:
        if self.state is State.STARTING:
            self._process.terminate()  # it may not listen yet
        else:
            self._channel.send({"order": "stop", "is_replaced": is_replaced})
        self.state = State.LEAVING

    def abort(self) -> None:
        """End it although it does not hear, but let it say first where it hangs."""
        self._process.send_signal(signal.SIGABRT)
        self.deadline = monotonic() + _LAST_WORDS

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the process."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    def wait(self) -> None:
        """Wait for the end of a process that was killed."""
        self._process.wait()
        self.poll()

    def _note(self, message: Message, descriptors: list[int]) -> None:
        close_all(descriptors)
        self.heard = monotonic()
        self._is_debugged = bool(message.get("is_debugged"))
        before: tuple[Any, ...] = (self.state, self.wish)
        self.wish = message.get("wish")
        if self.state is State.STARTING:
            self.state = State.READY
        if (self.state, self.wish) != before:
            self._on_change()


@dataclass
class Slot:
    """A place for a worker: the one that serves, and the one that is to take its place."""

    number: int
    serving: Child | None = None
    starting: Child | None = None
    leaving: list[Child] = field(default_factory=list)
    failures: int = 0
    retry_at: float = 0.0
    lent_to: set[Child] = field(default_factory=set)

    def children(self) -> list[Child]:
        """Return all that live, or have not been seen to end."""
        return [each for each in (self.serving, self.starting, *self.leaving) if each is not None]


def _is_traced(pid: int) -> bool:
    """Tell whether a debugger is attached to a process, where that can be known."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    found = re.search(r"^TracerPid:\s*([0-9]+)", status, re.MULTILINE)
    return found is not None and found[1] != "0"


def _do_nothing() -> None:
    """Its process ends with its channel, which is seen elsewhere."""
