"""What a trusted proxy says of a request: client, scheme, the address asked for, the mount point.

A header is believed only from a peer that the operator trusts; from all others it is an ordinary
header, which says what the client likes. ``X-Forwarded-For`` and ``Forwarded`` are lists to which
each proxy adds at the right end. So they are walked from there, past the trusted proxies to the
first address that is none of them: what stands left of it was written by the client.
X-Forwarded-Proto and -Port are no lists: the last value counts, the trusted peer's own.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from typing import Final, TypeVar
from urllib.parse import unquote

from .addresses import TrustedPeers, parse_ip
from .config import ProxyConfig, is_root_path
from .exceptions import PeerError
from .headers import HOST
from .interfaces import Origin
from .types import Address, Header

T = TypeVar("T")

logger = logging.getLogger("django_daphne.server")

_ROOT_PATH: Final = b"daphne-root-path"
_PROTO: Final = b"x-forwarded-proto"
_PORT: Final = b"x-forwarded-port"
_FORWARDED: Final = b"forwarded"

# A proxy may call the scheme of a WebSocket what the browser calls it.
_SCHEMES: Final = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}

_MAX_SHOWN: Final = 100  # characters of a value, in a log

_NUMBER: Final = re.compile(r"[0-9]{1,5}")
# An address and perhaps a port, which RFC 7239 allows to be obfuscated (section 6).
_NODE: Final = re.compile(r"(?:\[([^\]]*)\]|([0-9.]+))(?::(?:([0-9]{1,5})|_[0-9A-Za-z._-]+))?")
# One pair of an element of Forwarded (RFC 7239, section 4).
_PAIR: Final = re.compile(
    r"[ \t]*([!#$%&'*+\-.^_`|~0-9A-Za-z]+)="
    r"(?:([!#$%&'*+\-.^_`|~0-9A-Za-z]+)|\"((?:[^\"\\]|\\.)*)\")[ \t]*"
)
_ESCAPED: Final = re.compile(r"\\(.)")


class ProxyHeaders:
    """Reads what proxies say, for all connections of a server.

    ``names`` are the fields that it wants to see: a request without them needs no look.
    """

    def __init__(self, config: ProxyConfig) -> None:
        self._trusted = TrustedPeers(config.trusted_proxies)
        self._is_on = config.proxy_headers
        self._format = config.proxy_headers_format
        self._for = (config.proxy_headers_host or "x-forwarded-for").lower().encode("ascii")
        self._client_port = (config.proxy_headers_port or "").lower().encode("ascii")
        self._x_names = frozenset((self._for, _PROTO, _PORT, self._client_port)) - {b""}
        self._told: set[str] = set()
        self.names: frozenset[bytes] = frozenset((_ROOT_PATH,))
        if self._is_on:
            self.names |= self._x_names | {_FORWARDED}

    def trusts(self, peer: Address) -> bool:
        """Tell whether a peer is a trusted proxy; None is a peer on a unix socket."""
        return self._trusted.trust(None if peer is None else peer[0])

    def read(self, headers: list[Header], own: Origin, is_trusted: bool) -> Origin:
        """Return the origin of a request, and take Daphne-Root-Path out of its headers.

        ``own`` is the origin as the connection has it. Raise PeerError (400) for a request whose
        headers contradict each other.
        """
        origin = own
        root_paths = _values(headers, _ROOT_PATH)
        if root_paths:
            headers[:] = [field for field in headers if field[0] != _ROOT_PATH]
            root_path = self._root_path(root_paths[-1], own.client, is_trusted)
            if root_path is not None:
                origin = origin._replace(root_path=root_path)
        if not (self._is_on and is_trusted):
            return origin
        found = {name for name, _ in headers}
        has_x, has_forwarded = not found.isdisjoint(self._x_names), _FORWARDED in found
        if self._format == "auto" and has_x and has_forwarded:
            self._tell(
                logging.WARNING,
                "Requests are refused that have X-Forwarded-* and Forwarded: one of them may be the"
                " client's. --proxy-headers-format says which is the proxy's",
            )
            raise PeerError(400, "X-Forwarded-* and Forwarded")
        if has_forwarded and self._format != "x-forwarded":
            return self._forwarded(headers, origin)
        if has_x and self._format != "forwarded":
            return self._x_forwarded(headers, origin)
        return origin

    def _root_path(self, value: str, peer: Address, is_trusted: bool) -> str | None:
        """Return the decoded value of Daphne-Root-Path, None when it is not believed."""
        if not is_trusted:
            where = "a unix socket" if peer is None else peer[0]
            self._tell(
                logging.WARNING,
                "Daphne-Root-Path came from %s, which is none of the trusted proxies; it is"
                " removed, and so will be others",
                where,
            )
            return None
        root_path = unquote(value)
        if is_root_path(root_path):
            self._tell(
                logging.INFO,
                "Daphne-Root-Path of %s is believed; a proxy that does not set it has to remove it",
                "a unix socket" if peer is None else peer[0],
            )
            return root_path
        self._tell(
            logging.WARNING,
            "Daphne-Root-Path is %r and has no effect; expected a path that starts with a slash and"
            " does not end with one",
            value[:_MAX_SHOWN],
        )
        return None

    def _x_forwarded(self, headers: list[Header], origin: Origin) -> Origin:
        """Read X-Forwarded-For, -Proto and -Port."""
        nodes = (
            item
            for value in reversed(_values(headers, self._for))
            for item in reversed(value.split(","))
            if item.strip(" \t")
        )
        client, _ = self._walk(nodes, _parse_node)
        if client is not None and self._client_port:
            client = client[0], _last(headers, self._client_port, _parse_port) or client[1]
        scheme = _last(headers, _PROTO, _parse_scheme) or origin.scheme
        server = _host(headers, scheme) or origin.server
        port = _last(headers, _PORT, _parse_port)
        if server is not None and port is not None:
            server = server[0], port
        return origin._replace(client=client or origin.client, scheme=scheme, server=server)

    def _forwarded(self, headers: list[Header], origin: Origin) -> Origin:
        """Read Forwarded; whoever wrote of the client also wrote of its scheme and host."""
        elements = (
            _parse_element(element)
            for value in reversed(_values(headers, _FORWARDED))
            for element in _split_from_right(value)
            if element.strip(" \t")
        )
        found = self._walk(elements, _parse_for)
        client, pairs = found[0], found[1] or {}
        scheme = _parse_scheme(pairs.get("proto", "")) or origin.scheme
        server = _parse_host(pairs.get("host", ""), scheme) or _host(headers, scheme)
        server = server or origin.server
        return origin._replace(client=client or origin.client, scheme=scheme, server=server)

    def _walk(
        self, entries: Iterator[T], parse: Callable[[T], Address]
    ) -> tuple[Address, T | None]:
        """Return the first address that is no trusted proxy's, and the entry that it stands in.

        When all are, it is the last of them; an entry without an address ends the walk.
        """
        client: Address = None
        of_client: T | None = None
        for entry in entries:
            address = parse(entry)
            if address is None:
                return client, of_client or entry
            client, of_client = address, entry
            if not self._trusted.trust(address[0]):
                break
        return client, of_client

    def _tell(self, level: int, text: str, *values: object) -> None:
        """Log something once: whoever can cause it can cause it with every request."""
        if text not in self._told:
            self._told.add(text)
            logger.log(level, text, *values)


def _values(headers: list[Header], name: bytes) -> list[str]:
    return [value.decode("latin-1") for field, value in headers if field == name]


def _last(headers: list[Header], name: bytes, parse: Callable[[str], T | None]) -> T | None:
    """Return what the last value of a field means, which may stand behind a comma."""
    values = _values(headers, name)
    return parse(values[-1].rpartition(",")[2].strip(" \t")) if values else None


def _parse_scheme(text: str) -> str | None:
    return _SCHEMES.get(text.lower())


def _parse_port(text: str) -> int | None:
    if _NUMBER.fullmatch(text) is None or not 0 < int(text) < 65536:
        return None
    return int(text)


def _parse_node(text: str) -> Address:
    """Return host and port of one entry, port 0 where it has none; None without an IP address."""
    text = text.strip(" \t")
    if "%" in text:
        return None  # a zone means something to one machine only, and may be any text
    match = _NODE.fullmatch(text)
    address = parse_ip(text if match is None else match[1] or match[2] or "")
    if address is None:
        return None
    return str(address), (match is not None and _parse_port(match[3] or "")) or 0


def _parse_for(pairs: dict[str, str]) -> Address:
    return _parse_node(pairs.get("for", ""))


def _host(headers: list[Header], scheme: str) -> Address:
    """Return what the request's Host field names, if there is one."""
    values = _values(headers, b"host")
    return _parse_host(values[-1], scheme) if values else None


