"""Channels' synchronous consumers: a lane for each connection, beside those of requests."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections import Counter
from functools import partial
from typing import Any
from unittest import mock

from asgiref.sync import sync_to_async
from asgiref.testing import ApplicationCommunicator
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpRequest, HttpResponse
from django.test import override_settings
from django.urls import path

from django_daphne import conf
from django_daphne.handlers import prepare
from django_daphne.handlers.consumers import ConsumerLanes
from django_daphne.handlers.lease import sensitive
from tests.support.server import PATIENCE

from .support import LANE, Gate, HandlerTestCase, ask, until
from .test_threaded_database import DatabaseTestCase, count_view


class Chat(WebsocketConsumer):  # type: ignore[misc]  # it has no annotations
    """Waits at a gate of the test when it gets its name; answers with all it got, and threads."""

    gates: dict[str, Gate] = {}  # noqa: RUF012 - the test's

    def connect(self) -> None:
        """Accept."""
        self.threads = [threading.get_ident()]
        self.seen: list[str] = []
        self.accept()

    def receive(self, text_data: str = "", bytes_data: bytes | None = None) -> None:
        """Answer."""
        self.threads.append(threading.get_ident())
        self.seen.append(text_data)
        if text_data in self.gates:
            self.gates[text_data].wait()
        if text_data == "count":
            self.seen.append(count_view(HttpRequest()).content.decode())
        self.send(json.dumps([self.seen, sorted(set(self.threads))]))


class AsyncChat(AsyncWebsocketConsumer):  # type: ignore[misc]  # the same
    """Answers with the thread of the loop and those of sync code; may leave a task behind."""

    left: list[asyncio.Task[int]] = []  # noqa: RUF012 - the test's
    go_on: asyncio.Event

    async def receive(self, text_data: str = "", bytes_data: bytes | None = None) -> None:
        """Answer."""
        if text_data == "leave":
            self.left.append(asyncio.create_task(self.later()))
        count = 2 if text_data == "sync" else 0
        below = [await sync_to_async(threading.get_ident)() for _ in range(count)]
        await self.send(json.dumps([threading.get_ident(), *below]))

    async def later(self) -> int:
        """Do sync work when the consumer has gone."""
        await self.go_on.wait()
        number: int = await sync_to_async(threading.get_ident)()
        return number


ROUTES = URLRouter([path("chat", Chat.as_asgi()), path("async", AsyncChat.as_asgi())])


class Client:
    """A WebSocket to an application in the same process."""

    def __init__(self, application: Any, path: str) -> None:
        scope = {"type": "websocket", "path": path, "headers": [], "subprotocols": []}
        self._communicator = ApplicationCommunicator(application, scope)

    async def connect(self) -> Any:
        """Open the connection and return the answer to that."""
        await self._communicator.send_input({"type": "websocket.connect"})
        return await self._communicator.receive_output(PATIENCE)

    async def send(self, text: str) -> None:
        """Send a text."""
        await self._communicator.send_input({"type": "websocket.receive", "text": text})

    async def receive(self) -> Any:
        """Return what comes next, from JSON."""
        message = await self._communicator.receive_output(PATIENCE)
        return json.loads(message["text"])

    async def receives_nothing(self) -> bool:
        """Tell whether nothing has come yet."""
        nothing: bool = await self._communicator.receive_nothing(0.01)
        return nothing

    async def leave(self) -> None:
        """Close the connection, and wait for the end of the application."""
        await self._communicator.send_input({"type": "websocket.disconnect", "code": 1000})
        await self._communicator.wait(PATIENCE)


class ConsumerTestCase(HandlerTestCase):
    """Clients of consumers in the same process."""

    async def connect(self, application: Any, name: str = "/chat") -> Client:
        """Return a client that was accepted."""
        client = Client(application, name)
        self.assertEqual((await client.connect())["type"], "websocket.accept")
        return client

    async def say(self, client: Client, text: str) -> Any:
        """Send a text and return the answer."""
        await client.send(text)
        return await client.receive()

    async def leave(self, *clients: Client) -> None:
        """Let clients close their connections."""
        for client in clients:
            await client.leave()

    def gates(self, *names: str) -> dict[str, Gate]:
        """Make consumers wait at gates, until the end of the test at the latest."""
        made = {name: self.make_gate() for name in names}
        self.enterContext(mock.patch.object(Chat, "gates", made))
        return made


class ThreadTests(ConsumerTestCase):
    """Which connection has which thread."""

    async def test_side_by_side(self):
        """Two consumers wait for something, and a third one does not: none stops another."""
        application = ConsumerLanes(ROUTES, 3, PATIENCE)
        clients = [await self.connect(application) for _ in range(3)]
        gates = self.gates("a", "b")
        for client, name in zip(clients, gates, strict=False):
            await client.send(name)
            await gates[name].reached()
        self.assertEqual((await self.say(clients[2], "c"))[0], ["c"])
        threads = [gate.thread for gate in gates.values()]
        self.assertEqual([thread.name for thread in threads if thread], [LANE, LANE])
        self.assertEqual(len(set(threads)), 2)
        for client, (name, gate) in zip(clients, gates.items(), strict=False):
            gate.open()
            self.assertEqual((await client.receive())[0], [name])
        await self.leave(*clients)

    async def test_order(self):
        """A client sends many messages at once: they are answered in order, in one thread."""
        application = ConsumerLanes(ROUTES, 4, PATIENCE)
        clients = [await self.connect(application) for _ in range(3)]
        texts = [str(number) for number in range(100)]
        for text in texts:
            for client in clients:
                await client.send(text)
        for number in range(1, 101):
            for client in clients:
                seen, threads = await client.receive()
                self.assertEqual((seen, len(threads)), (texts[:number], 1))
        await self.leave(*clients)

    async def test_one_thread(self):
        """Connections talk by turns, few or as many as there are lanes: each stays where it is."""
        for count in (1, 5, 8):
            with self.subTest(count):
                application = ConsumerLanes(ROUTES, 8, PATIENCE)
                clients = [await self.connect(application) for _ in range(count)]
                for _ in range(5):
                    talking = (self.say(client, "x") for client in clients)
                    answers = await asyncio.gather(*talking)
                threads = [threads for _, threads in answers]
                self.assertEqual({len(each) for each in threads}, {1})
                self.assertEqual(len({each[0] for each in threads}), count)
                await self.leave(*clients)

    async def test_more_than_lanes(self):
        """There are more connections than lanes: they share, as evenly as can be."""
        application = ConsumerLanes(ROUTES, 3, PATIENCE)
        clients = [await self.connect(application) for _ in range(12)]
        for _ in range(3):
            answers = await asyncio.gather(*(self.say(client, "x") for client in clients))
        self.assertEqual({len(threads) for _, threads in answers}, {1})
        shares = Counter(threads[0] for _, threads in answers)
        self.assertEqual(sorted(shares.values()), [4, 4, 4])
        # Two of one lane leave; the next two come where there is room.
        thread = answers[0][1]
        mates = [client for client, each in zip(clients, answers, strict=True) if each[1] == thread]
        await self.leave(*mates[:2])
        clients = [client for client in clients if client not in mates[:2]]
        clients += [await self.connect(application) for _ in range(2)]
        answers = await asyncio.gather(*(self.say(client, "x") for client in clients))
        shares = Counter(threads[0] for _, threads in answers)
        self.assertEqual(sorted(shares.values()), [4, 4, 4])
        await self.leave(*clients)

    async def test_lane_mates(self):
        """A consumer waits: who shares its lane waits, too, and all others go on."""
        application = ConsumerLanes(ROUTES, 2, PATIENCE)
        clients = [await self.connect(application) for _ in range(4)]
        gate = self.gates("wait")["wait"]
        await clients[0].send("wait")
        await gate.reached()
        for client in clients[1:]:
            await client.send("x")
        for client in (clients[1], clients[3]):
            self.assertEqual((await client.receive())[0], ["x"])
        self.assertTrue(await clients[2].receives_nothing())
        gate.open()
        self.assertEqual((await clients[2].receive())[0], ["x"])
        self.assertEqual((await clients[0].receive())[0], ["wait"])
        await self.leave(*clients)

    async def test_idle(self):
        """Nobody talks for a while, and all threads end: the connection is served on."""
        application = ConsumerLanes(ROUTES, 2, 0.001)
        client = await self.connect(application)
        for number in range(1, 4):
            thread = (await self.say(client, "x"))[1][-1]
            await until(partial(self.has_ended, thread))
            self.assertEqual(len((await self.say(client, "y"))[0]), 2 * number)
        await self.leave(client)

    def has_ended(self, thread: int) -> bool:
        """Tell whether no thread has this number."""
        return thread not in {each.ident for each in threading.enumerate()}

    async def test_client_leaves(self):
        """The client of a busy consumer leaves: the next one has its lane when that is free."""
        application = ConsumerLanes(ROUTES, 1, PATIENCE)
        client = await self.connect(application)
        gate = self.gates("wait")["wait"]
        await client.send("wait")
        await gate.reached()
        leaving = asyncio.create_task(self.leave(client))
        gate.open()
        await leaving
        other = await self.connect(application)
        self.assertEqual((await self.say(other, "x"))[0], ["x"])
        await self.leave(other)


class OtherTests(ConsumerTestCase):
    """Who is no synchronous consumer."""

    async def test_async_consumer(self):
        """A sync consumer waits: an async one, with another lane, answers on the loop."""
        application = ConsumerLanes(ROUTES, 2, PATIENCE)
        busy = await self.connect(application)
        gate = self.gates("wait")["wait"]
        await busy.send("wait")
        await gate.reached()
        client = await self.connect(application, "/async")
        self.assertEqual(await self.say(client, "hello"), [threading.get_ident()])
        gate.open()
        await busy.receive()
        await self.leave(client, busy)

    async def test_sync_code_of_an_async_consumer(self):
        """An async consumer calls sync code: that has one thread, which is not the loop's."""
        application = ConsumerLanes(ROUTES, 4, PATIENCE)
        client = await self.connect(application, "/async")
        loop, first, second = await self.say(client, "sync")
        self.assertEqual((loop, first), (threading.get_ident(), second))
        self.assertNotEqual(loop, first)
        self.assertEqual(await self.say(client, "sync"), [loop, first, first])
        await self.leave(client)

    async def test_task_left_behind(self):
        """A consumer leaves a task behind: it can call sync code when the connection has gone."""
        go_on = asyncio.Event()
        self.enterContext(mock.patch.object(AsyncChat, "go_on", go_on, create=True))
        self.enterContext(mock.patch.object(AsyncChat, "left", []))
        client = await self.connect(ConsumerLanes(ROUTES, 1, PATIENCE), "/async")
        await self.say(client, "leave")
        await self.leave(client)
        go_on.set()
        async with asyncio.timeout(PATIENCE):
            self.assertNotEqual(await AsyncChat.left[0], threading.get_ident())

    async def test_http(self):
        """A request comes by: nothing is put around it, and it takes no lane of consumers."""
        seen: list[object] = []
        handler = self.handler(lambda request: HttpResponse(threading.current_thread().name))

        async def http(scope: Any, receive: Any, send: Any) -> None:
            seen.append(sensitive.get(None))
            await handler(scope, receive, send)

        application = ConsumerLanes(
            ProtocolTypeRouter({"http": http, "websocket": ROUTES}), 1, PATIENCE
        )
        client = await self.connect(application)
        gate = self.gates("wait")["wait"]
        await client.send("wait")
        await gate.reached()
        self.assertEqual((await ask(application)).text, LANE)
        self.assertEqual(seen, [None])
        gate.open()
        await client.receive()
        await self.leave(client)

    async def test_context(self):
        """The application fails, or ends: what it ran in is put back, and its place is free."""
        seen: list[object] = []

        async def failing(scope: Any, receive: Any, send: Any) -> None:
            seen.append(sensitive.get(None))
            raise ValueError

        application = ConsumerLanes(failing, 1, PATIENCE)
        before = sensitive.get(None)
        for _ in range(2):
            with self.assertRaises(ValueError):
                await application({"type": "websocket"}, None, None)
            self.assertIs(sensitive.get(None), before)
        self.assertEqual(len(set(map(id, seen))), 2)


