"""The scope of a request: every key of it."""

from __future__ import annotations

from typing import Any
from unittest.mock import ANY

from django.test import tag

from tests.compliance import request
from tests.support.memory import Puppet, WireTestCase
from tests.support.wire import CLIENT, HOST

EXTENSIONS: dict[str, object] = {
    "http.response.trailers": {},
    "http.response.early_hint": {},
    "http.response.pathsend": {},
    "http.response.zerocopysend": {},
    "django_daphne.trace": ANY,
}


class ScopeTestCase(WireTestCase):
    """Tests of scopes."""

    def scope(self, wire: bytes, **values: Any) -> Any:
        """Return the scope of a request."""
        return self.begin(wire, **values)[1].scope

    def target(self, target: bytes) -> tuple[str, bytes, bytes]:
        """Return path, raw_path and query_string of a request target."""
        scope = self.scope(request(line=b"GET " + target + b" HTTP/1.1"))
        return scope["path"], scope["raw_path"], scope["query_string"]


@tag("loop")
class WholeScopeTests(ScopeTestCase):
    """Nothing is missing and nothing is there that is not asked for."""

    maxDiff = None

    def test_http11(self):
        """The client speaks HTTP/1.1."""
        wire = (
            b"POST /a%20b/?x=%20&y HTTP/1.1\r\nHost: zebra.example\r\nX-A:  1 \r\nx-a: \r\n"
            b"Content-Length: 0\r\n\r\n"
        )
        self.assertEqual(
            self.scope(wire),
            {
                "type": "http",
                "asgi": {"version": "3.0", "spec_version": "2.5"},
                "http_version": "1.1",
                "method": "POST",
                "scheme": "http",
                "path": "/a b/",
                "raw_path": b"/a%20b/",
                "query_string": b"x=%20&y",
                "root_path": "",
                "headers": [
                    (b"host", b"zebra.example"),
                    (b"x-a", b"1"),
                    (b"x-a", b""),
                    (b"content-length", b"0"),
                ],
                "client": CLIENT,
                "server": HOST,
                "extensions": EXTENSIONS,
            },
        )

    def test_http10(self):
        """The client speaks HTTP/1.0, which has neither trailers nor hints, and needs no Host."""
        self.assertEqual(
            self.scope(b"GET / HTTP/1.0\r\n\r\n", root_path="/mount"),
            {
                "type": "http",
                "asgi": {"version": "3.0", "spec_version": "2.5"},
                "http_version": "1.0",
                "method": "GET",
                "scheme": "http",
                "path": "/",
                "raw_path": b"/",
                "query_string": b"",
                "root_path": "/mount",
                "headers": [],
                "client": CLIENT,
                "server": HOST,
                "extensions": {
                    "http.response.pathsend": {},
                    "http.response.zerocopysend": {},
                    "django_daphne.trace": ANY,
                },
            },
        )

    def test_tls_and_unix_socket(self):
        """The client comes over TLS, or over a unix socket where nobody has an address."""
        puppet = Puppet()
        server = self.serve(puppet)
        for options in ({"is_tls": True}, {"client": None, "server": None}):
            server.connect(**options).send(request())
        over_tls, over_unix = (call.scope for call in puppet.calls)
        self.assertEqual(over_tls["scheme"], "https")
        self.assertEqual((over_unix["client"], over_unix["server"]), (None, None))


