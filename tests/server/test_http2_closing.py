"""How connections of HTTP/2 end in good order: by the server, the application, or the client."""

from __future__ import annotations

from typing import Any

from django.test import tag

from django_daphne.server.protocols.deadlines import RESOLUTION
from tests.support.http2_conversation import Answer, GoAway
from tests.support.http2_frames import (
    ACK,
    MAX_WINDOW,
    Code,
    Kind,
    data_frame,
    frame,
    goaway_frame,
    headers_frame,
    literal,
    ping_frame,
    request_fields,
)
from tests.support.memory import Call, Puppet

from .http2_support import HTTP2Client, HTTP2TestCase

GET = request_fields()
FIRST = GoAway(MAX_WINDOW, Code.NO_ERROR)
CLOSE = (b"connection", b"close")


def last(number: int) -> GoAway:
    """Return the end of a connection whose last request has this number."""
    return GoAway(number, Code.NO_ERROR)


@tag("loop")
class DrainTests(HTTP2TestCase):
    """The server stops, and says so in two steps (RFC 9113, section 6.8)."""

    def draining(self, **values: Any) -> tuple[HTTP2Client, Answer, list[Call]]:
        """Return a client that was told the first step while it is served, and answers later."""
        client, calls = self.speak(**values)
        answer = client.ask(GET)
        client.conversation.answers_pings = False
        client.server.drain()
        client.hear()
        self.assertEqual(client.goaways, [FIRST])
        return client, answer, calls

    def know(self, client: HTTP2Client) -> None:
        """Answer the PING behind the first step."""
        client.send(ping_frame(client.conversation.log[-1].payload, ACK))

    def test_whole(self):
        """The client answers the PING, and its request is answered, too."""
        client, answer, calls = self.draining()
        self.know(client)
        self.assertEqual(client.goaways, [FIRST, last(1)])
        self.assertTrue(client.is_open)
        calls[0].answer()
        self.assert_answered(client.finish(answer))
        self.assert_ends(client.memory)
        self.assert_nothing_left(client)

    def test_idle(self):
        """The client has no requests: both steps, and the end."""
        client, _ = self.speak()
        client.server.drain()
        client.hear()
        self.assertEqual(client.goaways, [FIRST, last(0)])
        self.assert_ends(client.memory)
        self.assert_nothing_left(client)

    def test_ping_without_answer(self):
        """The client does not answer the PING: the second step comes after a second."""
        client, answer, calls = self.draining()
        client.wait(0.9)
        self.assertEqual(client.goaways, [FIRST])
        client.wait(0.1 + RESOLUTION)
        self.assertEqual(client.goaways, [FIRST, last(1)])
        calls[0].answer()
        self.assert_answered(client.finish(answer))
        self.assert_ends(client.memory)

    def test_answer_to_another_ping(self):
        """The client sends an answer to a PING that nobody sent: the second step does not come."""
        client, _, _ = self.draining()
        client.send(ping_frame(b"whatever", ACK))
        self.assertEqual(client.goaways, [FIRST])

    def test_request_between(self):
        """The client asks for something before it can know: it is served."""
        client, first, calls = self.draining()
        second = client.ask(GET)
        self.know(client)
        self.assertEqual(client.goaways, [FIRST, last(3)])
        for call in calls:
            call.answer()
        self.assert_answered(client.finish(first))
        self.assert_answered(client.finish(second))
        self.assert_ends(client.memory)

    def test_request_after(self):
        """The client asks for something although it knows: nobody is called, and nothing said."""
        client, first, calls = self.draining()
        self.know(client)
        second = client.ask(GET)
        third = client.ask(request_fields(b"POST"), end=False)
        client.give(third, b"x" * 100, end=True)
        self.assertEqual(len(calls), 1)
        self.assertIsNone(second.status)
        calls[0].answer()
        self.assert_answered(client.finish(first))
        self.assert_ends(client.memory)
        self.assertEqual(client.goaways, [FIRST, last(1)])

    def test_body_after(self):
        """The client sends the rest of a body behind both steps: it is read."""
        client, calls = self.speak()
        answer = client.ask(request_fields(b"POST"), end=False)
        client.server.drain()
        client.hear()
        self.assertEqual(client.goaways, [FIRST, last(1)])
        client.give(answer, b"whole", end=True)
        self.assertEqual(calls[0].receive_now()["body"], b"whole")
        calls[0].answer()
        self.assert_answered(client.finish(answer))
        self.assert_ends(client.memory)

    def test_twice(self):
        """The server is told to stop again: the client is not."""
        client, answer, calls = self.draining()
        client.server.drain()
        self.know(client)
        client.server.drain()
        self.assertEqual(client.goaways, [FIRST, last(1)])
        calls[0].answer()
        self.assert_answered(client.finish(answer))

    def test_after_a_reset(self):
        """The client gives its last request up: the connection ends."""
        client, answer, _ = self.draining()
        self.know(client)
        client.give_up(answer)
        self.assert_ends(client.memory)

    def test_client_stalls(self):
        """The client makes no room for what it asked: waited for, and then given up."""
        client, calls = self.speak(credit=False, write_timeout=7)
        answer = client.ask(GET)
        calls[0].start()
        calls[0].send("body", body=bytes(10**5))
        client.server.drain()
        client.wait(6)
        self.assertTrue(client.is_open)
        client.wait(1 + RESOLUTION)
        self.assertEqual(answer.reset, Code.CANCEL)
        self.assert_ends(client.memory)

    def test_before_the_preface(self):
        """The server stops while the client has not said anything, or a part of its preface."""
        for said in (b"", b"PRI * "):
            with self.subTest(said=said):
                memory = self.serve(None).connect()
                memory.send(said)
                memory.server.call(memory.connection.drain)
                self.assertFalse(memory.ended)
                memory.server.wait(0.5 + RESOLUTION)
                self.assertTrue(memory.ended)

    def test_first_request(self):
        """The client has connected only now; what it asks is served, and it learns of the end."""
        puppet = Puppet()
        client = self.serve(puppet).speak(greet=False)
        client.conversation.answers_pings = False
        client.server.drain()
        client.greet({})
        answer = client.ask(GET)
        self.assertEqual(client.goaways[0], FIRST)
        self.know(client)
        puppet.calls[0].answer()
        self.assert_answered(client.finish(answer))
        self.assert_ends(client.memory)

    def test_before_the_preface_over_tls(self):
        """The server stops while the client that agreed on HTTP/2 has not said anything."""
        client = self.serve(None).speak(greet=False, alpn="h2")
        client.server.drain()
        client.wait(1 + RESOLUTION)
        self.assertEqual(client.goaways, [FIRST, last(0)])
        self.assert_ends(client.memory)

    def test_fault_behind_both_steps(self):
        """The client asks behind the end, and breaks a rule: what was said last does not grow."""
        client, _, _ = self.draining()
        self.know(client)
        client.ask(GET)
        client.send(frame(Kind.PING, 0, 1, bytes(8)))
        self.assertEqual(client.goaways[-1], GoAway(1, Code.PROTOCOL_ERROR))
        self.assertFalse(client.is_open)

    def test_after_a_fault(self):
        """The server stops when the client was told of its fault already."""
        client, _ = self.speak()
        client.send(data_frame(1, b"x"))
        client.server.drain()
        self.assertEqual(client.goaways, [GoAway(0, Code.PROTOCOL_ERROR)])


