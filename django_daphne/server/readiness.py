"""Waiting for a socket of one's own, on the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from socket import socket


@contextmanager
def readable(loop: asyncio.AbstractEventLoop, sock: socket | int) -> Iterator[asyncio.Future[None]]:
    """Give a future that is done when there is something to read, or the end."""
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(sock, _resolve, ready)
    try:
        yield ready
    finally:
        loop.remove_reader(sock)


@contextmanager
def writable(loop: asyncio.AbstractEventLoop, sock: socket | int) -> Iterator[asyncio.Future[None]]:
    """Give a future that is done when the kernel takes more."""
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_writer(sock, _resolve, ready)
    try:
        yield ready
    finally:
        loop.remove_writer(sock)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
