"""Requests of HTTP/1.1, bad, odd and good, and what a server must make of each (RFC 9110, 9112).

A table and nothing else: no sockets, no server. Most cases are a legal request with one thing bent.
"""

from __future__ import annotations

from collections.abc import Iterator

from . import (
    CHUNKED,
    FIVE,
    GET,
    GET_10,
    HOST,
    POST,
    POST_10,
    SMUGGLED,
    Case,
    Headers,
    Message,
    bad,
    good,
    named,
    request,
    slug,
)

TEXT = b"GET /zebra 0"
FIVE_TEXT = b"POST /zebra 5"
NEXT = request(line=b"GET /next HTTP/1.1")
NEXT_TEXT = b"GET /next 0"
CHUNKS = b"5\r\nhello\r\n0\r\n\r\n"

BAD_LINES = {
    "two_spaces_before_target": b"GET  /zebra HTTP/1.1",
    "two_spaces_before_version": b"GET /zebra  HTTP/1.1",
    "tab_before_target": b"GET\t/zebra HTTP/1.1",
    "tab_before_version": b"GET /zebra\tHTTP/1.1",
    "vertical_tab_for_space": b"GET\x0b/zebra\x0bHTTP/1.1",
    "space_first": b" GET /zebra HTTP/1.1",
    "space_last": b"GET /zebra HTTP/1.1 ",
    "tab_last": b"GET /zebra HTTP/1.1\t",
    "fourth_word": b"GET /zebra HTTP/1.1 HTTP/1.1",
    "space_in_target": b"GET /ze bra HTTP/1.1",
    "no_version": b"GET /zebra",
    "no_version_but_space": b"GET /zebra ",
    "no_target": b"GET HTTP/1.1",
    "method_only": b"GET",
    "bare_cr_inside": b"GET /zebra\rHTTP/1.1",
    "bare_cr_last": b"GET /zebra HTTP/1.1\r",
    "bare_lf": b"GET /zebra HTTP/1.1\nX-A: a",
    "nul_first": b"\x00GET /zebra HTTP/1.1",
    "byte_order_mark": b"\xef\xbb\xbfGET /zebra HTTP/1.1",
    "tls_hello": b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03zebra",
    "status_line": b"HTTP/1.1 200 OK",
    "proxy_protocol": b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2",
}
BAD_METHODS = (b"G@T", b"G(T", b"G/T", b"GET:", b"G\x00T", b"G\x7fT", b"G\xc9T", b'"GET"', b"G,T")
GOOD_METHODS = b"FOO QUERY PROPFIND PURGE DESCRIBE SETUP SOURCE M-SEARCH !#$%&'*+-.^_`|~09".split()
CONNECT_TARGETS = (b"zebra.example:443", b"zebra.example", b"/", b"*", b"http://zebra.example/")
OTHER_VERSIONS = (b"HTTP/2.0", b"HTTP/1.2", b"HTTP/0.9", b"HTTP/3.0", b"HTTP/9.9")
BAD_VERSIONS = (
    *(b"HTTP/1.10", b"http/1.1", b"Http/1.1", b"RTSP/1.0", b"ICE/1.0", b"HTTP/1", b"HTTP/11"),
    *(
        b"HTTP/1.1x",
        b"HTTP/01.1",
        b"HTTP/1,1",
        b"HTTP/+1.1",
        b"HTTP/-1.1",
        b"HTTPS/1.1",
        b"XHTTP/1.1",
    ),
    *(b"HTTP/1.", b"HTTP/.1", b"HTTP/", b"HTTP", b"HTTP/1.1;", b"HTTP/2", b"HTTP/\xb9.1", b"1.1"),
)


def request_lines() -> Iterator[Case]:
    """RFC 9112, sections 2.2, 2.3 and 3."""
    for name, line in BAD_LINES.items():
        yield bad(f"line_{name}", request(line=line), "RFC 9112 3")
    for name, method in named("method_bad", BAD_METHODS):
        yield bad(name, request(line=method + b" / HTTP/1.1"), "RFC 9110 5.6.2")
    for name, method in named("method", GOOD_METHODS):
        wire = request(line=method + b" / HTTP/1.1")
        facts: Message = {"scope": {"method": method.decode()}}
        yield good(name, wire, "RFC 9110 9.1", method + b" / 0", **facts)
    yield good("method_lower_case", request(line=b"get / HTTP/1.1"), "RFC 9110 9.1")
    for name, version in named("version_other", OTHER_VERSIONS):
        wire = request(line=b"GET / " + version)
        yield bad(name, wire, "RFC 9110 15.6.6", 505)
    for name, version in named("version_bad", BAD_VERSIONS):
        yield bad(name, request(line=b"GET / " + version), "RFC 9112 2.3")
    almost = b"PRI * HTTP/2.0\r\n\r\nSN\r\n\r\n"
    yield bad("no_http2_preface", almost, "RFC 9113 3.4", 505)
    yield bad("pri_as_http11", request(line=b"PRI * HTTP/1.1"), "RFC 9112 3.2.4")
    yield good("blank_line_first", b"\r\n" + request(), "RFC 9112 2.2", TEXT)
    yield bad("blank_lines_first", b"\r\n\r\n" + request(), "RFC 9112 2.2")
    yield bad("blank_lines_endless", b"\r\n" * 5000, "RFC 9112 2.2")
    yield bad("blank_line_bare_lf", b"\n" + request(), "RFC 9112 2.2")
    yield bad("blank_line_bare_cr", b"\r" + request(), "RFC 9112 2.2")
    yield bad("blank_line_with_space", b" \r\n" + request(), "RFC 9112 2.2")
    bare = request().replace(b"\r\n", b"\n")
    yield Case(name="bare_lf_everywhere", wire=bare, reason="RFC 9112 2.2")
    for name, target in named("connect", CONNECT_TARGETS):
        wire = request(line=b"CONNECT " + target + b" HTTP/1.1")
        yield bad(name, wire, "RFC 9110 9.3.6", 501)
    wire = request(line=b"CONNECT zebra.example:443 HTTP/1.0")
    yield bad("connect_10", wire, "RFC 9110 9.3.6", 501)
    wire = request(FIVE, line=b"CONNECT zebra.example:443 HTTP/1.1", body=b"hello")
    yield bad("connect_with_body", wire, "RFC 9110 9.3.6", 501)


