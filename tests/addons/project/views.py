"""Views that say what they see of the request, its user and the packages around them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.auth import authenticate, login
from django.contrib.auth.models import Group, User
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseRedirect,
    JsonResponse,
    StreamingHttpResponse,
)
from django.template.response import TemplateResponse
from django.utils.translation import get_language
from django.views.decorators.csrf import csrf_exempt

from .stack import PARTS

# As many as have to come before any of them goes on, and the seconds that they wait.
TABLE = 4
PATIENCE = 20

_lock = threading.Lock()
_tables: dict[tuple[str, Any], Any] = {}

REFUSALS: dict[str, Exception] = {
    "missing": Http404("it has gone"),
    "denied": PermissionDenied("not for you"),
    "suspicious": SuspiciousOperation("what is that"),
}


class Trouble(Exception):
    """What a view fails with."""


def mark(tag: str) -> None:
    """Leave a mark of this request with every package that takes one."""
    for part in PARTS.values():
        part.mark(tag)


def describe(request: HttpRequest, tag: str, user: Any) -> dict[str, Any]:
    """Return what a view sees."""
    seen = {"tag": tag, "user": user.get_username(), "language": get_language()}
    for part in PARTS.values():
        seen.update(part.see(request))
    return {**seen, "groups": Group.objects.count()}


def sync_view(request: HttpRequest, tag: str) -> HttpResponse:
    """Look at the user, and at the database."""
    mark(tag)
    return JsonResponse(describe(request, tag, request.user))


async def async_view(request: HttpRequest, tag: str) -> HttpResponse:
    """Look at the user, and at the database, from the event loop."""
    mark(tag)
    user = await request.auser()
    return JsonResponse(await sync_to_async(describe)(request, tag, user))


def _table(tag: str, kind: Any) -> Any:
    with _lock:
        return _tables.setdefault((tag, kind), kind(TABLE))


def sync_meeting(request: HttpRequest, tag: str) -> HttpResponse:
    """Wait between two looks until others are at the same place."""
    before = describe(request, tag, request.user)
    _table(tag, threading.Barrier).wait(PATIENCE)
    mark(f"{tag}/{before['user']}")
    return JsonResponse({"before": before, "after": describe(request, tag, request.user)})


async def async_meeting(request: HttpRequest, tag: str) -> HttpResponse:
    """Wait between two looks until others are at the same place, on the event loop."""
    user = await request.auser()
    before = await sync_to_async(describe)(request, tag, user)
    async with asyncio.timeout(PATIENCE):
        await _table(tag, asyncio.Barrier).wait()
    mark(f"{tag}/{before['user']}")
    after = await sync_to_async(describe)(request, tag, await request.auser())
    return JsonResponse({"before": before, "after": after})


def sync_page(request: HttpRequest, tag: str) -> HttpResponse:
    """Render a page, behind the view, with a list from the database."""
    mark(tag)
    return TemplateResponse(request, "page.html", {"tag": tag, "groups": Group.objects.all()})


async def async_page(request: HttpRequest, tag: str) -> HttpResponse:
    """Render a page, behind the view, with a list that was read before."""
    mark(tag)
    await request.auser()
    groups = [group async for group in Group.objects.all()]
    return TemplateResponse(request, "page.html", {"tag": tag, "groups": groups})


def sync_failure(request: HttpRequest, tag: str) -> HttpResponse:
    """Fail."""
    mark(tag)
    raise Trouble(tag)


async def async_failure(request: HttpRequest, tag: str) -> HttpResponse:
    """Fail on the event loop, after a look at the database."""
    mark(tag)
    await Group.objects.acount()
    raise Trouble(tag)


def sync_refusal(request: HttpRequest, kind: str) -> HttpResponse:
    """Raise what Django makes a response of."""
    raise REFUSALS[kind]


async def async_refusal(request: HttpRequest, kind: str) -> HttpResponse:
    """Raise what Django makes a response of, on the event loop."""
    raise REFUSALS[kind]


def sync_redirect(request: HttpRequest, tag: str) -> HttpResponse:
    """Send the client elsewhere."""
    return HttpResponseRedirect(f"/sync/{tag}")


async def async_redirect(request: HttpRequest, tag: str) -> HttpResponse:
    """Send the client elsewhere, from the event loop."""
    return HttpResponseRedirect(f"/async/{tag}")


def sync_stream(request: HttpRequest, tag: str) -> StreamingHttpResponse:
    """Send a few lines, each with a look at the database."""
    mark(tag)

    def lines() -> Iterator[str]:
        for number in range(3):
            yield f"{tag} {number} {Group.objects.count()}\n"

    return StreamingHttpResponse(lines(), content_type="text/plain")


async def async_stream(request: HttpRequest, tag: str) -> StreamingHttpResponse:
    """Send a few lines from the event loop, each with a look at the database."""
    mark(tag)

    async def lines() -> AsyncIterator[str]:
        for number in range(3):
            yield f"{tag} {number} {await Group.objects.acount()}\n"

    return StreamingHttpResponse(lines(), content_type="text/plain")


def form(request: HttpRequest, tag: str) -> HttpResponse:
    """Show a form, and say what was sent with it."""
    if request.method == "POST":
        return JsonResponse({"tag": tag, "text": request.POST.get("text")})
    return TemplateResponse(request, "form.html", {"tag": tag})


@csrf_exempt
def upload(request: HttpRequest, tag: str) -> HttpResponse:
    """Say what was uploaded."""
    files = {name: str(file) for name, file in request.FILES.items()}
    return JsonResponse({"tag": tag, "text": request.POST.get("text"), **files})


@csrf_exempt
def log_in(request: HttpRequest, name: str) -> HttpResponse:
    """Let a user in who knows the password."""
    user = authenticate(request, username=name, password=request.POST.get("password", ""))
    if not isinstance(user, User):
        return HttpResponse("Who are you?", status=401)
    login(request, user)
    return HttpResponse(f"Hello, {user.get_username()}")
