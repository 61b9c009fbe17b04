"""Requests that are reset as soon as they have begun, by the client or by a server made to do it.

A server that starts work for each of them works for nothing: what it starts is counted, and so is
what it is made to reset itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.test import tag

from tests.support.http2 import SocketClient
from tests.support.http2_frames import (
    MAX_WINDOW,
    Code,
    Kind,
    data_frame,
    frame,
    headers_frame,
    literal,
    request_fields,
    reset_frame,
    window_frame,
)

from .http2 import Receive, Send, until_disconnect
from .test_http2_attacks import BAD, FAR, GET, POST, RESETS, AttackTestCase

TRAILERS = literal(((b"x-a", b"a"),))
ONE = literal(request_fields(b"POST", b"/zebra", (b"content-length", b"1")))
# Streams at a time.
STREAMS = 10


class ResetTestCase(AttackTestCase):
    """Tests whose client spoils one request after another, until the server has enough."""

    async def _leave(self, scope: Any, receive: Receive, send: Send) -> None:
        """End as soon as the client is gone."""
        await until_disconnect(receive)

    def check(self, spoil: Callable[[int], bytes], block: bytes = GET, *, end: bool = True) -> None:
        """Spoil requests whose application ends with them: there is always room for the next."""
        self.serve(self._leave, http2_max_concurrent_streams=STREAMS)
        client = self.attacker()
        count = self.spoil_all(client, spoil, block, end=end)
        self.assertGreater(count, RESETS // 2)
        # In a second so many more are forgiven; no machine takes as long as this leaves room for.
        self.assertLess(self.application.calls, 4 * RESETS)
        self.assertLessEqual(self.application.peak, STREAMS)
        self.assert_calm(client)

    def check_staying(
        self, spoil: Callable[[int], bytes], block: bytes = GET, *, end: bool = True
    ) -> None:
        """Spoil requests whose application does not care: there is no room after the first few."""
        self.serve(self._stay, http2_max_concurrent_streams=STREAMS)
        client = self.attacker()
        self.spoil_all(client, spoil, block, end=end)
        self.assertEqual((self.application.calls, self.application.peak), (STREAMS, STREAMS))
        self.assert_calm(client)

    def spoil_all(
        self, client: SocketClient, spoil: Callable[[int], bytes], block: bytes, *, end: bool
    ) -> int:
        """Return how many requests it took until the server closed."""
        for count in range(FAR * RESETS):
            found = client.start_with(block, end=end)
            try:
                client.settle()
                if found.reset is None:
                    client.send(spoil(found.number))
            except EOFError:
                return count
        raise AssertionError("The resets are never stopped")

    def open_and_reset(self, client: SocketClient, count: int) -> bytes:
        """Return so many requests, each with its reset behind it."""
        wire = []
        for _ in range(count):
            number = client.conversation.begin(client.take_number(), b"GET").number
            wire.append(headers_frame(number, GET) + reset_frame(number))
        return b"".join(wire)


@tag("loop")
class ByClientTests(ResetTestCase):
    """The client resets its requests (CVE-2023-44487)."""

    def test_running(self) -> None:
        """The client resets each request when it is running."""
        self.check(reset_frame)

    def test_running_on(self) -> None:
        """The client resets each request, and the application goes on."""
        self.check_staying(reset_frame)

    def test_upload(self) -> None:
        """The client resets each upload when it has begun."""
        self.check(reset_frame, POST, end=False)

    def test_one_read(self) -> None:
        """The client sends requests with their resets in one piece, without end."""
        self.serve(self._leave)
        client = self.attacker()
        pieces = (self.open_and_reset(client, 10) for _ in range(FAR * RESETS))
        client.flood(pieces)
        self.assertLess(self.application.calls, 4 * RESETS)
        self.assert_calm(client)

    def test_few_in_one_read(self) -> None:
        """The client sends a few requests with their resets in one piece: none is started."""
        self.serve(self._leave)
        client = self.attacker()
        client.send(self.open_and_reset(client, 20))
        self.assert_served(client)
        self.assertEqual(self.application.calls, 0)

    def test_decent(self) -> None:
        """The client has the manners of a browser, resets some requests, and is served on."""
        self.serve(self._leave)
        client = self.attacker()
        for _ in range(RESETS // 2):
            client.send(reset_frame(client.start_with(GET).number))
        self.assert_served(client)
        self.application.wait_until_idle()

    def test_answered(self) -> None:
        """The client resets streams that are answered already, which nobody minds."""
        client = self.attacker()
        for _ in range(20):
            found = client.finish(client.start_with(GET))
            client.send(reset_frame(found.number))
        self.assert_served(client)


@tag("loop")
class ByServerTests(ResetTestCase):
    """The client makes the server reset its requests (CVE-2025-8671, CVE-2019-9514)."""

    def test_window_zero(self) -> None:
        """The client gives nothing to the window of each stream."""
        self.check(lambda number: window_frame(number, 0))

    def test_window_zero_running_on(self) -> None:
        """The client gives nothing to each window, and the application goes on."""
        self.check_staying(lambda number: window_frame(number, 0))

    def test_window_overflow(self) -> None:
        """The client overflows the window of each stream."""
        self.check(lambda number: window_frame(number, MAX_WINDOW))

    def test_window_overflow_running_on(self) -> None:
        """The client overflows each window, and the application goes on."""
        self.check_staying(lambda number: window_frame(number, MAX_WINDOW))

    def test_data_after_end(self) -> None:
        """The client sends DATA after the end of each request."""
        self.check(lambda number: data_frame(number, b"a"))

    def test_data_after_end_running_on(self) -> None:
        """The client sends DATA after the end of each request, and the application goes on."""
        self.check_staying(lambda number: data_frame(number, b"a"))

    def test_priority_length(self) -> None:
        """The client sends PRIORITY of a wrong length for each stream."""
        self.check(lambda number: frame(Kind.PRIORITY, 0, number, bytes(4)))

    def test_body_too_long(self) -> None:
        """The client sends more than it declared for each upload."""
        self.check(lambda number: data_frame(number, b"ab"), ONE, end=False)

    def test_body_too_short(self) -> None:
        """The client sends less than it declared for each upload."""
        self.check(lambda number: data_frame(number, end=True), ONE, end=False)

    def test_bad_trailers(self) -> None:
        """The client ends each upload with trailers that have no end."""
        self.check(lambda number: headers_frame(number, TRAILERS, end=False), POST, end=False)

    def test_headers_after_end(self) -> None:
        """The client sends trailers after the end of each request."""
        self.serve(self._leave)
        client = self.attacker()
        found = client.start_with(GET)
        client.settle()
        client.send(headers_frame(found.number, TRAILERS))
        try:
            client.finish(found)
        except EOFError:  # it costs the connection, so that no second can come
            self.assertEqual(client.goaway and client.goaway.code, Code.STREAM_CLOSED)
        else:
            self.check(lambda number: headers_frame(number, TRAILERS))

    def test_bad_requests(self) -> None:
        """The client sends requests that have to be reset, without end."""
        client = self.attacker()

        def bad() -> bytes:
            number = client.conversation.begin(client.take_number(), b"GET").number
            return headers_frame(number, BAD)

        client.flood(bad() for _ in range(FAR * RESETS))
        self.assert_calm(client)
        self.assertEqual(self.application.calls, 0)


@tag("loop")
class CountTests(ResetTestCase):
    """How many streams there are at a time."""

    def test_too_many(self) -> None:
        """The client opens more streams than it may, and ends none."""
        self.serve(self._stay, http2_max_concurrent_streams=STREAMS)
        client = self.attacker()
        found = [client.start_with(GET) for _ in range(3 * STREAMS)]
        for refused in found[STREAMS:]:
            self.assert_reset(client.finish(refused), Code.REFUSED_STREAM)
        client.settle()
        self.assertEqual(self.application.running, STREAMS)
        self.assertEqual([each.done for each in found[:STREAMS]], [False] * STREAMS)
        self.gate.open()
        for each in found[:STREAMS]:
            client.finish(each)
        self.application.wait_until_idle()
        self.assert_served(client)

    def test_until_task_ends(self) -> None:
        """The client resets its streams, and their applications go on: there is no room yet."""
        self.serve(self._stay, http2_max_concurrent_streams=STREAMS)
        client = self.attacker()
        for _ in range(STREAMS):
            found = client.start_with(GET)
            self.assertEqual(self.application.next_note(), "called")
            client.send(reset_frame(found.number))
        refused = client.finish(client.start_with(GET))
        self.assert_reset(refused, Code.REFUSED_STREAM)
        self.gate.open()
        self.application.wait_until_idle()
        client.settle()
        self.assert_served(client)

    def test_room_again(self) -> None:
        """The client has as many streams as it may, again and again."""
        self.serve(http2_max_concurrent_streams=STREAMS)
        client = self.attacker()
        for _ in range(20):
            found = [client.start_with(GET) for _ in range(STREAMS)]
            for each in found:
                self.assert_answer(client.finish(each), b"GET /zebra 0")
        self.assertEqual(self.application.calls, 20 * STREAMS)

    def test_last_number(self) -> None:
        """The client uses the last number that there is, and needs another connection."""
        self.serve()
        client = self.attacker()
        found = client.conversation.begin(MAX_WINDOW, b"GET")
        client.send(headers_frame(found.number, GET))
        self.assert_answer(client.finish(found), b"GET /zebra 0")
        client.send(headers_frame(1, GET))
        goaway = client.read_to_end()
        assert goaway is not None
        self.assertIn(goaway.code, (Code.PROTOCOL_ERROR, Code.STREAM_CLOSED))
        self.assertEqual(goaway.last, MAX_WINDOW)
        self.assert_others_served()
