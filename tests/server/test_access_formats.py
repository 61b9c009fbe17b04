"""The formats of the access log: what a line says, and what clients cannot make it say."""

from __future__ import annotations

import json
import os
import re
import time
import unittest
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from apachelogs import COMBINED, LogParser  # type: ignore[import-untyped]  # has no annotations

from django_daphne.server import AccessRecord, Trace, client_name, printable
from django_daphne.server.access_formats import LINES, Entry

EXTENDED = f"{COMBINED} %{{duration}}n %{{request-id}}n"
REQUEST_ID = "0123456789abcdef" * 2
TRACE: Trace = {
    "request_id": REQUEST_ID,
    "traceparent": f"00-{'c' * 32}-{'d' * 16}-01",
    "tracestate": None,
}

# What clients send who want another line, another field, another colour, or an error.
HOSTILE = (
    bytes(range(256)),
    b'/a" 200 5 "-" "-"\r\n192.0.2.9 - - [] "GET / HTTP/1.1" 200 5 "-" "-"',
    b"\\x22 \\\\ \\",
    b"\x1b[31m\x07\x7f\x9b2J\x85",
    b"%s %(status)s %% {} {0}",
    b'","status":500,"x":"\x00',
    "caf\xe9 \u65e5\u672c \u2028\u2029\x85 \U0001f40d".encode(),
    b"\xe9 \xff\xfe \xed\xa0\x80 \xc0\xaf",
    b"",
)


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
        "headers": [(b"host", b"example"), (b"referer", b"from"), (b"user-agent", b"agent")],
        "trace": TRACE,
    }
    return AccessRecord(**ordinary | values)


def hostile_records() -> Iterator[tuple[dict[str, bytes], AccessRecord]]:
    """Yield texts of clients, by field, and the records that have them there."""
    for text in HOSTILE:
        for field in ("target", "referer", "user_agent"):
            sent = {"target": b"/path", "referer": b"from", "user_agent": b"agent", field: text}
            headers = [(b"referer", sent["referer"]), (b"user-agent", sent["user_agent"])]
            yield sent, record(target=sent["target"], headers=headers)


class LineTestCase(unittest.TestCase):
    """Tests of lines."""

    def line(self, name: str, item: AccessRecord | None = None, **values: Any) -> str:
        """Return a line of now, of a record or of values for one: one line for every reader."""
        entry = Entry(item or record(**values), time.time())
        line = LINES[name](entry)
        self.assertEqual(line.splitlines(), [line])
        self.assertNotRegex(line, "[\x00-\x1f\x7f-\x9f\u2028\u2029]")
        return line

    def parsed(self, item: AccessRecord, name: str = "combined") -> Any:
        """Return a line as another program reads it."""
        parser = LogParser(COMBINED if name == "combined" else EXTENDED, encoding="bytes")
        return parser.parse(self.line(name, item))


class DaphneTests(LineTestCase):
    """Daphne's format."""

    def line_without_time(self, **values: Any) -> str:
        """Return the line of a record, its time replaced by "TIME"."""
        line, count = re.subn(
            r"\[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d\]", "[TIME]", self.line("daphne", **values)
        )
        self.assertEqual(count, 1, line)
        return line

    def test_format(self):
        """The operator reads what daphne would have written."""
        expected = '192.0.2.1:40000 - - [TIME] "GET /path?query" 200 5'
        self.assertEqual(self.line_without_time(), expected)

    def test_time(self):
        """The operator reads local time."""
        before = int(time.time())
        written = time.strptime(self.line("daphne").split("[")[1][:20], "%d/%b/%Y:%H:%M:%S")
        self.assertTrue(before <= time.mktime(written) <= time.time())

    def test_unix_socket(self):
        """The client came over a unix socket, where nobody has an address."""
        self.assertTrue(self.line_without_time(client=None).startswith("None - - ["))

    def test_nothing(self):
        """The client got no status, or no bytes."""
        self.assertTrue(self.line_without_time(status=0, size=0).endswith('" - -'))

    def test_injection(self):
        """The client sends what would end the line, the field, or colour the terminal."""
        target = b'/a\r\nb\x1b[31m"\\\x00\x7f\x9b\xe9 '
        self.assertEqual(
            self.line_without_time(target=target),
            "192.0.2.1:40000 - - [TIME]"
            r' "GET /a\x0d\x0ab\x1b[31m\x22\x5c\x00\x7f\x9b'
            '\xe9 " 200 5',
        )

    def test_read_back(self):
        """The operator turns the escapes back into what the client sent."""
        for sent, item in hostile_records():
            match = re.fullmatch(r'\S+ - - \[\S+\] "GET ([^"]*)" 200 5', self.line("daphne", item))
            assert match is not None
            text = re.sub(r"\\x(..)", lambda escape: chr(int(escape[1], 16)), match[1])
            self.assertEqual(text.encode("latin-1"), sent["target"])

    def test_printable(self):
        """Whatever the bytes are, none of the text acts on a terminal or ends a line."""
        text = printable(bytes(range(256)))
        self.assertEqual(text.splitlines(), [text])
        self.assertNotRegex(text, '[\x00-\x1f\x7f-\x9f"]')

    def test_client_name(self):
        """The operator reads host and port."""
        self.assertEqual(client_name(record()), "192.0.2.1:40000")
        self.assertIsNone(client_name(record(client=None)))


