"""HTTP/1.1 and HTTP/1.0 on one connection (RFC 9112).

Theory of operation. A connection serves one exchange after another; nothing of the next request is
looked at before the response to this one is complete, so answers are in order and pipelined input
is bounded. Three machines say where it stands: this one for what the client's next bytes are,

    HEAD ──> BODY ──> COMPLETE ──> HEAD
               └────> DISCARD ──> HEAD    answered early: the rest is thrown away

the exchange's for the response (``exchange``), and the wire's for the connection (``wire``).

``_advance`` is the only place that reads on. It cuts a head, takes what is there of the body, then
starts the application, in this order: so a small body is complete when the application first asks,
and an application is never entered from inside a parser. An application that answers at once does
so inside the call; its bytes are kept until ``_advance`` returns, and all answers of one read leave
in one write. The end of a response never starts the next request itself: a chain of pipelined
requests would be as deep on the stack as it is long.

While reading is paused a client that leaves is not noticed. So reading goes on after a request is
complete, with a bounded buffer, and stops only for an application that does not take the body or a
client that pipelines without end.
"""

from __future__ import annotations

import enum
from typing import ClassVar, Final

from ..exceptions import PeerError
from ..interfaces import ConnectionContext, HTTPCycle, Transport
from .deadlines import Deadlines
from .exchange import AWAITED, READY, SENDING
from .http11_body import BodyReader, ChunkedBody, LengthBody
from .http11_exchange import HTTP11Exchange
from .http11_head import HeadReader
from .http11_input import InputBuffer
from .http11_response import ResponseWriter
from .liveness import Idleness
from .wire import OPEN, Wire

# Requests started before other connections get their turn.
_MAX_STARTS: Final = 16


class Reading(enum.Enum):
    """What the bytes that come next are."""

    HEAD = enum.auto()
    BODY = enum.auto()
    COMPLETE = enum.auto()
    DISCARD = enum.auto()


# Looked up for every request, and members of an enum are slow to look up.
_HEAD, _BODY, _COMPLETE, _DISCARD = Reading


