"""Addresses as an operator writes them: those to listen on, and those to trust."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final, Literal, NamedTuple, TypeAlias, get_args

ProxyProtocol: TypeAlias = Literal["off", "v1", "v2", "any"]

DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 8000
# The host that stands for every address of the machine, of both families.
EVERY_HOST: Final = "*"
BIND_FORMS: Final = "host, host:port, [IPv6 address]:port or *:port"
TRUSTED_FORMS: Final = 'an IP address, a network such as 10.0.0.0/8, "unix", or "*" for everybody'

_BRACKETED: Final = re.compile(r"\[(?P<host>[^\[\]]*)\](:(?P<port>[0-9]{1,5}))?")
_PLAIN: Final = re.compile(r"(?P<host>\*|[^\s:/\[\]*?#@,]+)(:(?P<port>[0-9]{1,5}))?")
_PARAMETER: Final = re.compile(rf"proxy_protocol=({'|'.join(get_args(ProxyProtocol))})")


class BindAddress(NamedTuple):
    """Hold one bind value: host without brackets, port and mode, None where it names none."""

    host: str
    port: int | None = None
    proxy_protocol: ProxyProtocol | None = None


def parse_bind(value: str) -> BindAddress:
    """Read host, host:port, an IPv6 address without brackets and port, or [IPv6 address]:port.

    A blank and ``proxy_protocol=MODE`` may follow, for this address alone. Raise ValueError for
    anything else.
    """
    address, blank, parameter = value.partition(" ")
    found = _PARAMETER.fullmatch(parameter) if blank else None
    if blank and found is None:
        raise ValueError(value)
    mode = None if found is None else found[1]
    if address.count(":") > 1 and "[" not in address:
        return BindAddress(str(ipaddress.IPv6Address(address)), None, mode)  # type: ignore[arg-type]
    match = _BRACKETED.fullmatch(address) or _PLAIN.fullmatch(address)
    if match is None or int(match["port"] or 0) > 65535:
        raise ValueError(value)
    host = match["host"]
    if address.startswith("["):
        host = str(ipaddress.IPv6Address(host))
    port = None if match["port"] is None else int(match["port"])
    return BindAddress(host, port, mode)  # type: ignore[arg-type]  # the pattern knows the modes


IPAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


def parse_ip(text: str) -> IPAddress | None:
    """Return an IP address, None for anything else.

    An IPv4 address in IPv6's clothes (RFC 4291, section 2.5.5.2) is returned as what it is.
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        return address.ipv4_mapped or address
    return address


def _parse_network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """Read an address or a network, of IPv4 also in IPv6's clothes; raise ValueError."""
    if "%" in text:
        raise ValueError(text)  # trusted would be the address on every interface
    network = ipaddress.ip_network(text)
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= 96:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return ipaddress.IPv4Network((mapped, network.prefixlen - 96))
    return network


class TrustedPeers:
    """Knows whom the operator believes."""

    def __init__(self, values: Iterable[str]) -> None:
        """Take addresses, networks, "unix" and "*"; raise ValueError for anything else."""
        names = set(values)
        self.everybody = "*" in names
        self._unix = "unix" in names or self.everybody
        self._networks = [_parse_network(name) for name in names - {"unix", "*"}]
        # Clients behind one proxy are few, and comparing with every network is slow.
        self._trusts = lru_cache(maxsize=1024)(self._find)

    def trust(self, host: str | None) -> bool:
        """Tell whether a host is believed; None is a peer on a unix socket."""
        return self._unix if host is None else self.everybody or self._trusts(host)

    def _find(self, host: str) -> bool:
        address = parse_ip(host.partition("%")[0])  # a link-local address names its interface
        return address is not None and any(address in network for network in self._networks)
