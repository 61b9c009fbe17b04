"""Media: what users have sent in, and what it must not do."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Mapping
from functools import partial
from typing import Any
from unittest import mock

from django.test import SimpleTestCase

from django_daphne.public_files.folders import Folder, Found
from django_daphne.public_files.handler import Opened, PublicFiles
from django_daphne.public_files.responses import Request
from tests.support.server import PATIENCE

from .support import DATE, SCRIPT, FilesTestCase, application
from .test_responses import make
from .test_static import ESCAPES, LARGE


class MediaTests(FilesTestCase):
    """A file below MEDIA_URL."""

    served: Mapping[str, object] = {"SERVE_MEDIA": True}

    def test_image(self):
        """The client gets a picture as soon as it is there, and asks again each time."""
        self.start()
        self.assert_passed_on("/media/cat.png")
        self.write("media/cat.png", b"meow")
        response = self.ask("/media/cat.png")
        self.assertEqual((response.status, response.body), (200, b"meow"))
        expected = {
            b"content-type": b"image/png",
            b"cache-control": b"max-age=0, public",
            b"x-content-type-options": b"nosniff",
            b"last-modified": DATE,
        }
        self.assertEqual({name: response.headers.get(name) for name in expected}, expected)
        for name in (b"content-disposition", b"access-control-allow-origin", b"vary"):
            self.assertNotIn(name, response.headers)
        tag = response.headers[b"etag"]
        self.assertEqual(self.status("/media/cat.png", b"If-None-Match: " + tag), 304)

    def test_parts(self):
        """The client fetches parts of a film."""
        self.write("media/film.mp4", LARGE)
        self.assertTrue(self.ask("/media/film.mp4").body == LARGE)
        response = self.ask("/media/film.mp4", b"Range: bytes=1-3")
        self.assertEqual((response.status, response.body), (206, b"\1\2\3"))

    def test_static_files_are_not_served(self):
        """The project serves media alone."""
        self.write("static/app.js")
        self.assert_passed_on("/static/app.js")

    def test_what_runs_is_not_shown(self):
        """The attacker has sent in pages, pictures with scripts, and what has no name."""
        active = ["a.html", "a.HTM", "a.svg", "a.xhtml", "a.xml", "a.js", "a.swf", "a", "a.exe"]
        for name in active:
            self.write(f"media/{name}")
            headers = self.ask(f"/media/{name}").headers
            self.assertEqual(
                headers[b"content-disposition"], f"attachment; filename*=UTF-8''{name}".encode()
            )
            self.assertEqual(
                headers[b"content-security-policy"], b"sandbox; default-src 'none'", name
            )
            self.assertEqual(headers[b"x-content-type-options"], b"nosniff")

    def test_what_does_not_run_is_shown(self):
        """The client looks at pictures, films, documents and text in the browser."""
        for name in ("a.jpg", "a.webp", "a.mp3", "a.mp4", "a.pdf", "a.txt", "a.woff2"):
            self.write(f"media/{name}")
            headers = self.ask(f"/media/{name}").headers
            self.assertNotIn(b"content-disposition", headers, name)
            self.assertNotIn(b"content-security-policy", headers, name)

    def test_name_of_a_download(self):
        """The attacker's file has a name that would be a header of its own."""
        self.write('media/a"; b\r\nX-Evil: 1\r\n.html')
        headers = self.ask("/media/a%22%3B%20b%0D%0AX-Evil:%201%0D%0A.html").headers
        self.assertEqual(
            headers[b"content-disposition"],
            b"attachment; filename*=UTF-8''a%22%3B%20b%0D%0AX-Evil%3A%201%0D%0A.html",
        )
        self.assertNotIn(b"x-evil", headers)

    def test_compressed_beside(self):
        """The attacker sends in a compressed file beside the picture of somebody else."""
        self.write("media/cat.png", b"a picture of a cat")
        self.write("media/cat.png.gz", b"evil")
        response = self.ask("/media/cat.png", b"Accept-Encoding: gzip")
        self.assertEqual(response.body, b"a picture of a cat")
        self.assertNotIn(b"content-encoding", response.headers)

    def test_traversal(self):
        """The attacker asks for what is outside of the folder in every way there is."""
        self.write("media/css/app.css")
        (self.media / "link").symlink_to(self.folder / "secret.txt")
        (self.media / "up").symlink_to("..")
        for way in ESCAPES:
            target = b"/media/" + way.replace(b"ROOT", str(self.folder).encode())
            self.assertFalse(self.ask(target).body.startswith(b"secret"), target)

    def test_link_inside(self):
        """The project links a picture to another."""
        self.write("media/2024/cat.png")
        (self.media / "latest").symlink_to("2024")
        self.assertEqual(self.ask("/media/latest/cat.png").body, SCRIPT)

    def test_swapped(self):
        """The attacker puts a link or a FIFO in a file's place just when it has been found."""
        find = Folder.find
        file = self.media / "cat.png"

        for swap in (
            partial(file.symlink_to, self.folder / "secret.txt"),
            partial(os.mkfifo, file),
        ):

            def find_and_swap(folder: Folder, relative: str, swap: Any = swap) -> Found | None:
                found = find(folder, relative)
                file.unlink()
                swap()
                return found

            self.write("media/cat.png")
            with mock.patch.object(Folder, "find", find_and_swap):
                self.assert_passed_on("/media/cat.png")
            file.unlink()

    def test_what_is_no_file(self):
        """The client asks for a folder, a FIFO and what is not there."""
        self.write("media/folder/file")
        os.mkfifo(self.media / "fifo")
        for path in ("", "folder", "folder/", "fifo", "none", "folder/file/more"):
            self.assert_passed_on(f"/media/{path}")

    def test_no_folder(self):
        """The client asks before the first upload has made the folder."""
        self.media.rmdir()
        self.start()
        self.assert_passed_on("/media/cat.png")
        self.write("media/cat.png")
        self.assertEqual(self.ask("/media/cat.png").body, SCRIPT)

    def test_max_age(self):
        """The project says how long media may be kept."""
        self.settings_are(DAPHNE={"SERVE_MEDIA": True, "MEDIA_MAX_AGE": 3600})
        self.write("media/cat.png")
        headers = self.ask("/media/cat.png").headers
        self.assertEqual(headers[b"cache-control"], b"max-age=3600, public")


