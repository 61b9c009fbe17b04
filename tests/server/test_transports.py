"""One contract for both carriers of a connection, over real sockets on every loop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import Any

from django.test import tag

from django_daphne.server import ClientDisconnected
from django_daphne.server.interfaces import Transport
from tests.support.carriers import (
    MEGABYTE,
    CarrierTestCase,
    Client,
    Recorder,
    TwistedTestCase,
    on_loop,
)

LOGGER = "django_daphne.server"


class Contract:
    """What holds for every carrier."""

    connect: Callable[..., Coroutine[Any, Any, tuple[Client, Recorder]]]
    make_file: Callable[[int], tuple[int, bytes]]
    address: tuple[str, int]

    @on_loop
    async def test_facts(self: Any) -> None:
        """The server asks who is there."""
        client, recorder = await self.connect()
        transport = recorder.transport
        self.assertEqual(transport.peer, client.sock.getsockname())
        self.assertEqual(transport.host, self.address)
        self.assertEqual((transport.is_tls, transport.alpn), (False, None))

    @on_loop
    async def test_write(self: Any) -> None:
        """The server writes and the client reads it in order; nothing is written for nothing."""
        client, recorder = await self.connect()
        for data in (b"one ", b"", b"two ", b"x" * MEGABYTE, b" three"):
            recorder.transport.write(data)
        received = await client.receive_exactly(14 + MEGABYTE)
        self.assertEqual(received, b"one two " + b"x" * MEGABYTE + b" three")

    @on_loop
    async def test_read(self: Any) -> None:
        """The client sends and the server gets it."""
        client, recorder = await self.connect()
        await client.send(b"x" * MEGABYTE)
        await recorder.when(lambda: len(recorder.data) == MEGABYTE)

    @on_loop
    async def test_pause_reading(self: Any) -> None:
        """The server reads no more, and the client cannot send for ever."""
        client, recorder = await self.connect()
        recorder.transport.pause_reading()
        recorder.transport.pause_reading()
        sent = client.fill()
        for _ in range(20):
            await asyncio.sleep(0)
        self.assertEqual(len(recorder.data), 0)
        recorder.transport.resume_reading()
        recorder.transport.resume_reading()
        await recorder.when(lambda: len(recorder.data) == sent)

    @on_loop
    async def test_pause_while_reading(self: Any) -> None:
        """The server pauses within a read and is given nothing more until it resumes."""
        client, recorder = await self.connect()
        recorder.on_data = recorder.transport.pause_reading
        await client.send(b"a")
        await recorder.when(lambda: bool(recorder.data))
        await client.send(b"b")
        for _ in range(20):
            await asyncio.sleep(0)
        self.assertEqual(recorder.data, b"a")
        recorder.transport.resume_reading()
        await recorder.when(lambda: recorder.data == b"ab")

    @on_loop
    async def test_half_close(self: Any) -> None:
        """The client half-closes; the server learns it and can still write."""
        client, recorder = await self.connect()
        await client.send(b"question")
        client.sock.shutdown(socket.SHUT_WR)
        await recorder.until("eof")
        self.assertEqual(recorder.data, b"question")
        recorder.transport.write(b"answer")
        recorder.transport.close()
        self.assertEqual(await client.receive_all(), b"answer")
        await recorder.until("lost")

    @on_loop
    async def test_close_flushes(self: Any) -> None:
        """The server writes much and closes; a slow client still reads all of it."""
        client, recorder = await self.connect()
        recorder.transport.write(b"x" * (3 * MEGABYTE))
        recorder.transport.close()
        self.assertEqual(len(await client.receive_all()), 3 * MEGABYTE)
        await recorder.until("lost")

    @on_loop
    async def test_write_eof(self: Any) -> None:
        """The server closes its side and goes on reading."""
        client, recorder = await self.connect()
        recorder.transport.write(b"bye")
        recorder.transport.write_eof()
        self.assertEqual(await client.receive_all(), b"bye")
        await client.send(b"but")
        await recorder.when(lambda: recorder.data == b"but")
        recorder.transport.close()
        await recorder.until("lost")

    @on_loop
    async def test_write_eof_behind_much(self: Any) -> None:
        """The server closes its side behind more than the client has read."""
        client, recorder = await self.connect()
        recorder.transport.write(b"x" * (3 * MEGABYTE))
        recorder.transport.write_eof()
        self.assertEqual(len(await client.receive_all()), 3 * MEGABYTE)
        await client.send(b"but")
        await recorder.when(lambda: recorder.data == b"but")

    @on_loop
    async def test_write_eof_after_a_reset(self: Any) -> None:
        """The server closes its side before it hears that the client has reset the connection."""
        client, recorder = await self.connect()
        recorder.transport.write(b"bye")
        client.reset()
        recorder.transport.write_eof()
        await recorder.until("lost")

    @on_loop
    async def test_abort(self: Any) -> None:
        """The server aborts and the client sees a reset, not an end."""
        client, recorder = await self.connect()
        recorder.transport.write(b"part")
        self.assertEqual(await client.receive(), b"part")
        recorder.transport.abort()
        with self.assertRaises(ConnectionResetError):
            await client.receive()
        await recorder.until("lost")

    @on_loop
    async def test_abort_with_much_unsent(self: Any) -> None:
        """The server aborts with a full buffer, of which the client gets no end."""
        client, recorder = await self.connect()
        recorder.transport.write(b"x" * (8 * MEGABYTE))
        recorder.transport.abort()
        with self.assertRaises(ConnectionResetError):
            await client.receive_all()
        await recorder.until("lost")

    @on_loop
    async def test_abort_after_close(self: Any) -> None:
        """The server closes, but the client does not read, and so it aborts."""
        client, recorder = await self.connect()
        recorder.transport.write(b"x" * (8 * MEGABYTE))
        recorder.transport.close()
        recorder.transport.abort()
        await recorder.until("lost")
        with self.assertRaises(ConnectionResetError):
            await client.receive_all()

    @on_loop
    async def test_client_resets(self: Any) -> None:
        """The client resets and the server is told once."""
        client, recorder = await self.connect()
        client.reset()
        await recorder.until("lost")

    @on_loop
    async def test_backpressure(self: Any) -> None:
        """The client does not read: the server is told to wait, once, and then to go on."""
        client, recorder = await self.connect()
        recorder.transport.set_write_buffer_limit(65536)
        written = 0
        while "pause" not in recorder.events:
            recorder.transport.write(b"x" * 65536)
            written += 65536
            await asyncio.sleep(0)
        self.assertGreater(recorder.transport.write_buffer_size, 65536)
        self.assertNotIn("resume", recorder.events)
        await client.receive_exactly(written)
        await recorder.until("resume")
        self.assertEqual(recorder.events, ["made", "pause", "resume"])
        self.assertLess(recorder.transport.write_buffer_size, 65536)

    @on_loop
    async def test_one_large_write(self: Any) -> None:
        """The server writes far more than the limit at once."""
        client, recorder = await self.connect()
        recorder.transport.set_write_buffer_limit(65536)
        recorder.transport.write(b"x" * (8 * MEGABYTE))
        self.assertIn("pause", recorder.events)
        before = recorder.transport.write_buffer_size
        await client.receive_exactly(6 * MEGABYTE)
        self.assertLess(recorder.transport.write_buffer_size, before)
        await client.receive_exactly(2 * MEGABYTE)
        await recorder.until("resume")

    @on_loop
    async def test_writes_to_nobody(self: Any) -> None:
        """The client has gone; a server that writes on without a turn of the loop does no harm."""
        client, recorder = await self.connect()
        recorder.transport.set_write_buffer_limit(65536)
        client.reset()
        for _ in range(100):
            recorder.transport.write(b"x" * 65536)
        await recorder.until("lost")

    def _use_everything(self: Any, transport: Transport) -> None:
        transport.write(b"x")
        transport.set_write_buffer_limit(10)
        transport.pause_reading()
        transport.resume_reading()
        transport.write_eof()
        transport.close()
        transport.abort()
        self.assertGreaterEqual(transport.write_buffer_size, 0)
        self.assertIsInstance(transport.host, tuple)
        self.assertIsInstance(transport.peer, tuple)

    @on_loop
    async def test_everything_after_the_end(self: Any) -> None:
        """The server goes on using a connection that has ended, and nothing happens."""
        for end in ("reset", "close", "abort"):
            client, recorder = await self.connect()
            if end == "reset":
                client.reset()
            else:
                getattr(recorder.transport, end)()
            await recorder.until("lost")
            self._use_everything(recorder.transport)
            with self.assertRaises(ClientDisconnected):
                await recorder.transport.send_file(self.make_file(10)[0], 0, 10, list)

    @on_loop
    async def test_everything_while_ending(self: Any) -> None:
        """The server goes on using a connection that it has just ended."""
        for end in ("close", "abort"):
            client, recorder = await self.connect()
            recorder.transport.write(b"part")
            getattr(recorder.transport, end)()
            self._use_everything(recorder.transport)
            await recorder.until("lost")
            client.sock.close()

    @on_loop
    async def test_faults(self: Any) -> None:
        """A fault of our own costs the connection it happened on, is logged, and nothing else."""
        other_client, other = await self.connect()
        for error in (ValueError("odd"), OSError("odd too"), ConnectionResetError("odd as well")):
            client, recorder = await self.connect()

            def fail(error: Exception = error) -> None:
                raise error

            recorder.on_data = fail
            with self.assertLogs(LOGGER, "ERROR") as logs:
                await client.send(b"x")
                await recorder.until("lost")
            self.assertIn(str(error), logs.output[0])
            with self.assertRaises(ConnectionResetError):
                await client.receive()
        await other_client.send(b"still here")
        await other.when(lambda: other.data == b"still here")


@tag("loop")
class NativeAsyncioTests(Contract, CarrierTestCase):
    """asyncio's own transports."""


@tag("loop")
class NativeUvloopTests(Contract, CarrierTestCase):
    """uvloop's transports."""

    loop_name = "uvloop"


@tag("loop")
class TwistedAsyncioTests(Contract, TwistedTestCase):
    """Twisted's transports over asyncio."""


@tag("loop")
class TwistedUvloopTests(Contract, TwistedTestCase):
    """Twisted's transports over uvloop."""

    loop_name = "uvloop"
