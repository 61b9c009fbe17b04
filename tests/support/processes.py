"""Commands in processes of their own, and the projects that they serve.

Nothing here waits by the clock: a wait ends with a line of output or with the process, and a bound
that is never reached on a healthy machine turns a hang into a failure that shows all output.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import IO, Any

from django.test import SimpleTestCase

import django_daphne

# Seconds; only ever an upper bound.
PATIENCE = 30

ROOT = Path(__file__).resolve().parent.parent.parent
LISTENING = re.compile(
    r"(?:Listening on TCP address|development server at http://)"
    r"\s*(?P<host>\[[^\]]+\]|[\w.]+):(?P<port>[1-9]\d*)"
)


class Process:
    """A running command. ``output`` and ``errors`` are what it has written so far.

    It leads a process group, so that ``interrupt`` reaches what Ctrl-C in a terminal reaches.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.arguments = arguments
        self._process = subprocess.Popen(
            arguments,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            pass_fds=pass_fds,
        )
        self._changed = threading.Condition()
        self._lines: dict[str, list[str]] = {"output": [], "errors": []}
        self._open = len(self._lines)
        for name, pipe in (("output", self._process.stdout), ("errors", self._process.stderr)):
            assert pipe is not None
            threading.Thread(target=self._read, args=(name, pipe), daemon=True).start()

    def _read(self, name: str, pipe: IO[str]) -> None:
        with pipe:
            for line in pipe:
                with self._changed:
                    self._lines[name].append(line)
                    self._changed.notify_all()
        with self._changed:
            self._open -= 1
            self._changed.notify_all()

    @property
    def pid(self) -> int:
        """Return the number of the process and of its group."""
        return self._process.pid

    @property
    def output(self) -> str:
        """Return what came on standard output."""
        return "".join(self._lines["output"])

    @property
    def errors(self) -> str:
        """Return what came on standard error."""
        return "".join(self._lines["errors"])

    def wait_for(self, pattern: str | re.Pattern[str]) -> re.Match[str]:
        """Return the match as soon as the pattern is found in either output."""
        regex = re.compile(pattern)

        match = self.appears(regex, PATIENCE)
        if match is None:
            raise AssertionError(f"{regex.pattern!r} does not appear.\n{self}")
        return match

    def appears(self, regex: re.Pattern[str], patience: float) -> re.Match[str] | None:
        """Return the match if there is one within this many seconds."""

        def found() -> re.Match[str] | None:
            return regex.search(self.output) or regex.search(self.errors)

        with self._changed:
            self._changed.wait_for(lambda: found() or not self._open, patience)
            return found()

    def find_error(self, regex: re.Pattern[str], start: int) -> re.Match[str]:
        """Return the match in the errors from this character on, as soon as there is one."""
        with self._changed:
            self._changed.wait_for(
                lambda: regex.search(self.errors, start) or not self._open, PATIENCE
            )
        match = regex.search(self.errors, start)
        if match is None:
            raise AssertionError(f"{regex.pattern!r} does not follow.\n{self}")
        return match

    @property
    def has_closed(self) -> bool:
        """Tell whether nobody has its output open any more: neither it nor what it has started."""
        return not self._open

    def wait_for_port(self) -> int:
        """Return the port, once the command says that it listens."""
        return int(self.wait_for(LISTENING)["port"])

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the process alone, as a supervisor does."""
        self._process.send_signal(number)

    def interrupt(self) -> None:
        """Send SIGINT to the process and its children, as Ctrl-C does."""
        os.killpg(self.pid, signal.SIGINT)

    def wait(self, patience: float = PATIENCE) -> int:
        """Return the exit status once the process has ended and all its output is there."""
        try:
            status = self._process.wait(patience)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"It does not end within {patience} s.\n{self}") from None
        with self._changed:
            self._changed.wait_for(lambda: not self._open, PATIENCE)
        return status

    def kill(self) -> None:
        """End the process and its children, whatever they are doing."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    def __str__(self) -> str:
        return f"{self.arguments}\n-- output:\n{self.output}\n-- errors:\n{self.errors}"


class ProcessTestCase(SimpleTestCase):
    """Tests that start commands in a folder of their own, which is empty at first."""

    databases: Any = ()

    def setUp(self) -> None:
        super().setUp()
        folder = tempfile.TemporaryDirectory(prefix="django-daphne-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def write(self, path: str, text: str) -> Path:
        """Write a file of the folder; the text may be indented as a whole."""
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text), encoding="utf-8")
        return file

    def start(self, *arguments: str, **variables: str) -> Process:
        """Start Python with these arguments in the folder; variables go to its environment."""
        return self.start_command([sys.executable, *arguments], variables)

    def start_command(
        self,
        command: Sequence[str],
        variables: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> Process:
        """Start a program, which may inherit descriptors, and see that it ends with the test."""
        env = environment(variables or {})
        process = Process(command, cwd=self.folder, env=env, pass_fds=pass_fds)
        self.addCleanup(process.kill)
        return process

    def start_cli(self, *arguments: str, **variables: str) -> Process:
        """Start the Django-free command line."""
        return self.start("-m", "django_daphne", *arguments, **variables)

    def finish(self, process: Process) -> Process:
        """End a server with SIGTERM, which has to be a success."""
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(), 0, process)
        return process

    def assert_one_line(self, process: Process, status: int, text: str) -> None:
        """Assert that it fails with this status and one line, without a traceback."""
        self.assertEqual(process.wait(), status, process)
        self.assertNotIn("Traceback", process.errors)
        lines = process.errors.splitlines()
        self.assertEqual(sum(text in line for line in lines), 1, process)
        self.assertLessEqual(len(lines), 2, process)


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without what would configure a server, and with the variables.

    The package is found where this process found it.
    """
    package = str(Path(django_daphne.__file__).resolve().parent.parent)
    prefixes = ("DJANGO", "DAPHNE", "DEMO", "ASGI_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}
    # What a server writes must not depend on Python's own wish to buffer nothing.
    kept.pop("PYTHONUNBUFFERED", None)
    path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH", "")]))
    # Clients of tests often leave their WebSockets open, which nobody wants to wait for.
    impatient = {"DJANGO_DAPHNE_GRACEFUL_SHARE": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    return {**kept, "PYTHONPATH": path, **impatient, **variables}


def copy_example(folder: Path) -> Path:
    """Copy the example project below a folder; return where its manage.py is."""
    target = folder / "example_project"
    ignored = shutil.ignore_patterns("*.sqlite3*", "__pycache__")
    shutil.copytree(ROOT / "example_project", target, ignore=ignored)
    return target


class Response:
    """A whole response, read from a server on this machine."""

    def __init__(self, response: HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def text(self) -> str:
        """Return the body as text."""
        return self.body.decode()


def get(port: int, path: str = "/", host: str = "127.0.0.1", **headers: str) -> Response:
    """Ask for a path, on a connection of its own."""
    with closing(HTTPConnection(host, port, timeout=PATIENCE)) as connection:
        connection.request("GET", path, headers=headers)
        return Response(connection.getresponse())


def wait_until_refused(port: int) -> None:
    """Connect to a port of 127.0.0.1 until nothing listens on it."""
    deadline = time.monotonic() + PATIENCE
    with suppress(ConnectionRefusedError):
        while time.monotonic() < deadline:
            with suppress(ConnectionResetError):  # it was in the queue of a listener that closed
                socket.create_connection(("127.0.0.1", port), PATIENCE).close()
        raise AssertionError(f"port {port} is still served")
