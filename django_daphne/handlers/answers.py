"""What a lane has to say of a request: Django's response in the words of ASGI."""

from __future__ import annotations

import io
import os
import stat
from contextvars import Context
from dataclasses import dataclass, field
from inspect import getattr_static
from pathlib import Path
from typing import Any, Final

from django.core.files.base import File
from django.core.files.utils import FileProxyMixin
from django.http import FileResponse
from django.http.response import HttpResponseBase, ResponseHeaders

_PATHSEND: Final = "http.response.pathsend"
_ZEROCOPYSEND: Final = "http.response.zerocopysend"


@dataclass(slots=True, eq=False)
class Answer:
    """A whole response, or with ``content`` None the head of one that has a body to come.

    That comes from the lane piece by piece, unless it belongs to the loop: a ``message`` that makes
    the server send a file, or an async iterator, the ``stream``. ``keeps_lane`` tells that the
    request's lane waits for the end of it, with a transaction open.
    """

    status: int
    headers: list[tuple[bytes, bytes]]
    content: bytes | None
    stream: Any
    message: dict[str, Any] | None
    context: Context
    keeps_lane: bool = field(default=False, init=False)

    @property
    def is_for_loop(self) -> bool:
        """Tell whether the lane has nothing to do for the body."""
        return self.stream is not None or self.message is not None


def make_answer(response: Any, scope: Any, context: Context) -> Answer:
    """Return an answer; ``context`` is what the loop's side gets to know of the request's."""
    headers = _headers(response)
    for cookie in response.cookies.values():
        headers.append((b"Set-Cookie", cookie.OutputString().encode("ascii")))
    content = stream = message = None
    if not response.streaming:
        content = response.content
    elif response.is_async:
        stream = response
    elif isinstance(response, FileResponse):
        message = _file_message(response, scope.get("extensions") or {})
    return Answer(response.status_code, headers, content, stream, message, context)


def _headers(response: Any) -> list[tuple[bytes, bytes]]:
    """Return the headers of a response as ASGI has them, without its cookies."""
    headers = response.headers
    if type(headers) is ResponseHeaders and type(response).items is HttpResponseBase.items:
        # Django's own: pairs of texts, which are there without a look-up for each.
        return [_known.get(pair) or _encode(pair) for pair in vars(headers)["_store"].values()]
    return [
        (
            name.encode("ascii") if isinstance(name, str) else bytes(name),
            value.encode("latin1") if isinstance(value, str) else bytes(value),
        )
        for name, value in response.items()
    ]


def _encode(pair: tuple[str, str]) -> tuple[bytes, bytes]:
    """Return a header as bytes, and remember it: most responses of a project have the same few."""
    name, value = pair
    encoded = name.encode("ascii"), value.encode("latin1")
    if len(value) <= _MAX_KNOWN_VALUE:
        if len(_known) >= _MAX_KNOWN:
            _known.clear()  # those that come again are soon back
        _known[pair] = encoded
    return encoded


_known: Final[dict[tuple[str, str], tuple[bytes, bytes]]] = {}
_MAX_KNOWN: Final = 1024
_MAX_KNOWN_VALUE: Final = 256


def _file_message(response: FileResponse, extensions: Any) -> dict[str, Any] | None:
    """Return what makes the server send a response's file, if that is all of its body."""
    # It is None once somebody has put something around it.
    file = _innermost(response.file_to_stream) if extensions else None
    if file is None:
        return None
    try:
        offset, descriptor = file.tell(), file.fileno()
        length, status = int(response.headers["Content-Length"]), os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or length != status.st_size - offset:
            return None
        if _ZEROCOPYSEND in extensions:
            return {"type": _ZEROCOPYSEND, "file": descriptor, "offset": offset, "count": length}
        name = file.name
        if _PATHSEND in extensions and offset == 0 and isinstance(name, str):
            there = Path(name).stat()
            if (there.st_dev, there.st_ino) == (status.st_dev, status.st_ino):
                return {"type": _PATHSEND, "path": str(Path(name).absolute())}
    except (OSError, ValueError, KeyError):
        pass
    return None


def _innermost(file: Any) -> Any:
    """Return the file of the system that is in one of Django's, or None for what changes it."""
    while type(file) is not io.FileIO:
        kind = type(file)
        if kind in (io.BufferedReader, io.BufferedRandom):
            return file if type(file.raw) is io.FileIO else None
        is_proxy = isinstance(file, File) and getattr_static(kind, "read") is _PROXY_READ
        if not (is_proxy or kind.__module__ == "tempfile"):
            return None
        file = getattr(file, "file", None)
    return file


_PROXY_READ: Final = vars(FileProxyMixin)["read"]
