"""HTTP/1.1 that a client can leave for WebSocket (RFC 9110, section 7.8)."""

from __future__ import annotations

from typing import ClassVar, cast

from ..interfaces import HTTPCycle
from ..types import Headers
from .http11 import HTTP11
from .http11_exchange import HTTP11Exchange
from .websocket import WebSocket
from .websocket_handshake import (
    Handshake,
    Offer,
    accept_fields,
    accept_head,
    choose_extensions,
    read_offer,
)


class UpgradableHTTP11(HTTP11):
    """One connection that speaks HTTP/1.1 until an application accepts a WebSocket."""

    make_websocket: ClassVar[type[WebSocket]] = WebSocket

    def _create_cycle(self, exchange: HTTP11Exchange) -> HTTPCycle:
        request = exchange.request
        if not request.wants_websocket:
            return self._context.create_cycle(request, exchange)
        offer = read_offer(request)
        timeout = self._context.config.websocket.websocket_connect_timeout
        self._deadlines.start("connect", timeout, self._connect_timed_out)
        handshake = Handshake(offer, exchange, self._open_websocket, self._denied)
        cycle = self._context.create_websocket_cycle(request, handshake)
        exchange.record(0, "connecting")
        # Until it is accepted it differs in nothing but the body, and a handshake has none.
        return cast(HTTPCycle, cycle)

    def _denied(self) -> None:
        self._deadlines.cancel("connect")

    def _connect_timed_out(self) -> None:
        """Answer for an application that did not, within websocket_connect_timeout."""
        exchange = self._exchange
        if exchange is not None and exchange.cycle is not None:
            exchange.leave_cycle()
            exchange.refuse(403, "Access denied")

    def _open_websocket(self, offer: Offer, subprotocol: str | None, headers: Headers) -> WebSocket:
        """Accept a handshake, and hand the connection over.

        Raises ApplicationError for what cannot be sent, and then nothing was.
        """
        exchange, context = self._exchange, self._context
        assert exchange is not None
        cycle = exchange.cycle
        assert cycle is not None
        answer, deflate = choose_extensions(offer, context.config.websocket)
        fields = accept_fields(offer, subprotocol, answer, exchange.name_request(headers))
        head = accept_head(offer, fields, context.default_headers.block())
        self._deadlines.cancel_all()
        self._wire.write(head)
        exchange.switch(101)
        self._exchange = None
        websocket = self.make_websocket(
            exchange.request,
            context,
            self._transport,
            self._deadlines,
            self._wire,
            cycle,  # type: ignore[arg-type]  # see _create_cycle
            deflate,
            self._input.take(),
        )
        context.switch_protocol(websocket)
        if self._eof:
            context.call_soon(websocket.eof_received)
        if self._draining:
            context.call_soon(websocket.end_streams)
        if self._reading_is_paused:
            self._transport.resume_reading()
        return websocket