@tag("loop")
class MaxRequestsTests(HTTP2TestCase):
    """http2_max_requests: the connection ends behind so many requests."""

    def test_in_order(self):
        """The client asks one by one: the connection ends with the answer to the last."""
        client, calls = self.speak(http2_max_requests=3)
        for _ in range(2):
            self.assert_going_on(client)
        self.assertEqual(client.goaways, [])
        answer = client.ask(GET)
        calls[-1].answer()
        self.assert_answered(client.finish(answer))
        self.assertEqual(client.goaways, [FIRST, last(5)])
        self.assert_ends(client.memory)
        self.assertEqual(len(client.server.access), 3)

    def test_under_way(self):
        """The client asks for more than that at once: what it could not know of is served."""
        client, calls = self.speak(http2_max_requests=2)
        answers = client.in_one_read(*[GET] * 4)
        self.assertEqual(len(calls), 4)
        for call in calls:
            call.answer()
        for answer in answers:
            self.assert_answered(client.finish(answer))
        self.assertEqual(client.goaways, [FIRST, last(7)])
        self.assert_ends(client.memory)


@tag("loop")
class ApplicationTests(HTTP2TestCase):
    """The application says "connection: close"."""

    def test_close(self):
        """The application asks for the end: told to the client as a GOAWAY, not as a field."""
        client, answer, call = self.ask()
        call.start(200, [CLOSE])
        call.body(b"hello")
        call.finish()
        self.assert_answered(client.finish(answer))
        self.assertNotIn(b"connection", answer.headers)
        self.assertEqual(client.goaways, [FIRST, last(1)])
        self.assert_ends(client.memory)

    def test_others_go_on(self):
        """The application asks for the end while it answers other requests: they are finished."""
        client, calls = self.speak()
        first, second = client.in_one_read(GET, GET)
        calls[0].start(200, [(b"Connection", b"x, Close")])
        calls[0].body(b"hello")
        self.assert_answered(client.finish(first))
        self.assertEqual(client.goaways, [FIRST, last(3)])
        self.assertTrue(client.is_open)
        calls[1].answer()
        self.assert_answered(client.finish(second))
        self.assert_ends(client.memory)

    def test_keep_alive(self):
        """The application says what has no meaning here: it is dropped."""
        client, answer, call = self.ask()
        fields = [(b"Connection", b"keep-alive"), (b"Keep-Alive", b"5"), (b"Upgrade", b"h2c")]
        call.start(200, [*fields, (b"Transfer-Encoding", b"chunked"), (b"X-A", b"1")])
        call.body(b"hello")
        self.assert_answered(client.finish(answer))
        names = {b"x-a", b"content-length", b"date", b"server"}
        self.assertEqual({*answer.headers}, names)
        self.assert_going_on(client)


