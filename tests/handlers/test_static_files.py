"""Static files in development: what runserver puts around the project's application."""

from __future__ import annotations

import tempfile
from email.utils import formatdate
from pathlib import Path
from typing import Any
from unittest import mock

from django.conf import settings
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.exceptions import SuspiciousFileOperation
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpRequest, HttpResponse
from django.test import override_settings, tag
from django.urls import path

from django_daphne import conf
from django_daphne.handlers.static_files import ThreadedStaticFilesHandler
from django_daphne.handlers.threaded import ThreadedASGIHandler
from django_daphne.management.commands.runserver import Command
from tests.support.processes import get
from tests.support.server import serve

from .support import LANE, Ear, Exchange, HandlerTestCase, Response, ask

STYLE = b"p { color: red }\n" * 20_000
SECRET = b"not for everybody"


def page(request: HttpRequest) -> HttpResponse:
    """Answer as the project."""
    return HttpResponse(f"the project has {request.path}")


class StaticFilesTestCase(HandlerTestCase):
    """A project with static files, and the handler that runserver makes for it."""

    def setUp(self) -> None:
        super().setUp()
        folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        (folder / "secret.txt").write_bytes(SECRET)
        assets = folder / "assets"
        assets.mkdir()
        self.style = assets / "style.css"
        self.style.write_bytes(STYLE)
        (assets / "with space.txt").write_text("a space")
        (assets / "sub").mkdir()
        (assets / "sub" / "empty.js").touch()
        self.site(
            page,
            path("<path:name>", lambda request, name: page(request)),
            STATICFILES_DIRS=[assets],
            STATIC_URL="/static/",
            DEBUG=True,
        )
        # Another test may have run a command in this process.
        self.enterContext(mock.patch.object(conf, "_in_use", []))

    def make(self, handler: str) -> Any:
        """Return what runserver serves with a DJANGO_HANDLER."""
        with override_settings(DAPHNE={"DJANGO_HANDLER": handler}):
            return Command().get_handler(
                use_asgi=True, use_static_handler=True, insecure_serving=False
            )


class ChoiceTests(StaticFilesTestCase):
    """Which handler a project gets."""

    async def test_handlers(self):
        """The project changes DJANGO_HANDLER: ours is around ours, and Django's around Django's."""
        ours, stock = self.make("threaded"), self.make("stock")
        self.assertIs(type(ours), ThreadedStaticFilesHandler)
        self.assertIs(type(ours.application), ThreadedASGIHandler)
        self.assertIs(type(stock), ASGIStaticFilesHandler)
        self.assertIs(type(stock.application), ASGIHandler)


class FileTests(StaticFilesTestCase):
    """Files and pages that say that there is none."""

    def setUp(self) -> None:
        super().setUp()
        self.static = self.make("threaded")

    async def test_found(self):
        """The browser asks for a file: it is opened in a lane, sent, and closed."""
        ear = self.enterContext(Ear())
        response = await ask(self.static, "/static/style.css")
        self.assertEqual((response.status, response.body == STYLE), (200, True))
        headers = dict(response.headers)
        self.assertEqual(headers[b"Content-Type"], b"text/css")
        self.assertEqual(headers[b"Content-Length"], b"%d" % len(STYLE))
        self.assert_once(ear)
        self.assertEqual(set(ear.places), {LANE})

    async def test_by_the_server(self):
        """The server can send files itself: it is given the file, and not its bytes."""
        for kind in ("http.response.pathsend", "http.response.zerocopysend"):
            exchange = Exchange(self.static, "/static/style.css", extensions={kind: {}})
            await exchange.begin()
            await exchange.end()
            self.assertEqual([message["type"] for message in exchange.sent[1:]], [kind])

    async def test_missing(self):
        """The browser asks for a file that is not there: the developer reads its name."""
        ear = self.enterContext(Ear())
        response = await ask(self.static, "/static/nothing.css")
        self.assertEqual(response.status, 404)
        self.assertIn("nothing.css", response.text)
        self.assert_once(ear)

    async def test_not_modified(self):
        """The browser has the file already, or an older one."""
        modified = self.style.stat().st_mtime
        for since, status in ((modified, 304), (modified + 60, 304), (modified - 60, 200)):
            since_header = (b"if-modified-since", formatdate(since, usegmt=True).encode())
            headers = [(b"host", b"testserver"), since_header]
            with self.subTest(status):
                response = await ask(self.static, "/static/style.css", headers=headers)
                self.assertEqual(response.status, status)
                self.assertEqual(response.body == (STYLE if status == 200 else b""), True)

    async def test_outside(self):
        """Somebody asks for what is not among the static files."""
        for name in ("/etc/passwd", "sub", "sub/", ""):
            with self.subTest(name):
                response = await ask(self.static, f"/static/{name}")
                self.assertEqual(response.status, 404)
        for name in ("../secret.txt", "sub/../../secret.txt"):
            for handler in (self.static, self.make("stock")):
                with self.subTest(name, handler=type(handler)):
                    exchange = await Exchange(handler, f"/static/{name}").begin()
                    with self.assertRaises(SuspiciousFileOperation):
                        await exchange.end()
                    self.assertEqual(exchange.sent, [])

    async def test_as_django(self):
        """The browser asks for this and that: it gets what Django's own handler gives."""
        stock = self.make("stock")
        old = [
            (b"host", b"testserver"),
            (b"if-modified-since", formatdate(0, usegmt=True).encode()),
        ]
        cases: tuple[tuple[str, dict[str, Any]], ...] = (
            ("/static/style.css", {}),
            ("/static/style.css", {"method": "HEAD"}),
            ("/static/style.css", {"method": "POST"}),
            ("/static/style.css", {"headers": old}),
            ("/static/style.css", {"query_string": b"v=2"}),
            ("/static/with space.txt", {}),
            ("/static/sub/empty.js", {}),
            ("/static/sub/missing.js", {}),
            ("/static/s\u00fcb", {}),
            ("/static", {}),
            ("/statics/style.css", {}),
            ("/other", {}),
        )
        for name, more in cases:
            with self.subTest(name, **more):
                found, expected = [await ask(each, name, **more) for each in (self.static, stock)]
                self.assertEqual(self.comparable(found), self.comparable(expected))

    def comparable(self, response: Response) -> tuple[object, ...]:
        """Return what has to be the same with every handler."""
        # A page about an error tells the time and the handler's own variables.
        body = response.body if response.status != 404 else b""
        return response.status, sorted(response.headers), body

    async def test_no_debug(self):
        """The project turns DEBUG off while the handler is there: files are served on, as ever."""
        with override_settings(DEBUG=False):
            stock = await ask(self.make_insecure("stock"), "/static/style.css")
            ours = await ask(self.make_insecure("threaded"), "/static/style.css")
            missing = await ask(self.make_insecure("threaded"), "/static/nothing.css")
        self.assertEqual((ours.status, ours.body == stock.body), (200, True))
        self.assertEqual(missing.status, 404)
        self.assertNotIn("nothing.css", missing.text)

    def make_insecure(self, handler: str) -> Any:
        """Return what runserver --insecure serves."""
        with override_settings(DAPHNE={"DJANGO_HANDLER": handler}):
            return Command().get_handler(
                use_asgi=True, use_static_handler=True, insecure_serving=True
            )


