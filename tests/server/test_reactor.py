"""The event loop and the reactor on top of it, each in a process of its own."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import unittest
import warnings
from unittest import mock

from django_daphne.server import ConfigurationError
from django_daphne.server.reactor import loop_name, new_event_loop
from tests.support.server import running_loop

INSTALL = """
import sys, warnings
{first}
from django_daphne.server import reactor
assert {held} or "twisted.internet.reactor" not in sys.modules, "importing installs a reactor"
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    running = reactor.LoopReactor({name!r})
    loop, installed = running.loop, running.get()
from twisted.internet import reactor as global_reactor
print(type(installed).__name__, reactor.loop_name(loop), installed is global_reactor)
print(installed._asyncioEventloop is loop, *(str(each.message) for each in caught))
"""

ASYNCIO_FIRST = """
import asyncio
from twisted.internet import asyncioreactor
asyncioreactor.install(asyncio.new_event_loop())
import holder_of_reactor
"""

LATE = """
import asyncio, os, sys
from django_daphne.server.reactor import LoopReactor

def loaded():
    return "twisted.internet" in sys.modules

running = LoopReactor("auto")
"""

FORKED = """
child = os.fork()
if child == 0:
    from twisted.internet import reactor
    os._exit(type(reactor).__name__ == "AsyncioSelectorReactor")
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), loaded())
"""

STOPPED = """
running.stop()
running.loop.close()
from twisted.internet import reactor
print(type(reactor).__name__ == "AsyncioSelectorReactor", len(sys.meta_path))
"""

SEVERAL = """
from twisted.internet import reactor
first = running.get()
print(first is reactor, reactor.running, type(reactor).__module__)
running.stop()
running.loop.close()
# The reactor of a process can be neither removed nor started again.
second = LoopReactor("auto")
print(second.get() is reactor, second.get() is second.get(), second.get().running)
print(second.get()._asyncioEventloop is second.loop)
second.stop()
second.loop.close()
"""

OTHER_FINDER = """
from importlib.machinery import PathFinder

class Finder:
    find_spec = staticmethod(PathFinder.find_spec)

sys.meta_path[sys.meta_path.index(PathFinder)] = Finder
from twisted.internet import reactor
print(reactor is running.get(), reactor.running)
"""

SPEC = """
import twisted.internet
spec = twisted.internet.__spec__
print(type(spec.loader).__name__, spec.loader is twisted.internet.__loader__, spec.has_location)
"""

OTHER_FIRST = """
from twisted.internet import selectreactor
selectreactor.install()
"""


class LoopTests(unittest.TestCase):
    """Loops by name."""

    def name_of(self, name: str) -> str:
        """Return the name of the loop that is made for a name."""
        loop = new_event_loop(name)
        self.addCleanup(loop.close)
        return loop_name(loop)

    def test_names(self):
        """The operator names a loop and gets it; uvloop is the best there is."""
        found = [self.name_of(name) for name in ("asyncio", "uvloop", "auto")]
        self.assertEqual(found, ["asyncio", "uvloop", "uvloop"])

    def test_uvloop_is_missing(self):
        """The operator demands uvloop where it is not installed, or leaves the choice open."""
        with mock.patch.dict(sys.modules, {"uvloop": None}):
            with self.assertRaisesRegex(ConfigurationError, "uvloop is not installed"):
                new_event_loop("uvloop")
            self.assertEqual(self.name_of("auto"), "asyncio")

    def test_the_tests_own(self):
        """The tests run on the loop that they were asked to run on."""
        running = running_loop()
        loop, reactor = running.loop, running.get()
        self.assertTrue(reactor.running and loop.is_running())
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            self.assertIsInstance(loop, asyncio.AbstractEventLoop)


class InstallTests(unittest.TestCase):
    """The reactor of a process, which is a singleton."""

    def install(self, name: str, first: str = "") -> list[str]:
        """Return what a process prints that installs the reactor."""
        code = INSTALL.format(name=name, first=first, held=bool(first))
        if "holder_of_reactor" in first:
            holder = "import types; holder = types.ModuleType('holder_of_reactor')\n"
            holder += "import twisted.internet.reactor as held; holder.reactor = held\n"
            holder += "import sys; sys.modules['holder_of_reactor'] = holder\n"
            code = code.replace("import holder_of_reactor\n", holder)
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.splitlines()

    def test_fresh(self):
        """Nobody has installed a reactor: ours is the process's, over the loop asked for."""
        for name in ("asyncio", "uvloop"):
            found = self.install(name)
            self.assertEqual(found, [f"AsyncioSelectorReactor {name} True", "True"])

    def test_adopted(self):
        """Somebody has installed an asyncio reactor, which is taken over with its loop."""
        found, rest = self.install("uvloop", ASYNCIO_FIRST)
        self.assertEqual(found, "AsyncioSelectorReactor asyncio True")
        self.assertRegex(rest, "^True .*AsyncioSelectorReactor.*holder_of_reactor")

    def test_other_kind(self):
        """Somebody has installed a reactor of another kind; ours runs beside it."""
        found, rest = self.install("uvloop", OTHER_FIRST)
        self.assertEqual(found, "AsyncioSelectorReactor uvloop False")
        self.assertRegex(rest, "^True .*SelectReactor")


class LateReactorTests(unittest.TestCase):
    """The reactor of a loop, for those who ask."""

    def run_code(self, code: str) -> list[list[str]]:
        """Return the words of what a process prints that has made a loop."""
        command = [sys.executable, "-W", "error", "-c", LATE + code]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return [line.split() for line in done.stdout.splitlines()]

    def test_nobody_asks(self):
        """Nobody uses Twisted: nothing of it is loaded, and the import system is as before."""
        code = "before = len(sys.meta_path); running.stop(); running.loop.close()\n"
        found = self.run_code(code + "print(loaded(), before - len(sys.meta_path))")
        self.assertEqual(found, [["False", "1"]])

    def test_forked(self):
        """A child of the process imports the reactor: nobody runs the loop there."""
        self.assertEqual(self.run_code(FORKED), [["0", "False"]])

    def test_stopped(self):
        """Somebody imports it when the server has ended, and gets Twisted's own choice."""
        ((is_ours, finders),) = self.run_code(STOPPED)
        self.assertEqual(is_ours, "False")
        self.assertLessEqual(int(finders), len(sys.meta_path))

    def test_several_servers(self):
        """A process serves a second time, on another loop."""
        first, second, third = self.run_code(SEVERAL)
        self.assertEqual(first, ["True", "True", "twisted.internet.asyncioreactor"])
        self.assertEqual((second, third), (["False", "True", "True"], ["True"]))

    def test_other_finder(self):
        """The project's modules are found by a tool that packs programs, and Twisted is, too."""
        self.assertEqual(self.run_code(OTHER_FINDER), [["True", "True"]])

    def test_import_system(self):
        """A tool that asks where Twisted comes from finds its file."""
        found = self.run_code(SPEC)
        self.assertEqual(found, [["SourceFileLoader", "True", "True"]])
