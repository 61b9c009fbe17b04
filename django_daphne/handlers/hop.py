"""One request's way through a lane and back."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing
from contextvars import Context, copy_context
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from asgiref.sync import SyncToAsync, _restore_context
from django.core import signals
from django.core.handlers import exception
from django.core.handlers.asgi import get_script_prefix
from django.http import FileResponse
from django.urls import set_script_prefix

from .lanes import LanePool
from .outbox import outbox

if TYPE_CHECKING:
    from .threaded import ThreadedASGIHandler

logger = logging.getLogger("django_daphne.server")

# Seconds until the client of a sync view is watched: most answers are there before.
_PATIENCE: Final = 0.05
# There a client that left is noticed without being asked for.
_OUR_SERVER: Final = "django_daphne.server."
# Pieces of a streamed body that may be on their way to the client.
_WINDOW: Final = 4


@dataclass(frozen=True, slots=True)
class Answer:
    """What a lane has to say: a whole response, or with ``content`` None the head of a stream.

    The pieces of a stream come from the lane, or from ``stream``, which belongs to the loop.
    """

    status: int
    headers: list[tuple[bytes, bytes]]
    content: bytes | None
    stream: Any
    context: Context


_sensitive: Any = SyncToAsync.thread_sensitive_context

# What a view may raise that would end the process, or a task that is not its own.
_FATAL: Final = (SystemExit, KeyboardInterrupt, asyncio.CancelledError)

GONE: Any = object()  # in the place of an answer: the client left
_CLOSED: Final = object()  # request_finished was sent


class Hop:
    """One request in a lane. What is not marked otherwise belongs to the loop's thread."""

    def __init__(self, handler: ThreadedASGIHandler, scope: Any, body_file: Any) -> None:
        self._handler = handler
        self._scope = scope
        self._body_file = body_file
        self._loop = asyncio.get_running_loop()
        self._outbox = outbox(self._loop)
        self._context = copy_context()
        self._arrived: deque[Any] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._began = time.monotonic()
        self._timer: asyncio.TimerHandle | None = None
        self._listener: asyncio.Task[None] | None = None
        self._nested: list[asyncio.Task[Any]] = []  # async_to_sync of the view, on the loop
        self._sender: asyncio.Task[None] | None = None
        self._is_closed = False
        # Read in the lane.
        self.is_over = False  # the client left, or nobody waits any more
        self._window = threading.Semaphore(_WINDOW)
        self._streamed = threading.Event()  # the loop has sent a stream of its own

    async def begin(self, pool: LanePool, receive: Any) -> Answer:
        """Hand the request over and wait for the answer; GONE when the client does not."""
        pool.submit(self._run, self._loop)
        if type(getattr(receive, "__self__", None)).__module__.startswith(_OUR_SERVER):
            self._timer = self._loop.call_later(_PATIENCE, self._watch, receive)
        else:
            self._watch(receive)  # what it has to say may wait there already
        answer = await self._next()
        if isinstance(answer, BaseException):
            raise answer
        if self._listener is not None and not self.is_over:
            await asyncio.sleep(0)  # for a client that had left before the view was called
            if self._listener.done():
                self._listener.result()
        if self.is_over:
            return GONE  # type: ignore[no-any-return]
        _restore_context(answer.context)
        return answer  # type: ignore[no-any-return]

    async def while_wanted(self, sending: Coroutine[Any, Any, None]) -> None:
        """Send a stream whose pieces may be long in coming, until the client leaves."""
        self._sender = self._loop.create_task(sending)
        try:
            await self._sender
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not self.is_over or (task is not None and task.cancelling()):
                raise

    async def parts(self, answer: Answer) -> AsyncIterator[bytes]:
        """Yield the pieces of a stream, until its end or until the client leaves."""
        if answer.stream is not None:
            async with aclosing(aiter(answer.stream)) as content:
                async for part in content:
                    if self.is_over:
                        return
                    yield part
            return
        while (part := await self._next()) is not None:
            if part is GONE:
                return
            if isinstance(part, BaseException):
                raise part
            yield part
            self._window.release()

    def let_client_go(self) -> None:
        """Take note that the client has its answer: it may leave now."""
        if self._timer is not None:
            self._timer.cancel()
        if self._listener is not None:
            self._listener.cancel()

    async def closed(self) -> None:
        """Wait until request_finished was sent; raise what went wrong on the way."""
        self._streamed.set()
        while not self._is_closed and not self.is_over:
            item = await self._next()
            if isinstance(item, BaseException):
                raise item

    def leave(self) -> None:
        """Take note that nobody waits for the lane any more; it goes on to its end."""
        self.let_client_go()
        if not self._is_closed:
            self._abandon()
            self._streamed.set()

    async def _next(self) -> Any:
        """Return what comes from the lane."""
        while not self._arrived:
            self._waiter = self._loop.create_future()
            await self._waiter
        item = self._arrived.popleft()
        if item is _CLOSED:
            self._is_closed = True
        return item

    def _take(self, item: Any) -> None:
        self._arrived.append(item)
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # The client.

    def _watch(self, receive: Any) -> None:
        self._listener = self._loop.create_task(self._listen(receive))

    async def _listen(self, receive: Any) -> None:
        message = await receive()
        if message["type"] != "http.disconnect":
            raise AssertionError(f"Invalid ASGI message after request body: {message['type']}")
        if not self._is_closed:
            logger.info(
                "The client left after %.1f s; the view of %s %a goes on to its end",
                time.monotonic() - self._began,
                self._scope["method"],
                self._scope["path"],
            )
            self._abandon()
            self._take(GONE)

    def _abandon(self) -> None:
        self.is_over = True
        if self._sender is not None:
            self._sender.cancel()
        self._window.release(_WINDOW)
        for task in self._nested:
            task.cancel()

    # In the lane.

    def _run(self) -> Callable[[], None] | None:
        """Do the job of a lane; return what it says when it is free again."""
        return self._context.run(self._serve)

    def _say_closed(self) -> None:
        self._post(_CLOSED)

    def _post(self, item: Any) -> None:
        self._outbox.post(partial(self._take, item))

    def _fail(self, error: BaseException) -> None:
        """Hand an error on, as one that ends the request and not the process."""
        if isinstance(error, _FATAL):
            replacement = RuntimeError(f"The project raised {type(error).__name__}")
            replacement.__cause__ = error
            error = replacement
        self._post(error)

    def _serve(self) -> Callable[[], None] | None:
        """Do all that the request asks for; let nothing out."""
        _restore_context(self._context)  # asgiref's own values belong to the thread that set them
        local = SyncToAsync.threadlocal
        local.main_event_loop, local.main_event_loop_pid = self._loop, os.getpid()
        local.task_context = self._nested
        # Inherited from the loop's side it would send nested work to a thread that waits for us.
        inherited = _sensitive.get(None)
        token = _sensitive.set(None)
        response = None
        sender = type(self._handler)
        try:
            set_script_prefix(get_script_prefix(self._scope))
            signals.request_started.send(sender=sender, scope=self._scope)
        except BaseException as error:  # noqa: BLE001 - handed on, to whoever waits
            self._body_file.close()
            self._fail(error)
            return None
        try:
            response = self._respond()
            self._answer(response, inherited)
        except BaseException as error:  # noqa: BLE001 - the same
            self._fail(error)
        try:
            if response is None:
                signals.request_finished.send(sender=sender)
            else:
                response.close()
        except BaseException as error:  # noqa: BLE001 - the same
            self._fail(error)
        self._body_file.close()
        _sensitive.reset(token)
        return self._say_closed

    def _respond(self) -> Any:
        handler: Any = self._handler
        request, response = handler.create_request(self._scope, self._body_file)
        if request is None:
            return response
        try:
            response = handler.get_response(request)
        except _FATAL as error:
            if self.is_over and isinstance(error, asyncio.CancelledError):
                raise  # it is ours: the client left while the view waited for the loop
            logger.error("A view raised %r: %a", error, self._scope["path"])
            response = _internal_error(request, error)
        response._handler_class = type(handler)
        if isinstance(response, FileResponse):
            response.block_size = handler.chunk_size
        return response

    def _answer(self, response: Any, inherited: Any) -> None:
        headers = [
            (
                name.encode("ascii") if isinstance(name, str) else bytes(name),
                value.encode("latin1") if isinstance(value, str) else bytes(value),
            )
            for name, value in response.items()
        ]
        for cookie in response.cookies.values():
            headers.append((b"Set-Cookie", cookie.OutputString().encode("ascii")))
        content = None if response.streaming else response.content
        context = copy_context()
        context.run(_sensitive.set, inherited)
        stream = response if response.streaming and response.is_async else None
        self._post(Answer(response.status_code, headers, content, stream, context))
        if stream is not None:
            self._streamed.wait()  # what closes the response belongs to this thread
        if content is not None or stream is not None:
            return
        for part in response:
            self._window.acquire()
            if self.is_over:
                return
            self._post(part)
        self._post(None)


def _internal_error(request: Any, error: BaseException) -> Any:
    """Return the answer for what would have ended the process."""
    try:
        raise RuntimeError(f"The view raised {type(error).__name__}") from error
    except RuntimeError as replacement:
        response: Any = exception.response_for_exception(request, replacement)
    response._resource_closers.append(request.close)
    return response
