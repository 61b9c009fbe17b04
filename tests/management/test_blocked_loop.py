"""The warning of a blocked event loop, with real loops that are really blocked."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import io
import logging
import os
import pdb
import queue
import threading
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from time import monotonic
from types import SimpleNamespace
from typing import Any
from unittest import mock

from django.test import SimpleTestCase

from django_daphne.management import blocked_loop, stacks
from django_daphne.management.blocked_loop import LoopWatch
from tests.support.processes import PATIENCE

# Seconds. What takes microseconds must never take as long, on a machine that is busy.
LIMIT = 0.1
HERE = r"tests[/\\]management[/\\]test_blocked_loop\.py"


def loop_makers() -> list[Callable[[], Any]]:
    """Return what makes a loop, of each kind that is installed."""
    makers: list[Callable[[], Any]] = [asyncio.new_event_loop]
    if find_spec("uvloop"):
        import uvloop

        makers.append(uvloop.new_event_loop)
    return makers


class Log(logging.Handler):
    """What the logger says, for another thread to wait for."""

    def __init__(self) -> None:
        super().__init__()
        self.notices = threading.Semaphore(0)
        self.warnings: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno == logging.DEBUG:
            self.notices.release()
        else:
            self.warnings.put(record)

    def wait_for_notice(self) -> None:
        """Return when the watch has noticed one more block."""
        assert self.notices.acquire(timeout=PATIENCE), "nobody has noticed"

    def next_warning(self) -> logging.LogRecord:
        """Return the next warning when it comes."""
        return self.warnings.get(timeout=PATIENCE)


class WatchTestCase(SimpleTestCase):
    """Tests with a loop in a thread, and a watch of it."""

    def setUp(self) -> None:
        super().setUp()
        self.log = Log()
        logger = logging.getLogger("django_daphne.server")
        self.enterContext(mock.patch.object(logger, "propagate", False))
        # It remembers which levels are enabled, until it is told.
        self.addCleanup(logger.setLevel, logger.level)
        logger.setLevel(logging.DEBUG)
        logger.addHandler(self.log)
        self.addCleanup(logger.removeHandler, self.log)

    def run_loop(self, make: Callable[[], Any] = asyncio.new_event_loop) -> Any:
        """Run a loop until the test ends; return it."""
        loop = make()

        def run() -> None:
            with contextlib.closing(loop):
                loop.run_forever()

        thread = threading.Thread(target=run)
        thread.start()
        self.addCleanup(thread.join, PATIENCE)
        self.addCleanup(self.end_loop, loop)
        return loop

    def end_loop(self, loop: Any) -> None:
        """Let a loop stop and be closed, if it has not been."""
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(loop.stop)

    def watch(self, loop: Any, limit: float | None = LIMIT, patience: float = PATIENCE) -> Any:
        """Watch a loop until the test ends; return the watch."""
        watch = LoopWatch(limit, patience)
        self.addCleanup(watch.stop)
        self.call(loop, watch.start)
        return watch

    def watcher(self, loop: Any, patience: float = PATIENCE) -> Any:
        """Return the thread of a watch, which is not started."""
        with mock.patch.object(blocked_loop._Watcher, "start", autospec=True) as start:
            self.call(loop, LoopWatch(LIMIT, patience).start)
            self.call(loop, lambda: None)  # the turn in which it was made
        return start.call_args.args[0]

    @contextlib.contextmanager
    def working(self, loop: Any) -> Iterator[threading.Event]:
        """Keep a loop at work, until the event is set or the block is left."""
        inside, release = threading.Event(), threading.Event()

        def work() -> None:
            inside.set()
            release.wait(PATIENCE)

        done = asyncio.run_coroutine_threadsafe(as_coroutine(work), loop)
        self.assertTrue(inside.wait(PATIENCE))
        try:
            yield release
        finally:
            release.set()
            done.result(PATIENCE)

    def call(self, loop: Any, function: Callable[[], object]) -> None:
        """Call a function on a loop, and return when it has."""
        asyncio.run_coroutine_threadsafe(as_coroutine(function), loop).result(PATIENCE)


async def as_coroutine(function: Callable[[], object]) -> None:
    """Call a function."""
    function()


class WarningTests(WatchTestCase):
    """The developer is told of a block once, and of what blocked."""

    def slow_view(self) -> None:
        """Block the loop until that was noticed."""
        self.log.wait_for_notice()

    def test_warning(self):
        """The developer blocks either kind of loop."""
        for make in loop_makers():
            with self.subTest(make.__module__):
                loop = self.run_loop(make)
                self.watch(loop)
                self.call(loop, self.slow_view)
                warning = self.log.next_warning()
                self.assertEqual(warning.levelno, logging.WARNING)
                self.assertRegex(
                    warning.getMessage(),
                    r"^The event loop was blocked for \d+\.\d+ s by tests\.management"
                    rf"\.test_blocked_loop\.Log\.wait_for_notice \({HERE}:\d+\);"
                    r" nothing else was served meanwhile\.$",
                )
                self.assertRegex(warning.pathname, HERE)
                stack = warning.stack_info or ""
                head, *lines = stack.splitlines()
                self.assertEqual(head, "Stack (most recent call last):")
                self.assertIn("in as_coroutine", lines[0])
                self.assertIn(", in slow_view\n", stack)
                self.assertIn("self.notices.acquire(timeout=PATIENCE)", stack)
                self.assertIn("threading.py", lines[-2])
        self.assertTrue(self.log.warnings.empty())

    def test_foreign_code(self):
        """A library blocks, and nothing of the project has called it."""
        loop = self.run_loop()
        self.watch(loop)
        loop.call_soon_threadsafe(functools.partial(self.log.notices.acquire, timeout=PATIENCE))
        self.assertRegex(
            self.log.next_warning().getMessage(),
            r" by threading\.Condition\.wait \(.*threading\.py:\d+\); nothing",
        )

    def test_library(self):
        """The project calls a library that blocks, or code that is in no file."""
        loop = self.run_loop()
        self.watch(loop)
        with mock.patch.object(blocked_loop, "_QUIET_TIME", 0):
            for file in ("/somewhere/site-packages/library.py", "<template>"):
                with self.subTest(file):
                    names: dict[str, Any] = {"__name__": "library"}
                    code = "def work(wait):\n    wait(timeout=30)"
                    exec(compile(code, file, "exec"), names)
                    self.call(loop, functools.partial(names["work"], self.log.notices.acquire))
                    warning = self.log.next_warning()
                    self.assertIn(".test_blocked_loop.as_coroutine ", warning.getMessage())
                    self.assertIn(f'File "{file}", line 2, in work', warning.stack_info or "")

    def test_long_block(self):
        """The developer is told of a block that does not end, and only once."""
        loop = self.run_loop()
        self.watch(loop, patience=0)
        taken = []
        self.call(loop, lambda: taken.append(self.log.next_warning().getMessage()))
        self.assertRegex(taken[0], r"^The event loop has been blocked for \d+\.\d+ s already by ")
        self.log.wait_for_notice()
        self.call(loop, self.slow_view)
        self.assertIn("wait_for_notice", self.log.next_warning().getMessage())

    def test_once(self):
        """The block goes on after the warning, and there is nothing to say until it has ended."""
        loop = self.run_loop()
        watcher = self.watcher(loop, patience=0)
        with self.working(loop) as release:
            asking = threading.Thread(target=watcher._ask)
            asking.start()
            self.log.next_warning()
            asking.join(LIMIT * 2)
            self.assertTrue(asking.is_alive())
            release.set()
            asking.join(PATIENCE)
        self.assertFalse(asking.is_alive())

    def test_repeated(self):
        """The same function blocks again and again: it is counted, and others are told of."""
        self.enterContext(mock.patch.object(blocked_loop, "_QUIET_TIME", 1e9))
        loop = self.run_loop()
        self.watch(loop)
        for _ in range(3):
            self.call(loop, self.slow_view)
        self.call(loop, lambda: self.log.notices.acquire(timeout=PATIENCE))
        messages = [self.log.next_warning().getMessage() for _ in range(2)]
        self.assertIn("wait_for_notice", messages[0])
        self.assertIn("test_repeated.<locals>.<lambda>", messages[1])
        with mock.patch.object(blocked_loop, "_QUIET_TIME", 0):
            self.call(loop, self.slow_view)
            message = self.log.next_warning().getMessage()
        self.assertRegex(message, r"Not reported in the last \d+ s: 2 more by this function\.$")

    def test_many_functions(self):
        """The project blocks in more functions than are remembered."""
        self.enterContext(mock.patch.object(blocked_loop, "_MAX_FUNCTIONS", 1))
        loop = self.run_loop()
        self.watch(loop)
        for function in (self.slow_view, self.log.notices.acquire, self.slow_view):
            self.call(loop, function)
            self.log.next_warning()

    def test_debugger(self):
        """The developer stops at a breakpoint, where the loop waits for the next command."""
        loop = self.run_loop()
        self.watch(loop)
        read, write = os.pipe()
        with open(read) as commands, open(write, "w") as keyboard:  # noqa: PTH123 - descriptors
            debugger = pdb.Pdb(stdin=commands, stdout=io.StringIO(), nosigint=True, readrc=False)

            def view() -> None:
                debugger.set_trace()

            stopped = asyncio.run_coroutine_threadsafe(as_coroutine(view), loop)
            self.log.wait_for_notice()
            keyboard.write("continue\n")
            keyboard.flush()
            stopped.result(PATIENCE)
        self.call(loop, self.slow_view)
        self.assertIn("wait_for_notice", self.log.next_warning().getMessage())


class RequestTests(WatchTestCase):
    """The developer is told of the request, where the stack knows it."""

    def message(self, application: Callable[..., Any], argument: object) -> str:
        """Return the warning of an application, or a view, that blocks for this argument."""
        loop = self.run_loop()
        self.watch(loop)
        asyncio.run_coroutine_threadsafe(application(argument), loop).result(PATIENCE)
        return self.log.next_warning().getMessage()

    async def application(self, scope: object) -> None:
        """Block, as an ASGI application."""
        self.log.wait_for_notice()

    async def view(self, request: object) -> None:
        """Block, as a view."""
        self.log.wait_for_notice()

    def test_scopes(self):
        """The client asks an application, by HTTP or WebSocket."""
        http = {"type": "http", "method": "PUT", "path": "/a b", "raw_path": b"/a%20b\x1b"}
        for scope, expected in (
            (http, ", for PUT /a%20b\\x1b; nothing"),
            ({"type": "websocket", "path": "/\x1bws/"}, ", for WebSocket /\\x1bws/; nothing"),
            ({"type": "lifespan"}, "); nothing"),
            ("something else", "); nothing"),
        ):
            with self.subTest(expected):
                self.assertIn(expected, self.message(self.application, scope))

    def test_view(self):
        """The client asks a view, whose request has the scope."""
        request = SimpleNamespace(scope={"type": "http", "method": "GET", "path": "/page"})
        self.assertIn(", for GET /page; nothing", self.message(self.view, request))
        self.assertIn("); nothing", self.message(self.view, object()))


class NoAlarmTests(WatchTestCase):
    """What is not the loop's fault is no block."""

    def test_idle(self):
        """The loop waits for something to do, or does something."""
        for make in loop_makers():
            with self.subTest(make.__module__):
                loop = self.run_loop(make)
                watcher = self.watcher(loop)
                deadline = monotonic() + PATIENCE
                while stacks.stack_of(watcher._thread, watcher._base):
                    self.assertLess(monotonic(), deadline, "a loop that waits has no stack")
                with self.working(loop):
                    stack = stacks.stack_of(watcher._thread, watcher._base)
                names = [frame.f_code.co_name for frame, _ in stack]
                self.assertEqual(names[:2], ["as_coroutine", "work"])

    def test_another_thread(self):
        """The loop's thread has ended, or runs something that is not the loop's."""
        self.assertEqual(stacks.stack_of(0, as_coroutine.__code__), ())
        self.assertEqual(stacks.stack_of(threading.get_ident(), as_coroutine.__code__), ())

    def test_late(self):
        """The process was stopped for a minute, and the watch with it."""
        time = [0.0]
        late = [60.0, 0.0]  # the second wait

        class Sign:
            def is_set(self) -> bool:
                return False

            def wait(self, seconds: float) -> None:
                time[0] += (late and late.pop()) or max(seconds, 1e-6)

        watcher = self.watcher(self.run_loop())
        with mock.patch.object(blocked_loop, "monotonic", lambda: time[0]):
            self.assertAlmostEqual(watcher._wait(Sign(), LIMIT, is_strict=True), LIMIT * 7 / 5, 5)
            self.assertAlmostEqual(time[0], LIMIT / 5 + 60 + LIMIT, 5)  # it begins again
            late.append(60.0)
            self.assertAlmostEqual(watcher._wait(Sign(), LIMIT), LIMIT, 5)
            self.assertAlmostEqual(time[0], 120 + LIMIT * 2, 5)  # or as what was asked for

    def test_no_stack(self):
        """The loop gives no sign, but it is not in anybody's code: others keep it from running."""
        loop = self.run_loop()
        watcher = self.watcher(loop)
        with self.working(loop) as release:

            def no_stack(thread: int, base: object) -> stacks.Stack:
                release.set()
                return ()

            with mock.patch.object(blocked_loop, "stack_of", no_stack):
                watcher._ask()
            self.assertTrue(release.is_set())
        self.assertTrue(self.log.warnings.empty())


class LifeTests(WatchTestCase):
    """The watch begins and ends when it is told to, and with the loop."""

    def threads(self) -> set[threading.Thread]:
        """Return the threads of watches."""
        return {each for each in threading.enumerate() if each.name == "blocked-loop-watch"}

    def test_never(self):
        """The developer wants no warnings."""
        before = self.threads()
        loop = self.run_loop()
        self.watch(loop, None)
        self.call(loop, lambda: None)
        self.assertLessEqual(self.threads(), before)

    def test_stop(self):
        """The server stops, and what it does then may take its time."""
        loop = self.run_loop()
        before = self.threads()
        watch = self.watch(loop)
        self.call(loop, lambda: None)
        (thread,) = self.threads() - before
        watch.stop()
        thread.join(PATIENCE)
        self.assertFalse(thread.is_alive())

    def test_closed(self):
        """The loop ends, and nobody says so."""
        loop = self.run_loop()
        before = self.threads()
        self.watch(loop)
        self.call(loop, lambda: None)
        (thread,) = self.threads() - before
        self.end_loop(loop)
        thread.join(PATIENCE)
        self.assertFalse(thread.is_alive())
