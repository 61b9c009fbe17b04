"""One request and its response on an HTTP/1.1 connection, from the response's side."""

from __future__ import annotations

from typing import Protocol, Self

from ..interfaces import ConnectionContext, RequestHead
from ..types import Headers
from .exchange import HELD, SENDING, Exchange
from .http11_response import ResponseWriter
from .responses import error_page
from .wire import Wire


class ExchangeOwner(Protocol):
    """The connection, as an exchange sees it."""

    # Set when a response that begins now cannot be one like any other.
    is_unusual: bool

    def response_started(self) -> None:
        """Take note that an unusual response will come."""

    def begin_body(self, exchange: HTTP11Exchange, writer: ResponseWriter) -> None:
        """Have a say in the head of an unusual response, before it leaves."""

    def response_ended(self, exchange: HTTP11Exchange, close: bool) -> None:
        """Go on behind a complete response, or close."""

    def give_up(self) -> None:
        """Reset the connection."""

    def set_application_full(self, full: bool) -> None:
        """Pause or resume reading the body."""


class HTTP11Exchange(Exchange):
    """The wire's side of one request (``HTTPStream``)."""

    _response: ResponseWriter | None

    def __init__(
        self, request: RequestHead, owner: ExchangeOwner, wire: Wire, context: ConnectionContext
    ) -> None:
        """Make the exchange of a request that was read up to its body."""
        super().__init__(request, context)
        self.continue_is_due = False  # the client waits for a 100 before it sends the body
        self._owner = owner
        self._wire = wire

    @classmethod
    def unreadable(cls, owner: ExchangeOwner, wire: Wire, context: ConnectionContext) -> Self:
        """Make the exchange of a request that could not be read, for its answer and for the log."""
        return cls(RequestHead("-", b"-", b"", b"", "1.1", []), owner, wire, context)

    # HTTPStream

    def send_informational(self, status: int, headers: Headers) -> None:
        """Send a 1xx response; 100 tells the client to go on with the body."""
        writer = ResponseWriter(self.request, status, headers, False, self._context.default_headers)
        if status == 100:
            self.continue_is_due = False
        self._wire.write(writer.informational())

    def start_response(self, status: int, headers: Headers, trailers: bool) -> None:
        """Hold the head back for the first body part."""
        if self._context.id_header is not None:
            headers = self.name_request(headers)
        self._response = ResponseWriter(
            self.request, status, headers, trailers, self._context.default_headers
        )
        self.state = HELD
        if self._owner.is_unusual:
            self._owner.response_started()

    def send_body(self, data: bytes, more: bool) -> None:
        """Send a body part; the first takes the head with it."""
        writer = self._response
        assert writer is not None
        if self.state is HELD:
            self.state = SENDING
            if self._owner.is_unusual:
                self._owner.begin_body(self, writer)
        wire = self._wire
        turn_end = self._context.turn_end
        if not wire.is_corked and (more or turn_end.may_hold()):
            # More may come in this turn of the loop, here or for others, and is written with it.
            wire.is_corked = True
            turn_end.call(wire.uncork)
        for piece in writer.body(data, more):
            wire.write(piece)
        if more and wire.kept_size > self._context.config.limits.write_buffer_size:
            wire.flush()  # only the transport can say that the client does not keep up
        if not (more or writer.missing or writer.overflowed or writer.trailers):
            self.end(writer.status)
            self._owner.response_ended(self, writer.close)
            return
        if writer.ends_with(more):
            self._finish(writer)
        self._judge(writer, more)

    async def send_file(self, descriptor: int, offset: int, count: int, more: bool) -> None:
        """Send a part of a file as body."""
        writer = self._response
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
        if writer.ends_with(more):
            self._finish(writer)
        self._judge(writer, more)

    def send_trailers(self, headers: Headers, more: bool) -> None:
        """Send trailer fields (RFC 9112, section 7.1.2)."""
        writer = self._response
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

    def _finish(self, writer: ResponseWriter) -> None:
        """Go on after a complete response."""
        self.end(writer.status)
        self._owner.response_ended(self, writer.close)