BAD_TARGETS = (
    *(
        b"/a#b",
        b"#",
        b"/#",
        b"zebra",
        b"zebra/a",
        b"?a",
        b"./a",
        b"\\a",
        b"%2fa",
        b"*",
        b"*a",
        b"a:b",
    ),
    *(b"zebra.example:80", b"127.0.0.1:80", b"[::1]:80", b"ftp://zebra.example/", b"file:///a"),
    *(b"ws://zebra.example/", b"httpx://zebra.example/", b"javascript:alert(1)", b"mailto:a@b"),
    *(b"http:/a", b"http:a", b"http://", b"http:///a", b"http://?a", b"https://", b"//\xe9"),
    *(b"http://u@zebra.example/", b"http://u:p@zebra.example/", b"http://zebra.example:8x/"),
    *(
        b"http://zebra.example:99999/",
        b"http://ze<bra/",
        b"http://[::1/",
        b"http://zebra.example/#a",
    ),
    *(b"http://zebra\\a/", b"/a\x00b", b"/a\x01b", b"/a\x1fb", b"/a\x7fb", b"/a\tb", b"/\xc3\xa9"),
    *(b"/\xff", b"/?\xe9", b"/\x85", b"/\xa0"),
)
# Target, then path, raw path and query in the scope.
GOOD_TARGETS = (
    (b"/", "/", b"/", b""),
    (b"/a%20b?x=%20", "/a b", b"/a%20b", b"x=%20"),
    (b"/a?b?c", "/a", b"/a", b"b?c"),
    (b"/?", "/", b"/", b""),
    (b"//a/b", "//a/b", b"//a/b", b""),
    (b"/a//../b/.", "/a//../b/.", b"/a//../b/.", b""),
    (b"/http://a:b@c/*", "/http://a:b@c/*", b"/http://a:b@c/*", b""),
    (b'/"<>|\\^{}`', '/"<>|\\^{}`', b'/"<>|\\^{}`', b""),
    (b"http://zebra.example/a?b", "/a", b"/a", b"b"),
    (b"https://zebra.example/a", "/a", b"/a", b""),
    (b"HTTP://zebra.example/a", "/a", b"/a", b""),
    (b"http://zebra.example", "/", b"/", b""),
    (b"http://zebra.example?b=/c", "/", b"/", b"b=/c"),
)


def targets() -> Iterator[Case]:
    """RFC 9112, section 3.2."""
    for name, target in named("target_bad", BAD_TARGETS):
        wire = request(line=b"GET " + target + b" HTTP/1.1")
        yield bad(name, wire, "RFC 9112 3.2")
    for target, path, raw, query in GOOD_TARGETS:
        scope = {"path": path, "raw_path": raw, "query_string": query}
        wire = request(line=b"GET " + target + b" HTTP/1.1")
        yield good(f"target_{slug(target)}", wire, "RFC 9112 3.2", scope=scope)
    yield good("asterisk_options", request(line=b"OPTIONS * HTTP/1.1"), "RFC 9112 3.2.4")
    yield bad("options_relative", request(line=b"OPTIONS a HTTP/1.1"), "RFC 9112 3.2")
    yield bad("options_asterisk_path", request(line=b"OPTIONS */a HTTP/1.1"), "RFC 9112 3.2.4")
    line = b"GET http://lion.example:81/a HTTP/1.1"
    headers: Headers = ((b"host", b"lion.example:81"),)
    wire = request(line=line)
    yield good("absolute_other_host", wire, "RFC 9112 3.2.2", b"GET /a 0", headers=headers)
    yield bad("absolute_no_host", request(line=line, host=None), "RFC 9112 3.2")
    yield bad("absolute_bad_host", request(line=line, host=b"Host: a/b"), "RFC 9112 3.2")
    wire = request(b"X-A: a", line=line.replace(b"1.1", b"1.0"))
    headers = ((b"host", b"lion.example:81"), (b"x-a", b"a"))
    yield good("absolute_10", wire, "RFC 9112 3.2.2", b"GET /a 0", headers=headers, closes=True)
    wire = request(line=b"GET http://u@lion.example/ HTTP/1.0", host=None)
    yield bad("absolute_10_userinfo", wire, "RFC 9110 4.2.4")


BAD_HOSTS = (
    *(
        b"",
        b" ",
        b"a/b?c",
        b"a b",
        b"u@h",
        b"u:p@h",
        b"h:8x",
        b"h:-1",
        b"h:99999",
        b"h:80:80",
        b":80",
    ),
    *(
        b"a, b",
        b"a#b",
        b"a?b",
        b"a\\b",
        b"<zebra>",
        b'"zebra"',
        b"a\tb",
        b"a\x00b",
        b"h\xe9",
        b"\xff",
    ),
    *(
        b"::1",
        b"[::1",
        b"::1]",
        b"[::1]x",
        b"[::1]:x",
        b"[]",
        b"http://zebra.example",
        b"a{b}",
        b"a|b",
    ),
)
GOOD_HOSTS = (b"a", b"a:8000", b"127.0.0.1:80", b"[::1]", b"[::1]:8000", b"a_b.example", b"ZEBRA")


