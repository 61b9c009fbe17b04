"""Django's asynchronous chain with its runs of hooks fused: a hop before each run and one after.

Middleware that can do both, with a call of its own, is called on the loop, as Django does. What
stands between two of those and is nothing but hooks goes into the request's lane together, where
Django makes two hops for each. The innermost run takes resolving and rendering with it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from .lease import current_lease
from .middleware import Run, hooks_of, inside, is_view_caller
from .views import Pending, Pipeline, call_view, is_unfinished, on_loop

Chain = Callable[[Any], Coroutine[Any, Any, Any]]


def load_fused(handler: Any) -> None:
    """Load a handler's middleware for asynchronous use, fused where it can be."""
    # Django asks this for the link that goes into each middleware, the innermost first.
    handler.adapt_method_mode = _Loader(handler).adapt
    handler.load_middleware(is_async=True)


class _Loader:
    """What Django finds in the place of ``adapt_method_mode``."""

    def __init__(self, handler: Any) -> None:
        self._handler = handler
        self._adapt = handler.adapt_method_mode
        self._can_fuse: bool | None = None  # until the innermost link has come by

    def adapt(
        self,
        is_async: bool,
        method: Any,
        method_is_async: bool | None = None,
        debug: bool = False,
        name: str | None = None,
    ) -> Any:
        """Return a link, or a hook, in the form in which it is called."""
        if self._can_fuse is None:  # not if there is a tool's proxy: it wants to be called
            self._can_fuse = is_view_caller(inside(method), "_get_response_async")
        is_hook = method_is_async is None  # in a lane
        adapted = self._adapt(
            is_async and not (is_hook and self._can_fuse), method, method_is_async, debug, name
        )
        if self._can_fuse and is_async and not is_hook and adapted is method:
            return self._fuse(method)
        return adapted

    def _fuse(self, link: Any) -> Any:
        found = inside(link)
        if is_view_caller(found, "_get_response_async"):
            return self._whole(Run(()))
        hooks = hooks_of(found)
        if hooks is None:
            return link
        inner = found.get_response
        if isinstance(fused := getattr(inner, "fused", None), _Fused):
            run = Run((hooks, *fused.run.members))
            if fused.inner is None:
                return self._whole(run)
            return _around(run, fused.inner)
        return _around(Run((hooks,)), inner)

    def _whole(self, run: Run) -> Chain:
        return whole(Pipeline(run, partial(call_view, self._handler)))


class _Fused:
    """What a fused link is made of; ``inner`` is None when the view is in it."""

    def __init__(self, run: Run, inner: Chain | None) -> None:
        self.run = run
        self.inner = inner


def whole(pipeline: Pipeline) -> Chain:
    """Return a chain that is a pipeline and nothing else, as a coroutine function."""

    async def answer(request: Any) -> Any:
        lease = current_lease.get()
        response = await lease.run(pipeline.respond, request)
        if type(response) is not Pending:
            return response
        result, error = None, None
        try:
            result = await response.call()
        except Exception as raised:  # noqa: BLE001 - handed on
            error = raised
        if not (error or pipeline.run.members or is_unfinished(result)):
            return result
        return await lease.run(response.complete, result, error, is_last=True)

    vars(answer)["fused"] = _Fused(pipeline.run, None)
    return answer


def _around(run: Run, inner: Chain) -> Chain:
    async def answer(request: Any) -> Any:
        lease = current_lease.get()
        response, depth, error = None, len(run.members), None
        if run.is_entered:
            response, depth, error = await lease.run(run.enter, request)
        if response is None and error is None:
            try:
                response = await inner(request)
            except Exception as raised:  # noqa: BLE001 - in making the response for an error
                error = raised
        if run.is_left or error is not None:
            response = await lease.run(run.leave, request, response, depth, error, is_last=True)
        return response

    vars(answer)["fused"] = _Fused(run, inner)
    return answer


def in_one_hop(chain: Callable[[Any], Any]) -> Chain:
    """Return a synchronous chain as a coroutine function: all of it in the request's lane."""

    async def answer(request: Any) -> Any:
        return await current_lease.get().run(chain, request, is_last=True)

    return answer


def split(link: Chain) -> Pipeline:
    """Return a fused chain whose outermost run goes with the request's first hop and its last."""
    fused = getattr(link, "fused", None)
    run, inner = Run(()), link
    if isinstance(fused, _Fused) and fused.inner is not None:
        run, inner = fused.run, fused.inner
    return Pipeline(run, partial(on_loop, inner))