class CombinedTests(LineTestCase):
    """The formats that log analysers read."""

    def test_line(self):
        """The operator reads every field, in each of the two."""
        fields = r'"GET /path\?query HTTP/1\.1" 200 5 "from" "agent"'
        line = rf"192\.0\.2\.1 - - \[\d\d/\w{{3}}/\d{{4}}:\d\d:\d\d:\d\d [+-]\d{{4}}\] {fields}"
        self.assertRegex(self.line("combined"), f"^{line}$")
        self.assertRegex(
            self.line("extended", duration=0.0123454), f"^{line} 0.012345 {REQUEST_ID}$"
        )

    def test_parsed(self):
        """The analyser finds each field, the time among them."""
        before = datetime.now().astimezone().replace(microsecond=0)
        found = self.parsed(record(), "extended")
        self.assertTrue(before <= found.request_time <= datetime.now().astimezone())
        self.assertEqual((found.remote_host, found.request_line[-8:]), (b"192.0.2.1", b"HTTP/1.1"))
        self.assertEqual((found.final_status, found.bytes_sent), (200, 5))
        self.assertEqual(found.notes["duration"], b"0.250000")
        self.assertEqual(found.notes["request-id"], REQUEST_ID.encode())

    def test_missing(self):
        """The client came over a unix socket, sent no headers and got nothing."""
        found = self.parsed(record(client=None, headers=[], status=0, size=0))
        self.assertEqual((found.remote_host, found.final_status, found.bytes_sent), (b"-", None, 0))
        self.assertEqual(found.headers_in, {"Referer": None, "User-Agent": None})

    def test_ipv6(self):
        """The client's address has colons of its own."""
        self.assertEqual(self.parsed(record(client=("::1", 4000))).remote_host, b"::1")

    def test_injection(self):
        """The analyser finds what the client sent, where it belongs and nowhere else."""
        for name in ("combined", "extended"):
            for sent, item in hostile_records():
                found = self.parsed(item, name)
                self.assertEqual(found.request_line, b"GET %b HTTP/1.1" % sent["target"])
                headers = {"Referer": sent["referer"], "User-Agent": sent["user_agent"]}
                self.assertEqual((found.headers_in, found.final_status), (headers, 200))

    def test_escapes(self):
        """The operator reads pure ASCII, with nginx's escapes."""
        self.assertIn(
            r"GET /\x22\x5C\x0A\xE9\x7F~ HTTP", self.line("combined", target=b'/"\\\n\xe9\x7f~')
        )


