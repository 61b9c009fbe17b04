"""Systemd: the sockets that it passes, and what it is told."""

from __future__ import annotations

import contextlib
import errno
import gc
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import unittest
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django_daphne.server.exceptions import ListenError
from django_daphne.server.systemd import Notifier, take_sockets
from tests.support.server import PATIENCE

ROOT = Path(__file__).resolve().parents[2]
LOGGER = "django_daphne.server"

# Plays systemd and the server it starts in one process: a test has no use of its own for
# descriptors 3 and 4. argv: the number of sockets, and the variables besides LISTEN_PID.
ACTIVATED = """
import fcntl, json, os, socket, sys

ports, high = [], []
for _ in range(int(sys.argv[1])):
    sock = socket.create_server(("127.0.0.1", 0))
    ports.append(sock.getsockname()[1])
    high.append(fcntl.fcntl(sock.detach(), fcntl.F_DUPFD, 20))
os.closerange(3, 20)
for descriptor, passed in enumerate(high, 3):
    os.dup2(passed, descriptor)
    assert os.get_inheritable(descriptor)

os.environ["LISTEN_PID"] = str(os.getpid())
os.environ.update(json.loads(sys.argv[2]))

from django_daphne.server.exceptions import ListenError
from django_daphne.server.systemd import take_sockets

try:
    found = take_sockets(os.environ)
except ListenError as error:
    print(json.dumps({"error": str(error), "errno": error.errno}))
    sys.exit()
sockets = [socket.socket(fileno=number) for number, _ in found]
print(json.dumps({
    "found": found,
    "same": [sock.getsockname()[1] for sock in sockets] == ports,
    "inheritable": [os.get_inheritable(number) for number, _ in found],
    "left": {name: value for name, value in os.environ.items() if name.startswith("LISTEN_")},
    "again": take_sockets(os.environ),
}))
"""

WITHOUT_UNIX_SOCKETS = """
import logging, socket

if hasattr(socket, "AF_UNIX"):
    del socket.AF_UNIX
logging.basicConfig(format="%(message)s")
from django_daphne.server.systemd import Notifier

notifier = Notifier({"NOTIFY_SOCKET": "/run/systemd/notify"})
notifier.ready("Serving")
notifier.stopping()
"""


