"""Parts of files as response bodies.

On a plain socket the kernel copies from the file to the socket (``os.sendfile``); elsewhere a
thread reads ahead by one piece while the last one is being sent. Neither holds more than two pieces
of the file, and both wait for a client that reads slowly.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Final

from .exceptions import ClientDisconnected
from .interfaces import FileWriter
from .readiness import writable

# Bytes at a time: a fair share of the loop for one connection, and large enough to be fast.
PIECE: Final = 256 * 1024

Progress = Callable[[], object]


async def copy(
    writer: FileWriter, descriptor: int, offset: int, count: int, progress: Progress
) -> None:
    """Read in a thread and write through the transport.

    Raises EOFError when the file ends before ``count`` bytes, ClientDisconnected when the
    connection does.
    """
    loop = asyncio.get_running_loop()
    end = offset + count

    def read(start: int) -> asyncio.Future[bytes]:
        return loop.run_in_executor(None, read_at, descriptor, min(PIECE, end - start), start)

    ahead = read(offset)
    try:
        while offset < end:
            data = await ahead
            if not data:
                raise EOFError("the file is shorter than what was promised of it")
            offset += len(data)
            if offset < end:
                ahead = read(offset)
            await writer.drained()
            writer.write(data)
            progress()
        await writer.drained()
    finally:
        # The descriptor is the caller's, who may close it as soon as nobody reads from it.
        if not ahead.done():
            await asyncio.wait((ahead,))


def read_at(descriptor: int, count: int, offset: int) -> bytes:
    """Return at most ``count`` bytes of a file, from an offset on."""
    if hasattr(os, "pread"):
        return os.pread(descriptor, count, offset)
    os.lseek(descriptor, offset, os.SEEK_SET)  # Windows
    return os.read(descriptor, count)


async def send(
    sock: int,
    ended: asyncio.Future[None],
    descriptor: int,
    offset: int,
    count: int,
    progress: Progress,
    note_sent: Callable[[int], object] | None = None,
) -> None:
    """Let the kernel send to ``sock``, a non-blocking descriptor with nothing else to send.

    ``sock`` is a duplicate, for the loops let nobody wait on a descriptor of theirs; so ``ended``,
    done when the connection is, is the only sign of an end of our own making. ``note_sent`` is told
    the size of every piece. Raises as ``copy``.
    """
    loop = asyncio.get_running_loop()
    end = offset + count
    while offset < end:
        if ended.done():
            raise ClientDisconnected("the connection ended while a file was being sent")
        try:
            sent = os.sendfile(sock, descriptor, offset, min(PIECE, end - offset))
        except BlockingIOError:
            with writable(loop, sock) as ready:
                await asyncio.wait((ready, ended), return_when=asyncio.FIRST_COMPLETED)
            continue
        except OSError as error:
            raise ClientDisconnected(str(error)) from None
        if sent == 0:
            raise EOFError("the file is shorter than what was promised of it")
        offset += sent
        if note_sent is not None:
            note_sent(sent)
        progress()
        await asyncio.sleep(0)  # a turn for the other connections
