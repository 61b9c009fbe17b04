"""What a view in a lane finds around it, and which requests go there."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from functools import partial
from typing import Any

from asgiref.local import Local
from asgiref.sync import ThreadSensitiveContext, async_to_sync, sync_to_async
from channels.layers import InMemoryChannelLayer
from django.contrib.auth.models import Group
from django.core.handlers.asgi import ASGIRequest
from django.core.signals import request_started
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import TestCase
from django.urls import get_script_prefix, path, set_script_prefix
from django.utils import timezone, translation
from django.utils.decorators import async_only_middleware
from django.utils.deprecation import MiddlewareMixin

from django_daphne.handlers.threaded import ThreadedASGIHandler
from tests.support.server import PATIENCE

from .support import LANE, Exchange, HandlerTestCase, ask, ask_in_this_task, make_scope

user: ContextVar[str] = ContextVar("user", default="nobody")
local = Local()


def thread_view(request: HttpRequest) -> HttpResponse:
    """Answer with the name of the thread."""
    return HttpResponse(threading.current_thread().name)


def ident_view(request: HttpRequest) -> HttpResponse:
    """Answer with the number of the thread."""
    return HttpResponse(str(threading.get_ident()))


async def async_view(request: HttpRequest) -> HttpResponse:
    """Answer with the name of the loop's thread."""
    asyncio.get_running_loop()
    return HttpResponse(f"async, {threading.current_thread().name}")


class Greeter(MiddlewareMixin):
    """Sets a user and a language for what comes after it, and tells what it finds then."""

    def process_request(self, request: HttpRequest) -> None:
        user.set("ann")
        translation.activate("de")

    def process_response(self, request: HttpRequest, response: Any) -> Any:
        response["Seen"] = f"{user.get()} {translation.get_language()}"
        return response


class ContextTests(HandlerTestCase):
    """Context variables, languages and what else belongs to a request."""

    async def test_from_middleware(self):
        """The view and process_response see what process_request has set."""

        def view(request: HttpRequest) -> HttpResponse:
            return HttpResponse(f"{user.get()} {translation.get_language()}")

        response = await ask(self.handler(view, middleware=[Greeter]))
        self.assertEqual(response.text, "ann de")
        self.assertIn((b"Seen", b"ann de"), response.headers)

    async def test_in_a_stream(self):
        """The generator of a stream, asynchronous or not, sees what process_request has set."""

        def parts() -> Iterator[str]:
            yield user.get()
            yield translation.get_language() or ""

        async def async_parts() -> AsyncIterator[str]:
            for part in parts():
                yield part

        for stream in (parts, async_parts):
            with self.subTest(stream):
                view = partial(lambda stream, _: StreamingHttpResponse(stream()), stream)
                response = await ask(self.handler(view, middleware=[Greeter]))
                self.assertEqual(response.text, "annde")

    async def test_from_outside(self):
        """A wrapper of the application sets a variable and a Local: the view sees both."""
        handler = self.handler(lambda request: HttpResponse(f"{user.get()} {local.tenant}"))

        async def wrapper(scope: Any, receive: Any, send: Any) -> None:
            user.set("bob")
            local.tenant = "shop"
            await handler(scope, receive, send)

        self.assertEqual((await ask(wrapper)).text, "bob shop")

    async def test_to_outside(self):
        """The view sets a variable and a Local: a wrapper sees both when the application ends."""
        seen: list[str] = []

        def view(request: HttpRequest) -> HttpResponse:
            user.set("eve")
            local.tenant = "club"
            return HttpResponse()

        handler = self.handler(view)

        async def wrapper(scope: Any, receive: Any, send: Any) -> None:
            await handler(scope, receive, send)
            seen.extend([user.get(), local.tenant])

        await ask(wrapper)
        self.assertEqual(seen, ["eve", "club"])

    async def test_nothing_stays(self):
        """A view changes all that it can: the next request of the same lane sees none of it."""
        self.pool = self.make_pool(1)

        def change(request: HttpRequest) -> HttpResponse:
            user.set("eve")
            local.tenant = "club"
            translation.activate("de")
            timezone.activate("Asia/Tokyo")
            set_script_prefix("/elsewhere/")
            return ident_view(request)

        def look(request: HttpRequest) -> HttpResponse:
            found = [user.get(), getattr(local, "tenant", None), translation.get_language()]
            found += [timezone.get_current_timezone_name(), get_script_prefix()]
            return HttpResponse(f"{found} {threading.get_ident()}")

        handler = self.handler(change, path("look", look))
        before = await ask(handler, "/look")
        changed = await ask(handler)
        after = await ask(handler, "/look")
        self.assertEqual(after.text, before.text)
        self.assertIn(changed.text, after.text)
        self.assertIn("['nobody', None, 'en-us', 'America/Chicago', '/']", after.text)

    async def test_script_prefix(self):
        """The server mounts the project below a path."""

        def view(request: HttpRequest) -> HttpResponse:
            return HttpResponse(f"{get_script_prefix()} {request.path_info}")

        handler = self.handler(view)
        response = await ask(handler, "/shop/", root_path="/shop")
        self.assertEqual(response.text, "/shop/ /")

    async def test_wrapper_with_a_thread(self):
        """A wrapper does its sync work in a thread of its own: before the request and after it."""
        handler = self.handler(ident_view)
        threads: list[int] = []

        async def wrapper(scope: Any, receive: Any, send: Any) -> None:
            async with ThreadSensitiveContext():
                threads.append(await sync_to_async(threading.get_ident)())
                await handler(scope, receive, send)
                threads.append(await sync_to_async(threading.get_ident)())

        response = await ask(wrapper)
        self.assertEqual(threads[0], threads[1])
        self.assertNotIn(int(response.text), threads)


