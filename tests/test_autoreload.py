"""Which files have changed, and since when."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, cast
from unittest import mock

from django.test import SimpleTestCase, override_settings
from django.utils import autoreload

from django_daphne import conf
from django_daphne.autoreload import (
    MAX_EARLY_RESTARTS,
    RESTART,
    RESTART_EARLY,
    Change,
    FileWatch,
    StatReloader,
    WatchfilesReloader,
    WatchmanReloader,
    make_reloader,
    watch_included,
)
from django_daphne.server import ConfigurationError
from tests.support.processes import PATIENCE

# Seconds since the epoch, well in the past: when the process of a test is said to have begun.
STARTED = 1_600_000_000.0


class FilesTestCase(SimpleTestCase):
    """Tests with files whose times are set by hand."""

    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory(prefix="django-daphne-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name).resolve()

    def write(self, name: str, text: str = "x", *, at: float = -1.0) -> Path:
        """Write a file at so many seconds after the process began; return its path."""
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        os.utime(path, (STARTED + at, STARTED + at))
        return path


class FileWatchTests(FilesTestCase):
    """What is a change, and what is none."""

    def setUp(self):
        super().setUp()
        self.watch = FileWatch(STARTED)

    def test_older_than_the_process(self):
        """The author's file was there before, and stays."""
        path = self.write("a.py")
        self.assertEqual(self.watch.look([path, path]), [])
        self.assertEqual(self.watch.look([path]), [])

    def test_edits(self):
        """The author saves a file, then a longer one within the same tick, then an old copy."""
        path = self.write("a.py")
        self.watch.look([path])
        for text, at in (("y", 5), ("longer", 5), ("y", -100)):
            self.write("a.py", text, at=at)
            self.assertEqual(self.watch.look([path]), [Change(path)])
            self.assertEqual(self.watch.look([path]), [])

    def test_missing_for_a_moment(self):
        """The author's editor removes the file before it writes it anew."""
        path = self.write("a.py")
        self.watch.look([path])
        path.unlink()
        self.assertEqual(self.watch.look([path]), [])
        self.write("a.py", at=5)
        self.assertEqual(self.watch.look([path]), [Change(path)])

    def test_saved_during_the_start(self):
        """The author saves a file that may have been read before, or later; who knows."""
        path = self.write("a.py", at=1)
        self.assertEqual(self.watch.look([path]), [Change(path, is_early=True)])
        self.assertEqual(self.watch.look([path]), [])

    def test_clock_that_is_ahead(self):
        """The author's files lie on another machine, where it is later than here."""
        path = self.write("a.py", at=time.time() - STARTED + 3600)
        self.assertEqual(self.watch.look([path]), [])

    def test_read_later(self):
        """A request imports a module that was written, by whom ever, since the start."""
        self.watch.has_started = True
        path = self.write("a.py", at=1)
        self.assertEqual(self.watch.look([path]), [])

    def test_new_files(self):
        """The author adds a file that a glob finds."""
        old = self.write("a.txt")
        self.assertEqual(self.watch.look([], [old]), [])
        self.watch.has_started = True
        new, missing = self.write("b.txt", at=5), self.folder / "missing"
        self.assertEqual(self.watch.look([], [old, new, new, missing]), [Change(new)])
        self.assertEqual(self.watch.look([], [old, new, missing]), [])

    def test_no_path(self):
        """Something else is named than a path that could be."""
        self.assertEqual(self.watch.look([Path("a\0b")]), [])


class ReloaderTests(FilesTestCase):
    """How a reloader leaves."""

    def setUp(self):
        super().setUp()
        self.path = self.write("a.py")
        self.reloader = self.make()

    def make(self, early_restarts: int = 0) -> StatReloader:
        """Return a reloader that looks at one file more than those of this process."""
        reloader = StatReloader(FileWatch(STARTED), early_restarts)
        # What the processes of other tests write meanwhile is none of its business.
        self.enterContext(mock.patch.object(autoreload, "iter_all_python_module_files", frozenset))
        reloader.extra_files.add(self.path)
        return reloader

    def test_edit(self):
        """The author saves a file."""
        self.reloader.look()
        self.write("a.py", "y", at=5)
        with self.assertRaises(SystemExit) as leaving, self.assertLogs("django.utils.autoreload"):
            self.reloader.look()
        self.assertEqual(leaving.exception.code, RESTART)

    def test_edit_that_somebody_has_dealt_with(self):
        """The author saves a template, which an app has read again."""
        heard = []

        def hear(file_path: Path, **kwargs: object) -> bool:
            heard.append(file_path)
            return True

        autoreload.file_changed.connect(hear)
        self.addCleanup(autoreload.file_changed.disconnect, hear)
        self.reloader.look()
        self.write("a.py", "y", at=5)
        self.reloader.look()
        self.assertEqual(heard, [self.path])

    def test_early_edit(self):
        """The author saves a file while the server starts, and the serving thread finds it."""
        self.write("a.py", at=1)
        self.reloader.started()
        with self.assertRaises(SystemExit) as leaving, self.assertLogs("django.utils.autoreload"):
            self.reloader.look()
        self.assertEqual(leaving.exception.code, RESTART_EARLY)

    def test_file_written_by_every_start(self):
        """A project writes one of its own files whenever it starts; it is served all the same."""
        self.write("a.py", at=1)
        reloader = self.make(early_restarts=MAX_EARLY_RESTARTS)
        with self.assertLogs("django_daphne.autoreload", "WARNING") as logs:
            reloader.look()
        self.assertIn(f"{self.path} is written whenever the server starts", logs.output[0])

    def test_globs(self):
        """The author adds a file to a folder that an app has asked to watch."""
        self.reloader.watch_dir(self.folder, "**/*.txt")
        self.reloader.started()
        self.write("below/b.txt")
        with self.assertRaises(SystemExit), self.assertLogs("django.utils.autoreload"):
            self.reloader.look()

    def test_stop(self):
        """Somebody ends the looking while it waits."""
        ticker = self.reloader.tick()
        next(ticker)
        thread = threading.Thread(target=next, args=(ticker,), daemon=True)
        thread.start()
        self.reloader.stop()
        thread.join(PATIENCE)
        self.assertFalse(thread.is_alive())
        self.assertTrue(self.reloader.should_stop)


