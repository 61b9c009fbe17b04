"""The database in lanes: how many connections, how long, and what is in a transaction."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
import threading
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest import mock

from django.db import connection, connections, transaction
from django.db.backends.signals import connection_created
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import path, register_converter
from django.urls.converters import StringConverter

from tests.support.server import PATIENCE

from .support import Exchange, Gate, HandlerTestCase, ask


def count_view(request: HttpRequest) -> HttpResponse:
    """Answer with the number of rows."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM visit")
        return HttpResponse(str(cursor.fetchone()[0]))


def write() -> None:
    """Add a row."""
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO visit VALUES (1)")


class Stored(StringConverter):
    """A part of a path that the database is asked for."""

    def to_python(self, value: str) -> str:
        with connection.cursor() as cursor:
            cursor.execute("SELECT %s", [value])
            found: str = cursor.fetchone()[0]
        return found


register_converter(Stored, "stored")


class DatabaseTestCase(HandlerTestCase):
    """A database in a file, and an eye on every connection that is made to it."""

    databases = "__all__"

    def setUp(self) -> None:
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.file = Path(folder.name, "site.sqlite3")
        with closing(sqlite3.connect(self.file)) as database:
            database.execute("CREATE TABLE visit (number INTEGER)")
        self.made: list[Any] = []
        self.threads: list[int] = []
        connection_created.connect(self.note)
        self.addCleanup(connection_created.disconnect, self.note)

    def use(self, **values: Any) -> None:
        """Use the file as the default database of new threads, with values of its settings."""
        settings = {**connections.settings["default"], "NAME": str(self.file), **values}
        self.enterContext(mock.patch.dict(connections.settings, {"default": settings}))
        # A test may have to wait for a lock, as long as its patience lasts.
        settings["OPTIONS"] = {**settings["OPTIONS"], "timeout": PATIENCE}

    def note(self, connection: Any, **values: object) -> None:
        """Take note of a new connection; receiver of connection_created."""
        self.made.append(connection)
        self.threads.append(threading.get_ident())

    @property
    def open(self) -> int:
        """Return how many of the connections are open."""
        return sum(each.connection is not None for each in self.made)

    def rows(self) -> int:
        """Return the number of rows that are there for everybody."""
        with closing(sqlite3.connect(self.file)) as database:
            found: int = database.execute("SELECT count(*) FROM visit").fetchone()[0]
        return found


class ConnectionTests(DatabaseTestCase):
    """CONN_MAX_AGE, and the end of lanes."""

    async def test_closed_at_once(self):
        """The project keeps no connections: each request has its own, closed at its end."""
        self.use(CONN_MAX_AGE=0)
        handler = self.handler(count_view)
        for number in range(1, 4):
            self.assertEqual((await ask(handler)).text, "0")
            self.assertEqual((len(self.made), self.open), (number, 0))

    async def test_kept(self):
        """The project keeps connections: one request after the other has the same."""
        self.use(CONN_MAX_AGE=60)
        handler = self.handler(count_view)
        for _ in range(5):
            self.assertEqual((await ask(handler)).text, "0")
            self.assertEqual((len(self.made), self.open), (1, 1))

    async def test_one_for_each_lane(self):
        """Many requests come at once: there are never more connections than lanes."""
        self.use(CONN_MAX_AGE=60)
        self.pool = self.make_pool(3)
        handler = self.handler(count_view)
        for _ in range(2):
            answers = await asyncio.gather(*(ask(handler) for _ in range(24)))
            self.assertEqual({answer.text for answer in answers}, {"0"})
        self.assertLessEqual(len(self.made), 3)
        self.assertEqual(len(set(self.threads)), len(self.made))

    async def test_end_of_the_lanes(self):
        """The pool is closed: each lane closes its own connection."""
        self.use(CONN_MAX_AGE=None)
        handler = self.handler(count_view)
        await asyncio.gather(*(ask(handler) for _ in range(8)))
        self.assertGreater(self.open, 0)
        # Another thread may not close them: Django raises an error for that.
        self.assertTrue(await asyncio.to_thread(self.pool.close, PATIENCE))
        self.assertEqual(self.open, 0)

    async def test_shutdown_with_a_busy_lane(self):
        """The server stops while a view uses its connection: that ends first, and is closed."""
        self.use(CONN_MAX_AGE=60)
        gate = self.make_gate()

        def view(request: HttpRequest) -> HttpResponse:
            count_view(request)
            gate.wait()
            return count_view(request)

        exchange = await Exchange(self.handler(view)).begin()
        await gate.reached()
        self.assertFalse(self.pool.close(0))
        self.assertEqual(self.open, 1)
        gate.open()
        await exchange.end()
        self.assertEqual(exchange.response.text, "0")
        self.assertTrue(await asyncio.to_thread(self.pool.close, PATIENCE))
        self.assertEqual(self.open, 0)

    async def test_stream(self):
        """The view asks the database, and then streams for long: nothing is kept open behind it."""
        self.use(CONN_MAX_AGE=0)

        async def parts() -> AsyncIterator[str]:
            yield "a stream"

        def view(request: HttpRequest) -> StreamingHttpResponse:
            count_view(request)
            return StreamingHttpResponse(parts())

        handler = self.handler(view)
        for number in range(1, 4):
            self.assertEqual((await ask(handler)).text, "a stream")
            await self.assert_idle()
            self.assertEqual((len(self.made), self.open), (number, 0))


