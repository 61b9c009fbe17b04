"""What applications are told of requests of HTTP/2."""

from __future__ import annotations

from typing import Any
from unittest.mock import ANY

from django.test import tag

from tests.support.http2_frames import Field, Fields, request_fields
from tests.support.wire import CLIENT, HOST

from .http2_support import HTTP2TestCase

GET = request_fields()


@tag("loop")
class ScopeTests(HTTP2TestCase):
    """What the application is told of a request."""

    maxDiff = None

    def scope(self, fields: Fields, **options: Any) -> dict[str, Any]:
        """Return the scope of a request."""
        client, calls = self.speak(**options)
        client.ask(fields)
        return dict(calls[0].scope)

    def test_whole(self):
        """The client repeats a header, crumbles a cookie, and sends a name with an underscore."""
        fields = request_fields(
            b"GET",
            b"/a%20b/%C3%BC?x=%20&y",
            (b"cookie", b"a=1"),
            (b"x-a", b"1"),
            (b"x_a", b"2"),
            (b"cookie", b"b=2"),
            (b"x-a", b""),
            (b"cookie", b"c=3"),
        )
        self.assertEqual(
            self.scope(fields, root_path="/mount"),
            {
                "type": "http",
                "asgi": {"version": "3.0", "spec_version": "2.5"},
                "http_version": "2",
                "method": "GET",
                "scheme": "http",
                "path": "/a b/ü",
                "raw_path": b"/a%20b/%C3%BC",
                "query_string": b"x=%20&y",
                "root_path": "/mount",
                "headers": [
                    (b"host", b"zebra.example"),
                    (b"cookie", b"a=1; b=2; c=3"),
                    (b"x-a", b"1"),
                    (b"x-a", b""),
                ],
                "client": CLIENT,
                "server": HOST,
                "extensions": {
                    "http.response.pathsend": {},
                    "http.response.zerocopysend": {},
                    "http.response.trailers": {},
                    "http.response.early_hint": {},
                    "django_daphne.trace": ANY,
                },
            },
        )

    def test_tls(self):
        """The client uses TLS, whatever it says of the scheme."""
        scope = self.scope(request_fields(scheme=b"http"), is_tls=True)
        self.assertEqual(scope["scheme"], "https")
        self.assertIn("tls", scope["extensions"])

    def test_host(self):
        """The client names the host as a field, with :authority or without: it comes first."""
        path: tuple[Field, ...] = ((b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"))
        for fields in (
            (*path, (b"x-a", b"1"), (b"host", b"zebra.example")),
            (*path, (b":authority", b"zebra.example"), (b"x-a", b"1"), (b"host", b"zebra.example")),
        ):
            with self.subTest(fields=fields):
                headers = [(b"host", b"zebra.example"), (b"x-a", b"1")]
                self.assertEqual(self.scope(fields)["headers"], headers)

    def test_options_of_all(self):
        """The client asks what the server can do at all."""
        scope = self.scope(request_fields(b"OPTIONS", b"*"))
        self.assertEqual((scope["path"], scope["raw_path"]), ("*", b"*"))

    def test_own(self):
        """The application changes its scope; the next request of the same fields has its own."""
        client, calls = self.speak()
        for number in (1, 2, 3):
            client.ask(GET)
            scope = calls[-1].scope
            self.assertEqual(scope["headers"], [(b"host", b"zebra.example")], number)
            scope["headers"].append((b"x", b"y"))
            scope["extensions"].clear()
            scope["asgi"].clear()

    def test_proxy(self):
        """The client's proxy says who it is, again and again."""
        fields = request_fields(
            b"GET", b"/", (b"x-forwarded-for", b"198.51.100.7"), (b"x-forwarded-proto", b"https")
        )
        client, calls = self.speak(proxy_headers=True, trusted_proxies=[CLIENT[0]])
        for _ in range(2):
            client.ask(fields)
            scope = calls[-1].scope
            self.assertEqual((scope["client"], scope["scheme"]), (("198.51.100.7", 0), "https"))

    def test_proxies_contradict(self):
        """The client's proxies contradict each other: 400, and the others go on."""
        fields = request_fields(
            b"GET", b"/", (b"x-forwarded-for", b"198.51.100.7"), (b"forwarded", b"for=198.51.100.8")
        )
        client, calls = self.speak(proxy_headers=True, trusted_proxies=[CLIENT[0]])
        with self.assertLogs("django_daphne.server"):
            answer = client.ask(fields)
        self.assertEqual((answer.status, answer.ended, answer.reset), (400, True, None))
        self.assertEqual(calls, [])
        self.assertEqual([record.status for record in client.server.access], [400])
        self.assert_going_on(client)
