"""The client of HTTP/2 that asks for nothing, and the one that may be gone."""

from __future__ import annotations

from typing import Any

from django.test import tag

from django_daphne.server.protocols.deadlines import RESOLUTION
from tests.support.http2_conversation import Answer, GoAway
from tests.support.http2_frames import ACK, Code, Kind, data_frame, ping_frame
from tests.support.memory import Call

from .http2_support import DeadlineTestCase, HTTP2Client

DISCONNECT = {"type": "http.disconnect"}


@tag("loop")
class KeepAliveTests(DeadlineTestCase):
    """keep_alive_timeout: the client has no streams."""

    def assert_closed(self, client: HTTP2Client, last: int) -> None:
        """The client was told which request was the last, and the connection is closed."""
        self.assertEqual(client.goaways, [GoAway(last, Code.NO_ERROR)])
        self.assert_ends(client.memory)
        self.assert_nothing_left(client)

    def test_no_request(self):
        """The client begins, and never asks for anything: it has the time of a first head."""
        for keep_alive, header, expected in ((7, 5, 7), (0, 5, 5), (3, 5, 5)):
            with self.subTest(keep_alive=keep_alive):
                client, _ = self.speak(keep_alive_timeout=keep_alive, header_timeout=header)
                self.assert_nothing_until(client, expected)
                self.assert_closed(client, 0)

    def test_not_kept(self):
        """Connections are not kept, so the client's ends behind its first answer."""
        client, answer, call = self.ask(keep_alive_timeout=0)
        call.answer()
        client.finish(answer)
        client.wait(1)
        self.assert_closed(client, 1)

    def test_after_an_answer(self):
        """The client asks for nothing more."""
        client, answer, call = self.ask(keep_alive_timeout=7)
        client.wait(20)
        call.answer()
        client.finish(answer)
        self.assert_nothing_until(client, 7)
        self.assert_closed(client, 1)

    def test_after_a_reset(self):
        """The client gives its only request up, and asks for nothing more."""
        client, answer, _call = self.ask(keep_alive_timeout=7)
        client.wait(20)
        client.give_up(answer)
        self.assert_nothing_until(client, 7)
        self.assert_closed(client, 1)

    def test_one_after_the_other(self):
        """The client asks just in time, again and again."""
        client, _ = self.speak(keep_alive_timeout=7, header_timeout=7)
        for _ in range(4):
            client.wait(6)
            self.assert_going_on(client)
        self.assert_nothing_until(client, 7)
        self.assert_closed(client, 7)

    def test_pings(self):
        """The client asks for nothing, but sends a PING now and then: that is no request."""
        client, _ = self.speak(keep_alive_timeout=7, header_timeout=7)
        for number in range(10):
            client.wait(1)
            client.send(ping_frame(bytes((number,) * 8)))
        self.assertFalse(client.is_open, "a client without requests is kept for ever")

    def test_never(self):
        """The operator keeps idle connections."""
        client, _ = self.speak(keep_alive_timeout=-1)
        client.wait(10**5)
        self.assert_going_on(client)


@tag("loop")
class PingTests(DeadlineTestCase):
    """http2_ping_interval and http2_ping_timeout: the client is silent while it is served."""

    def silent(self, **values: Any) -> tuple[HTTP2Client, Answer, Call]:
        """Return a client that will not answer, and the call of its request."""
        values = {"http2_ping_interval": 10, "http2_ping_timeout": 7, **values}
        client, answer, call = self.ask(**values)
        client.conversation.answers_pings = False
        client.hear()
        return client, answer, call

    def pings(self, client: HTTP2Client) -> int:
        """Return how often the client was asked."""
        client.hear()
        return sum(
            each.kind == Kind.PING and not each.flags & ACK for each in client.conversation.log
        )

    def test_no_answer(self):
        """The client does not answer a PING: the connection is reset."""
        client, _, call = self.silent()
        call.receive_now()
        waiting = call.receive()
        self.assert_nothing_until(client, 10)
        self.assertEqual(self.pings(client), 1)
        client.wait(7 - 2 * RESOLUTION)
        self.assertTrue(client.is_open)
        client.wait(3 * RESOLUTION)
        self.assert_reset(client.memory)
        self.assertEqual(waiting.result(), DISCONNECT)
        self.assert_nothing_left(client)

    def test_answers(self):
        """The client answers every PING, and is served as long as it takes."""
        client, answer, call = self.silent()
        client.conversation.answers_pings = True
        client.wait(100)
        self.assertIn(self.pings(client), range(8, 11))
        call.answer()
        self.assert_answered(client.finish(answer))

    def test_any_word(self):
        """The client sends something else in place of the answer."""
        client, answer, call = self.silent()
        client.wait(10 + RESOLUTION)
        client.change({})
        client.wait(7)
        call.answer()
        self.assert_answered(client.finish(answer))

    def test_second_silence(self):
        """The client answers once and then never more."""
        client, _, _ = self.silent()
        client.wait(10 + RESOLUTION)
        client.send(ping_frame(client.conversation.log[-1].payload, ACK))
        client.wait(10 + 7 + 2 * RESOLUTION)
        self.assert_reset(client.memory)

    def test_idle(self):
        """The client has no requests: it is not asked."""
        client, answer, call = self.silent(keep_alive_timeout=100)
        call.answer()
        client.finish(answer)
        client.wait(90)
        self.assertEqual(self.pings(client), 0)
        self.assertTrue(client.is_open)

    def test_talkative(self):
        """The client sends body all the time: it is not asked."""
        client, answer, call = self.ask(b"POST", end=False, http2_ping_interval=10)
        client.hear()
        for _ in range(10):
            client.wait(5)
            client.send(data_frame(answer.number, b"x"))
            call.receive_now()
        self.assertEqual(self.pings(client), 0)

    def test_never(self):
        """The operator asks nobody."""
        client, answer, call = self.silent(http2_ping_interval=-1)
        client.wait(10**4)
        self.assertEqual(self.pings(client), 0)
        call.answer()
        self.assert_answered(client.finish(answer))
