"""Real processes whose log files are moved, as by logrotate, and that are told so."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

from tests.integration.projects import SmallProjectTestCase
from tests.support.processes import ProcessTestCase, get

APPLICATION = """
    async def application(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"hello"})
"""

LOGGING = """
    LOGGING = {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"request_id": {"()": "django_daphne.log_records.RequestIDFilter"}},
        "formatters": {"line": {"format": "%(request_id)s %(message)s"}},
        "handlers": {
            "file": {
                "class": "logging.FileHandler",
                "filename": "site.log",
                "filters": ["request_id"],
                "formatter": "line",
            },
            "console": {"class": "logging.StreamHandler"},
        },
        "loggers": {
            "django.request": {"handlers": ["file"], "level": "INFO"},
            "django_daphne.server": {"handlers": ["console"], "level": "INFO"},
        },
    }
    DAPHNE = {
        "ACCESS_LOG": "access.log",
        "ACCESS_LOG_FORMAT": "json",
        "REQUEST_ID_RESPONSE": True,
    }
"""


def moved(path: Path) -> Path:
    """Move a file away; return where it is."""
    return path.rename(path.with_suffix(".log.1"))


class RotationTests(SmallProjectTestCase):
    """rundaphne and SIGUSR1."""

    def test_rotation(self):
        """The operator rotates the logs of a site, and finds each request in both under its id."""
        self.settings_are(LOGGING)
        server = self.manage("rundaphne", "-p", "0")
        port = server.wait_for_port()
        ids = [get(port, "/before").headers["X-Request-ID"]]
        paths = [self.folder / name for name in ("site.log", "access.log")]
        old = [moved(path) for path in paths]
        server.send_signal(signal.SIGUSR1)
        server.wait_for("SIGUSR1: log files opened again: ")
        ids.append(get(port, "/behind").headers["X-Request-ID"])
        self.finish(server)
        for request_id, name, (site, access) in zip(
            ids, ("before", "behind"), (old, paths), strict=True
        ):
            self.assertEqual(site.read_text(), f"{request_id} Not Found: /{name}\n")
            entry = json.loads(access.read_text())
            self.assertEqual((entry["target"], entry["request_id"]), (f"/{name}", request_id))
            self.assertTrue(re.fullmatch("[0-9a-f]{32}", request_id))


class CommandLineTests(ProcessTestCase):
    """django-daphne and SIGUSR1."""

    def test_no_files(self):
        """The operator's logs are on standard output, and the server serves on."""
        self.write("app.py", APPLICATION)
        server = self.start_cli("-p", "0", "--lifespan", "off", "app:application")
        port = server.wait_for_port()
        server.send_signal(signal.SIGUSR1)
        server.wait_for("SIGUSR1: there are no log files to open again")
        self.assertEqual(get(port).text, "hello")
        self.finish(server)
