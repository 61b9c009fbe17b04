"""Streams of HTTP/2: when their applications are called, how many at once, and with what."""

from __future__ import annotations

import asyncio
import itertools

from django.test import tag

from tests.compliance import request
from tests.support.http2_conversation import Answer
from tests.support.http2_frames import (
    PREFACE,
    Code,
    data_frame,
    headers_frame,
    literal,
    request_fields,
    reset_frame,
    settings_frame,
)
from tests.support.memory import Puppet

from .http2_support import HTTP2Client, HTTP2TestCase

GET = request_fields()
POST = request_fields(b"POST")
DISCONNECT = {"type": "http.disconnect"}


@tag("loop")
class StartingTests(HTTP2TestCase):
    """What a read has brought is started when all of it was read."""

    def test_reset_in_the_same_read(self):
        """The client takes its request back in the read that brought it: nobody is called."""
        client, calls = self.speak()
        number = client.take_number()
        client.send(headers_frame(number, literal(GET)) + reset_frame(number))
        self.assertEqual(calls, [])
        self.assert_going_on(client)

    def test_with_the_preface(self):
        """The client asks in its first read, behind its SETTINGS."""
        puppet = Puppet()
        client = self.serve(puppet).speak(greet=False, alpn="h2")
        answer = client.conversation.begin(1, b"GET")
        client.conversation.propose({})
        client.send(PREFACE + settings_frame() + headers_frame(1, literal(GET)))
        puppet.calls[0].answer()
        self.assert_answered(client.finish(answer))

    def test_body_in_the_same_read(self):
        """The client sends its whole request in one read: the body is there when it is wanted."""
        bodies = []

        async def application(scope, receive, send):
            message = await receive()
            bodies.append((message["body"], message["more_body"]))
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body"})

        client = self.serve(application).speak()
        answer = client.conversation.begin(1, b"POST")
        client.send(
            headers_frame(1, literal(POST), end=False)
            + data_frame(1, b"one ")
            + data_frame(1, b"two", end=True)
        )
        self.assert_answered(client.finish(answer), body=b"")
        self.assertEqual(bodies, [(b"one two", False)])

    def test_turns(self):
        """The client asks for 40 things in one read: other connections get their turns between."""
        client, calls = self.speak()
        frames = b"".join(headers_frame(1 + 2 * n, literal(GET)) for n in range(40))
        for number in range(40):
            client.conversation.begin(1 + 2 * number, b"GET")
        seen = []

        async def watch() -> None:
            client.wire.arrive(frames)
            for _ in range(8):
                seen.append(len(calls))
                await asyncio.sleep(0)

        client.server.run(watch())
        steps = [after - before for before, after in itertools.pairwise([0, *seen])]
        self.assertLessEqual(max(steps), 16)
        self.assertEqual(sum(steps), 40)
        for call in calls:
            call.answer()
        client.hear()
        self.assertTrue(all(answer.ended for answer in client.conversation.answers.values()))

    def test_reset_while_waiting(self):
        """The client asks for 40 things and takes all back a turn later: some are never called."""
        client, calls = self.speak()
        numbers = range(1, 81, 2)

        async def change_its_mind() -> None:
            client.wire.arrive(b"".join(headers_frame(n, literal(GET)) for n in numbers))
            client.wire.arrive(b"".join(reset_frame(n) for n in numbers))

        client.server.run(change_its_mind())
        client.server.settle()
        self.assertLessEqual(len(calls), 16)

    def test_lost_while_waiting(self):
        """The client leaves while its requests wait for their turn: they are never called."""
        client, calls = self.speak()

        async def leave() -> None:
            client.wire.arrive(b"".join(headers_frame(n, literal(GET)) for n in range(1, 81, 2)))
            client.wire.lose()

        client.server.run(leave())
        client.server.settle()
        self.assertLessEqual(len(calls), 16)


