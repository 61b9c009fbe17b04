"""A developer who edits a view while clients ask without pause."""

from __future__ import annotations

import threading
from http.client import HTTPConnection, RemoteDisconnected

from tests.integration.projects import DEVELOPMENT_URLS, RunserverTestCase
from tests.support.processes import PATIENCE, Process, get

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
