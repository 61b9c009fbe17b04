"""The example's chat room: in windows of Chromium, across processes, and for those it keeps out."""

from __future__ import annotations

import json
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from tests.support.browser import BrowserTestCase, WebSocketTestCase
from tests.support.processes import Process, ProcessTestCase, copy_example
from tests.support.redis import RedisTestCase

if TYPE_CHECKING:
    from playwright.sync_api import Page

PATH = "/ws/chat"

# Prepares the database, logs a user in and prints the cookie.
LOGIN = """
    import os, django

    os.environ["DJANGO_SETTINGS_MODULE"] = "demo.settings"
    django.setup()
    from django.contrib.auth.models import User
    from django.core.management import call_command
    from django.test import Client

    call_command("migrate", verbosity=0)
    client = Client()
    client.force_login(User.objects.create_user("ann"))
    print(client.cookies["sessionid"].value)
"""


class ExampleTestCase(ProcessTestCase):
    """Tests with the example project."""

    def setUp(self):
        super().setUp()
        self.folder = copy_example(self.folder)

    def serve(self, port: int = 0, **variables: str) -> Process:
        """Serve the project."""
        return self.start("manage.py", "rundaphne", "-p", str(port), **variables)


class WindowTests(ExampleTestCase, BrowserTestCase):
    """People talk in windows of their own."""

    def setUp(self):
        super().setUp()
        self.server = self.serve()  # while the browser starts
        self.browser = self.start_browser()
        self.port = self.server.wait_for_port()

    def enter(self, name: str) -> Page:
        """Open a window on the chat room, and enter a name."""
        window = self.open_window(self.browser, f"http://127.0.0.1:{self.port}/chat/")
        window.get_by_label("Name").fill(name)
        self.wait_for_state(window, "open")
        return window

    def wait_for_state(self, window: Page, state: str) -> None:
        """Wait until the window says this of its connection."""
        window.get_by_role("status").get_by_text(state, exact=True).wait_for()

    def say(self, speaker: Page, text: str, *windows: Page) -> None:
        """Say something in one window; wait until it is read, as written, in all of them."""
        speaker.get_by_role("textbox", name="Message").fill(text)
        speaker.get_by_role("button", name="Send").click()
        for window in (speaker, *windows):
            window.get_by_role("listitem").get_by_text(text, exact=True).wait_for()

    def last(self, window: Page) -> list[str]:
        """Return name and text of the last message."""
        item = window.get_by_role("log").get_by_role("listitem").last
        return item.locator("strong, p").all_inner_texts()

    def test_chat(self):
        """Two people talk, lose the server, and talk on when it is there again."""
        ada, bob = map(self.enter, ("Ada", "Bob"))
        self.say(ada, "Is anybody there?", bob)
        self.assertEqual(self.last(bob), ["Ada", "Is anybody there?"])
        self.say(bob, "<b>Yes</b> & no", ada)
        self.assertEqual(self.last(ada), ["Bob", "<b>Yes</b> & no"])

        self.finish(self.server)
        for window in (ada, bob):
            self.wait_for_state(window, "lost (code 1012), trying again")
        text = ada.get_by_role("textbox", name="Message")
        text.fill("Too early")
        ada.get_by_role("button", name="Send").click()
        ada.get_by_role("alert").get_by_text("There is no connection.").wait_for()
        self.assertEqual(text.input_value(), "Too early")

        server = self.serve(self.port)
        for window in (ada, bob):
            self.wait_for_state(window, "open")
        self.say(ada, "Back again", bob)
        self.say(bob, "So am I", ada)
        self.finish(server)

    def test_mistake(self):
        """The speaker says nothing but spaces, and alone is told so."""
        ada, bob = map(self.enter, ("Ada", "Bob"))
        ada.get_by_role("textbox", name="Message").fill("  ")
        ada.get_by_role("button", name="Send").click()
        ada.get_by_role("alert").get_by_text("This field is required.").wait_for()
        self.say(ada, "At last", bob)
        self.assertEqual(self.last(bob), ["Ada", "At last"])
        self.assertEqual(bob.get_by_role("log").get_by_role("listitem").count(), 1)
        self.assertEqual(ada.get_by_role("alert").inner_text(), "")
        self.finish(self.server)


