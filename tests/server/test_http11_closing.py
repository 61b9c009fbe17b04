"""The ends of a connection: leaving, half-closing, early answers, lingering, draining, resets."""

from __future__ import annotations

from django.test import tag

from django_daphne.server.protocols.deadlines import RESOLUTION
from tests.compliance import CHUNKED, FIVE, POST, request
from tests.support.memory import Call, MemoryClient, Puppet, WireTestCase

GET = request()
DISCONNECT = {"type": "http.disconnect"}


def upload(size: int, body: bytes = b"") -> bytes:
    """Return a request that announces ``size`` bytes of body."""
    return request(b"Content-Length: %d" % size, line=POST, body=body)


@tag("loop")
class EarlyResponseTests(WireTestCase):
    """The application answers before it has the whole body."""

    def test_rest_is_discarded(self):
        """The client sends the rest of its body and its next request."""
        puppet = Puppet()
        client = self.connect(puppet)
        client.send(upload(10, b"hello"))
        puppet.calls[0].answer(b"one")
        client.send(b"world" + GET)
        puppet.calls[1].answer(b"two")
        self.assertEqual([each.body for each in client.responses()], [b"one", b"two"])

    def test_rest_is_too_long(self):
        """The client has announced more than is thrown away: the connection cannot go on."""
        client, call = self.begin(upload(5000, b"x"), max_discard_size=1000)
        call.answer()
        (response,) = client.responses()
        self.assertEqual(response.headers[b"connection"], b"close")
        self.assert_ends(client)

    def test_lingering(self):
        """The client goes on sending; it is let finish for a while, then closed."""
        client, call = self.begin(upload(5000), max_discard_size=1000, linger_timeout=5)
        call.answer()
        client.send(b"x" * 900)
        self.assertFalse(client.transport.closing)
        client.server.wait(5 + RESOLUTION)
        self.assertTrue(client.transport.lost)
        self.assertEqual(client.statuses(), [200])

    def test_lingering_has_a_limit(self):
        """The client goes on sending for ever and is closed when it is too much."""
        client, call = self.begin(upload(5000), max_discard_size=1000)
        call.answer()
        client.send(b"x" * 1001)
        self.assertTrue(client.transport.lost)

    def test_lingering_ends_with_the_client(self):
        """The client reads the answer and closes, and so does the server at once."""
        client, call = self.begin(upload(5000), max_discard_size=1000)
        call.answer()
        client.half_close()
        self.assertTrue(client.transport.lost)
        self.assertFalse(client.was_reset)

    def test_rest_is_not_counted_twice(self):
        """The client sends exactly what is thrown away at most, in pieces."""
        puppet = Puppet()
        client = self.connect(puppet, max_discard_size=1000)
        client.send(upload(1000))
        puppet.calls[0].answer()
        for _ in range(10):
            client.send(b"x" * 100)
        client.send(GET)
        puppet.calls[1].answer()
        self.assertEqual(client.statuses(), [200, 200])

    def test_chunks(self):
        """The client sends chunks whose end nobody knows: the connection is closed."""
        client, call = self.begin(request(CHUNKED, line=POST, body=b"2\r\nhi\r\n"))
        call.answer()
        self.assertEqual(client.statuses(), [200])
        self.assert_ends(client)

    def test_nothing_is_smuggled(self):
        """The client hides a request in a body that is thrown away."""
        puppet = Puppet()
        client = self.connect(puppet)
        client.send(upload(len(GET)))
        puppet.calls[0].answer()
        client.send(GET)
        self.assertEqual(len(puppet.calls), 1)
        self.assert_open(client)


