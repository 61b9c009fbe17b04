"""rundaphne with workers: options, system checks, settings and their changes."""

from __future__ import annotations

import signal

from tests.integration.projects import SmallProjectTestCase
from tests.support.processes import get
from tests.support.workers import SupervisedTestCase

URLS = """
    import os
    from django.conf import settings
    from django.http import HttpResponse
    from django.urls import path

    def show(request):
        return HttpResponse(f"{settings.NAME} {os.environ.get('COLOR')}")

    def number(request):
        return HttpResponse(str(os.getpid()))

    urlpatterns = [path("", number), path("show", show)]
"""

# A file of variables, as many projects have one, which does not replace what is there.
SETTINGS = """
    import os, pathlib

    for line in pathlib.Path("variables").read_text().splitlines():
        os.environ.setdefault(*line.split("="))
    NAME = "{name}"
    DAPHNE = {daphne!r}
    SECRET_KEY = "x"
    ALLOWED_HOSTS = ["127.0.0.1"]
    INSTALLED_APPS = ["django_daphne", "checked"]
    ROOT_URLCONF = "site_urls"
"""

CHECKS = """
    from django.core.checks import Error, register

    @register()
    def check(app_configs, **kwargs):
        print("checking", flush=True)
        return [Error("this is wrong", id="site.E001")] if {is_wrong} else []
"""


class RundaphneTests(SmallProjectTestCase, SupervisedTestCase):
    """The project is checked and loaded at the right times."""

    def setUp(self):
        super().setUp()
        self.write("site_urls.py", URLS)
        self.write("variables", "COLOR=red")
        self.configure("first", {"PORT": 0})
        self.check(is_wrong=False)

    def configure(self, name: str, daphne: dict[str, object]) -> None:
        """Write the settings."""
        self.write("site_settings.py", SETTINGS.format(name=name, daphne=daphne))

    def check(self, *, is_wrong: bool) -> None:
        """Write the app with a system check."""
        self.write("checked/__init__.py", "")
        self.write(
            "checked/apps.py",
            """
            from django.apps import AppConfig

            class Config(AppConfig):
                name = "checked"

                def ready(self):
                    import checked.checks
            """,
        )
        self.write("checked/checks.py", CHECKS.format(is_wrong=is_wrong))

    def test_changes(self):
        """The developer changes settings, variables and options, which each reload brings."""
        server = self.watch(self.manage("rundaphne", WEB_CONCURRENCY="2"))
        port = server.process.wait_for_port()
        self.assertEqual(get(port, "/show").text, "first red")
        self.assertEqual(server.process.output.count("checking"), 1)  # by the supervisor
        self.configure("second", {"PORT": 0, "SERVER_NAME": "site"})
        self.write("variables", "COLOR=blue")
        server.send(signal.SIGHUP)
        server.expect("The reload is complete")
        self.answers_only(port, *server.workers().values())
        self.assertEqual(get(port, "/show").text, "second blue")
        self.assertEqual(get(port).headers["Server"], "site")
        self.assertEqual(server.process.output.count("checking"), 3)  # and by each worker now
        self.check(is_wrong=True)
        server.send(signal.SIGHUP)
        server.expect(r"\(site.E001\) this is wrong")
        server.expect("the reload is given up")
        self.assertEqual(get(port, "/show").text, "second blue")
        self.end(server)

    def test_mistakes(self):
        """The operator is told in a line what keeps it from starting."""
        self.write(
            "site_asgi.py",
            """
            async def application(scope, receive, send):
                await receive()
                await send({"type": "lifespan.startup.failed", "message": "no database"})
            """,
        )
        self.settings_are('ASGI_APPLICATION = "site_asgi.application"')
        failing = self.manage("rundaphne", "-p", "0", "--workers", "2", "--lifespan", "on")
        endpoint = self.manage("rundaphne", "-e", "tcp:0", WEB_CONCURRENCY="2")
        nowhere = self.manage("rundaphne", "-p", "0", "-w", "2", "--pid-file", "nowhere/pid")
        self.assertEqual(failing.wait(), 3, failing)
        self.assertRegex(failing.errors, r"CommandError: Worker \d .* could not start \(exit sta")
        self.assertIn("no database", failing.errors)
        self.assertNotIn("Traceback", failing.errors)
        self.assert_one_line(endpoint, 1, "use --bind")
        self.assertEqual(nowhere.wait(), 1, nowhere)
        self.assertIn("nowhere/pid: cannot be written", nowhere.errors)
        self.assertNotIn("Traceback", nowhere.errors)
