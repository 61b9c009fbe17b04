"""The headers of proxies: who is believed, which part of them, and what comes of it."""

from __future__ import annotations

import signal
import sys
import unittest
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, ClassVar

from django.test import tag

from django_daphne.server import ConfigurationError, ServerConfig
from django_daphne.server.exceptions import PeerError
from django_daphne.server.interfaces import Origin
from django_daphne.server.proxy_headers import ProxyHeaders
from django_daphne.server.types import Address, Header
from tests.compliance import request
from tests.support.memory import MemoryClient, Puppet, WireTestCase
from tests.support.wire import CLIENT, HOST

LOGGER = "django_daphne.server"
PEER = ("127.0.0.1", 50000)
SERVER = ("127.0.0.9", 8000)
OWN = Origin(client=PEER, scheme="http", server=SERVER, root_path="/own")
TRUSTED = ("127.0.0.0/8", "10.0.0.0/8", "2001:db8:f::/48")
SEVEN = ("203.0.113.7", 0)

# What one field X-Forwarded-For says of the client; None is nothing.
CLIENTS: dict[str, Address] = {
    "203.0.113.7": SEVEN,
    "203.0.113.7:4711": ("203.0.113.7", 4711),
    "203.0.113.7:65535": ("203.0.113.7", 65535),
    "203.0.113.7:0": SEVEN,
    "203.0.113.7:65536": SEVEN,
    "203.0.113.7:_hidden": SEVEN,
    "2001:db8::7": ("2001:db8::7", 0),
    "2001:DB8:0::7": ("2001:db8::7", 0),
    "[2001:db8::7]": ("2001:db8::7", 0),
    "[2001:db8::7]:4711": ("2001:db8::7", 4711),
    "2001:db8::7:4711": ("2001:db8::7:4711", 0),
    "::ffff:203.0.113.7": SEVEN,
    "[::ffff:203.0.113.7]:4711": ("203.0.113.7", 4711),
    # The right end is the proxies', the left end the client's.
    "198.51.100.1, 203.0.113.7": SEVEN,
    "10.0.0.9, 203.0.113.7": SEVEN,
    "198.51.100.1, 203.0.113.7, 10.0.0.1, 127.0.0.1": SEVEN,
    "198.51.100.1,203.0.113.7:4711,[2001:db8:f::1]:80,10.0.0.1:80": ("203.0.113.7", 4711),
    "198.51.100.1, 203.0.113.7, ::ffff:10.0.0.1": SEVEN,
    "10.0.0.3, 10.0.0.2, 127.0.0.1": ("10.0.0.3", 0),
    "10.0.0.3:4711": ("10.0.0.3", 4711),
    ", ,203.0.113.7 \t,\t,,": SEVEN,
    # What is no address ends the walk.
    "unknown, 203.0.113.7": SEVEN,
    "203.0.113.7, unknown": None,
    "203.0.113.7, unknown, 10.0.0.2, 10.0.0.1": ("10.0.0.2", 0),
    "203.0.113.7, localhost, 10.0.0.2:4711": ("10.0.0.2", 4711),
    **dict.fromkeys(
        (
            *("", " ", ",", ", ,\t,", "unknown", "_hidden", "localhost", "unix", "*", "-", "/"),
            *("203.0.113", "203.0.113.07", "203.0.113.256", "203.0.113.7.9", "3405803783"),
            *("203.0.113.7:", "203.0.113.7:x", "203.0.113.7:_", "203.0.113.7:123456", ":4711"),
            *(
                "203.0.113.7:-1",
                "203.0.113.7 :80",
                "203.0.113.7/32",
                "203.0.113.7;x",
                "[]:80",
                "[]",
            ),
            *("[2001:db8::7", "2001:db8::7]", "[2001:db8::7]:", "[2001:db8::7]4711", "[[::1]]"),
            *('"203.0.113.7"', "for=203.0.113.7", "http://203.0.113.7", "203.0.113.7 198.51.100.1"),
            *("::1%eth0", "[fe80::1%1]:80", '::1%a "b\x9b', "2001:db8::7%", "203.0.113.7%eth0"),
            *("203.0.113.\xb2", "\xa0203.0.113.7", "203.0.113.7\x85", "203.0.113.7\x00"),
        )
    ),
}

