"""The commands with --metrics-bind."""

from __future__ import annotations

import re
import signal
import socket
from contextlib import closing

from tests.support.metrics import scrape
from tests.support.processes import ProcessTestCase, get

from .projects import SmallProjectTestCase

METRICS = re.compile(r"Metrics on http://127\.0\.0\.1:(\d+)/metrics")


class CommandTests(SmallProjectTestCase):
    """manage.py rundaphne, with Django's threads behind it."""

    def test_rundaphne(self):
        """The operator asks while the server serves."""
        server = self.manage("rundaphne", "-p", "0", "--metrics-bind", "127.0.0.1:0")
        port = server.wait_for_port()
        address = ("127.0.0.1", int(server.wait_for(METRICS)[1]))
        for path in ("/app", "/app", "/no-such-page"):
            get(port, path)
        samples = scrape(address)
        self.assertEqual(samples["requests_total", "1.1", "404"], 1)
        self.assertGreaterEqual(samples["request_queue_seconds_count",], 3)
        self.assertEqual(samples["workers",], 1)
        self.assertGreater(samples["resident_memory_bytes",], 2**20)
        self.finish(server)


class StartTests(ProcessTestCase):
    """The command line alone."""

    def test_busy(self):
        """Another program has the address of the metrics: one line, before anything is served."""
        with closing(socket.create_server(("127.0.0.1", 0))) as other:
            place = f"127.0.0.1:{other.getsockname()[1]}"
            self.write("zebra.py", "async def app(scope, receive, send): pass")
            process = self.start_cli("zebra:app", "-p", "0", "--metrics-bind", place)
            text = f"--metrics-bind: Couldn't listen on {place}: that address is already in use."
            self.assert_one_line(process, 1, text)
            self.assertNotIn("Listening", process.errors)

    def test_package_is_missing(self):
        """The extra is not installed: one line that says how to have it; without it all is well."""
        self.write("prometheus_client.py", "raise ImportError")
        self.write("zebra.py", "async def app(scope, receive, send): pass")
        process = self.start_cli("zebra:app", "-p", "0", "--metrics-bind", "127.0.0.1:0")
        self.assert_one_line(process, 1, "pip install 'django-daphne[metrics]'")
        process = self.start_cli("zebra:app", "-p", "0")
        process.wait_for_port()
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(), 0, process)
