"""The communicators, with Channels' consumers, with Django and with bare applications."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import channels.db
from channels.auth import AuthMiddlewareStack
from channels.consumer import AsyncConsumer
from channels.db import database_sync_to_async
from channels.generic.http import AsyncHttpConsumer
from channels.generic.websocket import (
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    JsonWebsocketConsumer,
    WebsocketConsumer,
)
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.core.asgi import get_asgi_application
from django.test import SimpleTestCase, override_settings
from django.urls import path

from django_daphne.testing import (
    ApplicationCommunicator,
    HttpCommunicator,
    WebsocketCommunicator,
)

ROOT = Path(__file__).resolve().parents[2]
LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}


class SyncEcho(WebsocketConsumer):  # type: ignore[misc]  # it has no annotations
    """Chooses a subprotocol, sends back what it gets, and closes at a word."""

    def connect(self):
        self.accept(subprotocol="zebra" if "zebra" in self.scope["subprotocols"] else None)

    def receive(self, text_data=None, bytes_data=None):
        if text_data == "bye":
            self.close(4001, "as you wish")
        else:
            self.send(text_data=text_data, bytes_data=bytes_data)


class AsyncEcho(AsyncWebsocketConsumer):  # type: ignore[misc]  # it has no annotations
    """The same without threads; notes how it ended."""

    left: list[Any]

    async def connect(self):
        await self.accept(headers=[(b"x-zebra", b"1")])

    async def receive(self, text_data=None, bytes_data=None):
        await self.send(text_data=text_data, bytes_data=bytes_data)

    async def disconnect(self, code):
        self.scope["state"]["left"] = code


class SyncJson(JsonWebsocketConsumer):  # type: ignore[misc]  # it has no annotations
    """Doubles numbers."""

    def receive_json(self, content, **kwargs):
        self.send_json({"double": content["number"] * 2})


class AsyncJson(AsyncJsonWebsocketConsumer):  # type: ignore[misc]  # it has no annotations
    """The same without threads."""

    async def receive_json(self, content, **kwargs):
        await self.send_json({"double": content["number"] * 2})


class Stranger(AsyncWebsocketConsumer):  # type: ignore[misc]  # it has no annotations
    """Lets nobody in, and says why."""

    async def connect(self):
        await self.close(4003)


class Who(AsyncJsonWebsocketConsumer):  # type: ignore[misc]  # it has no annotations
    """Says who is there and which room it is."""

    async def connect(self):
        await self.accept()
        room = self.scope["url_route"]["kwargs"]["room"]
        await self.send_json({"user": str(self.scope["user"]), "room": room})


class Room(AsyncWebsocketConsumer):  # type: ignore[misc]  # it has no annotations
    """Hands on what anybody says."""

    groups = ("room",)

    async def receive(self, text_data=None, bytes_data=None):
        await self.channel_layer.group_send("room", {"type": "say", "text": text_data})

    async def say(self, event):
        await self.send(event["text"])


class Page(AsyncHttpConsumer):  # type: ignore[misc]  # it has no annotations
    """Answers a request in two parts."""

    async def handle(self, body):
        await self.send_headers(status=201, headers=[(b"x-method", self.scope["method"].encode())])
        await self.send_body(b"got ", more_body=True)
        await self.send_body(body)


class Worker(AsyncConsumer):  # type: ignore[misc]  # it has no annotations
    """Answers a message of a type of its own."""

    async def test_print(self, message):
        await self.send({"type": "test.done", "text": message["text"]})


class WebsocketTests(SimpleTestCase):
    """A consumer of each kind, as Channels' own communicator meets it."""

    async def test_sync(self):
        """The developer talks to a synchronous consumer, in texts and in bytes."""
        visitor = WebsocketCommunicator(SyncEcho.as_asgi(), "/", subprotocols=["lion", "zebra"])
        self.assertEqual(await visitor.connect(), (True, "zebra"))
        await visitor.send_to(text_data="hello")
        self.assertEqual(await visitor.receive_from(), "hello")
        await visitor.send_to(bytes_data=b"\0\1")
        self.assertEqual(await visitor.receive_from(), b"\0\1")
        await visitor.disconnect()

    async def test_async(self):
        """The developer reads the headers of the handshake, and leaves with a code of their own."""
        visitor = WebsocketCommunicator(AsyncEcho.as_asgi(), "/")
        self.assertIsNone(visitor.response_headers)
        self.assertEqual(await visitor.connect(), (True, None))
        self.assertEqual(visitor.response_headers, [(b"x-zebra", b"1")])
        await visitor.send_to(text_data="")
        self.assertEqual(await visitor.receive_from(), "")
        self.assertTrue(await visitor.receive_nothing(0.02))
        await visitor.disconnect(4000)
        self.assertEqual(visitor.scope["state"], {"left": 4000})

    async def test_json(self):
        """The developer sends and receives values."""
        for consumer in (SyncJson, AsyncJson):
            with self.subTest(consumer.__name__):
                visitor = WebsocketCommunicator(consumer.as_asgi(), "/")
                await visitor.connect()
                await visitor.send_json_to({"number": 21})
                self.assertEqual(await visitor.receive_json_from(), {"double": 42})
                await visitor.disconnect()

    async def test_stack(self):
        """The developer calls the whole stack of a project; the visitor has not logged in."""
        routes = URLRouter([path("room/<str:room>/", Who.as_asgi())])
        application = ProtocolTypeRouter(
            {"websocket": AllowedHostsOriginValidator(AuthMiddlewareStack(routes))}
        )
        origin = [(b"origin", b"http://localhost")]
        visitor = WebsocketCommunicator(application, "/room/caf%C3%A9/", origin)
        await visitor.connect()
        seen = await visitor.receive_json_from()
        self.assertEqual(seen, {"user": "AnonymousUser", "room": "caf\u00e9"})
        await visitor.disconnect()
        stranger = WebsocketCommunicator(application, "/room/lobby/")
        self.assertEqual(await stranger.connect(), (False, 1000))

    async def test_user(self):
        """The developer puts somebody into the scope."""
        visitor = WebsocketCommunicator(Who.as_asgi(), "/")
        visitor.scope |= {"user": "ada", "url_route": {"kwargs": {"room": "lobby"}}}
        await visitor.connect()
        self.assertEqual(await visitor.receive_json_from(), {"user": "ada", "room": "lobby"})
        await visitor.disconnect()

    @override_settings(CHANNEL_LAYERS=LAYERS)
    async def test_group(self):
        """Two visitors hear each other."""
        ada, bob = (WebsocketCommunicator(Room.as_asgi(), "/") for _ in range(2))
        for visitor in (ada, bob):
            await visitor.connect()
        await ada.send_to(text_data="hello")
        for visitor in (ada, bob):
            self.assertEqual(await visitor.receive_from(), "hello")
            await visitor.disconnect()


