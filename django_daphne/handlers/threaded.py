"""Django's ASGI handler with a request's synchronous code in one hop to a thread, or two.

Theory of operation. Django's own handler awaits every middleware, signal and view that is not
asynchronous in a thread of its own: some ten hand-overs for a request. Here one job runs all of it
in a lane: request_started, the middleware, the view, the template, and behind the answer
request_finished. The event loop reads the body before and sends the answer afterwards; an async
view is awaited there while the lane waits. What is possible for which request: ``strategies``.
"""

from __future__ import annotations

import copy
import io
from contextlib import aclosing
from typing import Any, Final

from asgiref.sync import async_to_sync
from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler

from .answers import Answer
from .hop import GONE, Hop
from .lanes import LanePool
from .strategies import Plan, Strategies, is_original_call
from .views import is_async

# Methods that a request in a lane does not come by: to who overrides them they matter.
_OVERRIDABLE: Final = (
    *("get_response_async", "run_get_response", "send_response", "listen_for_disconnect"),
)


class ThreadedASGIHandler(ASGIHandler):
    """Answers requests in lanes, and those that it must not as Django does."""

    # Of a subclass that loads its own middleware, or none: it is left to Django.
    _middleware_chain: Any  # that Django loads
    _is_companion = True
    _strategies: Strategies | None = None

    def __init__(self, pool: LanePool) -> None:
        """Load the middleware, once, for synchronous use."""
        super(ASGIHandler, self).__init__()
        self.pool = pool
        self._stock: ThreadedASGIHandler | None = None
        self._is_companion = False
        self.load_middleware(is_async=False)
        if not self._is_changed():
            self._strategies = Strategies(self)
        # A subclass that has methods of its own for this wants to be asked.
        self._is_short = (type(self).handle, type(self).read_body) == _SHORT

    def _is_changed(self) -> bool:
        """Tell whether a subclass has methods of its own that a request in a lane would miss."""
        own = [getattr(type(self), name) for name in _OVERRIDABLE]
        return own != [getattr(ThreadedASGIHandler, name) for name in _OVERRIDABLE]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request.

        Django's own method would do what is of no use here. It is called where anybody has put
        something in its place: it is what most tools do to see a request as a whole.
        """
        if self._is_short and is_original_call() and scope["type"] == "http":
            plan = self._strategies and self._strategies.plan(scope)
            if plan:
                await self._answer(plan, scope, receive, send)
                return
        await super().__call__(scope, receive, send)

    async def handle(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request that has come by Django's ``__call__``."""
        plan = self._strategies and self._strategies.plan(scope)
        if plan:
            await self._answer(plan, scope, receive, send)
        else:
            await super(ThreadedASGIHandler, self.stock).handle(scope, receive, send)

    async def _answer(self, plan: Plan, scope: Any, receive: Any, send: Any) -> None:
        try:
            read = self._read_body if self._is_short else self.read_body
            body_file = await read(receive)
        except RequestAborted:
            return
        hop = Hop(self, plan, scope, body_file)
        try:
            answer = await hop.begin(receive, send)
            if answer is not GONE:
                sending = self._send(answer, hop, send)
                await (sending if answer.stream is None else hop.while_wanted(sending))
                hop.let_client_go()
                await hop.closed()
        finally:
            hop.leave()
            if hop.awaited is not None:  # one that was cancelled may have something to put in order
                await hop.awaited.ended()

    async def _read_body(self, receive: Any) -> Any:
        """Return the body as a file: in memory if it came in one piece, as it mostly does."""
        first = await receive()
        if first["type"] == "http.request" and not first.get("more_body", False):
            return io.BytesIO(first.get("body", b""))
        messages = [first]

        async def receive_again() -> Any:
            return messages.pop() if messages else await receive()

        return await self.read_body(receive_again)

    async def _send(self, answer: Answer, hop: Hop, send: Any) -> None:
        """Send an answer, piece by piece where it is a stream."""
        head = {"type": "http.response.start", "status": answer.status, "headers": answer.headers}
        await send(head)
        if answer.message is not None:
            await send(answer.message)
        elif answer.content is not None and len(answer.content) <= self.chunk_size:
            await send({"type": "http.response.body", "body": answer.content})
        elif answer.content is not None:
            for chunk, last in self.chunk_bytes(answer.content):
                await send({"type": "http.response.body", "body": chunk, "more_body": not last})
        else:
            async with aclosing(hop.parts(answer)) as parts:
                async for part in parts:
                    for chunk, _ in self.chunk_bytes(part):
                        await send({"type": "http.response.body", "body": chunk, "more_body": True})
            if not hop.is_over:
                await send({"type": "http.response.body"})

    def check_response(self, response: Any, callback: Any, name: str | None = None) -> None:
        """Check what a view has returned, and let it be rendered in a lane.

        An asynchronous ``render`` is awaited by Django's asynchronous chain only.
        """
        super().check_response(response, callback, name)
        render = getattr(response, "render", None)
        if render is not None and is_async(render):
            response.render = async_to_sync(render)

    # Django's own way.

    def companion(self) -> ThreadedASGIHandler:
        """Return a copy that is to load a chain of its own."""
        companion = copy.copy(self)
        companion._is_companion = True
        return companion

    @property
    def stock(self) -> ThreadedASGIHandler:
        """Return the same handler with an asynchronous chain, made when it is first needed."""
        if self._is_companion:
            return self
        if self._stock is None:
            stock = self.companion()
            stock.load_middleware(is_async=True)
            self._stock = stock
        return self._stock

    async def get_response_async(self, request: Any) -> Any:
        """Answer a request on the asynchronous chain."""
        return await super(ThreadedASGIHandler, self.stock).get_response_async(request)


_SHORT: Final = (ThreadedASGIHandler.handle, ThreadedASGIHandler.read_body)
