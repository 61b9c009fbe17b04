"""The units of systemd: what they say is right, and what they start behaves as they say."""

from __future__ import annotations

import json
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from django.test import SimpleTestCase

from django_daphne.server import ServerConfig, add_arguments, resolve
from tests.deploy import adapt, read, read_unit
from tests.deploy.service import SiteTestCase
from tests.support.processes import PATIENCE

# Seconds that cancelled requests, and then threads, have beyond the graceful time.
LAST_SECONDS = 10


class UnitTests(SimpleTestCase):
    """The administrator copies the units."""

    def setUp(self):
        super().setUp()
        self.unit = read_unit("django_daphne.service")
        self.service = {key: values[-1] for key, values in self.unit["Service"].items()}

    def test_verified(self):
        """The administrator has systemd itself read them, which finds nothing to say."""
        program = shutil.which("systemd-analyze")
        if program is None:
            self.skipTest("This is no machine of systemd's.")
        home = Path(self.enterContext(tempfile.TemporaryDirectory()))
        changes = (
            ("/srv/mysite/venv/bin/python", sys.executable),
            ("WorkingDirectory=/srv/mysite", f"WorkingDirectory={home}"),
        )
        service, unit = home / "django_daphne.service", home / "django_daphne.socket"
        service.write_text(adapt(read(service.name), *changes), encoding="utf-8")
        unit.write_text(read(unit.name), encoding="utf-8")
        done = subprocess.run(
            [program, "verify", service, unit],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        # Of a mistake in a line there is a word, but no status; other words are about the machine.
        words = [line for line in done.stderr.splitlines() if f"{home}/" in line]
        self.assertEqual((done.returncode, words), (0, []), done.stderr)

    def test_command(self):
        """The administrator starts the service: every flag is one, and nothing contradicts."""
        parser = ArgumentParser(exit_on_error=False)
        add_arguments(parser, core=False)
        _, script, name, *flags = shlex.split(self.service["ExecStart"])
        self.assertEqual((script, name), ("manage.py", "rundaphne"))
        config = resolve(vars(parser.parse_args(flags)), {}, {}).config
        self.assertEqual((config.workers.workers, config.proxy.proxy_headers), (2, True))
        self.assertGreater(config.timeouts.keep_alive_timeout or 0, 60)  # nginx's own
        self.assertEqual(config.listen, ServerConfig().listen)  # the socket is systemd's

    def test_times(self):
        """The administrator leaves the server's times as they are: systemd waits for longer."""
        config = ServerConfig()
        stop, start = config.timeouts.graceful_timeout, config.workers.worker_start_timeout
        assert stop is not None and start is not None
        self.assertGreaterEqual(int(self.service["TimeoutStopSec"]), stop + LAST_SECONDS)
        self.assertGreater(int(self.service["TimeoutStartSec"]), start)

    def test_protocol(self):
        """Systemd hears of one process, and speaks to one."""
        expected = {
            "Type": "notify",
            "NotifyAccess": "main",
            "KillMode": "mixed",
            "ExecReload": "/bin/kill -HUP $MAINPID",
            "Restart": "on-failure",
        }
        self.assertLessEqual(expected.items(), self.service.items())
        self.assertGreaterEqual(int(self.service["WatchdogSec"]), 10)

    def test_socket(self):
        """Nginx reaches the socket of the unit, which belongs to the service's user."""
        unit = read_unit("django_daphne.socket")["Socket"]
        self.assertIn(f"server unix:{unit['ListenStream'][0]};", read("nginx-unix.conf"))
        self.assertEqual(unit["SocketUser"], [self.service["User"]])
        self.assertEqual(unit["Backlog"], [str(ServerConfig().listen.backlog)])
        self.assertEqual(self.unit["Unit"]["Requires"], ["django_daphne.socket"])


class ServiceTests(SiteTestCase):
    """What the unit starts, from READY to STOPPING, and systemd hears all of it."""

    def ask(self) -> dict[str, Any]:
        """Return what the site says on the socket."""
        with closing(HTTPConnection("127.0.0.1")) as connection:
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.settimeout(PATIENCE)
            connection.sock.connect(str(self.path))
            connection.request("GET", "/page")
            seen: dict[str, Any] = json.loads(connection.getresponse().read())
            return seen

    def test_life(self):
        """The administrator starts the service, reloads it, replaces it whole, and stops it."""
        first, manager = self.start_service()
        ready = {
            "READY": "1",
            "STATUS": "2 workers on activated socket django_daphne.socket",
            "MAINPID": str(first.pid),
        }
        self.assertEqual(manager.news(), ready)
        manager.sign_of_life()
        seen = self.ask()
        self.assertEqual((seen["release"], seen["manager's"]), ("1", []))
        self.assertNotEqual(seen["pid"], first.pid)

        self.link("2")
        before = time.monotonic_ns() // 1000
        first.send_signal(signal.SIGHUP)
        reloading = manager.news()
        self.assertEqual(reloading.pop("RELOADING"), "1")
        self.assertEqual([*reloading], ["MONOTONIC_USEC"])
        self.assertLessEqual(before, int(reloading["MONOTONIC_USEC"]))
        self.assertLessEqual(int(reloading["MONOTONIC_USEC"]), time.monotonic_ns() // 1000)
        self.assertEqual(manager.news(), ready)
        deadline = time.monotonic() + PATIENCE
        while (seen := self.ask())["release"] != "2":  # the last of the old may just be leaving
            self.assertLess(time.monotonic(), deadline, first)
        self.assertEqual(seen["manager's"], [])

        first.send_signal(signal.SIGUSR2)
        started = first.wait_for(r"Another supervisor is started \(pid (\d+)\)")
        second = self.meet(int(started[1]))
        self.assertEqual(manager.news(), {"MAINPID": started[1]})
        self.assertEqual(manager.news(), ready | {"MAINPID": started[1]})
        self.assertTrue(self.meet(first.pid).has_ended(), first)
        manager.sign_of_life()
        self.assertEqual(self.ask()["release"], "2")

        second.send_signal(signal.SIGTERM)
        self.assertEqual(manager.news(), {"STOPPING": "1"})
        self.assertTrue(second.has_ended())
        self.assertEqual(first.wait(), 0, first)  # whose output the second had, too
        self.assertTrue(self.path.exists())  # it is systemd's
