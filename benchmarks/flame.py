#!/usr/bin/env python
"""Show where a server spends its time under the load of a scenario: a flame graph, by py-spy.

    python benchmarks/flame.py trivial
    python benchmarks/flame.py django-sync-hello --peer django-daphne --seconds 20

Writes benchmarks/results/flame-SCENARIO-PEER.svg, and prints the functions with the largest time of
their own. What counts is who holds the interpreter's lock: a thread that waits is not at work.
py-spy reads the memory of the server from outside: as root, or where
/proc/sys/kernel/yama/ptrace_scope is 0.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import environment
from kinds.loading import Loading
from measure import Load, Run, measure
from peers import OURS, PEERS
from programs import ProgramFailed, output_of
from run import RESULTS, describe_clients
from scenarios import SCENARIOS
from servers import BenchmarkError, Server, choose_cores, pinned

PY_SPY = "py-spy>=0.4.1"  # the first for Python 3.13
# Samples a second; many more would slow the server down.
RATE = 250
# What py-spy may take to begin, and to write what it has.
END_SECONDS = 30.0
SHOWN = 20


@dataclass(frozen=True)
class WatchedRun(Run):
    """A run that py-spy looks at while its load lasts, to write `output` in this form of its."""

    form: str
    output: Path

    @contextlib.contextmanager
    def server(self, *, wait: bool = True) -> Iterator[Server]:
        """Start the server, and have it looked at from the time when it answers."""
        with super().server(wait=wait) as server, ThreadPoolExecutor(1) as pool:
            watching = pool.submit(self._watch, server.process.pid)
            yield server
            watching.result()

    def _watch(self, pid: int) -> None:
        seconds = self.load.seconds
        command = [
            *pinned(self.cores.client),
            *(str(self.python.with_name("py-spy")), "record", "--pid", str(pid)),
            *("--rate", str(RATE), "--duration", str(seconds), "--subprocesses", "--gil"),
            *("--format", self.form, "--output", str(self.output)),
        ]
        try:
            output_of(command, seconds + END_SECONDS, "py-spy")
        except ProgramFailed as error:
            raise BenchmarkError(
                f"{error} (it needs root, or /proc/sys/kernel/yama/ptrace_scope at 0)"
            ) from None


def profile(options: argparse.Namespace) -> str:
    """Load the server, look at it, and return what is to be printed."""
    scenario, peer = SCENARIOS[options.scenario], PEERS[options.peer]
    if not isinstance(scenario, Loading):
        raise BenchmarkError(f"{scenario.name} has no load to look at: expected one like trivial")
    if not peer.application(scenario):
        raise BenchmarkError(f"{peer.name} cannot serve {scenario.name}")
    describe_clients([scenario])
    requirements = [*peer.requirements, *scenario.application.packages, PY_SPY]
    try:
        python = environment.prepare(sys.executable, requirements, fresh=False)
    except (OSError, subprocess.SubprocessError) as error:
        raise BenchmarkError(f"the environment could not be prepared: {error}") from error
    RESULTS.mkdir(exist_ok=True)
    picture = RESULTS / f"flame-{scenario.name}-{peer.name}.svg"
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        folder = Path(name)
        stacks = folder / "stacks.txt"
        variables, cores = scenario.prepare(python, folder), choose_cores()
        # One load for each form, for py-spy writes one, and some loads are short.
        for form, output in (("flamegraph", picture), ("raw", stacks)):
            run = WatchedRun(
                peer,
                scenario,
                Load(min(options.seconds, scenario.longest or sys.maxsize), 0, options.connections),
                variables,
                python,
                cores,
                folder,
                form,
                output,
            )
            sample = measure(run)
        lines = own_times(stacks.read_text())
    if not lines:
        raise BenchmarkError("py-spy saw nobody at work")
    return "\n".join([f"{sample}, while py-spy looked on", "", *lines, "", str(picture)])


def own_times(stacks: str) -> list[str]:
    """Return a line for each function with much time of its own: its share, and its name."""
    samples: Counter[str] = Counter()
    for line in stacks.splitlines():
        frames, _, count = line.rpartition(" ")
        # A frame is "function (file:line)".
        samples[re.sub(r":\d+\)$", ")", frames.rpartition(";")[2])] += int(count)
    return [
        f"{count / samples.total():6.1%}  {function}"
        for function, count in samples.most_common(SHOWN)
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Profile as the arguments say and return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scenario", choices=SCENARIOS, metavar="SCENARIO", help="See run.py.")
    parser.add_argument("--peer", choices=PEERS, default=OURS, metavar="NAME", help="See run.py.")
    for name, default, text in (
        ("seconds", 5, "Length of each of two loads, one for the graph and one for the list."),
        ("connections", 32, "Connections that the client keeps open."),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{text} (%(default)s)")
    try:
        print(profile(parser.parse_args(arguments)))
    except BenchmarkError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
