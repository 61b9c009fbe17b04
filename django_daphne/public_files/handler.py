"""Files before an application: found on the event loop or in a thread, and sent by the server."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import Any, Final, Protocol

from .responses import Answer, Representation, Request

# Bytes. So few are read at once and leave with the head: the kernel's way costs more calls.
SMALL: Final = 64 * 1024

BUSY: Final = Answer(503, ((b"Retry-After", b"1"), (b"Content-Length", b"0")))


@dataclass(frozen=True, slots=True)
class Opened:
    """An open file, which the handler closes, and what is said of it."""

    descriptor: int
    representation: Representation


class Source(Protocol):
    """Where files come from. ``blocks`` tells whether a thread should look for them."""

    blocks: bool

    def has(self, path: str) -> bool:
        """Tell whether a path might be one of its files; at once."""

    def open(self, path: str, request: Request) -> Opened | Answer | None:
        """Return a file, what is to be answered without one, or None for what is not there."""


class PublicFiles:
    """An ASGI application around another, which gets all but the requests for files."""

    def __init__(self, application: Any, *sources: Source) -> None:
        """Wrap an application; of two sources that have a file the first one serves it."""
        self._application = application
        self._sources = sources

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Send a file, or call the application."""
        if scope["type"] == "http":
            path = _local_path(scope)
            for source in self._sources:
                if source.has(path) and await _serve(source, path, scope, send):
                    return
        await self._application(scope, receive, send)


def _local_path(scope: Any) -> str:
    """Return the path below the one that the project is mounted at, if that is in front of it."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    return path.removeprefix(root) if root and path.startswith(f"{root}/") else path


async def _serve(source: Source, path: str, scope: Any, send: Any) -> bool:
    """Answer with a file; tell whether there is one."""
    request = Request(scope["method"], scope["headers"])
    if source.blocks:
        found = await _open_in_thread(source, path, request)
    else:
        found = source.open(path, request)
    if isinstance(found, Opened):
        try:
            await _send(request, request.answer(found.representation), found.descriptor, send)
        finally:
            os.close(found.descriptor)
    elif found is not None:
        await _send(request, found, -1, send)
    return found is not None


async def _open_in_thread(source: Source, path: str, request: Request) -> Opened | Answer | None:
    opening = asyncio.get_running_loop().run_in_executor(None, source.open, path, request)
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(_close)  # nobody else will
        raise


def _close(opening: asyncio.Future[Opened | Answer | None]) -> None:
    if opening.cancelled() or opening.exception() is not None:
        return
    found = opening.result()
    if isinstance(found, Opened):
        os.close(found.descriptor)


async def _send(request: Request, answer: Answer, descriptor: int, send: Any) -> None:
    count = 0 if request.method == "HEAD" else answer.count
    body = b""
    if 0 < count <= SMALL:
        if answer.offset:
            os.lseek(descriptor, answer.offset, os.SEEK_SET)
        body = os.read(descriptor, count)
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
    if count > SMALL:
        part = {"file": descriptor, "offset": answer.offset, "count": count}
        await send({"type": "http.response.zerocopysend", **part})
    else:
        await send({"type": "http.response.body", "body": body})
