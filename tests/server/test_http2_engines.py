"""Our engine of HTTP/2 against one that is h2's, under the same random clients.

Each trial plays one client's reads to two servers that differ in their engine alone. After each
read the applications must have seen the same and the clients must have got the same. A trial ends
with the first connection error, or where h2 is known to do something else (`DIFFERENCES`).
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from django.test import SimpleTestCase, tag

from django_daphne.server.protocols.http2_engine import FrameEngine
from tests.support.h2_engine import H2Engine
from tests.support.http2_frames import Frame
from tests.support.http2_sides import Notes, Side
from tests.support.http2_traffic import Traffic


class Difference(NamedTuple):
    """What h2 is known to do otherwise, as patterns of what comes of a read.

    Each is matched against a connection error ("PROTOCOL_ERROR: its text"), or else the streams
    that the server reset ("1 STREAM_CLOSED, 3 NO_ERROR").
    """

    name: str
    ours: str
    theirs: str
    reason: str


def resets(code: str) -> str:
    """Return the pattern of streams reset, one of them with this code."""
    return rf"(\d+ \w+, )*\d+ {code}(, \d+ \w+)*"


ANY_RESETS = r"(\d+ \w+(, )?)*"
HEADERS_LATE = "STREAM_CLOSED: HEADERS on a stream that has ended"
BAD_DATA = "PROTOCOL_ERROR: ProtocolError: Received frame with non-compliant data"
BAD_SIZE = "FRAME_SIZE_ERROR: FrameDataMissingError: .*"

DIFFERENCES: tuple[Difference, ...] = (
    # Errors of one stream that h2 can only end the connection for.
    Difference(
        "content-length",
        ANY_RESETS,
        r"PROTOCOL_ERROR: (InvalidBodyLengthError|ProtocolError: \w+ content-length).*",
        "an error of the stream (section 8.1.1), and of none when it was answered before",
    ),
    Difference(
        "informational status",
        resets("PROTOCOL_ERROR"),
        "PROTOCOL_ERROR: ProtocolError: .*(INFORMATIONAL|informational).*",
        "h2 takes :status of 1xx for a response, which no server is sent",
    ),
    Difference(
        "open trailers",
        resets("PROTOCOL_ERROR"),
        "PROTOCOL_ERROR: ProtocolError: Trailers must have END_STREAM set",
        "a malformed request (section 8.1)",
    ),
    Difference(
        "too many streams",
        f"{resets('REFUSED_STREAM')}|{HEADERS_LATE}",
        "PROTOCOL_ERROR: TooManyStreamsError: .*",
        "either will do (section 5.1.2); h2 counts before it looks whether the stream is a new one",
    ),
    Difference(
        "beyond a stream's window",
        resets("FLOW_CONTROL_ERROR"),
        "FLOW_CONTROL_ERROR: FlowControlError: .*",
        "either will do (section 6.9.1); ours leaves the other streams alone",
    ),
    Difference(
        "dependency on itself",
        ANY_RESETS,
        r"PROTOCOL_ERROR: ProtocolError: Stream \d+ may not depend on itself",
        "RFC 9113 has no dependencies any more (section 5.3.2); ours does not read them",
    ),
    Difference(
        "no increment",
        ANY_RESETS,
        BAD_DATA,
        "on a stream it is an error of that stream, on one that has ended of none (section 6.9)",
    ),
    Difference(
        "size of PRIORITY or ALTSVC",
        f"({resets('FRAME_SIZE_ERROR')})?",
        BAD_SIZE,
        "an error of the stream (section 6.3); the other is not for servers to read (RFC 7838)",
    ),
    # What is late.
    Difference(
        "HEADERS behind a reset",
        HEADERS_LATE,
        f"({resets('STREAM_CLOSED')})?",
        "h2 remembers who has reset which stream; either will do (section 5.1)",
    ),
    Difference(
        "HEADERS of a lower stream",
        HEADERS_LATE,
        "PROTOCOL_ERROR: StreamIDTooLowError: .*",
        "ours does not know streams that were passed over from those that have ended",
    ),
    Difference(
        "HEADERS behind a late reset",
        "",
        "(PROTOCOL_ERROR: StreamIDTooLowError|STREAM_CLOSED: StreamClosedError): .*",
        "a stream that ended, or was passed over, and got DATA since is one that ours has reset",
    ),
    Difference(
        "CONTINUATION behind the end",
        "PROTOCOL_ERROR: CONTINUATION that continues nothing",
        r"(STREAM_CLOSED: StreamClosedError: \d+|\d+ STREAM_CLOSED)?",
        "section 6.10 makes it PROTOCOL_ERROR in every state",
    ),
    # What h2 does not look at.
    Difference(
        "RST_STREAM of an idle stream",
        "PROTOCOL_ERROR: RST_STREAM on a stream that has not begun",
        "",
        "a connection error (section 6.4)",
    ),
    Difference(
        "no SETTINGS",
        "PROTOCOL_ERROR: the first frame is no SETTINGS",
        ".*",
        "a connection error (section 3.4); h2 reads on",
    ),
    Difference(
        "block of no client's stream",
        "PROTOCOL_ERROR: HEADERS on no stream of a client's",
        "",
        "h2 wants all of a block before it looks at the stream",
    ),
    Difference(
        "setting of RFC 9218",
        "PROTOCOL_ERROR: SETTINGS 9 of .*",
        ANY_RESETS,
        "h2 does not know it (RFC 9218, section 2.1)",
    ),
    # What h2 does wrong.
    Difference(
        "padding within the priority",
        "PROTOCOL_ERROR: padding longer than its frame",
        ANY_RESETS,
        "both together are more than the frame, and h2 takes it for one without fields",
    ),
    Difference(
        "size of the table",
        ANY_RESETS,
        "Encoder exceeded max allowable table size",
        "of two changes hpack announces both, also a size that is not allowed any more",
    ),
    Difference(
        "SETTINGS with content that answer",
        "FRAME_SIZE_ERROR: an answer to SETTINGS with settings",
        BAD_DATA,
        "it has another code (section 6.5)",
    ),
    # Two faults in one frame, or a fault in a frame that is one itself.
    Difference(
        "PUSH_PROMISE",
        "PROTOCOL_ERROR: PUSH_PROMISE by a client",
        f"({BAD_SIZE})?",
        "h2 wants all of its block, and a sound one, before it refuses it",
    ),
    Difference(
        "size inside of a block",
        "PROTOCOL_ERROR: a frame within a block of fields",
        BAD_SIZE,
        "a frame of a wrong size where there must be none",
    ),
    Difference(
        "no stream and another fault",
        "(FRAME_SIZE|COMPRESSION)_ERROR: .*",
        "PROTOCOL_ERROR: ProtocolError: Received frame with invalid header: .*",
        "either will do",
    ),
    Difference(
        "several settings",
        r"FLOW_CONTROL_ERROR: a window over 2\^31-1",
        "PROTOCOL_ERROR: InvalidSettingsValueError: .*",
        "ours takes one after the other (section 6.5.3), h2 looks at all of them first",
    ),
)


# Seconds until the server asks whether anybody is there; what it throws away has ended by then.
SILENCE = 31

SMALL_WINDOWS = {
    "http2_stream_window": 65_535,
    "http2_connection_window": 131_070,
    "body_buffer_size": 1024,
}

Sides = tuple[Side, Side]
Reads = Iterable[tuple[bytes, list[Frame]]]


class EngineTests(SimpleTestCase):
    """The two engines under the same clients."""

    def setUp(self) -> None:
        super().setUp()
        self.notes = Notes()
        logger = logging.getLogger("django_daphne.server")
        before = logger.level, logger.propagate
        logger.addHandler(self.notes)
        logger.setLevel(logging.DEBUG)
        logger.propagate = False

        def restore() -> None:
            logger.removeHandler(self.notes)
            logger.level, logger.propagate = before

        self.addCleanup(restore)

    def play(self, sides: Sides, reads: Reads, methods: dict[int, bytes]) -> int | None:
        """Play one client; return after how many bytes the sides differ, None when they do not."""
        for side in sides:
            side.begin()
        offset = 0
        for read, frames in reads:
            offset += len(read)
            for side in sides:
                side.play(read, frames, methods)
            if self.differ(sides):
                return offset
            if sides[0].code:
                break
        else:
            for side in sides:
                side.wait(SILENCE)
            if self.differ(sides):
                return offset
        for side in sides:
            side.leave()
        return offset if self.differ(sides) else None

    def differ(self, sides: Sides) -> bool:
        """Say whether something else was seen, or something that must not be."""
        ours, theirs = sides
        return bool(ours.fault or theirs.fault) or ours.seen() != theirs.seen()

    def trial(self, sides: Sides, seed: int, *, faulty: bool) -> str:
        """Play one client to both sides; return the code of the end, or a difference's name."""
        traffic = Traffic(seed, faulty=faulty)
        reads = [*traffic.reads()]
        offset = self.play(sides, reads, traffic.methods)
        if offset is None:
            return sides[0].code
        # A frame at a time the outcome is that of the frame in question alone.
        if self.play(sides, traffic.singly(offset), traffic.methods) is None:
            self.play(sides, reads, traffic.methods)
        ours, theirs = (side.outcome for side in sides)
        for each in DIFFERENCES:
            if re.fullmatch(each.ours, ours) and re.fullmatch(each.theirs, theirs):
                return each.name
        one, other = (side.seen() for side in sides)
        what = [f"{key}:\n  {one[key]}\n  {other[key]}" for key in one if one[key] != other[key]]
        where = f"seed {seed}, within {offset} bytes, ending with {[*map(str, reads[-1][1])]}"
        raise AssertionError("\n".join((where, f"ours: {ours!r}, theirs: {theirs!r}", *what)))

    def outcomes(self, seeds: Iterable[int], *, faulty: bool, **values: Any) -> Counter[str]:
        """Return how often each outcome was that of a trial."""
        ours, theirs = (Side(make, self.notes, **values) for make in (FrameEngine, H2Engine))
        self.addCleanup(ours.server.close)
        self.addCleanup(theirs.server.close)
        found: Counter[str] = Counter()
        for seed in seeds:
            found[self.trial((ours, theirs), seed, faulty=faulty)] += 1
        return found

    def test_legal(self):
        """The client says nothing that it may not."""
        self.assertEqual({*self.outcomes(range(90), faulty=False)}, {""})

    def test_small_windows(self):
        """The client says no more than that, and the server often has to let it go on."""
        outcomes = self.outcomes(range(100, 160), faulty=False, **SMALL_WINDOWS)
        self.assertEqual({*outcomes}, {""})

    def test_faulty(self):
        """The client breaks rules now and then."""
        outcomes = self.outcomes(range(100), faulty=True, http2_max_concurrent_streams=8)
        outcomes += self.outcomes(range(100, 150), faulty=True, **SMALL_WINDOWS)
        self.assertGreater(outcomes[""], 40)
        self.assertGreater(outcomes["PROTOCOL_ERROR"], 20)

    @tag("heavy")
    def test_more(self):
        """The client breaks rules for longer, and meets most of the differences."""
        outcomes = self.outcomes(range(1000, 5000), faulty=True, http2_max_concurrent_streams=8)
        outcomes += self.outcomes(range(5000, 6000), faulty=True, **SMALL_WINDOWS)
        self.assertGreater(len({*outcomes} & {each.name for each in DIFFERENCES}), 12)
        self.assertLessEqual(
            {"", "PROTOCOL_ERROR", "FLOW_CONTROL_ERROR", "FRAME_SIZE_ERROR", "COMPRESSION_ERROR"}
            | {"STREAM_CLOSED", "ENHANCE_YOUR_CALM"},
            {*outcomes},
        )
