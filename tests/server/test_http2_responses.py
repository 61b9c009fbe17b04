"""Responses of HTTP/2: what is made of the application's words, right or wrong."""

from __future__ import annotations

from django.test import tag

from django_daphne.server import ApplicationError
from tests.support.http2_frames import Code, Kind, Setting, request_fields

from .http2_support import DATE_FIELD, SERVER_FIELD, HTTP2Client, HTTP2TestCase

LOGGER = "django_daphne.server"
GET = request_fields()
TEN = [(b"content-length", b"10")]
TRAILERS = (b"te", b"trailers")
EXPECT = (b"expect", b"100-continue")


@tag("loop")
class FieldTests(HTTP2TestCase):
    """The fields of a response."""

    def test_defaults(self):
        """The application sends one part: its length, the date and the server are said."""
        client, answer, call = self.ask()
        call.answer()
        self.assert_answered(client.finish(answer))
        fields = dict((DATE_FIELD, SERVER_FIELD))
        self.assertEqual(answer.headers, fields | {b"content-length": b"5"})

    def test_names(self):
        """The application writes names in capitals and values with blanks around them."""
        client, answer, call = self.ask()
        for _ in range(2):
            call.start(200, [(b"X-Zebra", b" a\t"), (b"DATE", b"now"), (b"Server", b"mine")])
            call.body(b"hello")
            self.assert_answered(client.finish(answer))
            self.assertEqual(
                answer.headers,
                {b"x-zebra": b"a", b"date": b"now", b"server": b"mine", b"content-length": b"5"},
            )
            answer = client.ask(GET)
            call = client.calls[-1]

    def test_cannot_be_sent(self):
        """The application sends a line break in a field: it is told, and can say something else."""
        client, answer, call = self.ask()
        for field in ((b"x", b"a\r\nb"), (b"x y", b"a"), (b"", b"a"), ("x", b"a"), (b"x", 5)):
            with self.subTest(field=field):
                error = call.send("start", status=200, headers=[field]).exception()
                self.assertIsInstance(error, ApplicationError)
        call.answer()
        self.assert_answered(client.finish(answer))

    def test_repeated(self):
        """The application sets two cookies: both are sent."""
        client, answer, call = self.ask()
        call.start(200, [(b"Set-Cookie", b"a=1"), (b"set-cookie", b"b=2")])
        call.body()
        client.finish(answer)
        block = next(each for each in client.conversation.log if each.kind == Kind.HEADERS).payload
        self.assertEqual((block.count(b"a=1"), block.count(b"b=2")), (1, 1))

    def test_long(self):
        """The application sends more fields than one frame takes."""
        for table in (4096, 0):
            with self.subTest(table=table):
                client, answer, call = self.ask(settings={Setting.HEADER_TABLE_SIZE: table})
                fields = [(b"x-%d" % number, b"v" * 5000) for number in range(10)]
                call.start(200, fields)
                call.body(b"hello")
                self.assert_answered(client.finish(answer))
                self.assertEqual({*fields} - {*answer.headers.items()}, set())
                kinds = [each.kind for each in client.conversation.log if each.stream]
                long = [Kind.HEADERS, *[Kind.CONTINUATION] * 3, Kind.DATA]
                self.assertEqual(kinds, long)

    def test_smaller_table(self):
        """The client takes its table away between two answers: none of them needs it."""
        client, answer, call = self.ask()
        call.answer()
        client.finish(answer)
        client.change({Setting.HEADER_TABLE_SIZE: 0})
        self.assert_going_on(client)
        client.change({Setting.HEADER_TABLE_SIZE: 4096})
        self.assert_going_on(client)