@tag("loop")
class ConcurrencyTests(HTTP2TestCase):
    """http2_max_concurrent_streams: what one connection can have running."""

    def assert_refused(self, client: HTTP2Client) -> None:
        """One request more is refused."""
        answer = client.ask(GET)
        self.assertEqual((answer.status, answer.reset), (None, Code.REFUSED_STREAM))

    def full(self, count: int = 3, **values: int) -> tuple[HTTP2Client, list[Answer], Puppet]:
        """Return a client with as many requests as it may have."""
        puppet = Puppet()
        server = self.serve(puppet, http2_max_concurrent_streams=count, **values)
        client = server.speak()
        answers = client.in_one_read(*[GET] * count)
        self.assertEqual(len(puppet.calls), count)
        return client, answers, puppet

    def test_limit(self):
        """The client asks for one thing too many, which is refused; the others are answered."""
        client, answers, puppet = self.full()
        self.assert_refused(client)
        for call in puppet.calls:
            call.answer()
        for answer in answers:
            self.assert_answered(client.finish(answer))
        self.assert_going_on(client)

    def test_in_one_read(self):
        """The client asks for too much in one read: the first of it is served."""
        client, calls = self.speak(http2_max_concurrent_streams=3)
        answers = client.in_one_read(*[GET] * 5)
        self.assertEqual(len(calls), 3)
        refused = [None] * 3 + [Code.REFUSED_STREAM] * 2
        self.assertEqual([answer.reset for answer in answers], refused)

    def test_after_a_reset(self):
        """The client resets, and the applications run on: there is room when they have ended."""
        client, answers, puppet = self.full()
        for answer in answers:
            client.give_up(answer)
        self.assert_refused(client)
        puppet.calls[1].finish()
        self.assert_going_on(client)
        answer = client.ask(GET)
        self.assertIsNone(answer.reset)
        self.assert_refused(client)

    def test_after_responses(self):
        """The applications run on behind their responses, and count until they return."""
        client, answers, puppet = self.full()
        for call in puppet.calls:
            call.start()
            call.body(b"hello")
        for answer in answers:
            self.assert_answered(client.finish(answer))
        self.assert_refused(client)
        for call in puppet.calls:
            call.finish()
        self.assert_going_on(client)

    def test_within_the_call(self):
        """The application answers and runs on before it was waited for once: it counts."""
        running: list[asyncio.Event] = []

        async def application(scope, receive, send):
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body"})
            event = asyncio.Event()
            running.append(event)
            await event.wait()

        server = self.serve(application, http2_max_concurrent_streams=2)
        client = server.speak()
        answers = [client.finish(client.ask(GET)) for _ in range(2)]
        self.assertEqual([answer.status for answer in answers], [200, 200])
        self.assert_refused(client)
        server.call(running[0].set)
        self.assertEqual(client.finish(client.ask(GET)).status, 200)

    def test_after_a_fault_of_the_application(self):
        """The application sends too little, is told so, and runs on: it counts until it returns."""
        client, answers, puppet = self.full(1)
        call = puppet.calls[0]
        call.start(200, [(b"content-length", b"10")])
        self.assertIsNotNone(call.send("body", body=b"x").exception())
        client.hear()
        self.assertEqual(answers[0].reset, Code.INTERNAL_ERROR)
        self.assert_refused(client)
        call.finish()
        self.assert_going_on(client)

    def test_after_deadlines(self):
        """The applications let http_timeout pass, and run on behind the answers of the server."""
        client, answers, puppet = self.full(http_timeout=5, application_close_timeout=-1)
        client.wait(6)
        self.assertEqual([answer.status for answer in answers], [503] * 3)
        self.assert_refused(client)
        puppet.calls[0].finish()
        self.assert_going_on(client)

    def test_after_cut_answers(self):
        """The applications let http_timeout pass within their answers, and run on."""
        client, answers, puppet = self.full(http_timeout=5, application_close_timeout=-1)
        for call in puppet.calls:
            call.start()
            call.body(b"x", more=True)
        client.wait(6)
        self.assertTrue(all(answer.reset is not None for answer in answers))
        self.assert_refused(client)
        puppet.calls[0].finish()
        self.assert_going_on(client)

    def test_many_rounds(self):
        """The client asks and resets again and again: never more applications than the limit."""
        client, calls = self.speak(http2_max_concurrent_streams=4)
        for _ in range(50):
            client.give_up(client.ask(GET))
        self.assertEqual(len(calls), 4)
        self.assertTrue(client.is_open)

    def test_refused_request_with_a_body(self):
        """The client's refused request has a body under way: it is passed over, and credited."""
        client, answers, puppet = self.full()
        refused = client.ask(POST, end=False)
        client.give(refused, b"x" * 1000, end=True)
        self.assertEqual(refused.reset, Code.REFUSED_STREAM)
        puppet.calls[0].answer()
        self.assert_answered(client.finish(answers[0]))
        self.assert_going_on(client)


@tag("loop")
class AdmissionTests(HTTP2TestCase):
    """limit_concurrency: what all connections can have running."""

    def test_503(self):
        """The client asks for more than the server does at a time: 503, and the rest goes on."""
        client, calls = self.speak(limit_concurrency=2)
        answers = client.in_one_read(GET, GET, GET)
        self.assertEqual(len(calls), 2)
        self.assertEqual((answers[2].status, answers[2].ended), (503, True))
        calls[0].answer()
        self.assert_answered(client.finish(answers[0]))
        self.assert_going_on(client)
        self.assertEqual([record.status for record in client.server.access], [503, 200, 200])

    def test_connections_together(self):
        """The client of another connection, of HTTP/1.1, has taken all the room."""
        puppet = Puppet()
        server = self.serve(puppet, limit_concurrency=1)
        other = server.connect()
        other.send(request())
        client = server.speak()
        self.assertEqual(client.ask(GET).status, 503)
        puppet.calls[0].answer()
        self.assertEqual(other.statuses(), [200])
        self.assert_going_on(client)

    def test_room_after_every_end(self):
        """The requests end in their ways, and each makes room for another."""
        client, calls = self.speak(limit_concurrency=1, http_timeout=5)

        def reset() -> None:
            client.give_up(answer)

        def fail() -> None:
            with self.assertLogs("django_daphne.server"):
                calls[-1].fail(ValueError())

        def answer_it() -> None:
            calls[-1].answer()

        ends = (reset, fail, answer_it, lambda: client.wait(6))
        for number, end in enumerate(ends, 1):
            answer = client.ask(GET)
            self.assertEqual(len(calls), number)
            end()
        self.assert_going_on(client)