class NestedTests(HandlerTestCase):
    """Async code below a sync view."""

    async def test_main_loop(self):
        """The view awaits something: that runs on the server's loop."""

        async def loop_number() -> int:
            return id(asyncio.get_running_loop())

        handler = self.handler(lambda request: HttpResponse(str(async_to_sync(loop_number)())))
        self.assertEqual((await ask(handler)).text, str(id(asyncio.get_running_loop())))

    async def test_sync_code_below(self):
        """What the view awaits does sync work: that runs in the view's lane."""

        async def below() -> bool:
            return threading.get_ident() != await sync_to_async(threading.get_ident)() == own[0]

        own: list[int] = []

        def view(request: HttpRequest) -> HttpResponse:
            own.append(threading.get_ident())
            return HttpResponse(str(async_to_sync(below)()))

        self.assertEqual((await ask(self.handler(view))).text, "True")

    async def test_async_receiver(self):
        """An asynchronous receiver of request_started runs on the server's loop."""
        loops: list[asyncio.AbstractEventLoop] = []

        async def receiver(**values: object) -> None:
            loops.append(asyncio.get_running_loop())

        request_started.connect(receiver)
        self.addCleanup(request_started.disconnect, receiver)
        await ask(self.handler(thread_view))
        self.assertEqual(loops, [asyncio.get_running_loop()])

    async def test_channel_layer(self):
        """The view sends to a group, and a consumer on the loop gets it."""
        layer = InMemoryChannelLayer()
        channel = await layer.new_channel()
        await layer.group_add("room", channel)

        def view(request: HttpRequest) -> HttpResponse:
            async_to_sync(layer.group_send)("room", {"type": "news"})
            return HttpResponse()

        await ask(self.handler(view))
        async with asyncio.timeout(PATIENCE):
            self.assertEqual(await layer.receive(channel), {"type": "news"})

    async def test_loop_of_its_own(self):
        """The view runs a loop of its own, with sync work below it: that does not hang."""

        async def below() -> str:
            return await sync_to_async(lambda: "done")()

        handler = self.handler(lambda request: HttpResponse(asyncio.run(below())))
        self.assertEqual((await ask(handler)).text, "done")

    async def test_request_in_a_request(self):
        """A view asks the same application through async_to_sync, with a single lane for all."""
        self.pool = self.make_pool(1)

        def outer(request: HttpRequest) -> HttpResponse:
            response = async_to_sync(ask_in_this_task)(handler, "/inner")
            return HttpResponse(f"{response.text} {threading.get_ident()}")

        handler = self.handler(outer, path("inner", ident_view))
        inner, own = (await ask(handler)).text.split()
        self.assertEqual(inner, own)


