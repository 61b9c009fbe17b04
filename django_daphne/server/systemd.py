"""Sockets from systemd and news for it: its two protocols, without its library.

Socket activation, sd_listen_fds(3). The manager listens, and starts us with its sockets open as
descriptors 3, 4 and so on. LISTEN_FDS says how many, LISTEN_FDNAMES how they are called and
LISTEN_PID whose they are. Children inherit variables, so whoever has another id takes nothing.

Notification, sd_notify(3). A datagram of NAME=value lines to the unix socket NOTIFY_SOCKET tells
the manager how we are. Nothing is answered, and serving does not depend on it: what cannot be
sent now is dropped. With WATCHDOG_USEC the manager kills a service that is silent for that long.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import time
from collections.abc import Mapping, MutableMapping
from typing import Final

from .exceptions import ListenError

logger = logging.getLogger("django_daphne.server")

_MAX_SOCKETS: Final = 1024
_MAX_PID: Final = 2**31 - 1
_NUMBER: Final = re.compile("[0-9]{1,19}")  # systemd's infinity has 20 digits

# systemd drops messages of more than 4096 bytes, READY=1 and all; a character has up to four.
_MAX_STATUS_CHARACTERS: Final = 512


def take_sockets(environ: MutableMapping[str, str]) -> list[tuple[int, str]]:
    """Return (descriptor, name) of the sockets that systemd passed to this process.

    The list is empty without activation and when the sockets are another process's. When they are
    ours, the variables are removed from ``environ`` and the descriptors become non-inheritable,
    so that neither a child nor what this process executes believes that it has them. A socket
    without a name is "unknown". Whether the sockets listen is not checked.

    Raises ListenError for a malformed number and for a descriptor that is not open. A variable
    that is missing or empty is 0.
    """
    if _required(environ, "LISTEN_PID", _MAX_PID) != os.getpid():
        return []
    ours = {name: environ.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")}
    count = _required(ours, "LISTEN_FDS", _MAX_SOCKETS)
    names = ours["LISTEN_FDNAMES"].split(":")[:count]
    names += [""] * (count - len(names))
    sockets = [(number, name or "unknown") for number, name in enumerate(names, start=3)]
    for descriptor, _ in sockets:
        try:
            os.set_inheritable(descriptor, False)
        except OSError as error:
            text = f"LISTEN_FDS: {count} includes descriptor {descriptor}: {error.strerror}."
            raise ListenError(f"{text} Expected an open socket.", error.errno) from None
    return sockets


class Notifier:
    """Tells the service manager how the process is; does nothing without NOTIFY_SOCKET.

    No method blocks or raises. The first message that cannot be sent is a warning in the log;
    others that cannot be are dropped in silence.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._target = environ.get("NOTIFY_SOCKET", "")
        self._has_warned = False
        microseconds = _number(environ.get("WATCHDOG_USEC", ""))
        # Without WATCHDOG_PID whoever has the variable is meant.
        is_ours = _number(environ.get("WATCHDOG_PID") or str(os.getpid())) == os.getpid()
        self._interval = microseconds / 2_000_000 if microseconds and is_ours else None

    @property
    def watchdog_interval(self) -> float | None:
        """Return half of WATCHDOG_USEC, in seconds; None when nobody waits for this process."""
        return self._interval

    def ready(self, status: str) -> None:
        """Say that connections are accepted, by this process; ``status`` is a line for people."""
        # A newline would begin another assignment, and systemd drops messages with a NUL.
        characters = status[:_MAX_STATUS_CHARACTERS]
        line = "".join(each if each.isprintable() else " " for each in characters)
        self._send(f"READY=1\nSTATUS={line}\nMAINPID={os.getpid()}")

    def reloading(self) -> None:
        """Say that the configuration is read again; ``ready`` has to follow."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def hand_over(self, pid: int) -> None:
        """Say that another process is the main one from now on, and no more than that."""
        self._send(f"MAINPID={pid}")
        self._target, self._interval = "", None  # only the main one is listened to

    def stopping(self) -> None:
        """Say that the process has begun to stop."""
        self._send("STOPPING=1")

    def watchdog(self) -> None:
        """Say that the process is alive; call it every ``watchdog_interval`` seconds."""
        self._send("WATCHDOG=1")

    def _send(self, message: str) -> None:
        if not (target := self._target):
            return
        try:
            if target[0] not in "@/" or not hasattr(socket, "AF_UNIX"):
                raise OSError("that kind of address is not supported here")
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                sock.sendto(message.encode(), f"\0{target[1:]}" if target[0] == "@" else target)
        except (OSError, ValueError) as error:  # ValueError: a name that cannot be encoded
            if not self._has_warned:
                logger.warning("Couldn't notify the service manager at %r: %s", target, error)
            self._has_warned = True


def _number(text: str) -> int | None:
    return int(text) if _NUMBER.fullmatch(text) else None


def _required(environ: Mapping[str, str], name: str, most: int) -> int:
    text = environ.get(name) or "0"
    if (number := _number(text)) is not None and number <= most:
        return number
    refusal = f"{name}: {text[:40]!r} is not allowed."
    raise ListenError(f"{refusal} Expected a number from 0 to {most}.")