def hosts() -> Iterator[Case]:
    """RFC 9110, section 7.2, and RFC 9112, section 3.2."""
    for name, value in named("host_bad", BAD_HOSTS):
        wire = request(host=b"Host: " + value)
        yield bad(name, wire, "RFC 9112 3.2")
    for name, value in named("host", GOOD_HOSTS):
        headers = ((b"host", value),)
        wire = request(host=b"Host: " + value)
        yield good(name, wire, "RFC 9110 7.2", TEXT, headers=headers)
    yield bad("host_missing", request(host=None), "RFC 9112 3.2")
    yield bad("host_missing_of_two", request(b"X-A: a", host=None), "RFC 9112 3.2")
    yield bad("host_twice_equal", request(HOST), "RFC 9112 3.2")
    yield bad("host_twice", request(b"Host: lion.example"), "RFC 9112 3.2")
    yield bad("host_twice_one_empty", request(b"host:"), "RFC 9112 3.2")
    yield bad("host_twice_10", request(HOST, line=GET_10), "RFC 9112 3.2")
    yield bad("host_bad_10", request(line=GET_10, host=b"Host: a/b"), "RFC 9112 3.2")
    facts: Message = {"closes": True, "scope": {"http_version": "1.0"}, "headers": ()}
    yield good("host_none_10", request(line=GET_10, host=None), "RFC 9112 3.2", TEXT, **facts)


BAD_LENGTHS = (
    *(b"5, 5", b"5,5", b"5 5", b"5;5", b"+5", b"-5", b"-0", b"5_0", b"0x5", b"5h", b"5.0", b"5e0"),
    *(
        b"",
        b"  ",
        b"five",
        b"005",
        b"00",
        b"05",
        b'"5"',
        b"'5'",
        b"5\x0b",
        b"\x0c5",
        b"5\xa0",
        b"\x855",
    ),
    *(b"9223372036854775808", b"18446744073709551615", b"18446744073709551621", b"9" * 100),
    *(
        "\u0665".encode(),
        "\uff15".encode(),
        b"\xb5",
        b"\xb2",
        b"5\x005",
        b"5,",
        b",5",
        b"5 chunked",
    ),
)
GOOD_LENGTHS = (b"Content-Length:5", b"Content-Length: \t 5 \t ", b"CONTENT-LENGTH: 5")
BAD_CODINGS = (
    *(
        b"",
        b"identity",
        b"gzip",
        b"xchunked",
        b"chunkedx",
        b"chunk",
        b"chunked chunked",
        b"chun ked",
    ),
    *(b"chunked, identity", b"identity, chunked", b"identity,chunked", b"gzip, chunked"),
    *(b"chunked, gzip", b"chunked, chunked", b",chunked", b", chunked", b"chunked,", b"chunked ,"),
    *(b"chunked;q=1", b"chunked; a=b", b'"chunked"', b"'chunked'", b"chunked\x0b", b"\x0bchunked"),
    *(
        b"chunked\x0c",
        b"chunked\x00",
        b"\x00chunked",
        b"chunked\xa0",
        b"\x85chunked",
        b"\xffchunked",
    ),
    *("chun\u212aed".encode(), b"chunked\r", b"\rchunked", b"chunked\x7f", b"trailers, chunked"),
)
# Field lines by which one of two servers may see a chunked body; each stands beside a length.
HIDDEN_CODINGS = {
    "space_before_colon": b"Transfer-Encoding : chunked",
    "tab_before_colon": b"Transfer-Encoding\t: chunked",
    "space_first": b" Transfer-Encoding: chunked",
    "folded_value": b"Transfer-Encoding:\r\n chunked",
    "folded_name": b"Transfer-\r\n Encoding: chunked",
    "bare_lf": b"X-A: a\nTransfer-Encoding: chunked",
    "bare_cr": b"X-A: a\rTransfer-Encoding: chunked",
    "lf_cr": b"X-A: a\n\rTransfer-Encoding: chunked",
    "nul_in_name": b"Transfer-Encoding\x00: chunked",
    "soft_hyphen": b"Transfer\xadEncoding: chunked",
    "no_colon": b"Transfer-Encoding chunked",
    "equals_sign": b"Transfer-Encoding= chunked",
    "twice_colon_first": b":Transfer-Encoding: chunked",
    "with_length": CHUNKED,
    "any_case_with_length": b"tRANSFER-eNCODING: CHUNKED",
    "identity_with_length": b"Transfer-Encoding: identity",
}


def framing() -> Iterator[Case]:
    """RFC 9112, sections 6.1 to 6.3, and RFC 9110, section 8.6."""
    for name, value in named("length_bad", BAD_LENGTHS):
        wire = request(b"Content-Length: " + value, line=POST, body=b"hello")
        yield bad(name, wire, "RFC 9110 8.6")
    for name, line in named("length", GOOD_LENGTHS):
        wire = request(line, line=POST, body=b"hello") + NEXT
        yield good(name, wire, "RFC 9110 8.6", FIVE_TEXT, NEXT_TEXT)
    for name, other in (("equal", FIVE), ("different", b"Content-Length: 0"), ("empty", FIVE[:-1])):
        wire = request(FIVE, other, line=POST, body=b"hello")
        yield bad(f"length_twice_{name}", wire, "RFC 9110 8.6")
    for name, value in named("coding_bad", BAD_CODINGS):
        wire = request(b"Transfer-Encoding: " + value, line=POST, body=CHUNKS)
        yield bad(name, wire, "RFC 9112 6.1")
    for name, line in HIDDEN_CODINGS.items():
        body = b"0\r\n\r\n"
        wire = request(FIVE, line, line=POST, body=body)
        yield bad(f"coding_{name}", wire, "RFC 9112 6.3, 5.1, 5.2")
        if line.lower() == CHUNKED.lower() or b"identity" in line:
            wire = request(line, FIVE, line=POST, body=body)
            yield bad(f"coding_{name}_after", wire, "RFC 9112 6.3")
    for name, second in named("coding_twice", (b"chunked", b"identity", b"", b"gzip")):
        again = b"Transfer-Encoding: " + second
        for order, pair in enumerate(((CHUNKED, again), (again, CHUNKED))):
            wire = request(*pair, line=POST, body=CHUNKS)
            yield bad(f"{name}_{order}", wire, "RFC 9112 6.1")
    yield bad("coding_10", request(CHUNKED, line=POST_10, body=CHUNKS), "RFC 9112 6.1")
    wire = request(CHUNKED, b"Connection: keep-alive", line=POST_10, body=CHUNKS)
    yield bad("coding_10_keep_alive", wire, "RFC 9112 6.1")
    for name, value in named("coding", (b"CHUNKED", b"Chunked", b"\t chunked", b"chunked ")):
        wire = request(b"Transfer-Encoding: " + value, line=POST, body=CHUNKS) + NEXT
        yield good(name, wire, "RFC 9112 6.1, 7", FIVE_TEXT, NEXT_TEXT)
    wire = request(line=POST) + NEXT
    yield good("length_none", wire, "RFC 9112 6.3", b"POST /zebra 0", NEXT_TEXT)
    wire = request(b"Content-Length: 0", line=POST) + NEXT
    yield good("length_zero", wire, "RFC 9112 6.3", b"POST /zebra 0", NEXT_TEXT)
    wire = request(b"Content-Length: %d" % len(SMUGGLED), body=SMUGGLED) + NEXT
    text = b"GET /zebra %d" % len(SMUGGLED)
    yield good("length_with_get", wire, "RFC 9110 9.3.1", text, NEXT_TEXT)
    wire = request(b"Content_Length: 5", line=POST) + NEXT
    yield good("length_underscore", wire, "CVE-2015-0219", b"POST /zebra 0", NEXT_TEXT)
    wire = request(FIVE, b"Transfer_Encoding: chunked", line=POST, body=b"hello") + NEXT
    yield good("coding_underscore", wire, "CVE-2015-0219", FIVE_TEXT, NEXT_TEXT)
    wire = request(b"Transfer_Encoding: chunked", line=POST, body=b"0\r\n\r\n")
    yield bad("coding_underscore_alone", wire, "CVE-2015-0219", served=1)


