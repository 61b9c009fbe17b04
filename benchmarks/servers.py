"""Start a server, wait for it, look at it from outside, and stop it.

A server has one core for itself, with all its processes. It listens on 127.0.0.1 only, and is ended
by the id of the process that was started here. Everything has a deadline.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from kinds.base import APPS, Scenario
from peers import Peer
from websocket_client import WrongAnswer

START_SECONDS = 30.0
STOP_SECONDS = 10.0


class BenchmarkError(Exception):
    """Raised with one line for the reader when a comparison would not be honest or possible."""


@dataclass(frozen=True)
class Cores:
    """Name the core of the server and that of the client, or several as taskset writes them."""

    server: int | str
    client: int | str


def choose_cores() -> Cores:
    """Return two cores that this process may use, of two physical ones where possible."""
    if sys.platform != "linux":
        raise BenchmarkError("keeping processes to cores, and counting their time, needs Linux")
    client, *others = sorted(os.sched_getaffinity(0))
    if not others:
        raise BenchmarkError("the benchmarks need two cores, for the server and for the client")
    siblings = _siblings(client)
    return Cores(server=next((c for c in others if c not in siblings), others[0]), client=client)


def pinned(core: int | str) -> list[str]:
    """Return the words that make a command keep to a core, with all that it starts."""
    return ["taskset", "--cpu-list", str(core)]


@dataclass(frozen=True)
class Server:
    """A server that was started, as its client and as its operator see it."""

    process: subprocess.Popen[bytes]
    scenario: Scenario
    port: int
    log: Path

    def wait(self) -> None:
        """Return once the server has answered rightly."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            self.expect_running()
            try:
                return self.check()
            except ConnectionRefusedError:
                if time.monotonic() > deadline:
                    raise BenchmarkError(
                        f"did not listen within {START_SECONDS:g} seconds{self._last_words()}"
                    ) from None
                time.sleep(0.05)

    def check(self) -> None:
        """Raise BenchmarkError for a wrong answer."""
        try:
            self.scenario.check(self.port)
        except WrongAnswer as error:
            raise BenchmarkError(f"wrong answer: {error}{self._last_words()}") from error
        # Somebody else on the port would have answered for a server that could not bind.
        self.expect_running()

    def processor_seconds(self) -> float:
        """Return the processor time of all processes of the server until now."""
        ticks = sum(int(fields[11]) + int(fields[12]) for fields, _ in self._processes())
        return ticks / os.sysconf("SC_CLK_TCK")

    def memory(self, *, shared_in_parts: bool = False) -> int:
        """Return the bytes of memory of all processes of the server (the resident set size).

        What several processes share counts for each of them, or in parts.
        """
        name, key = ("smaps_rollup", "Pss") if shared_in_parts else ("status", "VmRSS")
        size = 0
        for _, folder in self._processes():
            found = re.search(rf"^{key}:\s*(\d+) kB$", (folder / name).read_text(), re.MULTILINE)
            size += int(found[1]) * 1024 if found else 0
        return size

    def count_processes(self) -> int:
        """Return how many processes the server consists of."""
        return sum(1 for _ in self._processes())

    def count_threads(self) -> int:
        """Return how many threads all of them have."""
        return sum(int(fields[17]) for fields, _ in self._processes())

    def _processes(self) -> Iterator[tuple[list[str], Path]]:
        """Return the numbers of "stat", from the state on, and the folder of each process."""
        for status in Path("/proc").glob("[0-9]*/stat"):
            # A process may end while it is looked at.
            with contextlib.suppress(OSError):
                fields = status.read_text().rpartition(")")[2].split()
                # Its session: worker processes may lead groups of their own.
                if int(fields[3]) == self.process.pid:
                    yield fields, status.parent

    def expect_running(self) -> None:
        """Raise when the server has ended."""
        if _ended(self.process, 0):
            raise BenchmarkError(f"the server ended by itself{self._last_words()}")

    def _last_words(self) -> str:
        """Return the end of what the server has printed, for an error message."""
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return "".join(f"\n    {line}" for line in lines[-20:])


@contextlib.contextmanager
def running(
    peer: Peer,
    scenario: Scenario,
    variables: Mapping[str, str],
    *,
    python: Path,
    core: int | str,
    folder: Path,
) -> Iterator[Server]:
    """Start a server on a free port, and end it and all its processes afterwards.

    `variables` are those of the scenario, `folder` is for files of this run.
    """
    application = peer.application(scenario)
    if application is None:
        raise BenchmarkError("this server cannot serve that")
    port = _free_port()
    command = peer.command(python, scenario, application, port, variables)
    log = folder / f"{peer.name}.log"
    # Nothing of the caller's environment: several servers read their flags from variables.
    environment = {
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "PATH": os.defpath,
        "TMPDIR": str(folder),
        **variables,
        **peer.variables(),
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*pinned(core), *command],
            cwd=APPS,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield Server(process, scenario, port, log)
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a server politely, then whatever is left of its process group.

    The group has the id of its first process, which stays taken until wait() reaps that process;
    for the same reason nothing here calls poll() or send_signal(), which reap as well.
    """
    try:
        os.kill(process.pid, signal.SIGTERM)
        _ended(process, STOP_SECONDS)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _ended(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Return whether a process ends within so many seconds, without reaping it."""
    descriptor = os.pidfd_open(process.pid)
    try:
        return bool(select.select([descriptor], [], [], seconds)[0])
    finally:
        os.close(descriptor)


def _siblings(core: int) -> set[int]:
    """Return the cores that share a physical core with this one, itself included."""
    path = Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list")
    siblings = {core}
    if path.is_file():
        for part in path.read_text().strip().split(","):
            first, _, last = part.partition("-")
            siblings.update(range(int(first), int(last or first) + 1))
    return siblings


def _free_port() -> int:
    """Return a port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
