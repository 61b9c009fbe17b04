#!/usr/bin/env python
"""Run the tests: all of them, or those that the labels and options select.

    python runtests.py
    python runtests.py tests.server.test_http11 -k upload --failfast --parallel 2 -v 2
    python runtests.py --tag heavy
    python runtests.py tests.server --loop asyncio --start eager

Without labels there are two passes, each in a process of its own because a process has one
reactor for life: the whole suite on uvloop with plainly started tasks, then the tests tagged
"loop" on asyncio's own loop with eager starts. (Python 3.11 knows no eager tasks: there both
passes start them plainly, and tests in memory run in the first alone.) The last line printed counts
the tests of both. The tests of a pass are shared by one process more than there are processors,
because every fifth second is waiting, four at most; "--parallel 1" is one after the other.
"""

from __future__ import annotations

import argparse
import compileall
import os
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

import django
from django.test.runner import get_max_test_processes

from tests.runner import Runner, Tally

ROOT = Path(__file__).resolve().parent
LOOPS = ("uvloop", "asyncio")
STARTS = ("plain", "eager")
CODE = ("django_daphne", "example_project", "tests")
MAX_PROCESSES = 4


def make_parser() -> argparse.ArgumentParser:
    """Return a parser for Django's test options and the two of our own."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("labels", metavar="label", nargs="*", help="Module, class, test or folder.")
    parser.add_argument("-v", "--verbosity", type=int, choices=range(4), default=1)
    parser.add_argument("--noinput", action="store_false", dest="interactive")
    parser.add_argument("--loop", choices=LOOPS, help="The event loop below the reactor.")
    parser.add_argument("--start", choices=STARTS, help="How application tasks start.")
    parser.add_argument("--tally", type=Path, help=argparse.SUPPRESS)
    Runner.add_arguments(parser)
    parser.set_defaults(parallel=default_processes())
    return parser


def default_processes() -> int:
    """Return how many processes share the tests; one where they cannot, or gain nothing by it."""
    processors = get_max_test_processes()
    # More than a few at once only disturb each other.
    return min(processors + 1, MAX_PROCESSES) if processors > 1 else 1


def run_once(labels: list[str], loop: str, start: str, tally: Path | None, **options: Any) -> Tally:
    """Run the selected tests in this process and return their tally.

    Tests read the choice of loop and start from DAPHNE_TEST_LOOP and DAPHNE_TEST_START. With
    `tally`, the three numbers go to that file as well.
    """
    os.environ["DAPHNE_TEST_LOOP"] = loop
    os.environ["DAPHNE_TEST_START"] = start
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    if options["parallel"] == "auto":
        options["parallel"] = get_max_test_processes()
    try:
        django.setup()
        runner = Runner(**options)
        runner.run_tests(labels)
        result = runner.tally
    except Exception:  # noqa: BLE001 - a run that cannot start is a failure to be counted
        traceback.print_exc()
        result = Tally(failed=1)
    if tally is not None:
        tally.write_text(f"{result.passed} {result.failed} {result.skipped}")
    return result


def run_pass(arguments: list[str], loop: str, start: str, *more: str) -> Tally:
    """Run this file again with a choice of loop and start, and return its tally.

    A process that dies without a word, or fails although its tests passed, is one failure.
    """
    print(f"== {loop}, {start} starts", *more, flush=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        tally = Path(folder, "tally")
        command = [sys.executable, __file__, *arguments, "--loop", loop, "--start", start, *more]
        status = subprocess.run([*command, "--tally", str(tally)], check=False).returncode
        try:
            result = Tally(*map(int, tally.read_text().split()))
        except FileNotFoundError:
            result = Tally()
    if status != result.exit_status:
        print(f"The process ended with status {status}.")
        result += Tally(failed=1)
    print(f"== {loop}, {start} starts took {time.monotonic() - began:.1f} s\n", flush=True)
    return result


def compile_code() -> None:
    """Write the byte code of what has changed, for hundreds of processes to share.

    Those that the tests start write none, nor does anyone where PYTHONDONTWRITEBYTECODE is set:
    each would compile the package anew, which is a third of a short command's time.
    """
    for folder in CODE:
        compileall.compile_dir(folder, quiet=2)


def main(arguments: list[str]) -> int:
    """Run what the arguments ask for, print the tally and return the exit status."""
    options = vars(make_parser().parse_args(arguments))
    loop, start = options.pop("loop"), options.pop("start")
    os.chdir(ROOT)
    compile_code()
    if options["labels"] or loop or start:
        options["labels"] = options["labels"] or ["tests"]
        result = run_once(loop=loop or LOOPS[0], start=start or STARTS[0], **options)
    else:
        result = run_pass(arguments, "uvloop", "plain")
        if not (options["failfast"] and result.failed):
            # Tests in memory have a loop of their own: nothing but the start differs for them.
            left_out = () if sys.version_info >= (3, 12) else ("--exclude-tag", "memory")
            result += run_pass(arguments, "asyncio", "eager", "--only", "loop", *left_out)
    sys.stderr.flush()
    print(result, flush=True)
    return result.exit_status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
