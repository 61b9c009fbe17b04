"""What stands in for systemd: it passes sockets, and hears what it is told."""

from __future__ import annotations

import queue
import socket
import struct
import threading
from pathlib import Path

from .processes import PATIENCE

# Plays systemd: argv has the numbers of the sockets and the command that is to find them at 3, 4...
LAUNCHER = """
import fcntl, os, sys

high = [fcntl.fcntl(int(n), fcntl.F_DUPFD_CLOEXEC, 100) for n in sys.argv[1].split(",")]
os.closerange(3, 100)
for number, descriptor in enumerate(high, 3):
    os.dup2(descriptor, number)
os.environ.setdefault("LISTEN_PID", str(os.getpid()))
os.environ |= {"WATCHDOG_PID": str(os.getpid()), "LISTEN_FDS": str(len(high))}
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


class Manager:
    """Hears what a service manager is told, and on Linux by whom."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        if hasattr(socket, "SO_PASSCRED"):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.bind(self.path)
        self._messages: queue.SimpleQueue[tuple[int, str]] = queue.SimpleQueue()
        # Read at once, because what finds no room in the socket is lost.
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        with self._socket:
            while True:
                message, ancillary, _, _ = self._socket.recvmsg(4096, socket.CMSG_SPACE(12))
                if not message:
                    return
                sender = struct.unpack("3i", ancillary[0][2])[0] if ancillary else 0
                self._messages.put((sender, message.decode()))

    def receive(self, patience: float = PATIENCE) -> tuple[int, str]:
        """Return the sender's number and the next message; raise queue.Empty when none comes."""
        return self._messages.get(timeout=max(patience, 0))

    def next(self) -> str:
        """Return the next message. Raises queue.Empty when none comes."""
        return self.receive()[1]

    def tell(self, message: bytes) -> None:
        """Be told something by the test; nothing at all is the end."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(message, self.path)