class EndingTests(SimpleTestCase):
    """How the application ends a WebSocket, and how a test sees that."""

    async def test_rejected(self):
        """The consumer closes before it has accepted."""
        visitor = WebsocketCommunicator(Stranger.as_asgi(), "/")
        self.assertEqual(await visitor.connect(), (False, 4003))
        self.assertEqual((visitor.close_code, visitor.close_reason), (4003, ""))

    async def test_closed(self):
        """The consumer closes with a code and a reason."""
        visitor = WebsocketCommunicator(SyncEcho.as_asgi(), "/")
        await visitor.connect()
        await visitor.send_to(text_data="bye")
        self.assertEqual(await visitor.receive_close(), (4001, "as you wish"))
        await visitor.disconnect()

    async def test_closed_instead(self):
        """The developer expects a message, and the failure says that it was a close."""
        visitor = WebsocketCommunicator(SyncEcho.as_asgi(), "/")
        await visitor.connect()
        await visitor.send_to(text_data="bye")
        with self.assertRaisesRegex(AssertionError, "websocket.close.*4001.*as you wish"):
            await visitor.receive_from()
        self.assertEqual((visitor.close_code, visitor.close_reason), (4001, "as you wish"))
        await visitor.disconnect()

    async def test_denied(self):
        """The application answers the handshake with a response of its own, in two parts."""

        async def application(scope: Any, receive: Any, send: Any) -> None:
            self.assertIn("websocket.http.response", scope["extensions"])
            kind = "websocket.http.response"
            await receive()
            await send({"type": f"{kind}.start", "status": 402, "headers": [(b"x-fee", b"1")]})
            await send({"type": f"{kind}.body", "body": b"pay ", "more_body": True})
            await send({"type": f"{kind}.body", "body": b"first"})

        visitor = WebsocketCommunicator(application, "/")
        self.assertEqual(await visitor.connect(), (False, 402))
        denial = {"status": 402, "headers": [(b"x-fee", b"1")], "body": b"pay first"}
        self.assertEqual(visitor.denial, denial)

    async def test_disconnect(self):
        """The application is told the code and the reason of who leaves."""
        heard: list[Any] = []

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            heard.append(await receive())

        visitor = WebsocketCommunicator(application, "/")
        await visitor.connect()
        await visitor.disconnect(4002, reason="lunch")
        message = {"type": "websocket.disconnect", "code": 4002, "reason": "lunch"}
        self.assertEqual(heard, [message])

    async def test_failure(self):
        """The application raises, and so does what the test calls next."""

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            raise LookupError("no such room")

        visitor = WebsocketCommunicator(application, "/")
        with self.assertRaisesRegex(LookupError, "no such room"):
            await visitor.connect(timeout=0.05)

    async def test_silence(self):
        """The application does not answer in time, and is cancelled."""
        ended: list[str] = []

        async def application(scope: Any, receive: Any, send: Any) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("cancelled")

        visitor = WebsocketCommunicator(application, "/")
        with self.assertRaises(TimeoutError):
            await visitor.connect(timeout=0.01)
        self.assertEqual(ended, ["cancelled"])


