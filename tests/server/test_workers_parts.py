"""What the supervisor and its workers are made of, without processes."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any
from unittest.mock import patch

from django_daphne.server.bound_socket import CAN_SHARE_PORTS
from django_daphne.server.config import ListenConfig, ServerConfig
from django_daphne.server.exceptions import ConfigurationError, ListenError
from django_daphne.server.pid_file import PidFile
from django_daphne.server.worker_config import WorkerConfig
from django_daphne.server.workers.command import Command, _read_environ, describe_end
from django_daphne.server.workers.process import Wear, find_memory
from django_daphne.server.workers.slot import Slot
from django_daphne.server.workers.slots import Slots


class FolderTestCase(unittest.TestCase):
    """Tests with a folder of their own."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name).resolve()


class SlotsTests(FolderTestCase):
    """The sockets of the slots: bound, grown, handed to another supervisor, closed."""

    def bind(self, **values: Any) -> Slots:
        """Return the sockets of one slot."""
        slots = Slots.bind(ListenConfig(**values), ())
        self.addCleanup(slots.close)
        return slots

    @unittest.skipUnless(CAN_SHARE_PORTS, "Ports are shared evenly on Linux alone.")
    def test_grow(self):
        """The operator wants three workers on two free ports and a unix socket."""
        path = str(self.folder / "socket")
        slots = self.bind(bind=("127.0.0.1:0", "127.0.0.1:0"), unix_socket=path)
        slots.grow(3)
        slots.grow(2)  # there are never fewer
        addresses = [[each.address for each in slot] for slot in slots.by_slot]
        self.assertEqual(addresses, [addresses[0]] * 3)
        self.assertEqual(len(set(addresses[0])), 2)
        (shared,) = slots.shared
        self.assertEqual(slots.of(1), [*slots.by_slot[1], shared])
        self.assertTrue(shared.is_contended)
        self.assertFalse(any(each.is_contended for slot in slots.by_slot for each in slot))
        self.assertEqual(len({each.socket.fileno() for each in slots.all()}), 7)
        slots.close()
        self.assertFalse(Path(path).exists())
        socket.create_server(addresses[0][0] or ("", 0)).close()

    @unittest.skipUnless(CAN_SHARE_PORTS, "Ports are shared evenly on Linux alone.")
    def test_taken(self):
        """Somebody has the port already, also when the sockets could share it."""
        first = self.bind(bind=("127.0.0.1:0",))
        host, port = first.all()[0].address or ("", 0)
        with self.assertRaisesRegex(ListenError, "already in use"):
            Slots.bind(ListenConfig(bind=(f"{host}:{port}",)), ())

    @unittest.skipUnless(CAN_SHARE_PORTS, "Ports are shared evenly on Linux alone.")
    def test_no_room(self):
        """There is no descriptor for the third socket, and the slots stay as they are."""
        slots = self.bind(bind=("127.0.0.1:0", "127.0.0.1:0"))
        another = type(slots.by_slot[0][0]).another
        made: list[Any] = []

        def scarce(bound: Any, backlog: int) -> Any:
            if len(made) == 2:
                raise OSError(24, "Too many open files")
            made.append(another(bound, backlog))
            return made[-1]

        with (
            patch.object(type(slots.by_slot[0][0]), "another", scarce),
            self.assertRaisesRegex(ListenError, "Couldn't listen on TCP address .*Too many open"),
        ):
            slots.grow(3)
        self.assertEqual(len(slots.by_slot), 1)
        self.assertEqual([each.socket.fileno() for each in made], [-1, -1])

    def test_one_for_all(self):
        """The kernel would not spread connections: all workers accept on the same sockets."""
        with patch("django_daphne.server.workers.slots.CAN_SHARE_PORTS", False):
            slots = self.bind(bind=("127.0.0.1:0",))
        slots.grow(3)
        self.assertEqual(slots.by_slot, [[], [], []])
        self.assertEqual(slots.of(2), slots.shared)
        self.assertTrue(slots.shared[0].is_contended)
        self.assertFalse(slots.shared[0].shares_port)

    def test_adopt(self):
        """Another supervisor makes the same slots of the descriptors that it was given."""
        slots = self.bind(bind=("127.0.0.1:0",), unix_socket=str(self.folder / "socket"))
        if CAN_SHARE_PORTS:
            slots.grow(2)
        parts = slots.describe()
        for each in [*parts["shared"], *(each for slot in parts["by_slot"] for each in slot)]:
            each["descriptor"] = os.dup(each["descriptor"])
        other = Slots.adopt(parts, 10)
        self.addCleanup(other.close)
        self.assertEqual(other.descriptions, slots.descriptions)
        self.assertEqual([len(each) for each in other.by_slot], [len(s) for s in slots.by_slot])
        path = [each.release_path() for each in slots.shared]
        slots.close()
        self.assertTrue((self.folder / "socket").exists())
        for bound, taken in zip(other.shared, path, strict=True):
            bound.own_path(taken)
        other.close()
        self.assertFalse((self.folder / "socket").exists())


