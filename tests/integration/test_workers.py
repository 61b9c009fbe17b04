"""Workers: started, counted, reloaded and stopped, while clients never stop asking."""

from __future__ import annotations

import os
import signal

from tests.support.processes import wait_until_refused
from tests.support.workers import APPLICATION, SupervisedTestCase


class StartTests(SupervisedTestCase):
    """Workers start together, or not at all."""

    def test_serve(self):
        """The operator starts two workers, both of which serve, and nothing stays behind."""
        server = self.supervise("--pid-file", "daphne.pid")
        port = server.is_up()
        self.assertEqual(self.answering(port, 2), set(server.started()))
        file = self.folder / "daphne.pid"
        self.assertEqual(file.read_text(), f"{server.process.pid}\n")
        # By mistake: as each worker has a socket of its own, the kernel would let it.
        second = self.start_cli("-p", str(port), "--workers", "2", "app:application")
        self.assert_one_line(second, 1, f"127.0.0.1:{port}: that address is already in use.")
        ended = self.end(server)
        self.assertFalse(file.exists())
        wait_until_refused(port)
        self.assertNotIn("Traceback", ended.errors)
        self.assertNotIn("starting another", ended.errors)

    def test_refused(self):
        """The application does not start, which is the end of all, with status 3 and the reason."""
        self.write("refuse", "")
        server = self.supervise("-u", "socket")
        process = self.ended(server, 3)
        self.assertIn("there is no database", process.errors)
        self.assertRegex(process.errors, r"CRITICAL +Worker \d \(pid \d+\) could not start \(exit ")
        self.assertNotIn("Traceback", process.errors)
        self.assertFalse((self.folder / "socket").exists())

    def test_late(self):
        """The application's import takes too long, and its log says where it hangs."""
        self.write("gate", "")
        server = self.supervise("--worker-start-timeout", "1", "--max-lifetime", "99", workers=1)
        process = self.ended(server, 3)
        self.assertIn("is not ready after 1 s (worker_start_timeout)", process.errors)
        self.assertRegex(process.errors, r'Fatal Python error: Aborted\n\n.*\n  File ".*", line \d')
        self.assertIn("could not start (killed by SIGABRT)", process.errors)

    def test_stopped_during_start(self):
        """The operator stops it while the application is imported, and nobody complains."""
        self.write("gate", "")
        server = self.supervise("-u", "socket")
        server.expect("importing")
        process = self.end(server)
        self.assertNotIn("could not start", process.errors)
        self.assertFalse((self.folder / "socket").exists())

    def test_hangup_during_start(self):
        """The operator reloads too early: what is loaded already may be old, and is replaced."""
        self.write("gate", "")
        server = self.supervise("--max-lifetime", "99", workers=1)
        server.expect("importing")
        server.send(signal.SIGHUP)
        server.expect("SIGHUP")
        (self.folder / "gate").unlink()
        first = server.replacement()
        second = server.replacement()
        server.expect("The reload is complete")
        self.assertNotEqual(first, second)
        process = self.end(server)
        self.assertEqual(process.errors.count("The reload is complete"), 1)


class OperationTests(SupervisedTestCase):
    """The operator's signals, under load."""

    def test_count(self):
        """The operator has one worker more, then one, and its neighbours' sockets are served."""
        server = self.supervise()
        port = server.is_up()
        with self.load(port):
            server.send(signal.SIGTTIN)
            server.expect("Workers from now on: 3")
            server.expect("Worker 3 .* is ready")
            self.answering(port, 3)
            for left in (2, 1):
                server.send(signal.SIGTTOU)
                server.expect(f"Workers from now on: {left}")
            server.send(signal.SIGTTOU)  # there has to be one
            # Two sockets of three have no worker of their own.
            self.answers_only(port, server.workers()[1])
            server.send(signal.SIGTTIN)
            server.expect("Worker 2 .* is ready")
        self.assertNotIn("Workers from now on: 0", self.end(server).errors)

    def test_reload(self):
        """The operator reloads what is broken, mends it, and reloads again."""
        server = self.supervise()
        port = server.is_up()
        with self.load(port):
            first = self.answering(port, 2)
            self.write("app.py", "def")
            server.send(signal.SIGHUP)
            server.expect("SyntaxError")
            server.expect("the reload is given up, and the workers before it stay")
            self.assertEqual(self.answering(port, 2), first)
            self.write("app.py", APPLICATION)
            server.send(signal.SIGHUP)
            server.expect("The reload is complete")
            second = set(server.workers().values())
            self.assertFalse(first & second)
            self.answers_only(port, *second)
        process = self.end(server)
        self.assertNotIn("killed", process.errors)

    def test_stop_everything(self):
        """The service manager sends SIGTERM to every process, and no request is cut off."""
        server = self.supervise()
        port = server.is_up()
        connection = self.begin(server, port)
        for pid in server.started():
            os.kill(pid, signal.SIGTERM)
        server.send(signal.SIGTERM)
        server.expect("Stopping: waiting for the workers")
        wait_until_refused(port)
        connection.send(b"x")
        self.assertEqual(connection.getresponse().status, 200)
        self.ended(server)

    def test_limits(self):
        """Workers serve a number of requests each, one is replaced after the other."""
        limits = ("--max-requests", "20", "--max-requests-jitter", "5")
        server = self.supervise(*limits, workers=1)
        with self.load(server.is_up()):
            for _ in range(2):
                server.expect(r"is replaced \(max_requests\)")
                server.replacement()
        self.end(server)