BAD_FIELDS = {
    "space_before_colon": b"X-A : a",
    "tab_before_colon": b"X-A\t: a",
    "no_colon": b"X-A",
    "colon_first": b": a",
    "colon_only": b":",
    "folded_by_space": b"X-A: a\r\n b",
    "folded_by_tab": b"X-A: a\r\n\tb",
    "folded_empty": b"X-A: a\r\n ",
    "bare_cr_in_value": b"X-A: a\rb",
    "bare_cr_last": b"X-A: a\r",
    "bare_cr_in_name": b"X\r-A: a",
    "bare_lf": b"X-A: a\nX-B: b",
    "bare_lf_blank_line": b"X-A: a\n\nX-B: b",
    "lf_cr": b"X-A: a\n\rX-B: b",
    "markup": b"<zebra>: <zebra>",
    "non_ascii_name": b"X-\xe9: a",
    "high_byte_name": b"\xff: a",
}
CONTROLS = (*range(0x09), 0x0B, 0x0C, *range(0x0E, 0x20), 0x7F)
DELIMITERS = b' "(),/;<=>?@[\\]{}'
HIGH = bytes(range(0x80, 0x100))


def fields() -> Iterator[Case]:
    """RFC 9110, sections 5.1 and 5.5, and RFC 9112, section 5."""
    for name, line in BAD_FIELDS.items():
        yield bad(f"field_{name}", request(line), "RFC 9112 5")
        yield bad(
            f"field_first_{name}", request(HOST, line=GET + b"\r\n" + line, host=None), "RFC 9112 5"
        )
    for byte in CONTROLS:
        wire = request(b"X-A: a%cb" % byte)
        yield bad(f"value_holds_{byte:02x}", wire, "RFC 9110 5.5")
    for byte in (*CONTROLS, *DELIMITERS):
        yield bad(f"name_holds_{byte:02x}", request(b"X%cA: a" % byte), "RFC 9110 5.1")
    yield bad("blank_line_is_cr_cr_lf", request(b"X-A: a")[:-2] + b"\r\r\n", "RFC 9112 2.2")
    yield bad("blank_line_is_lf", request(b"X-A: a")[:-2] + b"\n", "RFC 9112 2.2")
    yield bad("space_line_after_line", request(line=GET + b"\r\n "), "RFC 9112 2.2")
    lines = (
        b"X-B: 2",
        b"x-a: \t b \t ",
        b"X-B:1",
        b"X-C:",
        b"X-D: a\tb  c",
        b"!#$%&'*+-.^`|~9Z: :",
    )
    seen = (b"x-b", b"2"), (b"x-a", b"b"), (b"x-b", b"1"), (b"x-c", b""), (b"x-d", b"a\tb  c")
    headers: Headers = ((b"host", b"zebra.example"), *seen, (b"!#$%&'*+-.^`|~9z", b":"))
    yield good("fields", request(*lines), "RFC 9110 5.3", TEXT, headers=headers)
    headers = (
        (b"host", b"zebra.example"),
        (b"x-a", HIGH),
        (b"x-b", b"\x85a\x85"),
        (b"x-c", b"\xa0"),
    )
    wire = request(b"X-A: " + HIGH, b"X-B: \x85a\x85", b"X-C: \xa0")
    yield good("value_high_bytes", wire, "RFC 9110 5.5", TEXT, headers=headers)
    wire = request(b"X_Forwarded_For: a", b"X-A: a", b"_: a", b"Host_: a")
    headers = ((b"host", b"zebra.example"), (b"x-a", b"a"))
    yield good("name_underscore", wire, "CVE-2015-0219", TEXT, headers=headers)


