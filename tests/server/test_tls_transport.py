"""The transport of TLS, between a client and a connection that writes down what it hears."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import Any

from django.test import tag

from django_daphne.server import ListenConfig, ServerConfig, bind
from django_daphne.server.accepting import AcceptingListener
from django_daphne.server.certificates import Certificates
from django_daphne.server.endpoints import Listener
from tests.server.test_tls_clients import RawClient
from tests.support.carriers import MEGABYTE, CarrierTestCase, Recorder, on_loop
from tests.support.server import PATIENCE
from tests.support.tls import TLSTestCase

RECORD = 16384


class EncryptedTestCase(CarrierTestCase, TLSTestCase):
    """The setting: a listener with TLS, and clients that see TCP beneath it."""

    loop_name = os.environ.get("DAPHNE_TEST_LOOP", "auto")
    shutdown_timeout: float = PATIENCE

    def setUp(self):
        CarrierTestCase.setUp(self)
        TLSTestCase.setUp(self)
        self.pair = self.make_pair("localhost")

    async def listen(self) -> Listener:
        """Speak TLS on a free port of 127.0.0.1."""
        values = self.pair.values | {"tls_shutdown_timeout": self.shutdown_timeout}
        certificates = Certificates(ServerConfig().replace(**values), ())
        (bound,) = bind(ListenConfig(port=0))
        listener = AcceptingListener(bound, certificates.encryption)
        await listener.start(self.make_recorder, 100)
        return listener

    async def aside(self, step: Callable[..., Any], *arguments: Any) -> Any:
        """Take a step of the client, which blocks, in a thread."""
        return await self.loop.run_in_executor(None, partial(step, *arguments))

    async def meet(self) -> tuple[RawClient, Recorder]:
        """Return both ends of a new connection."""
        sock, count = self.make_socket(), len(self.recorders)
        sock.settimeout(PATIENCE)
        await self.aside(sock.connect, self.address)
        client = await self.aside(RawClient, sock, self.trusting())
        return client, await self.recorder_behind(count)

    def say_goodbye(self, client: RawClient, data: bytes) -> None:
        """Send data and close_notify in one go, and keep the connection open."""
        client.tls.write(data)
        try:
            client.tls.unwrap()
        except ssl.SSLWantReadError:
            client.flush()

    def read(self, client: RawClient, size: int) -> bytes:
        """Return so many bytes."""
        pieces = []
        while size:
            pieces.append(client.run(client.tls.read, size))
            size -= len(pieces[-1])
        return b"".join(pieces)


@tag("loop")
class EncryptedTransportTests(EncryptedTestCase):
    """Bytes, backpressure and ends."""

    @on_loop
    async def test_full_records(self: Any) -> None:
        """The client sends full records, and its end behind them without the end of TCP."""
        for size in (RECORD, 2 * RECORD, 2 * RECORD + 1, 40 * RECORD):
            client, recorder = await self.meet()
            data = os.urandom(size)
            await self.aside(self.say_goodbye, client, data)
            await recorder.until("lost")
            self.assertEqual(bytes(recorder.data), data)
            self.assertEqual(recorder.events, ["made", "eof", "lost"])

    @on_loop
    async def test_paused(self: Any) -> None:
        """The connection wants no more when it has the first bytes, and the rest later."""
        for size in (RECORD, RECORD + 1):
            client, recorder = await self.meet()
            recorder.on_data = recorder.transport.pause_reading
            await self.aside(self.say_goodbye, client, b"x" * size)
            await recorder.when(lambda recorder=recorder: recorder.data)
            for _ in range(10):
                await asyncio.sleep(0)
            self.assertEqual(recorder.events, ["made"])
            recorder.on_data = recorder.transport.resume_reading
            recorder.transport.resume_reading()
            await recorder.until("lost")
            self.assertEqual((len(recorder.data), recorder.events[1:]), (size, ["eof", "lost"]))

    @on_loop
    async def test_progress(self: Any) -> None:
        """The client does not read, then a part, then all: each is seen."""
        client, recorder = await self.meet()
        transport = recorder.transport
        transport.set_write_buffer_limit(65536)
        data = os.urandom(8 * MEGABYTE)
        transport.write(data)
        before = transport.write_buffer_size
        self.assertGreater(before, 65536)
        self.assertEqual(recorder.events, ["made", "pause"])
        received = b""
        while transport.write_buffer_size == before:
            received += await self.aside(self.read, client, RECORD)
        self.assertGreater(transport.write_buffer_size, before // 2)
        transport.write(b"end")
        received += await self.aside(self.read, client, len(data) - len(received) + 3)
        await recorder.until("resume")
        self.assertTrue(received == data + b"end")

    @on_loop
    async def test_order(self: Any) -> None:
        """Many pieces of many sizes are written while the client reads none of them."""
        client, recorder = await self.meet()
        sizes = (1, 65536, 0, 65537, RECORD, 5 * MEGABYTE, 7, 65536, RECORD + 1, 300_000, 1)
        pieces = [os.urandom(size) for size in sizes]
        for piece in pieces:
            recorder.transport.write(piece)
        self.assertGreater(recorder.transport.write_buffer_size, 65536)
        received = await self.aside(self.read, client, sum(sizes))
        self.assertTrue(received == b"".join(pieces))

    @on_loop
    async def test_close(self: Any) -> None:
        """The server closes: all of it arrives, and what the client still sends is for nobody."""
        client, recorder = await self.meet()
        recorder.transport.write(b"x" * (8 * MEGABYTE))
        recorder.transport.close()
        recorder.transport.write(b"more")
        await self.aside(client.run, client.tls.write, b"y" * MEGABYTE)
        self.assertEqual(len(await self.aside(self.read, client, 8 * MEGABYTE)), 8 * MEGABYTE)
        self.assertEqual(await self.aside(client.run, client.tls.read, 1), b"")  # close_notify
        self.assertEqual((bytes(recorder.data), recorder.events.count("lost")), (b"", 0))
        client.sock.close()
        await recorder.until("lost")

    @on_loop
    async def test_abort(self: Any) -> None:
        """The server resets a connection, with much to send and none."""
        for size in (0, 8 * MEGABYTE):
            client, recorder = await self.meet()
            recorder.transport.write(b"x" * size)
            recorder.transport.abort()
            recorder.transport.write(b"more")
            self.assertEqual(recorder.transport.write_buffer_size, 0)
            await recorder.until("lost")
            with self.assertRaises(ConnectionResetError):
                await self.aside(self.read, client, 8 * MEGABYTE)

    @on_loop
    async def test_reset(self: Any) -> None:
        """The client resets the connection, which is in use and then at rest."""
        for size in (0, 8 * MEGABYTE):
            client, recorder = await self.meet()
            recorder.transport.write(b"x" * size)
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0" + bytes(4))
            client.sock.close()
            await recorder.until("lost")


@tag("loop")
class ImpatientTests(EncryptedTestCase):
    """A client that says nothing to the end is waited for no longer than it may take."""

    shutdown_timeout = 0.02

    @on_loop
    async def test_close(self: Any) -> None:
        """The client sends on and on, and never an end."""
        client, recorder = await self.meet()
        recorder.transport.close()
        while "lost" not in recorder.events:
            client.tls.write(b"x")
            try:
                client.flush()
            except OSError:
                await recorder.until("lost")
            await asyncio.sleep(0)
