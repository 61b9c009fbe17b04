"""Loops that end while a lane waits for them."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import threading
from collections.abc import Iterator
from typing import Any
from unittest import mock

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse

from django_daphne.handlers import hop, lease
from tests.support.server import PATIENCE

from .support import HandlerTestCase, make_scope


class EndedLoopTests(HandlerTestCase):
    """The loop is closed with requests on it, and without a word to anybody."""

    def setUp(self) -> None:
        super().setUp()
        for module in (hop, lease):
            self.enterContext(mock.patch.object(module, "LOOK_AFTER_LOOP", 0.001))
        # asyncio complains of the tasks that are left, and is right.
        self.enterContext(mock.patch.object(logging.getLogger("asyncio"), "disabled", True))
        self.enterContext(mock.patch.object(sys, "unraisablehook", lambda raised: None))
        self.addCleanup(gc.collect)

    def run_until(self, reached: threading.Event, view: Any) -> None:
        """Run a request until an event, and close its loop in the middle of it."""
        ear = self.listen()
        handler = self.handler(view)
        loop = asyncio.new_event_loop()
        left: list[Any] = []
        body = [{"type": "http.request"}]

        async def receive() -> Any:
            return body.pop() if body else await asyncio.Event().wait()

        async def send(message: Any) -> None:
            await asyncio.Event().wait()

        async def scenario() -> None:
            left.append(asyncio.create_task(handler(make_scope(), receive, send)))
            await asyncio.to_thread(reached.wait, PATIENCE)

        loop.run_until_complete(scenario())
        loop.close()
        ear.wait()
        self.assertTrue(self.pool.close(PATIENCE), "a lane waits for ever")

    def test_awaiting_view(self):
        """An async view is awaited: its request is finished all the same."""
        reached = threading.Event()

        async def view(request: HttpRequest) -> HttpResponse:
            reached.set()
            await asyncio.Event().wait()
            return HttpResponse()

        self.run_until(reached, view)

    def test_stream(self):
        """A stream waits until the loop has sent what it has: its generator is closed."""
        reached, ended = threading.Event(), threading.Event()

        def parts() -> Iterator[bytes]:
            try:
                for number in range(1000):
                    yield b"part"
                    if number == 3:
                        reached.set()
            finally:
                ended.set()

        self.run_until(reached, lambda request: StreamingHttpResponse(parts()))
        self.assertTrue(ended.is_set())
