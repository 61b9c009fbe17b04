"""What must be seen on the wire: the words that cases are made of, and the player of one case.

A case is one conversation. Behind every bad request comes a complete one for ``/smuggled``, which
nobody may ever answer. Unless a case says otherwise the application reads the whole body and
answers 200 with the text ``METHOD PATH LENGTH``.
"""

from __future__ import annotations

import contextlib
import socket
import string
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

import h11

Message = dict[str, Any]
T = TypeVar("T", bound="Named")
C = TypeVar("C", bound=type[Any])


class Named(Protocol):
    """What one test is made of."""

    @property
    def name(self) -> str:
        """Return what tells it from the others."""

    @property
    def reason(self) -> str:
        """Return what asks for the outcome: a section of a standard, for example."""


def over(cases: Iterable[T], sent: Callable[[T], object]) -> Callable[[C], C]:
    """Return a class decorator that adds a test method for each case, for ``judge`` to judge.

    ``sent`` returns what the client of a case sends, for its docstring.
    """

    def fill(cls: C) -> C:
        for case in cases:

            def test(self: Any, case: T = case) -> None:
                self.judge(case)

            test.__name__ = f"test_{case.name}"
            test.__qualname__ = f"{cls.__qualname__}.{test.__name__}"
            test.__doc__ = f"The client sends {sent(case)} ({case.reason})."
            setattr(cls, test.__name__, test)
        return cls

    return fill


Headers = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, kw_only=True)
class Case:
    """Say what a client sends, and everything that may be seen of the server.

    ``wire`` is sent first, ``rest`` as soon as 100 has come where that is expected, else the head
    of the first answer. ``responses`` are the statuses in order, 100 included; when ``wire`` begins
    with HEAD the first final one is read as its answer. ``closes`` says whether the server closes
    after them (None: it may); ``calls`` how often the application is called (None: once or not at
    all, as the bytes happen to be cut, but it never sees the end of a body). ``bodies``, where
    given, are those of the final responses. ``scope`` holds some values of the last scope,
    ``headers`` all of its headers. ``options`` are fields of the server's configuration. ``answer``
    holds the messages that the application sends in place of its text, and ``reads`` says when it
    reads the body. ``cut`` means that the connection is reset within the last response; its head
    may be lost, too. A ``whole`` case only holds when ``wire`` comes in one piece.
    """

    name: str
    wire: bytes
    reason: str
    responses: tuple[int, ...] = (400,)
    closes: bool | None = True
    calls: int | None = 0
    rest: bytes = b""
    bodies: tuple[bytes, ...] = ()
    scope: Mapping[str, object] = field(default_factory=dict)
    headers: Headers | None = None
    options: Mapping[str, int] = field(default_factory=dict)
    answer: tuple[Message, ...] | None = None
    reads: Literal["first", "last", "never"] = "first"
    cut: bool = False
    whole: bool = False

    def rest_follows(self, status: int) -> bool:
        """Say whether an answer of this status is what ``rest`` waits for."""
        return status == 100 or 100 not in self.responses


GET = b"GET /zebra HTTP/1.1"
GET_10 = b"GET /zebra HTTP/1.0"
POST = b"POST /zebra HTTP/1.1"
POST_10 = b"POST /zebra HTTP/1.0"
HOST = b"Host: zebra.example"
CHUNKED = b"Transfer-Encoding: chunked"
FIVE = b"Content-Length: 5"
ALPHANUMERIC = frozenset((string.ascii_letters + string.digits).encode())


def request(
    *fields: bytes, line: bytes = GET, host: bytes | None = HOST, body: bytes = b""
) -> bytes:
    """Return a request that is legal as long as its arguments are."""
    lines = (line, *fields) if host is None else (line, host, *fields)
    return b"".join(item + b"\r\n" for item in lines) + b"\r\n" + body


SMUGGLED = request(line=b"GET /smuggled HTTP/1.1")


def bad(
    name: str, wire: bytes, reason: str, status: int = 400, *, served: int = 0, **more: Any
) -> Case:
    """Return a case of ``served`` good requests and one refusal, and of ``/smuggled`` behind it."""
    facts: Message = {"responses": (200,) * served + (status,), "calls": served} | more
    return Case(name=name, wire=wire + SMUGGLED, reason=reason, **facts)


def good(name: str, wire: bytes, reason: str, *bodies: bytes, **more: Any) -> Case:
    """Return a case of requests that are served, one for each of ``bodies`` (or one, unjudged)."""
    count = max(1, len(bodies))
    facts: Message = {"responses": (200,) * count, "calls": count, "closes": False}
    return Case(name=name, wire=wire, reason=reason, bodies=bodies, **(facts | more))


