"""Measure one server in one scenario: what a run has, and its sample.

A measurement that was not answered rightly throughout is worth nothing: then `measure` raises
BenchmarkError, and nothing is reported.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from kinds.base import Sample, Scenario
from peers import Peer
from servers import BenchmarkError, Cores, Server, running
from websocket_client import WrongAnswer


@dataclass(frozen=True)
class Load:
    """Describe how a server is loaded: so many connections, kept open."""

    seconds: int
    warmup: int
    connections: int


@dataclass(frozen=True)
class Run:
    """One server in one scenario, once.

    `variables` are those of the environment that the scenario has prepared; `python` is an
    interpreter with uvloop, for clients too; `folder` is for files, of this run only once
    `measure` has made it.
    """

    peer: Peer
    scenario: Scenario
    load: Load
    variables: Mapping[str, str]
    python: Path
    cores: Cores
    folder: Path

    @contextlib.contextmanager
    def server(self, *, wait: bool = True) -> Iterator[Server]:
        """Start the server, wait until it answers rightly, and end it afterwards."""
        with running(
            self.peer,
            self.scenario,
            self.variables,
            python=self.python,
            core=self.cores.server,
            folder=self.folder,
        ) as server:
            if wait:
                server.wait()
            yield server


def measure(run: Run) -> Sample:
    """Return one sample, of a run that has a new folder in its own for itself.

    Raises BenchmarkError, with the name of the server and of the scenario, when the server does
    not start, answers wrongly, closes connections or lets requests fail.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="run-", dir=run.folder) as folder:
            return run.scenario.measure(replace(run, folder=Path(folder)))
    except (BenchmarkError, WrongAnswer, OSError) as error:
        raise BenchmarkError(f"{run.peer.name}, {run.scenario.name}: {error}") from error
