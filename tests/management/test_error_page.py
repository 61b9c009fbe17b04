"""The page of a broken project: what it says, and to whom."""

from __future__ import annotations

import asyncio
from typing import Any

from django.core.management.base import CommandError
from django.test import SimpleTestCase, override_settings

from django_daphne.management.error_page import ErrorPage
from django_daphne.management.keeper import debug_hosts
from django_daphne.testing import HttpCommunicator, WebsocketCommunicator

HTML = (b"accept", b"text/html,*/*;q=0.8")


def failure() -> Exception:
    """Return an exception that was raised."""
    try:
        raise ValueError("<secret>")
    except ValueError as error:
        return error


class PageTests(SimpleTestCase):
    """Somebody asks for the broken project."""

    hosts = (".localhost", "127.0.0.1", "[::1]", "demo.example")

    async def ask(
        self, *headers: tuple[bytes, bytes], error: Exception | None = None, host: str = "localhost"
    ) -> dict[str, Any]:
        """Return the response."""
        page = ErrorPage(error or failure(), self.hosts)
        named = [(b"host", host.encode()), *headers]
        return await HttpCommunicator(page, "GET", "/any", headers=named).get_response()

    async def test_page(self):
        """The developer's browser gets a page, and its text does no harm."""
        response = await self.ask(HTML)
        self.assertEqual(response["status"], 500)
        headers = dict(response["headers"])
        self.assertEqual(headers[b"content-type"], b"text/html; charset=utf-8")
        self.assertEqual(headers[b"cache-control"], b"no-store")
        page = response["body"].decode()
        self.assertIn("<h1>ValueError: &lt;secret&gt;</h1>", page)
        self.assertIn("in failure", page)
        self.assertNotIn("<secret>", page)

    async def test_text(self):
        """The developer's curl gets text, and of what a command has said that alone."""
        response = await self.ask()
        self.assertEqual(dict(response["headers"])[b"content-type"], b"text/plain; charset=utf-8")
        self.assertIn(b"Traceback (most recent call last):", response["body"])
        response = await self.ask(error=CommandError("There is no port.\nNone."))
        self.assertEqual(
            response["body"], b"The project cannot be served.\n\nThere is no port.\nNone."
        )

    async def test_hosts(self):
        """The developer asks by every name of his; a page of somebody else's by its own."""
        for host in ("localhost:8000", "a.localhost", "127.0.0.1", "[::1]:8000", "demo.example"):
            self.assertIn(b"secret", (await self.ask(host=host))["body"], host)
        for host in ("evil.example", "localhost.evil.example", "", "a b"):
            response = await self.ask(HTML, host=host)
            self.assertEqual(response["status"], 500)
            self.assertNotIn(b"secret", response["body"], host)

    async def test_websocket(self):
        """The browser opens a WebSocket, and is refused with the status of the page."""
        page = ErrorPage(failure(), self.hosts)
        websocket = WebsocketCommunicator(page, "/ws", headers=[(b"host", b"localhost")])
        connected, _ = await websocket.connect()
        self.assertFalse(connected)
        assert websocket.denial is not None
        self.assertEqual(websocket.denial["status"], 500)
        await websocket.wait()

    async def test_waiting(self):
        """The page waits for something new, and so does one that is closed meanwhile."""
        page = ErrorPage(failure(), self.hosts)
        headers = [(b"django-daphne-wait", b"1")]
        waiting, leaving = (HttpCommunicator(page, "GET", "/", headers=headers) for _ in range(2))
        for each in (waiting, leaving):
            await each.send_input({"type": "http.request", "body": b""})
            self.assertTrue(await each.receive_nothing())
        await leaving.send_input({"type": "http.disconnect"})
        await leaving.wait()
        page.end()
        self.assertEqual((await waiting.receive_output())["status"], 204)
        await waiting.wait()
        self.assertEqual(len(asyncio.all_tasks()), 1)

    def test_hosts_of_the_project(self):
        """The developer has DEBUG on, or off: then nobody sees more than that there is an error."""
        with override_settings(DEBUG=True, ALLOWED_HOSTS=["demo.example"]):
            self.assertEqual(debug_hosts(), ["demo.example", ".localhost", "127.0.0.1", "[::1]"])
        with override_settings(DEBUG=False, ALLOWED_HOSTS=["demo.example"]):
            self.assertEqual(debug_hosts(), [])
