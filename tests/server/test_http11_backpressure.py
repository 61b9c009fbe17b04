"""Backpressure both ways: nothing is held without a bound, and nobody waits for ever."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from django.test import tag

from django_daphne.server import ClientDisconnected
from tests.compliance import CHUNKED, POST, request
from tests.support.memory import Call, MemoryClient, Puppet, WireTestCase

GET = request()
KILO = b"k" * 1024


@tag("loop")
class ReadingTests(WireTestCase):
    """The application does not take the body."""

    def upload(self, size: int) -> tuple[MemoryClient, Call]:
        """Return a client that has sent ``size`` KiB of body in pieces, and the call."""
        head = request(b"Content-Length: %d" % (size * 1024), line=POST)
        client, call = self.begin(head, body_buffer_size=8192)
        for _ in range(size):
            client.send(KILO)
        return client, call

    def test_bound(self):
        """The client sends on and on; what is held stays near the limit."""
        client, _ = self.upload(100)
        self.assertGreaterEqual(client.transport.unread, 100 * 1024 - 8192 - 1024)

    def test_all_arrives(self):
        """The application takes the body in the end, and all of it comes."""
        client, call = self.upload(100)
        size, more = 0, True
        while more:
            message = call.receive_now()
            self.assertLessEqual(len(message["body"]), 8192 + 1024)
            size, more = size + len(message["body"]), message["more_body"]
        self.assertEqual((size, client.transport.unread), (100 * 1024, 0))

    def test_chunks(self):
        """The client sends chunks, which are held back as well."""
        client, call = self.begin(request(CHUNKED, line=POST), body_buffer_size=8192)
        for _ in range(100):
            client.send(b"400\r\n" + KILO + b"\r\n")
        self.assertGreater(client.transport.unread, 80_000)
        for _ in range(20):
            call.receive()
        self.assertEqual(client.transport.unread, 0)

    def test_answer_without_reading(self):
        """The application answers although reading is paused; the next request is read."""
        puppet = Puppet()
        client = self.connect(puppet, body_buffer_size=100)
        client.send(request(b"Content-Length: 2048", line=POST, body=KILO))
        client.send(KILO + GET)
        puppet.calls[0].answer()
        puppet.calls[1].answer()
        self.assertEqual(client.statuses(), [200, 200])

    def test_beside_an_answer(self):
        """The client sends on without reading the answer: held to the limit, and to be had."""
        head = request(b"Content-Length: %d" % (100 * 1024), line=POST)
        client, call = self.begin(head, body_buffer_size=8192, write_buffer_size=8192)
        client.stop_reading()
        call.start()
        call.send("body", body=b"x" * 10**5, more_body=True)
        for _ in range(100):
            client.send(KILO)
        self.assertGreaterEqual(client.transport.unread, 100 * 1024 - 8192 - 1024)
        self.assertGreaterEqual(len(call.receive_now()["body"]), 8192)

    def test_leaving_while_paused(self):
        """The application reads on after a pause and finds that the client has left."""
        client, call = self.begin(request(b"Content-Length: 9999", line=POST), body_buffer_size=500)
        client.send(KILO)
        client.send(KILO)
        client.half_close()
        types = [call.receive_now()["type"] for _ in range(3)]
        self.assertEqual(types, ["http.request", "http.request", "http.disconnect"])


@tag("loop")
class PipelinedTests(WireTestCase):
    """The client pipelines without end."""

    def test_bound(self):
        """The client sends many requests behind a slow one; reading stops at the limit."""
        client, _ = self.begin(GET, max_pipelined_size=1000)
        for _ in range(100):
            client.send(GET)
        held = 100 * len(GET) - client.transport.unread
        self.assertTrue(1000 < held <= 1000 + len(GET), held)

    def test_bound_without_reading(self):
        """The client pipelines behind an answer that it does not read; reading stops as well."""
        client, call = self.begin(GET, max_pipelined_size=1000, write_buffer_size=8192)
        client.stop_reading()
        call.start()
        call.send("body", body=b"x" * 10**5)
        for _ in range(100):
            client.send(GET)
        held = 100 * len(GET) - client.transport.unread
        self.assertTrue(1000 < held <= 1000 + len(GET), held)

    def test_bound_of_a_flood(self):
        """The client pipelines faster than its requests get their turn; all are answered later."""

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body"})

        server = self.serve(application, max_pipelined_size=1000)
        client = server.connect()
        arrivals: list[int] = []

        def arrive() -> None:
            for _ in range(10):
                client.transport.arrive(GET * 100)
                arrivals.append(client.transport.unread)

        server.call(arrive)
        self.assertGreaterEqual(arrivals[-1], 800 * len(GET))
        server.settle()
        self.assertEqual(client.statuses(), [200] * 1000)

    def test_all_are_answered(self):
        """The client is answered once for each request, in spite of the limit."""
        puppet = Puppet()
        client = self.connect(puppet, max_pipelined_size=1000)
        for _ in range(100):
            client.send(GET)
        for number in range(100):
            puppet.calls[number].answer()
        self.assertEqual(client.statuses(), [200] * 100)


@tag("loop")
class SendingTests(WireTestCase):
    """The client does not read."""

    def stalled(self, **values: int) -> tuple[MemoryClient, Call]:
        """Return a client that does not read, and a call that has started its response."""
        client, call = self.begin(GET, write_buffer_size=8192, **values)
        call.receive_now()
        client.stop_reading()
        call.start()
        return client, call

    def test_send_waits(self):
        """The application's send() waits above the limit and goes on well below it."""
        client, call = self.stalled()
        call.body(b"x" * 4096, more=True)
        sending = call.send("body", body=b"x" * 8192, more_body=True)
        self.assertFalse(sending.done())
        client.take(4000)
        self.assertFalse(sending.done())
        client.take(7000)
        self.assertTrue(sending.done())

    def test_bound(self):
        """The application streams; what is held is the limit and one part."""
        client, call = self.stalled()
        while call.send("body", body=KILO, more_body=True).done():
            pass
        self.assertLess(len(client.transport.unsent), 8192 + 2048)

    def test_client_leaves(self):
        """The client leaves while send() waits, which returns; the next one raises."""
        client, call = self.stalled()
        sending = call.send("body", body=b"x" * 10**5, more_body=True)
        self.assertFalse(sending.done())
        client.reset()
        self.assertTrue(sending.done())
        with self.assertRaises(ClientDisconnected):
            call.send("body", body=b"x").result()

    def test_other_waiters(self):
        """The application sends from two tasks at once, and both go on."""
        client, call = self.stalled()
        tasks = [call.send("body", body=b"x" * 10**5, more_body=True) for _ in range(2)]
        client.read_on()
        self.assertEqual([task.done() for task in tasks], [True, True])

    def test_next_request_waits(self):
        """The client pipelines but does not read: its next request is not started."""
        puppet = Puppet()
        client = self.connect(puppet, write_buffer_size=8192)
        client.send(GET * 2)
        client.stop_reading()
        first = puppet.calls[0]
        first.start()
        first.send("body", body=b"x" * 10**5)
        self.assertEqual(len(puppet.calls), 1)
        client.read_on()
        self.assertEqual(len(puppet.calls), 2)

    def test_late_request_waits(self):
        """The client sends its next request later, still without reading: not started either."""
        puppet = Puppet()
        client = self.connect(puppet, write_buffer_size=8192)
        client.send(GET)
        client.stop_reading()
        first = puppet.calls[0]
        first.start()
        first.send("body", body=b"x" * 10**5)
        client.send(GET)
        self.assertEqual(len(puppet.calls), 1)
        client.read_on()
        self.assertEqual(len(puppet.calls), 2)

    def test_pause_reaches_the_next_exchange(self):
        """The client stops reading before the application sends: its first send() waits, too."""
        client, call = self.begin(GET * 2, write_buffer_size=8192)
        client.stop_reading()
        call.start()
        sending = call.send("body", body=b"x" * 10**5)
        client.server.settle()
        client.take(10**5 - 1000)
        self.assertTrue(sending.done())


