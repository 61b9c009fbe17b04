"""HTTP/1.1 and HTTP/1.0 on one connection (RFC 9112).

Theory of operation. A connection serves one exchange after another; nothing of the next request is
looked at before the response to this one is complete, so answers are in order and pipelined input
is bounded. Two machines say where an exchange stands:

    Reading   HEAD ──> BODY ──> COMPLETE ──> HEAD   the request
                         └────> DISCARD ──> HEAD    answered early: the rest is thrown away

    Sending   IDLE ──> AWAITED ──> HELD ──> BODY ──> IDLE   the response; HELD: the head waits

and a third, the wire's, what becomes of the connection (``wire``).

``_advance`` is the only place that reads on. It cuts a head, takes what is there of the body, then
starts the application, in this order: so a small body is complete when the application first asks,
and an application is never entered from inside a parser. An application that answers at once does
so inside the call; its bytes are kept until ``_advance`` returns, and all answers of one read leave
in one write. The end of a response never starts the next request itself: a chain of pipelined
requests would be as deep on the stack as it is long.

While reading is paused a client that leaves is not noticed. Reading goes on after a request is
complete, therefore, with a bounded buffer, and stops only for an application that does not take the
body or a client that pipelines without end.
"""

from __future__ import annotations

import enum
from typing import Final

from ..exceptions import ApplicationError, PeerError
from ..interfaces import AccessRecord, ConnectionContext, HTTPCycle, RequestHead, Transport
from ..types import Headers
from .deadlines import Deadlines
from .http11_body import BodyReader, ChunkedBody, LengthBody
from .http11_head import HeadReader
from .http11_input import InputBuffer
from .responses import ResponseWriter, error_page
from .wire import OPEN, Wire

# Requests started before other connections get their turn.
_MAX_STARTS: Final = 16
# Stands in for a request that could not be read, in its answer and in the access log.
_UNREADABLE: Final = RequestHead("-", b"-", b"", b"", "1.1", [])
# nginx's status for a client that left before it was answered; only ever seen in the access log.
_CLIENT_LEFT: Final = 499


class Reading(enum.Enum):
    """What the bytes that come next are."""

    HEAD = enum.auto()
    BODY = enum.auto()
    COMPLETE = enum.auto()
    DISCARD = enum.auto()


class Sending(enum.Enum):
    """How far the response to the current request is."""

    IDLE = enum.auto()
    AWAITED = enum.auto()
    HELD = enum.auto()
    BODY = enum.auto()


# Looked up for every request, and members of an enum are slow to look up.
_HEAD, _BODY, _COMPLETE, _DISCARD = Reading
_IDLE, _AWAITED, _HELD, _SENDING = Sending


