#!/usr/bin/env python
"""Load a server of HTTP/2 on TLS with h2load, and print what was counted as JSON.

    python benchmarks/http2_load.py --port 8000 --connections 8 --streams 16 --seconds 4

h2load counts requests, and writes a line about each answer into a file: latencies and statuses are
taken from there. Ends with status 1, and one line about the reason, when h2load does not run,
speaks something else than HTTP/2, or prints what is not understood here.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from programs import ProgramFailed, output_of
from tls import CIPHER

# What h2load may take beyond the time of its load; less than what this program may.
GRACE_SECONDS = 10.0

OK = "200"
PROTOCOL = "Application protocol: h2\n"
REQUESTS = re.compile(
    r"^requests: .* (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout$",
    re.MULTILINE,
)
BYTES = re.compile(r"^traffic: .* \((\d+)\) data$", re.MULTILINE)


class LoadError(Exception):
    """Raised with one line about what went wrong."""


def load(*, port: int, path: str, connections: int, streams: int, seconds: int) -> dict[str, Any]:
    """Return what was counted, as `scenarios.Loading.command` describes it.

    What is under way when the time is over does not count. `errors` has how many requests failed,
    one of them under more than one name: "status" is for any but 200, "unlisted" for those that are
    not in the file.
    """
    with tempfile.TemporaryDirectory(prefix="h2load-") as folder:
        log = Path(folder) / "answers"
        command = [
            *("h2load", "-t1", f"-c{connections}", f"-m{streams}", f"-D{seconds}"),
            *("--npn-list=h2", f"--tls13-ciphers={CIPHER}", f"--log-file={log}"),
            f"https://127.0.0.1:{port}{path}",
        ]
        printed = output_of(command, seconds + GRACE_SECONDS, "h2load")
        # When it began, its status, what it took.
        answers = [line.split("\t") for line in log.read_text().splitlines()]
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    if PROTOCOL not in printed:
        raise LoadError("h2load and the server did not agree about HTTP/2")
    requests, received = REQUESTS.search(printed), BYTES.search(printed)
    if not requests or not received:
        raise LoadError(f"h2load did not print its counts: {printed[-1000:]!r}")
    done, succeeded, failed, errored, timeout = map(int, requests.groups())
    took = sorted(int(duration) for _, _, duration in answers)
    return {
        "answers": succeeded,
        "microseconds": seconds * 1_000_000,
        "bytes": int(received[1]),
        "p50": _percentile(took, 50),
        "p99": _percentile(took, 99),
        "busy": int((usage.ru_utime + usage.ru_stime) * 1e6),
        "errors": {
            "failed": failed,
            "errored": errored,
            "timeout": timeout,
            "status": sum(status != OK for _, status, _ in answers),
            "unlisted": abs(done - len(answers)),
        },
    }


def _percentile(values: Sequence[int], percent: int) -> int:
    """Return the value below which so many of 100 sorted values lie; 0 of none."""
    return values[len(values) * percent // 100] if values else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Load as the arguments say, print the counts and return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, required=True, help="A port of 127.0.0.1.")
    parser.add_argument("--path", default="/", help="What is asked for. (%(default)s)")
    for name, default, text in (
        ("connections", 8, "Connections."),
        ("streams", 16, "Requests under way on each connection."),
        ("seconds", 4, "Length of the load."),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{text} (%(default)s)")
    try:
        print(json.dumps(load(**vars(parser.parse_args(arguments)))))
    except (LoadError, ProgramFailed, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
