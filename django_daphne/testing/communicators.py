"""Communicators: an ASGI application called as a server calls it, one message at a time.

The interface is that of ``channels.testing``, which cannot be imported where daphne is not
installed. Scopes have what the server's have (ASGI HTTP and WebSocket specification, 2.5). A
communicator belongs to one event loop; every wait in it ends after ``timeout`` seconds, with
TimeoutError, and then the application is cancelled.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

from asgiref import testing

Headers = Iterable[tuple[bytes, bytes]]

_CLIENT: Final = ("127.0.0.1", 50000)
_SERVER: Final = ("testserver", 80)  # which Django allows while its tests run
# What a path may have without an escape, and the escapes that are there already.
_SAFE: Final = "/%:@!$&'()*+,;=~"
_NORMAL: Final = 1000  # the close code of who gives none


class _KeptConnections:
    """Lets Channels leave database connections open: those of a test belong to the test.

    Of several at a time the last one to leave undoes it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0
        self._module: Any = None
        self._original: Any = None

    def __enter__(self) -> None:
        with self._lock:
            self._count += 1
            if self._count == 1:
                self._module = sys.modules.get("channels.db")
                if self._module is not None:
                    self._original = self._module.close_old_connections
                    self._module.close_old_connections = _do_nothing

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._count -= 1
            if self._count == 0 and self._module is not None:
                self._module.close_old_connections = self._original


def _do_nothing() -> None:
    """Take the place of ``close_old_connections``."""


_kept_connections: Final = _KeptConnections()


class ApplicationCommunicator(testing.ApplicationCommunicator):
    """Calls an application with a scope; ``send_input`` and ``receive_output`` take messages.

    Nobody closes a database connection of the test while a method waits.
    """

    scope: dict[str, Any]
    _future: Any = None  # what ends a communicator looks for it, also where none came about

    async def receive_output(self, timeout: float = 1) -> dict[str, Any]:
        """Return the next message of the application; raise what it raises."""
        with _kept_connections:
            message: dict[str, Any] = await super().receive_output(  # type: ignore[no-untyped-call]
                timeout
            )
        return message

    async def receive_nothing(self, timeout: float = 0.1, interval: float = 0.01) -> bool:
        """Tell whether the application is silent for so many seconds."""
        with _kept_connections:
            is_silent: bool = await super().receive_nothing(  # type: ignore[no-untyped-call]
                timeout, interval
            )
        return is_silent

    async def wait(self, timeout: float = 1) -> None:
        """Wait for the application to return; raise what it raises."""
        with _kept_connections:
            await super().wait(timeout)  # type: ignore[no-untyped-call]

    async def _receive_parts(self, kind: str, timeout: float) -> bytes:
        """Return a body that comes in messages of one type."""
        body = b""
        more = True
        while more:
            message = await self._expect(kind, timeout)
            part = message.get("body", b"")
            _check(isinstance(part, bytes), f"{kind}: the body is {_kind(part)}, not bytes")
            body += part
            more = message.get("more_body", False)
        return body

    async def _expect(self, kind: str, timeout: float) -> dict[str, Any]:
        message = await self.receive_output(timeout)
        _check(message["type"] == kind, f"The application has sent {message!r}, and not {kind}")
        return message


class HttpCommunicator(ApplicationCommunicator):
    """Sends one request, with a whole body, to an application.

    ``path`` may have a query. ``scope`` can be changed until the first message.
    """

    def __init__(
        self,
        application: Any,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Headers | None = None,
    ) -> None:
        _check(isinstance(body, bytes), f"The body is {_kind(body)}, not bytes")
        self.body = body
        self.sent_request = False
        scope = {"type": "http", "method": method.upper(), **_scope("http", path, headers)}
        super().__init__(application, scope)  # type: ignore[no-untyped-call]

    async def get_response(self, timeout: float = 1) -> dict[str, Any]:
        """Send the request and return the response: a dict with status, headers and body.

        ``timeout`` is the time for each message of the application.
        """
        if not self.sent_request:
            self.sent_request = True
            request = {"type": "http.request", "body": self.body, "more_body": False}
            await self.send_input(request)  # type: ignore[no-untyped-call]
        response = await self._expect("http.response.start", timeout)
        body = await self._receive_parts("http.response.body", timeout)
        rest = {key: value for key, value in response.items() if key != "type"}
        return {"headers": [], **rest, "body": body}


