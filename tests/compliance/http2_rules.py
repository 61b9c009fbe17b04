"""Requests of HTTP/2, bad, odd and good, and what a server must make of each (RFC 9113, section 8).

A table and nothing else: no sockets, no server. Most cases are a legal request with one thing bent.
What HTTP/1.1 calls a bad target, method or Host, is one here too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.support.http2_frames import Code, Field, Fields, list_size, request_fields

from . import named, slug
from .http11_corpus import (
    BAD_HOSTS,
    BAD_LENGTHS,
    BAD_METHODS,
    BAD_TARGETS,
    GOOD_HOSTS,
    GOOD_METHODS,
    GOOD_TARGETS,
)

HOST: Field = (b"host", b"zebra.example")
FIVE: Field = (b"content-length", b"5")
TEXT = b"GET /zebra 0"
BASE = request_fields()


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Say what a client sends on one stream, and everything that may be seen of the server.

    With a ``body`` END_STREAM stands on its DATA, with ``trailers`` on theirs unless it is
    ``open_ended``, else on HEADERS. Exactly one of ``status``, ``reset`` and ``goaway`` is the
    outcome, with ``text`` as the answer's body where that is given. ``calls`` is how often the
    application is called (None: once or not at all, but it never sees the end of a body). ``scope``
    holds some values of the scope, ``headers`` all of its headers; ``options`` are the server's.
    """

    name: str
    fields: Fields
    reason: str
    status: int | None = None
    reset: Code | None = None
    goaway: Code | None = None
    body: bytes | None = None
    trailers: Fields | None = None
    open_ended: bool = False
    calls: int | None = 0
    text: bytes | None = None
    scope: Mapping[str, object] = field(default_factory=dict)
    headers: Fields | None = None
    options: Mapping[str, int] = field(default_factory=dict)


def bad(name: str, fields: Fields, reason: str, **more: Any) -> Rule:
    """Return a request whose stream is reset."""
    return Rule(name=name, fields=fields, reason=reason, **({"reset": Code.PROTOCOL_ERROR} | more))


def good(name: str, fields: Fields, reason: str, **more: Any) -> Rule:
    """Return a request that is served."""
    facts: dict[str, Any] = {"status": 200, "calls": 1} | more
    return Rule(name=name, fields=fields, reason=reason, **facts)


def refused(name: str, fields: Fields, reason: str, status: int, **more: Any) -> Rule:
    """Return a request that is answered by the server itself."""
    return Rule(name=name, fields=fields, reason=reason, status=status, **more)


def with_fields(*fields: Field) -> Fields:
    """Return a request with more header fields."""
    return (*BASE, *fields)


def replacing(name: bytes, value: bytes) -> Fields:
    """Return a request in which one field has another value."""
    return tuple((key, value if key == name else old) for key, old in BASE)


def without(*names: bytes) -> Fields:
    """Return a request that lacks fields."""
    return tuple(item for item in BASE if item[0] not in names)


# Bytes that no name of a field may have: controls and blanks, separators, upper case, DEL and more.
BAD_NAME_BYTES = bytes((*range(0x21), 0x7F, 0x80, 0xC3, 0xFF)) + b'"(),/:;<=>?@[\\]{}AMZ'
GOOD_NAME = b"!#$%&'*+-.^`|~09az"
CONTROLS = bytes(byte for byte in (*range(0x20), 0x7F) if byte != 0x09)


def field_names() -> Iterator[Rule]:
    """RFC 9113, sections 8.2 and 8.2.1."""
    reason = "RFC 9113 8.2.1"
    for byte in BAD_NAME_BYTES:
        for place, name in {"inside": b"x%ca" % byte, "last": b"x%c" % byte}.items():
            yield bad(f"name_{place}_{byte:02x}", with_fields((name, b"a")), reason)
    for byte in b" \t\x00\r\nA":
        yield bad(f"name_first_{byte:02x}", with_fields((b"%cx" % byte, b"a")), reason)
    yield bad("name_empty", with_fields((b"", b"")), "CVE-2019-9516")
    yield bad("name_empty_with_value", with_fields((b"", b"a")), "CVE-2019-9516")
    yield bad("name_many_empty", with_fields(*[(b"", b"")] * 100), "CVE-2019-9516")
    yield bad("name_upper_case", with_fields((b"Accept", b"a")), "RFC 9113 8.2.1")
    yield bad("name_line", with_fields((b"a: b\r\nx", b"a")), "CVE-2025-57804")
    headers: Fields = (HOST, (GOOD_NAME, b"a"))
    yield good("name_token", with_fields((GOOD_NAME, b"a")), "RFC 9110 5.6.2", headers=headers)
    hidden = with_fields((b"x_forwarded_for", b"a"), (b"_", b"a"), (b"x-a", b"a"))
    headers = (HOST, (b"x-a", b"a"))
    yield good("name_underscore", hidden, "CVE-2015-0219", headers=headers)
    yield bad("name_underscore_upper_case", with_fields((b"X_A", b"a")), "RFC 9113 8.2.1")


