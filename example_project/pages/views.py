"""The views: each shows one thing that the server does."""

import asyncio
import hashlib
import json
import logging
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from tempfile import NamedTemporaryFile
from typing import Any

from django.contrib import messages
from django.core.files.uploadedfile import UploadedFile
from django.core.handlers.asgi import ASGIRequest
from django.http import (
    FileResponse,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    JsonResponse,
    StreamingHttpResponse,
)
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_safe

from pages.forms import ChatForm, DownloadForm, EntryForm, UploadForm
from pages.models import Entry

LATEST = 50  # entries shown
MEBIBYTE = 1024 * 1024
INDENTED = {"indent": 2}

logger = logging.getLogger(__name__)


@require_safe
def index(request: HttpRequest) -> HttpResponse:
    """List the pages and what each one shows."""
    return render(request, "pages/index.html")


@require_http_methods(["GET", "HEAD", "POST"])
def guestbook(request: HttpRequest) -> HttpResponse:
    """Show the latest entries, count the visits of the session and take a new entry."""
    form = EntryForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        form.save()
        messages.success(request, "Thank you, your entry is in the book.")
        return redirect("guestbook")
    if request.method == "GET":
        request.session["visits"] = request.session.get("visits", 0) + 1
    context = {
        "form": form,
        "entries": Entry.objects.all()[:LATEST],
        "visits": request.session.get("visits", 0),
    }
    return render(request, "pages/guestbook.html", context, status=400 if form.errors else 200)


@require_safe
async def entries(request: HttpRequest) -> JsonResponse:
    """Answer with the latest entries as JSON."""
    latest = [
        {"name": entry.name, "text": entry.text, "created": entry.created}
        async for entry in Entry.objects.all()[:LATEST]
    ]
    return JsonResponse({"entries": latest}, json_dumps_params=INDENTED)


# Exempt, so that curl can post without a token: nothing is stored, so there is nothing to forge.
@csrf_exempt
@require_http_methods(["GET", "HEAD", "POST"])
def upload(request: HttpRequest) -> HttpResponse:
    """Report the size and the SHA-256 of the file that was sent."""
    posted = request.method == "POST"
    form = UploadForm(request.POST, request.FILES) if posted else UploadForm()
    report = describe_upload(form.cleaned_data["file"]) if form.is_valid() else None
    status = 400 if form.errors else 200
    if posted and request.GET.get("format") == "json":
        answer: Mapping[str, Any] = report or {"errors": form.errors}
        return JsonResponse(answer, status=status, json_dumps_params=INDENTED)
    return render(request, "pages/upload.html", {"form": form, "report": report}, status=status)


def describe_upload(file: "UploadedFile[bytes]") -> dict[str, str | int]:
    """Measure an uploaded file with no more than one piece of it in memory at a time."""
    size = pieces = 0
    sha256 = hashlib.sha256()
    for piece in file.chunks():
        size += len(piece)
        pieces += 1
        sha256.update(piece)
    return {
        "name": file.name or "",
        "content_type": file.content_type or "",
        "size": size,
        "pieces": pieces,
        "sha256": sha256.hexdigest(),
    }


@require_safe
def clock(request: HttpRequest) -> HttpResponse:
    """Show the clock's events as they come."""
    return render(request, "pages/clock.html")


@require_safe
async def clock_stream(request: HttpRequest) -> StreamingHttpResponse:
    """Stream one event a second, going on after the event that Last-Event-ID names."""
    try:
        first = int(request.headers.get("Last-Event-ID", "0")) + 1
    except ValueError:
        first = 1
    return StreamingHttpResponse(
        ticks(first),
        content_type="text/event-stream",
        # The second header asks nginx, if it stands in front, to hand on each event at once.
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def ticks(first: int) -> AsyncIterator[str]:
    """Yield server-sent events, numbered from `first`, until the client leaves."""
    count = first
    try:
        yield "retry: 1000\n\n"
        while True:
            time = datetime.now(UTC).isoformat(timespec="milliseconds")
            yield f"id: {count}\ndata: {json.dumps({'count': count, 'time': time})}\n\n"
            await asyncio.sleep(1)
            count += 1
    finally:
        # The client left or the server stops: the task is cancelled or the generator is closed.
        logger.info("The clock's stream ended at event %d.", count)


@require_safe
def chat(request: HttpRequest) -> HttpResponse:
    """Show the chat room; what is said there goes over a WebSocket of its own."""
    return render(request, "pages/chat.html", {"form": ChatForm(user=request.user)})


@require_safe
def download(request: HttpRequest) -> HttpResponse:
    """Offer the file for download."""
    return render(request, "pages/download.html", {"form": DownloadForm(initial={"mb": 100})})


@require_safe
def download_file(request: HttpRequest) -> HttpResponseBase:
    """Send a file of `mb` mebibytes of zeros, 100 unless the query says otherwise."""
    form = DownloadForm({"mb": request.GET.get("mb", "100")})
    if not form.is_valid():
        return render(request, "pages/download.html", {"form": form}, status=400)
    mb: int = form.cleaned_data["mb"]
    # Sparse: the length is real, the disk blocks are not. The response closes it, which removes it.
    file = NamedTemporaryFile(suffix=".bin")  # noqa: SIM115
    file.truncate(mb * MEBIBYTE)
    return FileResponse(file, as_attachment=True, filename=f"zeros-{mb}-mib.bin")


# Exempt, so that every method can be shown: the view changes nothing.
@csrf_exempt
@never_cache
def request_seen(request: ASGIRequest) -> HttpResponse:
    """Show the request as it stands in the ASGI scope."""
    seen = describe_scope(request.scope)
    if request.GET.get("format") == "json":
        return JsonResponse(seen, json_dumps_params=INDENTED)
    headers = seen.pop("headers")
    return render(request, "pages/request.html", {"seen": seen, "headers": headers})


def describe_scope(scope: Any) -> dict[str, Any]:
    """Copy the scope's facts into values that JSON knows; a byte becomes the character it numbers.

    A key that the server left out is None, or empty where the value is a list.
    """
    return {
        "method": scope["method"],
        "path": scope["path"],
        "raw_path": scope["raw_path"].decode("latin-1") if "raw_path" in scope else None,
        "query_string": scope["query_string"].decode("latin-1"),
        "http_version": scope["http_version"],
        "scheme": scope.get("scheme"),
        "client": scope.get("client"),
        "server": scope.get("server"),
        "root_path": scope.get("root_path"),
        "headers": [
            [name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]
        ],
        "extensions": sorted(scope.get("extensions") or {}),
    }