class RoomTestCase(ExampleTestCase, WebSocketTestCase):
    """Tests with clients that are no browsers but say that they are on a page of the site."""

    def enter(self, server: Process, **options: Any) -> Any:
        """Open a WebSocket to the chat room."""
        origin = f"http://127.0.0.1:{server.wait_for_port()}"
        return self.open(server, PATH, **{"origin": origin, **options})

    def say(self, client: Any, **message: Any) -> None:
        """Send a message."""
        client.send(json.dumps(message))

    def hear(self, client: Any) -> Any:
        """Return the next message without its time."""
        message = json.loads(self.receive(client))
        message.pop("time", None)
        return message


class RedisTests(RoomTestCase, RedisTestCase):
    """Several processes have one Redis."""

    def test_two_processes(self):
        """Two people at two servers hear each other, and nobody at a server without Redis does."""
        if find_spec("channels_redis") is None:
            self.skipTest("missing: channels_redis")
        url = self.start_redis()
        servers = [self.serve(REDIS_URL=url), self.serve(REDIS_URL=url), self.serve(REDIS_URL="")]
        ada, bob, eve = map(self.enter, servers)
        for speaker, name in ((ada, "Ada"), (bob, "Bob")):
            for number in range(20):
                self.say(speaker, name=name, text=f"{number}")
            for number in range(20):
                for client in (ada, bob):
                    self.assertEqual(self.hear(client), {"name": name, "text": f"{number}"})
        self.say(eve, name="Eve", text="Hello?")
        self.assertEqual(self.hear(eve), {"name": "Eve", "text": "Hello?"})
        for server in servers:
            self.finish(server)


class DoorTests(RoomTestCase):
    """The room knows who comes in, and from where."""

    def test_names(self):
        """A user who has logged in speaks by that name, and strangers by any."""
        self.write("login.py", LOGIN)
        login = self.start("login.py")
        self.assertEqual(login.wait(), 0, login)
        server = self.serve()
        ann = self.enter(server, additional_headers={"Cookie": f"sessionid={login.output.strip()}"})
        eve = self.enter(server, additional_headers={"Cookie": "sessionid=false"})
        for client, name in ((ann, "ann"), (eve, "Bob")):
            self.say(client, name="Bob", text="Hello")
            for listener in (ann, eve):
                self.assertEqual(self.hear(listener), {"name": name, "text": "Hello"})
        self.finish(server)

    def test_origins(self):
        """Pages of other sites are kept out of the room, and let in to the echo."""
        server = self.serve()
        for origin in ("http://other.example", "null", None):
            with self.subTest(origin):
                status, body = self.refused(server, PATH, origin=origin)
                self.assertEqual(status, 403)
                self.assertIn(b"Access denied", body)
                echo = self.open(server, "/ws/echo", origin=origin)
                for message in ("", "ü", b"", b"\x00\xff"):
                    echo.send(message)
                    self.assertEqual(self.receive(echo), message)
        self.finish(server)
        self.assertEqual(server.output.count(f'"WSREJECT {PATH}"'), 3, server)

    def test_nonsense(self):
        """A client of another kind is told what is wrong, or leaves with a code that says so."""
        server = self.serve()
        ada = self.enter(server)
        messages: tuple[Any, ...] = ({}, [], 5, {"name": "Eve"}, {"name": [], "text": "x" * 501})
        for message in messages:
            client = self.enter(server)
            client.send(json.dumps(message))
            self.assertEqual([*self.hear(client)], ["errors"])
        for data in (b"{}", "", "{", "[" * 100_000):
            client = self.enter(server)
            client.send(data)
            self.assertEqual(self.closed(client)[0], 1003)
        self.say(ada, name="Ada", text="All is well")
        self.assertEqual(self.hear(ada), {"name": "Ada", "text": "All is well"})
        self.finish(server)
