"""Every limit and every timeout of HTTP/1.1: what the client sees, and when."""

from __future__ import annotations

import asyncio
from typing import Any

from django.test import tag

from django_daphne.server.protocols.deadlines import RESOLUTION
from tests.compliance import CHUNKED, FIVE, POST, request
from tests.support.memory import MemoryClient, Puppet, WireTestCase

GET = request()
CUT = b"HTTP/1.1 200 OK\r\n"
JUST_BEFORE = 0.01


class RefusalTestCase(WireTestCase):
    """Tests of what is refused before the application hears of it."""

    def assert_refused(self, status: int, wire: bytes, **values: Any) -> MemoryClient:
        """The client sends ``wire``, gets one answer and the end; nobody is called."""
        puppet = Puppet()
        client = self.connect(puppet, **values)
        client.send(wire)
        (response,) = client.responses()
        self.assertEqual(response.status, status)
        self.assertEqual(response.headers[b"connection"], b"close")
        self.assertEqual(puppet.calls, [])
        self.assert_ends(client)
        return client

    def assert_accepted(self, wire: bytes, **values: Any) -> None:
        """The client sends ``wire`` and the application is called."""
        self.begin(wire, **values)[1].answer()


@tag("loop")
class HeadLimitTests(RefusalTestCase):
    """The size of a request's head."""

    def line(self, size: int) -> bytes:
        """Return a request line of ``size`` bytes without its CRLF."""
        return b"GET /" + b"a" * (size - 14) + b" HTTP/1.1"

    def test_request_line(self):
        """The client sends the longest request line, and one byte more."""
        self.assert_accepted(request(line=self.line(100)), max_request_line=100)
        self.assert_refused(414, request(line=self.line(101)), max_request_line=100)

    def test_endless_request_line(self):
        """The client never ends its request line; it is refused all the same."""
        self.assert_refused(414, b"GET /" + b"a" * 200, max_request_line=100)

    def test_headers(self):
        """The client sends more bytes of headers than it may."""
        self.assert_accepted(request(b"X: " + b"a" * 50), max_header_size=100)
        self.assert_refused(431, request(b"X: " + b"a" * 100), max_header_size=100)

    def test_endless_headers(self):
        """The client never ends its headers; it is refused all the same."""
        self.assert_refused(431, request(b"X: " + b"a" * 100)[:-2], max_header_size=100)

    def test_header_count(self):
        """The client sends the most headers, Host among them, and one more."""
        self.assert_accepted(request(*[b"X: a"] * 9), max_header_count=10)
        self.assert_refused(431, request(*[b"X: a"] * 10), max_header_count=10)

    def test_trailers(self):
        """The client sends more trailers than headers would be allowed."""
        trailer = b"X-A: " + b"a" * 100 + b"\r\n\r\n"
        client, _ = self.begin(request(CHUNKED, line=POST), max_header_size=100)
        client.send(b"2\r\nhi\r\n0\r\n" + trailer)
        self.assertEqual(client.statuses(), [431])


@tag("loop")
class BodyLimitTests(RefusalTestCase):
    """The size of a request's body."""

    def test_content_length(self):
        """The client announces too much and is refused before it has sent any of it."""
        self.assert_refused(413, request(FIVE, line=POST), max_body_size=4)
        self.assert_accepted(request(FIVE, line=POST), max_body_size=5)

    def test_zero(self):
        """The operator allows no bodies at all; requests without one are served."""
        self.assert_refused(413, request(b"Content-Length: 1", line=POST), max_body_size=0)
        self.assert_accepted(GET, max_body_size=0)

    def test_chunks(self):
        """The client sends one chunk too many; the application learns that the request ended."""
        client, call = self.begin(request(CHUNKED, line=POST), max_body_size=10)
        client.send(b"5\r\nhello\r\n")
        self.assertEqual(call.receive_now()["body"], b"hello")
        waiting = call.receive()
        client.send(b"6\r\nworld")
        self.assertEqual(client.statuses(), [413])
        self.assertEqual(waiting.result(), {"type": "http.disconnect"})

    def test_chunks_behind_the_start(self):
        """The client sends too much after the answer has begun: it is cut."""
        client, call = self.begin(request(CHUNKED, line=POST), max_body_size=10)
        call.start()
        call.body(b"hello", more=True)
        client.send(b"ff\r\n")
        self.assert_reset(client)