class HttpTests(SimpleTestCase):
    """Requests."""

    async def test_consumer(self):
        """A consumer gets the request and answers in parts."""
        request = HttpCommunicator(Page.as_asgi(), "post", "/", b"a body")
        response = await request.get_response()
        expected = {"status": 201, "headers": [(b"x-method", b"POST")], "body": b"got a body"}
        self.assertEqual(response, expected)

    async def test_django(self):
        """The whole of Django answers, as it does for its own test client."""
        request = HttpCommunicator(get_asgi_application(), "GET", "/no/such/page/")
        response = await request.get_response(timeout=10)
        self.assertEqual(response["status"], 404)
        self.assertIn(b"Not Found", response["body"])

    async def test_bare(self):
        """The application leaves out all that may be left out."""

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 204})
            await send({"type": "http.response.body"})

        response = await HttpCommunicator(application, "GET", "/").get_response()
        self.assertEqual(response, {"status": 204, "headers": [], "body": b""})

    async def test_wrong_message(self):
        """The application sends a body first, and the failure shows it."""

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.body", "body": b"too soon"})

        with self.assertRaisesRegex(AssertionError, "too soon.*not http.response.start"):
            await HttpCommunicator(application, "GET", "/").get_response()

    async def test_own_messages(self):
        """The developer of a worker sends messages of any type."""
        worker = ApplicationCommunicator(Worker.as_asgi(), {"type": "channel", "channel": "work"})
        await worker.send_input({"type": "test.print", "text": "hello"})
        self.assertEqual(await worker.receive_output(), {"type": "test.done", "text": "hello"})
        worker.stop()