class SlowDisk:
    """A source whose only file takes as long to open as the test says; it is one end of a pipe."""

    blocks = True

    def __init__(self) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.other_end, self.descriptor = os.pipe()

    def has(self, path: str) -> bool:
        """Have every file."""
        return True

    def open(self, path: str, request: Request) -> Opened:
        """Return the file, when the test wants it."""
        self.begun.set()
        self.go_on.wait(PATIENCE)
        return Opened(self.descriptor, make())


class HandlerTests(SimpleTestCase):
    """What does not show in the answers."""

    async def test_client_leaves(self):
        """The client leaves while a slow disk opens its file; it is closed nonetheless."""
        disk = SlowDisk()
        self.addCleanup(os.close, disk.other_end)
        task = asyncio.create_task(PublicFiles(application, disk)(SCOPE, None, None))
        self.assertTrue(await asyncio.to_thread(disk.begun.wait, PATIENCE))
        task.cancel()
        with self.assertRaises(asyncio.CancelledError):
            await task
        closed = asyncio.Event()
        asyncio.get_running_loop().add_reader(disk.other_end, closed.set)
        disk.go_on.set()
        async with asyncio.timeout(PATIENCE):
            await closed.wait()
        asyncio.get_running_loop().remove_reader(disk.other_end)

    async def test_looking(self):
        """The client only looks, and nothing is read from the file, which a pipe would show."""
        disk = SlowDisk()
        self.addCleanup(os.close, disk.other_end)
        disk.go_on.set()
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        await PublicFiles(application, disk)({**SCOPE, "method": "HEAD"}, None, send)
        self.assertEqual([each["type"] for each in sent], [f"http.response.{n}" for n in PARTS])
        self.assertEqual(sent[1]["body"], b"")


SCOPE = {"type": "http", "method": "GET", "path": "/", "headers": []}
PARTS = ("start", "body")
