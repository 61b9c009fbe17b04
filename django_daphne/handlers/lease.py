"""A lane for one request while others decide what it does: views that are awaited, and streams."""

from __future__ import annotations

import asyncio
import os
import queue
from abc import abstractmethod
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import aclosing, contextmanager, suppress
from contextvars import Context, ContextVar, copy_context
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, TypeVar

from asgiref.sync import (
    AsyncToSync,
    SyncToAsync,
    ThreadSensitiveContext,
    _restore_context,
    sync_to_async,
)

from . import connections
from .locals import is_empty
from .originals import Methods
from .outbox import Mailbox, Outbox

if TYPE_CHECKING:
    from .lanes import Lane, LanePool

T = TypeVar("T")

# How asgiref takes code to a thread.
_HOP: Final = Methods(SyncToAsync, {"__call__": (), "thread_handler": ()})

# Seconds that a stream keeps a lane for its next piece.
_STREAM_PATIENCE: Final = 1.0

# Seconds after which a thread that waits for a loop looks whether that is still there.
LOOK_AFTER_LOOP: Final = 5.0

# Which executor asgiref takes for code that has to stay in the request's thread.
sensitive: Final[Any] = SyncToAsync.thread_sensitive_context


def has_caller() -> bool:
    """Tell whether a thread waits in async_to_sync for what runs here, and serves it."""
    local = AsyncToSync.executors
    return not is_empty(local) and getattr(local, "current", None) is not None


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
    if sensitive.get(None) is not None:
        # Inherited from the loop's side it would send nested work to a thread that waits for us.
        sensitive.set(None)


class _LaneExecutor(Executor):
    """What asgiref takes for an executor of one thread."""

    @abstractmethod
    def post(self, call: Callable[[], object]) -> None:
        """Have something called in the lane."""

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

    def __init__(self, outbox: Outbox, nested: list[asyncio.Task[Any]]) -> None:
        """Make what a lane then serves. ``nested`` is for the tasks of async_to_sync."""
        self._outbox = outbox
        self._nested = nested
        self._calls: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        # An object of our own: it lets tasks that a view leaves behind go on when we are gone.
        self.context = ThreadSensitiveContext()

    def post(self, call: Callable[[], object]) -> None:
        """Have something called in the lane; it must let nothing out."""
        self._calls.put(call)

    def end(self) -> None:
        """Let ``serve`` return when all that was posted is done."""
        self._calls.put(None)

    def serve(self) -> bool:
        """Do what comes in the lane, until the end; false when the loop is gone without a word."""
        while True:
            try:
                call = self._calls.get(timeout=LOOK_AFTER_LOOP)
            except queue.Empty:
                if self._outbox.is_closed:
                    return False
                continue
            if call is None:
                return True
            call()

    def open(self) -> None:
        """Take what asgiref sends to this request's thread."""
        SyncToAsync.context_to_thread_executor[self.context] = self

    def close(self) -> None:
        """Take no more of it: asgiref makes a thread for who comes later."""
        SyncToAsync.context_to_thread_executor.pop(self.context, None)

    async def run(self, function: Callable[..., T], *args: Any, is_last: bool = False) -> T:
        """Call a function in the lane and return what it returns: one hop there and back.

        A lane cannot be stopped, so a task that is cancelled waits for its end and is cancelled
        then, or not at all when this ``is_last`` of what was to be done.
        """
        if has_caller():
            # The lane stands in async_to_sync, above us: it takes from there what is to be done.
            return await sync_to_async(function, thread_sensitive=True)(*args)
        if not _HOP.are_own():
            # A tool hands something on where asgiref changes threads: so asgiref has to do it.
            executor: Any = self
            hop = sync_to_async(function, thread_sensitive=False, executor=executor)
            return await hop(*args)
        context = copy_context()
        loop = asyncio.get_running_loop()
        mail = Mailbox(loop)
        self.post(partial(self._work, mail, partial(self._call, loop, context, function, args)))
        cancelled: asyncio.CancelledError | None = None
        outcome: tuple[Any, BaseException | None] | None = None
        while outcome is None:
            try:
                outcome = await mail.get()
            except asyncio.CancelledError as error:
                cancelled = error
        context.run(sensitive.set, sensitive.get(None))
        _restore_context(context)
        if cancelled is not None and not is_last:
            raise cancelled
        result, failure = outcome
        if failure is not None:
            raise failure
        return result  # type: ignore[no-any-return]

    def _work(self, mail: Mailbox, call: Callable[[], Any]) -> None:
        outcome: tuple[Any, BaseException | None]
        try:
            outcome = (call(), None)
        except BaseException as error:  # noqa: BLE001 - handed on, to whoever waits
            outcome = (None, error)
        self._outbox.post(partial(mail.put, outcome))

    def _call(
        self,
        loop: asyncio.AbstractEventLoop,
        context: Context,
        function: Callable[..., T],
        args: tuple[Any, ...],
    ) -> T:
        def call() -> T:
            enter_lane(loop, context, self._nested)
            return function(*args)

        return context.run(call)