class TransactionTests(DatabaseTestCase):
    """ATOMIC_REQUESTS and on_commit."""

    async def test_success(self):
        """The view writes and succeeds: its writing is there for all when the client hears."""
        self.use(ATOMIC_REQUESTS=True)

        def view(request: HttpRequest) -> HttpResponse:
            write()
            return HttpResponse(f"{connection.in_atomic_block} {self.rows()}")

        self.assertEqual((await ask(self.handler(view))).text, "True 0")
        self.assertEqual(self.rows(), 1)

    async def test_failure(self):
        """The view writes and fails: nothing is written."""
        self.use(ATOMIC_REQUESTS=True)

        def view(request: HttpRequest) -> HttpResponse:
            write()
            raise ValueError

        self.assertEqual((await ask(self.handler(view))).status, 500)
        self.assertEqual(self.rows(), 0)

    async def test_without(self):
        """The view that wants no transaction writes and fails: that is written."""
        self.use(ATOMIC_REQUESTS=True)

        @transaction.non_atomic_requests
        def view(request: HttpRequest) -> HttpResponse:
            write()
            raise ValueError

        self.assertEqual((await ask(self.handler(view))).status, 500)
        self.assertEqual(self.rows(), 1)

    async def test_async_view(self):
        """Views without await are in transactions; one with it cannot be, which is an error."""
        self.use(ATOMIC_REQUESTS=True)

        async def view(request: HttpRequest) -> HttpResponse:
            return HttpResponse("never")

        handler = self.handler(count_view, path("async", view))
        with self.assertLogs("django.request", "ERROR") as logs:
            self.assertEqual((await ask(handler, "/async")).status, 500)
        self.assertIn("ATOMIC_REQUESTS", logs.output[0])
        self.assertEqual((await ask(handler)).text, "0")

    async def test_on_commit(self):
        """The view has something done after its transaction: in the same thread, outside of it."""
        self.use(ATOMIC_REQUESTS=True)
        seen: list[object] = []

        def after() -> None:
            seen.extend([self.rows(), connection.in_atomic_block, threading.get_ident()])

        def view(request: HttpRequest) -> HttpResponse:
            write()
            transaction.on_commit(after)
            seen.append(threading.get_ident())
            return HttpResponse()

        await ask(self.handler(view))
        self.assertEqual(seen, [seen[0], 1, False, seen[0]])

    async def test_two_at_once(self):
        """Two requests have transactions at the same time: neither sees that of the other."""
        self.use(ATOMIC_REQUESTS=True)
        gate: Gate = self.make_gate()

        def view(request: HttpRequest) -> HttpResponse:
            write()
            gate.wait()
            return HttpResponse()

        handler = self.handler(view, path("count", count_view))
        exchange = await Exchange(handler).begin()
        await gate.reached()
        self.assertEqual((await ask(handler, "/count")).text, "0")
        gate.open()
        await exchange.end()
        self.assertEqual((await ask(handler, "/count")).text, "1")


class QueryTests(DatabaseTestCase):
    """Queries in other places than views."""

    async def test_cursor(self):
        """A stream goes through the rows of a cursor, which belongs to one thread."""
        self.use()

        def view(request: HttpRequest) -> StreamingHttpResponse:
            cursor = connection.cursor()
            cursor.execute("SELECT 1 UNION SELECT 2 UNION SELECT 3")
            return StreamingHttpResponse(str(row) for row in cursor)

        self.assertEqual((await ask(self.handler(view))).text, "(1,)(2,)(3,)")
        self.assertEqual(self.open, 0)

    async def test_converter(self):
        """A converter of a path asks the database."""
        self.use()

        def view(request: HttpRequest, name: str) -> HttpResponse:
            return HttpResponse(name)

        async def awaiting_view(request: HttpRequest, name: str) -> HttpResponse:
            return HttpResponse(name)

        handler = self.handler(view, path("sync/<stored:name>", view))
        self.assertEqual((await ask(handler, "/sync/ann")).text, "ann")
        handler = self.handler(
            view,
            path("sync/<stored:name>", view),
            path("async/<stored:name>", awaiting_view),
        )
        for name in ("/sync/ann", "/async/ann"):
            self.assertEqual((await ask(handler, name)).text, "ann")
