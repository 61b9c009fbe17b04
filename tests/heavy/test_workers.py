"""Reloads, kills and successions again and again, under load."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.test import tag

from tests.support.processes import PATIENCE, get
from tests.support.workers import Supervised, SupervisedTestCase

# Seconds that wrk runs at most; it is ended when all is done.
_MOST = 600
_CONNECTIONS = 16


@tag("heavy")
class WorkersTests(SupervisedTestCase):
    """What tests.integration.test_workers does a few times."""

    @contextmanager
    def pressed(self, port: int) -> Iterator[list[int]]:
        """Load a port with wrk; at its end the list says how many requests were lost, and made."""
        if shutil.which("wrk") is None:
            self.skipTest("missing: wrk")
        url = f"http://127.0.0.1:{port}/"
        command = ["wrk", "-t1", f"-c{_CONNECTIONS}", f"-d{_MOST}s", url]
        wrk = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        found: list[int] = []
        try:
            yield found
        finally:
            wrk.send_signal(signal.SIGINT)  # which ends it with its report
            report, _ = wrk.communicate(timeout=PATIENCE)
        errors = re.search(
            r"Socket errors: connect (\d+), read (\d+), write (\d+), t\w+ (\d+)", report
        )
        lost = sum(map(int, errors.groups())) if errors else 0
        refused = re.search(r"Non-2xx or 3xx responses: (\d+)", report)
        served = re.search(r"(\d+) requests in", report)
        self.assertIsNotNone(served, report)
        found += [lost + (int(refused[1]) if refused else 0), int(served[1]) if served else 0]

    def quiet(self, *arguments: str) -> tuple[Supervised, int]:
        """Start a supervisor that logs no requests."""
        server = self.supervise("--access-log", os.devnull, *arguments)
        return server, server.is_up()

    def test_twenty_reloads(self):
        """The operator reloads twenty times."""
        server, port = self.quiet()
        with self.load(port), self.pressed(port) as counts:
            for _ in range(20):
                server.send(signal.SIGHUP)
                server.expect("The reload is complete")
        self.assertEqual(counts[0], 0, counts)
        self.assertGreater(counts[1], 1000)
        self.end(server)

    def test_reload_in_reload(self):
        """The operator reloads while the reload before is under way, and wants one worker more."""
        server, port = self.quiet()
        with self.load(port), self.pressed(port) as counts:
            first = set(server.workers().values())
            server.send(signal.SIGHUP)
            server.expect("SIGHUP")
            server.send(signal.SIGHUP)
            server.send(signal.SIGTTIN)
            server.expect("Worker 3 .* is ready")
            server.expect("The reload is complete")
            self.answers_only(port, *server.workers().values())
            self.assertFalse(first & set(server.workers().values()))
        self.assertEqual(counts[0], 0, counts)
        self.end(server)

    def test_twenty_kills(self):
        """Somebody kills a worker, again and again; what was in it is lost, and no more."""
        server, port = self.quiet()
        kills = 20
        with self.load(port, lost=2 * kills), self.pressed(port) as counts:
            for turn in range(kills):
                slot = turn % 2 + 1
                os.kill(server.workers()[slot], signal.SIGKILL)
                server.expect(rf"Worker {slot} .* is ready")
        self.assertLessEqual(counts[0], _CONNECTIONS * kills, counts)
        self.assertGreater(counts[1], 1000)
        self.end(server)

    def test_successions(self):
        """One supervisor after the other takes over."""
        server, port = self.quiet("--pid-file", "pid")
        with self.load(port), self.pressed(port) as counts:
            for times in range(1, 6):
                number = int((self.folder / "pid").read_text())
                os.kill(number, signal.SIGUSR2)
                server.process.wait_for(rf"(?s)(Stopping: waiting for the workers.*){{{times}}}")
        self.assertEqual(counts[0], 0, counts)
        os.kill(int((self.folder / "pid").read_text()), signal.SIGTERM)
        self.ended(server)

    def test_descriptors(self):
        """Fifty workers later the supervisor has what it had at first: descriptors, no zombies."""
        if not Path("/proc/self/fd").exists():
            self.skipTest("missing: /proc")
        server, port = self.quiet()
        folder = Path(f"/proc/{server.process.pid}")
        first = self.inventory(folder)
        for turn in range(50):
            slot = turn % 2 + 1
            os.kill(server.workers()[slot], signal.SIGTERM if turn % 4 else signal.SIGKILL)
            server.expect(rf"Worker {slot} .* is ready")
        get(port)
        server.send(signal.SIGHUP)  # by its end all others have been seen to end
        server.expect("The reload is complete")
        server.send(signal.SIGHUP)
        server.expect("The reload is complete")
        self.assertLessEqual(self.inventory(folder), first + 2)  # one may be about to end
        self.end(server)

    def inventory(self, folder: Path) -> int:
        """Return the number of descriptors of a process, and of its children."""
        children = [path.read_text() for path in folder.glob("task/*/children")]
        return len(list((folder / "fd").iterdir())) + len(" ".join(children).split())


@tag("heavy")
class SuspendedTests(SupervisedTestCase):
    """What takes its time."""

    def test_suspended_supervisor(self):
        """The supervisor is suspended for longer than a worker may be silent; nobody is blamed."""
        server = self.supervise("--worker-timeout", "5")
        port = server.is_up()
        server.send(signal.SIGSTOP)
        threading.Event().wait(8)  # the time is what this is about
        self.answering(port, 2)
        server.send(signal.SIGCONT)
        server.send(signal.SIGTTIN)
        server.expect("Worker 3 .* is ready")
        self.assertNotIn("gives no sign", self.end(server).errors)
