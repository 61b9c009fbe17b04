"""One request's way through a lane and back."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from contextvars import Context, copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from asgiref.sync import _restore_context
from django.core import signals
from django.core.handlers.asgi import get_script_prefix
from django.http import FileResponse
from django.urls import set_script_prefix

from . import connections
from .answers import Answer, make_answer
from .awaited import Awaited
from .circles import cut_circles
from .client import ClientWatch
from .lanes import Lane
from .lease import LOOK_AFTER_LOOP, Lease, current_lease, enter_lane, for_stream, iterate, sensitive
from .outbox import Mailbox, outbox
from .views import Pending, internal_error

if TYPE_CHECKING:
    from .strategies import Plan
    from .threaded import ThreadedASGIHandler

logger = logging.getLogger("django_daphne.server")

# Pieces of a streamed body that may be on their way to the client.
_WINDOW: Final = 4

# What a view may raise that would end the process, or a task that is not its own.
_FATAL: Final = (SystemExit, KeyboardInterrupt, asyncio.CancelledError)

GONE: Any = object()  # in the place of an answer: the client left
_CLOSED: Final = object()  # request_finished was sent


class Hop:
    """One request in a lane. What is not marked otherwise belongs to the loop's thread.

    The request has one context from its first signal to its last: the lane's and the view's code
    run in it by turns.
    """

    def __init__(
        self, handler: ThreadedASGIHandler, plan: Plan, scope: Any, body_file: Any
    ) -> None:
        self._handler = handler
        self._plan = plan
        self._scope = scope
        self._body_file = body_file
        self._pool = handler.pool
        self._loop = asyncio.get_running_loop()
        self._outbox = outbox(self._loop)
        self._context = copy_context()
        self._outer = ((sensitive, sensitive.get(None)), (current_lease, current_lease.get()))
        self._mail = Mailbox(self._loop)
        self._began = time.monotonic()
        self._nested: list[asyncio.Task[Any]] = []  # async_to_sync of the view, on the loop
        self.awaited: Awaited | None = None
        self._client: ClientWatch | None = None
        self._sender: asyncio.Task[None] | None = None
        self._entrusted: Answer | None = None  # whose body is the loop's
        self._answer_is_whole: bool | None = None  # once there is one
        self._is_closing = self._is_closed = False
        # Read in the lane.
        self.is_over = False  # the client left, or nobody waits any more
        self._afterwork: Any = None  # of the server of this package
        # Made by the lane, the first two when they are needed.
        self._lease: Any = None
        self._window: Any = None
        self._request: Any = None
        self._response: Any = None
        self._has_left = False  # without closing the response
        self._is_expected = True  # somebody waits for the end

    async def begin(self, receive: Any, send: Any) -> Answer:
        """Hand the request over and wait for the answer; GONE when the client does not."""
        client = self._client = ClientWatch(receive, self._client_left)
        self._hand_over(client.afterwork(send))
        answer = await self._mail.get()
        while type(answer) is Awaited:
            answer.begin(self._loop, is_watched=True)
            answer = await self._mail.get()
        if isinstance(answer, BaseException):
            raise answer
        if client.is_asking and not self.is_over:
            await client.look()
        if self.is_over:
            return GONE  # type: ignore[no-any-return]
        _restore_context(answer.context)
        self._answer_is_whole = answer.content is not None
        return answer  # type: ignore[no-any-return]

    def _hand_over(self, afterwork: Any) -> None:
        self._afterwork = afterwork
        if afterwork is not None:
            afterwork.begin(self)  # before the lane may end it
        try:
            (self._pool.lease if self._plan.waits else self._pool.submit)(self._run, self._loop)
        except RuntimeError:  # the system has no more threads
            if afterwork is not None:
                afterwork.end(self)
            raise

    async def while_wanted(self, sending: Coroutine[Any, Any, None]) -> None:
        """Send a body that may be long in coming, until the client leaves."""
        self._sender = self._loop.create_task(sending)
        try:
            await self._sender
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not self.is_over or (task is not None and task.cancelling()):
                raise

    async def parts(self, answer: Answer) -> AsyncGenerator[bytes]:
        """Yield the pieces of a stream, until its end or until the client leaves."""
        if answer.stream is not None:
            executor = self._lease if answer.keeps_lane else for_stream(self._pool)
            async with aclosing(iterate(answer.stream, executor)) as parts:
                async for part in parts:
                    if self.is_over:
                        return
                    yield part
            return
        while (part := await self._mail.get()) is not None:
            if part is GONE:
                return
            if isinstance(part, BaseException):
                raise part
            yield part
            self._window.release()

    def let_client_go(self) -> None:
        """Take note that the client has its answer: it may leave now."""
        client, self._client = self._client, None
        if client is not None:
            client.stop()

    async def closed(self) -> None:
        """Wait for request_finished, unless the lane goes on alone; raise what went wrong."""
        self._close_later()
        self._is_closed |= not self._is_expected
        while not self._is_closed and not self.is_over:
            item = await self._mail.get()
            if isinstance(item, BaseException):
                raise item
            self._is_closed = item is _CLOSED

    def leave(self) -> None:
        """Take note that nobody waits for the lane any more; it goes on to its end."""
        self.let_client_go()
        if not self._is_closed:
            if not self.is_over:
                self._abandon()
            self._close_later()

    def _take(self, item: Any) -> None:
        if type(item) is Awaited:
            self.awaited = item
            if self.is_over:
                item.cancel()
                return
            if not self._plan.is_watched:
                item.begin(self._loop, is_watched=False)
                return
            # Later: who watches tasks takes it for a child of the one that waits.
        if isinstance(item, Answer) and item.is_for_loop:
            self._entrusted = item
            if self._is_closing:
                self._close_later()
        self._mail.put(item)

    def _close_later(self) -> None:
        """Have the response closed in a lane, if it was left to the loop to say when."""
        self._is_closing = True
        answer, self._entrusted = self._entrusted, None
        if answer is not None:
            if answer.keeps_lane:
                self._lease.end()
            else:
                close = partial(self._close_in_lane, answer.context.copy())
                self._pool.lease(close, self._loop)

    # The client.

    def _client_left(self) -> None:
        if not self._is_closed:
            if self._answer_is_whole is not None:
                fate = "its answer is dropped" if self._answer_is_whole else "its stream is closed"
            else:
                fate = "its view is cancelled" if self.awaited else "its view goes on to its end"
            duration = time.monotonic() - self._began
            text = "%s is over after %.1f s: the client left, or the server stops; %s"
            logger.info(text, self._name(), duration, fate)
            self._abandon()
            self._take(GONE)

    def _name(self) -> str:
        """Return method and path for the log, without control characters."""
        return f"{self._scope['method']} {self._scope['path']!a}"

    def _abandon(self) -> None:
        self.is_over = True
        if self._sender is not None:
            self._sender.cancel()
        if self.awaited is not None:
            self.awaited.cancel()
        if self._window is not None:
            self._window.release(_WINDOW)
        for task in self._nested:
            task.cancel()

    # In the lane.

    def _run(self, lane: Lane) -> Callable[[], None]:
        """Do the job of a lane; return what it says when it is free again."""
        awaited = self._context.run(self._first, lane)
        if awaited is not None:
            while awaited is not None:
                if self._plan.steps_aside:
                    self._pool.step_aside(lane)
                self._post(awaited)
                if not awaited.wait():
                    self.is_over = True
                awaited = self._context.run(self._second, lane, awaited)
            connections.drop_transactions()
        return self._end

    def _end(self) -> None:
        if self._is_expected and not self._has_left:
            self._post()
        if self._afterwork is not None:
            self._afterwork.end(self)
        request, self._request = self._request, None
        if request is not None and not self._has_left:
            self._response = None
            cut_circles(request)

    def _post(self, item: Any = _CLOSED) -> None:
        self._outbox.post(partial(self._take, item))

    def _fail(self, error: BaseException) -> None:
        """Hand an error on, as one that ends the request and not the process."""
        if isinstance(error, _FATAL):
            replacement = RuntimeError(f"The project raised {type(error).__name__}")
            replacement.__cause__ = error
            error = replacement
        if self._is_expected:
            self._post(error)
        else:
            text = "Exception inside application: %s: %s"
            logger.error(text, self._name(), error, exc_info=error)

    def _enter(self, context: Context) -> None:
        enter_lane(self._loop, context, self._nested)
        connections.restore_caches()

    def _first(self, lane: Lane) -> Awaited | None:
        """Do all that the request asks for, up to what is pending; let nothing out."""
        self._enter(self._context)
        try:
            set_script_prefix(get_script_prefix(self._scope))
            signals.request_started.send(sender=type(self._handler), scope=self._scope)
        except BaseException as error:  # noqa: BLE001 - handed on, to whoever waits
            self._body_file.close()
            self._fail(error)
            self._has_left = True
            return None
        try:
            response = self._respond()
            if type(response) is Pending:
                return self._leave_to_loop(response)
            self._response = response
        except BaseException as error:  # noqa: BLE001 - the same
            self._fail(error)
        self._finish(lane)
        return None

    def _respond(self) -> Any:
        self._request, response = self._handler.create_request(self._scope, self._body_file)
        if self._request is None:
            return response
        try:
            return self._plan.respond(self._request)
        except _FATAL as error:
            return self._survive(error)

    def _leave_to_loop(self, pending: Pending) -> Awaited:
        connections.keep_caches()
        return Awaited(pending, self._context, self._outbox, self._nested)

    def _second(self, lane: Lane, awaited: Awaited) -> Awaited | None:
        """Go on with the outcome of what was pending, up to what else is; let nothing out."""
        self._enter(self._context)
        try:
            if isinstance(awaited.error, _FATAL):
                self._response = self._survive(awaited.error)
            else:
                response = awaited.complete()
                if type(response) is Pending:
                    return self._leave_to_loop(response)
                self._response = response
        except BaseException as raised:  # noqa: BLE001 - handed on, to whoever waits
            self._fail(raised)
        self._finish(lane)
        return None

    def _survive(self, error: BaseException) -> Any:
        """Return the answer for what would have ended the process."""
        if self.is_over and isinstance(error, asyncio.CancelledError):
            raise error  # it is ours: the client left while the view waited for the loop
        logger.error("A view raised %r: %a", error, self._scope["path"])
        return internal_error(self._request, error)

    def _finish(self, lane: Lane) -> None:
        """Say what there is to say, then close."""
        response = self._response
        try:
            if response is not None:
                if self._request is not None:
                    response._handler_class = type(self._handler)
                if isinstance(response, FileResponse):
                    response.block_size = self._handler.chunk_size
                self._answer(lane, response)
        except BaseException as error:  # noqa: BLE001 - handed on, to whoever waits
            self._fail(error)
        if not self._has_left:
            self._close()
        connections.keep_caches()

    def _close(self) -> None:
        try:
            if self._response is None:
                signals.request_finished.send(sender=type(self._handler))
            else:
                self._response.close()
        except BaseException as error:  # noqa: BLE001 - handed on, to whoever waits
            self._fail(error)
        self._body_file.close()

    def _close_in_lane(self, context: Context, _lane: Lane) -> Callable[[], None]:
        """Close a response after its body, in whichever lane."""

        def close() -> None:
            self._enter(context)
            self._close()
            connections.keep_caches()

        context.run(close)
        return self._post

    def _answer(self, lane: Lane, response: Any) -> None:
        context = copy_context()
        if connections.has_caches():
            context.run(connections.keep_caches)  # the lane's own are not for the loop
        for variable, value in self._outer:
            if context.get(variable) is not value:
                context.run(variable.set, value)
        answer = make_answer(response, self._scope, context)
        if answer.is_for_loop and not self.is_over:
            self._has_left = connections.release()
            if not self._has_left:
                answer.keeps_lane = True
                self._lease = Lease(self._outbox, self._nested)
                self._pool.step_aside(lane)
            self._post(answer)
            if not self._has_left:
                self._lease.serve()
            return
        if answer.content is None and not answer.is_for_loop:
            self._send_pieces(lane, answer, response)
        else:
            # Behind a whole answer the lane goes on alone, if the server then waits for it.
            self._is_expected = self._afterwork is None or answer.content is None
            self._post(answer)

    def _send_pieces(self, lane: Lane, answer: Answer, response: Any) -> None:
        self._window = window = threading.Semaphore(_WINDOW)
        self._post(answer)
        self._pool.step_aside(lane)
        for part in response:
            while not (window.acquire(timeout=LOOK_AFTER_LOOP) or self.is_over):
                self.is_over = self._loop.is_closed()
            if self.is_over:
                return
            self._post(part)
        self._post(None)
