"""Live servers in a thread of the test process."""

from __future__ import annotations

import socket
import ssl
import tempfile
import threading
import unittest
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock
from urllib.error import HTTPError
from urllib.request import HTTPSHandler, ProxyHandler, Request, build_opener

from django.conf import settings
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.asgi import ASGIHandler
from django.db import connection, connections, transaction
from django.test import SimpleTestCase, override_settings

from django_daphne.asgi import ApplicationNotFound
from django_daphne.server import LifespanFailure, ListenError
from django_daphne.testing import ChannelsLiveServerTestCase, LiveServer, LiveServerTestCase
from tests.support.server import PATIENCE

from . import site


def fetch(url: str, ca: Path | None = None, **headers: str) -> str:
    """Return the body of the answer to a request; raise HTTPError for an error."""
    tls = HTTPSHandler(context=ssl.create_default_context(cafile=ca) if ca else None)
    with build_opener(ProxyHandler({}), tls).open(
        Request(url, headers=headers), timeout=PATIENCE
    ) as answer:
        return str(answer.read().decode())


def talk(url: str, text: str, ca: Path | None = None) -> str:
    """Return the answer to a message by WebSocket."""
    from websockets.sync.client import connect

    tls = ssl.create_default_context(cafile=ca) if ca else None
    with connect(url, ssl=tls, proxy=None, open_timeout=PATIENCE) as client:
        client.send(text)
        return str(client.recv(PATIENCE))


class RefusalMixin(SimpleTestCase):
    """Tests whose requests may be refused."""

    def assert_refused(self, status: int, url: str, **headers: Any) -> None:
        """Assert that an answer has this status."""
        with self.assertRaises(HTTPError) as caught:
            fetch(url, **headers)
        caught.exception.close()
        self.assertEqual(caught.exception.code, status)


