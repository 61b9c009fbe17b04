"""Log files that are opened again after somebody has moved them."""

from __future__ import annotations

import logging
import os
import queue
import tempfile
import threading
from logging.handlers import (
    MemoryHandler,
    QueueHandler,
    QueueListener,
    RotatingFileHandler,
    WatchedFileHandler,
)
from pathlib import Path
from typing import Any

from django_daphne.server import ServerConfig, set_up_access_log
from django_daphne.server.log_files import reopen_log_files
from tests.server.test_access_formats import record
from tests.server.test_access_log import LogTestCase

SERVER = "django_daphne.server"


class RotationTestCase(LogTestCase):
    """Tests of files in a folder of their own, and of a logger that nobody else has."""

    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory())).resolve()
        self.logger = logging.getLogger(f"rotated.{self.id()}")
        self.logger.propagate = False
        self.logger.setLevel(logging.INFO)

    def path(self, name: str = "site.log") -> Path:
        """Return the path of a file."""
        return self.folder / name

    def add(self, handler: logging.Handler, logger: logging.Logger | None = None) -> Any:
        """Put a handler on a logger, until the test ends."""
        logger = logger or self.logger
        logger.addHandler(handler)
        self.addCleanup(handler.close)
        self.addCleanup(logger.removeHandler, handler)
        return handler

    def move(self, name: str = "site.log") -> Path:
        """Move a file away, as logrotate does; return where it is."""
        return self.path(name).rename(self.path(f"{name}.1"))

    def assert_rotated(self, name: str = "site.log", write: Any = None) -> None:
        """A line before is in the file that was moved, and a line behind in a new one."""
        write = write or self.logger.info
        write("before")
        old = self.move(name)
        self.assertEqual(reopen_log_files(), [str(self.path(name))])
        write("behind")
        texts = [path.read_text().split() for path in (old, self.path(name))]
        self.assertEqual(texts, [["before"], ["behind"]])


class FileTests(RotationTestCase):
    """Whose files are opened again."""

    def test_file(self) -> None:
        """The project logs into a file."""
        self.add(logging.FileHandler(self.path()))
        self.assert_rotated()

    def test_modes(self) -> None:
        """The project's handler would begin anew; nothing that is there is lost."""
        for mode in ("w", "x"):
            handler = self.add(logging.FileHandler(self.path(mode), mode=mode))
            self.logger.info("one")
            self.assertEqual(reopen_log_files(), [str(self.path(mode))])
            self.logger.info("two")
            self.assertEqual(self.path(mode).read_text(), "one\ntwo\n")
            self.logger.removeHandler(handler)

    def test_root(self) -> None:
        """The project's handler is that of the root logger."""
        self.add(logging.FileHandler(self.path()), logging.getLogger())
        self.logger.propagate = True
        self.assert_rotated()

    def test_relative(self) -> None:
        """The operator names the access log from the folder where the server was started."""
        self.addCleanup(os.chdir, Path.cwd())
        os.chdir(self.folder)
        log = set_up_access_log(ServerConfig().replace(access_log="site.log"), None)
        assert log is not None
        self.addCleanup(log.close)
        os.chdir("/")
        log(record(target=b"/before"))
        old = self.move()
        self.assertEqual(reopen_log_files(), [str(self.path())])
        log(record(target=b"/behind"))
        for path, text in ((old, "before"), (self.path(), "behind")):
            self.assertRegex(path.read_text(), rf'^[^\n]* "GET /{text}" 200 5\n$')

    def test_behind_others(self) -> None:
        """The project's file is behind a queue or a buffer."""
        handler = logging.FileHandler(self.path())
        self.addCleanup(handler.close)
        memory = self.add(MemoryHandler(1, target=handler))
        self.assert_rotated()
        self.logger.removeHandler(memory)
        self.path().unlink()
        self.add(handler)
        reopen_log_files()
        self.logger.removeHandler(handler)
        records: queue.SimpleQueue[Any] = queue.SimpleQueue()
        queued = self.add(QueueHandler(records))
        # As dictConfig does it, from Python 3.12 on.
        queued.listener = QueueListener(records, handler)

        def write(text: str) -> None:
            self.logger.info(text)
            queued.listener.handle(records.get())

        self.move().unlink()
        reopen_log_files()
        self.assert_rotated(write=write)

    def test_twice(self) -> None:
        """The project's handler is on two loggers, and its file is opened once."""
        handler = self.add(logging.FileHandler(self.path()))
        self.add(handler, logging.getLogger(f"{self.logger.name}.below"))
        self.assert_rotated()

    def test_rotating(self) -> None:
        """The project's handler rotates by itself, too, and goes on with that."""
        self.add(RotatingFileHandler(self.path(), maxBytes=20, backupCount=3))
        self.assert_rotated()
        for number in range(3):
            self.logger.info("line %d of this file", number)
        self.assertIn("line 1", self.path("site.log.1").read_text())
        self.assertIn("line 2", self.path().read_text())

    def test_untouched(self) -> None:
        """What looks for itself, was never opened, or is no file, is left alone."""
        self.add(WatchedFileHandler(self.path("watched")))
        self.add(logging.FileHandler(self.path("late"), delay=True))
        self.add(logging.FileHandler("/dev/null"))
        self.add(logging.StreamHandler())
        with self.assertNoLogs(SERVER):
            self.assertEqual(reopen_log_files(), [])
        self.assertFalse(self.path("late").exists())

    def test_descriptor(self) -> None:
        """Programs that the project starts do not inherit the log."""
        handler = self.add(logging.FileHandler(self.path()))
        descriptor = handler.stream.fileno()
        for _ in range(3):
            reopen_log_files()
        self.assertEqual(handler.stream.fileno(), descriptor)
        self.assertFalse(os.get_inheritable(descriptor))