def slug(value: bytes) -> str:
    """Return ``value`` as part of a test's name: letters and digits stay, the rest is in hex."""
    parts = (bytes([byte]).decode() if byte in ALPHANUMERIC else f"_{byte:02x}_" for byte in value)
    return "".join(parts).replace("__", "_").strip("_")[:48] or "empty"


def named(prefix: str, values: Iterable[bytes]) -> Iterator[tuple[str, bytes]]:
    """Yield each value behind a name for its case."""
    for value in values:
        yield f"{prefix}_{slug(value)}", value


# How long anything may take before it is given up; nothing waits that long when all is well.
TIMEOUT = 5.0

PROBE_PATH = "/probe"
PROBE = request(line=b"GET /probe HTTP/1.1")
PROBE_TEXT = b"GET /probe 0"


class Channel(Protocol):
    """What carries the bytes of one connection."""

    def send(self, data: bytes) -> None:
        """Send ``data``; a server that has closed already is no error."""

    def receive(self) -> bytes:
        """Return the next bytes, or none once the server has closed. Raises TimeoutError."""


class SocketChannel:
    """A real socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def send(self, data: bytes) -> None:
        """Send ``data`` in one call."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._sock.sendall(data)

    def receive(self) -> bytes:
        """Return what has come. A reset is the end, too: what it destroys is found missing."""
        try:
            return self._sock.recv(65536)
        except ConnectionResetError:
            return b""


@dataclass
class Response:
    """One response as h11 reads it; not ``complete`` when the connection ended inside it."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes = b""
    complete: bool = False


class ResponseReader:
    """Reads responses off a channel, one after another.

    h11 does the reading, so that framing is judged by a parser that shares nothing with the server.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._data = b""

    def read(self, method: str) -> Iterator[Response]:
        """Yield the answers to one request, each when its head has come: 100, then the final one.

        Yields nothing when the server closes first. Raises h11.RemoteProtocolError for anything
        that is no response.
        """
        parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
        parser.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
        parser.send(h11.EndOfMessage())
        response, ended = None, False
        data, self._data = self._data, b""
        if data:
            parser.receive_data(data)
        while True:
            try:
                event = parser.next_event()
            except h11.RemoteProtocolError:
                if ended and (response is not None or not parser.trailing_data[0]):
                    return
                raise
            if event is h11.NEED_DATA:
                data = self._channel.receive()
                ended = not data
                parser.receive_data(data)
            elif isinstance(event, h11.InformationalResponse | h11.Response):
                response = Response(event.status_code, dict(event.headers))
                response.complete = isinstance(event, h11.InformationalResponse)
                yield response
            elif isinstance(event, h11.Data) and response is not None:
                response.body += event.data
            elif isinstance(event, h11.EndOfMessage) and response is not None:
                response.complete = True
                self._data = parser.trailing_data[0]
                return
            else:
                return

    def read_rest(self) -> bytes:
        """Return whatever comes until the server closes."""
        pieces = [self._data]
        while data := self._channel.receive():
            pieces.append(data)
        return b"".join(pieces)


def converse(channel: Channel, case: Case) -> list[Response]:
    """Play ``case`` and return the responses. Raises AssertionError when it ends otherwise."""
    reader = ResponseReader(channel)
    rest = case.rest
    responses: list[Response] = []
    method = "HEAD" if case.wire.startswith(b"HEAD ") else "GET"
    try:
        channel.send(case.wire)
        for _ in range(sum(status >= 200 for status in case.responses)):
            for response in reader.read(method):
                responses.append(response)
                if case.rest_follows(response.status):
                    channel.send(rest)
                    rest = b""
            method = "GET"
        # Another answer than the expected one has its own idea of what comes next.
        if [response.status for response in responses] == [*case.responses]:
            check_end(channel, reader, case.closes)
    except TimeoutError:
        statuses = [response.status for response in responses]
        raise AssertionError(f"The server waits for ever, after {statuses}") from None
    return responses


def check_end(channel: Channel, reader: ResponseReader, closes: bool | None) -> None:
    """Raise AssertionError unless the server closes, or serves one more, as ``closes`` says."""
    if closes:
        surplus = reader.read_rest()
        assert not surplus, f"The server sent more: {surplus[:200]!r}"
        return
    channel.send(PROBE)
    probed = [(response.status, response) for response in reader.read("GET")]
    if closes is None and not probed:
        return
    assert probed, "The server closed the connection"
    status, response = probed[-1]
    assert (status, response.body) == (200, PROBE_TEXT), f"The next answer is {response}"
