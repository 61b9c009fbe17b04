"""A raw client of HTTP/2 that blocks: it says what it is told to, legal or not.

    with SocketClient.connect(address) as client:
        answer = client.request(b"GET", b"/")
        client.send(frame(Kind.PING, stream=1))
        assert client.read_to_end() == GoAway(answer.number, Code.PROTOCOL_ERROR)

What comes back is read by a `Conversation`, which complains of anything that no server may say.
`Client` works over any channel, one in memory too; `SocketClient` adds what takes a socket.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
from collections.abc import Callable, Iterable, Mapping

import hpack

from tests.compliance import TIMEOUT, Channel, SocketChannel

from .http2_conversation import Answer, Conversation, GoAway
from .http2_frames import (
    PREFACE,
    Field,
    Setting,
    data_frame,
    headers_frame,
    literal,
    ping_frame,
    request_fields,
    settings_frame,
    window_frame,
)

# On, for zero seconds: close() then sends a reset.
_RESET = struct.pack("ii", 1, 0)
_KIB = 1024


class Client:
    """A client that blocks, over any channel. It says its preface and SETTINGS at once.

    ``settings`` are its own; without ``greet`` nothing is said. Each wait ends with what is waited
    for, with EOFError when the server closes first, or with AssertionError after a while.
    """

    def __init__(
        self,
        channel: Channel,
        *,
        settings: Mapping[int, int] | None = None,
        credit: bool = True,
        greet: bool = True,
    ) -> None:
        self.conversation = Conversation(credit=credit)
        self.closed = False
        self._channel = channel
        self._encoder = hpack.Encoder()
        self._next = 1
        self._pings = 0
        if greet:
            self.greet(settings or {})

    def greet(self, settings: Mapping[int, int]) -> None:
        """Send the preface and SETTINGS."""
        self.conversation.propose(settings)
        self.send(PREFACE + settings_frame(settings))

    @property
    def goaway(self) -> GoAway | None:
        """Return what the server said of its end last."""
        return self.conversation.goaways[-1] if self.conversation.goaways else None

    def send(self, data: bytes) -> None:
        """Send bytes as they are. A server that has closed already is no error."""
        self._channel.send(data)

    # Waiting.

    def receive(self) -> None:
        """Take what comes next, and answer it. Raises EOFError once the server has closed."""
        try:
            data = self._channel.receive()
        except TimeoutError:
            heard = ", ".join(map(str, self.conversation.log[-8:]))
            raise AssertionError(f"The server is silent, after {heard or 'nothing'}") from None
        if not data:
            self.closed = True
            raise EOFError(f"closed, with {self.goaway}")
        if reply := self.conversation.receive(data):
            self.send(reply)

    def read_until(self, condition: Callable[[], object]) -> None:
        """Return as soon as the condition holds."""
        while not condition():
            self.receive()

    def read_to_end(self) -> GoAway | None:
        """Read until the server has closed; return what it said of it."""
        try:
            while True:
                self.receive()
        except EOFError:
            return self.goaway

    def settle(self) -> None:
        """Return when the server has taken all that was sent, as its answer to a PING shows."""
        self._pings += 1
        payload = self._pings.to_bytes(8)
        self.send(ping_frame(payload))
        self.read_until(lambda: payload in self.conversation.pongs)

    # Requests.

    def take_number(self) -> int:
        """Return the number of the next stream."""
        number = self._next
        self._next += 2
        return number

    def start(
        self,
        method: bytes = b"GET",
        path: bytes = b"/zebra",
        *headers: Field,
        end: bool = True,
        **pseudo: bytes,
    ) -> Answer:
        """Send the head of a request, compressed; return what will come in answer."""
        block = self._encoder.encode(request_fields(method, path, *headers, **pseudo))
        return self.start_with(block, method, end=end)

    def start_with(self, block: bytes, method: bytes = b"GET", *, end: bool = True) -> Answer:
        """Open a stream with a header block as it is; return what will come in answer."""
        answer = self.conversation.begin(self.take_number(), method)
        self.send(headers_frame(answer.number, block, end=end))
        return answer

    def start_literal(self, fields: Iterable[Field], *, end: bool = True) -> Answer:
        """Open a stream with fields of any kind."""
        fields = tuple(fields)
        return self.start_with(literal(fields), dict(fields).get(b":method", b""), end=end)

    def send_body(self, answer: Answer, data: bytes, *, end: bool = True) -> None:
        """Send a body, or a part of one, as the server's windows allow. Stops at a reset."""
        view = memoryview(data)
        limit = self.conversation.server_settings[Setting.MAX_FRAME_SIZE]
        while view:
            self.read_until(
                lambda: answer.reset is not None or min(answer.window, self.conversation.window) > 0
            )
            if answer.reset is not None:
                return
            size = min(limit, answer.window, self.conversation.window, len(view))
            answer.sent += size
            answer.window -= size
            self.conversation.window -= size
            self.send(data_frame(answer.number, bytes(view[:size])))
            view = view[size:]
        if end:
            self.send(data_frame(answer.number, end=True))

    def finish(self, answer: Answer) -> Answer:
        """Wait until an answer has ended, or was reset; return it."""
        self.read_until(lambda: answer.done)
        return answer

    def request(
        self, method: bytes = b"GET", path: bytes = b"/zebra", *headers: Field, body: bytes = b""
    ) -> Answer:
        """Send a request, and return its whole answer."""
        self.read_until(lambda: self.conversation.has_settings)
        answer = self.start(method, path, *headers, end=not body)
        if body:
            self.send_body(answer, body)
        return self.finish(answer)

    def grant(self, stream: int, increment: int) -> None:
        """Let the server send more, on a stream or, with 0, on all."""
        self.conversation.grant(stream, increment)
        self.send(window_frame(stream, increment))

    def change(self, settings: Mapping[int, int], *, wait: bool = True) -> None:
        """Send SETTINGS, and wait for the acknowledgement."""
        count = self.conversation.acknowledged + len(self.conversation.proposals) + 1
        self.conversation.propose(settings)
        self.send(settings_frame(settings))
        if wait:
            self.read_until(lambda: self.conversation.acknowledged >= count)


