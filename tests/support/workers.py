"""A supervisor with its workers, an application for them, and clients that never stop asking."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from typing import Any

from tests.support.processes import LISTENING, PATIENCE, Process, ProcessTestCase, get

# Answers with the number of its process, and does what a path says. Files in the folder decide how
# it starts: "gate" lets it wait, "refuse" lets its startup fail.
APPLICATION = """
    import asyncio, os, pathlib, sys, threading, time

    def hang():
        print("hanging", os.getpid(), file=sys.stderr, flush=True)
        threading.Event().wait()

    ways = {
        "/die": lambda: os._exit(7),
        "/leave": lambda: os._exit(0),
        "/hang": hang,
    }
    print("importing", os.getpid(), file=sys.stderr, flush=True)
    while pathlib.Path("gate").exists():
        time.sleep(0.01)

    async def application(scope, receive, send):
        if scope["type"] == "lifespan":
            await receive()
            if pathlib.Path("refuse").exists():
                await send({"type": "lifespan.startup.failed", "message": "there is no database"})
                return
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        ways.get(scope["path"], int)()
        if scope["method"] == "POST":
            print("began", file=sys.stderr, flush=True)
        while (await receive())["more_body"]:
            pass
        body = str(os.getpid()).encode()
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
"""

# The kernel chooses among the sockets of a port: so many connections find each of a few.
_TRIES = 25
# Seconds between two requests of a client, which shares its machine with what it asks.
_PACE = 0.03


class Supervised:
    """A started supervisor, and what it says of its workers."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self._seen = 0

    def expect(self, pattern: str) -> re.Match[str]:
        """Return the next match in what it logs, behind the one before."""
        match = self.process.find_error(re.compile(pattern), self._seen)
        self._seen = match.end()
        return match

    def is_up(self) -> int:
        """Return the port, when all workers are ready; what is expected comes behind that."""
        port = int(self.process.wait_for(LISTENING)["port"])
        self._seen = len(self.process.errors)
        return port

    def started(self) -> list[int]:
        """Return the numbers of all workers that have become ready."""
        return [int(n) for n in re.findall(r"\(pid (\d+)\) is ready", self.process.errors)]

    def workers(self) -> dict[int, int]:
        """Return the number of the last process that has become ready, by that of its slot."""
        found = re.findall(r"Worker (\d+) \(pid (\d+)\) is ready", self.process.errors)
        return {int(slot): int(pid) for slot, pid in found}

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def replacement(self) -> int:
        """Return the number of the next worker that becomes ready."""
        return int(self.expect(r"\(pid (\d+)\) is ready")[1])


class SupervisedTestCase(ProcessTestCase):
    """Tests with the application above at app:application."""

    def setUp(self):
        super().setUp()
        self.write("app.py", APPLICATION)

    def supervise(self, *arguments: str, workers: int = 2, **variables: str) -> Supervised:
        """Start a supervisor of this many workers, on a free port unless it is told where."""
        command = ["--workers", str(workers), *arguments, "app:application"]
        if not {"-p", "-b", "--fd", "-u"} & set(arguments):
            command[:0] = ["-p", "0"]
        return self.watch(self.start_cli(*command, **variables))

    def watch(self, process: Process) -> Supervised:
        """Return what a started command says; what it has started ends with the test, too."""
        supervised = Supervised(process)
        self.addCleanup(self._end_all, supervised)
        return supervised

    def _end_all(self, supervised: Supervised) -> None:
        if not supervised.process.has_closed:
            for pid in map(int, re.findall(r"\(pid (\d+)\)", supervised.process.errors)):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def begin(self, server: Supervised, port: int) -> HTTPConnection:
        """Return a connection with a request that runs until its one byte of body is sent."""
        connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        self.addCleanup(connection.close)
        connection.request("POST", "/", headers={"Content-Length": "1"})
        server.expect("began")
        return connection

    def end(self, supervised: Supervised, status: int = 0) -> Process:
        """Let it end by SIGTERM; nobody may be left."""
        supervised.send(signal.SIGTERM)
        return self.ended(supervised, status)

    def ended(self, supervised: Supervised, status: int = 0) -> Process:
        """Wait for the end of it, and of all that it has started, which have its output open."""
        self.assertEqual(supervised.process.wait(), status, supervised.process)
        self.assertTrue(supervised.process.has_closed, "somebody is left")
        return supervised.process

    def answering(self, port: int, count: int) -> set[int]:
        """Return the numbers of the processes that answer, once there are so many of them."""
        found: set[int] = set()
        deadline = time.monotonic() + PATIENCE
        while len(found) < count:
            self.assertLess(time.monotonic(), deadline, f"only {found} answer")
            found.add(int(get(port).text))
        return found

    def answers_only(self, port: int, *pids: int) -> None:
        """Return when these processes answer, all of them and no others, on whichever socket."""
        deadline = time.monotonic() + PATIENCE
        last: list[int] = []
        while len(last) < _TRIES or set(last) != set(pids):
            self.assertLess(time.monotonic(), deadline, f"{last} answer, not {pids}")
            last = [*last[1 - _TRIES :], int(get(port).text)]

    @contextmanager
    def load(self, port: int, lost: int = 0) -> Iterator[Load]:
        """Ask without pause, on a kept connection and on new ones; no more may be lost."""
        load = Load(port)
        try:
            load.wait()
            yield load
            load.wait()
        finally:
            load.end()
        self.assertLessEqual(len(load.failures), lost, load.failures)


class Load:
    """Two clients: one keeps its connection for as long as it may, one makes a new one each time.

    ``failures`` are the requests without an answer.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._ending = threading.Event()
        self._changed = threading.Condition()
        self._counts = [0, 0]
        self.failures: list[str] = []
        self._threads = [
            threading.Thread(target=self._ask, args=(index, bool(index)), daemon=True)
            for index in range(len(self._counts))
        ]
        for thread in self._threads:
            thread.start()

    def wait(self) -> None:
        """Return when each client has had another answer, or none, whose request is new."""
        with self._changed:
            wanted = [count + 2 for count in self._counts]
            done = self._changed.wait_for(lambda: self._has(wanted), PATIENCE)
        if not done:
            self.failures.append(f"no answer in {PATIENCE} s")

    def _has(self, wanted: list[int]) -> bool:
        return all(count >= want for count, want in zip(self._counts, wanted, strict=True))

    def end(self) -> None:
        """Ask no more."""
        self._ending.set()
        for thread in self._threads:
            thread.join(PATIENCE)

    def _ask(self, index: int, is_kept: bool) -> None:
        while not self._ending.is_set():
            with closing(HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)) as connection:
                goes_on = True
                while goes_on and not self._ending.wait(_PACE):
                    goes_on = self._ask_once(connection, "kept" if is_kept else "new") and is_kept
                    with self._changed:
                        self._counts[index] += 1
                        self._changed.notify_all()

    def _ask_once(self, connection: HTTPConnection, name: str) -> bool:
        """Ask; tell whether the connection can be used again."""
        try:
            connection.request("GET", "/")
            response: Any = connection.getresponse()
            response.read()
        except (OSError, HTTPException) as error:
            self.failures.append(f"{name}: {error!r}")
            return False
        if response.status != 200:
            self.failures.append(f"{name}: {response.status}")
        return not response.will_close
