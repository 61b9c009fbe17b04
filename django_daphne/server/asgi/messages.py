"""Which ASGI message is legal in which state (ASGI HTTP specification, version 2.5).

    AWAITING_START ── http.response.start ──> AWAITING_BODY ── last body part ──> COMPLETE
          └─ early_hint                             │ └─ body, zerocopysend          ^
                                                    └──> AWAITING_TRAILERS ──────────┤
                                                    └──> IGNORING_TRAILERS ──────────┘

IGNORING_TRAILERS is for trailers that the client does not take: to it the response is complete.

A message that is not in the table of its state is the application's fault; the error says which
message, in which state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from ..exceptions import ApplicationError
from ..types import Header, Message

START: Final = "http.response.start"
BODY: Final = "http.response.body"
TRAILERS: Final = "http.response.trailers"
EARLY_HINT: Final = "http.response.early_hint"
PATHSEND: Final = "http.response.pathsend"
ZEROCOPYSEND: Final = "http.response.zerocopysend"


@dataclass(frozen=True, slots=True, eq=False)
class ResponseState:
    """How far the application's response is, and what it may send.

    No enum: what an object has in slots is found faster than what a member looks up.
    """

    name: str
    legal: frozenset[str]
    is_over: bool = False  # the client has all of the response


AWAITING_START: Final = ResponseState("AWAITING_START", frozenset((START, EARLY_HINT)))
AWAITING_BODY: Final = ResponseState("AWAITING_BODY", frozenset((BODY, PATHSEND, ZEROCOPYSEND)))
SENDING_BODY: Final = ResponseState("SENDING_BODY", frozenset((BODY, ZEROCOPYSEND)))
AWAITING_TRAILERS: Final = ResponseState("AWAITING_TRAILERS", frozenset((TRAILERS,)))
IGNORING_TRAILERS: Final = ResponseState("IGNORING_TRAILERS", frozenset((TRAILERS,)), is_over=True)
COMPLETE: Final = ResponseState("COMPLETE", frozenset(), is_over=True)

_KNOWN: Final = AWAITING_START.legal | AWAITING_BODY.legal | AWAITING_TRAILERS.legal


def unexpected_message(state: ResponseState, kind: object) -> ApplicationError:
    """Return the error for a message that is not legal in ``state``."""
    if kind not in _KNOWN:
        return ApplicationError(f"Cannot handle message type {kind}!")
    if kind == START:
        return ApplicationError(
            "HTTP response has already been started"
            f" ({kind} in state {state.name}, after an earlier {START})"
        )
    if state is AWAITING_START:
        return ApplicationError(
            f"HTTP response has not yet been started, but got {kind} (state {state.name})"
        )
    expected = " or ".join(sorted(state.legal)) or "nothing: the response is complete"
    return ApplicationError(f"{kind} is not allowed in state {state.name}; expected {expected}")


def no_type(message: object) -> ApplicationError:
    """Return the error for a message without a type."""
    return ApplicationError(f"Message has no type defined: {message!r}")


def response_status(status: object, kind: str = START) -> int:
    """Return the status of a message that starts a response, or raise ApplicationError."""
    # http.HTTPStatus is an int and welcome; a bool or a str is a mistake.
    if not isinstance(status, int) or isinstance(status, bool):
        raise ApplicationError(f"{kind} needs a status as an int, not {status!r}")
    if not 200 <= status <= 999:
        raise ApplicationError(f"{kind} with status {status}; 200 to 999 are final responses")
    return int(status)


def body_bytes(data: object) -> bytes:
    """Return the body of ``http.response.body``, or raise ApplicationError."""
    if isinstance(data, bytes | bytearray | memoryview):
        return bytes(data)
    raise ApplicationError(f"{BODY} needs a body as bytes, not {type(data).__name__}")


def field(message: Message, name: str, kind: type | tuple[type, ...], default: Any) -> Any:
    """Return one value of a message of an extension, checked; raise ApplicationError."""
    value = message.get(name, default)
    if not isinstance(value, kind):
        raise ApplicationError(f"{message['type']}: {name} has the wrong type: {value!r}")
    return value


def early_hint_headers(message: Message) -> list[Header]:
    """Return the Link fields of ``http.response.early_hint``."""
    links = message.get("links", ())
    if not all(isinstance(link, bytes) for link in links):
        raise ApplicationError(f"{EARLY_HINT}: links must be byte strings")
    return [(b"Link", link) for link in links]
