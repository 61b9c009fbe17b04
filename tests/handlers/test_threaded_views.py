"""Views of every kind, and where Django looks for them: our answers are those of Django."""

from __future__ import annotations

import asyncio
import gc
import re
import threading
import warnings
from functools import partial
from typing import Any

from asgiref.sync import markcoroutinefunction
from django.conf.urls.i18n import i18n_patterns
from django.core.handlers.asgi import ASGIHandler
from django.http import Http404, HttpRequest, HttpResponse
from django.test import override_settings
from django.urls import include, path
from django.utils import translation
from django.utils.decorators import sync_and_async_middleware
from django.utils.deprecation import MiddlewareMixin
from django.views import View
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt

from .support import LANE, Ear, HandlerTestCase, Response, ask

# What tells one object of a page for developers from another.
ADDRESS = re.compile("0x[0-9a-f]+")
LOCALE = "django.middleware.locale.LocaleMiddleware"


def place() -> HttpResponse:
    """Answer with what runs here: a loop or a lane."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return HttpResponse("lane" if threading.current_thread().name == LANE else "thread")
    return HttpResponse("loop")


def sync_view(request: HttpRequest, greeting: str = "") -> HttpResponse:
    """Answer from a function."""
    return place()


async def async_view(request: HttpRequest, greeting: str = "") -> HttpResponse:
    """Answer from a coroutine function."""
    return place()


class SyncView(View):
    """A class with a method."""

    def get(self, request: HttpRequest) -> HttpResponse:
        return place()


class AsyncView(View):
    """A class with a coroutine method."""

    async def get(self, request: HttpRequest) -> HttpResponse:
        return place()


class Callable:
    """An object that is called like a function."""

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return place()


class AsyncCallable:
    """An object whose call is a coroutine, which Django cannot know."""

    async def __call__(self, request: HttpRequest) -> HttpResponse:
        return place()


class MarkedCallable(AsyncCallable):
    """An object that says that its call is a coroutine."""

    def __init__(self) -> None:
        markcoroutinefunction(self)


KINDS: dict[str, tuple[Any, str]] = {
    "function": (sync_view, "lane"),
    "partial": (partial(sync_view, greeting="hi"), "lane"),
    "csrf_exempt": (csrf_exempt(sync_view), "lane"),
    "never_cache": (never_cache(sync_view), "lane"),
    "class": (SyncView.as_view(), "lane"),
    "object": (Callable(), "lane"),
    "lambda": (lambda request: place(), "lane"),
    "async function": (async_view, "loop"),
    "async partial": (partial(async_view, greeting="hi"), "loop"),
    "async csrf_exempt": (csrf_exempt(async_view), "loop"),
    "async never_cache": (never_cache(async_view), "loop"),
    "async class": (AsyncView.as_view(), "loop"),
    "marked object": (MarkedCallable(), "loop"),
}


def forgetful_view(request: HttpRequest) -> Any:
    """Answer with a coroutine, where it should have been awaited."""
    return async_view(request)


class KindTests(HandlerTestCase):
    """Functions, classes and objects, synchronous or not."""

    async def assert_place(self, handler: Any, name: str, place: str, **more: Any) -> None:
        """Assert that a view runs on the loop or in a lane, and the rest of its request beside."""
        with Ear() as ear:
            response = await ask(handler, name, **more)
        self.assertEqual((response.status, response.text), (200, place))
        self.assertEqual(set(ear.places), {LANE})

    async def test_one_kind(self):
        """A project has views of one kind only."""
        for name, (view, place) in KINDS.items():
            with self.subTest(name):
                await self.assert_place(self.handler(view), "/", place)

    async def test_all_kinds(self):
        """A project has views of all kinds."""
        patterns = [path(name, view) for name, (view, _) in KINDS.items()]
        handler = self.handler(sync_view, path("below/", include(patterns)))
        for name, (_, place) in KINDS.items():
            with self.subTest(name):
                await self.assert_place(handler, f"/below/{name}", place)

    async def test_below_a_path(self):
        """The server mounts the project below a path: its views are found all the same."""
        handler = self.handler(sync_view, path("async", async_view))
        for where in ("/shop/async", "/async"):
            await self.assert_place(handler, where, "loop", root_path="/shop")
        await self.assert_place(handler, "/shop/", "lane", root_path="/shop")

    async def test_script_name(self):
        """The project says itself that it is below a path."""
        handler = self.handler(sync_view, path("async", async_view), FORCE_SCRIPT_NAME="/shop")
        await self.assert_place(handler, "/shop/async", "loop")
        await self.assert_place(handler, "/shop/", "lane")

    async def test_unknown_coroutines(self):
        """A view returns a coroutine that nobody expects: that is an error, as it always was."""
        with warnings.catch_warnings(action="ignore", category=RuntimeWarning):
            for view in (AsyncCallable(), forgetful_view):
                with self.subTest(view):
                    await self.assert_unawaited(self.handler(view))
            gc.collect()

    async def assert_unawaited(self, handler: Any) -> None:
        """Assert that the view at / fails for want of an await."""
        with self.assertLogs("django.request", "ERROR") as logs:
            response = await ask(handler)
        self.assertEqual(response.status, 500)
        self.assertIn("unawaited coroutine", logs.output[0])

    async def test_dual_middleware(self):
        """A function makes middleware for both sides: it gets a side at a time."""

        @sync_and_async_middleware
        def factory(get_response: Any) -> Any:
            if asyncio.iscoroutinefunction(get_response):

                async def middleware(request: HttpRequest) -> Any:
                    response = await get_response(request)
                    response["Side"] = "async"
                    return response

                return middleware

            def sync_middleware(request: HttpRequest) -> Any:
                response = get_response(request)
                response["Side"] = "sync"
                return response

            return sync_middleware

        handler = self.handler(sync_view, path("async", async_view), middleware=[factory])
        for name, side in (("/", b"sync"), ("/async", b"async")):
            self.assertIn((b"Side", side), (await ask(handler, name)).headers)


class AnswerTestCase(HandlerTestCase):
    """Tests that compare our answers with Django's."""

    async def assert_same(self, name: str, status: int, **more: Any) -> Response:
        """Return our answer, which has to have this status and to be that of Django."""
        ours = await ask(self.new_handler(), name, **more)
        stock = await ask(ASGIHandler(), name, **more)
        self.assertEqual((ours.status, stock.status), (status, status), (name, ours.text))
        self.assertEqual(ours.headers, stock.headers)
        self.assertEqual(ADDRESS.sub("", ours.text), ADDRESS.sub("", stock.text))
        return ours


