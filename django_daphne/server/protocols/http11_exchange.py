"""One request and its response on an HTTP/1.1 connection, from the response's side.

    READY ──> AWAITED ──> HELD ──> SENDING ──> ENDED

READY is a request whose application was not called yet, for its body may be there already.
HELD is a head that waits for the first body part, so that both leave in one write. An exchange ends
once: when its response is complete, or when it is left because the client went away, broke the
protocol, or let a deadline pass. What the application says to an exchange that has ended cannot
reach the one behind it.
"""

from __future__ import annotations

import enum
from typing import Final, Protocol

from ..exceptions import ApplicationError
from ..interfaces import (
    AccessRecord,
    Admission,
    ConnectionContext,
    Event,
    HTTPCycle,
    RequestHead,
)
from ..types import Headers
from .responses import ResponseWriter, error_page
from .wire import Wire

# nginx's status for a client that left before it was answered; only ever seen in the access log.
_CLIENT_LEFT: Final = 499
# Stands in for a request that could not be read, in its answer and in the access log.
UNREADABLE: Final = RequestHead("-", b"-", b"", b"", "1.1", [])
# What the status of a handshake says of its WebSocket.
_EVENTS: Final[dict[int, Event]] = {0: "connecting", 101: "connected"}


class Sending(enum.Enum):
    """How far the response is."""

    READY = enum.auto()
    AWAITED = enum.auto()
    HELD = enum.auto()
    SENDING = enum.auto()
    ENDED = enum.auto()


# Looked up for every request, and members of an enum are slow to look up.
READY, AWAITED, HELD, SENDING, ENDED = Sending


class ExchangeOwner(Protocol):
    """The connection, as an exchange sees it."""

    # Set when a response that begins now cannot be one like any other.
    is_unusual: bool

    def response_started(self) -> None:
        """Take note that an unusual response will come."""

    def begin_body(self, exchange: Exchange, writer: ResponseWriter) -> None:
        """Have a say in the head of an unusual response, before it leaves."""

    def response_ended(self, exchange: Exchange, close: bool) -> None:
        """Go on behind a complete response, or close."""

    def give_up(self) -> None:
        """Reset the connection."""

    def set_application_full(self, full: bool) -> None:
        """Pause or resume reading the body."""