# What one field Forwarded says of client and scheme (RFC 7239, the section in front of it).
FORWARDED: dict[str, tuple[Address, str]] = {
    # 4: the examples
    'for="_gazonk"': (None, "http"),
    'For="[2001:db8:cafe::17]:4711"': (("2001:db8:cafe::17", 4711), "http"),
    "for=192.0.2.60;proto=http;by=203.0.113.43": (("192.0.2.60", 0), "http"),
    "for=192.0.2.43, for=198.51.100.17": (("198.51.100.17", 0), "http"),
    "for=192.0.2.43,for=10.0.0.17": (("192.0.2.43", 0), "http"),
    # 6: nodes
    'for="192.0.2.43:47011"': (("192.0.2.43", 47011), "http"),
    'for="[2001:db8:cafe::17]:47011"': (("2001:db8:cafe::17", 47011), "http"),
    'for="192.0.2.43:_port.1-x"': (("192.0.2.43", 0), "http"),
    'for="[::ffff:192.0.2.43]:1"': (("192.0.2.43", 1), "http"),
    # 6.2 and 6.3: "unknown" and obfuscated names end the walk
    "for=unknown;proto=https": (None, "https"),
    'for="unknown:80";proto=https': (None, "https"),
    "for=_hidden, for=_SEVKISEK": (None, "http"),
    "for=192.0.2.43, for=_hidden;proto=https": (None, "https"),
    "for=192.0.2.43;proto=https, for=unknown, for=10.0.0.1": (("10.0.0.1", 0), "http"),
    # 7.1: one field, with and without blanks
    'for=192.0.2.43, for="[2001:db8:cafe::17]", for=unknown': (None, "http"),
    'for=192.0.2.43,for="[2001:db8:cafe::17]",for=10.0.0.1': (("2001:db8:cafe::17", 0), "http"),
    # 7.4
    'for=192.0.2.43, for="[2001:db8:f::17]"': (("192.0.2.43", 0), "http"),
    # The scheme is that of the element with the client.
    "for=192.0.2.43;proto=https, for=10.0.0.1;proto=http": (("192.0.2.43", 0), "https"),
    "for=192.0.2.43, for=10.0.0.1;proto=https": (("192.0.2.43", 0), "http"),
    "for=198.51.100.1;proto=https, for=192.0.2.43": (("192.0.2.43", 0), "http"),
    "for=10.0.0.3;proto=https, for=10.0.0.1": (("10.0.0.3", 0), "https"),
    "for=unknown, for=10.0.0.1;proto=https": (("10.0.0.1", 0), "https"),
    "for=unknown;proto=https, for=10.0.0.1": (("10.0.0.1", 0), "http"),
    "proto=https": (None, "https"),
    "for=192.0.2.43, by=10.0.0.1;proto=https": (None, "https"),
    "for=192.0.2.43;PROTO=WSS": (("192.0.2.43", 0), "https"),
    "for=192.0.2.43;proto=gopher": (("192.0.2.43", 0), "http"),
    # Quoted strings
    'proto="https";for="192.0.2.43"': (("192.0.2.43", 0), "https"),
    r'for="192\.0.2.4\3";proto=htt\ps': (None, "http"),
    r'for="192\.0.2.4\3"': (("192.0.2.43", 0), "http"),
    r'by="a, b; c\"d, \\";for=192.0.2.43;proto=https': (("192.0.2.43", 0), "https"),
    r'for=192.0.2.43;proto=https, for=10.0.0.1;by=", for=198.51.100.1;\\\", "': (
        ("192.0.2.43", 0),
        "https",
    ),
    'secret="";for=192.0.2.43': (("192.0.2.43", 0), "http"),
    # Blanks that a strict proxy would not write, and empty elements
    " \tfor=192.0.2.43 ; proto=https\t": (("192.0.2.43", 0), "https"),
    ", ,for=192.0.2.43, ,": (("192.0.2.43", 0), "http"),
    # A client's quote does not swallow what the proxies add behind it.
    'for="198.51.100.1, for=192.0.2.43;proto=https': (("192.0.2.43", 0), "https"),
    'for="198.51.100.1, for="[2001:db8::7]";proto=https': (("2001:db8::7", 0), "https"),
    'for="[2001:db8::9], for="[2001:db8::7]", for=10.0.0.1': (("2001:db8::7", 0), "http"),
    '", for=192.0.2.43': (("192.0.2.43", 0), "http"),
    r'for="x\, for=192.0.2.43': (("192.0.2.43", 0), "http"),
    r'for=x\", for="192.0.2.43"': (("192.0.2.43", 0), "http"),
    r'for="x\\", for="192.0.2.43:1"': (("192.0.2.43", 1), "http"),
    # Malformed: the whole element says nothing, and ends the walk.
    **dict.fromkeys(
        (
            *("", " ", ",", ";", "for", "for=", "=192.0.2.43", "for:192.0.2.43", "192.0.2.43"),
            *("proto=https;for", "proto=https;", ";proto=https", "proto=https;;for=192.0.2.43"),
            *("for=192.0.2.43 proto=https", "for= 192.0.2.43", "for =192.0.2.43", "for==1.2.3.4"),
            *("for=2001:db8::7", "for=[2001:db8::7]", "for=192.0.2.43:80", "proto=https;x=a b"),
            *("for=192.0.2.43;for=192.0.2.44", "proto=https;Proto=https", "proto=https;x=\xe9"),
            *('for="192.0.2.43', 'for=192.0.2.43"', 'for="192.0.2.43"x', '"for"=192.0.2.43'),
            *(r'for="192.0.2.43\"', r"for=192\.0.2.43", 'proto=https;x="', "proto=https\x00"),
            *('for="[::1%eth0]"', 'for="[fe80::1%, \x9b]:80"', 'for="fe80::1%1"', 'for="[]"'),
            *("for=198.51.100.1, garbage", "for=198.51.100.1;proto=https, for=192.0.2.43;"),
        ),
        (None, "http"),
    ),
    'for="2001:db8::7"': (("2001:db8::7", 0), "http"),
    "for=198.51.100.1;proto=https, garbage, for=10.0.0.1": (("10.0.0.1", 0), "http"),
}


