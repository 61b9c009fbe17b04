"""What clients ask the project, and what of the answers can be compared."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.support.processes import PATIENCE

USERS = ("ann", "bob", "cleo", "dan")
ANYBODY = "anybody"

# A server's own, or about the connection alone.
_NOT_COMPARED = {"connection", "date", "keep-alive", "server", "transfer-encoding"}

# Random, or a matter of time and place.
_VARYING = re.compile(
    r"(?P<uuid>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
    r"|(?P<cookie>(?<=csrftoken=|sessionid=)\w{20,})"
    r"|(?P<token>[A-Za-z0-9+/]{20,}={0,2})"
    r"|(?P<time>\b\d+(?:\.\d+)? ?ms\b|\bdur=[\d.]+|(?<=Time\":)\d+"
    r"|\b\w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT|\d{4}-\d\d-\d\d[T ][\d:.]+)"
    r"|(?P<port>127\.0\.0\.1:\d+)"
)
_IS_RANDOM = re.compile(r".*=\Z|(?=.*\d)(?=.*[A-Za-z])[^/]*\Z")


@dataclass(frozen=True)
class Ask:
    """A request of a user, who keeps cookies from one to the next."""

    path: str
    user: str = ANYBODY
    method: str = "GET"
    data: Mapping[str, str] | None = None
    files: Mapping[str, bytes] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


def log_in(user: str, password: str | None = None) -> Ask:
    """Return the request that logs a user in."""
    data = {"password": f"{user}'s" if password is None else password}
    return Ask(f"/login/{user}", user, "POST", data)


def both(path: str, user: str = ANYBODY, **more: Any) -> list[Ask]:
    """Return a request to a sync view and one to the async one."""
    return [Ask(path.replace("*", kind), user, **more) for kind in ("sync", "async")]


USUAL: Sequence[Ask] = [
    *both("/*/first"),
    *both("/*/german", headers={"Accept-Language": "de"}),
    *both("/*/head", method="HEAD"),
    *both("/page/*/page"),
    *both("/fail/*/failure"),
    *both("/refuse/*/missing"),
    *both("/refuse/*/denied"),
    *both("/refuse/*/suspicious"),
    Ask("/nowhere"),
    Ask("/form"),
    *both("/redirect/*/redirect"),
    *both("/stream/*/stream"),
    Ask("/form/empty"),
    Ask("/form/forged", method="POST", data={"text": "x"}, headers={"Cookie": ""}),
    Ask("/form/honest", method="POST", data={"text": "x"}),
    Ask("/upload/file", method="POST", data={"text": "x"}, files={"file": b"x" * 3_000_000}),
    *map(log_in, USERS),
    log_in("ann", "wrong"),
    *(ask for user in USERS for ask in both("/*/known", user)),
    *both("/page/*/known", "ann"),
]


def together(count: int) -> list[Ask]:
    """Return so many requests, of four users, four of which are always in views at a time."""
    return [
        ask
        for number in range(count // 8)
        for user in USERS
        for ask in both(f"/meet/*/{number}", user)
    ]


def tidy(text: str) -> str:
    """Return a text in which what is random is numbered, and times and ports are left out."""
    tokens: dict[str, str] = {}

    def replace(match: re.Match[str]) -> str:
        token = match[0]
        if match.lastgroup in {"time", "port"}:
            return f"<{match.lastgroup}>"
        if match.lastgroup == "token" and not _IS_RANDOM.match(token):
            return token
        return tokens.setdefault(token, f"<random {len(tokens)}>")

    return _VARYING.sub(replace, text)


def describe(ask: Ask, response: httpx.Response) -> dict[str, Any]:
    """Return what of an answer has to be the same from any server."""
    # Whether an answer has its length in the head or is chunked is up to the server, too.
    omitted = _NOT_COMPARED if ask.method == "HEAD" else {*_NOT_COMPARED, "content-length"}
    headers = sorted(
        f"{name}: {value}" for name, value in response.headers.multi_items() if name not in omitted
    )
    text = tidy("\n".join([*headers, "", response.text]))
    return {
        "asked": f"{ask.method} {ask.path} by {ask.user}",
        "status": response.status_code,
        "answer": text.splitlines(),
    }


class Clients:
    """The users, each with cookies of their own."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._clients: dict[str, httpx.Client] = {}

    def close(self) -> None:
        """Close all connections."""
        for client in self._clients.values():
            client.close()

    def client(self, user: str) -> httpx.Client:
        """Return the client of a user."""
        if user not in self._clients:
            limits = httpx.Limits(max_connections=100, max_keepalive_connections=2)
            self._clients[user] = httpx.Client(
                base_url=f"http://127.0.0.1:{self._port}",
                timeout=PATIENCE,
                trust_env=False,
                limits=limits,
                headers={"User-Agent": f"the browser of {user}"},
            )
        return self._clients[user]

    def send(self, ask: Ask) -> httpx.Response:
        """Send a request and return the answer."""
        client, headers = self.client(ask.user), dict(ask.headers)
        if ask.method == "POST" and "csrftoken" in client.cookies:
            headers["X-CSRFToken"] = client.cookies["csrftoken"]
        return client.request(ask.method, ask.path, data=ask.data, files=ask.files, headers=headers)

    def ask(self, ask: Ask) -> dict[str, Any]:
        """Send a request and return what of the answer can be compared."""
        return describe(ask, self.send(ask))

    def ask_one_by_one(self, asks: Iterable[Ask]) -> list[dict[str, Any]]:
        """Send requests, each when the last one is answered."""
        return [self.ask(ask) for ask in asks]

    def ask_together(self, asks: Sequence[Ask]) -> list[dict[str, Any]]:
        """Send all requests at once."""
        for ask in asks:
            self.client(ask.user)
        with ThreadPoolExecutor(len(asks)) as pool:
            return list(pool.map(self.ask, asks))
