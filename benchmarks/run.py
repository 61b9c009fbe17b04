#!/usr/bin/env python
"""Compare the speed of this server with that of others, side by side in one run.

    python benchmarks/run.py
    python benchmarks/run.py --peers django-daphne,uvicorn,granian --scenarios trivial,upload
    python benchmarks/run.py --scenarios tls,http2 --peers 'django-daphne*,uvicorn*,granian'
    python benchmarks/run.py --scenarios echo64,echo64x32,echo16k,idle
    python benchmarks/run.py --scenarios 'django-sync-*' --peers 'django-daphne*,granian-wsgi*'
    python benchmarks/run.py --repeats 9 --seconds 10 --python python3.12

The table goes to standard output, and with every single sample to benchmarks/results/. When a
server answers wrongly there is no table, only one line about the reason and exit status 1.
"""

from __future__ import annotations

import argparse
import fnmatch
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import environment
from kinds.base import Scenario
from measure import Load, Run, measure
from peers import OURS, PEERS, Peer
from report import Report, Samples, describe_machine, now
from scenarios import SCENARIOS
from servers import BenchmarkError, Cores, choose_cores

RESULTS = Path(__file__).resolve().parent / "results"

T = TypeVar("T")


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--peers",
        type=_chosen_from(PEERS),
        default=f"{OURS},uvicorn,daphne,gunicorn-gthread",
        metavar="NAMES",
        help=f"Servers or patterns, by commas: {', '.join(PEERS)}. (default: %(default)s)",
    )
    parser.add_argument(
        "--scenarios",
        type=_chosen_from(SCENARIOS),
        default="trivial,django-sync-hello,django-orm-page,django-async-hello,django-async-orm",
        metavar="NAMES",
        help=f"Scenarios or patterns, by commas: {', '.join(SCENARIOS)}. (default: %(default)s)",
    )
    for name, low, default, text in (
        ("repeats", 1, 5, "Rounds over all servers."),
        ("seconds", 1, 4, "Length of each load."),
        ("warmup", 0, 1, "Seconds of the load before it, which are not counted."),
        ("connections", 1, 32, "Connections that the client keeps open."),
    ):
        parser.add_argument(
            f"--{name}",
            type=_at_least(low),
            default=default,
            metavar="NUMBER",
            help=f"{text} (default: %(default)s)",
        )
    parser.add_argument(
        "--python",
        default=sys.executable,
        help="The interpreter for all servers. (default: the one that runs this)",
    )
    parser.add_argument(
        "--fresh", action="store_true", help="Install the newest releases of the servers anew."
    )
    return parser


def compare(
    peers: Sequence[Peer],
    scenarios: Sequence[Scenario],
    load: Load,
    repeats: int,
    *,
    python: Path,
    cores: Cores,
) -> Samples:
    """Return the samples of all rounds, each round one run of each server in turn.

    Whatever slows the machine for a while thus meets all servers alike. A server has no samples of
    a scenario that it cannot serve. Raises BenchmarkError at the first answer that is wrong.
    """
    samples: Samples = {}
    for scenario in scenarios:
        able = [peer for peer in peers if peer.application(scenario)]
        if not able:
            raise BenchmarkError(f"none of these servers can serve {scenario.name}")
        of_peers = samples[scenario.name] = {peer.name: [] for peer in able}
        with tempfile.TemporaryDirectory(prefix="benchmark-") as data:
            variables = _prepare(scenario, python, Path(data))
            runs = [
                Run(peer, scenario, load, variables, python, cores, Path(data)) for peer in able
            ]
            calibrated = scenario.calibrate(runs)
            for turn in range(1, repeats + 1):
                for run in runs:
                    sample = measure(replace(run, scenario=calibrated))
                    of_peers[run.peer.name].append(sample)
                    progress = f"{scenario.name} {turn}/{repeats} {run.peer.name}: {sample}"
                    print(progress, file=sys.stderr, flush=True)
    return samples


def _prepare(scenario: Scenario, python: Path, data: Path) -> dict[str, str]:
    try:
        return scenario.prepare(python, data)
    except (OSError, subprocess.SubprocessError) as error:
        raise BenchmarkError(f"{scenario.name} could not be prepared: {error}") from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison that `arguments` ask for and return the exit status."""
    options = make_parser().parse_args(arguments)
    # Ended by a signal, this process would leave a server running.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        print(run(options))
    except BenchmarkError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0


def run(options: argparse.Namespace) -> str:
    """Prepare, measure, write the results and return the report as Markdown."""
    peers: list[Peer] = options.peers
    scenarios: list[Scenario] = options.scenarios
    load = Load(options.seconds, options.warmup, options.connections)
    client = _describe_clients(scenarios)
    cores = choose_cores()
    requirements = [requirement for peer in peers for requirement in peer.requirements]
    packages = list(dict.fromkeys(name for s in scenarios for name in s.application.packages))
    distributions = [name for peer in peers for name in peer.distributions]
    try:
        python = environment.prepare(
            options.python, [*requirements, *packages], fresh=options.fresh
        )
        versions = environment.versions([*distributions, *packages])
    except (OSError, subprocess.SubprocessError) as error:
        raise BenchmarkError(f"the environment could not be prepared: {error}") from error
    machine = describe_machine(cores, client, versions["python"])
    if packages:
        machine["project"] = ", ".join(f"{name} {versions[name]}" for name in packages)
    started = now()
    samples = compare(peers, scenarios, load, options.repeats, python=python, cores=cores)
    names = [peer.name for peer in peers]
    report = Report(
        started=started,
        peers=peers,
        scenarios=scenarios,
        samples=samples,
        load=load,
        repeats=options.repeats,
        versions=versions,
        machine=machine,
        base=OURS if OURS in names else names[0],
    )
    report.write(RESULTS)
    return report.markdown()


def _describe_clients(scenarios: Sequence[Scenario]) -> str:
    """Return what loads the servers in these scenarios, with the versions of foreign programs."""
    programs = {program for scenario in scenarios for program in scenario.programs()}
    found = []
    if "wrk" in programs:
        found.append(f"{_version('wrk', '-v', 'wrk')} for HTTP/1.1")
    if "h2load" in programs:
        found.append(f"{_version('h2load', '--version', 'nghttp2-client')} for HTTP/2")
    return ", ".join(found) or "this directory's own"


def _version(program: str, flag: str, package: str) -> str:
    """Return what a program that is needed calls itself."""
    path = shutil.which(program)
    if path is None:
        raise BenchmarkError(f"{program} is missing; on Debian and Ubuntu: apt install {package}")
    # The exit status of wrk is 1.
    result = subprocess.run([path, flag], check=False, capture_output=True, text=True, timeout=10)
    return result.stdout.partition("Copyright")[0].strip()


def _chosen_from(known: Mapping[str, T]) -> Callable[[str], list[T]]:
    """Return the type of an option that takes names of `known`, or patterns, by commas."""

    def names(text: str) -> list[T]:
        found = {pattern: fnmatch.filter(known, pattern) for pattern in text.split(",")}
        unknown = [pattern for pattern, matches in found.items() if not matches]
        if unknown:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}")
        return [known[name] for name in dict.fromkeys(n for each in found.values() for n in each)]

    return names


def _at_least(low: int) -> Callable[[str], int]:
    """Return the type of an option that takes whole numbers from `low` on."""

    def number(text: str) -> int:
        value = int(text)
        if value < low:
            raise argparse.ArgumentTypeError(f"must be {low} or more")
        return value

    return number


if __name__ == "__main__":
    sys.exit(main())