BAD_CHUNKS = {
    "sign": b"+5\r\nhello\r\n0\r\n\r\n",
    "minus": b"-5\r\nhello\r\n0\r\n\r\n",
    "prefix": b"0x5\r\nhello\r\n0\r\n\r\n",
    "grouped": b"0_5\r\nhello\r\n0\r\n\r\n",
    "letter": b"g\r\nhello\r\n0\r\n\r\n",
    "empty": b"\r\nhello\r\n0\r\n\r\n",
    "seventeen_digits": b"00000000000000005\r\nhello\r\n0\r\n\r\n",
    "seventeen_zeros": b"5\r\nhello\r\n00000000000000000\r\n\r\n",
    "overflow": b"10000000000000005\r\nhello\r\n0\r\n\r\n",
    "space_first": b" 5\r\nhello\r\n0\r\n\r\n",
    "space_last": b"5 \r\nhello\r\n0\r\n\r\n",
    "tab_last": b"5\t\r\nhello\r\n0\r\n\r\n",
    "two_sizes": b"5 5\r\nhello\r\n0\r\n\r\n",
    "non_ascii_digit": b"\xb5\r\nhello\r\n0\r\n\r\n",
    "bare_lf_after_size": b"5\nhello\r\n0\r\n\r\n",
    "bare_cr_after_size": b"5\rhello\r\n0\r\n\r\n",
    "two_cr_after_size": b"5\r\r\nhello\r\n0\r\n\r\n",
    "bare_lf_after_data": b"5\r\nhello\n0\r\n\r\n",
    "bare_cr_after_data": b"5\r\nhello\r0\r\n\r\n",
    "nothing_after_data": b"5\r\nhello0\r\n\r\n",
    "other_after_data": b"5\r\nhelloXX0\r\n\r\n",
    "data_too_long": b"5\r\nhello, zebra\r\n0\r\n\r\n",
    "data_too_short": b"7\r\nhello\r\n0\r\n\r\n",
    "second": b"5\r\nhello\r\n+5\r\nhello\r\n0\r\n\r\n",
    "bare_lf_after_last": b"5\r\nhello\r\n0\n\r\n",
    "bare_lf_at_end": b"5\r\nhello\r\n0\r\n\n",
    "bare_cr_at_end": b"5\r\nhello\r\n0\r\n\rX",
    "other_at_end": b"5\r\nhello\r\n0\r\nX\r\n\r\n",
    "extension_bare_lf": b"5;a\nb\r\nhello\r\n0\r\n\r\n",
    "extension_ends_in_lf": b"5;a\nhello\r\n0\r\n\r\n",
    "extension_bare_cr": b"5;a\rb\r\nhello\r\n0\r\n\r\n",
    "extension_nul": b"5;a\x00b\r\nhello\r\n0\r\n\r\n",
    "extension_quoted_lf": b'5;a="\n"\r\nhello\r\n0\r\n\r\n',
    "extension_long": b"5;" + b"a" * 131072 + b"\r\nhello\r\n0\r\n\r\n",
    "extension_endless": b"5;" + b"a" * 131072,
    "extensions_long": (b"1;" + b"a" * 4096 + b"\r\na\r\n") * 64 + b"0\r\n\r\n",
}
GOOD_CHUNKS = {
    "case": (b"a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", 20),
    "zeros": (b"0005\r\nhello\r\n0000000000000005\r\nhello\r\n000\r\n\r\n", 10),
    "extension": (b'5;a\r\nhello\r\n5;a=b\r\nhello\r\n5;a="b; c"\r\nhello\r\n0;a=b\r\n\r\n', 15),
    "small": (b"1\r\na\r\n" * 1000 + b"0\r\n\r\n", 1000),
    "holding_chunks": (b"5\r\n0\r\n\r\n\r\n0\r\n\r\n", 5),
    "trailers": (b"5\r\nhello\r\n0\r\nX-Sum: a\r\nX-B:\r\nContent_Length: 5\r\n\r\n", 5),
    "nothing": (b"0\r\n\r\n", 0),
}
FORBIDDEN_TRAILERS = (
    *(b"Content-Length: 5", CHUNKED, HOST, b"hOST: zebra", b"Connection: close"),
    *(b"Authorization: a", b"Proxy-Authorization: a", b"Cookie: a"),
)


def chunks() -> Iterator[Case]:
    """RFC 9112, section 7.1, and RFC 9110, section 6.5.1."""
    trailers = {f"trailer_{name}": line for name, line in BAD_FIELDS.items()}
    trailers |= dict(named("trailer", FORBIDDEN_TRAILERS)) | {"trailer_nul": b"X-A: \x00"}
    bodies = {name: b"5\r\nhello\r\n0\r\n" + line + b"\r\n\r\n" for name, line in trailers.items()}
    for name, body in (BAD_CHUNKS | bodies).items():
        wire = request(CHUNKED, line=POST, body=body)
        yield bad(f"chunk_{name}", wire, "RFC 9112 7.1", calls=None)
    for name, (body, length) in GOOD_CHUNKS.items():
        headers = ((b"host", b"zebra.example"), (b"transfer-encoding", b"chunked"))
        wire = request(CHUNKED, line=POST, body=body)
        text = b"POST /zebra %d" % length
        yield good(f"chunks_{name}", wire, "RFC 9112 7.1", text, headers=headers)
        yield good(f"chunks_{name}_then_next", wire + NEXT, "RFC 9112 7.1", text, NEXT_TEXT)


