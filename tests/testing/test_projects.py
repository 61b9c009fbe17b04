"""Projects with live tests, run by Django's command and by pytest."""

from __future__ import annotations

from importlib.util import find_spec

from tests.support.processes import wait_until_refused

from .projects import ProjectTestCase

HELPERS = """
    import json, os
    from urllib.error import HTTPError
    from urllib.request import ProxyHandler, build_opener
    from chat.models import Message
    from django.contrib.auth import get_user_model
    from django.test import override_settings
    from websockets.sync.client import connect

    def fetch(url):
        with build_opener(ProxyHandler({})).open(url, timeout=20) as answer:
            return answer.read().decode()

    def say(url, text, **options):
        options["origin"] = url.replace("ws", "http", 1).rpartition("/ws")[0]
        with (
            connect(url, proxy=None, **options) as first,
            connect(url, proxy=None, **options) as second,
        ):
            first.send(json.dumps({"text": text}))
            return json.loads(second.recv(20))
"""

# As its author has written it for Channels, but for what is imported from where.
CHANNELS = (
    HELPERS
    + """
    import sys
    from channels.testing import ChannelsLiveServerTestCase
    from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler

    class ChatTests(ChannelsLiveServerTestCase):
        serve_static = True

        @classmethod
        def setUpClass(cls):
            super().setUpClass()
            try:
                cls.fetch = staticmethod(fetch)
            except:
                super().tearDownClass()
                raise

        def test_room(self):
            self.assertEqual(self.live_server_url, f"http://{self.host}:{self.live_server_url[17:]}")
            page = self.fetch(f"{self.live_server_url}/room/lobby")
            self.assertIn("room.js", page)
            self.assertEqual(self.fetch(f"{self.live_server_url}/static/chat/room.js"), "let room;")
            heard = say(f"{self.live_server_ws_url}/ws/lobby", "Hello")
            self.assertEqual(heard, {"who": "somebody", "text": "Hello"})
            self.assertEqual(Message.objects.get().text, "Hello")
            self.assertIn("Hello", self.fetch(f"{self.live_server_url}/room/lobby"))

        def test_user(self):
            user = get_user_model().objects.create_user("ada")
            self.client.force_login(user)
            cookie = self.client.cookies["sessionid"].value
            heard = say(f"{self.live_server_ws_url}/ws/lobby", "It is me",
                        additional_headers={"Cookie": f"sessionid={cookie}"})
            self.assertEqual(heard["who"], "ada")

        def test_no_daphne(self):
            self.assertNotIn("daphne", sys.modules)

    class WrappedTests(ChannelsLiveServerTestCase):
        host = "127.0.0.1"
        static_wrapper = ASGIStaticFilesHandler

        def test_static(self):
            say(f"{self.live_server_ws_url}/ws/lobby", "Hello")
            self.assertEqual(fetch(f"{self.live_server_url}/static/chat/room.js"), "let room;")

    class PlainTests(ChannelsLiveServerTestCase):
        serve_static = False

        def test_no_static(self):
            with self.assertRaises(HTTPError) as caught:
                fetch(f"{self.live_server_url}/static/chat/room.js")
            caught.exception.close()
            self.assertEqual(caught.exception.code, 404)
"""
)

PROCESS = (
    HELPERS
    + """
    from django_daphne.testing import LiveServerTestCase, ProcessLiveServerTestCase

    class Both:
        def test_room(self):
            Message.objects.create(room="lobby", text="before")
            heard = say(f"{self.live_server_ws_url}/ws/lobby", "Hello")
            self.assertEqual(heard, {"who": "somebody", "text": "Hello"})
            self.assertEqual(Message.objects.count(), 2)
            self.assertIn("before, Hello", fetch(f"{self.live_server_url}/room/lobby"))
            self.assertEqual(fetch(f"{self.live_server_url}/static/chat/room.js"), "let room;")

    @override_settings(LANGUAGE_CODE="fr")
    class ProcessTests(Both, ProcessLiveServerTestCase):
        def test_place(self):
            pid, language, mail = fetch(f"{self.live_server_url}/place").split()
            self.assertNotEqual(int(pid), os.getpid())
            self.assertEqual(language, "fr")
            self.assertEqual(mail, "0")

    class ThreadTests(Both, LiveServerTestCase):
        def test_place(self):
            self.assertEqual(int(fetch(f"{self.live_server_url}/place").split()[0]), os.getpid())
"""
)

FAILING = (
    HELPERS
    + """
    import threading
    from django_daphne.testing import ChannelsLiveServerTestCase, ProcessLiveServerTestCase

    class FailingTests(ProcessLiveServerTestCase):
        def test_view(self):
            fetch(f"{self.live_server_url}/fail")

    class NowhereTests(ProcessLiveServerTestCase):
        application = "mysite.asgi.nothing"
        def test(self): pass

    @override_settings(LOCK=threading.Lock(), KEY=lambda: None)
    class UnsentTests(ProcessLiveServerTestCase):
        def test(self): pass

    class OptionTests(ProcessLiveServerTestCase):
        server_options = {"threads": 0}
        def test(self): pass

    class OwnProcessTests(ChannelsLiveServerTestCase):
        ProtocolServerProcess = object
        def test(self): pass

    class LateTests(ProcessLiveServerTestCase):
        start_timeout = 0
        def test(self): pass

    class MemoryTests(ProcessLiveServerTestCase):
        databases = {"default", "other"}
        def test(self): pass
"""
)


