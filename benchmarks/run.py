#!/usr/bin/env python
"""Compare the speed of this server with that of others, side by side in one run.

    python benchmarks/run.py
    python benchmarks/run.py --full
    python benchmarks/run.py --peers django-daphne,uvicorn,granian --scenarios trivial,upload
    python benchmarks/run.py --scenarios 'django-sync-*' --peers 'django-daphne*,granian-wsgi*'
    python benchmarks/run.py --repeats 9 --seconds 10 --python python3.12
    python benchmarks/run.py --here --peers django-daphne --scenarios trivial

Without arguments it measures what it takes to judge the goals of goals.py, a quarter of an hour.
The tables go to standard output, and with a picture and every single sample to
benchmarks/results/. When a server answers wrongly there is no table, only one line about the reason
and exit status 1.
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
from goals import GOALS
from kinds.base import Scenario
from measure import Load, Run, measure
from peers import OURS, PEERS, Peer
from report import Report, Samples, describe_machine, now
from scenarios import SCENARIOS
from servers import BenchmarkError, Cores, choose_cores

# What a run takes beyond its load, roughly, for saying beforehand how long all will take.
START_AND_STOP_SECONDS = 2

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
        metavar="NAMES",
        help=f"Servers or patterns, by commas: {', '.join(PEERS)}. (default: those of the goals)",
    )
    parser.add_argument(
        "--scenarios",
        type=_chosen_from(SCENARIOS),
        metavar="NAMES",
        help=f"Scenarios or patterns, by commas: {', '.join(SCENARIOS)}. (default: the goals')",
    )
    parser.add_argument(
        "--full", action="store_true", help="Every scenario, with every server that can serve it."
    )
    for name, low, default, text in (
        ("repeats", 1, 5, "Rounds over all servers."),
        ("seconds", 1, 3, "Length of each load."),
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
    installed = parser.add_mutually_exclusive_group()
    installed.add_argument(
        "--fresh", action="store_true", help="Install the newest releases of the servers anew."
    )
    installed.add_argument(
        "--here",
        action="store_true",
        help="Install nothing: the interpreter, with what is in its environment, serves.",
    )
    return parser


# Each scenario with the servers that are measured in it, in the order of the report.
Plan = Sequence[tuple[Scenario, Sequence[Peer]]]


def make_plan(options: argparse.Namespace) -> tuple[Plan, dict[str, list[str]]]:
    """Return what is to be measured, and by scenario who leaves it out, and why.

    Raises BenchmarkError for a scenario that nobody can serve.
    """
    every = options.full
    wanted = list(SCENARIOS.values()) if every else [SCENARIOS[g.scenario] for g in GOALS]
    plan, left_out = [], {}
    for scenario in dict.fromkeys(options.scenarios or wanted):
        peers = options.peers or (PEERS.values() if every else _peers_of_goals(scenario))
        able = [peer for peer in peers if peer.application(scenario)]
        reasons = {peer.name: peer.reason_to_leave_out(scenario) for peer in able}
        found = [f"{name} {reason}." for name, reason in reasons.items() if reason]
        able = [peer for peer in able if not reasons[peer.name]]
        if not able:
            names = ", ".join(peer.name for peer in peers)
            why = " ".join(found) or f"none of these servers can serve it: {names}"
            raise BenchmarkError(f"{scenario.name}: {why}")
        plan.append((scenario, able))
        left_out[scenario.name] = found
    return plan, left_out


def _peers_of_goals(scenario: Scenario) -> list[Peer]:
    """Return this server and those that its goals name; those of all goals where there are none."""
    goals = [goal for goal in GOALS if goal.scenario == scenario.name] or GOALS
    return [PEERS[name] for name in dict.fromkeys([OURS, *(n for g in goals for n in g.others)])]


def compare(plan: Plan, load: Load, repeats: int, *, python: Path, cores: Cores) -> Samples:
    """Return the samples of all rounds, each round one run of each server in turn.

    Whatever slows the machine for a while thus meets all servers alike. Raises BenchmarkError at
    the first answer that is wrong.
    """
    samples: Samples = {}
    for scenario, peers in plan:
        of_peers = samples[scenario.name] = {peer.name: [] for peer in peers}
        with tempfile.TemporaryDirectory(prefix="benchmark-") as data:
            variables = _prepare(scenario, python, Path(data))
            runs = [
                Run(peer, scenario, load, variables, python, cores, Path(data)) for peer in peers
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
    plan, left_out = make_plan(options)
    scenarios = [scenario for scenario, _ in plan]
    peers = [p for p in PEERS.values() if any(p in able for _, able in plan)]
    load = Load(options.seconds, options.warmup, options.connections)
    client = describe_clients(scenarios)
    cores = choose_cores()
    requirements = [requirement for peer in peers for requirement in peer.requirements]
    packages = list(dict.fromkeys(name for s in scenarios for name in s.application.packages))
    distributions = [name for peer in peers for name in peer.distributions]
    try:
        if options.here:
            python = environment.here(options.python)
        else:
            wanted = [*requirements, *packages]
            python = environment.prepare(options.python, wanted, fresh=options.fresh)
        versions = environment.versions(python, [*distributions, *packages])
    except (OSError, subprocess.SubprocessError) as error:
        raise BenchmarkError(f"the environment could not be prepared: {error}") from error
    machine = describe_machine(cores, client, versions["python"])
    if packages:
        machine["project"] = ", ".join(f"{name} {versions[name]}" for name in packages)
    started = now()
    runs = options.repeats * sum(len(able) for _, able in plan)
    minutes = runs * (load.seconds + load.warmup + START_AND_STOP_SECONDS) / 60
    print(f"{runs} runs, about {minutes:.0f} minutes", file=sys.stderr, flush=True)
    samples = compare(plan, load, options.repeats, python=python, cores=cores)
    report = Report(
        started=started,
        peers=peers,
        scenarios=scenarios,
        samples=samples,
        left_out=left_out,
        load=load,
        repeats=options.repeats,
        versions=versions,
        machine=machine,
        base=OURS if PEERS[OURS] in peers else peers[0].name,
    )
    return report.write(RESULTS).read_text()


def describe_clients(scenarios: Sequence[Scenario]) -> str:
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
