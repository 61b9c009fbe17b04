"""Run the WebSocket test suite of the Autobahn project against the server.

    python -m tests.compliance.autobahn [--cases "1.*" 7.9.1 ...] [--loop uvloop]

The suite (``wstest``) is written for Python 2.7. An interpreter is looked for in PATH and among
pyenv's versions; without one nothing is run, which is said. The suite goes into an environment of
its own, `.venv-autobahn`, at the first run; its reports are left there, too. It plays the client of
an echo in a server process, one connection for each case. Those of 12 and 13 send a thousand
messages each, compressed, and take most of the time.

The exit status is 1 when a case failed, or was not run, or no compression was agreed on for it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django_daphne.server.types import Receive, Scope, Send
from tests.support.processes import ROOT, Process, environment

SUITE = "autobahntestsuite==25.10.1"
# The last ones that make environments for Python 2.7.
VIRTUALENV = "virtualenv<20.22"
HOME = ROOT / ".venv-autobahn"
# What the server is called in the reports.
AGENT = "django_daphne"

# What the largest cases send: messages of 16 MiB, and of 4 MiB in 65536 frames. A ping would be
# taken for an answer in a case that is slow.
OPTIONS = (
    f"--websocket-max-message-size={16 * 2**20}",
    f"--websocket-max-frame-size={16 * 2**20}",
    "--websocket-max-fragments=-1",
    "--ping-interval=-1",
)

CATEGORIES = {
    1: "framing",
    2: "pings and pongs",
    3: "reserved bits",
    4: "opcodes",
    5: "fragmentation",
    6: "UTF-8",
    7: "closing",
    9: "limits and performance",
    10: "automatic fragmentation",
    12: "compression: payloads",
    13: "compression: parameters",
}

# The suite's words for the behaviour in a case, from good to bad.
OK, INFORMATIONAL, NON_STRICT, UNIMPLEMENTED, FAILED = RESULTS = (
    "OK",
    "INFORMATIONAL",
    "NON-STRICT",
    "UNIMPLEMENTED",
    "FAILED",
)
# And for the way it was closed, which count like these; another one is a failure. A client that
# has to drop the connection waited for a server that should have (RFC 6455, section 7.1.1).
CLOSED = {"OK": OK, "INFORMATIONAL": INFORMATIONAL, "FAILED BY CLIENT": NON_STRICT}


class Trouble(Exception):
    """The suite cannot be run, for the reason given."""


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Send every message back; the application that is served."""
    if scope["type"] != "websocket":
        raise ValueError("it serves WebSockets only")
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({**message, "type": "websocket.send"})


@dataclass(frozen=True)
class Outcome:
    """What became of one case."""

    name: str
    behavior: str
    close: str
    report: Path

    @property
    def result(self) -> str:
        """Return one of RESULTS: the worse of what happened and of how it ended."""
        return max(self.behavior, CLOSED.get(self.close, FAILED), key=RESULTS.index)

    @property
    def number(self) -> tuple[int, ...]:
        """Return the parts of the name, to sort by; the first is the category."""
        return tuple(map(int, self.name.split(".")))

    def explain(self) -> str:
        """Return what the suite says of it."""
        case = json.loads(self.report.read_text(encoding="utf-8"))
        return (
            f"{self.name} {self.result}: {self.behavior}: {case['result']}"
            f" Closing: {self.close}, code {case['remoteCloseCode']}: {case['resultClose']}"
        )


