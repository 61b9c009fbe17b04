"""Projects made by chance: stacks of middleware with hooks that do all kinds of things, and views.

The same number always makes the same project. Whatever runs in it writes a line into its trace:
which hook or view it was, and what it saw.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from asgiref.sync import async_to_sync, iscoroutinefunction
from django.core.exceptions import (
    BadRequest,
    MiddlewareNotUsed,
    PermissionDenied,
    SuspiciousOperation,
)
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.multipartparser import MultiPartParserError
from django.template import engines
from django.template.response import TemplateResponse
from django.urls import include, path
from django.utils import translation
from django.utils.decorators import (
    async_only_middleware,
    sync_and_async_middleware,
    sync_only_middleware,
)
from django.utils.deprecation import MiddlewareMixin

ERRORS = (
    Http404,
    PermissionDenied,
    BadRequest,
    SuspiciousOperation,
    MultiPartParserError,
    ValueError,
)
LANGUAGES = ("de", "fr", "it")

last: ContextVar[str] = ContextVar("last", default="nobody")


@dataclass
class Project:
    """Settings of a project, and what those who serve it write down."""

    seed: int
    chance: random.Random
    trace: list[object] = field(default_factory=list)
    middleware: list[Any] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    only_async: bool = False  # a middleware makes all of it asynchronous
    plan: list[str] = field(default_factory=list)  # for whoever has to find out what went wrong

    def note(self, who: str, *saw: object) -> None:
        """Write a line, with what belongs to the context."""
        self.trace.append((who, last.get(), translation.get_language(), *saw))

    def is_async(self, path: str) -> bool:
        """Tell whether a request goes Django's own way, as one for an async view does."""
        return self.only_async or path.startswith("/async/")

    def choose(self, *names: str) -> str:
        """Return one of the names."""
        return self.chance.choice(names)

    def error(self) -> Callable[[], Exception]:
        """Return what makes one of the errors."""
        kind = self.chance.choice(ERRORS)
        return lambda: kind("by chance")


def make_project(seed: int, *, functions: bool) -> Project:
    """Return a project; with functions its middleware are not all classes of hooks."""
    project = Project(seed, random.Random(f"{seed} {functions}"))
    chance = project.chance
    for number in range(chance.randint(0, 5)):
        make = make_function if functions and chance.random() < 0.5 else make_hooks
        project.middleware.append(make(project, f"m{number}"))
    pages = {}
    for name in ("handler404", "handler500"):
        if chance.random() < 0.3:
            pages[name] = staticmethod(make_page(project, name))
    views = make_views(project)
    patterns = [path(name, view) for name, view in views.items()]
    shop = type("shop", (), {"urlpatterns": patterns[::-1], **pages})
    project.settings |= {
        "DEBUG": chance.random() < 0.25,
        "ROOT_URLCONF": type("urls", (), {"urlpatterns": [path("", include(patterns))], **pages}),
        "DATA_UPLOAD_MAX_MEMORY_SIZE": chance.choice((2, 1000)),
    }
    # Known to the hook that gives a request other URLs.
    project.settings["SHOP"] = shop
    return project


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


# Middleware of hooks. For each hook: what it may do, and how that is done.


def do_request(project: Project, name: str, deed: str) -> Callable[..., Any]:
    """Return a process_request."""
    error = project.error()
    language = project.chance.choice(LANGUAGES)

    def process_request(self: Any, request: Any) -> Any:
        project.note(f"{name}.process_request", request.path_info)
        last.set(name)
        if deed == "answer":
            return HttpResponse(f"from {name}", status=203)
        if deed == "template":
            return template(request, "never rendered")
        if deed == "urls":
            request.urlconf = project.settings["SHOP"]
        elif deed == "path":
            request.path_info = "/ok"
        elif deed == "language":
            translation.activate(language)
        elif deed == "raise":
            raise error()
        return None

    return process_request


def do_view(project: Project, name: str, deed: str) -> Callable[..., Any]:
    """Return a process_view, which may be a coroutine function."""
    error = project.error()

    def process_view(self: Any, request: Any, view: Any, arguments: Any, values: Any) -> Any:
        project.note(f"{name}.process_view", request.resolver_match.route)
        if deed == "answer":
            return HttpResponse(f"instead of the view, {name}")
        if deed == "template":
            return template(request, "{{ request.path }}")
        return raise_error(error) if deed == "raise" else None

    return maybe_async(project, process_view)


