"""Hooks that are called together in a lane, between middleware that is called on the loop."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from asgiref.sync import async_to_sync, iscoroutinefunction, sync_to_async
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import path
from django.utils.decorators import sync_and_async_middleware
from django.utils.deprecation import MiddlewareMixin

from .stack_views import template
from .support import LANE, HandlerTestCase, ask, ask_in_this_task
from .ways import SENTRY, hello, hello_at_once, hops_counted, make_stack, watched


class NoteTestCase(HandlerTestCase):
    """Tests of stacks whose members take note of their calls, and of the place of those."""

    def setUp(self) -> None:
        super().setUp()
        self.notes: list[str] = []

    def note(self, what: str) -> None:
        """Take note of a call: what runs on the loop has a star."""
        in_lane = threading.current_thread().name == LANE
        self.notes.append(what if in_lane else f"{what}*")

    def hooks(self, name: str, *only: str, answer: str = "", error: str = "") -> Any:
        """Return a class of hooks, all or some; one may answer and one may raise."""

        def pass_by(hook: str, value: Any) -> Any:
            self.note(f"{name}.{hook}")
            if hook == error:
                raise LookupError(name)
            return HttpResponse(f"{name}'s") if hook == answer else value

        hooks: dict[str, Callable[..., Any]] = {
            "process_request": lambda self, request: pass_by("process_request", None),
            "process_view": lambda self, request, *more: pass_by("process_view", None),
            "process_exception": lambda self, request, _: pass_by("process_exception", None),
            "process_template_response": lambda self, request, response: pass_by(
                "process_template_response", response
            ),
            "process_response": lambda self, request, response: pass_by(
                "process_response", response
            ),
        }
        chosen = {each: hooks[each] for each in only or hooks}
        return type("Hooks", (MiddlewareMixin,), chosen)

    def dual(self, name: str, call: Any = None, **hooks: Any) -> Any:
        """Return a function for both sides, whose asynchronous side is ``call`` if that is given.

        ``hooks`` are given to the middleware as attributes.
        """

        async def pass_by(request: Any, get_response: Any) -> Any:
            self.note(f"{name} in")
            response = await get_response(request)
            self.note(f"{name} out")
            return response

        def factory(get_response: Any) -> Any:
            if not iscoroutinefunction(get_response):
                return get_response

            async def middleware(request: Any) -> Any:
                return await (call or pass_by)(request, get_response)

            vars(middleware).update(hooks)
            return middleware

        return sync_and_async_middleware(factory)


class HopTests(NoteTestCase):
    """How often a request of an async view goes to its lane while it is under way."""

    async def hops(self, middleware: list[Any], view: Any = hello) -> int:
        """Return the number of calls in the lane, but for the one that begins the request."""
        handler = self.handler(view, path("other", hello), middleware=middleware)
        with hops_counted() as calls:
            self.assertEqual((await ask(handler)).text, "hello")
        await self.assert_idle()
        return len(calls)

    async def test_hooks(self):
        """All middleware is hooks: the one hop that begins the request ends it, too."""
        stack = [self.hooks(name) for name in "abcd"]
        self.assertEqual(await self.hops(stack), 0)
        with watched():  # the loop says when
            self.assertEqual(await self.hops(stack), 2)
        with watched(SENTRY):
            self.assertEqual(await self.hops(stack), 0)

    async def test_sync_view(self):
        """The view is sync: one hop, whatever the middleware, if that can be synchronous."""
        for kind in ("hooks", "dual", "sync"):
            stack = make_stack(kind, self.note)
            self.assertEqual(await self.hops(stack, hello_at_once), 0)
            with watched():
                self.assertEqual(await self.hops(stack, hello_at_once), 1)
            with watched(SENTRY):
                self.assertEqual(await self.hops(stack, hello_at_once), 0)

    async def test_sync_only(self):
        """A middleware is synchronous: all is in its thread, which waits for the view."""
        stack = make_stack("sync", self.note)
        self.assertEqual(await self.hops(stack), 0)
        with watched():
            self.assertEqual(await self.hops(stack), 1)
        with watched(SENTRY):
            self.assertEqual(await self.hops(stack), 0)

    async def test_runs(self):
        """Middleware with calls of its own stands among hooks: two hops for a run, at the most.

        The outermost run has none but those of the request, and without hooks around it the view
        needs none behind it. With a tool that the loop asks, the outermost is like the others.
        """
        a, b, c = (self.hooks(name) for name in "abc")
        one, two = self.dual("one"), self.dual("two")
        request, response = (
            self.hooks("half", name) for name in ("process_request", "process_response")
        )
        view = self.hooks("view", "process_view")
        for hops, hops_if_watched, stack in (
            (1, 1, [one]),
            (1, 1, [one, two]),
            (2, 2, [one, a, b, c]),
            (2, 4, [a, b, one, c]),
            (1, 3, [a, b, c, one, two]),
            (4, 6, [a, one, b, two, c]),
            (1, 2, [request, one]),
            (2, 3, [view, request, one, two, view]),
            (1, 2, [response, one]),
            (1, 3, [request, response, one]),
            (1, 1, [view, one]),
        ):
            with self.subTest(len(stack)):
                self.assertEqual(await self.hops(stack), hops)
                with watched():
                    self.assertEqual(await self.hops(stack), hops_if_watched)
                with watched(SENTRY):
                    self.assertEqual(await self.hops(stack), hops)

    async def test_async_only(self):
        """A middleware is asynchronous: each hook is a hop, as with Django's handler."""
        stack = make_stack("async", self.note)
        self.assertGreaterEqual(await self.hops(stack), 4)


