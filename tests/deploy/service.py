"""A site that is run as django_daphne.service says, and what stands in for systemd."""

from __future__ import annotations

import os
import queue
import select
import shlex
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress

from tests.support.processes import PATIENCE, Process, ProcessTestCase
from tests.support.systemd import LAUNCHER, Manager

from . import adapt, read_unit

MANAGE = """
    import os, sys

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site_settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
"""

SETTINGS = """
    SECRET_KEY = "x"
    ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
    INSTALLED_APPS = ["django_daphne"]
    ROOT_URLCONF = "site_urls"
    ASGI_APPLICATION = "site_asgi.application"
"""

# Says whom it takes for its client, and what it has of its manager's.
URLS = """
    import asyncio, os
    from pathlib import Path
    from django.http import JsonResponse, StreamingHttpResponse
    from django.urls import path

    RELEASE = Path(__file__).with_name("release").read_text()

    def page(request):
        return JsonResponse({
            "client": request.META.get("REMOTE_ADDR"),
            "uri": request.build_absolute_uri(),
            "http": request.scope["http_version"],
            "release": RELEASE,
            "pid": os.getpid(),
            "manager's": [
                name for name in os.environ if name.startswith(("NOTIFY", "WATCHDOG", "LISTEN"))
            ],
        })

    async def events():
        yield "data: 1\\n\\n"
        await asyncio.Event().wait()

    def stream(request):
        return StreamingHttpResponse(events(), content_type="text/event-stream")

    urlpatterns = [path("page", page), path("events/", stream)]
"""

# A WebSocket hears of its client first, and then its own words.
ASGI = """
    from django_daphne.asgi import get_asgi_application

    project = get_asgi_application()

    async def application(scope, receive, send):
        if scope["type"] != "websocket":
            return await project(scope, receive, send)
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": f"{scope['scheme']} {scope['client'][0]}"})
        while (event := await receive())["type"] == "websocket.receive":
            await send({**event, "type": "websocket.send"})
"""


# WorkingDirectory, which follows links.
FOLDER = "import os; os.chdir('current')\n"


class MainManager(Manager):
    """Hears what systemd would, with NotifyAccess=main: the main process alone is listened to."""

    main = 0

    def listen(self, is_meant: Callable[[str], bool]) -> dict[str, str]:
        """Return the values of the main process's next message of a kind; forget those before."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                sender, text = self.receive(deadline - time.monotonic())
            except queue.Empty:
                raise AssertionError("The manager hears nothing of the kind.") from None
            if sender == self.main and is_meant(text):
                break
        pairs = (line.partition("=") for line in text.splitlines())
        found = {name: value for name, _, value in pairs}
        if "MAINPID" in found:
            self.main = int(found["MAINPID"])
        return found

    def news(self) -> dict[str, str]:
        """Return the next message that says more than that the process lives."""
        return self.listen(lambda text: text != "WATCHDOG=1")

    def sign_of_life(self) -> dict[str, str]:
        """Return the next message that says no more than that."""
        return self.listen(lambda text: text == "WATCHDOG=1")


class SiteTestCase(ProcessTestCase):
    """Tests with a site of two releases, of which a symbolic link leads to the first."""

    def setUp(self):
        super().setUp()
        if sys.platform != "linux":
            self.skipTest("There is no systemd elsewhere than on Linux.")
        for number in ("1", "2"):
            self.write(f"{number}/manage.py", MANAGE)
            self.write(f"{number}/site_settings.py", SETTINGS)
            self.write(f"{number}/site_urls.py", URLS)
            self.write(f"{number}/site_asgi.py", ASGI)
            self.write(f"{number}/release", number)
        self.site = self.folder / "current"
        self.path = self.folder / "web.sock"
        self.link("1")

    def link(self, release: str) -> None:
        """Let the site's folder lead to a release."""
        new = self.folder / "new"
        new.symlink_to(release)
        new.rename(self.site)

    def start_service(self) -> tuple[Process, MainManager]:
        """Start the service with a socket at the path; return it and who hears of it."""
        listening = self.enterContext(socket.socket(socket.AF_UNIX))
        listening.bind(str(self.path))
        listening.listen()
        manager = MainManager(self.folder / "notify")
        self.addCleanup(manager.tell, b"")
        service = read_unit("django_daphne.service")["Service"]
        variables = {
            "NOTIFY_SOCKET": manager.path,
            "WATCHDOG_USEC": f"{service['WatchdogSec'][0]}000000",
            "LISTEN_FDNAMES": "django_daphne.socket",
        }
        for line in service["Environment"]:
            name, _, value = adapt(line, ("/srv/mysite", self.site)).partition("=")
            variables[name] = value
        descriptor = listening.fileno()
        launcher = [sys.executable, "-c", FOLDER + LAUNCHER, str(descriptor)]
        command = shlex.split(service["ExecStart"][0])[1:]
        process = self.start_command([*launcher, *command], variables, [descriptor])
        manager.main = process.pid
        return process, manager

    def meet(self, pid: int) -> Stranger:
        """Return a process by its number; it ends with the test."""
        stranger = Stranger(pid)
        self.addCleanup(stranger.close)
        return stranger


class Stranger:
    """A process that somebody else has started."""

    def __init__(self, pid: int) -> None:
        self._descriptor = os.pidfd_open(pid)

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to it, and to no other that has its number later."""
        signal.pidfd_send_signal(self._descriptor, number)

    def has_ended(self) -> bool:
        """Tell whether it ends in time."""
        return bool(select.select([self._descriptor], [], [], PATIENCE)[0])

    def close(self) -> None:
        """See that it has ended, and forget it."""
        with suppress(ProcessLookupError):
            self.send_signal(signal.SIGKILL)
        os.close(self._descriptor)
