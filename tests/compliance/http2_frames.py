"""Frames of HTTP/2, bad and odd, and what a server must make of each (RFC 9113, sections 4 to 6).

A table and nothing else. Stream 1 is in the state that a case names when its bytes are sent, and 3
is the next one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from tests.support.http2_frames import (
    ACK,
    END_HEADERS,
    END_STREAM,
    MAX_WINDOW,
    PADDED,
    PRIORITY,
    SETTINGS_ACK,
    Code,
    Kind,
    Setting,
    continuation_frame,
    data_frame,
    frame,
    goaway_frame,
    headers_frame,
    hpack_integer,
    literal,
    ping_frame,
    priority_frame,
    priority_update_frame,
    request_fields,
    reset_frame,
    settings_frame,
    window_frame,
)

State = Literal["idle", "open", "half", "closed", "cancelled", "refused"]

BLOCK = literal(request_fields())
PROTOCOL = frozenset({Code.PROTOCOL_ERROR})
SIZE = frozenset({Code.FRAME_SIZE_ERROR})
FLOW = frozenset({Code.FLOW_CONTROL_ERROR})
COMPRESSION = frozenset({Code.COMPRESSION_ERROR})
CLOSED = frozenset({Code.STREAM_CLOSED})
GONE = PROTOCOL | CLOSED


@dataclass(frozen=True, kw_only=True)
class Case:
    """Say what a client sends when its first stream is in a state.

    ``goaway`` are the codes of a connection error, ``reset`` those of an error of stream 1 (or of
    ``stream``), any of which will do; where both are given either will do, where neither is given
    nothing happens, and ``lenient`` says that nothing may happen. ``answered`` says that the
    stream's request is served. After anything but a connection error the next request is served.

    idle: stream 1 is not opened. open: its body has not ended. half: it has, and the answer has
    not begun. closed: it was answered. cancelled and refused: the client, or the server, reset it
    before its body had ended.
    """

    name: str
    wire: bytes
    reason: str
    before: State = "idle"
    goaway: frozenset[Code] = frozenset()
    reset: frozenset[Code] = frozenset()
    stream: int = 1
    lenient: bool = False
    answered: bool = False


def fatal(
    name: str, wire: bytes, reason: str, codes: frozenset[Code] = PROTOCOL, **more: Any
) -> Case:
    """Return a case that ends the connection."""
    return Case(name=name, wire=wire, reason=reason, goaway=codes, **more)


def harmless(name: str, wire: bytes, reason: str, **more: Any) -> Case:
    """Return a case in which nothing happens."""
    return Case(name=name, wire=wire, reason=reason, **more)


NAMES = {kind: kind.name.lower() for kind in Kind}


def streams() -> Iterator[Case]:
    """RFC 9113, sections 5.1.1 and 6."""
    for kind, payload in {
        Kind.DATA: b"a",
        Kind.HEADERS: BLOCK,
        Kind.PRIORITY: bytes(5),
        Kind.RST_STREAM: bytes(4),
        Kind.CONTINUATION: BLOCK,
        Kind.PUSH_PROMISE: (2).to_bytes(4) + BLOCK,
    }.items():
        wire = frame(kind, END_HEADERS, 0, payload)
        yield fatal(f"{NAMES[kind]}_without_stream", wire, f"RFC 9113 6.{int(kind) + 1}")
    for kind, payload in {
        Kind.SETTINGS: b"",
        Kind.PING: bytes(8),
        Kind.GOAWAY: bytes(8),
        Kind.PRIORITY_UPDATE: (1).to_bytes(4) + b"u=1",
    }.items():
        wire = frame(kind, 0, 1, payload)
        yield fatal(f"{NAMES[kind]}_on_stream", wire, "RFC 9113 6", before="open")
    promise = frame(Kind.PUSH_PROMISE, END_HEADERS, 1, (2).to_bytes(4) + BLOCK)
    yield fatal("push_promise", promise, "RFC 9113 8.4", before="open")
    for number in (2, 4, MAX_WINDOW - 1):
        wire = headers_frame(number, BLOCK)
        yield fatal(f"headers_even_{number}", wire, "RFC 9113 5.1.1")
    wire = headers_frame(5, BLOCK) + headers_frame(3, BLOCK)
    yield fatal("headers_backwards", wire, "RFC 9113 5.1.1", GONE)
    yield fatal("headers_closed", headers_frame(1, BLOCK), "RFC 9113 5.1", GONE, before="closed")
    facts: dict[str, Any] = {"before": "cancelled", "reset": CLOSED}
    yield fatal("headers_cancelled", headers_frame(1, BLOCK), "RFC 9113 5.1", GONE, **facts)
    for number in (1, 2, 3, MAX_WINDOW):
        reason = "RFC 9113 5.1"
        yield fatal(f"data_idle_{number}", data_frame(number, b"a", end=True), reason)
        yield fatal(f"reset_idle_{number}", reset_frame(number), reason)
        yield fatal(f"window_idle_{number}", window_frame(number, 1), reason)
        yield fatal(f"continuation_idle_{number}", continuation_frame(number, BLOCK), reason)
        yield harmless(f"priority_idle_{number}", priority_frame(number), reason)
    reserved = headers_frame(1 | 1 << 31, BLOCK)
    yield harmless("reserved_bit", reserved, "RFC 9113 4.1", answered=True)
    wire = headers_frame(1, BLOCK).replace(b"\x01\x05", b"\x01\xd5", 1)
    yield harmless("unknown_flags", wire, "RFC 9113 4.1", answered=True)


def sizes() -> Iterator[Case]:
    """RFC 9113, sections 4.2 and 6."""
    for kind, stream, wrong in (
        (Kind.PING, 0, (0, 7, 9)),
        (Kind.RST_STREAM, 1, (0, 3, 5)),
        (Kind.WINDOW_UPDATE, 0, (0, 3, 5)),
        (Kind.WINDOW_UPDATE, 1, (0, 3, 5)),
        (Kind.SETTINGS, 0, (1, 5, 7)),
        (Kind.GOAWAY, 0, (0, 7)),
        (Kind.PRIORITY_UPDATE, 0, (0, 3)),
    ):
        for size in wrong:
            wire = frame(kind, 0, stream, b"\x01" * size)
            name = f"{NAMES[kind]}_{stream}_of_{size}"
            yield fatal(name, wire, "RFC 9113 4.2", SIZE, before="open")
    for size in (0, 4, 6):
        wire = frame(Kind.PRIORITY, 0, 1, bytes(size))
        facts: dict[str, Any] = {"before": "open", "reset": SIZE}
        yield Case(name=f"priority_of_{size}", wire=wire, reason="RFC 9113 6.3", **facts)
    wire = frame(Kind.SETTINGS, ACK, 0, bytes(6))
    yield fatal("settings_ack_with_content", wire, "RFC 9113 6.5", SIZE)
    for kind in (*Kind, 0x20):
        stream = int(kind in (Kind.DATA, Kind.HEADERS, Kind.CONTINUATION, Kind.RST_STREAM))
        for size in (16385, 2**24 - 1):
            wire = frame(kind, 0, stream, size=size)
            name = f"{NAMES.get(Kind(kind), 'other') if kind != 0x20 else 'unknown'}_of_{size}"
            yield fatal(name, wire, "RFC 9113 4.2", SIZE, before="open")
    yield harmless("unknown_of_16384", frame(0x20, 0, 0, bytes(16384)), "RFC 9113 4.2")


def padding() -> Iterator[Case]:
    """RFC 9113, sections 6.1 and 6.2."""
    reason = "RFC 9113 6.1"
    for name, payload in {"just": b"\x01", "more": b"\x04abc", "far": b"\xffabc"}.items():
        wire = frame(Kind.DATA, PADDED, 1, payload)
        yield fatal(f"data_padding_{name}", wire, reason, before="open")
        wire = frame(Kind.HEADERS, PADDED | END_HEADERS | END_STREAM, 1, payload)
        yield fatal(f"headers_padding_{name}", wire, reason)
    either = PROTOCOL | SIZE
    wire = frame(Kind.DATA, PADDED, 1)
    yield fatal("data_padding_missing", wire, reason, either, before="open")
    flags = END_HEADERS | END_STREAM
    wire = frame(Kind.HEADERS, PADDED | flags, 1)
    yield fatal("headers_padding_missing", wire, reason, either)
    wire = frame(Kind.HEADERS, PRIORITY | flags, 1, bytes(4))
    yield fatal("headers_priority_short", wire, reason, either)
    wire = frame(Kind.HEADERS, PRIORITY | PADDED | flags, 1, b"\x05" + bytes(5) + b"abcd")
    yield fatal("headers_priority_padding", wire, reason, either)
    padded = frame(Kind.HEADERS, PADDED | flags, 1, b"\x05" + BLOCK + bytes(5))
    yield harmless("headers_padded", padded, reason, answered=True)
    padded = frame(Kind.HEADERS, PADDED | PRIORITY | flags, 1, b"\x02" + bytes(5) + BLOCK + b"ab")
    yield harmless("headers_padded_priority", padded, reason, answered=True)
    wire = headers_frame(1, BLOCK, priority=(0, 255))
    yield harmless("headers_priority", wire, "RFC 9113 5.3.2", answered=True)
    for size in (0, 1, 255):
        wire = data_frame(1, b"a", end=True, padding=size)
        facts: dict[str, Any] = {"before": "open", "answered": True}
        yield harmless(f"data_padded_{size}", wire, reason, **facts)
    wire = data_frame(1, b"", end=True, padding=9)
    yield harmless("data_only_padding", wire, reason, before="open", answered=True)


def settings() -> Iterator[Case]:
    """RFC 9113, section 6.5.2; RFC 8441, section 3; RFC 9218, section 2.1."""
    for setting, value, codes in (
        (Setting.ENABLE_PUSH, 2, PROTOCOL),
        (Setting.INITIAL_WINDOW_SIZE, 2**31, FLOW),
        (Setting.INITIAL_WINDOW_SIZE, 2**32 - 1, FLOW),
        (Setting.MAX_FRAME_SIZE, 16383, PROTOCOL),
        (Setting.MAX_FRAME_SIZE, 0, PROTOCOL),
        (Setting.MAX_FRAME_SIZE, 2**24, PROTOCOL),
        (Setting.NO_RFC7540_PRIORITIES, 2, PROTOCOL),
    ):
        wire = settings_frame({setting: value})
        yield fatal(f"settings_{setting.name.lower()}_{value}", wire, "RFC 9113 6.5.2", codes)
    reason = "RFC 9113 6.5.2"
    for setting, value in (
        (Setting.ENABLE_PUSH, 0),
        (Setting.MAX_FRAME_SIZE, 2**24 - 1),
        (Setting.HEADER_TABLE_SIZE, 2**32 - 1),
        (Setting.MAX_CONCURRENT_STREAMS, 0),
        (Setting.MAX_HEADER_LIST_SIZE, 0),
    ):
        name = f"settings_good_{setting.name.lower()}"
        yield harmless(name, settings_frame({setting: value}), reason)
    yield harmless("settings_unknown", settings_frame({0xFFFF: 1, 0: 2}), reason)
    yield harmless("settings_ack_again", SETTINGS_ACK, "RFC 9113 6.5", lenient=True)
    wire = window_frame(1, MAX_WINDOW - 65535) + settings_frame(
        {Setting.INITIAL_WINDOW_SIZE: 65536}
    )
    yield fatal("settings_overflow_window", wire, "RFC 9113 6.9.2", FLOW, before="half")


def windows() -> Iterator[Case]:
    """RFC 9113, section 6.9."""
    for name, increment in {"zero": 0, "zero_reserved": 1 << 31}.items():
        wire = window_frame(0, increment)
        yield fatal(f"window_{name}", wire, "RFC 9113 6.9")
        facts: dict[str, Any] = {"reason": "RFC 9113 6.9", "before": "half", "reset": PROTOCOL}
        yield Case(name=f"window_stream_{name}", wire=window_frame(1, increment), **facts)
    wire = window_frame(0, MAX_WINDOW)
    yield fatal("window_overflow", wire, "RFC 9113 6.9.1", FLOW)
    yield fatal(
        "window_overflow_by_one", window_frame(0, MAX_WINDOW - 65534), "RFC 9113 6.9.1", FLOW
    )
    yield harmless("window_largest", window_frame(0, MAX_WINDOW - 65535), "RFC 9113 6.9.1")
    facts = {"reason": "RFC 9113 6.9.1", "before": "half", "reset": FLOW}
    yield Case(name="window_stream_overflow", wire=window_frame(1, MAX_WINDOW), **facts)
    wire = window_frame(1, MAX_WINDOW - 65535)
    yield harmless("window_stream_largest", wire, "RFC 9113 6.9.1", before="half")
    yield Case(name="window_stream_overflow_by_one", wire=wire + window_frame(1, 1), **facts)


def closed() -> Iterator[Case]:
    """RFC 9113, section 5.1: what comes too late."""
    reason = "RFC 9113 5.1"
    data = data_frame(1, b"a", end=True)
    facts: dict[str, Any] = {"reason": reason, "reset": CLOSED}
    yield Case(name="data_half", wire=data, before="half", **facts)
    yield Case(name="data_half_empty", wire=data_frame(1), before="half", **facts)
    wire = headers_frame(1, literal(((b"x-a", b"a"),)))
    yield Case(name="trailers_half", wire=wire, before="half", goaway=GONE, **facts)
    yield Case(name="data_closed", wire=data, before="closed", goaway=CLOSED, lenient=True, **facts)
    facts["lenient"] = True
    yield Case(name="data_cancelled", wire=data, before="cancelled", goaway=CLOSED, **facts)
    yield harmless("data_refused", data, reason, before="refused")
    yield harmless("trailers_refused", wire, reason, before="refused")
    late: dict[str, bytes] = {
        "reset": reset_frame(1),
        "window": window_frame(1, 1),
        "priority": priority_frame(1),
        "priority_update": priority_update_frame(1, b"u=1"),
    }
    states: tuple[State, ...] = ("closed", "cancelled", "refused")
    for name, wire in late.items():
        for before in states:
            yield harmless(f"{name}_{before}", wire, reason, before=before)


def sequences() -> Iterator[Case]:
    """RFC 9113, section 6.10: a header block is in one piece, and what is unknown is ignored."""
    begun = headers_frame(1, BLOCK[:9], end_headers=False)
    for name, between in {
        "data": data_frame(1, b"a"),
        "headers": headers_frame(1, BLOCK[9:]),
        "headers_of_other": headers_frame(3, BLOCK),
        "continuation_of_other": continuation_frame(3, BLOCK[9:]),
        "continuation_without_stream": continuation_frame(0, BLOCK[9:]),
        "ping": ping_frame(),
        "settings": settings_frame(),
        "settings_ack": SETTINGS_ACK,
        "window": window_frame(0, 1),
        "reset": reset_frame(1),
        "priority": priority_frame(1),
        "priority_update": priority_update_frame(1, b"u=1"),
        "goaway": goaway_frame(),
        "unknown": frame(0x20, 0, 1, b"a"),
    }.items():
        wire = begun + between + continuation_frame(1, BLOCK[9:])
        yield fatal(f"inside_block_{name}", wire, "RFC 9113 6.10")
    reason = "RFC 9113 6.10"
    wire = headers_frame(1, BLOCK) + continuation_frame(1, b"")
    yield fatal("continuation_after_block", wire, reason)
    yield fatal("continuation_open", continuation_frame(1, b""), reason, before="open")
    wire = begun + continuation_frame(1, BLOCK[9:])
    yield harmless("continuation", wire, reason, answered=True)
    pieces = [continuation_frame(1, BLOCK[n : n + 2], end_headers=False) for n in range(9, 61, 2)]
    wire = begun + b"".join(pieces) + continuation_frame(1, BLOCK[61:])
    yield harmless("continuation_many", wire, reason, answered=True)
    wire = headers_frame(1, b"", end_headers=False) + continuation_frame(1, BLOCK)
    yield harmless("headers_empty", wire, reason, answered=True)
    for kind in (0xA, 0xB, 0xC, 0x11, 0x20, 0xFF):
        for stream in (0, 1, 3):
            wire = frame(kind, 0xFF, stream, b"zebra")
            name = f"unknown_{kind:x}_{stream}"
            yield harmless(name, wire, "RFC 9113 4.1", before="open")
    yield harmless("ping_ack_unasked", ping_frame(b"12345678", ACK), "RFC 9113 6.7")


def priorities() -> Iterator[Case]:
    """RFC 9113, section 5.3.1, and RFC 9218, section 7.1."""
    facts: dict[str, Any] = {"reset": PROTOCOL, "lenient": True, "reason": "RFC 7540 5.3.1"}
    yield Case(name="priority_self", wire=priority_frame(1, 1), before="open", **facts)
    wire = headers_frame(1, BLOCK, priority=(1, 15))
    yield Case(name="headers_priority_self", wire=wire, answered=True, **facts)
    cycle = priority_frame(3, 5) + priority_frame(5, 7) + priority_frame(7, 3)
    yield harmless("priority_cycle", cycle, "CVE-2019-9513")
    reason = "RFC 9218 7.1"
    yield fatal("priority_update_of_0", priority_update_frame(0, b"u=1"), reason)
    for name, value in {
        "empty": b"",
        "usual": b"u=1, i",
        "unknown": b"zebra=1, u=1",
        "out_of_range": b"u=9",
        "garbage": b"\xff\x00=,,",
    }.items():
        wire = priority_update_frame(1, value)
        facts = {"before": "open", "lenient": name == "garbage", "goaway": frozenset()}
        yield harmless(f"priority_update_{name}", wire, reason, **facts)
        yield harmless(f"priority_update_idle_{name}", priority_update_frame(3, value), reason)


BAD_BLOCKS = {
    "index_zero": b"\x80",
    "index_unknown": b"\xff\x80\x01",
    "index_next": bytes((0x80 | 62,)),
    "name_index_unknown": b"\x7f\x80\x01\x01a",
    "literal_cut": b"\x00\x05ab",
    "literal_value_cut": b"\x00\x01a\x05b",
    "literal_nothing": b"\x00",
    "length_cut": b"\x00\x01a\x7f",
    "huffman_eos": b"\x00\x01a\x84\xff\xff\xff\xff",
    "huffman_padding_long": b"\x00\x01a\x82\x1f\xff",
    "huffman_padding_zeros": b"\x00\x01a\x81\x18",
    "integer_endless": b"\x00\x01a\x7f" + b"\xff" * 1000,
    "integer_huge": b"\x00\x01a" + hpack_integer(2**40, 7),
    "index_endless": b"\xff" * 1000,
    "table_too_large": hpack_integer(4097, 5, 0x20),
    "table_late": BLOCK + hpack_integer(0, 5, 0x20),
}


def blocks() -> Iterator[Case]:
    """RFC 7541, and RFC 9113, section 4.3."""
    for name, block in BAD_BLOCKS.items():
        yield fatal(f"block_{name}", headers_frame(1, block), "RFC 9113 4.3", COMPRESSION)
    after = headers_frame(1, BLOCK, end=False) + headers_frame(1, b"\x80")
    yield fatal("block_of_trailers", after, "RFC 9113 4.3", COMPRESSION)
    wire = headers_frame(1, BLOCK + b"\x40\x01a\x01b\x80")
    yield fatal("block_bad_at_its_end", wire, "RFC 9113 4.3", COMPRESSION)
    for name, size in {"shrunk": (0,), "shrunk_and_grown": (0, 4096)}.items():
        updates = b"".join(hpack_integer(each, 5, 0x20) for each in size)
        wire = headers_frame(1, updates + BLOCK)
        yield harmless(f"block_table_{name}", wire, "RFC 7541 4.2", answered=True)


CASES: tuple[Case, ...] = (
    *streams(),
    *sizes(),
    *padding(),
    *settings(),
    *windows(),
    *closed(),
    *sequences(),
    *priorities(),
    *blocks(),
)
