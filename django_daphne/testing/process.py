"""A live server in a process of its own.

Theory of operation. The process is started afresh, so that it is the same on every platform: it
imports the project and knows nothing of the tests. What it cannot know comes as a pickle on its
standard input: where the test databases are, and the settings that are overridden. It answers with
one line of JSON. That input stays open, and its end is the end of the process: so it never outlives
the tests, whatever becomes of them. What it writes is passed on.
"""

from __future__ import annotations

import json
import os
import pickle
import queue
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Collection
from contextlib import ExitStack, suppress
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import IO, Any, ClassVar, Final

from django.conf import global_settings, settings
from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from .base import BaseLiveServer, ServedTestCase
from .databases import is_in_memory
from .project import settings_layers

# Seconds that the process is given to end by itself, and to write its last.
_END_TIMEOUT: Final = 10.0
# What every test environment sets for itself.
_PREPARED: Final = frozenset(
    ("ALLOWED_HOSTS", "DEBUG", "EMAIL_BACKEND", "MAILERS", "SETTINGS_MODULE")
)
# A line that the process puts behind what it has written before.
_MARK: Final = b"\0\n"
# Lines of its output that are kept for a test that fails.
_KEPT_LINES: Final = 1000


class ProcessLiveServer(BaseLiveServer):
    """The project on a server in a process of its own, as a context manager or by calls.

    ``start`` gives it ``start_timeout`` seconds. It can use the ``databases`` of these aliases, by
    default all.
    """

    def __init__(
        self,
        *,
        start_timeout: float = 60.0,
        databases: Collection[str] | None = None,
        **options: Any,
    ) -> None:
        """Take what ``ProcessLiveServerTestCase`` has as attributes, with the same meaning."""
        super().__init__(**options)
        self._databases = databases
        self._start_timeout = start_timeout
        self.output = Output()

    def _serve(self, stack: ExitStack, certificate: Path | None) -> int:
        parameters = self._parameters(certificate)
        process = subprocess.Popen(
            [sys.executable, "-m", "django_daphne.testing.serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_environment(),
        )
        assert process.stdin is not None
        assert process.stdout is not None
        self.output = Output(process)
        stack.callback(self._end, process)
        with suppress(BrokenPipeError):  # it has ended, and its output says why
            process.stdin.write(pickle.dumps(parameters))
            process.stdin.flush()
        return self._read_answer(process, process.stdout)

    def _parameters(self, certificate: Path | None) -> dict[str, Any]:
        aliases = [*connections] if self._databases is None else self._databases
        databases = [connections[alias] for alias in aliases]
        in_memory = [each.alias for each in databases if is_in_memory(each)]
        if in_memory:
            raise ImproperlyConfigured(
                f"The test database of DATABASES[{in_memory[0]!r}] is SQLite in memory, which no"
                " other process can see: expected a file as its TEST['NAME'], or"
                " LiveServerTestCase, whose server is a thread of the test process."
            )
        application, options = self._application, dict(self._options)
        return {
            "host": self.host,
            "port": self._wanted_port,
            "allowed_host": self._allowed_host,
            "certificate": certificate,
            "serve_static": self._serve_static,
            "debug": settings.DEBUG,
            "databases": {each.alias: each.settings_dict["NAME"] for each in databases},
            "settings": _pickled({f"settings.{k}": v for k, v in changed_settings().items()}),
            "arguments": _pickled({"application": application, "server_options": options}),
        }

    def _read_answer(self, process: subprocess.Popen[bytes], pipe: IO[bytes]) -> int:
        answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()

        def read() -> None:
            with pipe:
                answers.put(pipe.readline())

        threading.Thread(target=read, daemon=True).start()
        try:
            answer = json.loads(answers.get(timeout=self._start_timeout) or b"null")
        except queue.Empty:
            text = f"The live server's process has not started within {self._start_timeout} s"
            raise RuntimeError(f"{text}.{self.output.since(0)}") from None
        if answer is None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(_END_TIMEOUT)
            text = f"The live server's process ended at once, with status {process.returncode}"
            self.output.wait(_END_TIMEOUT)
            raise RuntimeError(f"{text}.{self.output.since(0)}")
        if "error" in answer:
            raise ImproperlyConfigured(f"The live server cannot start: {answer['error']}")
        return int(answer["port"])

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.close()
        try:
            process.wait(_END_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self.output.wait(_END_TIMEOUT)


class Output:
    """What a process writes: passed on to standard error line by line, and kept for a while."""

    def __init__(self, process: subprocess.Popen[bytes] | None = None) -> None:
        self._process = process
        self._lines: deque[tuple[int, str]] = deque(maxlen=_KEPT_LINES)
        self._count = 0
        self._marked = threading.Semaphore(0)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        if self._process is None or self._process.stderr is None:
            return
        with self._process.stderr as pipe:
            for line in pipe:
                if line == _MARK:
                    self._marked.release()
                    continue
                text = line.decode(errors="replace")
                self._lines.append((self._count, text))
                self._count += 1
                with suppress(ValueError, OSError):  # the stream is closed
                    sys.stderr.write(text)

    def wait(self, timeout: float) -> None:
        """Wait until the process has ended and all is there, for so many seconds."""
        self._reader.join(timeout)

    def catch_up(self) -> None:
        """Wait until what the process has written so far is there."""
        if self._process is not None and self._process.stdin is not None:
            with suppress(OSError, ValueError):  # it has ended
                self._process.stdin.write(_MARK)
                self._process.stdin.flush()
                self._marked.acquire(timeout=_END_TIMEOUT)

    @property
    def count(self) -> int:
        """Return the number of lines so far."""
        return self._count

    def since(self, count: int) -> str:
        """Return what came after so many lines, with a heading; an empty text for nothing."""
        text = "".join(line for number, line in list(self._lines) if number >= count)
        return f"\nThe live server's process wrote:\n{text}" if text else ""


class ProcessLiveServerTestCase(ServedTestCase):
    """Tests with the project on a server in a process of its own.

    It has the test databases and the settings of the class. It does not see what happens in a test.
    """

    # Seconds for the process to import the project and to serve.
    start_timeout: float = 60.0

    live_server: ClassVar[ProcessLiveServer]
    _server_class = ProcessLiveServer

    @classmethod
    def _make_server(cls, **options: Any) -> BaseLiveServer:
        return super()._make_server(
            start_timeout=cls.start_timeout, databases=cls.databases, **options
        )

    def run(self, result: Any = None) -> Any:
        """Run the test; one that fails says what the process wrote meanwhile."""
        name = self._testMethodName
        method = getattr(self, name)
        setattr(self, name, self._noting(method))
        try:
            return super().run(result)
        finally:
            setattr(self, name, method)

    def _noting(self, method: Callable[[], Any]) -> Callable[[], Any]:
        output = self.live_server.output

        @wraps(method)
        def run() -> Any:
            count = output.count
            try:
                return method()
            except Exception as error:
                output.catch_up()
                error.add_note(output.since(count))
                raise

        return run


def changed_settings() -> dict[str, Any]:
    """Return the settings that are not what the settings module says: tests or a runner did it."""
    *overridden, project = settings_layers()
    found: dict[str, Any] = {}
    for layer in reversed(overridden):
        found |= {name: value for name, value in vars(layer).items() if name.isupper()}
    module = import_module(settings_module())
    for name, value in vars(project).items():
        if name.isupper() and name not in found and name not in _PREPARED:
            said = getattr(module, name, getattr(global_settings, name, None))
            if value is not said and value != said:
                found[name] = value
    found.pop("DATABASES", None)  # which go by their names
    return found


def settings_module() -> str:
    """Return the name of the settings module; raise ImproperlyConfigured where there is none."""
    *_, project = settings_layers()
    name = getattr(project, "SETTINGS_MODULE", None)
    if not name:
        raise ImproperlyConfigured(
            "A live server in a process of its own needs a settings module, in"
            " DJANGO_SETTINGS_MODULE; settings.configure() reaches this process alone."
        )
    return str(name)


def _pickled(values: dict[str, Any]) -> dict[str, bytes]:
    """Return each value as a pickle; raise ImproperlyConfigured for those that cannot be."""
    pickled, failed = {}, []
    for name, value in values.items():
        try:
            pickled[name] = pickle.dumps(value)
        except Exception:  # noqa: BLE001 - whatever an object raises
            failed.append(name)
    if failed:
        raise ImproperlyConfigured(
            f"{', '.join(failed)} cannot be sent to another process: expected what can be pickled,"
            " such as the dotted name of a function, or LiveServerTestCase, whose server is a"
            " thread of the test process."
        )
    return pickled


def _environment() -> dict[str, str]:
    # The test runner may have added to it.
    path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
    return {**os.environ, "DJANGO_SETTINGS_MODULE": settings_module(), "PYTHONPATH": path}