def field_values() -> Iterator[Rule]:
    """RFC 9113, section 8.2.1, and RFC 9110, section 5.5."""
    for byte in CONTROLS:
        value = b"a%cb" % byte
        yield bad(f"value_inside_{byte:02x}", with_fields((b"x-a", value)), "CVE-2025-57804")
    for byte in b"\x00\r\n\t ":
        for place, value in {"first": b"%ca" % byte, "last": b"a%c" % byte}.items():
            rule = f"value_{place}_{byte:02x}"
            yield bad(rule, with_fields((b"x-a", value)), "RFC 9113 8.2.1")
    yield bad("value_blank", with_fields((b"x-a", b" ")), "RFC 9113 8.2.1")
    yield bad("value_smuggles", with_fields((b"x-a", b"a\r\nhost: b")), "CVE-2025-57804")
    yield bad("value_folded", with_fields((b"x-a", b"a\r\n b")), "CVE-2025-57804")
    for name, value in named("value", (b"", b"a\tb", b"a b", b"\x80\xff", b'a,b;c="d"')):
        headers: Fields = (HOST, (b"x-a", value))
        yield good(name, with_fields((b"x-a", value)), "RFC 9110 5.5", headers=headers)


def pseudo_fields() -> Iterator[Rule]:
    """RFC 9113, section 8.3."""
    for name, value in BASE:
        text = name[1:].decode()
        yield bad(f"pseudo_{text}_twice", ((name, value), *BASE), "RFC 9113 8.3")
        late = (*without(name), (b"x-a", b"a"), (name, value))
        yield bad(f"pseudo_{text}_late", late, "RFC 9113 8.3")
        if name != b":authority":
            yield bad(f"pseudo_{text}_missing", without(name), "RFC 9113 8.3.1")
            yield bad(f"pseudo_{text}_empty", replacing(name, b""), "RFC 9113 8.3.1")
        upper = tuple((key.upper() if key == name else key, old) for key, old in BASE)
        yield bad(f"pseudo_{text}_upper_case", upper, "RFC 9113 8.2.1")
    yield bad("pseudo_none", (HOST,), "RFC 9113 8.3.1")
    yield bad("pseudo_no_fields", (), "RFC 9113 8.3.1")
    for unknown in (b":zebra", b":", b"::path", b":status"):
        fields = ((unknown, b"200"), *BASE)
        yield bad(f"pseudo_unknown_{slug(unknown)}", fields, "RFC 9113 8.3")
    yield bad("pseudo_protocol", ((b":protocol", b"websocket"), *BASE), "RFC 8441 4")
    for rule, value in named("scheme_bad", (b"ftp", b"ws", b"wss", b"javascript", b"http:")):
        yield bad(rule, replacing(b":scheme", value), "RFC 9113 8.3.1")
    order = tuple(reversed(BASE))
    yield good("pseudo_any_order", order, "RFC 9113 8.3", text=TEXT, headers=(HOST,))


def methods() -> Iterator[Rule]:
    """RFC 9110, section 9.1."""
    for name, value in named("method_bad", (*BAD_METHODS, b"G T", b"GET ", b"GET\r\n")):
        yield bad(name, replacing(b":method", value), "RFC 9110 5.6.2")
    for name, value in named("method", GOOD_METHODS):
        scope = {"method": value.decode()}
        yield good(name, replacing(b":method", value), "RFC 9110 9.1", scope=scope)
    connect = ((b":method", b"CONNECT"), (b":authority", b"zebra.example:443"))
    yield refused("connect", connect, "RFC 9113 8.5", 501)
    for protocol in (b"connect-udp", b"WebSocketS", b"zebra"):
        fields = ((b":protocol", protocol), *replacing(b":method", b"CONNECT"))
        yield refused(f"connect_{slug(protocol)}", fields, "RFC 8441 4", 501)
    fields = ((b":protocol", b"websocket"), *connect)
    yield bad("connect_websocket_without_path", fields, "RFC 8441 4")


def targets() -> Iterator[Rule]:
    """RFC 9113, section 8.3.1."""
    for name, target in named("path_bad", (*BAD_TARGETS, b"/a b", b"/a\r\nb", b" /", b"/ ")):
        yield bad(name, replacing(b":path", target), "RFC 9113 8.3.1")
    for target, path, raw, query in GOOD_TARGETS:
        rule = f"path_{slug(target)}"
        if not target.startswith(b"/"):
            yield bad(rule, replacing(b":path", target), "RFC 9113 8.3.1")
            continue
        scope = {"path": path, "raw_path": raw, "query_string": query, "http_version": "2"}
        yield good(rule, replacing(b":path", target), "RFC 9113 8.3.1", scope=scope)
    options = ((b":method", b"OPTIONS"), *without(b":method"))
    for name, target in named("options", (b"*/a", b"a", b"")):
        fields = tuple((key, target if key == b":path" else old) for key, old in options)
        yield bad(name, fields, "RFC 9113 8.3.1")
    fields = tuple((key, b"*" if key == b":path" else old) for key, old in options)
    yield good("options_asterisk", fields, "RFC 9113 8.3.1", scope={"method": "OPTIONS"})


