"""What runserver prints for a request."""

from __future__ import annotations

import logging
from typing import Any

from django.core.management.color import color_style, make_style, no_style
from django.test import SimpleTestCase

from django_daphne.management import console
from django_daphne.server import AccessRecord

RECORD = AccessRecord(
    client=("127.0.0.1", 5000),
    method="GET",
    target=b"/page?a=b",
    http_version="1.1",
    status=200,
    size=120,
    duration=0.0149,
    headers=(),
)


class DetailsTests(SimpleTestCase):
    """A finished request becomes the details of an action."""

    def test_names(self):
        """The subclass of a project finds what it needs by name."""
        self.assertEqual(
            console.http_details(RECORD),
            {
                "path": "/page?a=b",
                "status": 200,
                "method": "GET",
                "client": "127.0.0.1:5000",
                "time_taken": 0.0149,
                "size": 120,
                "http_version": "1.1",
            },
        )
        event = RECORD._replace(event="disconnected", status=101, code=1001)
        self.assertEqual(
            console.websocket_details(event),
            {
                "path": "/page?a=b",
                "client": "127.0.0.1:5000",
                "http_version": "1.1",
                "status": 101,
                "code": 1001,
                "time_taken": 0.0149,
            },
        )

    def test_unix_socket(self):
        """The client on a Unix socket has no address."""
        details = console.http_details(RECORD._replace(client=None))
        self.assertIsNone(details["client"])

    def test_escapes(self):
        """The client sends what a terminal would act on."""
        details = console.http_details(RECORD._replace(target=b"/\x1b[2J\xff"))
        self.assertEqual(details["path"], "/\\x1b[2J\xff")


class LineTests(SimpleTestCase):
    """Each request is a line, with a level and a colour by its status."""

    def log(self, status: int, style: object = None) -> tuple[int, str]:
        """Return level and text of the line for a status."""
        details = console.http_details(RECORD._replace(status=status))
        with self.assertLogs("django.channels.server", "DEBUG") as logs:
            console.log_http(details, style or no_style())  # type: ignore[arg-type]
        (record,) = logs.records
        return record.levelno, record.getMessage()

    def test_text(self):
        """The developer reads method, path, status, seconds, client, size and protocol."""
        expected = "HTTP GET /page?a=b 200 [0.015, 127.0.0.1:5000, 120 B, h1]"
        self.assertEqual(self.log(200), (logging.INFO, expected))

    def test_percent(self):
        """The client sends what logging would take for a place to fill in."""
        details = console.http_details(RECORD._replace(target=b"/%s%d"))
        with self.assertLogs("django.channels.server") as logs:
            console.log_http(details, no_style())
        self.assertIn("HTTP GET /%s%d 200", logs.records[0].getMessage())

    def test_levels(self):
        """Mistakes of clients are warnings, those of the site are errors."""
        levels = {101: logging.INFO, 200: logging.INFO, 304: logging.INFO, 302: logging.INFO}
        levels |= {400: logging.WARNING, 404: logging.WARNING, 499: logging.WARNING}
        levels |= {500: logging.ERROR, 503: logging.ERROR}
        for status, level in levels.items():
            with self.subTest(status=status):
                self.assertEqual(self.log(status)[0], level)

    def test_colours(self):
        """The developer's palette colours each class of status."""
        style = make_style(
            "http_info=black;http_success=red;http_redirect=green;http_not_modified=yellow;"
            "http_bad_request=blue;http_not_found=magenta;http_server_error=cyan"
        )
        statuses = (101, 200, 302, 304, 400, 404, 500)
        codes = (30, 31, 32, 33, 34, 35, 36)
        for status, code in zip(statuses, codes, strict=True):
            with self.subTest(status=status):
                text = self.log(status, style)[1]
                self.assertTrue(text.startswith(f"\x1b[{code}mHTTP GET"), repr(text))
                self.assertTrue(text.endswith("\x1b[0m"), repr(text))

    def test_no_terminal(self):
        """The output goes to a file, where colours would be noise."""
        self.assertNotIn("\x1b", self.log(200, color_style(force_color=False))[1])

    def test_numbers(self):
        """The developer compares responses that are quick or slow, small or large, h1 or h2."""
        for duration, size, version, expected in (
            (0.0004, 0, "1.0", "0.000, 127.0.0.1:5000, 0 B, h1"),
            (0.9996, 1023, "1.1", "1.000, 127.0.0.1:5000, 1023 B, h1"),
            (1.234, 5300, "2", "1.23, 127.0.0.1:5000, 5.2 KB, h2"),
            (12.34, (1 << 20) - 1, "2", "12.3, 127.0.0.1:5000, 1.0 MB, h2"),
            (100, 3 << 30, "2", "100.0, 127.0.0.1:5000, 3.0 GB, h2"),
            (100, 5 << 40, "2", "100.0, 127.0.0.1:5000, 5.0 TB, h2"),
        ):
            record = RECORD._replace(duration=duration, size=size, http_version=version)
            with self.subTest(expected), self.assertLogs("django.channels.server") as logs:
                console.log_http(console.http_details(record), no_style())
            self.assertEqual(logs.records[0].getMessage(), f"HTTP GET /page?a=b 200 [{expected}]")

    def test_few_details(self):
        """The subclass makes details of its own, as long as there were no others."""
        details = {"path": "/", "status": 200, "method": "GET", "client": "me", "time_taken": 0.5}
        with self.assertLogs("django.channels.server") as logs:
            console.log_http(details, no_style())
            console.log_websocket("disconnected", {"path": "/", "client": "me"}, no_style())
        lines = [record.getMessage() for record in logs.records]
        self.assertEqual(lines, ["HTTP GET / 200 [0.500, me]", "WebSocket DISCONNECT / [me]"])


