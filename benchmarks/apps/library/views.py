"""The smallest view and a usual one, synchronous and asynchronous."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render

from .models import Book


def hello(request: HttpRequest) -> HttpResponse:
    """Answer with 13 bytes of text."""
    return HttpResponse("Hello, world!")


def page(request: HttpRequest) -> HttpResponse:
    """Answer with ten rows of the database in a page."""
    return render(request, "library/books.html", {"books": Book.objects.order_by("pk")[:10]})


def books(request: HttpRequest) -> HttpResponse:
    """Answer with ten rows of the database as JSON."""
    rows = Book.objects.order_by("pk").values("title", "author", "year")[:10]
    return JsonResponse({"books": list(rows)})


async def async_hello(request: HttpRequest) -> HttpResponse:
    """Answer as `hello` does."""
    return HttpResponse("Hello, world!")


async def async_books(request: HttpRequest) -> HttpResponse:
    """Answer with the same ten rows as JSON."""
    rows = Book.objects.order_by("pk").values("title", "author", "year")[:10]
    return JsonResponse({"books": [row async for row in rows]})
