"""Django over a real server: what a site does in a day."""

from __future__ import annotations

import hashlib
import re
import threading
import warnings
from pathlib import Path

import httpx
from channels.generic.http import AsyncHttpConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.contrib.auth.models import User
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application
from django.core.handlers.asgi import ASGIHandler
from django.core.signals import request_finished
from django.test import SimpleTestCase, TransactionTestCase, override_settings, tag
from django.urls import path, re_path

from tests.integration import views
from tests.support.server import PATIENCE, serve


def client(url: str) -> httpx.Client:
    """Return a client that keeps its cookies and its connection."""
    return httpx.Client(base_url=url, timeout=PATIENCE, trust_env=False)


class Handler(ASGIHandler):
    """Django's own handler under another name."""


@tag("loop")
@override_settings(ROOT_URLCONF="tests.integration.views")
class AdminTests(TransactionTestCase):
    """A user of the admin logs in, with the database behind it."""

    def test_login(self):
        """The user tries a wrong password, then the right one, and logs out."""
        User.objects.create_superuser("ann", password="secret")
        application = ASGIStaticFilesHandler(get_asgi_application())
        with (
            override_settings(DEBUG=True),
            serve(application) as server,
            client(server.url) as browser,
        ):
            page = browser.get("/admin/login/")
            self.assertIn("Log in", page.text)
            style = re.search(r'href="(/static/[^"]+base\.css)"', page.text)
            assert style is not None
            self.assertEqual(browser.get(style[1]).headers["content-type"], "text/css")
            wrong = browser.post("/admin/login/", data=self.form(browser, "wrong"))
            self.assertIn("Please enter the correct username and password", wrong.text)
            right = browser.post("/admin/login/?next=/admin/", data=self.form(browser, "secret"))
            self.assertEqual((right.status_code, right.headers["location"]), (302, "/admin/"))
            self.assertIn("Site administration", browser.get("/admin/").text)
            with self.assertLogs("django.security.csrf"):
                forged = browser.post("/admin/logout/", headers={"Cookie": ""})
            self.assertEqual(forged.status_code, 403)
        statuses = [record.status for record in server.access]
        self.assertEqual(statuses, [200, 200, 200, 302, 200, 403])

    def form(self, browser: httpx.Client, password: str) -> dict[str, str]:
        """Return what the form sends."""
        token = browser.cookies["csrftoken"]
        return {"username": "ann", "password": password, "csrfmiddlewaretoken": token}


@tag("loop")
@override_settings(ROOT_URLCONF="tests.integration.views")
class ViewTests(SimpleTestCase):
    """Views stream, send files and take uploads."""

    def setUp(self):
        super().setUp()
        self.server = self.enterContext(serve(get_asgi_application()))
        self.browser = self.enterContext(client(self.server.url))

    def test_streams(self):
        """The client reads a stream from a sync view and one from an async view."""
        with warnings.catch_warnings(action="error"):
            for path in ("/sync-stream", "/async-stream"):
                response = self.browser.get(path)
                self.assertEqual(response.text, "one two three")
                self.assertEqual(response.headers["transfer-encoding"], "chunked")

    def test_file(self):
        """The client downloads a file, and asks for its headers alone."""
        content = Path(views.__file__).read_bytes()
        with warnings.catch_warnings(action="error"):
            response = self.browser.get("/file")
            head = self.browser.head("/file")
        self.assertEqual(response.content, content)
        self.assertEqual(head.content, b"")
        for answer in (response, head):
            self.assertEqual(answer.headers["content-length"], str(len(content)))
            self.assertIn('filename="views.py"', answer.headers["content-disposition"])

    def test_upload(self):
        """The client uploads a small file, which stays in memory, and one that does not."""
        for size, kind in ((1000, "InMemoryUploadedFile"), (5_000_000, "TemporaryUploadedFile")):
            with self.subTest(size=size):
                content = bytes(range(250)) * (size // 250)
                response = self.browser.post(
                    "/upload",
                    files={"file": ("näme.bin", content)},
                    data={"text": "größer"},
                )
                self.assertEqual(
                    response.json(),
                    {
                        "name": "näme.bin",
                        "size": size,
                        "sha256": hashlib.sha256(content).hexdigest(),
                        "class": kind,
                        "text": "größer",
                    },
                )

    def test_client_that_leaves(self):
        """The client leaves an endless stream; Django closes it and ends the request."""
        finished = threading.Event()

        def finish(**kwargs: object) -> None:
            finished.set()

        # The requests of other tests may end late; this handler is nobody else's.
        request_finished.connect(finish, sender=Handler)
        self.addCleanup(request_finished.disconnect, finish, sender=Handler)
        views.stream_closed.clear()
        with serve(Handler()) as server, client(server.url) as browser:
            with browser.stream("GET", "/endless-stream") as response:
                parts = response.iter_text()  # which closes the connection when it is forgotten
                self.assertEqual(next(parts), "first\n")
                self.assertFalse(finished.is_set())
            self.assertTrue(views.stream_closed.wait(PATIENCE))
            self.assertTrue(finished.wait(PATIENCE))


class Consumer(AsyncHttpConsumer):  # type: ignore[misc]  # its package has no annotations
    """Answer with the path's argument and the body, in two parts."""

    async def handle(self, body: bytes) -> None:
        name = self.scope["url_route"]["kwargs"]["name"]
        await self.send_headers(status=201, headers=[(b"X-Name", name.encode())])
        await self.send_body(b"got: ", more_body=True)
        await self.send_body(body)


@tag("loop")
@override_settings(ROOT_URLCONF="tests.integration.views")
class ChannelsTests(SimpleTestCase):
    """Channels routes requests to consumers and to Django."""

    def test_routing(self):
        """The client asks a consumer, then Django, on one connection."""
        routes = [
            path("consumer/<slug:name>/", Consumer.as_asgi()),
            re_path("", get_asgi_application()),  # type: ignore[arg-type]  # Channels calls it
        ]
        application = ProtocolTypeRouter({"http": URLRouter(routes)})
        with serve(application) as server, client(server.url) as browser:
            response = browser.post("/consumer/ann/", content=b"a body")
            self.assertEqual((response.status_code, response.text), (201, "got: a body"))
            self.assertEqual(response.headers["x-name"], "ann")
            self.assertEqual(browser.get("/async-stream").text, "one two three")
        clients = {record.client for record in server.access}
        self.assertEqual(len(clients), 1)