@tag("loop")
class FileTests(WireTestCase):
    """Files on their way to a client."""

    def setUp(self):
        folder = self.enterContext(tempfile.TemporaryDirectory())
        self.path = Path(folder, "file")
        self.path.write_bytes(bytes(range(256)) * 400)

    def test_slow_client(self):
        """The client reads a file slowly; little of it is held, and all of it arrives."""
        client, call = self.begin(GET, write_buffer_size=8192)
        client.stop_reading()
        call.start()
        sending = call.send("pathsend", path=str(self.path))
        self.assertFalse(sending.done())
        self.assertLess(len(client.transport.unsent), 8192 + 2048)
        for _ in range(60):
            client.take(4096)
        client.read_on()
        sending.result()
        (response,) = client.responses()
        self.assertEqual(response.body, self.path.read_bytes())

    def test_client_leaves(self):
        """The client leaves in the middle of a file."""
        client, call = self.begin(GET, write_buffer_size=8192)
        client.stop_reading()
        call.start()
        sending = call.send("pathsend", path=str(self.path))
        client.reset()
        self.assertIsInstance(sending.exception(), ClientDisconnected)

    def test_time_runs_out(self):
        """The request's time runs out in the middle of a file: one cut, one record."""
        client, call = self.begin(GET, write_buffer_size=8192, http_timeout=5)
        client.stop_reading()
        call.start()
        sending = call.send("pathsend", path=str(self.path))
        client.server.wait(6)
        self.assert_reset(client)
        self.assertIsInstance(sending.exception(), ClientDisconnected)
        self.assertEqual([record.status for record in client.server.access], [200])