@tag("loop")
class ConcurrencyTests(WireTestCase):
    """limit_concurrency: requests running at the same time."""

    def test_limit(self):
        """Two clients ask at once where one request may run; the second is told to come back."""
        puppet = Puppet()
        server = self.serve(puppet, limit_concurrency=1)
        first, second, third = server.connect(), server.connect(), server.connect()
        first.send(GET)
        second.send(GET)
        self.assertEqual(second.statuses(), [503])
        puppet.calls[0].answer()
        third.send(GET)
        puppet.calls[1].answer()
        self.assertEqual((first.statuses(), third.statuses()), ([200], [200]))

    def test_pipelined(self):
        """One client pipelines where one request may run: its requests never run together."""

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await asyncio.sleep(0)
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body"})

        client = self.connect(application, limit_concurrency=1)
        client.send(GET * 3)
        client.server.settle()
        self.assertEqual(client.statuses(), [200] * 3)


class TimeoutTestCase(WireTestCase):
    """Tests of deadlines, which come at most one tick late and never early."""

    def assert_nothing_until(self, client: MemoryClient, seconds: float) -> None:
        """Nothing happens before the time; afterwards it has passed with its tick."""
        client.server.wait(seconds - JUST_BEFORE)
        self.assert_open(client)
        self.assertEqual(client.read(), b"")
        client.server.wait(RESOLUTION + JUST_BEFORE)


@tag("loop")
class HeaderTimeoutTests(TimeoutTestCase):
    """The wait for the head of a request."""

    def test_silent_client(self):
        """The client connects and says nothing: it is closed without a word."""
        client = self.connect(Puppet(), header_timeout=30)
        self.assert_nothing_until(client, 30)
        self.assert_ends(client)

    def test_half_a_head(self):
        """The client begins a head and stops: it is told."""
        client = self.connect(Puppet(), header_timeout=30)
        client.send(CUT[:9])
        self.assert_nothing_until(client, 30)
        self.assertEqual(client.statuses(), [408])
        self.assert_ends(client)

    def test_byte_by_byte(self):
        """The client sends a byte now and then and gains nothing by it."""
        client = self.connect(Puppet(), header_timeout=30)
        for byte in b"GET / HTTP/1.1\r\nHost: a\r\nX":
            client.send(bytes([byte]))
            client.server.wait(1)
        client.server.wait(5)
        self.assertEqual(client.statuses(), [408])

    def test_second_request(self):
        """The client begins its second head and stops: the time counts from its first byte."""
        client, call = self.begin(GET, header_timeout=30, keep_alive_timeout=60)
        call.answer()
        client.statuses()
        client.server.wait(50)
        client.send(b"GET")
        self.assert_nothing_until(client, 30)
        self.assertEqual(client.statuses(), [408])

    def test_never(self):
        """The operator wants no such timeout."""
        client = self.connect(Puppet(), header_timeout=None)
        client.server.wait(10**6)
        self.assert_open(client)


@tag("loop")
class BodyTimeoutTests(TimeoutTestCase):
    """The wait for more of a body."""

    def test_body_stops(self):
        """The client sends a part of its body and stops: both sides are told."""
        client, call = self.begin(request(FIVE, line=POST, body=b"he"), body_timeout=60)
        call.receive_now()
        waiting = call.receive()
        self.assert_nothing_until(client, 60)
        self.assertEqual(client.statuses(), [408])
        self.assertEqual(waiting.result(), {"type": "http.disconnect"})

    def test_each_piece_counts(self):
        """The client sends a byte a minute, which is slow but not silent."""
        client, call = self.begin(request(FIVE, line=POST), body_timeout=60)
        for _ in range(5):
            client.server.wait(59)
            client.send(b"x")
        call.answer()
        self.assertEqual(client.statuses(), [200])

    def test_application_is_slow(self):
        """The application does not take the body: that is not the client's fault."""
        wire = request(b"Content-Length: 999", line=POST, body=b"x" * 300)
        client, call = self.begin(wire, body_timeout=60, body_buffer_size=100)
        client.server.wait(1000)
        call.receive_now()
        client.server.wait(50)
        self.assert_open(client)
        client.server.wait(11)
        self.assertEqual(client.statuses(), [408])

    def test_answer_has_begun(self):
        """The client stops sending while it is being answered: it is cut."""
        client, call = self.begin(request(FIVE, line=POST, body=b"he"), body_timeout=60)
        call.start()
        call.body(b"hello", more=True)
        client.server.wait(61)
        self.assert_reset(client)

    def test_body_that_is_discarded(self):
        """The client was answered early and stops sending: it is closed, and no second answer."""
        client, call = self.begin(request(FIVE, line=POST, body=b"he"), body_timeout=60)
        call.answer()
        self.assertEqual(client.statuses(), [200])
        client.server.wait(70)
        self.assert_ends(client)