@tag("loop")
class TargetTests(ScopeTestCase):
    """Paths and queries."""

    def test_decoding(self):
        """The client escapes what it likes; path is text, raw_path what it sent."""
        self.assertEqual(self.target(b"/%C3%A9%2F%41?%41"), ("/\u00e9/A", b"/%C3%A9%2F%41", b"%41"))

    def test_invalid_utf8(self):
        """The client escapes bytes that are no UTF-8; they are replaced."""
        self.assertEqual(self.target(b"/%FF%41")[:2], ("/\ufffdA", b"/%FF%41"))

    def test_invalid_escapes(self):
        """The client sends percent signs that escape nothing."""
        self.assertEqual(self.target(b"/%zz%4"), ("/%zz%4", b"/%zz%4", b""))

    def test_decoded_once(self):
        """The client escapes a percent sign, which stays one."""
        self.assertEqual(self.target(b"/%2541%00"), ("/%41\x00", b"/%2541%00", b""))

    def test_plus_and_dots(self):
        """The client's path is not made prettier."""
        self.assertEqual(self.target(b"//a/../b;c+d"), ("//a/../b;c+d", b"//a/../b;c+d", b""))

    def test_queries(self):
        """The client sends an empty query, or one with question marks."""
        self.assertEqual(self.target(b"/?"), ("/", b"/", b""))
        self.assertEqual(self.target(b"/a?b?c"), ("/a", b"/a", b"b?c"))

    def test_absolute(self):
        """The client sends an absolute target, whose authority wins over Host."""
        scope = self.scope(request(line=b"GET HTTP://other.example:81/a?b HTTP/1.1"))
        self.assertEqual((scope["path"], scope["query_string"]), ("/a", b"b"))
        self.assertEqual(scope["headers"], [(b"host", b"other.example:81")])
        self.assertEqual(self.target(b"http://other.example?b"), ("/", b"/", b"b"))

    def test_asterisk(self):
        """The client asks for the server's options."""
        scope = self.scope(request(line=b"OPTIONS * HTTP/1.1"))
        self.assertEqual((scope["path"], scope["raw_path"]), ("*", b"*"))


@tag("loop")
class HeaderTests(ScopeTestCase):
    """The headers of a request."""

    def test_underscores(self):
        """The client sends names with underscores, which pass for those with dashes: dropped."""
        scope = self.scope(request(b"X_Forwarded_For: 1.2.3.4", b"X-Real: 1", b"_: 2"))
        self.assertEqual(scope["headers"], [(b"host", b"zebra.example"), (b"x-real", b"1")])

    def test_underscore_does_not_frame(self):
        """The client sends Content_Length, which is no Content-Length."""
        _, call = self.begin(request(b"Content_Length: 5"))
        self.assertFalse(call.receive_now()["more_body"])

    def test_order_and_repetition(self):
        """The client repeats headers; they stay apart and in order."""
        scope = self.scope(request(b"Cookie: a=1", b"X: \xe9 \t", b"Cookie: b=2"))
        expected = [(b"cookie", b"a=1"), (b"x", b"\xe9"), (b"cookie", b"b=2")]
        self.assertEqual(scope["headers"][1:], expected)


@tag("loop")
class OwnershipTests(ScopeTestCase):
    """What a request may change without another one noticing."""

    def scopes(self, state: dict[str, Any] | None) -> list[Any]:
        """Return the scopes of two requests on one connection."""
        puppet = Puppet()
        server = self.serve(puppet, state=state)
        client = server.connect()
        client.send(request() * 2)
        puppet.calls[0].answer()
        return [call.scope for call in puppet.calls]

    def test_state(self):
        """The application's state is copied, its values are shared."""
        pool: list[int] = []
        state = {"pool": pool}
        first, second = self.scopes(state)
        first["state"]["user"] = 1
        first["state"]["pool"].append(2)
        self.assertEqual(second["state"], {"pool": [2]})
        self.assertEqual(state, {"pool": [2]})

    def test_no_state(self):
        """The application knows no lifespan and has no state."""
        self.assertNotIn("state", self.scopes(None)[0])

    def test_containers(self):
        """The application changes its scope; the next request has its own."""
        first, second = self.scopes(None)
        first["extensions"].clear()
        first["asgi"].clear()
        first["headers"].clear()
        self.assertEqual(second["extensions"], EXTENSIONS)
        self.assertEqual(second["asgi"]["version"], "3.0")
        self.assertEqual(second["headers"], [(b"host", b"zebra.example")])
