"""A lane for one request while others decide what it does: views that are awaited, and streams."""

from __future__ import annotations

import asyncio
import os
import queue
from collections import deque
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Executor, Future
from contextlib import aclosing
from contextvars import Context, ContextVar, copy_context
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, TypeVar

from asgiref.sync import SyncToAsync, ThreadSensitiveContext, _restore_context

from . import connections
from .outbox import outbox

if TYPE_CHECKING:
    from .lanes import Lane, LanePool

T = TypeVar("T")

# Which executor asgiref takes for code that has to stay in the request's thread.
sensitive: Final[Any] = SyncToAsync.thread_sensitive_context


def enter_lane(
    loop: asyncio.AbstractEventLoop, context: Context, nested: list[asyncio.Task[Any]]
) -> None:
    """Prepare a thread for sync code of a request, as asgiref does; in the context it runs in.

    What the code calls through async_to_sync runs on ``loop``, and its tasks are found in
    ``nested``.
    """
    _restore_context(context)  # asgiref's own values belong to the thread that set them
    local = SyncToAsync.threadlocal
    local.main_event_loop, local.main_event_loop_pid = loop, os.getpid()
    local.task_context = nested
    # Inherited from the loop's side it would send nested work to a thread that waits for us.
    sensitive.set(None)


class _LaneExecutor(Executor):
    """What asgiref takes for an executor of one thread."""

    def post(self, call: Callable[[], object]) -> None:
        raise NotImplementedError

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Have a function called in the lane."""
        future: Future[T] = Future()
        self.post(partial(_fulfil, future, partial(fn, *args, **kwargs)))
        return future


def _fulfil(future: Future[T], call: Callable[[], T]) -> None:
    if future.set_running_or_notify_cancel():
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001 - handed on, to whoever waits
            future.set_exception(error)


class Lease(_LaneExecutor):
    """The lane that runs a request, while the loop says what is to be done in it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._outbox = outbox(loop)
        self._calls: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self.nested: list[asyncio.Task[Any]] = []  # async_to_sync of sync code, on the loop
        # An object of our own: it lets tasks that a view leaves behind go on when we are gone.
        self.context = ThreadSensitiveContext()

    def post(self, call: Callable[[], object]) -> None:
        """Have something called in the lane; it must let nothing out."""
        self._calls.put(call)

    def end(self) -> None:
        """Let ``serve`` return when all that was posted is done."""
        self._calls.put(None)

    def serve(self) -> None:
        """Do what comes, until the end; in the lane."""
        while (call := self._calls.get()) is not None:
            call()

    def open(self) -> None:
        """Take what asgiref sends to this request's thread."""
        SyncToAsync.context_to_thread_executor[self.context] = self

    def close(self) -> None:
        """Take no more of it: asgiref makes a thread for who comes later."""
        SyncToAsync.context_to_thread_executor.pop(self.context, None)

    async def run(self, function: Callable[..., T], *args: Any) -> T:
        """Call a function in the lane and return what it returns: one hop there and back."""
        context = copy_context()
        future = self._loop.create_future()
        self.post(partial(self._work, context, future, function, args))
        try:
            result: T = await future
        finally:
            context.run(sensitive.set, sensitive.get(None))
            _restore_context(context)
        return result

    def _work(
        self,
        context: Context,
        future: asyncio.Future[T],
        function: Callable[..., T],
        args: tuple[Any, ...],
    ) -> None:
        try:
            result = context.run(self._call, context, function, args)
        except BaseException as error:  # noqa: BLE001 - handed on, to whoever waits
            self._outbox.post(partial(_fail, future, error))
        else:
            self._outbox.post(partial(_succeed, future, result))

    def _call(self, context: Context, function: Callable[..., T], args: tuple[Any, ...]) -> T:
        enter_lane(self._loop, context, self.nested)
        return function(*args)


def _succeed(future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)


# The lane of the request that a coroutine belongs to.
current_lease: ContextVar[Lease] = ContextVar("current_lease")


class BorrowingExecutor(_LaneExecutor):
    """Takes a lane from a pool when there is work, and gives it back when there is none.

    It is for what may last for hours and asks for a thread now and then. A lane without work is
    kept for ``patience`` seconds, and as long as a connection of its is in a transaction.
    """

    def __init__(self, pool: LanePool, patience: float = 0.0) -> None:
        self._pool = pool
        self._patience = patience
        self._lock = Lock()
        self._calls: deque[Callable[[], object]] = deque()
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._has_lane = False
        self._is_closed = False

    def post(self, call: Callable[[], object]) -> None:
        """Have something called in a lane, in the order of posting; on a loop."""
        with self._lock:
            self._calls.append(call)
            if self._has_lane:
                self._wake.put(None)
                return
            self._has_lane = True
        self._pool.lease(self._work, asyncio.get_running_loop())

    def close(self) -> None:
        """Let the lane go also in the middle of a transaction: nobody is there to end it."""
        with self._lock:
            self._is_closed = True
            self._wake.put(None)

    def _work(self, _lane: Lane) -> None:
        while True:
            while self._calls:
                self._calls.popleft()()
            if self._has_come(self._patience):
                continue
            is_free = connections.release()
            with self._lock:
                if not self._calls and (is_free or self._is_closed):
                    self._has_lane = False
                    return
            if not is_free:
                self._has_come(None)

    def _has_come(self, patience: float | None) -> bool:
        try:
            self._wake.get(timeout=patience)
        except queue.Empty:
            return False
        return not self._is_closed or bool(self._calls)


async def iterate(stream: Any, executor: Lease | BorrowingExecutor) -> AsyncGenerator[bytes]:
    """Yield the pieces of an async iterator, whose calls of sync code go to an executor's lane."""
    context = ThreadSensitiveContext()
    SyncToAsync.context_to_thread_executor[context] = executor
    token = sensitive.set(context)
    try:
        async with aclosing(aiter(stream)) as parts:
            async for part in parts:
                yield part
    finally:
        SyncToAsync.context_to_thread_executor.pop(context, None)
        executor.close()
        sensitive.reset(token)
