"""The signals around the life of a server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from django.dispatch import Signal
from django.test import SimpleTestCase, tag

from django_daphne.server import LifespanFailure, Server
from django_daphne.signals import (
    send_started,
    send_stopping,
    server_started,
    server_stopping,
)
from tests.support.server import serve


@contextmanager
def connected(signal: Signal, *receivers: Any) -> Iterator[None]:
    """Connect receivers to a signal while the block runs."""
    for receiver in receivers:
        signal.connect(receiver)
    try:
        yield
    finally:
        for receiver in receivers:
            signal.disconnect(receiver)


@tag("loop")
class SignalTests(SimpleTestCase):
    """The receivers are called around everything else that a server does."""

    def setUp(self):
        super().setUp()
        self.events: list[str] = []

    async def application(self, scope, receive, send):
        """Note the request and what the lifespan says."""
        if scope["type"] == "lifespan":
            for _ in range(2):
                kind = (await receive())["type"]
                self.events.append(kind)
                await send({"type": f"{kind}.complete"})
            return
        self.events.append("request")
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"done"})

    def serve(self):
        """Serve as the management commands do."""
        return serve(self.application, on_started=send_started, on_stopping=send_stopping)

    def test_order(self):
        """The project has sync and async receivers of both signals."""
        events = self.events

        def sync_receiver(sender, signal, **kwargs):
            events.append(f"sync {'started' if signal is server_started else 'stopping'}")
            self.assertIs(sender, Server)

        async def async_receiver(sender, signal, **kwargs):
            events.append(f"async {'started' if signal is server_started else 'stopping'}")
            self.assertIs(sender, Server)

        with (
            connected(server_started, sync_receiver, async_receiver),
            connected(server_stopping, sync_receiver, async_receiver),
            self.serve() as server,
        ):
            self.assertEqual(httpx.get(server.url, trust_env=False).text, "done")
        self.assertEqual(events[0], "lifespan.startup")
        self.assertEqual(sorted(events[1:3]), ["async started", "sync started"])
        self.assertEqual(events[3], "request")
        self.assertEqual(sorted(events[4:6]), ["async stopping", "sync stopping"])
        self.assertEqual(events[6:], ["lifespan.shutdown"])

    def test_start_refused(self):
        """A receiver raises at the start, and nothing is served."""

        def refuse(**kwargs):
            raise ValueError("no licence")

        with (
            connected(server_started, refuse),
            self.assertRaisesRegex(
                LifespanFailure, "server_started failed: ValueError: no licence"
            ),
            self.serve(),
        ):
            self.fail("it was served")
        self.assertEqual(self.events, ["lifespan.startup", "lifespan.shutdown"])

    def test_stop_not_kept(self):
        """A receiver raises at the end, and the others are called all the same."""

        def fail(**kwargs):
            raise ValueError("too late")

        def note(**kwargs):
            self.events.append("noted")

        with (
            self.assertLogs("django_daphne.server", "ERROR") as logs,
            connected(server_stopping, fail, note),
            self.serve(),
        ):
            pass
        self.assertEqual(self.events, ["lifespan.startup", "noted", "lifespan.shutdown"])
        self.assertIn("of server_stopping failed", logs.output[0])
        self.assertIn("ValueError: too late", logs.output[0])
