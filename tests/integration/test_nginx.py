"""nginx in front of the server: what it says of browsers is believed, what they say is not."""

from __future__ import annotations

import json
import re
from http.client import HTTPException
from typing import Any

from tests.integration.projects import SmallProjectTestCase
from tests.support.nginx import (
    BROWSER,
    FALSE,
    FALSE_FORWARDED,
    FALSE_ROOT_PATH,
    FALSE_X_FORWARDED,
    FORWARDED,
    X_FORWARDED,
    Browser,
    NginxTestCase,
    Seen,
)
from tests.support.processes import Process

# nginx connects from the first; the second stands before it in one test.
NGINX, OTHER_PROXY = "127.0.0.1", "127.0.0.3"
TRUST = ("--trusted-proxies", f"{NGINX},{OTHER_PROXY},unix")
HEADERS = ("--proxy-headers", *TRUST)


class HeaderTestCase(NginxTestCase):
    """Tests with a site that nginx tells of the browser in headers."""

    def start_both(self, upstream: str, listen: str = "listen 127.0.0.1:PORT;") -> int:
        """Start nginx: X-Forwarded-* below /x, Forwarded below /forwarded; return its port."""
        return self.start_site(
            f"""
            location /x {{ {X_FORWARDED} proxy_pass http://{upstream}; }}
            location /forwarded {{ {FORWARDED} proxy_pass http://{upstream}; }}
            """,
            listen,
        )

    def assert_told(
        self,
        server: Process,
        browser: Browser,
        *headers: tuple[str, str],
        scheme: str = "http",
        port: int = 0,
    ) -> None:
        """Assert that scope and log have the browser; X-Forwarded-* tells this port of it."""
        for target, number in (("/x", port), ("/forwarded", browser.address[1])):
            with self.subTest(target):
                client = [browser.address[0], number]
                seen = browser.ask(target, *headers)
                self.assertEqual(seen.origin, (client, scheme, browser.site))
                self.assertEqual(seen.root_path, "")
                self.assert_logged(server, client, target)


class HeaderTests(HeaderTestCase):
    """nginx tells in headers who the browser is and what it asked for."""

    def test_tcp(self):
        """nginx speaks to a port."""
        server, upstream = self.serve(*HEADERS)
        port = self.start_both(upstream)
        browser = self.open(port)
        self.assert_told(server, browser)
        host = ("Host", "shop.example")
        self.assertEqual(browser.ask("/x", host).server, ["shop.example", port])
        self.assertEqual(browser.ask("/forwarded", host).server, ["shop.example", 80])

    def test_unix_socket(self):
        """nginx speaks to a unix socket, and tells the browser's port in a header of its own."""
        server, upstream = self.serve_unix(*HEADERS, "--proxy-headers-port", "X-Client-Port")
        browser = self.open(self.start_both(upstream))
        self.assert_told(server, browser, port=browser.address[1])

    def test_ipv6(self):
        """A browser comes by IPv6."""
        self.need_address("::1")
        server, upstream = self.serve(*HEADERS)
        port = self.start_both(upstream, "listen [::1]:PORT;")
        browser = self.open(port, "::1", "::1")
        self.assert_told(server, browser)
        self.assertEqual(browser.ask("/x", ("Host", "[::1]")).server, ["::1", port])

    def test_tls(self):
        """TLS ends at nginx."""
        server, upstream = self.serve(*HEADERS)
        lines, tls = self.certify()
        port = self.start_both(upstream, lines)
        self.assert_told(server, self.open(port, tls=tls), scheme="https")

    def test_second_proxy(self):
        """Another trusted proxy stands before nginx, and tells it of a browser that lies."""
        _, upstream = self.serve(*HEADERS)
        proxy = self.open(self.start_both(upstream), OTHER_PROXY)
        seen = proxy.ask("/x", ("X-Forwarded-For", "6.6.6.6, 192.0.2.7:99"))
        self.assertEqual(seen.client, ["192.0.2.7", 99])


