"""The system checks of how requests are run: middleware, threads and databases."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from unittest import mock

from django.conf import settings
from django.core.checks import CheckMessage, Info, Warning, run_checks
from django.db import connections
from django.http import HttpRequest, HttpResponse
from django.test import SimpleTestCase, override_settings
from django.urls import include
from django.urls import path as url
from django.utils.decorators import async_only_middleware, sync_and_async_middleware
from django.utils.deprecation import MiddlewareMixin
from django.views import View

from django_daphne import checks, conf
from tests.test_checks import set_environ


def sync_only(get_response: Any) -> Any:
    """Make a middleware that can only be synchronous."""
    return get_response


@async_only_middleware
def async_only(get_response: Any) -> Any:
    """Make a middleware that can only be asynchronous."""
    return get_response


@sync_and_async_middleware
def dual(get_response: Any) -> Any:
    """Make a middleware that can be both, and is more than hooks."""
    return get_response


class Hooks(MiddlewareMixin):
    """Nothing but hooks."""


def sync_view(request: HttpRequest) -> HttpResponse:
    """Answer."""
    return HttpResponse()


async def async_view(request: HttpRequest) -> HttpResponse:
    """Answer."""
    return HttpResponse()


class AsyncView(View):
    """Answers."""

    async def get(self, request: HttpRequest) -> HttpResponse:
        """Answer."""
        return HttpResponse()


class DjangoTestCase(SimpleTestCase):
    """Projects with middleware, views and databases of all kinds."""

    def setUp(self) -> None:
        super().setUp()
        self.enterContext(set_environ())
        # Another test may have run a command in this process.
        self.enterContext(mock.patch.object(conf, "_in_use", []))

    def site(self, *middleware: Any, views: Iterable[Any] = (async_view,)) -> list[str]:
        """Make a project for the test; return the names of its middleware."""
        names = [f"{__name__}.{each.__name__}" for each in middleware]
        patterns = [url("", view) for view in views]
        urls = type("urls", (), {"urlpatterns": patterns})
        self.enterContext(override_settings(ROOT_URLCONF=urls, MIDDLEWARE=names))
        return names

    def use_database(self, **values: Any) -> None:
        """Give the project one database with these settings."""
        database = {**connections.settings["default"], **values}
        self.enterContext(mock.patch.dict(connections.settings, {"default": database}))

    def assert_found(
        self, check: Callable[[], list[CheckMessage]], kind: type[CheckMessage], number: str
    ) -> CheckMessage:
        """Assert that a check finds one thing, with a hint, and return it."""
        (message,) = check()
        self.assertEqual(message.id, f"django_daphne.{number}")
        self.assertIs(type(message), kind)
        self.assertTrue(message.hint)
        return message


class StrategyTests(DjangoTestCase):
    """The developer reads which middleware is in the way of a faster way."""

    def test_each_kind(self):
        """The project has middleware that is more than hooks, of each kind."""
        for middleware, words in (
            (sync_only, ("only be synchronous", "async_capable")),
            (async_only, ("only be asynchronous", "sync_capable")),
            (dual, ("run of hooks", "MiddlewareMixin")),
        ):
            with self.subTest(middleware.__name__):
                names = self.site(Hooks, middleware)
                message = self.assert_found(checks.check_strategy, Info, "I001")
                self.assertIn(names[1], message.msg)
                self.assertNotIn(names[0], message.msg)
                self.assertIn(words[0], message.msg)
                self.assertIn(words[1], str(message.hint))

    def test_worst_first(self):
        """The project has several kinds: the one that costs most is named, with all of its kind."""
        names = self.site(dual, async_only, sync_only)
        message = self.assert_found(checks.check_strategy, Info, "I001")
        self.assertEqual([name in message.msg for name in names], [False, True, False])
        names = self.site(dual, sync_only, sync_only)
        message = self.assert_found(checks.check_strategy, Info, "I001")
        self.assertEqual(message.msg.count(names[1]), 2)

    def test_hooks(self):
        """The project has nothing but hooks, or nothing at all."""
        for middleware in ((), (Hooks, Hooks)):
            self.site(*middleware)
            self.assertEqual(checks.check_strategy(), [])

    def test_no_async_views(self):
        """The project has no async view: only middleware without a sync form is in the way."""
        for middleware in (sync_only, dual):
            self.site(middleware, views=[sync_view])
            self.assertEqual(checks.check_strategy(), [])
        self.site(async_only, views=[sync_view])
        self.assert_found(checks.check_strategy, Info, "I001")

    def test_hidden_async_views(self):
        """The project has one async view, far down, or a class of that kind."""
        deep = include([url("a/", include([url("b/", sync_view), url("c/", async_view)]))])
        for view in (deep, AsyncView.as_view()):
            self.site(dual, views=[sync_view, view])
            self.assert_found(checks.check_strategy, Info, "I001")

    def test_stock(self):
        """The project wants Django's own handler, which takes no such way."""
        self.site(dual, async_only)
        with override_settings(DAPHNE={"DJANGO_HANDLER": "stock"}):
            self.assertEqual(checks.check_strategy(), [])

    def test_mix(self):
        """The project has middleware without a sync form beside such without an async one."""
        names = self.site(sync_only, Hooks, async_only)
        message = self.assert_found(checks.check_middleware_mix, Warning, "W004")
        for name in (names[0], names[2]):
            self.assertIn(name, message.msg)
        self.assertNotIn(names[1], message.msg)
        for middleware in ((sync_only, dual), (async_only, dual), (Hooks,), ()):
            self.site(*middleware)
            self.assertEqual(checks.check_middleware_mix(), [])