class HTTP11:
    """One connection: what its bytes mean, and what becomes of it behind each exchange."""

    exchange_of: ClassVar[type[HTTP11Exchange]] = HTTP11Exchange

    def __init__(
        self, context: ConnectionContext, transport: Transport, deadlines: Deadlines
    ) -> None:
        self._context, self._transport, self._deadlines = context, transport, deadlines
        self._limits, self._timeouts = context.config.limits, context.config.timeouts
        self._wire = Wire(transport, deadlines, context.config, self._write_timed_out)
        self._input = InputBuffer(self._limits)
        self._head_reader = HeadReader(self._limits.max_header_count)
        self._body: BodyReader
        self._exchange: HTTP11Exchange | None = None
        self._reading = _HEAD
        self._discarded = 0  # bytes of a body whose request was answered
        self._reading_is_paused = self._application_is_full = self._is_behind = False
        self._advancing = self._draining = self._eof = self.is_unusual = False
        self._head_is_timed = True
        keep_alive = self._timeouts.keep_alive_timeout
        self._idleness = Idleness(self, context.clock.now, deadlines, keep_alive)
        deadlines.start("head", self._timeouts.header_timeout, self._head_timed_out)

    # What happened to the transport.

    def data_received(self, data: bytes) -> None:
        """Take bytes of the client."""
        if self._wire.state is not OPEN:
            self._wire.discard(len(data))
            return
        self._input.append(data)
        reading = self._reading
        if reading is _COMPLETE or (reading is _HEAD and (self._is_behind or self._wire.is_paused)):
            self._update_reading()
        else:
            self._advance()

    def eof_received(self) -> None:
        """Take note that the client sends no more."""
        self._eof = self.is_unusual = True
        if self._wire.state is not OPEN:
            self._wire.close()
        elif self._reading is _COMPLETE and self._exchange is not None:
            # A half-close looks like a closed tab. A client that shuts its side down and waits for
            # the answer gets some time; one that leaves in the middle of an answer has left.
            timeout = self._timeouts.half_close_timeout
            sending = self._exchange.state is SENDING
            if self._transport.is_tls or (sending and timeout is not None):
                self.give_up()
            elif not sending:
                self._deadlines.start("half-close", timeout, self.give_up)
        elif self._reading is _BODY:
            self.give_up()
        elif self._reading is _HEAD and self._input:
            self._advance()  # what is complete is answered
        else:
            self._wire.close()

    def connection_lost(self) -> None:
        """Take note that the connection has ended."""
        self._wire.lost()
        self._input.clear()
        self._leave_exchange()

    def pause_sending(self) -> None:
        """Take note that the client does not read as fast as is written."""
        self._wire.pause()
        if self._exchange is not None and self._exchange.cycle is not None:
            self._exchange.cycle.pause_sending()

    def resume_sending(self) -> None:
        """Take note that the client has read on."""
        self._wire.resume()
        self._update_reading()
        if self._exchange is not None and self._exchange.cycle is not None:
            self._exchange.cycle.resume_sending()
        if self._reading is _HEAD and (self._input or self._eof):
            self._context.call_soon(self._advance)

    def drain(self) -> None:
        """Finish the exchange that is under way, or is about to be on a new connection; close."""
        self._draining = self.is_unusual = True
        if self.is_idle and not self._idleness.end(self._head_is_timed):
            # Unless a request has come: the loop looks once more between the two calls.
            self._context.call_soon(self._context.call_soon, self.idle_timed_out)

    def end_streams(self) -> None:
        """Ask for the end of a response that may have none."""
        if self._exchange is not None:
            self._exchange.end_stream()

    # The request.

    def _advance(self) -> None:
        """Serve what has come, as far as it goes."""
        wire, unused = self._wire, self._input
        if self._advancing or wire.state is not OPEN:
            return
        self._advancing = wire.is_corked = True
        self._is_behind = False
        starts = 0
        try:
            while True:
                if self._reading is _HEAD:
                    if wire.is_paused:
                        break  # the client takes the last answer first
                    if starts == _MAX_STARTS:
                        self._is_behind = True  # requests wait for their turn
                        self._context.call_soon(self._advance)
                        break
                    starts += 1
                    head = unused.cut_head() if unused.offset < len(unused.data) else None
                    if head is None:
                        self._wait_for_head()
                        break
                    self._start_exchange(head)
                if self._reading is _BODY:
                    self._read_body()
                elif self._reading is _DISCARD:
                    self._discard_body()
                exchange = self._exchange
                if exchange is not None and exchange.state is READY and exchange.cycle is not None:
                    exchange.state = AWAITED
                    exchange.cycle.start()
                if self._reading is not _HEAD or wire.state is not OPEN:
                    break
        except PeerError as error:
            self._reject(error)
        finally:
            self._advancing = False
            wire.uncork()
            if self._is_behind or self._reading_is_paused:
                self._update_reading()

    def _start_exchange(self, head: bytes) -> None:
        """Read a head and make ready for body and response, or raise PeerError."""
        context = self._context
        request = self._head_reader.read(head)
        if self._head_is_timed:
            self._head_is_timed = False
            self._deadlines.cancel("head")
        self._exchange = exchange = self.exchange_of(request, self, self._wire, context)
        if request.has_body:
            self._start_body(exchange)
        else:
            self._reading = _COMPLETE
        if context.admission is not None and not exchange.enter(context.admission):
            raise PeerError(503, "Too many requests are running.", limit="limit_concurrency")
        exchange.cycle = self._create_cycle(exchange)
        if self._timeouts.http_timeout is not None:
            self._deadlines.start("request", self._timeouts.http_timeout, self._request_timed_out)

    def _create_cycle(self, exchange: HTTP11Exchange) -> HTTPCycle:
        return self._context.create_cycle(exchange.request, exchange)

    def _start_body(self, exchange: HTTP11Exchange) -> None:
        limits, request = self._limits, exchange.request
        length = request.content_length
        self._reading = _BODY
        self._application_is_full = False
        self.is_unusual = True
        exchange.continue_is_due = request.expect_continue
        if length is None:
            self._body = ChunkedBody(
                self._head_reader, limits.max_body_size, limits.max_header_size
            )
        else:
            self._body = LengthBody(length)
            if limits.max_body_size is not None and length > limits.max_body_size:
                raise PeerError(413, "Content-Length over max_body_size", limit="max_body_size")
        self._deadlines.start("body", self._timeouts.body_timeout, self._body_timed_out)

    def _read_body(self) -> None:
        """Hand the application what there is of the body."""
        unused, exchange = self._input, self._exchange
        data, unused.offset = self._body.read(unused.data, unused.offset)
        complete = self._body.complete
        if complete:
            self._reading = _COMPLETE
            self.is_unusual = self._draining or self._eof
            self._deadlines.cancel("body")
            self._update_reading()
        elif data:
            self._deadlines.start("body", self._timeouts.body_timeout, self._body_timed_out)
        if exchange is not None and exchange.cycle is not None and (data or complete):
            exchange.continue_is_due = False  # the client did not wait for it
            exchange.cycle.body_received(data, not complete)

    def _discard_body(self) -> None:
        """Throw away the rest of a body whose request was answered."""
        unused = self._input
        before = len(unused)
        _, unused.offset = self._body.read(unused.data, unused.offset)
        self._discarded += before - len(unused)
        if self._body.complete:
            self.is_unusual = self._draining or self._eof
            self._deadlines.cancel("body")
            self._reading = _HEAD
        elif self._discarded > self._limits.max_discard_size:
            self._wire.linger()

    def set_application_full(self, full: bool) -> None:
        """Pause or resume reading the body, for an application that is slower than the client."""
        self._application_is_full = full
        if self._reading is _BODY:
            timeout = None if full else self._timeouts.body_timeout
            self._deadlines.start("body", timeout, self._body_timed_out)
            self._update_reading()

    def _update_reading(self) -> None:
        """Pause or resume the transport by what the application and the buffer ask for."""
        if self._reading is _BODY:
            pause = self._application_is_full
        else:
            waits = self._reading is _COMPLETE or self._is_behind or self._wire.is_paused
            pause = waits and len(self._input) > self._limits.max_pipelined_size
        if pause is not self._reading_is_paused:
            self._reading_is_paused = pause
            if pause:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    # Behind the response (ExchangeOwner).

    def response_started(self) -> None:
        """Let a client that closed its side have the answer, whenever it is complete."""
        self._deadlines.cancel("half-close")

    def begin_body(self, exchange: HTTP11Exchange, writer: ResponseWriter) -> None:
        """Decide, before the head leaves, whether the connection can be used again."""
        self._deadlines.cancel("half-close")
        if self._reading is _BODY:
            # Can the next request be found behind a body that nobody may read? A client that was
            # not told to go on may send the body or the next request: who knows.
            left, limit = self._body.remaining, self._limits.max_discard_size
            writer.close |= exchange.continue_is_due or left is None or left > limit
        writer.close |= self._draining
        writer.is_unusual = True

    def response_ended(self, exchange: HTTP11Exchange, close: bool) -> None:
        """Go on behind a complete response, or close."""
        self._exchange = None
        if self._timeouts.http_timeout is not None:
            self._deadlines.cancel("request")
        if self._wire.state is not OPEN:
            return
        if self._reading is _COMPLETE and not close:
            self._reading = _HEAD
            if self._reading_is_paused:
                self._update_reading()
            if not self._advancing:
                if self._input.offset < len(self._input.data):
                    self._context.call_soon(self._advance)
                elif self.is_unusual:
                    self._wait_for_head()
                else:
                    self._idleness.begin()
        elif close and (self._eof or (self._reading is _COMPLETE and not self._input)):
            self._wire.close()
        elif close:
            self._input.clear()
            self._wire.linger()
        else:
            self._discarded = 0
            self._reading = _DISCARD
            self._update_reading()

    def _wait_for_head(self) -> None:
        """Wait for the rest of a head, or for the next request."""
        idle = self._input.is_idle
        if self._eof:
            self._wire.close()
        elif self._draining and idle:
            self._idleness.end(True)
        elif not idle:
            # Once for the whole head: a client that sends a byte at a time gains nothing.
            if not self._head_is_timed:
                self._head_is_timed = True
                self._deadlines.start("head", self._timeouts.header_timeout, self._head_timed_out)
        elif not self._head_is_timed:
            self._idleness.begin()

    # Faults, and deadlines that have come.

    def _reject(self, error: PeerError) -> None:
        """Answer a request that cannot be served, as far as it can be answered, then close."""
        exchange = self._exchange
        if exchange is None:
            if self._reading is _DISCARD:
                self._wire.linger()
                return
            exchange = self._exchange = self.exchange_of.unreadable(self, self._wire, self._context)
        if exchange.state is SENDING:
            self.give_up()
            return
        self._deadlines.cancel_all()
        if self._reading is _HEAD:
            self._reading = _DISCARD  # the connection is not used again
        exchange.leave_cycle()
        exchange.refuse(error.status, error.reason if error.status == 503 else "", error.headers)

    def give_up(self) -> None:
        """Reset the connection."""
        self._wire.abort()
        self._leave_exchange()

    def _leave_exchange(self) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.leave()

    def _head_timed_out(self) -> None:
        """Close; a client that began a request is told why (RFC 9110, section 15.5.9)."""
        if self._input.is_idle:
            self._wire.close()
        else:
            self._reject(PeerError(408, "header_timeout", limit="header_timeout"))

    @property
    def is_idle(self) -> bool:
        """Return whether no request is under way (``IdleOwner``)."""
        return self._reading is _HEAD and self._input.is_idle

    def idle_timed_out(self) -> None:
        """Close, unless a request has come."""
        if self.is_idle:
            self._wire.close()

    def _write_timed_out(self) -> None:
        self.give_up()

    def _body_timed_out(self) -> None:
        self._reject(PeerError(408, "body_timeout", limit="body_timeout"))

    def _request_timed_out(self) -> None:
        """Answer for an application that did not, within http_timeout."""
        if self._exchange is not None and self._exchange.state is not SENDING:
            self._exchange.leave_cycle()
            self._exchange.refuse(503, "Application failed to respond within time limit.")
        else:
            self.give_up()
