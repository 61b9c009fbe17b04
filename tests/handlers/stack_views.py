"""Projects made by chance: their views, and what those who serve them write down."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from asgiref.sync import async_to_sync, sync_to_async
from django.core.exceptions import BadRequest, PermissionDenied, SuspiciousOperation
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.multipartparser import MultiPartParserError
from django.template import engines
from django.template.response import TemplateResponse
from django.utils import translation

ERRORS = (
    Http404,
    PermissionDenied,
    BadRequest,
    SuspiciousOperation,
    MultiPartParserError,
    ValueError,
)

last: ContextVar[str] = ContextVar("last", default="nobody")


@dataclass
class Project:
    """Settings of a project, and what those who serve it write down."""

    seed: int
    chance: random.Random
    trace: list[object] = field(default_factory=list)
    middleware: list[Any] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    tool: int = 0  # that wants to see every request, by its place among TOOLS
    plan: list[str] = field(default_factory=list)  # for whoever has to find out what went wrong

    def note(self, who: str, *saw: object) -> None:
        """Write a line, with what belongs to the context."""
        self.trace.append((who, last.get(), translation.get_language(), *saw))

    def choose(self, *names: str) -> str:
        """Return one of the names."""
        return self.chance.choice(names)

    def error(self) -> Callable[[], Exception]:
        """Return what makes one of the errors."""
        kind = self.chance.choice(ERRORS)
        return lambda: kind("by chance")


def template(request: HttpRequest, text: str, context: Any = None) -> TemplateResponse:
    """Return a response that is still to be rendered."""
    made: Any = engines["django"].from_string(text)
    return TemplateResponse(request, made, context)


def raise_error(error: Callable[[], Exception]) -> Any:
    """Raise a new one."""
    raise error()


def describe(response: Any) -> str:
    """Return what a hook sees of a response."""
    if response is None:
        return "None"
    return (
        f"{type(response).__name__} {response.status_code} {getattr(response, 'is_rendered', '')}"
    )


def make_page(project: Project, name: str) -> Callable[..., Any]:
    """Return the view of an error page, which may fail itself."""
    fails = project.chance.random() < 0.2
    error = project.error()
    project.plan.append(f"{name}{', which fails' if fails else ''}")

    def page(request: HttpRequest, exception: Exception | None = None) -> Any:
        project.note(name, type(exception).__name__)
        if fails:
            raise error()
        return template(request, f"our {name}")

    return page


def make_views(project: Project) -> dict[str, Any]:
    """Return views by path: each one as a function, and as a coroutine function."""
    error = project.error()

    def closed() -> None:
        project.trace.append("closed")
        raise OSError

    def ok(request: Any) -> Any:
        response: Any = HttpResponse("ok")
        response.set_cookie("a", "b")
        response._resource_closers.append(closed)
        return response

    def body(request: Any) -> Any:
        return HttpResponse(f"{request.POST.get('name')} {len(request.body)}")

    def stream(request: Any) -> Any:
        return StreamingHttpResponse(parts(project, request.GET.get("fail")))

    def unrendered(request: Any) -> Any:
        fail: Any = lambda: raise_error(error)  # noqa: E731
        return template(request, "{{ fail }}", {"fail": fail})

    async def nothing() -> None:
        project.note("below the view")

    views: dict[str, Callable[[Any], Any]] = {
        "ok": ok,
        "body": body,
        "stream": stream,
        "render-error": unrendered,
        "template": lambda request: template(request, "{{ request.path }} {{ request.method }}"),
        "none": lambda request: None,
        "raise": lambda request: raise_error(error),
        "missing": lambda request: HttpResponse("x" * 200_000, status=404),
        "coroutine": lambda request: nothing(),
    }

    def traced(name: str) -> Callable[[Any], Any]:
        def view(request: Any) -> Any:
            project.note(f"view {name}")
            return views[name](request)

        return view

    def awaited(name: str) -> Callable[[Any], Any]:
        async def view(request: Any) -> Any:
            project.note(f"async view {name}")
            last.set("view")
            if name in ("ok", "raise"):
                await asyncio.sleep(0)
                await sync_to_async(project.note)("below the view")
            return views[name](request)

        return view

    def nested(request: Any) -> Any:
        project.note("view nested")
        async_to_sync(nothing)()
        return HttpResponse("nested")

    def iterating(request: Any) -> Any:
        return StreamingHttpResponse(async_parts(project))

    async def awaited_iterating(request: Any) -> Any:
        return iterating(request)

    found: dict[str, Any] = {
        "nested": nested,
        "iterator": iterating,
        "async/iterator": awaited_iterating,
    }
    for name in views:
        found[name] = traced(name)
        found[f"async/{name}"] = awaited(name)
    return found


def parts(project: Project, fails: str | None) -> Iterator[str]:
    """Yield pieces of a stream, which may fail half-way."""
    project.note("first part")
    yield "one"
    if fails:
        raise ValueError
    project.note("second part")
    yield "two"


async def async_parts(project: Project) -> AsyncIterator[str]:
    """Yield pieces of a stream on the loop."""
    project.note("first part")
    yield "one"
    yield "two"