class DjangoTests(ProjectTestCase):
    """Live tests run by ``manage.py test``."""

    def test_channels(self):
        """The author of tests for Channels changes the import, and has no daphne."""
        self.assertIsNone(find_spec("daphne"), "these tests want an environment without it")
        text = CHANNELS.replace("from channels.testing", "from django_daphne.testing")
        self.assert_passed(self.run_tests(text), 5)

    def test_process(self):
        """The author of tests has one server in a process and one in a thread, and one database."""
        self.assert_passed(self.run_tests(PROCESS), 4)
        self.assertFalse((self.folder / "test.sqlite3").exists())

    def test_killed(self):
        """The tests are killed, and the server's process ends with them."""
        process = self.run_tests(KILLED)
        wait_until_refused(int(process.wait_for(r"port (\d+)")[1]))

    def test_failures(self):
        """The author of tests finds what went wrong in the server's process, in the test."""
        self.add_settings("DATABASES['other'] = {**DATABASES['default'], 'TEST': {}}")
        process = self.run_tests(FAILING)
        failures = process.errors[process.errors.index("=======") :]
        for text in (
            "The live server's process wrote:",
            "RuntimeError: a view has failed",
            "a view prints",
            "The live server's process ended at once, with status 1",
            "ImportError: Module .* does not define a .nothing. attribute",
            r"ImproperlyConfigured: The live server cannot start: server_options\['threads'\]",
            "settings.LOCK, settings.KEY cannot be sent to another process",
            "ProtocolServerProcess is set, and there is no such process",
            "RuntimeError: The live server's process has not started within 0 s",
            r"DATABASES\['other'\] is SQLite in memory, which no other process can see",
            r"expected a file as its TEST\['NAME'\], or LiveServerTestCase",
        ):
            self.assertRegex(failures, text)
        self.assertIn("errors=7", process.errors)


PYTEST = (
    HELPERS
    + """
    import pytest

    def test_room(daphne_live_server):
        Message.objects.create(room="lobby", text="before")
        heard = say(f"{daphne_live_server.ws_url}/ws/lobby", "Hello")
        assert heard == {"who": "somebody", "text": "Hello"}
        assert "before, Hello" in fetch(f"{daphne_live_server}/room/lobby")
        assert str(daphne_live_server) == daphne_live_server.url

    def test_empty(daphne_live_server, settings):
        settings.LANGUAGE_CODE = "de"
        assert Message.objects.count() == 0
        assert " de" in fetch(daphne_live_server + "/place")

    @pytest.mark.daphne_live_server(host="127.0.0.1", serve_static=False)
    def test_options(daphne_live_server):
        assert daphne_live_server.url.startswith("http://127.0.0.1:")
        with pytest.raises(HTTPError):
            fetch(daphne_live_server + "/static/chat/room.js")

    def test_both(daphne_live_server, live_server):
        assert live_server.url != daphne_live_server.url
        assert fetch(live_server.url + "/room/x") == fetch(daphne_live_server.url + "/room/x")
"""
)

KILLED = """
    import os, signal
    from django_daphne.testing import ProcessLiveServerTestCase

    class KilledTests(ProcessLiveServerTestCase):
        host = "127.0.0.1"

        def test(self):
            print("port", self.live_server_url.rpartition(":")[2], flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
"""

PLAIN_PYTEST = """
    import pytest, sys

    def test_imports(pytestconfig):
        import django_daphne.pytest_plugin
        assert pytestconfig.pluginmanager.is_registered(django_daphne.pytest_plugin)
        heavy = {"django", "twisted", "channels", "uvloop", "django_daphne.server"}
        assert not heavy & set(sys.modules), heavy & set(sys.modules)

    from urllib.request import ProxyHandler, build_opener

    async def application(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"Hello"})

    @pytest.mark.daphne_live_server(application=application)
    def test_page(daphne_live_server):
        with build_opener(ProxyHandler({})).open(daphne_live_server.url) as answer:
            assert answer.read() == b"Hello"
"""


class PytestTests(ProjectTestCase):
    """Live tests run by pytest."""

    def pytest(self, text: str, *arguments: str, status: int = 0, **variables: str) -> str:
        """Run tests to their end, and return the output."""
        self.write("test_chat.py", text)
        process = self.run_pytest(*arguments, **variables)
        self.assertEqual(process.wait(), status, process)
        return process.output + process.errors

    def test_with_pytest_django(self):
        """The author of tests has pytest-django, whose own live server runs beside ours."""
        output = self.pytest(PYTEST)
        self.assertIn("4 passed", output)
        self.assertNotIn("warning", output)

    def test_without_pytest_django(self):
        """The author of tests has pytest alone, and pays nothing for the plugin before its use."""
        flags = ("-p", "no:django")
        output = self.pytest(PLAIN_PYTEST, *flags)
        self.assertIn("2 passed", output)
        output = self.pytest(PLAIN_PYTEST, *flags, status=1, DJANGO_SETTINGS_MODULE="")
        self.assertIn("needs Django's settings: expected DJANGO_SETTINGS_MODULE", output)