# What no host is, between the quotes of Forwarded.
BAD_HOSTS = ("", "a b", "\x9b", "a/b", "a:b", ":80", "a:65536", "[::1", "::1", "a@b", r"\"a\"")


def fields(*lines: str) -> list[Header]:
    """Return "Name: value" lines as a head has them."""
    pairs = (line.partition(":") for line in lines)
    return [(name.lower().encode(), value.strip(" ").encode("latin-1")) for name, _, value in pairs]


def read(*lines: str, own: Origin = OWN, is_trusted: bool = True, **values: Any) -> Origin:
    """Return the origin of a request with these header lines."""
    values = {"proxy_headers": True, "trusted_proxies": TRUSTED} | values
    reader = ProxyHeaders(ServerConfig().replace(**values).proxy)
    return reader.read(fields(*lines), own, is_trusted)


class XForwardedTests(unittest.TestCase):
    """X-Forwarded-For, -Proto and -Port."""

    def test_client(self):
        """The proxies tell of the client, with their own addresses behind it."""
        for value, client in CLIENTS.items():
            with self.subTest(value):
                expected = OWN._replace(client=client or PEER)
                self.assertEqual(read(f"X-Forwarded-For: {value}"), expected)

    def test_lines(self):
        """The proxies add lines, where others add to the line."""
        for lines, client in (
            (("198.51.100.1", "203.0.113.7"), SEVEN),
            (("203.0.113.7", "10.0.0.1"), SEVEN),
            (("198.51.100.1, 203.0.113.7", "", "10.0.0.2, 10.0.0.1", ","), SEVEN),
            (("203.0.113.7", "garbage", "10.0.0.1"), ("10.0.0.1", 0)),
        ):
            found = read(*(f"X-Forwarded-For: {line}" for line in lines))
            self.assertEqual(found.client, client, lines)

    def test_everybody(self):
        """The operator believes everybody: the client is the leftmost."""
        found = read("X-Forwarded-For: 203.0.113.7:1, 198.51.100.1:2", trusted_proxies=["*"])
        self.assertEqual(found.client, ("203.0.113.7", 1))

    def test_no_address_of_its_own(self):
        """The proxy comes over a unix socket."""
        nowhere = OWN._replace(client=None, server=None)
        for value, client in (("203.0.113.7", SEVEN), ("unknown", None)):
            found = read(f"X-Forwarded-For: {value}", own=nowhere)
            self.assertEqual(found, nowhere._replace(client=client))

    def test_other_name(self):
        """The operator names another header, and the usual one says nothing."""
        lines = ("X-Real-IP: 203.0.113.7", "X-Forwarded-For: 198.51.100.1")
        for name in ("X-Real-IP", "x-real-ip"):
            self.assertEqual(read(*lines, proxy_headers_host=name).client, SEVEN)
        self.assertEqual(read(lines[1], proxy_headers_host="X-Real-IP"), OWN)

    def test_client_port(self):
        """The operator names the header with the client's port, which then counts."""
        one = "X-Forwarded-For: 203.0.113.7:1"
        for value, port in (("4711", 4711), ("1, 4711", 4711), ("0", 1), ("x", 1), ("65536", 1)):
            found = read(one, f"X-Port: {value}", proxy_headers_port="X-Port")
            self.assertEqual(found, OWN._replace(client=("203.0.113.7", port)))
        self.assertEqual(read(one, proxy_headers_port="X-Port").client, ("203.0.113.7", 1))
        # Without an address there is nothing that the port could be of.
        self.assertEqual(read("X-Port: 4711", proxy_headers_port="X-Port").client, PEER)

    def test_port_as_daphne(self):
        """The operator wants X-Forwarded-Port for the client's port, too."""
        found = read(
            *("X-Forwarded-For: 203.0.113.7", "X-Forwarded-Port: 4711", "Host: zebra.example"),
            proxy_headers_port="X-Forwarded-Port",
        )
        expected = (("203.0.113.7", 4711), ("zebra.example", 4711))
        self.assertEqual((found.client, found.server), expected)

    def test_scheme(self):
        """The proxy tells the scheme that the client used; the last value is its own."""
        tls = OWN._replace(scheme="https")
        for own, scheme, values in (
            (OWN, "https", ("https", "HTTPS", "wss", "http, https", "ftp,https", "x,\thttps\t")),
            (tls, "http", ("http", "Http", "ws", "https, http", "https,http ")),
            (OWN, "http", ("", "ftp", "https,", "https, x", "https x", "https:", "s", "\xdftps")),
            (tls, "https", ("", "ftp", "http,", "http, x", "on", "httpss", "0")),
        ):
            for value in values:
                found = read(f"X-Forwarded-Proto: {value}", own=own)
                self.assertEqual(found, own._replace(scheme=scheme), value)
        found = read("X-Forwarded-Proto: http", "X-Forwarded-Proto: https")
        self.assertEqual(found.scheme, "https")

    def test_server(self):
        """The browser asked for a name and a port, which may be the scheme's."""
        for lines, server in (
            (("Host: zebra.example",), ("zebra.example", 80)),
            (("Host: zebra.example:8080",), ("zebra.example", 8080)),
            (("Host: zebra.example:",), ("zebra.example", 80)),
            (("Host: [2001:db8::1]",), ("2001:db8::1", 80)),
            (("Host: [2001:db8::1]:8080",), ("2001:db8::1", 8080)),
            (("Host: zebra.example", "X-Forwarded-Proto: https"), ("zebra.example", 443)),
            (("Host: zebra.example:80", "X-Forwarded-Proto: https"), ("zebra.example", 80)),
            (("Host: zebra.example:80", "X-Forwarded-Port: 8443"), ("zebra.example", 8443)),
            (("Host: zebra.example", "X-Forwarded-Port: 1, 8443"), ("zebra.example", 8443)),
            (("X-Forwarded-Port: 1", "X-Forwarded-Port: 8443"), ("127.0.0.9", 8443)),
            (("X-Forwarded-Proto: https",), SERVER),
            (("Host:",), SERVER),
        ):
            self.assertEqual(read("X-Forwarded-For: 203.0.113.7", *lines).server, server, lines)
        self.assertEqual(read("Host: zebra.example"), OWN)

    def test_port(self):
        """The proxy tells a port that is one, or it says nothing."""
        for value, port in (("1", 1), ("65535", 65535), ("00443", 443), (" 443 ", 443)):
            self.assertEqual(read(f"X-Forwarded-Port: {value}").server, (SERVER[0], port))
        for value in ("", "0", "65536", "99999", "000443", "-1", "+1", "x", "443,", "0x1", "\xb2"):
            self.assertEqual(read(f"X-Forwarded-Port: {value}").server, SERVER, value)
        nowhere = OWN._replace(server=None)
        self.assertIsNone(read("X-Forwarded-Port: 443", own=nowhere).server)


