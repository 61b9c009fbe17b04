"""Streams and WebSockets while the server stops: they go on for a while, then they are told."""

from __future__ import annotations

import asyncio
import socket
from contextlib import closing
from typing import Any

from django.test import SimpleTestCase, tag

from tests.compliance import request
from tests.support.http2_frames import Code, request_fields
from tests.support.memory import Call, MemoryClient, WireTestCase
from tests.support.server import PATIENCE, call, serve

from .http2_support import HTTP2TestCase

LOGGER = "django_daphne.server"
GET = request()
DISCONNECT = {"type": "http.disconnect"}


def stop(client: MemoryClient) -> None:
    """Let the server stop, and ask for the end of streams."""
    client.server.drain()
    client.server.end_streams()


@tag("loop")
class StreamTests(WireTestCase):
    """A response without a length is asked to end, as if its client had left."""

    def stream(self) -> tuple[MemoryClient, Call]:
        """Return a client and the call of a response that has begun and tells no length."""
        client, puppet = self.begin(GET)
        puppet.receive_now()
        puppet.start()
        puppet.body(b"one", more=True)
        return client, puppet

    def test_first_untouched(self):
        """The application does not hear of the end at first."""
        client, puppet = self.stream()
        client.server.drain()
        waiting = puppet.receive()
        self.assertFalse(waiting.done())
        client.server.end_streams()
        self.assertEqual(waiting.result(), DISCONNECT)

    def test_last_words(self):
        """The application says something more, and the client has a whole answer."""
        client, puppet = self.stream()
        stop(client)
        self.assertEqual(puppet.receive_now(), DISCONNECT)
        puppet.body(b"two")
        puppet.finish()
        (response,) = client.responses()
        self.assertEqual(response.body, b"onetwo")

    def test_ends_at_once(self):
        """The application returns without an end: the client sees that it was cut."""
        client, puppet = self.stream()
        stop(client)
        with self.assertLogs(LOGGER, "INFO") as logs:
            puppet.finish()
        self.assertIn("Ended, because the server stops", logs.output[0])
        self.assertNotIn("ERROR", "".join(logs.output))
        self.assert_reset(client)

    def test_asked_again(self):
        """The application is asked again while it says its last words."""
        client, puppet = self.stream()
        stop(client)
        self.assertEqual(puppet.receive_now(), DISCONNECT)
        client.server.end_streams()
        puppet.body(b"two")
        client.server.end_streams()
        self.assertEqual(client.responses()[0].body, b"onetwo")

    def test_length_is_known(self):
        """The application sends what has an end: it is left alone."""
        client, puppet = self.begin(GET)
        puppet.receive_now()
        puppet.start(headers=[(b"content-length", b"6")])
        puppet.body(b"one", more=True)
        stop(client)
        self.assertFalse(puppet.receive().done())
        puppet.body(b"two")
        self.assertEqual(client.responses()[0].body, b"onetwo")

    def test_not_begun(self):
        """The application has not answered yet: it is left alone."""
        client, puppet = self.begin(GET)
        puppet.receive_now()
        stop(client)
        self.assertFalse(puppet.receive().done())
        puppet.answer()
        self.assertEqual(client.responses()[0].status, 200)


@tag("loop")
class HTTP2Tests(HTTP2TestCase):
    """The same for each stream of HTTP/2."""

    def test_one_of_two(self):
        """The client has a stream and a download: the first is asked to end."""
        client, calls = self.speak()
        stream, download = client.ask(request_fields()), client.ask(request_fields())
        for puppet in calls:
            puppet.receive_now()
        calls[0].start()
        calls[1].start(headers=[(b"content-length", b"6")])
        for puppet in calls:
            puppet.body(b"one", more=True)
        client.server.drain()
        client.server.end_streams()
        self.assertEqual(calls[0].receive_now(), DISCONNECT)
        self.assertFalse(calls[1].receive().done())
        with self.assertLogs(LOGGER, "INFO"):
            calls[0].finish()
        calls[1].body(b"two")
        client.hear()
        self.assertEqual(stream.reset, Code.INTERNAL_ERROR)
        self.assert_answered(download, body=b"onetwo")


class Endless:
    """An application with a stream that ends when it is told to; ``told`` is set then."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.told = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise ValueError(scope["type"])
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        self.began.set()
        await receive()
        self.told.set()
        await send({"type": "http.response.body", "body": b"two"})


@tag("loop")
class ShareTests(SimpleTestCase):
    """The server stops in its own time."""

    def stop(self, graceful_timeout: float | None, share: float) -> bytes:
        """Stop while a stream is sent; return all that its client has read."""
        application = Endless()
        with (
            serve(application, graceful_share=share) as running,
            closing(socket.create_connection(running.address, PATIENCE)) as client,
        ):
            client.sendall(GET)
            call(application.began.wait())
            call(running.server.stop(graceful_timeout))
            self.assertTrue(application.told.is_set())
            return b"".join(iter(lambda: client.recv(4096), b""))

    def test_share(self):
        """The stream is told after a part of the graceful time, and ends well."""
        self.assertTrue(self.stop(60, 0.001).endswith(b"3\r\ntwo\r\n0\r\n\r\n"))

    def test_at_once(self):
        """The operator wants streams to be told at once; without a limit they are, too."""
        for graceful_timeout, share in ((60, 0), (None, 0.5)):
            with self.subTest(graceful_timeout=graceful_timeout):
                self.assertTrue(self.stop(graceful_timeout, share).endswith(b"two\r\n0\r\n\r\n"))
