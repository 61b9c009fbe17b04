"""Clients of WebSockets that want a server to hold more than they send, or to wait for ever.

Each attack ends with its code, takes next to no memory, and other WebSockets are served meanwhile.
Bulk is sent with a mask of zeros, which hides nothing and takes no time to make.
"""

from __future__ import annotations

import errno
import os
import select
import shutil
import socket
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from django.test import tag

from tests.support.processes import PATIENCE
from tests.support.websocket import close, handshake, text

from . import KIB, MIB, MemoryTestCase, ServerProcess, apps, eventually, reset

# Bytes that an attack may take: a message at the limit, a few times over.
MAX_GROWTH = 8 * MIB

APPLICATION = """
    import apps

    progress = apps.progress
    progress.codes = []


    async def application(scope, receive, send):
        if scope["type"] != "websocket":
            return await apps.application(scope, receive, send)
        progress.running += 1
        try:
            await receive()
            await send({"type": "websocket.accept"})
            name, *arguments = scope["path"][1:].split("/")
            await globals()[name](receive, send, *arguments)
        finally:
            progress.running -= 1


    async def message(receive):
        event = await receive()
        if event["type"] == "websocket.disconnect":
            progress.codes.append(event["code"])
            return None
        text = event.get("text")
        return event["bytes"] if text is None else text


    async def say(send, data):
        key = "text" if isinstance(data, str) else "bytes"
        await send({"type": "websocket.send", key: data})


    async def echo(receive, send):
        while (data := await message(receive)) is not None:
            await say(send, data)


    async def measure(receive, send):
        while (data := await message(receive)) is not None:
            await say(send, str(len(data)))


    async def wait(receive, send):
        await progress.steps.acquire()
        count = 0
        while (data := await message(receive)) is not None:
            count += 1
            if data == "end":
                await say(send, str(count))


    async def flood(receive, send, count):
        progress.pieces_sent = 0
        try:
            for _ in range(int(count)):
                await say(send, "x" * 1024)
                progress.pieces_sent += 1
        except OSError:
            assert await message(receive) is None
"""

OFFER = b"Sec-WebSocket-Extensions: permessage-deflate"
TEXT, BINARY, PING = 0x81, 0x82, 0x89
# First bytes of frames that leave the message open, and that end it.
TEXT_BEGINS, BINARY_BEGINS, CONTINUES, ENDS = 0x01, 0x02, 0x00, 0x80
COMPRESSED = 0x40
CLOSED = 0x88

_deflate = zlib.compressobj(wbits=-12)
# A mebibyte in a kilobyte; independent of what comes before, so that it can be repeated.
BOMB = _deflate.compress(bytes(MIB)) + _deflate.flush(zlib.Z_FULL_FLUSH)


def bulk(first: int, payload: bytes) -> bytes:
    """Return a frame with a mask of zeros."""
    size = len(payload)
    if size < 126:
        length = bytes((0x80 | size,))
    elif size < 65536:
        length = b"\xfe" + size.to_bytes(2)
    else:
        length = b"\xff" + size.to_bytes(8)
    return bytes((first,)) + length + bytes(4) + payload


class Client:
    """The client of an open WebSocket; ``lines`` go into its handshake."""

    def __init__(self, server: ServerProcess, path: str, *lines: bytes) -> None:
        self._data = b""
        self.sock = server.connect()
        self.send(handshake(*lines, target=path.encode()))
        while b"\r\n\r\n" not in self._data:
            self._receive()
        head, _, self._data = self._data.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head

    def _receive(self) -> None:
        data = self.sock.recv(64 * KIB)
        if not data:
            raise EOFError(f"the connection ended after {self._data[:100]!r}")
        self._data += data

    def send(self, data: bytes) -> None:
        """Send all of it."""
        self.sock.sendall(data)

    def send_until_answered(self, data: bytes) -> None:
        """Send up to the first sign of the server's."""
        view = memoryview(data)
        while view and not select.select([self.sock], [], [], 0)[0]:
            view = view[self.sock.send(view[: 64 * KIB]) :]

    def send_until_stuck(self, data: bytes) -> bytes:
        """Send until no more is taken; return the rest.

        Taking a moment's silence for the end only makes a test easier to pass.
        """
        view = memoryview(data)
        while view and select.select([], [self.sock], [], 0.2)[1]:
            view = view[self.sock.send(view[: 64 * KIB], socket.MSG_DONTWAIT) :]
        return bytes(view)

    def read(self) -> tuple[int, bytes]:
        """Return the first byte and the payload of the next frame."""
        while True:
            length = self._data[1] if len(self._data) > 1 else 0
            start = {126: 4, 127: 10}.get(length, 2)
            if len(self._data) >= start:
                if start > 2:
                    length = int.from_bytes(self._data[2:start])
                if len(self._data) >= start + length:
                    break
            self._receive()
        first, payload = self._data[0], self._data[start : start + length]
        self._data = self._data[start + length :]
        return first, payload

    def is_cut_off(self) -> bool:
        """Send one byte; return whether the server has gone."""
        try:
            self.send(b"x")
        except ConnectionError:
            return True
        return False

    def wait_for_reset(self) -> int:
        """Return the socket's error, once it has one, without reading."""
        poll = select.poll()
        poll.register(self.sock, 0)
        poll.poll(PATIENCE * 1000)  # for an error, which nobody has to ask for
        return self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


