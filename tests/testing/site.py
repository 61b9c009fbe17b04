"""A site for live servers: views and consumers of each kind, with the database."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.contrib.auth.models import User
from django.core.asgi import get_asgi_application
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.urls import path

SETTINGS = {"ROOT_URLCONF": __name__, "ASGI_APPLICATION": f"{__name__}.application"}


def greeting() -> str:
    """Return what a test replaces."""
    return "Hello"


def page(request: HttpRequest) -> HttpResponse:
    """Greet, and say whether the connection was secure."""
    return HttpResponse(f"{greeting()} by {request.scheme}")


def names(request: HttpRequest) -> HttpResponse:
    """Return the names of all users."""
    return HttpResponse(", ".join(User.objects.order_by("pk").values_list("username", flat=True)))


async def async_names(request: HttpRequest) -> HttpResponse:
    """Return the names of all users, asynchronously."""
    users = User.objects.order_by("pk").values_list("username", flat=True)
    return HttpResponse(", ".join([name async for name in users]))


def add(request: HttpRequest, name: str) -> HttpResponse:
    """Add a user."""
    User.objects.create(username=name)
    return HttpResponse(threading.current_thread().name)


def fail(request: HttpRequest) -> HttpResponse:
    """Raise."""
    raise RuntimeError("a view has failed")


def language(request: HttpRequest) -> HttpResponse:
    """Return what a middleware has left behind."""
    return HttpResponse(getattr(request, "mark", "nothing"))


def backend(request: HttpRequest) -> HttpResponse:
    """Return which connection a view has."""
    return HttpResponse(str(id(connection.connection)))


def marking(get_response: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Leave a mark on each request: a middleware."""

    def middleware(request: Any) -> Any:
        request.mark = "a mark"
        return get_response(request)

    return middleware


def count() -> int:
    """Return the number of users."""
    return User.objects.count()


class AsyncCounter(AsyncWebsocketConsumer):  # type: ignore[misc]
    """Answers each message with itself and the number of users."""

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Answer."""
        users = await database_sync_to_async(count)()
        await self.send(f"{text_data} {users} {self.scope['scheme']}")


class SyncCounter(WebsocketConsumer):  # type: ignore[misc]
    """The same in a thread."""

    def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Answer."""
        self.send(f"{text_data} {count()} {self.scope['scheme']}")


urlpatterns = [
    path("", page),
    path("names", names),
    path("async-names", async_names),
    path("add/<name>", add),
    path("fail", fail),
    path("mark", language),
    path("backend", backend),
]

application = ProtocolTypeRouter(
    {
        "http": get_asgi_application(),
        "websocket": URLRouter(
            [path("async", AsyncCounter.as_asgi()), path("sync", SyncCounter.as_asgi())]
        ),
    }
)
