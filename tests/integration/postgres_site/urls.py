"""The views of the site: sync ones with the database "default", async ones with "aside"."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from asgiref.sync import async_to_sync, sync_to_async
from django.db import connection, connections, transaction
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import path

from . import LOCK, ROWS
from .models import Visit

# Seconds that the database takes for a statement: long enough for others to come in between.
_MOMENT = 0.005


def read(request: HttpRequest) -> HttpResponse:
    """Read with the ORM."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(%s)", [_MOMENT])
    return HttpResponse(str(Visit.objects.filter(number__lt=ROWS).count()))


def write(request: HttpRequest) -> HttpResponse:
    """Write in a transaction, and read what was written."""
    with transaction.atomic():
        visit = Visit.objects.create(number=ROWS)
        found = Visit.objects.select_for_update().get(pk=visit.pk)
        found.delete()
    return HttpResponse(str(found.number))


def bridge(request: HttpRequest) -> HttpResponse:
    """Call async code, which uses the connection of the view."""

    async def count() -> int:
        return await Visit.objects.filter(number__lt=ROWS).acount()

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (before,) = cursor.fetchone()
        rows = async_to_sync(count)()
        cursor.execute("SELECT pg_backend_pid()")
        assert cursor.fetchone() == (before,)
    return HttpResponse(str(rows))


def stream(request: HttpRequest) -> StreamingHttpResponse:
    """Stream what a cursor of the database holds."""

    def lines() -> Iterator[str]:
        found = Visit.objects.filter(number__lt=ROWS).order_by("number")
        for visit in found.iterator(chunk_size=10):
            yield f"{visit.number}\n"

    return StreamingHttpResponse(lines())


def locked(request: HttpRequest) -> HttpResponse:
    """Wait for a lock, in the database."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock_shared(%s)", [LOCK])
        cursor.execute("SELECT pg_advisory_unlock_shared(%s)", [LOCK])
    return HttpResponse("done")


async def read_aside(request: HttpRequest) -> HttpResponse:
    """Read with the async ORM, twice."""
    visits = Visit.objects.using("aside").filter(number__lt=ROWS)
    first = await visits.order_by("number").afirst()
    assert first is not None, first
    return HttpResponse(str(await visits.acount()))


async def write_aside(request: HttpRequest) -> HttpResponse:
    """Write in a transaction of a thread."""

    def save() -> int:
        with transaction.atomic(using="aside"):
            visit = Visit.objects.using("aside").create(number=ROWS)
            with connections["aside"].cursor() as cursor:
                cursor.execute("SELECT pg_sleep(%s)", [_MOMENT])
            visit.delete()
        return ROWS

    return HttpResponse(str(await sync_to_async(save)()))


async def stream_aside(request: HttpRequest) -> StreamingHttpResponse:
    """Stream what an async iterator yields."""

    async def lines() -> AsyncIterator[str]:
        found = Visit.objects.using("aside").filter(number__lt=ROWS).order_by("number")
        async for visit in found.aiterator(chunk_size=25):
            yield f"{visit.number}\n"

    return StreamingHttpResponse(lines())


async def hello(request: HttpRequest) -> HttpResponse:
    """Answer without the database."""
    return HttpResponse("hello")


urlpatterns = [
    path("read", read),
    path("write", write),
    path("bridge", bridge),
    path("stream", stream),
    path("locked", locked),
    path("aside/read", read_aside),
    path("aside/write", write_aside),
    path("aside/stream", stream_aside),
    path("hello", hello),
]
