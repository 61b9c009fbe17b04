"""runserver says who blocked the event loop: a view, a consumer."""

from __future__ import annotations

import unittest
from importlib.util import find_spec

from tests.integration.projects import RunserverTestCase
from tests.support.processes import PATIENCE, Process, get

# Blocks until that was noticed, and not what a busy machine has made slow before. The filter leaves
# the logger as it is, without a handler.
_BLOCKING = """
    import logging, threading

    noticed = threading.Event()

    def take_note(record):
        if record.levelno == logging.DEBUG and "by blocking.compute" in record.getMessage():
            noticed.set()
        return record.levelno > logging.DEBUG

    logger = logging.getLogger("django_daphne.server")
    logger.setLevel("DEBUG")
    logger.addFilter(take_note)

    def compute():
        noticed.clear()
        assert noticed.wait(30)
"""

_URLS = """
    from blocking import compute
    from django.http import HttpResponse
    from django.urls import path

    async def slow(request):
        compute()
        return HttpResponse("done")

    urlpatterns = [path("slow", slow)]
"""

_ASGI = """
    from blocking import compute
    from channels.generic.websocket import AsyncWebsocketConsumer
    from channels.routing import ProtocolTypeRouter, URLRouter
    from django.core.asgi import get_asgi_application
    from django.urls import path

    http = get_asgi_application()

    class Chat(AsyncWebsocketConsumer):
        async def receive(self, text_data=None, bytes_data=None):
            compute()
            await self.send("done")

    class Closed(AsyncWebsocketConsumer):
        async def connect(self):
            await self.close()

    routes = URLRouter([path("ws/chat/", Chat.as_asgi()), path("ws/closed/", Closed.as_asgi())])
    application = ProtocolTypeRouter({"http": http, "websocket": routes})
"""


class BlockedLoopTests(RunserverTestCase):
    """The developer reads one line, with the stack below it."""

    def setUp(self):
        super().setUp()
        self.write("blocking.py", _BLOCKING)
        self.write("site_urls.py", _URLS)

    def warning(self, function: str, request: str) -> str:
        """Return a pattern for the warning, up to its stack."""
        return (
            r"(?m)^The event loop was blocked for \d+\.\d+ s by"
            rf" blocking\.compute \(blocking\.py:\d+\), for {request};"
            r" nothing else was served meanwhile\.\nStack \(most recent call last\):\n"
            rf"(  .*\n)+?  File .*, in {function}\n    compute\(\)\n(  .*\n)+"
        )

    def end(self, server: Process) -> None:
        """Press Ctrl-C, and have all output."""
        server.interrupt()
        self.assertEqual(server.wait(), 0, server)

    def test_view(self):
        """An async view of the project blocks, as long as it takes to notice."""
        self.settings_are(more='DAPHNE = {"BLOCKED_LOOP_TIME": 0.1}')
        server = self.start("manage.py", "runserver", "--noreload", "0")
        self.assertEqual(get(server.wait_for_port(), "/slow").text, "done")
        server.wait_for(self.warning("slow", "GET /slow"))
        self.end(server)
        self.assertEqual(server.errors.count("by blocking.compute"), 1, server)

    @unittest.skipUnless(find_spec("channels") and find_spec("websockets"), "missing: channels")
    def test_consumer(self):
        """A consumer of Channels blocks; its lines say how each WebSocket began and ended."""
        from websockets.exceptions import InvalidStatus
        from websockets.sync.client import connect

        self.write("site_asgi.py", _ASGI)
        self.settings_are(more='ASGI_APPLICATION = "site_asgi.application"')
        server = self.runserver("--noreload", "--blocked-loop-time", "0.1", "0")
        address = f"ws://127.0.0.1:{server.wait_for_port()}/ws"
        with connect(f"{address}/chat/", open_timeout=PATIENCE) as socket:
            socket.send("hello")
            self.assertEqual(socket.recv(PATIENCE), "done")
            server.wait_for(self.warning("receive", "WebSocket /ws/chat/"))
            socket.close(1001)
        with self.assertRaises(InvalidStatus):
            connect(f"{address}/closed/", open_timeout=PATIENCE).__enter__()
        client = r"127\.0\.0\.1:\d+, h1"
        for line in (
            rf"HANDSHAKING /ws/chat/ \[{client}\]",
            rf"CONNECT /ws/chat/ \[{client}, \d+\.\d+ s\]",
            rf"DISCONNECT /ws/chat/ \[{client}, code 1001, \d+\.\d+ s\]",
            rf"REJECT /ws/closed/ \[{client}, status 403, \d+\.\d+ s\]",
        ):
            server.wait_for(rf"(?m)^WebSocket {line}$")
        self.end(server)
