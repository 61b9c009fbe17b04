"""The errors of the server, by whose fault they are.

    ServerError
    ├── ConfigurationError      the operator's: a flag, variable or setting that cannot be used
    ├── ListenError             the operator's: an address that cannot be listened on
    ├── LifespanFailure         the application's: it refused to start
    ├── WorkerFailure           the application's, as a rule: a worker process could not start
    ├── PeerError               the client's: carries the status to answer with
    ├── WebSocketError          the client's: carries the code of the close frame to answer with
    ├── HTTP2Error              the client's: carries the code of the GOAWAY to answer with
    ├── StreamError             the client's: carries the code of the RST_STREAM to answer with
    ├── ProxyProtocolError      a proxy's: its header is none (in ``proxy_protocol``)
    └── ApplicationError        the application's: a message that ASGI does not allow here
    ClientDisconnected          nobody's: the client left; an OSError, as ASGI asks

What a client is told is generic. The text of these errors is for the log and for the operator.
"""

from __future__ import annotations

__all__ = [
    "ApplicationError",
    "ClientDisconnected",
    "ConfigurationError",
    "HTTP2Error",
    "LifespanFailure",
    "ListenError",
    "PeerError",
    "ServerError",
    "StreamError",
    "WebSocketError",
    "WorkerFailure",
]


class ServerError(Exception):
    """The base of every error that the server raises on purpose."""


class ConfigurationError(ServerError):
    """A flag, an environment variable or a setting cannot be used; the text names it."""


class ListenError(ServerError):
    """An address cannot be listened on; the text names it and says why.

    ``errno`` is the operating system's number, where it gave one.
    """

    def __init__(self, text: str, errno: int | None = None) -> None:
        super().__init__(text)
        self.errno = errno


class LifespanFailure(ServerError):
    """The application answered ``lifespan.startup.failed``, or failed while starting.

    ``exit_status`` is the status for a process that cannot serve for this reason.
    """

    exit_status = 3


class WorkerFailure(ServerError):
    """A worker process has ended before it could serve; what it said itself is the reason.

    ``exit_status`` is the status for its supervisor.
    """

    exit_status = 3


class PeerError(ServerError):
    """The client broke the protocol or a limit.

    ``status`` is the HTTP status to answer with, ``headers`` what the answer has besides the usual;
    the text is for the log. ``limit`` is the option whose limit it is.
    """

    def __init__(
        self,
        status: int,
        reason: str,
        headers: tuple[tuple[bytes, bytes], ...] = (),
        *,
        limit: str | None = None,
    ) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.headers = headers
        self.limit = limit


class CodedError(ServerError):
    """The client broke a rule, or a limit, that its protocol has a code for.

    ``code`` is that of the frame to answer with; the text is for the log. ``limit`` is the option
    whose limit it is.
    """

    def __init__(self, code: int, reason: str, *, limit: str | None = None) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.limit = limit


class WebSocketError(CodedError):
    """The code is that of a close frame (RFC 6455, section 7.4)."""


class HTTP2Error(CodedError):
    """The connection cannot go on: the code is that of GOAWAY (RFC 9113, section 7)."""


class StreamError(CodedError):
    """One stream cannot go on, the others can: the code is that of RST_STREAM (section 7)."""


class ApplicationError(ServerError, ValueError):
    """The application sent a message that ASGI does not allow, or not in this state."""


class ClientDisconnected(OSError):
    """Raised by ``send()`` after the client left (ASGI HTTP specification 2.4)."""
