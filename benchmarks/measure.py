"""Measure one server under one load: start, wait, check, warm up, load, check, stop.

The server has one core for itself, with all its processes; wrk has another. A measurement that
was not answered rightly throughout is worth nothing: then `measure` raises BenchmarkError, and
nothing is reported. Everything has a deadline, listens on 127.0.0.1 only, and is ended by the
id of a process that was started here.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peers import Peer
from scenarios import APPS, Scenario

START_SECONDS = 30.0
ANSWER_SECONDS = 10.0
STOP_SECONDS = 10.0
# What wrk may take beyond the time of its load, to set itself up and to end.
WRK_GRACE_SECONDS = 15.0


class BenchmarkError(Exception):
    """Raised with one line for the reader when a comparison would not be honest or possible."""


@dataclass(frozen=True)
class Cores:
    """Name the core of the server and that of wrk."""

    server: int
    client: int


@dataclass(frozen=True)
class Load:
    """Describe how wrk loads a server: one thread, and so many connections kept alive."""

    seconds: int
    warmup: int
    connections: int


@dataclass(frozen=True)
class Sample:
    """Hold the result of one load.

    `rate` is in requests a second, `p50` and `p99` are latencies in milliseconds. `server_core`
    and `client_core` are the parts of their cores (0 to 1) that server and wrk kept busy.
    """

    rate: float
    p50: float
    p99: float
    requests: int
    server_core: float
    client_core: float

    @property
    def processor_time(self) -> float:
        """Return the processor time of the server for one request, in microseconds."""
        return self.server_core / self.rate * 1e6


def find_wrk() -> str:
    """Return the path of wrk."""
    if path := shutil.which("wrk"):
        return path
    raise BenchmarkError("wrk is missing; on Debian and Ubuntu: apt install wrk")


def choose_cores() -> Cores:
    """Return two cores that this process may use, of two physical ones where possible."""
    if sys.platform != "linux":
        raise BenchmarkError("keeping processes to cores, and counting their time, needs Linux")
    client, *others = sorted(os.sched_getaffinity(0))
    if not others:
        raise BenchmarkError("the benchmarks need two cores, one for the server and one for wrk")
    siblings = _siblings(client)
    return Cores(server=next((c for c in others if c not in siblings), others[0]), client=client)


def measure(
    peer: Peer, scenario: Scenario, load: Load, *, python: Path, cores: Cores, folder: Path
) -> Sample:
    """Return one sample of `peer` in `scenario`; `folder` is for files of this run only.

    Raises BenchmarkError, with the name of the server and of the scenario, when the server does
    not start, answers wrongly, closes connections or lets requests fail.
    """
    script = folder / f"{scenario.name}.lua"
    script.write_text(scenario.script())
    wrk = [find_wrk(), "-t1", f"-c{load.connections}", "-s", str(script)]
    try:
        with _running(peer, scenario, python, cores.server, folder) as server:
            server.wait()
            if load.warmup:
                _load([*wrk, f"-d{load.warmup}s", server.url], cores, server, load.warmup)
            sample = _load([*wrk, f"-d{load.seconds}s", server.url], cores, server, load.seconds)
            server.check()
            return sample
    except (BenchmarkError, OSError) as error:
        raise BenchmarkError(f"{peer.name}, {scenario.name}: {error}") from error


@dataclass(frozen=True)
class _Server:
    """A server that was started, as its client and as its operator see it."""

    process: subprocess.Popen[bytes]
    scenario: Scenario
    port: int
    log: Path

    @property
    def url(self) -> str:
        """Return the address for wrk."""
        return f"http://127.0.0.1:{self.port}/"

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
        """Send the request twice on one connection and look at all of both answers.

        A server that closed the connection would be measured at connecting, not at answering.
        """
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_SECONDS)
        with contextlib.closing(client):
            client.connect()
            for _ in range(2):
                try:
                    client.request(self.scenario.method, "/", self.scenario.payload or None)
                    response = client.getresponse()
                    fault = self.scenario.fault(response.status, response.read())
                except (OSError, http.client.HTTPException) as error:
                    fault = f"no answer: {error!r}"
                if fault is None and response.will_close:
                    fault = "the connection was not kept alive"
                if fault:
                    raise BenchmarkError(f"wrong answer: {fault}{self._last_words()}")
        # Somebody else on the port would have answered for a server that could not bind.
        self.expect_running()

    def processor_seconds(self) -> float:
        """Return the processor time of all processes of the server until now."""
        ticks = 0
        for status in Path("/proc").glob("[0-9]*/stat"):
            # A process may end while it is looked at.
            with contextlib.suppress(OSError):
                fields = status.read_text().rpartition(")")[2].split()
                if int(fields[2]) == self.process.pid:
                    ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def expect_running(self) -> None:
        """Raise when the server has ended."""
        if _ended(self.process, 0):
            raise BenchmarkError(f"the server ended by itself{self._last_words()}")

    def _last_words(self) -> str:
        """Return the end of what the server has printed, for an error message."""
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return "".join(f"\n    {line}" for line in lines[-20:])


@contextlib.contextmanager
def _running(
    peer: Peer, scenario: Scenario, python: Path, core: int, folder: Path
) -> Iterator[_Server]:
    """Start a server on a free port, and end it and all its processes afterwards."""
    port = _free_port()
    log = folder / f"{peer.name}.log"
    # Nothing of the caller's environment: several servers read their flags from variables.
    environment = {
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "PATH": os.defpath,
        "TMPDIR": str(folder),
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*_pinned(core), *peer.command(python, scenario.application, port)],
            cwd=APPS,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield _Server(process, scenario, port, log)
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


def _load(command: list[str], cores: Cores, server: _Server, seconds: int) -> Sample:
    """Run wrk and return what it counted."""
    busy_before = server.processor_seconds()
    own_before = os.times()
    try:
        result = subprocess.run(
            [*_pinned(cores.client), *command],
            capture_output=True,
            text=True,
            timeout=seconds + WRK_GRACE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BenchmarkError(f"wrk did not end within {error.timeout:g} seconds") from None
    own_after = os.times()
    busy = server.processor_seconds() - busy_before
    server.expect_running()
    if result.returncode:
        raise BenchmarkError(f"wrk failed: {(result.stderr or result.stdout).strip()}")
    counts = json.loads(result.stdout.strip().splitlines()[-1])
    _expect_clean(counts, server.scenario)
    elapsed = counts["microseconds"] / 1e6
    used = sum(own_after[2:4]) - sum(own_before[2:4])
    return Sample(
        rate=counts["requests"] / elapsed,
        p50=counts["p50"] / 1e3,
        p99=counts["p99"] / 1e3,
        requests=counts["requests"],
        server_core=busy / elapsed,
        client_core=used / elapsed,
    )


def _expect_clean(counts: dict[str, Any], scenario: Scenario) -> None:
    """Raise unless every request that wrk counted was answered, and at full length."""
    failed = {kind: count for kind, count in counts["errors"].items() if count}
    if failed:
        found = ", ".join(f"{count} {kind}" for kind, count in failed.items())
        raise BenchmarkError(f"errors counted by wrk: {found}")
    if not counts["requests"]:
        raise BenchmarkError("wrk counted no answer")
    if counts["bytes"] < counts["requests"] * len(scenario.answer):
        raise BenchmarkError("wrk received fewer bytes than the answers have")


def _siblings(core: int) -> set[int]:
    """Return the cores that share a physical core with this one, itself included."""
    path = Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list")
    siblings = {core}
    if path.is_file():
        for part in path.read_text().strip().split(","):
            first, _, last = part.partition("-")
            siblings.update(range(int(first), int(last or first) + 1))
    return siblings


def _pinned(core: int) -> list[str]:
    """Return the words that make a command keep to one core, with all that it starts."""
    return ["taskset", "--cpu-list", str(core)]


def _free_port() -> int:
    """Return a port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