class AttackTestCase(MemoryTestCase):
    """Tests with a server, an attacker, and a witness whose echoes have to come back."""

    def serve(self, *options: str, limit: int | None = None, **variables: str) -> ServerProcess:
        """Start a server with the application above."""
        shutil.copy(apps.__file__, self.folder / "apps.py")
        self.write("sockets.py", APPLICATION)
        loop = os.environ.get("DAPHNE_TEST_LOOP", "auto")
        options = ("-p", "0", "--loop", loop, "--access-log", "access.log", *options)
        return ServerProcess(self.start_cli(*options, "sockets:application", **variables))

    @contextmanager
    def attack(self, path: str, *options: str, offer: bytes = b"") -> Iterator[Client]:
        """Return an attacker; assert afterwards that it cost nothing and left nothing behind."""
        self.server = self.serve(*options)
        self.witness = self.connect("/echo", OFFER)
        # What is imported at the first use of it, and kept, is no cost of an attack.
        self.witness.send(bulk(COMPRESSED | BINARY, BOMB[:-4]))
        self.assertEqual(self.witness.read()[0], COMPRESSED | BINARY)
        client = self.connect(path, *filter(None, (offer,)))
        self.assert_served()
        before = self.server.memory
        yield client
        self.assert_served()
        peak = self.server.peak
        self.report(f"{before / MIB:.1f} MiB before, {peak / MIB:.1f} MiB at most")
        self.assertLess(peak - before, MAX_GROWTH)
        client.sock.close()
        self.witness.sock.close()
        self.assert_idle(self.server)
        self.assert_quiet(self.server)

    def connect(self, path: str, *lines: bytes) -> Client:
        """Return a client of the server."""
        client = Client(self.server, path, *lines)
        self.addCleanup(client.sock.close)
        return client

    def assert_served(self) -> None:
        """Assert that the witness has its echo."""
        self.witness.send(text("Are you there?"))
        self.assertEqual(self.witness.read(), (TEXT, b"Are you there?"))

    def assert_told(self, code: int) -> None:
        """Assert that the application of the attacked WebSocket was told this code, alone."""
        eventually(lambda: self.server.ask("/codes") != "[]")
        self.assertEqual(self.server.ask("/codes"), f"[{code}]")

    def assert_refused(self, client: Client, code: int) -> None:
        """Assert that the client reads one close frame with this code, and then the end."""
        self.assertEqual(client.read(), (CLOSED, code.to_bytes(2)))
        with self.assertRaises((EOFError, ConnectionError)):
            client.read()
        self.assert_told(code)

    def assert_reset(self, client: Client) -> None:
        """Assert that a client which does not read is reset."""
        self.assertEqual(client.wait_for_reset(), errno.ECONNRESET)
        self.assert_told(1006)

    def assert_closes(self, client: Client) -> None:
        """Assert that the closing handshake is as usual."""
        client.send(close(1000))
        self.assertEqual(client.read(), (CLOSED, b"\x03\xe8"))
        self.assert_told(1000)