class HTTP11:
    """The wire's side of every exchange of one connection."""

    def __init__(
        self, context: ConnectionContext, transport: Transport, deadlines: Deadlines
    ) -> None:
        self._context = context
        self._transport = transport
        self._deadlines = deadlines
        self._limits = context.config.limits
        self._timeouts = context.config.timeouts
        self._wire = Wire(transport, deadlines, context.config, self._give_up)
        self._advancing = False
        self._draining = False
        # The request.
        self._reading = _HEAD
        self._input = InputBuffer(self._limits)
        self._head_reader = HeadReader(self._limits.max_header_count)
        self._head_is_timed = True
        self._idle_since = 0.0
        self._idleness_is_timed = False
        self._eof = False
        self._application_is_full = False
        self._reading_is_paused = False
        self._request = _UNREADABLE
        self._body: BodyReader
        self._discarded = 0
        # The exchange.
        self._cycle: HTTPCycle | None = None
        self._is_admitted = False
        self._began = 0.0
        # The response.
        self._sending = _IDLE
        self._writer: ResponseWriter | None = None
        self._continue_is_due = False
        deadlines.start("head", self._timeouts.header_timeout, self._head_timed_out)

    # What happened to the transport.

    def data_received(self, data: bytes) -> None:
        """Take bytes of the client."""
        if self._wire.state is not OPEN:
            self._wire.discard(len(data))
            return
        self._input.append(data)
        if self._reading is _COMPLETE:
            self._update_reading()
        else:
            self._advance()

    def eof_received(self) -> None:
        """Take note that the client sends no more."""
        self._eof = True
        if self._wire.state is not OPEN:
            self._wire.close()
        elif self._reading is _COMPLETE:
            # A half-close looks like a closed tab. A client that shuts its side down and waits for
            # the answer gets some time; one that leaves in the middle of an answer has left.
            timeout = self._timeouts.half_close_timeout
            if self._transport.is_tls or (self._sending is _SENDING and timeout is not None):
                self._give_up()
            elif self._sending is not _SENDING:
                self._deadlines.start("half-close", timeout, self._give_up)
        elif self._reading is _BODY:
            self._give_up()
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
        if self._cycle is not None:
            self._cycle.pause_sending()

    def resume_sending(self) -> None:
        """Take note that the client has read on."""
        self._wire.resume()
        if self._cycle is not None:
            self._cycle.resume_sending()
        if self._reading is _HEAD and (self._input or self._eof):
            self._context.call_soon(self._advance)

    def drain(self) -> None:
        """Finish the exchange that is under way, then close; close at once when there is none."""
        self._draining = True
        if self._reading is _HEAD and self._input.is_idle:
            self._wire.close()

    # What the application says (HTTPStream).

    def send_informational(self, status: int, headers: Headers) -> None:
        """Send a 1xx response; 100 tells the client to go on with the body."""
        writer = ResponseWriter(
            self._request, status, headers, False, self._context.default_headers
        )
        if status == 100:
            self._continue_is_due = False
        self._wire.write(writer.informational())

    def start_response(self, status: int, headers: Headers, trailers: bool) -> None:
        """Hold the head back for the first body part."""
        self._writer = ResponseWriter(
            self._request, status, headers, trailers, self._context.default_headers
        )
        self._sending = _HELD
        if self._eof:
            self._deadlines.cancel("half-close")

    def send_body(self, data: bytes, more: bool) -> None:
        """Send a body part; the first takes the head with it."""
        writer = self._writer
        assert writer is not None
        if self._sending is _HELD:
            self._sending = _SENDING
            if self._draining or self._eof or self._reading is _BODY:
                self._begin_body(writer)
        self._wire.write(writer.body(data, more))
        if not more and not (writer.missing or writer.overflowed or writer.trailers):
            self._finish(writer)
        elif not more or writer.overflowed:
            self._end_body(writer)

    async def send_file(self, descriptor: int, offset: int, count: int, more: bool) -> None:
        """Send a part of a file as body."""
        writer = self._writer
        assert writer is not None
        if self._sending is _HELD:
            self._sending = _SENDING
            if self._draining or self._eof or self._reading is _BODY:
                self._begin_body(writer)
        before, count, behind = writer.file(count, more)
        self._wire.write(before)
        if count:
            await self._wire.send_file(descriptor, offset, count)
        self._wire.write(behind)
        if not more or writer.overflowed:
            self._end_body(writer)

    def send_trailers(self, headers: Headers, more: bool) -> None:
        """Send trailer fields (RFC 9112, section 7.1.2)."""
        assert self._writer is not None
        self._wire.write(self._writer.trailer_section(headers, more))
        if not more:
            self._finish(self._writer)

    def refuse(self, status: int, text: str) -> None:
        """Answer with the server's own page, then close: something went wrong here."""
        headers, body = error_page(status, text)
        self.start_response(status, [*headers, (b"Connection", b"close")], False)
        self.send_body(body, False)

    def abort(self) -> None:
        """Reset the connection."""
        self._wire.abort()
        self._cycle = None
        self._leave_exchange()

    def pause_reading(self) -> None:
        """Read no more of the body until the application has taken what there is."""
        self._application_is_full = True
        self._deadlines.cancel("body")
        self._update_reading()

    def resume_reading(self) -> None:
        """Read the body on."""
        self._application_is_full = False
        if self._reading is _BODY:
            self._deadlines.start("body", self._timeouts.body_timeout, self._body_timed_out)
        self._update_reading()

    # The request.

    def _advance(self) -> None:
        """Serve what has come, as far as it goes."""
        wire, unused = self._wire, self._input
        if self._advancing or wire.state is not OPEN:
            return
        self._advancing = True
        wire.is_corked = True
        starts = 0
        try:
            while not wire.is_paused:
                if self._reading is _HEAD:
                    if starts == _MAX_STARTS:
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
                if self._sending is _IDLE and self._cycle is not None:
                    self._sending = _AWAITED
                    self._cycle.start()
                if self._reading is not _HEAD or wire.state is not OPEN:
                    break
        except PeerError as error:
            self._reject(error)
        finally:
            self._advancing = False
            wire.uncork()

    def _wait_for_head(self) -> None:
        """Wait for the rest of a head, or for the next request."""
        if self._eof or (self._draining and self._input.is_idle):
            self._wire.close()
        elif not self._input.is_idle:
            # Once for the whole head: a client that sends a byte at a time gains nothing.
            if not self._head_is_timed:
                self._head_is_timed = True
                self._deadlines.start("head", self._timeouts.header_timeout, self._head_timed_out)
        elif not self._head_is_timed:
            # One deadline runs on, whatever comes in between; it looks when it comes.
            self._idle_since = self._context.clock.now()
            if not self._idleness_is_timed:
                self._idleness_is_timed = True
                timeout = self._timeouts.keep_alive_timeout
                self._deadlines.start("keep-alive", timeout, self._keep_alive_timed_out)

    def _start_exchange(self, head: bytes) -> None:
        """Read a head and make ready for the body and for the response.

        Raises PeerError for a request that is refused.
        """
        context = self._context
        self._request = _UNREADABLE
        self._writer = None
        if context.log_access is not None:
            self._began = context.clock.now()
        self._request = request = self._head_reader.read(head)
        if self._head_is_timed:
            self._head_is_timed = False
            self._deadlines.cancel("head")
        if request.has_body:
            self._start_body(request)
        else:
            self._reading = _COMPLETE
        if context.admission is not None:
            self._is_admitted = context.admission.enter()
            if not self._is_admitted:
                raise PeerError(503, "Too many requests are running.")
        self._cycle = context.create_cycle(request, self)
        if self._timeouts.http_timeout is not None:
            self._deadlines.start("request", self._timeouts.http_timeout, self._request_timed_out)

    def _start_body(self, request: RequestHead) -> None:
        limits = self._limits
        length = request.content_length or 0
        if limits.max_body_size is not None and length > limits.max_body_size:
            raise PeerError(413, "Content-Length over max_body_size")
        if request.content_length is None:
            self._body = ChunkedBody(
                self._head_reader, limits.max_body_size, limits.max_header_size
            )
        else:
            self._body = LengthBody(length)
        self._reading = _BODY
        self._application_is_full = False
        self._continue_is_due = request.expect_continue
        self._deadlines.start("body", self._timeouts.body_timeout, self._body_timed_out)

    def _read_body(self) -> None:
        """Hand the application what there is of the body."""
        unused = self._input
        data, unused.offset = self._body.read(unused.data, unused.offset)
        if self._body.complete:
            self._continue_is_due = False
            self._reading = _COMPLETE
            self._deadlines.cancel("body")
            self._update_reading()
        elif data:
            self._continue_is_due = False  # the client did not wait for it
            self._deadlines.start("body", self._timeouts.body_timeout, self._body_timed_out)
        else:
            return
        if self._cycle is not None:
            self._cycle.body_received(data, not self._body.complete)

    def _discard_body(self) -> None:
        """Throw away the rest of a body whose request was answered."""
        unused = self._input
        before = len(unused)
        _, unused.offset = self._body.read(unused.data, unused.offset)
        self._discarded += before - len(unused)
        if self._body.complete:
            self._deadlines.cancel("body")
            self._next_request()
        elif self._discarded > self._limits.max_discard_size:
            self._wire.linger()

    def _update_reading(self) -> None:
        """Pause or resume the transport by what the application and the buffer ask for."""
        pause = (self._reading is _BODY and self._application_is_full) or (
            self._reading is _COMPLETE and len(self._input) > self._limits.max_pipelined_size
        )
        if pause is not self._reading_is_paused:
            self._reading_is_paused = pause
            if pause:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    # The response.

    def _begin_body(self, writer: ResponseWriter) -> None:
        """Decide, before the head leaves, what becomes of a connection that is not as usual."""
        if self._draining or (self._reading is _BODY and not self._can_skip_body()):
            writer.close = True
        self._deadlines.cancel("half-close")

    def _can_skip_body(self) -> bool:
        """Say whether the next request can be found behind a body that nobody reads."""
        # A client that was not told to go on may send the body or the next request: who knows.
        remaining = self._body.remaining
        return (
            not self._continue_is_due
            and remaining is not None
            and remaining <= self._limits.max_discard_size
        )

    def _end_body(self, writer: ResponseWriter) -> None:
        """End a response whose body is over, or wrong."""
        if writer.overflowed:
            self._finish(writer)
            raise ApplicationError("Response body is longer than its Content-Length; it was cut")
        if writer.missing:
            missing = writer.missing
            self.abort()
            raise ApplicationError(
                f"Response body is {missing} bytes shorter than its Content-Length"
            )
        if not writer.trailers:
            self._finish(writer)

    def _finish(self, writer: ResponseWriter) -> None:
        """Go on after a complete response."""
        self._sending = _IDLE
        self._cycle = None
        if self._is_admitted:
            self._leave_admission()
        if self._context.log_access is not None:
            self._log_access(writer.status)
        if self._timeouts.http_timeout is not None:
            self._deadlines.cancel("request")
        if self._wire.state is not OPEN:
            return
        if self._reading is _COMPLETE:
            if not writer.close:
                self._next_request()
            elif self._input or self._eof:
                self._end_unread()
            else:
                self._wire.close()
        elif writer.close:
            self._end_unread()
        else:
            self._discarded = 0
            self._reading = _DISCARD
            self._update_reading()

    def _end_unread(self) -> None:
        """Close while there is input that nobody reads."""
        self._input.clear()
        if self._eof:
            self._wire.close()
        else:
            self._wire.linger()

    def _next_request(self) -> None:
        """Make ready for another head; read on if it may be there."""
        self._reading = _HEAD
        if self._reading_is_paused:
            self._update_reading()
        if not self._advancing:
            if self._input:
                self._context.call_soon(self._advance)
            else:
                self._wait_for_head()

    # Faults and the end.

    def _reject(self, error: PeerError) -> None:
        """Answer a request that cannot be served, as far as it can be answered, then close."""
        if self._sending is _SENDING:
            self._give_up()
        elif self._reading is _DISCARD:
            self._wire.linger()
        else:
            self._deadlines.cancel_all()
            self._leave_cycle()
            if self._reading is _HEAD:
                self._reading = _DISCARD  # the connection is not used again
            self.refuse(error.status, error.reason if error.status == 503 else "")

    def _leave_cycle(self) -> None:
        """Tell the cycle, once, that its exchange has ended early."""
        cycle, self._cycle = self._cycle, None
        if cycle is not None:
            cycle.disconnected()

    def _leave_exchange(self) -> None:
        """End an exchange whose response will never be complete."""
        if self._sending is not _IDLE:
            self._sending = _IDLE
            self._log_access(self._writer.status if self._writer else _CLIENT_LEFT)
        if self._is_admitted:
            self._leave_admission()
        self._leave_cycle()

    def _leave_admission(self) -> None:
        self._is_admitted = False
        if self._context.admission is not None:
            self._context.admission.leave()

    def _give_up(self) -> None:
        """Reset the connection of a client that left, or does not read."""
        self._wire.abort()
        self._leave_exchange()

    def _head_timed_out(self) -> None:
        """Close; a client that began a request is told why (RFC 9110, section 15.5.9)."""
        if self._input.is_idle:
            self._wire.close()
        else:
            self._request = _UNREADABLE
            self._began = self._context.clock.now()
            self._writer = None
            self._reject(PeerError(408, "header_timeout"))

    def _keep_alive_timed_out(self) -> None:
        """Close a connection that has been idle for so long; look again later at another."""
        timeout = self._timeouts.keep_alive_timeout
        if timeout is None:
            return
        left = timeout
        if self._reading is _HEAD and self._input.is_idle:
            left -= self._context.clock.now() - self._idle_since
        if left > 0:
            self._deadlines.start("keep-alive", left, self._keep_alive_timed_out)
        else:
            self._wire.close()

    def _body_timed_out(self) -> None:
        self._reject(PeerError(408, "body_timeout"))

    def _request_timed_out(self) -> None:
        """Answer for an application that did not, within http_timeout."""
        if self._sending is _SENDING:
            self._give_up()
        else:
            self._leave_cycle()
            self.refuse(503, "Application failed to respond within time limit.")

    def _log_access(self, status: int) -> None:
        log = self._context.log_access
        if log is not None:
            request = self._request
            log(
                AccessRecord(
                    client=self._context.client,
                    method=request.method,
                    target=request.target,
                    http_version=request.http_version,
                    status=status,
                    size=self._writer.size if self._writer else 0,
                    duration=self._context.clock.now() - self._began,
                )
            )