class RunTests(NoteTestCase):
    """What passes by the hooks of a run, and in which order."""

    async def answer(self, middleware: list[Any], view: Any = hello) -> str:
        """Return status and body of an async view's answer."""
        self.notes.clear()
        response = await ask(self.handler(view, middleware=middleware))
        await self.assert_idle()
        return f"{response.status} {response.text:.20}"

    async def test_order(self):
        """The view answers with a template: the hooks are called in Django's order."""

        async def view(request: HttpRequest) -> TemplateResponse:
            self.note("view")
            return template(request, "hello")

        await self.answer([self.hooks("a"), self.dual("one"), self.hooks("b")], view)
        self.assertEqual(
            self.notes,
            [
                *("a.process_request", "one in*", "b.process_request"),
                *("a.process_view", "b.process_view", "view*"),
                *("b.process_template_response", "a.process_template_response"),
                *("b.process_response", "one out*", "a.process_response"),
            ],
        )

    async def test_failing_view(self):
        """The view fails: hooks for that are asked in the lane, the middleware gets a response."""

        async def view(request: HttpRequest) -> HttpResponse:
            raise LookupError

        stack = [self.hooks("a"), self.dual("one"), self.hooks("b")]
        with self.assertLogs("django.request", "ERROR"):
            self.assertIn("500", await self.answer(stack, view))
        self.assertEqual(
            self.notes[5:],
            [
                *("b.process_exception", "a.process_exception"),
                *("b.process_response", "one out*", "a.process_response"),
            ],
        )

    async def test_answering_hook(self):
        """A hook answers: its own process_response sees that, and those around it."""
        only = ("process_request", "process_response")
        stack = [
            self.hooks("a", *only),
            self.dual("one"),
            self.hooks("b", *only),
            self.hooks("c", *only, answer="process_request"),
            self.hooks("d", *only),
            self.dual("two"),
        ]
        self.assertEqual(await self.answer(stack), "200 c's")
        self.assertEqual(
            self.notes,
            [
                *("a.process_request", "one in*", "b.process_request", "c.process_request"),
                *("c.process_response", "b.process_response", "one out*", "a.process_response"),
            ],
        )

    async def test_failing_hook(self):
        """A hook fails: it does not see the response for that, and those around it do."""
        only = ("process_request", "process_response")
        for error in only:
            stack = [
                self.hooks("a", *only),
                self.dual("one"),
                self.hooks("b", *only),
                self.hooks("c", *only, error=error),
            ]
            with self.assertLogs("django.request", "ERROR"):
                self.assertIn("500", await self.answer(stack))
            inwards = ["a.process_request", "one in*", "b.process_request", "c.process_request"]
            outwards = ["b.process_response", "one out*", "a.process_response"]
            if error == "process_response":
                outwards.insert(0, "c.process_response")
            self.assertEqual(self.notes, inwards + outwards)

    async def test_calls(self):
        """Middleware answers itself, fails, or asks twice."""

        async def answer(request: Any, get_response: Any) -> Any:
            return HttpResponse("mine")

        async def fail(request: Any, get_response: Any) -> Any:
            raise LookupError

        async def fail_later(request: Any, get_response: Any) -> Any:
            await get_response(request)
            raise LookupError

        async def ask_twice(request: Any, get_response: Any) -> Any:
            first = await get_response(request)
            second = await get_response(request)
            return HttpResponse(first.content + second.content)

        self.enterContext(self.assertLogs("django.request", "ERROR"))
        only = ("process_request", "process_response")
        once = ["b.process_request", "b.process_response"]
        for call, text, inside in (
            (answer, "200 mine", []),
            (fail, "500", []),
            (fail_later, "500", once),
            (ask_twice, "200 hellohello", once * 2),
        ):
            with self.subTest(call.__name__):
                stack = [self.hooks("a", *only), self.dual("one", call), self.hooks("b", *only)]
                self.assertIn(text, await self.answer(stack))
                self.assertEqual(self.notes, ["a.process_request", *inside, "a.process_response"])

    async def test_hooks_of_functions(self):
        """A function has hooks as attributes, one of them to be awaited: all are called."""

        def process_exception(request: Any, exception: Exception) -> HttpResponse:
            self.note("process_exception")
            return HttpResponse("saved")

        async def process_view(request: Any, *more: Any) -> None:
            self.note("process_view")

        async def view(request: HttpRequest) -> HttpResponse:
            raise LookupError

        hooks = {"process_exception": process_exception, "process_view": process_view}
        stack = [self.hooks("a", "process_request"), self.dual("one", **hooks)]
        self.assertEqual(await self.answer(stack, view), "200 saved")
        self.assertEqual(
            self.notes,
            ["a.process_request", "one in*", "process_view*", "process_exception", "one out*"],
        )

    async def test_asked_from_the_lane(self):
        """Sync code asks for the response itself, and waits for it: in a hook, and below a call."""

        class Again(MiddlewareMixin):
            get_response: Any

            def process_response(self, request: Any, response: Any) -> Any:
                again = async_to_sync(self.get_response)(request)
                return HttpResponse(response.content + again.content)

        async def call(request: Any, get_response: Any) -> Any:
            return await sync_to_async(async_to_sync(get_response))(request)

        inner = self.hooks("b", "process_request", "process_response")
        for stack, text in (
            ([Again, self.dual("one"), inner], "200 hellohello"),
            ([self.dual("one"), Again, inner], "200 hellohello"),
            ([self.dual("one", call), inner], "200 hello"),
        ):
            with self.subTest(len(stack)):
                self.assertEqual(await self.answer(stack), text)

    async def test_request_below_a_request(self):
        """Middleware asks the application for another page, in its own task, before it goes on."""
        handlers: list[Any] = []

        async def call(request: Any, get_response: Any) -> Any:
            if request.path == "/":
                page = await ask_in_this_task(handlers[0], "/other")
                response = await get_response(request)
                return HttpResponse(response.content + page.body)
            return await get_response(request)

        stack = [self.hooks("a"), self.dual("one", call), self.hooks("b")]
        handlers.append(self.handler(hello, path("other", hello), middleware=stack))
        self.assertEqual((await ask(handlers[0])).text, "hellohello")
