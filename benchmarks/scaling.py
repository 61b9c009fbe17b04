#!/usr/bin/env python
"""Compare several worker processes of a server with one, side by side in one run.

    python benchmarks/scaling.py
    python benchmarks/scaling.py --peers django-daphne,granian --workers 4 --seconds 10 --repeats 5

All processes share as many cores as there are workers, wrk among them: so the table says what wrk
takes. Without it as many workers as cores would be as many times as fast as one, at best; with it
the bound is what the cores can do in the time that an answer costs both. The table goes to
standard output.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

import environment
from kinds.loading import Speed
from kinds.requests import Requests
from measure import Load, Run, measure
from peers import OURS, PEERS, Peer
from report import describe_machine
from scenarios import SCENARIOS
from servers import BenchmarkError, Cores


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peers", default=f"{OURS},uvicorn,granian", metavar="NAMES")
    parser.add_argument("--scenario", default="trivial", help="default: %(default)s")
    for name, default, text in (
        ("workers", 2, "Workers, and cores."),
        ("repeats", 3, "Samples of each server; the table has their medians."),
        ("seconds", 5, "Duration of one sample."),
        ("warmup", 1, "Seconds before each."),
        ("connections", 64, "Connections that are kept open."),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{text} ({default})")
    parser.add_argument("--python", default=sys.executable, help="default: this one")
    return parser


def with_workers(peer: Peer, count: int) -> Peer:
    """Return a server with so many worker processes."""
    words = (*peer.arguments["tcp"], "--workers", str(count))
    return replace(peer, name=f"{peer.name} with {count}", arguments={"tcp": words})


def compare(
    peers: Sequence[Peer], scenario: Requests, options: argparse.Namespace, cores: Cores
) -> list[str]:
    """Return the rows of the table, a server each; the samples take turns."""
    load = Load(options.seconds, options.warmup, options.connections)
    counts: tuple[int, int] = (1, options.workers)
    samples: dict[tuple[str, int], list[Speed]] = {}
    for turn in range(1, options.repeats + 1):
        for peer in peers:
            for count in counts:
                with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
                    sample = measure(
                        Run(
                            with_workers(peer, count),
                            scenario,
                            load,
                            variables={},
                            python=environment.PYTHON,
                            cores=cores,
                            folder=Path(folder),
                        )
                    )
                assert isinstance(sample, Speed)
                samples.setdefault((peer.name, count), []).append(sample)
                progress = f"{turn}/{options.repeats} {peer.name} with {count}: {sample}"
                print(progress, file=sys.stderr, flush=True)
    return [
        _row(peer.name, *(samples[peer.name, count] for count in counts), cores=options.workers)
        for peer in peers
    ]


def _row(name: str, one: list[Speed], many: list[Speed], *, cores: int) -> str:
    rates = [median(each.rate for each in samples) for samples in (one, many)]
    # Processor time of an answer in microseconds: the server's, and wrk's.
    server = median(each.processor_time for each in many)
    client = median(each.client_core / each.rate * 1e6 for each in many)
    bound = cores * 1e6 / (server + client)
    cells = [
        name,
        *(f"{rate:,.0f}/s" for rate in rates),
        f"{rates[1] / rates[0]:.2f}",
        f"{server:.1f} µs",
        f"{client:.1f} µs",
        f"{rates[1] / bound:.0%}",
        " / ".join(f"{median(each.p99 for each in samples):.2f}" for samples in (one, many)),
    ]
    return f"| {' | '.join(cells)} |"


def run(options: argparse.Namespace) -> str:
    """Prepare, measure and return the table as Markdown."""
    peers = [PEERS[name] for name in options.peers.split(",")]
    scenario = SCENARIOS[options.scenario]
    if not isinstance(scenario, Requests):
        raise BenchmarkError(f"{scenario.name} is not wrk's: expected a scenario like trivial")
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < options.workers:
        raise BenchmarkError(f"{options.workers} workers need as many cores; {len(allowed)} here")
    shared = ",".join(map(str, allowed[: options.workers]))
    cores = Cores(server=shared, client=shared)
    requirements = [requirement for peer in peers for requirement in peer.requirements]
    try:
        environment.prepare(options.python, requirements, fresh=False)
        versions = environment.versions(
            environment.PYTHON, (name for peer in peers for name in peer.distributions)
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise BenchmarkError(f"the environment could not be prepared: {error}") from error
    machine = describe_machine(cores, "wrk", versions["python"])
    many = options.workers
    head = (
        f"| server | 1 worker | {many} workers | factor | an answer, {many} workers | of wrk"
        " | of the bound | p99 of each, ms |"
    )
    return "\n".join(
        [
            *(f"{name}: {text}" for name, text in machine.items()),
            ", ".join(f"{peer.name} {versions[peer.distributions[0]]}" for peer in peers),
            "",
            head,
            "|---|---|---|---|---|---|---|---|",
            *compare(peers, scenario, options, cores),
        ]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison that ``arguments`` ask for and return the exit status."""
    try:
        print(run(make_parser().parse_args(arguments)))
    except BenchmarkError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
