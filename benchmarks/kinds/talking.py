"""A loader that opens its connections first, and begins its load when it is told to."""

from __future__ import annotations

import contextlib
import json
import select
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from servers import BenchmarkError, Server, pinned

from .idle import SPARE_DESCRIPTORS, raise_limit
from .loading import CLIENT_GRACE_SECONDS

if TYPE_CHECKING:
    from measure import Run

# What opening all connections may take.
OPEN_SECONDS = 75.0


@dataclass(frozen=True)
class Counted:
    """What a loader has counted, and what was seen of the server meanwhile.

    `memory` is that of the server before the load, in bytes; `busy` its processor time and
    `elapsed` the length of the load, in seconds. `p50` and `p99` are in milliseconds.
    """

    answers: int
    elapsed: float
    busy: float
    client_busy: float
    p50: float
    p99: float
    memory: int

    def speed(self) -> dict[str, Any]:
        """Return the fields of a Speed."""
        return {
            "rate": self.answers / self.elapsed,
            "p50": self.p50,
            "p99": self.p99,
            "answers": self.answers,
            "server_core": self.busy / self.elapsed,
            "client_core": self.client_busy / self.elapsed,
        }


def need_connections(count: int) -> None:
    """Let this process, and those that it starts, have so many. Raises BenchmarkError."""
    needed = count + SPARE_DESCRIPTORS
    if raise_limit(needed) < needed:
        raise BenchmarkError(f"needs {needed} open files, more than the hard limit")


def load(
    run: Run, server: Server, program: Path, seconds: int, options: Mapping[str, object]
) -> Counted:
    """Run a loader with these options; look at the server when all is open, and at the end.

    Raises BenchmarkError when the loader fails, with what it says, or does not end.
    """
    options = {"port": server.port, "seconds": seconds, **options}
    words = [f"--{name}={value}" for name, value in options.items()]
    command = [*pinned(run.cores.client), str(run.python), str(program), *words]
    with _started(command) as loader:
        loader.expect("open", OPEN_SECONDS)
        memory, busy = server.memory(), server.processor_seconds()
        loader.say()
        loader.expect("loaded", seconds + CLIENT_GRACE_SECONDS)
        busy = server.processor_seconds() - busy
        loader.say()
        counts = json.loads(loader.line(CLIENT_GRACE_SECONDS))
    server.expect_running()
    if not counts["answers"]:
        raise BenchmarkError("nothing was counted")
    return Counted(
        answers=counts["answers"],
        elapsed=counts["microseconds"] / 1e6,
        busy=busy,
        client_busy=counts["busy"] / 1e6,
        p50=counts["p50"] / 1e3,
        p99=counts["p99"] / 1e3,
        memory=memory,
    )


@dataclass(frozen=True)
class _Loader:
    """A loader that was started, and what it says, a line at a time."""

    process: subprocess.Popen[bytes]
    output: IO[bytes]

    def line(self, seconds: float) -> str:
        """Return its next line. Raises BenchmarkError when it says none, or too late."""
        deadline, line = time.monotonic() + seconds, b""
        while not line.endswith(b"\n"):
            left = max(deadline - time.monotonic(), 0)
            if not select.select([self.output], [], [], left)[0]:
                raise BenchmarkError(f"the client said nothing for {seconds:g} seconds")
            if not (piece := self.output.read(4096)):
                raise BenchmarkError(f"the client failed: {self._complaint()}")
            line += piece
        return line.decode()

    def expect(self, word: str, seconds: float) -> None:
        """Wait until it says just this."""
        if (line := self.line(seconds).strip()) != word:
            raise BenchmarkError(f"the client said {line!r}")

    def say(self) -> None:
        """Tell it to go on."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    def _complaint(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.read().decode(errors="replace").strip()


@contextlib.contextmanager
def _started(command: list[str]) -> Iterator[_Loader]:
    """Start a loader, and end it afterwards if it has not ended."""
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0) as process:
        assert process.stdout is not None
        try:
            yield _Loader(process, process.stdout)
        finally:
            process.kill()
