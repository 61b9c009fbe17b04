"""Waiting for a socket of one's own, on the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from socket import socket
from typing import TypeAlias

Readiness: TypeAlias = AbstractContextManager[asyncio.Future[None]]


def readable(loop: asyncio.AbstractEventLoop, sock: socket | int) -> Readiness:
    """Give a future that is done when there is something to read, or the end."""
    return _watch(loop, sock, loop.add_reader, loop.remove_reader)


def writable(loop: asyncio.AbstractEventLoop, sock: socket | int) -> Readiness:
    """Give a future that is done when the kernel takes more."""
    return _watch(loop, sock, loop.add_writer, loop.remove_writer)


@contextmanager
def _watch(
    loop: asyncio.AbstractEventLoop,
    sock: socket | int,
    add: Callable[..., object],
    remove: Callable[..., object],
) -> Iterator[asyncio.Future[None]]:
    ready: asyncio.Future[None] = loop.create_future()
    add(sock, _resolve, ready)
    try:
        yield ready
    finally:
        remove(sock)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
