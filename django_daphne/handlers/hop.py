"""One request's way through a lane and back."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import aclosing
from contextvars import Context, copy_context
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from asgiref.sync import SyncToAsync, _restore_context
from django.core import signals
from django.core.handlers.asgi import get_script_prefix
from django.core.handlers.exception import response_for_exception
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
        self._is_closed = False
        self._pool: LanePool
        # Left by the lane: a response whose pieces belong to the loop, to be closed behind them.
        self._stream: Any = None
        # Read in the lane.
        self.is_over = False  # the client left, or nobody waits any more
        self._window = threading.Semaphore(_WINDOW)

    async def begin(self, pool: LanePool, receive: Any) -> Answer:
        """Hand the request over and wait for the answer; GONE when the client does not."""
        self._pool = pool
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
        if self.is_over:
            return GONE  # type: ignore[no-any-return]
        _restore_context(answer.context)
        return answer  # type: ignore[no-any-return]

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
        self._end_stream()
        while not self._is_closed and not self.is_over:
            item = await self._next()
            if isinstance(item, BaseException):
                raise item

    def leave(self) -> None:
        """Take note that nobody waits for the lane any more; it goes on to its end."""
        self.let_client_go()
        if not self._is_closed:
            self._abandon()
            self._end_stream()

    def _end_stream(self) -> None:
        """Have a lane close what the loop has sent, once."""
        stream, self._stream = self._stream, None
        if stream is not None:
            self._pool.submit(partial(self._context.run, self._close, stream), self._loop)

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
        if message["type"] == "http.disconnect" and not self._is_closed:
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
        self._window.release(_WINDOW)
        for task in self._nested:
            task.cancel()

    # In the lane.

    def _run(self) -> None:
        self._context.run(self._serve)

    def _post(self, item: Any) -> None:
        self._outbox.post(partial(self._take, item))

    def _fail(self, error: BaseException) -> None:
        """Hand an error on, as one that ends the request and not the process."""
        if isinstance(error, _FATAL):
            replacement = RuntimeError(f"The project raised {type(error).__name__}")
            replacement.__cause__ = error
            error = replacement
        self._post(error)

    def _serve(self) -> None:
        """Do all that the request asks for; let nothing out."""
        _restore_context(self._context)  # asgiref's own values belong to the thread that set them
        local = SyncToAsync.threadlocal
        local.main_event_loop, local.main_event_loop_pid = self._loop, os.getpid()
        local.task_context = self._nested
        # Inherited from the loop's side it would send nested work to a thread that waits for us.
        inherited = _sensitive.get(None)
        token = _sensitive.set(None)
        response, is_left_to_loop = None, False
        sender = type(self._handler)
        try:
            set_script_prefix(get_script_prefix(self._scope))
            signals.request_started.send(sender=sender, scope=self._scope)
        except BaseException as error:  # noqa: BLE001 - handed on, to whoever waits
            self._body_file.close()
            self._fail(error)
            return
        try:
            response = self._respond()
            is_left_to_loop = self._answer(response, inherited)
        except BaseException as error:  # noqa: BLE001 - the same
            self._fail(error)
        _sensitive.reset(token)
        if not is_left_to_loop:
            self._close(response)

    def _close(self, response: Any) -> None:
        """End the request: request_finished is sent once, whatever has happened."""
        try:
            if response is None:
                signals.request_finished.send(sender=type(self._handler))
            else:
                response.close()
        except BaseException as error:  # noqa: BLE001 - the same
            self._fail(error)
        self._body_file.close()
        self._post(_CLOSED)

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

    def _answer(self, response: Any, inherited: Any) -> bool:
        """Send a response back; true when the loop is to send its body, and to have it closed."""
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
        self._stream = stream
        self._post(Answer(response.status_code, headers, content, stream, context))
        if content is not None or stream is not None:
            return stream is not None
        for part in response:
            self._window.acquire()
            if self.is_over:
                return False
            self._post(part)
        self._post(None)
        return False


def _internal_error(request: Any, error: BaseException) -> Any:
    """Return the answer for what would have ended the process."""
    try:
        raise RuntimeError(f"The view raised {type(error).__name__}") from error
    except RuntimeError as replacement:
        response: Any = response_for_exception(request, replacement)
    response._resource_closers.append(request.close)
    return response