class WearTests(unittest.TestCase):
    """When a worker has served for long enough."""

    def test_requests(self):
        """A worker has served as many requests as it may, with a bit of chance on top."""
        wear = Wear(WorkerConfig(max_requests=10))
        self.assertIsNone(wear.find_reason(9))
        self.assertEqual(wear.find_reason(10), "max_requests")
        config = WorkerConfig(max_requests=10, max_requests_jitter=5)
        ends = set()
        for _ in range(200):
            wear = Wear(config)
            ends.add(next(n for n in range(20) if wear.find_reason(n)))
        self.assertEqual(ends, set(range(10, 16)))

    def test_memory(self):
        """A worker has grown beyond what it may use."""
        now = find_memory()
        self.assertGreater(now, 5_000_000)
        self.assertEqual(Wear(WorkerConfig(max_rss=now // 2)).find_reason(0), "max_rss")
        self.assertIsNone(Wear(WorkerConfig(max_rss=now * 10)).find_reason(0))

    def test_lifetime(self):
        """A worker has served for a while, and its time is over."""
        wear = Wear(WorkerConfig(max_lifetime=60.0))
        self.assertIsNone(wear.find_reason(10**9))
        with patch("django_daphne.server.workers.process.monotonic", lambda: float("inf")):
            self.assertEqual(wear.find_reason(0), "max_lifetime")


class SlotTests(unittest.TestCase):
    """How long nobody is started in a slot."""

    def test_pause(self):
        """A worker cannot start again and again: the pauses grow, to a bound."""
        slot = Slot(0)
        self.assertEqual([slot.pause() for _ in range(7)], [1, 2, 4, 8, 16, 30, 30])
        slot.failures = 10**6
        self.assertEqual(slot.pause(), 30)


class CommandTests(FolderTestCase):
    """The command of a process, run again."""

    def run_again(self, folder: Path, environ: dict[str, str]) -> Command:
        """Return the command of a process that was started like this."""
        before = Path.cwd()
        self.addCleanup(os.chdir, before)
        os.chdir(folder)
        with patch("django_daphne.server.workers.command._read_environ", lambda path: environ):
            return Command()

    def outcome(self, command: Command, expression: str, **options: Any) -> str:
        """Return what an expression is in the process that the command starts, here a Python."""
        reading, writing = os.pipe()
        code = f"import faulthandler, os; os.write(int(os.environ['WRITING']), {expression})"
        with os.fdopen(reading, encoding="utf-8") as pipe:
            variables = {"WRITING": str(writing)}
            with patch("sys.orig_argv", ["python", "-I", "-c", code]):
                process = command.start(variables, [writing], **options)
            os.close(writing)
            self.assertEqual(process.wait(20), 0)
            return pipe.read()

    def test_link(self):
        """The service runs in a link to a release, which leads to the next release meanwhile."""
        for name in ("1", "2"):
            (self.folder / name).mkdir()
        link = self.folder / "current"
        link.symlink_to("1")
        code = "os.getcwd().encode()"
        linked = self.run_again(link, {"PWD": str(link)})
        plain = self.run_again(link, {"PWD": str(self.folder)})  # it says nothing about here
        link.unlink()
        link.symlink_to("2")
        self.assertEqual(self.outcome(linked, code), str(self.folder / "2"))
        self.assertEqual(self.outcome(plain, code), str(self.folder / "1"))

    def test_variables(self):
        """Workers get what the service was started with, but nothing of the service manager's."""
        given = {
            "NOTIFY_SOCKET": "/run/notify",
            "WATCHDOG_USEC": "1",
            "WATCHDOG_PID": "1",
            "LISTEN_PID": "1",
            "LISTEN_FDS": "1",
            "_DJANGO_DAPHNE_SUCCESSOR": "{}",
            "SITE": "début",
        }
        command = self.run_again(self.folder, given)
        code = "' '.join(os.environ).encode()"
        for is_main, expected in ((False, []), (True, ["NOTIFY_SOCKET", "WATCHDOG_USEC"])):
            found = set(self.outcome(command, code, is_main=is_main).split()) & set(given)
            self.assertEqual(found, {"SITE", *expected})

    def test_faults(self):
        """A worker says where it hangs, from its first line on."""
        code = "b'%d' % faulthandler.is_enabled()"
        command = self.run_again(self.folder, {})
        self.assertEqual(self.outcome(command, code), "1")

    def test_environ(self):
        """The kernel knows what a process was started with, unless something has overwritten it."""
        file = self.folder / "environ"
        file.write_bytes(b"A=1\0B=x=y\0C=\0")
        self.assertEqual(_read_environ(file), {"A": "1", "B": "x=y", "C": ""})
        for overwritten in (b"", b"\0\0\0\0", b"daphne: worker\0\0\0B=2\0"):
            file.write_bytes(overwritten)
            self.assertEqual(_read_environ(file), {})
        self.assertEqual(_read_environ(self.folder / "nothing"), {})

    def test_describe_end(self):
        """The log says how a process has ended."""
        self.assertEqual(describe_end(3), "exit status 3")
        self.assertEqual(describe_end(-9), "killed by SIGKILL")
        self.assertEqual(describe_end(-250), "killed by signal 250")


class PidFileTests(FolderTestCase):
    """The file that names the process."""

    def test_file(self):
        """It is there for as long as the process serves, also under a relative name."""
        with contextlib.chdir(self.folder):
            file = PidFile("daphne.pid")
        with file:
            self.assertEqual((self.folder / "daphne.pid").read_text(), f"{os.getpid()}\n")
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_another(self):
        """Another process has taken over, and its file stays."""
        path = self.folder / "daphne.pid"
        for text in (f"{os.getpid() + 1}\n", "nonsense"):
            with PidFile(str(path)):
                path.write_text(text)
            self.assertEqual(path.read_text(), text)

    def test_refused(self):
        """The file cannot be written, and nothing is left of the attempt."""
        (self.folder / "daphne.pid").mkdir()
        for name in ("nowhere/daphne.pid", "daphne.pid"):
            path = self.folder / name
            with self.assertRaisesRegex(ConfigurationError, f"^--pid-file {path}: cannot be"):
                PidFile(str(path)).write()
        self.assertEqual([each.name for each in self.folder.iterdir()], ["daphne.pid"])

    def test_none(self):
        """Nobody has asked for one."""
        with PidFile(None):
            pass


class OptionTests(unittest.TestCase):
    """Options of workers that rule each other out, and what makes a supervisor."""

    def test_contradictions(self):
        """The operator wants workers on a socket that they cannot share, or half of a limit."""
        for values, name, words in (
            ({"workers": 2, "endpoint": ("tcp:0",)}, "endpoint", "use --bind"),
            ({"max_rss": 1, "endpoint": ("tcp:0",)}, "endpoint", "--max-rss"),
            ({"max_requests_jitter": 5}, "max_requests_jitter", "--max-requests has"),
        ):
            refusal = self.assertRaisesRegex(ConfigurationError, f"^{name}: .*{words}")
            with self.subTest(values), refusal:
                ServerConfig().replace(**values)
        with (
            patch.object(sys, "platform", "win32"),
            self.assertRaisesRegex(ConfigurationError, "^workers: .* Windows"),
        ):
            ServerConfig().replace(workers=2)

    def test_supervised(self):
        """One process without limits serves by itself."""
        self.assertFalse(WorkerConfig().is_supervised)
        for values in ({"workers": 2}, {"max_requests": 9}, {"max_rss": 9}, {"max_lifetime": 9.0}):
            self.assertTrue(WorkerConfig(**values).is_supervised, values)
