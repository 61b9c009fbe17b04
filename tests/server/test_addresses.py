"""Addresses as the operator writes them: those to listen on, and those to trust."""

from __future__ import annotations

import unittest
from ipaddress import ip_address
from typing import Any, get_args

from django_daphne.server import ConfigurationError, ServerConfig
from django_daphne.server.addresses import (
    BindAddress,
    ProxyProtocol,
    TrustedPeers,
    parse_bind,
    parse_ip,
)
from django_daphne.server.config import ListenConfig
from django_daphne.server.sockets import tcp_addresses

# Value, host and port.
BINDS: tuple[tuple[str, str, int | None], ...] = (
    ("localhost", "localhost", None),
    ("localhost:8000", "localhost", 8000),
    ("www.example.org:80", "www.example.org", 80),
    ("host_a-b:1", "host_a-b", 1),
    ("127.0.0.1", "127.0.0.1", None),
    ("127.0.0.1:0", "127.0.0.1", 0),
    ("127.0.0.1:65535", "127.0.0.1", 65535),
    ("*", "*", None),
    ("*:8000", "*", 8000),
    ("::1", "::1", None),
    ("::", "::", None),
    ("2001:DB8:0:0::1", "2001:db8::1", None),
    ("[::1]", "::1", None),
    ("[::1]:8000", "::1", 8000),
    ("[2001:DB8:0:0::1]:8000", "2001:db8::1", 8000),
    ("[fe80::1%eth0]:8000", "fe80::1%eth0", 8000),
)
BAD_BINDS = (
    *("", " ", ":", ":8000", "host:", "*:", "host:port", "host:-1", "host:+1", "host:8 0"),
    *("host:65536", "host:100000", "[::1]:65536", "[::1]:", "[::1]8000", "[::1", "::1]:80"),
    *("[]", "[]:80", "[host]:80", "[127.0.0.1]:80", "[::g]:80", "1:2:3", "::1::", "::1:80000"),
    *("**", "*.example.org:80", "http://host:80", "host/", "host:80/", "user@host", "host?", "#"),
    *("host,host", "host\n", "host:80\n", " host", "\thost", "host\0:80\n", "host:\u0661"),
)
BAD_PARAMETERS = (
    *("", " ", "  proxy_protocol=v1", " proxy_protocol=v1 ", " proxy_protocol", " proxy_protocol="),
    *(" proxy_protocol=v3", " proxy_protocol=V1", " proxy_protocol=v1v2", " proxy_protocol=v1,v2"),
    *(" proxy-protocol=v1", " PROXY_PROTOCOL=v1", " proxy_protocol=v1 proxy_protocol=v2", " v1"),
    *(" proxy_protocol = v1", " proxy_protocol=v1\n", " backlog=5", " proxy_protocol=None"),
)


class BindTests(unittest.TestCase):
    """The values of --bind."""

    def test_good(self):
        """The operator names a host, with and without a port."""
        for value, host, port in BINDS:
            with self.subTest(value):
                self.assertEqual(parse_bind(value), BindAddress(host, port, None))

    def test_parameter(self):
        """The operator says of one address what its connections begin with."""
        modes = get_args(ProxyProtocol)
        self.assertEqual(modes, ("off", "v1", "v2", "any"))
        for value, host, port in BINDS:
            for mode in modes:
                with self.subTest(value, mode=mode):
                    found = parse_bind(f"{value} proxy_protocol={mode}")
                    self.assertEqual(found, BindAddress(host, port, mode))

    def assert_refused(self, value: str) -> None:
        """The value is none, and a configuration with it says which one it was."""
        with self.subTest(value):
            with self.assertRaises(ValueError):
                parse_bind(value)
            with self.assertRaises(ConfigurationError) as caught:
                ServerConfig().replace(bind=["127.0.0.1", value])
            self.assertIn(repr(value), str(caught.exception))

    def test_bad(self):
        """The operator names what is no address."""
        for value in BAD_BINDS:
            self.assert_refused(value)
            self.assert_refused(f"{value} proxy_protocol=v1")

    def test_bad_parameter(self):
        """The operator writes something else behind an address."""
        for parameter in BAD_PARAMETERS:
            for value in ("host:80", "[::1]:80", "::1", "*"):
                if parameter:
                    self.assert_refused(value + parameter)

    def test_precedence(self):
        """The operator says it of one address, of all, of both; "off" is a word, too."""
        values = ("a:1 proxy_protocol=v2", "b:2 proxy_protocol=off", "c")
        for mode, expected in (("off", ["v2", "off", "off"]), ("v1", ["v2", "off", "v1"])):
            listen = ServerConfig().replace(bind=values, proxy_protocol=mode).listen
            found = tcp_addresses(listen)
            self.assertEqual([each.proxy_protocol for each in found], expected)
            self.assertEqual([(each.host, each.port) for each in found][2], ("c", 8000))
        (default,) = tcp_addresses(ListenConfig(proxy_protocol="any"))
        self.assertEqual(default, BindAddress("127.0.0.1", 8000, "any"))