# The lane of the request that a coroutine belongs to.
current_lease: ContextVar[Any] = ContextVar("current_lease", default=None)


class BorrowingExecutor(_LaneExecutor):
    """Takes a lane from a pool when there is work, and gives it back when there is none.

    It is for what may last for hours and asks for a thread now and then. A lane without work is
    kept for ``patience`` seconds, and as long as a database needs the thread: in a transaction, or
    for a cursor. Who ``yields`` keeps none for nothing when others may want it.
    """

    def __init__(self, pool: LanePool, patience: float, *, yields: bool) -> None:
        self._pool = pool
        self._patience = patience
        self._yields = yields
        self._lock = Lock()
        self._calls: deque[Callable[[], object]] = deque()
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._cursors = connections.Cursors()
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
        """Let the lane go in any case: nobody is there to end a transaction."""
        with self._lock:
            self._is_closed = True
            self._wake.put(None)

    def _work(self, _lane: Lane) -> None:
        with self._cursors.watch():
            while True:
                while self._calls:
                    self._calls.popleft()()
                is_wanted = self._yields and self._pool.is_crowded
                if not self._has_come(0.0 if is_wanted else self._patience) and self._lets_go():
                    return

    def _has_come(self, patience: float | None) -> bool:
        """Wait for work; false when there is none, or nobody to send any."""
        with self._lock:
            while not self._wake.empty():  # for what is done already
                self._wake.get()
            if self._calls or self._is_closed:
                return bool(self._calls)
        with suppress(queue.Empty):
            self._wake.get(timeout=patience)
        return bool(self._calls)

    def _lets_go(self) -> bool:
        if not connections.release(self._cursors):
            if self._has_come(None) or not self._is_closed:
                return False
            connections.drop_transactions()
            connections.release()
        with self._lock:
            if self._calls:
                return False
            self._has_lane = False
            return True


def for_stream(pool: LanePool) -> BorrowingExecutor:
    """Return what takes lanes for a stream: it may be one of thousands."""
    return BorrowingExecutor(pool, _STREAM_PATIENCE, yields=True)


@contextmanager
def sensitive_to(executor: _LaneExecutor) -> Iterator[None]:
    """Let asgiref send to an executor what has to stay in one thread, for as long as a block runs.

    Tasks that go on may still use the context: asgiref makes a thread for them.
    """
    context, before = ThreadSensitiveContext(), sensitive.get(None)
    SyncToAsync.context_to_thread_executor[context] = executor
    sensitive.set(context)
    try:
        yield
    finally:
        SyncToAsync.context_to_thread_executor.pop(context, None)
        sensitive.set(before)


async def iterate(stream: Any, executor: Lease | BorrowingExecutor) -> AsyncGenerator[bytes]:
    """Yield the pieces of an async iterator, whose calls of sync code go to an executor's lane."""
    try:
        with sensitive_to(executor):
            async with aclosing(aiter(stream)) as parts:
                async for part in parts:
                    yield part
    finally:
        executor.close()