@override_settings(**site.SETTINGS)
class LiveTests(RefusalMixin, LiveServerTestCase):
    """A live server with its database in memory."""

    def get(self, path: str) -> str:
        """Return the body of a page."""
        return fetch(self.live_server_url + path)

    def test_addresses(self):
        """The author of a test asks the class, or the test, for the addresses."""
        self.assertRegex(type(self).live_server_url, r"^http://localhost:\d+$")
        self.assertEqual(self.live_server_ws_url, "ws" + self.live_server_url[4:])
        self.assertEqual(str(self.live_server), self.live_server_url)
        self.assertEqual(self.live_server + "/x", f"{self.live_server_url}/x")
        with self.assertRaisesRegex(ImproperlyConfigured, "expected https = True"):
            _ = self.live_server_ca

    def test_database(self):
        """The author of a test and the server's threads write what each other read."""
        User.objects.create(username="ada")
        self.assertEqual([self.get("/names"), self.get("/async-names")], ["ada", "ada"])
        self.get("/add/grace")
        self.assertEqual(User.objects.count(), 2)
        for kind in ("sync", "async"):
            answer = talk(f"{self.live_server_ws_url}/{kind}", "users:")
            self.assertEqual(answer, "users: 2 ws")

    def test_empty_again(self):
        """The author of the next test finds nothing of the last one's."""
        self.assertEqual(self.get("/names"), "")

    def test_transaction(self):
        """The author of a test has not committed yet what the server sees."""
        with transaction.atomic():
            User.objects.create(username="ada")
            self.assertEqual(self.get("/names"), "ada")
            self.get("/add/grace")
            transaction.set_rollback(True)
        self.assertEqual(self.get("/names"), "")

    def test_one_connection(self):
        """The server's threads have the very connection of the test."""
        self.assertEqual(self.get("/backend"), str(id(connection.connection)))

    def test_mock(self):
        """The author of a test replaces a function that a view calls."""
        self.assertEqual(self.get("/"), "Hello by http")
        with mock.patch.object(site, "greeting", return_value="Bye"):
            self.assertEqual(self.get("/"), "Bye by http")

    def test_settings(self):
        """The author of a test adds a middleware, and takes another set of pages."""
        self.assertEqual(self.get("/mark"), "nothing")
        with self.settings(MIDDLEWARE=[*settings.MIDDLEWARE, f"{site.__name__}.marking"]):
            self.assertEqual(self.get("/mark"), "a mark")
        self.assertEqual(self.get("/mark"), "nothing")
        with self.settings(ROOT_URLCONF="tests.urls"):
            self.assert_refused(404, f"{self.live_server_url}/mark")

    def test_static_files(self):
        """The browser loads a static file that nobody has collected."""
        self.assertIn("body", self.get("/static/admin/css/base.css"))
        self.assert_refused(404, f"{self.live_server_url}/static/nothing.css")

    def test_failing_view(self):
        """The author of a test finds the traceback of a view in Django's log."""
        with self.assertLogs("django.request", "ERROR") as logs:
            self.assert_refused(500, f"{self.live_server_url}/fail")
        self.assertIn("a view has failed", logs.output[0])

    def test_host(self):
        """The browser names a host that is not allowed; the tests' own is, as long as they run."""
        self.assertIn("localhost", settings.ALLOWED_HOSTS)
        with self.assertLogs("django.security.DisallowedHost"):
            self.assert_refused(400, self.live_server_url, Host="example.org")

    def test_two(self):
        """The author of a test starts a second server, whose end leaves the first as it is."""

        async def hello(scope, receive, send):
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": b"the other"})

        User.objects.create(username="ada")
        with LiveServer(application=hello, host="127.0.0.1") as other:
            self.assertEqual(fetch(other.url), "the other")
            self.assertEqual(self.get("/names"), "ada")
            url = other.url
        self.assertEqual(self.get("/names"), "ada")
        with self.assertRaises(OSError):
            fetch(url)

    def test_crowd(self):
        """Many browsers write at once, on the one connection there is."""
        threads = [
            threading.Thread(target=self.get, args=(f"/add/user{number}",)) for number in range(12)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        self.assertEqual(User.objects.count(), 12)


@override_settings(**site.SETTINGS, MIDDLEWARE=[f"{site.__name__}.marking"], MEDIA_URL="files/")
class ClassSettingsTests(RefusalMixin, LiveServerTestCase):
    """Settings of the whole class, and uploads."""

    host = "127.0.0.1"
    server_options: ClassVar = {"server_name": "tests", "threads": 2}

    @classmethod
    def setUpClass(cls) -> None:
        folder = cls.enterClassContext(tempfile.TemporaryDirectory())
        cls.enterClassContext(override_settings(MEDIA_ROOT=folder))
        super().setUpClass()

    def test_middleware(self):
        """The class has a middleware of its own, although the project was imported before."""
        self.assertEqual(fetch(f"{self.live_server_url}/mark"), "a mark")

    def test_media(self):
        """The browser loads an upload, and asks for one that nobody has sent."""
        Path(settings.MEDIA_ROOT, "note.txt").write_text("uploaded")
        self.assertEqual(fetch(f"{self.live_server_url}/files/note.txt"), "uploaded")
        for path in ("nothing.txt", "../manage.py"):
            self.assert_refused(404, f"{self.live_server_url}/files/{path}")

    def test_options(self):
        """The class has options of the server, and the host that it names."""
        with build_opener(ProxyHandler({})).open(self.live_server_url) as answer:
            self.assertEqual(answer.headers["server"], "tests")
        self.assertRegex(self.live_server_url, r"^http://127\.0\.0\.1:\d+$")


@override_settings(**site.SETTINGS)
class ChannelsTests(ChannelsLiveServerTestCase):
    """The class for those who come from Channels, with a database in memory."""

    def test_database(self):
        """The consumer sees what the author of a test has written."""
        User.objects.create(username="ada")
        self.assertEqual(talk(f"{self.live_server_ws_url}/sync", "users:"), "users: 1 ws")


@override_settings(**site.SETTINGS, DAPHNE={"DJANGO_HANDLER": "stock"})
class StockTests(LiveServerTestCase):
    """A live server with Django's own handler, whose threads are asgiref's."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.application = ASGIHandler()
        super().setUpClass()

    def test_database(self):
        """The threads of requests have the database of the test."""
        User.objects.create(username="ada")
        for path in ("names", "async-names"):
            self.assertEqual(fetch(f"{self.live_server_url}/{path}"), "ada")

    def test_static_files(self):
        """The browser loads a static file."""
        self.assertIn("body", fetch(f"{self.live_server_url}/static/admin/css/base.css"))


@override_settings(**site.SETTINGS)
class HTTPSTests(LiveServerTestCase):
    """A live server with a certificate."""

    https = True

    def test_page(self):
        """The browser trusts the authority of the class, and loads a page."""
        self.assertTrue(self.live_server_url.startswith("https://localhost:"))
        self.assertEqual(fetch(self.live_server_url, self.live_server_ca), "Hello by https")

    def test_websocket(self):
        """The browser opens a WebSocket over TLS."""
        answer = talk(f"{self.live_server_ws_url}/sync", "users:", self.live_server_ca)
        self.assertEqual(answer, "users: 0 wss")

    def test_strangers(self):
        """The browser that trusts nobody loads nothing."""
        with self.assertRaisesRegex(OSError, "CERTIFICATE_VERIFY_FAILED"):
            fetch(self.live_server_url)


async def refuse(scope: Any, receive: Any, send: Any) -> None:
    """Refuse to start."""
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no water in the well"})


class MistakeTests(SimpleTestCase):
    """What is wrong is said where the class is set up, and leaves nothing behind."""

    databases = "__all__"

    def fails(self, error: type[Exception], text: str, **attributes: Any) -> None:
        """Assert that a class cannot be set up, and that nothing of it stays."""
        before = vars(connections)["_connections"], list(settings.ALLOWED_HOSTS)
        overrides = attributes.pop("settings", {})
        case: Any = type("Case", (LiveServerTestCase,), {"host": "127.0.0.1", **attributes})
        case.test = lambda self: None
        result = unittest.TestResult()
        with override_settings(**site.SETTINGS | overrides):
            unittest.TestSuite([case("test")]).run(result)
        ((_, traceback),) = result.errors
        self.assertRegex(traceback, f"{error.__name__}: .*{text}")
        after = vars(connections)["_connections"], list(settings.ALLOWED_HOSTS)
        self.assertEqual(after, before)
        self.assertFalse(connection.allow_thread_sharing)

    def test_application(self):
        """The author of a project names an application that there is not."""
        self.fails(
            ApplicationNotFound, "no 'nowhere'", settings={"ASGI_APPLICATION": "nowhere.asgi.app"}
        )
        self.fails(ImportError, "nobody", application=f"{site.__name__}.nobody")

    def test_lifespan(self):
        """The application refuses to start."""
        self.fails(LifespanFailure, "no water in the well", application=staticmethod(refuse))

    def test_options(self):
        """The author of a class misspells an option, and gives another a wrong value."""
        name = r"server_options\['web_socket'\] is not"
        self.fails(ImproperlyConfigured, name, server_options={"web_socket": 1})
        value = r"server_options\['threads'\]"
        self.fails(ImproperlyConfigured, value, server_options={"threads": 0})

    def test_port(self):
        """The author of a class names a port that is taken."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            self.fails(ListenError, f"listen on 127.0.0.1:{port}", port=port)
