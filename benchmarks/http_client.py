"""What clients of HTTP/1.1 need to check answers on connections kept alive, and one client.

Answers say their length. What comes is compared with the one body that is right.
"""

from __future__ import annotations

from websocket_client import Connection, WrongAnswer

OK = b"HTTP/1.1 200 "
BLANK = b"\r\n\r\n"
# The longest head of an answer.
HEAD_SIZE = 8192


def make_request(port: int) -> bytes:
    """Return a request for a port of 127.0.0.1."""
    return b"GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % port


def is_whole(data: bytes, body: bytes) -> bool:
    """Return whether `data` is an answer with this body, or only the beginning of one.

    Raises WrongAnswer for anything else.
    """
    head, blank, found = data.partition(BLANK)
    if not OK.startswith(head[: len(OK)]) or len(head) > HEAD_SIZE:
        raise WrongAnswer(f"answered with {head[:40]!r}")
    if not blank:
        return False
    fields = head.lower().split(b"\r\n")[1:]
    if b"connection: close" in fields:
        raise WrongAnswer("the connection was not kept alive")
    if b"content-length: %d" % len(body) not in fields:
        raise WrongAnswer(f"the answer does not say that it has {len(body)} bytes")
    if not body.startswith(found):
        raise WrongAnswer(f"body {found[:40]!r} instead of {body[:40]!r}")
    return found == body


class KeepAlive(Connection):
    """One connection, of a client that waits for each answer."""

    def __init__(self, port: int, body: bytes) -> None:
        """Open it, and let it be answered once. Raises what a Connection does."""
        super().__init__(port)
        self._request, self._body = make_request(port), body
        with self.closed_on_error():
            self.ask()

    def ask(self) -> None:
        """Send the request, and expect the answer."""
        self._sock.sendall(self._request)
        answer = b""
        while not is_whole(answer, self._body):
            answer += self._received()
