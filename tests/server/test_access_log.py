"""The access log: what is recorded of a request, and where it goes."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import tempfile
import unittest
from pathlib import Path
from typing import Any

from django.test import tag

from django_daphne.server import (
    AccessLog,
    AccessRecord,
    ConfigurationError,
    ServerConfig,
    set_up_access_log,
)
from tests.compliance import CHUNKED, FIVE, POST, request
from tests.server.test_access_formats import REQUEST_ID, TRACE, record
from tests.support.memory import Puppet, WireTestCase
from tests.support.wire import CLIENT

GET = request()
ACCESS, PACKAGE, ROOT = "django_daphne.access", "django_daphne", ""
SERVER = "django_daphne.server"


class LogTestCase(unittest.TestCase):
    """Tests of the log in a process that has configured no logging of it."""

    def setUp(self) -> None:
        for name, level in ((ACCESS, 0), (PACKAGE, 0), (ROOT, logging.WARNING)):
            logger = logging.getLogger(name)
            before = (logger.handlers, logger.level, logger.propagate, logger.disabled)
            self.addCleanup(self.configure, name, *before)
            self.configure(name, level=level)

    def configure(self, name, handlers=(), level=logging.NOTSET, propagate=True, disabled=False):
        """Configure a logger."""
        logger = logging.getLogger(name)
        logger.handlers = list(handlers)
        logger.setLevel(level)
        logger.propagate, logger.disabled = propagate, disabled

    def set_up(self, default: Any, **values: Any) -> AccessLog:
        """Return the log for options, until the test ends."""
        log = set_up_access_log(ServerConfig().replace(**values), default)
        assert log is not None
        self.addCleanup(log.close)
        return log


class RecordsOfLoggingTests(LogTestCase):
    """What logging gets."""

    def test_fields(self):
        """The project's own formatter finds the fields."""
        with self.assertLogs(ACCESS, "INFO") as captured:
            self.set_up(None, access_log_format="extended")(record(target=b'/"\xe9%s'))
        (found,) = captured.records
        plain = vars(logging.makeLogRecord({"message": ""})).keys()
        extra = {name: value for name, value in vars(found).items() if name not in plain}
        self.assertTrue(found.getMessage().endswith(f" 0.250000 {REQUEST_ID}"))
        expected = {
            "client": "192.0.2.1:40000",
            "method": "GET",
            "target": "/\\x22\xe9%s",
            "http_version": "1.1",
            "event": "complete",
            "status": 200,
            "code": None,
            "size": 5,
            "duration": 0.25,
            "request_id": REQUEST_ID,
            "trace_id": "c" * 32,
            "traceparent": TRACE["traceparent"],
            "referer": "from",
            "user_agent": "agent",
        }
        self.assertEqual(extra, expected)
        # Raises KeyError for a name that logging needs for itself.
        logging.getLogger().makeRecord("", 0, "", 0, "", (), None, extra=extra)

    def test_ids(self):
        """The operator tells two equal requests apart that nobody has named."""
        stream = io.StringIO()
        log = self.set_up(stream, access_log_format="json")
        log(record(trace=None))
        log(record(trace=None))
        first, second = map(json.loads, stream.getvalue().splitlines())
        self.assertNotEqual(first["request_id"], second["request_id"])

    def test_factory(self):
        """The project adds to every record of logging, this one too."""

        def make_record(*args: Any, **kwargs: Any) -> logging.LogRecord:
            item = logging.LogRecord(*args, **kwargs)
            item.site = "example"
            return item

        self.addCleanup(logging.setLogRecordFactory, logging.getLogRecordFactory())
        logging.setLogRecordFactory(make_record)
        with self.assertLogs(ACCESS, "INFO") as captured:
            self.set_up(None)(record())
        self.assertEqual(vars(captured.records[0])["site"], "example")


