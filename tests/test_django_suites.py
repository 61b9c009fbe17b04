"""The runner of Django's own suites: what it reads, what it compares, and what it puts in place."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import unittest
from contextlib import redirect_stdout
from pathlib import Path

import django

from tests import django_suites as suites
from tests.django_suites import Comparison, Results, Trouble

# Stands for Django's runtests.py: real results of unittest, of which one depends on the handler.
RUNTESTS = """
import sys
import unittest

words = sys.argv[1:]


class Passing(unittest.TestCase):
    def test_good(self):
        pass


class Failing(unittest.TestCase):
    def test_plain(self):
        "With a sentence of its own."
        self.fail("for both")

    def test_sub(self):
        for number in (1, 2):
            with self.subTest("(a)", number=number):
                self.fail("of two")

    @unittest.skipUnless("handler" in words, "not here")
    def test_handler(self):
        from django.core.handlers.asgi import ASGIHandler

        self.assertEqual(ASGIHandler.__name__, "ASGIHandler")

    @unittest.expectedFailure
    def test_unexpected(self):
        pass


class Broken(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        raise ValueError("no class")

    def test_never(self):
        pass


if "stop" in words:
    sys.exit(3)
loader = unittest.defaultTestLoader
if "good" in words:
    suite = loader.loadTestsFromTestCase(Passing)
else:
    suite = loader.loadTestsFromModule(sys.modules["__main__"])
result = unittest.TextTestRunner().run(suite)
sys.exit(not result.wasSuccessful() and "lie" not in words)
"""

# A project in one file, whose only request goes through whatever handler is there.
PROJECT = """
import asyncio

import django
from asgiref.testing import ApplicationCommunicator
from django.conf import settings
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core import asgi
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpResponse
from django.urls import path

settings.configure(ROOT_URLCONF="__main__", ALLOWED_HOSTS=["*"], MIDDLEWARE=[])
urlpatterns = [path("", lambda request: HttpResponse("here"))]


class Handler(ASGIHandler):
    pass


async def request(application):
    scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": []}
    communicator = ApplicationCommunicator(application, scope)
    await communicator.send_input({"type": "http.request"})
    assert (await communicator.receive_output())["status"] == 200
    assert (await communicator.receive_output())["body"] == b"here"
    await communicator.wait()


print(*[each.__name__ for each in ASGIHandler.__mro__])
print(asgi.ASGIHandler is ASGIHandler, issubclass(ASGIStaticFilesHandler, ASGIHandler))
asyncio.run(request(asgi.get_asgi_application()))
asyncio.run(request(Handler()))
"""


def results(*failed: str, ran: int = 10) -> Results:
    """Return the results of a run in which these tests failed."""
    return Results(ran, "OK", {test: f"what {test} says" for test in failed})


class ParseTests(unittest.TestCase):
    """What unittest prints."""

    def printed(self, *lines: str, end: str = "OK", ran: int = 3) -> str:
        """Return output that ends as unittest's does."""
        return "\n".join((*lines, "-" * 70, f"Ran {ran} tests in 0.012s", "", end, ""))

    def test_good(self):
        """All tests pass, and the database is destroyed after the last line."""
        found = suites.parse(self.printed("...", end="OK (skipped=2)") + "Destroying test database")
        self.assertEqual(found, Results(3, "OK (skipped=2)", {}))
        self.assertEqual(str(found), "3 tests, OK (skipped=2)")

    def test_inner_run(self):
        """A test runs tests of its own and prints their end."""
        found = suites.parse(self.printed("..", ran=1) + self.printed("..", ran=4))
        self.assertEqual(found.ran, 4)

    def test_failures(self):
        """A test fails in two subtests, a class is not set up, and other tests pass wrongly."""
        rule = "=" * 70
        output = self.printed(
            *(rule, "FAIL: test_a (m.tests.A.test_a) (path='(x)')", "first"),
            *(rule, "FAIL: test_a (m.tests.A.test_a) [text] (path='y')", "second"),
            *(rule, "ERROR: setUpClass (m.tests.B)", "third"),
            *(rule, "UNEXPECTED SUCCESS: test_c (m.tests.C.test_c)"),
            "UNEXPECTED SUCCESS: test_d (m.tests.C.test_d)",
            end="FAILED (failures=2, errors=1, skipped=7, unexpected successes=2)",
        )
        found = suites.parse(output).failed
        self.assertEqual(
            " ".join(found),
            "m.tests.A.test_a m.tests.B.setUpClass m.tests.C.test_c m.tests.C.test_d",
        )
        self.assertIn("first", found["m.tests.A.test_a"])
        self.assertIn("second", found["m.tests.A.test_a"])
        self.assertNotIn("third", found["m.tests.A.test_a"])
        self.assertNotIn("Ran 3", found["m.tests.C.test_d"])

    def test_other_lines(self):
        """A test prints what looks like the head of a failure."""
        output = self.printed("FAIL: test_a (m.A.test_a)", "ERROR: something (else)")
        self.assertEqual(suites.parse(output).failed, {})

    def test_no_end(self):
        """The process dies in the middle of a test."""
        with self.assertRaisesRegex(Trouble, "ended before its tests did"):
            suites.parse("Found 3 test(s).\n..Segmentation fault")

    def test_no_tests(self):
        """The labels select nothing."""
        for end in ("OK", "NO TESTS RAN", "NO TESTS RAN (skipped=1)"):
            with self.subTest(end), self.assertRaisesRegex(Trouble, "no tests"):
                suites.parse(self.printed(end=end, ran=0))

    def test_lost_failure(self):
        """Another line of output is mixed into the head of a failure."""
        output = self.printed("=" * 70 + "x", "FAIL: test_a (m.A.test_a)", end="FAILED (errors=1)")
        with self.assertRaisesRegex(Trouble, "counts 1 failures and prints 0"):
            suites.parse(output)


class CompareTests(unittest.TestCase):
    """Whose failures count."""

    def test_equal(self):
        """The same tests fail with both handlers."""
        comparison = Comparison(results("b", "a"), results("a", "b"), {})
        self.assertTrue(comparison.is_good)
        self.assertEqual([*comparison.lines()], ["fails with both: a", "fails with both: b"])

    def test_ours_only(self):
        """A test fails with ours, and what it says is the last thing before the verdict."""
        comparison = Comparison(results("a"), results("a", "b"), {})
        self.assertFalse(comparison.is_good)
        self.assertEqual(
            [*comparison.lines()],
            ["fails with both: a", "\nwhat b says", "fails with our handler only: b"],
        )

    def test_stock_only(self):
        """A test fails with Django's handler, and as many others with ours."""
        self.assertTrue(Comparison(results("a"), results(), {}).is_good)
        self.assertEqual(Comparison(results("a"), results("b"), {}).blamed, ["b"])

    def test_excused(self):
        """A test fails that the table names, and another that it does not name."""
        comparison = Comparison(results(), results("a"), {"a": "looks inside"})
        self.assertTrue(comparison.is_good)
        self.assertEqual([*comparison.lines()], ["excused: a: looks inside"])
        self.assertFalse(Comparison(results(), results("a", "b"), {"a": "looks inside"}).is_good)

    def test_fewer_tests(self):
        """Nothing fails with ours, but not every test runs."""
        comparison = Comparison(results(), results(ran=9), {})
        self.assertFalse(comparison.is_good)
        self.assertEqual([*comparison.lines()], ["with our handler 9 tests ran, not 10"])

    def test_table(self):
        """An author excuses a test, and names it in full with a reason."""
        for test, reason in suites.EXCUSED.items():
            self.assertGreaterEqual(test.count("."), 3, test)
            self.assertIn(test.split(".")[0], suites.LABELS)
            self.assertTrue(reason.strip(), test)


class RunTests(unittest.TestCase):
    """Runs of tests that take the place of Django's."""

    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.home = self.folder / "home"
        self.tests = self.home / django.get_version() / "tests"
        self.tests.mkdir(parents=True)
        (self.tests / "runtests.py").write_text(RUNTESTS, encoding="utf-8")
        self.log = self.folder / "log"

    def test_results(self):
        """unittest itself prints every kind of outcome."""
        found = suites.play(self.tests, ["all"], self.log, {})
        self.assertEqual(
            {*found.failed},
            {
                "__main__.Broken.setUpClass",
                "__main__.Failing.test_plain",
                "__main__.Failing.test_sub",
                "__main__.Failing.test_unexpected",
            },
        )
        self.assertEqual(found.failed["__main__.Failing.test_sub"].count("Error: of two"), 2)

    def test_nothing_wrong(self):
        """All tests of a run pass."""
        found = suites.play(self.tests, ["good"], self.log, {})
        self.assertEqual(found, Results(1, "OK", {}))

    def test_wrong_status(self):
        """The process hides behind its status that tests failed."""
        with self.assertRaisesRegex(Trouble, "status 0 after .* tests, FAILED"):
            suites.play(self.tests, ["lie"], self.log, {})

    def test_dead_process(self):
        """The process ends before its tests do, and the log is named."""
        with self.assertRaisesRegex(Trouble, f"ended before its tests did: {self.log}"):
            suites.play(self.tests, ["stop"], self.log, {})

    def run_main(self, *labels: str) -> tuple[object, str]:
        """Run it all, and return the exit status and what is printed."""
        output = io.StringIO()
        with redirect_stdout(output):
            return suites.main(labels, self.home), output.getvalue()

    def test_main(self):
        """A test fails with our handler only: the others fail with both."""
        status, output = self.run_main("handler")
        self.assertIn("fails with both: __main__.Failing.test_plain\n", output)
        self.assertIn("fails with our handler only: __main__.Failing.test_handler\n", output)
        self.assertEqual(output.count("with our handler only"), 1)
        self.assertIn("'SubstituteHandler' != 'ASGIHandler'", output)
        self.assertEqual(status, "No test has sent a request through a lane.")

    def test_main_in_trouble(self):
        """The suites cannot be run, which is not to pass for success."""
        status, _ = self.run_main("stop")
        self.assertRegex(str(status), "^The suites could not be run: it ended before")


class FetchTests(unittest.TestCase):
    """Where the source of Django comes from."""

    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))

    def test_unpack(self):
        """An archive has one folder, with the tests in it."""
        tests = self.folder / "django-1.2.3" / "tests"
        tests.mkdir(parents=True)
        (tests / "runtests.py").touch()
        archive = self.folder / "django-1.2.3.tar.gz"
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(tests.parent, tests.parent.name)
        found = suites.unpack(archive, self.folder / "new")
        self.assertEqual(found, self.folder / "new" / "django-1.2.3")
        self.assertTrue((found / "tests" / "runtests.py").is_file())

    def test_second_run(self):
        """The source is there from an earlier run, and nothing is downloaded."""
        (self.folder / "1.2.3").mkdir()
        self.assertEqual(suites.fetch("1.2.3", self.folder), self.folder / "1.2.3" / "tests")

    def test_ignored(self):
        """Git does not see what is downloaded."""
        ignored = (suites.ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
        self.assertIn(f"/{suites.HOME.name}/", ignored)


class SubstituteTests(unittest.TestCase):
    """Our handler in the place of Django's, in a process of its own."""

    def test_substitute(self):
        """Python imports the file as sitecustomize; Django's function and a subclass get ours."""
        with tempfile.TemporaryDirectory() as folder:
            shutil.copy(suites.__file__, Path(folder, "sitecustomize.py"))
            counts = Path(folder, "counts")
            path = os.pathsep.join((folder, str(suites.ROOT)))
            environ = {**os.environ, "PYTHONPATH": path, suites.COUNTS: str(counts)}
            environ.pop("DJANGO_SETTINGS_MODULE", None)
            finished = subprocess.run(
                [sys.executable, "-c", PROJECT],
                check=False,
                cwd=folder,
                env=environ,
                capture_output=True,
                text=True,
                timeout=60,
            )
            self.assertEqual(finished.returncode, 0, finished.stderr)
            classes, places = finished.stdout.splitlines()
            self.assertEqual(
                classes, "SubstituteHandler ThreadedASGIHandler ASGIHandler BaseHandler object"
            )
            self.assertEqual(places, "True False")
            self.assertEqual(counts.read_text(encoding="utf-8"), "2\n")
