"""WebSockets between real clients and real applications: Channels, Starlette, FastAPI, Django."""

from __future__ import annotations

import json
import random
import signal
from importlib.util import find_spec
from typing import TYPE_CHECKING

from tests.integration.projects import SmallProjectTestCase
from tests.support.browser import NodeTestCase, WebSocketTestCase
from tests.support.processes import PATIENCE, Process

if TYPE_CHECKING:
    from websockets.sync.client import ClientConnection

COMPRESSIONS = (None, "deflate")
# Each way to write a length into a frame from its least to its greatest, and the largest message.
SIZES = (0, 1, 125, 126, 65535, 65536, 1 << 20)
CLOSES = ((1000, ""), (1001, "gone"), (3000, "tschüß"), (4998, "x" * 123))

# Of the sockets to the echo, how many a test of a command opens.
SOCKETS = len(COMPRESSIONS) * (1 + 2 * len(CLOSES))

SETTINGS = """DEBUG = True
    ASGI_APPLICATION = "site_asgi.application"
    CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
"""

SITE = """
    import asyncio, threading

    from asgiref.sync import async_to_sync
    from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
    from channels.routing import ProtocolTypeRouter, URLRouter
    from django.core.asgi import get_asgi_application
    from django.urls import path

    async def echo(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        while (event := await receive())["type"] == "websocket.receive":
            command, *values = (event.get("text") or "").split(" ", 2)
            if command == "close":
                await send({"type": "websocket.close", "code": int(values[0]), "reason": values[1]})
            else:
                await send({**event, "type": "websocket.send"})
        print("left:", event["code"], event["reason"], flush=True)

    released, sync_released = asyncio.Event(), threading.Event()

    async def release(scope, receive, send):
        released.set()
        sync_released.set()
        await send({"type": "websocket.close"})

    class Async(AsyncWebsocketConsumer):
        groups = ["all"]

        async def connect(self):
            await self.accept(subprotocol=next(iter(self.scope["subprotocols"]), None))

        async def receive(self, text_data):
            if text_data == "wait":
                print("async: waits", flush=True)
                await released.wait()
                await self.send(text_data="late")
            elif text_data == "leave":
                await self.close(4001)
                await self.close(4002)
            await self.channel_layer.group_send("all", {"type": "say", "text": text_data})

        async def say(self, event):
            await self.send(text_data=event["text"])

        async def disconnect(self, code):
            print("async: left", code, flush=True)

    class Sync(WebsocketConsumer):
        groups = ["all"]

        def connect(self):
            self.accept(subprotocol=next(iter(self.scope["subprotocols"]), None))

        def receive(self, text_data):
            if text_data == "wait":
                print("sync: waits", flush=True)
                sync_released.wait()
                self.send(text_data="late")
            elif text_data == "leave":
                self.close(4001)
                self.close(4002)
            group_send = async_to_sync(self.channel_layer.group_send)
            group_send("all", {"type": "say", "text": text_data})

        def say(self, event):
            self.send(text_data=event["text"])

        def disconnect(self, code):
            print("sync: left", code, flush=True)

    routes = [
        path("echo", echo),
        path("sync", Sync.as_asgi()),
        path("async", Async.as_asgi()),
        path("release", release),
    ]
    http, websocket = get_asgi_application(), URLRouter(routes)
    application = ProtocolTypeRouter({"http": http, "websocket": websocket})
"""

PLAIN = "from django.core.asgi import get_asgi_application as get\n\napplication = get()\n"

FRAMEWORKS = """
    import asyncio

    from fastapi import FastAPI, HTTPException, WebSocket, WebSocketDisconnect, WebSocketException
    from starlette.applications import Starlette
    from starlette.endpoints import WebSocketEndpoint
    from starlette.routing import Mount, WebSocketRoute

    api = FastAPI()
    released = asyncio.Event()

    @api.websocket("/items/{number}")
    async def items(websocket: WebSocket, number: int, word: str = "none"):
        await websocket.accept()
        async for text in websocket.iter_text():
            await websocket.send_json({"number": number, "word": word, "text": text})

    @api.websocket("/failing")
    async def failing(websocket: WebSocket):
        await websocket.accept()
        raise WebSocketException(4003, "enough")

    @api.websocket("/denied")
    async def denied(websocket: WebSocket):
        raise HTTPException(401, "log in first")

    @api.websocket("/late")
    async def late(websocket: WebSocket):
        await websocket.accept()
        print("began", flush=True)
        await released.wait()
        try:
            await websocket.send_text("late")
        except WebSocketDisconnect as gone:
            print("gone:", gone.code, flush=True)

    class Upper(WebSocketEndpoint):
        encoding = "text"

        async def on_receive(self, websocket, data):
            released.set()
            await websocket.send_text(data.upper())

        async def on_disconnect(self, websocket, close_code):
            print("left:", close_code, flush=True)

    application = Starlette(routes=[WebSocketRoute("/upper", Upper), Mount("/api", api)])
"""


