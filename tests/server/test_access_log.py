"""The access log: one line for each request, safe to read and in daphne's format."""

from __future__ import annotations

import io
import re
import tempfile
import time
import unittest
from pathlib import Path
from typing import Any

from django.test import tag

from django_daphne.server import (
    AccessLogWriter,
    AccessRecord,
    ConfigurationError,
    ServerConfig,
    client_name,
    open_access_log,
    printable,
)
from tests.compliance import CHUNKED, FIVE, POST, request
from tests.support.memory import Puppet, WireTestCase
from tests.support.wire import CLIENT

GET = request()


def record(**values: Any) -> AccessRecord:
    """Return a record of an ordinary request, with other values where given."""
    ordinary: dict[str, Any] = {
        "client": ("192.0.2.1", 40000),
        "method": "GET",
        "target": b"/path?query",
        "http_version": "1.1",
        "status": 200,
        "size": 5,
        "duration": 0.25,
    }
    return AccessRecord(**ordinary | values)


class LineTests(unittest.TestCase):
    """One line."""

    def line(self, **values: Any) -> str:
        """Return the line of a record, its time replaced by "TIME"."""
        stream = io.StringIO()
        AccessLogWriter(stream)(record(**values))
        pattern = r"\[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d\]"
        line, count = re.subn(pattern, "[TIME]", stream.getvalue())
        self.assertEqual(count, 1, stream.getvalue())
        return line

    def test_format(self):
        """The operator reads what daphne would have written."""
        expected = '192.0.2.1:40000 - - [TIME] "GET /path?query" 200 5\n'
        self.assertEqual(self.line(), expected)

    def test_time(self):
        """The operator reads local time."""
        stream = io.StringIO()
        before = int(time.time())
        AccessLogWriter(stream)(record())
        written = time.strptime(stream.getvalue().split("[")[1][:20], "%d/%b/%Y:%H:%M:%S")
        self.assertTrue(before <= time.mktime(written) <= time.time())

    def test_unix_socket(self):
        """The client came over a unix socket, where nobody has an address."""
        self.assertTrue(self.line(client=None).startswith("None - - ["))

    def test_nothing(self):
        """The client got no status, or no bytes."""
        self.assertTrue(self.line(status=0, size=0).endswith('" - -\n'))

    def test_injection(self):
        """The client sends what would end the line, the field, or colour the terminal."""
        target = b'/a\r\nb\x1b[31m"\\\x00\x7f\x9b\xe9 '
        self.assertEqual(
            self.line(target=target),
            "192.0.2.1:40000 - - [TIME]"
            r' "GET /a\x0d\x0ab\x1b[31m\x22\x5c\x00\x7f\x9b'
            '\xe9 " 200 5\n',
        )

    def test_printable(self):
        """Whatever the bytes are, none of the text acts on a terminal or ends a line."""
        text = printable(bytes(range(256)))
        self.assertEqual(text.splitlines(), [text])
        self.assertNotRegex(text, '[\x00-\x1f\x7f-\x9f"]')

    def test_client_name(self):
        """The operator reads host and port."""
        self.assertEqual(client_name(record()), "192.0.2.1:40000")
        self.assertIsNone(client_name(record(client=None)))


class OpenTests(unittest.TestCase):
    """Where the log goes."""

    def open(self, path: str | None, default: Any = None) -> Any:
        """Return the stream for an option."""
        return open_access_log(ServerConfig().replace(access_log=path), default)

    def test_default(self):
        """The operator names no file."""
        default = io.StringIO()
        self.assertIs(self.open(None, default), default)
        self.assertIsNone(self.open(None))

    def test_file(self):
        """The operator names a file, which is appended to and has each line at once."""
        path = Path(self.enterContext(tempfile.TemporaryDirectory()), "access.log")
        path.write_text("before\n")
        with self.open(str(path)) as stream:
            AccessLogWriter(stream)(record())
            self.assertRegex(path.read_text(), r"^before\n192\.0\.2\.1.*\n$")

    def test_bad_file(self):
        """The operator names a file that cannot be written to."""
        with self.assertRaisesRegex(ConfigurationError, "--access-log /no/such/file"):
            self.open("/no/such/file")