class ForwardedTests(unittest.TestCase):
    """Forwarded (RFC 7239)."""

    def test_one_line(self):
        """The proxies write one line; its elements tell of client and scheme."""
        for value, (client, scheme) in FORWARDED.items():
            with self.subTest(value):
                expected = OWN._replace(client=client or PEER, scheme=scheme)
                self.assertEqual(read(f"Forwarded: {value}"), expected)

    def test_lines(self):
        """The proxies write lines, which mean the same as one (RFC 7239, section 7.1)."""
        for lines, client in (
            (("for=192.0.2.43", 'for="[2001:db8:cafe::17]", for=unknown'), PEER),
            (
                ("for=192.0.2.43", 'for="[2001:db8:cafe::17]", for=10.0.0.1'),
                ("2001:db8:cafe::17", 0),
            ),
            (("for=192.0.2.43", "", 'for="[2001:db8:f::17]"', ","), ("192.0.2.43", 0)),
            (('for="198.51.100.1', "for=192.0.2.43"), ("192.0.2.43", 0)),
            (("for=198.51.100.1", "garbage", "for=10.0.0.1"), ("10.0.0.1", 0)),
        ):
            found = read(*(f"Forwarded: {line}" for line in lines))
            self.assertEqual(found.client, client, lines)

    def test_host(self):
        """The browser asked for what the element with the client says, else for the Host."""
        host = "Host: inner.example:8000"
        for value, server in (
            ("for=192.0.2.43;host=zebra.example", ("zebra.example", 80)),
            ("for=192.0.2.43;host=zebra.example;proto=https", ("zebra.example", 443)),
            ('for=192.0.2.43;Host="zebra.example:8443"', ("zebra.example", 8443)),
            ('for=192.0.2.43;host="[2001:db8::1]:8443"', ("2001:db8::1", 8443)),
            ('for=192.0.2.43;host="[2001:db8::1]";proto=https', ("2001:db8::1", 443)),
            ("for=192.0.2.43;host=zebra.example, for=10.0.0.1;host=x", ("zebra.example", 80)),
            ("for=192.0.2.43, for=10.0.0.1;host=x", ("inner.example", 8000)),
            ("for=192.0.2.43", ("inner.example", 8000)),
            ("for=unknown;host=zebra.example", ("zebra.example", 80)),
            *((f'for=192.0.2.43;host="{bad}"', ("inner.example", 8000)) for bad in BAD_HOSTS),
            ("garbage", ("inner.example", 8000)),
        ):
            self.assertEqual(read(host, f"Forwarded: {value}").server, server, value)
        self.assertEqual(read("Forwarded: for=192.0.2.43").server, SERVER)


