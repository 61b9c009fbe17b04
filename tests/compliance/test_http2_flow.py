"""Flow control of HTTP/2 over real sockets, in both directions (RFC 9113, sections 5.2 and 6.9).

The client's reader checks every DATA frame against the windows that it has opened: a server that
sends more fails the test whatever that is about.
"""

from __future__ import annotations

from typing import Any

from django.test import tag

from tests.support.http2 import SocketClient
from tests.support.http2_conversation import Answer
from tests.support.http2_frames import (
    MAX_WINDOW,
    Setting,
    data_frame,
    reset_frame,
    window_frame,
)

from .http2 import Gate, HTTP2TestCase, Receive, Send, answer, body, read_body, start

WINDOW = Setting.INITIAL_WINDOW_SIZE
KIB = 1024


async def pour(scope: Any, receive: Receive, send: Send) -> None:
    """Send as many bytes as the query says, a piece at a time."""
    size = int(scope["query_string"])
    await start(send, (b"content-length", b"%d" % size))
    for offset in range(0, size, 10_000):
        await body(send, bytes(min(10_000, size - offset)), more=True)
    await body(send)


class FlowTestCase(HTTP2TestCase):
    """Tests with answers of any size."""

    def open(self, window: int | None = None, *, credit: bool = False) -> SocketClient:
        """Return a client that opens its streams with this window."""
        client = self.connect({} if window is None else {WINDOW: window}, credit=credit)
        client.settle()
        return client

    def ask(self, client: SocketClient, size: int, *headers: tuple[bytes, bytes]) -> Answer:
        """Ask for so many bytes."""
        return client.start(b"GET", b"/pour?%d" % size, *headers)

    def assert_stalled(self, client: SocketClient, *answers: Answer, at: int) -> None:
        """Each answer stops at just this size."""
        client.read_until(lambda: all(len(each.body) >= at for each in answers))
        client.settle()
        self.assertEqual([len(each.body) for each in answers], [at] * len(answers))
        self.assertFalse(any(each.done for each in answers))

    def assert_size(self, client: SocketClient, answer: Answer, size: int) -> None:
        """The answer comes to its end, and is of this size."""
        client.finish(answer)
        self.assertEqual((len(answer.body), answer.ended, answer.reset), (size, True, None))


