"""A developer who edits a project while clients ask without pause, and breaks it."""

from __future__ import annotations

import re
import threading
from contextlib import suppress
from http.client import HTTPConnection, RemoteDisconnected
from textwrap import dedent

from tests.integration.projects import DEVELOPMENT_APPS, DEVELOPMENT_URLS, RunserverTestCase
from tests.support.processes import PATIENCE, Process, get

ASGI = 'ASGI_APPLICATION = "site_asgi.application"'
BROKEN = "The project cannot be served."
WAITING = "Waiting for a file to change"
_FAILING_STARTUP = """
async def application(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})
"""
# A file, what is added to it, and what then is to be read: each leaves by a way of its own.
WAYS = (
    ("site_settings.py", "x = (", "SyntaxError"),
    ("site_settings.py", "import no_such_settings", "No module named 'no_such_settings'"),
    ("site_settings.py", "DAPHNE = {'THREADS': 'many'}", "'many' is not allowed"),
    ("models_of_mine/models.py", "1 / 0", "ZeroDivisionError"),
    ("site_urls.py", "import no_such_views", "No module named 'no_such_views'"),
    ("site_asgi.py", "open('no such file')", "No such file or directory: 'no such file'"),
    ("site_asgi.py", _FAILING_STARTUP, "Application startup failed: no database"),
    ("manage.py", "raise SystemExit('not today')", "not today"),
)

# What a client finds that uses a connection just when the server closes it (RFC 9112, 9.3.1).
_CLOSED = (RemoteDisconnected, ConnectionResetError, BrokenPipeError)


class Client(threading.Thread):
    """Asks for the page again and again; ``seen`` is what it got, ``lost`` what went wrong.

    With ``keep_alive`` it uses a connection as long as it lasts, and asks once more on a new one
    when it finds that the server has closed it.
    """

    def __init__(self, port: int, *, keep_alive: bool) -> None:
        super().__init__(daemon=True)
        self.seen: list[str] = []
        self.lost: list[str] = []
        self.asked = 0
        self._port = port
        self._keep_alive = keep_alive
        self._ending = threading.Event()
        self._changed = threading.Condition()

    def run(self) -> None:
        connection = self._connect()
        while not self._ending.is_set():
            is_new = connection.sock is None
            try:
                try:
                    text = self._ask(connection)
                except _CLOSED:
                    if is_new:
                        raise
                    connection.close()
                    text = self._ask(connection)
            except OSError as error:
                self.lost.append(f"request {self.asked}: {error!r}")
                connection.close()
                continue
            if not self._keep_alive:
                connection.close()
            with self._changed:
                if not self.seen or self.seen[-1] != text:
                    self.seen.append(text)
                    self._changed.notify_all()
        connection.close()

    def _connect(self) -> HTTPConnection:
        return HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)

    def _ask(self, connection: HTTPConnection) -> str:
        self.asked += 1
        connection.request("GET", "/")
        response = connection.getresponse()
        text = response.read().decode()
        if response.status != 200:
            raise OSError(f"status {response.status}")
        return text

    def wait_for(self, text: str) -> bool:
        """Return whether it gets this in time."""
        with self._changed:
            return self._changed.wait_for(lambda: text in self.seen, PATIENCE)

    def end(self) -> None:
        """Ask no more."""
        self._ending.set()
        self.join(PATIENCE)


class EditingTestCase(RunserverTestCase):
    """Tests in which a view is edited."""

    def edit(self, text: str) -> None:
        """Let the view answer with another text."""
        self.write("site_urls.py", DEVELOPMENT_URLS.replace('"first"', f'"{text}"'))

    def served(self, server: Process) -> int:
        """Return the port once the first version is served."""
        port = server.wait_for_port()
        self.assertEqual(get(port).text, "first")
        return port

    def ask(self, port: int, *, keep_alive: bool = False) -> Client:
        """Let a client ask without pause, until the test ends at the latest."""
        client = Client(port, keep_alive=keep_alive)
        self.addCleanup(client.end)
        client.start()
        return client

    def assert_nothing_is_lost(self, server: Process, edits: int) -> None:
        """Edit so often while two clients ask: each version is served, and no request is lost."""
        port = self.served(server)
        clients = [self.ask(port, keep_alive=keep_alive) for keep_alive in (False, True)]
        for number in range(edits):
            self.edit(f"version {number}")
            for client in clients:
                is_seen = client.wait_for(f"version {number}")
                self.assertTrue(is_seen, f"{client.lost}\n{client.seen}\n{server}")
        for client in clients:
            client.end()
            self.assertEqual(client.lost, [])
            self.assertEqual(
                client.seen, ["first", *(f"version {number}" for number in range(edits))]
            )


class BreakingTestCase(EditingTestCase):
    """Tests in which a project is broken and mended."""

    def serve_what_will_break(self) -> Process:
        """Serve a project that has all that `WAYS` names."""
        self.settings_are("models_of_mine", *DEVELOPMENT_APPS, more=ASGI)
        self.write(
            "site_asgi.py",
            """
            from django.core.asgi import get_asgi_application

            application = get_asgi_application()
            """,
        )
        self.write("models_of_mine/__init__.py", "")
        self.write("models_of_mine/models.py", "")
        server = self.runserver("127.0.0.1:0")
        self.served(server)
        return server

    def break_down(self, server: Process, path: str, text: str, expected: str) -> None:
        """Break a file, see what the address answers, and mend the file."""
        file, port = self.folder / path, server.wait_for_port()
        before = file.read_text()
        with self.subTest(path, text=text):
            parts = (text, before) if path == "manage.py" else (before, text)
            file.write_text("\n".join(parts))
            server.wait_for(f"(?s){re.escape(expected)}.*{WAITING}")
            answer = get(port, "/any/path?at=all")
            self.assertEqual(answer.status, 500)
            self.assertIn(BROKEN, answer.text)
            self.assertIn(expected, answer.text)
            file.write_text(before)
            self.assert_mended(server)

    def miss_a_module(self, server: Process) -> None:
        """Import a module that is not there, and then make it."""
        self.write("site_urls.py", f"import later\n{dedent(DEVELOPMENT_URLS)}")
        server.wait_for(f"(?s)No module named 'later'.*{WAITING}")
        self.write("later.py", "")
        self.assert_mended(server)

    def assert_mended(self, server: Process) -> None:
        """The address answers as at first, as soon as it says that there is something new."""
        port = server.wait_for_port()
        with suppress(RemoteDisconnected, ConnectionResetError):
            get(port, **{"Django-Daphne-Wait": "1"})
        self.assertEqual(get(port).text, "first", server)
