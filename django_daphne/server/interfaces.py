"""The seams of the server: what each neighbour on the ring may say to the next.

    bytes -> protocol -> cycle -> application -> cycle -> protocol -> bytes

A *stream* is the protocol's side of one exchange (a request and its response), a *cycle* the ASGI
side. The protocol tells the cycle what happened on the wire; the cycle tells the stream what to say
there. Both are method calls, made on the loop's thread; none of them blocks and none of them raises
for something the other side of the ring did wrong, except where the docstring says so.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeAlias

from .recording import Recorder
from .request_id import Trace
from .services import Admission, DefaultHeaders, TurnEnd
from .types import Address, Header, Headers

if TYPE_CHECKING:
    from .config import ServerConfig

Event: TypeAlias = Literal["complete", "connecting", "connected", "rejected", "disconnected"]


class TimerHandle(Protocol):
    """What ``Clock.call_later`` returns."""

    def cancel(self) -> object: ...


class Clock(Protocol):
    """Monotonic time in seconds, and calls at a later time: a loop's, or one moved by hand."""

    def now(self) -> float: ...

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any
    ) -> TimerHandle: ...


class ByteStream(Protocol):
    """Bytes both ways, whatever carries them: a connection, or a stream of one.

    After it has ended every method does nothing.
    """

    @property
    def is_tls(self) -> bool:
        """Return whether there is TLS, which has no half-close."""

    @property
    def write_buffer_size(self) -> int:
        """The bytes written here that the operating system has not taken yet."""

    def write(self, data: bytes) -> None:
        """Send ``data`` after everything written before, at once where possible."""

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def write_eof(self) -> None:
        """Close the write side after what is buffered; reading goes on. Nothing over TLS."""

    def close(self) -> None:
        """Send what is buffered, then close. The caller sets a deadline and aborts at it."""

    def abort(self) -> None:
        """Drop what is buffered and reset, so that a cut answer never looks whole."""

    def send_file(
        self, descriptor: int, offset: int, count: int, progress: Callable[[], object]
    ) -> Awaitable[None]:
        """Send ``count`` bytes of a file after everything written before.

        Calls ``progress`` for every piece that left. Raises EOFError when the file ends early and
        ClientDisconnected when the connection ends first. Nothing may be written meanwhile.
        """


class Transport(ByteStream, Protocol):
    """A connection: its bytes, and what is known of its ends."""

    @property
    def peer(self) -> Address: ...

    @property
    def host(self) -> Address: ...

    @property
    def is_secure(self) -> bool:
        """Whether the client spoke TLS, be it to a proxy that said so (PROXY protocol)."""

    @property
    def alpn(self) -> str | None: ...

    def tls_extension(self) -> dict[str, object]:
        """Return what ASGI's extension "tls" says; of a TLS connection, after its handshake."""

    def set_write_buffer_limit(self, high: int) -> None:
        """Ask for pause_sending above ``high`` buffered bytes, resume_sending well below."""


class Origin(NamedTuple):
    """Where a request came from, by the connection or by what a trusted proxy says of it.

    ``client`` and ``server`` are None where nobody knows. ``scheme`` is "http" or "https".
    """

    client: Address
    scheme: str
    server: Address
    root_path: str


class RequestHead:
    """A request before its body, as every HTTP version gives it.

    ``target`` is what the client asked for, for the log; ``path`` and ``query`` are its parts, not
    decoded. ``headers`` have lower-case names and the order of the wire. ``has_body`` says whether
    the client announced a body that is not empty; its length is ``content_length``, None in chunks.
    ``origin`` is None while it is the connection's, ``trace`` until somebody asks for it.
    ``wants_websocket`` says that the client asked for that protocol, which may be a mistake.
    """

    def __init__(
        self,
        method: str,
        target: bytes,
        path: bytes,
        query: bytes,
        http_version: str,
        headers: list[Header],
    ) -> None:
        self.method = method
        self.target = target
        self.path = path
        self.query = query
        self.http_version = http_version
        self.headers = headers
        self.keep_alive = True
        self.has_body = self.expect_continue = False
        self.accepts_trailers = self.wants_websocket = False
        self.content_length: int | None = None
        self.origin: Origin | None = None
        self.trace: Trace | None = None

    @property
    def is_plain(self) -> bool:
        """Whether no field says more of the message or the connection than is usual."""
        return (
            self.keep_alive
            and self.content_length is None
            and not (self.has_body or self.expect_continue or self.accepts_trailers)
            and not self.wants_websocket
        )


class HTTPCycle(Protocol):
    """The ASGI side of one request: what happened on the wire."""

    @property
    def is_running(self) -> bool:
        """Return whether the application was called and has not returned."""

    def start(self) -> None:
        """Call the application. The first body bytes may have been delivered before."""

    def body_received(self, data: bytes, more: bool) -> None:
        """Take a piece of the request body; ``more`` is false with the last."""

    def disconnected(self) -> None:
        """Take note that the client left, or that the server gave the exchange up."""

    def stopping(self) -> None:
        """Take note that the server stops, and wants an end of what may have none."""

    def pause_sending(self) -> None: ...

    def resume_sending(self) -> None: ...


