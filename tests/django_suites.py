"""Run Django's own test suites with our handler, and compare with what Django's handler does.

    python -m tests.django_suites [asgi handlers ...]

The suites are not in the wheel of Django, so its source distribution, in the version that is
installed, is downloaded at the first run into `.django-suites`; the tests in it run against the
installed Django. They run twice: as they are, and with our handler where they look for
``ASGIHandler``. For that, this file is on the path of the second run as ``sitecustomize``, which
Python imports before anything else.

The exit status is 1 when a test fails with our handler only, unless EXCUSED says why it must.
"""

from __future__ import annotations

import argparse
import asyncio
import atexit
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
HOME: Final = ROOT / ".django-suites"

LABELS: Final = (
    "asgi",
    "handlers",
    "middleware",
    "middleware_exceptions",
    "signals",
    "requests_tests",
    "responses",
    "view_tests",
    "async",
    "staticfiles_tests",
    "servers",
    "test_client",
    "test_client_regress",
)

# Tests of what is inside Django's ASGIHandler, by id, with the reason why they cannot hold for us.
EXCUSED: Final[dict[str, str]] = {}

# Lanes that all handlers of a run have between them; some tests need two at the same time.
THREADS: Final = 8
# Seconds for one run, which takes about one minute: only the end of a hang.
PATIENCE: Final = 1800.0
# Names the file to which a process with our handler adds how many jobs its lanes have had.
COUNTS: Final = "DJANGO_SUITES_COUNTS"

# As unittest prints them. What stands in for a test, such as setUpClass, has its owner in brackets.
_HEADER = re.compile(
    r"^(?:={70}\n(?:ERROR|FAIL)|UNEXPECTED SUCCESS): (?P<name>\S+) \((?P<path>[^\s()]+)\)",
    re.MULTILINE,
)
_END = re.compile(
    r"^-{70}\nRan (?P<ran>\d+) tests? in \S+\n\n(?P<verdict>[A-Z ]+?(?: \((?P<counts>.*)\))?)$",
    re.MULTILINE,
)
_COUNT_OF_FAILED = re.compile(r"(?:failures|errors|unexpected successes)=(\d+)")


class Trouble(Exception):
    """The suites cannot be run, or not be judged, for the reason given."""


@dataclass(frozen=True)
class Results:
    """What a run says of itself. ``failed``: of each failed test, by id, what is printed of it."""

    ran: int
    verdict: str
    failed: Mapping[str, str]

    def __str__(self) -> str:
        return f"{self.ran} tests, {self.verdict}"


def parse(output: str) -> Results:
    """Return the results that unittest has printed.

    Raises Trouble for output without an end, without tests, or with a number of failures that is
    not the number found: subtests are printed, and counted, one by one.
    """
    ends = [*_END.finditer(output)]
    if not ends:
        raise Trouble("it ended before its tests did")
    end = ends[-1]
    if end["ran"] == "0":
        raise Trouble("it found no tests")
    headers = [*_HEADER.finditer(output, 0, end.start())]
    expected = sum(map(int, _COUNT_OF_FAILED.findall(end["counts"] or "")))
    if len(headers) != expected:
        raise Trouble(f"it counts {expected} failures and prints {len(headers)}")
    failed: dict[str, str] = {}
    for header, following in pairwise((*headers, end)):
        name, path = header["name"], header["path"]
        test = path if path.endswith(f".{name}") else f"{path}.{name}"
        failed[test] = failed.get(test, "") + output[header.start() : following.start()]
    return Results(int(end["ran"]), end["verdict"], failed)


@dataclass(frozen=True)
class Comparison:
    """The tests that failed, by whose handler they failed with."""

    stock: Results
    ours: Results
    excused: Mapping[str, str]

    @property
    def blamed(self) -> list[str]:
        """Return the tests that fail with our handler only, without an excuse."""
        return sorted(self.ours.failed.keys() - self.stock.failed.keys() - self.excused.keys())

    @property
    def is_good(self) -> bool:
        """Tell whether every test ran with ours that ran with Django's, and none is to blame."""
        return not self.blamed and self.ours.ran == self.stock.ran

    def lines(self) -> Iterator[str]:
        """Yield what there is to say, the worst at the end."""
        stock, ours = self.stock.failed.keys(), self.ours.failed.keys()
        for test in sorted(stock & ours):
            yield f"fails with both: {test}"
        for test in sorted(stock - ours):
            yield f"fails with Django's handler only: {test}"
        for test in sorted((ours - stock) & self.excused.keys()):
            yield f"excused: {test}: {self.excused[test]}"
        for test in self.blamed:
            yield f"\n{self.ours.failed[test].rstrip()}"
        for test in self.blamed:
            yield f"fails with our handler only: {test}"
        if self.ours.ran != self.stock.ran:
            yield f"with our handler {self.ours.ran} tests ran, not {self.stock.ran}"


def say(text: str = "") -> None:
    """Write a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def fetch(version: str, home: Path) -> Path:
    """Return the folder of Django's tests, downloaded unless it is there from an earlier run."""
    source = home / version
    if not source.exists():
        say(f"Downloading the source of Django {version} into {home}")
        home.mkdir(exist_ok=True)
        # Made elsewhere and moved: what is broken off half-way is not there the next time.
        with tempfile.TemporaryDirectory(dir=home) as work:
            unpack(download(version, Path(work)), Path(work, "source")).rename(source)
    return source / "tests"