class Exchange:
    """The wire's side of one request (``HTTPStream``)."""

    # One is made for each request. What most requests do not need is set where they do.
    cycle: HTTPCycle | None = None
    state = READY
    continue_is_due = False  # the client waits for a 100 before it sends the body
    _is_admitted = False
    _writer: ResponseWriter | None = None
    _began = 0.0

    def __init__(
        self, request: RequestHead, owner: ExchangeOwner, wire: Wire, context: ConnectionContext
    ) -> None:
        """Make the exchange of a request that was read up to its body."""
        self.request = request
        self._owner = owner
        self._wire = wire
        self._context = context
        if context.log_access is not None:
            self._began = context.clock.now()

    def enter(self, admission: Admission) -> bool:
        """Count this request among those that run; false when there is no room for it."""
        self._is_admitted = admission.enter()
        return self._is_admitted

    # HTTPStream

    def send_informational(self, status: int, headers: Headers) -> None:
        """Send a 1xx response; 100 tells the client to go on with the body."""
        writer = ResponseWriter(self.request, status, headers, False, self._context.default_headers)
        if status == 100:
            self.continue_is_due = False
        self._wire.write(writer.informational())

    def start_response(self, status: int, headers: Headers, trailers: bool) -> None:
        """Hold the head back for the first body part."""
        self._writer = ResponseWriter(
            self.request, status, headers, trailers, self._context.default_headers
        )
        self.state = HELD
        if self._owner.is_unusual:
            self._owner.response_started()

    def send_body(self, data: bytes, more: bool) -> None:
        """Send a body part; the first takes the head with it."""
        writer = self._writer
        assert writer is not None
        if self.state is HELD:
            self.state = SENDING
            if self._owner.is_unusual:
                self._owner.begin_body(self, writer)
        self._wire.write(writer.body(data, more))
        if not (more or writer.missing or writer.overflowed or writer.trailers):
            self._finish(writer)  # nearly always
        elif not more or writer.overflowed:
            self._end_body(writer)

    async def send_file(self, descriptor: int, offset: int, count: int, more: bool) -> None:
        """Send a part of a file as body."""
        writer = self._writer
        assert writer is not None
        if self.state is HELD:
            self.state = SENDING
            if self._owner.is_unusual:
                self._owner.begin_body(self, writer)
        before, count, behind = writer.file(count, more)
        self._wire.write(before)
        if count:
            await self._wire.send_file(descriptor, offset, count)
        self._wire.write(behind)
        if not more or writer.overflowed:
            self._end_body(writer)

    def send_trailers(self, headers: Headers, more: bool) -> None:
        """Send trailer fields (RFC 9112, section 7.1.2)."""
        writer = self._writer
        assert writer is not None
        self._wire.write(writer.trailer_section(headers, more))
        if not more:
            self._finish(writer)

    def refuse(self, status: int, text: str, extra: Headers = ()) -> None:
        """Answer with the server's own page, then close: something went wrong here."""
        headers, body = error_page(status, text)
        self.start_response(status, [*headers, *extra, (b"Connection", b"close")], False)
        self.send_body(body, False)

    def abort(self) -> None:
        """Reset the connection."""
        self.cycle = None  # it is the one who asks
        self._owner.give_up()

    def pause_reading(self) -> None:
        """Read no more of the body until the application has taken what there is."""
        self._owner.set_application_full(True)

    def resume_reading(self) -> None:
        """Read the body on."""
        self._owner.set_application_full(False)

    # The end

    def switch(self) -> None:
        """End an exchange whose connection goes on with another protocol."""
        self.state = ENDED
        self.cycle = None
        self._account(101)

    def leave_cycle(self) -> None:
        """Tell the cycle, once, that its exchange has ended early."""
        cycle, self.cycle = self.cycle, None
        if cycle is not None:
            cycle.disconnected()

    def leave(self) -> None:
        """End an exchange whose response will never be complete."""
        if self.state is not ENDED:
            self.state = ENDED
            self._account(self._writer.status if self._writer is not None else _CLIENT_LEFT)
        self.leave_cycle()

    def _end_body(self, writer: ResponseWriter) -> None:
        """End a response whose body is over, or wrong."""
        if writer.missing:
            self.abort()
            raise ApplicationError(
                f"Response body is {writer.missing} bytes shorter than its Content-Length"
            )
        if not writer.trailers or writer.overflowed:
            self._finish(writer)
        if writer.overflowed:
            raise ApplicationError("Response body is longer than its Content-Length; it was cut")

    def _finish(self, writer: ResponseWriter) -> None:
        """Go on after a complete response."""
        self.state = ENDED
        self.cycle = None
        if self._is_admitted or self._context.log_access is not None:
            self._account(writer.status)
        self._owner.response_ended(self, writer.close)

    def _account(self, status: int) -> None:
        """Make room for another request, and write the access log."""
        context = self._context
        if self._is_admitted and context.admission is not None:
            self._is_admitted = False
            context.admission.leave()
        self.record(status)

    def record(self, status: int) -> None:
        """Write the access log; status 0 is a WebSocket that is asked for."""
        context = self._context
        if context.log_access is not None:
            request = self.request
            context.log_access(
                AccessRecord(
                    client=context.client if request.origin is None else request.origin.client,
                    method=request.method,
                    target=request.target,
                    http_version=request.http_version,
                    status=status,
                    size=self._writer.size if self._writer is not None else 0,
                    duration=context.clock.now() - self._began,
                    headers=request.headers,
                    event=_EVENTS.get(status, "rejected")
                    if request.wants_websocket
                    else "complete",
                )
            )