class ChoiceTests(unittest.TestCase):
    """Which headers are read, and of whom."""

    X = ("X-Forwarded-For: 203.0.113.7",)
    RFC = ("Forwarded: for=192.0.2.43",)
    OTHERS: ClassVar[dict[str, Any]] = {
        "proxy_headers_host": "X-Real-IP",
        "proxy_headers_port": "X-Port",
    }

    def test_format(self):
        """The operator says what the proxy writes, and the other is only a header."""
        rfc = ("192.0.2.43", 0)
        for chosen, x, forwarded in (
            ("auto", SEVEN, rfc),
            ("x-forwarded", SEVEN, PEER),
            ("forwarded", PEER, rfc),
        ):
            options: dict[str, Any] = {"proxy_headers_format": chosen}
            self.assertEqual(read(*self.X, **options).client, x)
            self.assertEqual(read(*self.RFC, **options).client, forwarded)
            if chosen != "auto":
                both = x if forwarded is PEER else forwarded
                self.assertEqual(read(*self.X, *self.RFC, **options).client, both)

    def test_both(self):
        """The request has headers of both families, and one of them may be the client's."""
        reader = ProxyHeaders(ServerConfig().replace(proxy_headers=True).proxy)
        with self.assertLogs(LOGGER, "WARNING") as logs:
            for line in ("X-Forwarded-For: x", "X-Forwarded-Proto:", "X-Forwarded-Port: 1"):
                for lines in ((line, "Forwarded:"), ("Forwarded: for=x", line)):
                    with self.assertRaises(PeerError) as caught:
                        reader.read(fields(*lines), OWN, True)
                    self.assertEqual(caught.exception.status, 400)
        self.assertEqual(len(logs.records), 1)
        self.assertIn("--proxy-headers-format", logs.output[0])
        self.assertEqual(reader.read(fields(*self.X, *self.RFC), OWN, False), OWN)

    def test_both_with_other_names(self):
        """The operator's own header counts for the family, in place of the usual one."""
        for line in ("X-Real-IP: 203.0.113.7", "X-Port: 1"):
            with self.assertRaises(PeerError), self.assertLogs(LOGGER, "WARNING"):
                read(line, *self.RFC, **self.OTHERS)
        self.assertEqual(read(*self.X, *self.RFC, **self.OTHERS).client, ("192.0.2.43", 0))

    def test_not_believed(self):
        """The peer is not trusted, or the operator has not asked for these headers."""
        lines = (*self.X, "X-Forwarded-Proto: https", "X-Forwarded-Port: 1", "Host: zebra.example")
        for given in (lines, self.RFC, (*lines, *self.RFC)):
            self.assertEqual(read(*given, is_trusted=False), OWN)
            self.assertEqual(read(*given, proxy_headers=False), OWN)

    def test_names(self):
        """The caller asks which requests are worth a look."""
        reader = ProxyHeaders(ServerConfig().proxy)
        self.assertEqual(reader.names, {b"daphne-root-path"})
        always = {b"daphne-root-path", b"forwarded", b"x-forwarded-proto", b"x-forwarded-port"}
        reader = ProxyHeaders(ServerConfig().replace(proxy_headers=True).proxy)
        self.assertEqual(reader.names, always | {b"x-forwarded-for"})
        reader = ProxyHeaders(ServerConfig().replace(proxy_headers=True, **self.OTHERS).proxy)
        self.assertEqual(reader.names, always | {b"x-real-ip", b"x-port"})

    def test_bad_names(self):
        """The operator names a header that has another meaning."""
        for option in ("proxy_headers_host", "proxy_headers_port"):
            for name in ("Forwarded", "forwarded", "Host", "HOST", "X Y", "X:", ""):
                with self.assertRaisesRegex(ConfigurationError, f"^{option}: "):
                    ServerConfig().replace(proxy_headers=True, **{option: name})

    def test_trusts(self):
        """The caller asks whether a peer is believed."""
        reader = ProxyHeaders(ServerConfig().replace(trusted_proxies=["192.0.2.1"]).proxy)
        self.assertTrue(reader.trusts(("192.0.2.1", 1)))
        self.assertFalse(reader.trusts(PEER))
        self.assertFalse(reader.trusts(None))
        for values, peer, other in ((["unix"], None, PEER), (["127.0.0.1"], PEER, None)):
            reader = ProxyHeaders(ServerConfig().replace(trusted_proxies=values).proxy)
            self.assertEqual((reader.trusts(peer), reader.trusts(other)), (True, False))