@tag("loop")
class ResponseWindowTests(FlowTestCase):
    """The client's windows bound what the server sends."""

    def setUp(self) -> None:
        super().setUp()
        self.serve(pour)

    def test_stream(self) -> None:
        """The client's window of a stream is used up to the last byte, and opened again."""
        client = self.open(10)
        found = self.ask(client, 1000)
        self.assert_stalled(client, found, at=10)
        client.grant(found.number, 1)
        self.assert_stalled(client, found, at=11)
        client.grant(found.number, 988)
        self.assert_stalled(client, found, at=999)
        client.grant(found.number, 1)
        self.assert_size(client, found, 1000)

    def test_connection(self) -> None:
        """The client's window of the connection is used up by two streams together."""
        client = self.open(1 << 20)
        one, two = self.ask(client, 50_000), self.ask(client, 50_000)
        client.read_until(lambda: len(one.body) + len(two.body) >= 65535)
        client.settle()
        self.assertEqual(len(one.body) + len(two.body), 65535)
        client.grant(0, 100_000 - 65535)
        self.assert_size(client, one, 50_000)
        self.assert_size(client, two, 50_000)

    def test_exact(self) -> None:
        """The client's window is as large as the answer: its end needs none."""
        client = self.open(1000)
        self.assert_size(client, self.ask(client, 1000), 1000)

    def test_empty_answer(self) -> None:
        """The client opens no window, and asks for what needs none."""
        client = self.open(0)
        self.assert_size(client, self.ask(client, 0), 0)

    def test_other_streams(self) -> None:
        """The client leaves one stream without a window, and others are served meanwhile."""
        client = self.open(0)
        slow = self.ask(client, 1000)
        client.settle()
        client.change({WINDOW: 100})
        self.assert_stalled(client, slow, at=100)
        for _ in range(20):
            self.assert_size(client, self.ask(client, 100), 100)
        client.grant(slow.number, 900)
        self.assert_size(client, slow, 1000)

    def test_settings_open(self) -> None:
        """The client's SETTINGS open the windows of streams that are there already."""
        client = self.open(0)
        answers = [self.ask(client, 100) for _ in range(5)]
        self.assert_stalled(client, *answers, at=0)
        client.change({WINDOW: 99})
        self.assert_stalled(client, *answers, at=99)
        client.change({WINDOW: 100})
        for each in answers:
            self.assert_size(client, each, 100)

    def test_negative_window(self) -> None:
        """The client's SETTINGS make windows negative, which are opened slowly."""
        client = self.open(1000)
        found = self.ask(client, 3000)
        self.assert_stalled(client, found, at=1000)
        client.change({WINDOW: 100})  # now it is at -900
        client.grant(found.number, 900)
        self.assert_stalled(client, found, at=1000)
        client.grant(found.number, 1)
        self.assert_stalled(client, found, at=1001)
        client.change({WINDOW: 200})
        self.assert_stalled(client, found, at=1101)
        client.grant(found.number, 3000)
        self.assert_size(client, found, 3000)

    def test_negative_for_new_streams(self) -> None:
        """The client's SETTINGS close windows; a new stream has the new one."""
        client = self.open(1000)
        old = self.ask(client, 3000)
        self.assert_stalled(client, old, at=1000)
        client.change({WINDOW: 10})
        new = self.ask(client, 3000)
        self.assert_stalled(client, new, at=10)
        self.assertEqual(len(old.body), 1000)

    def test_frame_size(self) -> None:
        """The client allows larger frames, and gets none beyond its word."""
        client = self.connect({WINDOW: 1 << 20, Setting.MAX_FRAME_SIZE: 50_000})
        client.settle()
        client.grant(0, 1 << 20)
        self.assert_size(client, self.ask(client, 400_000), 400_000)
        client.change({Setting.MAX_FRAME_SIZE: 16384})
        self.assert_size(client, self.ask(client, 400_000), 400_000)

    def test_large(self) -> None:
        """The client reads some megabytes on several streams, with windows of the usual size."""
        client = self.open(credit=True)
        answers = [self.ask(client, 1_000_000) for _ in range(5)]
        for each in answers:
            self.assert_size(client, each, 1_000_000)

    def test_largest_windows(self) -> None:
        """The client opens its windows as far as it goes."""
        client = self.open(MAX_WINDOW)
        client.grant(0, MAX_WINDOW - 65535)
        self.assert_size(client, self.ask(client, 5_000_000), 5_000_000)

    def test_table_size(self) -> None:
        """The client takes the compressor's table away, and gives it back."""
        client = self.open()
        for size in (0, 4096, 100, 65536):
            client.change({Setting.HEADER_TABLE_SIZE: size})
            for _ in range(3):
                self.assert_size(client, self.ask(client, 10), 10)


@tag("loop")
class SlowClientTests(FlowTestCase):
    """Clients that take nothing, for longer than the server waits."""

    async def _pour(self, scope: Any, receive: Receive, send: Send) -> None:
        try:
            await pour(scope, receive, send)
        except OSError:
            self.application.note("gone")
            raise

    def check(self, client: SocketClient, answers: list[Answer]) -> None:
        """Every answer ends by a reset, or with its connection; the application is told."""
        for each in answers:
            try:
                client.finish(each)
            except EOFError:
                break
            self.assertIsNotNone(each.reset)
        self.assertEqual([self.application.next_note() for _ in answers], ["gone"] * len(answers))
        self.application.wait_until_idle()
        self.assert_others_served()

    def test_no_window(self) -> None:
        """The client opens no window for its streams."""
        self.serve(self._pour, write_timeout=0.2)
        client = self.open(0)
        self.check(client, [self.ask(client, 1 << 20) for _ in range(5)])

    def test_no_connection_window(self) -> None:
        """The client uses up the window of the connection, and opens it no more."""
        self.serve(self._pour, write_timeout=0.2)
        client = self.open(MAX_WINDOW)
        self.check(client, [self.ask(client, 1 << 20) for _ in range(5)])

    def test_one_of_many(self) -> None:
        """The client takes nothing of one stream and everything of others, which go on."""
        self.serve(self._pour, write_timeout=0.3)
        client = self.open(0, credit=True)
        slow = self.ask(client, 1 << 20)
        fast = self.ask(client, 1_000_000_000)
        client.grant(fast.number, 1 << 20)
        client.finish(slow)
        self.assertIsNotNone(slow.reset)
        self.assertEqual(self.application.next_note(), "gone")
        self.assertFalse(fast.done)
        size = len(fast.body)
        client.read_until(lambda: len(fast.body) > size)

    def test_progress(self) -> None:
        """The client takes a little at a time, but does: it has its answer."""
        self.serve(self._pour, write_timeout=2)
        client = self.open(0)
        found = self.ask(client, 200)
        for size in range(1, 200):
            client.grant(found.number, 1)
            self.assert_stalled(client, found, at=size)
        client.grant(found.number, 1)
        self.assert_size(client, found, 200)