class TransactionTests(HandlerTestCase, TestCase):
    """A test with a transaction calls the application."""

    async def test_same_thread(self):
        """The view runs in the thread of the test, and sees what that has not committed."""

        def view(request: HttpRequest) -> HttpResponse:
            names = [group.name for group in Group.objects.all()]
            return HttpResponse(f"{names} {threading.get_ident()}")

        handler = self.handler(view)
        await Group.objects.acreate(name="editors")
        response = await ask_in_this_task(handler)
        own = await sync_to_async(threading.get_ident)()
        self.assertEqual(response.text, f"['editors'] {own}")
        self.assertEqual(len(self.pool), 0)


class ChoiceTests(HandlerTestCase):
    """Which requests take a lane, and which go Django's own way."""

    def counter(self, *, is_async: bool = True) -> tuple[Any, list[object]]:
        """Return a middleware and the list of what has been made of it."""
        made: list[object] = []

        class Counter(MiddlewareMixin):
            async_capable = is_async

            def __init__(self, get_response: Any) -> None:
                super().__init__(get_response)
                made.append(self)

        return Counter, made

    async def test_made_once(self):
        """A project without async views starts: its middleware is made once."""
        counter, made = self.counter()
        handler = self.handler(thread_view, middleware=[counter])
        for _ in range(3):
            self.assertEqual((await ask(handler)).text, LANE)
        self.assertEqual((await ask(handler, "/nowhere")).status, 404)
        self.assertEqual(len(made), 1)

    async def test_made_once_for_both(self):
        """The project has views of both kinds, and hooks around them: one chain serves both."""
        counter, made = self.counter()
        handler = self.handler(thread_view, path("async", async_view), middleware=[counter])
        loop_thread = threading.current_thread().name
        for _ in range(2):
            self.assertEqual((await ask(handler)).text, LANE)
            self.assertEqual((await ask(handler, "/async")).text, f"async, {loop_thread}")
        self.assertEqual(len(made), 1)

    async def test_second_chain(self):
        """The first request of an async view, and not the project's start, makes another chain."""
        counter, made = self.counter()
        counter.__getattr__ = object.__getattribute__
        handler = self.handler(thread_view, path("async", async_view), middleware=[counter])
        self.assertEqual((await ask(handler)).text, LANE)
        self.assertEqual(len(made), 1)
        loop_thread = threading.current_thread().name
        for _ in range(2):
            self.assertEqual((await ask(handler, "/async")).text, f"async, {loop_thread}")
        self.assertEqual((await ask(handler)).text, LANE)
        self.assertEqual(len(made), 2)

    async def test_async_only(self):
        """The project has a middleware that can only be asynchronous: it is called on the loop."""

        @async_only_middleware
        def factory(get_response: Any) -> Any:
            async def middleware(request: HttpRequest) -> Any:
                response = await get_response(request)
                response["Loop"] = threading.current_thread().name
                return response

            return middleware

        handler = self.handler(thread_view, middleware=[factory])
        ear = self.listen()
        response = await ask(handler)
        self.assertEqual(response.text, LANE)
        self.assertIn((b"Loop", threading.current_thread().name.encode()), response.headers)
        self.assertEqual((ear.names, len(set(ear.threads))), (["started", "finished"], 1))
        await self.assert_idle()

    async def test_sync_only(self):
        """The project has a middleware that can only be synchronous, and an async view."""
        counter, _ = self.counter(is_async=False)
        handler = self.handler(thread_view, path("async", async_view), middleware=[counter])
        self.assertEqual((await ask(handler)).text, LANE)
        self.assertIn("async", (await ask(handler, "/async")).text)

    async def test_called_directly(self):
        """A tool calls get_response_async itself, or get_response."""
        handler = self.handler(thread_view)
        request = ASGIRequest(make_scope(), io.BytesIO())
        async with ThreadSensitiveContext():
            response: Any = await handler.get_response_async(request)
        self.assertNotEqual(response.content.decode(), LANE)
        response = handler.get_response(request)
        self.assertEqual(response.content.decode(), threading.current_thread().name)

    async def test_websocket(self):
        """A WebSocket comes to a handler that serves HTTP only."""
        handler: Any = self.handler(thread_view)
        with self.assertRaisesRegex(ValueError, "HTTP"):
            await Exchange(handler, type="websocket").end()
        self.assertIsInstance(handler, ThreadedASGIHandler)