class WebsocketCommunicator(ApplicationCommunicator):
    """Opens one WebSocket to an application.

    After ``connect`` an accepted one has ``response_headers`` and ``subprotocol``, a denied one
    ``denial``: the response as of ``HttpCommunicator``, if the application has sent one. After a
    close of the application there are ``close_code`` and ``close_reason``.
    """

    def __init__(
        self,
        application: Any,
        path: str,
        headers: Headers | None = None,
        subprotocols: Iterable[str] | None = None,
        spec_version: str | None = None,
    ) -> None:
        scope = {
            "type": "websocket",
            **_scope("ws", path, headers),
            "subprotocols": list(subprotocols or ()),
            "extensions": {"websocket.http.response": {}},
        }
        if spec_version:
            scope["spec_version"] = scope["asgi"]["spec_version"] = spec_version
        super().__init__(application, scope)  # type: ignore[no-untyped-call]
        self.response_headers: list[tuple[bytes, bytes]] | None = None
        self.subprotocol: str | None = None
        self.denial: dict[str, Any] | None = None
        self.close_code: int | None = None
        self.close_reason: str | None = None

    async def connect(self, timeout: float = 1) -> tuple[bool, Any]:
        """Ask for the WebSocket; return whether it was accepted, and more.

        That is the chosen subprotocol or None; of one that was not accepted, the code of the
        application's close, or the status of its response.
        """
        await self.send_input({"type": "websocket.connect"})  # type: ignore[no-untyped-call]
        answer = await self.receive_output(timeout)
        if answer["type"] == "websocket.close":
            return False, self.close_code
        if answer["type"] == "websocket.http.response.start":
            self.denial = {
                "status": answer["status"],
                "headers": answer.get("headers", []),
                "body": await self._receive_parts("websocket.http.response.body", timeout),
            }
            return False, answer["status"]
        _check(
            answer["type"] == "websocket.accept",
            f"The application has sent {answer!r}, and neither accepted nor closed",
        )
        self.response_headers = answer.get("headers", [])
        self.subprotocol = answer.get("subprotocol")
        return True, self.subprotocol

    async def send_to(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Send a message: a text or bytes."""
        _check(
            (text_data is None) != (bytes_data is None),
            "send_to() takes one of text_data and bytes_data",
        )
        message: dict[str, Any] = {"type": "websocket.receive"}
        if text_data is not None:
            _check(isinstance(text_data, str), f"text_data is {_kind(text_data)}, not str")
            message["text"] = text_data
        else:
            _check(isinstance(bytes_data, bytes), f"bytes_data is {_kind(bytes_data)}, not bytes")
            message["bytes"] = bytes_data
        await self.send_input(message)  # type: ignore[no-untyped-call]

    async def send_json_to(self, data: Any) -> None:
        """Send a value as a text in JSON."""
        await self.send_to(text_data=json.dumps(data))

    async def receive_from(self, timeout: float = 1) -> str | bytes:
        """Return the next message: a text or bytes. It is an AssertionError if there is no such."""
        message = await self._expect("websocket.send", timeout)
        given = [(key, message[key]) for key in ("text", "bytes") if message.get(key) is not None]
        _check(len(given) == 1, f"The message needs one of text and bytes: {message!r}")
        ((key, data),) = given
        expected = str if key == "text" else bytes
        _check(isinstance(data, expected), f"{key} is {_kind(data)}, not {expected.__name__}")
        return data  # type: ignore[no-any-return]

    async def receive_json_from(self, timeout: float = 1) -> Any:
        """Return what the next message, a text in JSON, says."""
        text = await self.receive_from(timeout)
        _check(isinstance(text, str), f"JSON comes in a text, and this is {_kind(text)}")
        return json.loads(text)

    async def receive_close(self, timeout: float = 1) -> tuple[int, str]:
        """Wait for the application to close; return code and reason."""
        await self._expect("websocket.close", timeout)
        return self.close_code or _NORMAL, self.close_reason or ""

    async def receive_output(self, timeout: float = 1) -> dict[str, Any]:
        """Return the next message of the application; raise what it raises."""
        message = await super().receive_output(timeout)
        if message["type"] == "websocket.close":
            self.close_code = message.get("code") or _NORMAL
            self.close_reason = message.get("reason") or ""
        return message

    async def disconnect(self, code: int = _NORMAL, timeout: float = 1, reason: str = "") -> None:
        """Leave, with a code and a reason, and wait for the application to return."""
        message = {"type": "websocket.disconnect", "code": code, "reason": reason}
        await self.send_input(message)  # type: ignore[no-untyped-call]
        await self.wait(timeout)


def _scope(scheme: str, path: str, headers: Headers | None) -> dict[str, Any]:
    """Return what the scopes of requests and WebSockets have in common."""
    if not isinstance(path, str):
        raise TypeError(f"The path is {_kind(path)}, not str")
    parts = urlsplit(path)
    return {
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "http_version": "1.1",
        "scheme": scheme,
        "path": unquote(parts.path),
        "raw_path": quote(parts.path, safe=_SAFE).encode("ascii"),
        "query_string": parts.query.encode("utf-8"),
        "root_path": "",
        "headers": list(headers or ()),
        "client": _CLIENT,
        "server": _SERVER,
        "state": {},
        "extensions": {},
    }


def _check(is_so: bool, text: str) -> None:
    """Let the test fail when something is not so."""
    if not is_so:
        raise AssertionError(text)


def _kind(value: object) -> str:
    return type(value).__name__