class WebSocketLineTests(SimpleTestCase):
    """Each event of a WebSocket is a line, coloured as a request of its kind is."""

    def log(self, style: object = None, **values: Any) -> str:
        """Return the line for an event."""
        record = RECORD._replace(target=b"/ws/\n", **values)
        details = console.websocket_details(record)
        with self.assertLogs("django.channels.server", "DEBUG") as logs:
            console.log_websocket(record.event, details, style or no_style())  # type: ignore[arg-type]
        (logged,) = logs.records
        self.assertEqual(logged.levelno, logging.INFO)
        return logged.getMessage()

    def test_texts(self):
        """The developer follows WebSockets from their handshake to their end."""
        client = "127.0.0.1:5000"
        for values, expected in (
            ({"event": "connecting", "status": 0}, f"HANDSHAKING /ws/\\x0a [{client}, h1]"),
            ({"event": "connected", "status": 101}, f"CONNECT /ws/\\x0a [{client}, h1, 0.015 s]"),
            (
                {"event": "rejected", "status": 403, "http_version": "2"},
                f"REJECT /ws/\\x0a [{client}, h2, status 403, 0.015 s]",
            ),
            (
                {"event": "disconnected", "status": 101, "code": 1001, "duration": 12.42},
                f"DISCONNECT /ws/\\x0a [{client}, h1, code 1001, 12.4 s]",
            ),
        ):
            with self.subTest(expected):
                self.assertEqual(self.log(**values), f"WebSocket {expected}")

    def test_colours(self):
        """The developer's palette colours what went wrong, and says whose fault it was."""
        style = make_style(
            "http_info=black;http_success=red;http_bad_request=blue;http_not_found=magenta;"
            "http_server_error=cyan"
        )
        for code, values in (
            (30, {"event": "connecting", "status": 0}),
            (31, {"event": "connected", "status": 101}),
            (34, {"event": "rejected", "status": 403}),
            (35, {"event": "rejected", "status": 404}),
            (36, {"event": "rejected", "status": 500}),
            (30, {"event": "disconnected", "code": 1000}),
            (30, {"event": "disconnected", "code": 1006}),
            (30, {"event": "disconnected", "code": 4001}),
            (34, {"event": "disconnected", "code": 1009}),
            (36, {"event": "disconnected", "code": 1011}),
        ):
            with self.subTest(values):
                text = self.log(style, **values)
                self.assertTrue(text.startswith(f"\x1b[{code}mWebSocket"), repr(text))
                self.assertTrue(text.endswith("]\x1b[0m"), repr(text))