class ResolvingTests(AnswerTestCase):
    """URLs that depend on more than the path."""

    async def test_languages(self):
        """The paths of a project have the language in them."""

        def view(request: HttpRequest) -> HttpResponse:
            return HttpResponse(f"{translation.get_language()} {request.path}")

        async def awaiting_view(request: HttpRequest) -> HttpResponse:
            return view(request)

        patterns = i18n_patterns(path("sync", view), path("async", awaiting_view))
        self.site(sync_view, *patterns, middleware=[LOCALE])
        for name in ("/de/sync", "/de/async", "/en/sync", "/en/async"):
            response = await self.assert_same(name, 200)
            self.assertEqual(response.text, f"{name[1:3]} {name}")
        response = await self.assert_same("/sync", 302)
        self.assertIn((b"Location", b"/en/sync"), response.headers)
        german = [(b"host", b"testserver"), (b"accept-language", b"de")]
        response = await self.assert_same("/async", 302, headers=german)
        self.assertIn((b"Location", b"/de/async"), response.headers)

    async def test_urls_of_a_request(self):
        """A middleware gives some requests other URLs, with an error page of their own."""

        def missing(request: HttpRequest, exception: Exception) -> HttpResponse:
            return HttpResponse("not in this shop", status=404)

        class Shop:
            handler404 = staticmethod(missing)
            urlpatterns = (path("sync", async_view), path("async", sync_view))

        class Switch(MiddlewareMixin):
            def process_request(self, request: Any) -> None:
                if request.GET:
                    request.urlconf = Shop

        self.site(place, path("sync", sync_view), path("async", async_view), middleware=[Switch])
        shop = b"shop=1"
        response = await self.assert_same("/nowhere", 404, query_string=shop)
        self.assertEqual(response.text, "not in this shop")
        for name, where in (("/sync", "loop"), ("/async", "lane")):
            with self.subTest(name):
                ours = await ask(self.new_handler(), name, query_string=shop)
                stock = await ask(ASGIHandler(), name, query_string=shop)
                self.assertEqual((ours.status, ours.text), (200, where))
                self.assertEqual(stock.text == "loop", where == "loop")


class DebugTests(AnswerTestCase):
    """Pages for developers."""

    def setUp(self) -> None:
        super().setUp()
        self.enterContext(override_settings(DEBUG=True))
        self.enterContext(self.assertLogs("django.request", "WARNING"))

    async def test_missing_page(self):
        """The developer asks for a page that is not there: the URLs are listed."""
        self.site(sync_view, path("shop/", async_view))
        response = await self.assert_same("/nowhere", 404)
        self.assertIn("shop/", response.text)

    async def test_missing_object(self):
        """The view finds nothing, sync or async: its name is shown."""

        def find_book(request: HttpRequest) -> HttpResponse:
            raise Http404("no such book")

        async def find_author(request: HttpRequest) -> HttpResponse:
            raise Http404("no such author")

        self.site(find_book, path("author", find_author))
        for name, view in (("/", "find_book"), ("/author", "find_author")):
            response = await self.assert_same(name, 404)
            self.assertIn(view, response.text)

    async def test_failing_view(self):
        """The view fails, sync or async: the developer sees where, with the local variables."""

        def find_book(request: HttpRequest) -> HttpResponse:
            shelf = "third from the left"
            raise LookupError(f"nothing in the {shelf}")

        async def find_author(request: HttpRequest) -> HttpResponse:
            return find_book(request)

        handler = self.handler(find_book, path("author", find_author))
        for name in ("/", "/author"):
            response = await ask(handler, name)
            self.assertEqual(response.status, 500)
            for text in ("LookupError", "nothing in the third", "shelf", "find_book"):
                self.assertIn(text, response.text)

    async def test_plain_traceback(self):
        """A script of the developer asks without wanting HTML."""

        def view(request: HttpRequest) -> HttpResponse:
            raise LookupError("no book")

        headers = [(b"host", b"testserver"), (b"accept", b"text/plain")]
        response = await ask(self.handler(view), headers=headers)
        self.assertIn((b"Content-Type", b"text/plain; charset=utf-8"), response.headers)
        self.assertIn("Exception Value: no book", response.text)