@tag("loop")
class LengthTests(HTTP2TestCase):
    """Content-Length, and bodies that differ from it."""

    def test_parts(self):
        """The application sends parts of a body whose length it does not say."""
        client, answer, call = self.ask()
        call.start()
        call.body(b"one ", more=True)
        client.hear()
        self.assertEqual((bytes(answer.body), answer.ended), (b"one ", False))
        call.body(b"two")
        self.assert_answered(client.finish(answer), body=b"one two")
        self.assertNotIn(b"content-length", answer.headers)

    def test_exact(self):
        """The application sends what it promised, in parts."""
        client, answer, call = self.ask()
        call.start(200, TEN)
        call.body(b"01234", more=True)
        call.body(b"56789", more=True)
        call.body()
        self.assert_answered(client.finish(answer), body=b"0123456789")

    def test_too_long(self):
        """The application sends more than it promised, at once or in parts: it is cut, and told."""
        for parts in ((b"0123456789x",), (b"01234", b"56789x"), (b"0123456789", b"x")):
            with self.subTest(parts=parts):
                client, answer, call = self.ask()
                call.start(200, TEN)
                for part in parts[:-1]:
                    call.body(part, more=True)
                error = call.send("body", body=parts[-1], more_body=True).exception()
                self.assertIsInstance(error, ApplicationError)
                self.assert_answered(client.finish(answer), body=b"0123456789")
                self.assertIsNone(answer.reset)
                self.assertEqual(client.server.access[0].size, 10)
                self.assert_going_on(client)

    def test_too_short(self):
        """The application sends less than it promised: the client sees that something is amiss."""
        for parts in ((b"012345678",), (b"01234", b"5678"), (b"",)):
            with self.subTest(parts=parts):
                client, answer, call = self.ask()
                call.start(200, TEN)
                for part in parts[:-1]:
                    call.body(part, more=True)
                error = call.send("body", body=parts[-1]).exception()
                self.assertIsInstance(error, ApplicationError)
                client.hear()
                self.assertEqual((answer.ended, answer.reset), (False, Code.INTERNAL_ERROR))
                self.assert_going_on(client)

    def test_nonsense(self):
        """The application says two lengths, or one that is none."""
        for values in ((b"5", b"6"), (b"-5",), (b"five",), (b"",)):
            with self.subTest(values=values):
                client, answer, call = self.ask()
                fields = [(b"content-length", value) for value in values]
                error = call.send("start", status=200, headers=fields).exception()
                self.assertIsInstance(error, ApplicationError)
                call.answer()
                self.assert_answered(client.finish(answer))

    def test_repeated(self):
        """The application says the same length twice: it is sent once."""
        client, answer, call = self.ask()
        call.start(200, TEN * 2)
        call.body(b"0123456789")
        self.assert_answered(client.finish(answer), body=b"0123456789")


@tag("loop")
class BodilessTests(HTTP2TestCase):
    """Responses that never have a body."""

    def assert_bodiless(self, client: HTTP2Client, number: int) -> None:
        """Nothing of a body was sent."""
        sizes = [len(each.payload) for each in client.conversation.log if each.kind == Kind.DATA]
        self.assertEqual(sum(sizes), 0, number)

    def test_head(self):
        """The client asks for the head; the application sends a body, whole or in parts."""
        for parts in ((b"0123456789",), (b"01234", b"56789"), (b"",)):
            with self.subTest(parts=parts):
                client, answer, call = self.ask(b"HEAD")
                call.start(200, TEN)
                for number, part in enumerate(parts, 1):
                    call.body(part, more=number < len(parts))
                self.assert_answered(client.finish(answer), body=b"")
                self.assertEqual(answer.headers[b"content-length"], b"10")
                self.assert_bodiless(client, answer.number)
                self.assert_going_on(client)

    def test_statuses(self):
        """The application sends a body with a status that has none."""
        for status in (204, 304):
            with self.subTest(status=status):
                client, answer, call = self.ask()
                call.start(status)
                call.body(b"0123456789")
                self.assert_answered(client.finish(answer), status, b"")
                self.assert_bodiless(client, answer.number)

    def test_length_of_204(self):
        """The application says the length of nothing, which 204 does not have (RFC 9110, 8.6)."""
        client, answer, call = self.ask()
        call.start(204, [(b"content-length", b"0")])
        call.body()
        client.finish(answer)
        self.assertNotIn(b"content-length", answer.headers)

    def test_one_frame(self):
        """The client asks for the head: HEADERS end the stream, without an empty DATA."""
        client, answer, call = self.ask(b"HEAD")
        call.answer()
        client.finish(answer)
        self.assertEqual(answer.pieces, [])

    def test_refused_head(self):
        """The client asks for the head of something that is refused: no body either."""
        long = (b"x-a", b"a" * 3000)
        for status, path, header in (
            (414, b"/" + b"a" * 200, (b"x-a", b"a")),
            (431, b"/", long),
            (413, b"/", (b"content-length", b"1000")),
        ):
            with self.subTest(status=status):
                client, _ = self.speak(
                    max_request_line=100, max_header_size=2000, max_body_size=100
                )
                answer = client.ask(request_fields(b"HEAD", path, header), end=status != 413)
                self.assertEqual((answer.status, bytes(answer.body)), (status, b""))

    def test_failing_head(self):
        """The client asks for the head, and the application fails: 500 without a body."""
        client, answer, call = self.ask(b"HEAD")
        with self.assertLogs(LOGGER):
            call.fail(ValueError())
        self.assert_answered(client.finish(answer), 500, b"")