def limits() -> Iterator[Case]:
    """RFC 9110, sections 15.5.14 and 15.5.15, and RFC 6585, section 5; sizes over the defaults."""
    long = b"z" * 9000
    yield bad("limit_line", request(line=b"GET /" + long + b" HTTP/1.1"), "RFC 9112 3", 414)
    wire = request(line=b"GET /?" + long + b" HTTP/1.1")
    yield bad("limit_line_query", wire, "RFC 9112 3", 414)
    for name, endless in (("target", b"GET /" + long), ("method", long)):
        yield Case(
            name=f"limit_line_{name}_endless", wire=endless, reason="RFC 9112 3", responses=(414,)
        )
    fit = b"/" + b"z" * 8000
    yield good(
        "limit_line_fits",
        request(line=b"GET " + fit + b" HTTP/1.1"),
        "RFC 9112 3",
        b"GET " + fit + b" 0",
    )
    value = b"X-A: " + b"z" * 70000
    yield bad("limit_field", request(value), "RFC 6585 5", 431)
    endless = GET + b"\r\n" + HOST + b"\r\n"
    for name, tail in (
        ("value", value),
        ("name", b"z" * 70000),
        ("lines", (b"X-A: " + b"z" * 95 + b"\r\n") * 700),
    ):
        wire = endless + tail
        yield Case(
            name=f"limit_field_{name}_endless", wire=wire, reason="RFC 6585 5", responses=(431,)
        )
    yield bad("limit_fields_size", request(*[b"X-A: " + b"z" * 195] * 400), "RFC 6585 5", 431)
    yield bad("limit_fields_count", request(*[b"X-A: z"] * 600), "RFC 6585 5", 431)
    yield bad("limit_fields_dropped_count", request(*[b"X_A: z"] * 600), "RFC 6585 5", 431)
    yield good("limit_fields_fit", request(*[b"X-A: z"] * 490), "RFC 6585 5", TEXT)
    yield good("limit_field_fits", request(b"X-A: " + b"z" * 60000), "RFC 6585 5", TEXT)
    ten: Message = {"options": {"max_body_size": 10}}
    for length in (b"11", b"9223372036854775807"):
        wire = request(b"Content-Length: " + length, line=POST, body=b"hello world")
        yield bad(f"limit_body_{slug(length)}", wire, "RFC 9110 15.5.14", 413, **ten)
    wire = request(b"Content-Length: 11", b"Expect: 100-continue", line=POST)
    facts: Message = {"reason": "RFC 9110 10.1.1", "responses": (413,)} | ten
    yield Case(name="limit_body_expected", wire=wire, **facts)
    for name, body in (("one", b"b\r\nhello world\r\n"), ("two", b"5\r\nhello\r\n6\r\n world\r\n")):
        wire = request(CHUNKED, line=POST, body=body + b"0\r\n\r\n")
        yield bad(f"limit_body_chunks_{name}", wire, "RFC 9110 15.5.14", 413, calls=None, **ten)
    wire = request(CHUNKED, line=POST, body=b"ffffffff\r\nhello world")
    yield bad("limit_body_chunk_announced", wire, "RFC 9110 15.5.14", 413, calls=None, **ten)
    text = b"POST /zebra 10"
    wire = request(b"Content-Length: 10", line=POST, body=b"0123456789")
    yield good("limit_body_fits", wire + NEXT, "RFC 9110 15.5.14", text, NEXT_TEXT, **ten)
    wire = request(CHUNKED, line=POST, body=b"5\r\n01234\r\n5\r\n56789\r\n0\r\n\r\n")
    yield good("limit_body_chunks_fit", wire + NEXT, "RFC 9110 15.5.14", text, NEXT_TEXT, **ten)


CLOSING = (b"close", b"Close", b"keep-alive, close", b"close, keep-alive", b"a ,\tclose ,b")
KEEPING = (b"keep-alive", b"Keep-Alive", b"a, keep-alive", b"a,keep-alive ,b")


def persistence() -> Iterator[Case]:
    """RFC 9112, section 9.3; what follows the last request is ignored, good or bad."""
    for name, value in named("close", CLOSING):
        line = b"Connection: " + value
        yield good(name, request(line) + SMUGGLED, "RFC 9112 9.6", TEXT, closes=True)
        wire = request(line, line=GET_10) + SMUGGLED
        yield good(f"{name}_10", wire, "RFC 9112 9.6", TEXT, closes=True)
    wire = request(b"Connection: close") + b"\x00\xff garbage\r\n\r\n"
    yield good("close_then_garbage", wire, "RFC 9112 9.6", TEXT, closes=True)
    wire = request(b"Connection: a", b"Connection: close") + SMUGGLED
    yield good("close_in_second_field", wire, "RFC 9112 9.6", TEXT, closes=True)
    wire = request(b"Connection: close", FIVE, line=POST, body=b"hello") + SMUGGLED
    yield good("close_after_body", wire, "RFC 9112 9.6", FIVE_TEXT, closes=True)
    wire = request(b"Connection: close", CHUNKED, line=POST, body=CHUNKS) + SMUGGLED
    yield good("close_after_chunks", wire, "RFC 9112 9.6", FIVE_TEXT, closes=True)
    yield good(
        "keep_not_closed",
        request(b"Connection: closed, xclose") + NEXT,
        "RFC 9112 9.3",
        TEXT,
        NEXT_TEXT,
    )
    yield good("version_10", request(line=GET_10) + SMUGGLED, "RFC 9112 9.3", TEXT, closes=True)
    wire = request(b"Proxy-Connection: keep-alive", line=GET_10) + SMUGGLED
    yield good("version_10_proxy_connection", wire, "RFC 9112 C.2.2", TEXT, closes=True)
    for name, value in named("keep_10", KEEPING):
        wire = request(b"Connection: " + value, line=GET_10)
        yield good(name, wire * 2, "RFC 9112 9.3", TEXT, TEXT)
    wire = request(b"Connection: keep-alive", FIVE, line=POST_10, body=b"hello") + request(
        line=GET_10
    )
    yield good("keep_10_once", wire, "RFC 9112 9.3", FIVE_TEXT, TEXT, closes=True)


def upgrades() -> Iterator[Case]:
    """RFC 9110, section 7.8: an upgrade that nobody speaks is as if it had not been asked for."""
    upgrade = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk")
    length = b"Content-Length: %d" % len(SMUGGLED)
    text = b"POST /zebra %d" % len(SMUGGLED)
    chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)
    for name, asked in (
        ("h2c", upgrade),
        ("unknown", (b"Connection: upgrade", b"Upgrade: zebra/1")),
        ("list", (b"Connection: upgrade", b"Upgrade: zebra/1, TLS/1.0")),
        ("twice", (b"Connection: upgrade", b"Upgrade: zebra/1", b"Upgrade: h2c")),
        ("no_connection", (b"Upgrade: zebra/1",)),
        ("no_upgrade", (b"Connection: upgrade",)),
    ):
        yield good(f"upgrade_{name}", request(*asked), "RFC 9110 7.8", TEXT)
        yield good(f"upgrade_{name}_next", request(*asked) + NEXT, "RFC 9110 7.8", TEXT, NEXT_TEXT)
        wire = request(*asked, length, line=POST, body=SMUGGLED) + NEXT
        yield good(f"upgrade_{name}_body", wire, "RFC 9110 7.8", text, NEXT_TEXT)
        wire = request(*asked, CHUNKED, line=POST, body=chunked) + NEXT
        yield good(f"upgrade_{name}_chunks", wire, "RFC 9110 7.8", text, NEXT_TEXT)
    wire = request(*upgrade, length, CHUNKED, line=POST, body=chunked)
    yield bad("upgrade_both_framings", wire, "RFC 9112 6.3")
    wire = request(*upgrade, line=GET_10) + SMUGGLED
    yield good("upgrade_10", wire, "RFC 9110 7.8", TEXT, closes=True)
    wire = request(*upgrade, length, line=POST_10, body=SMUGGLED) + SMUGGLED
    yield good("upgrade_10_body", wire, "RFC 9110 7.8", text, closes=True)
    wire = request(b"Connection: upgrade, close", b"Upgrade: zebra/1") + SMUGGLED
    yield good("upgrade_close", wire, "RFC 9110 7.8", TEXT, closes=True)


