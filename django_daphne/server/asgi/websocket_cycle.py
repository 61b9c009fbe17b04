"""One WebSocket, from the application's point of view (ASGI WebSocket specification, 2.5).

    CONNECTING ── websocket.accept ──> OPEN ── websocket.close, or the client left ──> CLOSED
         ├─────── websocket.close: 403 ────────────────────────────────────────────────> ^
         └─────── websocket.http.response.start ──> DENYING ── last body part ───────────┘

``receive()`` gives ``websocket.connect``, the messages, and in every ending one
``websocket.disconnect`` with the code and the reason; asked again it gives that again. What a
client had sent before it left comes first; what it sent before the application closed is dropped.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import sys
from collections import deque
from collections.abc import Iterable
from typing import Any, Final

from ..exceptions import ApplicationError, ClientDisconnected
from ..interfaces import RequestHead, WebSocketHandshake, WebSocketStream
from ..request_id import set_current
from ..types import Headers, Message
from . import messages
from .context import CycleContext
from .scope import ScopeFactory

logger = logging.getLogger("django_daphne.server")

ACCEPT: Final = "websocket.accept"
SEND: Final = "websocket.send"
CLOSE: Final = "websocket.close"
DENY_START: Final = "websocket.http.response.start"
DENY_BODY: Final = "websocket.http.response.body"

# Close codes (RFC 6455, section 7.4.1).
_NORMAL: Final = 1000
_ABNORMAL: Final = 1006
_INTERNAL_ERROR: Final = 1011

# Channels leaves its consumer, and with it the consumer's disconnect(), when send() raises, and it
# hands on a group's message before the end that waits behind it. So where it is in use, a message
# that comes after the end is dropped in silence.
_CHANNELS: Final = "channels.consumer"

# Messages that may be sent without a turn for other connections.
_FAIR_SHARE: Final = 256


class State(enum.Enum):
    """How far the WebSocket is."""

    CONNECTING = enum.auto()
    OPEN = enum.auto()
    DENYING = enum.auto()
    CLOSED = enum.auto()


CONNECTING, OPEN, DENYING, CLOSED = State

LEGAL: Final = {
    CONNECTING: frozenset((ACCEPT, CLOSE, DENY_START)),
    OPEN: frozenset((SEND, CLOSE)),
    DENYING: frozenset((DENY_BODY,)),
    CLOSED: frozenset[str](),
}
_KNOWN: Final = frozenset().union(*LEGAL.values())


class WebSocketCycle:
    """The application's side of one WebSocket."""

    def __init__(
        self,
        context: CycleContext,
        scopes: ScopeFactory,
        head: RequestHead,
        handshake: WebSocketHandshake,
    ) -> None:
        """Make a cycle for a handshake that is as it must be."""
        self._context = context
        self._scope = scopes.websocket(head, list(handshake.subprotocols))
        self._trace = head.trace
        self._handshake: WebSocketHandshake | None = handshake
        self._stream: WebSocketStream
        self._state = CONNECTING
        self.is_running = False  # the application was called and has not returned
        self._task: asyncio.Task[None] | None = None
        self._was_connected = False  # the application has its websocket.connect
        self._max_queue = context.max_queue or sys.maxsize
        self._queue: deque[str | bytes] = deque()
        self._queued_bytes = 0
        self._reading_is_paused = False
        self._readable: asyncio.Future[None] | None = None
        self._sending_is_paused = False
        self._writable: asyncio.Event | None = None
        self._sent_in_a_row = 0
        self._disconnect: Message | None = None
        self._client_left = False
        self._is_closing = False  # by the application, at this moment

    # What the protocol says (interfaces.WebSocketCycle).

    def start(self) -> None:
        """Call the application."""
        self.is_running = True
        self._context.tasks.start(self)

    def message_received(self, data: str | bytes) -> None:
        """Keep a message for the application."""
        self._queue.append(data)
        self._queued_bytes += _size(data)
        if not self._reading_is_paused and (
            len(self._queue) >= self._max_queue or self._queued_bytes > self._context.body_limit
        ):
            self._reading_is_paused = True
            self._stream.pause_reading()
        self._wake_reader()

    def stopping(self) -> None:
        """Go on: what answers a handshake is no stream."""

    def disconnected(self, code: int = _ABNORMAL, reason: str = "") -> None:
        """Wake the application, and see that it ends."""
        self._client_left = not self._is_closing
        self._over(code, reason)
        task = self._task
        if task is not None and not task.done():
            self._context.cancel_later(task, self._name)

    def pause_sending(self) -> None:
        """Let ``send()`` wait."""
        self._sending_is_paused = True

    def resume_sending(self) -> None:
        """Let ``send()`` go on."""
        self._sending_is_paused = False
        if self._writable is not None:
            self._writable.set()

    # What the application calls.

    async def receive(self) -> Message:
        """Return the next event. Cancelling it loses nothing."""
        if not self._was_connected:
            self._was_connected = True
            return {"type": "websocket.connect"}
        while not self._queue:
            if self._disconnect is not None:
                return self._disconnect.copy()  # type: ignore[attr-defined,no-any-return]
            await self._until_readable()
        data = self._queue.popleft()
        self._queued_bytes -= _size(data)
        if (
            self._reading_is_paused
            and len(self._queue) <= self._max_queue // 2
            and self._queued_bytes <= self._context.body_limit // 2
        ):
            self._reading_is_paused = False
            self._stream.resume_reading()
        if type(data) is str:
            return {"type": "websocket.receive", "text": data}
        return {"type": "websocket.receive", "bytes": data}

    async def _until_readable(self) -> None:
        """Wait for something to receive."""
        waiter = self._readable
        if waiter is not None and not waiter.done():
            await asyncio.wait((waiter,))  # another task's: to cancel this one must not cancel it
            return
        self._readable = waiter = asyncio.get_running_loop().create_future()
        await waiter

    def _wake_reader(self) -> None:
        if self._readable is not None and not self._readable.done():
            self._readable.set_result(None)

    async def send(self, message: Message) -> None:
        """Send a message of the application; return when the client has taken enough of the others.

        Raises ApplicationError, a ValueError, for a message that ASGI does not allow, and
        ClientDisconnected, an OSError, when the client is gone.
        """
        try:
            kind = message["type"]
            is_usual = kind == SEND and self._state is OPEN  # the table would be looked up slowly
            is_legal = is_usual or kind in LEGAL[self._state]
        except (KeyError, TypeError):
            raise messages.no_type(message) from None
        if not is_legal:
            if self._is_dropped(kind):
                return
            raise self._unexpected(kind)
        if is_usual:
            self._stream.send(_payload(message), bool(self._queue))
            if not self._sending_is_paused:
                self._sent_in_a_row += 1
                if self._sent_in_a_row >= _FAIR_SHARE:
                    self._sent_in_a_row = 0
                    await asyncio.sleep(0)
                return
        elif kind == CLOSE:
            self._close(message)
        elif kind == ACCEPT:
            self._accept(message)
        else:
            self._deny(kind, message)
        while self._sending_is_paused and self._state in (OPEN, DENYING):
            if self._writable is None:
                self._writable = asyncio.Event()
            self._writable.clear()
            await self._writable.wait()

    def _accept(self, message: Message) -> None:
        handshake = self._handshake
        assert handshake is not None
        subprotocol = messages.field(message, "subprotocol", (str, type(None)), None)
        self._stream = handshake.accept(subprotocol or None, _headers(message))
        self._handshake = None
        self._state = OPEN

    def _close(self, message: Message) -> None:
        if self._state is OPEN:
            code = messages.field(message, "code", (int, type(None)), None)
            reason = messages.field(message, "reason", (str, type(None)), None)
            self._is_closing = True
            try:
                self._stream.close(_NORMAL if code is None else code, reason or "")
            finally:
                self._is_closing = False
            return
        # Nobody is told of code and reason: there is no close frame before there is a WebSocket.
        handshake = self._handshake
        self._over(_ABNORMAL, "")
        assert handshake is not None
        handshake.refuse(403, "Access denied")

    def _deny(self, kind: str, message: Message) -> None:
        """Answer the handshake with a response of the application's (Denial Response)."""
        handshake = self._handshake
        assert handshake is not None
        if kind == DENY_START:
            status = messages.response_status(message.get("status"), DENY_START)
            handshake.start_response(status, _headers(message), False)
            self._state = DENYING
            return
        more = bool(message.get("more_body", False))
        data = messages.body_bytes(message.get("body", b""))
        if not more:
            self._over(_ABNORMAL, "")
        try:
            handshake.send_body(data, more)
        except ApplicationError:
            self._over(_ABNORMAL, "")
            raise

    def _over(self, code: int, reason: str) -> None:
        """Take note of the end."""
        if self._state is OPEN and not self._client_left:
            self._queue.clear()
        self._state = CLOSED
        self._handshake = None
        if self._disconnect is None:
            self._disconnect = {"type": "websocket.disconnect", "code": code, "reason": reason}
        self._wake_reader()
        if self._writable is not None:
            self._writable.set()

    def _is_dropped(self, kind: object) -> bool:
        """Tell whether a message that comes too late is dropped; raise when the client left."""
        if self._state is not CLOSED or kind not in _KNOWN:
            return False
        if _CHANNELS in sys.modules:
            return True
        if self._client_left:
            raise ClientDisconnected(f"{kind} after the client left")
        return False

    def _unexpected(self, kind: object) -> ApplicationError:
        if kind not in _KNOWN:
            return ApplicationError(f"Cannot handle message type {kind}!")
        expected = " or ".join(sorted(LEGAL[self._state])) or "nothing: it is over"
        return ApplicationError(
            f"{kind} is not allowed in state {self._state.name} of a WebSocket; expected {expected}"
        )

    # The application's task.

    def begun(self, task: asyncio.Task[None]) -> None:
        """Take note of the task, whose WebSocket may be over meanwhile."""
        self._task = task
        if self._disconnect is not None:
            self._context.cancel_later(task, self._name)

    async def run(self) -> None:
        """Call the application and answer for it where it does not. Lets nothing out."""
        set_current(self._trace)
        try:
            await self._context.tasks.application(self._scope, self.receive, self.send)
        except asyncio.CancelledError:
            self._answer_for_application(_INTERNAL_ERROR)
        except ClientDisconnected:
            logger.debug("The client left during %s", self._name())
            self._answer_for_application(_INTERNAL_ERROR)
        except BaseException as error:  # noqa: BLE001 - SystemExit too: a consumer must not end us
            self._failed(error)
        else:
            if self._state in (CONNECTING, DENYING):
                logger.error("Application returned without an answer: %s", self._name())
            self._answer_for_application(_NORMAL)
        finally:
            self.is_running = False

    def _failed(self, error: BaseException) -> None:
        is_ours = isinstance(error, ApplicationError)
        if not self._was_connected and isinstance(error, ValueError) and not is_ours:
            # What routers and Django's own handler say of a scope that they do not serve.
            logger.error("Application does not serve %s: %s", self._name(), error)
        else:
            logger.error(
                "Exception inside application: %s: %s", self._name(), error, exc_info=error
            )
        self._answer_for_application(_INTERNAL_ERROR)

    def _answer_for_application(self, code: int) -> None:
        """Give the client an end where the application gave none."""
        state, handshake = self._state, self._handshake
        if state is OPEN:
            self._stream.close(code, "")
        elif handshake is not None:
            self._over(_ABNORMAL, "")
            if state is CONNECTING:
                handshake.refuse(500, "Exception inside application.")
            else:
                handshake.abort()

    def _name(self) -> str:
        """Return scheme and path for the log, without control characters."""
        return f"WebSocket {self._scope.get('path', '')!a}"


def _size(data: str | bytes) -> int:
    """Return about how many bytes a message weighs."""
    return len(data) if type(data) is bytes or data.isascii() else 4 * len(data)


def _headers(message: Message) -> Headers:
    headers = message.get("headers") or ()
    if not isinstance(headers, Iterable):
        raise ApplicationError(f"{message['type']}: headers must be pairs of byte strings")
    return headers


def _payload(message: Message) -> str | bytes:
    """Return what ``websocket.send`` has: a text, or bytes; one of them, and it may be empty."""
    text: Any = message.get("text")
    data: Any = message.get("bytes")
    if data is None and type(text) is str:
        return text
    if text is None and type(data) is bytes:
        return data
    if text is not None and data is not None:
        raise ApplicationError(f"{SEND}: it has text and bytes, and only one of them can be sent")
    if isinstance(data, bytes | bytearray | memoryview):
        return bytes(data)
    if isinstance(text, str):
        return str(text)
    if text is None and data is None:
        raise ApplicationError(f"{SEND}: it has neither text nor bytes")
    kind = type(data if text is None else text).__name__
    raise ApplicationError(f"{SEND}: text must be a str and bytes must be bytes, not {kind}")
