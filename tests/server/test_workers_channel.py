"""The channel between a supervisor and what it has started."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path
from typing import Any

from django.test import SimpleTestCase

from django_daphne.server.workers.channel import Channel, make_pair

# Seconds; only ever an upper bound.
PATIENCE = 20


class Conversation:
    """Our end of a pair as a channel, and the other end as a socket. To be made on a loop."""

    def __init__(self) -> None:
        ours, self.theirs = make_pair()
        self.received: asyncio.Queue[tuple[Any, list[int]]] = asyncio.Queue()
        self._ended = asyncio.Event()
        self.ends = 0
        self.channel = Channel(ours, self.note, self._end)

    def note(self, message: Any, descriptors: list[int]) -> None:
        """Keep a message."""
        self.received.put_nowait((message, descriptors))

    def _end(self) -> None:
        self.ends += 1
        self._ended.set()

    async def next(self) -> tuple[Any, list[int]]:
        """Return the next message and its descriptors."""
        async with asyncio.timeout(PATIENCE):
            return await self.received.get()

    async def end(self) -> None:
        """Wait for the end."""
        async with asyncio.timeout(PATIENCE):
            await self._ended.wait()

    def __enter__(self) -> Conversation:
        return self

    def __exit__(self, *error: object) -> None:
        self.channel.close()
        self.theirs.close()


def count_descriptors() -> int:
    """Return how many descriptors this process has, where that can be known."""
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.exists() else 0


class ChannelTests(SimpleTestCase):
    """Messages arrive whole and in order, with their descriptors, or the conversation ends."""

    async def assert_ended(self, talk: Conversation) -> None:
        """Assert that the conversation ends, once."""
        await talk.end()
        self.assertEqual(talk.ends, 1)
        self.assertFalse(talk.channel.send({}))

    async def test_descriptors(self):
        """A supervisor lends two sockets between two orders that come in one piece."""
        with Conversation() as talk, socket.socket() as first, socket.socket() as second:
            other = Channel(talk.theirs, lambda *_: None, lambda: None)
            self.assertTrue(other.send({"order": "leave"}))
            self.assertTrue(other.send({"order": "take"}, [first.fileno(), second.fileno()]))
            self.assertTrue(other.send({"order": "stop"}))
            self.assertEqual(await talk.next(), ({"order": "leave"}, []))
            message, descriptors = await talk.next()
            self.assertEqual(message, {"order": "take"})
            for descriptor, sent in zip(descriptors, (first, second), strict=True):
                self.assertTrue(os.path.sameopenfile(descriptor, sent.fileno()))
                self.assertFalse(os.get_inheritable(descriptor))
                os.close(descriptor)
            self.assertEqual(await talk.next(), ({"order": "stop"}, []))
            other.close()

    async def test_pieces(self):
        """A message comes in two pieces, with another behind it."""
        with Conversation() as talk:
            talk.theirs.send(b'{"state": "re')
            await asyncio.sleep(0)
            talk.theirs.send(b'ady", "descriptors": 0}\n{"descriptors": 0}\n')
            self.assertEqual(await talk.next(), ({"state": "ready"}, []))
            self.assertEqual(await talk.next(), ({}, []))

    async def test_nonsense(self):
        """A worker's application writes into descriptors that are not its own."""
        deep = b"[" * 100_000 + b"\n"
        for text in (b"\n", b"hello\n", b"[]\n", b"1\n", b"{}\n", b'{"descriptors": ""}\n', deep):
            with self.subTest(text[:20]), Conversation() as talk:
                talk.theirs.sendall(text)
                await self.assert_ended(talk)

    async def test_endless_line(self):
        """A worker sends and sends, and never ends its line."""
        with Conversation() as talk:
            talk.theirs.setblocking(False)
            loop = asyncio.get_running_loop()
            with self.assertRaises(ConnectionError):
                async with asyncio.timeout(PATIENCE):
                    while True:
                        await loop.sock_sendall(talk.theirs, b"x" * 65536)
            await self.assert_ended(talk)

    async def test_closed_end(self):
        """A worker ends while a socket for it is under way, which is closed."""
        with Conversation() as talk, socket.socket() as lent:
            socket.send_fds(talk.theirs, [b'{"unfinished": '], [lent.fileno()])
            talk.theirs.close()
            before = count_descriptors()
            await self.assert_ended(talk)
            if before:  # without our end of the channel
                self.assertEqual(count_descriptors(), before - 1)

    async def test_full(self):
        """A worker hangs: the supervisor can tell it only so much, and does not wait."""
        with Conversation() as talk:
            sent = 0
            while talk.channel.send({"order": "leave", "slot": sent}):
                sent += 1
            self.assertGreater(sent, 10)
            other = Channel(talk.theirs, talk.note, lambda: None)
            for slot in range(sent):
                self.assertEqual((await talk.next())[0]["slot"], slot)
            self.assertTrue(talk.channel.send({}))
            self.assertEqual(talk.ends, 0)
            other.close()

    async def test_closed(self):
        """This side has ended the conversation, and hears no more of it."""
        with Conversation() as talk:
            talk.theirs.send(b'{"descriptors": 0}\n')
            talk.channel.close()
            talk.channel.close()
            await asyncio.sleep(0)
            self.assertTrue(talk.received.empty())
            self.assertEqual(talk.ends, 0)
