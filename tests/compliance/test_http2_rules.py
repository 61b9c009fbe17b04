"""The rules of requests in HTTP/2, driven against the server over real sockets.

A refused request costs its stream and nothing else: the application is not called, and the
connection serves the next one.
"""

from __future__ import annotations

from collections import Counter

from django.test import SimpleTestCase, tag

from tests.support.http2 import SocketClient
from tests.support.http2_frames import (
    Code,
    data_frame,
    header_frames,
    literal,
    request_fields,
    reset_frame,
)

from . import over
from .http2 import (
    HTTP2TestCase,
    Receive,
    Send,
    answer,
    body,
    read_body,
    start,
)
from .http2_rules import FIVE, POST, RULES, Rule, sized


class RuleTestCase(HTTP2TestCase):
    """Plays rules against one server, or one of their own where they configure it."""

    ended: list[bytes]

    async def _handle(self, scope: object, receive: Receive, send: Send) -> None:
        """Answer as usual, and keep the bodies that were seen to their end."""

        async def keep() -> dict[str, object]:
            message = await receive()
            if message["type"] == "http.request" and not message.get("more_body", False):
                self.ended.append(message.get("body", b""))
            return dict(message)

        await answer(scope, keep, send)

    def setUp(self) -> None:
        super().setUp()
        self.ended = []

    def judge(self, rule: Rule) -> None:
        """Play one rule and compare everything that can be seen of it."""
        self.serve(self._handle, **rule.options)
        client = self.connect()
        self.play(client, rule)
        if rule.goaway is None:
            client.settle()
            self.assert_served(client)
        else:
            self.assert_others_served()
        self.application.wait_until_idle()
        self.judge_application(rule)

    def play(self, client: SocketClient, rule: Rule) -> None:
        """Send the request of a rule in one piece, and judge its answer."""
        method = dict(rule.fields).get(b":method", b"")
        found = client.conversation.begin(client.take_number(), method)
        ends_at_once = rule.body is None and rule.trailers is None
        wire = header_frames(found.number, literal(rule.fields), end=ends_at_once)
        if rule.body is not None:
            wire += data_frame(found.number, rule.body, end=rule.trailers is None)
        if rule.trailers is not None:
            end = not rule.open_ended
            wire += header_frames(found.number, literal(rule.trailers), end=end)
        client.send(wire)
        if rule.goaway is not None:
            self.assert_goaway(client, rule.goaway)
            return
        client.finish(found)
        if rule.reset is not None:
            self.assert_reset(found, rule.reset)
            return
        self.assertEqual((found.status, found.ended), (rule.status, True))
        if rule.status == 200:
            self.assertIsNone(found.reset)
        else:
            self.assertEqual(found.headers[b"content-type"], b"text/html; charset=utf-8")
            self.assertNotIn(b"zebra", found.body, "the request is shown in the error page")
        if rule.text is not None:
            self.assertEqual(bytes(found.body), rule.text)

    def judge_application(self, rule: Rule) -> None:
        """Check how often the application was called, and with what."""
        application = self.application
        if rule.calls is None:
            self.assertLessEqual(application.calls, 1)
            self.assertEqual(self.ended, [], "a body was seen to its end")
        else:
            self.assertEqual(application.calls, rule.calls)
        if rule.scope:
            scope = application.scopes[0]
            self.assertEqual({key: scope[key] for key in rule.scope}, rule.scope)
        if rule.headers is not None:
            headers = application.scopes[0]["headers"]
            self.assertEqual([tuple(pair) for pair in headers], [*rule.headers])


@tag("loop")
@over(RULES, lambda rule: str(rule.fields)[:100])
class RuleTests(RuleTestCase):
    """Every rule, each on a connection of its own."""