class HalfAProjectTests(DjangoTestCase):
    """A project that is not complete: the checks of this app never stop a command."""

    def test_no_urls(self):
        """The project has no ROOT_URLCONF, as one without pages."""
        self.site(dual)
        with override_settings():
            del settings.ROOT_URLCONF
            self.assertEqual(run_checks(tags=["django_daphne"]), [])

    def test_broken_urls(self):
        """The project's URLs cannot be imported: Django says that, where it needs them."""
        self.site(dual)
        with override_settings(ROOT_URLCONF="tests.nowhere"):
            self.assertEqual(run_checks(tags=["django_daphne"]), [])

    def test_no_such_middleware(self):
        """The project names a middleware that is not there: the server says that."""
        self.site()
        with override_settings(MIDDLEWARE=["tests.nowhere.Middleware"]):
            self.assertEqual(run_checks(tags=["django_daphne"]), [])


class DatabaseTests(DjangoTestCase):
    """Settings of databases that do not go with how requests are run."""

    def test_persistent_connections(self):
        """The project keeps connections that Django's own handler never uses again."""
        for age in (60, None):
            self.use_database(CONN_MAX_AGE=age)
            with override_settings(DAPHNE={"DJANGO_HANDLER": "stock"}):
                message = self.assert_found(checks.check_persistent_connections, Warning, "W005")
            for part in ("DATABASES['default']", f"CONN_MAX_AGE = {age}"):
                self.assertIn(part, message.msg)
            for part in ("CONN_MAX_AGE", "DJANGO_HANDLER"):
                self.assertIn(part, str(message.hint))
            with override_settings(DAPHNE={"DJANGO_HANDLER": "threaded"}):
                self.assertEqual(checks.check_persistent_connections(), [])

    def test_no_persistent_connections(self):
        """The project keeps none, or has a pool."""
        for values in ({"CONN_MAX_AGE": 0}, {"CONN_MAX_AGE": 60, "OPTIONS": {"pool": True}}):
            self.use_database(**values)
            with override_settings(DAPHNE={"DJANGO_HANDLER": "stock"}):
                self.assertEqual(checks.check_persistent_connections(), [])

    def test_small_pool(self):
        """The project's pool has fewer connections than there may be threads."""
        cases: tuple[tuple[object, dict[str, int], str], ...] = (
            (True, {}, "256"),
            (True, {"THREADS": 2}, "8"),
            ({"max_size": 255}, {}, "256"),
            ({"min_size": 2}, {"THREADS": 1, "THREADS_TOTAL": 3}, "3"),
            ({"min_size": 2, "max_size": 9}, {"THREADS": 1, "THREADS_TOTAL": 10}, "10"),
        )
        for pool, daphne, total in cases:
            with self.subTest(pool=pool, **daphne), override_settings(DAPHNE=daphne):
                self.use_database(OPTIONS={"pool": pool})
                message = self.assert_found(checks.check_database_pools, Warning, "W006")
                for part in ("DATABASES['default']", f"THREADS_TOTAL is {total}"):
                    self.assertIn(part, message.msg)
                for part in ("max_size", "THREADS_TOTAL"):
                    self.assertIn(part, str(message.hint))

    def test_large_pool(self):
        """The project's pool has a connection for each thread, or there is none."""
        cases: tuple[tuple[object, dict[str, Any]], ...] = (
            ({"max_size": 256}, {}),
            (True, {"THREADS": 1}),
            ({"min_size": 3}, {"THREADS": 1, "THREADS_TOTAL": 3}),
            ({"max_size": None, "min_size": 8}, {"THREADS": 2}),
            (None, {}),
            (False, {}),
            (True, {"DJANGO_HANDLER": "stock"}),
        )
        for pool, daphne in cases:
            with self.subTest(pool=pool, **daphne), override_settings(DAPHNE=daphne):
                self.use_database(OPTIONS={"pool": pool})
                self.assertEqual(checks.check_database_pools(), [])

    def test_threads(self):
        """The project leaves no threads beside those of sync views."""
        for total, count in ((3, 1), (4, 1), (5, 0)):
            with override_settings(DAPHNE={"THREADS": 4, "THREADS_TOTAL": total}):
                found = checks.check_contradictions()
            self.assertEqual([message.id for message in found], count * ["django_daphne.E005"])
            for message in found:
                for part in ("THREADS_TOTAL", str(total), "THREADS", "4"):
                    self.assertIn(part, message.msg)

    def test_wrong_configuration(self):
        """The configuration is wrong: that is said once, by the check whose affair it is."""
        self.site(dual, async_only)
        self.use_database(CONN_MAX_AGE=60, OPTIONS={"pool": {"max_size": 1}})
        for daphne, number in (
            ({"THREADS": "many"}, "E004"),
            ({"DJANGO_HANDLER": "fast"}, "E004"),
            ({"THREADS": 0}, "E004"),
            ({"TREADS": 8}, "E003"),
            ({"THREADS": 8, "THREADS_TOTAL": 8}, "E005"),
            (["THREADS"], "E002"),
        ):
            with self.subTest(daphne), override_settings(DAPHNE=daphne):
                found = [message.id for message in run_checks(tags=["django_daphne"])]
                self.assertEqual(found, [f"django_daphne.{number}"])