class FileWriter(Protocol):
    """What a file can be copied to."""

    def write(self, data: bytes) -> None: ...

    async def drained(self) -> None:
        """Return when more may be written; raise ClientDisconnected when nothing may be."""


class CopyFile(Protocol):
    """A way to send a part of a file; see ``ByteStream.send_file``."""

    def __call__(
        self,
        writer: FileWriter,
        descriptor: int,
        offset: int,
        count: int,
        progress: Callable[[], object],
        /,
    ) -> Awaitable[None]: ...


class HTTPStream(Protocol):
    """The wire's side of one request: what to say there.

    The order is that of ``asgi.messages``, kept by the cycle. After ``disconnected`` none of these
    is called again.
    """

    def send_informational(self, status: int, headers: Headers) -> None:
        """Send a 1xx response (RFC 9110, section 15.2)."""

    def start_response(self, status: int, headers: Headers, trailers: bool) -> None:
        """Take the response's head; it leaves with the first body part.

        Raises ApplicationError for a header that cannot be sent, and then nothing was started.
        """

    def send_body(self, data: bytes, more: bool) -> None:
        """Send a body part; with ``more`` false the response is complete unless trailers follow.

        Raises ApplicationError when the body does not fit the response's Content-Length.
        """

    def send_file(self, descriptor: int, offset: int, count: int, more: bool) -> Awaitable[None]:
        """Send a part of a file as body; raises as ``send_body`` and ``ByteStream`` do."""

    def send_trailers(self, headers: Headers, more: bool) -> None:
        """Send trailer fields; with ``more`` false the response is complete."""

    def refuse(self, status: int, text: str) -> None:
        """Answer with the server's own error page; no response may have been started."""

    def abort(self) -> None:
        """End the exchange so that the client sees it was cut."""

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class WebSocketCycle(Protocol):
    """The ASGI side of one WebSocket: what happened on the wire.

    ``disconnected`` is the last thing that it is told, once.
    """

    @property
    def is_running(self) -> bool:
        """Return whether the application was called and has not returned."""

    def start(self) -> None:
        """Call the application."""

    def message_received(self, data: str | bytes) -> None:
        """Take a message: a text, or bytes."""

    def disconnected(self, code: int = 1006, reason: str = "") -> None:
        """Take note of the end, with its code (RFC 6455, section 7.4)."""

    def pause_sending(self) -> None: ...

    def resume_sending(self) -> None: ...


class WebSocketHandshake(Protocol):
    """The wire's side of a WebSocket that the application has not accepted yet.

    Denied, it is answered as any request is: by ``refuse``, or by a response of the application's.
    """

    @property
    def subprotocols(self) -> Sequence[str]: ...

    def accept(self, subprotocol: str | None, headers: Headers) -> WebSocketStream:
        """Open the WebSocket; nothing here is called again.

        Raises ApplicationError for what cannot be sent, and then nothing was.
        """

    def start_response(self, status: int, headers: Headers, trailers: bool) -> None: ...

    def send_body(self, data: bytes, more: bool) -> None: ...

    def refuse(self, status: int, text: str) -> None: ...

    def abort(self) -> None: ...


class WebSocketStream(Protocol):
    """The wire's side of an open WebSocket."""

    def send(self, data: str | bytes, soon: bool) -> None:
        """Send a message; with ``soon`` others are expected to follow, and leave with it.

        Raises ApplicationError for a text that is no Unicode.
        """

    def close(self, code: int, reason: str) -> None:
        """Send a close frame; nothing is sent or received after it."""

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class AccessRecord(NamedTuple):
    """One finished exchange, for the access log. ``duration`` is in seconds, ``size`` in bytes.

    Of a WebSocket each event is recorded, the last one with the close code as the server knows it.
    ``headers`` are those of the request, with lower-case names. ``http_version`` is "1.1" or "2".
    """

    client: Address
    method: str
    target: bytes
    http_version: str
    status: int
    size: int
    duration: float
    headers: Sequence[Header]
    event: Event = "complete"
    code: int | None = None
    trace: Trace | None = None


class ConnectionProtocol(Protocol):
    """What is spoken on a connection, as the connection sees it."""

    def data_received(self, data: bytes) -> None: ...

    def eof_received(self) -> None: ...

    def connection_lost(self) -> None: ...

    def pause_sending(self) -> None: ...

    def resume_sending(self) -> None: ...

    def drain(self) -> None:
        """Finish what is under way, then close."""

    def end_streams(self) -> None:
        """Ask for an end of what has none by itself; more than once, if need be."""


@dataclass(slots=True, eq=False)
class ConnectionContext:
    """What a protocol knows of the world around its connection.

    ``id_header`` is what every response names its request in, None where none does.
    """

    config: ServerConfig
    clock: Clock
    client: Address
    create_cycle: Callable[[RequestHead, HTTPStream], HTTPCycle]
    create_websocket_cycle: Callable[[RequestHead, WebSocketHandshake], WebSocketCycle]
    switch_protocol: Callable[[ConnectionProtocol], None]
    call_soon: Callable[..., object]
    turn_end: TurnEnd
    copy_file: CopyFile
    default_headers: DefaultHeaders
    admission: Admission | None
    log_access: Callable[[AccessRecord], None] | None
    trace: Callable[[RequestHead], Trace]
    id_header: bytes | None
    recorder: Recorder | None = None