class FalseHeaderTests(HeaderTestCase):
    """The browser sends headers that are for proxies to send."""

    def test_all(self):
        """The browser sends all of them, and nginx replaces them or adds to them."""
        server, upstream = self.serve(*HEADERS)
        browser = self.open(self.start_both(upstream))
        self.assert_told(server, browser, *FALSE)
        self.assertEqual(
            browser.ask("/x", *FALSE).values("x-forwarded-for"),
            [f"6.6.6.6, 7.7.7.7:7, unknown, {BROWSER}"],
        )
        self.finish(server)
        self.assertNotIn("WARNING", server.errors)

    def test_forwarded_is_appended(self):
        """The browser sends Forwarded, and nginx keeps it in front of its own."""
        _, upstream = self.serve(*HEADERS)
        port = self.start_site(
            f"""
            proxy_set_header Host $http_host;
            proxy_set_header Forwarded '$http_forwarded, for="$node";proto=$scheme';
            location / {{ proxy_pass http://{upstream}; }}
            """
        )
        browser = self.open(port)
        for value in (
            "for=6.6.6.6;proto=https;host=six.example",
            'for=6.6.6.6;proto=https;host="six.example',
            'for=6.6.6.6;proto=https;host="six.example\\',
            'for=6.6.6.6,for="',
            ",;,=",
        ):
            with self.subTest(value):
                seen = browser.ask("/", ("Forwarded", value))
                self.assertEqual(seen.origin, (browser.address, "http", browser.site))
                self.assertTrue(seen.values("forwarded")[0].startswith(value))

    def test_quote_in_host(self):
        """The browser ends the quoted host that nginx writes into Forwarded, and goes on."""
        _, upstream = self.serve(*HEADERS)
        fixed = FORWARDED.replace("Host $http_host", "Host app.internal")
        port = self.start_site(
            f"""
            location / {{ {FORWARDED} proxy_pass http://{upstream}; }}
            location /fixed {{ {fixed} proxy_pass http://{upstream}; }}
            """
        )
        for value, known in (
            ('a",for=6.6.6.6;proto=https;x="b', NGINX),  # it has spoilt the last element
            ('a",for=6.6.6.6;proto=https,x="', BROWSER),
        ):
            with self.subTest(value):
                self.assertEqual(self.open(port).send("/", ("Host", value)).status, 400)
                seen = self.open(port).ask("/fixed", ("Host", value))
                self.assertIn(value, seen.values("forwarded")[0])
                self.assertEqual(((seen.client or [None])[0], seen.scheme), (known, "http"))

    def test_both_families(self):
        """nginx sets X-Forwarded-* and lets the browser's Forwarded through."""
        careful, first = self.serve(*HEADERS)
        _, second = self.serve(*HEADERS, "--proxy-headers-format", "x-forwarded")
        port = self.start_site(
            f"""
            {X_FORWARDED.replace('proxy_set_header Forwarded "";', "")}
            location /careful {{ proxy_pass http://{first}; }}
            location /told {{ proxy_pass http://{second}; }}
            """
        )
        browser = self.open(port)
        expected = ([BROWSER, 0], "http", browser.site)
        for _ in range(3):
            self.assertEqual(browser.send("/careful", *FALSE_FORWARDED).status, 400)
            self.assertEqual(browser.ask("/told", *FALSE_FORWARDED).origin, expected)
        self.assertEqual(browser.ask("/careful").origin, expected)
        self.finish(careful)
        self.assertEqual(careful.errors.count("WARNING"), 1, careful)
        self.assertIn("--proxy-headers-format", careful.errors)