def _parse_host(text: str, scheme: str) -> Address:
    """Return host and port of what a Host field may hold; its port may be the scheme's."""
    if HOST.fullmatch(text.encode("latin-1")) is None:
        return None
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, ""
    return host.removeprefix("[").removesuffix("]"), _parse_port(port) or _DEFAULT_PORTS[scheme]


def _split_from_right(value: str) -> Iterator[str]:
    """Yield the elements of a Forwarded field, the last one first.

    From the left a client could open a quoted string that swallows what the proxies have added.
    """
    if '"' not in value:
        yield from reversed(value.split(","))
        return
    end, is_quoted = len(value), False
    for index in range(len(value) - 1, -1, -1):
        if value[index] == '"' and not _is_escaped(value, index):
            is_quoted = not is_quoted
        elif value[index] == "," and not is_quoted:
            yield value[index + 1 : end]
            end = index
    yield value[:end]


def _is_escaped(value: str, index: int) -> bool:
    """Tell whether an odd number of backslashes stands before a character."""
    start = index
    while start and value[start - 1] == "\\":
        start -= 1
    return (index - start) % 2 == 1


def _parse_element(text: str) -> dict[str, str]:
    """Return the pairs of an element by their lower-case names, none when it is malformed."""
    pairs: dict[str, str] = {}
    position = 0
    while True:
        match = _PAIR.match(text, position)
        if match is None or match[1].lower() in pairs:
            return {}
        name, token, quoted = match.groups()
        pairs[name.lower()] = token if quoted is None else _ESCAPED.sub(r"\1", quoted)
        position = match.end()
        if position == len(text):
            return pairs
        if text[position] != ";":
            return {}
        position += 1