@tag("heavy")
class CompressionTests(AttackTestCase):
    """A gibibyte of zeros arrives as a megabyte."""

    def test_one_frame(self):
        """The client sends a message of one frame that inflates to 900 MiB."""
        with self.attack("/measure", offer=OFFER) as client:
            client.send(bulk(COMPRESSED | BINARY, BOMB * 900))
            self.assert_refused(client, 1009)

    def test_many_frames(self):
        """The client sends a message of a thousand frames that each inflate to the limit."""
        with self.attack("/measure", offer=OFFER) as client:
            client.send_until_answered(
                bulk(COMPRESSED | BINARY_BEGINS, BOMB) + bulk(CONTINUES, BOMB) * 999
            )
            self.assert_refused(client, 1009)

    def test_many_messages(self):
        """The client sends a thousand messages that inflate to 1 MiB, and nobody takes them."""
        with self.attack("/wait", offer=OFFER) as client:
            rest = client.send_until_stuck(bulk(COMPRESSED | BINARY, BOMB[:-4]) * 1000)
            self.assert_served()
            self.server.ask("/step")
            client.send(rest + text("end"))
            self.assertEqual(client.read(), (TEXT, b"1001"))
            self.assert_closes(client)


@tag("heavy")
class FragmentTests(AttackTestCase):
    """A message comes in a million frames."""

    count = 1_000_000

    def test_limit(self):
        """The client sends more fragments than a message may have."""
        with self.attack("/measure") as client:
            client.send_until_answered(
                bulk(BINARY_BEGINS, b"x") + bulk(CONTINUES, b"x") * self.count
            )
            self.assert_refused(client, 1009)

    def test_one_byte(self):
        """The client sends a text of half a million letters byte by byte, which is allowed."""
        pair = bulk(CONTINUES, b"\xc3") + bulk(CONTINUES, b"\xa9")
        with self.attack("/measure", "--websocket-max-fragments=-1") as client:
            client.send(bulk(TEXT_BEGINS, b"") + pair * (self.count // 2) + bulk(ENDS, b""))
            self.assertEqual(client.read(), (TEXT, b"500000"))
            self.assert_closes(client)

    def test_empty(self):
        """The client sends nothing in a million fragments, which is allowed."""
        with self.attack("/measure", "--websocket-max-fragments=-1") as client:
            client.send(bulk(BINARY_BEGINS, b"") + bulk(CONTINUES, b"") * self.count)
            self.assert_served()
            client.send(bulk(ENDS, b""))
            self.assertEqual(client.read(), (TEXT, b"0"))
            self.assert_closes(client)


@tag("heavy")
class FrameTests(AttackTestCase):
    """A frame of 2 GiB is announced, and next to nothing of it comes."""

    head = bytes((BINARY, 0xFF)) + (2048 * MIB).to_bytes(8) + bytes(4)

    def test_limit(self):
        """The client announces more than is allowed, is told so, and does not stop."""
        with self.attack("/measure", "--linger-timeout", "1") as client:
            client.send(self.head)
            self.assert_refused(client, 1009)
            self.assertTrue(eventually(client.is_cut_off), self.server.process)

    def test_trickle(self):
        """The client may send a frame of any size, and sends a byte of it at a time."""
        limits = ("--websocket-max-frame-size=0", "--websocket-max-message-size=0")
        with self.attack("/measure", *limits) as client:
            client.send(self.head)
            for _ in range(1000):
                client.send(b"x")
                self.assert_served()
            reset(client.sock)
            self.assert_told(1006)


@tag("heavy")
class UnreadTests(AttackTestCase):
    """The client does not read what it is sent."""

    count = 100_000

    def test_messages(self):
        """The application sends 100,000 messages of 1 KB to a client that reads none."""
        with self.attack(f"/flood/{self.count}", "--write-timeout", "1") as client:
            self.assert_served()
            self.assert_reset(client)
            self.assertLess(int(self.server.ask("/pieces_sent")), self.count)

    def test_pongs(self):
        """The client sends pings, 100,000 and more, until it is cut off, and reads no pong."""
        pings = bulk(PING, b"x" * 125) * 1000
        with self.attack("/echo", "--write-timeout", "1") as client:
            with self.assertRaises(ConnectionError):
                for _ in range(10 * self.count // 1000):
                    client.send(pings)
            self.assert_told(1006)


@tag("heavy")
class QueueTests(AttackTestCase):
    """The application does not take what it is sent."""

    count = 100_000

    def test_messages(self):
        """The client sends 100,000 messages of 1 KB, which are taken at last."""
        messages = bulk(TEXT, b"x" * KIB) * self.count
        with self.attack("/wait") as client:
            rest = client.send_until_stuck(messages)
            self.assertGreater(len(rest), 0, "The server takes what its application does not.")
            self.assert_served()
            self.server.ask("/step")
            client.send(rest + text("end"))
            self.assertEqual(client.read(), (TEXT, b"%d" % (self.count + 1)))
            self.assert_closes(client)
