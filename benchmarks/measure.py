"""Measure one server in one scenario: start, wait, check, load or fill, check, stop.

A measurement that was not answered rightly throughout is worth nothing: then `measure` raises
BenchmarkError, and nothing is reported.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from peers import Peer
from servers import BenchmarkError, Cores, Server, pinned, running
from uses import Idle, Loading, Scenario
from websocket_client import Client, WrongAnswer

# What a loading client may take beyond the time of its load, to set itself up and to end.
CLIENT_GRACE_SECONDS = 15.0
# Descriptors that a server and this process have beside their WebSockets.
SPARE_DESCRIPTORS = 256


@dataclass(frozen=True)
class Load:
    """Describe how a server is loaded: so many connections, kept open."""

    seconds: int
    warmup: int
    connections: int


@dataclass(frozen=True)
class Speed:
    """Hold the result of one load.

    `rate` is in answers a second, `p50` and `p99` are latencies in milliseconds. `server_core`
    and `client_core` are the parts of their cores (0 to 1) that server and client kept busy.
    """

    rate: float
    p50: float
    p99: float
    answers: int
    server_core: float
    client_core: float

    @property
    def merit(self) -> float:
        """Return what is better when it is larger."""
        return self.rate

    @property
    def processor_time(self) -> float:
        """Return the processor time of the server for one answer, in microseconds."""
        return self.server_core / self.rate * 1e6

    def __str__(self) -> str:
        return f"{self.rate:,.0f}/s"


@dataclass(frozen=True)
class Memory:
    """Hold what `count` open WebSockets took.

    In bytes: `before` is the whole server's, `silent` that of each WebSocket which was accepted,
    `used` after a message and its echo on each. `processor_time` is that of the server for opening
    one and for its echo, in microseconds.
    """

    count: int
    before: int
    silent: float
    used: float
    processor_time: float

    @property
    def merit(self) -> float:
        """Return what is better when it is larger."""
        return 1 / self.silent

    def __str__(self) -> str:
        return f"{self.silent / 1024:.1f} KiB for each of {self.count:,}"


Sample = Speed | Memory


def measure(
    peer: Peer,
    scenario: Scenario,
    load: Load,
    *,
    variables: Mapping[str, str],
    python: Path,
    cores: Cores,
    folder: Path,
) -> Sample:
    """Return one sample of `peer` in `scenario`; `folder` is for files of this run only.

    `variables` are those of the environment that the scenario has prepared.

    Raises BenchmarkError, with the name of the server and of the scenario, when the server does
    not start, answers wrongly, closes connections or lets requests fail.
    """
    count = 0
    if isinstance(scenario, Idle):
        # Before the server is started, which inherits it.
        allowed = _raise_limit(scenario.count + SPARE_DESCRIPTORS)
        count = min(scenario.count, allowed - SPARE_DESCRIPTORS)
    try:
        with running(
            peer, scenario, variables, python=python, core=cores.server, folder=folder
        ) as server:
            server.wait()
            if isinstance(scenario, Loading):
                sample: Sample = _load_twice(scenario, server, load, python, cores, folder)
            else:
                assert isinstance(scenario, Idle)
                sample = _fill(scenario, server, count)
            server.check()
            return sample
    except (BenchmarkError, OSError) as error:
        raise BenchmarkError(f"{peer.name}, {scenario.name}: {error}") from error


def _load_twice(
    scenario: Loading, server: Server, load: Load, python: Path, cores: Cores, folder: Path
) -> Speed:
    """Load the server to warm it up, then to measure it."""
    for seconds in (load.warmup, load.seconds):
        command = scenario.command(
            server.port, load.connections, seconds, python=python, folder=folder
        )
        if seconds:
            sample = _load([*pinned(cores.client), *command], scenario, server, seconds)
    # Before the first answer the warm-up may well be over.
    if not sample.answers:
        raise BenchmarkError("no answer was counted")
    return sample


def _load(command: list[str], scenario: Loading, server: Server, seconds: int) -> Speed:
    """Run a loading client and return what it counted."""
    busy_before = server.processor_seconds()
    own_before = os.times()
    try:
        result = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=seconds + CLIENT_GRACE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BenchmarkError(f"the client did not end within {error.timeout:g} seconds") from None
    own_after = os.times()
    busy = server.processor_seconds() - busy_before
    server.expect_running()
    if result.returncode:
        raise BenchmarkError(f"the client failed: {(result.stderr or result.stdout).strip()}")
    counts = json.loads(result.stdout.strip().splitlines()[-1])
    if fault := scenario.fault(counts):
        raise BenchmarkError(fault)
    elapsed = counts["microseconds"] / 1e6
    used = sum(own_after[2:4]) - sum(own_before[2:4])
    return Speed(
        rate=counts["answers"] / elapsed,
        p50=counts["p50"] / 1e3,
        p99=counts["p99"] / 1e3,
        answers=counts["answers"],
        server_core=busy / elapsed,
        # A client that is long in starting says itself what the load took.
        client_core=counts.get("busy", used * 1e6) / counts["microseconds"],
    )


def _fill(scenario: Idle, server: Server, count: int) -> Memory:
    """Open so many WebSockets, one after the other, and look at the server's memory."""
    clients: list[Client] = []
    before, busy = server.memory(), server.processor_seconds()
    try:
        for number in range(count):
            clients.append(scenario.open(server.port, number))
        silent = server.memory()
        for client in clients:
            client.echo()
        used = server.memory()
        busy = server.processor_seconds() - busy
    except WrongAnswer as error:
        raise BenchmarkError(f"WebSocket {len(clients)} of {count}: {error}") from error
    finally:
        for client in clients:
            client.reset()
    return Memory(
        count=count,
        before=before,
        silent=(silent - before) / count,
        used=(used - before) / count,
        processor_time=busy / count * 1e6,
    )


def _raise_limit(count: int) -> int:
    """Let this process, and those that it starts, open so many files; return how many they may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        soft = count if hard == resource.RLIM_INFINITY else min(count, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return count if soft == resource.RLIM_INFINITY else soft