@tag("loop")
class TrailerTests(HTTP2TestCase):
    """http.response.trailers."""

    def test_wanted(self):
        """The client takes trailers, in one message or in several."""
        client, answer, call = self.ask(b"GET", b"/", TRAILERS)
        call.start(trailers=True)
        call.body(b"hello")
        client.hear()
        self.assertFalse(answer.ended)
        call.send("trailers", headers=[(b"X-A", b" 1")], more_trailers=True).result()
        call.send("trailers", headers=[(b"x-b", b"2"), (b"Connection", b"close")]).result()
        self.assert_answered(client.finish(answer))
        self.assertEqual(answer.trailers, ((b"x-a", b"1"), (b"x-b", b"2")))
        self.assertIsNone(answer.reset)

    def test_unwanted(self):
        """The client did not ask for trailers: the body ends the answer."""
        client, answer, call = self.ask()
        call.start(trailers=True)
        call.body(b"hello")
        call.send("trailers", headers=[(b"x-a", b"1")]).result()
        self.assert_answered(client.finish(answer))
        self.assertIsNone(answer.trailers)

    def test_none(self):
        """The application has none in the end."""
        client, answer, call = self.ask(b"GET", b"/", TRAILERS)
        call.start(trailers=True)
        call.body(b"hello")
        call.send("trailers", headers=[]).result()
        self.assert_answered(client.finish(answer))

    def test_forgotten(self):
        """The application promises trailers, and returns without."""
        client, answer, call = self.ask(b"GET", b"/", TRAILERS)
        call.start(trailers=True)
        call.body(b"hello")
        with self.assertLogs(LOGGER):
            call.finish()
        client.hear()
        self.assertEqual((answer.ended, answer.reset), (False, Code.INTERNAL_ERROR))

    def test_behind_a_stalled_body(self):
        """The client makes room late: the trailers come behind the whole body."""
        client, answer, call = self.ask(b"GET", b"/", TRAILERS, credit=False)
        call.start(trailers=True)
        call.send("body", body=bytes(10**5))
        client.hear()
        sending = call.send("trailers", headers=[(b"x-a", b"1")])
        sending.result()
        client.hear()
        self.assertEqual((len(answer.body), answer.trailers), (65535, None))
        client.grant(0, 10**5)
        client.grant(answer.number, 10**5)
        self.assertEqual((len(answer.body), answer.trailers), (10**5, ((b"x-a", b"1"),)))
        self.assertTrue(answer.ended)


@tag("loop")
class InformationalTests(HTTP2TestCase):
    """Responses before the response."""

    def test_hints(self):
        """The application hints twice, then answers."""
        client, answer, call = self.ask()
        call.send("early_hint", links=[b"</a.css>"]).result()
        client.hear()
        self.assertEqual(answer.hints, [(103, ((b"link", b"</a.css>"),))])
        call.send("early_hint", links=[b"</b.css>", b"</c.css>"]).result()
        call.answer()
        self.assert_answered(client.finish(answer))
        self.assertEqual(len(answer.hints[1][1]), 2)

    def test_continue(self):
        """The client waits with its body until the application wants it."""
        client, answer, call = self.ask(b"POST", b"/", EXPECT, end=False)
        self.assertEqual(answer.hints, [])
        receiving = call.receive()
        client.hear()
        self.assertEqual(answer.hints, [(100, ())])
        client.give(answer, b"body", end=True)
        self.assertEqual(receiving.result()["body"], b"body")
        call.answer()
        self.assert_answered(client.finish(answer))
        self.assertEqual(len(answer.hints), 1)

    def test_continue_with_another(self):
        """The client asks the same first without a body and then with one, which is waited for."""
        fields = request_fields(b"POST", b"/", EXPECT)
        client, calls = self.speak()
        first = client.ask(fields)
        calls[0].answer()
        self.assertEqual(client.finish(first).hints, [])
        second = client.ask(fields, end=False)
        calls[1].receive()
        client.hear()
        self.assertEqual(second.hints, [(100, ())])

    def test_no_need_to_continue(self):
        """The client does not wait, or the application answers without the body: no 100."""
        client, answer, call = self.ask(b"POST", b"/", EXPECT, end=False)
        client.give(answer, b"body", end=True)
        call.receive_now()
        call.answer()
        self.assertEqual(client.finish(answer).hints, [])
        client, answer, call = self.ask(b"POST", b"/", EXPECT, end=False)
        call.answer()
        self.assertEqual(client.finish(answer).hints, [])
