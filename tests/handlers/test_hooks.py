"""Middleware that is nothing but hooks, and how it is told from the rest."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.middleware import AuthenticationMiddleware, RemoteUserMiddleware
from django.http import HttpResponse
from django.urls import path
from django.utils.deprecation import MiddlewareMixin
from django.utils.module_loading import import_string

from django_daphne.handlers.middleware import is_hooks_only
from tests import settings

from .support import HandlerTestCase, ask
from .ways import Passing, hello, hello_at_once


class HooksOnlyTests(HandlerTestCase):
    """What is nothing but hooks."""

    def test_django(self):
        """The project has Django's own middleware: nearly all of it is."""
        for name in (
            *settings.MIDDLEWARE,
            "django.middleware.cache.UpdateCacheMiddleware",
            "django.middleware.cache.FetchFromCacheMiddleware",
            "django.middleware.gzip.GZipMiddleware",
            "django.middleware.http.ConditionalGetMiddleware",
            "django.middleware.locale.LocaleMiddleware",
            "django.contrib.sites.middleware.CurrentSiteMiddleware",
        ):
            self.assertTrue(is_hooks_only(import_string(name)), name)
        self.assertFalse(is_hooks_only(RemoteUserMiddleware))

    def test_others(self):
        """A class does more: in a call of its own, or when it is asked for attributes."""

        class Own(MiddlewareMixin):
            def __call__(self, request: Any) -> Any:
                return super().__call__(request)

        class Awaited(MiddlewareMixin):
            async def __acall__(self, request: Any) -> Any:
                return await super().__acall__(request)

        class Dynamic(MiddlewareMixin):
            def __getattr__(self, name: str) -> Any:
                raise AttributeError(name)

        class Coroutine(MiddlewareMixin):
            async def process_request(self, request: Any) -> None:
                return None

        for cls in (Own, Awaited, Dynamic, Coroutine, type("Below", (Own,), {}), object):
            self.assertFalse(is_hooks_only(cls), cls)
        self.assertFalse(is_hooks_only(Passing(lambda request: HttpResponse())))
        self.assertTrue(is_hooks_only(type("Below", (AuthenticationMiddleware,), {})))

    async def test_hook_of_an_instance(self):
        """An instance gives itself a hook: that is called, by the one who knows of it."""

        class Changing(MiddlewareMixin):
            def __init__(self, get_response: Any) -> None:
                super().__init__(get_response)
                self.process_response = self.sign

            def sign(self, request: Any, response: Any) -> Any:
                response["Signed"] = "yes"
                return response

        handler = self.handler(
            hello, path("sync", hello_at_once), middleware=[Passing, Changing, Passing]
        )
        for name in ("/", "/sync"):
            self.assertIn((b"Signed", b"yes"), (await ask(handler, name)).headers)
