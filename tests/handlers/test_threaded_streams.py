"""Streams: made in the lane, piece by piece, no faster than the client takes them."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import tempfile
import threading
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from asgiref.sync import async_to_sync
from django.core.handlers.asgi import ASGIHandler
from django.http import FileResponse, HttpRequest, HttpResponse, StreamingHttpResponse
from django.utils import translation

from django_daphne.handlers.hop import _WINDOW

from .support import Ear, Exchange, HandlerTestCase, ask, until

GZIP = "django.middleware.gzip.GZipMiddleware"


def in_lane(*parts: str) -> Iterator[str]:
    """Yield each part with the thread that makes it."""
    for part in parts:
        yield f"{part} {threading.get_ident()}"


class SyncStreamTests(HandlerTestCase):
    """Iterators of a sync view."""

    async def test_first_byte(self):
        """The generator has to wait: the client gets meanwhile what came before."""
        gate = self.make_gate()

        def parts() -> Iterator[str]:
            yield "one"
            gate.wait()
            yield "two"

        with warnings.catch_warnings(record=True, action="always") as caught:
            view = lambda request: StreamingHttpResponse(parts())  # noqa: E731
            exchange = await Exchange(self.handler(view)).begin()
            self.assertEqual(await exchange.part(), b"one")
            gate.open()
            self.assertEqual(await exchange.part(), b"two")
            await exchange.end()
        self.assertEqual(exchange.response.text, "onetwo")
        self.assertEqual([str(each.message) for each in caught], [])

    async def test_one_thread(self):
        """The view, all pieces of its stream and the end of that are in one lane."""
        threads: list[int] = []

        def parts() -> Iterator[str]:
            try:
                yield from in_lane("a", "b", "c")
            finally:
                threads.append(threading.get_ident())

        def view(request: HttpRequest) -> StreamingHttpResponse:
            threads.append(threading.get_ident())
            return StreamingHttpResponse(parts())

        response = await ask(self.handler(view))
        self.assertEqual(threads[0], threads[1])
        self.assertEqual(response.text, "".join(f"{each} {threads[0]}" for each in "abc"))

    async def test_stalled_client(self):
        """The client takes nothing for a while: the generator is never more ahead than allowed."""
        made: list[int] = []
        ahead: list[int] = []
        taken: list[int] = []
        full = asyncio.Event()

        def parts() -> Iterator[bytes]:
            for number in range(50):
                made.append(number)
                ahead.append(len(made) - len(taken))
                yield b"%d " % number

        async def take(message: dict[str, Any]) -> None:
            if message.get("more_body"):
                await full.wait()
                taken.append(len(taken))

        handler = self.handler(lambda request: StreamingHttpResponse(parts()))
        exchange = await Exchange(handler, on_send=take).begin()
        await until(lambda: len(made) > _WINDOW)
        full.set()
        await exchange.end()
        self.assertEqual(exchange.response.text.split(), [str(each) for each in range(50)])
        self.assertEqual(max(ahead), _WINDOW + 1)

    async def test_client_leaves(self):
        """The client leaves in the middle of a stream without end: that ends in its lane."""
        ended: list[int] = []
        ear = self.listen()

        def parts() -> Iterator[str]:
            try:
                while True:
                    yield f"{threading.get_ident()}"
            finally:
                ended.append(threading.get_ident())

        handler = self.handler(lambda request: StreamingHttpResponse(parts()))
        with self.assertLogs("django_daphne", "INFO"):
            exchange = await Exchange(handler).begin()
            lane = int(await exchange.part())
            await exchange.leave()
            await exchange.end()
        await ear.finished()
        await self.assert_idle()
        self.assertEqual(ended, [lane])
        self.assert_once(ear)
        self.assertTrue(exchange.sent[-1]["more_body"], "the body has an end")

    async def test_stalled_client_leaves(self):
        """The client takes nothing and then leaves: the generator does not wait for ever."""
        ended = threading.Event()
        ear = self.listen()
        release = asyncio.Event()

        def parts() -> Iterator[str]:
            try:
                while True:
                    yield "more"
            finally:
                ended.set()

        async def take(message: dict[str, Any]) -> None:
            if "body" in message:
                await release.wait()
                raise ConnectionResetError

        exchange = await Exchange(
            self.handler(lambda request: StreamingHttpResponse(parts())), on_send=take
        ).begin()
        await until(lambda: exchange.sent)
        with self.assertLogs("django_daphne", "INFO"):
            await exchange.leave()
            await ear.finished()
        self.assertTrue(ended.is_set())
        release.set()
        with suppress(ConnectionResetError):  # of a piece that was on its way
            await exchange.end()
        await self.assert_idle()
        self.assert_once(ear)

    async def test_pieces(self):
        """The view streams text, bytes, nothing, and more than goes into one message."""
        big = b"x" * 200_000
        view = lambda request: StreamingHttpResponse(iter(["é", b"", big, b"end"]))  # noqa: E731
        handler = self.handler(view)
        exchange = Exchange(handler)
        response = await exchange.answer()
        self.assertEqual(response.body, "é".encode() + big + b"end")
        sizes = [len(message.get("body", b"")) for message in exchange.sent[1:]]
        self.assertLessEqual(max(sizes), ASGIHandler.chunk_size)

    async def test_gzip(self):
        """A middleware wraps the stream: the client gets what it makes of it."""
        headers = [(b"host", b"testserver"), (b"accept-encoding", b"gzip")]
        handler = self.handler(
            lambda request: StreamingHttpResponse(iter(["one ", "two"])), middleware=[GZIP]
        )
        response = await ask(handler, headers=headers)
        self.assertEqual(gzip.decompress(response.body), b"one two")

    async def test_file(self):
        """The view sends a file: the client gets all of it, and the file is closed."""
        with tempfile.TemporaryDirectory() as folder:
            name = Path(folder, "report.txt")
            name.write_bytes(b"0123456789" * 30_000)
            files = []

            def view(request: HttpRequest) -> FileResponse:
                files.append(name.open("rb"))
                return FileResponse(files[0])

            exchange = Exchange(self.handler(view))
            response = await exchange.answer()
            self.assertEqual(response.body, name.read_bytes())
            self.assertIn((b"Content-Length", b"300000"), response.headers)
            self.assertTrue(files[0].closed)
            sizes = [len(message.get("body", b"")) for message in exchange.sent]
            self.assertEqual(max(sizes), ASGIHandler.chunk_size)

    async def test_empty(self):
        """The view streams nothing."""
        response = await ask(self.handler(lambda request: StreamingHttpResponse(iter([]))))
        self.assertEqual((response.status, response.body), (200, b""))

    async def test_large_page(self):
        """A page is larger than one message: it is cut as Django cuts it."""
        self.site(lambda request: HttpResponse(b"x" * 200_000))
        sizes = []
        for handler in (self.new_handler(), ASGIHandler()):
            exchange = Exchange(handler)
            await exchange.answer()
            sizes.append([len(message.get("body", b"")) for message in exchange.sent])
        self.assertEqual(sizes[0], sizes[1])
        self.assertGreater(len(sizes[0]), 2)


class AsyncStreamTests(HandlerTestCase):
    """Asynchronous iterators, returned by a sync view."""

    async def test_first_byte(self):
        """The iterator has to wait: the client gets meanwhile what came before."""
        opening = asyncio.Event()

        async def parts() -> AsyncIterator[str]:
            yield f"{id(asyncio.get_running_loop())}"
            await opening.wait()
            yield "two"

        with warnings.catch_warnings(record=True, action="always") as caught:
            handler = self.handler(lambda request: StreamingHttpResponse(parts()))
            exchange = await Exchange(handler).begin()
            self.assertEqual(int(await exchange.part()), id(asyncio.get_running_loop()))
            opening.set()
            await exchange.end()
        self.assertEqual([str(each.message) for each in caught], [])
        self.assertTrue(exchange.response.text.endswith("two"))

    async def test_client_leaves(self):
        """The client of a stream without end leaves: the iterator is closed at once."""

        async def busy() -> AsyncIterator[str]:
            for number in itertools.count():
                yield str(number)
                await asyncio.sleep(0)

        async def waiting() -> AsyncIterator[str]:
            yield "0"
            await asyncio.Event().wait()

        for parts in (busy, waiting):
            with self.subTest(parts), Ear() as ear:
                await self.leave_stream(parts)
                await ear.finished()
                # It may be closed in another lane: the first was given back for the time between.
                self.assertEqual(ear.names, ["started", "finished"])

    async def leave_stream(self, parts: Any) -> None:
        """Leave after the first piece, and see the iterator closed."""
        closed: list[bool] = []

        async def observed() -> AsyncIterator[str]:
            try:
                async for part in parts():
                    yield part
            finally:
                closed.append(True)

        exchange = await Exchange(self.handler(lambda _: StreamingHttpResponse(observed()))).begin()
        self.assertEqual(await exchange.part(), b"0")
        await exchange.leave()
        await exchange.end()
        self.assertEqual(closed, [True])
        await self.assert_idle()

    async def test_many_short_streams(self):
        """Iterators are at their end before the lane has put the request down: all is closed."""

        async def parts() -> AsyncIterator[str]:
            yield "short"

        ear = self.listen()
        handler = self.handler(lambda request: StreamingHttpResponse(parts()))
        # The second lane is there for whatever the first one leaves.
        await asyncio.gather(*(ask(handler) for _ in range(2)))
        for _ in range(100):
            self.assertEqual((await ask(handler)).text, "short")
        self.assertEqual(ear.names.count("finished"), 102)
        await self.assert_idle()

    async def test_closer(self):
        """What closes the response finds the language of the request, and the server's loop."""
        seen: list[object] = []

        async def parts() -> AsyncIterator[str]:
            yield "one"

        async def loop_number() -> int:
            return id(asyncio.get_running_loop())

        def view(request: HttpRequest) -> StreamingHttpResponse:
            translation.activate("de")
            response: Any = StreamingHttpResponse(parts())
            response._resource_closers.append(lambda: seen.append(translation.get_language()))
            response._resource_closers.append(lambda: seen.append(async_to_sync(loop_number)()))
            return response  # type: ignore[no-any-return]

        await ask(self.handler(view))
        self.assertEqual(seen, ["de", id(asyncio.get_running_loop())])