class SocketClient(Client):
    """A client over a connected socket, plain or with TLS, which it closes at its end."""

    def __init__(
        self,
        sock: socket.socket,
        *,
        settings: Mapping[int, int] | None = None,
        credit: bool = True,
        greet: bool = True,
    ) -> None:
        self.sock = sock
        sock.settimeout(TIMEOUT)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().__init__(SocketChannel(sock), settings=settings, credit=credit, greet=greet)

    @classmethod
    def connect(
        cls,
        address: tuple[str, int],
        *,
        settings: Mapping[int, int] | None = None,
        credit: bool = True,
        greet: bool = True,
        buffer: int | None = None,
    ) -> SocketClient:
        """Return a client of the server at an address; ``buffer`` bytes are read ahead."""
        sock = socket.socket()
        try:
            if buffer is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
            sock.settimeout(TIMEOUT)
            sock.connect(address)
            return cls(sock, settings=settings, credit=credit, greet=greet)
        except BaseException:
            sock.close()
            raise

    def __enter__(self) -> SocketClient:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.sock.close()

    def reset(self) -> None:
        """Leave with a TCP reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.sock.close()

    def flood(self, pieces: Iterable[bytes]) -> None:
        """Send pieces over a plain socket, reading meanwhile, until the server says GOAWAY.

        The end of the pieces is no error: what the server thinks of them may still be to come.
        """
        both, timeout = [self.sock], self.sock.gettimeout()
        with contextlib.suppress(EOFError, ConnectionError):
            for piece in pieces:
                view = memoryview(piece)
                while view:
                    readable, writable, _ = select.select(both, both, [], timeout)
                    assert readable or writable, "The server neither reads nor says anything"
                    if readable:
                        self.receive()
                    if self.goaway is not None:
                        return
                    if writable:
                        size = self.sock.send(view[: 64 * _KIB], socket.MSG_DONTWAIT)
                        view = view[size:]

    def push(self, pieces: Iterable[bytes]) -> None:
        """Send pieces without reading anything, until the server has enough. Raises TimeoutError.

        It is an error when all of them are taken.
        """
        try:
            for piece in pieces:
                self.sock.sendall(piece)
        except ConnectionError:
            self.closed = True
            return
        raise AssertionError("The server takes everything")