def do_template(project: Project, name: str, deed: str) -> Callable[..., Any]:
    """Return a process_template_response, which may be a coroutine function."""
    error = project.error()

    def process_template_response(self: Any, request: Any, response: Any) -> Any:
        project.note(f"{name}.process_template_response", describe(response))
        if deed == "replace":
            return template(request, f"replaced by {name}")
        if deed == "raise":
            raise error()
        return None if deed == "none" else response

    return maybe_async(project, process_template_response)


def do_exception(project: Project, name: str, deed: str) -> Callable[..., Any]:
    """Return a process_exception."""
    error = project.error()

    def process_exception(self: Any, request: Any, exception: Exception) -> Any:
        project.note(f"{name}.process_exception", type(exception).__name__)
        if deed == "answer":
            return HttpResponse(f"instead of an error, {name}", status=418)
        return raise_error(error) if deed == "raise" else None

    return process_exception


def do_response(project: Project, name: str, deed: str) -> Callable[..., Any]:
    """Return a process_response."""
    error = project.error()

    def process_response(self: Any, request: Any, response: Any) -> Any:
        project.note(f"{name}.process_response", describe(response))
        if deed == "replace":
            return HttpResponse(f"replaced by {name}", status=202)
        if deed == "raise":
            raise error()
        if deed == "none":
            return None
        response[f"X-{name}"] = last.get()
        return response

    return process_response


# What is done most often comes first, and often enough for requests to come far.
HOOKS: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {
    "process_request": (do_request, ("answer", "template", "urls", "path", "language", "raise")),
    "process_view": (do_view, ("answer", "template", "raise")),
    "process_template_response": (do_template, ("replace", "raise", "none")),
    "process_exception": (do_exception, ("answer", "raise")),
    "process_response": (do_response, ("replace", "raise", "none")),
}


def maybe_async(project: Project, hook: Callable[..., Any]) -> Callable[..., Any]:
    """Return the hook, or a coroutine function that does the same."""
    if project.chance.random() < 0.7:
        return hook

    async def awaited(*arguments: Any) -> Any:
        return hook(*arguments)

    return awaited


def make_hooks(project: Project, name: str) -> Any:
    """Return a class with some of the hooks."""
    hooks = {}
    for hook, (make, deeds) in HOOKS.items():
        if project.chance.random() < 0.55:
            deed = "pass" if project.chance.random() < 0.72 else project.choose(*deeds)
            hooks[hook] = make(project, name, deed)
            awaits = "async " if iscoroutinefunction(hooks[hook]) else ""
            project.plan.append(f"{name}.{awaits}{hook}: {deed}")
    if project.chance.random() < 0.05:

        def refuse(self: Any, get_response: Any) -> None:
            raise MiddlewareNotUsed

        hooks["__init__"] = refuse
        project.plan.append(f"{name} is not used")
    return type("Hooks", (MiddlewareMixin,), hooks)


# Middleware of functions.


def make_function(project: Project, name: str) -> Any:
    """Return a function that makes middleware: for one side, for the other, or for both."""
    kind = project.choose("sync", "sync", "dual", "dual", "dual", "async")
    deed = project.choose("pass", "pass", "pass", "answer", "raise", "raise after", "replace")
    project.plan.append(f"{name}, {kind} function: {deed}")
    error = project.error()

    def before(request: Any) -> Any:
        project.note(name, request.path_info)
        last.set(name)
        if deed == "answer":
            return HttpResponse(f"from {name}", status=203)
        return raise_error(error) if deed == "raise" else None

    def after(response: Any) -> Any:
        project.note(f"{name} after", describe(response))
        if deed == "raise after":
            raise error()
        return HttpResponse(f"replaced by {name}") if deed == "replace" else response

    def make_sync(get_response: Any) -> Any:
        return lambda request: before(request) or after(get_response(request))

    def make_async(get_response: Any) -> Any:
        async def middleware(request: Any) -> Any:
            return before(request) or after(await get_response(request))

        return middleware

    def make_either(get_response: Any) -> Any:
        make = make_async if iscoroutinefunction(get_response) else make_sync
        return make(get_response)

    if kind == "dual":
        return sync_and_async_middleware(make_either)
    if kind == "async":
        project.only_async = True
        return async_only_middleware(make_async)
    return sync_only_middleware(make_sync)


# Views.


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
            return views[name](request)

        return view

    def nested(request: Any) -> Any:
        project.note("view nested")
        async_to_sync(nothing)()
        return HttpResponse("nested")

    def iterating(request: Any) -> Any:
        return StreamingHttpResponse(async_parts(project))

    found: dict[str, Any] = {"nested": nested, "iterator": iterating}
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
