"""A connection with counting, in the place of one without when metrics are wanted."""

from __future__ import annotations

from typing import Final

from .connection import Connection, ServerContext
from .interfaces import ConnectionProtocol
from .protocols.counted import CountedHTTP2, CountedHTTP11, CountedWebSocket
from .transports import NativeTransport

_NAMES: Final = {CountedHTTP11: "http1", CountedHTTP2: "http2", CountedWebSocket: "websocket"}


class CountedConnection(Connection):
    """A connection that counts its bytes, and what is spoken on it."""

    http1 = CountedHTTP11

    def __init__(self, context: ServerContext) -> None:
        super().__init__(context)
        assert context.recorder is not None
        self._recorder = context.recorder
        self._spoken: str | None = None
        self._was_reset = False
        self._count_first = self._recorder.count_received(super()._negotiate)

    @staticmethod
    def http2() -> type[CountedHTTP2]:
        """Return what speaks HTTP/2 and counts."""
        return CountedHTTP2

    # Twisted's names (IProtocol).

    def connectionMade(self) -> None:
        self._recorder.connection_accepted()
        self._count_writes()
        super().connectionMade()

    def connectionLost(self, reason: object = None) -> None:
        super().connectionLost(reason)
        self._recorder.connection_spoken(self._spoken, None)
        self._spoken = None
        del self.transport.abort  # or the two would keep each other

    def _count_writes(self) -> None:
        """Stand before the transport. What the kernel sends of files passes by, and is told."""
        transport, recorder = self.transport, self._recorder
        abort = transport.abort

        def counted_abort() -> None:
            if not self._was_reset:
                self._was_reset = True
                recorder.reset("connection")
            abort()

        write = recorder.count_sent(transport.write)
        transport.write = write  # type: ignore[assignment, method-assign]
        transport.abort = counted_abort  # type: ignore[method-assign]
        if isinstance(transport, NativeTransport):
            transport.note_sent = recorder.bytes_sent

    def _negotiate(self, data: bytes) -> None:
        self._count_first(data)

    def _switch_protocol(self, protocol: ConnectionProtocol) -> None:
        super()._switch_protocol(protocol)
        name = _NAMES[type(protocol)]
        self._recorder.connection_spoken(self._spoken, name)
        self._spoken = name
        receive = self._recorder.count_received(protocol.data_received)
        self.dataReceived = receive
