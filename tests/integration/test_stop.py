"""Stopping: running requests end well, new ones are not taken, and nobody is forgotten."""

from __future__ import annotations

import signal
from contextlib import closing
from http.client import HTTPConnection, HTTPException

from tests.support.processes import (
    PATIENCE,
    Process,
    ProcessTestCase,
    Response,
    wait_until_refused,
)

APPLICATION = """
    async def application(scope, receive, send):
        if scope["type"] == "lifespan":
            while True:
                event = (await receive())["type"]
                print(event, flush=True)
                await send({"type": event + ".complete"})
                if event == "lifespan.shutdown":
                    return
        # The request is slow as long as its client is.
        print("began", flush=True)
        while (await receive())["more_body"]:
            pass
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})
"""

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopTests(ProcessTestCase):
    """A signal ends the server."""

    def setUp(self):
        super().setUp()
        self.write("app.py", APPLICATION)

    def begin(self) -> tuple[Process, HTTPConnection, int]:
        """Start a server and a request on it whose last byte of body is missing."""
        server = self.start_cli("-p", "0", "app:application")
        port = server.wait_for_port()
        connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        connection.putrequest("POST", "/")
        connection.putheader("Content-Length", "1")
        connection.endheaders()
        server.wait_for("began")
        return server, connection, port

    def test_drain(self):
        """The supervisor stops the server while a client is still sending."""
        for number in SIGNALS:
            with self.subTest(number.name):
                server, connection, port = self.begin()
                with closing(connection):
                    server.send_signal(number)
                    server.wait_for("Stopping")
                    wait_until_refused(port)
                    self.assertNotIn("lifespan.shutdown", server.output)
                    connection.send(b"x")
                    response = Response(connection.getresponse())
                self.assertEqual((response.status, response.text), (200, "done"))
                self.assertEqual(response.headers["Connection"], "close")
                self.assertEqual(server.wait(), 0, server)
                words = [line.split()[0] for line in server.output.splitlines()]
                self.assertEqual(words[:2], ["lifespan.startup", "began"])
                self.assertEqual(words[-1], "lifespan.shutdown")

    def test_hurry(self):
        """The supervisor loses patience and sends a second signal."""
        for number in SIGNALS:
            with self.subTest(number.name):
                server, connection, _ = self.begin()
                with closing(connection):
                    server.send_signal(number)
                    server.wait_for("Stopping")
                    server.send_signal(number)
                    with self.assertRaises((HTTPException, OSError)):
                        connection.getresponse()
                self.assertEqual(server.wait(), 0, server)
                self.assertIn("lifespan.shutdown\n", server.output)

    def test_graceful_timeout(self):
        """The client never sends its last byte, and the graceful time is short."""
        server = self.start_cli("-p", "0", "--graceful-timeout", "0.05", "app:application")
        with closing(HTTPConnection("127.0.0.1", server.wait_for_port(), timeout=PATIENCE)) as slow:
            slow.putrequest("POST", "/")
            slow.putheader("Content-Length", "1")
            slow.endheaders()
            server.wait_for("began")
            self.finish(server)
            with self.assertRaises((HTTPException, OSError)):
                slow.getresponse()
        self.assertIn("lifespan.shutdown\n", server.output)

    def test_signal_during_startup(self):
        """The supervisor stops a server whose application is still starting."""
        self.write(
            "waiting.py",
            """
            import asyncio

            async def application(scope, receive, send):
                await receive()
                print("starting", flush=True)
                await asyncio.Event().wait()
            """,
        )
        server = self.start_cli("-p", "0", "waiting:application")
        server.wait_for("starting")
        self.finish(server)
        self.assertNotIn("Listening", server.errors)