@tag("loop")
class LeavingTests(WireTestCase):
    """The client leaves in the middle of an exchange."""

    def waiting(self, wire: bytes = GET) -> tuple[MemoryClient, Call]:
        """Return a client and a call that has taken the whole request."""
        client, call = self.begin(wire)
        call.receive_now()
        return client, call

    def test_before_the_answer(self):
        """The client resets; the application that waits learns it at once, and always again."""
        client, call = self.waiting()
        waiting = call.receive()
        self.assertFalse(waiting.done())
        client.reset()
        self.assertEqual(waiting.result(), DISCONNECT)
        self.assertEqual(call.receive_now(), DISCONNECT)

    def test_inside_the_body(self):
        """The client leaves inside its body; what has come is delivered before the news."""
        client, call = self.begin(upload(10, b"hello"))
        client.reset()
        self.assertEqual(call.receive_now()["body"], b"hello")
        self.assertEqual(call.receive_now(), DISCONNECT)

    def test_eof_inside_the_body(self):
        """The client half-closes inside its body, which therefore never ends."""
        client, call = self.begin(upload(10, b"hello"))
        client.half_close()
        self.assertEqual(
            call.receive_now(), {"type": "http.request", "body": b"hello", "more_body": True}
        )
        self.assertEqual(call.receive_now(), DISCONNECT)
        self.assert_reset(client)

    def test_not_before(self):
        """The client waits patiently; nothing is said to the application until its answer."""
        client, call = self.waiting()
        waiting = call.receive()
        client.server.wait(1000)
        self.assertFalse(waiting.done())
        call.start()
        call.body(b"part", more=True)
        self.assertFalse(waiting.done())
        call.body()
        self.assertEqual(waiting.result(), DISCONNECT)

    def test_next_request_is_no_leaving(self):
        """The client pipelines; the application of the first request hears nothing of it."""
        client, call = self.waiting()
        waiting = call.receive()
        client.send(GET)
        self.assertFalse(waiting.done())

    def test_background_work(self):
        """The client leaves after its answer; the application's work goes on."""
        client, call = self.waiting()
        call.start()
        call.body(b"hello")
        client.reset()
        client.server.wait(1000)
        self.assertFalse(call.cancelled)
        call.finish()
        self.assertFalse(call.cancelled)

    def test_application_is_cancelled(self):
        """The client leaves, the application does not end, and its time runs out."""
        client, call = self.waiting()
        client.reset()
        client.server.wait(9.9)
        self.assertFalse(call.cancelled)
        with self.assertLogs("django_daphne.server", "INFO") as logs:
            client.server.wait(0.2)
        self.assertTrue(call.cancelled)
        self.assertIn("GET '/zebra'", logs.output[0])

    def test_application_ends_in_time(self):
        """The client leaves and the application ends: nothing is left to be cancelled."""
        client, call = self.waiting()
        client.reset()
        call.finish()
        with self.assertNoLogs("django_daphne.server", "INFO"):
            client.server.wait(1000)
        self.assertEqual(client.server.clock.pending, 0)


@tag("loop")
class HalfCloseTests(WireTestCase):
    """The client closes its own side after its request."""

    def half_closed(self, **values: float | None) -> tuple[MemoryClient, Call]:
        """Return a client that has half-closed, and the call."""
        client, call = self.begin(GET, **values)
        call.receive_now()
        client.half_close()
        return client, call

    def test_default_time(self):
        """The client gets three seconds for its answer, then it has left."""
        client, call = self.half_closed()
        waiting = call.receive()
        client.server.wait(2.9)
        self.assertFalse(waiting.done())
        client.server.wait(0.1 + RESOLUTION)
        self.assertEqual(waiting.result(), DISCONNECT)

    def test_answer_in_time(self):
        """The client is answered in time, and then the connection ends."""
        client, call = self.half_closed()
        client.server.wait(2)
        call.start()
        client.server.wait(60)
        call.body(b"hello")
        self.assertEqual(client.statuses(), [200])
        self.assertTrue(client.transport.lost)
        self.assertFalse(client.was_reset)

    def test_inside_the_answer(self):
        """The client half-closes while it is being answered: it has left, at once."""
        client, call = self.begin(GET)
        call.receive_now()
        call.start()
        call.body(b"hello", more=True)
        waiting = call.receive()
        client.half_close()
        self.assertEqual(waiting.result(), DISCONNECT)
        self.assert_reset(client)

    def test_zero(self):
        """The operator gives no time."""
        client, call = self.half_closed(half_close_timeout=0)
        waiting = call.receive()
        client.server.wait(RESOLUTION)
        self.assertEqual(waiting.result(), DISCONNECT)

    def test_never(self):
        """The operator lets clients half-close for ever, before and inside the answer."""
        client, call = self.half_closed(half_close_timeout=None)
        client.server.wait(10_000)
        call.start()
        call.body(b"hel", more=True)
        client.server.wait(10_000)
        call.body(b"lo")
        self.assertEqual(client.responses()[0].body, b"hello")

    def test_tls(self):
        """The client ends TLS, which knows no half-close: it has left, at once."""
        puppet = Puppet()
        client = self.serve(puppet).connect(is_tls=True)
        client.send(GET)
        client.half_close()
        puppet.calls[0].receive_now()
        self.assertEqual(puppet.calls[0].receive_now(), DISCONNECT)
        self.assert_reset(client)

    def test_pipelined_requests(self):
        """The client sends three requests and half-closes: all are answered."""
        puppet = Puppet()
        client = self.connect(puppet)
        client.send(GET * 3)
        client.half_close()
        for number in range(3):
            puppet.calls[number].answer()
        self.assertEqual(client.statuses(), [200] * 3)
        self.assertTrue(client.transport.lost)

    def test_inside_a_head(self):
        """The client half-closes inside a head: nothing to answer."""
        client = self.connect(Puppet())
        client.send(GET[:-2])
        client.half_close()
        self.assert_ends(client)

    def test_answer_not_read_yet(self):
        """The client half-closes with its answer complete but not all read: no waiting after."""
        client, call = self.begin(GET)
        client.stop_reading()
        call.start()
        call.send("body", body=b"x" * 10**6)
        client.half_close()
        client.read_on()
        self.assertEqual(len(client.responses()[0].body), 10**6)
        self.assertTrue(client.transport.lost, "the connection waits for a request of nobody")