class FailureTests(RotationTestCase):
    """Files that cannot be opened again."""

    def test_no_folder(self) -> None:
        """The operator has moved the whole folder; the old file is written on, and he is told."""
        self.path("logs").mkdir()
        self.add(logging.FileHandler(self.path("logs/site.log")))
        other = self.add(logging.FileHandler(self.path("other.log")))
        self.path("logs").rename(self.path("old"))
        with self.assertLogs(SERVER, "ERROR") as captured:
            self.assertEqual(reopen_log_files(), [other.baseFilename])
        text = f"The log {self.path('logs/site.log')} cannot be opened again: [Errno 2]"
        self.assertIn(text, captured.output[0])
        self.logger.info("behind")
        self.assertEqual(self.path("old/site.log").read_text(), "behind\n")
        self.path("logs").mkdir()
        self.assertEqual(len(reopen_log_files()), 2)
        self.logger.info("again")
        self.assertEqual(self.path("logs/site.log").read_text(), "again\n")

    def test_closed(self) -> None:
        """The project has closed the stream of a handler."""
        handler = self.add(logging.FileHandler(self.path()))
        handler.stream.close()
        with self.assertLogs(SERVER, "ERROR"):
            self.assertEqual(reopen_log_files(), [])
        handler.stream = None


class ThreadTests(RotationTestCase):
    """Threads that write meanwhile."""

    def test_nothing_is_lost(self) -> None:
        """Two threads log as fast as they can, over fifty files; each line is there once."""
        self.add(logging.FileHandler(self.path()))
        count, rotations = 500, 50
        begun = threading.Barrier(3)

        def write(name: str) -> None:
            begun.wait()
            for number in range(count):
                self.logger.info("%s-%d", name, number)

        threads = [threading.Thread(target=write, args=(name,)) for name in "ab"]
        for thread in threads:
            thread.start()
        begun.wait()
        for number in range(rotations):
            self.path().rename(self.path(f"{number}"))
            self.assertEqual(len(reopen_log_files()), 1)
        for thread in threads:
            thread.join()
        found = [line for path in self.folder.iterdir() for line in path.read_text().split()]
        expected = [f"{name}-{number}" for name in "ab" for number in range(count)]
        self.assertEqual(sorted(found), sorted(expected))
