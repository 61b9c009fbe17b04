"""The views of a Django project that uses all of a server, and their addresses."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from django.contrib import admin
from django.http import FileResponse, HttpRequest, JsonResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

# Set when the endless stream has been closed, or its view cancelled.
stream_closed = threading.Event()


def sync_parts() -> Iterator[str]:
    """Yield a few parts."""
    yield from ("one ", "two ", "three")


async def async_parts() -> AsyncIterator[str]:
    """Yield a few parts."""
    for part in sync_parts():
        yield part
        await asyncio.sleep(0)


async def endless_parts() -> AsyncIterator[str]:
    """Yield one part and never another."""
    try:
        yield "first\n"
        await asyncio.Event().wait()
    finally:
        stream_closed.set()


def sync_stream(request: HttpRequest) -> StreamingHttpResponse:
    """Stream from a sync iterator."""
    return StreamingHttpResponse(sync_parts())


async def async_stream(request: HttpRequest) -> StreamingHttpResponse:
    """Stream from an async iterator."""
    return StreamingHttpResponse(async_parts())


async def endless_stream(request: HttpRequest) -> StreamingHttpResponse:
    """Stream until the client leaves."""
    return StreamingHttpResponse(endless_parts(), content_type="text/event-stream")


def file(request: HttpRequest) -> FileResponse:
    """Send this file."""
    return FileResponse(Path(__file__).open("rb"), as_attachment=True, filename="views.py")


@csrf_exempt
def upload(request: HttpRequest) -> JsonResponse:
    """Report on what was sent."""
    sent = request.FILES["file"]
    assert not isinstance(sent, list)
    digest = hashlib.sha256()
    for chunk in sent.chunks():
        digest.update(chunk)
    return JsonResponse(
        {
            "name": sent.name,
            "size": sent.size,
            "sha256": digest.hexdigest(),
            "class": type(sent).__name__,
            "text": request.POST["text"],
        }
    )


urlpatterns = [
    path("admin/", admin.site.urls),
    path("sync-stream", sync_stream),
    path("async-stream", async_stream),
    path("endless-stream", endless_stream),
    path("file", file),
    path("upload", upload),
]