class RootPathTests(unittest.TestCase):
    """Daphne-Root-Path, where the proxy has mounted the application."""

    def read(self, *values: str, is_trusted: bool = True, times: int = 1) -> str:
        """Return the root path of requests with these values, of which no field is left."""
        reader = ProxyHeaders(ServerConfig().replace(proxy_headers=False).proxy)
        for _ in range(times):
            headers = fields("Host: a", *(f"Daphne-Root-Path: {value}" for value in values), "X: b")
            found = reader.read(headers, OWN, is_trusted)
            self.assertEqual(headers, fields("Host: a", "X: b"))
            self.assertEqual(found._replace(root_path="/own"), OWN)
        return found.root_path

    def test_good(self):
        """The proxy sends a path, percent-encoded or not, or none; the last one counts."""
        for value, root_path in (
            ("/zebra", "/zebra"),
            ("/a/b//c", "/a/b//c"),
            ("/caf%C3%A9", "/caf\xe9"),
            ("%2Fzebra", "/zebra"),
            ("/%zz", "/%zz"),
            ("/%252F", "/%2F"),
            ("", ""),
        ):
            with self.assertNoLogs(LOGGER, "WARNING"):
                self.assertEqual(self.read(value), root_path)
                self.assertEqual(self.read("bad", "/other", value), root_path)

    def test_believed(self):
        """The operator is told once whom the server believes, for it may be the client's word."""
        with self.assertLogs(LOGGER, "INFO") as logs:
            self.read("/zebra", times=3)
        found = [(record.levelname, record.args) for record in logs.records]
        self.assertEqual(found, [("INFO", ("127.0.0.1",))])

    def test_bad(self):
        """The proxy sends what no root path is, and the operator is told once."""
        for value in (
            *("/", "//", "/zebra/", "zebra", "/zebra%2F", "/a b", "/a%20b", "/a?b", "/a#b", "."),
            *("/a%3Fb", "/a%0D%0Ab", "/a%00", "/a\x7f", "http://zebra.example/a", "%", "\xe9"),
        ):
            with self.subTest(value), self.assertLogs(LOGGER, "WARNING") as logs:
                self.assertEqual(self.read("/other", value, times=3), "/own")
            self.assertEqual([record.args for record in logs.records], [(value,)])

    def test_long(self):
        """The proxy sends more than anybody wants to read in a log."""
        with self.assertLogs(LOGGER, "WARNING") as logs:
            self.assertEqual(self.read("/" * 65000), "/own")
        self.assertLess(len(logs.output[0]), 500)

    def test_not_trusted(self):
        """Somebody else sends it, and the operator is told once, of every kind of peer."""
        with self.assertLogs(LOGGER, "WARNING") as logs:
            self.assertEqual(self.read("/zebra", is_trusted=False, times=3), "/own")
        self.assertEqual([record.args for record in logs.records], [("127.0.0.1",)])
        reader = ProxyHeaders(ServerConfig().replace(trusted_proxies=[]).proxy)
        with self.assertLogs(LOGGER, "WARNING") as logs:
            reader.read(fields("Daphne-Root-Path: /a"), OWN._replace(client=None), False)
        self.assertIn("from a unix socket", logs.output[0])