class JSONTests(LineTestCase):
    """JSON, one object in a line."""

    def test_fields(self):
        """The collector finds every field under its name."""
        before = datetime.now().astimezone()
        found = json.loads(self.line("json", duration=0.0123454))
        moment = found.pop("time")
        self.assertRegex(moment, r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d$")
        written = datetime.fromisoformat(moment) + timedelta(milliseconds=1)  # it was cut
        self.assertTrue(before <= written <= datetime.now().astimezone() + timedelta(seconds=1))
        expected = {
            "client": "192.0.2.1:40000",
            "method": "GET",
            "target": "/path?query",
            "http_version": "1.1",
            "event": "complete",
            "status": 200,
            "code": None,
            "size": 5,
            "duration": 0.012345,
            "request_id": REQUEST_ID,
            "trace_id": "c" * 32,
            "traceparent": TRACE["traceparent"],
            "referer": "from",
            "user_agent": "agent",
        }
        self.assertEqual(found, expected)

    def test_missing(self):
        """The client came over a unix socket, sent no headers and got nothing."""
        found = json.loads(self.line("json", client=None, headers=[], status=0, size=0))
        names = ("client", "referer", "user_agent", "status", "size")
        self.assertEqual([found[name] for name in names], [None, None, None, None, 0])

    def test_injection(self):
        """The collector finds what the client sent as UTF-8, with escapes for what is none."""
        for sent, item in hostile_records():
            line = self.line("json", item)
            self.assertTrue(line.isascii())
            found = json.loads(line)
            texts = {
                field: text.decode("utf-8", "backslashreplace") for field, text in sent.items()
            }
            self.assertEqual({field: found[field] for field in sent}, texts)
            self.assertEqual((len(found), found["status"]), (15, 200))


class FieldsTests(unittest.TestCase):
    """The fields that go to formatters of the project's own."""

    def test_injection(self):
        """The client sends what such a formatter will write into a line."""
        for sent, item in hostile_records():
            fields = Entry(item, 0).fields()
            texts = {name: printable(value) for name, value in sent.items()}
            self.assertEqual({name: fields[name] for name in sent}, texts)

    def test_missing(self):
        """The client came over a unix socket and sent no headers."""
        fields = Entry(record(client=None, headers=[]), 0).fields()
        names = ("client", "referer", "user_agent")
        self.assertEqual([fields[name] for name in names], [None] * 3)

    def test_repeated(self):
        """The client names itself twice."""
        headers = [(b"user-agent", b"one"), (b"user-agent", b"two")]
        fields = Entry(record(headers=headers), 0).fields()
        self.assertEqual(fields["user_agent"], "two")


# As POSIX writes zones: hours to the west, then what summer is called and when it is.
CENTRAL = "CET-1CEST,M3.5.0,M10.5.0/3"
NEWFOUNDLAND = "NST3:30NDT,M3.2.0,M11.1.0"


@unittest.skipUnless(hasattr(time, "tzset"), "The zone of this process cannot be set.")
class TimeZoneTests(unittest.TestCase):
    """Local time and its zone."""

    # The zone, a moment of 2026 in UTC, and how the operator reads it in the two notations.
    TABLE = (
        ("UTC0", "01-31T23:59:59", "31/Jan/2026:23:59:59 +0000", "01-31T23:59:59.999+00:00"),
        ("IST-5:30", "02-28T18:30:00", "01/Mar/2026:00:00:00 +0530", "03-01T00:00:00.999+05:30"),
        (NEWFOUNDLAND, "01-15T00:00:00", "14/Jan/2026:20:30:00 -0330", "01-14T20:30:00.999-03:30"),
        (NEWFOUNDLAND, "06-15T00:00:01", "14/Jun/2026:21:30:01 -0230", "06-14T21:30:01.999-02:30"),
        (CENTRAL, "02-15T12:00:00", "15/Feb/2026:13:00:00 +0100", "02-15T13:00:00.999+01:00"),
        (CENTRAL, "07-15T12:00:00", "15/Jul/2026:14:00:00 +0200", "07-15T14:00:00.999+02:00"),
        (CENTRAL, "10-25T00:30:00", "25/Oct/2026:02:30:00 +0200", "10-25T02:30:00.999+02:00"),
        (CENTRAL, "10-25T01:30:00", "25/Oct/2026:02:30:00 +0100", "10-25T02:30:00.999+01:00"),
    )

    def setUp(self) -> None:
        self.addCleanup(self.set_zone, os.environ.get("TZ"))

    def set_zone(self, zone: str | None) -> None:
        """Set the zone of this process."""
        os.environ.pop("TZ", None)
        os.environ.update({} if zone is None else {"TZ": zone})
        time.tzset()

    def lines(self, moment: float) -> dict[str, str]:
        """Return the lines of all formats for a request that ended at this moment."""
        entry = Entry(record(), moment)
        return {name: make_line(entry) for name, make_line in LINES.items()}

    def test_table(self):
        """The operator lives east or west, in winter or summer, or in the hour that comes twice."""
        for zone, utc, common, iso in self.TABLE:
            self.set_zone(zone)
            lines = self.lines(datetime.fromisoformat(f"2026-{utc}.999600+00:00").timestamp())
            self.assertIn(f" - - [{common[:20]}] ", lines["daphne"])
            self.assertIn(f" - - [{common}] ", lines["combined"])
            self.assertEqual(json.loads(lines["json"])["time"], f"2026-{iso}")

    def test_months(self):
        """The operator reads the months in English."""
        self.set_zone("UTC0")
        found = [
            self.lines(datetime(2026, month, 1, tzinfo=UTC).timestamp())["combined"].split("/")[1]
            for month in range(1, 13)
        ]
        self.assertEqual(" ".join(found), "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec")
