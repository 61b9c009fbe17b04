"""The distribution: its version, its dependencies and what its archives hold."""

from __future__ import annotations

import asyncio
import importlib.metadata
import importlib.util
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import unittest
import zipfile
from pathlib import Path
from typing import Any

from django.test import SimpleTestCase
from packaging.requirements import Requirement
from twisted.internet.asyncioreactor import AsyncioSelectorReactor

import django_daphne

ROOT = Path(__file__).resolve().parent.parent

# What we use of these beyond what their authors promise, so that every release needs a look.
USED_PRIVATELY = ("httptools", "twisted")


def read_project() -> dict[str, Any]:
    """Return the [project] table of pyproject.toml."""
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return project


def read_dependencies() -> dict[str, Requirement]:
    """Return the requirements of a plain installation by name."""
    requirements = map(Requirement, read_project()["dependencies"])
    return {requirement.name: requirement for requirement in requirements}


def build(target: str, folder: str) -> Path:
    """Build a "wheel" or an "sdist" into the folder and return its path."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", target]
    subprocess.run(
        [*command, "--directory", folder], cwd=ROOT, check=True, capture_output=True, text=True
    )
    (archive,) = Path(folder).iterdir()
    return archive


class VersionTests(SimpleTestCase):
    """The version is written down in one place."""

    def test_the_package_is_the_only_source(self):
        """The build back end reads the version from the package."""
        project = read_project()
        self.assertNotIn("version", project)
        self.assertIn("version", project["dynamic"])

    def test_the_package_says_nothing_else(self):
        """A reader of the package's first file finds the version and no other name."""
        names = {name for name in vars(django_daphne) if not name.startswith("_")}
        # Modules imported by other tests appear as attributes; nothing defined here may.
        modules = {name for name in names if f"django_daphne.{name}" in sys.modules}
        self.assertEqual(names - modules, set())
        self.assertRegex(django_daphne.__version__, r"\A\d+\.\d+\.\d+((a|b|rc|\.dev)\d+)?\Z")

    def test_the_changelog_is_open_or_knows_the_version(self):
        """The reader of the changelog finds this version, or what is to be released."""
        text = (ROOT / "CHANGELOG.md").read_text()
        self.assertRegex(text, rf"(?m)^## (Unreleased|{django_daphne.__version__}\b)")


class DependencyTests(SimpleTestCase):
    """What the distribution asks for is what it was tested with."""

    def test_every_dependency_has_a_floor(self):
        """The installer may not pick a release older than the ones we know."""
        optional = [
            Requirement(text)
            for extra in read_project()["optional-dependencies"].values()
            for text in extra
        ]
        for requirement in [*read_dependencies().values(), *optional]:
            with self.subTest(requirement=str(requirement)):
                operators = {part.operator for part in requirement.specifier}
                self.assertIn(">=", operators)

    def test_installed_releases_are_within_the_bounds(self):
        """The environment holds a supported release of every dependency."""
        for name, requirement in read_dependencies().items():
            if requirement.marker is not None and not requirement.marker.evaluate():
                continue
            with self.subTest(name=name):
                installed = importlib.metadata.version(name)
                self.assertTrue(
                    requirement.specifier.contains(installed, prereleases=True),
                    f"{name} {installed} is installed, but pyproject.toml asks for {requirement}.",
                )

    def test_libraries_used_privately_have_a_ceiling(self):
        """A release that nobody has read cannot slip below the parser."""
        for name in USED_PRIVATELY:
            with self.subTest(name=name):
                specifier = read_dependencies()[name].specifier
                installed = importlib.metadata.version(name)
                self.assertIn(
                    "<", {part.operator for part in specifier}, f"{name} needs a ceiling."
                )
                self.assertTrue(
                    specifier.contains(installed, prereleases=True),
                    f"{name} {installed} is outside {specifier}, the releases whose undocumented "
                    f"behaviour we know. Run tests.compliance with it, read its changes, then "
                    f"move the bounds in pyproject.toml.",
                )

    def test_the_private_name_of_twisted(self):
        """A reactor that somebody else installed still tells its event loop."""
        loop = asyncio.new_event_loop()
        self.addCleanup(loop.close)
        self.assertIs(
            getattr(AsyncioSelectorReactor(loop), "_asyncioEventloop", None),
            loop,
            "Twisted has renamed AsyncioSelectorReactor._asyncioEventloop: server/reactor.py needs "
            "another way to the loop of a reactor that it adopts.",
        )

    def test_the_django_releases_agree(self):
        """The classifiers name the Django releases that the bounds admit."""
        specifier = read_dependencies()["django"].specifier
        prefix = "Framework :: Django :: "
        named = {
            classifier.removeprefix(prefix)
            for classifier in read_project()["classifiers"]
            if classifier.startswith(prefix)
        }
        candidates = ("5.1", "5.2", "6.0", "6.1", "6.2")
        self.assertEqual(named, {text for text in candidates if specifier.contains(f"{text}.1")})


@unittest.skipUnless(importlib.util.find_spec("hatchling"), "missing: hatchling")
class ArchiveTests(SimpleTestCase):
    """The archives hold what they should and nothing else."""

    def test_the_wheel_holds_the_package_alone(self):
        """The user who installs the wheel gets no tests, examples or benchmarks."""
        with tempfile.TemporaryDirectory() as folder:
            names = zipfile.ZipFile(build("wheel", folder)).namelist()
        metadata = f"django_daphne-{django_daphne.__version__}.dist-info"
        self.assertEqual({name.partition("/")[0] for name in names}, {"django_daphne", metadata})
        self.assertIn("django_daphne/py.typed", names)
        self.assertIn(f"{metadata}/licenses/LICENSE", names)
        self.assertIn(f"{metadata}/entry_points.txt", names)

    def test_the_wheel_holds_every_module(self):
        """The user can import from the wheel what the checkout has."""
        with tempfile.TemporaryDirectory() as folder:
            names = set(zipfile.ZipFile(build("wheel", folder)).namelist())
        modules = {
            path.relative_to(ROOT).as_posix() for path in (ROOT / "django_daphne").rglob("*.py")
        }
        self.assertEqual(modules - names, set())

    def test_the_sdist_can_run_the_tests(self):
        """The packager who unpacks the sdist finds the tests and what they read."""
        with (
            tempfile.TemporaryDirectory() as folder,
            tarfile.open(build("sdist", folder)) as archive,
        ):
            names = {name.partition("/")[2] for name in archive.getnames()}
        wanted = ["LICENSE", "README.md", "CHANGELOG.md", "Makefile", "runtests.py"]
        for name in [*wanted, "pyproject.toml", "tests/runner.py", "tests/test_packaging.py"]:
            with self.subTest(name=name):
                self.assertIn(name, names)
        self.assertEqual([name for name in names if "__pycache__" in name], [])
