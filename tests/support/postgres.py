"""PostgreSQL for a test, in a folder of the test's own and reached by a socket in it.

Its log is the record of what was connected: every connection has a line when it begins and one when
it ends, in the order in which the database saw them.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .processes import PATIENCE, Process, ProcessTestCase

if TYPE_CHECKING:
    from psycopg import Connection

# Debian has the programs that belong to one release in a folder of that release.
PROGRAMS = "/usr/lib/postgresql/*/bin"

USER = "postgres"
MAX_CONNECTIONS = 300

STARTED = re.compile("ready to accept connections")
# Nothing here outlives the test, so nothing is made safe on a disk.
OPTIONS = {
    "listen_addresses": "",
    "max_connections": str(MAX_CONNECTIONS),
    "shared_buffers": "16MB",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "log_connections": "on",
    "log_disconnections": "on",
    "log_line_prefix": "%p ",
    "log_error_verbosity": "default",  # whatever a template on this machine says
}
LINE = re.compile(
    r"^(?P<pid>\d+) LOG:  (?:"
    r"connection authorized: .*?application_name=(?P<name>\w+)|(?P<end>disconnection:))",
    re.MULTILINE,
)


class Connections(NamedTuple):
    """How many connections of one name there were: in all, at the most at once, and at the end."""

    opened: int
    most: int
    left: int


class Postgres:
    """A database server that may be stopped and started again; what it holds stays."""

    def __init__(self, case: PostgresTestCase, command: list[str], folder: Path) -> None:
        self.folder = folder
        self._case = case
        self._command = command
        self._processes: list[Process] = []
        self.start()

    @property
    def process(self) -> Process:
        """Return the process that runs, or the last that ran."""
        return self._processes[-1]

    def start(self) -> None:
        """Start, and wait until connections are accepted."""
        process = self._case.start_command(self._command)
        self._processes.append(process)
        # Killed, it would leave a piece of shared memory behind.
        self._case.addCleanup(self.stop)
        process.wait_for(STARTED)

    def stop(self) -> None:
        """Stop at once, as its administrator would: every connection is cut off."""
        process = self.process
        process.send_signal(signal.SIGINT)
        process.wait()

    def connect(self, name: str = "test") -> Connection[Any]:
        """Return a connection of that name, whose statements count at once."""
        import psycopg

        return psycopg.connect(
            host=str(self.folder), user=USER, application_name=name, autocommit=True
        )

    def connections(self, *names: str) -> Connections:
        """Count the connections with one of these names, over all that the log tells."""
        opened = most = 0
        now: set[str] = set()
        for process in self._processes:
            now.clear()  # none survives the server
            for line in LINE.finditer(process.errors):
                if line["end"]:
                    now.discard(line["pid"])
                elif line["name"] in names:
                    opened += 1
                    now.add(line["pid"])
                    most = max(most, len(now))
        return Connections(opened, most, len(now))


class PostgresTestCase(ProcessTestCase):
    """Tests that may start PostgreSQL; skipped there without it."""

    def start_postgres(self) -> Postgres:
        """Start PostgreSQL with an empty database; it ends with the test."""
        if find_spec("psycopg") is None:
            self.skipTest("missing: psycopg")
        folder = self.folder / "postgres"
        folder.mkdir()
        prefix: list[str] = []
        if os.getuid() == 0:  # as whom it refuses to run
            self._give_away(folder)
            prefix = [self._program("setpriv"), f"--reuid={USER}", f"--regid={USER}"]
            prefix.append("--clear-groups")
        data = str(folder / "data")
        options = ["--username", USER, "--auth", "trust", "--encoding", "UTF8", "--locale", "C"]
        subprocess.run(
            [*prefix, self._program("initdb"), "--pgdata", data, *options, "--no-sync"],
            cwd=self.folder,
            check=True,
            capture_output=True,
            timeout=PATIENCE,
        )
        command = [*prefix, self._program("postgres"), "-D", data, "-k", str(folder)]
        for name, value in OPTIONS.items():
            command += ["-c", f"{name}={value}"]
        return Postgres(self, command, folder)

    def _give_away(self, folder: Path) -> None:
        """Make the folder that of the user who runs the server."""
        try:
            shutil.chown(folder, USER, USER)
        except LookupError:
            self.skipTest(f"missing: the user {USER}")
        self.folder.chmod(0o711)  # what is in it can be reached, if not seen

    def _program(self, name: str) -> str:
        newest = sorted(Path("/").glob(PROGRAMS.lstrip("/")), key=_version)[-1:]
        path = os.pathsep.join([*map(str, newest), os.environ.get("PATH", os.defpath)])
        program = shutil.which(name, path=path)
        if program is None:
            self.skipTest(f"missing: {name}")
        return program


def _version(folder: Path) -> int:
    return int(folder.parent.name) if folder.parent.name.isdigit() else 0
