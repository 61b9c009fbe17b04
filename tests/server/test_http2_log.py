"""The access log of HTTP/2."""

from __future__ import annotations

from django.test import tag

from tests.support.http2_frames import Kind, frame, request_fields
from tests.support.wire import CLIENT

from .http2_support import HTTP2Client, HTTP2TestCase

LOGGER = "django_daphne.server"
GET = request_fields()


@tag("loop")
class AccessLogTests(HTTP2TestCase):
    """One record for each request, whatever becomes of it."""

    def records(self, client: HTTP2Client) -> list[tuple[int, int, str]]:
        """Return what the records say of the answers."""
        return [(each.status, each.size, each.event) for each in client.server.access]

    def test_whole(self):
        """The client is answered in parts after a while."""
        client, answer, call = self.ask(b"POST", b"/a?b", (b"x-a", b"1"), end=False)
        client.wait(2)
        call.start(201)
        call.body(b"one ", more=True)
        self.assertEqual(client.server.access, [])
        call.body(b"two")
        client.finish(answer)
        (record,) = client.server.access
        self.assertEqual(
            (record.client, record.method, record.target, record.http_version, record.duration),
            (CLIENT, "POST", b"/a?b", "2", 2),
        )
        self.assertEqual(self.records(client), [(201, 7, "complete")])
        self.assertEqual(record.headers, [(b"host", b"zebra.example"), (b"x-a", b"1")])

    def test_left(self):
        """The client gives up before, within and behind the answer."""
        client, calls = self.speak()
        before, within, behind = client.in_one_read(GET, GET, GET)
        for call in calls[1:]:
            call.start()
            call.body(b"part", more=True)
        calls[2].body(b"end")
        client.hear()
        for answer in (before, within, behind):
            client.give_up(answer)
        ends = [(200, 7, "complete"), (499, 0, "complete"), (200, 4, "complete")]
        self.assertEqual(self.records(client), ends)

    def test_refused(self):
        """The client asks for what is not served: it is in the log, as far as it can be read."""
        client, _ = self.speak(max_request_line=100, max_header_size=2000)
        client.ask(request_fields(b"GET", b"/" + b"a" * 200))
        client.ask(request_fields(b"GET", b"/", (b"x-a", b"a" * 3000)))
        client.ask(((b":method", b"CONNECT"), (b":authority", b"zebra.example:80")))
        self.assertEqual([record.status for record in client.server.access], [414, 431, 501])
        self.assertEqual({record.http_version for record in client.server.access}, {"2"})

    def test_fault_of_the_connection(self):
        """The client breaks a rule of the connection while it is served: once each."""
        client, calls = self.speak()
        client.in_one_read(GET, GET)
        calls[0].start()
        calls[0].body(b"part", more=True)
        client.send(frame(Kind.PING, 0, 1, bytes(8)))
        self.assertEqual(self.records(client), [(200, 4, "complete"), (499, 0, "complete")])
        client.memory.reset()
        self.assertEqual(len(client.server.access), 2)

    def test_failed(self):
        """The application fails before and within its answer."""
        client, calls = self.speak()
        client.in_one_read(GET, GET)
        calls[1].start()
        calls[1].body(b"part", more=True)
        with self.assertLogs(LOGGER):
            calls[0].fail(ValueError())
            calls[1].fail(ValueError())
        self.assertEqual([record.status for record in client.server.access], [500, 200])
