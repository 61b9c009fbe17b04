"""One request and its response, from the wire's side, whatever the version of HTTP.

    READY ──> AWAITED ──> HELD ──> SENDING ──> ENDED

READY is a request whose application was not called yet, for its body may be there already.
HELD is a head that waits for the first body part, so that both leave in one write. An exchange ends
once: when its response is complete, or when it is left because the client went away, broke the
protocol, or let a deadline pass. What the application says to an exchange that has ended cannot
reach the one behind it.
"""

from __future__ import annotations

import enum
from abc import abstractmethod
from typing import Any, Final

from ..exceptions import ApplicationError
from ..interfaces import AccessRecord, ConnectionContext, Event, HTTPCycle, RequestHead
from ..services import Admission
from ..types import Headers
from .responses import Response

# nginx's status for a client that left before it was answered; only ever seen in the access log.
_CLIENT_LEFT: Final = 499


class Sending(enum.Enum):
    """How far the response is."""

    READY = enum.auto()
    AWAITED = enum.auto()
    HELD = enum.auto()
    SENDING = enum.auto()
    ENDED = enum.auto()


# Looked up for every request, and members of an enum are slow to look up.
READY, AWAITED, HELD, SENDING, ENDED = Sending


class Exchange:
    """What every version of HTTP knows of a request: its cycle, its place, its line in the log.

    No ABC: one is made for each request, and the interpreter calls a class with a metaclass the
    long way. For the same reason all attributes are set in ``__init__``, here and below.
    """

    _response: Response[Any] | None

    def __init__(self, request: RequestHead, context: ConnectionContext) -> None:
        self.request = request
        self.cycle: HTTPCycle | None = None
        self.state = READY
        self._response = None
        self._context = context
        self._is_admitted = self._is_accounted = False
        self._began = 0.0 if context.log_access is None else context.clock.now()

    @property
    def status(self) -> int | None:
        """Return the status of the response, None while there is none."""
        return None if self._response is None else self._response.status

    @property
    def size(self) -> int:
        """Return the bytes of body that were taken of the application."""
        return 0 if self._response is None else self._response.size

    def enter(self, admission: Admission) -> bool:
        """Count this request among those that run; false when there is no room for it."""
        self._is_admitted = admission.enter()
        return self._is_admitted

    def switch(self, status: int) -> None:
        """End an exchange that goes on with another protocol."""
        self.state = ENDED
        self.cycle = None
        self._account(status, "connected")

    @abstractmethod
    def abort(self) -> None:
        """End the exchange so that the client sees it was cut (``HTTPStream``)."""

    def name_request(self, headers: Headers) -> Headers:
        """Return the fields of a response with the request's id, unless they have one."""
        name = self._context.id_header
        if name is None:
            return headers
        fields = list(headers)
        lowered = name.lower()
        if any(_is_named(field, lowered) for field in fields):
            return fields
        request_id = self._context.trace(self.request)["request_id"]
        # A list and no tuple: what comes once is not worth remembering.
        fields.append([name, request_id.encode("ascii")])  # type: ignore[arg-type]
        return fields

    def leave_cycle(self) -> None:
        """Tell the cycle, once, that its exchange has ended early."""
        cycle, self.cycle = self.cycle, None
        if cycle is not None:
            cycle.disconnected()

    def leave(self) -> None:
        """End an exchange whose response will never be complete."""
        if self.state is not ENDED:
            self.state = ENDED
            self._account(self.status or _CLIENT_LEFT)
        self.leave_cycle()

    def end_stream(self) -> None:
        """Ask for the end of a response that does not say how long it is."""
        response = self._response
        is_stream = self.state is SENDING and response is not None and response.is_endless
        if is_stream and self.cycle is not None:
            self.cycle.stopping()

    def end(self, status: int) -> None:
        """Take note of a complete response."""
        self.state = ENDED
        self.cycle = None
        if self._is_admitted or self._context.log_access is not None:
            self._account(status)

    def _judge(self, response: Response[Any], more: bool) -> None:
        """Raise ApplicationError for a body that is over and not what was promised."""
        if response.overflowed:
            raise ApplicationError("Response body is longer than its Content-Length; it was cut")
        if response.missing and not more:
            self.abort()
            raise ApplicationError(
                f"Response body is {response.missing} bytes shorter than its Content-Length"
            )

    def _account(self, status: int, event: Event | None = None) -> None:
        """Make room for another request, and write the access log, once."""
        if self._is_accounted:
            return
        self._is_accounted = True
        if self._is_admitted and self._context.admission is not None:
            self._context.admission.leave()
        self.record(status, event)

    def record(self, status: int, event: Event | None = None) -> None:
        """Write the access log."""
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
                    size=self.size,
                    duration=context.clock.now() - self._began,
                    headers=request.headers,
                    event=event or ("rejected" if request.wants_websocket else "complete"),
                    trace=context.trace(request),
                )
            )


def _is_named(field: Any, name: bytes) -> bool:
    """Tell whether a field of the application's has this name, in any letter case."""
    try:
        return bool(field[0].lower() == name)
    except (AttributeError, LookupError, TypeError):  # whoever sends it says what is wrong
        return False