@tag("loop")
class KeepAliveTimeoutTests(TimeoutTestCase):
    """The wait for the next request."""

    def test_idle(self):
        """The client has its answer and asks nothing more."""
        client, call = self.begin(GET, keep_alive_timeout=60)
        call.answer()
        client.read()
        self.assert_nothing_until(client, 60)
        self.assert_ends(client)

    def test_each_request_counts(self):
        """The client asks again in time, and the waiting starts anew."""
        puppet = Puppet()
        client = self.connect(puppet, keep_alive_timeout=60)
        for number in range(4):
            client.send(GET)
            puppet.calls[number].answer()
            client.server.wait(59)
        self.assertEqual(client.statuses(), [200] * 4)
        self.assert_open(client)

    def test_running_request(self):
        """The application takes its time, which is no idleness."""
        client, call = self.begin(GET, keep_alive_timeout=60)
        client.server.wait(600)
        call.answer()
        self.assertEqual(client.statuses(), [200])

    def test_background_work(self):
        """The application works on after its answer; the connection's end does not disturb it."""
        client, call = self.begin(GET, keep_alive_timeout=60)
        call.start()
        call.body(b"hello")
        client.server.wait(100)
        self.assertTrue(client.ended)
        self.assertFalse(call.cancelled)
        call.finish()
        self.assertFalse(call.cancelled)


@tag("loop")
class WriteTimeoutTests(TimeoutTestCase):
    """The wait for a client that does not read."""

    def test_client_does_not_read(self):
        """The client reads nothing of a large answer: it is reset and the application told."""
        client, call = self.begin(GET, write_timeout=60)
        client.stop_reading()
        call.start()
        call.receive_now()
        sending = call.send("body", body=b"x" * 10**6, more_body=True)
        waiting = call.receive()
        self.assertFalse(sending.done())
        client.server.wait(60 - JUST_BEFORE)
        self.assertFalse(waiting.done())
        client.server.wait(RESOLUTION + JUST_BEFORE)
        self.assert_reset(client)
        self.assertEqual(waiting.result(), {"type": "http.disconnect"})

    def test_slow_reader(self):
        """The client reads slowly, but it reads: it gets everything."""
        client, call = self.begin(GET, write_timeout=60)
        client.stop_reading()
        call.start()
        sending = call.send("body", body=b"x" * 10**6)
        for _ in range(100):
            client.server.wait(59)
            client.take(10_000)
        client.read_on()
        self.assertTrue(sending.done())
        self.assertEqual(len(client.responses()[0].body), 10**6)

    def test_after_the_response(self):
        """The client reads nothing of a response that is complete and closes: reset in the end."""
        client, call = self.begin(request(b"Connection: close"), write_timeout=60)
        client.stop_reading()
        call.start()
        call.send("body", body=b"x" * 10**6)
        client.server.wait(59)
        self.assertFalse(client.transport.lost)
        client.server.wait(60)
        self.assert_reset(client)


@tag("loop")
class RequestTimeoutTests(TimeoutTestCase):
    """http_timeout: the whole of a request and its response."""

    TEXT = b"Application failed to respond within time limit."

    def test_not_started(self):
        """The application does not answer in time: the client gets a page and the end."""
        client, call = self.begin(GET, http_timeout=5)
        call.receive_now()
        waiting = call.receive()
        self.assert_nothing_until(client, 5)
        (response,) = client.responses()
        self.assertEqual(response.status, 503)
        self.assertIn(self.TEXT, response.body)
        self.assertEqual(waiting.result(), {"type": "http.disconnect"})
        self.assert_ends(client)

    def test_head_only(self):
        """The application has only given its head, which is still in our hands."""
        client, call = self.begin(GET, http_timeout=5)
        call.start(200)
        client.server.wait(6)
        self.assertEqual(client.statuses(), [503])

    def test_started(self):
        """The application has begun its answer: the client is cut, so that nothing looks whole."""
        client, call = self.begin(GET, http_timeout=5)
        call.start()
        call.body(b"hello", more=True)
        client.server.wait(6)
        self.assert_reset(client)
        self.assertEqual(len(client.server.access), 1)

    def test_with_body_timeout(self):
        """Two deadlines of one request come at the same moment: one end, one record."""
        wire = request(FIVE, line=POST, body=b"he")
        client, call = self.begin(wire, http_timeout=5, body_timeout=5)
        call.start()
        call.body(b"hello", more=True)
        client.server.wait(6)
        self.assert_reset(client)
        self.assertEqual(len(client.server.access), 1)

    def test_in_time(self):
        """The application answers in time and the next request has its own time."""
        puppet = Puppet()
        client = self.connect(puppet, http_timeout=5)
        for number in range(3):
            client.send(GET)
            client.server.wait(4)
            puppet.calls[number].answer()
        self.assertEqual(client.statuses(), [200] * 3)

    def test_cancelled(self):
        """The application goes on regardless and is cancelled in the end."""
        client, call = self.begin(GET, http_timeout=5, application_close_timeout=10)
        client.server.wait(6)
        client.server.wait(9)
        self.assertFalse(call.cancelled)
        client.server.wait(2)
        self.assertTrue(call.cancelled)