class ConnectionTests(ConsumerTestCase, DatabaseTestCase):
    """Database connections of consumers."""

    async def test_closed_when_idle(self):
        """A consumer asks the database, and then is quiet for long: nothing is kept open."""
        self.use(CONN_MAX_AGE=60)
        client = await self.connect(ConsumerLanes(ROUTES, 2, 0.01))
        for _ in range(2):
            seen, _ = await self.say(client, "count")
            self.assertEqual(seen[-2:], ["count", "0"])
            await until(lambda: not self.open)
        await self.leave(client)

    async def test_kept_meanwhile(self):
        """A consumer asks the database often: it has one connection for all."""
        self.use(CONN_MAX_AGE=60)
        client = await self.connect(ConsumerLanes(ROUTES, 2, PATIENCE))
        for _ in range(5):
            await self.say(client, "count")
        self.assertEqual((len(self.made), self.open), (1, 1))
        await self.leave(client)

    async def test_not_kept(self):
        """The project keeps no connections: each message has its own."""
        self.use(CONN_MAX_AGE=0)
        client = await self.connect(ConsumerLanes(ROUTES, 2, PATIENCE))
        for number in range(1, 4):
            await self.say(client, "count")
            await until(lambda: not self.open)
            self.assertEqual(len(self.made), number)
        await self.leave(client)


