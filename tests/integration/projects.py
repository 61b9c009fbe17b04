"""Small projects, written where a test runs them."""

from __future__ import annotations

from tests.support.processes import Process, ProcessTestCase

_MANAGE = """
    import os, sys

    os.environ["DJANGO_SETTINGS_MODULE"] = "site_settings"
    from django.core.management import execute_from_command_line

    if __name__ == "__main__":
        execute_from_command_line(sys.argv)
"""

_SETTINGS = """
    SECRET_KEY = "x"
    ALLOWED_HOSTS = ["127.0.0.1"]
    INSTALLED_APPS = ["django_daphne", *({apps})]
    ROOT_URLCONF = "site_urls"
    {more}
"""

_URLS = """
    import resource, sys
    from django.http import HttpResponse
    from django.urls import path

    def limit(request):
        return HttpResponse(str(resource.getrlimit(resource.RLIMIT_NOFILE)[0]))

    def app(request):
        return HttpResponse(str("site_asgi" in sys.modules))

    urlpatterns = [path("limit", limit), path("app", app)]
"""

_DEVELOPMENT_SETTINGS = """
    SECRET_KEY = "x"
    DEBUG = {debug}
    ALLOWED_HOSTS = ["127.0.0.1", "[::1]", "localhost"]
    INSTALLED_APPS = [{apps}]
    ROOT_URLCONF = "site_urls"
    STATIC_URL = "static/"
    STATICFILES_DIRS = ["assets"]
    {more}
"""

DEVELOPMENT_URLS = """
    import asyncio, sys, threading
    from django.http import HttpResponse, StreamingHttpResponse
    from django.urls import path

    def page(request):
        return HttpResponse("first")

    def server(request):
        return HttpResponse(type(request).__name__)

    def status(request, code):
        return HttpResponse(status=code)

    def stuck(request):
        print("a view is stuck", flush=True)
        threading.Event().wait()

    async def events():
        yield "data: 1\\n\\n"
        await asyncio.Event().wait()

    async def stream(request):
        return StreamingHttpResponse(events(), content_type="text/event-stream")

    urlpatterns = [
        path("", page),
        path("server", server),
        path("status/<int:code>", status),
        path("stuck", stuck),
        path("stream", stream),
    ]
"""

DEVELOPMENT_APPS = ("django_daphne", "django.contrib.staticfiles")


class SmallProjectTestCase(ProcessTestCase):
    """Tests with a project of one module for each thing that a project has."""

    def setUp(self):
        super().setUp()
        self.write("manage.py", _MANAGE)
        self.write("site_urls.py", _URLS)
        self.settings_are()

    def settings_are(self, more: str = "", apps: str = "") -> None:
        """Write the settings, with these lines and apps besides."""
        self.write("site_settings.py", _SETTINGS.format(more=more, apps=apps))

    def manage(self, *arguments: str, **variables: str) -> Process:
        """Start a management command."""
        return self.start("manage.py", *arguments, **variables)


class RunserverTestCase(ProcessTestCase):
    """Tests with a small project."""

    def setUp(self):
        super().setUp()
        self.write("manage.py", _MANAGE)
        self.write("site_urls.py", DEVELOPMENT_URLS)
        self.write("assets/style.css", "p { }")
        self.settings_are()

    def settings_are(self, *apps: str, debug: bool = True, more: str = "") -> None:
        """Write the settings, with other apps than usual."""
        listed = ", ".join(map(repr, apps or DEVELOPMENT_APPS))
        self.write(
            "site_settings.py", _DEVELOPMENT_SETTINGS.format(apps=listed, debug=debug, more=more)
        )

    def runserver(self, *arguments: str, **variables: str) -> Process:
        """Start the command. Of a slow machine it is not to warn, unless the variables say so."""
        variables = {"DJANGO_DAPHNE_BLOCKED_LOOP_TIME": "-1", **variables}
        return self.start("manage.py", "runserver", *arguments, **variables)

    def interrupt(self, server: Process, *, was_broken: bool = False) -> None:
        """Press Ctrl-C; all has to end soon and well."""
        server.interrupt()
        # This bound is a promise, with room for a machine that is busy.
        self.assertEqual(server.wait(10), 0, server)
        if was_broken:
            return
        # Django before 6.1 leaves a traceback of its own behind for an aborted request.
        self.assertNotIn("django_daphne/", server.errors)
