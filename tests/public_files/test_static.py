"""Static files: what is served, what is said of it, and what happens when it changes."""

from __future__ import annotations

from typing import Any
from unittest import mock

from django.conf import settings
from django.core.management import call_command
from django.urls import get_script_prefix

from django_daphne.public_files.handler import SMALL

from .support import DATE, MODIFIED, SCRIPT, FilesTestCase

LARGE = bytes(range(256)) * (SMALL // 256) + b"and more"


class StaticFileTests(FilesTestCase):
    """A file below STATIC_URL."""

    def test_small(self):
        """The client gets a file, its type and its age; the application is not called."""
        self.write("static/js/app.js")
        response = self.ask("/static/js/app.js?v=1")
        self.assertEqual((response.status, response.body), (200, SCRIPT))
        expected = {
            b"content-type": b'text/javascript; charset="utf-8"',
            b"cache-control": b"max-age=60, public",
            b"access-control-allow-origin": b"*",
            b"x-content-type-options": b"nosniff",
            b"last-modified": DATE,
            b"content-length": b"%d" % len(SCRIPT),
        }
        self.assertEqual({name: response.headers.get(name) for name in expected}, expected)
        self.assertNotIn(b"vary", response.headers)

    def test_large(self):
        """The client gets a large file, whole and in parts."""
        self.write("static/large.bin", LARGE)
        # A comparison of so many bytes in words would take minutes.
        self.assertTrue(self.ask("/static/large.bin").body == LARGE)
        part = self.ask("/static/large.bin", b"Range: bytes=5-" + b"%d" % (SMALL + 4))
        self.assertEqual(part.status, 206)
        self.assertTrue(part.body == LARGE[5 : SMALL + 5])
        part = self.ask("/static/large.bin", b"Range: bytes=-8")
        self.assertEqual((part.status, part.body), (206, b"and more"))
        self.assertEqual(part.headers[b"content-length"], b"8")

    def test_looking(self):
        """The client looks, at a small file and at a large one, and gets no body."""
        self.write("static/small", b"12345")
        self.write("static/large", LARGE)
        for name, size in (("small", 5), ("large", len(LARGE))):
            response = self.ask(f"/static/{name}", method="HEAD")
            self.assertEqual((response.status, response.body), (200, b""))
            self.assertEqual(response.headers[b"content-length"], b"%d" % size)

    def test_empty(self):
        """The client gets an empty file."""
        self.write("static/empty", b"")
        self.assertEqual(self.ask("/static/empty").headers[b"content-length"], b"0")

    def test_conditions(self):
        """The client has it already, or asks for too much."""
        self.write("static/app.js")
        tag = self.ask("/static/app.js").headers[b"etag"]
        response = self.ask("/static/app.js", b"If-None-Match: " + tag)
        self.assertEqual((response.status, response.body), (304, b""))
        self.assertEqual(response.headers[b"etag"], tag)
        self.assertEqual(self.status("/static/app.js", b"If-Modified-Since: " + DATE), 304)
        self.assertEqual(self.status("/static/app.js", b"Range: bytes=1000-"), 416)

    def test_other_methods(self):
        """The client posts to a file."""
        self.write("static/app.js")
        response = self.ask("/static/app.js", b"Content-Length: 0", method="POST")
        self.assertEqual((response.status, response.headers[b"allow"]), (405, b"GET, HEAD"))

    def test_what_is_passed_on(self):
        """The client asks for what is no file, with any method, and the application answers."""
        self.write("static/css/app.css")
        for target in ("/", "/static/", "/static/css", "/static/css/", "/static/none.css"):
            self.assert_passed_on(target)
            self.assert_passed_on(target, b"Content-Length: 0", method="POST")
        self.assert_passed_on("/css/app.css")
        self.assert_passed_on("/STATIC/css/app.css")

    def test_traversal(self):
        """The attacker asks for what is outside of the folder in every way there is."""
        self.write("static/css/app.css")
        (self.static / "link").symlink_to(self.folder / "secret.txt")
        (self.static / "up").symlink_to("..")
        with self.assertLogs("django_daphne.server", "WARNING"):
            self.start()
        for way in ESCAPES:
            target = b"/static/" + way.replace(b"ROOT", str(self.folder).encode())
            response = self.ask(target)
            self.assertNotIn(b"secret\n", response.body + b"\n", target)
            self.assertFalse(response.body.startswith(b"secret"), target)

    def test_names(self):
        """The client asks for a name with spaces and letters of another alphabet."""
        self.write("static/två ord.txt", b"ja")
        self.assertEqual(self.ask("/static/tv%C3%A5%20ord.txt").body, b"ja")
        self.assertEqual(self.ask("/static/tv%c3%a5%20ord%2Etxt").body, b"ja")

    def test_access_log(self):
        """The administrator finds files in the access log as any other response."""
        self.write("static/app.js")
        server = self.start()
        self.ask("/static/app.js")
        (record,) = server.access
        self.assertEqual((record.status, record.size), (200, len(SCRIPT)))

    def test_other_scopes(self):
        """The application has its lifespan, and WebSockets below STATIC_URL."""
        seen: list[str] = []

        async def inner(scope: Any, receive: Any, send: Any) -> None:
            seen.append(scope["type"])
            if scope["type"] == "lifespan":
                for moment in ("startup", "shutdown"):
                    await receive()
                    await send({"type": f"lifespan.{moment}.complete"})
            else:
                await send({"type": "websocket.close"})

        self.write("static/app.js")
        server = self.start(inner, lifespan="on")
        client = server.connect()
        client.send(
            b"GET /static/app.js HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\n"
            b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        self.assertEqual(client.statuses(), [403])
        self.assertEqual(seen, ["lifespan", "websocket"])

    def test_slow_client(self):
        """The client stops reading within a large file: the server waits, then sends the rest."""
        data = LARGE * 40
        self.write("static/large.bin", data)
        client = self.start().connect()
        client.stop_reading()
        client.send(b"GET /static/large.bin HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertLess(client.waiting, len(data) // 2)
        client.read_on()
        (response,) = client.responses()
        self.assertTrue(response.body == data)


# What comes behind /static/; ROOT is the folder above.
ESCAPES = (
    *(b"../secret.txt", b"%2e%2e/secret.txt", b"..%2fsecret.txt", b"%2E%2E%2Fsecret.txt"),
    *(
        b"..\\secret.txt",
        b"..%5csecret.txt",
        b"css/../../secret.txt",
        b"css%2f..%2f..%2fsecret.txt",
    ),
    *(b"%252e%252e/secret.txt", b"..;/secret.txt", b"./../secret.txt", b"//../secret.txt"),
    *(b"ROOT/secret.txt", b"/ROOT/secret.txt", b"%2fROOT/secret.txt", b"file://ROOT/secret.txt"),
    *(b"..%00/secret.txt", b"%00", b"../secret.txt%00.css", b"%c0%ae%c0%ae/secret.txt"),
    *(b"..%c0%afsecret.txt", b"%e0%80%ae%e0%80%ae/secret.txt", b"link", b"up/secret.txt", b"link/"),
    *(b"css/app.css/../../../secret.txt", b"....//secret.txt", b"..%ef%bc%8fsecret.txt"),
)


class CodingTests(FilesTestCase):
    """Compressed files beside a file."""

    def setUp(self):
        super().setUp()
        self.write("static/app.js")
        self.write("static/app.js.gz", b"gzipped")
        self.write("static/app.js.br", b"brotli")

    def test_choice(self):
        """The client gets the smallest that it takes, and caches learn why."""
        for accepted, coding, body in (
            (b"gzip, br", b"br", b"brotli"),
            (b"gzip", b"gzip", b"gzipped"),
            (b"br;q=0", None, SCRIPT),
        ):
            response = self.ask("/static/app.js", b"Accept-Encoding: " + accepted)
            self.assertEqual(
                (response.headers.get(b"content-encoding"), response.body), (coding, body)
            )
            self.assertEqual(response.headers[b"vary"], b"Accept-Encoding")
            self.assertEqual(response.headers[b"content-type"], b'text/javascript; charset="utf-8"')

    def test_tags(self):
        """The client that has the compressed file has not got the other."""
        tag = self.ask("/static/app.js", b"Accept-Encoding: br").headers[b"etag"]
        condition = b"If-None-Match: " + tag
        self.assertEqual(self.status("/static/app.js", condition, b"Accept-Encoding: br"), 304)
        self.assertEqual(self.status("/static/app.js", condition), 200)

    def test_they_are_no_files(self):
        """The client asks for a compressed file by its name."""
        self.assert_passed_on("/static/app.js.gz")

    def test_only_a_compressed_one(self):
        """The client asks for an archive, which stands for nothing else."""
        self.write("static/data.tar.gz", b"archive")
        response = self.ask("/static/data.tar.gz", b"Accept-Encoding: gzip")
        self.assertEqual(response.body, b"archive")
        self.assertNotIn(b"content-encoding", response.headers)

    def test_link_in_their_place(self):
        """The attacker's compressed file is a link to the outside."""
        (self.static / "app.js.br").unlink()
        (self.static / "app.js.br").symlink_to(self.folder / "secret.txt")
        with self.assertLogs("django_daphne.server", "WARNING"):
            self.start()
        self.assertEqual(self.ask("/static/app.js", b"Accept-Encoding: br").body, SCRIPT)


class HashedNameTests(FilesTestCase):
    """Names with a hash in them, as collectstatic makes them."""

    def test_immutable(self):
        """The client keeps a file with a hash in its name for ever, and no other."""
        self.write("assets/app.css", b"p { color: red }" * 20)
        self.write("assets/jquery.min.js")
        backend = "whitenoise.storage.CompressedManifestStaticFilesStorage"
        finder = "django.contrib.staticfiles.finders.FileSystemFinder"
        self.settings_are(
            STATICFILES_DIRS=[str(self.folder / "assets")],
            STATICFILES_FINDERS=[finder],
            STORAGES={"staticfiles": {"BACKEND": backend}},
        )
        call_command("collectstatic", verbosity=0, interactive=False)
        names = sorted(path.name for path in self.static.glob("*.[cj]s*"))
        hashed = [name for name in names if len(name.split(".")[-2]) == 12]
        self.assertEqual(len(hashed), 2, names)
        for name in hashed:
            response = self.ask(f"/static/{name}", b"Accept-Encoding: gzip")
            self.assertEqual(response.headers[b"content-encoding"], b"gzip")
            self.assertEqual(
                response.headers[b"cache-control"], b"max-age=315360000, public, immutable"
            )
        for name in ("app.css", "jquery.min.js"):
            headers = self.ask(f"/static/{name}").headers
            self.assertEqual(headers[b"cache-control"], b"max-age=60, public")


class SettingTests(FilesTestCase):
    """Settings, and how URLs begin."""

    def setUp(self):
        super().setUp()
        self.write("static/app.js")

    def test_max_age(self):
        """The project says how long files may be kept, or nothing about it."""
        for age, header in ((0, b"max-age=0, public"), (None, None)):
            self.settings_are(DAPHNE={"SERVE_STATIC": True, "STATIC_MAX_AGE": age})
            self.start()
            headers = self.ask("/static/app.js").headers
            self.assertEqual(headers.get(b"cache-control"), header)

    def test_whitenoise_settings(self):
        """The project has settings of WhiteNoise's middleware, and keeps them."""
        top = self.write("top/robots.txt", b"User-agent: *")
        self.write("static/notes.foo")
        self.write("static/sub/index.html")
        self.settings_are(
            WHITENOISE_MIMETYPES={".foo": "text/x-foo"},
            WHITENOISE_ROOT=str(top.parent),
            WHITENOISE_ALLOW_ALL_ORIGINS=False,
            WHITENOISE_INDEX_FILE=True,
            WHITENOISE_ADD_HEADERS_FUNCTION=add_header,
        )
        headers = self.ask("/static/notes.foo").headers
        self.assertEqual(headers[b"content-type"], b'text/x-foo; charset="utf-8"')
        self.assertEqual(headers[b"x-url"], b"/static/notes.foo")
        self.assertNotIn(b"access-control-allow-origin", headers)
        self.assertEqual(self.ask("/robots.txt").body, b"User-agent: *")
        self.assertEqual(self.ask("/static/sub/").body, SCRIPT)
        redirect = self.ask("/static/sub")
        self.assertEqual((redirect.status, redirect.headers[b"location"]), (302, b"sub/"))

    def test_whitenoise_in_development(self):
        """The project lets WhiteNoise look for files where they come from; here they are not."""
        self.write("assets/draft.js")
        self.settings_are(
            STATICFILES_DIRS=[str(self.folder / "assets")],
            WHITENOISE_AUTOREFRESH=False,
            WHITENOISE_USE_FINDERS=True,
        )
        self.assertEqual(self.ask("/static/app.js").body, SCRIPT)
        self.assert_passed_on("/static/draft.js")

    def test_no_sniffing(self):
        """The project has turned the protection off that Django gives to all responses."""
        self.settings_are(SECURE_CONTENT_TYPE_NOSNIFF=False)
        self.assertNotIn(b"x-content-type-options", self.ask("/static/app.js").headers)

    def test_urls(self):
        """The client finds files below the path of STATIC_URL, however that is written."""
        for url, path in (
            ("static/", "/static/app.js"),
            ("/assets/all/", "/assets/all/app.js"),
            ("https://cdn.example/files/", "/files/app.js"),
        ):
            self.settings_are(STATIC_URL=url)
            self.start()
            self.assertEqual(self.ask(path).body, SCRIPT)

    def test_below_a_path(self):
        """The client asks a project below a path, whose proxy removes that path or keeps it."""
        for url in ("static/", "/shop/static/"):
            self.settings_are(STATIC_URL=url, FORCE_SCRIPT_NAME="/shop")
            self.start(root_path="/shop")
            self.assertEqual(self.ask("/shop/static/app.js").body, SCRIPT)
            self.assertEqual(self.ask("/static/app.js").body, SCRIPT)
            self.assert_passed_on("/shopstatic/app.js")
            self.assert_passed_on("/shop/shop/static/app.js")

    def test_links_below_a_path(self):
        """The project's templates link to files as if the server had not asked for the URL."""
        self.write("static/app.min.js")  # whose name might have a hash, for all that one knows
        self.settings_are(DAPHNE={"SERVE_STATIC": True, "ROOT_PATH": "/shop"})
        self.start()
        self.assertEqual(settings.STATIC_URL, "/shop/static/")
        self.assertEqual(get_script_prefix(), "/")

    def test_neighbour_of_the_path(self):
        """The client asks for files whose URL begins with the same letters as the path."""
        self.settings_are(STATIC_URL="/shopping/", FORCE_SCRIPT_NAME="/shop")
        self.start(root_path="/shop")
        self.assertEqual(self.ask("/shopping/app.js").body, SCRIPT)


def add_header(headers: Any, path: str, url: str) -> None:
    """Say the URL, as a project might say something of its own."""
    headers["X-URL"] = url


class ChangeTests(FilesTestCase):
    """Files that change while they are served."""

    def setUp(self):
        super().setUp()
        self.file = self.write("static/app.js")
        self.write("static/app.js.gz", b"gzipped")
        self.start()

    def test_new_content(self):
        """The administrator collects again: the client gets the new file, with its length."""
        self.write("static/app.js", b"new", MODIFIED + 5)
        response = self.ask("/static/app.js")
        self.assertEqual((response.status, response.body), (200, b"new"))
        self.assertEqual(response.headers[b"last-modified"], b"Sun, 09 Sep 2001 01:46:45 GMT")
        self.assertEqual(self.ask("/static/app.js", b"Accept-Encoding: gzip").body, b"new")

    def test_removed(self):
        """The administrator removes a file; put back it is there again."""
        self.file.unlink()
        self.assert_passed_on("/static/app.js")
        self.write("static/app.js", b"again")
        self.assertEqual(self.ask("/static/app.js").body, b"again")

    def test_compressed_one_removed(self):
        """The administrator removes a compressed file."""
        (self.static / "app.js.gz").unlink()
        response = self.ask("/static/app.js", b"Accept-Encoding: gzip")
        self.assertEqual(response.body, SCRIPT)
        self.assertNotIn(b"vary", response.headers)

    def test_all_removed(self):
        """The administrator removes the whole folder."""
        self.static.rename(self.folder / "old")
        self.assert_passed_on("/static/app.js")

    def test_added(self):
        """The administrator adds a file, which is not there before the next start."""
        self.write("static/new.js")
        self.assert_passed_on("/static/new.js")
        self.start()
        self.assertEqual(self.ask("/static/new.js").body, SCRIPT)

    def test_swapped_for_a_link(self):
        """The attacker puts a link to the outside in a file's place, or in its folder's."""
        self.file.unlink()
        self.file.symlink_to(self.folder / "secret.txt")
        self.assert_passed_on("/static/app.js")
        self.write("outside/app.js", b"secret")
        self.static.rename(self.folder / "old")
        self.static.symlink_to(self.folder / "outside")
        self.assert_passed_on("/static/app.js")

    def test_swapped_for_a_folder(self):
        """The administrator puts a folder in a file's place."""
        self.file.unlink()
        self.file.mkdir()
        self.assert_passed_on("/static/app.js")

    def test_being_written(self):
        """The client asks for a file that changes whenever it is looked at."""
        sizes = iter(range(1, 100))

        def grow(*args: object) -> None:
            self.write("static/app.js", b"x" * next(sizes))

        real = self.static.__class__.lstat

        def lstat(path: Any) -> Any:
            status = real(path)
            grow()
            return status

        grow()
        with mock.patch("django_daphne.public_files.folders.Path.lstat", lstat):
            response = self.ask("/static/app.js")
        self.assertEqual((response.status, response.headers[b"retry-after"]), (503, b"1"))