def authorities() -> Iterator[Rule]:
    """RFC 9113, section 8.3.1, and RFC 9110, section 7.2."""
    for name, value in named("authority_bad", BAD_HOSTS):
        yield bad(name, replacing(b":authority", value), "RFC 9113 8.3.1")
    for name, value in named("host_bad", BAD_HOSTS):
        fields = (*without(b":authority"), (b"host", value))
        yield bad(name, fields, "RFC 9110 7.2")
    for name, value in named("authority", GOOD_HOSTS):
        headers: Fields = ((b"host", value), (b"x-a", b"a"))
        fields = (*replacing(b":authority", value), (b"x-a", b"a"))
        yield good(name, fields, "RFC 9113 8.3.1", headers=headers)
    for name, value in {
        "other": b"lion.example",
        "port": b"zebra.example:80",
        "empty": b"",
    }.items():
        yield bad(f"host_{name}", with_fields((b"host", value)), "CVE-2026-71554")
    yield bad("host_twice", with_fields(HOST, HOST), "CVE-2026-71554")
    yield bad("host_twice_other", with_fields(HOST, (b"host", b"lion.example")), "CVE-2026-71554")
    alone = without(b":authority")
    yield bad("host_alone_twice", (*alone, HOST, HOST), "CVE-2026-71554")
    yield bad("host_alone_twice_other", (*alone, HOST, (b"host", b"a")), "CVE-2026-71554")
    yield bad("host_missing", alone, "RFC 9110 7.2")
    headers = (HOST, (b"x-a", b"a"))
    reason = "RFC 9113 8.3.1"
    yield good("host_equal", with_fields((b"x-a", b"a"), HOST), reason, headers=headers)
    yield good("host_alone", (*alone, HOST, (b"x-a", b"a")), reason, headers=headers)


CONNECTION_FIELDS: Fields = (
    *((b"connection", value) for value in (b"close", b"keep-alive", b"x-a", b"")),
    *((b"transfer-encoding", value) for value in (b"chunked", b"identity", b"")),
    *((b"upgrade", value) for value in (b"h2c", b"websocket", b"")),
    (b"keep-alive", b"timeout=5"),
    (b"proxy-connection", b"keep-alive"),
    *((b"te", value) for value in (b"gzip", b"trailers, gzip", b"chunked", b"trailers;q=1")),
)


def connection_fields() -> Iterator[Rule]:
    """RFC 9113, section 8.2.2."""
    for name, value in CONNECTION_FIELDS:
        rule = f"{name.decode().replace('-', '_')}_{slug(value)}"
        yield bad(rule, with_fields((name, value)), "RFC 9113 8.2.2")
        fields = (*replacing(b":method", b"POST"), FIVE, (name, value))
        yield bad(f"{rule}_with_body", fields, "H2.CL and H2.TE", body=b"hello")
    yield good("te_trailers", with_fields((b"te", b"trailers")), "RFC 9113 8.2.2", text=TEXT)
    cookies = ((b"cookie", b"a=b"), (b"cookie", b"c=d"), (b"cookie", b"e=f"))
    headers: Fields = (HOST, (b"cookie", b"a=b; c=d; e=f"))
    yield good("cookie_crumbs", with_fields(*cookies), "RFC 9113 8.2.3", headers=headers)


POST = tuple((key, b"POST" if key == b":method" else value) for key, value in BASE)


