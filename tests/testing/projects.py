"""Projects whose tests run in a process of their own."""

from __future__ import annotations

from importlib.metadata import entry_points

from tests.support.processes import Process, ProcessTestCase

MANAGE = """
    import os, sys

    os.environ["DJANGO_SETTINGS_MODULE"] = "mysite.settings"
    from django.core.management import execute_from_command_line

    if __name__ == "__main__":
        execute_from_command_line(sys.argv)
"""

SETTINGS = """
    from pathlib import Path

    BASE_DIR = Path(__file__).resolve().parent.parent
    SECRET_KEY = "only for tests"
    ALLOWED_HOSTS = []
    INSTALLED_APPS = [
        "django_daphne",
        "chat",
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "django.contrib.staticfiles",
    ]
    MIDDLEWARE = [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ]
    ROOT_URLCONF = "mysite.urls"
    ASGI_APPLICATION = "mysite.asgi.application"
    CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    STATIC_URL = "static/"
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": BASE_DIR / "db.sqlite3",
            "TEST": {"NAME": BASE_DIR / "test.sqlite3"},
        }
    }
    PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
"""

ASGI = """
    from channels.auth import AuthMiddlewareStack
    from channels.routing import ProtocolTypeRouter, URLRouter
    from channels.security.websocket import AllowedHostsOriginValidator
    from django.core.asgi import get_asgi_application
    from django.urls import path

    pages = get_asgi_application()
    from chat.consumers import Room

    application = ProtocolTypeRouter(
        {
            "http": pages,
            "websocket": AllowedHostsOriginValidator(
                AuthMiddlewareStack(URLRouter([path("ws/<room>", Room.as_asgi())]))
            ),
        }
    )
"""

CONSUMERS = """
    from asgiref.sync import async_to_sync
    from channels.generic.websocket import JsonWebsocketConsumer
    from chat.models import Message

    class Room(JsonWebsocketConsumer):
        def connect(self):
            self.room = self.scope["url_route"]["kwargs"]["room"]
            async_to_sync(self.channel_layer.group_add)(self.room, self.channel_name)
            self.accept()

        def receive_json(self, content):
            name = self.scope["user"].get_username() or "somebody"
            Message.objects.create(room=self.room, text=content["text"])
            event = {"type": "said", "who": name, "text": content["text"]}
            async_to_sync(self.channel_layer.group_send)(self.room, event)

        def said(self, event):
            self.send_json({"who": event["who"], "text": event["text"]})

        def disconnect(self, code):
            async_to_sync(self.channel_layer.group_discard)(self.room, self.channel_name)
"""

MODELS = """
    from django.db import models

    class Message(models.Model):
        room = models.CharField(max_length=50)
        text = models.CharField(max_length=50)
"""

URLS = """
    import sys

    from chat.models import Message
    from django.http import HttpResponse
    from django.urls import path

    def room(request, room):
        texts = Message.objects.filter(room=room).values_list("text", flat=True)
        return HttpResponse(f"<script src=/static/chat/room.js></script>{', '.join(texts)}")

    def fail(request):
        print("a view prints")
        raise RuntimeError("a view has failed")

    def place(request):
        import os
        from django.conf import settings
        from django.core import mail
        return HttpResponse(f"{os.getpid()} {settings.LANGUAGE_CODE} {len(mail.outbox)}")

    urlpatterns = [path("room/<room>", room), path("fail", fail), path("place", place)]
"""


class ProjectTestCase(ProcessTestCase):
    """Tests with a chat, which has a database in a file and live tests of its own."""

    def setUp(self) -> None:
        super().setUp()
        self.write("manage.py", MANAGE)
        self.write("mysite/__init__.py", "")
        self.write("mysite/settings.py", SETTINGS)
        self.write("mysite/urls.py", URLS)
        self.write("mysite/asgi.py", ASGI)
        self.write("chat/__init__.py", "")
        self.write("chat/models.py", MODELS)
        self.write("chat/consumers.py", CONSUMERS)
        self.write("chat/static/chat/room.js", "let room;")

    def add_settings(self, text: str) -> None:
        """Write more settings."""
        with (self.folder / "mysite/settings.py").open("a", encoding="utf-8") as settings:
            settings.write(f"{text}\n")

    def run_tests(self, text: str, *arguments: str) -> Process:
        """Run tests by Django's command, to their end."""
        self.write("chat/tests.py", text)
        process = self.start("manage.py", "test", *arguments)
        process.wait()
        return process

    def run_pytest(self, *arguments: str, **variables: str) -> Process:
        """Run tests by pytest, to their end."""
        # Where the package is not installed, as in a copy of its source, nobody names the plugin.
        is_known = entry_points(group="pytest11").select(name="django-daphne")
        plugin = [] if is_known else ["-p", "django_daphne.pytest_plugin"]
        variables = {"DJANGO_SETTINGS_MODULE": "mysite.settings", **variables}
        process = self.start(
            *("-m", "pytest", "-q", "-p", "no:cacheprovider"), *plugin, *arguments, **variables
        )
        process.wait()
        return process

    def assert_passed(self, process: Process, count: int) -> None:
        """Assert that so many tests have passed, and that nobody complained."""
        self.assertEqual(process.wait(), 0, process)
        self.assertRegex(process.errors, rf"Ran {count} tests? in .*\n\nOK\n")
        self.assertNotIn("Traceback", process.errors)
        self.assertNotIn("Warning", process.errors)
