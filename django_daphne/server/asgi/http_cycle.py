"""One request and its response, from the application's point of view.

The protocol tells the cycle what happened on the wire, the application calls ``receive`` and
``send``. The same cycle serves every HTTP version. What is legal when is ``messages``; this module
is waiting, waking and ending.

An exchange ends in one of three ways, and each is final:

* the response is complete: ``receive()`` gives ``http.disconnect``, ``send()`` is an error;
* the client left, or the server gave up: ``receive()`` gives ``http.disconnect``, ``send()`` raises
  ClientDisconnected, an OSError (ASGI HTTP specification, 2.4);
* the application failed: the client gets a 500, or a cut connection when the response had begun.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable
from contextlib import closing
from typing import Any, Final

from ..exceptions import ApplicationError, ClientDisconnected
from ..interfaces import HTTPStream, RequestHead
from ..request_id import set_current
from ..types import Message
from . import messages
from .context import CycleContext
from .messages import (
    AWAITING_BODY,
    AWAITING_START,
    AWAITING_TRAILERS,
    BODY,
    COMPLETE,
    IGNORING_TRAILERS,
    SENDING_BODY,
    START,
)
from .scope import ScopeFactory
from .tasks import Afterwork

logger = logging.getLogger("django_daphne.server")

# Django's own handler loses request_finished, and with it the closing of database connections, when
# send() raises. Under it a message to a client that left is dropped in silence.
_STOCK_DJANGO_HANDLER: Final = "django.core.handlers.asgi"

# Bytes. Pieces of a request body that are smaller are joined.
_SMALL_PIECE: Final = 512
# Bytes of body that may be sent without a turn for other connections.
_FAIR_SHARE: Final = 256 * 1024
_COST_OF_A_PART: Final = 512  # in bytes: small parts take time, too


class ApplicationCycle:
    """The application's side of one exchange."""

    def __init__(
        self, context: CycleContext, scopes: ScopeFactory, head: RequestHead, stream: HTTPStream
    ) -> None:
        """Make a cycle for a request that was read up to its body."""
        self._context = context
        self._scope = scopes.http(head)
        self._head = head
        self._stream = stream
        self.is_running = False  # the application was called and has not returned
        self._task: asyncio.Task[None] | None = None  # of one that waited for something
        # The body's pieces that wait; None when all of it was delivered or nobody wants it.
        self._body: list[bytes] | None = []
        self._body_size = 0
        self._body_is_complete = not head.has_body
        self._wants_continue = head.expect_continue
        self._state = AWAITING_START
        self._trailers = self._sending_is_paused = self._reading_is_paused = False
        self._disconnected = self._is_stopping = False
        self._sent_in_a_row = 0
        self._readable: asyncio.Event | None = None
        self._writable: asyncio.Event | None = None
        self._on_disconnect: Callable[[], object] | None = None

    # What the protocol says (HTTPCycle).

    def start(self) -> None:
        """Call the application."""
        self.is_running = True
        self._context.tasks.start(self)

    def body_received(self, data: bytes, more: bool) -> None:
        """Keep a piece of body for the application."""
        body = self._body
        if body is not None:
            if data:
                if body and len(body[-1]) < _SMALL_PIECE:
                    body[-1] += data  # as pieces they would take many times their size
                else:
                    body.append(data)
                self._body_size += len(data)
                if self._body_size > self._context.body_limit and not self._reading_is_paused:
                    self._reading_is_paused = more
                    if more:
                        self._stream.pause_reading()
            self._body_is_complete = not more
            self._wants_continue = False  # the client did not wait for it, or does no longer
            self._wake(self._readable)

    def disconnected(self) -> None:
        """Wake the application, and see that it ends."""
        self._disconnected = True
        self._wake(self._readable)
        self._wake(self._writable)
        if self._on_disconnect is not None and not self._state.is_over:
            asyncio.get_running_loop().call_soon(self._on_disconnect)
        if self._task is not None and not self._task.done():
            self._context.cancel_later(self._task, self._name)

    def stopping(self) -> None:
        """Tell the application that it is to end, as if its client had left; it may still send."""
        if not self._is_stopping and not self._state.is_over:
            self._is_stopping = True
            self._wake(self._readable)
            if self._on_disconnect is not None:
                asyncio.get_running_loop().call_soon(self._on_disconnect)

    def pause_sending(self) -> None:
        """Let ``send()`` wait."""
        self._sending_is_paused = True

    def resume_sending(self) -> None:
        """Let ``send()`` go on."""
        self._sending_is_paused = False
        self._wake(self._writable)

    # What the application calls.

    async def receive(self) -> Message:
        """Return the next ``http.request``, or ``http.disconnect`` when the exchange has ended.

        Cancelling it loses nothing: what it waited for comes with the next call.
        """
        while True:
            if self._state.is_over:
                return {"type": "http.disconnect"}
            body = self._body
            if body is not None and (body or self._body_is_complete):
                return self._take_body(body)
            if self._disconnected or self._is_stopping:
                return {"type": "http.disconnect"}
            if self._wants_continue:
                self._wants_continue = False
                if body is not None and self._state is AWAITING_START:
                    self._stream.send_informational(100, ())
            self._readable = self._readable or asyncio.Event()
            self._readable.clear()
            await self._readable.wait()

    def _take_body(self, body: list[bytes]) -> Message:
        data = body[0] if len(body) == 1 else b"".join(body)
        more = not self._body_is_complete
        if more:
            body.clear()
            self._body_size = 0
        else:
            self._body = None
        if self._reading_is_paused:
            self._reading_is_paused = False
            if not self._disconnected:
                self._stream.resume_reading()
        return {"type": "http.request", "body": data, "more_body": more}

    def call_on_disconnect(self, call: Callable[[], object] | None) -> None:
        """Have a function called soon if the client leaves without its answer; None for no one."""
        self._on_disconnect = call
        if call is not None and (self._disconnected or self._is_stopping):
            asyncio.get_running_loop().call_soon(call)

    @property
    def afterwork(self) -> Afterwork:
        """Return what may go on in threads when the application has returned."""
        return self._context.tasks.afterwork

    async def send(self, message: Message) -> None:
        """Send a part of the response; return when the client has taken enough of what came before.

        Raises ApplicationError, a ValueError, for a message that ASGI does not allow, and
        ClientDisconnected, an OSError, when the client is gone.
        """
        state = self._state
        try:
            kind = message["type"]
            is_legal = kind in state.legal
        except (KeyError, TypeError):
            raise messages.no_type(message) from None
        if self._disconnected and not state.is_over:
            self._drop(kind)
            await asyncio.sleep(0)  # or a stream that never waits would not hear of it either
            return
        if not is_legal:
            raise messages.unexpected_message(state, kind)
        if kind == BODY:
            data = message.get("body", b"")
            if type(data) is not bytes:
                data = messages.body_bytes(data)
            more = message.get("more_body", False)
            try:
                if not (more or self._trailers or self._readable is not None):
                    # The same for the usual response, in short; there is nothing to wait for.
                    self._state = COMPLETE
                    self._body = None
                    self._stream.send_body(data, False)
                    return
                self._body_sent(more)
                self._stream.send_body(data, more)
            except ApplicationError:
                self._end()
                raise
        elif kind == START:
            status = message.get("status")
            if type(status) is not int or not 200 <= status <= 999:
                status = messages.response_status(status)
            trailers = bool(message.get("trailers", False))
            # Without the client's word trailers may be dropped, so none go (RFC 9110, 6.5.1).
            self._stream.start_response(
                status, message.get("headers", ()), trailers and self._head.accepts_trailers
            )
            self._state = AWAITING_BODY
            if trailers:
                self._trailers = True
            return
        else:
            await self._send_other(kind, message)
        if self._sending_is_paused:
            await self._until_writable()
        elif self._state is SENDING_BODY:
            # An endless body and a fast client would stop the loop otherwise.
            self._sent_in_a_row += len(message.get("body", b"")) + _COST_OF_A_PART
            if self._sent_in_a_row >= _FAIR_SHARE:
                self._sent_in_a_row = 0
                await asyncio.sleep(0)

    async def _send_other(self, kind: str, message: Message) -> None:
        """Send what is neither the start nor bytes of the body."""
        if kind == messages.TRAILERS:
            self._send_trailers(message)
        elif kind == messages.PATHSEND:
            await self._send_path(message)
        elif kind == messages.ZEROCOPYSEND:
            await self._send_descriptor(message)
        elif self._head.http_version != "1.0":
            self._stream.send_informational(103, messages.early_hint_headers(message))

    async def _until_writable(self) -> None:
        while self._sending_is_paused and not (self._disconnected or self._state.is_over):
            self._writable = self._writable or asyncio.Event()
            self._writable.clear()
            await self._writable.wait()

    def _send_trailers(self, message: Message) -> None:
        more = bool(message.get("more_trailers", False))
        if self._state is AWAITING_TRAILERS:
            self._stream.send_trailers(message.get("headers", ()), more)
        if not more:
            self._end()

    async def _send_path(self, message: Message) -> None:
        path = messages.field(message, "path", (str, os.PathLike), None)
        loop = asyncio.get_running_loop()
        with closing(await loop.run_in_executor(None, open, path, "rb", 0)) as file:
            size = os.fstat(file.fileno()).st_size
            await self._send_file(file.fileno(), 0, size, more=False)

    async def _send_descriptor(self, message: Message) -> None:
        file: Any = message.get("file")
        try:
            descriptor: int = file if isinstance(file, int) else file.fileno()
        except (AttributeError, OSError, ValueError):
            raise ApplicationError(
                f"{messages.ZEROCOPYSEND}: file must be an open file, not {file!r}"
            ) from None
        offset = messages.field(message, "offset", (int, type(None)), None)
        if offset is None:
            offset = os.lseek(descriptor, 0, os.SEEK_CUR)
        count = messages.field(message, "count", (int, type(None)), None)
        if count is None:
            count = max(os.fstat(descriptor).st_size - offset, 0)
        if offset < 0 or count < 0:
            raise ApplicationError(f"{messages.ZEROCOPYSEND}: offset and count cannot be negative")
        # The application may close its file before the last byte has left.
        duplicate = os.dup(descriptor)
        try:
            await self._send_file(duplicate, offset, count, bool(message.get("more_body", False)))
        finally:
            os.close(duplicate)

    async def _send_file(self, descriptor: int, offset: int, count: int, more: bool) -> None:
        if self._disconnected:
            self._drop(messages.BODY)
            return
        self._state = SENDING_BODY
        try:
            await self._stream.send_file(descriptor, offset, count, more)
        except ClientDisconnected:
            self._drop(messages.BODY)
            return
        except EOFError:
            if not self._disconnected:
                self._stream.abort()
            self._end()
            raise ApplicationError("The file is shorter than what was promised of it") from None
        except ApplicationError:
            self._end()
            raise
        self._body_sent(more)

    def _body_sent(self, more: bool) -> None:
        """Take note of a body part that was handed over, or is about to be."""
        if more:
            self._state = SENDING_BODY
        elif not self._trailers:
            self._end()
        elif self._head.accepts_trailers:
            self._state = AWAITING_TRAILERS
        else:
            self._end()
            self._state = IGNORING_TRAILERS

    def _end(self) -> None:
        """Take note that nothing more goes to the stream."""
        self._state = COMPLETE
        self._body = None
        if self._readable is not None:
            self._readable.set()

    def _drop(self, kind: str) -> None:
        """Raise for a message to a client that left, unless Django's own handler sent it."""
        frame = sys._getframe(1)
        while frame is not None:
            if frame.f_globals.get("__name__") == _STOCK_DJANGO_HANDLER:
                return
            frame = frame.f_back  # type: ignore[assignment]
        raise ClientDisconnected(f"{kind} after the client left")

    # The application's task (Work).

    def begun(self, task: asyncio.Task[None]) -> None:
        """Take note of the task, which may have lost its client meanwhile."""
        self._task = task
        if self._disconnected:
            self._context.cancel_later(task, self._name)

    async def run(self) -> None:
        """Call the application and answer for it where it does not. Lets nothing out."""
        set_current(self._head.trace)
        try:
            await self._context.tasks.application(self._scope, self.receive, self.send)
        except asyncio.CancelledError as error:
            if not (self._disconnected or self._state.is_over):
                self._failed(error)
        except ClientDisconnected:
            logger.debug("The client left during %s", self._name())
            if not self._disconnected:
                self._answer_for_application()
        except BaseException as error:  # noqa: BLE001 - SystemExit too: a view must not end us
            self._failed(error)
        else:
            if self._state is not COMPLETE and not (self._state.is_over or self._disconnected):
                if self._is_stopping:  # which it was asked to
                    logger.info("Ended, because the server stops: %s", self._name())
                else:
                    text = "Application returned without a complete response: %s"
                    logger.error(text, self._name())
                self._answer_for_application()
        finally:
            self.is_running = False

    def _failed(self, error: BaseException) -> None:
        logger.error("Exception inside application: %s: %s", self._name(), error, exc_info=error)
        if not self._disconnected:
            self._answer_for_application()

    def _answer_for_application(self) -> None:
        """Give the client an end: a 500, or a cut where the response had begun."""
        if self._state.is_over:
            return
        if self._state is AWAITING_START:
            self._end()
            self._stream.refuse(500, "Exception inside application.")
        else:
            self._end()
            self._stream.abort()

    def _name(self) -> str:
        """Return method and path for the log, without control characters."""
        return f"{self._head.method} {self._scope.get('path', '')!a}"

    @staticmethod
    def _wake(event: asyncio.Event | None) -> None:
        if event is not None:
            event.set()
