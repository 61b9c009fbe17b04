"""Parts of files as response bodies, on both carriers over real sockets on every loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from django.test import tag

from django_daphne.server import ClientDisconnected
from tests.support.carriers import (
    MEGABYTE,
    CarrierTestCase,
    Client,
    Recorder,
    TwistedTestCase,
    on_loop,
)


class FileContract:
    """Files, on every carrier."""

    connect: Callable[..., Coroutine[Any, Any, tuple[Client, Recorder]]]
    make_file: Callable[[int], tuple[int, bytes]]

    @on_loop
    async def test_file(self: Any) -> None:
        """The server sends a part of a file between other bytes."""
        descriptor, content = self.make_file(1000)
        client, recorder = await self.connect()
        recorder.transport.write(b"before ")
        await recorder.transport.send_file(descriptor, 100, 500, list)
        recorder.transport.write(b" behind")
        recorder.transport.close()
        received = await client.receive_all()
        self.assertEqual(received, b"before " + content[100:600] + b" behind")

    @on_loop
    async def test_nothing_of_a_file(self: Any) -> None:
        """The server sends no bytes of a file."""
        descriptor, _ = self.make_file(10)
        client, recorder = await self.connect()
        await recorder.transport.send_file(descriptor, 5, 0, list)
        recorder.transport.close()
        self.assertEqual(await client.receive_all(), b"")

    @on_loop
    async def test_large_file(self: Any) -> None:
        """The client reads a large file slowly; the server sees progress all the way."""
        size = 5 * MEGABYTE
        descriptor, content = self.make_file(size)
        client, recorder = await self.connect()
        recorder.transport.set_write_buffer_limit(65536)
        recorder.transport.write(b"x" * 300_000)
        progress: list[int] = []
        sending = asyncio.ensure_future(
            recorder.transport.send_file(descriptor, 0, size, lambda: progress.append(1))
        )
        self.assertEqual(await client.receive_exactly(300_000), b"x" * 300_000)
        received = b""
        while len(received) < size:
            received += await client.receive(32768)
        await sending
        self.assertEqual(received, content)
        self.assertGreaterEqual(len(progress), 5)

    @on_loop
    async def test_client_does_not_read(self: Any) -> None:
        """The client reads nothing of a large file and leaves; the server notices."""
        descriptor, _ = self.make_file(20 * MEGABYTE)
        client, recorder = await self.connect()
        recorder.transport.set_write_buffer_limit(65536)
        sending = asyncio.ensure_future(
            recorder.transport.send_file(descriptor, 0, 20 * MEGABYTE, list)
        )
        await client.receive(1000)
        for _ in range(50):
            await asyncio.sleep(0)
        self.assertFalse(sending.done())
        client.reset()
        with self.assertRaises(ClientDisconnected):
            await sending
        await recorder.until("lost")

    @on_loop
    async def test_server_aborts(self: Any) -> None:
        """The server aborts in the middle of a file; the client sees a reset."""
        descriptor, _ = self.make_file(20 * MEGABYTE)
        client, recorder = await self.connect()
        recorder.transport.set_write_buffer_limit(65536)
        sending = asyncio.ensure_future(
            recorder.transport.send_file(descriptor, 0, 20 * MEGABYTE, list)
        )
        await client.receive(1000)
        recorder.transport.abort()
        with self.assertRaises(ClientDisconnected):
            await sending
        with self.assertRaises(ConnectionResetError):
            await client.receive_all()

    @on_loop
    async def test_short_file(self: Any) -> None:
        """The file ends before what was promised of it; what there is has left."""
        descriptor, content = self.make_file(1000)
        client, recorder = await self.connect()
        with self.assertRaises(EOFError):
            await recorder.transport.send_file(descriptor, 0, 1001, list)
        self.assertEqual(await client.receive_exactly(1000), content)

    @on_loop
    async def test_backpressure_afterwards(self: Any) -> None:
        """The server has sent a file and is told to wait as before."""
        descriptor, content = self.make_file(1000)
        client, recorder = await self.connect()
        recorder.transport.set_write_buffer_limit(65536)
        await recorder.transport.send_file(descriptor, 0, 1000, list)
        self.assertEqual(await client.receive_exactly(1000), content)
        recorder.events.clear()
        recorder.transport.write(b"x")
        self.assertEqual(recorder.events, [])
        recorder.transport.write(b"x" * (8 * MEGABYTE))
        self.assertEqual(recorder.events, ["pause"])


@tag("loop")
class NativeAsyncioTests(FileContract, CarrierTestCase):
    """asyncio's own transports."""


@tag("loop")
class NativeUvloopTests(FileContract, CarrierTestCase):
    """uvloop's transports."""

    loop_name = "uvloop"


@tag("loop")
class TwistedAsyncioTests(FileContract, TwistedTestCase):
    """Twisted's transports over asyncio."""


@tag("loop")
class TwistedUvloopTests(FileContract, TwistedTestCase):
    """Twisted's transports over uvloop."""

    loop_name = "uvloop"