def run_child(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own, which is given a while and has to succeed."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    if done.returncode:
        raise AssertionError(done.stderr)
    return done


@unittest.skipUnless(os.name == "posix", "Sockets are passed by their numbers on POSIX only.")
class ActivatedTests(unittest.TestCase):
    """A process that was started with sockets."""

    def take(self, count: int, **variables: str) -> dict[str, Any]:
        """Return what a process finds that was passed so many sockets."""
        output = run_child(ACTIVATED, str(count), json.dumps(variables)).stdout
        result: dict[str, Any] = json.loads(output)
        return result

    def test_two_sockets(self):
        """Systemd passes two named sockets; they are the ones it listens on."""
        result = self.take(2, LISTEN_FDS="2", LISTEN_FDNAMES="web:admin")
        self.assertEqual(result["found"], [[3, "web"], [4, "admin"]])
        self.assertTrue(result["same"])

    def test_non_inheritable(self):
        """A child of the process gets none of the sockets."""
        result = self.take(2, LISTEN_FDS="2", LISTEN_FDNAMES="web:admin")
        self.assertEqual(result["inheritable"], [False, False])

    def test_variables_are_removed(self):
        """The process looks a second time, as a child would, and there is no trace of sockets."""
        result = self.take(2, LISTEN_FDS="2", LISTEN_FDNAMES="web:admin")
        self.assertEqual(result["left"], {})
        self.assertEqual(result["again"], [])

    def test_names(self):
        """A manager names all sockets, some or none; the others are unknown."""
        for names, expected in (
            ({}, ["unknown", "unknown"]),
            ({"LISTEN_FDNAMES": ""}, ["unknown", "unknown"]),
            ({"LISTEN_FDNAMES": "web"}, ["web", "unknown"]),
            ({"LISTEN_FDNAMES": ":admin"}, ["unknown", "admin"]),
            ({"LISTEN_FDNAMES": "web:web"}, ["web", "web"]),
            ({"LISTEN_FDNAMES": "web:admin:surplus"}, ["web", "admin"]),
        ):
            with self.subTest(names):
                result = self.take(2, LISTEN_FDS="2", **names)
                self.assertEqual([name for _, name in result["found"]], expected)

    def test_fewer_than_said(self):
        """The manager speaks of three sockets and passes two."""
        result = self.take(2, LISTEN_FDS="3")
        self.assertEqual(
            result["error"],
            "LISTEN_FDS: 3 includes descriptor 5: Bad file descriptor. Expected an open socket.",
        )
        self.assertEqual(result["errno"], errno.EBADF)


class VariablesTests(unittest.TestCase):
    """What the variables say, where no descriptor is touched."""

    def assert_untouched(self, environ: dict[str, str]) -> None:
        """Nothing is taken, and the variables stay."""
        before = dict(environ)
        self.assertEqual(take_sockets(environ), [])
        self.assertEqual(environ, before)

    def refusal(self, environ: dict[str, str]) -> str:
        """Return why sockets cannot be taken, which is one line."""
        with self.assertRaises(ListenError) as caught:
            take_sockets(environ)
        text = str(caught.exception)
        self.assertEqual(len(text.splitlines()), 1)
        return text

    def test_no_activation(self):
        """An operator starts the server by hand."""
        self.assert_untouched({"PATH": "/usr/bin"})

    def test_no_owner(self):
        """A wrapper has removed LISTEN_PID, or emptied it."""
        self.assert_untouched({"LISTEN_FDS": "1", "LISTEN_FDNAMES": "web"})
        self.assert_untouched({"LISTEN_PID": "", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "web"})

    def test_foreign(self):
        """The sockets are the parent's, whatever else is said of them."""
        pid = str(os.getppid())
        self.assert_untouched({"LISTEN_PID": pid, "LISTEN_FDS": "1", "LISTEN_FDNAMES": "web"})
        self.assert_untouched({"LISTEN_PID": pid, "LISTEN_FDS": "many"})

    def test_no_sockets(self):
        """A manager names the process and passes it nothing."""
        for variables in ({}, {"LISTEN_FDS": ""}, {"LISTEN_FDS": "0", "LISTEN_FDNAMES": "web"}):
            with self.subTest(variables):
                environ = {"LISTEN_PID": str(os.getpid()), "PATH": "/usr/bin", **variables}
                self.assertEqual(take_sockets(environ), [])
                self.assertEqual(environ, {"PATH": "/usr/bin"})

    def test_malformed_pid(self):
        """A wrapper writes a LISTEN_PID that is no process id, and its variables stay."""
        for value in ("self", "-1", "1 ", "1_0", "٣", "2147483648", "9" * 5000):
            with self.subTest(value[:12]):
                environ = {"LISTEN_PID": value, "LISTEN_FDS": "1"}
                self.assertEqual(
                    self.refusal(environ),
                    f"LISTEN_PID: {value[:40]!r} is not allowed."
                    " Expected a number from 0 to 2147483647.",
                )
                self.assertEqual(environ, {"LISTEN_PID": value, "LISTEN_FDS": "1"})

    def test_malformed_count(self):
        """A wrapper writes a LISTEN_FDS that is no number of sockets."""
        for value in ("two", "-1", "+1", " 1", "1.0", "1\n", "²", "1025", "9" * 5000):
            with self.subTest(value[:12]):
                self.assertEqual(
                    self.refusal({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": value}),
                    f"LISTEN_FDS: {value[:40]!r} is not allowed. Expected a number from 0 to 1024.",
                )


class Manager:
    """Stands in for systemd: a datagram socket that messages are read from."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.socket.setblocking(False)

    def messages(self) -> list[str]:
        """Return what has come since the last call; a datagram is there once it is sent."""
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                found.append(self.socket.recv(65536).decode())
        return found


@unittest.skipUnless(hasattr(socket, "AF_UNIX"), "There are no unix sockets.")
class NotifierTests(unittest.TestCase):
    """What the service manager hears, and what becomes of it when nobody listens."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = str(Path(folder.name, "notify"))
        self.notifier = Notifier({"NOTIFY_SOCKET": self.path})

    def listen(self, address: str) -> Manager:
        """Return a manager that listens on this address until the test ends."""
        manager = Manager(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        self.addCleanup(manager.socket.close)
        manager.socket.bind(address)
        return manager

    @contextlib.contextmanager
    def one_warning(self, target: str, reason: str = "") -> Iterator[None]:
        """Expect a single warning, which names the address and the reason."""
        with self.assertLogs(LOGGER) as caught:
            yield
        (record,) = caught.records
        self.assertEqual(record.levelname, "WARNING")
        start = f"Couldn't notify the service manager at {target!r}: "
        self.assertRegex(record.getMessage(), f"^{re.escape(start)}.*{reason}")

    def test_messages(self):
        """The server starts, lives and stops."""
        manager = self.listen(self.path)
        with self.assertNoLogs(LOGGER):
            self.notifier.ready("Serving on TCP address 127.0.0.1:8000")
            self.notifier.watchdog()
            self.notifier.stopping()
        self.assertEqual(
            manager.messages(),
            [
                f"READY=1\nSTATUS=Serving on TCP address 127.0.0.1:8000\nMAINPID={os.getpid()}",
                "WATCHDOG=1",
                "STOPPING=1",
            ],
        )

    @unittest.skipUnless(sys.platform == "linux", "Abstract sockets are Linux's.")
    def test_abstract(self):
        """The manager listens on an abstract socket."""
        manager = self.listen("")  # Linux chooses a free abstract name
        name = manager.socket.getsockname()
        notifier = Notifier({"NOTIFY_SOCKET": "@" + name[1:].decode()})
        with self.assertNoLogs(LOGGER):
            notifier.watchdog()
        self.assertEqual(manager.messages(), ["WATCHDOG=1"])

    def test_status_is_one_line(self):
        """The status has characters that would end its line, the message or the encoding."""
        manager = self.listen(self.path)
        with self.assertNoLogs(LOGGER):
            self.notifier.ready("a\nSTOPPING=1\r\nb\0c\udcffd é")
        self.assertEqual(
            manager.messages(),
            [f"READY=1\nSTATUS=a STOPPING=1  b c d é\nMAINPID={os.getpid()}"],
        )

    def test_long_status(self):
        """The status is longer than systemd reads, and is cut; the rest of the message is not."""
        manager = self.listen(self.path)
        with self.assertNoLogs(LOGGER):
            self.notifier.ready("🐎" * 5000)
        (message,) = manager.messages()
        self.assertLess(len(message.encode()), 4096)
        self.assertRegex(message, rf"^READY=1\nSTATUS=🐎+\nMAINPID={os.getpid()}$")

    def test_nobody(self):
        """No service manager started the process."""
        for environ in ({}, {"NOTIFY_SOCKET": ""}):
            with self.subTest(environ), self.assertNoLogs(LOGGER):
                notifier = Notifier(environ)
                notifier.ready("Serving")
                notifier.watchdog()
                notifier.stopping()

    def test_no_such_socket(self):
        """The manager's socket is gone for a while: one warning, and later messages arrive."""
        with self.one_warning(self.path, "No such file"):
            self.notifier.ready("Serving")
            self.notifier.watchdog()
            manager = self.listen(self.path)
            self.notifier.stopping()
            self.assertEqual(manager.messages(), ["STOPPING=1"])
            manager.socket.close()
            self.notifier.watchdog()

    def test_nobody_reads(self):
        """The manager's queue is full: the message is dropped, and the server does not wait."""
        manager = self.listen(self.path)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as filler:
            filler.setblocking(False)
            with self.assertRaises(OSError):
                while True:
                    filler.sendto(b"WATCHDOG=1", self.path)
        # In a thread, so that a message that waits fails this test and does not hold up the rest.
        sending = threading.Thread(target=self.notifier.stopping, daemon=True)
        with self.one_warning(self.path):
            sending.start()
            sending.join(PATIENCE)
        self.assertFalse(sending.is_alive())
        self.assertNotIn("STOPPING=1", manager.messages())

    def test_addresses_of_other_kinds(self):
        """The manager gives an address that is neither a path nor an abstract name."""
        for target in ("notify", "vsock:2:1234", "./notify", "http://127.0.0.1/"):
            with self.subTest(target), self.one_warning(target, "not supported"):
                notifier = Notifier({"NOTIFY_SOCKET": target})
                notifier.ready("Serving")
                notifier.stopping()

    def test_unusable_addresses(self):
        """The manager gives a name that is too long, or that cannot be encoded."""
        for target in ("/" + "n" * 500, "/\ud800"):
            with self.subTest(ascii(target)[:10]), self.one_warning(target):
                notifier = Notifier({"NOTIFY_SOCKET": target})
                notifier.ready("Serving")
                notifier.stopping()

    def test_closed_at_once(self):
        """The server sends messages that arrive and messages that do not, and holds no socket."""
        gc.collect()  # what other tests have left is not meant
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ResourceWarning)
            with self.one_warning(self.path):
                self.notifier.watchdog()
            self.listen(self.path)
            self.notifier.watchdog()
            gc.collect()
        self.assertEqual([str(each.message) for each in caught], [])


class WithoutUnixSocketsTests(unittest.TestCase):
    """A platform such as Windows."""

    def test_import(self):
        """The module is imported, and says once that it cannot notify."""
        self.assertEqual(
            run_child(WITHOUT_UNIX_SOCKETS).stderr,
            "Couldn't notify the service manager at '/run/systemd/notify':"
            " that kind of address is not supported here\n",
        )


class WatchdogIntervalTests(unittest.TestCase):
    """How often the service manager wants to hear that the process lives."""

    def test_table(self):
        """The manager waits for this process, for another, or says nothing of use."""
        ours, other = str(os.getpid()), str(os.getppid())
        for microseconds, pid, expected in (
            (None, None, None),
            (None, ours, None),
            ("30000000", None, 15.0),
            ("30000000", "", 15.0),
            ("30000000", ours, 15.0),
            ("1", ours, 0.0000005),
            ("30000000", other, None),
            ("30000000", "0", None),
            ("30000000", "main", None),
            ("", ours, None),
            ("0", ours, None),
            ("-30000000", ours, None),
            ("30s", ours, None),
            ("3e7", ours, None),
            ("30000000\n", ours, None),
            ("18446744073709551615", ours, None),  # what systemd calls infinity
            ("9" * 5000, ours, None),
        ):
            given = {"WATCHDOG_USEC": microseconds, "WATCHDOG_PID": pid}
            environ = {name: value for name, value in given.items() if value is not None}
            with self.subTest(str(environ)[:80]):
                self.assertEqual(Notifier(environ).watchdog_interval, expected)
