"""HTTP/1.1 and HTTP/1.0 on one connection (RFC 9112).

Theory of operation. A connection serves one exchange after another; nothing of the next request is
looked at before the response to this one is complete, so answers are in order and pipelined input
is bounded. Two machines say where an exchange stands:

    Reading   HEAD ──> BODY ──> COMPLETE ──> HEAD        the request
                         └────> DISCARD ──> HEAD         answered early: the rest is thrown away
              any ──> LINGER ──> CLOSED                  answered, closing: all is thrown away

    Sending   IDLE ──> AWAITED ──> HELD ──> BODY ──> IDLE    the response; HELD: the head waits

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
import re
from collections.abc import Awaitable
from typing import Final

from ..exceptions import ApplicationError, PeerError
from ..interfaces import (
    AccessRecord,
    ConnectionContext,
    HTTPCycle,
    RequestHead,
    Transport,
)
from ..types import Headers
from .deadlines import Deadlines
from .http11_body import BodyReader, ChunkedBody, LengthBody
from .http11_head import HeadReader
from .responses import ResponseWriter, error_page

# Requests started before other connections get their turn.
_MAX_STARTS: Final = 16
# Bytes. Above it, a body part is written by itself instead of being copied behind the head.
_MAX_JOINED: Final = 65536
# What no head contains, whole or not: a line that ends in a bare LF, a first byte of no method.
_BARE_LF: Final = re.compile(rb"(?<!\r)\n")
_FIRST_BYTE: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]")
_HEAD_END: Final = b"\r\n\r\n"

# Stands in for a request that could not be read, in its answer and in the access log.
_UNREADABLE: Final = RequestHead("-", b"-", b"", b"", "1.1", [], keep_alive=False)
# nginx's status for a client that left before it was answered; only ever seen in the access log.
_CLIENT_LEFT: Final = 499


class Reading(enum.Enum):
    """What the bytes that come next are."""

    HEAD = enum.auto()
    BODY = enum.auto()
    COMPLETE = enum.auto()
    DISCARD = enum.auto()
    LINGER = enum.auto()
    CLOSED = enum.auto()


class Sending(enum.Enum):
    """How far the response to the current request is."""

    IDLE = enum.auto()
    AWAITED = enum.auto()
    HELD = enum.auto()
    BODY = enum.auto()


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
        # Input: what has come and is not used, from an offset on.
        self._buffer = b""
        self._offset = 0
        self._scanned = 0  # up to here the buffer holds no end of a head
        self._blank_line = False  # one before the request line was passed over
        self._head_reader = HeadReader(self._limits.max_header_count)
        self._eof = False
        self._reading = Reading.HEAD
        self._reading_paused_by_application = False
        self._reading_paused = False
        # The exchange.
        self._request = _UNREADABLE
        self._body: BodyReader = LengthBody(0)
        self._cycle: HTTPCycle | None = None
        self._discarded = 0
        self._began = 0.0
        # Output.
        self._sending = Sending.IDLE
        self._writer: ResponseWriter | None = None
        self._continue_due = False
        self._sent = 0
        self._output: list[bytes] = []
        self._output_size = 0
        self._sending_paused = False
        self._last_backlog = 0
        # The connection.
        self._advancing = False
        self._draining = False
        deadlines.start("head", self._timeouts.header_timeout, self._head_timed_out)

    # What happened to the transport.

    def data_received(self, data: bytes) -> None:
        """Take bytes of the client."""
        reading = self._reading
        if reading is Reading.LINGER:
            self._discard(len(data))
        elif reading is not Reading.CLOSED:
            if self._offset < len(self._buffer):
                self._buffer = self._buffer[self._offset :] + data
                self._scanned -= self._offset
            else:
                self._buffer = data
                self._scanned = 0
            self._offset = 0
            if reading is Reading.COMPLETE:
                self._update_reading()
            else:
                self._advance()

    def eof_received(self) -> None:
        """Take note that the client sends no more."""
        self._eof = True
        if self._reading is Reading.COMPLETE:
            # A half-close looks like a closed tab. A client that shuts its side down and waits for
            # the answer gets some time; one that leaves in the middle of an answer has left.
            timeout = self._timeouts.half_close_timeout
            if self._transport.is_tls:
                self._give_up()
            elif self._sending is not Sending.BODY:
                self._deadlines.start("half-close", timeout, self._give_up)
            elif timeout is not None:
                self._give_up()
        elif self._reading is Reading.BODY:
            self._give_up()
        elif self._reading is Reading.HEAD:
            self._advance()
        else:
            self._close()

    def connection_lost(self) -> None:
        """Take note that the connection has ended."""
        self._reading = Reading.CLOSED
        self._buffer = b""
        self._output.clear()
        if self._sending is not Sending.IDLE:
            self._log_access(self._writer.status if self._writer else _CLIENT_LEFT)
            self._sending = Sending.IDLE
        self._leave_cycle()

    def pause_sending(self) -> None:
        """Take note that the client does not read as fast as is written."""
        self._sending_paused = True
        if self._cycle is not None:
            self._cycle.pause_sending()
        self._watch_progress()

    def resume_sending(self) -> None:
        """Take note that the client has read on."""
        self._sending_paused = False
        if self._reading is not Reading.CLOSED:
            self._deadlines.cancel("write")
        if self._cycle is not None:
            self._cycle.resume_sending()
        if self._reading is Reading.HEAD and self._offset < len(self._buffer):
            self._context.call_soon(self._advance)

    def drain(self) -> None:
        """Finish the exchange that is under way, then close; close at once when there is none."""
        self._draining = True
        if self._reading is Reading.HEAD and self._offset == len(self._buffer):
            self._close()

    # What the application says (HTTPStream).

    def send_informational(self, status: int, headers: Headers) -> None:
        """Send a 1xx response; 100 tells the client to go on with the body."""
        writer = ResponseWriter(
            self._request, status, headers, False, self._context.default_headers
        )
        self._continue_due = self._continue_due and status != 100
        self._write(writer.informational())

    def start_response(self, status: int, headers: Headers, trailers: bool) -> None:
        """Hold the head back for the first body part."""
        self._writer = ResponseWriter(
            self._request, status, headers, trailers, self._context.default_headers
        )
        self._sending = Sending.HELD
        self._deadlines.cancel("half-close")

    def send_body(self, data: bytes, more: bool) -> None:
        """Send a body part; the first takes the head with it."""
        writer = self._begin_body()
        too_long = writer.overflows(len(data))
        self._write(writer.body(data, more))
        self._body_sent(writer, more, too_long)

    async def _send_file(self, descriptor: int, offset: int, count: int, more: bool) -> None:
        writer = self._begin_body()
        too_long = writer.overflows(count)
        before, count, behind = writer.file(count, more)
        self._write(before)
        if count:
            self._flush()
            self._sent += count
            self._watch_progress()
            try:
                await self._transport.send_file(descriptor, offset, count, self._watch_progress)
            finally:
                if self._reading is not Reading.CLOSED:
                    self._deadlines.cancel("write")
        self._write(behind)
        self._body_sent(writer, more, too_long)

    def send_file(self, descriptor: int, offset: int, count: int, more: bool) -> Awaitable[None]:
        """Send a part of a file as body."""
        return self._send_file(descriptor, offset, count, more)

    def send_trailers(self, headers: Headers, more: bool) -> None:
        """Send trailer fields (RFC 9112, section 7.1.2)."""
        assert self._writer is not None
        self._write(self._writer.trailer_section(headers, more))
        if not more:
            self._finish()

    def refuse(self, status: int, text: str) -> None:
        """Answer with the server's own page, then close: something went wrong here."""
        headers, body = error_page(status, text)
        self.start_response(status, [*headers, (b"Connection", b"close")], False)
        self.send_body(body, False)

    def abort(self) -> None:
        """Reset the connection."""
        self._sending = Sending.IDLE
        self._log_access(self._writer.status if self._writer else _CLIENT_LEFT)
        self._cycle = None
        self._reading = Reading.CLOSED
        self._transport.abort()

    def pause_reading(self) -> None:
        """Read no more of the body until the application has taken what there is."""
        self._reading_paused_by_application = True
        self._deadlines.cancel("body")
        self._update_reading()

    def resume_reading(self) -> None:
        """Read the body on."""
        self._reading_paused_by_application = False
        if self._reading is Reading.BODY:
            self._deadlines.start("body", self._timeouts.body_timeout, self._body_timed_out)
        self._update_reading()

    # The request.

    def _advance(self) -> None:
        """Serve what is in the buffer, as far as it goes."""
        if self._advancing or self._reading is Reading.CLOSED:
            return
        self._advancing = True
        starts = 0
        try:
            while True:
                if self._reading is Reading.HEAD:
                    if self._sending_paused:
                        break
                    if starts == _MAX_STARTS:
                        self._context.call_soon(self._advance)
                        break
                    starts += 1
                    if not self._read_head():
                        break
                if self._reading is Reading.BODY:
                    self._read_body()
                elif self._reading is Reading.DISCARD:
                    self._discard_body()
                if self._sending is Sending.IDLE and self._cycle is not None:
                    self._sending = Sending.AWAITED
                    self._cycle.start()
                if self._reading is not Reading.HEAD:
                    break
        finally:
            self._advancing = False
            self._flush()

    def _read_head(self) -> bool:
        """Read one head from the buffer; false when it is not all there, or was refused."""
        try:
            head = self._cut_head()
            if head is None:
                return False
            self._request = request = self._head_reader.read(head)
            self._deadlines.cancel("head")
            self._deadlines.cancel("keep-alive")
            self._start_exchange(request)
        except PeerError as error:
            self._reject(error)
            return False
        return True

    def _cut_head(self) -> bytes | None:
        """Take one head out of the buffer, within its limits; None when it is not all there."""
        buffer, offset = self._buffer, self._offset
        if buffer.startswith(b"\r\n", offset):
            # RFC 9112, section 2.2: one is passed over, for clients that send it after a body.
            if self._blank_line:
                raise PeerError(400, "blank lines before the request line")
            self._blank_line = True
            offset = self._offset = offset + 2
        end = buffer.find(_HEAD_END, max(offset, self._scanned - 3))
        line_end = buffer.find(b"\r\n", offset)
        stop = len(buffer) if end < 0 else end
        if (stop if line_end < 0 else line_end) - offset > self._limits.max_request_line:
            raise PeerError(414, "request line over max_request_line")
        if line_end >= 0 and stop - line_end > self._limits.max_header_size:
            raise PeerError(431, "header over max_header_size")
        if end >= 0:
            self._offset = end + 4
            self._blank_line = False
            return buffer[offset : end + 4]
        self._wait_for_head(buffer, offset)
        return None

    def _wait_for_head(self, buffer: bytes, offset: int) -> None:
        """Refuse what cannot become a head, then wait for the rest or for the next request."""
        size = len(buffer) - offset
        if size and buffer[offset] != 0x0D and _FIRST_BYTE.match(buffer, offset) is None:
            raise PeerError(400, "not a request")
        if _BARE_LF.search(buffer, max(offset, self._scanned - 1)) is not None:
            raise PeerError(400, "line ends in a bare LF")
        self._scanned = len(buffer)
        if self._eof or (self._draining and not size):
            self._close()
        elif size or self._blank_line:
            # Once for the whole head: a client that sends a byte at a time gains nothing.
            if "head" not in self._deadlines.names():
                self._deadlines.cancel("keep-alive")
                self._deadlines.start("head", self._timeouts.header_timeout, self._head_timed_out)
        elif self._request is not _UNREADABLE:
            self._deadlines.start("keep-alive", self._timeouts.keep_alive_timeout, self._close)

    def _start_exchange(self, request: RequestHead) -> None:
        """Make ready for the body of a request and for its response."""
        limits = self._limits
        self._sent = 0
        self._writer = None
        if (
            limits.max_body_size is not None
            and (request.content_length or 0) > limits.max_body_size
        ):
            raise PeerError(413, "Content-Length over max_body_size")
        if not self._context.admit():
            raise PeerError(503, "limit_concurrency reached")
        if request.has_body:
            self._reading = Reading.BODY
            self._continue_due = request.expect_continue
            self._body = (
                ChunkedBody(self._head_reader, limits.max_body_size, limits.max_header_size)
                if request.chunked
                else LengthBody(request.content_length or 0)
            )
            self._deadlines.start("body", self._timeouts.body_timeout, self._body_timed_out)
        else:
            self._reading = Reading.COMPLETE
        if self._context.log_access is not None:
            self._began = self._context.clock.now()
        self._cycle = self._context.create_cycle(request, self)
        if self._timeouts.http_timeout is not None:
            self._deadlines.start("request", self._timeouts.http_timeout, self._request_timed_out)

    def _read_body(self) -> None:
        """Hand the application what there is of the body."""
        try:
            data, self._offset = self._body.read(self._buffer, self._offset)
        except PeerError as error:
            self._fail_request(error)
            return
        complete = self._body.complete
        assert self._cycle is not None
        if data:
            self._continue_due = False  # the client did not wait for it
        if complete:
            self._continue_due = False
            self._reading = Reading.COMPLETE
            self._deadlines.cancel("body")
            self._update_reading()
        elif data:
            self._deadlines.start("body", self._timeouts.body_timeout, self._body_timed_out)
        if data or complete:
            self._cycle.body_received(data, not complete)

    def _discard_body(self) -> None:
        """Throw away the rest of a body whose request was answered."""
        before = self._offset
        try:
            _, self._offset = self._body.read(self._buffer, self._offset)
        except PeerError:
            self._linger()
            return
        self._discarded += self._offset - before
        if self._body.complete:
            self._deadlines.cancel("body")
            self._next_request()
        elif self._discarded > self._limits.max_discard_size:
            self._linger()

    def _update_reading(self) -> None:
        """Pause or resume the transport by what the application and the buffer ask for."""
        pause = (self._reading is Reading.BODY and self._reading_paused_by_application) or (
            self._reading is Reading.COMPLETE
            and len(self._buffer) - self._offset > self._limits.max_pipelined_size
        )
        if pause is not self._reading_paused:
            self._reading_paused = pause
            if pause:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    # The response.

    def _begin_body(self) -> ResponseWriter:
        """Return the writer of the current response; decide what becomes of the connection."""
        writer = self._writer
        assert writer is not None
        if self._sending is Sending.HELD:
            self._sending = Sending.BODY
            writer.close = writer.close or self._draining or not self._can_read_on()
        return writer

    def _can_read_on(self) -> bool:
        """Say whether the next request can be found on this connection after this response."""
        if self._reading is not Reading.BODY:
            return self._reading is not Reading.LINGER
        # A client that was not told to go on may send the body or the next request: nobody knows.
        remaining = self._body.remaining
        return (
            not self._continue_due
            and remaining is not None
            and remaining <= self._limits.max_discard_size
        )

    def _body_sent(self, writer: ResponseWriter, more: bool, too_long: bool) -> None:
        """End the response when it is complete, or when it is wrong."""
        if too_long:
            self._finish()
            raise ApplicationError("Response body is longer than its Content-Length; it was cut")
        if not more:
            if writer.missing:
                self.abort()
                raise ApplicationError(
                    f"Response body is {writer.missing} bytes shorter than its Content-Length"
                )
            if not writer.trailers:
                self._finish()

    def _finish(self) -> None:
        """Go on after a complete response."""
        writer = self._writer
        assert writer is not None
        self._sending = Sending.IDLE
        self._cycle = None
        self._log_access(writer.status)
        if self._timeouts.http_timeout is not None:
            self._deadlines.cancel("request")
        if self._reading is Reading.BODY:
            self._discarded = 0
            self._reading = Reading.DISCARD
            self._update_reading()
        if writer.close:
            if self._reading is Reading.COMPLETE and self._offset == len(self._buffer):
                self._flush()
                self._close()
            else:
                self._linger()
        elif self._reading is Reading.COMPLETE:
            self._next_request()

    def _next_request(self) -> None:
        """Make ready for another head; read on if it may be there."""
        self._reading = Reading.HEAD
        self._scanned = self._offset
        self._reading_paused_by_application = False
        self._update_reading()
        if not self._advancing:
            if self._offset < len(self._buffer):
                self._context.call_soon(self._advance)
            else:
                self._wait_for_head(self._buffer, self._offset)

    def _write(self, data: bytes) -> None:
        """Send, or keep until the read is done."""
        self._sent += len(data)
        if not self._advancing:
            self._transport.write(data)
        else:
            self._output.append(data)
            self._output_size += len(data)
            if self._output_size > _MAX_JOINED:
                self._flush()

    def _flush(self) -> None:
        """Send what was kept, in one write unless it is large."""
        output = self._output
        if output:
            if len(output) == 1:
                self._transport.write(output[0])
            else:
                self._transport.write(b"".join(output))
            output.clear()
            self._output_size = 0

    # Faults and the end.

    def _reject(self, error: PeerError) -> None:
        """Answer a request that cannot be served, then close; the application is not called."""
        self._deadlines.cancel("head")
        self._deadlines.cancel("keep-alive")
        if self._reading is Reading.HEAD and error.status not in (413, 503):
            self._request = _UNREADABLE
            self._began = self._context.clock.now()
        self._leave_cycle()
        self._reading = Reading.LINGER
        self.refuse(error.status, error.reason if error.status == 503 else "")

    def _fail_request(self, error: PeerError) -> None:
        """End a request whose body went wrong."""
        if self._sending is Sending.BODY:
            self._leave_cycle()
            self.abort()
        else:
            self._reject(error)

    def _leave_cycle(self) -> None:
        """Tell the cycle, once, that its exchange has ended early."""
        cycle, self._cycle = self._cycle, None
        if cycle is not None:
            cycle.disconnected()

    def _give_up(self) -> None:
        """End the connection of a client that left."""
        self._leave_cycle()
        self.abort()

    def _head_timed_out(self) -> None:
        """Close; a client that began a request is told why (RFC 9110, section 15.5.9)."""
        if self._offset < len(self._buffer):
            self._reject(PeerError(408, "header_timeout"))
        else:
            self._close()

    def _body_timed_out(self) -> None:
        if self._reading is Reading.BODY:
            self._fail_request(PeerError(408, "body_timeout"))
        else:
            self._linger()

    def _request_timed_out(self) -> None:
        """Answer for an application that did not, within http_timeout."""
        if self._sending is Sending.BODY:
            self._leave_cycle()
            self.abort()
        else:
            self._leave_cycle()
            self.refuse(503, "Application failed to respond within time limit.")

    def _watch_progress(self) -> None:
        """Reset the connection when nothing is taken by the client for write_timeout."""
        self._last_backlog = self._transport.write_buffer_size
        self._deadlines.start("write", self._timeouts.write_timeout, self._check_progress)

    def _check_progress(self) -> None:
        if self._transport.write_buffer_size < self._last_backlog:
            self._watch_progress()
        elif self._sending is Sending.IDLE:
            self._transport.abort()
        else:
            self._give_up()

    def _discard(self, size: int) -> None:
        self._discarded += size
        if self._discarded > self._limits.max_discard_size:
            self._close()

    def _linger(self) -> None:
        """Close in a way that lets the answer arrive.

        Closing with unread input would send a reset, and the client might lose what it was told
        (RFC 9112, section 9.6). So the write side is closed first, and input is thrown away up to a
        limit and for a time.
        """
        self._flush()
        self._reading = Reading.LINGER
        self._buffer = b""
        self._offset = 0
        self._discarded = 0
        self._update_reading()
        if self._eof or self._transport.is_tls:
            self._close()
            return
        self._transport.write_eof()
        self._deadlines.start("linger", self._timeouts.linger_timeout, self._close)

    def _close(self) -> None:
        """Send what is left and close, however slowly the client reads."""
        if self._reading is Reading.CLOSED:
            return
        self._flush()
        self._reading = Reading.CLOSED
        self._deadlines.cancel_all()
        self._transport.close()
        self._watch_progress()

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
                    size=self._sent,
                    duration=self._context.clock.now() - self._began,
                )
            )
