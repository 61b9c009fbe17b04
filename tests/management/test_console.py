"""What runserver prints for a request."""

from __future__ import annotations

import dataclasses
import logging

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
            },
        )

    def test_unix_socket(self):
        """The client on a Unix socket has no address."""
        details = console.http_details(dataclasses.replace(RECORD, client=None))
        self.assertIsNone(details["client"])

    def test_escapes(self):
        """The client sends what a terminal would act on."""
        details = console.http_details(dataclasses.replace(RECORD, target=b"/\x1b[2J\xff"))
        self.assertEqual(details["path"], "/\\x1b[2J\xff")


class LineTests(SimpleTestCase):
    """Each request is a line, with a level and a colour by its status."""

    def log(self, status: int, style: object = None) -> tuple[int, str]:
        """Return level and text of the line for a status."""
        details = console.http_details(dataclasses.replace(RECORD, status=status))
        with self.assertLogs("django.channels.server", "DEBUG") as logs:
            console.log_http(details, style or no_style())  # type: ignore[arg-type]
        (record,) = logs.records
        return record.levelno, record.getMessage()

    def test_text(self):
        """The developer reads method, path, status, seconds and client."""
        expected = "HTTP GET /page?a=b 200 [0.01, 127.0.0.1:5000]"
        self.assertEqual(self.log(200), (logging.INFO, expected))

    def test_percent(self):
        """The client sends what logging would take for a place to fill in."""
        details = console.http_details(dataclasses.replace(RECORD, target=b"/%s%d"))
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