class SiteTestCase(SmallProjectTestCase, WebSocketTestCase):
    """Tests with a site that uses Channels."""

    def setUp(self):
        super().setUp()
        self.settings_are(SETTINGS, '"channels",')
        self.write("site_asgi.py", SITE)

    def rundaphne(self, *arguments: str) -> Process:
        """Serve the site."""
        return self.manage("rundaphne", "-p", "0", *arguments)

    def runserver(self) -> Process:
        """Serve the site with the command for developers."""
        return self.manage("runserver", "--noreload", "0")

    def command_line(self) -> Process:
        """Serve the site with the command that knows nothing of Django."""
        arguments = ("-p", "0", "site_asgi:application")
        return self.start_cli(*arguments, DJANGO_SETTINGS_MODULE="site_settings")


class CommandTests(SiteTestCase):
    """Each command speaks WebSocket."""

    def check(self, server: Process) -> None:
        """Check messages and endings, with and without compression."""
        for compression in COMPRESSIONS:
            with self.subTest(compression=compression):
                client = self.open(server, "/echo", compression=compression)
                assert client.response is not None
                extensions = client.response.headers.get("Sec-WebSocket-Extensions", "")
                self.assertEqual(extensions.split(";")[0], "permessage-deflate" * bool(compression))
                self.check_messages(client)
                client.send(bytes(SIZES[-1] + 1))
                self.assertEqual(self.closed(client)[0], 1009)
                self.check_closes(server, compression)
        self.finish(server)
        for code, reason in CLOSES:
            for sent in (code, code + 1):
                lines = server.output.count(f"left: {sent} {reason}\n")
                self.assertEqual(lines, len(COMPRESSIONS), server)

    def check_messages(self, client: ClientConnection) -> None:
        """Send texts, bytes, fragments and pings, and receive them back."""
        data = random.Random(1).randbytes(65536) + bytes(SIZES[-1] - 65536)
        text = "".join(map(chr, range(32, 127))) * (SIZES[-1] // 95 + 1)
        for size in SIZES:
            for message in (data[:size], text[:size]):
                client.send(message)
                self.assertTrue(self.receive(client) == message, size)
        client.send(["grü", "", "ß", " " * 65536, "dich"])
        self.assertEqual(self.receive(client), "grüß" + " " * 65536 + "dich")
        client.send([data[:200], b"", data[200:70000]])
        self.assertTrue(self.receive(client) == data[:70000])
        for ping in ("", "x" * 125):
            self.assertTrue(client.ping(ping).wait(PATIENCE))

    def check_closes(self, server: Process, compression: str | None) -> None:
        """Close from either end, in the second case with another code."""
        for code, reason in CLOSES:
            client = self.open(server, "/echo", compression=compression)
            client.close(code, reason)
            self.assertEqual(self.closed(client)[0], code)
            client = self.open(server, "/echo", compression=compression)
            client.send(f"close {code + 1} {reason}")
            self.assertEqual(self.closed(client), (code + 1, reason))

    def test_rundaphne(self):
        """The client speaks to rundaphne, and the access log has each step."""
        server = self.rundaphne()
        self.check(server)
        for event in ("WSCONNECTING", "WSCONNECT", "WSDISCONNECT"):
            self.assertEqual(server.output.count(f'"{event} /echo"'), SOCKETS, server)

    def test_runserver(self):
        """The client speaks to runserver, and the console has each step."""
        server = self.runserver()
        self.check(server)
        for event in ("HANDSHAKING", "CONNECT", "DISCONNECT"):
            self.assertEqual(server.errors.count(f"WebSocket {event} /echo ["), SOCKETS, server)

    def test_command_line(self):
        """The client speaks to the command that knows nothing of Django."""
        self.check(self.command_line())


class StopTests(SiteTestCase):
    """The server stops while clients are there."""

    def test_signals(self):
        """The supervisor stops two of the commands, and the developer the third with Ctrl-C."""
        for server, number in (
            (self.rundaphne(), signal.SIGTERM),
            (self.command_line(), signal.SIGTERM),
            (self.runserver(), signal.SIGINT),
        ):
            with self.subTest(server.arguments):
                clients = [self.open(server, path) for path in ("/echo", "/sync", "/async")]
                server.send_signal(number)
                for client in clients:
                    self.assertEqual(self.closed(client), (1012, ""))
                self.assertEqual(server.wait(), 0, server)
                self.assertEqual(server.output.count(" 1012"), len(clients), server)
                self.assertNotIn("Traceback", server.errors)


class NodeTests(SiteTestCase, NodeTestCase):
    """The package ws for Node.js is the client."""

    def test_client(self):
        """The client sends messages, fragments and pings, with and without compression."""
        server = self.rundaphne("--ping-interval", "0.05")
        for compression in COMPRESSIONS:
            with self.subTest(compression=compression):
                client = self.start_client(self.address(server, "/echo"), SIZES, compression)
                self.assertEqual(client.wait(), 0, client)
                extension = "permessage-deflate" * bool(compression)
                expected = ["one, two", "are you there?", "", extension, "4001", ""]
                self.assertEqual(json.loads(client.output), expected)
        self.finish(server)
        self.assertEqual(server.output.count("left: 4001 enough"), len(COMPRESSIONS))


class ChannelsTests(SiteTestCase):
    """Channels routes, groups, and tells its consumers that the client left."""

    def test_groups(self):
        """Clients choose a subprotocol or none, and hear what any of them says."""
        server = self.rundaphne()
        clients = []
        for offer in (None, ["v2", "v1"]):
            for path in ("/sync", "/async"):
                clients.append(self.open(server, path, subprotocols=offer))
                self.assertEqual(clients[-1].subprotocol, "v2" if offer else None)
        for number, speaker in enumerate(clients):
            with self.subTest(number):
                speaker.send(f"from {number}")
                for client in clients:
                    self.assertEqual(self.receive(client), f"from {number}")
        clients.pop().close()
        clients[0].send("one left")
        for client in clients:
            self.assertEqual(self.receive(client), "one left")
        self.finish(server)

    def test_late_send(self):
        """Clients leave while handlers are busy; what these send is dropped, and they learn."""
        server = self.rundaphne()
        # The thread of all sync consumers is needed by the others, so it is kept busy last.
        for kind in ("async", "sync"):
            client = self.open(server, f"/{kind}")
            client.send("wait")
            server.wait_for(f"{kind}: waits")
            client.close(4000)
        self.assertEqual(self.refused(server, "/release")[0], 403)
        for kind in ("async", "sync"):
            server.wait_for(f"(?m)^{kind}: left 4000")
        self.finish(server)

    def test_send_after_close(self):
        """Consumers close twice and hear of their group then; what they send is dropped."""
        server = self.rundaphne()
        for kind in ("async", "sync"):
            client = self.open(server, f"/{kind}")
            client.send("leave")
            self.assertEqual(self.closed(client), (4001, ""))
            server.wait_for(f"{kind}: left 4001")
        self.finish(server)

    def test_unknown_path(self):
        """The client asks for a path that the router does not have."""
        server = self.rundaphne()
        self.assertEqual(self.refused(server, "/nowhere")[0], 500)
        self.finish(server)
        self.assertIn('"WSREJECT /nowhere"', server.output)
        self.assertEqual(server.errors.count("No route found for path 'nowhere'"), 1, server)


class PlainDjangoTests(SmallProjectTestCase, WebSocketTestCase):
    """A project without Channels knows no WebSockets."""

    def test_handshake(self):
        """The client asks for one all the same, and the log has one line for it."""
        self.write("plain.py", PLAIN)
        settings = {"DJANGO_SETTINGS_MODULE": "site_settings"}
        for server in (
            self.manage("rundaphne", "-p", "0"),
            self.manage("runserver", "--noreload", "0"),
            self.start_cli("-p", "0", "plain:application", **settings),
        ):
            with self.subTest(server.arguments):
                self.assertEqual(self.refused(server, "/")[0], 500)
                self.finish(server)
                self.assertEqual(server.errors.count("can only handle ASGI/HTTP"), 1, server)


class FrameworkTests(WebSocketTestCase):
    """Starlette and FastAPI are served without Django."""

    def setUp(self):
        super().setUp()
        for name in ("starlette", "fastapi"):
            if find_spec(name) is None:
                self.skipTest(f"missing: {name}")
        self.write("app.py", FRAMEWORKS)

    def test_routes(self):
        """Clients are answered, closed, denied and sent to when they have left."""
        server = self.start_cli("-p", "0", "app:application")
        client = self.open(server, "/api/items/7?word=a%20b")
        client.send("ü")
        answer = {"number": 7, "word": "a b", "text": "ü"}
        self.assertEqual(json.loads(self.receive(client)), answer)
        self.assertEqual(self.closed(self.open(server, "/api/failing")), (4003, "enough"))
        denial = (401, b'{"detail":"log in first"}')
        self.assertEqual(self.refused(server, "/api/denied"), denial)
        self.assertEqual(self.refused(server, "/nowhere")[0], 403)
        late = self.open(server, "/api/late")
        server.wait_for("began")
        late.close()
        upper = self.open(server, "/upper")
        upper.send("loud")
        self.assertEqual(self.receive(upper), "LOUD")
        server.wait_for("gone: 1006")
        upper.close(4002)
        server.wait_for("left: 4002")
        self.finish(server)

    def test_validation(self):
        """The client's path does not fit, of which FastAPI has more to tell than a text."""
        server = self.start_cli("-p", "0", "app:application")
        self.assertEqual(self.refused(server, "/api/items/seven")[0], 403)
        self.finish(server)
        self.assertNotIn("ERROR", server.errors)