class UntrustedTests(NginxTestCase):
    """Headers of proxies come from somebody who is none of the trusted ones."""

    def assert_unmoved(self, seen: Seen, *origin: Any) -> None:
        """Assert that nothing is taken from headers; all but one are there as they were sent."""
        self.assertEqual(seen.origin, origin)
        self.assertEqual((seen.root_path, seen.values("daphne-root-path")), ("", []))
        for name, value in FALSE_X_FORWARDED + FALSE_FORWARDED:
            self.assertIn(value, seen.values(name.lower()))

    def assert_warned_once(self, server: Process) -> None:
        """Stop the server; it has said once that Daphne-Root-Path is removed."""
        self.finish(server)
        self.assertEqual(server.errors.count("WARNING"), 1, server)
        self.assertEqual(server.errors.count("Daphne-Root-Path"), 1, server)

    def test_client(self):
        """A client that sends them speaks to the server itself."""
        for trust in (("--no-trusted-proxies",), ("--trusted-proxies", "unix,192.0.2.0/24,::1")):
            with self.subTest(trust):
                server, _ = self.serve("--proxy-headers", *trust)
                for source in (NGINX, BROWSER):
                    client = self.open(server.wait_for_port(), source)
                    for _ in range(2):
                        seen = client.ask("/page", *FALSE)
                        self.assert_unmoved(seen, client.address, "http", client.site)
                    self.assert_logged(server, client.address, "/page")
                self.assert_warned_once(server)

    def test_unix_socket(self):
        """nginx speaks to a unix socket, but only addresses are trusted."""
        server, upstream = self.serve_unix("--proxy-headers", "--trusted-proxies", "127.0.0.0/8")
        port = self.start_site(f"location / {{ proxy_pass http://{upstream}; }}")
        browser = self.open(port)
        for _ in range(2):
            self.assert_unmoved(browser.ask("/", *FALSE), None, "http", None)
        self.assert_warned_once(server)


class ProxyProtocolTests(NginxTestCase):
    """nginx passes connections on, and says of each whose it is."""

    def assert_introduced(self, server: Process, browser: Browser) -> None:
        """Assert that scope and log have the browser, whose own headers are not believed."""
        for _ in range(2):
            seen = browser.ask("/", *FALSE)
            self.assertEqual(seen.origin, (browser.address, "http", browser.site))
            self.assertEqual(seen.root_path, "")
        self.assert_logged(server, browser.address, "/")

    def test_tcp(self):
        """nginx speaks to a port."""
        server, upstream = self.serve(*HEADERS, "--proxy-protocol", "v1")
        self.assert_introduced(server, self.open(self.start_stream(upstream)))

    def test_unix_socket(self):
        """nginx speaks to a unix socket."""
        server, upstream = self.serve_unix(*HEADERS, "--proxy-protocol", "v1")
        self.assert_introduced(server, self.open(self.start_stream(upstream)))

    def test_any_version(self):
        """The server takes either version, and browsers come by IPv4 and IPv6."""
        self.need_address("::1")
        server, upstream = self.serve(*HEADERS, "--proxy-protocol", "any")
        port = self.start_stream(upstream, "listen 127.0.0.1:PORT; listen [::1]:PORT;")
        self.assert_introduced(server, self.open(port))
        self.assert_introduced(server, self.open(port, "::1", "::1"))

    def test_one_of_two_listeners(self):
        """A server has a port for clients without a header, and one beside it for nginx."""
        server, _ = self.serve("-b", "127.0.0.1:0 proxy_protocol=v1", *HEADERS)
        plain = int(server.wait_for(r"(?m)127\.0\.0\.1:(\d+)$")[1])
        introduced = int(server.wait_for(r"127\.0\.0\.1:(\d+) \(PROXY protocol\)")[1])
        browser = self.open(self.start_stream(f"127.0.0.1:{introduced}"))
        self.assert_introduced(server, browser)
        client = self.open(plain, NGINX)
        self.assertEqual(client.ask("/").origin, (client.address, "http", client.site))
        with self.assertRaises((HTTPException, ConnectionError)):
            self.open(introduced, NGINX).send("/")
        self.finish(server)
        refusals = re.findall(r"WARNING.*\(PROXY protocol\) is closed", server.errors)
        self.assertEqual(len(refusals), 1, server)