class DestinationTests(LogTestCase):
    """Where the log goes."""

    def setUp(self) -> None:
        super().setUp()
        self.default = io.StringIO()
        self.path = Path(self.enterContext(tempfile.TemporaryDirectory()), "access.log")

    def state(self) -> tuple[Any, ...]:
        """Return what can be configured of the logger."""
        logger = logging.getLogger(ACCESS)
        return [*logger.handlers], logger.level, logger.propagate, logger.disabled

    def test_default(self):
        """The operator says nothing, and reads each line once whatever the root logger does."""
        root = logging.StreamHandler(io.StringIO())
        self.configure(ROOT, [root])
        self.set_up(self.default)(record())
        self.assertRegex(self.default.getvalue(), r"^192\.0\.2\.1.*\n$")
        self.assertEqual(root.stream.getvalue(), "")

    def test_nobody(self):
        """The operator wants no log."""
        self.assertIsNone(set_up_access_log(ServerConfig(), None))
        self.assertEqual(self.state(), ([], logging.NOTSET, True, False))

    def test_configured(self):
        """The project has said something of one of the two loggers, and that decides."""
        for name in (ACCESS, PACKAGE):
            for lines, level, propagate, has_handler in (
                (1, logging.INFO, True, True),
                (1, logging.INFO, False, True),
                (0, logging.WARNING, True, True),
                (0, logging.INFO, True, False),
                (0, logging.NOTSET, True, True),
                (0, logging.NOTSET, False, False),
            ):
                stream = io.StringIO()
                handlers = [logging.StreamHandler(stream)] if has_handler else []
                with self.subTest(name=name, level=level, handlers=handlers):
                    self.configure(ACCESS)
                    self.configure(PACKAGE)
                    self.configure(name, handlers, level, propagate)
                    before = self.state()
                    self.set_up(self.default)(record())
                    self.assertEqual(stream.getvalue().count("\n"), lines)
                    self.assertEqual((self.default.getvalue(), self.state()), ("", before))

    def test_file(self):
        """The operator names a file, which is appended to and has each line at once."""
        self.path.write_text("before\n")
        self.configure(PACKAGE, level=logging.WARNING)
        self.set_up(self.default, access_log=str(self.path))(record(target=b"/\xe9"))
        text = self.path.read_text("utf-8")
        self.assertRegex(text, r"^before\n192\.0\.2\.1.*\xe9.*\n$")
        self.assertEqual(self.default.getvalue(), "")

    def test_standard_output(self):
        """The operator asks for standard output, a pipe that knows ASCII alone."""
        pipe = io.BytesIO()
        with contextlib.redirect_stdout(io.TextIOWrapper(pipe, "ascii")):
            self.set_up(self.default, access_log="-")(record(target=b"/\xe9"))
            self.assertRegex(pipe.getvalue(), rb'^192\.0\.2\.1.*"GET /\\xe9" 200 5\n$')

    def test_bad_file(self):
        """The operator names a file that cannot be written to."""
        with self.assertRaisesRegex(ConfigurationError, "--access-log /no/such/file"):
            self.set_up(self.default, access_log="/no/such/file")

    def test_disabled(self):
        """The project's LOGGING has disabled every logger that it does not name."""
        self.configure(ACCESS, disabled=True)
        log = self.set_up(self.default)
        log(record())
        self.assertEqual(self.default.getvalue().count("\n"), 1)
        log.close()
        self.assertEqual(self.state(), ([], logging.NOTSET, True, True))

    def test_twice(self):
        """The log is set up again, and the first one closed when it is no longer in use."""
        before = self.state()
        first = self.set_up(None, access_log=str(self.path))
        ((handler,), *_) = self.state()
        second = self.set_up(self.default)
        in_use = self.state()
        self.assertEqual(len(in_use[0]), 1)
        self.assertTrue(handler.stream.closed)
        first.close()
        second(record())
        self.assertEqual(self.default.getvalue().count("\n"), 1)
        self.assertEqual((self.path.read_text(), self.state()), ("", in_use))
        second.close()
        second.close()
        self.assertEqual(self.state(), before)

    def test_level(self):
        """The operator turns the log off and on again while the server runs."""
        log = self.set_up(self.default)
        for level in (logging.WARNING, logging.INFO):
            logging.getLogger(ACCESS).setLevel(level)
            log(record(target=str(level).encode()))
        self.assertRegex(self.default.getvalue(), r'^[^\n]* "GET 20" [^\n]*\n$')


class FailureTests(LogTestCase, WireTestCase):
    """The log cannot be written to."""

    @unittest.skipUnless(Path("/dev/full").exists(), "There is no full disk here.")
    def test_full_disk(self):
        """The disk is full; the operator is told once and the clients are served."""
        puppet = Puppet()
        server = self.serve(puppet)
        server.context.log_access = self.set_up(None, access_log="/dev/full")
        client = server.connect()
        with self.assertLogs(SERVER) as captured:
            for number in range(3):
                client.send(GET)
                puppet.calls[number].answer()
        self.assertEqual(client.statuses(), [200] * 3)
        self.assert_open(client)
        self.assertEqual(captured.records[0].levelname, "ERROR")
        text = "The access log /dev/full cannot be written: [Errno 28] No space left on device"
        self.assertEqual([each.getMessage() for each in captured.records], [text])

    def test_stalled_reader(self):
        """The reader of a pipe stops, reads on and stops again; the operator is told each time."""
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        os.set_blocking(reader, False)
        os.set_blocking(writer, False)
        stream = self.enterContext(open(writer, "w", buffering=1))  # noqa: PTH123 - has no path
        log = self.set_up(stream)
        for _ in range(2):
            for size in (4096, 1):
                with contextlib.suppress(BlockingIOError):
                    while True:
                        os.write(writer, bytes(size))
            with self.assertLogs(SERVER, "ERROR") as captured:
                log(record())
                log(record())
            self.assertEqual(len(captured.records), 1)
            with contextlib.suppress(BlockingIOError):
                while True:
                    os.read(reader, 65536)
            with self.assertNoLogs(SERVER):
                log(record())

    def test_closed(self):
        """The reader of a pipe has left, or the stream was closed."""
        reader, writer = os.pipe()
        os.close(reader)
        pipe = open(writer, "w", buffering=1)  # noqa: PTH123, SIM115 - closed below
        closed = io.StringIO()
        closed.close()
        for stream in (pipe, closed):
            log = self.set_up(stream)
            with self.assertLogs(SERVER, "ERROR") as captured:
                log(record())
                log(record())
            self.assertEqual(len(captured.records), 1)
        with self.assertRaises(BrokenPipeError):
            pipe.close()


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

    def test_headers(self):
        """The client's headers are recorded, and of a request that cannot be read none."""
        client, call = self.begin(request(b"User-Agent: agent/1", b"REFERER: x"))
        call.answer()
        client.send(b"\x1b[31m GET\r\n\r\n")
        found, unreadable = client.server.access
        self.assertEqual(dict(found.headers)[b"user-agent"], b"agent/1")
        self.assertEqual(dict(found.headers)[b"referer"], b"x")
        self.assertEqual(list(unreadable.headers), [])

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
