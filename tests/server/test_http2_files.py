"""Files as bodies of HTTP/2: whole ones, parts of them, and what can happen meanwhile."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from django.test import tag

from django_daphne.server import ApplicationError, ClientDisconnected
from tests.support.http2_conversation import Answer
from tests.support.http2_frames import Code, request_fields
from tests.support.memory import Call

from .http2_support import KIB, HTTP2Client, HTTP2TestCase

DISCONNECT = {"type": "http.disconnect"}
SIZE = 800 * KIB


class FileTestCase(HTTP2TestCase):
    """Tests with a file of 800 KiB, which is more than is read of it at a time."""

    def setUp(self):
        self.path = Path(self.enterContext(tempfile.TemporaryDirectory()), "file")
        self.content = bytes(range(256)) * (SIZE // 256)
        self.path.write_bytes(self.content)

    def stalled(self, **values: Any) -> tuple[HTTP2Client, Answer, Call, Any]:
        """Return a client without room for the file that is being sent to it."""
        client, answer, call = self.ask(credit=False, write_buffer_size=8 * KIB, **values)
        call.receive_now()
        call.start()
        sending = call.send("pathsend", path=str(self.path))
        client.hear()
        self.assertFalse(sending.done())
        return client, answer, call, sending


@tag("loop")
class PathsendTests(FileTestCase):
    """A whole file by its path."""

    def test_whole(self):
        """The client gets the file with its length, and no faults in it."""
        client, answer, call = self.ask()
        call.start()
        sending = call.send("pathsend", path=str(self.path))
        client.finish(answer)
        sending.result()
        self.assert_answered(answer, body=self.content)
        self.assertEqual(answer.headers[b"content-length"], b"%d" % SIZE)
        self.assertEqual([record.size for record in client.server.access], [SIZE])
        self.assert_going_on(client)

    def test_empty(self):
        """The file is empty, and so is the body."""
        self.path.write_bytes(b"")
        client, answer, call = self.ask()
        call.start()
        call.send("pathsend", path=str(self.path)).result()
        self.assert_answered(client.finish(answer), body=b"")
        self.assertEqual(answer.headers[b"content-length"], b"0")

    def test_head(self):
        """The client asks for the head alone."""
        client, answer, call = self.ask(b"HEAD")
        call.start(200, [(b"content-length", b"%d" % SIZE)])
        call.send("pathsend", path=str(self.path)).result()
        self.assert_answered(client.finish(answer), body=b"")
        self.assertEqual(answer.headers[b"content-length"], b"%d" % SIZE)

    def test_missing(self):
        """The file is missing: the application learns it and can still answer."""
        client, answer, call = self.ask()
        call.start()
        error = call.send("pathsend", path=str(self.path) + "x").exception()
        self.assertIsInstance(error, FileNotFoundError)
        call.body(b"sorry")
        self.assert_answered(client.finish(answer), body=b"sorry")

    def test_trailers(self):
        """The client takes trailers behind the file."""
        client, answer, call = self.ask(b"GET", b"/", (b"te", b"trailers"))
        call.start(trailers=True)
        sending = call.send("pathsend", path=str(self.path))
        client.hear()
        sending.result()
        call.send("trailers", headers=[(b"x-a", b"1")]).result()
        self.assert_answered(client.finish(answer), body=self.content)
        self.assertEqual(answer.trailers, ((b"x-a", b"1"),))

    def test_shorter_than_promised(self):
        """The file is shorter than the Content-Length: the client sees that it is not whole."""
        client, answer, call = self.ask()
        call.start(200, [(b"content-length", b"%d" % (SIZE + 1))])
        sending = call.send("pathsend", path=str(self.path))
        client.hear()
        self.assertIsInstance(sending.exception(), ApplicationError)
        client.hear()
        self.assertEqual((answer.ended, answer.reset), (False, Code.INTERNAL_ERROR))
        self.assert_going_on(client)

    def test_shrinks(self):
        """The file is cut while it is being sent: the client sees that it is not whole."""
        client, answer, _, sending = self.stalled()
        with self.path.open("r+b") as file:
            file.truncate(SIZE // 2)
        client.grant(0, 10**6)
        client.grant(answer.number, 10**6)
        self.assertIsInstance(sending.exception(), ApplicationError)
        client.hear()
        self.assertEqual((answer.ended, answer.reset), (False, Code.INTERNAL_ERROR))
        self.assert_going_on(client)

    def test_longer_than_promised(self):
        """The file is longer than the Content-Length: it is cut off where it was promised to be."""
        client, answer, call = self.ask()
        call.start(200, [(b"content-length", b"10")])
        error = call.send("pathsend", path=str(self.path)).exception()
        self.assertIsInstance(error, ApplicationError)
        self.assert_answered(client.finish(answer), body=self.content[:10])
        self.assertIsNone(answer.reset)


@tag("loop")
class ZerocopysendTests(FileTestCase):
    """Parts of an open file."""

    def test_parts(self):
        """The application sends parts of a file, and text between them."""
        client, answer, call = self.ask()
        call.start()
        with self.path.open("rb") as file:
            call.send("zerocopysend", file=file, offset=10, count=5, more_body=True).result()
            call.body(b"--", more=True)
            call.send("zerocopysend", file=file, offset=0, count=3).result()
        self.assert_answered(
            client.finish(answer), body=self.content[10:15] + b"--" + self.content[:3]
        )

    def test_over_the_end(self):
        """The application sends more than the file has: it is told, and the client sees it."""
        client, answer, call = self.ask()
        call.start()
        with self.path.open("rb") as file:
            sending = call.send("zerocopysend", file=file, offset=SIZE - 5, count=10)
            client.hear()
            self.assertIsInstance(sending.exception(), ApplicationError)
        client.hear()
        self.assertEqual((answer.ended, answer.reset), (False, Code.INTERNAL_ERROR))
        self.assert_going_on(client)

    def test_closed_meanwhile(self):
        """The application closes its file behind send(), which waits for the client."""
        client, answer, call = self.ask(credit=False, write_buffer_size=8 * KIB)
        call.start()
        with self.path.open("rb") as file:
            sending = call.send("zerocopysend", file=file)
        self.assertFalse(sending.done())
        client.grant(0, 10**6)
        client.grant(answer.number, 10**6)
        sending.result()
        self.assert_answered(answer, body=self.content)


@tag("loop")
class InterruptionTests(FileTestCase):
    """Something happens while a file is being sent."""

    def test_slow_client(self):
        """The client makes room by and by: little of the file is held, and all arrives."""
        client, answer, _, sending = self.stalled()
        for _ in range(SIZE // (20 * KIB) + 1):
            client.grant(0, 20 * KIB)
            client.grant(answer.number, 20 * KIB)
        sending.result()
        self.assert_answered(answer, body=self.content)

    def test_reset(self):
        """The client gives up in the middle: the application is told, and the rest goes on."""
        client, answer, call, sending = self.stalled()
        client.give_up(answer)
        self.assertIsInstance(sending.exception(), ClientDisconnected)
        self.assertEqual(call.receive_now(), DISCONNECT)
        client.grant(0, 10**6)
        self.assert_going_on(client)

    def test_lost(self):
        """The client vanishes in the middle."""
        client, _, call, sending = self.stalled()
        client.memory.reset()
        self.assertIsInstance(sending.exception(), ClientDisconnected)
        self.assertEqual(call.receive_now(), DISCONNECT)

    def test_time_runs_out(self):
        """The request's time runs out in the middle of a file: one reset, one record."""
        client, answer, _, sending = self.stalled(http_timeout=5)
        client.wait(6)
        self.assertIsNotNone(answer.reset)
        self.assertIsInstance(sending.exception(), ClientDisconnected)
        self.assertEqual([record.status for record in client.server.access], [200])

    def test_beside_another(self):
        """The client asks for something else while the file waits for room on its stream."""
        client, answer, _, sending = self.stalled()
        client.grant(0, 10**6)
        other = client.ask(request_fields())
        client.calls[1].answer()
        self.assert_answered(client.finish(other))
        self.assertFalse(sending.done())
        client.grant(answer.number, 10**6)
        self.assert_answered(answer, body=self.content)

    def test_socket(self):
        """The client stops reading from its socket: little is held until it reads on."""
        client, answer, call = self.ask(write_buffer_size=8 * KIB)
        client.stall()
        call.start()
        sending = call.send("pathsend", path=str(self.path))
        self.assertFalse(sending.done())
        self.assertLess(len(client.wire.unsent), 100 * KIB)
        client.read_on()
        sending.result()
        self.assert_answered(answer, body=self.content)