def repeat(piece: str, size: int) -> str:
    """Return about ``size`` characters."""
    return piece * (size // len(piece))


def hostile(size: int) -> Iterator[list[str]]:
    """Yield the lines of requests that could keep a careless reader busy."""
    node = "[^]:1.%_x \t"
    for piece in (*'",\\;= \t', '\\"', '"\\', '",', ',"', '\\,"', '"\\",', "a", 'a=";', 'a="b\\";'):
        yield ["Forwarded: for=1.2.3.4, " + repeat(piece, size)]
        yield ["Forwarded: " + repeat(piece, size) + '"']
        yield ['Forwarded: for="' + repeat(piece, size)]
        yield ['Forwarded: for="' + repeat(piece, size) + '", for=10.0.0.1']
    for element in ("for=10.0.0.1,", 'for="10.0.0.1",', r'for="10.0.0.1";by="\",",'):
        yield ["Forwarded: " + repeat(element, size)]
    yield ["Forwarded: " + ";".join(f"a{number}=b" for number in range(size // 8))]
    for piece in (",", " ", *node, "10.0.0.1,", "1.", "1:", "[::1],", "[1", "x,", "::1,"):
        yield ["X-Forwarded-For: " + repeat(piece, size)]
        yield ["X-Forwarded-For: " + repeat(piece, size) + "!"]
        yield [f"{name}: {repeat(piece, size)}" for name in ("X-Forwarded-Proto", "Host")]
        yield ["X-Forwarded-Port: " + repeat(piece, size)]
    for line in ("X-Forwarded-For: 10.0.0.1", "Forwarded: for=10.0.0.1", "X-Forwarded-Proto: x"):
        yield [line] * (size // len(line))
    for piece in ("/", "%", "%2", "%2F", "%C3", "/a"):
        yield ["Daphne-Root-Path: " + repeat(piece, size)]


def count_lines(function: Callable[..., object], *arguments: Any) -> int:
    """Return how many lines of Python are run by a call."""
    count = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function(*arguments)
    finally:
        sys.settrace(before)
    return count


@contextmanager
def within_cpu_seconds(seconds: float) -> Iterator[None]:
    """Raise TimeoutError when the block computes, and does not only wait, for so long."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


class WorkTests(unittest.TestCase):
    """What a client can make the server do with a long header."""

    def reader(self) -> ProxyHeaders:
        """Return one that remembers nothing yet."""
        values = {"proxy_headers": True, "trusted_proxies": [*TRUSTED, "::1"]}
        return ProxyHeaders(ServerConfig().replace(**values).proxy)

    def test_doubling(self):
        """The client sends twice as much, for twice the work."""
        self.enterContext(self.assertLogs(LOGGER))
        for short, long in zip(hostile(2048), hostile(4096), strict=True):
            with self.subTest(short[0][:50]), within_cpu_seconds(5):
                counts = [
                    count_lines(self.reader().read, fields(*lines), OWN, True)
                    for lines in (short, long)
                ]
                self.assertLessEqual(counts[1], 2.1 * counts[0] + 50)

    def test_patterns(self):
        """The client sends one long element, over which no pattern goes back and forth."""
        self.enterContext(self.assertLogs(LOGGER))
        for lines in hostile(2**17):
            if len(lines) < 3 and max(line.count(",") for line in lines) < 9:
                with self.subTest(lines[0][:50]), within_cpu_seconds(5):
                    self.reader().read(fields(*lines), OWN, True)


@tag("loop")
class WireTests(WireTestCase):
    """What the application is told of requests that came through a proxy, and what the log is."""

    ONE = ("X-Forwarded-For: 203.0.113.7", "X-Forwarded-Proto: https", "Daphne-Root-Path: /seven")
    TWO = ("X-Forwarded-For: 203.0.113.9:9", "X-Forwarded-Port: 99")

    def setUp(self):
        self.puppet = Puppet()

    def behind_proxy(self, peer: Address = PEER, **values: Any) -> MemoryClient:
        """Return the client of a new server, at the address of a peer."""
        values = {"proxy_headers": True, "root_path": "/own"} | values
        return self.serve(self.puppet, **values).connect(client=peer)

    def wire(self, *lines: str) -> bytes:
        """Return a request with these lines."""
        return request(*(line.encode() for line in lines))

    def facts(self, client: MemoryClient, *lines: str) -> tuple[Any, ...]:
        """Send a request; return client, scheme, server and root path as the application saw it."""
        count = len(self.puppet.calls)
        client.send(self.wire(*lines))
        (call,) = self.puppet.calls[count:]
        call.answer()
        self.assertEqual(client.statuses(), [200])
        return self.scope_facts(call.scope)

    def scope_facts(self, scope: Any) -> tuple[Any, ...]:
        """Return the four values of a scope that a proxy has a say in."""
        return scope["client"], scope["scheme"], scope["server"], scope["root_path"]

    OWN_FACTS = (PEER, "http", HOST, "/own")
    ONE_FACTS = (SEVEN, "https", ("zebra.example", 443), "/seven")
    TWO_FACTS = (("203.0.113.9", 9), "http", ("zebra.example", 99), "/own")

    def header_names(self) -> list[bytes]:
        """Return the names of the headers that the last call was given."""
        return [name for name, _ in self.puppet.calls[-1].scope["headers"]]

    def test_x_forwarded(self):
        """The proxy tells of its client, and the application sees who that is."""
        client = self.behind_proxy()
        self.assertEqual(self.facts(client, *self.ONE), self.ONE_FACTS)
        self.assertEqual(
            self.puppet.calls[0].scope["headers"],
            fields("Host: zebra.example", *self.ONE[:2]),
        )

    def test_forwarded(self):
        """The proxy tells of its client in one line."""
        line = 'Forwarded: for="[2001:db8::7]:4711";proto=https;host="zebra.example:8443"'
        expected = (("2001:db8::7", 4711), "https", ("zebra.example", 8443), "/own")
        self.assertEqual(self.facts(self.behind_proxy(), line), expected)

    def test_unix_socket(self):
        """The proxy comes over a unix socket, where neither side has an address."""
        server = self.serve(self.puppet, proxy_headers=True, root_path="/own")
        client = server.connect(client=None, server=None)
        self.assertEqual(self.facts(client, *self.ONE), self.ONE_FACTS)
        self.assertEqual(self.facts(client, "X-Forwarded-For: x")[0], None)

    def test_tls_to_the_proxy_alone(self):
        """The proxy speaks TLS to the server, and says that its client did not."""
        server = self.serve(self.puppet, proxy_headers=True)
        client = server.connect(client=PEER, is_tls=True)
        self.assertEqual(self.facts(client, "X-Forwarded-Proto: http")[1:3][0], "http")
        self.assertEqual(self.facts(client, "X-Forwarded-For: 203.0.113.7")[1], "https")

    def test_not_trusted(self):
        """The client forges everything there is, which changes nothing and is told once."""
        with self.assertLogs(LOGGER, "WARNING") as logs:
            client = self.behind_proxy(peer=CLIENT)
            for each in (client, client, client.server.connect(client=CLIENT)):
                facts = self.facts(each, *self.ONE, *self.TWO, "Forwarded: for=192.0.2.43")
                self.assertEqual(facts, (CLIENT, *self.OWN_FACTS[1:]))
                self.assertNotIn(b"daphne-root-path", self.header_names())
                self.assertIn(b"forwarded", self.header_names())
        self.assertEqual([record.args for record in logs.records], [(CLIENT[0],)])
        self.assertEqual([each.client for each in client.server.access], [CLIENT] * 3)

    def test_nobody_trusted(self):
        """The operator trusts nobody, not even the machine itself."""
        client = self.behind_proxy(trusted_proxies=[])
        self.assertEqual(self.facts(client, *self.TWO), self.OWN_FACTS)

    def test_off(self):
        """The operator has not asked for the headers of proxies; the root path counts always."""
        client = self.behind_proxy(proxy_headers=False)
        self.assertEqual(self.facts(client, *self.ONE), (*self.OWN_FACTS[:3], "/seven"))
        self.assertNotIn(b"daphne-root-path", self.header_names())
        self.assertEqual(self.facts(client), self.OWN_FACTS)

    def test_underscores(self):
        """The client writes underscores for dashes, as no proxy looks for them."""
        lines = ("X_Forwarded_For: 203.0.113.7", "Daphne_Root_Path: /x", "X-Forwarded_Proto: https")
        self.assertEqual(self.facts(self.behind_proxy(), *lines), self.OWN_FACTS)
        self.assertEqual(self.header_names(), [b"host"])

    def test_both(self):
        """The request has headers of both families and is refused, with what stands behind it."""
        with self.assertLogs(LOGGER, "WARNING") as logs:
            first = self.behind_proxy()
            for client in (first, first.server.connect(client=PEER)):
                client.send(self.wire(*self.TWO, "Forwarded: for=192.0.2.43") + self.wire())
                self.assertEqual(client.statuses(), [400])
                self.assert_ends(client)
        self.assertEqual((len(logs.records), self.puppet.calls), (1, []))
        found = [(each.status, each.client) for each in first.server.access]
        self.assertEqual(found, [(400, PEER)] * 2)

    def test_both_and_a_body(self):
        """The request has headers of both families, and a body; there is room for the next one."""
        fields = (b"X-Forwarded-For: x", b"Forwarded: for=x", b"Content-Length: 5")
        first = self.behind_proxy(limit_concurrency=1)
        with self.assertLogs(LOGGER, "WARNING"):
            for client in (first, first.server.connect(client=PEER)):
                client.send(request(*fields, line=b"POST / HTTP/1.1", body=b"hello"))
                self.assertEqual(client.statuses(), [400])
                client.half_close()
                self.assert_ends(client)
        self.assertEqual(self.puppet.calls, [])
        self.assertEqual(self.facts(first.server.connect(client=PEER), *self.TWO), self.TWO_FACTS)

    def test_both_behind_a_good_one(self):
        """The request behind a good one is refused; the good one is answered."""
        client = self.behind_proxy()
        with self.assertLogs(LOGGER, "WARNING"):
            client.send(self.wire(*self.TWO) + self.wire(*self.TWO, "Forwarded: for=x"))
            self.puppet.calls[0].answer()
        self.assertEqual(client.statuses(), [200, 400])
        self.assert_ends(client)
        found = [each.client for each in client.server.access]
        self.assertEqual(found, [("203.0.113.9", 9), PEER])

    def test_keep_alive(self):
        """The proxy keeps its connection for many clients, and each is itself."""
        client = self.behind_proxy()
        turns = ((self.ONE, self.ONE_FACTS), (self.TWO, self.TWO_FACTS), ((), self.OWN_FACTS))
        order = [turns[number] for number in (0, 1, 2, 0, 2, 1, 0, 0, 0, 1, 1, 2, 2)]
        for lines, expected in order:
            self.assertEqual(self.facts(client, *lines), expected)
            self.assertNotIn(b"daphne-root-path", self.header_names())
        found = [each.client for each in client.server.access]
        self.assertEqual(found, [expected[0] for _, expected in order])

    def test_garbage_behind(self):
        """The proxy sends garbage behind a request of a client, who has no part in it."""
        client = self.behind_proxy()
        self.facts(client, *self.ONE)
        client.send(b"garbage\r\n\r\n")
        self.assertEqual([each.client for each in client.server.access], [SEVEN, PEER])

    def test_pipelined(self):
        """The proxy sends requests of several clients in one piece, cut anywhere."""
        parts: Iterable[tuple[str, ...]] = (self.ONE, (), self.TWO, self.ONE, ())
        wire = b"".join(self.wire(*lines) for lines in parts)
        for is_bytewise in (False, True):
            self.puppet.calls.clear()
            client = self.behind_proxy()
            if is_bytewise:
                client.feed_bytewise(wire)
            else:
                client.send(wire)
            for number in range(5):
                self.puppet.calls[number].answer()
            found = [self.scope_facts(call.scope) for call in self.puppet.calls]
            own, one = self.OWN_FACTS, self.ONE_FACTS
            self.assertEqual(found, [one, own, self.TWO_FACTS, one, own])
            self.assertEqual(client.statuses(), [200] * 5)
            clients = [each.client for each in client.server.access]
            self.assertEqual(clients, [facts[0] for facts in found])
