"""One supervisor in the place of another, on the same sockets (SIGUSR2).

The old one starts the new one and goes on serving. When all workers of the new one are ready it
says so; the old one leaves it the paths of unix sockets, and lets its own workers finish. A new one
that ends before has changed nothing.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Final

from ..config import ListenConfig
from ..systemd import Notifier
from .channel import Channel, Message, close_all
from .command import Command, describe_end
from .inheritance import SuccessorInheritance, get_successor
from .slots import Slots

logger = logging.getLogger("django_daphne.server")

# What a supervisor needs beside its workers, which start one beside the other.
_FACTOR: Final = 3
# Seconds from SIGTERM to SIGKILL, for one that is not ready in time.
_TIME_TO_STOP: Final = 60.0


class Successor:
    """The new supervisor, as the old one sees it. ``status`` is what it has ended with, if so."""

    def __init__(
        self, command: Command, slots: Slots, timeout: float | None, on_change: Callable[[], object]
    ) -> None:
        """Start it; it has a multiple of the time for a worker. Raises OSError."""
        inherit = partial(SuccessorInheritance, slots=slots.describe())
        descriptors = [each.socket.fileno() for each in slots.all()]
        self._process, ours = command.start_with_channel(inherit, descriptors, is_main=True)
        self._slots = slots
        self._on_change = on_change
        self._channel = Channel(ours, self._note, on_change)
        self._deadline = None if timeout is None else monotonic() + _FACTOR * timeout
        self._is_ready = self._is_stopped = self._is_unwanted = False
        self.status: int | None = None
        logger.info("Another supervisor is started (pid %d)", self._process.pid)

    def look(self) -> bool:
        """Tell whether it is ready, or has ended."""
        if self._is_ready:
            return True
        self.status = self._process.poll()
        if self.status is not None:
            self._channel.close()
            end = describe_end(self.status)
            if not self._is_unwanted:
                logger.error("The other supervisor could not start (%s); this one goes on", end)
        elif self._deadline is not None and monotonic() > self._deadline:
            if self._is_stopped:
                self._process.kill()
            else:
                logger.error("The other supervisor is not ready in time, and is stopped")
                self._stop()
        return self.status is not None

    def stop(self) -> None:
        """End it, because there is nothing to take over."""
        self._is_unwanted = True
        self._stop()

    def _stop(self) -> None:
        self._is_stopped = True
        self._deadline = monotonic() + _TIME_TO_STOP
        self._process.send_signal(signal.SIGTERM)

    def _note(self, message: Message, descriptors: list[int]) -> None:
        close_all(descriptors)
        if not self._is_ready:
            self._is_ready = True
            self._on_change()

    def hand_over(self, notifier: Notifier) -> None:
        """Leave it what there is one of: the service manager's ear, the paths of unix sockets.

        It goes on alone from then on.
        """
        notifier.hand_over(self._process.pid)
        self._channel.send({"paths": [each.release_path() for each in self._slots.shared]})
        self._channel.close()
        self._process.returncode = 0  # or Python warns that it outlives this process


def adopt_slots(listen: ListenConfig) -> Slots | None:
    """Return the sockets that another supervisor has left to this one, if there is one."""
    inheritance = get_successor()
    return None if inheritance is None else Slots.adopt(inheritance.slots, listen.backlog)


class Predecessor:
    """The old supervisor, as the new one sees it."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    @classmethod
    def get(cls, slots: Slots, on_left: Callable[[], object]) -> Predecessor | None:
        """Return the other supervisor, on the running loop, or None where there is none.

        ``on_left`` is called when it has left everything to this one, or has ended.
        """
        inheritance = get_successor()
        if inheritance is None:
            return None

        def note(message: Message, descriptors: list[int]) -> None:
            close_all(descriptors)
            for bound, path in zip(slots.shared, message["paths"], strict=True):
                bound.own_path(path)

        os.set_inheritable(inheritance.channel, False)
        return cls(Channel(socket.socket(fileno=inheritance.channel), note, on_left))

    def take_over(self) -> None:
        """Say that this one is ready."""
        self._channel.send({"state": "ready"})