class ScopeTests(SimpleTestCase):
    """What the application is told of the request."""

    def test_http(self):
        """The scope has what the server's has; the path is as it was sent and as it is meant."""
        headers = [(b"x-zebra", b"1")]
        request = HttpCommunicator(Page.as_asgi(), "get", "/caf\u00e9/a%20b;c/?q=%41", b"", headers)
        expected = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.5"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": "/caf\u00e9/a b;c/",
            "raw_path": b"/caf%C3%A9/a%20b;c/",
            "query_string": b"q=%41",
            "root_path": "",
            "headers": headers,
            "client": ("127.0.0.1", 50000),
            "server": ("testserver", 80),
            "state": {},
            "extensions": {},
        }
        self.assertEqual(request.scope, expected)

    def test_websocket(self):
        """The scope of a WebSocket has a scheme of its own, subprotocols and no method."""
        scope = WebsocketCommunicator(SyncEcho.as_asgi(), "/?a=1", None, ["a"], "2.3").scope
        self.assertEqual((scope["type"], scope["scheme"]), ("websocket", "ws"))
        self.assertEqual((scope["subprotocols"], scope["query_string"]), (["a"], b"a=1"))
        self.assertEqual((scope["spec_version"], scope["asgi"]["spec_version"]), ("2.3", "2.3"))
        self.assertNotIn("method", scope)

    async def test_mistakes(self):
        """The developer gives what cannot be sent, and reads what it was."""
        visitor = WebsocketCommunicator(SyncEcho.as_asgi(), "/")
        sends: tuple[tuple[dict[str, Any], str], ...] = (
            ({}, "one of text_data and bytes_data"),
            ({"text_data": "a", "bytes_data": b"a"}, "one of text_data and bytes_data"),
            ({"text_data": b"a"}, "text_data is bytes, not str"),
            ({"bytes_data": "a"}, "bytes_data is str, not bytes"),
        )
        for values, text in sends:
            with self.assertRaisesRegex(AssertionError, text):
                await visitor.send_to(**values)
        with self.assertRaisesRegex(TypeError, "path is bytes, not str"):
            WebsocketCommunicator(SyncEcho.as_asgi(), b"/")  # type: ignore[arg-type]
        with self.assertRaisesRegex(AssertionError, "body is str, not bytes"):
            HttpCommunicator(Page.as_asgi(), "GET", "/", "a")  # type: ignore[arg-type]


class DatabaseTests(SimpleTestCase):
    """The connections of the test stay open."""

    def setUp(self) -> None:
        super().setUp()
        self.calls: list[str] = []
        original = channels.db.close_old_connections
        self.addCleanup(setattr, channels.db, "close_old_connections", original)
        channels.db.close_old_connections = self.note

    def note(self) -> None:
        """Take the place of what closes."""
        self.calls.append("closed")

    async def test_kept(self):
        """A consumer asks the database while the test waits; Channels closes no connection."""

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await database_sync_to_async(lambda: None)()
            await send({"type": "websocket.accept"})
            await receive()
            await database_sync_to_async(lambda: None)()

        visitor = WebsocketCommunicator(application, "/")
        await visitor.connect()
        await visitor.disconnect()
        self.assertEqual(self.calls, [])
        await database_sync_to_async(lambda: None)()
        self.assertEqual(self.calls, ["closed"] * 2)

    async def test_overlapping(self):
        """Of two that wait at the same time, the first to begin is the first to end."""
        go_on = asyncio.Event()

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            if scope["path"] == "/slow":
                await go_on.wait()
            await send({"type": "websocket.accept"})

        async def quick() -> None:
            await WebsocketCommunicator(application, "/quick").connect()
            go_on.set()

        await asyncio.gather(quick(), WebsocketCommunicator(application, "/slow").connect())
        self.assertEqual(channels.db.close_old_connections, self.note)


WITHOUT_DAPHNE = """
import asyncio, sys

class NoDaphne:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "daphne" or name.startswith("channels.testing"):
            raise ImportError(f"{name} is not to be imported")

sys.meta_path.insert(0, NoDaphne())

from django.conf import settings
settings.configure()

from channels.generic.websocket import AsyncWebsocketConsumer
from django_daphne.testing import WebsocketCommunicator

class Echo(AsyncWebsocketConsumer):  # type: ignore[misc]  # it has no annotations
    async def receive(self, text_data=None, bytes_data=None):
        await self.send(text_data)

async def talk():
    visitor = WebsocketCommunicator(Echo.as_asgi(), "/")
    await visitor.connect()
    await visitor.send_to(text_data="hello")
    print(await visitor.receive_from())
    await visitor.disconnect()

asyncio.run(talk())
assert not any(name.split(".")[0] == "daphne" for name in sys.modules)
assert "channels.testing" not in sys.modules
"""


class DropInTests(SimpleTestCase):
    """The place of ``channels.testing``."""

    def test_without_daphne(self):
        """The developer tests a consumer where daphne is not installed, and nothing stands for it.

        The module that needs it is not imported either.
        """
        command = [sys.executable, "-W", "error", "-c", WITHOUT_DAPHNE]
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
        )
        self.assertEqual((done.returncode, done.stdout), (0, "hello\n"), done.stderr)