class ChoiceTests(ConsumerTestCase):
    """Whose consumers get lanes."""

    def setUp(self) -> None:
        super().setUp()
        # Another test may have run a command in this process.
        self.enterContext(mock.patch.object(conf, "_in_use", []))

    async def test_settings(self):
        """The project says how many threads its consumers have."""
        with override_settings(DAPHNE={"DJANGO_HANDLER": "threaded", "CONSUMER_THREADS": 2}):
            application = prepare(ROUTES)
        self.assertIsInstance(application, ConsumerLanes)
        clients = [await self.connect(application) for _ in range(6)]
        answers = await asyncio.gather(*(self.say(client, "x") for client in clients))
        self.assertEqual(len({threads[0] for _, threads in answers}), 2)
        await self.leave(*clients)

    def test_stock(self):
        """The project wants Django's own handler: its consumers are as they were."""
        with override_settings(DAPHNE={"DJANGO_HANDLER": "stock"}):
            self.assertIs(prepare(ROUTES), ROUTES)

    def test_without_channels(self):
        """The project does not use Channels, or the application is Django's alone."""
        with override_settings(DAPHNE={"DJANGO_HANDLER": "threaded"}):
            handler = ASGIHandler()
            self.assertIs(prepare(handler), handler)
            with mock.patch.dict(sys.modules):
                del sys.modules["channels.consumer"]
                self.assertIs(prepare(ROUTES), ROUTES)