class RootPathTests(NginxTestCase):
    """nginx serves the application below a path."""

    def test_location(self):
        """A location says its path; elsewhere the browser's own word of it is removed."""
        server, upstream = self.serve()
        port = self.start_site(
            f"""
            proxy_set_header Daphne-Root-Path "";
            location / {{ proxy_pass http://{upstream}; }}
            location /app/ {{
                proxy_set_header Daphne-Root-Path /app;
                proxy_pass http://{upstream};
            }}
            location /bücher/ {{
                proxy_set_header Daphne-Root-Path /b%C3%BCcher;
                proxy_pass http://{upstream};
            }}
            """
        )
        browser = self.open(port)
        for target, root_path, path in (
            ("/page", "", "/page"),
            ("/app/page", "/app", "/app/page"),
            ("/b%C3%BCcher/a%20b", "/bücher", "/bücher/a b"),
        ):
            with self.subTest(target):
                seen = browser.ask(target, *FALSE_ROOT_PATH)
                self.assertEqual((seen.root_path, seen.path), (root_path, path))
                self.assertEqual(seen.values("daphne-root-path"), [])
        self.finish(server)
        self.assertNotIn("WARNING", server.errors)


class DjangoTests(NginxTestCase, SmallProjectTestCase):
    """A Django project behind nginx."""

    def test_location(self):
        """The project finds its place and the browser without settings of its own for them."""
        self.write(
            "site_urls.py",
            """
            from django.http import JsonResponse
            from django.urls import path, reverse

            def page(request, number):
                link, uri = reverse("page", args=[number + 1]), request.build_absolute_uri()
                address, port = request.META["REMOTE_ADDR"], request.META["SERVER_PORT"]
                return JsonResponse([link, request.path_info, uri, address, port], safe=False)

            urlpatterns = [path("page/<int:number>", page, name="page")]
            """,
        )
        server = self.manage("rundaphne", "-p", "0", *HEADERS)
        lines = X_FORWARDED.replace('Daphne-Root-Path ""', "Daphne-Root-Path /app")
        upstream = f"127.0.0.1:{server.wait_for_port()}"
        listen, tls = self.certify()
        port = self.start_site(
            f"location /app/ {{ {lines} proxy_pass http://{upstream}; }}", listen
        )
        response = self.open(port, tls=tls).send("/app/page/1", *FALSE)
        uri = f"https://127.0.0.1:{port}/app/page/1"
        self.assertEqual(
            json.loads(response.body), ["/app/page/2", "/page/1", uri, BROWSER, str(port)]
        )


class BodyTests(NginxTestCase):
    """Bodies and connections go through nginx."""

    def test_upload(self):
        """The browser uploads a megabyte, whole or in chunks, and gets it back."""
        _, upstream = self.serve()
        port = self.start_site(
            f"""
            client_max_body_size 2m;
            location / {{ proxy_pass http://{upstream}; }}
            location /through {{
                proxy_http_version 1.1;
                proxy_request_buffering off;
                proxy_buffering off;
                proxy_pass http://{upstream};
            }}
            """
        )
        parts = [bytes([number]) * 65536 for number in range(16)]
        whole = b"".join(parts)
        browser = self.open(port)
        for path, body, version, framing in (
            ("/", whole, "1.0", "content-length"),
            ("/", parts, "1.0", "content-length"),
            ("/through", whole, "1.1", "content-length"),
            ("/through", parts, "1.1", "transfer-encoding"),
        ):
            with self.subTest(path=path, framing=framing, version=version):
                response = browser.send(path, method="POST", body=body)
                self.assertEqual(response.status, 200)
                self.assertTrue(response.body == whole, len(response.body))
                seen = Seen(**json.loads(response.headers["Seen"]))
                self.assertEqual((seen.http_version, len(seen.values(framing))), (version, 1))

    def test_keep_alive(self):
        """nginx keeps its connection for the requests of many browsers, if it is told to."""
        _, upstream = self.serve()
        port = self.start_site(
            f"""
            location / {{
                proxy_http_version 1.1;
                proxy_set_header Connection "";
                proxy_pass http://kept;
            }}
            location /once {{ proxy_pass http://{upstream}; }}
            """,
            outside=f"upstream kept {{ server {upstream}; keepalive 4; }}",
        )
        for path, connections in (("/", 1), ("/once", 10)):
            with self.subTest(path):
                clients = [self.open(port).ask(path).client for _ in range(10)]
                self.assertEqual(len({str(client) for client in clients}), connections)
