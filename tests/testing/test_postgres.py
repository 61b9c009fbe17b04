"""A live server with PostgreSQL, whose test database has to be dropped at the end."""

from __future__ import annotations

from tests.support.postgres import PostgresTestCase

from .projects import ProjectTestCase

# Each thread keeps its connection for as long as it lives.
DATABASE = """
DATABASES["default"] = {{
    "ENGINE": "django.db.backends.postgresql",
    "NAME": "site",
    "USER": "postgres",
    "HOST": {host!r},
    "OPTIONS": {{"application_name": "site"}},
    "CONN_MAX_AGE": None,
}}
"""

VIEWS = """
    import threading
    from asgiref.sync import sync_to_async
    from chat.models import Message
    from django.http import HttpResponse
    from django.urls import path

    stuck, free = threading.Event(), threading.Event()

    def sync(request):
        return HttpResponse(Message.objects.count())

    async def asynchronous(request):
        return HttpResponse(await Message.objects.acount())

    async def anywhere(request):  # in a thread that lives as long as the process
        count = await sync_to_async(Message.objects.count, thread_sensitive=False)()
        return HttpResponse(count)

    def wait(request):
        Message.objects.count()
        stuck.set()
        free.wait(60)

    urlpatterns = [
        path("sync", sync),
        path("async", asynchronous),
        path("anywhere", anywhere),
        path("wait", wait),
    ]
"""

TESTS = """
    import json, socket
    from urllib.parse import urlsplit
    from urllib.request import ProxyHandler, build_opener
    from chat.models import Message
    from django_daphne.testing import LiveServerTestCase
    from mysite import urls
    from websockets.sync.client import connect

    class LiveTests(LiveServerTestCase):
        @classmethod
        def setUpClass(cls):
            cls.addClassCleanup(urls.free.set)  # after all else
            super().setUpClass()

        def test_threads(self):
            Message.objects.create(room="lobby", text="Hello")
            for path in ("sync", "async", "anywhere"):
                url = f"{self.live_server_url}/{path}"
                with build_opener(ProxyHandler({})).open(url) as answer:
                    self.assertEqual(answer.read(), b"1")
            url = f"{self.live_server_ws_url}/ws/lobby"
            with connect(url, proxy=None, origin=self.live_server_url) as client:
                client.send(json.dumps({"text": "Hello"}))
                client.recv(20)

        def test_stuck(self):
            address = urlsplit(self.live_server_url)
            with socket.create_connection((address.hostname, address.port)) as client:
                client.send(b"GET /wait HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n")
                assert urls.stuck.wait(20)
"""


class LiveServerTests(PostgresTestCase, ProjectTestCase):
    """A live server in a thread whose threads connect to the test database."""

    def test_dropped(self):
        """The author of tests is connected from threads of each kind, one of which is stuck."""
        postgres = self.start_postgres()
        self.add_settings(DATABASE.format(host=str(postgres.folder)))
        self.write("mysite/urls.py", VIEWS)
        process = self.run_tests(TESTS)
        self.assertEqual(process.wait(), 0, process)
        self.assertIn("\nOK\n", process.errors)
        self.assertGreater(postgres.connections("site").most, 4)
        with postgres.connect() as connection:
            found = connection.execute("SELECT datname FROM pg_database WHERE datname ~ 'site'")
            self.assertEqual(found.fetchall(), [])