def expectations() -> Iterator[Case]:
    """RFC 9110, section 10.1.1: 100 goes out when the application first asks for the body."""
    reason = "RFC 9110 10.1.1"
    expect = b"Expect: 100-continue"
    first: Message = {"responses": (100, 200)}
    head = request(expect, FIVE, line=POST)
    yield good("expect", head, reason, FIVE_TEXT, rest=b"hello", **first)
    wire = request(b"expect: 100-Continue", FIVE, line=POST)
    yield good("expect_any_case", wire, reason, FIVE_TEXT, rest=b"hello", **first)
    wire = request(expect, CHUNKED, line=POST)
    yield good("expect_chunks", wire, reason, FIVE_TEXT, rest=CHUNKS, **first)
    facts: Message = {"rest": b"hello" + NEXT, "responses": (100, 200, 200)}
    yield good("expect_then_next", head, reason, FIVE_TEXT, NEXT_TEXT, **facts)
    facts = {"rest": b"hello", "responses": (200, 100, 200)}
    yield good("expect_after_other", NEXT + head, reason, NEXT_TEXT, FIVE_TEXT, **facts)
    facts = {"reads": "never", "closes": True}
    yield good("expect_unasked", head, reason, b"POST /zebra 0", **facts)
    wire = request(expect, b"Content-Length: %d" % len(SMUGGLED), line=POST)
    yield good("expect_unasked_then_request", wire, reason, rest=SMUGGLED, **facts)
    wire = request(expect, CHUNKED, line=POST)
    yield good("expect_unasked_chunks", wire, reason, rest=SMUGGLED, **facts)
    yield good("expect_body_is_there", head + b"hello", reason, FIVE_TEXT, whole=True)
    yield good("expect_chunks_are_there", wire + CHUNKS, reason, FIVE_TEXT, whole=True)
    yield good("expect_no_body", request(expect), reason, TEXT)
    yield good("expect_empty_body", request(expect, b"Content-Length: 0"), reason, TEXT)
    wire = request(expect, FIVE, line=POST_10, body=b"hello")
    yield good("expect_10", wire, reason, FIVE_TEXT, closes=True)
    wire = request(expect, b"Content-Length: +5", line=POST)
    yield Case(name="expect_bad_length", wire=wire, reason="RFC 9110 8.6")
    yield bad("expect_both_framings", request(expect, FIVE, CHUNKED, line=POST), "RFC 9112 6.3")
    facts = {"responses": (100, 400), "calls": 1, "rest": b"+5\r\nhello\r\n0\r\n\r\n"}
    wire = request(expect, CHUNKED, line=POST)
    yield Case(name="expect_bad_chunk", wire=wire, reason=reason, **facts)


def pipelines() -> Iterator[Case]:
    """RFC 9112, section 9.3.2: one answer after the other, and none after a refusal."""
    reason = "RFC 9112 9.3.2"
    hello = request(FIVE, line=POST, body=b"hello")
    mixed = request() + hello + request(CHUNKED, line=POST, body=CHUNKS) + NEXT
    yield good("pipeline", mixed, reason, TEXT, FIVE_TEXT, FIVE_TEXT, NEXT_TEXT)
    yield good("pipeline_long", mixed * 25, reason, *(TEXT, FIVE_TEXT, FIVE_TEXT, NEXT_TEXT) * 25)
    yield good("pipeline_blank_line", hello + b"\r\n" + NEXT, reason, FIVE_TEXT, NEXT_TEXT)
    yield bad("pipeline_blank_lines", hello + b"\r\n\r\n" + NEXT, "RFC 9112 2.2", served=1)
    yield bad("pipeline_long_body", hello + b", zebra" + NEXT, "RFC 9112 6.3", served=1)
    wire = NEXT + request(line=GET_10) + SMUGGLED
    yield good("pipeline_ends_with_10", wire, reason, NEXT_TEXT, TEXT, closes=True)
    for name, status, wire in (
        ("line", 400, b"GET  / HTTP/1.1\r\n\r\n"),
        ("host", 400, request(host=None)),
        ("field", 400, request(b"X-A : a")),
        ("length", 400, request(b"Content-Length: +5")),
        ("framing", 400, request(FIVE, CHUNKED, line=POST)),
        ("target", 400, request(line=b"GET a HTTP/1.1")),
        ("line_size", 414, request(line=b"GET /" + b"z" * 9000 + b" HTTP/1.1")),
        ("fields_size", 431, request(b"X-A: " + b"z" * 70000)),
        ("connect", 501, request(line=b"CONNECT a:1 HTTP/1.1")),
        ("version", 505, request(line=b"GET / HTTP/2.0")),
    ):
        yield bad(f"pipeline_bad_{name}_first", wire + NEXT, reason, status)
        yield bad(f"pipeline_bad_{name}_last", mixed + wire, reason, status, served=4)
    # How much of an unread body is waited for is the server's choice; what is there is skipped.
    unread: Message = {"reads": "never", "whole": True}
    wire = request(FIVE, line=POST, body=b"hello") + NEXT
    yield good("pipeline_unread_body", wire, reason, b"POST /zebra 0", NEXT_TEXT, **unread)
    wire = request(CHUNKED, line=POST, body=CHUNKS) + NEXT
    yield good("pipeline_unread_chunks", wire, reason, b"POST /zebra 0", NEXT_TEXT, **unread)