def download(version: str, folder: Path) -> Path:
    """Have pip put the source distribution into a folder, and return its path."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"]
    # Of Django only: the tools that pip reads its metadata with may come as wheels.
    command += ["--no-deps", "--no-binary", "django", "--dest", str(folder), f"django=={version}"]
    if subprocess.run(command, check=False).returncode:
        raise Trouble(f"pip does not get the source of Django {version}")
    return next(folder.glob("*.tar.gz"))


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack an archive into a new folder, and return the only folder in it."""
    with tarfile.open(archive) as tar:
        # The first releases of Python 3.11 have no filters, and do not look at this.
        tar.extraction_filter = getattr(tarfile, "data_filter", None)
        tar.extractall(folder)
    (content,) = folder.iterdir()
    return content


def play(tests: Path, labels: Sequence[str], log: Path, more: Mapping[str, str]) -> Results:
    """Run the suites with more environment variables; all that they print goes to a log."""
    ours = ("DJANGO_SETTINGS_MODULE", "PYTHONPATH")
    environ = {name: value for name, value in os.environ.items() if name not in ours}
    command = [sys.executable, "runtests.py", "--parallel=1", "--verbosity=1", *labels]
    try:
        with log.open("w", encoding="utf-8") as output:
            status = subprocess.run(
                command,
                check=False,
                cwd=tests,
                env={**environ, **more},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=PATIENCE,
            ).returncode
        results = parse(log.read_text(encoding="utf-8", errors="replace"))
    except subprocess.TimeoutExpired:
        raise Trouble(f"no end after {PATIENCE:.0f} s: {log}") from None
    except Trouble as trouble:
        raise Trouble(f"{trouble}: {log}") from None
    if bool(status) != bool(results.failed):
        raise Trouble(f"status {status} after {results}: {log}")
    return results


def play_ours(tests: Path, labels: Sequence[str], log: Path) -> tuple[Results, int]:
    """Run the suites with our handler; return the number of jobs its lanes had, too."""
    with tempfile.TemporaryDirectory(prefix="django-daphne-") as folder:
        shutil.copy(__file__, Path(folder, "sitecustomize.py"))
        counts = Path(folder, "counts")
        path = os.pathsep.join((folder, str(ROOT)))
        results = play(tests, labels, log, {"PYTHONPATH": path, COUNTS: str(counts)})
        # Python goes on without a sitecustomize that it cannot import.
        if not counts.exists():
            raise Trouble(f"our handler was not put in the place of Django's: {log}")
        return results, sum(map(int, counts.read_text(encoding="utf-8").split()))


def substitute() -> None:
    """Put a handler with lanes where Django's tests look for ``ASGIHandler``."""
    # Before, so that it goes on extending Django's own class, as it does in a project.
    import django.contrib.staticfiles.handlers  # noqa: F401
    from django.core import asgi
    from django.core.handlers import asgi as handlers
    from django.db import connections

    from django_daphne.handlers.lanes import Job, LanePool
    from django_daphne.handlers.threaded import ThreadedASGIHandler

    class CountingPool(LanePool):
        jobs = 0

        def submit(self, job: Job, loop: asyncio.AbstractEventLoop) -> None:
            self.jobs += 1
            super().submit(job, loop)

    pool = CountingPool(THREADS, idle_timeout=None, on_end=connections.close_all)

    class SubstituteHandler(ThreadedASGIHandler):
        """Made without arguments, as Django's is, and as open to subclasses."""

        def __init__(self) -> None:
            super().__init__(pool)

    def finish() -> None:
        pool.close(timeout=5.0)
        with Path(os.environ[COUNTS]).open("a", encoding="utf-8") as counts:
            counts.write(f"{pool.jobs}\n")

    vars(asgi)["ASGIHandler"] = vars(handlers)["ASGIHandler"] = SubstituteHandler
    atexit.register(finish)


def main(arguments: Sequence[str] | None = None, home: Path = HOME) -> int | str:
    """Run the suites twice, print what differs, and return the exit status or a last word."""
    import django

    parser = argparse.ArgumentParser(description="Django's own test suites with our handler.")
    parser.add_argument("labels", metavar="label", nargs="*", default=LABELS)
    labels = parser.parse_args(arguments).labels
    version = django.get_version()
    say(f"Django {version}, Python {platform.python_version()}: {' '.join(labels)}")
    try:
        tests = fetch(version, home)
        stock = play(tests, labels, home / f"{version}-stock.log", {})
        say(f"Django's handler: {stock}")
        ours, taken = play_ours(tests, labels, home / f"{version}-ours.log")
        say(f"our handler: {ours}; {taken} jobs in lanes")
    except Trouble as trouble:
        return f"The suites could not be run: {trouble}"
    comparison = Comparison(stock, ours, EXCUSED)
    for line in comparison.lines():
        say(line)
    if not taken:
        return "No test has sent a request through a lane."
    return 0 if comparison.is_good else 1


if __name__ == "sitecustomize":
    substitute()
elif __name__ == "__main__":
    sys.exit(main())