@tag("loop")
class UploadTests(FlowTestCase):
    """The server's windows bound what the client sends."""

    def test_large(self) -> None:
        """The client sends megabytes on several streams in turn."""
        self.serve(http2_stream_window=65536, http2_connection_window=100_000)
        client = self.open(credit=True)
        uploads = [client.start(b"POST", end=False) for _ in range(4)]
        for _ in range(20):
            for each in uploads:
                client.send_body(each, bytes(50_000), end=False)
        for each in uploads:
            client.send_body(each, b"")
            self.assert_answer(client.finish(each), b"POST /zebra 1000000")

    def test_application_waits(self) -> None:
        """The application reads nothing: the window stays shut, until it does."""
        gate = Gate()

        async def wait(scope: Any, receive: Receive, send: Send) -> None:
            self.application.note((await receive())["more_body"])
            await gate.wait()
            self.application.note(len(await read_body(receive) or b""))
            await start(send)
            await body(send, b"read")

        self.serve(wait, http2_stream_window=65536)
        client = self.open()
        found = client.start(b"POST", end=False)
        client.send_body(found, b"a", end=False)
        self.assertIs(self.application.next_note(), True)
        client.send_body(found, bytes(found.window), end=False)
        client.settle()
        self.assertLess(found.window, 65536, "more than the window is allowed in flight")
        window = client.conversation.window
        self.assertGreater(window, 0, "one stream takes the connection's whole window")
        self.assert_served(client)
        gate.open()
        client.send_body(found, bytes(300_000))
        self.assertGreater(self.application.next_note(), 300_000)
        self.assert_answer(client.finish(found), b"read")

    def test_slow_and_fast(self) -> None:
        """One application reads nothing, and the other all that comes over the connection."""
        gate = Gate()

        async def handler(scope: Any, receive: Receive, send: Send) -> None:
            if scope["path"] == "/slow":
                await gate.wait()
            await answer(scope, receive, send)

        self.serve(handler, http2_stream_window=65536, http2_connection_window=200_000)
        client = self.open(credit=True)
        slow = client.start(b"POST", b"/slow", end=False)
        client.send_body(slow, bytes(65536), end=False)
        for _ in range(3):
            found = client.request(b"POST", b"/fast", body=bytes(500_000))
            self.assert_answer(found, b"POST /fast 500000")
        gate.open()
        client.send_body(slow, bytes(100_000))
        self.assert_answer(client.finish(slow), b"POST /slow 165536")

    def test_reset(self) -> None:
        """The client resets an upload: the application is told, and others go on."""

        async def handler(scope: Any, receive: Receive, send: Send) -> None:
            self.application.note(len((await receive())["body"]))
            self.application.note(await read_body(receive))

        self.serve(handler)
        client = self.open()
        found = client.start(b"POST", end=False)
        client.send_body(found, b"hello", end=False)
        self.assertEqual(self.application.next_note(), 5)
        client.send(reset_frame(found.number))
        self.assertIsNone(self.application.next_note())
        client.settle()
        self.assertFalse(found.done)
        self.assert_served(client)

    def test_disconnect(self) -> None:
        """The client leaves in the middle of uploads, with FIN and with a reset."""

        async def handler(scope: Any, receive: Receive, send: Send) -> None:
            self.application.note("begun")
            self.application.note(await read_body(receive))

        self.serve(handler)
        for with_reset in (True, False):
            client = self.open()
            found = client.start(b"POST", end=False)
            client.send_body(found, b"hello", end=False)
            self.assertEqual(self.application.next_note(), "begun")
            if with_reset:
                client.reset()
            client.sock.close()
            self.assertIsNone(self.application.next_note())
        self.application.wait_until_idle()

    def test_small_frames(self) -> None:
        """The client sends a body byte by byte."""
        self.serve()
        client = self.open(credit=True)
        found = client.start(b"POST", end=False)
        client.send(b"".join(data_frame(found.number, b"a") for _ in range(5000)))
        client.send(data_frame(found.number, end=True))
        self.assert_answer(client.finish(found), b"POST /zebra 5000")

    def test_window_given_early(self) -> None:
        """The client opens a window before the answer has begun."""
        gate = Gate()

        async def handler(scope: Any, receive: Receive, send: Send) -> None:
            await gate.wait()
            await pour(scope, receive, send)

        self.serve(handler)
        client = self.open(0)
        found = self.ask(client, 1000)
        client.settle()
        client.grant(found.number, 1000)
        client.send(window_frame(0, 1))
        client.settle()
        gate.open()
        self.assert_size(client, found, 1000)