@tag("loop")
class DrainTests(WireTestCase):
    """The server is stopping."""

    def drain(self, client: MemoryClient) -> None:
        """Tell the connection to come to an end."""
        client.server.call(client.connection.drain)

    def test_idle(self):
        """The client has been idle for a while and is closed."""
        client, call = self.begin(GET)
        call.answer()
        client.read()
        client.server.wait(1)
        self.drain(client)
        self.assert_ends(client)

    def test_busy(self):
        """The client asks all the time: its next request is on its way, and is served."""
        puppet = Puppet()
        client = self.connect(puppet)
        client.send(GET)
        puppet.calls[0].answer()
        client.responses()
        client.server.wait(0.9)
        self.drain(client)
        client.server.wait(0.4)
        client.send(GET)
        puppet.calls[1].answer()
        (response,) = client.responses()
        self.assertEqual(response.headers[b"connection"], b"close")
        self.assert_ends(client)

    def test_busy_until_now(self):
        """The client has asked until now, and does not ask any more."""
        client, call = self.begin(GET)
        call.answer()
        client.read()
        self.drain(client)
        client.server.wait(0.4)
        self.assert_open(client)
        client.server.wait(0.1 + RESOLUTION)
        self.assert_ends(client)

    def test_pipelined(self):
        """The client's next request has come, and nobody has looked at it yet."""
        puppet = Puppet()
        client = self.connect(puppet)
        client.send(GET)
        puppet.calls[0].answer()
        client.responses()

        def drain_and_ask() -> None:
            client.connection.drain()
            client.transport.arrive(GET)

        client.server.call(drain_and_ask)
        puppet.calls[1].answer()
        (response,) = client.responses()
        self.assertEqual(response.headers[b"connection"], b"close")
        self.assert_ends(client)

    def test_new(self):
        """The client has connected and said nothing yet; its first request is served."""
        puppet = Puppet()
        client = self.connect(puppet)
        self.drain(client)
        self.assert_open(client)
        client.send(GET)
        puppet.calls[0].answer()
        (response,) = client.responses()
        self.assertEqual(response.headers[b"connection"], b"close")
        self.assert_ends(client)

    def test_new_and_silent(self):
        """The client has connected and says nothing for a while."""
        client = self.connect(Puppet())
        self.drain(client)
        client.server.wait(0.4)
        self.assert_open(client)
        client.server.wait(0.1 + RESOLUTION)
        self.assert_ends(client)

    def test_running(self):
        """The client's running request is finished, and says that it is the last."""
        client, call = self.begin(GET)
        self.drain(client)
        self.assert_open(client)
        call.answer()
        (response,) = client.responses()
        self.assertEqual((response.body, response.headers[b"connection"]), (b"hello", b"close"))
        self.assert_ends(client)

    def test_inside_the_answer(self):
        """The client's answer has begun and cannot say that it is the last; so one may follow."""
        client, call = self.begin(GET)
        call.start()
        call.body(b"hel", more=True)
        self.drain(client)
        call.body(b"lo")
        self.assertEqual(client.responses()[0].body, b"hello")
        client.server.wait(0.4)
        self.assert_open(client)
        client.server.wait(0.1 + RESOLUTION)
        self.assert_ends(client)

    def test_half_a_head(self):
        """The client is in the middle of a head; its request is served as the last."""
        puppet = Puppet()
        client = self.connect(puppet)
        client.send(GET[:10])
        self.drain(client)
        client.send(GET[10:])
        puppet.calls[0].answer()
        self.assertEqual(client.statuses(), [200])
        self.assert_ends(client)

    def test_upload(self):
        """The client is in the middle of its body, which is read to its end."""
        client, call = self.begin(request(FIVE, line=POST, body=b"he"))
        self.drain(client)
        client.send(b"llo")
        self.assertEqual(call.receive_now()["body"], b"hello")
        call.answer()
        self.assertEqual(client.statuses(), [200])
        self.assert_ends(client)
