"""Django's test clients over our pipeline of hooks: they find what they find over Django's chain.

The clients look into requests and responses (templates, context, exceptions, sessions), which is
more than a client of the server can.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from functools import partial
from typing import Any
from unittest import mock

from asgiref.sync import async_to_sync, sync_to_async
from django.contrib import messages
from django.contrib.auth.models import AnonymousUser, User
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect
from django.test import AsyncClient, Client, TestCase, override_settings
from django.test.client import AsyncClientHandler, ClientHandler
from django.urls import path
from django.utils.deprecation import MiddlewareMixin
from django.views.decorators.csrf import csrf_exempt

from django_daphne.handlers.middleware import flatten
from django_daphne.handlers.views import Pending, Pipeline, call_view
from tests import settings

from .stack_views import template
from .support import named


class Pipes:
    """What both handlers of clients have: the pipeline in the place of the chain."""

    _middleware_chain: Any

    def load_middleware(self, is_async: bool = False) -> None:
        """Load it for synchronous use, which the pipeline is made of."""
        super().load_middleware()  # type: ignore[misc]
        run = flatten(self._middleware_chain)
        assert run is not None, "it is not hooks only"
        self.pipeline = Pipeline(run, partial(call_view, self))


class PipelineHandler(Pipes, ClientHandler):
    """Answers in the thread of the client."""

    def get_response(self, request: Any) -> Any:
        """Return the response, from the loop if need be."""
        response = self.pipeline.get_response(request)
        if type(response) is Pending:
            return response.complete(*async_to_sync(outcome)(response))
        return response


class AsyncPipelineHandler(Pipes, AsyncClientHandler):
    """Answers on the loop of the client, with sync code in a thread."""

    async def get_response_async(self, request: Any) -> Any:
        """Return the response: in one hop or two."""
        response = await sync_to_async(self.pipeline.get_response)(request)
        if type(response) is Pending:
            response = await sync_to_async(response.complete)(*await outcome(response))
        return response


async def outcome(pending: Pending) -> tuple[Any, Exception | None]:
    """Return what comes of an async view."""
    try:
        return await pending.call(), None
    except Exception as error:  # noqa: BLE001 - handed on
        return None, error


class PipelineClient(Client):
    """A client of the pipeline."""

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        self.handler = PipelineHandler(self.handler.enforce_csrf_checks)


class AsyncPipelineClient(AsyncClient):
    """An asynchronous client of the pipeline."""

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        self.handler = AsyncPipelineHandler(self.handler.enforce_csrf_checks)


# Views: each is there as it is, and below "async/" as a coroutine function.


def show_page(request: HttpRequest) -> HttpResponse:
    """Answer with a template."""
    values = {"name": request.GET.get("name", "nobody"), "path": request.path}
    return template(request, "{{ name }} at {{ path }} is {{ added }}", values)


def show_user(request: HttpRequest) -> HttpResponse:
    """Answer with the user, and count visits in the session."""
    request.session["visits"] = request.session.get("visits", 0) + 1
    user = request.user if not isinstance(request.user, AnonymousUser) else "nobody"
    return HttpResponse(f"{user} for the {request.session['visits']}. time")


def show_messages(request: HttpRequest) -> HttpResponse:
    """Answer with the messages for the user."""
    return HttpResponse("; ".join(map(str, messages.get_messages(request))))


def send_away(request: HttpRequest) -> HttpResponse:
    """Leave a message and send the client elsewhere."""
    messages.info(request, "you have been sent")
    return redirect("/messages/")


def take_form(request: HttpRequest) -> HttpResponse:
    """Answer with what a form has sent."""
    files: dict[str, Any] = {**request.FILES}
    sizes = {name: upload.size for name, (upload,) in files.items()}
    response = HttpResponse(f"{request.POST.dict()} {sizes} {request.method}")
    response.set_cookie("seen", "yes", httponly=True)
    return response


def miss(request: HttpRequest) -> HttpResponse:
    """Find nothing."""
    raise Http404("no such book")


def fail(request: HttpRequest) -> HttpResponse:
    """Fail."""
    raise LookupError("nothing there")


def fail_softly(request: HttpRequest) -> HttpResponse:
    """Fail in a way that a middleware knows."""
    raise KeyError("book")


def stream(request: HttpRequest) -> StreamingHttpResponse:
    """Answer piece by piece."""
    return StreamingHttpResponse(iter(["one", "two"]))


def send_file(request: HttpRequest) -> FileResponse:
    """Answer with this file."""
    return FileResponse(open(__file__, "rb"))  # noqa: PTH123


SYNC_VIEWS: dict[str, Any] = {
    "page/": show_page,
    "user/": show_user,
    "messages/": show_messages,
    "away/": send_away,
    "form/": take_form,
    "open-form/": csrf_exempt(take_form),
    "missing/": miss,
    "failing/": fail,
    "soft/": fail_softly,
    "stream/": stream,
    "file/": send_file,
}


def awaited(view: Any) -> Any:
    """Return a coroutine function that does what a view does."""

    async def async_view(request: HttpRequest) -> Any:
        await asyncio.sleep(0)
        return await sync_to_async(view)(request)

    async_view.csrf_exempt = getattr(view, "csrf_exempt", False)  # type: ignore[attr-defined]
    return async_view


class Urls:
    """The URLs of these tests."""

    urlpatterns = tuple(
        path(f"{prefix}{name}", awaited(view) if prefix else view)
        for prefix in ("", "async/")
        for name, view in SYNC_VIEWS.items()
    )


class Witness(MiddlewareMixin):
    """Has all hooks, and adds to what passes."""

    def process_view(self, request: Any, view: Any, *arguments: Any) -> None:
        request.view_name = getattr(view, "__name__", "")

    def process_template_response(self, request: Any, response: Any) -> Any:
        response.context_data["added"] = f"seen by {request.view_name}"
        return response

    def process_exception(self, request: Any, exception: Exception) -> HttpResponse | None:
        if isinstance(exception, KeyError):
            return HttpResponse(f"no {exception.args[0]}", status=410)
        return None

    def process_response(self, request: Any, response: Any) -> Any:
        response["Seen"] = str(getattr(request, "view_name", None))
        return response


# Method, path, what else the client gives.
REQUESTS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("get", "page/?name=ann", {}),
    ("head", "page/", {}),
    ("get", "page", {"follow": True}),
    ("get", "user/", {}),
    ("get", "user/", {}),
    ("get", "away/", {}),
    ("get", "away/", {"follow": True}),
    ("post", "form/", {"data": {"name": "ann"}}),
    ("post", "open-form/", {"data": {"name": "ann"}}),
    ("put", "open-form/", {"data": b"{}", "content_type": "application/json"}),
    ("options", "page/", {}),
    ("get", "missing/", {}),
    ("get", "nowhere/", {}),
    ("get", "failing/", {}),
    ("get", "soft/", {}),
    ("get", "stream/", {}),
    ("get", "file/", {}),
)


def read(response: Any) -> bytes:
    """Return the body of a response, which is closed then."""
    body = b"".join(response.streaming_content) if response.streaming else response.content
    response.close()
    return body


def what_is_kept(client: Any) -> tuple[Any, Any]:
    """Return the session of a client and the names of its cookies."""
    return dict(client.session), sorted(client.cookies)


class ClientTests(TestCase):
    """Each request gets the same from the pipeline and from Django's chain."""

    maxDiff = None

    def setUp(self) -> None:
        super().setUp()
        witness = self.enterContext(named(Witness))
        middleware = [*settings.MIDDLEWARE, witness]
        self.enterContext(override_settings(ROOT_URLCONF=Urls, MIDDLEWARE=middleware))
        # What is logged of errors is known.
        self.enterContext(mock.patch.object(logging.getLogger("django"), "level", logging.CRITICAL))
        self.user = User.objects.create_user("ann")

    def describe(self, response: Any, body: bytes) -> dict[str, Any]:
        """Return all that a client finds, as far as it is the same each time."""
        context = response.context
        return {
            "status": response.status_code,
            "headers": sorted(response.headers.items()),
            "cookies": sorted((each.key, each["httponly"]) for each in response.cookies.values()),
            "body": body,
            "templates": [each.name for each in response.templates],
            "context": None if context is None else (context.get("name"), context.get("added")),
            "redirects": getattr(response, "redirect_chain", None),
            "error": repr(response.exc_info and response.exc_info[1]),
            "path": response.wsgi_request.path if hasattr(response, "wsgi_request") else None,
        }

    def play(self, client: Any, prefix: str) -> list[Any]:
        """Return what a client finds for all requests, one after the other."""
        client.raise_request_exception = False
        client.force_login(self.user)
        found: list[Any] = []
        for method, where, values in REQUESTS:
            response = getattr(client, method)(f"/{prefix}{where}", **values)
            found.append((method, where, self.describe(response, read(response))))
        return [*found, what_is_kept(client)]

    async def play_async(self, client: Any, prefix: str) -> list[Any]:
        """Return the same for an asynchronous client."""
        client.raise_request_exception = False
        await client.aforce_login(self.user)
        found: list[Any] = []
        for method, where, values in REQUESTS:
            response = await getattr(client, method)(f"/{prefix}{where}", **values)
            body = await sync_to_async(read)(response)
            found.append((method, where, self.describe(response, body)))
        return [*found, await sync_to_async(what_is_kept)(client)]

    def test_client(self):
        """A client asks for sync views and for async ones."""
        for prefix in ("", "async/"):
            for checks in (False, True):
                with self.subTest(prefix, csrf=checks):
                    ours = self.play(PipelineClient(enforce_csrf_checks=checks), prefix)
                    stock = self.play(Client(enforce_csrf_checks=checks), prefix)
                    self.assertEqual(ours, stock)
                    statuses = {response["status"] for *_, response in ours[:-1]}
                    refused = {403} if checks else set()
                    self.assertEqual(statuses, {200, 302, 404, 410, 500} | refused)

    def test_raised(self):
        """A client wants to have the errors of views raised."""
        for where in ("/failing/", "/async/failing/"):
            with self.assertRaisesMessage(LookupError, "nothing there"):
                PipelineClient().get(where)

    def test_threads(self):
        """A client of an async view waits: sync code is in its thread, with its transaction."""
        threads: list[int] = []

        def note(request: HttpRequest) -> HttpResponse:
            threads.append(threading.get_ident())
            return HttpResponse(User.objects.get().username)

        urls = type("urls", (), {"urlpatterns": [path("", awaited(note)), path("sync", note)]})
        with override_settings(ROOT_URLCONF=urls):
            for name in ("/", "/sync"):
                self.assertEqual(PipelineClient().get(name).content, b"ann")
        self.assertEqual(threads, [threading.get_ident()] * 2)

    async def test_async_client(self):
        """An asynchronous client asks for sync views and for async ones."""
        for prefix in ("", "async/"):
            for checks in (False, True):
                with self.subTest(prefix, csrf=checks):
                    client, django = [
                        kind(enforce_csrf_checks=checks)
                        for kind in (AsyncPipelineClient, AsyncClient)
                    ]
                    ours = await self.play_async(client, prefix)
                    self.assertEqual(ours, await self.play_async(django, prefix))