@tag("loop")
class ClientTests(HTTP2TestCase):
    """The client ends the connection."""

    def test_goaway(self):
        """The client says that it ends: its requests are answered, then the connection closes."""
        client, answer, call = self.ask()
        client.send(goaway_frame())
        self.assertTrue(client.is_open)
        call.answer()
        self.assert_answered(client.finish(answer))
        self.assert_ends(client.memory)
        self.assert_nothing_left(client)

    def test_idle_goaway(self):
        """The client ends while it waits for nothing."""
        client, _ = self.speak()
        client.send(goaway_frame(0, Code.PROTOCOL_ERROR, b"debugging"))
        self.assert_ends(client.memory)

    def test_request_and_goaway(self):
        """The client ends in the same read in which it asks: it is served first."""
        client, calls = self.speak()
        answer = client.conversation.begin(1, b"GET")
        client.send(headers_frame(1, literal(GET)) + goaway_frame())
        calls[0].answer()
        self.assert_answered(client.finish(answer))
        self.assert_ends(client.memory)

    def test_request_after_its_goaway(self):
        """The client asks behind its own end: it is not served."""
        client, first, call = self.ask()
        client.send(goaway_frame())
        second = client.ask(GET)
        self.assertIsNone(second.status)
        call.answer()
        self.assert_answered(client.finish(first))
        self.assert_ends(client.memory)

    def test_half_close(self):
        """The client closes its side of the connection: without its frames nothing goes on."""
        client, _, call = self.ask()
        call.receive_now()
        waiting = call.receive()
        client.memory.half_close()
        self.assertEqual(waiting.result(), {"type": "http.disconnect"})
        client.hear()
        self.assertTrue(client.memory.ended)
        self.assertEqual([record.status for record in client.server.access], [499])
        self.assert_nothing_left(client)

    def test_half_close_without_reading(self):
        """The client closes its side and reads nothing: its application is told all the same."""
        client, _, call = self.ask()
        call.receive_now()
        client.stall()
        call.start()
        call.body(b"part", more=True)
        waiting = call.receive()
        client.memory.half_close()
        self.assertEqual(waiting.result(), {"type": "http.disconnect"})
        self.assertFalse(client.memory.ended)

    def test_lost(self):
        """The client vanishes: every application is told, and cancelled when it does not end."""
        client, calls = self.speak(application_close_timeout=5)
        client.in_one_read(GET, GET)
        calls[0].receive_now()
        waiting = calls[0].receive()
        client.memory.reset()
        self.assertEqual(waiting.result(), {"type": "http.disconnect"})
        self.assertEqual([record.status for record in client.server.access], [499, 499])
        calls[0].finish()
        client.server.wait(5)
        self.assertEqual([call.cancelled for call in calls], [False, True])
        self.assert_nothing_left(client)