class IPTests(unittest.TestCase):
    """What is an IP address."""

    def test_good(self):
        """The caller reads an address of either family."""
        for text in ("0.0.0.0", "192.0.2.1", "255.255.255.255", "::", "::1", "2001:db8::1"):
            self.assertEqual(parse_ip(text), ip_address(text))
        self.assertEqual(str(parse_ip("2001:0DB8:0::0:1")), "2001:db8::1")

    def test_mapped(self):
        """The caller reads an IPv4 address that came over a socket of both families."""
        for text in ("::ffff:192.0.2.1", "::FFFF:c000:201", "0:0:0:0:0:ffff:192.0.2.1"):
            self.assertEqual(parse_ip(text), ip_address("192.0.2.1"))
        # Those that only look like it: compatible, translated, and one in the wrong place.
        for text in ("::192.0.2.1", "64:ff9b::192.0.2.1", "::ffff:0:192.0.2.1"):
            self.assertEqual(parse_ip(text), ip_address(text))

    def test_bad(self):
        """The caller reads something else."""
        for text in (
            *("", " ", "localhost", "192.0.2", "192.0.2.1.5", "192.0.2.256", "192.0.2.01"),
            *("192.0.2.1 ", " ::1", "192.0.2.1:80", "[::1]", "192.0.2.1/32", "::1/128", ":::"),
            *("1::2::3", "::g", "1:2:3:4:5:6:7:8:9", "3221225985", "0x7f000001", "-1", "::1\n"),
            *("\u0661.1.1.1", "unix", "*", "." * 70000, ":" * 70000, "1" * 70000),
        ):
            self.assertIsNone(parse_ip(text), text[:50])