class OtherTests(StaticFilesTestCase):
    """What does not belong to the static files is the application's."""

    async def test_project(self):
        """The browser asks for pages of the project."""
        handler = self.make("threaded")
        for name in ("/", "/staticfiles", "/elsewhere/static/style.css"):
            self.assertEqual((await ask(handler, name)).text, f"the project has {name}")

    async def test_other_protocols(self):
        """A WebSocket comes below the same path, and a lifespan without any."""
        seen: list[Any] = []

        async def application(scope: Any, receive: Any, send: Any) -> None:
            seen.append((scope, receive, send))

        handler = ThreadedStaticFilesHandler(application, self.pool)
        calls: list[tuple[Any, Any, Any]] = [
            ({"type": "websocket", "path": "/static/style.css"}, object(), object()),
            ({"type": "lifespan"}, object(), object()),
        ]
        for call in calls:
            await handler(*call)
        self.assertEqual(seen, calls)

    async def test_no_middleware(self):
        """The project has middleware: that is made once, and never sees a static file."""
        made: list[object] = []
        seen: list[str] = []

        def middleware(get_response: Any) -> Any:
            made.append(get_response)

            def see(request: HttpRequest) -> Any:
                seen.append(request.path)
                return get_response(request)

            return see

        self.site(
            page, middleware=[middleware], DEBUG=True, STATICFILES_DIRS=settings.STATICFILES_DIRS
        )
        handler = self.make("threaded")
        await ask(handler, "/static/style.css")
        await ask(handler, "/")
        self.assertEqual((len(made), seen), (1, ["/"]))

    async def test_foreign_application(self):
        """The application is none of Django's: its exchange is its own."""

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"foreign"})

        handler = ThreadedStaticFilesHandler(application, self.pool)
        self.assertEqual((await ask(handler, "/")).text, "foreign")
        self.assertEqual((await ask(handler, "/static/style.css")).body == STYLE, True)


@tag("loop")
class ServerTests(StaticFilesTestCase):
    """Through our own server."""

    def test_browser(self):
        """The browser loads a page and its files, and asks again for what it has."""
        server = self.enterContext(serve(self.make("threaded")))
        self.assertEqual(get(server.port, "/page").text, "the project has /page")
        style = get(server.port, "/static/style.css")
        self.assertEqual((style.status, style.body == STYLE), (200, True))
        since = {"If-Modified-Since": style.headers["Last-Modified"]}
        again = get(server.port, "/static/style.css", **since)
        self.assertEqual((again.status, again.body), (304, b""))
        self.assertEqual(get(server.port, "/static/with%20space.txt").text, "a space")
        self.assertEqual(get(server.port, "/static/sub/empty.js").body, b"")
        self.assertEqual(get(server.port, "/static/nothing.css").status, 404)
        with self.assertLogs("django_daphne", "ERROR"):  # as Django's own handler does
            outside = get(server.port, "/static/%2e%2e/secret.txt")
        self.assertEqual(outside.status, 500)
        self.assertNotIn(SECRET, outside.body)