def start(status: int, *headers: tuple[bytes, bytes]) -> Message:
    """Return the message that starts a response."""
    return {"type": "http.response.start", "status": status, "headers": headers}


def part(body: bytes, *, more: bool = False) -> Message:
    """Return one message of a response's body."""
    return {"type": "http.response.body", "body": body, "more_body": more}


BAD_RESPONSE_FIELDS = {
    "name_with_space": (b"x a", b"a"),
    "name_with_colon": (b"x-a:", b"a"),
    "name_with_crlf": (b"x-a: a\r\nx-b", b"b"),
    "name_empty": (b"", b"a"),
    "value_with_crlf": (b"x-a", b"a\r\nx-b: b"),
    "value_with_blank_line": (b"x-a", b"a\r\n\r\nHTTP/1.1 200 OK"),
    "value_with_cr": (b"x-a", b"a\rb"),
    "value_with_lf": (b"x-a", b"a\nb"),
    "value_with_nul": (b"x-a", b"a\x00b"),
}


def responses() -> Iterator[Case]:
    """RFC 9110, sections 6.4.1, 8.6 and 9.3.2, and RFC 9112, section 6.3."""
    five, chunked = (b"content-length", b"5"), (b"transfer-encoding", b"chunked")
    whole = (start(200, five), part(b"hello"))
    parts = (start(200), part(b"hel", more=True), part(b"lo"))
    head = request(line=b"HEAD /zebra HTTP/1.1")
    for name, answer in (
        ("length", whole),
        ("parts", parts),
        ("plain", (start(200), part(b"hello"))),
    ):
        facts: Message = {"answer": answer}
        yield good(f"head_{name}", head, "RFC 9110 9.3.2", b"", **facts)
        yield good(f"head_{name}_next", head + NEXT, "RFC 9110 9.3.2", b"", b"hello", **facts)
        yield good(f"answer_{name}", request() + NEXT, "RFC 9112 6.3", b"hello", b"hello", **facts)
        facts["closes"] = True
        wire = head.replace(b"1.1", b"1.0")
        yield good(f"head_{name}_10", wire, "RFC 9110 9.3.2", b"", **facts)
        yield good(f"answer_{name}_10", request(line=GET_10), "RFC 9112 6.3", b"hello", **facts)
        wire = request(b"Connection: close", line=b"HEAD /zebra HTTP/1.1")
        yield good(f"head_{name}_close", wire, "RFC 9110 9.3.2", b"", **facts)
    wire = request(b"Connection: keep-alive", line=GET_10)
    yield good("answer_length_keep_10", wire * 2, "RFC 9112 9.3", b"hello", b"hello", answer=whole)
    facts = {"answer": parts, "closes": True}
    yield good("answer_parts_keep_10", wire + SMUGGLED, "RFC 9112 9.3", b"hello", **facts)
    for status in (204, 304):
        for name, answer in (
            ("body", (start(status), part(b"hello"))),
            ("length", (start(status, five), part(b"hello"))),
            ("parts", (start(status), part(b"hel", more=True), part(b"lo"))),
            ("chunked", (start(status, chunked), part(b"hello"))),
        ):
            facts = {"answer": answer, "responses": (status, status)}
            wire = request() + NEXT
            yield good(f"status_{status}_{name}", wire, "RFC 9110 6.4.1", b"", b"", **facts)
    for name, headers in (
        ("and_length", (five, chunked)),
        ("first", (chunked, five)),
        ("alone", (chunked,)),
    ):
        facts = {"answer": (start(200, *headers), part(b"hello"))}
        wire = request() + NEXT
        yield good(f"answer_chunked_{name}", wire, "RFC 9112 6.2", b"hello", b"hello", **facts)
    for name, tail in (
        ("one", (part(b"hello, zebra"),)),
        ("two", (part(b"hello", more=True), part(b", zebra"))),
        ("three", (part(b"hell", more=True), part(b"o, zebra", more=True), part(b"!"))),
    ):
        facts = {"answer": (start(200, five), *tail), "closes": None}
        yield good(f"answer_too_long_{name}", request(), "RFC 9110 8.6", b"hello", **facts)
    for name, answer in (
        ("in_one", (start(200, five), part(b"hell"))),
        ("in_two", (start(200, five), part(b"he", more=True), part(b"ll"))),
        ("unfinished", (start(200, five), part(b"hell", more=True))),
        ("chunks_unfinished", (start(200), part(b"hell", more=True))),
    ):
        facts = {"answer": answer, "closes": True, "cut": True}
        yield good(f"answer_short_{name}", request() + SMUGGLED, "RFC 9112 8", **facts)
    for name, pair in BAD_RESPONSE_FIELDS.items():
        facts = {"answer": (start(200, five, pair), part(b"hello")), "calls": 1}
        yield bad(f"answer_{name}", request(), "RFC 9110 5.1, 5.5", 500, **facts)
    yield bad("answer_missing", request(), "RFC 9110 15.6.1", 500, calls=1, answer=())
    begun = (start(200), part(b"hello", more=True))
    facts = {"answer": begun, "reads": "last", "rest": b"+5\r\nhello\r\n0\r\n\r\n" + SMUGGLED}
    wire = request(CHUNKED, line=POST, body=b"5\r\nhello\r\n")
    yield good("answer_begun_bad_chunk", wire, "RFC 9112 7.1", cut=True, closes=True, **facts)


CASES: tuple[Case, ...] = (
    *request_lines(),
    *targets(),
    *hosts(),
    *framing(),
    *fields(),
    *chunks(),
    *limits(),
    *persistence(),
    *upgrades(),
    *expectations(),
    *pipelines(),
    *responses(),
)