@tag("loop")
class RecordTests(WireTestCase):
    """What is recorded of an exchange, once for each."""

    def test_whole(self):
        """The client is answered after two seconds."""
        client, call = self.begin(request(line=b"GET /a?b HTTP/1.1"))
        client.server.wait(2)
        self.assertEqual(client.server.access, [])
        call.answer(b"hello", 404)
        (found,) = client.server.access
        self.assertEqual((found.client, found.method), (CLIENT, "GET"))
        self.assertEqual((found.target, found.http_version), (b"/a?b", "1.1"))
        self.assertEqual((found.status, found.size, found.duration), (404, 5, 2))

    def test_sizes(self):
        """The size is that of the body, without head and framing; HEAD has none."""
        for wire, more, size in (
            (GET, True, 10),
            (GET, False, 5),
            (request(line=b"HEAD / HTTP/1.1"), False, 0),
            (request(FIVE, b"Expect: 100-continue", line=POST), False, 5),
        ):
            client, call = self.begin(wire)
            call.receive()
            client.send(b"hello" if wire.startswith(b"POST") else b"")
            call.start()
            if more:
                call.body(b"hello", more=True)
            call.body(b"hello")
            self.assertEqual([each.size for each in client.server.access], [size], wire)

    def test_each_request(self):
        """The client asks three times on one connection; each has its own size and time."""
        puppet = Puppet()
        client = self.connect(puppet)
        for number in range(3):
            client.send(GET)
            client.server.wait(number)
            puppet.calls[number].answer(b"x" * number)
            client.server.wait(10)
        found = [(each.size, each.duration) for each in client.server.access]
        self.assertEqual(found, [(0, 0), (1, 1), (2, 2)])

    def refusal(self, wire: bytes, **limits: int) -> AccessRecord:
        """Return the record of a request that is refused, behind a slow one that is not."""
        puppet = Puppet()
        client = self.connect(puppet, **limits)
        client.send(GET)
        client.server.wait(7)
        puppet.calls[0].answer(b"x" * 9999)
        client.send(wire)
        _, found = client.server.access
        self.assertEqual(found.duration, 0)
        self.assertLess(found.size, 1000)
        return found

    def test_unreadable(self):
        """The client sends garbage, of which nothing is repeated."""
        found = self.refusal(b"\x1b[31m GET\r\n\r\n")
        self.assertEqual((found.status, found.method, found.target), (400, "-", b"-"))

    def test_too_large(self):
        """The client's request could be read and was refused for its body."""
        found = self.refusal(request(FIVE, line=POST), max_body_size=1)
        self.assertEqual((found.status, found.method, found.target), (413, "POST", b"/zebra"))

    def test_no_room(self):
        """The client's request was refused because there were too many."""
        puppet = Puppet()
        server = self.serve(puppet, limit_concurrency=1)
        first, second = server.connect(), server.connect()
        first.send(GET)
        second.send(GET)
        (found,) = server.access
        self.assertEqual((found.status, found.target, found.duration), (503, b"/zebra", 0))
        puppet.calls[0].answer()

    def test_chunks_too_large(self):
        """The client's body was refused in its middle."""
        client, _ = self.begin(request(CHUNKED, line=POST), max_body_size=5)
        client.send(b"6\r\n")
        self.assertEqual([each.status for each in client.server.access], [413])

    def test_client_left(self):
        """The client leaves before it is answered: 499, and nothing was sent."""
        client, _ = self.begin(GET)
        client.reset()
        found = [(each.status, each.size) for each in client.server.access]
        self.assertEqual(found, [(499, 0)])

    def test_client_left_inside(self):
        """The client leaves inside its answer, whose status it has."""
        client, call = self.begin(GET)
        call.start()
        call.body(b"hello", more=True)
        client.reset()
        found = [(each.status, each.size) for each in client.server.access]
        self.assertEqual(found, [(200, 5)])

    def test_failures(self):
        """The application fails before or inside its answer."""
        for parts, status in ((0, 500), (1, 200)):
            client, call = self.begin(GET)
            if parts:
                call.start()
                call.body(b"hello", more=True)
            with self.assertLogs("django_daphne.server", "ERROR"):
                call.fail(RuntimeError())
            self.assertEqual([each.status for each in client.server.access], [status])

    def test_silent_connection(self):
        """The client connects, says nothing and leaves: no request, no record."""
        client = self.connect(Puppet())
        client.server.wait(100)
        self.assertEqual(client.server.access, [])