def contents() -> Iterator[Rule]:
    """RFC 9113, section 8.1.1."""
    reason = "RFC 9113 8.1.1"
    for name, value in named("length_bad", (*BAD_LENGTHS, b" 5", b"5 ")):
        fields = (*POST, (b"content-length", value))
        yield bad(name, fields, "RFC 9110 8.6", body=b"hello", calls=None)
    for name, other in (("different", b"6"), ("empty", b""), ("none", b"0")):
        for order in ((FIVE, (b"content-length", other)), ((b"content-length", other), FIVE)):
            rule = f"length_twice_{name}_{slug(order[0][1])}"
            yield bad(rule, (*POST, *order), reason, body=b"hello")
    for name, body in {"short": b"hell", "long": b"hello!", "far_too_long": b"x" * 9999}.items():
        yield bad(f"body_{name}", (*POST, FIVE), reason, body=body, calls=None)
    yield bad("body_none", (*POST, FIVE), reason)
    yield bad("body_empty", (*POST, FIVE), reason, body=b"", calls=None)
    yield bad("body_for_none", (*POST, (b"content-length", b"0")), reason, body=b"a", calls=None)
    trailers: Fields = ((b"x-b", b"b"),)
    facts: dict[str, Any] = {"body": b"hell", "trailers": trailers, "calls": None}
    yield bad("body_short_with_trailers", (*POST, FIVE), reason, **facts)
    yield good("body", (*POST, FIVE), reason, body=b"hello", text=b"POST /zebra 5")
    yield good("body_unknown_length", POST, reason, body=b"hello", text=b"POST /zebra 5")
    yield good("body_of_get", with_fields(), reason, body=b"hello", text=b"GET /zebra 5")
    none = (*POST, (b"content-length", b"0"))
    yield good("body_length_zero", none, reason, text=b"POST /zebra 0")
    yield good("body_length_zero_empty", none, reason, body=b"", text=b"POST /zebra 0")


BAD_TRAILERS: Mapping[str, Field] = {
    "pseudo": (b":path", b"/"),
    "status": (b":status", b"200"),
    "upper_case": (b"X-A", b"a"),
    "empty_name": (b"", b"a"),
    "not_a_token": (b"x a", b"a"),
    "line_end": (b"x-a", b"a\r\nb"),
    "connection": (b"connection", b"close"),
    "transfer_encoding": (b"transfer-encoding", b"chunked"),
}


def trailers() -> Iterator[Rule]:
    """RFC 9113, sections 8.1 and 8.3."""
    for name, item in BAD_TRAILERS.items():
        facts: dict[str, Any] = {"body": b"hello", "trailers": ((b"x-b", b"b"), item)}
        yield bad(f"trailers_{name}", (*POST, FIVE), "RFC 9113 8.1", calls=None, **facts)
    facts = {"body": b"hello", "trailers": ((b"x-b", b"b"),)}
    yield bad("trailers_open", POST, "RFC 9113 8.1", open_ended=True, calls=None, **facts)
    headers: Fields = (HOST, (b"x-a", b"a"))
    facts |= {"text": b"POST /zebra 5", "headers": headers}
    yield good("trailers", (*POST, (b"x-a", b"a")), "RFC 9110 6.5", **facts)


def sized(size: int) -> Fields:
    """Return a request of this size as settings count it, which takes few bytes on the wire."""
    fields = with_fields(*[(b"a", b"")] * ((size - list_size(BASE)) // 33 - 1))
    rest = size - list_size(fields) - 33
    return (*fields, (b"a", b"a" * rest))


def limits() -> Iterator[Rule]:
    """What is too much is answered, until it is far too much."""
    reason = "RFC 6585 5"
    options = {"max_header_size": 2048}
    yield good("list_at_limit", sized(2048), reason, options=options)
    yield refused("list_over_limit", sized(2049), reason, 431, options=options)
    yield refused("list_over_limit_with_body", sized(2049), reason, 431, body=b"a", options=options)
    calm = Code.ENHANCE_YOUR_CALM
    far = sized(5000)
    yield Rule(name="list_far_over", fields=far, reason=reason, goaway=calm, options=options)
    options = {"max_header_count": 10}
    many = with_fields(*[(b"x-a", b"a")] * 30)
    yield good("count_under_limit", (*BASE, *many[-5:]), reason, options=options)
    yield refused("count_over_limit", many, reason, 431, options=options)
    options = {"max_request_line": 100}
    for size, status in ((100, 200), (101, 414), (5000, 414)):
        fields = replacing(b":path", b"/" + b"a" * (size - 1))
        rule = good if status == 200 else refused
        yield rule(f"path_of_{size}", fields, "RFC 9110 15.5.15", status=status, options=options)
    options = {"max_body_size": 10}
    eleven = (*POST, (b"content-length", b"11"))
    reason = "RFC 9110 15.5.14"
    yield refused("body_too_large", eleven, reason, 413, body=b"x" * 11, options=options)
    facts: dict[str, Any] = {"body": b"x" * 11, "calls": None, "options": options}
    yield refused("body_grows_too_large", POST, reason, 413, **facts)
    ten = (*POST, (b"content-length", b"10"))
    yield good("body_at_limit", ten, reason, body=b"x" * 10, options=options)
    bad_length = (*POST, (b"content-length", b"9" * 100))
    yield bad("length_huge", bad_length, reason, body=b"hello", calls=None)


RULES: tuple[Rule, ...] = (
    *field_names(),
    *field_values(),
    *pseudo_fields(),
    *methods(),
    *targets(),
    *authorities(),
    *connection_fields(),
    *contents(),
    *trailers(),
    *limits(),
)