@tag("loop")
class StreamTests(HTTP2TestCase):
    """What a refused request leaves alone, and what becomes of one that went wrong late."""

    def test_compression(self) -> None:
        """The client's refused requests fill the compressor's table, which the next one uses."""
        self.serve()
        client = self.connect()
        for number in range(20):
            value = b"value-%d" % (number // 2)
            self.assert_reset(client.request(b"GET", b"/a", (b"Upper", value)), Code.PROTOCOL_ERROR)
            self.assert_answer(client.request(b"GET", b"/a", (b"x-a", value)), b"GET /a 0")
        values = [dict(scope["headers"])[b"x-a"] for scope in self.application.scopes]
        self.assertEqual(values, [b"value-%d" % (number // 2) for number in range(20)])

    def test_cancelled_compression(self) -> None:
        """The client resets a stream at once, whose fields the next request's block refers to."""
        self.serve()
        client = self.connect()
        found = client.start(b"GET", b"/a", (b"x-a", b"value"))
        client.send(reset_frame(found.number))
        self.assert_answer(client.request(b"GET", b"/b", (b"x-a", b"value")), b"GET /b 0")
        self.assertEqual(dict(self.application.scopes[-1]["headers"])[b"x-a"], b"value")

    def test_others_go_on(self) -> None:
        """The client is in the middle of two requests, and a third is refused."""
        self.serve()
        client = self.connect()
        one, two = (client.start(b"POST", b"/a", end=False) for _ in range(2))
        client.send_body(one, b"hell", end=False)
        refused = client.finish(client.start_literal(request_fields(b"GET", b"")))
        self.assert_reset(refused, Code.PROTOCOL_ERROR)
        client.send_body(two, b"hello")
        client.send_body(one, b"o")
        self.assert_answer(client.finish(one), b"POST /a 5")
        self.assert_answer(client.finish(two), b"POST /a 5")

    def check_body(self, *pieces: bytes, end: bool) -> None:
        """Declare five bytes and send these, while the application reads."""

        async def handler(scope: object, receive: Receive, send: Send) -> None:
            self.application.note((await receive())["body"])
            self.application.note(await read_body(receive))

        self.serve(handler)
        client = self.connect()
        found = client.start_literal((*POST, FIVE), end=False)
        client.send_body(found, b"hel", end=False)
        self.assertEqual(self.application.next_note(), b"hel")
        for number, piece in enumerate(pieces, 1):
            client.send(data_frame(found.number, piece, end=end and number == len(pieces)))
        self.assertIsNone(self.application.next_note())
        self.assert_reset(client.finish(found), Code.PROTOCOL_ERROR)
        self.assert_served(client)

    def test_body_short(self) -> None:
        """The client ends a body too early, and the application has begun to read it."""
        self.check_body(b"l", end=True)

    def test_body_short_empty(self) -> None:
        """The client ends a body too early with an empty frame."""
        self.check_body(b"", end=True)

    def test_body_long(self) -> None:
        """The client sends more than it declared, and does not end."""
        self.check_body(b"lo!", end=False)

    def test_body_long_in_pieces(self) -> None:
        """The client sends more than it declared in one frame of several."""
        self.check_body(b"l", b"o!", end=True)

    def test_body_grows_after_response(self) -> None:
        """The client's body grows too large when the response has begun."""

        async def handler(scope: object, receive: Receive, send: Send) -> None:
            await start(send)
            await body(send, b"begun", more=True)
            self.application.note(await read_body(receive))

        self.serve(handler, max_body_size=10)
        client = self.connect()
        found = client.start(b"POST", end=False)
        client.read_until(lambda: found.body == b"begun")
        client.send_body(found, bytes(11))
        client.finish(found)
        self.assertEqual((found.status, found.ended), (200, False))
        self.assertIsNotNone(found.reset)
        self.assertIsNone(self.application.next_note())
        self.assert_served(client)

    def test_bad_after_good(self) -> None:
        """The client sends good and bad requests in turn, in one piece."""
        self.serve()
        client = self.connect()
        wire, found = [], []
        for number in range(20):
            fields = request_fields(b"GET", b"/a" if number % 2 else b"a")
            found.append(client.conversation.begin(client.take_number(), b"GET"))
            wire.append(header_frames(found[-1].number, literal(fields)))
        client.send(b"".join(wire))
        outcomes = Counter((client.finish(each).status, each.reset) for each in found)
        self.assertEqual(outcomes, {(200, None): 10, (None, Code.PROTOCOL_ERROR): 10})
        self.assertEqual(self.application.calls, 10)

    def test_list_over_limit_in_trailers(self) -> None:
        """The client sends more trailers than a request may have fields."""
        self.serve(max_header_size=2048)
        client = self.connect()
        found = client.start(b"POST", end=False)
        client.send(header_frames(found.number, literal(sized(2500)[4:])))
        client.finish(found)
        self.assertTrue(found.reset is not None or found.status == 431, found)
        self.assert_served(client)


class TableTests(SimpleTestCase):
    """The table itself."""

    def test_names(self) -> None:
        """The author of a rule gives it a name of its own that a method can have."""
        names = [rule.name for rule in RULES]
        repeated = [name for name, count in Counter(names).items() if count > 1]
        self.assertEqual(repeated, [])
        self.assertEqual([name for name in names if not name.isidentifier()], [])

    def test_outcomes(self) -> None:
        """The author of a rule gives it one outcome, and lets no refused request through."""
        for rule in RULES:
            outcomes = [rule.status, rule.reset, rule.goaway]
            self.assertEqual(sum(outcome is not None for outcome in outcomes), 1, rule.name)
            if rule.status == 200:
                self.assertEqual(rule.calls, 1, rule.name)
            else:
                self.assertIn(rule.calls, (0, None), rule.name)

    def test_sizes(self) -> None:
        """The author of a size gets a list of just that size."""
        for size in (2048, 2049, 5000):
            self.assertEqual(sum(len(n) + len(v) + 32 for n, v in sized(size)), size)
