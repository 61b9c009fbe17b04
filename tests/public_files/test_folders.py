"""No path and no link leads out of a folder."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path

from django.test import SimpleTestCase

from django_daphne.public_files.folders import Folder


class FolderTests(SimpleTestCase):
    """What is in a folder, and what is not."""

    def setUp(self) -> None:
        self.outside = Path(self.enterContext(tempfile.TemporaryDirectory())).resolve()
        self.root = self.outside / "root"
        (self.root / "a" / "b").mkdir(parents=True)
        (self.root / "a" / "b" / "file").write_text("inside")
        (self.outside / "secret").write_text("secret")
        (self.outside / "root-2").mkdir()
        (self.outside / "root-2" / "file").write_text("secret")
        self.folder = Folder(self.root)

    def read(self, relative: str) -> str | None:
        """Return the text of a file as it is found and opened."""
        found = self.folder.find(relative)
        return None if found is None else self.read_place(found.place)

    def read_place(self, place: tuple[str, ...]) -> str | None:
        """Return the text of a file that was found before."""
        descriptor = self.folder.open(place)
        if descriptor is None:
            return None
        with os.fdopen(descriptor) as file:
            return file.read()

    def walked(self) -> list[str]:
        """Return the paths that are found."""
        return [path.relative_to(self.root).as_posix() for path, _ in self.folder.walk()]

    def test_inside(self):
        """The owner finds a file, and a link to it from inside, whole folders among them."""
        (self.root / "link").symlink_to(self.root / "a" / "b" / "file")
        (self.root / "folder").symlink_to("a")
        self.assertEqual(self.read("a/b/file"), "inside")
        self.assertEqual(self.read("link"), "inside")
        self.assertEqual(self.read("folder/b/file"), "inside")
        self.assertEqual(self.walked(), ["a/b/file", "folder/b/file", "link"])

    def test_the_folder_is_a_link(self):
        """The owner names a link to the folder."""
        link = self.outside / "current"
        link.symlink_to(self.root)
        self.folder = Folder(link)
        self.assertEqual(self.read("a/b/file"), "inside")

    def test_traversal(self):
        """The attacker names what is outside in every way there is."""
        plain = ["../secret", "a/../../secret", "a/b/../b/file", "./a/b/file", "a//b/file", ""]
        strange = [f"{self.outside}/secret", f"/{self.outside}/secret", "../root-2/file", "a/b/"]
        encoded = [
            "..\\secret",
            "a\\b\\file",
            "a/b/file\0",
            "\0",
            "a/b/file\0.txt",
            "%2e%2e/secret",
        ]
        wrong = ["a", "a/b", "a/b/file/c", "x" * 300, "/".join(["a"] * 3000), "secret", ".", ".."]
        (self.root / "..\\secret").write_text("a folder's name on other systems")
        for relative in (*plain, *strange, *encoded, *wrong):
            self.assertIsNone(self.read(relative), relative)

    def test_links_that_lead_out(self):
        """The attacker has made links to what is outside; the owner is warned of them."""
        (self.root / "secret").symlink_to("../secret")
        (self.root / "absolute").symlink_to(self.outside / "secret")
        (self.root / "up").symlink_to("..")
        (self.root / "neighbour").symlink_to("../root-2")
        (self.root / "twice").symlink_to("secret")
        for relative in ("secret", "absolute", "up/secret", "neighbour/file", "twice"):
            self.assertIsNone(self.read(relative), relative)
        with self.assertLogs("django_daphne.server", "WARNING") as log:
            self.assertEqual(self.walked(), ["a/b/file"])
        self.assertEqual(len(log.records), 5)

    def test_circles(self):
        """The owner's links go round in circles, or nowhere."""
        (self.root / "self").symlink_to("self")
        (self.root / "a" / "top").symlink_to("..")
        (self.root / "gone").symlink_to("nothing")
        self.assertEqual(self.walked(), ["a/b/file"])
        self.assertIsNone(self.read("self"))
        self.assertIsNone(self.read("gone"))

    def test_no_regular_file(self):
        """The owner has a FIFO and a socket in the folder; nobody waits for them."""
        os.mkfifo(self.root / "fifo")
        with socket.socket(socket.AF_UNIX) as listener:
            here = Path.cwd()
            try:
                os.chdir(self.root)  # the path of a socket must be short
                listener.bind("socket")
            finally:
                os.chdir(here)
            self.assertEqual(self.walked(), ["a/b/file"])
            self.assertIsNone(self.read("fifo"))
            self.assertIsNone(self.read("socket"))
            self.assertIsNone(self.folder.open(("socket",)))

    def test_swapped_file(self):
        """The attacker puts a link in a file's place after it was found."""
        found = self.folder.find("a/b/file")
        assert found is not None
        (self.root / "a" / "b" / "file").unlink()
        (self.root / "a" / "b" / "file").symlink_to(self.outside / "secret")
        self.assertIsNone(self.read_place(found.place))

    def test_swapped_folder(self):
        """The attacker puts a link in the place of a folder on the way."""
        found = self.folder.find("a/b/file")
        assert found is not None
        (self.root / "a" / "b").rename(self.root / "a" / "c")
        (self.root / "a" / "b").symlink_to(self.outside / "root-2")
        self.assertIsNone(self.read_place(found.place))
        self.assertIsNone(self.read("a/b/file"))

    def test_no_descriptor_is_left(self):
        """The owner's process opens files for long, there or not, and keeps none."""

        def count() -> int:
            return len([*Path("/proc/self/fd").iterdir()])

        if not Path("/proc/self/fd").exists():
            self.skipTest("missing: /proc")
        before = count()
        for _ in range(50):
            self.read("a/b/file")
            self.folder.open(("a", "none", "file"))
            self.folder.open(("a", "b", "file", "more"))
        self.assertLess(count(), before + 50)
