"""Projects made by chance: stacks of middleware with hooks that do all kinds of things, and views.

The same number always makes the same project. Whatever runs in it writes a line into its trace:
which hook or view it was, and what it saw.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.core.exceptions import MiddlewareNotUsed
from django.http import HttpResponse
from django.urls import include, path
from django.utils import translation
from django.utils.decorators import (
    async_only_middleware,
    sync_and_async_middleware,
    sync_only_middleware,
)
from django.utils.deprecation import MiddlewareMixin

from .stack_views import Project, describe, last, make_page, make_views, raise_error, template

LANGUAGES = ("de", "fr", "it")

# What is in a stack beside middleware of hooks: for which side that is. Of the first there is one.
STACKS = {
    "hooks": (),
    "dual": ("dual",),
    "sync": ("sync", "sync", "dual"),
    "async": ("async", "sync", "dual", "dual"),
}


def make_project(seed: int, stack: str) -> Project:
    """Return a project with a stack of a kind that STACKS knows."""
    project = Project(seed, random.Random(f"{seed} {stack}"))
    chance, sides = project.chance, STACKS[stack]
    count = chance.randint(1 if sides else 0, 5)
    certain = chance.randrange(count) if sides else None
    for number in range(count):
        name = f"m{number}"
        if number == certain or (sides and chance.random() < 0.4):
            side = sides[0] if number == certain else chance.choice(sides)
            project.middleware.append(make_caller(project, name, side))
        else:
            project.middleware.append(make_hooks(project, name))
    project.tool = chance.choice((0, 0, 0, 1, 2))
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
    fate = project.chance.random()
    if fate < 0.05:

        def refuse(self: Any, get_response: Any) -> None:
            raise MiddlewareNotUsed

        hooks["__init__"] = refuse
        project.plan.append(f"{name} is not used")
    elif fate < 0.1 and "process_response" in hooks:
        hook = hooks.pop("process_response")

        def __init__(self: Any, get_response: Any) -> None:  # noqa: N807
            MiddlewareMixin.__init__(self, get_response)
            self.process_response = partial(hook, self)

        hooks["__init__"] = __init__
        project.plan.append(f"{name}.process_response is the instance's")
    return type("Hooks", (MiddlewareMixin,), hooks)


# Middleware with calls of its own.


def make_caller(project: Project, name: str, side: str) -> Any:
    """Return middleware for one side, for the other, or for both: a function or a class."""
    deed = project.choose("pass", "pass", "pass", "answer", "raise", "raise after", "replace")
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

    def call(self: Any, request: Any) -> Any:
        if self.async_mode:
            return self.__acall__(request)
        return before(request) or after(MiddlewareMixin.__call__(self, request))

    async def acall(self: Any, request: Any) -> Any:
        return before(request) or after(await MiddlewareMixin.__acall__(self, request))

    is_class = side == "dual" and project.chance.random() < 0.4
    project.plan.append(f"{name}, {side} {'class' if is_class else 'function'}: {deed}")
    if is_class:
        hooks: Any = make_hooks(project, name)
        return type("Caller", (hooks,), {"__call__": call, "__acall__": acall})
    # As one that is much used has it: a function with a hook.
    hook = do_exception(project, name, "answer") if project.chance.random() < 0.2 else None

    def make_sync(get_response: Any) -> Any:
        return lambda request: before(request) or after(get_response(request))

    def make_async(get_response: Any) -> Any:
        async def middleware(request: Any) -> Any:
            return before(request) or after(await get_response(request))

        return middleware

    def make(get_response: Any) -> Any:
        awaits = side == "async" or (side == "dual" and iscoroutinefunction(get_response))
        middleware: Any = (make_async if awaits else make_sync)(get_response)
        if hook is not None:
            middleware.process_exception = partial(hook, None)
        return middleware

    decorators: Any = {
        "sync": sync_only_middleware,
        "async": async_only_middleware,
        "dual": sync_and_async_middleware,
    }
    return decorators[side](make)