class TrustedPeersTests(unittest.TestCase):
    """Whom the operator believes."""

    def assert_trusts(self, values: Any, trusted: Any, others: Any) -> None:
        """Those are believed and these are not, and the same again when they come again."""
        peers = TrustedPeers(ServerConfig().replace(trusted_proxies=values).proxy.trusted_proxies)
        for _ in range(2):
            self.assertEqual([host for host in trusted if not peers.trust(host)], [])
            self.assertEqual([host for host in others if peers.trust(host)], [])

    def test_default(self):
        """The operator says nothing: the machine itself is believed."""
        peers = TrustedPeers(ServerConfig().proxy.trusted_proxies)
        for host in ("127.0.0.1", "127.255.255.255", "::1", "::ffff:127.0.0.1", None):
            self.assertTrue(peers.trust(host), host)
        for host in ("126.255.255.255", "128.0.0.0", "::2", "::", "0.0.0.0", "10.0.0.1"):
            self.assertFalse(peers.trust(host), host)

    def test_addresses(self):
        """The operator names addresses."""
        self.assert_trusts(
            ["192.0.2.1", "2001:DB8::0:1"],
            ["192.0.2.1", "2001:db8::1", "2001:0db8:0:0::1"],
            ["192.0.2.0", "192.0.2.2", "2001:db8::", "2001:db8::2", "127.0.0.1", "::1", None],
        )

    def test_networks(self):
        """The operator names networks, by the length of their prefix or by a mask."""
        inside = ["10.0.0.0", "10.128.0.1", "10.255.255.255"]
        outside = ["9.255.255.255", "11.0.0.0", "::a00:1", "127.0.0.1", None]
        for value in ("10.0.0.0/8", "10.0.0.0/255.0.0.0"):
            self.assert_trusts([value], inside, outside)
        last = "2001:db8:0:ffff:ffff:ffff:ffff:ffff"
        self.assert_trusts(
            ["2001:db8::/48", "192.0.2.1/32"],
            ["2001:db8::", last, "192.0.2.1"],
            ["2001:db8:1::", "2001:db7:ffff::", "192.0.2.2", "::1", None],
        )
        self.assert_trusts(["0.0.0.0/0"], ["0.0.0.0", "203.0.113.9"], ["::1", "::", None])
        self.assert_trusts(["::/0"], ["::1", "2001:db8::1"], ["127.0.0.1", "::ffff:1.2.3.4", None])

    def test_mapped(self):
        """The peer came over a socket of both families and counts as what it is."""
        self.assert_trusts(
            ["192.0.2.0/24", "198.51.100.1"],
            ["::ffff:192.0.2.7", "::ffff:c000:207", "::FFFF:198.51.100.1"],
            ["::ffff:192.0.3.7", "::192.0.2.7", "::ffff:198.51.100.2"],
        )

    def test_mapped_values(self):
        """The operator writes IPv4 addresses as sockets of both families show them."""
        same = ["10.0.0.1", "::ffff:10.0.0.1"]
        others = ["10.0.0.2", "::ffff:10.0.0.2", "::10.0.0.1", None]
        for value in ("::ffff:10.0.0.1", "::FFFF:a00:1", "::ffff:10.0.0.1/128"):
            self.assert_trusts([value], same, others)
        others = ["11.0.0.1", "::ffff:11.0.0.1", "::a00:1", "::1", None]
        self.assert_trusts(["::ffff:10.0.0.0/104"], ["10.0.0.0", "10.255.255.255", *same], others)
        self.assert_trusts(["::ffff:0:0/96"], ["0.0.0.0", "203.0.113.9"], ["::1", "::", None])
        # A wider network is one of IPv6, and no IPv4 address is in it.
        self.assert_trusts(["::/64"], ["::1", "::7"], ["10.0.0.1", "::ffff:10.0.0.1"])

    def test_zones(self):
        """The peer has a link-local address, which names the interface that it came by."""
        self.assert_trusts(
            ["fe80::1", "fe90::/16"],
            ["fe80::1", "fe80::1%eth0", "fe80::1%2", "fe90::2%eth0"],
            ["fe80::2%eth0", "fe80::%1", "%eth0", "%", None],
        )

    def test_unix(self):
        """The peer is on a unix socket, where nobody has an address."""
        self.assert_trusts(["unix"], [None], ["127.0.0.1", "::1", "unix", "*", ""])
        self.assert_trusts(["127.0.0.1"], ["127.0.0.1"], [None])

    def test_everybody(self):
        """The operator believes everybody, whatever their names are."""
        hosts = ["203.0.113.9", "2001:db8::1", "::ffff:1.2.3.4", "fe80::1%eth0", "", "x", None]
        self.assert_trusts(["*"], hosts, [])
        self.assert_trusts(["192.0.2.1", "*"], hosts, [])
        self.assertTrue(TrustedPeers(["*"]).everybody)
        self.assertFalse(TrustedPeers(["0.0.0.0/0", "::/0", "unix"]).everybody)

    def test_nobody(self):
        """The operator believes nobody."""
        self.assert_trusts([], [], ["127.0.0.1", "::1", "0.0.0.0", "::", "", None])

    def test_no_address(self):
        """The peer has a name that is no IP address."""
        hosts = ["", " ", "localhost", "127.0.0.1:80", "[::1]", "127.0.0.1 ", "127.1", "unix", "*"]
        self.assert_trusts(["127.0.0.0/8", "::1", "unix"], [None], hosts)

    def test_many_peers(self):
        """The server sees more peers than it remembers, and each is judged by itself."""
        hosts = [f"10.{number // 200}.{number % 200}.1" for number in range(3000)]
        trusted, others = hosts[: 200 * 5], hosts[200 * 5 :]
        self.assert_trusts([f"10.{number}.0.0/16" for number in range(5)], trusted, others)

    def test_bad(self):
        """The operator names what nobody can be, and is told which."""
        for value in (
            *("", " ", "localhost", "proxy.example.org", "10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/"),
            *("::1/129", "2001:db8::1/32", "10.0.0.256", "10.0.0", "10.0.0.01", "10.0.0.1:80"),
            *("[::1]", "unix:", "UNIX", "unix ", " unix", "/run/socket", "**", "10.*", "any"),
            *(
                "fe80::1%eth0",
                "fe80::%eth0/10",
                "%eth0",
                "::ffff:10.0.0.1/104",
                "::ffff:10.0.0.0/129",
            ),
            *("10.0.0.1-10.0.0.9", "10.0.0.1, 10.0.0.2", "10.0.0.0/8/8"),
        ):
            for values in ([value], ["127.0.0.1", value], ["*", value]):
                with self.subTest(values):
                    with self.assertRaises(ValueError):
                        TrustedPeers(values)
                    with self.assertRaises(ConfigurationError) as caught:
                        ServerConfig().replace(trusted_proxies=values)
                    self.assertRegex(str(caught.exception), "^trusted_proxies: ")
                    self.assertIn(repr(value), str(caught.exception))
