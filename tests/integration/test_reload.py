"""An edit is served at once, and nobody is refused meanwhile."""

from __future__ import annotations

import re
import signal
from contextlib import closing
from http.client import HTTPConnection, RemoteDisconnected

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.integration.reloading import ASGI, WAITING, WAYS, BreakingTestCase, EditingTestCase
from tests.support.processes import PATIENCE, get, wait_until_refused


class EditTests(EditingTestCase):
    """The project is edited, and stays in order."""

    def test_runserver(self):
        """The developer edits a view while two clients ask without pause."""
        server = self.runserver("127.0.0.1:0")
        self.assert_nothing_is_lost(server, 2)
        self.interrupt(server)

    def test_rundaphne(self):
        """The developer does the same with the other command."""
        server = self.start("manage.py", "rundaphne", "--reload", "-b", "127.0.0.1", "-p", "0")
        self.assert_nothing_is_lost(server, 1)
        self.finish(server)

    def test_without_watchfiles(self):
        """The developer has no watchfiles, and edits as soon as a version is served."""
        self.write("watchfiles.py", "raise ImportError('not here')")
        server = self.runserver("127.0.0.1:0")
        self.assert_nothing_is_lost(server, 1)
        self.assertIn("Watching for file changes with StatReloader", server.errors)
        self.interrupt(server)

    def test_websocket(self):
        """The browser's WebSocket is told to come back, and an open stream does not delay it."""
        self.settings_are(more=ASGI)
        self.write(
            "site_asgi.py",
            """
            from django.core.asgi import get_asgi_application

            django = get_asgi_application()

            async def application(scope, receive, send):
                if scope["type"] != "websocket":
                    return await django(scope, receive, send)
                await receive()
                await send({"type": "websocket.accept"})
                while (await receive())["type"] != "websocket.disconnect":
                    pass
            """,
        )
        server = self.runserver("127.0.0.1:0")
        port = self.served(server)
        with (
            closing(HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as stream,
            connect(f"ws://127.0.0.1:{port}/") as websocket,
        ):
            stream.request("GET", "/stream")
            self.assertEqual(stream.getresponse().read(9), b"data: 1\n\n")
            self.edit("second")
            with self.assertRaises(ConnectionClosed) as closed:
                websocket.recv(PATIENCE)
            assert closed.exception.rcvd is not None
            self.assertEqual(closed.exception.rcvd.code, 1012)
            with connect(f"ws://127.0.0.1:{port}/"):
                self.assertEqual(get(port).text, "second")
        self.interrupt(server)

    def test_included_files(self):
        """The developer has a file of secrets and a folder of texts watched, and adds to both."""
        self.settings_are(more='DAPHNE = {"RELOAD_INCLUDE": [".env", "texts/*.txt"]}')
        self.write("texts/a.txt", "a")
        self.write(
            "site_urls.py",
            """
            from pathlib import Path
            from django.http import HttpResponse
            from django.urls import path

            text = " ".join(sorted(p.read_text() for p in Path().glob("texts/*"))) + "".join(
                p.read_text() for p in Path().glob(".env"))
            urlpatterns = [path("", lambda request: HttpResponse(text))]
            """,
        )
        server = self.runserver("127.0.0.1:0")
        port = server.wait_for_port()
        client = self.ask(port)
        self.assertTrue(client.wait_for("a"))
        for file, text, expected in (
            ("texts/b.txt", "new", "a new"),
            (".env", "+SECRET", "a new+SECRET"),
        ):
            path = self.write(file, text)
            server.wait_for(re.escape(f"{path.resolve()} changed, reloading"))
            self.assertTrue(client.wait_for(expected), server)
        client.end()
        self.interrupt(server)


class EarlyEditTests(EditingTestCase):
    """A file changes while the server starts."""

    def test_edit_during_the_start(self):
        """The developer saves a module after it was read, and before anybody is served."""
        self.settings_are(more=ASGI)
        self.write(
            "site_asgi.py",
            """
            import site_urls
            from pathlib import Path
            from django.core.asgi import get_asgi_application

            if not Path("saved").exists():
                Path("saved").touch()
                urls = Path("site_urls.py")
                urls.write_text(urls.read_text().replace("first", "second"))
            application = get_asgi_application()
            """,
        )
        server = self.runserver("127.0.0.1:0")
        server.wait_for("site_urls.py changed, reloading")
        # The process that read "first" answers until the next one is there to take over.
        client = self.ask(server.wait_for_port())
        self.assertTrue(client.wait_for("second"), f"{client.lost}\n{client.seen}\n{server}")
        client.end()
        self.assertEqual(client.lost, [])
        self.interrupt(server)


class BrokenProjectTests(BreakingTestCase):
    """The project cannot be served; its address answers all the same."""

    def test_ways_out(self):
        """The developer breaks one file after the other, mends it, and misses a module."""
        server = self.serve_what_will_break()
        for way in (WAYS[0], WAYS[6]):  # in the main thread, and in that which serves
            self.break_down(server, *way)
        self.miss_a_module(server)
        self.interrupt(server, was_broken=True)

    def test_rundaphne(self):
        """The developer breaks the project under rundaphne --reload, and stops there."""
        server = self.start("manage.py", "rundaphne", "--reload", "-b", "127.0.0.1", "-p", "0")
        port = self.served(server)
        self.write("site_settings.py", "x = (")
        server.wait_for(f"(?s)SyntaxError.*{WAITING}")
        self.assertEqual(get(port).status, 500)
        self.finish(server)


class KeeperTests(EditingTestCase):
    """Two processes end together, whichever ends first."""

    def test_killed(self):
        """An editor kills the command, and nothing of it goes on."""
        server = self.runserver("127.0.0.1:0")
        port = self.served(server)
        server.send_signal(signal.SIGKILL)
        server.wait()
        wait_until_refused(port)

    def test_crash(self):
        """An extension module crashes, and the command says what became of it."""
        self.write(
            "site_urls.py",
            """
            import os, signal
            from django.urls import path

            urlpatterns = [path("", lambda request: os.kill(os.getpid(), signal.SIGSEGV))]
            """,
        )
        server = self.runserver("127.0.0.1:0")
        with self.assertRaises((RemoteDisconnected, ConnectionResetError)):
            get(server.wait_for_port())
        self.assertEqual(server.wait(), 128 + signal.SIGSEGV)
        self.assertIn("The serving process was ended by SIGSEGV.", server.errors)

    def test_interrupted_alone(self):
        """An editor interrupts the command, and not its children."""
        server = self.runserver("127.0.0.1:0")
        port = self.served(server)
        server.send_signal(signal.SIGINT)
        self.assertEqual(server.wait(), 0, server)
        wait_until_refused(port)

    def test_module(self):
        """The developer runs a module with options for Python, as IDEs and containers do."""
        server = self.start(
            *("-u", "-X", "utf8", "-W", "once", "-m", "django", "runserver", "127.0.0.1:0"),
            DJANGO_SETTINGS_MODULE="site_settings",
        )
        port = self.served(server)
        client = self.ask(port)
        self.write(
            "site_urls.py",
            """
            import os, sys
            from django.http import HttpResponse
            from django.urls import path

            text = f"{sys.flags.utf8_mode} {sys.warnoptions} {os.environ['PYTHONUNBUFFERED']}"
            urlpatterns = [path("", lambda request: HttpResponse(text))]
            """,
        )
        self.assertTrue(client.wait_for("1 ['once'] 1"), client.seen)
        client.end()
        self.interrupt(server)

    def test_endpoint(self):
        """The developer wants what nobody can keep open."""
        command = self.start("manage.py", "rundaphne", "--reload", "-e", "tcp:0")
        self.assert_one_line(command, 1, "CommandError: --reload: nobody can keep an --endpoint")
