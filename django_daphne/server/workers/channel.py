"""Messages between a supervisor and a process that it has started: JSON, one object a line.

Descriptors travel beside a message. What a process says of itself is its whole state, again and
again, so a message that finds no room is not missed.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

Message = dict[str, Any]

# Bytes, and descriptors: Linux takes no more of them at once.
_PIECE: Final = 65536
_MAX_DESCRIPTORS: Final = 253
_MAX_LINE: Final = 1 << 20


class Channel:
    """One end of the pair of sockets, on the running loop, which has to stay the same.

    ``on_message`` gets a message and the descriptors that came with it, which it owns from then on.
    ``on_end`` is called once, when the other end is closed or talks nonsense; not after ``close``.
    """

    def __init__(
        self,
        sock: socket.socket,
        on_message: Callable[[Message, list[int]], object],
        on_end: Callable[[], object],
    ) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._on_message = on_message
        self._on_end = on_end
        self._received = b""
        self._descriptors: list[int] = []
        self._is_closed = False
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock.fileno(), self._read)

    def send(self, message: Message, descriptors: Sequence[int] = ()) -> bool:
        """Send a message; tell whether there was room for it."""
        if self._is_closed:
            return False
        line = json.dumps({**message, "descriptors": len(descriptors)}).encode() + b"\n"
        try:
            sent = socket.send_fds(self._socket, [line], list(descriptors))
        except OSError:  # it is full, or nobody is there any more, which is read, too
            return False
        if sent < len(line):
            self._end()  # the rest would be taken for a message
            return False
        return True

    def close(self) -> None:
        """End the conversation."""
        if self._is_closed:
            return
        self._is_closed = True
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()
        close_all(self._descriptors)
        self._descriptors.clear()

    def _end(self) -> None:
        if not self._is_closed:
            self.close()
            self._on_end()

    def _read(self) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(self._socket, _PIECE, _MAX_DESCRIPTORS)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data, descriptors = b"", []
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        self._descriptors += descriptors
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            if self._is_closed:
                return
            self._handle(line)
        if not data or len(self._received) > _MAX_LINE:
            self._end()

    def _handle(self, line: bytes) -> None:
        try:
            message = json.loads(line)
            count = message.pop("descriptors")
            taken, self._descriptors = self._descriptors[:count], self._descriptors[count:]
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
            self._end()
            return
        self._on_message(message, taken)


def make_pair() -> tuple[socket.socket, socket.socket]:
    """Return two connected sockets: one for this process, one for a child to inherit."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)


def close_all(descriptors: Sequence[int]) -> None:
    """Close descriptors that nobody has a use for."""
    for descriptor in descriptors:
        with suppress(OSError):
            os.close(descriptor)
