"""Workers and supervisors that end, hang or are replaced, while clients never stop asking."""

from __future__ import annotations

import os
import signal
import socket
import threading
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from tests.support.processes import PATIENCE
from tests.support.workers import Supervised, SupervisedTestCase


class EndTests(SupervisedTestCase):
    """A worker that ends is replaced, and its neighbours serve who waits for it."""

    def leave(self, port: int, path: str) -> None:
        """Ask for what ends, or blocks, the worker that is asked; there is no answer."""
        connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        with suppress(OSError, HTTPException):
            connection.request("GET", path)
            connection.getresponse()

    def test_end(self):
        """Workers are killed, crash, leave, or are stopped by somebody, under load."""
        server = self.supervise()
        port = server.is_up()
        descriptors = self.count_descriptors(server)
        with self.load(port, lost=2):  # of each client what was in the worker that was killed
            os.kill(server.workers()[1], signal.SIGKILL)
            server.expect(r"Worker 1 .* has ended \(killed by SIGKILL\); starting another")
            server.expect("Worker 1 .* is ready")
            self.answering(port, 2)
        with self.load(port):
            os.kill(server.workers()[2], signal.SIGTERM)
            server.expect("Worker 2 .* leaves by itself; starting another")
            server.expect("Worker 2 .* is ready")
        for path, status in (("/die", 7), ("/leave", 0)):
            self.leave(port, path)
            server.expect(rf"has ended \(exit status {status}\); starting another")
            server.replacement()
        self.answering(port, 2)
        self.assertEqual(self.count_descriptors(server), descriptors)
        self.end(server)

    def count_descriptors(self, server: Supervised) -> int:
        """Return how many descriptors the supervisor has, where that can be known."""
        try:
            return len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))
        except OSError:
            return 0

    def test_broken_replacement(self):
        """The application breaks unnoticed, and a worker that dies can only be replaced later."""
        server = self.supervise()
        port = server.is_up()
        self.write("refuse", "")
        with self.load(port, lost=2):
            os.kill(server.workers()[1], signal.SIGKILL)
            server.expect(r"could not start \(exit status 3\); the next try is in 1 s")
            server.expect(r"could not start \(exit status 3\); the next try is in 2 s")
            self.answers_only(port, server.workers()[2])
            (self.folder / "refuse").unlink()
            server.send(signal.SIGHUP)  # has it try at once
            server.expect("The reload is complete")
            self.answering(port, 2)
        self.end(server)

    def test_supervisor_killed(self):
        """The supervisor is killed: the workers finish what they are doing, and nobody is left."""
        server = self.supervise()
        port = server.is_up()
        connection = self.begin(server, port)
        server.send(signal.SIGKILL)
        for _ in range(2):
            server.expect("The supervisor has ended; so does this worker")
        connection.send(b"x")
        self.assertEqual(connection.getresponse().status, 200)
        self.ended(server, -signal.SIGKILL)

    def test_hang(self):
        """A view blocks the loop, another worker is suspended: the third serves for all."""
        server = self.supervise("--worker-timeout", "5", workers=3)
        port = server.is_up()
        blocked = threading.Thread(target=self.leave, args=(port, "/hang"))
        blocked.start()
        hanging = int(server.expect(r"hanging (\d+)")[1])
        suspended, left = set(server.workers().values()) - {hanging}
        os.kill(suspended, signal.SIGSTOP)
        self.answers_only(port, left)
        with self.load(port):
            # Which of the two is the first is for chance to say, and so is what comes in between.
            for said in (
                r"(?s)( gives no sign for 5 s \(worker_timeout\).*){2}",
                r"Fatal Python error: Aborted[^#]*app\.py\", line \d+ in application",
                rf"Worker \d \(pid {suspended}\) does not end and is killed",
            ):
                server.process.wait_for(said)
            blocked.join(PATIENCE)
            server.process.wait_for(r"(?s)( is ready.*){5}")
            self.answers_only(port, *server.workers().values())
            self.assertFalse({hanging, suspended} & set(server.workers().values()))
        self.end(server)

    def test_hurry(self):
        """A worker hangs, and the operator's second SIGTERM ends it at once."""
        server = self.supervise("--worker-timeout", "none", "--graceful-timeout", "none")
        port = server.is_up()
        blocked = threading.Thread(target=self.leave, args=(port, "/hang"))
        blocked.start()
        hanging = int(server.expect(r"hanging (\d+)")[1])
        (free,) = set(server.workers().values()) - {hanging}
        self.answers_only(port, free)
        server.send(signal.SIGTERM)
        server.expect("Stopping: waiting for the workers")
        server.send(signal.SIGTERM)
        server.expect("does not end and is killed")
        self.ended(server)
        blocked.join(PATIENCE)


class SuccessionTests(SupervisedTestCase):
    """Another supervisor takes over, and addresses, paths and clients stay."""

    def succeed(self, server: Supervised, pid: int, times: int) -> int:
        """Let another supervisor take over from this one; return its number."""
        os.kill(pid, signal.SIGUSR2)
        number = int(server.expect(r"Another supervisor is started \(pid (\d+)\)")[1])
        server.process.wait_for(rf"(?s)(Stopping: waiting for the workers.*){{{times}}}")
        return number

    def test_succession(self):
        """The operator replaces the supervisor twice, after it has had more workers for a while."""
        server = self.supervise("-b", "127.0.0.1:0", "-u", "socket", "--pid-file", "pid")
        port = server.is_up()
        path, file = self.folder / "socket", self.folder / "pid"
        inode = path.stat().st_ino
        server.send(signal.SIGTTIN)  # there are three sockets on the port from now on
        server.expect("Worker 3 .* is ready")
        with self.load(port):
            second = self.succeed(server, server.process.pid, 1)
            self.assertEqual(file.read_text(), f"{second}\n")
            third = self.succeed(server, second, 2)
            for _ in range(25):
                self.answering(port, 1)
        self.assertEqual(path.stat().st_ino, inode)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
        self.assertEqual(file.read_text(), f"{third}\n")
        os.kill(third, signal.SIGTERM)
        process = self.ended(server)
        self.assertFalse(path.exists() or file.exists())
        self.assertNotIn("ERROR", process.errors)

    def test_broken(self):
        """The next supervisor cannot start, and this one goes on; then both are stopped."""
        server = self.supervise("--pid-file", "pid", "-u", "socket")
        server.expect("Listening on unix socket")
        self.write("refuse", "")
        first = set(server.started())
        server.send(signal.SIGUSR2)
        server.expect(r"CRITICAL Worker \d \(pid \d+\) could not start \(exit status 3\)")
        server.expect(r"other supervisor could not start \(exit status 3\); this one goes on")
        self.assertEqual((self.folder / "pid").read_text(), f"{server.process.pid}\n")
        self.assertTrue((self.folder / "socket").exists())
        self.write("gate", "")
        server.send(signal.SIGUSR2)
        server.expect("importing")
        server.send(signal.SIGUSR2)
        server.expect("SIGUSR2: this supervisor is starting, being replaced, or stopping")
        process = self.end(server)
        self.assertEqual(set(server.started()), first)
        self.assertEqual(process.errors.count("this one goes on"), 1)
        self.assertFalse((self.folder / "socket").exists())
