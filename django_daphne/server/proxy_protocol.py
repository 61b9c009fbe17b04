"""The PROXY protocol: what a proxy says of a connection, ahead of the connection's own bytes.

One header precedes everything else, TLS included ("The PROXY protocol", HAProxy, section 2):

    version 1   PROXY TCP4 192.0.2.7 198.51.100.1 56324 443 CR LF
                PROXY UNKNOWN CR LF, with anything between the two
    version 2   signature, 12 bytes | version and command, 1 | family and transport, 1 | length, 2
                so many bytes: source, destination, their ports | TLVs: type, 1 | length, 2 | value

Neither HTTP nor TLS begins like one of these. The header is read piece by piece by a generator: it
yields how many bytes it wants next, is sent exactly those, and at last returns the header. So no
byte is read twice however they are cut, and no more is kept than one piece. A byte that cannot
stand where it stands is refused at once; a number or an address is judged when it is complete.
Who may send a header is not decided here: believe it only from proxies that are known.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from struct import Struct
from typing import Final, Literal, TypeAlias, TypeVar

from .exceptions import ServerError
from .types import Address

Versions = Literal["v1", "v2", "any"]
Family: TypeAlias = type[IPv4Address] | type[IPv6Address]
Result = TypeVar("Result")
Reading: TypeAlias = Generator[int, bytes, Result]

MAX_LINE: Final = 107  # bytes of version 1 with its CRLF; lines with addresses end before that
# Bytes after the length of version 2. 520 would do for what the specification foresees, but names
# of hosts and certificates may be long; nginx takes 4096 in all.
MAX_LENGTH: Final = 4096

LOCAL, PROXY = 0x20, 0x21  # version 2 in the upper half, the command in the lower
# The families, with the only transport that HTTP is spoken over: the addresses and their layout.
FAMILIES: Final[dict[int, tuple[Family | None, Struct]]] = {
    0x00: (None, Struct("")),
    0x11: (IPv4Address, Struct("!4s4sHH")),
    0x21: (IPv6Address, Struct("!16s16sHH")),
    0x31: (None, Struct("108s108s")),
}
TLV: Final = Struct("!BH")
TLV_SSL, SSL_SIZE, CLIENT_SSL = 0x20, 5, 0x01  # its first byte holds the bit, four are "verify"

DIGITS: Final = b"0123456789"
# Who ends a line at one of these three would see another header than the one that is read here.
IGNORED: Final = bytes({*range(256)} - {*b"\0\r\n"})


class ProxyProtocolError(ServerError):
    """The bytes are no PROXY header, or none that is taken here; the text is safe for a log."""


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """Tell what the proxy says of a connection.

    ``client`` is the source and ``server`` the destination, hosts in canonical text, IPv4 mapped
    into IPv6 as IPv4; both are None for a unix socket. With ``is_local`` they are None because the
    connection's own addresses hold: the proxy speaks for itself or does not know (LOCAL, UNKNOWN,
    AF_UNSPEC). ``is_tls``: the client spoke TLS to the proxy, as only version 2 can say.
    """

    client: Address = None
    server: Address = None
    is_local: bool = False
    is_tls: bool = False


class HeaderReader:
    """Read one header: call ``feed()`` until ``header`` is there. Limiting the time is yours."""

    def __init__(self, versions: Versions) -> None:
        self.header: ProxyHeader | None = None
        self._reading = _read_header(versions)
        self._wanted = next(self._reading)
        self._piece = bytearray()

    def feed(self, data: bytes) -> int:
        """Take the next bytes; return how many of them belong to the header.

        All do, unless the header ends within them; after that, none. Raises ProxyProtocolError
        when this cannot become a header any more, and again whenever there are more bytes.
        """
        taken = 0
        try:
            while self.header is None and taken < len(data):
                part = data[taken : taken + self._wanted - len(self._piece)]
                self._piece += part
                taken += len(part)
                while len(self._piece) == self._wanted:  # an empty piece needs no more bytes
                    piece, self._piece, self._wanted = bytes(self._piece), bytearray(), 0
                    self._wanted = self._reading.send(piece)
        except StopIteration as stop:
            if stop.value is None:  # a generator that has raised wants nothing and returns nothing
                raise ProxyProtocolError("more bytes of a header that was refused") from None
            self.header = stop.value
        return taken


def _one_of(*choices: bytes) -> Reading[bytes]:
    read = b""
    while read not in choices:
        read += yield 1
        if not any(choice.startswith(read) for choice in choices):
            raise ProxyProtocolError(f"expected {' or '.join(map(repr, choices))}, got {read!r}")
    return read


def _field(allowed: bytes, width: int, end: bytes) -> Reading[str]:
    field = b""
    while (byte := (yield 1)) != end[:1]:
        field += byte
        if byte not in allowed or len(field) > width:
            raise ProxyProtocolError(f"unexpected {byte!r} at the end of {field!r}")
    yield from _one_of(end[1:])
    return field.decode("latin-1")


def _tcp(family: Family, allowed: bytes, width: int) -> Reading[ProxyHeader]:
    client = _host(family, (yield from _field(allowed, width, b" ")))
    server = _host(family, (yield from _field(allowed, width, b" ")))
    client_port = _port((yield from _field(DIGITS, 5, b" ")))
    server_port = _port((yield from _field(DIGITS, 5, b"\r\n")))
    return ProxyHeader((client, client_port), (server, server_port))


def _unknown() -> Reading[ProxyHeader]:
    if (yield from _one_of(b" ", b"\r\n")) == b" ":
        yield from _field(IGNORED, MAX_LINE - len(b"PROXY UNKNOWN \r\n"), b"\r\n")
    return ProxyHeader(is_local=True)


def _host(family: Family, value: str | bytes) -> str:
    try:
        address = family(value)
    except ValueError:
        raise ProxyProtocolError(f"not an address of its family: {value!r}") from None
    return str(getattr(address, "ipv4_mapped", None) or address)


def _port(text: str) -> int:
    if not text or str(int(text)) != text or int(text) > 0xFFFF:
        raise ProxyProtocolError(f"not a port: {text!r}")
    return int(text)


def _binary() -> Reading[ProxyHeader]:
    if (command := ord((yield 1))) not in (LOCAL, PROXY):
        raise ProxyProtocolError(f"unknown version and command 0x{command:02x}")
    if (family := ord((yield 1))) not in FAMILIES and command == PROXY:
        raise ProxyProtocolError(f"unsupported family and transport 0x{family:02x}")
    kind, layout = FAMILIES[family if command == PROXY else 0x00]
    if not layout.size <= (length := int.from_bytes((yield 2))) <= MAX_LENGTH:
        raise ProxyProtocolError(f"a length of {length}, not {layout.size} to {MAX_LENGTH} bytes")
    if command == LOCAL:
        yield length
        return ProxyHeader(is_local=True)
    addresses = layout.unpack((yield layout.size))
    is_tls = yield from _tlvs(length - layout.size)
    if kind is None:
        return ProxyHeader(is_local=not addresses, is_tls=is_tls)
    source, destination, source_port, destination_port = addresses
    client, server = _host(kind, source), _host(kind, destination)
    return ProxyHeader((client, source_port), (server, destination_port), is_tls=is_tls)


def _tlvs(length: int) -> Reading[bool]:
    is_tls = False
    while length:
        if length < TLV.size:
            raise ProxyProtocolError(f"{length} bytes at the end, too few for a TLV")
        kind, size = TLV.unpack((yield TLV.size))
        length -= TLV.size + size
        if length < 0 or (kind == TLV_SSL and size < SSL_SIZE):
            raise ProxyProtocolError(f"TLV 0x{kind:02x} of {size} bytes is too long or too short")
        value = yield size
        is_tls |= kind == TLV_SSL and bool(value[0] & CLIENT_SSL)
    return is_tls


Starts: TypeAlias = dict[bytes, Callable[[], Reading[ProxyHeader]]]
TEXT: Final[Starts] = {
    b"PROXY TCP4 ": partial(_tcp, IPv4Address, DIGITS + b".", len("255.255.255.255")),
    b"PROXY TCP6 ": partial(_tcp, IPv6Address, DIGITS + b"ABCDEFabcdef:.", len("ffff:" * 8) - 1),
    b"PROXY UNKNOWN": _unknown,
}
BINARY: Final[Starts] = {b"\r\n\r\n\0\r\nQUIT\n": _binary}
STARTS: Final[dict[Versions, Starts]] = {"v1": TEXT, "v2": BINARY, "any": TEXT | BINARY}


def _read_header(versions: Versions) -> Reading[ProxyHeader]:
    start = yield from _one_of(*STARTS[versions])
    return (yield from STARTS[versions][start]())
