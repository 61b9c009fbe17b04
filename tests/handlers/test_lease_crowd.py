"""Streams of a whole project on few lanes, and what a client leaves behind that goes."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from typing import Any

from asgiref.sync import sync_to_async
from django.db import transaction
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import path

from .support import Exchange, ask, until
from .test_lease import in_thread
from .test_lease_borrowed import BorrowingTestCase, count, visits
from .test_threaded_database import count_view, write


class CrowdTests(BorrowingTestCase):
    """Many streams on few lanes."""

    def setUp(self) -> None:
        super().setUp()
        self.make_few(4)

    async def test_streams(self):
        """Two hundred clients have a stream each, which asks the database now and then.

        There are four lanes, no stream has one while nothing is asked, and views go on.
        """
        crowd, rounds = 200, 3
        self.use(CONN_MAX_AGE=60)
        turns = [asyncio.Event() for _ in range(rounds)]

        async def parts() -> AsyncIterator[str]:
            for turn in turns:
                await turn.wait()
                yield f"{await sync_to_async(count)()} "

        async def view(request: HttpRequest) -> StreamingHttpResponse:
            return StreamingHttpResponse(parts())

        handler = self.handler(count_view, path("stream", view))
        ear = self.listen()
        exchanges = [await Exchange(handler, "/stream").begin() for _ in range(crowd)]
        for number, turn in enumerate(turns):
            await until(lambda: all(exchange.sent for exchange in exchanges))
            await self.assert_idle()
            self.assertEqual((await ask(handler)).text, str(number))
            turn.set()
            pieces = await asyncio.gather(*(exchange.part() for exchange in exchanges))
            self.assertEqual(set(pieces), {b"%d " % number})
            self.add_row()
        await asyncio.gather(*(exchange.end() for exchange in exchanges))
        self.assertEqual({exchange.response.text for exchange in exchanges}, {"0 1 2 "})
        await ear.finished(crowd + rounds)
        self.assertEqual(ear.names.count("finished"), crowd + rounds)
        await self.assert_idle()
        self.assertLessEqual(len(self.pool), 5)

    def add_row(self) -> None:
        """Add a row from outside."""
        with closing(sqlite3.connect(self.file)) as database, database:
            database.execute("INSERT INTO visit VALUES (1)")

    async def test_transactions(self):
        """Streams have a transaction each while they wait: as many as lanes, and then the next."""
        self.use()
        go_on = asyncio.Event()

        async def parts() -> AsyncIterator[str]:
            atomic = transaction.atomic()
            await sync_to_async(atomic.__enter__)()
            before = await in_thread()
            yield "begun "
            await go_on.wait()
            same = before == await in_thread()
            await sync_to_async(atomic.__exit__)(None, None, None)
            yield f"{same}"

        handler = self.handler(lambda request: StreamingHttpResponse(parts()))
        exchanges = [await Exchange(handler).begin() for _ in range(12)]
        await until(lambda: sum(len(exchange.sent) > 1 for exchange in exchanges) == 4)
        self.assertEqual(self.pool.busy, 4)
        go_on.set()
        await asyncio.gather(*(exchange.end() for exchange in exchanges))
        self.assertEqual({exchange.response.text for exchange in exchanges}, {"begun True"})
        await self.assert_idle()

    async def test_cursors(self):
        """Streams go through the rows of a cursor each: it is used in the thread that made it."""
        self.use(CONN_MAX_AGE=0)
        for _ in range(6):
            self.add_row()
        go_on = asyncio.Event()

        async def parts() -> AsyncIterator[str]:
            cursor = await sync_to_async(visits)()
            while row := await sync_to_async(cursor.fetchone)():
                yield str(row[0])
                await go_on.wait()

        handler = self.handler(lambda request: StreamingHttpResponse(parts()))
        exchanges = [await Exchange(handler).begin() for _ in range(8)]
        await until(lambda: sum(len(exchange.sent) > 1 for exchange in exchanges) == 4)
        go_on.set()
        await asyncio.gather(*(exchange.end() for exchange in exchanges))
        self.assertEqual({exchange.response.text for exchange in exchanges}, {"111111"})
        await self.assert_idle()
        self.assertEqual(self.open, 0)


class LeftTransactionTests(BorrowingTestCase):
    """A client leaves while a transaction is open, and the project has nothing that would end it.

    Django's own handler ends the request's thread. A lane lives on: it has to begin anew.
    """

    async def assert_serves(self, handler: Any, begun: Exchange) -> None:
        """Assert that the lanes work as ever when the client of a request has left."""
        await begun.leave()
        await begun.end()
        await self.assert_idle()
        for number, name in enumerate(("async", "sync", "async", "sync"), 1):
            response = await ask(handler, f"/{name}")
            self.assertEqual(response.status, 200)
            self.assertEqual(self.rows(), number)

    def open_site(self, view: Any) -> Any:
        """Return a handler with a view, others that write, and a single lane of each kind."""
        self.use(CONN_MAX_AGE=60)
        self.make_few(1)

        def write_view(request: HttpRequest) -> HttpResponse:
            write()
            return HttpResponse()

        async def async_write_view(request: HttpRequest) -> HttpResponse:
            await sync_to_async(write)()
            return HttpResponse()

        return self.handler(view, path("sync", write_view), path("async", async_write_view))

    async def test_async_view(self):
        """The client of an async view leaves."""
        waiting = asyncio.Event()

        async def view(request: HttpRequest) -> HttpResponse:
            await sync_to_async(transaction.atomic().__enter__)()
            await sync_to_async(write)()
            waiting.set()
            await asyncio.Event().wait()
            return HttpResponse("never")

        handler = self.open_site(view)
        exchange = await Exchange(handler).begin()
        await waiting.wait()
        await self.assert_serves(handler, exchange)

    async def test_stream(self):
        """The client of an async stream leaves."""

        async def parts() -> AsyncIterator[str]:
            await sync_to_async(transaction.atomic().__enter__)()
            await sync_to_async(write)()
            yield "begun"
            await asyncio.Event().wait()

        handler = self.open_site(lambda request: StreamingHttpResponse(parts()))
        exchange = await Exchange(handler).begin()
        self.assertEqual(await exchange.part(), b"begun")
        await self.assert_serves(handler, exchange)