class WatchfilesTests(FilesTestCase):
    """The operating system says when to look."""

    def test_events(self):
        """The author saves a file, in a folder that is known by it or by a glob, and one is new."""
        path = self.write("a.py")
        self.write("texts/b.txt")
        reloader = WatchfilesReloader(FileWatch(STARTED))
        reloader.extra_files.add(path)
        reloader.watch_dir(self.folder / "texts", "**/*.txt")
        for name in ("a.py", "texts/b.txt", "texts/new.txt"):
            with self.subTest(name):
                changes: list[Any] = []
                file = self.folder / name
                edited = threading.Event()

                def edit(file: Path = file, edited: threading.Event = edited) -> None:
                    while not edited.is_set():
                        file.write_text(str(time.monotonic_ns()))
                        edited.wait(0.05)

                editor = threading.Thread(target=edit, daemon=True)
                reloader.wait()  # it is watched from now on
                editor.start()
                deadline = time.monotonic() + PATIENCE
                while not changes and time.monotonic() < deadline:
                    changes = [*next(cast("Iterator[Any]", reloader._events))]
                edited.set()
                editor.join()
                self.assertIn(str(file), [each[1] for each in changes])
        reloader.stop()

    def test_limit(self):
        """The operating system has a limit on what it watches, or a folder vanishes."""
        reloader = WatchfilesReloader(FileWatch(STARTED))

        def watch(*folders: Path, **options: Any) -> Iterator[object]:
            if folders:
                raise OSError("no space left for watches")
            yield set()

        self.enterContext(mock.patch.object(import_module("watchfiles"), "watch", watch))
        with self.assertLogs("django_daphne.autoreload", "INFO") as logs:
            reloader.wait()
        self.assertIn("no space left for watches", logs.output[0])
        reloader.stop()
        reloader.wait()  # the generator has ended, and nothing is left to wait for


class ChoiceTests(SimpleTestCase):
    """Which reloader there is."""

    def choose(self, reloader: autoreload.BaseReloader) -> autoreload.BaseReloader:
        """Return what is made where Django would take this one."""
        with mock.patch.object(autoreload, "get_reloader", lambda: reloader):
            return make_reloader(STARTED, 0)

    def test_watchfiles(self):
        """The developer has watchfiles."""
        self.assertIsInstance(self.choose(autoreload.StatReloader()), WatchfilesReloader)

    def test_nothing(self):
        """The developer has nothing."""
        with mock.patch.dict("sys.modules", watchfiles=None):
            self.assertIs(type(self.choose(autoreload.StatReloader())), StatReloader)

    def test_watchman(self):
        """The developer has Watchman: what it cannot see is looked for when it begins."""
        reloader = self.choose(autoreload.WatchmanReloader())
        assert isinstance(reloader, WatchmanReloader)
        reloader.extra_files.add(Path(__file__))
        done: list[str] = []
        for patched, name in (
            (autoreload.WatchmanReloader, "update_watches"),
            (reloader._looks, "look"),
        ):
            self.enterContext(
                mock.patch.object(patched, name, lambda *args, name=name: done.append(name))
            )
        reloader.update_watches()
        self.assertEqual(done, ["update_watches", "look"])
        self.assertIs(reloader._looks.extra_files, reloader.extra_files)

    def test_another_package(self):
        """The developer has a package that brings a reloader of its own."""

        class Own(autoreload.StatReloader):
            pass

        own = Own()
        self.assertIs(self.choose(own), own)


class IncludedTests(FilesTestCase):
    """What RELOAD_INCLUDE names."""

    def setUp(self):
        super().setUp()
        # No command has left its configuration behind.
        self.enterContext(mock.patch.object(conf, "_in_use", []))

    def test_forms(self):
        """The developer names a file, a glob, a folder and a file that is not there yet."""
        (self.folder / "texts").mkdir()
        included = [".env", "a?/*.html", "texts", "/etc/no-such/file", "**/*.yaml"]
        reloader = StatReloader(FileWatch(STARTED))
        with override_settings(BASE_DIR=self.folder, DAPHNE={"RELOAD_INCLUDE": included}):
            watch_included(sender=reloader)
        self.assertEqual(
            reloader.extra_files, {self.folder / ".env", Path("/etc/no-such/file").absolute()}
        )
        self.assertEqual(
            dict(reloader.directory_globs),
            {self.folder: {"a?/*.html", "**/*.yaml"}, self.folder / "texts": {"**/*"}},
        )

    def test_mistakes(self):
        """The developer writes what is no glob, and is told what is one."""
        for wrong in ("a**b", ""):
            with (
                self.subTest(wrong),
                override_settings(DAPHNE={"RELOAD_INCLUDE": [wrong]}),
                self.assertRaisesMessage(ConfigurationError, "RELOAD_INCLUDE"),
            ):
                watch_included(sender=StatReloader(FileWatch(STARTED)))