def say(text: str = "") -> None:
    """Write a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def find_interpreter() -> str | None:
    """Return the path of a Python 2.7 that runs: a pyenv shim may stand for none."""
    found = [shutil.which(name) for name in ("python2.7", "python2")]
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    installed = sorted(pyenv.glob("versions/2.7*/bin/python2.7"))
    for path in filter(None, (*found, *map(str, installed))):
        command = (path, "-c", "import sys; sys.exit(sys.version_info[:2] != (2, 7))")
        if subprocess.run(command, check=False, capture_output=True).returncode == 0:
            return path
    return None


def install(interpreter: str) -> None:
    """Install the suite, unless it is there from an earlier run."""
    stamp = HOME / ".installed"
    if stamp.exists() and stamp.read_text() == SUITE:
        return
    say(f"Installing {SUITE} with {interpreter} in {HOME.name}")
    pip_install = ("-m", "pip", "--disable-pip-version-check", "-qq", "install")
    with tempfile.TemporaryDirectory(prefix="django-daphne-") as tools:
        run(sys.executable, *pip_install, "--target", tools, VIRTUALENV)
        options = ("--quiet", "--clear", "--no-periodic-update", "--python", interpreter)
        run(sys.executable, "-m", "virtualenv", *options, str(HOME), PYTHONPATH=tools)
    run(str(HOME / "bin" / "python"), "-E", *pip_install, "--no-python-version-warning", SUITE)
    stamp.write_text(SUITE)


def run(*command: str, **variables: str) -> None:
    """Run a command that has to succeed."""
    try:
        subprocess.run(command, check=True, env={**os.environ, **variables})
    except subprocess.CalledProcessError as error:
        raise Trouble(str(error)) from None


@contextmanager
def serving(loop: str) -> Iterator[str]:
    """Serve the echo in a process while the block runs; give its URL."""
    options = ("--port=0", f"--loop={loop}", *OPTIONS)
    command = (sys.executable, "-m", "django_daphne", *options, "tests.compliance.autobahn:echo")
    server = Process(command, cwd=ROOT, env=environment({}))
    try:
        yield f"ws://127.0.0.1:{server.wait_for_port()}"
    finally:
        server.kill()
        if "Traceback" in server.errors:
            say(f"\nThe server has logged:\n{server.errors}")


def play(url: str, cases: list[str], report: Path) -> tuple[int, list[Outcome]]:
    """Run the cases; return how many there were to run, and what became of them."""
    shutil.rmtree(report, ignore_errors=True)
    report.mkdir()
    specification = report / "fuzzingclient.json"
    testee = {"url": url, "agent": AGENT}
    wanted = {"outdir": str(report), "servers": [testee], "cases": cases}
    specification.write_text(json.dumps(wanted))
    programs = HOME / "bin"
    # Unbuffered, and without what was meant for another Python.
    wstest = (programs / "python", "-E", "-u", programs / "wstest")
    command = (*wstest, "--mode=fuzzingclient", f"--spec={specification}")
    number = 0
    with subprocess.Popen(command, cwd=report, stdout=subprocess.PIPE, text=True) as suite:
        assert suite.stdout is not None
        category = ""
        for line in suite.stdout:
            if match := re.match(r"Ok, will run (\d+) test cases", line):
                number = int(match[1])
                if not number:
                    suite.terminate()  # it would wait for ever
                    raise Trouble("there is no such case")
            elif match := re.match(r"Running test case ID (\d+)", line):
                if match[1] != category:
                    category = match[1]
                    say(f"  running {category}.*")
            elif "failed" in line:
                say(line.rstrip())
    index = report / "index.json"
    if suite.returncode or not index.exists():
        raise Trouble(f"wstest ended with status {suite.returncode}, or without a report")
    return number, read(index)


def read(index: Path) -> list[Outcome]:
    """Return the outcomes of a report, in the order of the suite."""
    found: dict[str, dict[str, Any]] = json.loads(index.read_text()).get(AGENT, {})
    outcomes = [
        Outcome(name, case["behavior"], case["behaviorClose"], index.parent / case["reportfile"])
        for name, case in found.items()
    ]
    return sorted(outcomes, key=lambda outcome: outcome.number)


def table(outcomes: Iterable[Outcome]) -> Iterator[str]:
    """Return the lines of a Markdown table: categories down, results across."""
    counts = Counter((outcome.number[0], outcome.result) for outcome in outcomes)
    yield f"| cases | {' | '.join(RESULTS)} |"
    yield "|---" * (len(RESULTS) + 1) + "|"
    for category in sorted({category for category, _ in counts}):
        title = CATEGORIES.get(category, "")
        numbers = [counts[category, result] for result in RESULTS]
        yield f"| {category}.\\* {title} | {' | '.join(map(str, numbers))} |"
    totals = [sum(counts[key] for key in counts if key[1] == result) for result in RESULTS]
    yield f"| all | {' | '.join(map(str, totals))} |"


def main() -> None:
    """Run the suite, print the results, and exit."""
    parser = argparse.ArgumentParser(description="Autobahn's WebSocket test suite.")
    parser.add_argument("--cases", nargs="+", default=["*"], metavar="CASE", help='such as "1.*"')
    parser.add_argument("--loop", choices=("auto", "uvloop", "asyncio"), default="auto")
    options = parser.parse_args()
    interpreter = find_interpreter()
    if interpreter is None:
        say("Skipped: the suite needs Python 2.7, and none was found in PATH or in pyenv.")
        sys.exit(0)
    report = HOME / f"report-{options.loop}"
    try:
        install(interpreter)
        with serving(options.loop) as url:
            wanted, outcomes = play(url, options.cases, report)
    except Trouble as trouble:
        sys.exit(f"The suite could not be run: {trouble}")
    say()
    for line in table(outcomes):
        say(line)
    say()
    for outcome in outcomes:
        if outcome.result != OK:
            say(outcome.explain())
    missing = wanted - len(outcomes)
    if missing or not outcomes:
        say(f"Of {wanted} cases {missing} were not run.")
    say(f"The details: {report / 'index.html'}")
    bad = any(outcome.result in (UNIMPLEMENTED, FAILED) for outcome in outcomes)
    sys.exit(1 if bad or missing or not outcomes else 0)


if __name__ == "__main__":
    main()
