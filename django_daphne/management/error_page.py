"""What is served while the project is broken: the traceback, in a page that reloads itself."""

from __future__ import annotations

import asyncio
import html
import traceback
from collections.abc import Sequence
from typing import Any, Final

from django.core.management.base import CommandError
from django.http.request import split_domain_port, validate_host

# A request with this header is answered when there is something new to see.
_WAIT: Final = b"django-daphne-wait"

_PAGE: Final = """\
<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="robots" content="noindex">
<title>{title}</title>
<style>
  body {{ margin: 0; font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff; }}
  header {{ padding: 1.5rem 2rem; background: #ffefb8; border-bottom: 1px solid #e6cf7a; }}
  h1 {{ margin: 0; font-size: 1.4rem; white-space: pre-wrap; overflow-wrap: anywhere; }}
  p {{ margin: .5rem 0 0; }}
  pre {{ margin: 0; padding: 1.5rem 2rem; overflow-x: auto; font-size: .9rem; }}
</style>
<header>
  <h1>{title}</h1>
  <p>The project cannot be served. This page reloads by itself when a file is changed.</p>
</header>
<pre>{details}</pre>
<script>
  const again = () => location.reload();
  fetch(location.href, {{headers: {{"{wait}": "1"}}, cache: "no-store"}}).then(again, again);
</script>
"""
_PLAIN: Final = "The project cannot be served.\n\n{details}"
_HIDDEN: Final = "The project cannot be served. The terminal of the server shows why.\n"


def is_told(error: BaseException) -> bool:
    """Tell whether an error says everything by itself, as what a command tells its user does."""
    return isinstance(error, CommandError)


def describe(error: BaseException) -> tuple[str, str]:
    """Return an error in one line, and its traceback from where the project's own code begins.

    What a command says to its user is complete without one.
    """
    if is_told(error):
        text = str(error).strip()
        return text.partition("\n")[0], text
    lines = traceback.format_exception_only(error)
    return lines[-1].strip(), "".join(traceback.format_exception(error))


class ErrorPage:
    """An ASGI application that answers every request with 500 and the reason.

    Only who asks for one of ``hosts``, in the form of ALLOWED_HOSTS, gets to see more than that
    there is one: a page of somebody else's site must not read it by a name of its own.
    """

    def __init__(self, error: BaseException, hosts: Sequence[str]) -> None:
        self._title, self._details = describe(error)
        self._hosts = hosts
        self._has_ended = asyncio.Event()

    def end(self) -> None:
        """Let those know that wait for something new; called on the loop."""
        self._has_ended.set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        kind = "websocket.http.response" if scope["type"] == "websocket" else "http.response"
        headers = dict(scope["headers"])
        if _WAIT in headers:
            await self._wait(receive)
            await _respond(send, kind, 204, b"text/plain", b"")
        elif not self._is_known(headers.get(b"host", b"")):
            await _respond(send, kind, 500, b"text/plain", _HIDDEN.encode())
        elif b"text/html" in headers.get(b"accept", b""):
            page = _PAGE.format(
                title=html.escape(self._title),
                details=html.escape(self._details),
                wait=_WAIT.decode(),
            )
            await _respond(send, kind, 500, b"text/html", page.encode("utf-8", "replace"))
        else:
            text = _PLAIN.format(details=self._details)
            await _respond(send, kind, 500, b"text/plain", text.encode("utf-8", "replace"))

    def _is_known(self, host: bytes) -> bool:
        domain, _ = split_domain_port(host.decode("latin-1"))
        return bool(domain) and validate_host(domain, list(self._hosts))

    async def _wait(self, receive: Any) -> None:
        """Return when there is something new, or nobody to tell."""

        async def disconnected() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        waits = {
            asyncio.ensure_future(disconnected()),
            asyncio.ensure_future(self._has_ended.wait()),
        }
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()


async def _respond(send: Any, kind: str, status: int, content_type: bytes, body: bytes) -> None:
    headers = [
        (b"content-type", content_type + b"; charset=utf-8"),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": f"{kind}.start", "status": status, "headers": headers})
    await send({"type": f"{kind}.body", "body": body})
