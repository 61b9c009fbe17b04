"""One chat room on two hosts behind nginx, of which one is lost while people talk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.support.browser import BrowserTestCase
from tests.support.processes import Process

from .rooms import Host, RoomProjectTestCase, RoomTestCase

if TYPE_CHECKING:
    from playwright.sync_api import Page

VISITORS, SPEAKERS = 8, 4


class HostTests(RoomTestCase):
    """A host is lost; its visitors go to the other, and nobody there misses a word."""

    def lose(self, how: Callable[[Host], None]) -> None:
        """Lose the first host while people talk, and talk on."""
        asyncio.run(self._lose(how, *self.hosts))
        self.assertEqual(sorted(self.stored()), sorted(self.room.accepted))

    async def _lose(self, how: Callable[[Host], None], lost: Host, left: Host) -> None:
        async with self.crowd(VISITORS) as visitors, self.conversation(visitors, SPEAKERS):
            await self.more_is_accepted(40)
            how(lost)
            await self.assert_all_move(visitors, lost, left)
            await self.more_is_accepted(40)
        self.report(f"{len(self.room.accepted)} messages accepted, {self.room.said_again} again")

    def test_killed(self):
        """The operator loses a host whose process is killed."""
        self.lose(Host.die)

    def test_silent(self):
        """The operator loses a host whose cable is pulled: what is sent to it vanishes."""
        self.lose(Host.fall_silent)

    def test_leaving(self):
        """The operator stops a host, and its visitors are told to come back soon."""
        self.lose(Host.leave)
        self.assertEqual(self.hosts[0].process.wait(), 0, self.hosts[0].process)
        self.assertEqual({*self.room.codes}, {1012})


class PageTests(RoomProjectTestCase, BrowserTestCase):
    """The page in a browser comes back by itself."""

    def serve(self, port: int = 0) -> Process:
        """Serve the project."""
        return self.manage("rundaphne", "-p", str(port))

    def say(self, window: Page, text: str) -> None:
        """Say something."""
        window.get_by_label("Message").fill(text)
        window.get_by_role("button", name="Send").click()

    def test_page(self):
        """A visitor loses the server, talks on, and misses and repeats nothing afterwards."""
        migrated = self.write_project(redis=False)
        browser = self.start_browser()
        self.assertEqual(migrated.wait(), 0, migrated)
        server = self.serve()
        port = server.wait_for_port()
        ada, bob = (self.open_window(browser, f"http://127.0.0.1:{port}/") for _ in range(2))
        for window in (ada, bob):
            window.get_by_role("status").get_by_text("connected", exact=True).wait_for()
        self.say(ada, "first")
        for window in (ada, bob):
            window.get_by_text("first", exact=True).wait_for()
        self.finish(server)
        for window in (ada, bob):
            window.get_by_role("status").get_by_text("connecting", exact=True).wait_for()
        texts = ["second", "third"]
        for text in texts:
            self.say(bob, text)
        server = self.serve(port)
        for window in (ada, bob):
            for text in texts:
                window.get_by_text(text, exact=True).wait_for()
            lines = window.get_by_role("listitem").all_inner_texts()
            self.assertEqual(sorted(lines), ["first", *texts])
        self.assertEqual(sorted(self.stored()), ["first", *texts])
        self.finish(server)
