"""Channels' synchronous consumers behind each command, with real clients."""

from __future__ import annotations

from tests.integration.projects import SmallProjectTestCase
from tests.support.browser import WebSocketTestCase
from tests.support.processes import Process

from .support import LANE

SETTINGS = """DEBUG = True
    ASGI_APPLICATION = "site_asgi.application"
    DAPHNE = {}
"""

SITE = """
    import threading

    from channels.generic.websocket import WebsocketConsumer
    from channels.routing import ProtocolTypeRouter, URLRouter
    from django.core.asgi import get_asgi_application
    from django.urls import path

    released = threading.Event()

    class Sync(WebsocketConsumer):
        def receive(self, text_data):
            if text_data == "wait":
                self.send(text_data="waits")
                assert released.wait(25), "nobody comes"
            elif text_data == "release":
                released.set()
            self.send(text_data=f"{text_data} {threading.current_thread().name}")

    http = get_asgi_application()
    websocket = URLRouter([path("sync", Sync.as_asgi())])
    application = ProtocolTypeRouter({"http": http, "websocket": websocket})
"""


class CommandTests(SmallProjectTestCase, WebSocketTestCase):
    """Each command gives lanes to the consumers of a project, through a real server."""

    def setUp(self) -> None:
        super().setUp()
        self.write("site_asgi.py", SITE)

    def start_each(self, daphne: str) -> list[Process]:
        """Serve the site with a value of settings.DAPHNE, with each of the commands."""
        self.settings_are(SETTINGS.format(daphne), '"channels",')
        variables = {"DJANGO_SETTINGS_MODULE": "site_settings"}
        return [
            self.manage("rundaphne", "-p", "0"),
            self.manage("runserver", "--noreload", "0"),
            self.start_cli("-p", "0", "site_asgi:application", **variables),
        ]

    def test_two_block(self):
        """A consumer waits for what another one does."""
        for server in self.start_each('{"DJANGO_HANDLER": "threaded", "CONSUMER_THREADS": 2}'):
            with self.subTest(server.arguments):
                waiting, other = self.open(server, "/sync"), self.open(server, "/sync")
                waiting.send("wait")
                self.assertEqual(self.receive(waiting), "waits")
                other.send("release")
                self.assertEqual(self.receive(other), f"release {LANE}")
                self.assertEqual(self.receive(waiting), f"wait {LANE}")
                for client in (waiting, other):
                    client.close()

    def test_end(self):
        """The process ends although lanes of consumers would be kept, and waited for, for long."""
        self.write(
            "end.py",
            """
            import asyncio
            from asgiref.sync import sync_to_async
            from django.conf import settings

            settings.configure()
            from django_daphne import handlers

            handlers._EXIT_TIMEOUT = 3600
            from django_daphne.handlers.consumers import ConsumerLanes

            async def application(scope, receive, send):
                print(await sync_to_async(lambda: "called")())

            asyncio.run(ConsumerLanes(application, 2, 3600)({"type": "websocket"}, None, None))
            """,
        )
        process = self.start("end.py")
        self.assertEqual(process.wait(), 0, process)
        self.assertEqual(process.output, "called\n")

    def test_stock(self):
        """The project wants Django's own handler: consumers have Channels' own thread."""
        for server in self.start_each('{"DJANGO_HANDLER": "stock"}'):
            with self.subTest(server.arguments):
                client = self.open(server, "/sync")
                client.send("who")
                answer = str(self.receive(client))
                self.assertTrue(answer.startswith("who "), answer)
                self.assertNotIn(LANE, answer)
                client.close()
